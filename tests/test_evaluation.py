"""Splits and metrics, against Surprise's folds and against brute force."""

import numpy as np
import pandas as pd
import pytest
import surprise
from scipy import stats
from surprise.model_selection import KFold

from llmtok import InputError, Popularity, SurpriseRecommender, TokenSVD, evaluate, evaluate_ranking
from llmtok.evaluation import (
    as_recommender,
    beyond_accuracy,
    choose_threshold,
    compare,
    interval,
    like_metrics,
    predict,
    split,
    split_by_time,
    top_lists,
)
from llmtok.recommend import Recommender, to_surprise


def make_ratings(seed=0, n=200):
    rng = np.random.default_rng(seed)
    pairs = rng.choice(30 * 20, n, replace=False)
    return pd.DataFrame(
        {"user_id": pairs // 20 + 1, "item_id": pairs % 20 + 100, "rating": rng.integers(1, 11, n) / 2},
        index=rng.permutation(n),  # folds must not lean on the index
    )


RATINGS = make_ratings()


class Fixed(Recommender):
    """Scores that are known beforehand: a frame of users by items."""

    def __init__(self, scores, seen=None):
        self.scores, self._seen = scores, seen or {}

    def fit(self, train):
        self.train = train
        return self

    def score(self, user):
        return self.scores.loc[user].dropna()


# --- split ---


@pytest.mark.parametrize("by", [None, "item_id", "user_id"])
def test_split_shares_out_every_rating_once(by):
    folds = list(split(RATINGS, 4, by=by))
    assert len(folds) == 4
    tested = pd.concat([test for _, test in folds])
    pd.testing.assert_frame_equal(tested.sort_index(), RATINGS.sort_index())
    for train, test in folds:
        assert len(train) + len(test) == len(RATINGS)
        assert not set(train.index) & set(test.index)
        if by:
            assert not set(train[by]) & set(test[by])


def test_split_is_surprise_s():
    for random_state in (0, 7):
        theirs = KFold(n_splits=3, shuffle=True, random_state=random_state).split(to_surprise(RATINGS))
        for (_, test), (_, their_test) in zip(
            split(RATINGS, 3, random_state=random_state), theirs, strict=True
        ):
            ours = set(zip(test["user_id"], test["item_id"], test["rating"], strict=True))
            assert ours == set(their_test)


def test_split_draws_by_seed():
    first, again, other = (next(split(RATINGS, 3, by="item_id", random_state=s))[1] for s in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert set(first["item_id"]) != set(other["item_id"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_splits": 1}, "n_splits=1: there are 200 ratings"),
        ({"n_splits": 201}, "n_splits=201"),
        ({"n_splits": 21, "by": "item_id"}, "there are 20 item_ids"),
        ({"by": "title"}, "by='title'"),
        ({"given": 3}, "given=3, by=None"),
        ({"given": -1, "by": "user_id"}, "given=-1"),
        ({"given": 1.5, "by": "user_id"}, "given=1.5"),
    ],
)
def test_split_refuses(settings, words):
    with pytest.raises(InputError, match=words):
        next(split(RATINGS, **settings))


# --- split: a few ratings given ---


@pytest.mark.parametrize("by", ["user_id", "item_id"])
def test_given_ratings_go_to_training_and_the_test_stays(by):
    folds = {k: list(split(RATINGS, 4, by=by, given=k, random_state=1)) for k in (0, 1, 2, 99)}
    whole = list(split(RATINGS, 4, by=by, random_state=1))
    for fold, (others, hidden) in enumerate(whole):
        sizes = hidden[by].value_counts().sort_index()
        before = set(others.index)
        for k, splits in folds.items():
            train, test = splits[fold]
            pd.testing.assert_frame_equal(test, folds[0][fold][1])  # whatever k is
            pd.testing.assert_frame_equal(RATINGS.loc[train.index], train)
            assert test[by].value_counts().sort_index().eq((sizes + 1) // 2).all()  # half, rounded up
            shown = set(train.index) - set(others.index)
            assert before <= set(train.index)  # what is given for a smaller k, and all of the others
            assert shown <= set(hidden.index) - set(test.index)
            counts = hidden.loc[list(shown), by].value_counts().reindex(sizes.index, fill_value=0)
            assert counts.eq(np.minimum(sizes // 2, k)).all()
            before = set(train.index)


def test_given_ratings_are_drawn_by_seed():
    ratings = pd.DataFrame({"user_id": np.repeat([1, 2], 40), "item_id": list(range(40)) * 2, "rating": 3.0})
    folds = {s: list(split(ratings, 2, by="user_id", given=5, random_state=s)) for s in (0, 1)}
    again = list(split(ratings, 2, by="user_id", given=5, random_state=0))
    for (train, test), (same_train, same_test) in zip(folds[0], again, strict=True):
        pd.testing.assert_frame_equal(train, same_train)
        pd.testing.assert_frame_equal(test, same_test)
    tested = {s: set(pd.concat([test for _, test in f]).index) for s, f in folds.items()}
    assert len(tested[0]) == len(tested[1]) == 40 and tested[0] != tested[1]
    first, second = (set(ratings.loc[list(tested[0])].query(f"user_id == {u}")["item_id"]) for u in (1, 2))
    assert first != second  # each user's own draw
    assert 0 < len(first & set(range(20))) < 20  # and not the first or last ratings


def test_given_nothing_of_a_single_rating():
    ratings = pd.DataFrame({"user_id": [1, 2, 3], "item_id": [1, 1, 1], "rating": 3.0})
    for train, test in split(ratings, 3, by="user_id", given=4):
        assert (len(train), len(test)) == (2, 1)


# --- split by time ---


def test_split_by_time_is_one_cut_and_ties_stay_together():
    rng = np.random.default_rng(0)
    for n_moments in (2, 7, 1000):
        ratings = RATINGS.assign(timestamp=rng.integers(0, n_moments, len(RATINGS)))
        for test_size in (0.05, 0.2, 0.5, 0.99):
            train, test = split_by_time(ratings, test_size)
            assert len(train) and len(test)
            assert train["timestamp"].max() < test["timestamp"].min()
            pd.testing.assert_frame_equal(pd.concat([train, test]).loc[ratings.index], ratings)
            assert train.index.tolist() == [i for i in ratings.index if i in set(train.index)]  # same order
            cuts = [(ratings["timestamp"] >= t).mean() for t in ratings["timestamp"].unique()]
            nearest = min(abs(share - test_size) for share in cuts if share < 1)
            assert abs(len(test) / len(ratings) - test_size) == pytest.approx(nearest)


def test_split_by_time_by_hand():
    ratings = RATINGS.iloc[:10].assign(timestamp=[1, 2, 3, 4, 5, 6, 7, 8, 8, 8])
    assert split_by_time(ratings)[1]["timestamp"].tolist() == [8, 8, 8]  # 0.3 is the nearest to 0.2
    ratings["timestamp"] = [1, 9, 9, 9, 9, 9, 9, 9, 9, 9]
    assert len(split_by_time(ratings)[0]) == 1  # the only cut there is
    ratings["timestamp"] = pd.date_range("2020-01-01", periods=10, tz="UTC")[::-1]
    train, test = split_by_time(ratings)
    pd.testing.assert_frame_equal(test, ratings.iloc[:2])
    pd.testing.assert_frame_equal(train, ratings.iloc[2:])
    ratings["timestamp"] = pd.array(range(10), dtype="Int64")
    assert len(split_by_time(ratings, 0.3)[1]) == 3


def test_split_by_time_refuses():
    with pytest.raises(InputError, match="no column timestamp"):
        split_by_time(RATINGS)
    with pytest.raises(InputError, match="all timestamps are equal"):
        split_by_time(RATINGS.assign(timestamp=5))
    missing = pd.array([None, None, *range(198)], dtype="Int64")
    with pytest.raises(InputError, match="2 of 200 have no timestamp"):
        split_by_time(RATINGS.assign(timestamp=missing))
    for test_size in (0, 1, 20):
        with pytest.raises(InputError, match=f"test_size={test_size}"):
            split_by_time(RATINGS.assign(timestamp=range(200)), test_size)


# --- predict ---


class Plain:
    """Somebody else's model: no base class, a fit that returns nothing, an answer with an index of its own."""

    def fit(self, train):
        self.mean = train.groupby("item_id")["rating"].mean()
        self.default = train["rating"].mean()

    def predict_ratings(self, pairs):
        answer = pairs["item_id"].map(self.mean).fillna(self.default)
        return answer.set_axis(range(len(answer))[::-1])


def test_predict_carries_ours_surprise_s_and_anybody_s():
    embeddings = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 4)), index=range(100, 120))
    token_svd = TokenSVD(embeddings, reducer="passthrough", n_factors=2, n_epochs=2)
    models = {"theirs": surprise.BaselineOnly(verbose=False), "ours": token_svd, "anybody's": Plain()}
    folds = list(split(RATINGS.assign(timestamp=1), 3))
    predicted = predict(models, folds)
    assert predicted.columns.tolist() == ["user_id", "item_id", "rating", "fold", *models]
    tested = pd.concat([test for _, test in folds])
    pd.testing.assert_frame_equal(
        predicted[["user_id", "item_id", "rating"]], tested.drop(columns="timestamp")
    )
    assert predicted["fold"].tolist() == [
        fold for fold, (_, test) in enumerate(folds) for _ in range(len(test))
    ]
    for fold, (train, test) in enumerate(folds):
        for name, model in models.items():
            model = as_recommender(model)
            model.fit(train)
            expected = np.asarray(model.predict_ratings(test))
            np.testing.assert_array_equal(predicted.loc[predicted["fold"] == fold, name], expected)
    table = evaluate(models, folds)  # the same numbers, summed up
    errors = predicted[list(models)].sub(predicted["rating"], axis=0)
    rmse = (errors**2).groupby(predicted["fold"]).mean() ** 0.5
    mae = errors.abs().groupby(predicted["fold"]).mean()
    for name in models:
        np.testing.assert_allclose(table.loc[name, "RMSE"], rmse[name])
        np.testing.assert_allclose(table.loc[name, "MAE"], mae[name])
    assert table.columns.tolist() == ["RMSE", "MAE", "fit seconds", "predict seconds"]
    assert (table[["fit seconds", "predict seconds"]] >= 0).all(axis=None)


class Answers(Plain):
    def __init__(self, answer):
        self.answer = answer

    def predict_ratings(self, pairs):
        return self.answer(len(pairs))


def test_predict_takes_a_column_of_answers():
    found = predict({"column": Answers(lambda n: np.full((n, 1), 3))}, split(RATINGS, 2))
    assert found["column"].eq(3.0).all()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda n: np.r_[np.nan, np.ones(n - 1)], "odd, fold 0: 99 predictions for 100 test ratings"),
        (lambda n: np.ones(n + 1), "odd, fold 0: 101 predictions for 100"),
        (lambda n: np.full(n, np.inf), "0 predictions"),
    ],
)
def test_predict_wants_an_answer_to_every_test_rating(answer, words):
    for run in (predict, evaluate):
        with pytest.raises(InputError, match=words):
            run({"odd": Answers(answer)}, split(RATINGS, 2))


