"""TokenEASE against plain formulas, in both spaces: more users than items, and more items than users."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.kernel_approximation import Nystroem
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.preprocessing import Normalizer

from llmtok import InputError, Popularity, TokenEASE, TokenSVD, ease, evaluate_ranking, make_tokens
from llmtok.recommend import Recommender

WIDTH = 6
SPACES = ("item", "user")


def make_world(n_users, n_items, seed=0):
    """People take what is popular and like what suits them, which the text tells; every seventh item is new."""
    rng = np.random.default_rng(seed)
    embeddings = pd.DataFrame(rng.normal(size=(n_items, WIDTH)), index=rng.permutation(n_items) * 3 + 7)
    suits = rng.normal(size=(n_users, WIDTH)) @ embeddings.to_numpy().T / np.sqrt(WIDTH)
    drawn = 1.5 * suits + rng.gumbel(size=suits.shape) + 1.5 * rng.normal(size=n_items)
    drawn[:, ::7] = -np.inf
    rows = []
    for user, n in enumerate(rng.integers(4, 16, n_users)):
        took = np.argsort(-drawn[user])[:n]
        stars = np.clip(np.round(3.5 + suits[user, took] + rng.normal(size=n)), 1, 5)
        rows += zip([user + 1] * n, embeddings.index[took], stars, strict=True)
    ratings = pd.DataFrame(rows, columns=["user_id", "item_id", "rating"])
    return embeddings, ratings.sample(frac=1, random_state=seed, ignore_index=True)


WORLDS = {"item": make_world(90, 48), "user": make_world(30, 84)}


def side_of(embeddings):
    """A side block: other numbers for the same items."""
    made = np.random.default_rng(9).normal(size=(len(embeddings), 3))
    return {"title": pd.DataFrame(made, index=embeddings.index)}


def own_ratings(ratings, user):
    return ratings[ratings["user_id"] == user].set_index("item_id")["rating"]


def scores_of(model, users):
    return pd.DataFrame({u: model.score(u) for u in users}).T


def one_line(error):
    return "\n" not in str(error.value)


def assert_same(found, expected, within=2e-4):
    """Equal as far as single precision goes, in units of the largest."""
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=within * np.abs(np.asarray(expected)).max())


def similarity(blocks, left, right):
    """exp(-|a - b|^2) of the tokens, summed over the blocks; 0 where an item is not in a block."""
    total = np.zeros((len(left), len(right)))
    for weight, tokens in blocks:
        a, b = tokens.reindex(left).to_numpy(), tokens.reindex(right).to_numpy()
        distance = ((a[:, None] - b[None]) ** 2).sum(axis=2)
        total += weight * np.nan_to_num(np.exp(-distance))
    return total


def by_hand(
    ratings,
    embeddings=None,
    side=None,
    rating_power=2.0,
    l2=4.0,
    dropout=0.2,
    text_weight=10.0,
    prior_weight=3.0,
):
    """The scores of every training user, as documented: double precision, plain inverses, one item at a time."""
    ratings = ratings.drop_duplicates(["user_id", "item_id"], keep="last")
    weight = (ratings["rating"].clip(lower=0) / ratings["rating"].max()) ** rating_power
    x = ratings.assign(w=weight).pivot_table("w", "user_id", "item_id").fillna(0.0)
    rated, n = x.columns, x.sum()
    brought = (x**2).sum(axis=1)
    mean = brought[brought > 0].mean()
    z = x.mul((brought / mean).where(brought > 0, np.inf) ** -0.25, axis=0).to_numpy()
    blocks = []
    if embeddings is not None:
        for name, block in {"text": embeddings, **(side or {})}.items():
            tokens = make_tokens(None).fit(block.loc[block.index.intersection(rated)]).transform(block)
            tokens = tokens[tokens.index.isin(embeddings.index)]  # who has no text is compared with nobody
            blocks.append((1.0 if name == "text" else 0.5, tokens))
        z = np.vstack([z, text_weight**0.5 * blocks[0][1].reindex(rated).fillna(0.0).to_numpy().T])
    p = np.linalg.inv(z.T @ z + np.diag(l2 * mean + dropout * (x**2).sum()))
    own = x @ pd.DataFrame(np.eye(len(rated)) - p / np.diag(p), rated, rated)
    if embeddings is None:
        return own
    taste, log_n = (own + 0.2 * x) / (1 + n) ** 0.35, np.log1p(n)
    scores = {}
    for item in embeddings.index.union(rated):
        others = rated.drop(item, errors="ignore")
        a = np.linalg.solve(
            similarity(blocks, others, others) + np.eye(len(others)), similarity(blocks, others, [item])
        )[:, 0]
        told = taste[others] @ a
        if item in rated:
            share = n[item] / (n[item] + prior_weight) if item in embeddings.index and n[item] else 0.0
            share = share if item in embeddings.index else 1.0
            scores[item] = (share * taste[item] + (1 - share) * told) * (1 + n[item]) ** 0.35
        else:
            scores[item] = told * np.exp(0.35 * a @ log_n[others])
    return pd.DataFrame(scores)


@pytest.fixture(scope="module", params=SPACES)
def world(request):
    """Embeddings, ratings, and a model of them, in one space and then the other."""
    embeddings, ratings = WORLDS[request.param]
    model = TokenEASE(embeddings, side=side_of(embeddings)).fit(ratings)
    assert model.space_ == request.param
    return embeddings, ratings, model


# --- the model ---


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"side": True},
        {"text_weight": 0.0},
        {"prior_weight": 0.0},
        {"prior_weight": 50.0, "l2": 0.5},
        {"rating_power": 0.0, "dropout": 0.0},
        {"rating_power": 1.0, "dropout": 1.0},
        {"embeddings": None},
        {"embeddings": None, "rating_power": 0.0},
    ],
    ids=str,
)
def test_scores_are_the_formula(space, settings):
    embeddings, ratings = WORLDS[space]
    settings = {"embeddings": embeddings, **settings}
    if settings.get("side"):
        settings["side"] = side_of(embeddings)
    model = TokenEASE(**settings).fit(ratings)
    assert model.space_ == space
    expected = by_hand(ratings, **settings)
    assert_same(scores_of(model, expected.index)[expected.columns], expected)
    assert set(model.item_ids) == set(expected.columns)


def test_a_column_is_a_ridge_regression_of_one_item_on_the_others():
    """Everybody took as many items, so nobody is louder: with no text and no dropout this is plain EASE."""
    rng = np.random.default_rng(0)
    took = np.array([rng.choice(12, size=5, replace=False) for _ in range(60)])
    ratings = pd.DataFrame({"user_id": np.repeat(range(60), 5), "item_id": took.ravel(), "rating": 1.0})
    model = TokenEASE(l2=1.5, dropout=0.0).fit(ratings)
    b = pd.DataFrame({i: model.score(pd.Series([1.0], [i])) for i in range(12)}).T  # one item in, one row out
    x = pd.crosstab(ratings["user_id"], ratings["item_id"])
    for item in range(12):
        others = x.drop(columns=item)
        ridge = Ridge(alpha=1.5 * 5, fit_intercept=False).fit(others, x[item])
        np.testing.assert_allclose(b[item].drop(item)[others.columns], ridge.coef_, atol=1e-5)


@pytest.mark.parametrize("space", SPACES)
def test_an_item_says_nothing_of_itself(space):
    model = TokenEASE().fit(WORLDS[space][1])
    for item in model.item_ids[:10]:
        alone = model.score(pd.Series([5.0], [item]))
        assert abs(alone[item]) < 1e-5 < alone.abs().max()


@pytest.mark.parametrize(
    "settings", [{}, {"text_weight": 0.0}, {"l2": 0.1}, {"side": True}, {"embeddings": None}]
)
def test_both_spaces_give_the_same_scores(settings):
    """People who rated something 0 weigh nothing, but they are so many that the other matrix is the smaller one."""
    embeddings, ratings = WORLDS["user"]
    idle = pd.DataFrame({"user_id": range(1000, 1200), "item_id": ratings["item_id"][0], "rating": 0.0})
    settings = {"embeddings": embeddings, **settings}
    if settings.get("side"):
        settings["side"] = side_of(embeddings)
    in_users = TokenEASE(**settings).fit(ratings)
    in_items = TokenEASE(**settings).fit(pd.concat([ratings, idle]))
    assert (in_users.space_, in_items.space_) == ("user", "item")
    users = ratings["user_id"].unique()
    assert_same(scores_of(in_items, users)[in_users.item_ids], scores_of(in_users, users), 1e-4)
    np.testing.assert_array_equal(in_items.score(1000), 0.0)


def test_counts_are_sums_of_weights(world):
    _, ratings, model = world
    counts = pd.Series(model.counts_, model.item_ids)
    by_hand = ((ratings["rating"] / 5) ** 2).groupby(ratings["item_id"]).sum()
    np.testing.assert_allclose(counts[by_hand.index], by_hand, rtol=1e-6)
    np.testing.assert_array_equal(counts.drop(by_hand.index), 0.0)


def test_the_unit_of_ratings_does_not_matter(world):
    embeddings, ratings, model = world
    tenfold = TokenEASE(embeddings, side=side_of(embeddings)).fit(
        ratings.assign(rating=10 * ratings["rating"])
    )
    assert_same(tenfold.score(3), model.score(3), 1e-5)


@pytest.mark.parametrize("space", SPACES)
def test_text_finds_new_items_that_suit(space):
    """Of the new items, those that a user would like come first: far more often than with vectors of chance."""
    embeddings, ratings = WORLDS[space]
    chance = pd.DataFrame(np.random.default_rng(1).normal(size=embeddings.shape), index=embeddings.index)
    new = embeddings.index.difference(ratings["item_id"])
    liked = ratings[ratings["rating"] >= 4]

    def agreement(texts):
        model, found = TokenEASE(texts).fit(ratings), []
        for user, items in liked.groupby("user_id")["item_id"]:
            near = embeddings.loc[new] @ embeddings.loc[items].mean()
            found.append(near.corr(model.score(user)[new], method="spearman"))
        return np.mean(found)

    assert agreement(embeddings) > 0.5 > 0.2 > agreement(chance)


def test_on_real_ratings(data, embeddings):
    """What each of the most active liked in the end: found more often than among the most popular."""
    ratings = data.ratings.sort_values(["user_id", "timestamp", "item_id"])
    some = [ratings["item_id"].value_counts().index[:1500], ratings["user_id"].value_counts().index[:200]]
    ratings = ratings[ratings["item_id"].isin(some[0]) & ratings["user_id"].isin(some[1])]
    test = ratings.groupby("user_id").tail(10)
    train = ratings.drop(test.index)
    texts = embeddings.loc[embeddings.index.isin(some[0])]
    models = {"ease": TokenEASE(texts).fit(train), "popular": Popularity().fit(train)}
    found = evaluate_ranking(models, test, texts.index).groupby("model").mean()["NDCG@10"]
    assert found["ease"] > 1.3 * found["popular"]


# --- what is carried over ---


def taste_and_tokens(space):
    """What a model says of the rated items by their own data alone, less their popularity; and the tokens."""
    embeddings, ratings = WORLDS[space]
    model = TokenEASE(embeddings, prior_weight=0.0).fit(ratings)
    rated = model.item_ids[model.counts_ > 0]
    n = pd.Series(model.counts_, model.item_ids)[rated]
    scores = scores_of(model, model.user_ids)
    tokens = make_tokens(None).fit(embeddings.loc[rated]).transform(embeddings)
    return scores, scores[rated] / (1 + n) ** 0.35, n, tokens


@pytest.mark.parametrize("space", SPACES)
def test_a_new_item_is_a_kernel_ridge_regression(space):
    """Scikit-learn's, from the tokens of the rated items to their taste and to their popularity."""
    scores, taste, n, tokens = taste_and_tokens(space)
    new = tokens.index.difference(n.index)
    kernel = KernelRidge(alpha=1.0, kernel="rbf", gamma=1.0)
    told = kernel.fit(tokens.loc[n.index], taste.T).predict(tokens.loc[new]).T
    popular = kernel.fit(tokens.loc[n.index], np.log1p(n)).predict(tokens.loc[new])
    assert_same(scores[new], told * np.exp(0.35 * popular))


