"""Recommenders and a split in, a table of metrics out: the same rows for everybody, and everybody's control.

First the splits, then the predictions and what is measured on them, then the lists and what is measured on those.
Metrics and tests come from scikit-learn, SciPy and ir-measures; what is written here is who is compared on what.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping

import ir_measures
import numpy as np
import pandas as pd
import surprise
from scipy import stats
from sklearn import metrics
from sklearn.model_selection import KFold

from llmtok.data import InputError
from llmtok.recommend import Recommender, SurpriseRecommender

Fold = tuple[pd.DataFrame, pd.DataFrame]
Models = Mapping[str, object]  # recommenders, algorithms of Surprise, or what has the methods asked of it


def split(
    ratings: pd.DataFrame,
    n_splits: int = 5,
    *,
    by: str | None = None,
    given: int | None = None,
    random_state: int = 0,
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
    given : int, optional
        How many ratings of each hidden user (or item) training sees all the same. Half of them, rounded up, is
        tested, whatever `given` is; training gets `given` of the other half (all of it where it is smaller), and
        those for 1 are among those for 2. So a curve over `given` compares like with like. None tests them all.
    random_state : int
        Seed of the draws. With ``by=None`` the folds are those of ``surprise.model_selection.KFold(n_splits,
        shuffle=True, random_state=random_state)``.

    Yields
    ------
    train, test : DataFrame

    Examples
    --------
    >>> import pandas as pd
    >>> ratings = pd.DataFrame({"user_id": [1] * 4 + [2] * 4, "item_id": [1, 2, 3, 4] * 2, "rating": 3.0})
    >>> [(len(train), len(test)) for train, test in split(ratings, 2, by="user_id", given=1)]
    [(5, 2), (5, 2)]
    """
    if by not in (None, "item_id", "user_id"):
        raise InputError(f"by={by!r}: folds are drawn by None, 'item_id' or 'user_id'")
    if given is not None and (by is None or not isinstance(given, (int, np.integer)) or given < 0):
        raise InputError(f"given={given!r}, by={by!r}: give 0 or more, and by='item_id' or 'user_id'")
    groups = np.arange(len(ratings)) if by is None else pd.factorize(ratings[by], sort=True)[0]
    n = groups.max(initial=-1) + 1
    if not 2 <= n_splits <= n:
        raise InputError(f"n_splits={n_splits}: there are {n} {by or 'rating'}s to share out, so 2 to {n}")
    # A rating's place in its group, 0, 1, 2 ..., in a drawn order: first those to test, then those to give.
    place, n_tested = np.zeros(len(ratings)), np.inf
    if given is not None:
        drawn = pd.Series(np.random.default_rng(random_state).permutation(len(ratings))).groupby(groups)
        place = drawn.rank().to_numpy() - 1
        n_tested = np.ceil(drawn.transform("size").to_numpy() / 2)
    for _, held_out in KFold(n_splits, shuffle=True, random_state=random_state).split(np.empty(n)):
        hidden = np.isin(groups, held_out)
        tested = hidden & (place < n_tested)
        shown = ~hidden | ((place >= n_tested) & (place < n_tested + (given or 0)))
        yield ratings[shown], ratings[tested]


def split_by_time(ratings: pd.DataFrame, test_size: float = 0.2) -> Fold:
    """Cut ratings in two at one moment, the same for everybody: train on what came before, test on what came after.

    A random split lets a model learn from the future. Here users and items may be new in the test set.

    Parameters
    ----------
    ratings : DataFrame
        user_id, item_id, rating, timestamp.
    test_size : float
        Share of the ratings to test. Those of one moment stay together: the cut that comes nearest is taken.

    Returns
    -------
    train, test : DataFrame
        One fold, neither side empty: give ``[split_by_time(ratings)]`` to `evaluate` and `predict`.

    Raises
    ------
    InputError
        When there is no column timestamp, a timestamp is missing, or all are equal.

    References
    ----------
    Y. Ji, A. Sun, J. Zhang and C. Li (2023). A critical study on data leakage in recommender system offline
    evaluation. ACM TOIS 41(3). doi:10.1145/3569930

    Examples
    --------
    >>> import pandas as pd
    >>> ratings = pd.DataFrame({"user_id": [1, 2, 1, 2, 3], "rating": 3.0, "timestamp": [10, 50, 20, 40, 40]})
    >>> [side["timestamp"].tolist() for side in split_by_time(ratings, 0.4)]
    [[10, 20], [50, 40, 40]]
    """
    if not 0 < test_size < 1:
        raise InputError(f"test_size={test_size}: a share between 0 and 1 is needed, such as 0.2")
    if "timestamp" not in ratings:
        raise InputError("ratings: there is no column timestamp, so they have no order in time; use `split`")
    if missing := int(ratings["timestamp"].isna().sum()):
        raise InputError(f"ratings: {missing} of {len(ratings)} have no timestamp; drop them first")
    moments = ratings["timestamp"].value_counts().sort_index()
    if len(moments) < 2:
        raise InputError("ratings: all timestamps are equal, so nothing comes later; use `split`")
    later = 1 - moments.cumsum() / len(ratings)  # the share of the ratings after each moment
    last = (later.iloc[:-1] - test_size).abs().idxmin()
    after = ratings["timestamp"] > last
    return ratings[~after], ratings[after]


