"""Recommenders on data made from a known model, and on the bundled ratings."""

import functools
import json

import numpy as np
import pandas as pd
import pytest
import surprise
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import CosineRecommender
from sklearn.decomposition import PCA
from surprise.model_selection import GridSearchCV, cross_validate
from threadpoolctl import threadpool_limits

from llmtok import (
    ImplicitRecommender,
    InputError,
    Popularity,
    SurpriseRecommender,
    TokenSVD,
    make_tokens,
    recommend,
)
from llmtok.recommend import HISTORY_PRIOR, TRUST_PRIOR, Recommender, from_trainset, to_surprise, to_trainset

N_USERS, N_ITEMS, WIDTH, RANK = 60, 120, 8, 3


def make_world(seed=0, noise=0.3):
    """Ratings from the model itself: the text moves biases and factors, the rest is noise."""
    rng = np.random.default_rng(seed)
    embeddings = pd.DataFrame(rng.normal(size=(N_ITEMS, WIDTH)), index=np.arange(N_ITEMS) * 3 + 7)
    said = embeddings.to_numpy() @ rng.normal(size=(WIDTH, 1 + RANK)) / np.sqrt(WIDTH)
    item = said + 0.2 * rng.normal(size=said.shape)
    user = np.c_[0.4 * rng.normal(size=N_USERS), rng.normal(size=(N_USERS, RANK)) / np.sqrt(RANK)]
    true = 3.5 + user[:, :1] + item[:, 0] * 0.5 + user[:, 1:] @ item[:, 1:].T
    users, items = np.nonzero(rng.random(true.shape) < 0.4)
    rating = true[users, items] + noise * rng.normal(size=len(users))
    return embeddings, pd.DataFrame(
        {"user_id": users + 1, "item_id": embeddings.index[items], "rating": rating}
    )


EMBEDDINGS, RATINGS = make_world()
COLD = EMBEDDINGS.index[::5]  # held out whole
WARM = RATINGS[~RATINGS["item_id"].isin(COLD)].reset_index(drop=True)
SMALL = {"reducer": "passthrough", "n_factors": RANK, "n_epochs": 15}


def make_people(seed=0, n_users=100, n_items=150, careless="users"):
    """Ratings with noise of its own for each user (or each item), from 0.2 to 2; returns the truth as well."""
    rng = np.random.default_rng(seed)
    embeddings = pd.DataFrame(rng.normal(size=(n_items, WIDTH)), index=np.arange(n_items) * 2 + 5)
    item = embeddings.to_numpy() @ rng.normal(size=(WIDTH, 1 + RANK)) / np.sqrt(WIDTH)
    item += 0.3 * rng.normal(size=item.shape)
    user = np.c_[0.4 * rng.normal(size=n_users), rng.normal(size=(n_users, RANK)) / np.sqrt(RANK)]
    true = 3.5 + user[:, :1] + 0.5 * item[:, 0] + user[:, 1:] @ item[:, 1:].T
    noise = np.exp(rng.uniform(np.log(0.2), np.log(2), n_users if careless == "users" else n_items))
    users, items = np.nonzero(rng.random(true.shape) < 0.6)
    whose = users if careless == "users" else items
    rating = true[users, items] + noise[whose] * rng.normal(size=len(users))
    ratings = pd.DataFrame({"user_id": users, "item_id": embeddings.index[items], "rating": rating})
    return embeddings, ratings, pd.DataFrame(true, columns=embeddings.index), noise


def own_ratings(ratings, user):
    return ratings[ratings["user_id"] == user].set_index("item_id")["rating"]


def rmse(model, pairs):
    return float(np.sqrt(np.mean((model.predict_ratings(pairs) - pairs["rating"]) ** 2)))


@pytest.fixture(scope="module")
def svd():
    return TokenSVD(EMBEDDINGS, **SMALL).fit(WARM)


@pytest.fixture(scope="module")
def people():
    """People who are careful, or not; nobody rated every seventh item."""
    embeddings, ratings, *_ = make_people()
    return embeddings, ratings[~ratings["item_id"].isin(embeddings.index[::7])]


@pytest.fixture(scope="module")
def careful(people):
    """A model of them with a side block and an audience."""
    embeddings, ratings = people
    return TokenSVD(embeddings, **SMALL, side={"year": embeddings[[0]]}).fit(ratings)


def one_line(error):
    return "\n" not in str(error.value)


# --- the model ---


def test_prediction_is_the_formula(svd):
    """For items with ratings. Those without move together: their rater's history says whom they suit."""
    for user in (1, 17):
        p = svd.user_factors_[svd.user_ids.get_loc(user)]
        q = pd.DataFrame(svd.item_factors_, index=svd.item_ids)
        formula = svd.mu_ + p[0] + q[0] + q.loc[:, 1:] @ p[1:]
        left = svd.score(user) - formula
        np.testing.assert_allclose(left.drop(COLD), 0.0, atol=1e-12)
        np.testing.assert_allclose(left[COLD], left[COLD[0]], atol=1e-12)
    assert svd.mu_ == pytest.approx(WARM["rating"].mean())


def test_predict_ratings_is_the_score_clipped(svd):
    predicted = svd.predict_ratings(RATINGS)
    low, high = WARM["rating"].min(), WARM["rating"].max()
    by_score = [svd.score(u)[i] for u, i in zip(RATINGS["user_id"], RATINGS["item_id"], strict=True)]
    np.testing.assert_allclose(predicted, np.clip(by_score, low, high), atol=1e-12)
    # Three times as sure of everything as user 1: ratings that fit, so they are believed, beyond the scale.
    fan = (svd.mu_ + 3 * (svd.score(1) - svd.mu_)).drop(COLD)
    assert svd.score(fan).max() > high


def test_items_nobody_rated_are_their_prior(svd):
    rows = svd.item_ids.get_indexer(COLD)
    features = np.c_[np.ones(len(COLD)), EMBEDDINGS.loc[COLD]]
    np.testing.assert_allclose(svd.item_factors_[rows], features @ svd.W_, atol=1e-12)


def test_tokens_help_where_text_drives_taste(svd):
    """Against vectors that say nothing, on the same split: a little when warm, a lot when cold."""
    noise = pd.DataFrame(np.random.default_rng(1).normal(size=EMBEDDINGS.shape), index=EMBEDDINGS.index)
    blind = TokenSVD(noise, **SMALL).fit(WARM)
    cold = RATINGS[RATINGS["item_id"].isin(COLD)]
    assert rmse(svd, cold) < 0.75 * rmse(blind, cold)
    few = WARM.sample(frac=1, random_state=0).groupby("item_id").head(10)  # little evidence
    rest = WARM.drop(few.index)
    assert rmse(TokenSVD(EMBEDDINGS, **SMALL).fit(few), rest) < 0.9 * rmse(
        TokenSVD(noise, **SMALL).fit(few), rest
    )


def test_recovers_the_noise(svd):
    assert np.sqrt(svd.noise_) == pytest.approx(0.3, abs=0.05)


