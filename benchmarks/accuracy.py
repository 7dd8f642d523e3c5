"""The section `accuracy` of the benchmark: everybody on the same folds, each in a process of its own."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import ml100k
import numpy as np
import pandas as pd
import surprise
from features import film_features
from measure import apart, cost, say
from peers import GlobalMean, MyFM, import_myfm

from llmtok import Dataset, InputError, TextEncoder, TokenSVD, load_dataset
from llmtok.data import cache_folder
from llmtok.evaluation import as_recommender, compare, split

HERE = Path(__file__).parent
SEED = 0
BASELINE = "SVD, tuned"
OURS = "TokenSVD, text + film, tuned"
DATA = {  # how to load it, how to cut it, and what the table calls it
    "movielens-small": (load_dataset, split, "movielens-small, five random folds"),
    "movielens-100k": (lambda _: ml100k.load(), ml100k.official_folds, "ML-100K, its official u1 to u5"),
}
PACKAGES = [
    "scikit-surprise",
    "myfm",
    "numpy",
    "scipy",
    "scikit-learn",
    "numba",
    "pandas",
    "torch",
    "transformers",
]


def models(data: Dataset) -> dict[str, tuple[object, bool]]:
    """Return the models by the name in the table; with each, whether its error on hidden films is measured too."""
    found = json.loads((HERE / "tuned.json").read_text(encoding="utf-8"))
    tuned = {name: found[name]["setting"] for name in ("SVD", "KNNBaseline", "myFM", "TokenSVD")}
    knn = tuned["KNNBaseline"]
    alike = {**knn["similarity"], "user_based": knn["user_based"]}
    texts = {"full": data.items["text"], "title": data.with_text("{title}").items["text"]}
    full, title = (TextEncoder(progress=False).fit_transform(texts[name]) for name in ("full", "title"))
    noise = pd.DataFrame(np.random.default_rng(SEED).normal(size=full.shape), index=full.index)
    film = film_features(data.items)
    decade = {"decade": film["decade"]}
    return {
        "global mean": (GlobalMean(), True),
        "BaselineOnly": (surprise.BaselineOnly(verbose=False), True),
        "KNNBaseline, tuned": (surprise.KNNBaseline(knn["k"], sim_options=alike, verbose=False), False),
        "SVD": (surprise.SVD(random_state=SEED), False),
        "SVD, tuned": (surprise.SVD(random_state=SEED, **tuned["SVD"]), False),
        "SVD++": (surprise.SVDpp(random_state=SEED, cache_ratings=True), False),
        "myFM": (MyFM(), False),
        "myFM + film": (MyFM(side=film), True),
        "myFM + text": (MyFM(embeddings=full), True),
        "myFM + text + film": (MyFM(embeddings=full, side=film), True),
        "myFM + film + implicit": (MyFM(side=film, implicit=True), True),
        "myFM + film + implicit, ordered": (MyFM(side=film, implicit=True, ordered=True), True),
        "myFM + film, tuned": (MyFM(side=film, **tuned["myFM"]), True),
        "TokenSVD, random vectors": (TokenSVD(noise), True),
        "TokenSVD, title": (TokenSVD(title), True),
        "TokenSVD, text": (TokenSVD(full), True),
        "TokenSVD, film": (TokenSVD(film["genre"], "passthrough", side=decade), True),
        "TokenSVD, text + film": (TokenSVD(full, side=film), True),
        OURS: (TokenSVD(full, side=film, **tuned["TokenSVD"]), True),
        "TokenSVD, text, no audience": (TokenSVD(full, n_audience=0), True),
    }


def measure_model(data_name: str, name: str) -> dict:
    """Fit and predict on every fold; runs in a process of its own. Memory is that of the first fit."""
    load, cut, _ = DATA[data_name]
    data = load(data_name)
    model, cold = models(data)[name]
    model = as_recommender(model)
    few = data.ratings.sample(min(2000, len(data.ratings)), random_state=SEED)
    model.fit(few).predict_ratings(few.head(100))  # what is compiled or loaded is so now
    found = {"fit seconds": [], "predict seconds": [], "RMSE": [], "hidden RMSE": []}
    errors = []
    for kind, folds in (
        ("RMSE", cut(data.ratings)),
        ("hidden RMSE", split(data.ratings, by="item_id") if cold else []),
    ):
        for train, test in folds:
            _, fit_seconds, peak, before = cost(lambda: model.fit(train))  # noqa: B023
            predicted, predict_seconds, _, _ = cost(lambda: model.predict_ratings(test))  # noqa: B023
            error = (test["rating"] - predicted) ** 2
            found[kind].append(float(np.sqrt(error.mean())))
            if kind == "RMSE":
                found.setdefault("GB", peak - before)
                found["fit seconds"].append(fit_seconds)
                found["predict seconds"].append(predict_seconds)
                errors.append(pd.DataFrame({"user": test["user_id"], "error": error}))
    by_user = np.sqrt(pd.concat(errors).groupby("user")["error"].mean())
    return found | {"by user": {str(user): value for user, value in by_user.items()}}


def accuracy(only: list[str], say=say) -> dict:
    """Measure every model on every data set, and return the section for results.json.

    Parameters
    ----------
    only : list of str
        Measure the models whose names contain one of these again, and take the others from the last run, whose
        findings lie in the cache. Empty: all.
    """
    tables = []
    for data_name, (load, _, title) in DATA.items():
        try:
            data = load(data_name)
        except InputError as error:
            say(f"{data_name} is left out: {error}")
            continue
        found = dict(_measured(data_name, list(models(data)), only, say))
        tables.append({"title": title, **table(found)})
        if any(name.startswith("myFM") for name in found):
            tables.append({"title": f"{OURS} less myFM, by user: {title}", **against_myfm(found)})
    return {"seeds": f"{SEED} for every model, and for the random folds", "tables": tables, **NOTES}


def _measured(data_name: str, names: list[str], only: list[str], say) -> Iterator[tuple[str, dict]]:
    folder = cache_folder() / "benchmarks" / data_name
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = folder / f"{name}.json"
        if not path.exists() or not only or any(word in name for word in only):
            if name.startswith("myFM") and not _have_myfm(say):
                continue
            path.write_text(json.dumps(apart(measure_model, data_name, name)))
        kept = json.loads(path.read_text())
        hidden, gb = _mean(kept["hidden RMSE"]) or float("nan"), kept["GB"]
        seconds = " and ".join(f"{np.median(kept[f'{what} seconds']):.2f}" for what in ("fit", "predict"))
        rmse = f"RMSE {_mean(kept['RMSE']):.4f}, of hidden films {hidden:.4f}"
        say(f"{data_name} | {name} | {rmse} | {seconds} s | {gb:.2f} GB")
        yield name, kept


@cache
def _have_myfm(say) -> bool:
    try:
        import_myfm()
    except InputError as error:
        say(str(error))
        return False
    return True


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


COLUMNS = [  # the name, and how a number is written
    ["model", "s"],
    ["RMSE", ".4f"],
    ["by user, less tuned SVD's", "+.4f"],
    ["from", "+.4f"],
    ["to", "+.4f"],
    ["p", ".2g"],
    ["RMSE, hidden films", ".3f"],
    ["fit s", ".2f"],
    ["predict s", ".2f"],
    ["fit GB", ".2f"],
]
NOTES = {
    "note": "RMSE is the mean over the five folds. Then the RMSE of each user over all test ratings, its mean less "
    "that of the tuned SVD: the difference, its bootstrap interval over users, and the p of the paired t-test, "
    "corrected for all rows of the table (Benjamini and Hochberg). *Hidden films*: the same model with the same "
    "settings, where a fifth of the films is hidden whole. Seconds are processor seconds on one thread, the median "
    "over folds; memory is what the first fit needs at its peak above what the process had before it. *Film* is genre "
    "and decade, *text* 50 tokens of title, year and genres, *implicit* who rated what. What is *tuned* is so on "
    "movielens-small's training data, by `benchmarks/tune.py`, 12 settings for everybody, on five inner folds, and "
    "for myFM, which is slow, on two of them.",
    "picture": ["accuracy.png", "Error against the time of a fit, one point a model"],
}


def table(found: dict[str, dict]) -> dict:
    """Return columns and rows of one data set's table, from what was found of each model."""
    by_user = pd.DataFrame({name: kept["by user"] for name, kept in found.items()})
    against = compare(by_user, BASELINE)[["difference", "low", "high", "p corrected"]]
    rows = []
    for name, kept in found.items():
        difference = [float(x) for x in against.loc[name]] if name != BASELINE else [None] * 4
        seconds = [float(np.median(kept[f"{what} seconds"])) for what in ("fit", "predict")]
        rows.append(
            [name, _mean(kept["RMSE"]), *difference, _mean(kept["hidden RMSE"]), *seconds, kept["GB"]]
        )
    return {"columns": COLUMNS, "rows": rows}