def test_predict_refuses():
    model = Plain()
    with pytest.raises(InputError, match="nothing to evaluate"):
        predict({"m": model}, [])
    with pytest.raises(InputError, match="nothing to evaluate"):
        predict({}, split(RATINGS, 2))
    with pytest.raises(InputError, match="'fold' names a column"):
        predict({"m": model, "fold": model}, split(RATINGS, 2))
    with pytest.raises(InputError, match=r"this is one pair; write \[fold\]"):
        predict({"m": model}, next(split(RATINGS, 2)))
    with pytest.raises(InputError, match=r"has no predict_ratings\(\)"):
        predict({"m": type("OnlyFit", (), {"fit": lambda self, train: self})()}, split(RATINGS, 2))
    with pytest.raises(InputError, match=r"has no score\(\)"):
        top_lists({"m": model}, [1], pd.Index([100]))


# --- evaluate ---


def test_evaluate_by_hand():
    train = RATINGS.iloc[:150]
    test = RATINGS.iloc[150:153].assign(rating=[1.0, 2.0, 5.0])
    scores = pd.DataFrame(3.0, index=range(1, 31), columns=range(100, 120))
    table = evaluate({"three": Fixed(scores)}, [(train, test), (train, test.iloc[:1])])
    assert table.index.tolist() == [("three", 0), ("three", 1)]
    np.testing.assert_allclose(table["RMSE"], [np.sqrt((4 + 1 + 4) / 3), 2.0])
    np.testing.assert_allclose(table["MAE"], [5 / 3, 2.0])
    assert (table["fit seconds"] >= 0).all()


