"""What the report measures: planted worlds where the answer is known, numbers by hand, and files of all kinds.

The encoder is a stand-in: a small BERT of random weights whose words are those of the planted texts. It knows nothing,
but texts that share words have embeddings that are near, which is all that is needed here.
"""

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from scipy import stats
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import Normalizer

from llmtok import (
    InputError,
    TextEncoder,
    TokenEASE,
    TokenSVD,
    evaluation,
    load_csv,
    make_tokens,
    measure,
    verdict,
)
from llmtok.data import Dataset
from llmtok.evaluation import split, split_by_time, top_lists
from llmtok.features import CATEGORIES, FULL, N_CATEGORIES, NONE, TFIDF, TITLE, Reads, categories
from llmtok.measure import ALL, GROUPS, NEW, examine, plan
from llmtok.verdict import conclude

SLOW = bool(os.environ.get("LLMTOK_SLOW"))
set_hypothesis_home_dir(Path(tempfile.gettempdir(), "llmtok-hypothesis"))  # and not in the repository

WORDS = [topic + word for topic in "abcdef" for word in "mnopqrst"]
FAST = {"n_epochs": 3, "n_factors": 2}  # of TokenSVD


def refused(function, *args, **kwargs):
    """Call, and return the one line of the InputError that it must raise."""
    with pytest.raises(InputError) as caught:
        function(*args, **kwargs)
    assert str(caught.value).isprintable() and len(str(caught.value)) > 20
    return str(caught.value)


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """Keep the stand-in's embeddings out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMTOK_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=128, **shape)).save_pretrained(
        folder
    )
    BertTokenizerFast(vocab={w: i for i, w in enumerate(vocabulary)}, model_max_length=128).save_pretrained(
        folder
    )
    return str(folder)


def world(seed=0, told=True, n_users=100, n_items=150):
    """Users take items of their two topics, and each topic has its stars; texts are five words of the topic.

    Where nothing is told, the same texts lie on other items.
    """
    rng = np.random.default_rng(seed)
    topic, popular = rng.integers(6, size=n_items), rng.gamma(1.0, size=n_items)
    texts = np.array([" ".join(rng.choice(WORDS[8 * t : 8 * t + 8], 5)) for t in topic])
    rows = []
    for user in range(n_users):
        likes = np.isin(topic, rng.choice(6, 2, replace=False))
        share = popular * np.where(likes, 10, 1)
        took = rng.choice(n_items, rng.integers(8, 25), replace=False, p=share / share.sum())
        stars = np.array([4.5, 2, 4, 2.5, 5, 3])[topic[took]] + 0.7 * rng.normal(size=len(took))
        rows += zip([user] * len(took), took, np.clip(np.round(stars), 1, 5), strict=True)
    ratings = pd.DataFrame(rows, columns=["user_id", "item_id", "rating"])
    ratings = ratings.assign(timestamp=rng.permutation(len(ratings)))
    title = [f"thing {n}" for n in range(n_items)]
    items = pd.DataFrame({"title": title}, pd.RangeIndex(n_items, name="item_id"))
    items["about"] = items["text"] = texts if told else rng.permutation(texts)
    items.attrs["topic"] = topic
    steps = pd.DataFrame({"step": []}, dtype="str")
    return Dataset("planted", ratings, items, steps, "", "{about}")


def with_ratings(data, values):
    return replace(data, ratings=data.ratings.assign(rating=values))


def with_items(data, **columns):
    return replace(data, items=data.items.assign(**columns))


def measured_on(data, tiny, how=None, **options):
    planned = plan(data, encoder=tiny, **options)
    return planned, examine(planned, **({"svd": FAST} | (how or {})))


@pytest.fixture(scope="module")
def told(tiny):
    """Plan and findings of a world whose texts tell what matters, and whose genres say the same."""
    data = world()
    return measured_on(with_items(data, genres=[f"kind {t}" for t in data.items.attrs["topic"]]), tiny)


def verdicts(found, question, group=NEW):
    rows = found.gains[(found.gains["question"] == question) & (found.gains["items"] == group)]
    return rows.set_index("rival")["verdict"].to_dict()


def sane(planned, found):
    """Whether all numbers are finite and in their range; returns the verdict."""
    gains = found.gains
    assert np.isfinite(gains.select_dtypes("number")).all(axis=None)
    assert (
        (0 <= gains["p"]).all()
        and (gains["p"] <= gains["p corrected"]).all()
        and (gains["p corrected"] <= 1).all()
    )
    assert (gains[["without", "with"]] >= 0).all(axis=None) and (gains["users"] >= 20).all()
    assert (gains.loc[gains["question"] == "lists", ["without", "with"]] <= 1).all(axis=None)
    assert (gains["low"] <= gains["high"]).all()
    assert set(gains["verdict"]) <= {"helps", "hurts", "unclear"}
    sign = np.where(gains["question"] == "lists", 1, -1)
    np.testing.assert_allclose(gains["gain"], sign * (gains["with"] - gains["without"]), atol=1e-12)
    assert not np.isinf(found.quality.to_numpy(dtype=float)).any()
    assert np.isfinite(found.encoding.astype(float)).all()
    shares = found.encoding[[name for name in found.encoding.index if name.startswith("share")]]
    assert shares.between(0, 1).all()
    assert found.embeddings.index.equals(planned.data.items.index)
    assert min(found.seconds.values()) >= 0
    assert np.isfinite(found.lists.score(planned.data.ratings["user_id"].iloc[0])).all()
    assert (found.ratings is not None) == planned.rated
    said = conclude(planned, found)
    lines = [*said.lines, *said.warnings, *said.next_steps]
    assert len(said.lines) == 5 and all(line.isprintable() and "nan" not in line for line in said.lines)
    assert all("\n" not in line and line for line in lines)
    return said


# --- The truth ----------------------------------------------------------------------------------------------


def test_text_that_tells_helps_new_items(told):
    planned, found = told
    said = sane(planned, found)
    assert planned.variants == [NONE, TITLE, FULL, CATEGORIES, TFIDF] and planned.rated
    for question in ("lists", "ratings"):
        assert verdicts(found, question)[NONE] == verdicts(found, question)[TITLE] == "helps"
    assert said.lines[0].startswith("Yes:") and "new items (lists and ratings)" in said.lines[0]
    assert said.next_steps[0].startswith("Use the text for new items")


def test_genres_that_say_the_same_are_as_good(told):
    _, found = told
    assert verdicts(found, "lists")[CATEGORIES] != "helps" != verdicts(found, "ratings")[CATEGORIES]
    said = conclude(*told)
    assert "categories" in said.lines[0] and "without a language model" in said.lines[0]
    assert any("categories" in step and "no language model" in step for step in said.next_steps)


def test_text_that_tells_nothing_helps_nothing(tiny):
    alarms, n = [], 0
    for seed in range(3):
        planned, found = measured_on(world(seed, told=False), tiny)
        sane(planned, found)
        own = found.gains[found.gains["rival"] == NONE]
        alarms += [seed] * (own["verdict"] == "helps").sum()
        n += len(own)
    assert n > 20 and len(alarms) <= 1


def test_titles_that_are_all_alike_are_no_text(told):
    """The stand-in knows no title: what it makes of them is one vector, and that must not end the report."""
    _, found = told
    assert found.quality.loc[TITLE].equals(found.quality.loc[NONE])
    rows = found.gains[found.gains["rival"].isin([NONE, TITLE])].drop(columns=["rival", "p corrected"])
    none, title = (rows.iloc[start::2].reset_index(drop=True) for start in (0, 1))
    pd.testing.assert_frame_equal(none, title)


def test_a_catalogue_without_titles(tiny):
    sane(*measured_on(with_items(world(), title="(no title)"), tiny))


def test_the_models_that_are_kept(told):
    planned, found = told
    ratings = planned.data.ratings
    assert isinstance(found.lists, TokenEASE) and isinstance(found.ratings, TokenSVD)
    new = planned.data.items.index.difference(ratings["item_id"])
    assert set(new) and set(new) <= set(found.lists.item_ids) and set(new) <= set(found.ratings.item_ids)
    assert len(found.lists.seen(0)) == (ratings["user_id"] == 0).sum()


def test_the_same_again(told):
    planned, found = told
    pd.testing.assert_frame_equal(found.gains, examine(planned, svd=FAST).gains)


# --- What there is to measure -------------------------------------------------------------------------------


def test_equal_ratings_are_interactions(tiny):
    assert plan(with_ratings(world(), 1.0)).liked == 1.0
    planned, found = measured_on(with_ratings(world(), 3.0), tiny)
    assert not planned.rated and planned.liked == 3.0 and found.ratings is None
    assert set(found.gains["question"]) == {"lists"} and "only that there was" in planned.notes[0]
    assert verdicts(found, "lists")[NONE] == "helps"
    assert "ratings" not in sane(planned, found).lines[1]


def test_strengths_of_actions_are_no_ratings(tmp_path, tiny):
    data = world()
    action = np.array(["view", "cart", "buy"])[data.ratings["item_id"] % 3]
    data.ratings.assign(event=action).drop(columns="rating").to_csv(tmp_path / "log.csv", index=False)
    data.items[["title", "about"]].to_csv(tmp_path / "items.csv")
    log = load_csv(
        tmp_path / "log.csv", tmp_path / "items.csv", strengths={"view": 1, "cart": 2, "buy": 3},
        text_template="{about}",
    )  # fmt: skip
    planned, found = measured_on(log, tiny)
    assert not planned.rated and planned.liked == 1 and set(found.gains["question"]) == {"lists"}
    assert plan(log, encoder=tiny, liked=3).liked == 3
    # A column of events beside ratings does not make these strengths.
    data.ratings.assign(event=action).to_csv(tmp_path / "both.csv", index=False)
    both = load_csv(tmp_path / "both.csv", tmp_path / "items.csv", text_template="{about}")
    assert plan(both, encoder=tiny).rated


def test_thumbs_up_and_down_are_ratings(tiny):
    data = world()
    for down in (0.0, -1.0):
        planned = plan(with_ratings(data, np.where(data.ratings["rating"] > 3, 1.0, down)), encoder=tiny)
        assert planned.rated and planned.liked == 1.0  # else what people refused would be a hit
    sane(planned, examine(planned, svd=FAST))


def test_few_users_in_each_group(tiny):
    """Where nothing can be measured the report says that, and does not say no."""
    rows = [(user, (2 * user + n) % 65, 3.0 + n) for user in range(70) for n in (0, 1)]
    few = replace(world(), ratings=pd.DataFrame(rows, columns=["user_id", "item_id", "rating"]))
    planned, found = measured_on(few, tiny)
    said = sane(planned, found)
    assert said.lines[1].endswith("too few to measure.") or "lists" not in said.lines[1]
    assert set(found.gains["items"]) < {NEW, *GROUPS, ALL} and not said.lines[0].startswith("Yes")


# --- No leak ------------------------------------------------------------------------------------------------


@pytest.fixture
def watched(monkeypatch):
    """Record what is fitted on what, and what is listed to whom."""
    seen = SimpleNamespace(trains=[], texts=[], lists=[], tests=[], of_lists=None)

    def watch(kind):
        class Watched(kind):
            def fit(self, train):
                seen.trains.append(train)
                return super().fit(train)

        Watched.__name__ = kind.__name__
        return Watched

    class Counter(TfidfVectorizer):
        def fit(self, texts):
            seen.texts.append(texts)
            return super().fit(texts)

    def evaluate(models, test, candidates, **options):
        users = test["user_id"].unique()
        seen.lists.append((seen.of_lists, top_lists(models, users, candidates)))
        seen.tests.append((seen.of_lists, test))
        return evaluation.evaluate_ranking(models, test, candidates, **options)

    measure_lists = measure._measure_lists

    def remember(plan, reads, ease, which, train, *rest):
        seen.of_lists = train
        return measure_lists(plan, reads, ease, which, train, *rest)

    for name in ("TokenEASE", "TokenSVD", "Popularity"):
        monkeypatch.setattr(measure, name, watch(getattr(measure, name)))
    monkeypatch.setattr("llmtok.features.TfidfVectorizer", Counter)
    monkeypatch.setattr(measure, "evaluate_ranking", evaluate)
    monkeypatch.setattr(measure, "_measure_lists", remember)
    return seen


def pairs(frame):
    return set(frame[["user_id", "item_id"]].itertuples(index=False, name=None))


@pytest.mark.parametrize("how", ["random", "temporal"])
def test_nothing_of_the_test_is_learned(tiny, watched, how):
    data = world()
    planned, _ = measured_on(data, tiny, split=how)
    hidden_train, hidden = next(split(data.ratings, by="item_id"))
    known, test = split_by_time(data.ratings) if how == "temporal" else next(split(data.ratings))
    assert {len(train) for train in watched.trains[:-2]} == {len(known), len(hidden_train)}
    if how == "temporal":
        assert known["timestamp"].max() < test["timestamp"].min()
    for train, tested in watched.tests:
        assert not pairs(train) & pairs(tested) and (tested["rating"] >= planned.liked).all()
        assert tested["user_id"].isin(train["user_id"]).all()
        if len(train) == len(hidden_train):
            assert not set(train["item_id"]) & set(hidden["item_id"])
            assert set(tested["item_id"]) <= set(hidden["item_id"])
    for train, lists in watched.lists:
        assert not pairs(lists) & pairs(train)
        assert lists.groupby(["model", "user_id"]).size().max() <= 10
    for texts in watched.texts:  # words are counted in items of the training set alone
        assert set(texts.index) in (set(known["item_id"]), set(hidden_train["item_id"]))


@pytest.mark.parametrize("reduction", ["pca", "truncated_svd"])
@pytest.mark.parametrize("variant", [FULL, TFIDF])
def test_hidden_texts_do_not_shape_tokens(tiny, variant, reduction):
    """Other texts on hidden items change nothing of the tokens of the others."""
    data = world()
    train, _ = next(split(data.ratings, by="item_id"))
    is_hidden = ~data.items.index.isin(train["item_id"])
    changed = with_items(data, text=data.items["text"].mask(is_hidden, "am am fq zz yy"))
    tokens = []
    for each in (data, changed):
        read = TextEncoder(tiny, progress=False)
        embeddings = read.transform(each.items["text"])
        reads = Reads(each, embeddings, read, 5, reduction, 0)
        features, reducer = reads.of(variant, train, None)
        known = features[~is_hidden]
        tokens.append(reducer.fit(known).transform(known))
    pd.testing.assert_frame_equal(*tokens)


# --- Numbers ------------------------------------------------------------------------------------------------


def ndcg_by_hand(model, train, liked, candidates):
    """NDCG@10 of each user by plain loops; of equal scores the first candidate comes first."""
    values = {}
    for user, hits in liked.groupby("user_id")["item_id"]:
        hits = set(hits) & set(candidates)
        if not hits:
            continue
        scores, seen = model.score(user), set(train[train["user_id"] == user]["item_id"])
        ranked = [(-scores[i], n, i) for n, i in enumerate(candidates) if i in scores.index and i not in seen]
        gain = sum(1 / np.log2(rank + 2) for rank, (_, _, i) in enumerate(sorted(ranked)[:10]) if i in hits)
        values[user] = gain / sum(1 / np.log2(rank + 2) for rank in range(min(10, len(hits))))
    return pd.Series(values)


@pytest.mark.parametrize("group", [NEW, "5 to 19", ALL])
def test_lists_by_hand(told, tiny, group):
    planned, found = told
    data = planned.data
    train, test = next(split(data.ratings, by="item_id" if group == NEW else None))
    order = np.random.default_rng(0).permutation(data.items.index)
    count = train["item_id"].value_counts().reindex(order).fillna(0)
    if group == NEW:
        candidates = [i for i in order if i in set(test["item_id"])]
    else:
        low, high = GROUPS.get(group, (0, np.inf))
        candidates = [i for i in order if low <= count[i] <= high]
    liked = test[(test["rating"] >= planned.liked) & test["user_id"].isin(train["user_id"])]
    embeddings = TextEncoder(tiny, progress=False).transform(data.items["text"])
    full = ndcg_by_hand(TokenEASE(embeddings).fit(train), train, liked, candidates)
    genres = pd.get_dummies(data.items["genres"]).astype(float)
    genres = ndcg_by_hand(TokenEASE(genres, Normalizer()).fit(train), train, liked, candidates)
    row = found.gains.set_index(["question", "items", "rival"]).loc[("lists", group, CATEGORIES)]
    assert row["users"] == len(full)
    assert row["with"] == pytest.approx(full.mean(), abs=1e-6)
    assert row["without"] == pytest.approx(genres.mean(), abs=0.01)  # genres tie often, by the last digit
    if group != NEW:
        none = ndcg_by_hand(TokenEASE().fit(train), train, liked, candidates)
        row = found.gains.set_index(["question", "items", "rival"]).loc[("lists", group, NONE)]
        assert row["without"] == pytest.approx(none.mean(), abs=1e-6)
        assert row["p"] == pytest.approx(stats.ttest_rel(full, none).pvalue)
    if group == ALL:
        assert found.quality.loc[FULL, "NDCG@10, all items"] == pytest.approx(full.mean(), abs=1e-6)


@pytest.mark.parametrize("group", [NEW, "20 to 49", ALL])
def test_ratings_by_hand(told, tiny, group):
    planned, found = told
    data = planned.data
    train, test = next(split(data.ratings, by="item_id" if group == NEW else None))
    embeddings = TextEncoder(tiny, progress=False).transform(data.items["text"])
    nothing = pd.DataFrame({"nothing": 0.0}, data.items.index)
    models = {
        FULL: TokenSVD(embeddings, make_tokens(32), random_state=0, **FAST),
        NONE: TokenSVD(nothing, "passthrough", random_state=0, **FAST),
    }
    count = train["item_id"].value_counts()
    squares = {name: {} for name in models}
    for name, model in models.items():
        predicted = model.fit(train).predict_ratings(test)
        for row, value in zip(test.itertuples(), predicted, strict=True):
            low, high = {NEW: (0, 0), ALL: (0, np.inf)}.get(group) or GROUPS[group]
            if low <= count.get(row.item_id, 0) <= high:
                squares[name].setdefault(row.user_id, []).append((row.rating - value) ** 2)
    rmse = {name: np.sqrt(np.mean(np.concatenate(list(by.values())))) for name, by in squares.items()}
    row = found.gains.set_index(["question", "items", "rival"]).loc[("ratings", group, NONE)]
    assert row["users"] == len(squares[FULL])
    assert row["with"] == pytest.approx(rmse[FULL]) and row["without"] == pytest.approx(rmse[NONE])
    differences = [sum(squares[NONE][user]) - sum(squares[FULL][user]) for user in squares[FULL]]
    assert row["p"] == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    assert row["low"] < row["gain"] < row["high"]


def test_p_is_corrected_for_all_that_was_tried(told):
    p = told[1].gains["p"].tolist()
    corrected, least = [None] * len(p), 1.0
    for rank, place in reversed(list(enumerate(sorted(range(len(p)), key=p.__getitem__), 1))):
        least = min(least, p[place] * len(p) / rank)
        corrected[place] = least
    np.testing.assert_allclose(told[1].gains["p corrected"], corrected)
    expected = [
        "unclear" if p >= 0.05 else "helps" if gain > 0 else "hurts"
        for p, gain in zip(corrected, told[1].gains["gain"], strict=True)
    ]
    assert told[1].gains["verdict"].tolist() == expected


# --- The plan -----------------------------------------------------------------------------------------------


def test_liked_of_movielens(data):
    planned = plan(data)
    assert planned.liked == 4.0 and planned.rated and planned.data is data and planned.notes == []
    assert planned.variants == [NONE, TITLE, FULL, CATEGORIES, TFIDF]
    assert plan(data, quick=True).variants == [NONE, FULL, CATEGORIES, TFIDF]
    assert planned.seconds == pytest.approx(sum(planned.steps.values())) and min(planned.steps.values()) > 0


@pytest.mark.parametrize(
    ("scale", "liked"),
    [([1, 2, 3, 5, 7, 8, 10], 5), ([-10, -5, 0, 3, 5, 10, 10], 3), ([1, 5, 5, 5, 5], 5), ([4, 4.0000001], 4)],
)  # fmt: skip
def test_liked_is_chosen(scale, liked):
    data = world()
    planned = plan(with_ratings(data, np.resize(np.array(scale, float), len(data.ratings))))
    assert planned.liked == liked and (planned.data.ratings["rating"] >= liked).any()
    assert plan(data, liked=2.0).liked == 2.0


@pytest.mark.parametrize(
    ("limits", "what"),
    [
        ({"items": 90}, "items"),
        ({"ratings": 1300}, "users"),
        ({"side": 70}, "users"),
        ({"items": 100, "ratings": 1000, "side": 80}, "both"),
    ],
)
def test_large_data_are_sampled(monkeypatch, limits, what):
    whole = {"side": 10**6, "ratings": 10**6, "items": 10**6, "tested": 2000}
    monkeypatch.setitem(measure.LIMITS, False, whole | limits)
    data = world()
    planned = plan(data)
    small = planned.data
    assert len(small.items) <= limits.get("items", 150) and len(small.ratings) <= limits.get("ratings", 10**6)
    n_users, n_rated = small.ratings["user_id"].nunique(), small.ratings["item_id"].nunique()
    assert min(n_users, n_rated) <= limits.get("side", 10**6) and n_users >= 60
    of_kept = data.ratings[data.ratings["item_id"].isin(small.items.index)]
    assert len(small.ratings) < len(data.ratings)
    for user, rows in of_kept.groupby("user_id"):
        got = small.ratings[small.ratings["user_id"] == user]
        assert len(got) in (0, len(rows))  # all of somebody, or nothing
    said = " ".join(planned.notes)
    assert ("items were drawn" in said or f"{len(small.items)} were drawn, rated" in said) == (
        what != "users"
    )
    assert (f"{n_users} were drawn. An item's" in said) == (what != "items")
    pd.testing.assert_frame_equal(plan(data).data.ratings, small.ratings)
    other = plan(data, random_state=1).data
    assert pairs(other.ratings) != pairs(small.ratings)
    assert small.ratings.index.equals(pd.RangeIndex(len(small.ratings)))


def test_rated_items_are_kept_first(monkeypatch):
    monkeypatch.setitem(measure.LIMITS, False, measure.LIMITS[False] | {"items": 140})
    data = world()
    more = pd.DataFrame(
        {"title": "x", "about": "am", "text": "am"}, pd.RangeIndex(1000, 1100, name="item_id")
    )
    kept = plan(replace(data, items=pd.concat([data.items, more]))).data.items.index
    assert len(kept) == 140 and (kept < 1000).all()


def test_one_who_took_everything_does_not_end_the_draw(monkeypatch):
    """A crawler has more rows than may be measured; whoever is drawn first, the others remain."""
    monkeypatch.setitem(measure.LIMITS, False, measure.LIMITS[False] | {"ratings": 1500})
    data = world()
    bot = pd.DataFrame({"user_id": -1, "item_id": data.items.index, "rating": 3.0, "timestamp": 1})
    for seed in range(5):
        planned = plan(replace(data, ratings=pd.concat([bot, data.ratings])), random_state=seed)
        assert 1000 < len(planned.data.ratings) <= 1500 and -1 not in set(planned.data.ratings["user_id"])


def test_little_memory(monkeypatch):
    data = world(n_users=300, n_items=2000)
    n_users, n_rated = (data.ratings[name].nunique() for name in ("user_id", "item_id"))
    monkeypatch.setattr(measure, "free_memory", lambda: 2 * 0.95 * measure._bytes(n_users, n_rated, 2000))
    assert n_users + 400 < n_rated and 60 <= plan(data).data.ratings["user_id"].nunique() < n_users
    monkeypatch.setattr(measure, "free_memory", lambda: 1000)
    assert "GB of free memory are too little for 2,000 items" in refused(plan, data)


def test_times(tiny):
    data = world()
    time = data.ratings["timestamp"].astype("Int64")
    gaps = replace(data, ratings=data.ratings.assign(timestamp=time.mask(time % 10 == 0)))
    planned = plan(gaps, split="temporal")
    n = int((time % 10 == 0).sum())
    assert f"{n} ratings without a time are left out" in planned.notes[0] and planned.temporal
    assert len(planned.data.ratings) == len(data.ratings) - n
    assert len(plan(gaps).data.ratings) == len(data.ratings)
    assert any("which items count as new" in note for note in planned.notes)
    for times in (time.mask(time >= 0), 7, None):
        ratings = data.ratings.assign(timestamp=times).dropna(axis="columns", how="all")
        said = refused(plan, replace(data, ratings=ratings), split="temporal")
        assert "no times that differ" in said and "split='random'" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: replace(d, ratings=d.ratings.head(50)), ["too little", "60 of each"]),
        (lambda d: replace(d, ratings=d.ratings[d.ratings["item_id"] < 50]), ["too little", "60 of each"]),
        (lambda d: replace(d, ratings=d.ratings.drop_duplicates("user_id")), ["too little", "0 users with two"]),
        (lambda d: with_items(d, text=""), ["all are empty", "{title}. {summary}"]),
        (lambda d: with_items(d, text="one and\u202e the same"), ["all have the same", "one and"]),
        (lambda d: with_items(d, text=["", "x"] * 75), ["all have the same, 'x'"]),
        (lambda d: with_ratings(d, -d.ratings["rating"]), ["from -5 to -1", "above 0"]),
        (lambda d: with_ratings(d, 0.0), ["from 0 to 0", "above 0"]),
        (lambda d: with_ratings(d, d.ratings["rating"] * 1e300), ["1e+300", "mend them"]),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_said(change, said):
    message = refused(plan, change(world()))
    for part in said:
        assert part in message


def test_texts_of_what_nobody_took_do_not_count():
    data = world()
    rated = data.items.index.isin(data.ratings["item_id"])
    assert "all are empty" in refused(plan, with_items(data, text=data.items["text"].mask(rated, "")))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"liked": 5.5}, "no rating is as high; they run to 5"),
        ({"liked": float("nan")}, "liked=nan"),
        ({"split": "time"}, "'random' or 'temporal'"),
        ({"random_state": -1}, "random_state=-1"),
    ],
)
def test_wrong_settings_of_a_plan(settings, said):
    assert said in refused(plan, world(), **settings)


def test_a_catalogue_of_titles_only():
    data = world()
    planned = plan(with_items(data, title=data.items["text"], about=1))
    assert TITLE not in planned.variants and "its title alone" in planned.notes[0]
    assert CATEGORIES not in planned.variants and "no column of categories" in planned.notes[1]


# --- Categories ---------------------------------------------------------------------------------------------


def test_categories():
    n = 40
    items = pd.DataFrame(
        {
            "title": [f"t{i}" for i in range(n)],
            "text": "a|b",
            "genres": ["Drama|War", "Drama", "", None] * 10,
            "year": pd.array([1995, 1999, 2003, None] * 10, "Int64"),
            "colour": ["red", "blue"] * 20,
            "price": np.arange(n) % 2,
            "words": [f"a story of {i} things" for i in range(n)],
            "tags": ["x| y|x", "y", "rare|y", "y|x"] + ["x|y", "x"] * 18,
            "same": "yes",
        },
        index=[f"i{i}" for i in range(n)],
    )
    found = categories(items)
    assert found.index.equals(items.index) and set(np.unique(found)) == {0.0, 1.0}
    assert found.sum().to_dict() == {
        "genres: Drama": 20, "genres: War": 10, "year: 1990": 20, "year: 2000": 10, "colour: blue": 20,
        "colour: red": 20, "tags: x": 38, "tags: y": 22,
    }  # fmt: skip
    assert categories(items[["title", "text", "price", "words", "same"]]) is None
    assert categories(items[["title", "text"]]) is None


def test_genres_joined_by_commas():
    items = pd.DataFrame({"genres": ["Drama, War", "Drama", "Sci-Fi, War"] * 10})
    assert categories(items).sum().to_dict() == {
        "genres: Drama": 20,
        "genres: Sci-Fi": 10,
        "genres: War": 20,
    }
    sentence = pd.DataFrame({"kind": ["old, and red", "new"] * 15})  # of other columns a comma is a comma
    assert list(categories(sentence)) == ["kind: new", "kind: old, and red"]


def test_many_tags_take_little_memory():
    """A column for each of 60,000 tags would take 10 GB."""
    rng = np.random.default_rng(0)
    tags = ["|".join(f"t{t}" for t in rng.zipf(1.3, 12) % 60_000) for _ in range(20_000)]
    found = categories(pd.DataFrame({"tags": tags}))
    counts = pd.Series([tag for row in tags for tag in set(row.split("|"))]).value_counts()
    assert found.shape == (20_000, N_CATEGORIES)
    assert found.sum().max() == counts.max() and found.sum().min() >= counts.iloc[600]


# --- What the encoder sees ----------------------------------------------------------------------------------

TEXTS = {
    "english": "A retired detective follows a woman through the city. A farm boy learns that his father is alive. "
    "Two friends rob a bank to pay for an operation. A toy is jealous of the new one. "
    "The crew of a ship meets something in the ice. A teacher changes the lives of her pupils.",
    "german": "Ein pensionierter Kriminalkommissar verfolgt eine geheimnisvolle Frau durch die Großstadt. "
    "Der Bauernjunge erfährt, dass sein verschollener Vater noch lebt. "
    "Zwei Freunde überfallen eine Sparkasse, um die Operation bezahlen zu können. "
    "Die Schiffsbesatzung begegnet im Eis etwas Unheimlichem. Eine Lehrerin verändert das Leben ihrer Schüler.",
    "chinese": "一名退休侦探跟踪一个女人穿过城市。农场少年得知他的父亲还活着。两个朋友抢劫银行来支付手术费用。"
    "玩具嫉妒新来的玩具。船员在冰里遇到了某种东西。老师改变了学生们的生活。",
}


@pytest.mark.parametrize("language", TEXTS)
def test_languages(language):
    cut = "。" if language == "chinese" else ". "
    texts = pd.Series([t for t in TEXTS[language].split(cut) if t])
    encoder = TextEncoder(progress=False, cache_dir=False)
    found, seen = measure._encode(encoder, texts, measure._Clock({}, None))
    assert found.shape == (len(texts), 384) and seen["texts"] == len(texts)
    assert seen["word pieces a text"] == pytest.approx(encoder.report_["word pieces a text"])
    said = verdict._warnings(
        SimpleNamespace(encoder=measure.DEFAULT_MODEL, notes=[]), SimpleNamespace(encoding=seen)
    )
    assert bool(said) == (language != "english")
    if said:
        assert "reads these texts badly" in said[0] and "multilingual" in said[0]
    assert seen["share of letters not Latin"] == (1.0 if language == "chinese" else 0.0)
    assert 0.8 < seen["word pieces a word"] < (1.3 if language != "german" else 3)
    assert 0 < seen["seconds to read all"] < 60


def test_texts_that_are_cut_off(tiny):
    texts = pd.Series(["am bn " * 100, "am", "", "zz am"])
    _, seen = measure._encode(TextEncoder(tiny, progress=False), texts, measure._Clock({}, None))
    assert seen["share of texts cut off"] == 0.25
    assert seen["word pieces a text"] == (200 + 1 + 0 + 2 + 4 * 2) / 4
    assert seen["share of word pieces unknown"] == pytest.approx(1 / 211)


def test_encoding_in_parts_is_encoding_at_once(tiny):
    rng = np.random.default_rng(0)
    texts = pd.Series([" ".join(rng.choice([*WORDS, "zz"], rng.integers(1, 9))) for _ in range(5000)])
    encoder, shares = TextEncoder(tiny, progress=False), []
    found, seen = measure._encode(encoder, texts, SimpleNamespace(within=shares.append))
    np.testing.assert_allclose(found, encoder.transform(texts), atol=1e-5)
    for name in ("word pieces a text", "share of texts cut off", "share of word pieces unknown"):
        assert seen[name] == pytest.approx(encoder.report_[name])
    assert len(shares) == 3 and shares[-1] == 1.0


def test_characters_where_there_are_no_words(tiny):
    """TF-IDF counts words; of Chinese it takes characters, and of signs alone as well."""
    data = world()
    for signs in ("一二三四五六", "😀😁😂🤣😃😄"):
        texts = (
            data.items["text"]
            .str.split()
            .map(lambda words, s=signs: "".join(s["abcdef".index(w[0])] for w in words))
        )
        for made in (texts, texts.str.split("").str.join(" ").str.strip()):
            reads = Reads(with_items(data, text=made), pd.DataFrame(np.zeros((150, 9))), None, 0, "pca", 0)
            features, _ = reads.of(TFIDF, data.ratings, None)
            assert np.isfinite(features).all(axis=None) and features.shape[0] == 150


# --- Progress -----------------------------------------------------------------------------------------------


def test_progress_is_told(tiny):
    small = world(n_users=70, n_items=90)
    for data in (small, with_ratings(small, 1.0)):
        planned, told = plan(data, encoder=tiny), []
        found = examine(planned, svd=FAST, tell=lambda *said, told=told: told.append(said))
        done, total, what = zip(*told, strict=True)
        assert list(done) == sorted(done) and done[0] == 0
        assert len(set(total)) == 1 and done[-1] == pytest.approx(total[0]) == pytest.approx(planned.seconds)
        assert max(done) <= total[0] + 1e-9 and what[-1] == "writing"
        assert list(dict.fromkeys(what)) == [*planned.steps, "writing"]
        assert set(planned.steps) <= set(found.seconds)


# --- Settings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["pca", "truncated_svd", "random"])
@pytest.mark.parametrize("n_tokens", [0, 1, 7, 1000])
def test_tokens_of_any_length(tiny, reduction, n_tokens):
    data = world()
    read = TextEncoder(tiny, progress=False)
    reads = Reads(data, read.transform(data.items["text"]), read, n_tokens, reduction, 0)
    for variant in (FULL, TFIDF):
        for own in (None, 50):
            features, reducer = reads.of(variant, data.ratings, own)
            width = reducer.fit(features).transform(features).shape[1]
            assert width == {1: 1, 7: 7}.get(n_tokens, features.shape[1] - (reduction == "truncated_svd"))


@pytest.mark.parametrize("how", [
    {"n_tokens": 1, "reduction": "truncated_svd"}, {"n_tokens": 500, "reduction": "random"}, {"ease": {"l2": 8}},
    {"svd": {"n_audience": 0, **FAST}},
])  # fmt: skip
def test_settings_reach_the_models(tiny, how):
    planned, found = measured_on(world(), tiny, how)
    sane(planned, found)
    assert found.lists.l2 == how.get("ease", {}).get("l2", 4.0) and found.lists.rating_power == 2.0
    assert found.ratings.n_audience == how.get("svd", {}).get("n_audience", 50)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"ease": {"foo": 1}}, "TokenEASE has no setting 'foo' here; it has rating_power, l2"),
        ({"ease": {"embeddings": 1}}, "TokenEASE has no setting 'embeddings' here"),
        ({"svd": {"reducer": "pca"}}, "TokenSVD has no setting 'reducer' here; it has n_factors"),
        ({"ease": {"l2": "8"}}, "l2='8': a number"),
        ({"ease": {"l2": 0}}, "l2=0: a number above 0"),
        ({"ease": {"dropout": float("nan")}}, "dropout=nan"),
        ({"svd": {"n_factors": 2.5}}, "n_factors=2.5: a whole number"),
        ({"svd": {"n_factors": 0}}, "n_factors=0"),
        ({"svd": {"random_state": -1}}, "random_state=-1"),
        ({"reduction": "x"}, "unknown reducer 'x'"),
        ({"n_tokens": -1}, "n_tokens=-1: a whole number"),
        ({"n_tokens": 2.5}, "n_tokens=2.5: a whole number"),
        ({"random_state": "a"}, "random_state='a'"),
    ],
)
def test_wrong_settings(tiny, how, said):
    planned = plan(world(), encoder=tiny)
    assert said in refused(examine, planned, **how)


def test_no_such_encoder(tmp_path):
    assert "no checkpoint there" in refused(examine, plan(world(), encoder=str(tmp_path)))


# --- Files of all kinds -------------------------------------------------------------------------------------

IDS = {
    "numbers": lambda n: [str(i + 1) for i in range(n)],
    "words": lambda n: [f"u {i}" for i in range(n)],
    "huge": lambda n: [str(2**63 + i) for i in range(n)],
    "signs": lambda n: [f"{c}{i}" for i, c in zip(range(n), "é😀ש日<&" * n, strict=False)],
    "below": lambda n: [str(-i) for i in range(n)],
}
STARS = {
    "stars": lambda rng, n: rng.integers(1, 6, n),
    "equal": lambda rng, n: np.full(n, 3),
    "thumbs": lambda rng, n: rng.integers(0, 2, n) * 2 - 1,
    "below": lambda rng, n: rng.integers(-10, 11, n),
    "all below": lambda rng, n: -rng.integers(1, 11, n),
    "noughts": lambda rng, n: np.zeros(n),
    "counts": lambda rng, n: rng.zipf(1.5, n).clip(max=10**8),
    "huge": lambda rng, n: np.where(rng.random(n) < 0.02, 1e300, 3),
    "infinite": lambda rng, n: np.where(rng.random(n) < 0.1, np.inf, rng.integers(1, 6, n)),
    "nearly equal": lambda rng, n: 4 + 1e-5 * rng.random(n),
    "mostly the best": lambda rng, n: np.where(rng.random(n) < 0.03, rng.integers(1, 5, n), 5),
    "tiny": lambda rng, n: 1e-12 * rng.integers(1, 6, n),
}
SAID = {
    "words": lambda rng, i: " ".join(rng.choice(WORDS, rng.integers(1, 6))),
    "alike": lambda rng, i: "am bn co",
    "nothing": lambda rng, i: "",
    "two": lambda rng, i: ["am", "bn"][i % 2],
    "gaps": lambda rng, i: "" if rng.random() < 0.5 else " ".join(rng.choice(WORDS, 4)),
    "signs": lambda rng, i: " ".join(rng.choice(list("😀😁🎬👩‍🚀"), 4)),
    "letters": lambda rng, i: " ".join(rng.choice(list("abcxyz"), 4)),
    "to the left": lambda rng, i: "\u202e" + " ".join(rng.choice(["שלום", "עולם", "مرحبا"], 3)),
    "chinese": lambda rng, i: "".join(rng.choice(list("一二三四五六七八九十"), 12)),
    "long": lambda rng, i: "am bn " * 20_000 if i == 3 else " ".join(rng.choice(WORDS, 4)),
    "marks": lambda rng, i: " ".join(rng.choice(list("?!.;"), 4)),
    "script": lambda rng, i: f"<script>alert({i})</script> {rng.choice(WORDS)}",
}
TIMES = {
    "none": None,
    "drawn": lambda rng, n: rng.integers(10**9, 1.6 * 10**9, n),
    "equal": lambda rng, n: np.full(n, 10**9),
    "future": lambda rng, n: rng.integers(4 * 10**9, 5 * 10**9, n),
    "gaps": lambda rng, n: np.where(rng.random(n) < 0.3, "", rng.integers(10**9, 1.6 * 10**9, n).astype(str)),
}


def mostly(usual, others):
    """Draw the usual half of the time, so that most files differ from it in a thing or two."""
    return st.one_of(st.just(usual), st.sampled_from(sorted(others)))


@st.composite
def files(draw):
    return {
        "seed": draw(st.integers(0, 5)),
        "users": draw(mostly(90, [1, 61, 75, 200])), "items": draw(mostly(90, [1, 61, 75, 200])),
        "taken": draw(mostly(8, [2, 3, 20])), "unknown": draw(st.booleans()),
        "ids": draw(mostly("numbers", IDS)), "stars": draw(mostly("stars", STARS)),
        "said": draw(mostly("words", SAID)), "times": draw(mostly("drawn", TIMES)),
        "titled": draw(mostly("own", ["own", "none", "alike", "absent"])),
        "genres": draw(mostly("none", ["none", "lists", "one", "all alike"])),
        "split": draw(mostly("random", ["temporal"])), "quick": draw(st.booleans()),
        "n_tokens": draw(mostly(0, [1, 3, 1000])), "reduction": draw(mostly("pca", ["truncated_svd", "random"])),
    }  # fmt: skip


def write(folder, how):
    """Write ratings.csv and items.csv in the way that was drawn."""
    rng = np.random.default_rng(how["seed"])
    users, items = (IDS[how["ids"]](how[side]) for side in ("users", "items"))
    took = [(user, i) for user in users for i in rng.choice(len(items), min(how["taken"], len(items)), False)]
    log = pd.DataFrame(
        {"user_id": [user for user, _ in took], "item_id": [items[i] for _, i in took]}, dtype="str"
    )
    if how["unknown"]:  # rated, and in no catalogue
        log = pd.concat([log, log.head(3).assign(item_id="999999")], ignore_index=True)
    log["rating"] = STARS[how["stars"]](rng, len(log))
    if TIMES[how["times"]]:
        log["timestamp"] = TIMES[how["times"]](rng, len(log))
    log.to_csv(folder / "ratings.csv", index=False)
    listed = pd.DataFrame({"item_id": items}, dtype="str")
    if how["titled"] != "absent":
        listed["title"] = {"own": [f"am {i}" for i in range(len(items))], "none": "", "alike": "x"}[
            how["titled"]
        ]
    listed["description"] = [SAID[how["said"]](rng, i) for i in range(len(items))]
    if how["genres"] != "none":
        genres = {"lists": ["A|B", "B", "", "A|C"], "one": ["A", "B"], "all alike": ["A"]}[how["genres"]]
        listed["genres"] = np.resize(genres, len(items))
    listed.to_csv(folder / "items.csv", index=False)


@given(files())
@settings(
    max_examples=600 if SLOW else 12, derandomize=True, deadline=None, database=None,
    phases=set(Phase) - {Phase.explain},
)  # fmt: skip
def test_any_files_are_measured_or_refused(tiny, how):
    try:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), how)
            data = load_csv(Path(folder, "ratings.csv"), Path(folder, "items.csv"))
        planned = plan(data, split=how["split"], quick=how["quick"], encoder=tiny)
        found = examine(planned, n_tokens=how["n_tokens"], reduction=how["reduction"], svd=FAST)
    except InputError as error:
        assert str(error).isprintable() and len(str(error)) > 20
        return
    sane(planned, found)
