"""The rivals that rank, in the course's protocol: what other libraries do not have, each as its paper says it."""

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.linalg import lapack, solve
from sklearn.preprocessing import normalize

from llmtok.recommend import Recommender


class _OfMatrix(Recommender):
    """What ranks from a matrix of users and items, 1 where liked (or rated, with ``liked=None``)."""

    liked = None

    def _read(self, train: pd.DataFrame) -> sp.csr_matrix:
        self._remember(train)
        users, self.user_ids = pd.factorize(train["user_id"], sort=True)
        items, self.item_ids = pd.factorize(train["item_id"], sort=True)
        kept = np.ones(len(train), bool) if self.liked is None else train["rating"].to_numpy() >= self.liked
        shape = len(self.user_ids), len(self.item_ids)
        self.x = sp.csr_matrix((np.ones(kept.sum(), "f4"), (users[kept], items[kept])), shape)
        return self.x

    def _row(self, user) -> sp.csr_matrix:
        return self.x[[self.user_ids.get_loc(user)]]


class EASE(_OfMatrix):
    """Each item by ridge regression from the others, all in one inverse.

    References
    ----------
    H. Steck (2019). Embarrassingly shallow autoencoders for sparse data. WWW. doi:10.1145/3308558.3313710
    """

    def __init__(self, l2=100.0, liked=None):
        self.l2, self.liked = l2, liked

    def fit(self, train: pd.DataFrame):
        """Learn the matrix B."""
        x = self._read(train)
        inverse = inverted((x.T @ x).toarray(), self.l2)
        self.B = inverse / -np.diag(inverse)
        np.fill_diagonal(self.B, 0)
        return self

    def score(self, user) -> pd.Series:
        """Score every item of the training set."""
        return pd.Series((self._row(user) @ self.B)[0], self.item_ids)


class L3AE(EASE):
    """EASE that is drawn towards a matrix S, which is EASE on the texts: rows of embeddings in place of users.

    ``B = argmin |X - X B|^2 + l2 |B|^2 + align |B - S|^2``, with 0 in the diagonal.

    References
    ----------
    J. Moon, S. Park and J. Lee (2025). LLM-enhanced linear autoencoders for recommendation. CIKM. arXiv:2508.13500
    """

    def __init__(self, embeddings, l2=100.0, align=50.0, l2_text=10.0, liked=None):
        self.embeddings, self.l2, self.align, self.l2_text, self.liked = embeddings, l2, align, l2_text, liked

    def fit(self, train: pd.DataFrame):
        """Learn S from the texts, then B."""
        x = self._read(train)
        texts = normalize(self.embeddings.reindex(self.item_ids).fillna(0.0).to_numpy(dtype="f4"))
        inverse = inverted(texts @ texts.T, self.l2_text)
        s = inverse / -np.diag(inverse)
        np.fill_diagonal(s, 0)
        gram = (x.T @ x).toarray()
        inverse = inverted(gram.copy(), self.l2 + self.align)
        self.B = inverse @ (gram + self.align * s)
        self.B -= inverse * (np.diag(self.B) / np.diag(inverse))
        return self


def inverted(gram: np.ndarray, l2: float) -> np.ndarray:
    """Invert a symmetric matrix with `l2` added to its diagonal; it is overwritten."""
    gram[np.diag_indices_from(gram)] += l2
    triangle, _ = lapack.spotrf(gram, lower=1, overwrite_a=1)
    inverse, _ = lapack.spotri(triangle, lower=1, overwrite_c=1)
    inverse = np.tril(inverse)
    return inverse + np.tril(inverse, -1).T


