"""What the report measures: does text help, for which items, by how much, and do cheaper features do as well.

`plan` looks at the sizes and says what will be done, and what it will take. `examine` does it: the same recommenders,
`TokenEASE` for lists and `TokenSVD` for ratings, once for each thing that they may read, on the same splits with the
same settings. What came out is put into words by `llmtok.verdict`, and shown by the notebook ``report``.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import surprise
from scipy import stats
from threadpoolctl import threadpool_limits

from llmtok.data import STRONGEST, Dataset, InputError
from llmtok.ease import TokenEASE, free_memory
from llmtok.encode import DEFAULT_MODEL, TextEncoder
from llmtok.evaluation import evaluate_ranking, interval, split, split_by_time
from llmtok.features import CATEGORIES, FULL, NONE, TFIDF, TITLE, Reads, categories
from llmtok.recommend import Popularity, SurpriseRecommender, TokenSVD
from llmtok.tokens import make_tokens

RIVALS = (CATEGORIES, TFIDF)  # cheaper than a language model
GROUPS = {  # of items, by their interactions in training
    "1 to 4": (1, 4), "5 to 19": (5, 19), "20 to 49": (20, 49), "50 or more": (50, np.inf)
}  # fmt: skip
NEW, ALL = "none (new items)", "all items"
LEAST = 20  # users, and items to choose from, that a group needs to be measured
HIGHEST = 1e9  # rating: with higher ones squares overflow, and most are slips of the pen
CONFIDENCE = 0.95

# What is measured at the most: users or items (the smaller side of a matrix that is inverted), interactions, items of
# the catalogue, test users whose lists are made. `--quick` takes the second.
LIMITS = {
    False: {"side": 6_000, "ratings": 2_000_000, "items": 30_000, "tested": 2_000},
    True: {"side": 1_500, "ratings": 100_000, "items": 3_000, "tested": 500},
}


@dataclass(frozen=True)
class Plan:
    """What will be measured, on what.

    Attributes
    ----------
    data : Dataset
        What is measured: all of it, or as much as time and memory allow.
    liked : float
        A test rating from here on is a hit.
    rated : bool
        Whether the ratings say more than that there was an interaction.
    variants : list of str
        What the recommenders may read, one after the other.
    temporal : bool
        Whether the test ratings are the latest, and not drawn.
    tested : int
        For so many users lists are made.
    encoder : str
        What reads the texts.
    notes : list of str
        What was decided because of the data, in sentences.
    steps : dict of str to float
        The seconds that each step may take, roughly.
    """

    data: Dataset
    liked: float
    rated: bool
    variants: list[str]
    temporal: bool
    tested: int
    encoder: str
    notes: list[str]
    steps: dict[str, float]

    @property
    def seconds(self) -> float:
        """All steps together."""
        return sum(self.steps.values())


def plan(
    data: Dataset, *, liked: float = 0.0, split: str = "random", quick: bool = False, encoder=DEFAULT_MODEL,
    random_state: int = 0,
) -> Plan:  # fmt: skip
    """Decide what to measure, by the size of the data and of the memory.

    Parameters
    ----------
    data : Dataset
    liked : float
        A rating from here on counts as liked. 0 takes the lowest that at most 60 % of the ratings reach, or, where
        ratings say nothing but that there was an interaction, all.
    split : {"random", "temporal"}
        Whether a fifth of the ratings is drawn for the test, or the latest fifth taken.
    quick : bool
        Measure less, and less exactly: a look, not a verdict.
    encoder : str
        A language model's name, or the folder of one; see `TextEncoder`.
    random_state : int
        Of what is drawn.

    Raises
    ------
    InputError
        There is too little to measure anything, no text, or no time where the split needs one.

    Examples
    --------
    >>> from llmtok import load_dataset
    >>> planned = plan(load_dataset("movielens-small"))
    >>> planned.liked, planned.rated, planned.variants[:3]
    (4.0, True, ['no text', 'title only', 'full text'])
    """
    if split not in ("random", "temporal"):
        raise InputError(f"split={split!r}: it is 'random' or 'temporal'")
    _whole("random_state", random_state)
    notes: list[str] = []
    data = _sound(data, split == "temporal", notes)
    data = _sample(data, LIMITS[quick], notes, random_state)
    ratings = data.ratings
    # Of actions there are strengths, and nobody gave them as ratings.
    strengths = (data.cleaning["step"] == STRONGEST).any()
    rated = not strengths and bool(np.ptp(ratings["rating"]) > 1e-6)
    if not rated:
        notes.append(
            "The ratings say only that there was an interaction, so lists are measured and ratings are not."
        )
    liked = liked or _liked(ratings["rating"], rated)
    if not (ratings["rating"] >= liked).any():
        raise InputError(f"liked={liked:g}: no rating is as high; they run to {ratings['rating'].max():g}")
    variants = [NONE, TITLE, FULL, CATEGORIES, TFIDF]
    if quick:
        variants.remove(TITLE)
    if TITLE in variants and (data.items["text"] == data.with_text("{title}").items["text"]).all():
        variants.remove(TITLE)
        notes.append("The text of an item is its title alone; a description would say more.")
    if categories(data.items) is None:
        variants.remove(CATEGORIES)
        notes.append(
            "The catalogue has no column of categories, so there is nothing of that kind to compare with."
        )
    if quick:
        notes.append("A quick look (--quick): fewer users, items and rivals. Decide nothing by it.")
    tested = LIMITS[quick]["tested"]
    steps = _estimate(data, variants, rated, tested, encoder)
    return Plan(data, float(liked), rated, variants, split == "temporal", tested, str(encoder), notes, steps)


def _sound(data: Dataset, temporal: bool, notes: list[str]) -> Dataset:
    """Refuse what nothing can be learned from, and leave out what a split by time cannot place."""
    ratings = data.ratings
    if temporal:
        if "timestamp" not in ratings or ratings["timestamp"].nunique() < 2:
            raise InputError(
                "split='temporal': the ratings have no times that differ; name their column, or take split='random'"
            )
        timed = ratings["timestamp"].notna()
        if not timed.all():
            notes.append(f"{(~timed).sum():,} ratings without a time are left out: the split is by time.")
            ratings = ratings[timed].reset_index(drop=True)
        notes.append("The split is by time; but which items count as new, and are hidden whole, is drawn.")
    lowest, highest = ratings["rating"].min(), ratings["rating"].max()
    if highest <= 0 or max(highest, -lowest) > HIGHEST:
        raise InputError(
            f"the ratings run from {lowest:g} to {highest:g}: the highest must lie above 0, and none further from it "
            f"than {HIGHEST:g}; mend them, or give another column"
        )
    texts = data.items["text"][data.items.index.isin(ratings["item_id"])]
    texts = texts[texts != ""].unique()
    if len(texts) < 2:
        found = f"all have the same, {texts[0][:60]!r}" if len(texts) else "all are empty"
        raise InputError(
            f"the texts of items with interactions tell nothing apart: {found}; name columns that describe the items, "
            "as in text='{title}. {summary}'"
        )
    n_users = int((ratings["user_id"].value_counts() > 1).sum())
    n_items = int(ratings["item_id"].nunique())
    if n_users < 3 * LEAST or n_items < 3 * LEAST:
        raise InputError(
            f"too little to tell chance from fact: {n_users} users with two interactions or more, and {n_items} items "
            f"with any; a verdict needs {3 * LEAST} of each, and is worth more with hundreds"
        )
    return data if ratings is data.ratings else replace(data, ratings=ratings)


def _sample(data: Dataset, limits: dict, notes: list[str], random_state: int) -> Dataset:
    """Draw items and users until time and memory suffice, and say so."""
    rng = np.random.default_rng(random_state)
    ratings, items = data.ratings, data.items
    rated = items.index.isin(ratings["item_id"])
    if len(items) > limits["items"]:
        kept = _draw(items.index[rated], limits["items"], rng)
        others = _draw(items.index[~rated], limits["items"] - len(kept), rng)
        items = items[items.index.isin(kept.append(others))]
        ratings = ratings[ratings["item_id"].isin(kept)]
        notes.append(f"Of {len(data.items):,} items {len(items):,} were drawn, rated ones first.")
    n_items, n_rated, n_users = len(items), ratings["item_id"].nunique(), ratings["user_id"].nunique()
    users = ratings["user_id"].value_counts().sort_index().sample(frac=1, random_state=rng)
    if len(ratings) > limits["ratings"]:
        users = users[users <= limits["ratings"] / LEAST]  # one who alone has more is no person
        users = users[users.cumsum() <= limits["ratings"]]
    most = len(users)
    # A model may take half of what is free, for beside it lie the texts and the others' results.
    while min(most, n_rated) > limits["side"] or _bytes(most, n_rated, n_items) > free_memory() / 2:
        most = int(most * 0.9)
        if most < 3 * LEAST:
            raise InputError(
                f"{free_memory() / 2**30:.1f} GB of free memory are too little for {n_items:,} items; free some, or "
                "give fewer items"
            )
    if most < n_users:
        ratings = ratings[ratings["user_id"].isin(users.index[:most])]
        notes.append(
            f"Of {n_users:,} users {most:,} were drawn. An item's interactions are counted among these, so it has "
            "fewer than in your data."
        )
    if len(ratings) == len(data.ratings) and len(items) == len(data.items):
        return data
    return replace(data, ratings=ratings.reset_index(drop=True), items=items)


def _draw(ids: pd.Index, n: int, rng) -> pd.Index:
    return ids if len(ids) <= n else ids[np.sort(rng.choice(len(ids), n, replace=False))]


def _bytes(n_users: int, n_rated: int, n_items: int) -> float:
    """Estimate what `TokenEASE` takes: see `llmtok.ease.check_memory`."""
    rows = n_users + 400
    own = 4 * rows * n_rated + 3 * rows**2 if rows < n_rated else n_rated * (2 * n_rated + n_items)
    return 4.0 * (own + 3 * n_items * min(1000, n_rated))


def _liked(values: pd.Series, rated: bool) -> float:
    if not rated:
        return float(values.min())
    at_least = values.value_counts(normalize=True).sort_index(ascending=False).cumsum()
    few = at_least[at_least <= 0.6]
    return float(few.index.min() if len(few) else values.max())


def _estimate(data: Dataset, variants: list[str], rated: bool, tested: int, encoder) -> dict[str, float]:
    """Guess seconds from sizes, so that a bar can say how far it is. Measured on two cores; the bar corrects itself."""
    ratings, items = data.ratings, data.items
    n_users, n_items, n_rated = ratings["user_id"].nunique(), len(items), ratings["item_id"].nunique()
    side = min(n_users + 400, n_rated)
    slower = 1 if str(encoder) == DEFAULT_MODEL else 4
    pieces = items["text"].str.len().clip(10, 600) / 4
    steps = {"encoding": slower * float((0.0012 + 0.0002 * pieces).sum())}
    across = 2e-8 * side * (n_rated if side < n_rated else 0) ** 0.5  # what the space of users takes besides
    fit = 0.5 + 3e-11 * side**3 + side * across + 3e-4 * n_items
    lists = min(tested, n_users) * (0.004 + 3e-7 * n_items + across)
    svd = 1.3e-5 * len(ratings) if rated else 0.0
    for which in ("known items", "new items"):
        for variant in variants:
            steps[f"lists, {which}, {variant}"] = (0.2 if variant == NONE else 1) * fit + lists
        if rated:
            for variant in variants:
                steps[f"ratings, {which}, {variant}"] = 0.5 + svd
    steps["the models to keep"] = fit + svd
    return steps


@dataclass
class Findings:
    """What was measured.

    Attributes
    ----------
    gains : DataFrame
        One row for each question (lists or ratings), group of items and rival of the full text: users, the value with
        the rival and with the full text, the gain (above 0 where the full text is better), its interval, p, p
        corrected, and the verdict: helps, hurts or unclear.
    quality : DataFrame
        One row for each model: NDCG@10 of all and of new items, RMSE of known and of new items.
    encoding : Series
        What the encoder saw; as `TextEncoder.report_`, and scripts and pieces besides.
    seconds : dict of str to float
        What was measured on the clock.
    embeddings : DataFrame
        Of the full text.
    lists : TokenEASE
        Fitted on all of the plan's data, with the full text.
    ratings : TokenSVD or None
    """

    gains: pd.DataFrame
    quality: pd.DataFrame
    encoding: pd.Series
    seconds: dict[str, float]
    embeddings: pd.DataFrame
    lists: TokenEASE
    ratings: TokenSVD | None


Tell = Callable[[float, float, str], None]


def examine(
    plan: Plan, *, n_tokens: int = 0, reduction: str = "pca", ease: dict | None = None,
    svd: dict | None = None, random_state: int = 0, tell: Tell | None = None,
) -> Findings:  # fmt: skip
    """Fit every model on every split, and measure.

    Parameters
    ----------
    plan : Plan
    n_tokens, reduction
        The length of a token (0: what each model likes best, 50 for ratings and as long as can be for lists), and how
        embeddings become one: see `make_tokens`.
    ease, svd : dict, optional
        Further settings of `TokenEASE` and `TokenSVD`, the same for everything that they read.
    random_state : int
        Of splits and models.
    tell : callable, optional
        Told now and then, in estimated seconds, how much is done of how much, and what comes next.

    Raises
    ------
    InputError
        The encoder cannot be had, or a setting is none.
    """
    _whole("n_tokens", n_tokens)
    _whole("random_state", random_state)
    make_tokens(2, reducer=reduction)  # says what is wrong with it before anything takes time
    ease = _settings(TokenEASE, {"rating_power": 2.0 if plan.rated else 0.0}, ease)
    svd = _settings(TokenSVD, {"random_state": random_state}, svd)
    ratings, clock = plan.data.ratings, _Clock(plan.steps, tell)
    with clock("encoding"):
        read = TextEncoder(plan.encoder, progress=False)
        embeddings, encoding = _encode(read, plan.data.items["text"], clock)
    reads = Reads(plan.data, embeddings, read, n_tokens, reduction, random_state)
    drawn = None if plan.temporal else next(split(ratings, random_state=random_state))
    folds = {
        "known items": drawn or split_by_time(ratings),
        "new items": next(split(ratings, by="item_id", random_state=random_state)),
    }
    ndcg, errors = [], []
    # Of small matrices threads save little time, lose much where another program is busy, and change last digits.
    side = min(ratings["user_id"].nunique(), ratings["item_id"].nunique())
    with threadpool_limits(1 if side < 5000 else None, user_api="blas"):
        for which, (train, test) in folds.items():
            ndcg += _measure_lists(plan, reads, ease, which, train, test, clock, random_state)
            if plan.rated:
                errors.append(_measure_ratings(plan, reads, svd, which, train, test, clock))
        with clock("the models to keep"):
            lists = TokenEASE(*reads.of(FULL, ratings, None), **ease).fit(ratings)
            kept = reads.svd(FULL, ratings, svd).fit(ratings) if plan.rated else None
    empty = pd.DataFrame({"items": [], "model": [], "user_id": [], "NDCG@10": []}, dtype=float)
    ndcg, errors = pd.concat(ndcg) if ndcg else empty, pd.concat(errors) if errors else None
    clock.end()
    gains, quality = _gains(ndcg, errors, random_state), _quality(ndcg, errors)
    return Findings(gains, quality, encoding, clock.seconds, embeddings, lists, kept)


def _whole(name: str, value) -> None:
    if not isinstance(value, (int, np.integer)) or not 0 <= value < 2**32:
        raise InputError(f"{name}={value!r}: a whole number of 0 or more is needed")


def _settings(model, ours: dict, given: dict | None) -> dict:
    """Join settings of a model, and refuse what it does not have."""
    there = {name: p.default for name, p in inspect.signature(model).parameters.items()}
    there = {name: value for name, value in there.items() if isinstance(value, (int, float))}
    for name, value in (given or {}).items():
        if name not in there:
            raise InputError(f"{model.__name__} has no setting {name!r} here; it has {', '.join(there)}")
        if isinstance(there[name], int):
            _whole(name, value)
        elif not isinstance(value, (int, float, np.number)) or not 0 <= value < np.inf:
            raise InputError(f"{name}={value!r}: a number of 0 or more is needed")
    return {**ours, **(given or {})}


class _Clock:
    """Time the steps, and tell how far they are."""

    def __init__(self, steps: dict[str, float], tell: Tell | None):
        self.steps, self.tell, self.seconds, self.done, self.step = steps, tell, {}, 0.0, ""

    def __call__(self, step: str):
        self.step, self.start = step, time.perf_counter()
        self.within(0.0)
        return self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.seconds[self.step] = time.perf_counter() - self.start
        self.done += self.steps.get(self.step, 0.0)

    def within(self, share: float) -> None:
        """Say that of the present step this share is done."""
        if self.tell:
            done = self.done + share * self.steps.get(self.step, 0.0)
            self.tell(done, sum(self.steps.values()), self.step)

    def end(self) -> None:
        self.step = "writing"
        self.within(1.0)


def _encode(encoder: TextEncoder, texts: pd.Series, clock: _Clock) -> tuple[pd.DataFrame, pd.Series]:
    """Encode some texts at a time, so that it can be told how far it is."""
    parts, reports, size = [], [], 2048
    for start in range(0, len(texts), size):
        parts.append(encoder.transform(texts.iloc[start : start + size]))
        reports.append(encoder.report_)
        clock.within(min(1.0, (start + size) / len(texts)))
    reports = pd.DataFrame(reports)
    pieces = reports["word pieces a text"] * reports["texts"]
    some = texts.sample(min(len(texts), 2000), random_state=0)
    # Of Chinese and Japanese each character counts as a word.
    words = some.str.count(r"[\u3040-\u9fff]|[^\W\u3040-\u9fff]+|[^\w\s]")
    letters = [letter for letter in "".join(some.str[:300]) if letter.isalpha()]
    seen = {
        "texts": len(texts),
        "word pieces a text": pieces.sum() / len(texts),
        "word pieces a word": (pieces.sum() / len(texts) - 2) / max(words.mean(), 1),
        "share of texts cut off": np.average(reports["share of texts cut off"], weights=reports["texts"]),
        "share of word pieces unknown": np.average(reports["share of word pieces unknown"], weights=pieces),
        "share of letters not Latin": float(np.mean([ord(c) > 0x24F for c in letters])) if letters else 0.0,
        "seconds to read all": len(texts) * _seconds_a_text(encoder, some.iloc[:400]),
    }
    return pd.concat(parts), pd.Series(seen)


def _seconds_a_text(encoder: TextEncoder, some: pd.Series) -> float:
    """Time the encoder itself: what it read before is kept, and would take no time."""
    fresh, seconds = TextEncoder(encoder.model, cache_dir=False, progress=False), []
    for texts in (
        some.iloc[:1],
        some.iloc[:1],
        some,
    ):  # each loads the model, the first imports its library too
        start = time.perf_counter()
        fresh.transform(texts)
        seconds.append(time.perf_counter() - start)
    return max(seconds[2] - seconds[1], 1e-4) / max(some.nunique() - 1, 1)


class _AtRandom:
    """Score items at random: what can be done for items of which nothing is known."""

    def __init__(self, item_ids, random_state):
        self.item_ids, self.rng = item_ids, np.random.default_rng(random_state)

    def score(self, user):
        return pd.Series(self.rng.random(len(self.item_ids)), self.item_ids)

    def seen(self, user):
        return []


class _Scored:
    """Scores of some users, computed once and asked for by every group of items."""

    def __init__(self, model, users):
        self.scores, self.seen = {user: model.score(user) for user in users}, model.seen

    def score(self, user):
        return self.scores[user]


def _measure_lists(plan, reads, ease, which, train, test, clock, random_state) -> list[pd.DataFrame]:
    """Return items, model, user_id, NDCG@10, in parts: the list of a group is made of that group's items alone."""
    rng = np.random.default_rng(random_state)
    candidates = pd.Index(rng.permutation(plan.data.items.index.to_numpy()))  # equal scores follow this order
    count = train["item_id"].value_counts().reindex(candidates).fillna(0)
    groups = {NEW: candidates[candidates.isin(test["item_id"])]}
    if which == "known items":
        groups = {ALL: candidates} | {n: candidates[count.between(*ends)] for n, ends in GROUPS.items()}
    test = test[(test["rating"] >= plan.liked) & test["user_id"].isin(train["user_id"].unique())]
    users = rng.permutation(test["user_id"].unique())[: plan.tested]
    test = test[test["user_id"].isin(users)]
    tests = {name: test[test["item_id"].isin(items)] for name, items in groups.items()}
    for name, part in list(tests.items()):
        if min(part["user_id"].nunique(), len(groups[name])) < LEAST:
            del tests[name]
    found = []
    if which == "known items":
        found += _lists_of("popularity", Popularity().fit(train), tests, groups)
    for variant in plan.variants:
        with clock(f"lists, {which}, {variant}"):
            features, reducer = reads.of(variant, train, None)
            if features is None and which == "new items":
                model = _AtRandom(candidates, random_state)
            else:
                start = time.perf_counter()
                model = TokenEASE(features, reducer, **ease).fit(train)
                clock.seconds[f"fit lists, {which}, {variant}"] = time.perf_counter() - start
            found += _lists_of(variant, model, tests, groups)
            del model, features  # before the next one needs the memory
    return found


