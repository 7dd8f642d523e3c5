"""The report on data that do not fit into memory: what ``llmtok report --engine spark`` makes."""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from html import escape
from itertools import pairwise
from pathlib import Path
from string import Template

import numpy as np
import pandas as pd
from scipy import stats

from llmtok import spark as scale
from llmtok.data import FILM_TEXT, InputError, _template, make_text
from llmtok.encode import DEFAULT_MODEL, TextEncoder

FROM = (0, 1, 5, 20, 100)  # items are put in groups by their ratings in the training set, from so many on
N_PEOPLE = 1000  # get a list each
CONFIDENCE = 0.99  # of an interval: with six of them, about one in twenty such reports has a false alarm
FORMATS = (".parquet", ".csv", ".csv.gz")
PAGE = Template("""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; display: block; overflow-x: auto }
th, td { border-bottom: 1px solid #bbb; padding: .3rem .7rem; text-align: right }
th:first-child { text-align: left }
</style>
<h1>$title</h1>
$answer
<h2>By how many ratings an item has</h2>
$groups
<p>The error is the root mean squared error of predicted ratings, in units of a rating; <em>gain</em> is by how much
text tokens lower it, with its 99 % interval. One and the same model was fitted with tokens and without.</p>
<h2>Everything measured</h2>
$measured
<p>A fifth of the ratings, chosen by a hash of user and item, was tested; NDCG (normalised discounted cumulative gain)
and recall are those of lists for up to $people people. What <code>llmtok report</code> measures beyond this needs data
that fit into memory: cheaper features as rivals, new items left out on purpose, pictures.</p>
<h2>Settings</h2>
$settings
</html>
""")


