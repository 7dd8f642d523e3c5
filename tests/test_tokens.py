"""LLM tokens: the numbers are those of linear algebra by hand, the frames keep their index."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA, FastICA

from llmtok import InputError, TokenSVD, behaviour_tokens, make_tokens


@pytest.fixture
def frame():
    """120 embeddings of width 30, off centre, of unequal directions; float32, as an encoder's are."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(120, 30)) * np.linspace(3, 0.3, 30) + 2
    index = pd.Index([f"i{n}" for n in range(120)], name="item_id")
    return pd.DataFrame(values.astype(np.float32), index=index)


def same_up_to_sign(a, b, atol=1e-5):
    a, b = np.asarray(a), np.asarray(b)
    np.testing.assert_allclose(a * np.sign((a * b).sum(axis=0)), b, atol=atol)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_pca_is_a_singular_value_decomposition_of_the_centred_rows(frame):
    values = frame.to_numpy(dtype=float)
    centred = values - values.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    same_up_to_sign(make_tokens(8).fit_transform(frame), unit(centred @ directions[:8].T))


def test_truncated_svd_is_the_same_without_centring(frame):
    values = frame.to_numpy(dtype=float)
    _, _, directions = np.linalg.svd(values, full_matrices=False)
    made = make_tokens(4, reducer="truncated_svd").fit_transform(frame.astype(float))
    same_up_to_sign(made, unit(values @ directions[:4].T), atol=1e-3)
    assert np.abs(made.iloc[:, 0]).mean() > 0.5  # the first direction is the mean


def test_random_projection_has_learned_nothing(frame):
    one = make_tokens(8, reducer="random", random_state=1).fit(frame)
    other = make_tokens(8, reducer="random", random_state=1).fit(frame.sample(frac=0.5, random_state=0))
    np.testing.assert_array_equal(one["reduce"].components_, other["reduce"].components_)
    values = frame.to_numpy(dtype=float)
    np.testing.assert_allclose(one.transform(frame), unit(values @ one["reduce"].components_.T), atol=1e-5)


def test_tokens_of_the_bundled_data(embeddings):
    tokens = make_tokens(50).fit_transform(embeddings)
    assert tokens.shape == (9066, 50) and tokens.index.equals(embeddings.index)
    np.testing.assert_allclose(np.linalg.norm(tokens, axis=1), 1, atol=1e-5)
    values = embeddings.to_numpy(dtype=float)
    centred = values - values.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)  # the smallest first
    # Two neighbours differ in variance by 0.05 %, so how far float32 mixes them is up to the linear algebra library.
    same_up_to_sign(tokens, unit(centred @ directions[:, : -50 - 1 : -1]), atol=1e-3)


@pytest.mark.parametrize("reducer", ["pca", "truncated_svd", "random"])
def test_frames_and_arrays(frame, reducer):
    tokens = make_tokens(6, reducer=reducer).fit_transform(frame)
    assert isinstance(tokens, pd.DataFrame) and tokens.shape == (120, 6) and tokens.columns.is_unique
    pd.testing.assert_index_equal(tokens.index, frame.index)
    np.testing.assert_allclose(np.linalg.norm(tokens, axis=1), 1, atol=1e-5)
    array = make_tokens(6, reducer=reducer).fit_transform(frame.to_numpy())
    np.testing.assert_array_equal(array, tokens)


@pytest.mark.parametrize("reducer", ["pca", "truncated_svd", "random"])
def test_random_state_makes_it_reproducible(frame, reducer):
    one, again, other = (
        make_tokens(6, reducer=reducer, random_state=s).fit_transform(frame) for s in (3, 3, 4)
    )
    pd.testing.assert_frame_equal(one, again)
    assert (np.abs(one - other).max(axis=None) > 0.1) == (reducer == "random")


def test_new_items_are_projected_as_the_training_items_said(frame):
    train, new = frame.iloc[:100], frame.iloc[100:]
    fitted = make_tokens(8).fit(train)
    values = train.to_numpy(dtype=float)
    _, _, directions = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    tokens = fitted.transform(new)
    pd.testing.assert_index_equal(tokens.index, new.index)
    same_up_to_sign(tokens, unit((new.to_numpy(dtype=float) - values.mean(axis=0)) @ directions[:8].T))
    pd.testing.assert_frame_equal(fitted.transform(new.iloc[[3]]), tokens.iloc[[3]], atol=1e-6)


def test_clone_is_unfitted_and_gives_frames(frame):
    fitted = make_tokens(5, reducer="random", random_state=7).fit(frame)
    copy = clone(fitted)
    assert not hasattr(copy["reduce"], "components_")
    pd.testing.assert_frame_equal(copy.fit_transform(frame), fitted.transform(frame))
    assert copy.set_params(reduce__n_components=3).fit_transform(frame).shape == (120, 3)


def test_any_transformer_may_reduce(frame):
    tokens = make_tokens(reducer=PCA(3, whiten=True)).fit_transform(frame)
    expected = unit(PCA(3, whiten=True).fit_transform(frame.to_numpy()))
    same_up_to_sign(tokens, expected, atol=1e-4)
    assert make_tokens(reducer=FastICA(2, random_state=0)).fit_transform(frame).shape == (120, 2)
    same = make_tokens(reducer="pca").set_params(reduce="passthrough").fit_transform(frame)
    np.testing.assert_allclose(same, unit(frame.to_numpy()), atol=1e-6)


def test_unknown_reducer():
    with pytest.raises(InputError, match=r"'pcb'.*pca, truncated_svd, random"):
        make_tokens(reducer="pcb")