@pytest.mark.parametrize("space", SPACES)
def test_a_rated_item_does_not_testify_for_itself(space):
    """With a prior that outweighs all data, a score is what the others say: each item is really left out."""
    embeddings, ratings = WORLDS[space]
    _, taste, n, tokens = taste_and_tokens(space)
    model = TokenEASE(embeddings, prior_weight=1e12).fit(ratings)
    scores = scores_of(model, model.user_ids)
    for item in n.index[::5]:
        others = n.index.drop(item)
        kernel = KernelRidge(alpha=1.0, kernel="rbf", gamma=1.0).fit(tokens.loc[others], taste[others].T)
        told = kernel.predict(tokens.loc[[item]])[0]
        assert_same(scores[item].to_numpy(), told * (1 + n[item]) ** 0.35)


@pytest.mark.parametrize("space", SPACES)
def test_few_interactions_stand_between_the_two(space):
    embeddings, ratings = WORLDS[space]
    models = [TokenEASE(embeddings, prior_weight=w).fit(ratings) for w in (0.0, 3.0, 1e12)]
    own, between, told = (scores_of(m, m.user_ids[:10]) for m in models)
    n = pd.Series(models[0].counts_, models[0].item_ids)
    assert (n[n > 0].min() < 1) and (n.max() > 5)
    assert_same(between, own * (n / (n + 3)).where(n > 0, 0.5) + told * (3 / (n + 3)).where(n > 0, 0.5))
    new = n.index[n == 0]
    assert_same(own[new], told[new], 1e-6)