def test_random_state_repeats(svd):
    again = TokenSVD(EMBEDDINGS, **SMALL).fit(WARM)
    np.testing.assert_array_equal(again.score(1), svd.score(1))
    other = TokenSVD(EMBEDDINGS, **SMALL, random_state=1).fit(WARM)
    assert not np.array_equal(other.user_factors_, svd.user_factors_)


def test_input_frames_stay_as_they_are():
    ratings, embeddings = WARM.copy(), EMBEDDINGS.copy()
    TokenSVD(embeddings, **SMALL, side={"year": embeddings[[0]]}).fit(ratings)
    pd.testing.assert_frame_equal(ratings, WARM)
    pd.testing.assert_frame_equal(embeddings, EMBEDDINGS)


def test_same_user_and_item_twice_counts_twice():
    """Two ratings by one user of one item: each enters with its own value."""
    twice = pd.concat([WARM, WARM.assign(rating=WARM["rating"] + 0.02)], ignore_index=True)
    model = TokenSVD(EMBEDDINGS, **SMALL).fit(twice)
    assert model.mu_ == pytest.approx(WARM["rating"].mean() + 0.01)
    assert rmse(model, WARM) < 0.35
    own = twice[twice["user_id"] == 5].set_index("item_id")["rating"]
    np.testing.assert_allclose(model.fold_in(own), model.user_factors_[model.user_ids.get_loc(5)], atol=1e-10)


def test_rated_items_without_an_embedding_work():
    missing = EMBEDDINGS.index[1]
    model = TokenSVD(EMBEDDINGS.drop(missing), **SMALL).fit(WARM)
    assert missing in model.item_ids
    assert np.isfinite(model.score(1)[missing])
    assert missing in model.seen(WARM.loc[WARM["item_id"] == missing, "user_id"].iloc[0])


def test_side_blocks_inform_the_prior():
    """What the embeddings lack is in a side block: cold items profit, and each block has its own columns."""
    half, rest = EMBEDDINGS[[0, 1, 2, 3]], EMBEDDINGS[[4, 5, 6, 7]]
    cold = RATINGS[RATINGS["item_id"].isin(COLD)]
    without = TokenSVD(half, **SMALL).fit(WARM)
    with_side = TokenSVD(half, **SMALL, side={"rest": rest}).fit(WARM)
    assert rmse(with_side, cold) < 0.9 * rmse(without, cold)
    assert with_side.blocks_ == {"text": slice(1, 5), "rest": slice(5, 9), "audience": slice(9, 59)}
    part = TokenSVD(half, **SMALL, side={"rest": rest.iloc[:50]}).fit(WARM)  # items it does not know: zeros
    assert np.isfinite(part.score(1)).all()


# --- whom to trust ---


@pytest.mark.parametrize("careless", ["users", "items"])
def test_learns_whom_to_trust(monkeypatch, careless):
    """The trust found is the true one, and knowing it brings the predictions nearer to the truth."""
    embeddings, ratings, true, noise = make_people(1, careless=careless)

    def distance(model):
        return np.sqrt(
            np.mean((np.array([model.score(u)[true.columns] for u in true.index]) - true.to_numpy()) ** 2)
        )

    model = TokenSVD(embeddings, **SMALL).fit(ratings)
    found, ids = {"users": (model.user_trust_, model.user_ids), "items": (model.item_trust_, model.item_ids)}[
        careless
    ]
    inverse = pd.Series(1 / noise**2, true.index if careless == "users" else true.columns)[ids]
    assert np.corrcoef(np.log(found), np.log(inverse))[0, 1] > 0.93
    others = model.item_trust_ if careless == "users" else model.user_trust_
    assert 0.6 < others.min() < others.max() < 1.6  # the side that is all of one kind
    monkeypatch.setattr(recommend, "TRUST_PRIOR", 1e12)
    alike = TokenSVD(embeddings, **SMALL).fit(ratings)
    np.testing.assert_allclose(alike.user_trust_, 1.0, atol=1e-6)
    assert distance(model) < 0.9 * distance(alike)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_trust_has_bounds(noise):
    """Who fits perfectly is not trusted without end, and who rates at random is trusted a little all the same."""
    rng = np.random.default_rng(0)
    said = WARM["item_id"].map(pd.Series(rng.normal(size=N_ITEMS), EMBEDDINGS.index))
    ratings = WARM.assign(rating=3.0 + said + noise * rng.normal(size=len(WARM)))
    if noise:
        at_random = ratings["user_id"] == 7
        ratings.loc[at_random, "rating"] = rng.normal(3.0, 3.0, size=at_random.sum())
    model = TokenSVD(EMBEDDINGS, **SMALL).fit(ratings)
    for trust, ids, key in (
        (model.user_trust_, model.user_ids, "user_id"),
        (model.item_trust_, model.item_ids, "item_id"),
    ):
        n = ratings[key].value_counts().reindex(ids, fill_value=0).to_numpy()
        assert ((trust > 0) & (trust <= 1 + n / TRUST_PRIOR)).all()
    np.testing.assert_array_equal(model.item_trust_[model.item_ids.get_indexer(COLD)], 1.0)  # nothing known
    if noise:
        trust = pd.Series(model.user_trust_, model.user_ids)
        assert trust[7] < 0.05 < 0.8 < trust.drop(7).min()
    for row, user in enumerate(model.user_ids):
        np.testing.assert_allclose(
            model.fold_in(own_ratings(ratings, user)), model.user_factors_[row], atol=1e-9
        )


def test_absurd_ratings_move_little(svd, monkeypatch):
    absurd = pd.Series([30.0, -20.0, 28.0, -30.0, 25.0], index=EMBEDDINGS.index[[1, 2, 3, 4, 6]])
    nobody = svd.score(999)
    moved = (svd.score(absurd) - nobody).abs().mean()
    monkeypatch.setattr(recommend, "TRUST_PRIOR", 1e12)
    assert moved < 0.5 * (svd.score(absurd) - nobody).abs().mean()


# --- the equations, one by one ---


def points(mean, cov):
    """Points whose average and covariance are exactly these: enough for what is quadratic."""
    steps = np.linalg.cholesky(cov) * np.sqrt(len(mean))
    return np.vstack([mean + steps.T, mean - steps.T])


@pytest.fixture
def equations():
    """Ratings of 3 rows of 6 others, one of which is rated twice; the second row has none."""
    rng = np.random.default_rng(3)
    k = 1 + RANK
    roots = 0.4 * rng.normal(size=(6, k, k))
    known = {
        "indptr": np.array([0, 4, 4, 9]),
        "indices": np.array([0, 2, 2, 5, 0, 1, 3, 4, 5]),
        "ratings": rng.normal(3.5, 1.0, size=9),
        "other": rng.normal(size=(6, k)),
        "other_cov": roots @ roots.transpose(0, 2, 1) + 0.01 * np.eye(k),
        "trust": rng.uniform(0.3, 3.0, size=6),
        "mu": 3.4,
    }
    prior, precision = rng.normal(size=(3, k)), rng.uniform(0.5, 3.0, size=k)
    weight = rng.uniform(0.5, 4.0, size=3)  # the row's own trust over the noise
    return known, prior, precision, weight