def predict(recommenders: Models, folds: Iterable[Fold]) -> pd.DataFrame:
    """Fit each recommender on each training set, and write down what it predicts for each test rating.

    How a model errs by user, by fold or by an item's number of ratings follows from this frame by ``groupby``.

    Parameters
    ----------
    recommenders : dict of str to model
        A recommender, an algorithm of Surprise, or any object with ``fit(train)`` and ``predict_ratings(test)``.
        They are fitted again on every fold, and stay fitted on the last.
    folds : iterable of (train, test)
        From `split`, ``[split_by_time(ratings)]``, or your own.

    Returns
    -------
    DataFrame
        A row for each test rating, in the order of the folds and with the index of the ratings: user_id, item_id,
        rating, fold (0, 1, ...), and a column of predictions for each model.

    Raises
    ------
    InputError
        When there is nothing to fit, or a model leaves a test rating without prediction.

    Examples
    --------
    >>> import pandas as pd, surprise
    >>> ratings = pd.DataFrame({"user_id": [1, 1, 2, 2, 3, 3], "item_id": [1, 2] * 3, "rating": [4, 2] * 3})
    >>> models = {"baseline": surprise.BaselineOnly(verbose=False), "SVD": surprise.SVD(random_state=0)}
    >>> predicted = predict(models, split(ratings, 3))
    >>> errors = predicted[list(models)].sub(predicted["rating"], axis=0)
    >>> per_user = (errors**2).groupby(predicted["user_id"]).mean() ** 0.5  # RMSE of each user, for `compare`
    >>> per_user.shape
    (3, 2)
    """
    columns = ["user_id", "item_id", "rating", "fold"]
    if taken := [name for name in recommenders if name in columns]:
        raise InputError(f"recommenders: {taken[0]!r} names a column of the result; call the model otherwise")
    tables = {}
    for name, fold, test, predicted, _ in _fit_and_predict(recommenders, folds):
        tables.setdefault(fold, test.assign(fold=fold)[columns])[name] = predicted
    return pd.concat(tables.values())


def evaluate(recommenders: Models, folds: Iterable[Fold]) -> pd.DataFrame:
    """Fit each recommender on each training set, and measure how well it predicts the test ratings.

    Parameters
    ----------
    recommenders, folds
        As for `predict`, and with its errors.

    Returns
    -------
    DataFrame
        Indexed by (model, fold): RMSE and MAE, in units of the rating, fit seconds and predict seconds.

    Examples
    --------
    >>> import pandas as pd, surprise
    >>> ratings = pd.DataFrame({"user_id": [1, 1, 2, 2, 3, 3], "item_id": [1, 2] * 3, "rating": [4, 2] * 3})
    >>> baseline = surprise.BaselineOnly(verbose=False)
    >>> evaluate({"baseline": baseline}, split(ratings, 3))["RMSE"].round(2).tolist()
    [0.89, 1.39, 1.39]
    """
    rows = {}
    for name, fold, test, predicted, seconds in _fit_and_predict(recommenders, folds):
        rmse = metrics.root_mean_squared_error(test["rating"], predicted)
        rows[name, fold] = (rmse, metrics.mean_absolute_error(test["rating"], predicted), *seconds)
    index = pd.MultiIndex.from_tuples(rows, names=["model", "fold"])
    columns = ["RMSE", "MAE", "fit seconds", "predict seconds"]
    return pd.DataFrame(list(rows.values()), index, columns).loc[list(recommenders)]