class Cosine(_OfMatrix):
    """The cosine of an item's embedding and the mean one of what a user liked; knows text alone."""

    def __init__(self, embeddings, liked=None, centred=True):
        self.embeddings, self.liked, self.centred = embeddings, liked, centred

    def fit(self, train: pd.DataFrame):
        """Centre on the rated items."""
        self._read(train)
        known = self.embeddings.reindex(self.item_ids).dropna()
        mean = known.to_numpy().mean(axis=0) if self.centred else 0.0
        self.vectors = pd.DataFrame(normalize(self.embeddings.to_numpy() - mean), self.embeddings.index)
        self.rated = self.vectors.reindex(self.item_ids).fillna(0.0).to_numpy()
        return self

    def score(self, user) -> pd.Series:
        """Score every item that has an embedding."""
        profile = normalize(self._row(user) @ self.rated)[0]
        return pd.Series(self.vectors.to_numpy() @ profile, self.vectors.index)


class Hybrid(Recommender):
    """One model's scores and a share of another's, each less its mean and over its spread."""

    def __init__(self, first, second, weight):
        self.first, self.second, self.weight = first, second, weight

    def fit(self, train: pd.DataFrame):
        """Fit both."""
        self.first.fit(train)
        self.second.fit(train)
        return self

    def seen(self, user) -> np.ndarray:
        """Return the items that the user rated."""
        return self.first.seen(user)

    def score(self, user) -> pd.Series:
        """Score what the first model scores."""
        one = self.first.score(user)
        two = self.second.score(user).reindex(one.index).fillna(0.0)
        one, two = ((s - s.mean()) / max(s.std(), 1e-12) for s in (one, two))
        return one + self.weight * two


class Carried(_OfMatrix):
    """What is known of rated items, carried to all by ridge regression on the items' features.

    What is carried is who liked an item, or with settings of `EASE` its scores. With `kernel` the regression is on the
    similarity ``exp(2 (cosine - 1))``, which falls fast as texts part, and else it is linear.
    """

    def __init__(self, features, ease=None, ridge=1.0, liked=None, kernel=False):
        self.features, self.ease, self.ridge, self.liked, self.kernel = features, ease, ridge, liked, kernel

    def fit(self, train: pd.DataFrame):
        """Fit the ridge regression, all users at once."""
        self._read(train)
        known = self.features.reindex(self.item_ids)
        there = known.notna().all(axis=1).to_numpy()
        values = self.features.to_numpy(dtype="f4") - known.to_numpy(dtype="f4")[there].mean(axis=0)
        values = normalize(values)
        rated = values[self.features.index.get_indexer(self.item_ids)]
        if self.kernel:
            similar = np.exp(2 * (rated @ np.vstack([rated, values]).T - 1)) * there[:, None]
            alike = similar[:, : len(rated)] * there
            alike[np.diag_indices_from(alike)] += self.ridge
            self.head = solve(alike, similar[:, len(rated) :], assume_a="pos", overwrite_a=True)
        else:
            values = np.c_[values, np.ones(len(values), "f4")]
            rated = np.c_[rated, np.ones(len(rated), "f4")] * there[:, None]
            gram = rated.T.astype(float) @ rated + self.ridge * np.eye(values.shape[1])
            self.head = rated @ np.linalg.solve(gram, values.T).astype("f4")  # rated items x all items
        if self.ease is not None:
            self.head = EASE(**self.ease).fit(train).B @ self.head
        return self

    def score(self, user) -> pd.Series:
        """Score every item that has features."""
        return pd.Series((self._row(user) @ self.head)[0], self.features.index)


class Random(_OfMatrix):
    """Drawn numbers."""

    def __init__(self, item_ids, random_state=0):
        self.all, self.random_state = item_ids, random_state

    def fit(self, train: pd.DataFrame):
        """Begin to draw."""
        self._read(train)
        self.rng = np.random.default_rng(self.random_state)
        return self

    def score(self, user) -> pd.Series:
        """Draw a score for every item."""
        return pd.Series(self.rng.random(len(self.all)), self.all)


class TruePopularity(Recommender):
    """The number of likes in all ratings, hidden ones too: a cheat, and the bound of what popularity can do."""

    def __init__(self, ratings, liked):
        self.counts = ratings.loc[ratings["rating"] >= liked, "item_id"].value_counts().astype(float)

    def fit(self, train: pd.DataFrame):
        """Remember who rated what."""
        self._remember(train)
        return self

    def score(self, user) -> pd.Series:
        """Return the counts."""
        return self.counts