def against_myfm(found: dict[str, dict]) -> dict:
    """Return columns and rows of our best less each of myFM's, paired by user."""
    by_user = pd.DataFrame({name: kept["by user"] for name, kept in found.items()})
    rivals = [name for name in found if name.startswith("myFM")]
    against = -compare(by_user[[OURS, *rivals]], OURS)[["difference", "high", "low"]].astype(float)
    p = compare(by_user[[OURS, *rivals]], OURS)["p corrected"]
    rows = [[name, *(float(x) for x in against.loc[name]), float(p[name])] for name in rivals]
    return {
        "columns": [["less", "s"], *([what, "+.4f"] for what in ("difference", "from", "to")), ["p", ".2g"]],
        "rows": rows,
    }


def chart(section: dict, path: Path):
    """Draw error against the time of a fit, one point a model, and write it as PNG; return the figure."""
    from llmtok.plots import COLOURS, figure

    tables = [shown for shown in section["tables"] if shown["columns"] == COLUMNS]
    fig, axes = figure(len(tables), 1, figsize=(8.5, 5.2 * len(tables)), squeeze=False)
    families = {"myFM": (COLOURS[3], "^"), "TokenSVD": (COLOURS[0], "o"), "": (COLOURS[7], "s")}
    for ax, shown in zip(axes[:, 0], tables, strict=True):
        frame = pd.DataFrame(shown["rows"], columns=[name for name, _ in shown["columns"]])
        frame = frame[frame["model"] != "global mean"].sort_values("RMSE")  # it is far above the others
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter("{x:g}")
        low, high = frame["RMSE"].min(), frame["RMSE"].max()
        # Labels in a column of their own, evenly spaced in the order of the points: none can cover another.
        heights = np.linspace(low, high, len(frame))
        for (_, point), height in zip(frame.iterrows(), heights, strict=True):
            colour, marker = next(
                look for family, look in families.items() if point["model"].startswith(family)
            )
            ax.plot(point["fit s"], point["RMSE"], marker, color=colour, markersize=7, zorder=3)
            ax.annotate(
                f"{point['RMSE']:.3f}  {point['model']}",
                (point["fit s"], point["RMSE"]),
                (1.04, height),
                textcoords=ax.get_yaxis_transform(),
                va="center",
                fontsize=9,
                color=colour,
                arrowprops={"arrowstyle": "-", "color": "#999999", "linewidth": 0.6, "relpos": (0, 0.5)},
            )
        ax.set_title(shown["title"], loc="left", fontsize=11, fontweight="bold")
        ax.set_xlabel("processor seconds of a fit (log)")
        ax.set_ylabel("RMSE, lower is better")
    fig.savefig(path, dpi=110, metadata={"Software": None})
    return fig