def test_items_of_the_same_text_get_the_same():
    """Many texts that are equal: similarities without an inverse, and still the exact answer."""
    embeddings, ratings = WORLDS["item"]
    rounded = embeddings.copy()
    new = np.arange(len(embeddings)) // 7 * 7
    rounded.iloc[:] = embeddings.to_numpy()[new]  # the text of each new item, seven times
    model = TokenEASE(rounded).fit(ratings)
    expected = by_hand(ratings, rounded)
    assert_same(scores_of(model, expected.index)[expected.columns], expected, 1e-3)


def test_landmarks_stand_for_all(monkeypatch):
    """With fewer landmarks than items the answer is near the exact one, and the nearer the more there are."""
    embeddings, ratings = WORLDS["item"]
    exact = scores_of(TokenEASE(embeddings).fit(ratings), range(1, 91))
    new = embeddings.index.difference(ratings["item_id"])
    away = []
    for n in (10, 30):
        monkeypatch.setattr(ease, "N_LANDMARKS", n)
        found = scores_of(TokenEASE(embeddings).fit(ratings), range(1, 91))
        away.append((found - exact)[new].abs().to_numpy().mean() / exact[new].abs().to_numpy().mean())
    assert 1e-3 < away[1] < away[0] < 0.5


def test_landmarks_are_the_items_with_most_interactions(monkeypatch):
    """Others stand for all where there are too many: those of which most is known, and no drawn ones."""
    embeddings, ratings = WORLDS["item"]
    fitted = []

    class Recording(Nystroem):
        def fit(self, X, y=None):
            fitted.append(X)
            return super().fit(X)

    monkeypatch.setattr(ease, "Nystroem", Recording)
    monkeypatch.setattr(ease, "N_LANDMARKS", 5)
    model = TokenEASE(embeddings, reducer=Normalizer().set_output(transform="pandas")).fit(ratings)
    most = pd.Series(model.counts_, model.item_ids).nlargest(5).index
    np.testing.assert_allclose(fitted[0], Normalizer().transform(embeddings.loc[most].to_numpy()), atol=1e-6)