def test_a_row_is_solved_as_by_hand(equations):
    """Ridge regression with each rating's weight, written as loops; no rating at all gives the prior."""
    known, prior, precision, weight = equations
    mean, cov, _ = recommend._solve(*recommend._sum_ratings(**known), prior, precision, weight)
    for row in range(3):
        matrix, right = np.diag(precision), precision * prior[row]
        for p in range(known["indptr"][row], known["indptr"][row + 1]):
            o = known["indices"][p]
            w = weight[row] * known["trust"][o]
            cloud = points(known["other"][o], known["other_cov"][o])
            for b_and_q in cloud:
                z, y = np.r_[1.0, b_and_q[1:]], known["ratings"][p] - known["mu"] - b_and_q[0]
                matrix = matrix + w * np.outer(z, z) / len(cloud)
                right = right + w * z * y / len(cloud)
        np.testing.assert_allclose(mean[row], np.linalg.solve(matrix, right), rtol=1e-10)
        np.testing.assert_allclose(cov[row], np.linalg.inv(matrix), atol=1e-12)
    np.testing.assert_allclose(mean[1], prior[1], rtol=1e-12)


def test_squared_error_is_the_expectation(equations):
    """Of (r - mu - b_u - b_i - p . q)^2, where neither side is known exactly."""
    known, prior, precision, weight = equations
    mean, cov, error = recommend._solve(*recommend._sum_ratings(**known), prior, precision, weight)
    for row in range(3):
        expected = 0.0
        for p in range(known["indptr"][row], known["indptr"][row + 1]):
            o = known["indices"][p]
            mine, theirs = points(mean[row], cov[row]), points(known["other"][o], known["other_cov"][o])
            predicted = known["mu"] + mine[:, :1] + theirs[:, 0] + mine[:, 1:] @ theirs[:, 1:].T
            expected += known["trust"][o] * np.mean((known["ratings"][p] - predicted) ** 2)
        assert error[row] == pytest.approx(expected, rel=1e-10)


def test_trust_is_the_mean_of_its_gamma():
    """Gamma prior of mean 1 and n ratings' errors, on a grid: density t^(a-1) exp(-b t)."""
    t = np.linspace(1e-6, 12, 400_001)
    for n, error in ((0, 0.0), (3, 1.0), (40, 160.0)):
        log_density = (TRUST_PRIOR / 2 - 1 + n / 2) * np.log(t) - (TRUST_PRIOR + error) / 2 * t
        density = np.exp(log_density - log_density.max())
        assert recommend._trust(n, error) == pytest.approx((t * density).sum() / density.sum(), rel=1e-6)


def test_noise_is_what_is_left(people):
    """After many rounds the noise is the mean squared error, each weighted by both trusts, so trust is 1 on average."""
    embeddings, ratings = people
    model = TokenSVD(embeddings, **SMALL | {"n_epochs": 60}).fit(ratings)
    left = (model.predict_ratings(ratings) - ratings["rating"]).to_numpy() ** 2
    trust = model.user_trust_[model.user_ids.get_indexer(ratings["user_id"])]
    trust = trust * model.item_trust_[model.item_ids.get_indexer(ratings["item_id"])]
    assert (
        0.6 * model.noise_ < np.mean(trust * left) < model.noise_
    )  # less: what is not known exactly is missing
    assert model.user_trust_.mean() == pytest.approx(1.0, abs=0.02)
    assert model.item_trust_.mean() == pytest.approx(1.0, abs=0.05)


# --- the audience ---


def scaled_svd(dense, n):
    """The audience on a dense matrix by numpy."""
    scaled = dense / np.sqrt(dense.sum(axis=1, keepdims=True) * np.maximum(dense.sum(axis=0), 1))
    _, size, vectors = np.linalg.svd(scaled, full_matrices=False)
    return vectors[:n].T * size[:n]


def who_rated_what(n_users, n_items):
    """A dense matrix, and its compressed form; three items have nobody, one has everybody."""
    rng = np.random.default_rng(0)
    dense = rng.random((n_users, n_items)) < rng.uniform(0.1, 0.6, size=n_items)
    dense[:, [0, 7, n_items - 1]] = False
    dense[:, 1] = True
    return dense, np.r_[0, np.cumsum(dense.sum(axis=1))], np.nonzero(dense)[1]


@pytest.mark.parametrize(("n_users", "n_items", "n"), [(16, 40, 6), (40, 18, 10), (12, 30, 11), (3, 9, 2)])
def test_audience_is_a_scaled_svd(n_users, n_items, n):
    """Against numpy, up to the sign of a column and the scale of the whole; nobody's items have none."""
    dense, indptr, indices = who_rated_what(n_users, n_items)
    found, by_hand = recommend._audience(indptr, indices, n_items, n), scaled_svd(dense, n)
    assert found.shape == (n_items, n)
    assert np.mean(found[dense.any(axis=0)] ** 2) == pytest.approx(1.0)  # over the rated ones
    signs = np.sign((found * by_hand).sum(axis=0))
    np.testing.assert_allclose(
        found * signs / np.linalg.norm(found), by_hand / np.linalg.norm(by_hand), atol=1e-10
    )
    np.testing.assert_allclose(found[[0, 7, n_items - 1]], 0.0, atol=1e-10)
    np.testing.assert_array_equal(found, recommend._audience(indptr, indices, n_items, n))


def test_audience_of_more_data_is_nearly_so():
    """The singular vectors of a large matrix are found by chance (randomised SVD); the first are very near."""
    dense, indptr, indices = who_rated_what(200, 300)
    found, by_hand = recommend._audience(indptr, indices, 300, 20), scaled_svd(dense, 20)
    cosine = (
        np.abs((found * by_hand).sum(axis=0))
        / np.linalg.norm(found, axis=0)
        / np.linalg.norm(by_hand, axis=0)
    )
    assert cosine[0] > 0.9999
    reached = np.linalg.norm(found, axis=0) / np.linalg.norm(found[:, 0]) * np.linalg.norm(by_hand[:, 0])
    np.testing.assert_allclose(reached, np.linalg.norm(by_hand, axis=0), rtol=0.05)  # the singular values


def test_audience_is_in_the_features(svd):
    """Whatever the seed of the factors; and an item that nobody rated has none."""
    columns = svd.blocks_["audience"]
    other = TokenSVD(EMBEDDINGS, **SMALL, random_state=5).fit(WARM)
    assert columns == slice(1 + WIDTH, 1 + WIDTH + 50) == other.blocks_["audience"]
    np.testing.assert_array_equal(svd._features, other._features)
    np.testing.assert_allclose(svd._features[svd.item_ids.get_indexer(COLD), columns], 0.0, atol=1e-10)
    np.testing.assert_array_equal(svd._features[:, 1 : 1 + WIDTH], EMBEDDINGS)


