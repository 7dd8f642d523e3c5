"""The rivals that rank, on data small enough to do by hand."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
rankers = importlib.import_module("rankers")

RNG = np.random.default_rng(0)
TABLE = RNG.random((40, 12)) < 0.3
TRAIN = pd.DataFrame(np.argwhere(TABLE), columns=["user_id", "item_id"]).assign(rating=5.0)
DISLIKED = pd.DataFrame(np.argwhere(~TABLE)[::7], columns=["user_id", "item_id"]).assign(rating=1.0)
RATINGS = pd.concat([TRAIN, DISLIKED], ignore_index=True)
X = TABLE[np.unique(RATINGS["user_id"])].astype(float)
TEXTS = pd.DataFrame(RNG.normal(size=(15, 4)), index=range(15))  # 12, 13 and 14 are new


def scores(model):
    return pd.DataFrame({user: model.score(user) for user in np.unique(RATINGS["user_id"])}).T


def test_ease_is_one_ridge_regression_an_item():
    model = rankers.EASE(l2=3.0, liked=4.0).fit(RATINGS)
    for item in range(12):
        others = np.delete(X, item, axis=1)
        ridge = Ridge(alpha=3.0, fit_intercept=False).fit(others, X[:, item])
        np.testing.assert_allclose(scores(model)[item], ridge.predict(others), atol=1e-5)


def test_everything_rated_counts_where_nothing_says_liked():
    assert rankers.EASE().fit(RATINGS).x.sum() == len(RATINGS)
    assert rankers.EASE(liked=4.0).fit(RATINGS).x.sum() == len(TRAIN)
    assert set(rankers.EASE(liked=4.0).fit(RATINGS).seen(0)) == set(
        RATINGS.loc[RATINGS["user_id"] == 0, "item_id"]
    )


def test_l3ae_without_alignment_is_ease_and_with_much_is_the_text():
    ease = rankers.EASE(l2=3.0, liked=4.0).fit(RATINGS).B
    np.testing.assert_allclose(rankers.L3AE(TEXTS, 3.0, 0.0, liked=4.0).fit(RATINGS).B, ease, atol=1e-5)
    much = rankers.L3AE(TEXTS, 3.0, 1e6, liked=4.0).fit(RATINGS).B
    unit = TEXTS.loc[:11].to_numpy() / np.linalg.norm(TEXTS.loc[:11], axis=1, keepdims=True)
    inverse = np.linalg.inv(unit @ unit.T + 10 * np.eye(12))
    text = -inverse / np.diag(inverse)
    np.fill_diagonal(text, 0)
    np.testing.assert_allclose(much, text, atol=1e-3)
    some = rankers.L3AE(TEXTS, 3.0, 5.0, liked=4.0).fit(RATINGS).B
    np.testing.assert_allclose(np.diag(some), 0, atol=1e-5)
    # The least of |X - XB|^2 + 3 |B|^2 + 5 |B - S|^2: in each column the gradient is 0 but on the diagonal.
    gradient = X.T @ (X @ some - X) + 3 * some + 5 * (some - text)
    np.testing.assert_allclose(gradient - np.diag(np.diag(gradient)), 0, atol=1e-3)


def test_cosine_ranks_by_the_mean_of_the_history():
    model = rankers.Cosine(TEXTS, liked=4.0).fit(RATINGS)
    unit = TEXTS - TEXTS.loc[:11].mean()
    unit = unit.div(np.linalg.norm(unit, axis=1), axis=0)
    user = TRAIN["user_id"].iloc[0]
    profile = unit.loc[TRAIN.loc[TRAIN["user_id"] == user, "item_id"]].mean()
    np.testing.assert_allclose(model.score(user), unit @ profile / np.linalg.norm(profile), atol=1e-6)


@pytest.mark.parametrize("ease", [None, {"l2": 3.0, "liked": 4.0}])
def test_carried_is_a_ridge_regression_from_features(ease):
    model = rankers.Carried(TEXTS, ease, ridge=2.0, liked=4.0).fit(RATINGS)
    values = TEXTS - TEXTS.loc[:11].mean()
    values = np.c_[values.div(np.linalg.norm(values, axis=1), axis=0), np.ones(15)]
    target = X if ease is None else X @ rankers.EASE(**ease).fit(RATINGS).B
    ridge = Ridge(alpha=2.0, fit_intercept=False).fit(values[:12], target.T)
    np.testing.assert_allclose(scores(model), ridge.predict(values).T, atol=1e-5)


def test_carried_by_kernel():
    """The same by scikit-learn's kernel ridge; an item without features says nothing, and nothing is said of it."""
    model = rankers.Carried(TEXTS.drop(3), ridge=2.0, liked=4.0, kernel=True).fit(RATINGS)
    known = TEXTS.loc[:11].drop(3)
    unit = TEXTS.drop(3) - known.mean()
    unit = unit.div(np.linalg.norm(unit, axis=1), axis=0)
    ridge = KernelRidge(alpha=2.0, kernel="rbf", gamma=1.0)  # of unit vectors, exp(-|a - b|^2)
    ridge.fit(unit.loc[known.index], np.delete(X, 3, axis=1).T)
    np.testing.assert_allclose(scores(model), ridge.predict(unit).T, atol=1e-4)


def test_hybrid_adds_what_is_comparable():
    ease, cosine = rankers.EASE(3.0, 4.0), rankers.Cosine(TEXTS, 4.0)
    score = rankers.Hybrid(ease, cosine, 0.5).fit(RATINGS).score(0)
    one, two = ease.score(0), cosine.score(0).loc[:11]
    np.testing.assert_allclose(
        score, (one - one.mean()) / one.std() + 0.5 * (two - two.mean()) / two.std(), atol=1e-5
    )


def test_the_bounds():
    assert (
        rankers.TruePopularity(RATINGS, 4.0).fit(TRAIN[TRAIN["item_id"] > 5]).score(0)[0] == TABLE[:, 0].sum()
    )
    drawn = rankers.Random(TEXTS.index).fit(RATINGS)
    assert drawn.score(0).index.equals(TEXTS.index) and not drawn.score(0).equals(drawn.score(1))