def test_a_side_block_informs_new_items():
    """What the embeddings lack is in a side block."""
    embeddings, ratings = WORLDS["item"]
    new = embeddings.index.difference(ratings["item_id"])
    half, rest = embeddings[[0, 1, 2]], embeddings[[3, 4, 5]]
    whole = scores_of(TokenEASE(embeddings).fit(ratings), range(1, 91))[new]
    without = scores_of(TokenEASE(half).fit(ratings), range(1, 91))[new]
    with_side = scores_of(TokenEASE(half, side={"rest": rest}).fit(ratings), range(1, 91))[new]
    assert whole.corrwith(with_side, axis=1).mean() > whole.corrwith(without, axis=1).mean() + 0.05


@pytest.mark.parametrize("space", SPACES)
def test_a_side_block_may_lack_items(space):
    """Of an item that is not in it, a block says nothing: that two are both absent does not make them alike."""
    embeddings, ratings = WORLDS[space]
    side = {"title": side_of(embeddings)["title"].iloc[::2]}
    model = TokenEASE(embeddings, side=side).fit(ratings)
    expected = by_hand(ratings, embeddings, side)
    assert_same(scores_of(model, expected.index)[expected.columns], expected)


# --- items and users ---


@pytest.mark.parametrize("space", SPACES)
def test_rated_items_without_an_embedding(space):
    """They stand on their own data alone, even where a side block has them."""
    embeddings, ratings = WORLDS[space]
    missing = ratings["item_id"].value_counts().index[[0, 5, -1]]
    some = embeddings.drop(missing)
    model = TokenEASE(some, side=side_of(embeddings)).fit(ratings)
    assert list(model.item_ids) == [*some.index, *sorted(missing)]
    expected = by_hand(ratings, some, side_of(embeddings))
    assert_same(scores_of(model, expected.index)[expected.columns], expected)


def test_items_of_which_all_ratings_are_0_are_new():
    """Nobody liked it at all: no interaction, but it is seen, and there is its text."""
    embeddings, ratings = WORLDS["item"]
    new = embeddings.index.difference(ratings["item_id"])[0]
    zero = pd.DataFrame({"user_id": [1, 2], "item_id": new, "rating": [0.0, -2.0]})
    model, before = TokenEASE(embeddings).fit(pd.concat([ratings, zero])), TokenEASE(embeddings).fit(ratings)
    assert model.counts_[model.item_ids.get_loc(new)] == 0
    assert np.isfinite(model.score(3)).all()
    assert new in model.seen(1)
    assert new not in model.recommend(1, n=100).index
    assert new in model.recommend(3, n=100).index
    assert model.score(3).drop(new).corr(before.score(3).drop(new)) > 0.99


@pytest.mark.parametrize("space", SPACES)
def test_ratings_of_0_and_less_weigh_nothing(space):
    embeddings, ratings = WORLDS[space]
    low = ratings.assign(rating=ratings["rating"] - 3)  # from -2 to 2
    model = TokenEASE(embeddings).fit(low)
    expected = by_hand(low, embeddings)
    assert_same(scores_of(model, expected.index)[expected.columns], expected)
    assert set(model.seen(4)) == set(own_ratings(ratings, 4).index)


def test_ratings_that_are_all_equal_are_plain_interactions():
    embeddings, ratings = WORLDS["item"]
    flat = TokenEASE(embeddings).fit(ratings.assign(rating=3.0))
    no_stars = TokenEASE(embeddings, rating_power=0.0).fit(ratings)
    assert_same(flat.score(5), no_stars.score(5), 1e-5)


def test_of_two_ratings_by_one_user_of_one_item_the_last_counts():
    embeddings, ratings = WORLDS["item"]
    twice = pd.concat([ratings.assign(rating=1.0), ratings, ratings])
    model, once = TokenEASE(embeddings).fit(twice), TokenEASE(embeddings).fit(ratings)
    pd.testing.assert_series_equal(model.score(5), once.score(5))
    again = pd.concat([own_ratings(ratings, 5) * 0 + 1, own_ratings(ratings, 5)])
    pd.testing.assert_series_equal(model.score(again), once.score(5))


@pytest.mark.parametrize(
    "pairs",
    [
        [(1, "a")],
        [(1, "a"), (1, "b")],
        [(1, "a"), (2, "b")],
        [(1, "a"), (2, "a"), (3, "a")],
        [(1, "a"), (2, "a"), (3, "a"), (3, "b")],
        [(1, "a"), (1, "b"), (1, "c"), (1, "d")],
    ],
    ids=str,
)
def test_as_little_as_can_be(pairs):
    """One user, one item, two: without text; and with text, where there are two items to compare."""
    ratings = pd.DataFrame(pairs, columns=["user_id", "item_id"]).assign(rating=4.0)
    model = TokenEASE().fit(ratings)
    assert_same(scores_of(model, model.user_ids)[model.item_ids], by_hand(ratings)[model.item_ids], 1e-5)
    embeddings = pd.DataFrame(np.random.default_rng(0).normal(size=(5, 2)), index=list("abcde"))
    if len(set(ratings["item_id"])) > 1:
        model = TokenEASE(embeddings).fit(ratings)
        assert np.isfinite(model.score(1)).all()
        assert set(model.recommend(1, n=9).index) == set("abcde") - set(model.seen(1))
    else:
        with pytest.raises(InputError, match="only 1 of the rated items is there") as error:
            TokenEASE(embeddings).fit(ratings)
        assert one_line(error)