def test_evaluate_fits_on_the_training_set_and_wraps_surprise():
    folds = list(split(RATINGS, 3))
    algo = surprise.BaselineOnly(verbose=False)
    model = Fixed(pd.DataFrame(3.0, index=range(1, 31), columns=range(100, 120)))
    table = evaluate({"z": algo, "a": model}, folds)
    assert table.index.get_level_values("model").unique().tolist() == ["z", "a"]  # in the order given
    pd.testing.assert_frame_equal(model.train, folds[-1][0])
    assert algo.trainset.n_ratings == len(folds[-1][0])  # and fitted it stays
    for fold, (train, test) in enumerate(folds):
        algo.fit(to_surprise(train).build_full_trainset())
        predicted = algo.test(list(test[["user_id", "item_id", "rating"]].itertuples(index=False, name=None)))
        assert table.loc[("z", fold), "RMSE"] == pytest.approx(
            surprise.accuracy.rmse(predicted, verbose=False)
        )
        assert table.loc[("z", fold), "MAE"] == pytest.approx(surprise.accuracy.mae(predicted, verbose=False))


def test_as_recommender():
    svd = TokenSVD(pd.DataFrame([[1.0]]))  # both: an algorithm of Surprise's, and a recommender
    assert as_recommender(svd) is svd
    assert isinstance(as_recommender(surprise.SVD()), SurpriseRecommender)


