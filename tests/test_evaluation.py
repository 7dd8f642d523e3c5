"""Splits and metrics, against Surprise's folds and against brute force."""

import numpy as np
import pandas as pd
import pytest
import surprise
from surprise.model_selection import KFold

from llmtok import InputError, Popularity, SurpriseRecommender, TokenSVD, evaluate, evaluate_ranking
from llmtok.evaluation import as_recommender, choose_threshold, interval, like_metrics, split
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
    ],
)
def test_split_refuses(settings, words):
    with pytest.raises(InputError, match=words):
        next(split(RATINGS, **settings))


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