@pytest.mark.parametrize("value", [1.0, 0.1])
def test_texts_that_are_all_equal_are_refused(value, recwarn):
    """There is nothing to compare; what is left after centring would be rounding errors, scaled up."""
    embeddings, ratings = WORLDS["item"]
    flat = embeddings * 0 + value
    for settings, words in (
        ({"embeddings": flat}, "embeddings: .*alike"),
        ({"embeddings": embeddings, "side": {"kind": flat}}, "kind: .*alike"),
    ):
        with pytest.raises(InputError, match=words) as error:
            TokenEASE(**settings).fit(ratings)
        assert one_line(error)
    assert not recwarn.list


def test_without_embeddings_there_are_rated_items_only(world):
    ratings = world[1]
    model = TokenEASE().fit(ratings)
    assert set(model.item_ids) == set(ratings["item_id"])


def test_the_reducer_is_cloned_and_fitted_on_rated_items_only():
    embeddings, ratings = WORLDS["item"]
    reducer = make_tokens(3)
    model = TokenEASE(embeddings, reducer=reducer).fit(ratings)
    assert not hasattr(reducer["reduce"], "components_")
    rated = embeddings.index.isin(ratings["item_id"])
    other = embeddings + 100 * ~rated[:, None]
    moved = TokenEASE(other, reducer=reducer).fit(ratings)
    np.testing.assert_allclose(moved.score(1)[rated], model.score(1)[rated], atol=1e-6)
    by_default = TokenEASE(embeddings).fit(ratings)
    assert np.abs(by_default.score(1) - model.score(1)).max() > 1e-3
    assert np.isfinite(TokenEASE(embeddings, reducer=PCA(2)).fit(ratings).score(1)).all()


# --- recommending ---


def test_fold_in_of_own_ratings_is_the_stored_user(world):
    _, ratings, model = world
    for user in (1, 7, 20):
        own = own_ratings(ratings, user)
        x = pd.Series(model.fold_in(own), model.item_ids)
        np.testing.assert_allclose(x[own.index], (own / 5) ** 2, rtol=1e-6)
        assert (x.drop(own.index) == 0).all()
        np.testing.assert_array_equal(x, model.fold_in(user))
        pd.testing.assert_series_equal(model.score(own), model.score(user), atol=1e-5)
        pd.testing.assert_series_equal(model.recommend(own), model.recommend(user), atol=1e-5)


def test_explain_adds_up(world):
    embeddings, ratings, model = world
    new = embeddings.index.difference(ratings["item_id"])[0]
    for user in (1, own_ratings(ratings, 7).iloc[:1]):
        for item in (new, *model.item_ids[[3, 11]]):
            parts = model.explain(user, item)
            own = user if isinstance(user, pd.Series) else own_ratings(ratings, user)
            assert set(parts.index) == set(own.index)
            assert parts.sum() == pytest.approx(model.score(user)[item], abs=1e-5)
            assert parts.abs().is_monotonic_decreasing
    # Each part is what that rating does alone.
    own = own_ratings(ratings, 7)
    part = model.explain(own, new)[own.index[0]]
    assert part == pytest.approx(model.score(own.iloc[:1])[new], abs=1e-5)


def test_what_nobody_else_rated_says_nothing(world):
    embeddings, ratings, model = world
    new = embeddings.index.difference(ratings["item_id"])
    own = own_ratings(ratings, 7)
    more = pd.concat([own, pd.Series(5.0, new[:2])])
    pd.testing.assert_series_equal(model.score(more), model.score(own))
    assert not set(new[:2]) & set(model.recommend(more, n=500).index)
    np.testing.assert_array_equal(model.explain(more, new[2])[new[:2]], 0.0)


@pytest.mark.parametrize("rating", [None, 0.0])
def test_somebody_of_whom_nothing_is_known(world, rating):
    """No rating, or one that weighs nothing: every score is 0, and no reason is given."""
    _, _, model = world
    nobody = pd.Series([] if rating is None else [rating], model.item_ids[: rating is not None], dtype=float)
    np.testing.assert_array_equal(model.score(nobody), 0.0)
    assert len(model.explain(nobody, model.item_ids[0])) == 0
    assert len(model.recommend(nobody, n=5)) == 5


def test_recommend_leaves_out_what_was_seen(world):
    """Whatever the stars: a disliked item is seen as well."""
    _, ratings, model = world
    for user in (1, 7, 20):
        own = own_ratings(ratings, user)
        assert set(model.seen(user)) == set(own.index)
        for whom in (user, own):
            top = model.recommend(whom, n=len(model.item_ids))
            assert set(top.index) == set(model.item_ids) - set(own.index)
            assert top.is_monotonic_decreasing
        pd.testing.assert_series_equal(model.recommend(user, n=3), top[:3])
    assert (ratings["rating"] == 1).any()
    assert len(model.seen(999)) == 0


