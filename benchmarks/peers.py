"""The rivals in the course's protocol (`llmtok.recommend.Recommender`): myFM, and what everybody has to beat.

Surprise's algorithms need nothing here: `llmtok.recommend.SurpriseRecommender` brings them in.
"""

import contextlib
import os
import warnings

import numpy as np
import pandas as pd
import scipy.sparse as sp
from sklearn.preprocessing import normalize

from llmtok.data import InputError
from llmtok.recommend import Recommender, check_features
from llmtok.tokens import make_tokens


class GlobalMean(Recommender):
    """Predict the mean training rating, always."""

    def fit(self, train: pd.DataFrame):
        """Learn one number."""
        self.mean_ = train["rating"].mean()
        self._items = pd.Index(train["item_id"].unique())
        return self

    def predict_ratings(self, pairs: pd.DataFrame) -> np.ndarray:
        """Predict the same for every row."""
        return np.full(len(pairs), self.mean_)

    def score(self, user) -> pd.Series:
        """Score every item the same."""
        return pd.Series(self.mean_, self._items)


class MyFM(Recommender):
    """Bayesian factorisation machines, learned by Gibbs sampling: the strongest rival.

    Parameters
    ----------
    rank : int
        Length of the factors.
    n_iter : int
        Sweeps of the sampler; the prediction is the mean over them, without the first five.
    ordered : bool
        Ratings are ordered classes (a probit model), and the prediction is the expected rating. Otherwise they are
        numbers with Gaussian noise.
    implicit : bool
        A user also has the items they rated as features, and an item the users who rated it, each row divided by the
        square root of its length, as in myFM's own MovieLens example. Training ratings only.
    embeddings : DataFrame, optional
        Of the items' texts, indexed by item_id: 50 tokens of them are a further block. As in `TokenSVD`, the reducer is
        fitted on the items of the training set.
    side : dict of str to DataFrame, optional
        Item features, one named block each with a variance of its own; indexed by item_id.
    random_state : int
        Seed of the sampler.

    Notes
    -----
    Users and items are relation blocks: a row each, and not a row a rating, which is what makes it fast. The first
    column of each id block stands for whoever is unknown: it is drawn from its prior in each sweep, as the posterior
    of somebody without ratings has to be.

    References
    ----------
    C. Freudenthaler, L. Schmidt-Thieme and S. Rendle (2011). Bayesian factorization machines.
    S. Rendle, L. Zhang and Y. Koren (2019). On the difficulty of evaluating baselines. arXiv:1905.01395
    """

    def __init__(
        self, rank=10, n_iter=300, ordered=False, implicit=False, embeddings=None, side=None, random_state=0
    ):
        self.rank = rank
        self.n_iter = n_iter
        self.ordered = ordered
        self.implicit = implicit
        self.embeddings = embeddings
        self.side = side
        self.random_state = random_state

    def fit(self, train: pd.DataFrame):
        """Learn from a frame with user_id, item_id and rating; return self."""
        myfm = import_myfm()
        self._remember(train)
        users, self.user_ids = pd.factorize(train["user_id"], sort=True)
        items, rated = pd.factorize(train["item_id"], sort=True)
        side = dict(self.side or {})
        if self.embeddings is not None:
            known = self.embeddings.index.intersection(rated)
            side["text"] = make_tokens(50).fit(self.embeddings.loc[known]).transform(self.embeddings)
        for name, block in side.items():
            check_features(block, name)
        # Rated items first, so that a column of the implicit blocks is a row of the other side.
        self.item_ids = rated
        for block in side.values():
            self.item_ids = self.item_ids.append(block.index.difference(self.item_ids))
        ones = sp.csr_matrix(
            (np.ones(len(train)), (users, items)), shape=(len(self.user_ids), len(self.item_ids))
        )
        user_blocks = [_ids(len(self.user_ids), len(self.user_ids))]
        item_blocks = [_ids(len(rated), len(self.item_ids))]
        if self.implicit:  # a row of n ones, at unit length, is divided by the root of n
            user_blocks.append(normalize(ones[:, : len(rated)]))
            item_blocks.append(normalize(ones.T.tocsr()))
        item_blocks += [
            block.reindex(self.item_ids).fillna(0.0).to_numpy(dtype=float) for block in side.values()
        ]
        self._users, self._items = _stack(user_blocks), _stack(item_blocks)
        self.rating_scale_ = train["rating"].min(), train["rating"].max()
        self.values_, classes = np.unique(train["rating"], return_inverse=True)
        make = myfm.MyFMOrderedProbit if self.ordered else myfm.MyFMRegressor
        self._model = make(self.rank, random_seed=self.random_state)
        target = classes if self.ordered else train["rating"].to_numpy(dtype=float)
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):  # its progress bar
            self._model.fit(
                None,
                target,
                X_rel=self._relations(users, items),
                n_iter=self.n_iter,
                group_shapes=[block.shape[1] for block in user_blocks + item_blocks],
            )
        return self

    def _relations(self, users, items):
        """Return the two relation blocks, only with the rows that are needed."""
        block, relations = import_myfm().RelationBlock, []
        for matrix, rows in ((self._users, users), (self._items, items)):
            needed, where = np.unique(rows, return_inverse=True)
            relations.append(block(where, matrix[needed]))
        return relations

    def _predict(self, users, items) -> np.ndarray:
        relations = self._relations(users, items)
        if self.ordered:
            return self._model.predict_proba(None, relations) @ self.values_
        return np.clip(self._model.predict(None, relations), *self.rating_scale_)

    def predict_ratings(self, pairs: pd.DataFrame) -> np.ndarray:
        """Predict a rating for each row (user_id, item_id); ids not seen in training get their prior."""
        # -1, for unknown, is the last row.
        users = self.user_ids.get_indexer(pairs["user_id"]) % self._users.shape[0]
        items = self.item_ids.get_indexer(pairs["item_id"]) % self._items.shape[0]
        return self._predict(users, items)

    def score(self, user) -> pd.Series:
        """Predict the user's rating of every item."""
        pairs = pd.DataFrame({"user_id": user, "item_id": self.item_ids})
        return pd.Series(self.predict_ratings(pairs), self.item_ids).sort_index()


def _ids(n_known: int, n: int) -> sp.csr_matrix:
    """One-hots of `n` rows; those from `n_known` on are unknown, and have the first column."""
    columns = np.r_[np.arange(1, n_known + 1), np.zeros(n - n_known, dtype=int)]
    return sp.csr_matrix((np.ones(n), (np.arange(n), columns)), shape=(n, n_known + 1))


def _stack(blocks) -> sp.csr_matrix:
    """Put the ids and the other blocks side by side, and below them one more row, for the unknown."""
    unknown = sp.csr_matrix(([1.0], ([0], [0])), shape=(1, sum(block.shape[1] for block in blocks)))
    return sp.vstack([sp.hstack(blocks), unknown], format="csr")


def import_myfm():
    """Return the module myfm.

    Raises
    ------
    InputError
        It is not installed, or its `pkg_resources` is not (setuptools 81 dropped it); the message says what to do.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pkg_resources is deprecated, as myfm 0.4.0 does not know yet
            import myfm
    except ImportError as error:
        raise InputError(
            f"myFM is left out ({error}); install it: python -m pip install -e '.[bench]'"
        ) from None
    return myfm