@pytest.mark.parametrize(
    ("ratings", "n_audience", "width"),
    [
        (WARM, 7, 7),
        (WARM, 1000, N_USERS - 1),
        (WARM[WARM["user_id"] <= 4], 50, 3),
        (WARM[WARM["item_id"].isin(EMBEDDINGS.index[1:5])], 50, 3),
        (WARM, 0, 0),
        (WARM[WARM["user_id"] == 1], 50, 0),
        (WARM[WARM["item_id"] == EMBEDDINGS.index[1]], 50, 0),
        (WARM.head(1), 50, 0),
    ],
)
def test_audience_is_no_wider_than_the_data_allow(ratings, n_audience, width):
    model = TokenSVD(EMBEDDINGS, **SMALL, n_audience=n_audience).fit(ratings)
    block = model.blocks_.get("audience", slice(0, 0))
    assert block.stop - block.start == width
    assert ("audience" in model.blocks_) == (width > 0)
    assert all(np.isfinite(model.score(u)).all() for u in (ratings["user_id"].iloc[0], 999))
    own = own_ratings(ratings, ratings["user_id"].iloc[0])
    np.testing.assert_allclose(model.fold_in(own), model.user_factors_[0], atol=1e-10)


def test_audience_where_everybody_rated_everything():
    """It says nothing then, and is no division by nought."""
    ratings = pd.DataFrame(
        {"user_id": [1, 1, 2, 2], "item_id": [7, 10, 7, 10], "rating": [1.0, 2.0, 3.0, 4.0]}
    )
    model = TokenSVD(EMBEDDINGS.loc[[7, 10]], **SMALL).fit(ratings)
    np.testing.assert_allclose(model._features[:, model.blocks_["audience"]] ** 2, 1.0)
    assert np.isfinite(model.score(1)).all()


def test_what_nobody_rated_does_not_move_the_rest():
    """Thousands of further items in the catalogue, and the predictions for the rated ones are the same."""
    rng = np.random.default_rng(0)
    more = pd.DataFrame(rng.normal(size=(3000, WIDTH)), index=10_000 + np.arange(3000))
    few = TokenSVD(EMBEDDINGS.drop(COLD), **SMALL).fit(WARM)
    many = TokenSVD(pd.concat([EMBEDDINGS, more]), **SMALL).fit(WARM)
    np.testing.assert_allclose(many.predict_ratings(WARM), few.predict_ratings(WARM), atol=1e-10)


@pytest.mark.parametrize(("times", "plus"), [(20.0, 0.0), (1000.0, -3500.0), (0.001, 0.0), (1.0, 1e4)])
def test_the_unit_of_ratings_does_not_matter(svd, times, plus):
    """0 to 100 is learned as 1 to 5 is."""
    model = TokenSVD(EMBEDDINGS, **SMALL).fit(WARM.assign(rating=times * WARM["rating"] + plus))
    predicted = (model.predict_ratings(RATINGS) - plus) / times
    np.testing.assert_allclose(predicted, svd.predict_ratings(RATINGS), atol=1e-6)
    assert model.noise_ / times**2 == pytest.approx(svd.noise_, rel=1e-6)
    np.testing.assert_allclose(model.user_trust_, svd.user_trust_, rtol=1e-6)


# --- new items ---


def test_prior_of_new_items_knows_no_audience(careful, people):
    embeddings, _ = people
    hidden = embeddings.index[::7]
    assert careful.blocks_["audience"].start == len(careful.W_) == 1 + WIDTH + 1
    assert careful._features.shape[1] > len(careful.W_)
    features = np.c_[np.ones(len(hidden)), embeddings.loc[hidden], embeddings.loc[hidden, 0]]
    rows = careful.item_ids.get_indexer(hidden)
    np.testing.assert_allclose(careful.item_factors_[rows], features @ careful.W_, atol=1e-12)
    # They are as uncertain as the rated ones stray from what their features say.
    rated = np.setdiff1d(np.arange(len(careful.item_ids)), rows)
    stray = careful.item_factors_[rated] - careful._features[rated, : len(careful.W_)] @ careful.W_
    variance = (stray**2 + np.diagonal(careful._item_cov[rated], axis1=1, axis2=2)).mean(axis=0)
    np.testing.assert_allclose(careful._item_cov[rows], [np.diag(variance)] * len(rows), atol=1e-12)


def test_popularity_does_not_wreck_new_items():
    """Popular items are better here, and the text says nothing: then a new item is as good as any.

    That this test can fail is shown by the trap itself: log popularity as a feature, whose nought of the new items
    is extrapolated.
    """
    rng = np.random.default_rng(2)
    n_users, n_items = 150, 300
    embeddings = pd.DataFrame(rng.normal(size=(n_items, WIDTH)))
    good, kind = 0.6 * rng.normal(size=n_items), 0.3 * rng.normal(size=n_users)
    users, items = np.nonzero(rng.random((n_users, n_items)) < np.clip(0.1 * np.exp(2.5 * good), 0.01, 0.9))
    rating = 3.5 + good[items] + kind[users] + 0.5 * rng.normal(size=len(users))
    ratings = pd.DataFrame({"user_id": users, "item_id": items, "rating": rating})
    hidden = ratings["item_id"] % 5 == 0
    train, test = ratings[~hidden], ratings[hidden]
    away = (train["rating"] - train["rating"].mean()).groupby(train["user_id"])
    offset = (away.sum() / (away.size() + 5)).reindex(test["user_id"]).fillna(0.0).to_numpy()
    without_items = np.sqrt(np.mean((train["rating"].mean() + offset - test["rating"]) ** 2))
    assert rmse(TokenSVD(embeddings, **SMALL).fit(train), test) < 1.05 * without_items
    counts = train["item_id"].value_counts().reindex(embeddings.index).fillna(0.0)
    trap = TokenSVD(embeddings, **SMALL, side={"popularity": np.log1p(counts).to_frame()}).fit(train)
    assert rmse(trap, test) > 2 * without_items


def test_new_items_where_people_rate_what_suits_them():
    """The text says nothing; but that somebody rates an item says that it suits them, whatever it is."""
    rng = np.random.default_rng(1)
    n_users, n_items = 150, 300
    embeddings = pd.DataFrame(rng.normal(size=(n_items, WIDTH)))
    taste = rng.normal(size=(n_users, RANK)) / np.sqrt(RANK) @ rng.normal(size=(RANK, n_items))
    users, items = np.nonzero(rng.random(taste.shape) < 1 / (1 + np.exp(3 - 2 * taste)))
    rating = 3.5 + taste[users, items] + 0.5 * rng.normal(size=len(users))
    ratings = pd.DataFrame({"user_id": users, "item_id": items, "rating": rating})
    hidden = ratings["item_id"] % 5 == 0
    train, test = ratings[~hidden], ratings[hidden]
    mean = train.groupby("user_id")["rating"].mean().reindex(test["user_id"]).fillna(train["rating"].mean())
    as_usual = np.sqrt(np.mean((mean.to_numpy() - test["rating"]) ** 2))
    assert rmse(TokenSVD(embeddings, **SMALL).fit(train), test) < 1.05 * as_usual


