"""Ratings and tokens in, a fitted recommender out.

The model of the course, `TokenSVD`, predicts as Surprise's SVD does, ``r = mu + b_u + b_i + p_u . q_i``. What is
new is where an item's bias and factors are drawn from: not around zero, but around what its token says,
``(b_i, q_i) ~ N(W f_i, diag(1 / lambda))``; and a user's around what the mean token of their history says. Text
is the prior, behaviour is the evidence: an item nobody has rated *is* its prior, shifted to what its rater likes.
"""

from __future__ import annotations

import functools
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
import pandas as pd
import scipy.sparse as sp
import surprise
from sklearn.base import clone
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits

from llmtok.data import InputError
from llmtok.tokens import make_tokens

# A saved model folds users in by these: with other values, `save` needs another format number.
TRUST_PRIOR = 50.0  # a user, or an item, is of average trust until about so many ratings say something else
HISTORY_PRIOR = 5.0  # how many typical items join what a user rated
TRUST_ROUNDS = 5  # of solving a user and seeing how well the solution fits


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


class ImplicitRecommender(Recommender):
    """Let a model of the implicit library take part.

    Parameters
    ----------
    model : implicit.recommender_base.RecommenderBase
        Such as ``implicit.als.AlternatingLeastSquares(random_state=0, num_threads=1)``. With more threads than one its
        results differ from run to run.
    liked : float, optional
        The model learns from the ratings of at least this, each a 1. None takes them all.
    """

    def __init__(self, model, liked: float | None = None):
        self.model = model
        self.liked = liked

    def fit(self, train: pd.DataFrame):
        """Fit the model on a sparse matrix of users and items."""
        check_ratings(train)
        self._remember(train)
        users, self.user_ids = pd.factorize(train["user_id"], sort=True)
        items, self.item_ids = pd.factorize(train["item_id"], sort=True)
        self.item_ids = self.item_ids.rename("item_id")
        liked = np.ones(len(train), bool) if self.liked is None else train["rating"].to_numpy() >= self.liked
        shape = len(self.user_ids), len(self.item_ids)
        self._rated = sp.csr_matrix((np.ones(liked.sum(), "f4"), (users[liked], items[liked])), shape)
        with warnings.catch_warnings(), threadpool_limits(1, user_api="blas"):  # as the library advises
            warnings.filterwarnings("ignore", "Method expects CSR input")  # the library's own conversion
            self.model.fit(self._rated, show_progress=False)
        return self

    def score(self, user) -> pd.Series:
        """Score every item of the training set; NaN where the model has no opinion."""
        row = self.user_ids.get_indexer([user])[0]
        if row < 0:
            raise InputError(f"unknown user {user!r}: this model knows the users that it was fitted on")
        n, scores = len(self.item_ids), np.full(len(self.item_ids), np.nan)
        places, found = self.model.recommend(row, self._rated[row], n, filter_already_liked_items=False)
        scores[places] = found
        return pd.Series(scores, self.item_ids)


def to_trainset(ratings: pd.DataFrame) -> surprise.Trainset:
    """Make Surprise's `Trainset` from a frame with user_id, item_id and rating (timestamps are dropped)."""
    return to_surprise(ratings).build_full_trainset()


def to_surprise(ratings: pd.DataFrame) -> surprise.Dataset:
    """Make Surprise's `Dataset`, for its `cross_validate` and `GridSearchCV`; the ratings give the scale."""
    check_ratings(ratings)
    reader = surprise.Reader(rating_scale=(ratings["rating"].min(), ratings["rating"].max()))
    return surprise.Dataset.load_from_df(ratings[["user_id", "item_id", "rating"]], reader)


def from_trainset(trainset: surprise.Trainset) -> pd.DataFrame:
    """Make a frame with user_id, item_id and rating from Surprise's `Trainset`, users in its own order."""
    frame = pd.DataFrame(trainset.all_ratings(), columns=["user_id", "item_id", "rating"])
    return frame.assign(
        user_id=frame["user_id"].map(trainset.to_raw_uid), item_id=frame["item_id"].map(trainset.to_raw_iid)
    )


