"""A recommender that ranks: `TokenEASE`, closed form, for items with many, few and no interactions.

`TokenSVD` answers how somebody would rate an item *if they took it*. A list needs another question: what will they
take? That is learned from everything nobody took as well, and EASE does it in one matrix inverse. Text comes in twice,
as the prior of what an item goes with: an item's text counts as a few interactions, and an item that nobody has taken
gets what its neighbours in meaning get.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import psutil
import scipy.sparse as sp
from scipy.linalg import cho_factor, cho_solve, lapack
from sklearn.base import clone
from sklearn.kernel_approximation import Nystroem

from llmtok.data import InputError
from llmtok.recommend import Recommender, check_features, check_ratings, read_model, write_model
from llmtok.tokens import make_tokens

# Chosen on validation data of three data sets, and flat: with other values `save` needs another format number.
USER_POWER = 0.5  # a user of n interactions speaks with weight n^-0.5 each: half as loud as all, twice as one
POPULARITY_POWER = 0.35  # taste is a score over popularity to this power; the text tells them apart
ITSELF = 0.2  # how far an item that one has taken speaks for its like (EASE has 0 for an item and itself)
SIDE_WEIGHT = 0.5  # of a side block's similarity beside the text's
KNOWN_SCORES = 10_000_000  # of so many, users times items, all are kept
N_LANDMARKS = 1000  # items that stand for all when texts are compared: those with most interactions


class TokenEASE(Recommender):
    """Rank by what people take together, with what the text says as the prior.

    A user is a row ``x`` of weights, ``(rating / highest rating) ** rating_power`` for what they rated and 0 elsewhere.
    ``B`` predicts each item from the others by ridge regression, all at once; a score is ``x B``. The text of the items
    adds rows to the data, as if each dimension of the tokens were one more user. For an item without interactions the
    zeros say nothing of it, so its column is carried over from the items of similar text, by kernel ridge regression;
    an item with few interactions stands between the two.

    Parameters
    ----------
    embeddings : DataFrame of shape (n_items, d), optional
        Indexed by item_id. Items without ratings belong in it: they can be recommended. Without it no text is read.
    reducer : transformer or None
        Turns embeddings into tokens: cloned, and fitted on the items of each training set. By default
        ``make_tokens(None)``, as long as the data allow: a closed form has no use for short ones.
    side : dict of str to DataFrame, optional
        Further things to compare items by, such as embeddings of the title alone; indexed by item_id.
    rating_power : float
        2 makes a rating of 5 of 5 count 1, and one of 3 of 5 count .36. 0 makes every row count 1, whatever its rating.
    l2 : float
        Ridge penalty, in units of what a user brings in the mean (the sum of their squared weights).
    dropout : float
        Further penalty of an item, in units of its own interactions: what is learned has to hold where some of a user's
        items are missing.
    text_weight : float
        An item's text counts as so many interactions. 0 leaves the rows of text out.
    prior_weight : float
        With so many interactions an item's own data count as much as what is carried over. 0 uses that for items
        without interactions only.

    Attributes
    ----------
    item_ids, user_ids : Index
        Every item that can be scored: those of `embeddings`, then those that have ratings only.
    counts_ : ndarray of shape (n_items,)
        Interactions of each item in the training set, each counted by its weight.
    space_ : {"item", "user"}
        The side whose matrix was inverted, the smaller one: items x items, or (users + tokens) x (users + tokens).
        Both give the same scores.

    Notes
    -----
    With ``Z`` the users' rows, each scaled, over the rows of text, ``P = (Z'Z + L)^-1`` and
    ``B = I - P diag(1 / diag P)``. In user space ``P`` follows from the inverse of ``I + Z L^-1 Z'``, and ``B`` is
    never formed.

    What is carried over is taste, ``(x B + 0.2 x) / (1 + n)^0.35``, and apart from it popularity, ``log(1 + n)``: an
    item's own count ``n`` says how popular it is, and where there is none, the text does.

    References
    ----------
    H. Steck (2019). Embarrassingly shallow autoencoders for sparse data. WWW. doi:10.1145/3308558.3313710
    H. Steck (2020). Autoencoders that don't overfit towards the identity. NeurIPS (dropout).
    O. Jeunen, J. Van Balen and B. Goethals (2020). Closed-form models for collaborative filtering with
    side-information. RecSys. doi:10.1145/3383313.3418480 (features as further rows)
    C. Williams and M. Seeger (2001). Using the Nyström method to speed up kernel machines. NIPS (landmarks).

    Examples
    --------
    >>> import pandas as pd
    >>> pairs = [(1, "a"), (1, "b"), (2, "a"), (2, "b"), (3, "a"), (4, "c"), (4, "d"), (5, "c"), (5, "d")]
    >>> ratings = pd.DataFrame(pairs, columns=["user_id", "item_id"]).assign(rating=1.0)
    >>> texts = pd.DataFrame([[1.0, 0], [1, 1], [0, 1], [0, 1], [1, 0.9]], index=["a", "b", "c", "d", "new"])
    >>> ease = TokenEASE(texts).fit(ratings)
    >>> sorted(ease.recommend(3, n=2).index)  # nobody took "new"; its text is like those of "a" and "b"
    ['b', 'new']
    """

    def __init__(
        self,
        embeddings=None,
        reducer=None,
        side=None,
        rating_power=2.0,
        l2=4.0,
        dropout=0.2,
        text_weight=10.0,
        prior_weight=3.0,
    ):
        self.embeddings = embeddings
        self.reducer = reducer
        self.side = side
        self.rating_power = rating_power
        self.l2 = l2
        self.dropout = dropout
        self.text_weight = text_weight
        self.prior_weight = prior_weight

    # --- learning ---

    def fit(self, train: pd.DataFrame):
        """Learn from a frame with user_id, item_id and rating; return self.

        Raises
        ------
        InputError
            Ratings or features lack something or share no item, a setting is impossible, or memory does not suffice.
        """
        if getattr(self, "_loaded", False):
            raise InputError(
                "a loaded model has no embeddings and cannot be fitted again; make a new TokenEASE"
            )
        check_ratings(train)
        self._check_settings()
        train = train.drop_duplicates(["user_id", "item_id"], keep="last")
        highest = float(train["rating"].max())
        if highest <= 0:
            raise InputError(
                f"ratings: the highest is {highest:g}; a weight is a share of it, so it must be above 0"
            )
        users, user_ids = pd.factorize(train["user_id"])
        item_ids = pd.Index(train["item_id"].unique())
        if self.embeddings is not None:
            check_features(self.embeddings, "embeddings")
            item_ids = self.embeddings.index.append(item_ids.difference(self.embeddings.index))
        items = item_ids.get_indexer(train["item_id"])
        weights = _weigh(train["rating"], highest, self.rating_power)
        x = sp.csr_matrix((weights, (users, items)), (len(user_ids), len(item_ids)), dtype=np.float32)
        x.sort_indices()
        # Whatever is learned is kept in one place, so that a fit that fails leaves the model as it was.
        model = {
            "user_ids": pd.Index(user_ids, name="user_id"),
            "item_ids": item_ids.rename("item_id"),
            "highest_": highest,
            "counts_": np.asarray(x.sum(axis=0), dtype=float).ravel(),
            "_x": x,
            "_rated": np.unique(items),
        }
        tokens = self._tokens(model)
        rows = tokens[:1] if self.text_weight else []
        n_rows = len(user_ids) + sum(t.shape[1] for t in rows)
        check_memory(n_rows, len(model["_rated"]), len(item_ids), len(tokens))
        model |= self._evidence(
            x[:, model["_rated"]], [t[model["_rated"]].T * self.text_weight**0.5 for t in rows]
        )
        model |= self._prior(tokens, model)
        if model["space_"] == "item":  # there the two are one matrix
            model = self._join(model)
        for name in {*self._OF_SPACE["item"], *self._OF_SPACE["user"], "_known"}:  # of an earlier fit
            self.__dict__.pop(name, None)
        self.__dict__.update(model)
        return self

    def _join(self, model):
        """Carry each row of ``B`` over to all items, some at a time; what that took is then needed no more."""
        own = model["_B"]
        whole = np.empty((len(own), len(model["item_ids"])), np.float32)
        for start in range(0, len(own), 500):
            some = slice(start, start + 500)
            whole[some] = _carry(model, np.eye(len(own[some]), len(own), start, dtype=np.float32), own[some])
        return {name: value for name, value in model.items() if name not in self._OF_SPACE["user"]} | {
            "_B": whole
        }

    def _check_settings(self):
        for name in ("rating_power", "l2", "dropout", "text_weight", "prior_weight"):
            value = getattr(self, name)
            number = isinstance(value, (int, float, np.number)) and np.isfinite(value)
            if not (number and value >= 0) or (name == "l2" and value == 0):
                raise InputError(
                    f"{name}={value!r}: a number {'above 0' if name == 'l2' else 'of 0 or more'} is needed"
                )
        if self.side and self.embeddings is None:
            raise InputError("side: blocks come beside embeddings, and there are none; give embeddings too")

    def _tokens(self, model) -> list[np.ndarray]:
        """Return the tokens of the text, then of each side block: a row for every item, zeros where there is none."""
        if self.embeddings is None:
            return []
        tokens, rated = [], model["item_ids"][model["_rated"]]
        for name, block in {"embeddings": self.embeddings, **(self.side or {})}.items():
            check_features(block, name)
            if len(known := block.index.intersection(rated)) < 2:
                raise InputError(
                    f"{name}: only {len(known)} of the rated items is there; ratings have item_id like "
                    f"{rated[:1].tolist()[0]!r}, {name} like {block.index[:1].tolist()[0]!r}"
                )
            if not np.ptp(block.loc[known].to_numpy(dtype=float), axis=0).any():
                raise InputError(f"{name}: the {len(known)} rated items are all alike; leave it out")
            given = self.reducer if name == "embeddings" else None
            try:
                reducer = clone(make_tokens(None) if given is None else given).fit(block.loc[known])
            except (TypeError, ValueError) as error:
                raise InputError(f"reducer: {' '.join(str(error).split())}") from None
            found = pd.DataFrame(np.asarray(reducer.transform(block)), block.index)
            tokens.append(found.reindex(model["item_ids"]).fillna(0.0).to_numpy(dtype=np.float32))
        return tokens

    def _evidence(self, x, rows):
        """Predict each item from the others by ridge regression: what is needed for ``x B``, in the smaller space."""
        squares = x.power(2)
        brought = np.asarray(squares.sum(axis=1), dtype=float).ravel()
        mean = brought[brought > 0].mean()
        scale = np.zeros(len(brought))
        scale[brought > 0] = (brought[brought > 0] / mean) ** (-USER_POWER / 2)
        z = (sp.diags_array(scale.astype(np.float32)) @ x).tocsr()
        penalty = self.l2 * mean + self.dropout * np.asarray(squares.sum(axis=0), dtype=float).ravel()
        penalty = penalty.astype(np.float32)
        if z.shape[0] + sum(len(r) for r in rows) < z.shape[1]:
            z = np.vstack([z.toarray(), *rows])
            scaled = z / penalty
            inner = (scaled @ z.T).astype(float)
            inner[np.diag_indices_from(inner)] += 1
            solved = cho_solve(cho_factor(inner, overwrite_a=True), scaled, check_finite=False).astype(
                np.float32
            )
            diagonal = 1 / penalty - np.einsum("ij,ij->j", scaled, solved)
            return {"space_": "user", "_z": z, "_solved": solved, "_penalty": penalty, "_diagonal": diagonal}
        gram = np.empty((z.shape[1], z.shape[1]), np.float32)
        for start in range(0, len(gram), 1000):  # at once it would be there twice, as a sparse matrix too
            gram[start : start + 1000] = (z[:, start : start + 1000].T @ z).toarray()
        for r in rows:
            gram += r.T @ r
        gram[np.diag_indices_from(gram)] += penalty
        triangle, failed = lapack.spotrf(gram.T, lower=1, overwrite_a=1)  # as LAPACK has it: no copy
        inverse, _ = lapack.spotri(triangle, lower=1, overwrite_c=1)
        if failed or not np.isfinite(np.diag(inverse)).all():
            raise InputError(f"l2={self.l2:g}: too small for these data; the matrix cannot be inverted")
        inverse = inverse.T  # rows lie together
        inverse += np.triu(inverse, 1).T
        inverse /= -np.diag(inverse)
        np.fill_diagonal(inverse, 0)
        return {"space_": "item", "_B": inverse}

    def _prior(self, tokens, model):
        """Learn to carry what is known of rated items over to items of similar text."""
        counts, rated = model["counts_"], model["_rated"]
        log_counts = np.log1p(counts)
        found = {"_popular": np.exp(POPULARITY_POWER * log_counts[rated]).astype(np.float32)}
        if not tokens:
            return found | {"_own_share": np.ones(len(counts), np.float32)}
        has_text = tokens[0].any(axis=1)
        most_known = rated[np.argsort(-counts[rated], kind="stable")]
        landmarks = [most_known[token[most_known].any(axis=1)][:N_LANDMARKS] for token in tokens]
        view, start = np.zeros((len(counts), sum(map(len, landmarks))), np.float32), 0
        for token, rows in zip(tokens, landmarks, strict=True):
            # Of vectors of length 1, exp(-|a - b|^2) is exp(2 (cosine - 1)): it falls fast as texts part. In double
            # precision, since texts that are equal make a matrix without an inverse.
            width = len(rows)
            similar = Nystroem("rbf", gamma=1.0, n_components=width, random_state=0).fit(
                token[rows].astype(float)
            )
            there = np.flatnonzero(has_text & token.any(axis=1))
            for some in np.array_split(
                there, len(there) // 1000 + 1
            ):  # all at once would take much more memory
                weight = SIDE_WEIGHT**0.5 if start else 1.0
                view[some, start : start + width] = weight * similar.transform(token[some])
            start += width
        seen = view[rated]
        inverse = np.linalg.inv((seen.T @ seen).astype(float) + np.eye(view.shape[1]))
        from_rated = view @ inverse.astype(np.float32)
        leverage = np.einsum("ij,ij->i", seen, from_rated[rated])
        told = from_rated @ (
            seen.T @ log_counts[rated].astype(np.float32)
        )  # how popular an item is, by its text
        popular = np.where(np.isin(np.arange(len(counts)), rated), log_counts, told)
        # A new item has no share of its own; one without text has nothing else.
        own = np.divide(counts, counts + self.prior_weight, out=np.zeros_like(counts), where=counts > 0)
        return found | {
            "_own_share": np.where(has_text, own, 1.0).astype(np.float32),
            "_seen": seen,
            "_from_rated": from_rated,
            "_leverage": leverage,
            "_popularity": np.exp(POPULARITY_POWER * popular).astype(np.float32),
        }

    # --- recommending ---

    def score(self, user) -> pd.Series:
        """Score every item; only the order and the differences mean something.

        Parameters
        ----------
        user : user_id, or Series
            A Series of ratings indexed by item_id stands for somebody new, and is folded in.
        """
        if not isinstance(user, pd.Series) and self._known is not None and user in self.user_ids:
            return pd.Series(self._known[self.user_ids.get_loc(user)], self.item_ids, copy=True)
        return pd.Series(self._apply(self._row(user)[None])[0], self.item_ids)

    @functools.cached_property
    def _known(self):
        """Scores of all training users at once, where one by one is slow and the table is small; else None."""
        if self.space_ == "item" or self._x.shape[0] * self._x.shape[1] > KNOWN_SCORES:
            return None
        return self._apply(self._x.toarray())

    def fold_in(self, ratings: pd.Series) -> np.ndarray:
        """Return what the model keeps of somebody: a weight for each item, shape (n_items,), 0 where not rated.

        There is nothing to solve: of a user in the training set these are the weights that it was fitted on.
        """
        return self._row(ratings)

    def explain(self, user, item_id) -> pd.Series:
        """Split a score into what each past rating contributes.

        Returns
        -------
        Series
            Indexed by item_id, largest first in absolute value. The sum is the score.
        """
        if (column := self.item_ids.get_indexer([item_id])[0]) < 0:
            raise InputError(f"unknown item {item_id!r}")
        x = self._row(user)
        rows = np.flatnonzero(x)
        parts = pd.Series(self._parts(x[rows], rows, column), self.item_ids[rows])
        return parts.sort_values(key=np.abs, ascending=False, kind="stable")

    def seen(self, user) -> np.ndarray:
        """Return the item_ids that the user rated in training."""
        row = self.user_ids.get_indexer([user])[0]
        return self.item_ids[self._x[[row]].indices].to_numpy() if row >= 0 else np.array([])

    def _row(self, user) -> np.ndarray:
        x = np.zeros(len(self.item_ids), np.float32)
        if isinstance(user, pd.Series):
            rows = self.item_ids.get_indexer(user.index)
            if (rows < 0).any():
                raise InputError(f"unknown items: {', '.join(str(i) for i in user.index[rows < 0][:5])}")
            if not np.isfinite(pd.to_numeric(user, errors="coerce").to_numpy(dtype=float)).all():
                raise InputError(f"ratings: {user.name or 'a rating'} is not a finite number")
            x[rows] = _weigh(user, self.highest_, self.rating_power)
        elif (row := self.user_ids.get_indexer([user])[0]) >= 0:
            own = self._x[[row]]
            x[own.indices] = own.data
        else:
            raise InputError(f"unknown user {user!r}; give their ratings, a Series indexed by item_id")
        return x

    def _apply(self, x) -> np.ndarray:
        """Score rows of weights, shape (n, n_items)."""
        x = x[:, self._rated]  # what nobody else has rated says nothing
        some = x.any(axis=0)
        if self.space_ == "item":
            return x[:, some] @ self._B[some]
        y = x / self._penalty
        own = x - (y - (y[:, some] @ self._z[:, some].T) @ self._solved) / self._diagonal
        return _carry(self.__dict__, x, own)

    def _parts(self, weights, rows, column):
        """Score one item by each past rating alone."""
        places = pd.Index(self._rated).get_indexer(rows)
        if self.space_ == "item":
            return np.where(places < 0, 0, weights * self._B[places, column])
        parts = np.zeros(len(rows), np.float32)
        for some in np.array_split(np.arange(len(rows)), len(rows) // 100 + 1):
            alone = np.zeros((len(some), len(self.item_ids)), np.float32)
            alone[np.arange(len(some)), rows[some]] = weights[some]
            parts[some] = self._apply(alone)[:, column]
        return parts

    # --- keeping ---

    _OF_SPACE: ClassVar = {
        "item": ("_B",),
        "user": (
            "_z",
            "_solved",
            "_penalty",
            "_diagonal",
            "_own_share",
            "_popular",
            "_popularity",
            "_seen",
            "_from_rated",
            "_leverage",
        ),
    }

    def save(self, path: str | Path) -> None:
        """Write the fitted model to one ``.npz`` file: arrays and JSON, no pickle, whole or not at all."""
        names = [name for name in ("counts_", "_rated", *self._OF_SPACE[self.space_]) if hasattr(self, name)]
        arrays = {name: getattr(self, name) for name in names}
        arrays |= {f"x_{part}": getattr(self._x, part) for part in ("data", "indices", "indptr")}
        arrays |= {name: getattr(self, name).to_numpy() for name in ("user_ids", "item_ids")}
        about = {
            "space": self.space_,
            "highest": self.highest_,
            "rating_power": self.rating_power,
            "names": names,
        }
        write_model(path, {"format": "llmtok.TokenEASE/1", **about}, arrays)

    @classmethod
    def load(cls, path: str | Path) -> TokenEASE:
        """Read a model that `save` wrote. It scores, folds in and explains; it is not for fitting again."""
        return read_model(path, "llmtok.TokenEASE/1", cls._from_arrays)

    @classmethod
    def _from_arrays(cls, about, arrays):
        model = cls(rating_power=about["rating_power"])
        model.space_, model.highest_ = about["space"], about["highest"]
        model._loaded = True
        if strange := set(about["names"]) - {"counts_", "_rated", *cls._OF_SPACE[model.space_]}:
            raise ValueError(f"unknown array {min(strange)}")
        for name in about["names"]:
            setattr(model, name, arrays[name])
        model.user_ids = pd.Index(arrays["user_ids"], name="user_id")
        model.item_ids = pd.Index(arrays["item_ids"], name="item_id")
        shape = len(model.user_ids), len(model.item_ids)
        model._x = sp.csr_matrix(tuple(arrays[f"x_{part}"] for part in ("data", "indices", "indptr")), shape)
        return model


def _weigh(ratings, highest, power):
    """Turn ratings into weights from 0 to 1; a rating below 0 weighs nothing."""
    return (np.clip(np.asarray(ratings, dtype=float), 0, None) / highest) ** power


def _carry(model, x, own):
    """From what EASE says of rated items, say it of all: shape (n, n_rated) to (n, n_items)."""
    rated, share = model["_rated"], model["_own_share"]
    if "_seen" not in model:  # no text: nothing to carry over, and no items but the rated
        return own
    taste = (own + ITSELF * x) / model["_popular"]
    told = (taste @ model["_seen"]) @ model["_from_rated"].T
    # Of a rated item, what the others say without it: it may not testify for itself.
    told[:, rated] = (told[:, rated] - model["_leverage"] * taste) / (1 - model["_leverage"])
    told *= 1 - share
    told[:, rated] += share[rated] * taste
    return told * model["_popularity"]


def check_memory(n_rows: int, n_rated: int, n_items: int, n_blocks: int) -> None:
    """Refuse what does not fit into the free memory, before anything is computed.

    `n_rows` are the users and the rows of text, `n_blocks` what items are compared by: the text and the side blocks.
    """
    in_items, in_users = 4 * n_rated * (2 * n_rated + n_items), 4 * (4 * n_rows * n_rated + 3 * n_rows**2)
    landmarks = 4 * 3 * n_items * min(N_LANDMARKS, n_rated) * n_blocks
    needed, free = (in_users if n_rows < n_rated else in_items) + landmarks, free_memory()
    if needed > free:
        raise InputError(
            f"TokenEASE needs about {needed / 2**30:.1f} GB for {n_rated:,} rated items and {n_rows:,} users and rows "
            f"of text, and {free / 2**30:.1f} GB are free; drop items with few ratings (min_item_ratings), or take "
            "TokenSVD"
        )


def free_memory() -> int:
    """Return the bytes that this process may still take: the machine's, or its container's where that is less."""
    free = psutil.virtual_memory().available
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            most, taken = (
                int(Path("/sys/fs/cgroup", name).read_text(encoding="ascii")) for name in (limit, used)
            )
        except (OSError, ValueError):  # no container, or one without a limit ("max")
            continue
        free = min(free, most - taken)
    return free