def report(
    out: str | Path, *, ratings: str | Path, items: str | Path, columns: dict[str, str] | None = None,
    text: str | Sequence[str] | None = None, encoder: str = DEFAULT_MODEL, n_tokens: int = 50, liked: float = 4.0,
    quick: bool = False, seed: int = 0, say: Callable[[str], object] = print,
) -> dict[str, object]:  # fmt: skip
    """Say of data that need not fit into memory whether text tokens help, for which items, and by how much.

    Parameters
    ----------
    out : path
        A folder that is not there yet. Of the result: ``report.html``, ``metrics.json``, and as Parquet the
        embeddings, the tokens and the model. What was begun and failed is removed.
    ratings, items : path
        Parquet, or CSV with a first line of names: user_id, item_id, rating; and item_id with what `text` names.
    columns : dict of str to str, optional
        What these columns are called in the files: ``{"rating": "stars"}``.
    text : str or list of str, optional
        As for `load_csv`; by default title, year and genres.
    quick : bool
        Two rounds and no audience: a quick look.
    encoder, n_tokens, liked, seed, say
        As for `llmtok.report`.

    Returns
    -------
    dict
        What ``metrics.json`` holds.

    Raises
    ------
    InputError
        Spark cannot run here, `out` is there, or a file cannot be used.
    """
    from pyspark.sql import SparkSession
    from pyspark.sql import functions as F

    out = Path(out).absolute()
    if out.exists():
        raise InputError(f"{out}: is there already; name another folder, or remove it")
    if seed < 0:
        raise InputError(f"seed={seed}: it is 0 or more")
    encoder = (
        str(Path(encoder).resolve()) if Path(encoder).is_dir() else str(encoder)
    )  # executors work elsewhere
    width = TextEncoder(encoder, cache_dir=False, progress=False).transform(["a"]).shape[1]
    spark = SparkSession.getActiveSession() or scale.session()
    cores = spark.sparkContext.defaultParallelism
    with _quiet():
        catalogue, log = _tables(spark, items, ratings, columns or {}, text)

    begun = out.with_name(f"{out.name}.begun-{os.getpid()}")
    try:
        with _quiet():
            log.write.parquet(f"{begun}/ratings")
            log = spark.read.parquet(f"{begun}/ratings")
            tested = F.pmod(F.hash("user_id", "item_id", F.lit(seed)), F.lit(5)) == 0
            train, test = log.where(~tested), log.where(tested)
            n_ratings, n_items = log.count(), catalogue.count()
            _check(catalogue, train, test, n_tokens, width, liked)
            say("[1/5] encode")
            vectors = scale.encode(catalogue, encoder, parts=max(2 * cores, n_items // 10_000))
            vectors.write.parquet(f"{begun}/embeddings")
            embeddings = spark.read.parquet(f"{begun}/embeddings")
            say("[2/5] tokens")
            known = embeddings.join(train.select("item_id").distinct(), "item_id")
            scale.tokens(scale.fit_tokens(known, n_tokens), embeddings).write.parquet(f"{begun}/tokens")
            tokens = spark.read.parquet(f"{begun}/tokens")
            options = {"n_epochs": 2, "n_audience": 0} if quick else {}
            options |= {"random_state": seed, "parts": max(2 * cores, n_ratings // 1_000_000)}
            say("[3/5] fit with tokens")
            place = scale.fit(train, tokens, f"{begun}/model", **options)
            say("[4/5] fit without")
            # A token that is the same for every item says nothing.
            nothing = tokens.select("item_id", F.array(F.lit(0.0)).alias("token"))
            without = scale.fit(train, nothing, f"{begun}/without", **options)
            say("[5/5] evaluate")
            groups = _compare(scale.predict(place, test), scale.predict(without, test), train)
            people = test.where(F.col("rating") >= liked).select("user_id").distinct()
            people = people.orderBy(F.hash("user_id"), "user_id").limit(N_PEOPLE)
            seen = train.join(people, "user_id").select("user_id", "item_id")
            asked = test.join(people, "user_id")
            mean = F.lit(train.agg(F.avg("rating")).first()[0])
            measured = {
                "ratings": n_ratings,
                "items": n_items,
                "error, global mean": scale.rmse(test.withColumn("prediction", mean)),
                "error, without text": float(groups.loc["all", "error without"]),
                "error, with tokens": float(groups.loc["all", "error with"]),
            }
            for name, model in (("without text", without), ("with tokens", place)):
                found = scale.ranking(scale.top(model, seen), asked, liked=liked)
                measured |= {f"{metric}, {name}": value for metric, value in found.items()}
        settings = {
            "engine": "spark", "ratings": str(ratings), "items": str(items), "columns": columns or {},
            "text": _template(text or FILM_TEXT), "encoder": encoder, "n_tokens": n_tokens, "liked": liked,
            "quick": quick, "seed": seed,
        }  # fmt: skip
        answer = conclude(groups)
        if quick:
            answer[0] += " (A quick look, not a verdict: two rounds, and no audience.)"
        made = {"answer": answer, "measured": measured, "groups": groups.reset_index().to_dict("records")}
        made["settings"] = settings
        (begun / "metrics.json").write_text(json.dumps(made, indent=1), encoding="utf-8")
        (begun / "report.html").write_text(_page(out.name, made, groups), encoding="utf-8")
        for name in ("ratings", "without", "model/parts"):
            shutil.rmtree(begun / name)
    except BaseException:
        shutil.rmtree(begun, ignore_errors=True)
        raise
    try:
        begun.rename(out)
    except OSError as error:
        raise InputError(
            f"{out}: cannot be written ({error.strerror}); the report lies in {begun}"
        ) from error
    return made


@contextmanager
def _quiet():
    """Keep back that pyspark warns of pandas 3 at each turn; what is used of it here is tested with it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="pyspark")
        yield


def _tables(spark, items, ratings, columns, text):
    """Read and clean: item_id, text, each item once; user_id, item_id, rating, each pair once."""
    from pyspark.sql import functions as F

    catalogue, log = _read(spark, items, multiLine=True), _read(spark, ratings)  # a text may have line breaks
    known = {*catalogue.columns, *log.columns}
    if absent := [theirs for theirs in columns.values() if theirs not in known]:
        raise InputError(f"{ratings}, {items}: neither has a column {', '.join(absent)}")
    catalogue = _named(catalogue, items, ["item_id"], columns)
    log = _named(log, ratings, ["user_id", "item_id", "rating"], columns).select(
        "user_id", "item_id", "rating"
    )
    template = _template(text or FILM_TEXT)
    try:
        make_text(pd.DataFrame(columns=catalogue.columns, dtype=object), template)
    except InputError as error:
        raise InputError(f"{items}: {error}{'' if text else '; name others by --text'}") from None

    def write(frames):
        for rows in frames:
            yield scale._plain(rows[["item_id"]].assign(text=make_text(rows, template)))

    if dict(catalogue.dtypes)["item_id"] != dict(log.dtypes)["item_id"]:
        catalogue, log = (f.withColumn("item_id", F.col("item_id").cast("string")) for f in (catalogue, log))
    used = [name for name in catalogue.columns if "{" + name + "}" in template and name != "item_id"]
    kind = dict(catalogue.dtypes)["item_id"]
    catalogue = catalogue.dropna(subset=["item_id"]).select("item_id", *(F.col(f"`{name}`") for name in used))
    catalogue = catalogue.mapInPandas(write, f"item_id {kind}, text string")
    log = log.withColumn("rating", F.col("rating").cast("string").try_cast("double")).dropna()
    log = log.where(F.abs("rating") < float("inf"))
    # Of what is there twice the same is kept each time: Spark may read the files more than once.
    return (
        catalogue.groupBy("item_id").agg(F.max("text").alias("text")),
        log.groupBy("user_id", "item_id").agg(F.avg("rating").alias("rating")),
    )


def _check(catalogue, train, test, n_tokens, width, liked):
    """Refuse before the long work what would fail after it."""
    from pyspark.sql import functions as F

    rated = catalogue.join(train.select("item_id").distinct(), "item_id", "left_semi").count()
    if rated < 2 or test.isEmpty():
        raise InputError(
            f"too little to measure on: {rated} items of the catalogue have a rating that is a number "
            "(are the ids alike in both files?)"
        )
    if not 1 <= n_tokens <= min(width, rated):
        raise InputError(
            f"n_tokens={n_tokens}: with {rated} rated items and this encoder, 1 to {min(width, rated)}"
        )
    low, high = train.agg(F.min("rating"), F.max("rating")).first()
    if low == high:
        raise InputError(f"every rating is {low:g}: there is nothing to predict")
    if test.where(F.col("rating") >= liked).isEmpty():
        raise InputError(
            f"liked={liked:g}: no rating of the test set is as high; they go from {low:g} to {high:g}"
        )


def _read(spark, path, **options):
    """Read a file; of a CSV file all is text."""
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import AnalysisException

    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if path.is_file() and not path.name.endswith(FORMATS):
        raise InputError(f"{path}: Spark reads {', '.join(FORMATS)}, or a folder of Parquet files")
    try:
        if path.name.endswith((".csv", ".csv.gz")):
            return spark.read.csv(str(path), header=True, escape='"', **options)
        return spark.read.parquet(str(path))
    except (AnalysisException, Py4JJavaError) as error:
        said = re.search(r"\[[A-Z_.]+\] (.*)", str(error))
        raise InputError(f"{path}: Spark cannot read it: {said[1] if said else str(error):.300}") from error


def _named(frame, path, needed, columns):
    """Give columns the names that the report uses, and write ids that are numbers without a point."""
    from pyspark.sql import functions as F

    renamed = {theirs: ours for ours, theirs in columns.items() if theirs in frame.columns and theirs != ours}
    frame = frame.drop(*renamed.values()).withColumnsRenamed(renamed)
    if absent := [name for name in needed if name not in frame.columns]:
        raise InputError(f"{path}: no column {', '.join(absent)} among {', '.join(frame.columns)}")
    for name in {"user_id", "item_id"} & set(needed):
        if dict(frame.dtypes)[name] in ("double", "float"):
            frame = frame.withColumn(name, F.col(name).try_cast("bigint"))
        elif dict(frame.dtypes)[name] == "string":
            frame = frame.withColumn(name, F.regexp_replace(name, r"^(-?[0-9]+)\.0$", "$1"))
    return frame


def _compare(with_text, without, train) -> pd.DataFrame:
    """Set the squared errors of the same ratings beside each other, by how many training ratings the item has.

    Ratings of one user are alike, and so are those of one item; the interval allows for both (Cameron, Gelbach and
    Miller 2011: the variance between users, and that between items, less that between pairs, which is in both).
    """
    from pyspark.sql import functions as F

    plain = without.select("user_id", "item_id", F.col("prediction").alias("plain"))
    counts = train.groupBy("item_id").agg(F.count("*").alias("count"))
    both = with_text.join(plain, ["user_id", "item_id"]).join(counts, "item_id", "left").fillna(0, ["count"])
    group = F.lit(0)
    for number, start in enumerate(FROM):
        group = F.when(F.col("count") >= start, number).otherwise(group)
    squares = [
        F.pow(F.col(name) - F.col("rating"), 2).alias(kind)
        for name, kind in (("prediction", "own"), ("plain", "other"))
    ]
    both = both.select(
        "user_id", "item_id", F.explode(F.array(group, F.lit(len(FROM)))).alias("group"), *squares
    ).cache()
    sums, gain = [], F.col("other") - F.col("own")
    for keys in (["user_id"], ["item_id"], ["user_id", "item_id"]):
        each = both.groupBy("group", *keys).agg(
            F.count("*").cast("double").alias("n"), F.sum("own").alias("own"), F.sum("other").alias("other")
        )
        sums.append(each.groupBy("group").agg(
            *(F.sum(name).alias(name) for name in ("n", "own", "other")), F.sum(gain * gain).alias("gg"),
            F.sum(gain * F.col("n")).alias("gn"), F.sum(F.col("n") ** 2).alias("nn"), F.count("*").alias("drawn"),
        ).toPandas().set_index("group").sort_index())  # fmt: skip
    both.unpersist()
    one = sums[0]
    gain = (one["other"] - one["own"]) / one["n"]  # of the mean squared error
    by_user, by_item, by_pair = (
        (s["gg"] - 2 * gain * s["gn"] + gain**2 * s["nn"]).clip(0)
        * s["drawn"]
        / (s["drawn"] - 1).clip(1)
        / s["n"] ** 2
        for s in sums
    )
    spread = np.sqrt(np.maximum(by_user + by_item - by_pair, np.maximum(by_user, by_item)))
    drawn = np.minimum(sums[0]["drawn"], sums[1]["drawn"])
    few = drawn < 10  # of so few nothing can be told
    reach = stats.t.ppf((1 + CONFIDENCE) / 2, (drawn - 1).clip(1)) * spread
    own, other = (np.sqrt(one[name] / one["n"]) for name in ("own", "other"))
    ends = [(gain + sign * reach) / (own + other) for sign in (-1, 1)]
    said = np.select([few, ends[0] > 0, ends[1] < 0], ["too few", "helps", "hurts"], "not shown")
    names = [f"{a} to {b - 1}" if b > a + 1 else f"{a}" for a, b in pairwise(FROM)]
    names = np.array([*names, f"{FROM[-1]} or more", "all"])
    made = {
        "ratings of the item": names[one.index],
        "tested": one["n"].astype(int),
        "error without": other,
        "error with": own,
    }
    made |= {"gain": other - own, "from": ends[0], "to": ends[1], "text": said}
    return pd.DataFrame(made).set_index("ratings of the item")


def conclude(groups: pd.DataFrame) -> list[str]:
    """Put the groups into sentences; the first one answers."""
    parts = groups.drop("all")
    lines = [
        f"Items with {name} ratings: the error is {row['error with']:.3f} with text tokens and "
        f"{row['error without']:.3f} without (gain {row['gain']:.3f}, {row['from']:.3f} to {row['to']:.3f})."
        for name, row in parts.iterrows()
        if row["text"] in ("helps", "hurts")
    ]
    helped, hurt = (list(parts.index[parts["text"] == said]) for said in ("helps", "hurts"))
    if helped:
        answer = f"Text tokens help for items with {', '.join(helped)} ratings."
    elif groups.loc["all", "text"] == "helps":
        answer = "Text tokens help over all items together; of no group alone can it be shown."
    else:
        answer = "It cannot be shown that text tokens help this recommender, whatever the item."
    harm = f" They make it worse for items with {', '.join(hurt)} ratings." if hurt else ""
    row = groups.loc["all"]
    verdict = {"helps": "lower", "hurts": "higher"}.get(row["text"], "not shown to be lower or higher")
    errors = f"{row['error with']:.3f} with text tokens, {row['error without']:.3f} without"
    lines.append(f"Over all ratings the error is {verdict}: {errors}.")
    lines.append(
        "Not measured here: whether categories or counted words would do as well. "
        "On a part of the data that fits into memory, llmtok report says so."
    )
    return [answer + harm, *lines]


def _page(name, made, groups):
    table = groups.assign(
        interval=[f"{a:.3f} to {b:.3f}" for a, b in zip(groups["from"], groups["to"], strict=True)]
    )
    table = table[["tested", "error without", "error with", "gain", "interval", "text"]].rename_axis(None)
    lists = {
        what: pd.Series(made[what], dtype=object, name="").to_frame() for what in ("measured", "settings")
    }
    first, *others = map(escape, made["answer"])
    return PAGE.substitute(
        title=escape(f"Do text tokens help? {name}"),
        answer="\n".join([f"<p><strong>{first}</strong></p>", *(f"<p>{line}</p>" for line in others)]),
        groups=table.to_html(float_format="{:.3f}".format, border=0),
        measured=lists["measured"].to_html(float_format="{:.4f}".format, border=0, header=False),
        settings=lists["settings"].to_html(border=0, header=False),
        people=N_PEOPLE,
    )