def _lists_of(name, model, tests, groups) -> list[pd.DataFrame]:
    """Measure one model on every group, some users at a time: their scores are the same for all groups."""
    found = []
    users = pd.unique(np.concatenate([part["user_id"].unique() for part in tests.values()])) if tests else []
    for start in range(0, len(users), 200):
        some = users[start : start + 200]
        scored = _Scored(model, some)
        for group, part in tests.items():
            part = part[part["user_id"].isin(some)]
            if len(part):
                got = evaluate_ranking({name: scored}, part, groups[group], liked=-np.inf)
                found.append(got[["NDCG@10"]].reset_index().assign(items=group))
    return found


def _measure_ratings(plan, reads, svd, which, train, test, clock) -> pd.DataFrame:
    """Return the test ratings with a column of predictions for each model."""
    count = test["item_id"].map(train["item_id"].value_counts()).fillna(0)
    group = pd.Series(NEW, index=test.index)
    for name, (low, high) in GROUPS.items():
        group[count.between(low, high)] = name
    found = test[["user_id", "item_id", "rating"]].assign(which=which, items=group)
    found["global mean"] = train["rating"].mean()
    baseline = SurpriseRecommender(surprise.BaselineOnly(verbose=False)).fit(train)
    found["baseline"] = baseline.predict_ratings(test)
    for variant in plan.variants:
        with clock(f"ratings, {which}, {variant}"):
            start = time.perf_counter()
            model = reads.svd(variant, train, svd).fit(train)
            clock.seconds[f"fit ratings, {which}, {variant}"] = time.perf_counter() - start
            found[variant] = model.predict_ratings(test)
            del model
    return found