@pytest.mark.parametrize(("reducer", "rows"), [("pca", 120), ("pca", 20), ("truncated_svd", 120)])
def test_more_components_than_there_can_be(frame, reducer, rows):
    with pytest.raises(ValueError, match=r"n_components.*31"):
        make_tokens(31, reducer=reducer).fit(frame.iloc[:rows])
    assert make_tokens(20, reducer=reducer).fit_transform(frame.iloc[:rows]).shape == (rows, 20)


def test_random_projection_warns_when_it_makes_longer_not_shorter(frame):
    with pytest.warns(UserWarning, match="higher than the number of features"):
        make_tokens(31, reducer="random").fit(frame)


@pytest.mark.parametrize("reducer", ["pca", "truncated_svd", "random"])
def test_missing_values_are_refused(frame, reducer):
    fitted = make_tokens(4, reducer=reducer).fit(frame)
    frame.iloc[3, 4] = np.nan
    for call in (make_tokens(4, reducer=reducer).fit, fitted.transform):
        with pytest.raises(ValueError, match="NaN"):
            call(frame)


# --- Behaviour tokens ---------------------------------------------------------------------------------------


@pytest.fixture
def tokens():
    values = [[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [-1.0, 0.0]]
    return pd.DataFrame(values, index=pd.Index([10, 20, 30, 40], name="item_id"), columns=["x", "y"])


def rated(*rows):
    return pd.DataFrame(rows, columns=["user_id", "item_id", "rating"])


def test_behaviour_by_hand(tokens):
    made = behaviour_tokens(rated((1, 10, 5.0), (1, 20, 2.0), (1, 30, 2.0)), tokens)
    # The mean is 3, so the weights are 2, -1, -1: (2, 0) - (0, 1) - (0.6, 0.8) = (1.4, -1.8).
    expected = pd.DataFrame([[1.4, -1.8]], index=pd.Index([1], name="user_id"), columns=["x", "y"])
    pd.testing.assert_frame_equal(made, expected / np.hypot(1.4, 1.8))


@pytest.mark.parametrize("rating", [3.0, 0.1, 4.35])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_user_whose_ratings_are_all_equal(tokens, rating, n):
    made = behaviour_tokens(rated(*((5, item, rating) for item in (10, 20, 30)[:n])), tokens)
    np.testing.assert_allclose(made.loc[5], unit(tokens.iloc[:n].sum().to_numpy()[None])[0])


def test_items_without_a_token_are_as_if_not_rated(tokens):
    ratings = rated((1, 10, 5.0), (1, 20, 1.0), (1, 99, 1.0), (2, 99, 4.0), (3, 30, 2.0), (3, 99, 5.0))
    made = behaviour_tokens(ratings, tokens)
    pd.testing.assert_frame_equal(made, behaviour_tokens(ratings[ratings.item_id != 99], tokens))
    assert made.index.tolist() == [1, 3]  # nothing is known about user 2
    np.testing.assert_allclose(made, [[np.sqrt(0.5), -np.sqrt(0.5)], [0.6, 0.8]])


def test_behaviour_without_any_token(tokens):
    with pytest.raises(InputError, match="indexed by item_id"):
        behaviour_tokens(rated((1, 99, 5.0)), tokens)
    with pytest.raises(InputError):
        behaviour_tokens(rated((1, "10", 5.0)), tokens)  # ids of another type


def test_behaviour_with_string_ids_and_rows_in_any_order(tokens):
    named = tokens.set_axis(["007", "a", "b", "c"])
    ratings = rated(("z", "a", 1.0), ("02", "007", 5.0), ("z", "007", 4.0), ("02", "b", 4.0))
    made = behaviour_tokens(ratings, named)
    assert made.index.tolist() == ["02", "z"] and made.columns.tolist() == ["x", "y"]
    np.testing.assert_allclose(made.loc["z"], [np.sqrt(0.5), -np.sqrt(0.5)])
    pd.testing.assert_frame_equal(made, behaviour_tokens(ratings.iloc[::-1].reset_index(drop=True), named))


def test_behaviour_of_the_bundled_data_by_a_plain_loop(data, embeddings):
    tokens = make_tokens(10).fit_transform(embeddings)
    made = behaviour_tokens(data.ratings, tokens)
    assert made.shape == (671, 10)
    for user in (1, 2, 300, 671):
        own = data.ratings[data.ratings.user_id == user]
        summed = sum((r - own.rating.mean()) * tokens.loc[i].to_numpy(dtype=float)
                     for i, r in zip(own.item_id, own.rating, strict=True))  # fmt: skip
        np.testing.assert_allclose(made.loc[user], summed / np.linalg.norm(summed), atol=1e-5)


def test_string_ids_go_all_the_way_to_a_recommender(frame, tmp_path):
    from llmtok import load_csv

    rng = np.random.default_rng(0)
    ids = [f"{n:03d}" for n in range(40)]
    (tmp_path / "items.csv").write_text("item,title\n" + "".join(f"{i},T{i}\n" for i in ids))
    rows = [f"u{u},{i},{rng.integers(1, 6)}\n" for u in range(20) for i in rng.choice(ids, 12, replace=False)]
    (tmp_path / "ratings.csv").write_text("user,item,rating\n" + "".join(rows))
    own = load_csv(tmp_path / "ratings.csv", tmp_path / "items.csv")
    embeddings = frame.iloc[:40].set_axis(own.items.index)
    svd = TokenSVD(embeddings, reducer=make_tokens(4), n_factors=2).fit(own.ratings)
    assert svd.score("u3").index.tolist() == ids and np.isfinite(svd.score("u3")).all()
    assert behaviour_tokens(own.ratings, make_tokens(4).fit_transform(embeddings)).shape == (20, 4)