def test_evaluate_needs_something():
    folds = split(RATINGS, 3)
    evaluate({"baseline": surprise.BaselineOnly(verbose=False)}, folds)
    with pytest.raises(InputError, match="used up"):
        evaluate({"baseline": surprise.BaselineOnly(verbose=False)}, folds)


# --- compare ---


def make_values(differences, n=600, seed=0):
    """Errors of users: some are hard for every model, and a few are very hard."""
    rng = np.random.default_rng(seed)
    hard = rng.gamma(3, 0.3, (n, 1))
    noise = 0.05 * rng.standard_t(3, (n, 1 + len(differences)))
    names = ["base", *(f"m{i}" for i in range(len(differences)))]
    return pd.DataFrame(hard + noise + [0, *differences], columns=names)


def test_compare_finds_what_is_planted_and_nothing_else():
    values = make_values([-0.03, 0.0, 0.03, 0.0])[["m0", "m1", "base", "m2", "m3"]]
    table = compare(values, "base")
    assert table.index.tolist() == ["m0", "m1", "m2", "m3"] and table.index.name == "model"
    assert table["significant"].tolist() == [True, False, True, False]
    assert (
        np.sign(table.loc[["m0", "m2"], "difference"]) == [-1, 1]
    ).all()  # the model's less the baseline's
    np.testing.assert_allclose(table["mean"], values.drop(columns="base").mean())
    np.testing.assert_allclose(table["difference"], table["mean"] - values["base"].mean(), atol=1e-12)
    assert table["difference"].between(table["low"], table["high"]).all()
    assert (table["low"] <= [-0.03, 0, 0.03, 0]).all() and (table["high"] >= [-0.03, 0, 0.03, 0]).all()
    # Two intervals of the means, which forget the pairs, would have seen nothing.
    assert interval(values["m0"])[1] > interval(values["base"])[0]


def test_compare_is_scipy_s_tests():
    values = make_values([-0.004, -0.005, 0.0, 0.001], seed=2)
    table = compare(values, "base")
    for name, row in table.iterrows():
        difference = values[name] - values["base"]
        assert row["p"] == pytest.approx(stats.ttest_1samp(difference, 0).pvalue)
        assert (row["low"], row["high"]) == interval(difference)
    ordered = table["p"].sort_values()  # Benjamini and Hochberg by hand: p times m / rank, never falling
    steps = (ordered * len(ordered) / np.arange(1, len(ordered) + 1))[::-1].cummin()[::-1].clip(upper=1)
    np.testing.assert_allclose(table["p corrected"], steps[table.index])
    assert (table["p corrected"] >= table["p"]).all()
    pd.testing.assert_frame_equal(compare(values, "base"), table)
    wide = compare(values, "base", confidence=0.999, random_state=1)
    assert (wide["low"] < table["low"]).all() and (wide["high"] > table["high"]).all()
    some = table["p corrected"].between(0.001, 0.05)
    assert (table["significant"] & some).any() and not (wide["significant"] & some).any()