def test_the_protocol_is_kept(world):
    _, ratings, model = world
    assert isinstance(model, Recommender)
    assert model.fit(ratings) is model
    assert (model.item_ids.name, model.user_ids.name) == ("item_id", "user_id")
    pairs = ratings.head(20)
    expected = [model.score(u)[i] for u, i in zip(pairs["user_id"], pairs["item_id"], strict=True)]
    np.testing.assert_allclose(model.predict_ratings(pairs), expected)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: m.score(999), "unknown user 999; give their ratings"),
        (lambda m: m.recommend("1"), "unknown user '1'; give their ratings"),
        (lambda m: m.explain(999, m.item_ids[0]), "unknown user 999"),
        (lambda m: m.explain(1, 100_000), "unknown item 100000"),
        (lambda m: m.fold_in(pd.Series([5.0], index=[100_000])), "unknown items: 100000"),
        (lambda m: m.score(pd.Series([np.nan], index=m.item_ids[:1])), "a rating is not a finite number"),
        (lambda m: m.score(pd.Series(["good"], index=m.item_ids[:1])), "a rating is not a finite number"),
    ],
)
def test_what_is_unknown_is_refused(world, call, words):
    with pytest.raises(InputError, match=words) as error:
        call(world[2])
    assert one_line(error)


# --- the same again ---


def test_two_fits_are_equal(world):
    embeddings, ratings, model = world
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    again = TokenEASE(embeddings, side=side_of(embeddings)).fit(ratings)
    assert np.random.random() == expected  # noqa: NPY002
    for user in (1, 20):
        pd.testing.assert_series_equal(again.score(user), model.score(user), check_exact=True)


def test_the_order_of_ratings_does_not_matter(world):
    embeddings, ratings, model = world
    mixed = ratings.sample(frac=1, random_state=1)
    mixed.index = np.zeros(len(mixed), int)  # nor their index
    again = TokenEASE(embeddings, side=side_of(embeddings)).fit(mixed)
    assert_same(again.score(1), model.score(1), 1e-5)


def test_input_frames_stay_as_they_are(world):
    embeddings, ratings, _ = world
    copies = embeddings.copy(), ratings.copy(), side_of(embeddings)
    model = TokenEASE(copies[0], side=copies[2]).fit(copies[1])
    own = own_ratings(ratings, 1)
    model.recommend(own)
    model.explain(own, model.item_ids[0])
    pd.testing.assert_frame_equal(copies[0], embeddings)
    pd.testing.assert_frame_equal(copies[1], ratings)
    pd.testing.assert_frame_equal(copies[2]["title"], side_of(embeddings)["title"])
    pd.testing.assert_series_equal(own, own_ratings(ratings, 1))


def test_scores_are_the_callers_own(world):
    model = world[2]
    before = model.score(1).copy()
    theirs = model.score(1)
    theirs[:] = 99.0
    model.fold_in(1)[:] = 99.0
    pd.testing.assert_series_equal(model.score(1), before)


@pytest.mark.parametrize("then", SPACES)
@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("first", SPACES)
def test_a_refit_forgets(first, then, text, tmp_path):
    embeddings, ratings = WORLDS[then]
    model = TokenEASE(WORLDS[first][0], side=side_of(WORLDS[first][0])).fit(WORLDS[first][1])
    model.embeddings, model.side = (embeddings if text else None), None
    model.fit(ratings)
    fresh = TokenEASE(embeddings if text else None).fit(ratings)
    pd.testing.assert_series_equal(model.score(1), fresh.score(1))
    for one, name in ((model, "refit"), (fresh, "fresh")):
        one.save(tmp_path / name)
    with np.load(tmp_path / "refit") as a, np.load(tmp_path / "fresh") as b:
        assert sorted(a.files) == sorted(b.files)


@pytest.mark.parametrize("space", SPACES)
def test_a_failed_refit_leaves_the_old_model(space, monkeypatch):
    embeddings, ratings = WORLDS[space]
    model = TokenEASE(embeddings).fit(ratings)
    before = model.score(1)
    with pytest.raises(InputError):
        model.fit(ratings.assign(item_id=-ratings["item_id"]))
    monkeypatch.setattr(ease, "Nystroem", None)  # the last step but one, on other data, in the other space
    model.embeddings, other = WORLDS[SPACES[space == "item"]]
    with pytest.raises(TypeError):
        model.fit(other)
    pd.testing.assert_series_equal(model.score(1), before)


# --- wrong input ---