def check_ratings(ratings: pd.DataFrame) -> None:
    """Refuse ratings that are no frame, lack a column or an id, are none at all, or are not finite numbers."""
    if not isinstance(ratings, pd.DataFrame):
        kind = type(ratings).__name__
        raise InputError(
            f"ratings: a DataFrame with user_id, item_id and rating is needed, and this is a {kind}"
        )
    if missing := {"user_id", "item_id", "rating"} - set(ratings.columns):
        raise InputError(
            f"ratings: no column {', '.join(sorted(missing))} among {', '.join(map(str, ratings.columns))}"
        )
    for key in ("user_id", "item_id"):
        if n := ratings[key].isna().sum():
            raise InputError(f"ratings: {n} of {len(ratings)} rows have no {key}; drop them first")
    rating = ratings["rating"]
    if not (
        len(rating)
        and pd.api.types.is_numeric_dtype(rating)
        and np.isfinite(rating.to_numpy(dtype=float, na_value=np.nan)).all()
    ):
        raise InputError("ratings: there is none, or one is not a finite number; clean them first")


class TokenSVD(Recommender, surprise.AlgoBase):
    """Matrix factorisation whose prior is what the text says.

    ``r = mu + b_u + b_i + p_u . q_i + noise``. With ``f_i`` the item's features (1, its token, its side blocks, its
    audience), ``(b_i, q_i) ~ N(W f_i, diag(1 / lambda))``; with ``h_u`` the mean of the features of what the user
    rated and of a few typical items, ``(b_u, p_u) ~ N(V h_u, diag(1 / kappa))``. Given the items, a user is one small
    ridge regression, and the other way round; the fit takes turns (variational Bayes: the uncertainty of each side is
    carried into the other's equations). The variances are learned on the way, so there is no regularisation to search
    for; and so is how far the ratings of each user and of each item can be trusted.

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
        Rounds of updates. More is not always better: with many factors, factors are slowly pruned away, so choose both
        on validation data.
    side : dict of str to DataFrame, optional
        Further item features, one named block each with a variance of its own; indexed by item_id.
    n_audience : int
        Length of an item's audience vector, which says who rated it, not how; 0 leaves it out, and there are at
        most one less than users and one less than rated items. An item with few ratings is taken for an obscure one;
        where many have few because they are new, leave it out.
    random_state : int
        Seed of the factors' first values.

    Attributes
    ----------
    item_ids : Index
        Every item that can be scored: those of `embeddings`, then those that have ratings only.
    W_ : ndarray of shape (n_features, 1 + n_factors)
        What the features, without the audience, say of bias and factors: the prior of an item without ratings.
    item_factors_, user_factors_ : ndarray of shape (n, 1 + n_factors)
        Bias first. Factors may rotate from run to run; look at `user_token` instead.
    item_trust_, user_trust_ : ndarray of shape (n,)
        How far ratings can be trusted: the common variance of the noise over the row's own.
    mu_, noise_ : float
        The mean rating, and the common variance of the noise, in units of the rating squared.

    Notes
    -----
    An item without ratings has no audience, and a count of nought would be extrapolated. So its prior is learned
    apart, at the end of the fit, from the features that it has: one model for known and for new items. A prediction
    is of the rating that a user would give *if they rated the item*, and people rate what suits them: as far as the
    features do not tell, a new item is taken to suit its rater as the items of their history do.

    The fit ends on the users, so ``fold_in`` of a user's own training ratings gives exactly the stored user. When
    a prior is learned, an item counts by its number of ratings to the power ``weight_power``, chosen on validation
    data (``benchmarks/tune.py``).

    References
    ----------
    D. Agarwal and B.-C. Chen (2009). Regression-based latent factor models. KDD. doi:10.1145/1557019.1557029
    Y. J. Lim and Y. W. Teh (2007). Variational Bayesian approach to movie rating prediction. KDD Cup.
    B. Lakshminarayanan, G. Bouchard and C. Archambeau (2011). Robust Bayesian matrix factorisation. AISTATS (the
    noise of each row).
    Y. Koren (2008). Factorization meets the neighborhood. KDD. doi:10.1145/1401890.1401944 (what was rated says
    something, apart from how).

    Examples
    --------
    >>> import pandas as pd
    >>> ratings = pd.DataFrame({"user_id": [1, 1, 2, 2], "item_id": [1, 2, 1, 3], "rating": [5.0, 1.0, 4.0, 2.0]})
    >>> embeddings = pd.DataFrame([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.1]], index=[1, 2, 3, 4])
    >>> svd = TokenSVD(embeddings, reducer="passthrough", n_factors=1).fit(ratings)
    >>> svd.recommend(1, n=1).index.tolist()  # nobody rated item 4; its text is like item 1's
    [4]
    """

    weight_power = 0.75

    def __init__(
        self,
        embeddings,
        reducer=None,
        n_factors=10,
        n_epochs=20,
        side=None,
        n_audience=50,
        random_state=0,
    ):
        surprise.AlgoBase.__init__(self)
        self.embeddings = embeddings
        self.reducer = reducer
        self.n_factors = n_factors
        self.n_epochs = n_epochs
        self.side = side
        self.n_audience = n_audience
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

        Raises
        ------
        InputError
            Ratings or features lack something, are not finite, or share no item.
        """
        check_features(self.embeddings, "embeddings")
        if self.n_factors < 1 or self.n_epochs < 1 or self.n_audience < 0:
            raise InputError(
                f"n_factors={self.n_factors}, n_epochs={self.n_epochs}, n_audience={self.n_audience}: the first two "
                "must be 1 or more, the third 0 or more"
            )
        for cached in ("trainset", "_surprise_rows"):  # of an earlier fit
            self.__dict__.pop(cached, None)
        if isinstance(train, surprise.Trainset):
            surprise.AlgoBase.fit(self, train)
            train = from_trainset(train)
        check_ratings(train)
        users, user_ids = pd.factorize(train["user_id"])
        self.user_ids = user_ids.rename("user_id")
        raw_items = pd.Index(train["item_id"].unique())
        without = raw_items.difference(self.embeddings.index)
        self.item_ids = self.embeddings.index.append(without).rename("item_id")
        items, ratings = self.item_ids.get_indexer(train["item_id"]), train["rating"].to_numpy(dtype=float)
        scale = self.trainset.rating_scale if "trainset" in self.__dict__ else (ratings.min(), ratings.max())
        self.rating_scale_ = tuple(float(end) for end in scale)
        self._by_user = _compress(users, items, ratings, len(self.user_ids))
        by_item = _compress(items, users, ratings, len(self.item_ids))
        # The matrices are small: several threads would only wait for each other.
        with threadpool_limits(1, user_api="blas"):
            self._features = self._make_features(raw_items)
            self._learn(ratings.mean(), by_item)
        return self

    @functools.cached_property
    def trainset(self):
        """Surprise's training set, made when its own methods ask for it."""
        users = np.repeat(self.user_ids, np.diff(self._by_user[0]))
        frame = pd.DataFrame({"user_id": users, "item_id": self.item_ids[self._by_user[1]]})
        made = to_trainset(frame.assign(rating=self._by_user[2]))
        made.rating_scale = self.rating_scale_  # of a loaded model, the scale that it was fitted with
        return made

    def _make_features(self, raw_items):
        """Stack (1, token, side blocks, audience) for every item; remember which columns are which block."""
        side = self.side or {}
        for name, whose in (("text", "the embeddings'"), ("audience", "the ratings'")):
            if name in side:
                raise InputError(f"side: the block '{name}' is {whose} own; give yours another name")
        for name, block in side.items():
            check_features(block, name)
        blocks = {"text": self._tokens(raw_items), **side}
        columns = [np.ones((len(self.item_ids), 1))]
        columns += [
            block.reindex(self.item_ids).fillna(0.0).to_numpy(dtype=float) for block in blocks.values()
        ]
        names = list(blocks)
        if (n := min(self.n_audience, len(self.user_ids) - 1, len(raw_items) - 1)) > 0:
            columns.append(_audience(*self._by_user[:2], len(self.item_ids), n))
            names.append("audience")
        ends = np.cumsum([c.shape[1] for c in columns])
        self.blocks_ = {
            name: slice(int(a), int(b)) for name, a, b in zip(names, ends[:-1], ends[1:], strict=True)
        }
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

    def _learn(self, mu, by_item):
        self.mu_ = mu
        features, blocks, ratings = self._features, self.blocks_, self._by_user[2]
        # The first guesses are in the ratings' own unit, so that 0 to 100 is learned as 1 to 5 is: biases are
        # ratings, and what two factors make together is one.
        unit = float(np.var(ratings)) if np.ptp(ratings) > 0 else 1.0
        units = np.r_[unit, np.full(self.n_factors, np.sqrt(unit))]
        counts = np.diff(by_item[0])
        rated, unrated = np.flatnonzero(counts), np.flatnonzero(counts == 0)
        # When it is learned what features say, an item counts by a power of its number of ratings: between each item
        # once, where the many with one rating drown the rest, and each rating once, where a few hits do.
        weights = counts[rated].astype(float) ** self.weight_power
        self._typical_history = counts @ features / counts.sum()
        history = self._history(*self._by_user[:2])
        items = _Side(by_item, _Prior(features[rated], blocks, units, weights), rated)
        users = _Side(
            self._by_user, _Prior(history, blocks, units, np.ones(len(history))), np.arange(len(history))
        )
        users.mean[:, 1:] = np.random.default_rng(self.random_state).normal(
            scale=0.1 * unit**0.25, size=users.mean[:, 1:].shape
        )
        noise = unit
        for _ in range(self.n_epochs):
            for one, other in ((items, users), (users, items)):
                one.update(other, mu, noise)
                one.prior.learn(one.mean[one.rows], one.cov[one.rows])
            noise = max(users.squared_error() / len(ratings), 1e-6 * unit)
        # Once more with the last priors, and at the end the users: folding in finds the stored user again.
        items.update(users, mu, noise)
        content = {name: block for name, block in blocks.items() if name != "audience"}
        width = max(block.stop for block in content.values())
        new = _Prior(features[rated, :width], content, units, weights)
        for _ in range(10):
            new.learn(items.mean[rated], items.cov[rated])
        items.mean[unrated] = features[unrated, :width] @ new.W
        items.cov[unrated] = np.diag(1 / new.precision)
        self.W_, self.item_factors_, self._item_cov, self.item_trust_ = (
            new.W,
            items.mean,
            items.cov,
            items.trust,
        )
        self.noise_, self._V, self._user_precision = noise, users.prior.W, users.prior.precision
        self._is_new = counts == 0
        self._typical_item = counts @ items.mean / counts.sum()
        told = np.average((new.features @ new.W - self._typical_item) ** 2, axis=0, weights=weights)
        self._untold = 1 / (1 + new.precision * told)
        self._user_shift = self._shift(*self._by_user[:2])
        users.trust[:] = 1.0
        users.update(items, mu, noise, TRUST_ROUNDS)
        self.user_factors_, self.user_trust_ = users.mean, users.applied
        self._nobody = self._solve_user([], [])[0]
        self._nothing = features[:, :width].mean(axis=0) @ self.W_  # an item of which nothing is known

    def _history(self, indptr, indices):
        """Return the mean features of what each user rated, shape (n_users, n_features)."""
        return _mean_of_rated(indptr, indices, self._features, self._typical_history)

    def _shift(self, indptr, indices):
        """Return how an item that a user rates differs from a typical one, as far as its features do not tell.

        People rate what suits them, so that somebody rates a new item says something about it, shape
        (n_users, 1 + n_factors). An item with ratings needs no shift: its own raters have told.
        """
        own = _mean_of_rated(indptr, indices, self.item_factors_, self._typical_item)
        return self._untold * (own - self._typical_item)

    # --- predicting ---

    def estimate(self, u, i):
        """Estimate a rating, as Surprise asks for it: inner ids, or ``UKN__`` and the raw id where unknown."""
        user, item = -1 if isinstance(u, str) else u, self._surprise_rows.get(i, -1)
        return self._predict(np.array([user]), np.array([item]))[0]

    @functools.cached_property
    def _surprise_rows(self):
        """Where an item of Surprise's stands in `item_ids`: by its inner id, or by what it calls an unknown one."""
        inner = self.item_ids.get_indexer([self.trainset.to_raw_iid(i) for i in self.trainset.all_items()])
        return dict(enumerate(inner)) | {f"UKN__{raw}": row for row, raw in enumerate(self.item_ids)}

    def predict_ratings(self, pairs: pd.DataFrame) -> np.ndarray:
        """Predict a rating for each row (user_id, item_id), clipped to the scale; unknown ids get their prior."""
        users, items = (
            self.user_ids.get_indexer(pairs["user_id"]),
            self.item_ids.get_indexer(pairs["item_id"]),
        )
        return np.clip(self._predict(users, items), *self.rating_scale_)

    def _predict(self, users, items):
        """Predict for rows of users and items; -1 is somebody, or something, unknown."""
        known, new = users >= 0, np.where(items >= 0, self._is_new[items], True)
        vectors = np.where(known[:, None], self.user_factors_[users], self._nobody)
        rated = np.where((items >= 0)[:, None], self.item_factors_[items], self._nothing)
        rated = rated + (known & new)[:, None] * self._user_shift[users]
        return self.mu_ + vectors[:, 0] + rated[:, 0] + (vectors[:, 1:] * rated[:, 1:]).sum(axis=1)

    def score(self, user) -> pd.Series:
        """Predict the rating of every item, before clipping.

        Parameters
        ----------
        user : user_id, or Series
            A Series of ratings indexed by item_id stands for somebody new, and is folded in.
        """
        p, shift = self._vector(user)
        scores = self.mu_ + p[0] + self.item_factors_[:, 0] + self.item_factors_[:, 1:] @ p[1:]
        return pd.Series(scores + self._is_new * (shift[0] + shift[1:] @ p[1:]), self.item_ids)

    def fold_in(self, ratings: pd.Series) -> np.ndarray:
        """Return bias and factors, shape (1 + n_factors,), of a user from their ratings, indexed by item_id.

        With `item_factors_` they give `score`, but for items without ratings, which it shifts (see Notes).
        """
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
        row = self._row(item_id)
        item = self.item_factors_[row] + self._is_new[row] * self._shift(np.array([0, len(rows)]), rows)[0]
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
        return pd.Series(self.W_[self.blocks_["text"], 1:] @ self._vector(user)[0][1:], name="user_token")

    def seen(self, user) -> np.ndarray:
        """Return the item_ids that the user rated in training."""
        return self.item_ids[self._own_ratings(user)[0]].to_numpy() if user in self.user_ids else np.array([])

    def _vector(self, user):
        """Return a user's bias and factors, and the shift of the new items they rate."""
        row = -1 if isinstance(user, pd.Series) else self.user_ids.get_indexer([user])[0]
        if row >= 0:
            return self.user_factors_[row], self._user_shift[row]
        rows, ratings = self._own_ratings(user) if isinstance(user, pd.Series) else (np.array([], int), [])
        return self._solve_user(rows, ratings)[0], self._shift(np.array([0, len(rows)]), rows)[0]

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
        ends = np.array([0, len(rows)])
        prior = self._history(ends, rows) @ self._V
        sums = _sum_ratings(
            ends,
            rows,
            np.asarray(ratings, float),
            self.item_factors_,
            self._item_cov,
            self.item_trust_,
            self.mu_,
        )
        trust = np.ones(1)
        for _ in range(TRUST_ROUNDS):
            weight = trust / self.noise_
            mean, _, error = _solve(*sums, prior, self._user_precision, weight)
            trust = _trust(len(rows), error / self.noise_)
        item, cov = self.item_factors_[rows], self._item_cov[rows]
        evidence = (
            np.c_[np.ones(len(rows)), item[:, 1:]] * (np.asarray(ratings) - self.mu_ - item[:, 0])[:, None]
        )
        evidence[:, 1:] -= cov[:, 0, 1:]
        evidence *= weight * self.item_trust_[rows, None]
        matrix = np.diag(self._user_precision) + sums[0][0] * weight
        return mean[0], matrix, evidence, self._user_precision * prior[0]

    # --- keeping ---

    _ARRAYS = (
        "W_",
        "item_factors_",
        "item_trust_",
        "user_factors_",
        "user_trust_",
        "_V",
        "_user_precision",
        "_typical_history",
        "_typical_item",
        "_untold",
        "_is_new",
        "_user_shift",
        "_features",
        "_item_cov",
        "_nobody",
        "_nothing",
    )

    def save(self, path: str | Path) -> None:
        """Write the fitted model to one ``.npz`` file: arrays and JSON, no pickle, whole or not at all."""
        arrays = {name: getattr(self, name) for name in self._ARRAYS}
        arrays |= {
            f"by_user_{n}": a for n, a in zip(("indptr", "indices", "ratings"), self._by_user, strict=True)
        }
        arrays |= {name: getattr(self, name).to_numpy() for name in ("user_ids", "item_ids")}
        about = {
            "format": "llmtok.TokenSVD/2",
            "mu": self.mu_,
            "noise": self.noise_,
            "n_factors": self.n_factors,
            "rating_scale": self.rating_scale_,
            "blocks": {name: [s.start, s.stop] for name, s in self.blocks_.items()},
        }
        write_model(path, about, arrays)

    @classmethod
    def load(cls, path: str | Path) -> TokenSVD:
        """Read a model that `save` wrote. It scores, folds in and explains; it is not for fitting again."""
        return read_model(path, "llmtok.TokenSVD/2", cls._from_arrays)

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