def test_compare_counts_how_often_it_was_asked():
    """Five models that differ in nothing: without correction one in five tables would find something."""
    tables = [compare(make_values([0.0] * 5, n=100, seed=seed), "base") for seed in range(60)]
    assert sum(table["significant"].any() for table in tables) <= 7  # 3 are expected
    assert sum((table["p"] < 0.05).any() for table in tables) > 7


def test_compare_agrees_with_a_permutation_test():
    values = make_values([-0.01], n=300, seed=0)
    theirs = stats.permutation_test(
        (values["m0"], values["base"]),
        lambda a, b, axis: (a - b).mean(axis=axis),
        permutation_type="samples",
        n_resamples=4999,
        batch=500,
        rng=np.random.default_rng(0),
    )
    assert 0.01 < theirs.pvalue < 0.5
    assert compare(values, "base").loc["m0", "p"] == pytest.approx(theirs.pvalue, abs=0.02)


def test_compare_of_a_model_with_itself():
    values = make_values([0.01])
    table = compare(values.assign(twin=values["base"]), "base")
    assert table.loc["twin", ["difference", "low", "high", "p"]].tolist() == [0, 0, 0, 1]
    assert not table.loc["twin", "significant"] and table.loc["m0", "significant"]


def test_compare_refuses():
    values = make_values([0.0])
    for hole in (np.nan, np.inf, "high"):
        broken = values.astype(object)
        broken.iloc[3, 1] = hole
        with pytest.raises(InputError, match="values: 1 are missing"):
            compare(broken, "base")
    with pytest.raises(InputError, match="600 rows and the models base, m0; two rows, 'SVD'"):
        compare(values, "SVD")
    with pytest.raises(InputError, match="1 rows"):
        compare(values.head(1), "base")
    with pytest.raises(InputError, match="another model"):
        compare(values[["base"]], "base")


# --- ranking ---


def brute_force(model, test, candidates, k, liked):
    rows = {}
    for user, own in test.groupby("user_id"):
        good = set(own.loc[own["rating"] >= liked, "item_id"]) & set(candidates)
        if not good:
            continue
        scores, seen = model.score(user), set(model.seen(user))
        order = sorted(
            (i for i in candidates if i in scores.index and i not in seen),
            key=lambda i: (-scores[i], list(candidates).index(i)),
        )
        gain = np.array([i in good for i in order[:k]], dtype=float)
        discount = 1 / np.log2(np.arange(k) + 2)
        ideal = discount[: min(len(good), k)].sum()
        rows[user] = (gain @ discount[: len(gain)] / ideal, gain.sum() / len(good))
    return pd.DataFrame.from_dict(rows, orient="index", columns=[f"NDCG@{k}", f"recall@{k}"])


@pytest.mark.parametrize("id_type", [int, str])
@pytest.mark.parametrize("k", [1, 5])
def test_ranking_against_brute_force(id_type, k):
    ratings = RATINGS.astype({"user_id": id_type, "item_id": id_type})
    train, test = next(split(ratings, 3))
    rng = np.random.default_rng(3)
    items = ratings["item_id"].unique()
    users = ratings["user_id"].unique()
    scores = pd.DataFrame(rng.integers(0, 6, (len(users), len(items))) / 1.0, index=users, columns=items)
    scores = scores.mask(rng.random(scores.shape) < 0.2)  # ties, and items that are not scored
    seen = {u: rows.to_numpy() for u, rows in train.groupby("user_id")["item_id"]}
    models = {"fixed": Fixed(scores, seen), "popular": Popularity().fit(train)}
    candidates = pd.Index(rng.permutation(items))[:-2]  # two liked items may not be among them
    table = evaluate_ranking(models, test, candidates, k=k, liked=3.5)
    assert table.index.names == ["model", "user_id"]
    for name, model in models.items():
        expected = brute_force(model, test, candidates, k, 3.5)
        found = table.loc[name].sort_index()
        np.testing.assert_allclose(found, expected.sort_index(), atol=1e-9)
        assert found.index.tolist() == sorted(expected.index)
    assert table["recall@" + str(k)].between(0, 1).all()
    again = evaluate_ranking(models, test, candidates, k=k, liked=3.5)
    pd.testing.assert_frame_equal(table, again)