def with_nan(embeddings):
    frame = embeddings.copy()
    frame.iloc[3, 1] = np.nan
    return frame


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (lambda e: {"embeddings": e.to_numpy()}, "embeddings: a DataFrame indexed by item_id is needed"),
        (lambda e: {"embeddings": with_nan(e)}, "embeddings: item .* has values that are not finite"),
        (lambda e: {"embeddings": pd.concat([e, e.head(1)])}, "embeddings: item 142 is there twice"),
        (
            lambda e: {"embeddings": e.set_axis(e.index.astype(str))},
            "embeddings: only 0 of the rated items is there; ratings have item_id like [0-9]+, .* like '[0-9]+'",
        ),
        (lambda e: {"embeddings": e, "side": {"year": with_nan(e)}}, "year: item .* not finite"),
        (lambda e: {"embeddings": e, "side": {"year": e[0]}}, "year: a DataFrame .* Series"),
        (lambda e: {"embeddings": e, "side": {"year": e.astype(str) + "x"}}, "year: numbers are needed"),
        (
            lambda e: {"embeddings": e, "side": {"year": e.set_axis(-e.index)}},
            "year: only 0 of the rated items",
        ),
        (lambda e: {"side": {"year": e}}, "side: .* give embeddings too"),
        (lambda e: {"embeddings": e, "reducer": "pca"}, "reducer"),
        (lambda e: {"embeddings": e, "reducer": make_tokens(99)}, "n_components=99"),
        (lambda e: {"l2": 0}, "l2=0: a number above 0 is needed"),
        (lambda e: {"l2": -1.0}, "l2=-1.0: a number above 0 is needed"),
        (lambda e: {"l2": np.nan}, "l2=nan: a number above 0"),
        (lambda e: {"l2": None}, "l2=None: a number above 0"),
        (lambda e: {"dropout": -0.1}, "dropout=-0.1: a number of 0 or more is needed"),
        (lambda e: {"rating_power": -1}, "rating_power=-1: a number of 0 or more is needed"),
        (lambda e: {"text_weight": np.inf}, "text_weight=inf: a number of 0 or more is needed"),
        (lambda e: {"prior_weight": [3.0]}, r"prior_weight=\[3.0\]: a number of 0 or more is needed"),
        (lambda e: {"prior_weight": "3"}, "prior_weight='3': a number of 0 or more is needed"),
    ],
)
def test_wrong_settings_are_one_line(settings, words, recwarn):
    embeddings, ratings = WORLDS["item"]
    with pytest.raises(InputError, match=words) as error:
        TokenEASE(**settings(embeddings)).fit(ratings)
    assert one_line(error)
    assert not recwarn.list


GOOD = WORLDS["item"][1]


@pytest.mark.parametrize(
    "wrong",
    [
        GOOD.iloc[:0],
        GOOD.assign(rating=np.nan),
        GOOD.assign(rating=np.inf),
        GOOD.assign(rating=0.0),
        GOOD.assign(rating=-GOOD["rating"]),
        GOOD.drop(columns="user_id"),
        GOOD.assign(rating=GOOD["rating"].astype(str)),
        GOOD.assign(user_id=GOOD["user_id"].where(GOOD["user_id"] != 3)),
        GOOD.to_numpy(),
    ],
)
def test_wrong_ratings_are_one_line(wrong):
    with pytest.raises(InputError, match="ratings: ") as error:
        TokenEASE(WORLDS["item"][0]).fit(wrong)
    assert one_line(error)


def test_a_penalty_too_small_for_the_data():
    """Two items that everybody took together: without a penalty there is no inverse."""
    pairs = [(u, i) for u in range(5000) for i in "ab"] + [(u, "c") for u in range(9)]
    ratings = pd.DataFrame(pairs, columns=["user_id", "item_id"]).assign(rating=1.0)
    with pytest.raises(InputError, match="l2=1e-09: too small for these data") as error:
        TokenEASE(l2=1e-9, dropout=0.0).fit(ratings)
    assert one_line(error)
    assert np.isfinite(TokenEASE(dropout=0.0).fit(ratings).score(1)).all()


@pytest.mark.parametrize("space", SPACES)
def test_what_does_not_fit_into_memory_is_refused(space, monkeypatch):
    embeddings, ratings = WORLDS[space]
    monkeypatch.setattr(ease, "free_memory", lambda: 1000)
    with pytest.raises(InputError, match=r"needs about .* GB .* \(min_item_ratings\)") as error:
        TokenEASE(embeddings).fit(ratings)
    assert one_line(error)
    monkeypatch.setattr(ease, "free_memory", lambda: 2**30)
    TokenEASE(embeddings).fit(ratings)


def test_memory_is_counted_in_the_smaller_space(monkeypatch):
    """A million users are no hindrance where items are few, and the other way round; of both there are too many."""
    monkeypatch.setattr(ease, "free_memory", lambda: 4 * 2**30)
    ease.check_memory(1_000_000, 5_000, 6_000, 1)
    ease.check_memory(2_000, 50_000, 60_000, 1)
    with pytest.raises(InputError, match="free; drop items with few ratings"):
        ease.check_memory(100_000, 100_000, 100_000, 1)


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, 8000),
        ({"memory.max": "max", "memory.current": "700"}, 8000),
        ({"memory.max": "3000", "memory.current": "700"}, 2300),
        ({"memory.max": "90000", "memory.current": "700"}, 8000),
        ({"memory/memory.limit_in_bytes": "3000", "memory/memory.usage_in_bytes": "900"}, 2100),
    ],
    ids=["no container", "no limit", "limit", "generous limit", "older container"],
)
def test_free_memory_is_the_containers_where_that_is_less(files, free, monkeypatch):
    def read(path, *args, **kwargs):
        name = path.as_posix().removeprefix("/sys/fs/cgroup/")
        if name not in files:
            raise FileNotFoundError(path)
        return files[name] + "\n"

    monkeypatch.setattr(ease.psutil, "virtual_memory", lambda: SimpleNamespace(available=8000))
    monkeypatch.setattr(Path, "read_text", read)
    assert ease.free_memory() == free


