"""The section `growth` of the benchmark: time and memory of each stage from 10^5 to 10^7 made-up ratings."""

import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import surprise
from measure import apart, cost, resident, say

from llmtok import SurpriseRecommender, TokenSVD, load_csv, make_tokens

SEED = 0
SIZES = [100_000, 300_000, 1_000_000, 3_000_000, 10_000_000]
SURPRISE_UP_TO = 1_000_000
WIDTH, FACTORS = 384, 10  # of the embeddings, and of the model that the ratings come from
MACHINE_GB = 24
STOP_GB = 16  # a stage that asks for more is stopped, and the table says so
PACKAGES = ["scikit-surprise", "numpy", "scipy", "scikit-learn", "numba", "pandas"]


def synthetic(n: int, n_items: int | None = None, seed: int = SEED) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make `n` ratings from a known factor model, with a few items that many rate and many that few do.

    ``r = 3.5 + b_u + b_i + p_u . q_i + noise``, to half stars from 0.5 to 5. A user has 100 ratings on average, some
    many more; the catalogue grows as the root of `n`: 2,000 items at 10^5, 20,000 at 10^7.

    Parameters
    ----------
    n : int
        How many ratings; fewer come back where the catalogue has too few pairs.
    n_items : int, optional
        Size of the catalogue, if it is not to grow.
    seed : int

    Returns
    -------
    ratings : DataFrame
        user_id, item_id, rating.
    embeddings : DataFrame of shape (n_items, 384), float32
        What the item's bias and factors are, among noise.
    """
    rng = np.random.default_rng(seed)
    n_users = max(n // 100, 10)
    n_items = n_items or catalogue(n)
    activity = rng.lognormal(0, 1, n_users)
    popularity = rng.permutation((np.arange(n_items) + 10.0) ** -0.8)
    # Half as many again are drawn, because a pair that comes twice counts once.
    users = rng.choice(n_users, n * 3 // 2, p=activity / activity.sum())
    items = rng.choice(n_items, n * 3 // 2, p=popularity / popularity.sum())
    users, items = np.divmod(rng.permutation(np.unique(users * n_items + items))[:n], n_items)
    b_u, b_i = rng.normal(0, 0.4, n_users), rng.normal(0, 0.5, n_items)
    p, q = rng.normal(size=(n_users, FACTORS)), rng.normal(0, 0.5 / np.sqrt(FACTORS), (n_items, FACTORS))
    exact = (
        3.5
        + b_u[users]
        + b_i[items]
        + np.einsum("nk,nk->n", p[users], q[items])
        + rng.normal(0, 0.8, len(users))
    )
    rating = np.clip(np.round(exact * 2) / 2, 0.5, 5.0)
    embeddings = rng.normal(size=(n_items, WIDTH)).astype("float32")
    embeddings[:, : 1 + FACTORS] += 6 * np.c_[b_i, q]
    ratings = pd.DataFrame({"user_id": users, "item_id": items, "rating": rating})
    return ratings, pd.DataFrame(embeddings, index=pd.RangeIndex(n_items, name="item_id"))


def catalogue(n: int) -> int:
    """Return how many items there are among `n` ratings."""
    return int(2000 * np.sqrt(n / 100_000))


# Each stage has a process of its own, and returns {row of the table: (seconds, GB at the peak, GB without the data)}.


def stage_load(n: int) -> dict:
    """Read the ratings and the catalogue from CSV files, and clean them."""
    empty = resident()
    with tempfile.TemporaryDirectory() as folder:
        ratings, items = Path(folder, "ratings.csv"), Path(folder, "items.csv")
        table, embeddings = synthetic(n)
        table.to_csv(ratings, index=False)
        pd.DataFrame({"title": "Film " + embeddings.index.astype("str")}, embeddings.index).to_csv(items)
        del table, embeddings
        _, seconds, peak, _ = cost(lambda: load_csv(ratings, items))
    return {"load_csv, cleaning included": (seconds, peak, empty)}


def stage_tokens(n: int) -> dict:
    """Make tokens of the items."""
    empty = resident()
    embeddings = np.random.default_rng(SEED).normal(size=(catalogue(n), WIDTH)).astype("float32")
    _, seconds, peak, _ = cost(lambda: make_tokens(50).fit_transform(embeddings))
    return {"make_tokens": (seconds, peak, empty)}


def stage_model(n: int) -> dict:
    """Fit `TokenSVD`, predict a tenth as many ratings, score all items for a user, and fold one in."""
    empty = resident()
    ratings, embeddings = synthetic(1_000)
    TokenSVD(embeddings).fit(ratings)  # compiled now
    ratings, embeddings = synthetic(n)
    model, seconds, peak, _ = cost(lambda: TokenSVD(embeddings).fit(ratings))
    rows = {"TokenSVD.fit": (seconds, peak, empty)}
    pairs = ratings.sample(frac=0.1, random_state=SEED)
    _, seconds, peak, _ = cost(lambda: model.predict_ratings(pairs))
    rows["TokenSVD.predict_ratings, n / 10 of them"] = (seconds, peak, empty)
    user, own = ratings["user_id"].iloc[0], _hundred(model)
    for what, call in (
        ("score of all items", lambda: model.score(user)),
        ("fold_in of 100 ratings", lambda: model.fold_in(own)),
    ):
        rows[f"TokenSVD.{what}"] = (_median(call), peak, empty)
    return rows


def stage_surprise(n: int) -> dict:
    """Fit Surprise's SVD at its default setting, for comparison."""
    empty = resident()
    if n > SURPRISE_UP_TO:
        return {}
    ratings = synthetic(n)[0]
    _, seconds, peak, _ = cost(lambda: SurpriseRecommender(surprise.SVD(random_state=SEED)).fit(ratings))
    return {"Surprise SVD.fit": (seconds, peak, empty)}