def _fit_and_predict(recommenders, folds):
    """Yield name, fold, test set, predictions and seconds (fit, predict): what `predict` and `evaluate` share."""
    name = None
    for fold, pair in enumerate(folds):
        if isinstance(pair, pd.DataFrame):
            raise InputError("folds: a list of (train, test) is needed, and this is one pair; write [fold]")
        train, test = pair
        for name, model in recommenders.items():
            model = as_recommender(model, "fit", "predict_ratings")
            start = time.perf_counter()
            model.fit(train)
            fitted = time.perf_counter()
            predicted = np.ravel(model.predict_ratings(test)).astype(float)
            seconds = fitted - start, time.perf_counter() - fitted
            if len(predicted) != len(test) or not np.isfinite(predicted).all():
                found = f"{np.isfinite(predicted).sum()} predictions for {len(test)} test ratings"
                raise InputError(f"{name}, fold {fold}: {found}; a mean will do for what is not known")
            yield name, fold, test, predicted, seconds
    if name is None:
        raise InputError("nothing to evaluate: no recommender, or no fold (`split` is used up once read)")


def compare(
    values: pd.DataFrame, baseline: str, *, confidence: float = 0.95, random_state: int = 0
) -> pd.DataFrame:
    """Say by how much each model differs from a baseline, and whether that could be chance.

    Parameters
    ----------
    values : DataFrame of shape (n, n_models)
        One row a user (or query), one column a model: the RMSE of each user, as in the example of `predict`, or
        ``evaluate_ranking(...)["NDCG@10"].unstack("model")``. Rows should not lean on each other: folds do, since
        they share training data, and over them p is too small.
    baseline : str
        The column that the others are compared with.
    confidence, random_state : float, int
        Of the bootstrap. A difference is significant when its corrected p is below ``1 - confidence``.

    Returns
    -------
    DataFrame
        Indexed by model, without the baseline: mean, difference (from the baseline's mean: below 0 is better for an
        error), low and high (its interval; rows are drawn whole, so users hard for everybody do not blur it), p,
        p corrected, significant.

    Raises
    ------
    InputError
        When a value is missing or no finite number, or there are fewer than two rows or two models.

    Notes
    -----
    The test is the paired t-test, because its question is ours: is the mean difference 0? It leans on the mean alone
    being normal, and that of hundreds of users nearly is, heavy tails or not. A permutation test gave the same p, at
    the price of thousands of draws and a p never below one over their number. Wilcoxon's asks about ranks, and finds
    a difference in skewed values whose mean is 0. Of few rows with a long tail, trust none.

    The correction is Benjamini and Hochberg's: of the differences called significant, a share of ``1 - confidence``
    at most is expected to be chance. Give a column to every model that you tried. The intervals are not corrected.

    References
    ----------
    J. Urbano, H. Lima and A. Hanjalic (2019). Statistical significance testing in information retrieval. SIGIR.
    doi:10.1145/3331184.3331259
    Y. Benjamini and Y. Hochberg (1995). Controlling the false discovery rate. JRSS B 57(1).

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> rng = np.random.default_rng(1)
    >>> rmse = rng.normal([[1.0]] * 300, 0.3) + rng.normal([0, -0.05, 0], 0.1, (300, 3))
    >>> compare(pd.DataFrame(rmse, columns=["SVD", "better", "same"]), "SVD")["significant"].to_dict()
    {'better': True, 'same': False}
    """
    if baseline not in values or len(values.columns) < 2 or len(values) < 2:
        found = f"{len(values)} rows and the models {', '.join(map(str, values.columns))}"
        raise InputError(f"values: {found}; two rows, {baseline!r} and another model are needed")
    numbers = values.apply(pd.to_numeric, errors="coerce").astype(float)
    if wrong := int((~np.isfinite(numbers)).to_numpy().sum()):
        raise InputError(f"values: {wrong} are missing or no finite number; a row needs one for every model")
    base, rows = numbers[baseline], {}
    for name, column in numbers.drop(columns=baseline).items():
        # Two models that agree everywhere differ by 0 without doubt; a t-test would divide 0 by 0.
        p = stats.ttest_rel(column, base).pvalue if (column != base).any() else 1.0
        ends = interval(column - base, confidence=confidence, random_state=random_state)
        rows[name] = (column.mean(), (column - base).mean(), *ends, p)
    columns = ["mean", "difference", "low", "high", "p"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("model")
    table["p corrected"] = stats.false_discovery_control(table["p"], method="bh")
    return table.assign(significant=table["p corrected"] < 1 - confidence)


def top_lists(recommenders: Models, users: Iterable, candidates: pd.Index, k: int = 10) -> pd.DataFrame:
    """List the top k that fitted recommenders pick for each user out of all candidates not rated yet.

    Parameters
    ----------
    recommenders : dict of str to model
        Already fitted: recommenders, algorithms of Surprise, or any object with ``score(user)`` and ``seen(user)``.
    users : iterable of user_id
    candidates : Index of item_id
        The items to choose from: the whole catalogue, for the numbers to mean anything (a sample of it makes
        every model look good). What a model does not score is not listed.
    k : int
        Length of the list.

    Returns
    -------
    DataFrame
        model, user_id, rank (from 1), item_id: at most k rows for each model and user.

    Examples
    --------
    >>> import pandas as pd
    >>> from llmtok import Popularity
    >>> train = pd.DataFrame({"user_id": [1, 2, 3], "item_id": ["a", "a", "b"], "rating": 5.0})
    >>> top_lists({"popularity": Popularity().fit(train)}, [1, 3], pd.Index(["a", "b", "c"]))
            model  user_id  rank item_id
    0  popularity        1     1       b
    1  popularity        3     1       a
    """
    users, candidates, found = list(users), pd.Index(candidates).unique(), []
    for name, model in recommenders.items():
        model, scored = as_recommender(model, "score", "seen"), None
        for user in users:
            scores = model.score(user)
            if scores.index is not scored:  # most models score the same items for everybody
                scored, where = scores.index, scores.index.get_indexer(candidates)
            values = np.append(scores.to_numpy(dtype=float), np.nan)[where]  # what is not scored, -1, is NaN
            seen = candidates.get_indexer(model.seen(user))
            values[seen[seen >= 0]] = np.nan
            found.append((name, user, _largest(values, k)))
    lists = pd.DataFrame(found, columns=["model", "user_id", "item_id"])
    lists["rank"] = [np.arange(1, len(rows) + 1) for rows in lists["item_id"]]
    lists = lists.explode(["rank", "item_id"], ignore_index=True).dropna(subset="rank")
    lists["item_id"] = candidates[lists["item_id"].astype(int)]
    return lists.astype({"rank": int}).reset_index(drop=True)[["model", "user_id", "rank", "item_id"]]


def _largest(values, k):
    """Where the k largest values stand, largest first; of equal ones the first. NaN is no value."""
    values = np.where(np.isnan(values), -np.inf, values)
    if k < len(values):
        least = np.partition(values, -k)[-k]
        places = np.flatnonzero(values >= least)
    else:
        places = np.arange(len(values))
    places = places[np.argsort(-values[places], kind="stable")][:k]
    return places[values[places] > -np.inf]


def evaluate_ranking(
    recommenders: Models, test: pd.DataFrame, candidates: pd.Index, *, k: int = 10, liked: float = 4.0
) -> pd.DataFrame:
    """Measure how much of what each user turns out to like is in the top k of fitted recommenders.

    Parameters
    ----------
    recommenders, candidates, k
        As for `top_lists`.
    test : DataFrame
        user_id, item_id, rating. A test item is a hit when its rating is at least `liked`.
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
        raise InputError(f"no test rating of a candidate item is {liked:g} or more: there is nothing to find")
    users = good["user_id"].unique()
    lists = top_lists(recommenders, users, candidates, k)
    names = {"user_id": "query_id", "item_id": "doc_id"}  # as ir-measures calls them
    qrels = good[list(names)].astype(str).rename(columns=names).assign(relevance=1)
    runs = lists[list(names)].astype(str).rename(columns=names).assign(score=-lists["rank"].astype(float))
    measures = {ir_measures.nDCG @ k: f"NDCG@{k}", ir_measures.R @ k: f"recall@{k}"}
    tables = {}
    for name in recommenders:
        found = ir_measures.iter_calc(list(measures), qrels, runs[lists["model"] == name])
        values = {(v.query_id, v.measure): v.value for v in found}
        columns = {label: [values.get((str(u), m), 0.0) for u in users] for m, label in measures.items()}
        tables[name] = pd.DataFrame(columns, index=users)
    return pd.concat(tables, names=["model", "user_id"])


def beyond_accuracy(lists: pd.DataFrame, train: pd.DataFrame, candidates: pd.Index) -> pd.DataFrame:
    """Measure what lists are like, whether or not they please: how much of the catalogue, and how little known.

    Parameters
    ----------
    lists, candidates
        From `top_lists`, and what it chose from.
    train : DataFrame
        user_id, item_id: who has rated what.

    Returns
    -------
    DataFrame
        Indexed by model, k being the greatest rank. coverage@k, from 0 to 1: the share of the candidates that is in
        anybody's list. novelty@k, in bits: ``-log2(share of the training users who rated the item)``, averaged over
        a user's list, then over users. What everybody rated has 0 bits, what one user in 1,024 did has 10; what
        nobody did has a share of 1 / (n_users + 1), as if one more user had come and rated it.

    Raises
    ------
    InputError
        When the lists are empty, or hold an item that is no candidate.

    References
    ----------
    M. Ge, C. Delgado-Battenfeld and D. Jannach (2010). Beyond accuracy: evaluating recommender systems by coverage
    and serendipity. RecSys. doi:10.1145/1864708.1864761
    S. Vargas and P. Castells (2011). Rank and relevance in novelty and diversity metrics for recommender systems.
    RecSys. doi:10.1145/2043932.2043955

    Examples
    --------
    >>> import pandas as pd
    >>> train = pd.DataFrame({"user_id": [1, 2, 3, 4], "item_id": ["a", "a", "b", "c"]})
    >>> lists = pd.DataFrame({"model": "m", "user_id": [1, 2], "rank": 1, "item_id": ["b", "c"]})
    >>> beyond_accuracy(lists, train, pd.Index(["a", "b", "c", "d"])).loc["m"].to_dict()
    {'coverage@1': 0.5, 'novelty@1': 2.0}
    """
    if lists.empty or not lists["item_id"].isin(candidates).all():
        raise InputError("lists: empty, or with items that are no candidates; make them by `top_lists`")
    k, n_users = lists["rank"].max(), train["user_id"].nunique()
    share = train.groupby("item_id")["user_id"].nunique() / n_users
    bits = -np.log2(lists["item_id"].map(share).fillna(1 / (n_users + 1)))
    by_user = bits.groupby([lists["model"], lists["user_id"]], sort=False).mean()
    coverage = lists.groupby("model", sort=False)["item_id"].nunique() / pd.Index(candidates).nunique()
    return pd.DataFrame(
        {f"coverage@{k}": coverage, f"novelty@{k}": by_user.groupby("model", sort=False).mean()}
    )


def choose_threshold(ratings, predicted, *, liked: float = 4.0) -> float:
    """Find the predicted rating from which to say "will like it": the one of best F1 on validation data.

    Parameters
    ----------
    ratings, predicted : array-like of shape (n,)
        True and predicted ratings, of validation data: neither training nor test.
    liked : float
        Least rating that counts as liked.
    """
    precision, recall, thresholds = metrics.precision_recall_curve(np.asarray(ratings) >= liked, predicted)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(thresholds[np.argmax(f1[:-1])])


def like_metrics(ratings, predicted, threshold: float, *, liked: float = 4.0) -> pd.Series:
    """Measure "will like it" as a yes or no: precision, recall, F1 and accuracy, each between 0 and 1.

    Parameters
    ----------
    ratings, predicted, liked
        As for `choose_threshold`, of data that it has not seen.
    threshold : float
        The answer is yes from this predicted rating on; ``-inf`` says always yes.
    """
    true, yes = np.asarray(ratings) >= liked, np.asarray(predicted) >= threshold
    scores = metrics.precision_recall_fscore_support(true, yes, average="binary", zero_division=0.0)
    named = dict(zip(("precision", "recall", "F1"), scores[:3], strict=True))
    return pd.Series({**named, "accuracy": metrics.accuracy_score(true, yes)})


def interval(values, *, confidence: float = 0.95, random_state: int = 0) -> tuple[float, float]:
    """Return the bootstrap interval of a mean, such as one metric's over users (percentiles, 2,000 draws)."""
    values = np.asarray(values, dtype=float)
    if len(values) < 2 or np.ptp(values) == 0:
        return float(values.mean()), float(values.mean())
    draws = {"n_resamples": 2000, "batch": 100, "rng": np.random.default_rng(random_state)}
    found = stats.bootstrap((values,), np.mean, method="percentile", confidence_level=confidence, **draws)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def as_recommender(model, *needed: str) -> Recommender:
    """Wrap an algorithm of Surprise; leave what can do the `needed` as it is, and refuse what cannot."""
    if isinstance(model, surprise.AlgoBase) and not isinstance(model, Recommender):
        return SurpriseRecommender(model)
    if missing := [method for method in needed if not hasattr(model, method)]:
        raise InputError(f"{model!r} has no {missing[0]}(): a recommender needs {', '.join(needed)} here")
    return model