# --- new users ---


def test_nothing_known_is_the_typical_history(svd):
    """The mean features of all ratings' items, through V; the same for everybody unknown."""
    nothing = pd.Series(dtype=float, index=EMBEDDINGS.index[:0])
    typical = svd._features[svd.item_ids.get_indexer(WARM["item_id"])].mean(axis=0)
    np.testing.assert_allclose(svd.fold_in(nothing), typical @ svd._V, atol=1e-12)
    np.testing.assert_array_equal(svd.score(998), svd.score(999))


def test_history_is_a_mean_with_some_typical_items(svd):
    rows = svd.item_ids.get_indexer(EMBEDDINGS.index[[1, 2, 3]])
    typical = svd._features[svd.item_ids.get_indexer(WARM["item_id"])].mean(axis=0)
    by_hand = (svd._features[rows].sum(axis=0) + HISTORY_PRIOR * typical) / (3 + HISTORY_PRIOR)
    found = svd._history(np.array([0, 0, 3]), rows)
    np.testing.assert_allclose(found, [typical, by_hand], atol=1e-12)
    np.testing.assert_allclose(found[:, 0], 1.0, atol=1e-12)  # the intercept stays one


def test_more_ratings_move_more(svd):
    """Somebody who gives one more than anybody would: the more ratings say so, the more it is believed."""
    nobody = svd.score(999)
    generous = (nobody + 1.0).drop(COLD).sample(frac=1, random_state=0)
    moved = [(svd.score(generous.head(n)) - nobody).drop(COLD).mean() for n in (1, 3, 10, 30, len(generous))]
    assert 0.0 < moved[0] < 0.5
    assert (np.diff(moved) > 0).all()
    assert 0.8 < moved[-1] < 1.2


# --- Surprise ---


def test_fit_takes_a_trainset(svd):
    trainset = to_trainset(WARM)
    assert (trainset.n_users, trainset.n_ratings) == (WARM["user_id"].nunique(), len(WARM))
    assert trainset.rating_scale == (WARM["rating"].min(), WARM["rating"].max())
    model = TokenSVD(EMBEDDINGS, **SMALL).fit(trainset)
    np.testing.assert_array_equal(model.score(3), svd.score(3))


@pytest.mark.parametrize("id_type", [int, str])
def test_surprise_predict_equals_score(id_type):
    ratings, embeddings = WARM.astype({"item_id": id_type, "user_id": id_type}), EMBEDDINGS.copy()
    embeddings.index = embeddings.index.astype(id_type)
    model = TokenSVD(embeddings, **SMALL).fit(ratings)
    for user in (id_type(3), id_type(999)):
        for item in (id_type(COLD[0]), id_type(EMBEDDINGS.index[1])):
            assert model.predict(user, item, clip=False).est == pytest.approx(
                model.score(user)[item], abs=1e-12
            )
    nobody, nothing = id_type(999), id_type(100_000)
    pairs = pd.DataFrame({"user_id": [nobody, id_type(3)], "item_id": [nothing] * 2, "rating": 0.0})
    by_surprise = [model.predict(u, nothing).est for u in pairs["user_id"]]
    np.testing.assert_allclose(model.predict_ratings(pairs), by_surprise, atol=1e-12)
    assert not model.predict(nobody, nothing).details["was_impossible"]


@pytest.mark.parametrize("id_type", [int, str])
def test_a_trainset_and_its_frame_are_one(id_type):
    """Rows in any order, a pair twice, an item without an embedding: the same predictions either way."""
    frame = WARM.astype({"item_id": id_type, "user_id": id_type}).sample(frac=1, random_state=1)
    frame = pd.concat(
        [frame, frame.head(1).assign(rating=4.0), frame.head(2).assign(item_id=id_type(100_000))]
    )
    embeddings = EMBEDDINGS.set_axis(EMBEDDINGS.index.astype(id_type))
    trainset = to_trainset(frame)
    back = from_trainset(trainset)
    key = ["user_id", "item_id", "rating"]
    pd.testing.assert_frame_equal(
        back[key].sort_values(key, ignore_index=True),
        frame[key].sort_values(key, ignore_index=True),
        check_dtype=False,
    )
    one, two = TokenSVD(embeddings, **SMALL).fit(frame), TokenSVD(embeddings, **SMALL).fit(trainset)
    np.testing.assert_allclose(one.predict_ratings(frame), two.predict_ratings(frame), atol=1e-10)
    pd.testing.assert_series_equal(one.score(id_type(3)).sort_index(), two.score(id_type(3)).sort_index())
    assert two.trainset is trainset
    for model in (one, two):
        rows = [
            model.predict(u, i).est
            for u, i in zip(frame["user_id"].head(30), frame["item_id"].head(30), strict=True)
        ]
        np.testing.assert_allclose(rows, model.predict_ratings(frame.head(30)), atol=1e-12)


def test_the_scale_of_a_trainset_is_kept(tmp_path):
    """What the reader says, not the ratings that there happen to be; after loading too."""
    reader = surprise.Reader(rating_scale=(3, 4))
    dataset = surprise.Dataset.load_from_df(WARM[["user_id", "item_id", "rating"]], reader)
    model = TokenSVD(EMBEDDINGS, **SMALL).fit(dataset.build_full_trainset())
    model.save(tmp_path / "model.npz")
    for one in (model, TokenSVD.load(tmp_path / "model.npz")):
        predicted = one.predict_ratings(WARM.head(200))
        assert (predicted.min(), predicted.max()) == (3.0, 4.0)
        rows = zip(WARM["user_id"].head(200), WARM["item_id"].head(200), strict=True)
        np.testing.assert_allclose([one.predict(u, i).est for u, i in rows], predicted, atol=1e-12)


def test_surprise_test_equals_predict_ratings(svd):
    """For known, cold and unknown ids, clipped, after a fit from a frame."""
    pairs = pd.concat(
        [
            RATINGS.sample(300, random_state=0),
            pd.DataFrame({"user_id": [999, 3, 999], "item_id": [7, 100_000, 100_000], "rating": 3.0}),
        ]
    )
    testset = list(pairs[["user_id", "item_id", "rating"]].itertuples(index=False, name=None))
    found = svd.test(testset)
    np.testing.assert_allclose([p.est for p in found], svd.predict_ratings(pairs), atol=1e-12)
    assert [(p.uid, p.iid, p.r_ui) for p in found] == testset
    assert svd.trainset.n_ratings == len(WARM)
    assert svd.trainset.global_mean == pytest.approx(svd.mu_)