def _gains(ndcg, errors, random_state) -> pd.DataFrame:
    """Compare the full text with everything else that was read, group by group; correct for the number of tests."""
    rows = []
    for group in [NEW, *GROUPS, ALL]:
        values = ndcg[ndcg["items"] == group].pivot_table("NDCG@10", "user_id", "model")
        for other in [m for m in (NONE, TITLE, CATEGORIES, TFIDF) if m in values]:
            rows.append(("lists", group, other, *_paired(values[other], values[FULL], random_state)))
        if errors is not None:
            part = errors[errors["which"] == ("new items" if group == NEW else "known items")]
            part = part[(part["items"] == group) | (group == ALL)]
            if part["user_id"].nunique() >= LEAST:
                for other in [m for m in (NONE, TITLE, CATEGORIES, TFIDF) if m in part]:
                    rows.append(("ratings", group, other, *_paired_errors(part, other, random_state)))
    columns = ["question", "items", "rival", "users", "without", "with", "gain", "low", "high", "p"]
    table = pd.DataFrame(rows, columns=columns)
    table["p corrected"] = stats.false_discovery_control(table["p"], method="bh") if len(table) else []
    sure = table["p corrected"] < 1 - CONFIDENCE
    table["verdict"] = np.where(~sure, "unclear", np.where(table["gain"] > 0, "helps", "hurts"))
    return table