def test_ranking_leaves_out_what_was_seen_and_who_likes_nothing():
    items = pd.Index(["a", "b", "c", "d"])
    scores = pd.DataFrame([[4.0, 3.0, 2.0, 1.0]] * 3, index=["u", "v", "w"], columns=items)
    model = Fixed(scores, {"u": np.array(["a", "b", "gone"])})
    test = pd.DataFrame({"user_id": ["u", "v", "w"], "item_id": ["c", "c", "c"], "rating": [5.0, 4.0, 3.5]})
    table = evaluate_ranking({"m": model}, test, items, k=1)
    assert table.to_dict("index") == {
        ("m", "u"): {"NDCG@1": 1.0, "recall@1": 1.0},  # c is first, once a and b are gone
        ("m", "v"): {"NDCG@1": 0.0, "recall@1": 0.0},
    }
    assert evaluate_ranking({"m": model}, test, items, k=3).loc[("m", "v"), "NDCG@3"] == pytest.approx(0.5)


def test_ranking_of_a_model_that_scores_nothing_is_zero():
    test = pd.DataFrame({"user_id": [1], "item_id": [100], "rating": [5.0]})
    nothing = Fixed(pd.DataFrame(np.nan, index=[1], columns=[100]))
    assert evaluate_ranking({"none": nothing}, test, pd.Index([100])).to_numpy().sum() == 0


def test_ranking_needs_something_to_find():
    with pytest.raises(InputError, match="4 or more"):
        evaluate_ranking({}, RATINGS.assign(rating=3.5), pd.Index(RATINGS["item_id"].unique()))
    with pytest.raises(InputError, match="nothing to find"):
        evaluate_ranking({}, RATINGS, pd.Index([-1]))


def test_top_lists_order_and_leave_out():
    """Of equal scores the first candidate; not what was seen, not what has no score, not what is no candidate."""
    scores = pd.DataFrame([[3.0, 9.0, 3.0, np.nan, 8.0, 1.0]], index=["u"], columns=list("abcdef"))
    lists = top_lists({"m": Fixed(scores, {"u": ["e", "z"]})}, ["u"], pd.Index(list("cabdfgc")), k=3)
    assert lists["item_id"].tolist() == ["b", "c", "a"]
    assert lists["rank"].tolist() == [1, 2, 3]
    nobody = top_lists({"m": Fixed(scores)}, [], pd.Index(["a"]))
    assert nobody.empty and nobody.columns.tolist() == lists.columns.tolist()


def test_top_lists_are_what_is_recommended():
    train, _ = next(split(RATINGS, 3))
    models = {"popular": Popularity().fit(train), "baseline": surprise.BaselineOnly(verbose=False)}
    SurpriseRecommender(models["baseline"]).fit(train)
    users, catalogue = [1, 5, 9], pd.Index(range(100, 120))
    lists = top_lists(models, iter(users), catalogue, k=4)
    assert lists.columns.tolist() == ["model", "user_id", "rank", "item_id"]
    assert lists[["model", "user_id"]].drop_duplicates().to_numpy().tolist() == [
        [m, u] for m in models for u in users
    ]
    for (name, user), rows in lists.groupby(["model", "user_id"]):
        assert rows["rank"].tolist() == [1, 2, 3, 4]
        assert rows["item_id"].tolist() == as_recommender(models[name]).recommend(user, 4).index.tolist()
    few = top_lists(models, users, catalogue[:2], k=4)
    assert set(few["item_id"]) <= {100, 101} and few["rank"].max() <= 2