@pytest.mark.parametrize("first", ["frame", "trainset"])
@pytest.mark.parametrize("second", ["frame", "trainset"])
def test_refit_forgets(first, second):
    """After another fit, on other users, items and scale, nothing of the first is left."""
    few = WARM[(WARM["user_id"] > 30) & (WARM["item_id"] > 100)].assign(rating=lambda d: 10 - d["rating"])
    pairs = pd.concat([few.head(50), WARM.head(50), pd.DataFrame({"user_id": [999], "item_id": [100_000]})])

    def everything(model):
        by_surprise = [
            model.predict(u, i).est for u, i in zip(pairs["user_id"], pairs["item_id"], strict=True)
        ]
        scores = [model.score(u).to_numpy() for u in (31, 2, 999)]
        return [model.predict_ratings(pairs), by_surprise, *scores, model.seen(2), model.trainset.n_ratings]

    def shape(kind, ratings):
        return ratings if kind == "frame" else to_trainset(ratings)

    model = TokenSVD(EMBEDDINGS, **SMALL).fit(shape(first, WARM))
    before = everything(model)
    after = everything(model.fit(shape(second, few)))
    fresh = everything(TokenSVD(EMBEDDINGS, **SMALL).fit(shape(second, few)))
    for a, b in zip(after, fresh, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(before[0], after[0])


def test_cross_validate():
    model = TokenSVD(EMBEDDINGS, **SMALL)
    found = cross_validate(model, to_surprise(WARM), ["rmse"], cv=3)
    assert found["test_rmse"].max() < WARM["rating"].std()


def test_grid_search():
    search = GridSearchCV(
        functools.partial(TokenSVD, EMBEDDINGS),
        {"n_factors": [1, 3], "reducer": ["passthrough"], "n_epochs": [10]},
        ["rmse"],
        cv=2,
    )
    search.fit(to_surprise(WARM))
    assert search.best_params["rmse"]["n_factors"] == 3  # the truth has three
    assert search.best_score["rmse"] < WARM["rating"].std()


# --- no leak ---


def test_reducer_is_cloned_and_fitted_on_rated_items_only():
    reducer = make_tokens(3)
    first = TokenSVD(EMBEDDINGS, reducer=reducer, n_factors=2, n_epochs=2).fit(WARM)
    assert not hasattr(reducer["reduce"], "components_")
    moved = EMBEDDINGS.copy()
    moved.loc[COLD] = 1000.0  # if these took part, they would dominate
    second = TokenSVD(moved, reducer=reducer, n_factors=2, n_epochs=2).fit(WARM)
    one, other = first.reducer_["reduce"].components_, second.reducer_["reduce"].components_
    np.testing.assert_allclose(one, other, atol=1e-12)
    by_hand = PCA(3).fit(EMBEDDINGS.drop(COLD))
    np.testing.assert_allclose(first.reducer_["reduce"].mean_, by_hand.mean_, atol=1e-12)
    np.testing.assert_allclose(
        np.abs(first.reducer_["reduce"].components_), np.abs(by_hand.components_), atol=1e-8
    )


# --- fold in, explain, recommend ---


def test_fold_in_of_own_ratings_is_the_stored_user(svd):
    for user in svd.user_ids:
        own = WARM[WARM["user_id"] == user].set_index("item_id")["rating"]
        np.testing.assert_allclose(
            svd.fold_in(own), svd.user_factors_[svd.user_ids.get_loc(user)], atol=1e-10
        )


@pytest.mark.parametrize("source", ["frame", "trainset", "loaded"])
def test_fold_in_and_explain_whoever_is_trusted(careful, people, source, tmp_path):
    """The most and the least trusted user, and all others, from a frame, a trainset and a file."""
    embeddings, ratings = people
    model = careful
    if source == "trainset":
        model = TokenSVD(embeddings, **SMALL, side={"year": embeddings[[0]]}).fit(to_trainset(ratings))
    if source == "loaded":
        careful.save(tmp_path / "model.npz")
        model = TokenSVD.load(tmp_path / "model.npz")
        np.testing.assert_array_equal(model.user_trust_, careful.user_trust_)
        np.testing.assert_array_equal(model.item_trust_, careful.item_trust_)
        assert model.blocks_ == careful.blocks_
    assert model.user_trust_.min() < 0.5 < 1.5 < model.user_trust_.max()
    assert "audience" in model.blocks_
    rng = np.random.default_rng(0)
    for row, user in enumerate(model.user_ids):
        own = own_ratings(ratings, user).sample(frac=1, random_state=row)  # in any order
        np.testing.assert_allclose(model.fold_in(own), model.user_factors_[row], atol=1e-10)
        np.testing.assert_allclose(model.score(own), model.score(user), atol=1e-10)
        for item in (rng.choice(embeddings.index[1:7]), embeddings.index[7]):  # the last is new
            for who in (user, own):
                parts = model.explain(who, item)
                assert parts.sum() == pytest.approx(model.score(user)[item], abs=1e-10)
                assert len(parts) == 1 + len(own)


def test_explain_of_nobody_is_all_base(svd):
    nothing = pd.Series(dtype=float, index=EMBEDDINGS.index[:0])
    for item in (COLD[0], EMBEDDINGS.index[1]):
        parts = svd.explain(nothing, item)
        assert parts.index.tolist() == ["base"]
        assert parts["base"] == pytest.approx(svd.score(999)[item], abs=1e-10)


def test_on_real_ratings_with_the_default_tokens(data, embeddings):
    ratings = data.ratings[data.ratings["user_id"] <= 60]
    model = TokenSVD(embeddings, n_factors=4, n_epochs=2).fit(ratings)
    assert model.blocks_["text"] == slice(1, 51)
    assert len(model.score(1)) == len(data.items)
    for user in (1, 15, 48):
        own = ratings[ratings["user_id"] == user].set_index("item_id")["rating"]
        np.testing.assert_allclose(
            model.fold_in(own), model.user_factors_[model.user_ids.get_loc(user)], atol=1e-10
        )
        item = data.items.index[4]
        assert model.explain(user, item).sum() == pytest.approx(model.score(user)[item], abs=1e-10)


def test_explain_adds_up(svd):
    for user, item in [(1, COLD[0]), (2, EMBEDDINGS.index[1]), (60, COLD[3])]:
        parts = svd.explain(user, item)
        assert parts.sum() == pytest.approx(svd.score(user)[item], abs=1e-10)
        assert parts.index[0] == "base"
        assert set(parts.index[1:]) == set(WARM.loc[WARM["user_id"] == user, "item_id"])
        assert parts.iloc[1:].abs().is_monotonic_decreasing


def test_somebody_new(svd):
    ratings = pd.Series([5.0, 1.0, 4.0], index=EMBEDDINGS.index[[1, 2, 3]])
    scores = svd.score(ratings)
    assert svd.explain(ratings, COLD[1]).sum() == pytest.approx(scores[COLD[1]], abs=1e-10)
    best = svd.recommend(ratings, n=5)
    assert not set(best.index) & set(ratings.index)
    pd.testing.assert_series_equal(best, scores.drop(ratings.index).sort_values(ascending=False).head(5))


def test_recommend(svd):
    best = svd.recommend(4, n=7)
    seen = set(WARM.loc[WARM["user_id"] == 4, "item_id"])
    expected = svd.score(4).drop(list(seen)).sort_values(ascending=False).head(7)
    pd.testing.assert_series_equal(best, expected)
    assert set(svd.seen(4)) == seen
    assert len(svd.recommend(4)) == 10
    assert len(svd.recommend(4, n=10_000)) == len(EMBEDDINGS) - len(seen)


def test_user_token(svd):
    """The text's part of a preference is a_u . t_i; differences between items are all that counts."""
    token = svd.user_token(9)
    p = svd.user_factors_[svd.user_ids.get_loc(9)]
    np.testing.assert_allclose(EMBEDDINGS @ token, EMBEDDINGS.to_numpy() @ svd.W_[1:, 1:] @ p[1:], atol=1e-12)
    assert token.shape == (WIDTH,)


def test_unknown_user_gets_the_prior(svd):
    nobody = svd.score(999)
    pd.testing.assert_series_equal(nobody, svd.score(pd.Series(dtype=float, index=EMBEDDINGS.index[:0])))
    assert len(svd.seen(999)) == 0
    assert nobody.corr(pd.Series(svd.item_factors_[:, 0], svd.item_ids)) > 0.7  # what is liked by everybody


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: m.explain(999, COLD[0]), "unknown user 999"),
        (lambda m: m.explain(1, 100_000), "unknown item 100000"),
        (lambda m: m.fold_in(pd.Series([5.0], index=[100_000])), "unknown items.*: 100000"),
        (lambda m: m.explain(pd.Series([5.0], index=[100_000]), COLD[0]), "unknown items.*: 100000"),
        (lambda m: m.score(pd.Series([np.nan], index=COLD[:1])), "a rating is not a finite number"),
    ],
)
def test_what_is_unknown_is_refused(svd, call, words):
    with pytest.raises(InputError, match=words) as error:
        call(svd)
    assert one_line(error)


