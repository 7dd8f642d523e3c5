"""Recommenders and a split in, a table of metrics out: the same rows for everybody, and everybody's control.

Metrics come from scikit-learn, SciPy and ir-measures; what is written here is who is compared on what.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping

import ir_measures
import numpy as np
import pandas as pd
import surprise
from scipy import stats
from sklearn.metrics import (
    accuracy_score,
    mean_absolute_error,
    precision_recall_curve,
    precision_recall_fscore_support,
    root_mean_squared_error,
)
from sklearn.model_selection import KFold

from llmtok.data import InputError
from llmtok.recommend import Recommender, SurpriseRecommender

Fold = tuple[pd.DataFrame, pd.DataFrame]


def split(
    ratings: pd.DataFrame, n_splits: int = 5, *, by: str | None = None, random_state: int = 0
) -> Iterator[Fold]:
    """Cut ratings into folds; each is the test set once.

    Parameters
    ----------
    ratings : DataFrame
        user_id, item_id, rating.
    n_splits : int
        How many folds.
    by : {None, "item_id", "user_id"}
        None draws ratings. ``item_id`` draws items and hides all their ratings, so every test item is new
        (cold); ``user_id`` does the same with users.
    random_state : int
        Seed of the draw. With ``by=None`` the folds are those of ``surprise.model_selection.KFold(n_splits,
        shuffle=True, random_state=random_state)``.

    Yields
    ------
    train, test : DataFrame
    """
    if by not in (None, "item_id", "user_id"):
        raise InputError(f"by={by!r}: folds are drawn by None, 'item_id' or 'user_id'")
    groups = np.arange(len(ratings)) if by is None else pd.factorize(ratings[by], sort=True)[0]
    n = groups.max(initial=-1) + 1
    if not 2 <= n_splits <= n:
        raise InputError(
            f"n_splits={n_splits}: there are {n} {by or 'rating'}s to share out, and 2 folds at least"
        )
    for _, held_out in KFold(n_splits, shuffle=True, random_state=random_state).split(np.empty(n)):
        test = np.isin(groups, held_out)
        yield ratings[~test], ratings[test]


def evaluate(
    recommenders: Mapping[str, Recommender | surprise.AlgoBase], folds: Iterable[Fold]
) -> pd.DataFrame:
    """Fit each recommender on each training set, and measure how well it predicts the test ratings.

    Parameters
    ----------
    recommenders : dict of str to Recommender or surprise.AlgoBase
        They are fitted again on every fold, and stay fitted on the last.
    folds : iterable of (train, test)
        From `split`, or your own.

    Returns
    -------
    DataFrame
        Indexed by (model, fold): RMSE and MAE, in units of the rating, and fit seconds.

    Examples
    --------
    >>> import pandas as pd, surprise
    >>> ratings = pd.DataFrame({"user_id": [1, 1, 2, 2, 3, 3], "item_id": [1, 2] * 3, "rating": [4, 2] * 3})
    >>> baseline = surprise.BaselineOnly(verbose=False)
    >>> evaluate({"baseline": baseline}, split(ratings, 3))["RMSE"].round(2).tolist()
    [0.89, 1.39, 1.39]
    """
    rows = {}
    for fold, (train, test) in enumerate(folds):
        for name, model in recommenders.items():
            model = as_recommender(model)
            start = time.perf_counter()
            model.fit(train)
            seconds = time.perf_counter() - start
            predicted = model.predict_ratings(test)
            rows[name, fold] = (
                root_mean_squared_error(test["rating"], predicted),
                mean_absolute_error(test["rating"], predicted),
                seconds,
            )
    if not rows:
        raise InputError(
            "nothing to evaluate: no recommender, or no fold (what `split` yields is used up once read)"
        )
    index = pd.MultiIndex.from_tuples(rows, names=["model", "fold"])
    table = pd.DataFrame(list(rows.values()), index, columns=["RMSE", "MAE", "fit seconds"])
    return table.loc[list(recommenders)]


def evaluate_ranking(
    recommenders: Mapping[str, Recommender | surprise.AlgoBase],
    test: pd.DataFrame,
    candidates: pd.Index,
    *,
    k: int = 10,
    liked: float = 4.0,
) -> pd.DataFrame:
    """Measure the top k that fitted recommenders pick for each user out of all candidates not rated yet.

    Parameters
    ----------
    recommenders : dict
        Already fitted on the training ratings.
    test : DataFrame
        user_id, item_id, rating. A test item is a hit when its rating is at least `liked`.
    candidates : Index
        The items to choose from: the whole catalogue, for the numbers to mean anything (a sample of it makes
        every model look good). What a model does not score comes last.
    k : int
        Length of the list.
    liked : float
        Least rating of an item that counts as liked.

    Returns
    -------
    DataFrame
        Indexed by (model, user_id), one row for each user with a liked test item: NDCG@k and recall@k.

    References
    ----------
    K. Järvelin and J. Kekäläinen (2002). Cumulated gain-based evaluation of IR techniques. ACM TOIS 20(4).
    W. Krichene and S. Rendle (2020). On sampled metrics for item recommendation. KDD.
    doi:10.1145/3394486.3403226
    """
    good = test[(test["rating"] >= liked) & test["item_id"].isin(candidates)]
    if good.empty:
        raise InputError(
            f"no test rating of a candidate item is {liked:g} or more, so there is nothing to find"
        )
    qrels = [
        ir_measures.Qrel(str(u), str(i), 1) for u, i in zip(good["user_id"], good["item_id"], strict=True)
    ]
    users = good["user_id"].unique()
    measures = {ir_measures.nDCG @ k: f"NDCG@{k}", ir_measures.R @ k: f"recall@{k}"}
    tables = {}
    for name, model in recommenders.items():
        model = as_recommender(model)
        run = []
        for user in users:
            scores = model.score(user).reindex(candidates).drop(model.seen(user), errors="ignore").dropna()
            for rank, item in enumerate(scores.nlargest(k).index):
                run.append(ir_measures.ScoredDoc(str(user), str(item), float(-rank)))
        values = {(m.query_id, m.measure): m.value for m in ir_measures.iter_calc(list(measures), qrels, run)}
        columns = {
            label: [values.get((str(u), measure), 0.0) for u in users] for measure, label in measures.items()
        }
        tables[name] = pd.DataFrame(columns, index=users)
    return pd.concat(tables, names=["model", "user_id"])


def choose_threshold(ratings, predicted, *, liked: float = 4.0) -> float:
    """Find the predicted rating from which to say "will like it": the one of best F1 on validation data.

    Parameters
    ----------
    ratings, predicted : array-like of shape (n,)
        True and predicted ratings, of validation data: neither training nor test.
    liked : float
        Least rating that counts as liked.
    """
    precision, recall, thresholds = precision_recall_curve(np.asarray(ratings) >= liked, predicted)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(thresholds[np.argmax(f1[:-1])])


def like_metrics(ratings, predicted, threshold: float, *, liked: float = 4.0) -> pd.Series:
    """Measure "will like it" as a yes or no: precision, recall, F1 and accuracy, each between 0 and 1.

    Parameters
    ----------
    ratings, predicted : array-like of shape (n,)
        True and predicted ratings.
    threshold : float
        The answer is yes from this predicted rating on; ``-inf`` says always yes.
    liked : float
        Least rating that counts as liked.
    """
    true, yes = np.asarray(ratings) >= liked, np.asarray(predicted) >= threshold
    precision, recall, f1, _ = precision_recall_fscore_support(true, yes, average="binary", zero_division=0.0)
    return pd.Series(
        {"precision": precision, "recall": recall, "F1": f1, "accuracy": accuracy_score(true, yes)}
    )


def interval(values, *, confidence: float = 0.95, random_state: int = 0) -> tuple[float, float]:
    """Return the bootstrap interval of a mean, such as one metric's over users (percentiles, 2,000 draws)."""
    values = np.asarray(values, dtype=float)
    if len(values) < 2 or np.ptp(values) == 0:
        return float(values.mean()), float(values.mean())
    drawn = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=2000,
        confidence_level=confidence,
        method="percentile",
        batch=100,
        rng=np.random.default_rng(random_state),
    )
    return float(drawn.confidence_interval.low), float(drawn.confidence_interval.high)


def as_recommender(model: Recommender | surprise.AlgoBase) -> Recommender:
    """Wrap an algorithm of Surprise; leave a recommender as it is."""
    return model if isinstance(model, Recommender) else SurpriseRecommender(model)