def test_coverage_and_novelty_by_hand():
    train = pd.DataFrame(
        {"user_id": [1, 2, 3, 4, 1, 2, 1, 1], "item_id": ["all"] * 4 + ["half"] * 2 + ["one"] * 2}
    )  # user 1 rated "one" twice, and is one user all the same
    candidates = pd.Index(["all", "half", "one", "nobody", "never shown"])
    lists = pd.DataFrame(
        [
            ("known", 1, 1, "all"),
            ("known", 2, 1, "all"),
            ("mixed", 1, 1, "half"),
            ("mixed", 1, 2, "one"),
            ("mixed", 2, 1, "nobody"),
            ("mixed", 3, 1, "half"),
            ("mixed", 3, 2, "nobody"),
        ],
        columns=["model", "user_id", "rank", "item_id"],
    )
    table = beyond_accuracy(lists, train, candidates)
    assert table.columns.tolist() == ["coverage@2", "novelty@2"]
    assert table.index.tolist() == ["known", "mixed"] and table.index.name == "model"
    assert table.loc["known"].tolist() == [1 / 5, 0.0]
    new = np.log2(5)  # a share of 1 / (4 + 1)
    expected = np.mean([(1 + 2) / 2, new, (1 + new) / 2])  # over users, not over rows
    np.testing.assert_allclose(table.loc["mixed"], [3 / 5, expected])
    assert beyond_accuracy(lists[lists["rank"] == 1], train, candidates).loc["mixed", "coverage@1"] == 2 / 5


def test_popularity_shows_little_and_nothing_new():
    train, _ = next(split(RATINGS, 3))
    catalogue = pd.Index(range(100, 120))
    rng = np.random.default_rng(0)
    random = Fixed(pd.DataFrame(rng.random((30, 20)), index=range(1, 31), columns=catalogue))
    lists = top_lists({"random": random, "popular": Popularity().fit(train)}, range(1, 31), catalogue, k=2)
    table = beyond_accuracy(lists, train, catalogue)
    assert (table.loc["random"] > table.loc["popular"]).all()
    assert table["coverage@2"].between(0, 1).all()
    assert table.loc["random", "coverage@2"] == lists.query("model == 'random'")["item_id"].nunique() / 20


def test_beyond_accuracy_refuses():
    lists = pd.DataFrame({"model": "m", "user_id": [1], "rank": [1], "item_id": [100]})
    with pytest.raises(InputError, match="no candidates"):
        beyond_accuracy(lists, RATINGS, pd.Index([101]))
    with pytest.raises(InputError, match="empty"):
        beyond_accuracy(lists.head(0), RATINGS, pd.Index([100]))


# --- yes or no ---


def test_threshold_is_the_best_there_is():
    rng = np.random.default_rng(0)
    ratings = rng.integers(1, 11, 300) / 2
    predicted = (ratings + rng.normal(scale=1.5, size=300)).round(1)
    best = choose_threshold(ratings, predicted)
    tried = {t: like_metrics(ratings, predicted, t)["F1"] for t in np.unique(predicted)}
    assert tried[best] == pytest.approx(max(tried.values()))
    assert choose_threshold(ratings, predicted, liked=2.0) < best


def test_like_metrics_by_hand():
    ratings, predicted = [5.0, 4.0, 3.0, 4.5, 1.0], [4.2, 3.0, 4.1, 3.9, 2.0]
    found = like_metrics(pd.Series(ratings, index=list("abcde")), predicted, 3.9)
    expected = {"precision": 2 / 3, "recall": 2 / 3, "F1": 2 / 3, "accuracy": 3 / 5}
    assert found.to_dict() == pytest.approx(expected)
    always = like_metrics(ratings, predicted, -np.inf)
    assert always.to_dict() == pytest.approx({"precision": 0.6, "recall": 1.0, "F1": 0.75, "accuracy": 0.6})
    never = like_metrics(ratings, predicted, np.inf)
    assert never.to_dict() == pytest.approx({"precision": 0.0, "recall": 0.0, "F1": 0.0, "accuracy": 0.4})
    strict = like_metrics(ratings, predicted, 3.9, liked=4.5)
    assert strict["recall"] == 1.0 and strict["precision"] == pytest.approx(2 / 3)


# --- interval ---


def test_interval():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        low, high = interval(rng.normal(size=40))
        covered += low <= 0 <= high
    assert 86 <= covered <= 99
    values = rng.exponential(size=200)
    low, high = interval(values)
    assert low < values.mean() < high
    half = 1.96 * values.std() / np.sqrt(200)  # the normal approximation is near
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.25 * half)
    assert interval(values) == interval(list(values)) == (low, high)
    assert interval(values, random_state=1) != (low, high)
    narrow = interval(values, confidence=0.5)
    assert low < narrow[0] < narrow[1] < high


def test_interval_of_equal_values_is_a_point():
    assert interval([2.5, 2.5, 2.5]) == (2.5, 2.5)
    assert interval([1.0]) == (1.0, 1.0)