# --- wrong input ---


def with_nan():
    frame = EMBEDDINGS.copy()
    frame.iloc[3, 1] = np.nan
    return frame


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TokenSVD(EMBEDDINGS.to_numpy()), "a DataFrame indexed by item_id is needed"),
        (lambda: TokenSVD(with_nan()), f"item {EMBEDDINGS.index[3]} has values that are not finite"),
        (lambda: TokenSVD(pd.concat([EMBEDDINGS, EMBEDDINGS.head(1)]), **SMALL), "item 7 is there twice"),
        (
            lambda: TokenSVD(EMBEDDINGS.set_axis(EMBEDDINGS.index.astype(str)), **SMALL),
            "no rated item has an embedding: .* like '7'",
        ),
        (lambda: TokenSVD(EMBEDDINGS, reducer=make_tokens(9)), "n_components=9 is more than the data allow"),
        (lambda: TokenSVD(EMBEDDINGS, reducer=PCA(9)), "n_components=9 is more than the data allow"),
        (lambda: TokenSVD(EMBEDDINGS, reducer="pca"), "reducer is 'pca'"),
        (lambda: TokenSVD(EMBEDDINGS, **SMALL, side={"year": with_nan()}), "year: item .* not finite"),
        (lambda: TokenSVD(EMBEDDINGS, **SMALL, side={"year": EMBEDDINGS[0]}), "year: a DataFrame .* Series"),
        (
            lambda: TokenSVD(EMBEDDINGS, **SMALL, side={"genre": EMBEDDINGS.astype(str) + "x"}),
            "genre: numbers are needed",
        ),
        (lambda: TokenSVD(EMBEDDINGS, **SMALL, side={"text": EMBEDDINGS}), "side: the block 'text'"),
        (lambda: TokenSVD(EMBEDDINGS, **SMALL, side={"audience": EMBEDDINGS}), "side: the block 'audience'"),
        (lambda: TokenSVD(EMBEDDINGS, **SMALL, n_audience=-1), "n_audience=-1: .* 0 or more"),
        (lambda: TokenSVD(EMBEDDINGS, n_factors=0), "n_factors=0, .* 1 or more"),
        (lambda: TokenSVD(EMBEDDINGS, n_epochs=0), "n_epochs=0, .* 1 or more"),
    ],
)
def test_wrong_input_is_one_line(make, words):
    with pytest.raises(InputError, match=words) as error:
        make().fit(WARM)
    assert one_line(error)


@pytest.mark.parametrize(
    "wrong",
    [
        WARM.iloc[:0],
        WARM.assign(rating=np.nan),
        WARM.assign(rating=np.inf),
        WARM.drop(columns="user_id"),
        WARM.rename(columns={"rating": "stars"}),
        WARM.assign(rating=WARM["rating"].astype(str)),
        WARM.assign(rating=WARM["rating"].astype("Float64").mask(WARM["user_id"] == 3)),
        WARM.assign(user_id=WARM["user_id"].where(WARM["user_id"] != 3)),
        WARM.assign(item_id=WARM["item_id"].where(WARM["item_id"] != 10)),
        WARM.to_numpy(),
    ],
)
@pytest.mark.parametrize("call", [lambda w: TokenSVD(EMBEDDINGS, **SMALL).fit(w), to_surprise, to_trainset])
def test_wrong_ratings_are_one_line(wrong, call):
    with pytest.raises(InputError, match="ratings: ") as error:
        call(wrong)
    assert one_line(error)


@pytest.mark.parametrize("wrong", [WARM.iloc[:0], WARM.head(9).assign(rating=np.nan)])
def test_wrong_trainset_is_one_line(wrong):
    dataset = surprise.Dataset.load_from_df(wrong[["user_id", "item_id", "rating"]], surprise.Reader())
    with pytest.raises(InputError, match="ratings: there is none, or one is not a finite number"):
        TokenSVD(EMBEDDINGS, **SMALL).fit(dataset.build_full_trainset())


def test_as_little_as_can_be():
    model = TokenSVD(EMBEDDINGS, **SMALL).fit(WARM.head(1))
    assert np.isfinite(model.score(1)).all()
    flat = TokenSVD(EMBEDDINGS, **SMALL).fit(WARM.assign(rating=3.0))
    np.testing.assert_allclose(flat.score(1), 3.0, atol=1e-3)
    assert np.isfinite(flat.user_trust_).all()
    assert np.isfinite(flat.item_trust_).all()


# --- keeping ---


