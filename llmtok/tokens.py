"""Embeddings in, LLM tokens out: centre, keep the k directions that matter, scale to unit length.

An *LLM token* is, in the article this course answers, the short vector ``normalize(PCA(50)(BERT(text)))``
that stands for one item. It is not a word piece.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer, normalize
from sklearn.random_projection import GaussianRandomProjection

from llmtok.data import InputError


def make_tokens(n_components: int | None = 50, *, reducer="pca", random_state: int = 0) -> Pipeline:
    """Make the transformer that turns embeddings into LLM tokens.

    Parameters
    ----------
    n_components : int or None
        Length k of a token; at most the width of the embeddings and the number of items it is fitted on. None is as
        long as that (of the reducer ``pca``).
    reducer : {"pca", "truncated_svd", "random"} or transformer
        How the dimension is reduced. ``pca`` centres; ``truncated_svd`` is the same without centring;
        ``random`` is a random projection, the control that has learned nothing. Or any scikit-learn
        transformer, which then brings its own size.
    random_state : int
        Seed of the reducers that draw random numbers.

    Returns
    -------
    Pipeline
        Steps ``reduce`` and ``normalize``; ``fit`` on training items, ``transform`` others; gives a DataFrame
        (n, k), with the same index where it is given one. The reducer is at ``pipeline["reduce"]``.

    Raises
    ------
    InputError
        The reducer is unknown.

    References
    ----------
    K. Pearson (1901). On lines and planes of closest fit to systems of points in space.
    J. Mu and P. Viswanath (2018). All-but-the-Top: simple and effective postprocessing for word
    representations (why centring matters). arXiv:1702.01417

    Examples
    --------
    >>> import numpy as np
    >>> embeddings = np.random.default_rng(0).normal(size=(100, 384))
    >>> make_tokens(20).fit_transform(embeddings).shape
    (100, 20)
    """
    if isinstance(reducer, str):
        makers = {
            # The exact solver: the same tokens on every machine, and fast enough for a width of 768.
            "pca": lambda: PCA(n_components, svd_solver="covariance_eigh"),
            "truncated_svd": lambda: TruncatedSVD(n_components, random_state=random_state),
            "random": lambda: GaussianRandomProjection(n_components, random_state=random_state),
        }
        if reducer not in makers:
            raise InputError(f"unknown reducer {reducer!r}; there are {', '.join(makers)}, any transformer")
        reducer = makers[reducer]()
    tokens = Pipeline([("reduce", reducer), ("normalize", Normalizer())])
    return tokens.set_output(transform="pandas")


def behaviour_tokens(ratings: pd.DataFrame, tokens: pd.DataFrame) -> pd.DataFrame:
    """Encode what each user did: a weighted sum of the tokens of the items they rated, at unit length.

    The weight of an item is its rating less the user's own mean rating, so liked items pull and disliked ones
    push. A user whose ratings are all equal has told us only what they chose: then each item weighs the same.

    Parameters
    ----------
    ratings : DataFrame
        user_id, item_id, rating. Items without a token are passed over, as if they had not been rated.
    tokens : DataFrame of shape (n_items, k)
        Item tokens, indexed by item_id.

    Returns
    -------
    DataFrame of shape (n_users, k)
        Indexed by user_id; users none of whose items has a token are absent.

    Raises
    ------
    InputError
        No rated item has a token.

    Examples
    --------
    >>> tokens = pd.DataFrame([[1.0, 0.0], [0.0, 1.0]], index=["a", "b"])
    >>> ratings = pd.DataFrame({"user_id": [7, 7], "item_id": ["a", "b"], "rating": [5.0, 3.0]})
    >>> behaviour_tokens(ratings, tokens).round(2).values.tolist()
    [[0.71, -0.71]]
    """
    known = ratings["item_id"].isin(tokens.index)
    if not known.any():
        raise InputError(
            "no rated item has a token; are the tokens indexed by item_id, with ids of the same type?"
        )
    ratings = ratings[known]
    users, user_ids = pd.factorize(ratings["user_id"], sort=True)
    weight = ratings["rating"].to_numpy() - ratings.groupby("user_id")["rating"].transform("mean").to_numpy()
    flat = np.bincount(users, np.abs(weight)) < 1e-9
    weight = np.where(flat[users], 1.0, weight)
    columns = tokens.index.get_indexer(ratings["item_id"])
    matrix = sp.csr_matrix((weight, (users, columns)), shape=(len(user_ids), len(tokens)))
    vectors = normalize(matrix @ tokens.to_numpy())
    return pd.DataFrame(vectors, index=pd.Index(user_ids, name="user_id"), columns=tokens.columns)
