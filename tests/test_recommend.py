"""Recommenders on data made from a known model, and on the bundled ratings."""

import functools
import json

import numpy as np
import pandas as pd
import pytest
import surprise
from sklearn.decomposition import PCA
from surprise.model_selection import GridSearchCV, cross_validate

from llmtok import InputError, Popularity, SurpriseRecommender, TokenSVD, make_tokens
from llmtok.recommend import Recommender, to_surprise, to_trainset

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


def rmse(model, pairs):
    return float(np.sqrt(np.mean((model.predict_ratings(pairs) - pairs["rating"]) ** 2)))


@pytest.fixture(scope="module")
def svd():
    return TokenSVD(EMBEDDINGS, **SMALL).fit(WARM)


def one_line(error):
    return "\n" not in str(error.value)


# --- the model ---


def test_prediction_is_the_formula(svd):
    for user in (1, 17):
        p = svd.user_factors_[svd.user_ids.get_loc(user)]
        for item in (EMBEDDINGS.index[1], COLD[2]):
            q = svd.item_factors_[svd.item_ids.get_loc(item)]
            assert svd.score(user)[item] == pytest.approx(svd.mu_ + p[0] + q[0] + p[1:] @ q[1:], abs=1e-12)
    assert svd.mu_ == pytest.approx(WARM["rating"].mean())


def test_predict_ratings_is_the_score_clipped(svd):
    predicted = svd.predict_ratings(RATINGS)
    low, high = WARM["rating"].min(), WARM["rating"].max()
    by_score = [svd.score(u)[i] for u, i in zip(RATINGS["user_id"], RATINGS["item_id"], strict=True)]
    np.testing.assert_allclose(predicted, np.clip(by_score, low, high), atol=1e-12)
    extreme = pd.Series(
        [high + 20.0] * 5, index=EMBEDDINGS.index[1:6]
    )  # the scale is that of the training set
    assert svd.score(extreme).max() > high


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
    assert with_side.blocks_ == {"text": slice(1, 5), "rest": slice(5, 9)}
    part = TokenSVD(half, **SMALL, side={"rest": rest.iloc[:50]}).fit(WARM)  # items it does not know: zeros
    assert np.isfinite(part.score(1)).all()


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
    np.testing.assert_array_equal(first.reducer_["reduce"].components_, second.reducer_["reduce"].components_)
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
    ],
)
def test_wrong_input_is_one_line(make, words):
    with pytest.raises(InputError, match=words) as error:
        make().fit(WARM)
    assert one_line(error)


@pytest.mark.parametrize("wrong", [WARM.iloc[:0], WARM.assign(rating=np.nan), WARM.assign(rating=np.inf)])
def test_wrong_ratings_are_one_line(wrong):
    with pytest.raises(InputError, match="ratings: ") as error:
        TokenSVD(EMBEDDINGS, **SMALL).fit(wrong)
    assert one_line(error)


def test_as_little_as_can_be():
    model = TokenSVD(EMBEDDINGS, **SMALL).fit(WARM.head(1))
    assert np.isfinite(model.score(1)).all()
    flat = TokenSVD(EMBEDDINGS, **SMALL).fit(WARM.assign(rating=3.0))
    np.testing.assert_allclose(flat.score(1), 3.0, atol=1e-3)


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