def write_model(path: str | Path, about: dict, arrays: dict[str, np.ndarray]) -> None:
    """Write a fitted model to one ``.npz`` file: arrays and JSON, no pickle, whole or not at all."""
    path = Path(path)
    arrays = {name: a.astype(str) if a.dtype == object else a for name, a in arrays.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            np.savez(file, about=np.array(json.dumps(about)), **arrays)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_model(path: str | Path, written_as: str, make: Callable[[dict, dict], Recommender]) -> Recommender:
    """Read what `write_model` wrote, and make a model of it; `written_as` is the format, name and number."""
    name = written_as.split(".")[1].split("/")[0]
    try:
        with zipfile.ZipFile(path) as whole:
            if (damaged := whole.testzip()) is not None:
                raise ValueError(f"{damaged} is damaged")
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        about = json.loads(str(arrays["about"]))
        if about["format"] != written_as:
            raise ValueError(f"it is {about['format']}, and this version reads {written_as}")
        return make(about, arrays)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a saved {name} ({' '.join(str(error).split())})") from None


def load_model(path: str | Path) -> Recommender:
    """Read a saved model, whichever it is.

    Parameters
    ----------
    path : path
        What the ``save`` of `TokenEASE` or of `TokenSVD` wrote.

    Raises
    ------
    InputError
        It is no such file, is damaged, or another version saved it in a format that this one does not read.
    """
    from llmtok.ease import TokenEASE  # which imports this module

    try:
        if not zipfile.is_zipfile(path):  # numpy would take it for a pickle, and say so
            raise ValueError("it is no whole .npz file" if Path(path).exists() else "there is no such file")
        with np.load(path, allow_pickle=False) as file:
            written_as = str(json.loads(str(file["about"]))["format"])
        name = written_as.partition("/")[0].removeprefix("llmtok.")
        if name not in ("TokenEASE", "TokenSVD"):
            raise ValueError(
                f"it is {written_as}, and this version knows llmtok.TokenEASE and llmtok.TokenSVD"
            )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a saved model ({' '.join(str(error).split())})") from None
    return (TokenEASE if name == "TokenEASE" else TokenSVD).load(path)


def _compress(rows, columns, values, n_rows):
    """Sort ratings by row, then column, as a compressed sparse matrix has them; a pair may come twice."""
    order = np.lexsort((columns, rows))
    indptr = np.r_[0, np.cumsum(np.bincount(rows, minlength=n_rows))]
    return indptr, columns[order], values[order]


def _mean_of_rated(indptr, indices, values, typical):
    """Average `values` over the items that each user rated and over some typical ones.

    The typical ones keep the mean of a few items from being taken for a strong taste.
    """
    rated = sp.csr_matrix((np.ones(len(indices)), indices, indptr), (len(indptr) - 1, len(values)))
    return (rated @ values + HISTORY_PRIOR * typical) / (np.diff(indptr)[:, None] + HISTORY_PRIOR)


def _audience(indptr, indices, n_items, n_components):
    """Say who rated an item, not how: the singular vectors of the users x items matrix, each row and column scaled.

    An entry is 1 / sqrt(ratings of the user x ratings of the item), so an item's vector grows with the root of its
    ratings: of an item with few, little is said. The smaller vectors are approximate.
    """
    items, columns = np.unique(indices, return_inverse=True)  # items without ratings have no say in it
    active, counts = np.repeat(np.diff(indptr), np.diff(indptr)), np.bincount(columns)
    rated = sp.csr_matrix(
        (1 / np.sqrt(active * counts[columns]), columns, indptr), (len(indptr) - 1, len(items))
    )
    # A fixed seed: `random_state` is the factors', and the vectors should not depend on it.
    _, size, vectors = randomized_svd(rated, n_components, random_state=0)
    audience = np.zeros((n_items, n_components))
    audience[items] = vectors.T * size
    return audience * np.sqrt(
        len(items) * n_components / (size @ size)
    )  # 1 in the mean square, over rated items


class _Regression:
    """What features say of a row's bias and factors, learned from sums over the rows: see `_Prior`."""

    def __init__(self, gram, blocks, units):
        self.gram, self.blocks = gram, [slice(0, 1), *blocks.values()]
        self.W = np.zeros((len(gram), len(units)))
        self.precision = 1 / units  # how far from the prior mean one may be
        self.least = 1e-9 * units
        # How large W may be, by block, for bias and factors.
        self.block_precision = np.tile(1 / units[:2], (len(self.blocks), 1))

    def regress(self, target):
        """Fit a ridge regression a column."""
        size = np.repeat(self.block_precision, [b.stop - b.start for b in self.blocks], axis=0)
        spread = np.empty_like(self.W)
        for c in range(self.W.shape[1]):
            inverse = np.linalg.inv(self.precision[c] * self.gram + np.diag(size[:, min(c, 1)]))
            self.W[:, c] = inverse @ (self.precision[c] * target[:, c])
            spread[:, c] = np.diag(inverse)
        second = self.W**2 + spread
        for b, block in enumerate(self.blocks):
            self.block_precision[b] = 1 / second[block, 0].mean(), 1 / second[block, 1:].mean()

    def stray(self, left):
        """Take the mean squares that are left for the variance around the prior mean."""
        self.precision = 1 / np.maximum(left, self.least)


class _Prior(_Regression):
    """What features say of a row's bias and factors, and how far rows stray from it; both are learned."""

    def __init__(self, features, blocks, units, weights):
        self.features = features
        self.weighted = features * (weights / weights.mean())[:, None]
        super().__init__(self.weighted.T @ features, blocks, units)  # the gram is the same in every round

    def learn(self, mean, cov):
        """Fit a ridge regression a column to what is believed of the rows now."""
        self.regress(self.weighted.T @ mean)
        left = (mean - self.features @ self.W) ** 2 + np.diagonal(cov, axis1=1, axis2=2)
        self.stray(left.mean(axis=0))


class _Side:
    """The users, or the items, while a model is being learned: what is believed of each, and how far it is trusted."""

    def __init__(self, compressed, prior, rows):
        self.compressed, self.prior, self.rows = compressed, prior, rows  # `rows` are those that have ratings
        self.counts = np.diff(compressed[0])
        n, k = len(self.counts), prior.W.shape[1]
        self.mean, self.cov = np.zeros((n, k)), np.zeros((n, k, k))
        self.trust = np.ones(n)

    def update(self, other, mu, noise, rounds=1):
        """Solve every row's ridge regression, given the other side; then see how well it fits, and trust it so."""
        seen, target, squares = _sum_ratings(*self.compressed, other.mean, other.cov, other.trust, mu)
        prior = np.zeros_like(self.mean)
        prior[self.rows] = self.prior.features @ self.prior.W
        for _ in range(rounds):
            self.applied = self.trust  # in this solution
            self.mean, self.cov, self.error = _solve(
                seen, target, squares, prior, self.prior.precision, self.trust / noise
            )
            self.trust = _trust(self.counts, self.error / noise)

    def squared_error(self):
        """Return what is left of the squared error, summed over the ratings, each as far as it is trusted."""
        return (self.trust * self.error).sum()


def _solve(seen, target, squares, prior, precision, weight):
    """Solve ridge regressions around `prior`: mean, covariance, and the squared error that is left, of each row."""
    cov = np.linalg.inv(seen * weight[:, None, None] + np.diag(precision))
    mean = (cov @ (precision * prior + target * weight[:, None])[:, :, None])[:, :, 0]
    fitted = (seen @ mean[:, :, None])[:, :, 0]
    error = squares + (mean * (fitted - 2 * target)).sum(axis=1) + (seen * cov).sum(axis=(1, 2))
    return mean, cov, error


def _trust(counts, error):
    """How far the ratings of a row can be trusted, from the squared error left, in units of the noise."""
    return (TRUST_PRIOR + counts) / (TRUST_PRIOR + error)


@numba.njit(cache=True, nogil=True)
def _sum_ratings(indptr, indices, ratings, other, other_cov, trust, mu):
    """Sum what each row's ratings say: E[z z'], E[z y] and E[y y], each rating weighted by the other side's trust.

    `z` is (1, factors) of the other side and `y` the rating less the mean and the other's bias. The other side is not
    known exactly: its covariance enters the sums, and acts as further regularisation.
    """
    n, k = len(indptr) - 1, other.shape[1]
    seen, target, squares = np.zeros((n, k, k)), np.zeros((n, k)), np.zeros(n)
    for row in range(n):
        matrix, right = seen[row], target[row]
        for p in range(indptr[row], indptr[row + 1]):
            o = indices[p]
            y, w = ratings[p] - mu - other[o, 0], trust[o]
            squares[row] += w * (y * y + other_cov[o, 0, 0])
            matrix[0, 0] += w
            right[0] += w * y
            for a in range(1, k):
                right[a] += w * (other[o, a] * y - other_cov[o, a, 0])
                matrix[a, 0] += w * other[o, a]
                for b in range(1, a + 1):
                    matrix[a, b] += w * (other[o, a] * other[o, b] + other_cov[o, a, b])
        for a in range(k):
            for b in range(a):
                matrix[b, a] = matrix[a, b]
    return seen, target, squares