def _paired(before: pd.Series, after: pd.Series, random_state) -> tuple:
    difference = after - before
    ends = interval(difference, random_state=random_state)
    return len(after), before.mean(), after.mean(), difference.mean(), *ends, _p(difference)


def _p(difference: pd.Series) -> float:
    """Test whether a mean is 0, by the t-test; see `llmtok.evaluation.compare` for why."""
    return float(stats.ttest_1samp(difference, 0).pvalue) if difference.any() else 1.0


def _paired_errors(part: pd.DataFrame, other: str, random_state) -> tuple:
    """Compare RMSE over all test ratings: users are drawn whole, and what each adds to the difference is tested."""
    squares = pd.DataFrame({name: (part[name] - part["rating"]) ** 2 for name in (other, FULL)}).assign(n=1.0)
    sums = squares.groupby(part["user_id"]).sum()

    def gain(a, b, n, axis=-1):
        return np.sqrt(a.sum(axis) / n.sum(axis)) - np.sqrt(b.sum(axis) / n.sum(axis))

    arrays = [sums[name].to_numpy() for name in (other, FULL, "n")]
    batch = max(1, 2_000_000 // len(sums))  # draws at a time: of many users all would take much memory
    draws = {"n_resamples": 1000, "batch": batch, "rng": np.random.default_rng(random_state)}
    ends = stats.bootstrap(arrays, gain, paired=True, method="percentile", **draws).confidence_interval
    p = _p(sums[other] - sums[FULL])
    before, after = (float(np.sqrt(squares[name].mean())) for name in (other, FULL))
    return len(sums), before, after, before - after, float(ends.low), float(ends.high), p


def _quality(ndcg, errors) -> pd.DataFrame:
    """One row a model, the four numbers that are quoted."""
    columns = {}
    for title, group in (("NDCG@10, all items", ALL), ("NDCG@10, new items", NEW)):
        if len(part := ndcg[ndcg["items"] == group]):
            columns[title] = part.groupby("model")["NDCG@10"].mean()
    if errors is not None:
        models = [c for c in errors if c not in ("user_id", "item_id", "rating", "which", "items")]
        for which, part in errors.groupby("which"):
            columns[f"RMSE, {which}"] = ((part[models].sub(part["rating"], axis=0)) ** 2).mean() ** 0.5
    order = ["global mean", "baseline", "popularity", NONE, TITLE, FULL, CATEGORIES, TFIDF]
    table = pd.DataFrame(columns)
    return table.reindex([name for name in order if name in table.index]).rename_axis("model")