# --- keeping ---


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("id_type", [int, str, object])
@pytest.mark.parametrize("space", SPACES)
def test_save_and_load(tmp_path, space, id_type, text):
    embeddings, ratings = (frame.copy() for frame in WORLDS[space])
    as_id = str if id_type is object else id_type
    embeddings.index = pd.Index([as_id(i) for i in embeddings.index], dtype=id_type)
    for key in ("user_id", "item_id"):
        ratings[key] = pd.Series([as_id(i) for i in ratings[key]], dtype=id_type)
    ratings.loc[ratings["user_id"] == as_id(3), "rating"] -= 1  # some of them 0
    model = TokenEASE(embeddings if text else None, side=side_of(embeddings) if text else None)
    model.rating_power = 1.5
    model.fit(ratings).save(tmp_path / "deep" / "model.npz")
    assert model.space_ == space
    loaded = TokenEASE.load(tmp_path / "deep" / "model.npz")
    loaded.save(tmp_path / "again.npz")
    own, item = own_ratings(ratings, as_id(3)), model.item_ids[0]
    for other in (loaded, TokenEASE.load(tmp_path / "again.npz")):
        assert other.space_ == space
        np.testing.assert_array_equal(other.counts_, model.counts_)
        np.testing.assert_array_equal(np.sort(other.seen(as_id(3))), np.sort(model.seen(as_id(3))))
        for user in (as_id(3), own):
            pd.testing.assert_series_equal(other.score(user), model.score(user), check_index_type=False)
            pd.testing.assert_series_equal(
                other.recommend(user), model.recommend(user), check_index_type=False
            )
            pd.testing.assert_series_equal(
                other.explain(user, item), model.explain(user, item), check_index_type=False
            )
        np.testing.assert_array_equal(other.fold_in(own), model.fold_in(own))
    with np.load(tmp_path / "again.npz", allow_pickle=False) as file:  # no pickle in it
        assert all(file[name].dtype != object for name in file.files)
        assert json.loads(str(file["about"]))["format"] == "llmtok.TokenEASE/1"


def test_a_loaded_model_is_not_for_fitting(world, tmp_path):
    """It has no embeddings: a fit would quietly be one of another model."""
    _, ratings, model = world
    model.save(tmp_path / "model.npz")
    with pytest.raises(InputError, match="loaded") as error:
        TokenEASE.load(tmp_path / "model.npz").fit(ratings)
    assert one_line(error)


def test_save_is_whole_or_not_at_all(world, tmp_path, monkeypatch):
    path, model = tmp_path / "model.npz", world[2]
    model.save(path)
    before = path.read_bytes()

    def full(file, **arrays):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        model.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.npz"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:2000] + bytes([whole[2000] ^ 255]) + whole[2001:],
        lambda whole: b"",
        lambda whole: b"user_id,item_id\n",
    ],
    ids=["cut", "one bit", "empty", "text"],
)
def test_load_refuses_a_broken_file(world, tmp_path, damage):
    path = tmp_path / "model.npz"
    world[2].save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"model.npz: not a saved TokenEASE") as error:
        TokenEASE.load(path)
    assert one_line(error)


def test_load_refuses_another_file(world, tmp_path):
    embeddings, ratings, model = world
    path = tmp_path / "model.npz"
    for about in (None, [1], {"format": "llmtok.TokenEASE/2"}, {"format": "llmtok.TokenEASE/1"}):
        np.savez(path, **({} if about is None else {"about": np.array(json.dumps(about))}))
        with pytest.raises(InputError, match=r"model.npz: not a saved TokenEASE") as error:
            TokenEASE.load(path)
        assert one_line(error)
    TokenSVD(embeddings, reducer="passthrough", n_factors=2, n_epochs=1).fit(ratings).save(path)
    with pytest.raises(InputError, match=r"it is llmtok.TokenSVD/\d, and this .* reads llmtok.TokenEASE/1"):
        TokenEASE.load(path)
    model.save(path)
    with pytest.raises(InputError, match=r"it is llmtok.TokenEASE/1, and this .* reads llmtok.TokenSVD"):
        TokenSVD.load(path)
    with pytest.raises(InputError, match="no such file"):
        TokenEASE.load(tmp_path / "nowhere.npz")


def test_load_refuses_a_file_that_lacks_an_array(world, tmp_path):
    path = tmp_path / "model.npz"
    world[2].save(path)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    for name in arrays:
        np.savez(path, **{other: a for other, a in arrays.items() if other != name})
        with pytest.raises(InputError, match=r"model.npz: not a saved TokenEASE"):
            TokenEASE.load(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("USER_POWER", 0.5),
        ("POPULARITY_POWER", 0.35),
        ("ITSELF", 0.2),
    ],
)
def test_constants_that_a_saved_model_relies_on(name, value):
    """A file of format 1 was made with these: with others, `save` and `load` need another number."""
    assert getattr(ease, name) == value
