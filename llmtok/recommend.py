"""Ratings and tokens in, a fitted recommender out.

The model of the course, `TokenSVD`, predicts as Surprise's SVD does, ``r = mu + b_u + b_i + p_u . q_i``. What is
new is where an item's bias and factors are drawn from: not around zero, but around what its token says,
``(b_i, q_i) ~ N(W f_i, diag(1 / lambda))``; and a user's around what the mean token of their history says. Text
is the prior, behaviour is the evidence: an item nobody has rated *is* its prior.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numba
import numpy as np
import pandas as pd
import scipy.sparse as sp
import surprise
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from llmtok.data import InputError
from llmtok.tokens import make_tokens


class Recommender:
    """What everything that recommends can do, ours or a rival's: the protocol of the course.

    A subclass has ``fit(train)``, ``score(user)`` and ``seen(user)``. The rest follows.
    """

    def fit(self, train: pd.DataFrame):
        """Learn from a frame with user_id, item_id and rating; return self."""
        raise NotImplementedError

    def score(self, user) -> pd.Series:
        """Return a score for every item, indexed by item_id; higher is better."""
        raise NotImplementedError

    def predict_ratings(self, pairs: pd.DataFrame) -> np.ndarray:
        """Predict a rating for each row (user_id, item_id) of `pairs`; returns shape (n,)."""
        predicted = pd.Series(np.nan, index=range(len(pairs)))
        for user, rows in pairs.reset_index(drop=True).groupby("user_id", sort=False):
            predicted[rows.index] = self.score(user).reindex(rows["item_id"]).to_numpy()
        return predicted.to_numpy()

    def recommend(self, user, n: int = 10) -> pd.Series:
        """Return the `n` best items that `user` has not rated, best first, with their scores.

        `user` is a user_id, or a Series of ratings indexed by item_id for somebody new.
        """
        scores = self.score(user)
        seen = user.index if isinstance(user, pd.Series) else self.seen(user)
        return scores[~scores.index.isin(seen)].nlargest(n, keep="first")

    def seen(self, user) -> np.ndarray:
        """Return the item_ids that the user rated in training."""
        return self._seen.get(user, np.array([]))

    def _remember(self, train: pd.DataFrame) -> None:
        self._seen = {user: rows.to_numpy() for user, rows in train.groupby("user_id")["item_id"]}


class Popularity(Recommender):
    """Recommend to everybody what most people rated: the baseline that a ranking has to beat."""

    def fit(self, train: pd.DataFrame):
        """Count the ratings of each item."""
        self.counts_ = train["item_id"].value_counts().sort_index().astype(float)
        self._remember(train)
        return self

    def score(self, user) -> pd.Series:
        """Return the number of ratings of each item, the same for every user."""
        return self.counts_


class SurpriseRecommender(Recommender):
    """Let an algorithm of the Surprise library take part.

    Parameters
    ----------
    algo : surprise.AlgoBase
        Such as ``surprise.SVD(random_state=0)``.
    """

    def __init__(self, algo: surprise.AlgoBase):
        self.algo = algo

    def fit(self, train: pd.DataFrame):
        """Fit the algorithm on a trainset made from the frame."""
        self.algo.fit(to_trainset(train))
        return self

    def predict_ratings(self, pairs: pd.DataFrame) -> np.ndarray:
        """Predict a rating for each row (user_id, item_id)."""
        return np.array(
            [self.algo.predict(u, i).est for u, i in zip(pairs["user_id"], pairs["item_id"], strict=True)]
        )

    def score(self, user) -> pd.Series:
        """Predict the user's rating of every item of the training set."""
        trainset = self.algo.trainset
        item_ids = pd.Index([trainset.to_raw_iid(i) for i in trainset.all_items()], name="item_id")
        return pd.Series(
            [self.algo.predict(user, i, clip=False).est for i in item_ids], index=item_ids
        ).sort_index()

    def seen(self, user) -> np.ndarray:
        """Return the item_ids that the user rated in training."""
        trainset = self.algo.trainset
        if not trainset.knows_user(inner := trainset._raw2inner_id_users.get(user, -1)):
            return np.array([])
        return np.array([trainset.to_raw_iid(i) for i, _ in trainset.ur[inner]])