@pytest.mark.parametrize("id_type", [int, str])
def test_save_and_load(tmp_path, id_type):
    ratings, embeddings = WARM.astype({"item_id": id_type, "user_id": id_type}), EMBEDDINGS.copy()
    embeddings.index = embeddings.index.astype(id_type)
    model = TokenSVD(embeddings, **SMALL, side={"year": embeddings[[0]]}).fit(ratings)
    model.save(tmp_path / "deep" / "model.npz")
    loaded = TokenSVD.load(tmp_path / "deep" / "model.npz")
    user, item = id_type(3), id_type(COLD[1])
    pd.testing.assert_series_equal(loaded.score(user), model.score(user))
    pd.testing.assert_series_equal(loaded.recommend(user), model.recommend(user))
    pd.testing.assert_series_equal(loaded.explain(user, item), model.explain(user, item))
    pd.testing.assert_series_equal(loaded.user_token(user), model.user_token(user))
    np.testing.assert_array_equal(loaded.predict_ratings(ratings), model.predict_ratings(ratings))
    own = ratings[ratings["user_id"] == user].set_index("item_id")["rating"]
    np.testing.assert_array_equal(loaded.fold_in(own), model.fold_in(own))
    np.testing.assert_array_equal(np.sort(loaded.seen(user)), np.sort(model.seen(user)))
    assert loaded.predict(user, item).est == model.predict(user, item).est
    pd.testing.assert_series_equal(loaded.score(id_type(999)), model.score(id_type(999)))
    loaded.save(tmp_path / "again.npz")
    pd.testing.assert_series_equal(TokenSVD.load(tmp_path / "again.npz").score(user), model.score(user))


def test_save_is_whole_or_not_at_all(svd, tmp_path, monkeypatch):
    path = tmp_path / "model.npz"
    svd.save(path)
    before = path.read_bytes()

    def full(file, **arrays):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        svd.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.npz"]


def broken(path, svd):
    svd.save(path)
    return path.read_bytes()


@pytest.mark.parametrize(
    "content",
    [
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:2000] + bytes([whole[2000] ^ 255]) + whole[2001:],
        lambda whole: b"",
        lambda whole: b"user_id,item_id\n",
    ],
    ids=["cut", "one bit", "empty", "text"],
)
def test_load_refuses_a_broken_file(svd, tmp_path, content):
    path = tmp_path / "model.npz"
    path.write_bytes(content(broken(path, svd)))
    with pytest.raises(InputError, match=r"model.npz: not a saved TokenSVD") as error:
        TokenSVD.load(path)
    assert one_line(error)


@pytest.mark.parametrize(
    "about", [None, {"format": "other"}, [1], {"format": "llmtok.TokenSVD/1", "n_factors": 2}]
)
def test_load_refuses_another_file(tmp_path, about):
    path = tmp_path / "other.npz"
    np.savez(path, **({} if about is None else {"about": np.array(json.dumps(about))}))
    with pytest.raises(InputError, match=r"other.npz: not a saved TokenSVD") as error:
        TokenSVD.load(path)
    assert one_line(error)
    np.save(tmp_path / "one.npy", np.arange(3))
    with pytest.raises(InputError, match=r"one.npy: not a saved TokenSVD"):
        TokenSVD.load(tmp_path / "one.npy")
    with pytest.raises(InputError, match="no such file"):
        TokenSVD.load(tmp_path / "nowhere.npz")


# --- the others ---


def test_popularity():
    model = Popularity().fit(WARM)
    counts = WARM["item_id"].value_counts()
    best = model.recommend(1, n=3)
    unseen = counts.drop(list(WARM.loc[WARM["user_id"] == 1, "item_id"]))
    assert best.tolist() == unseen.head(3).tolist()
    assert set(model.seen(1)) == set(WARM.loc[WARM["user_id"] == 1, "item_id"])
    assert model.seen(999).size == 0
    assert model.recommend(pd.Series([5.0], index=[counts.index[0]]), n=1).index[0] != counts.index[0]


@pytest.mark.parametrize("id_type", [int, str])
def test_surprise_recommender(id_type):
    ratings = WARM.astype({"item_id": id_type, "user_id": id_type})
    model = SurpriseRecommender(surprise.BaselineOnly(verbose=False)).fit(ratings)
    user = id_type(2)
    algo = surprise.BaselineOnly(verbose=False).fit(to_trainset(ratings))
    scores = model.score(user)
    assert scores.index.tolist() == sorted(ratings["item_id"].unique())
    for item in scores.index[:5]:
        assert scores[item] == pytest.approx(algo.predict(user, item, clip=False).est)
    pairs = ratings.head(20)
    assert model.predict_ratings(pairs)[3] == algo.predict(pairs["user_id"][3], pairs["item_id"][3]).est
    assert set(model.seen(user)) == set(ratings.loc[ratings["user_id"] == user, "item_id"])
    assert model.seen(id_type(999)).size == 0
    assert not set(model.recommend(user).index) & set(model.seen(user))


@pytest.mark.parametrize("id_type", [int, str])
def test_implicit_recommender(id_type):
    ratings = WARM.astype({"item_id": id_type, "user_id": id_type})
    with threadpool_limits(1, user_api="blas"):
        als = AlternatingLeastSquares(factors=4, random_state=0, num_threads=1)
    model = ImplicitRecommender(als, liked=4.0).fit(ratings)
    user = ratings["user_id"].iloc[0]
    scores = model.score(user)
    assert scores.index.tolist() == sorted(ratings["item_id"].unique())
    row = model.user_ids.get_loc(user)
    np.testing.assert_allclose(scores, als.item_factors @ als.user_factors[row], rtol=1e-4, atol=1e-5)
    assert set(model.seen(user)) == set(ratings.loc[ratings["user_id"] == user, "item_id"])
    assert not set(model.recommend(user).index) & set(model.seen(user))
    with pytest.raises(InputError, match="unknown user 'nobody'"):
        model.score("nobody")


def test_implicit_recommender_learns_from_what_was_liked(recwarn):
    """Items 1 and 2 are liked by the same people, 1 and 3 are only rated by the same; nobody likes 3."""
    liked = pd.DataFrame(
        [(u, i, 5.0) for u in range(9) for i in (1, 2)], columns=["user_id", "item_id", "rating"]
    )
    ratings = pd.concat([liked.iloc[1:], liked.query("item_id == 1").assign(item_id=3, rating=1.0)])
    liking = ImplicitRecommender(CosineRecommender(num_threads=1), liked=4.0).fit(ratings).score(0)
    assert liking[2] > 0 and liking[1] > 0 and np.isnan(liking[3])  # of which it has no opinion
    seeing = ImplicitRecommender(CosineRecommender(num_threads=1)).fit(ratings).score(0)
    assert seeing[3] > 0
    assert not recwarn.list


def test_protocol_fills_in_the_rest():
    """Who writes fit and score gets recommend and predict_ratings, whatever the index of the pairs."""

    class ById(Recommender):
        def fit(self, train):
            self._remember(train)
            return self

        def score(self, user):
            return pd.Series([1.0, 2.0, 2.0], index=["a", "b", "c"]) * user

    train = pd.DataFrame({"user_id": [1, 2], "item_id": ["a", "b"], "rating": 3.0})
    model = ById().fit(train)
    assert model.recommend(1, n=2).index.tolist() == ["b", "c"]  # a tie keeps the order
    assert model.recommend(2).index.tolist() == ["c", "a"]
    pairs = pd.DataFrame({"user_id": [2, 1, 2, 1], "item_id": ["a", "b", "c", "z"]}, index=[9, 9, 3, 1])
    np.testing.assert_array_equal(model.predict_ratings(pairs), [2.0, 2.0, 4.0, np.nan])
    with pytest.raises(NotImplementedError):
        Recommender().fit(train)