def _hundred(model: TokenSVD) -> pd.Series:
    rng = np.random.default_rng(SEED)
    return pd.Series(
        rng.choice([3.0, 4.0, 5.0], 100), model.item_ids[rng.choice(len(model.item_ids), 100, replace=False)]
    )


def _median(call, times: int = 51) -> float:
    """Median processor seconds of a call that takes less than a moment, the first one aside."""
    clock = [time.process_time()]
    for _ in range(1 + times):
        call()
        clock.append(time.process_time())
    return float(np.median(np.diff(clock)[1:]))


def at_once(n: int = 100_000, n_items: int = 10_000) -> dict:
    """Milliseconds that a learner waits: a user's ratings folded in, and all items scored."""
    ratings, embeddings = synthetic(n, n_items)
    model = TokenSVD(embeddings).fit(ratings)
    user, own = ratings["user_id"].iloc[0], _hundred(model)
    return {
        "fold_in of a user with 100 ratings": 1000 * _median(lambda: model.fold_in(own)),
        f"score of {n_items:,} items for a user": 1000 * _median(lambda: model.score(user)),
    }


STAGES = [stage_load, stage_tokens, stage_model, stage_surprise]
INSTEAD = {  # where it no longer fits
    "load_csv": "read in parts, or hand frames to `clean`",
    "make_tokens": "`make_tokens(reducer='random')`, or scikit-learn's IncrementalPCA",
    "TokenSVD": "Spark's ALS, over several machines",
    "Surprise": "TokenSVD",
}


def growth(sizes: list[int] = SIZES, say=say) -> dict:
    """Measure every stage at every size, and return the section for results.json."""
    found, failed = {}, []
    for n in sizes:
        for stage in STAGES:
            try:
                rows = apart(stage, n, limit_gb=STOP_GB)
            except MemoryError as error:
                failed.append(
                    f"{stage.__name__.removeprefix('stage_')} at {n:,} ratings: no memory ({error})"
                )
                say(failed[-1])
                continue
            for name, measured in rows.items():
                found.setdefault(name, {})[n] = measured
                say(f"{n:>10,} {name:<45} {measured[0]:10.4f} s {measured[1]:6.2f} GB")
    seconds, memory = [], []
    for name, measured in found.items():
        ns = list(measured)
        times, peaks, empty = (np.array(column) for column in zip(*measured.values(), strict=True))
        of_time, at = _line(ns, times), [measured.get(n, (None, None)) for n in sizes]
        seconds.append([name, *(s for s, *_ in at), of_time and of_time[0]])
        if "score" not in name and "fold_in" not in name:
            # The line to 24 GB is that of the three largest sizes: at the small ones something else fills the memory.
            of_memory, on = _line(ns, peaks - empty), _line(ns[-3:], (peaks - empty)[-3:])
            most = (
                10 ** ((np.log10(MACHINE_GB - empty[-1]) - on[1]) / on[0]) if on and on[0] > 0.1 else np.inf
            )
            most = float(most) if most < 1e10 else None  # further than that no line carries
            instead = next(said for method, said in INSTEAD.items() if name.startswith(method))
            memory.append([name, *(g for _, g, *_ in at), of_memory and of_memory[0], most, instead])
    columns = [[f"{n:,}", ".3g"] for n in sizes]
    waits = apart(at_once)
    say("\n".join(f"{what}: {ms:.3f} ms" for what, ms in waits.items()))
    return {
        "seeds": f"{SEED} for the ratings and every model",
        "note": "Ratings are made from a known factor model with a long tail; users grow with the ratings, items with "
        "their root. Each stage has a process of its own, on one thread, and is stopped where it asks for more than "
        f"{STOP_GB} GB. The slope is that of log time (or of log memory, less what the imports take) against log size: "
        f"1 is linear. {'; '.join(failed) or 'No stage was stopped'}. How many ratings fit is read off the line "
        "through the three largest sizes; a dash says more than 10^10.",
        "tables": [
            {
                "title": "Processor seconds, by number of ratings",
                "columns": [["stage", "s"], *columns, ["slope", ".2f"]],
                "rows": seconds,
            },
            {
                "title": f"GB at the peak, and how many ratings fit into {MACHINE_GB} GB",
                "columns": [
                    ["stage", "s"],
                    *columns,
                    ["slope", ".2f"],
                    ["fits up to", ".1e"],
                    ["there, use", "s"],
                ],
                "rows": memory,
            },
            {
                "title": "What a learner waits for",
                "columns": [["what", "s"], ["milliseconds", ".2f"], ["goal", "s"]],
                "rows": [[what, ms, "less than 1"] for what, ms in waits.items()],
            },
        ],
    }


def _line(sizes, values) -> tuple[float, float] | None:
    """Slope and start of log value against log size; None where there is one size only."""
    if len(sizes) < 2:
        return None
    slope, start = np.polyfit(np.log10(sizes), np.log10(np.maximum(values, 1e-6)), 1)
    return float(slope), float(start)