def to_trainset(ratings: pd.DataFrame) -> surprise.Trainset:
    """Make Surprise's `Trainset` from a frame with user_id, item_id and rating (timestamps are dropped)."""
    return to_surprise(ratings).build_full_trainset()


def to_surprise(ratings: pd.DataFrame) -> surprise.Dataset:
    """Make Surprise's `Dataset`, for its `cross_validate` and `GridSearchCV`; the ratings give the scale."""
    missing = {"user_id", "item_id", "rating"} - set(ratings.columns)
    if missing:
        raise InputError(
            f"ratings: no column {', '.join(sorted(missing))} among {', '.join(ratings.columns)}"
        )
    if len(ratings) == 0 or not np.isfinite(ratings["rating"]).all():
        raise InputError("ratings: there is none, or one is not a finite number; clean them first")
    reader = surprise.Reader(rating_scale=(ratings["rating"].min(), ratings["rating"].max()))
    return surprise.Dataset.load_from_df(ratings[["user_id", "item_id", "rating"]], reader)


class TokenSVD(Recommender, surprise.AlgoBase):
    """Matrix factorisation whose prior is what the text says.

    ``r = mu + b_u + b_i + p_u . q_i + noise``. With ``f_i`` the item's features (1, its token, its side blocks),
    ``(b_i, q_i) ~ N(W f_i, diag(1 / lambda))``; with ``h_u`` the mean of the features of what the user rated,
    ``(b_u, p_u) ~ N(V h_u, diag(1 / kappa))``. Given the items, a user is one small ridge regression, and the other
    way round; the fit takes turns (variational Bayes: the uncertainty of each side is carried into the other's
    equations). The variances and the noise are learned on the way, so there is no regularisation to search for.

    Parameters
    ----------
    embeddings : DataFrame of shape (n_items, d)
        Indexed by item_id. Items without ratings belong in it: they can be recommended.
    reducer : transformer or None
        Turns embeddings into tokens: cloned, and fitted on the items of each training set. By default
        ``make_tokens(50)``; ``"passthrough"`` takes the embeddings as they are.
    n_factors : int
        Length of ``p_u`` and ``q_i``.
    n_epochs : int
        Rounds of updates.
    side : dict of str to DataFrame, optional
        Further item features, one named block each with a variance of its own; indexed by item_id.
    random_state : int
        Seed of the factors' first values.

    Attributes
    ----------
    item_ids : Index
        Every item that can be scored: those of `embeddings`, then those that have ratings only.
    W_ : ndarray of shape (n_features, 1 + n_factors)
        What the features say of bias and factors.
    item_factors_, user_factors_ : ndarray of shape (n, 1 + n_factors)
        Bias first. Factors may rotate from run to run; look at `user_token` instead.

    Notes
    -----
    The fit ends on the users, so ``fold_in`` of a user's own training ratings gives exactly the stored user. When
    ``W`` is learned, an item counts by its number of ratings to the power ``weight_power``; one half was chosen on
    validation data (``benchmarks/tune.py``).

    References
    ----------
    D. Agarwal and B.-C. Chen (2009). Regression-based latent factor models. KDD. doi:10.1145/1557019.1557029
    Y. J. Lim and Y. W. Teh (2007). Variational Bayesian approach to movie rating prediction. KDD Cup.

    Examples
    --------
    >>> import pandas as pd
    >>> ratings = pd.DataFrame({"user_id": [1, 1, 2, 2], "item_id": [1, 2, 1, 3], "rating": [5.0, 1.0, 4.0, 2.0]})
    >>> embeddings = pd.DataFrame([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.1]], index=[1, 2, 3, 4])
    >>> svd = TokenSVD(embeddings, reducer="passthrough", n_factors=1).fit(ratings)
    >>> svd.recommend(1, n=1).index.tolist()  # nobody rated item 4; its text is like item 1's
    [4]
    """

    weight_power = 0.5

    def __init__(self, embeddings, reducer=None, n_factors=10, n_epochs=20, side=None, random_state=0):
        surprise.AlgoBase.__init__(self)
        self.embeddings = embeddings
        self.reducer = reducer
        self.n_factors = n_factors
        self.n_epochs = n_epochs
        self.side = side
        self.random_state = random_state

    # --- learning ---

    def fit(self, train):
        """Learn from ratings.

        Parameters
        ----------
        train : DataFrame or surprise.Trainset
            User, item and rating; a frame has them in the columns user_id, item_id and rating.

        Returns
        -------
        self
        """
        check_features(self.embeddings, "embeddings")
        if self.n_factors < 1 or self.n_epochs < 1:
            raise InputError(f"n_factors={self.n_factors}, n_epochs={self.n_epochs}: each must be 1 or more")
        trainset = train if isinstance(train, surprise.Trainset) else to_trainset(train)
        surprise.AlgoBase.fit(self, trainset)
        users, inner_items, ratings = np.array(list(trainset.all_ratings())).T
        raw_items = pd.Index([trainset.to_raw_iid(i) for i in trainset.all_items()])
        self.user_ids = pd.Index([trainset.to_raw_uid(u) for u in trainset.all_users()], name="user_id")
        without = raw_items.difference(self.embeddings.index)
        self.item_ids = self.embeddings.index.append(without).rename("item_id")
        self._inner = self.item_ids.get_indexer(raw_items)  # Surprise's inner item id -> row of item_ids
        self._unknown = {f"UKN__{raw}": row for row, raw in enumerate(self.item_ids)}
        self.rating_scale_ = tuple(float(x) for x in trainset.rating_scale)
        users, items = users.astype(int), self._inner[inner_items.astype(int)]
        self._by_user = _compress(users, items, ratings, len(self.user_ids))
        self._by_item = _compress(items, users, ratings, len(self.item_ids))
        # The matrices are small: several threads would only wait for each other.
        with threadpool_limits(1, user_api="blas"):
            self._features = self._make_features(raw_items)
            self._learn(trainset.global_mean, np.unique(items))
        return self

    def _make_features(self, raw_items):
        """Stack (1, token, side blocks) for every item; remember which columns are which block."""
        side = self.side or {}
        if "text" in side:
            raise InputError("side: the block 'text' is the embeddings' own; give yours another name")
        for name, block in side.items():
            check_features(block, name)
        blocks = {"text": self._tokens(raw_items), **side}
        columns, self.blocks_ = [np.ones((len(self.item_ids), 1))], {}
        start = 1
        for name, block in blocks.items():
            values = block.reindex(self.item_ids).fillna(0.0).to_numpy(dtype=float)
            columns.append(values)
            self.blocks_[name] = slice(start, start + values.shape[1])
            start += values.shape[1]
        return np.hstack(columns)

    def _tokens(self, raw_items) -> pd.DataFrame:
        known = self.embeddings.index.intersection(raw_items)
        if len(known) == 0:
            raise InputError(
                f"no rated item has an embedding: ratings have item_id like '{raw_items[0]}', the "
                f"embeddings like '{self.embeddings.index[0]}'"
            )
        if isinstance(self.reducer, str):
            if self.reducer != "passthrough":
                raise InputError(f"reducer is {self.reducer!r}; give a transformer, None or 'passthrough'")
            return self.embeddings
        self.reducer_ = clone(self.reducer if self.reducer is not None else make_tokens(50))
        wanted = getattr(
            self.reducer_[0] if hasattr(self.reducer_, "steps") else self.reducer_, "n_components", None
        )
        most = min(len(known), self.embeddings.shape[1])
        if isinstance(wanted, (int, np.integer)) and wanted > most:
            raise InputError(
                f"n_components={wanted} is more than the data allow: {len(known)} rated items with "
                f"embeddings of width {self.embeddings.shape[1]} give at most {most}"
            )
        # Fitted on the items of this trainset only: cross-validation cannot leak.
        self.reducer_.fit(self.embeddings.loc[known])
        return pd.DataFrame(np.asarray(self.reducer_.transform(self.embeddings)), index=self.embeddings.index)

    def _learn(self, mu, rated):
        self.mu_ = mu
        features, k = self._features, 1 + self.n_factors
        history = self._history(*self._by_user[:2])
        counts = np.diff(self._by_item[0])
        rng = np.random.default_rng(self.random_state)
        # An item counts by the square root of its ratings when it is learned what features say: between each item
        # once, where the many with one rating drown the rest, and each rating once, where a few hits do.
        weights = counts[rated].astype(float) ** self.weight_power
        items = _Side(features, self.blocks_, k, rows=rated, weights=weights)
        users = _Side(history, self.blocks_, k, rows=np.arange(len(history)), weights=np.ones(len(history)))
        users.mean[:, 1:] = rng.normal(scale=0.1, size=(len(users.mean), k - 1))
        self.noise_ = float(np.var(self._by_user[2])) or 1e-6
        for _ in range(self.n_epochs):
            items.update(self._by_item, users, mu, self.noise_)
            items.learn_prior()
            users.update(self._by_user, items, mu, self.noise_)
            self.noise_ = max(users.error / len(self._by_user[2]), 1e-6)
            users.learn_prior()
        # Once more with the last priors: an unrated item is its prior, and folding in finds the stored user again.
        items.update(self._by_item, users, mu, self.noise_)
        users.update(self._by_user, items, mu, self.noise_)
        self.W_, self.item_factors_, self._item_cov = items.W, items.mean, items.cov
        self._V, self._user_precision, self.user_factors_ = users.W, users.precision, users.mean

    def _history(self, indptr, indices):
        """Return the mean features of each user's rated items, shape (n_users, n_features)."""
        counts = np.maximum(np.diff(indptr), 1)
        rated = sp.csr_matrix(
            (np.ones(len(indices)), indices, indptr), shape=(len(indptr) - 1, len(self._features))
        )
        history = (rated @ self._features) / counts[:, None]
        history[:, 0] = 1.0
        return history

    # --- predicting ---

    def estimate(self, u, i):
        """Estimate a rating, as Surprise asks for it: inner ids, or ``UKN__`` and the raw id where unknown."""
        row = self._unknown.get(i, -1) if isinstance(i, str) else self._inner[i]
        user = self._solve_user([], [])[0] if isinstance(u, str) else self.user_factors_[u]
        item = self.item_factors_[row] if row >= 0 else self._features.mean(axis=0) @ self.W_
        return self.mu_ + user[0] + item[0] + user[1:] @ item[1:]

    def predict_ratings(self, pairs: pd.DataFrame) -> np.ndarray:
        """Predict a rating for each row (user_id, item_id), clipped to the scale; unknown ids get their prior."""
        users = np.vstack([self.user_factors_, self._solve_user([], [])[0]])[
            self.user_ids.get_indexer(pairs["user_id"])
        ]
        typical = self._features.mean(axis=0) @ self.W_
        items = np.vstack([self.item_factors_, typical])[self.item_ids.get_indexer(pairs["item_id"])]
        predicted = self.mu_ + users[:, 0] + items[:, 0] + (users[:, 1:] * items[:, 1:]).sum(axis=1)
        return np.clip(predicted, *self.rating_scale_)

    def score(self, user) -> pd.Series:
        """Predict the rating of every item, before clipping.

        Parameters
        ----------
        user : user_id, or Series
            A Series of ratings indexed by item_id stands for somebody new, and is folded in.
        """
        p = self._vector(user)
        return pd.Series(
            self.mu_ + p[0] + self.item_factors_[:, 0] + self.item_factors_[:, 1:] @ p[1:], self.item_ids
        )

    def fold_in(self, ratings: pd.Series) -> np.ndarray:
        """Return bias and factors, shape (1 + n_factors,), of a user from their ratings, indexed by item_id."""
        return self._solve_user(*self._own_ratings(ratings))[0]

    def explain(self, user, item_id) -> pd.Series:
        """Split a prediction, before clipping, into what each past rating contributes.

        Returns
        -------
        Series
            Indexed by item_id; the first entry, ``base``, is what would be predicted with the same history and no
            opinion about it. The sum is the prediction.
        """
        rows, ratings = self._own_ratings(user)
        _, matrix, evidence, prior = self._solve_user(rows, ratings)
        item = self.item_factors_[self._row(item_id)]
        direction = np.linalg.solve(matrix, np.r_[1.0, item[1:]])
        parts = pd.Series(evidence @ direction, index=self.item_ids[rows].astype(object))
        parts = parts.sort_values(key=np.abs, ascending=False, kind="stable")
        return pd.concat([pd.Series({"base": self.mu_ + item[0] + direction @ prior}), parts]).rename_axis(
            "item_id"
        )

    def user_token(self, user) -> pd.Series:
        """Return ``a_u = W' p_u`` for the text block: the user's taste in the space of the item tokens.

        What the text alone says of the user's preference for item i, against other users, is ``a_u . t_i``.
        """
        return pd.Series(self.W_[self.blocks_["text"], 1:] @ self._vector(user)[1:], name="user_token")

    def seen(self, user) -> np.ndarray:
        """Return the item_ids that the user rated in training."""
        return self.item_ids[self._own_ratings(user)[0]].to_numpy() if user in self.user_ids else np.array([])

    def _vector(self, user) -> np.ndarray:
        if isinstance(user, pd.Series):
            return self.fold_in(user)
        row = self.user_ids.get_indexer([user])[0]
        return self.user_factors_[row] if row >= 0 else self._solve_user([], [])[0]

    def _own_ratings(self, user):
        if isinstance(user, pd.Series):
            rows = self.item_ids.get_indexer(user.index)
            if (rows < 0).any():
                raise InputError(f"unknown items: {', '.join(str(i) for i in user.index[rows < 0][:5])}")
            if not np.isfinite(user.to_numpy(dtype=float)).all():
                raise InputError(f"ratings: {user.name or 'a rating'} is not a finite number")
            return rows, user.to_numpy(dtype=float)
        row = self.user_ids.get_indexer([user])[0]
        if row < 0:
            raise InputError(f"unknown user {user!r}; give their ratings, a Series indexed by item_id")
        indptr, indices, ratings = self._by_user
        return indices[indptr[row] : indptr[row + 1]], ratings[indptr[row] : indptr[row + 1]]

    def _row(self, item_id) -> int:
        row = self.item_ids.get_indexer([item_id])[0]
        if row < 0:
            raise InputError(f"unknown item {item_id!r}")
        return row

    def _solve_user(self, rows, ratings):
        """One user's ridge regression: returns the vector, its matrix, each rating's evidence, and the prior's."""
        rows = np.asarray(rows, dtype=np.int64)
        history = (
            np.r_[1.0, self._features[rows, 1:].mean(axis=0)]
            if len(rows)
            else np.eye(1, self._features.shape[1])[0]
        )
        item, cov = self.item_factors_[rows], self._item_cov[rows]
        z = np.c_[np.ones(len(rows)), item[:, 1:]]
        evidence = z * (np.asarray(ratings) - self.mu_ - item[:, 0])[:, None]
        evidence[:, 1:] -= cov[:, 0, 1:]
        matrix = np.diag(self._user_precision) + z.T @ z / self.noise_
        matrix[1:, 1:] += cov[:, 1:, 1:].sum(axis=0) / self.noise_
        prior = self._user_precision * (history @ self._V)
        evidence = evidence / self.noise_
        return np.linalg.solve(matrix, prior + evidence.sum(axis=0)), matrix, evidence, prior

    # --- keeping ---

    _ARRAYS = ("W_", "item_factors_", "user_factors_", "_V", "_user_precision", "_features", "_item_cov")

    def save(self, path: str | Path) -> None:
        """Write the fitted model to one ``.npz`` file: arrays and JSON, no pickle, whole or not at all."""
        path = Path(path)
        arrays = {name: getattr(self, name) for name in self._ARRAYS}
        arrays |= {
            f"by_user_{n}": a for n, a in zip(("indptr", "indices", "ratings"), self._by_user, strict=True)
        }
        arrays |= {name: getattr(self, name).to_numpy() for name in ("user_ids", "item_ids")}
        arrays = {name: a.astype(str) if a.dtype == object else a for name, a in arrays.items()}
        about = {
            "format": "llmtok.TokenSVD/1",
            "mu": self.mu_,
            "noise": self.noise_,
            "n_factors": self.n_factors,
            "rating_scale": self.rating_scale_,
            "blocks": {name: [s.start, s.stop] for name, s in self.blocks_.items()},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        try:
            with part.open("wb") as file:
                np.savez(file, about=np.array(json.dumps(about)), **arrays)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> TokenSVD:
        """Read a model that `save` wrote. It scores, folds in and explains; it is not for fitting again."""
        try:
            with zipfile.ZipFile(path) as whole:
                if (damaged := whole.testzip()) is not None:
                    raise ValueError(f"{damaged} is damaged")
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            about = json.loads(str(arrays["about"]))
            if about["format"] != "llmtok.TokenSVD/1":
                raise ValueError(about["format"])
            model = cls._from_arrays(about, arrays)
        except FileNotFoundError:
            raise InputError(f"{path}: no such file") from None
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: not a saved TokenSVD ({' '.join(str(error).split())})") from None
        return model

    @classmethod
    def _from_arrays(cls, about, arrays):
        model = cls(embeddings=None, n_factors=about["n_factors"])
        for name in cls._ARRAYS:
            setattr(model, name, arrays[name])
        model._by_user = tuple(arrays[f"by_user_{n}"] for n in ("indptr", "indices", "ratings"))
        model.user_ids = pd.Index(arrays["user_ids"], name="user_id")
        model.item_ids = pd.Index(arrays["item_ids"], name="item_id")
        model.blocks_ = {name: slice(*ends) for name, ends in about["blocks"].items()}
        model.mu_, model.noise_ = about["mu"], about["noise"]
        model.rating_scale_ = tuple(about["rating_scale"])
        return model


def check_features(features: pd.DataFrame, name: str) -> None:
    """Refuse item features that are no frame of numbers, are not finite, or name an item twice."""
    if not isinstance(features, pd.DataFrame):
        kind = type(features).__name__
        raise InputError(f"{name}: a DataFrame indexed by item_id is needed, and this is a {kind}")
    if features.empty:
        raise InputError(f"{name}: the frame is empty")
    if features.index.has_duplicates:
        raise InputError(f"{name}: item {features.index[features.index.duplicated()][0]} is there twice")
    try:
        finite = np.isfinite(features.to_numpy(dtype=float)).all(axis=1)
    except (ValueError, TypeError):
        raise InputError(f"{name}: numbers are needed; make columns of words into one-hots first") from None
    if not finite.all():
        raise InputError(
            f"{name}: item {features.index[~finite][0]} has values that are not finite "
            f"({(~finite).sum()} items in all); drop them or encode them again"
        )


def _compress(rows, columns, values, n_rows):
    """Sort ratings by row, then column, as a compressed sparse matrix has them; a pair may come twice."""
    order = np.lexsort((columns, rows))
    indptr = np.r_[0, np.cumsum(np.bincount(rows, minlength=n_rows))]
    return indptr, columns[order], values[order]


class _Side:
    """The users, or the items, while a model is being learned: what is believed of each, and the prior of all."""

    def __init__(self, features, blocks, k, rows, weights):
        n, d = features.shape
        self.features, self.blocks = features, [slice(0, 1), *blocks.values()]
        self.rows, self.weights = rows, weights / weights.mean()  # the prior is learned from these
        self.W = np.zeros((d, k))
        self.precision = np.full(k, 1.0)  # lambda: how far from the prior mean one may be
        self.block_precision = np.ones(
            (len(self.blocks), 2)
        )  # how large W may be, by block, for bias and factors
        self.mean = np.zeros((n, k))
        self.cov = np.zeros((n, k, k))

    def update(self, compressed, other, mu, noise):
        """Solve every row's ridge regression, given the other side."""
        seen, target, error = _sum_ratings(*compressed, other.mean, other.cov, mu)
        self.cov = np.linalg.inv(seen / noise + np.diag(self.precision))
        right = self.precision * (self.features @ self.W) + target / noise
        self.mean = (self.cov @ right[:, :, None])[:, :, 0]
        # What is left of the squared error, summed over the ratings, under what is believed now.
        fitted = (seen @ self.mean[:, :, None])[:, :, 0]
        self.error = error + (self.mean * (fitted - 2 * target)).sum() + (seen * self.cov).sum()

    def learn_prior(self):
        """Learn what the features say (a ridge regression a column), and how far rows stray from it."""
        f, x, var = self.features[self.rows], self.mean[self.rows], self.cov[self.rows]
        weighted = f * self.weights[:, None]
        gram, target = weighted.T @ f, weighted.T @ x
        size = np.repeat(self.block_precision, [b.stop - b.start for b in self.blocks], axis=0)
        spread = np.empty_like(self.W)
        for c in range(self.W.shape[1]):
            inverse = np.linalg.inv(self.precision[c] * gram + np.diag(size[:, min(c, 1)]))
            self.W[:, c] = inverse @ (self.precision[c] * target[:, c])
            spread[:, c] = np.diag(inverse)
        second = self.W**2 + spread
        for b, block in enumerate(self.blocks):
            self.block_precision[b] = 1 / second[block, 0].mean(), 1 / second[block, 1:].mean()
        left = (x - f @ self.W) ** 2 + np.diagonal(var, axis1=1, axis2=2)
        self.precision = 1 / np.maximum(left.mean(axis=0), 1e-9)


@numba.njit(cache=True, nogil=True)
def _sum_ratings(indptr, indices, ratings, other, other_cov, mu):
    """Sum what each row's ratings say: E[z z'], E[z y] and, over all rows, E[y y].

    `z` is (1, factors) of the other side and `y` the rating less the mean and the other's bias. The other side is not
    known exactly: its covariance enters the sums, and acts as further regularisation.
    """
    n, k = len(indptr) - 1, other.shape[1]
    seen, target, squares = np.zeros((n, k, k)), np.zeros((n, k)), 0.0
    for row in range(n):
        matrix, right = seen[row], target[row]
        for p in range(indptr[row], indptr[row + 1]):
            o = indices[p]
            y = ratings[p] - mu - other[o, 0]
            squares += y * y + other_cov[o, 0, 0]
            matrix[0, 0] += 1.0
            right[0] += y
            for a in range(1, k):
                right[a] += other[o, a] * y - other_cov[o, a, 0]
                matrix[a, 0] += other[o, a]
                for b in range(1, a + 1):
                    matrix[a, b] += other[o, a] * other[o, b] + other_cov[o, a, b]
        for a in range(k):
            for b in range(a):
                matrix[b, a] = matrix[a, b]
    return seen, target, squares
