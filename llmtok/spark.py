"""The same pipeline on Apache Spark, for what one machine cannot hold: Parquet in, Parquet out.

What Spark does is to bring together what belongs together; what is computed there are the functions of `encode.py`
and `recommend.py`. What comes to the driver does not grow with the data: it is as large as the square of an item's
features, and the ids of the few users and items with very many ratings. It needs the extra ``llmtok[spark]`` and
Java 17.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from llmtok.data import InputError
from llmtok.encode import DEFAULT_MODEL, TextEncoder
from llmtok.recommend import (
    HISTORY_PRIOR,
    TRUST_ROUNDS,
    TokenSVD,
    _compress,
    _Regression,
    _solve,
    _sum_ratings,
    _trust,
)

ROWS = "block int, id {}, features array<double>, weight double, mean array<double>, cov array<double>, "
ROWS += "trust double, stats array<double>"
# Java starts fast rather than runs fast: a lesson has many small jobs. What it has compiled is to have room.
QUICK = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -Xss4m"
_OVERSAMPLED, _ITERATIONS = 10, 4  # of the audience's singular vectors


def missing() -> str | None:
    """Say in one line what Spark lacks here, or None."""
    if find_spec("pyspark") is None:
        return "pyspark is not installed: pip install 'llmtok[spark]'"
    home = os.environ.get("JAVA_HOME")
    java = shutil.which(str(Path(home, "bin", "java")) if home else "java")
    said = subprocess.run([java, "-version"], capture_output=True, text=True).stderr if java else ""
    version = re.search(r'version "(?:1\.)?(\d+)', said)
    if version is None:
        return "there is no Java: install a JDK or JRE, version 17 (OpenJDK is free), or set JAVA_HOME"
    if int(version[1]) < 17:
        return f"Java {version[1]} is too old: install version 17 (OpenJDK is free), or set JAVA_HOME to it"
    return None


def session(executors: int = 2, *, memory: int = 1024, name: str = "llmtok", **config):
    """Start Spark on this machine, with executors that are processes of their own, as on a cluster.

    On a cluster you have a session already; all else here takes it from the frames that it is given.

    Parameters
    ----------
    executors : int
        How many, of one core each. 0 computes inside the driver, which starts faster.
    memory : int
        Megabytes of an executor's Java part. Its Python process comes on top.
    name : str
        Of the application.
    **config
        Further settings of Spark, with ``__`` for a dot: ``spark__ui__enabled="true"``. For a job of hours,
        ``spark__executor__extraJavaOptions=""`` and ``spark__sql__codegen__wholeStage="true"``.

    Raises
    ------
    InputError
        pyspark or Java is missing, or another session runs in this process.
    """
    if why := missing():
        raise InputError(why)
    from pyspark.sql import SparkSession

    master = f"local-cluster[{executors},1,{memory}]" if executors else "local[2]"
    if active := SparkSession.getActiveSession():  # Spark would give us that one, whatever we ask for
        if active.sparkContext.master == master:
            return active
        raise InputError(
            f"a session with {active.sparkContext.master} runs already: stop it first, by its stop()"
        )
    folder = Path(tempfile.mkdtemp(prefix="llmtok-spark-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["SPARK_WORKER_DIR"] = str(folder / "executors")  # else it writes beside pyspark's own files
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    settings = {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.executorEnv.PYTHONPATH": str(Path(__file__).resolve().parent.parent),
        "spark.driver.extraJavaOptions": QUICK,
        "spark.executor.extraJavaOptions": QUICK,
        "spark.sql.codegen.wholeStage": "false",  # as QUICK
        "spark.log.level": "ERROR",
        "spark.python.daemon.module": "llmtok.spark",  # see the end of this file
        "spark.sql.adaptive.enabled": "false",  # our parts are of equal size already
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.sql.shuffle.partitions": str(2 * max(executors, 1)),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    } | {key.replace("__", "."): str(value) for key, value in config.items()}
    builder = SparkSession.builder.master(master).appName(name)
    if executors:
        builder = builder.config("spark.executor.memory", f"{memory}m")
    # What Java says on the way goes into a file; what fails is raised here all the same.
    before = os.dup(2)
    try:
        with open(folder / "java.log", "wb") as log:
            os.dup2(log.fileno(), 2)
        made = builder.config(map=settings).getOrCreate()
        made.sparkContext.setCheckpointDir(str(folder / "checkpoints"))  # for `als`
        return made
    except Exception as error:
        said = (folder / "java.log").read_text(errors="replace").strip().splitlines()[-1:]
        raise InputError(f"Spark does not start: {' '.join([*said, str(error)]):.300}") from error
    finally:
        os.dup2(before, 2)
        os.close(before)


# --- Texts, embeddings, tokens ------------------------------------------------------------------------------


def encode(items, model: str = DEFAULT_MODEL, *, parts: int | None = None, batch_size: int = 1024, **options):
    """Encode texts: `TextEncoder` in every Python process of the executors, where the model is loaded once.

    Parameters
    ----------
    items : DataFrame of Spark
        item_id, text.
    model : str or path
        As for `TextEncoder`; a path that every executor can read.
    parts : int, optional
        How many tasks; by default twice the cores. Of very many texts give more, so that a lost task costs little.
    batch_size : int
        Texts handed over at once. They come sorted by length, and `TextEncoder` makes batches of equal length of them.
    **options
        Further arguments of `TextEncoder`, such as ``max_length=64``.

    Returns
    -------
    DataFrame of Spark
        item_id, embedding (array of float).
    """
    from pyspark.ml.functions import predict_batch_udf
    from pyspark.sql import functions as F
    from pyspark.sql.types import ArrayType, FloatType

    def load():
        encoder = TextEncoder(model, n_threads=1, cache_dir=False, progress=False, **options).keep()
        return lambda texts: encoder.transform(list(texts))

    embed = predict_batch_udf(load, return_type=ArrayType(FloatType()), batch_size=batch_size)
    parts = parts or 2 * items.sparkSession.sparkContext.defaultParallelism
    # In a fixed order, so that who repeats a lost task makes the same batches, and the same last digits.
    ordered = items.repartition(parts, "item_id").sortWithinPartitions(F.length("text"), "item_id")
    return ordered.select("item_id", embed("text").alias("embedding"))


def fit_tokens(embeddings, n_components: int = 50):
    """Fit what turns embeddings into tokens, `make_tokens` in Spark's own parts: centre, PCA, unit length.

    Spark's PCA finds the directions of the centred embeddings and then turns those that are *not* centred; so they are
    centred first.

    Parameters
    ----------
    embeddings : DataFrame of Spark
        item_id, embedding: of the training items.

    Returns
    -------
    PipelineModel
        For `tokens`; Spark's ``save`` and ``load`` keep it.
    """
    from pyspark.ml import Pipeline
    from pyspark.ml.feature import PCA, Normalizer, StandardScaler

    steps = [
        StandardScaler(withMean=True, withStd=False, inputCol="vector", outputCol="centred"),
        PCA(k=n_components, inputCol="centred", outputCol="reduced"),
        Normalizer(p=2.0, inputCol="reduced", outputCol="scaled"),
    ]
    return Pipeline(stages=steps).fit(_vectors(embeddings))


def tokens(fitted, embeddings):
    """Turn embeddings into tokens: a DataFrame of Spark with item_id, token (array of double)."""
    from pyspark.ml.functions import vector_to_array

    made = fitted.transform(_vectors(embeddings))
    return made.select("item_id", vector_to_array("scaled").alias("token"))


def _vectors(embeddings):
    from pyspark.ml.functions import array_to_vector
    from pyspark.sql import functions as F

    return embeddings.select(
        "item_id", array_to_vector(F.col("embedding").cast("array<double>")).alias("vector")
    )


# --- Ratings in parts ---------------------------------------------------------------------------------------


class _Side:
    """The users, or the items: their ratings in parts, and what each part has to know of the other side.

    A row's ratings are all in one part, but of a row with more than `most` each goes where its own hash says: so no
    part is much larger than others. What the ratings say is summed in each part, and then the sums are.
    """

    def __init__(self, folder, name, ratings, parts, most):
        from pyspark.sql import functions as F

        self.folder, self.name, self.parts, self.turn = folder, name, parts, 0
        self.spark, self.kind = ratings.sparkSession, dict(ratings.dtypes)["id"]
        counts = ratings.groupBy("id").agg(F.count("*").cast("double").alias("count"))
        self.counts = self.keep("counts", counts)
        many = F.broadcast(self.counts.where(F.col("count") > most).select("id", F.lit(True).alias("many")))
        part = F.when(F.col("many"), self.block("id", "other")).otherwise(self.block("id"))
        cut = ratings.join(many, "id", "left").select(part.alias("part"), "id", "other", "rating")
        self.ratings = self.keep("ratings", cut.repartition(parts, "part"))
        self.needs = self.keep("needs", self.ratings.select("part", "other").distinct())

    def block(self, *columns):
        from pyspark.sql import functions as F

        return F.pmod(F.hash(*columns), F.lit(self.parts)).cast("int")

    def keep(self, what, frame):
        """Write it and read it back: whoever loses an executor from here on need not begin at the beginning."""
        path = f"{self.folder}/{self.name}-{what}"
        frame.write.mode("overwrite").parquet(path)
        return self.spark.read.schema(frame.schema).parquet(path)

    def sums(self, others, function):
        """Sum what ratings say: `function(indptr, indices, ratings, vectors)` of a part returns (rows, width)."""
        kind = self.kind

        def in_part(ratings: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
            others = others.sort_values("id")  # a fixed order: the last digits are the same each time
            rows, ids = pd.factorize(ratings["id"], sort=True)
            columns = pd.Index(others["id"]).get_indexer(ratings["other"])
            compressed = _compress(rows, columns, ratings["rating"].to_numpy(), len(ids))
            made = function(*compressed, *(np.stack(others[c]) for c in vectors))
            return _plain(pd.DataFrame({"part": ratings["part"].iloc[0], "id": ids, "sums": list(made)}))

        vectors = [c for c in others.columns if c != "id"]
        sent = self.needs.withColumnRenamed("other", "id").join(others, "id")
        pairs = self.ratings.groupBy("part").cogroup(sent.groupBy("part"))
        made = pairs.applyInPandas(in_part, f"part int, id {kind}, sums array<double>")
        return made.withColumn("block", self.block("id"))

    def total(self, others, name, finish, turn=None):
        """Sum the vectors (id, vectors) of what each row has rated; `finish(sums, counts)` is the column `name`."""

        def in_part(indptr, indices, ratings, vectors):
            rated = sp.csr_matrix((np.ones(len(indices)), indices, indptr), (len(indptr) - 1, len(vectors)))
            return np.c_[rated @ (vectors if turn is None else vectors @ turn), np.diff(indptr)]

        def of_rows(sums: pd.DataFrame) -> pd.DataFrame:
            ids, whole = _whole(sums)
            made = list(finish(whole[:, :-1], whole[:, -1:]))
            return _plain(pd.DataFrame({"block": sums["block"].iloc[0], "id": ids, name: made}))

        made = self.sums(others, in_part).groupBy("block")
        return made.applyInPandas(of_rows, f"block int, id {self.kind}, {name} array<double>")

    def write(self, rows):
        """Keep what is believed of each row; what was believed two rounds ago is written over."""
        self.turn = 1 - self.turn
        self.rows = self.keep(f"rows-{self.turn}", rows)

    def update(self, other, mu, noise, prior, rounds=1, forget=False):
        """Take the half-step: every row's ridge regression, given the other side, as `recommend._Side.update`."""
        k = prior.W.shape[1]

        def what_they_say(indptr, indices, ratings, mean, cov, trust):
            says = _sum_ratings(indptr, indices, ratings, mean, _full(cov, k), trust, mu)
            return np.c_[_triangle(says[0]), says[1], says[2], np.diff(indptr)]

        def solve(sums: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
            ids, whole = _whole(sums)
            rows = rows.set_index("id").loc[ids]
            seen, target, squares, counts = np.split(whole, np.cumsum([k * (k + 1) // 2, k, 1]), axis=1)
            seen, squares, counts = _full(seen, k), squares[:, 0], counts[:, 0]
            features, trust = np.stack(rows["features"]), np.ones(len(ids))
            trust = trust if forget else rows["trust"].to_numpy()
            for _ in range(rounds):
                mean, cov, error = _solve(
                    seen, target, squares, features @ prior.W, prior.precision, trust / noise
                )
                trust = _trust(counts, error / noise)
            return _to_rows(rows.reset_index(), mean, cov, trust, (trust * error).sum())

        others = other.rows.select("id", "mean", "cov", "trust")
        pairs = self.sums(others, what_they_say).groupBy("block").cogroup(self.rows.groupBy("block"))
        self.write(pairs.applyInPandas(solve, ROWS.format(self.kind)))

    def learn(self, prior, plain, rounds=1):
        """Learn a prior, as `recommend._Prior.learn`, from sums over all rows: few numbers, of however many rows.

        `plain` is the sum of the squares of the features, each row once. Return what is left of the squared error.
        """
        width, k = prior.W.shape
        shapes = [(len(plain), k), (len(plain), k), (k,), ()]
        weighted, once, squares, error = _cut(_add_up(self.rows), shapes)
        once, plain = once[:width], plain[:width, :width]
        for _ in range(rounds):
            prior.regress(weighted[:width])
            left = squares - 2 * (prior.W * once).sum(axis=0) + (prior.W * (plain @ prior.W)).sum(axis=0)
            prior.stray(left / plain[0, 0])
        return float(error)


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Give ids that are texts as plain objects: what pandas 3 keeps them in, pyspark 4.3 takes only at times."""
    return frame.astype({name: object for name in frame if isinstance(frame[name].dtype, pd.StringDtype)})


def _whole(sums: pd.DataFrame):
    """Add up the sums of rows that are in several parts."""
    sums = sums.sort_values(["id", "part"])
    ids, first = np.unique(sums["id"].to_numpy(), return_index=True)
    return ids, np.add.reduceat(np.stack(sums["sums"]), first, axis=0)


def _triangle(full):
    return full[:, *np.tril_indices(full.shape[1])]


def _full(triangle, k):
    full, (i, j) = np.zeros((len(triangle), k, k)), np.tril_indices(k)
    full[:, i, j] = full[:, j, i] = triangle
    return full


def _to_rows(rows, mean, cov, trust, error):
    """Make a block of rows; the first carries what the block adds to the sums that a prior is learned from."""
    features, weight = np.stack(rows["features"]), rows["weight"].to_numpy()
    squares = (mean**2 + np.diagonal(cov, axis1=1, axis2=2)).sum(axis=0)
    stats = [(features * weight[:, None]).T @ mean, features.T @ mean, squares, error]
    carried = [np.concatenate([np.ravel(s) for s in stats]), *[None] * (len(rows) - 1)]
    return _plain(rows[["block", "id", "features", "weight"]]).assign(
        mean=list(mean), cov=list(_triangle(cov)), trust=trust, stats=carried
    )


def _cut(flat, shapes):
    ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes])
    return [part.reshape(shape) for part, shape in zip(np.split(flat, ends[:-1]), shapes, strict=True)]


def _add_up(frame):
    """Add up the `stats` of all blocks, in the order of the blocks: the last digits are the same each time."""
    from pyspark.sql import functions as F

    parts = frame.where("stats is not null").select("block", F.posexplode("stats").alias("at", "value"))
    ordered = F.array_sort(F.collect_list(F.struct("block", "value")))
    added = F.aggregate(ordered, F.lit(0.0), lambda total, one: total + one["value"])
    found = parts.groupBy("at").agg(added.alias("total")).toPandas()
    return found.sort_values("at")["total"].to_numpy(copy=True)


def _sum_of(frame, function, shapes):
    """Add up what `function` makes of each block of `frame`: arrays of the same shapes."""

    def of_block(rows: pd.DataFrame) -> pd.DataFrame:
        stats = [np.ravel(made) for made in function(rows.sort_values("id"))]
        return pd.DataFrame({"block": rows["block"].iloc[:1].to_numpy(), "stats": [np.concatenate(stats)]})

    return _cut(
        _add_up(frame.groupBy("block").applyInPandas(of_block, "block int, stats array<double>")), shapes
    )


# --- Recommending -------------------------------------------------------------------------------------------


def fit(
    ratings, tokens, folder, *, n_factors=10, n_epochs=20, n_audience=50, parts=None, most=100_000,
    random_state=0, start=None,
):  # fmt: skip
    """Fit `TokenSVD`: the same half-steps, users and items in parts.

    Parameters
    ----------
    ratings : DataFrame of Spark
        user_id, item_id, rating.
    tokens : DataFrame of Spark
        item_id, token. Items without ratings belong in it.
    folder : str
        Where the model is kept, and what was computed on the way: any place that Spark writes to and that all
        executors reach.
    n_factors, n_epochs, n_audience, random_state
        As for `TokenSVD`.
    parts : int, optional
        In how many parts users and items are cut; by default twice the cores. A part has to fit in the memory of an
        executor's Python.
    most : int
        A user, or an item, with more ratings than this is not kept in one part.
    start : DataFrame of Spark, optional
        user_id, factors: first values of the users' bias and factors. By default small random ones.

    Returns
    -------
    str
        `folder`, for `predict` and `top`.
    """
    from pyspark.sql import functions as F

    spark = ratings.sparkSession
    parts = parts or 2 * spark.sparkContext.defaultParallelism
    # A hash of 7 is another one where 7 is kept in more bytes: ids are to be of one kind everywhere.
    ratings = ratings.withColumn("item_id", F.col("item_id").cast(dict(tokens.dtypes)["item_id"]))
    columns = [F.col(name).alias("id") for name in ("user_id", "item_id")]
    others = [F.col(name).alias("other") for name in ("item_id", "user_id")]
    rating = F.col("rating").cast("double")
    users = _Side(f"{folder}/parts", "users", ratings.select(columns[0], others[0], rating), parts, most)
    items = _Side(f"{folder}/parts", "items", ratings.select(columns[1], others[1], rating), parts, most)
    measures = F.avg("rating"), F.var_pop("rating"), F.count("*"), F.min("rating"), F.max("rating")
    mu, unit, n_ratings, *scale, n_missing = users.ratings.agg(
        *measures, F.count_if(F.isnull("rating"))
    ).first()
    if n_missing or mu is None or not np.isfinite(unit):
        raise InputError("ratings: there is none, or one is missing or not finite")
    unit = unit or 1.0
    units, k = np.r_[unit, np.full(n_factors, np.sqrt(unit))], 1 + n_factors
    d = tokens.select(F.size("token")).first()[0]
    n_audience = max(min(n_audience, users.counts.count() - 1, items.counts.count() - 1), 0)
    blocks = {"text": slice(1, 1 + d), "audience": slice(1 + d, 1 + d + n_audience)}
    width, f = 1 + d, 1 + d + n_audience

    # Every item's features, and its weight when it is learned what they say.
    known = tokens.select(F.col("item_id").alias("id"), "token").join(items.counts, "id", "full")
    if n_audience:
        known = known.join(items.keep("audience", _audience(users, items, n_audience)), "id", "left")
    else:
        blocks.pop("audience")
        known = known.withColumn("audience", F.array().cast("array<double>"))
    nothing = [F.array_repeat(F.lit(0.0), n) for n in (d, n_audience)]
    told = [F.coalesce(name, zero) for name, zero in zip(("token", "audience"), nothing, strict=True)]
    weight = F.pow("count", F.lit(TokenSVD.weight_power)) / F.lit(
        items.counts.agg(F.avg(F.pow("count", F.lit(TokenSVD.weight_power)))).first()[0]
    )
    known = known.select(
        items.block("id").alias("block"),
        "id",
        F.concat(F.array(F.lit(1.0)), *told).alias("features"),
        F.coalesce(weight, F.lit(0.0)).alias("weight"),
        F.coalesce("count", F.lit(0.0)).alias("count"),
    )
    known = items.keep("features", known)

    def of_items(rows):
        features, counts = np.stack(rows["features"]), rows["count"].to_numpy()
        weighted, rated = features * rows["weight"].to_numpy()[:, None], features[counts > 0]
        return weighted.T @ features, rated.T @ rated, counts @ features, features.sum(axis=0)

    gram, plain, typical_history, all_items = _sum_of(known, of_items, [(f, f), (f, f), (f,), (f,)])
    typical_history /= n_ratings
    item_prior = _Regression(gram, blocks, units)

    # The first rows: of users what the features of their history are, and factors to begin with.
    history = users.total(
        known.select("id", "features"),
        "features",
        lambda sums, counts: (sums + HISTORY_PRIOR * typical_history) / (counts + HISTORY_PRIOR),
    )
    if start is not None:
        history = history.join(
            start.select(F.col("user_id").cast(users.kind).alias("id"), "factors"), "id", "left"
        )

    def first(rows: pd.DataFrame) -> pd.DataFrame:
        rows = rows.sort_values("id", ignore_index=True)
        mean = np.zeros((len(rows), k))
        if "factors" in rows:
            given = rows["factors"].notna().to_numpy()
            mean[given] = np.stack(rows["factors"][given]) if given.any() else 0.0
        elif "count" not in rows:
            random = np.random.default_rng([random_state, int(rows["block"].iloc[0])])
            mean[:, 1:] = random.normal(scale=0.1 * unit**0.25, size=(len(rows), n_factors))
        weight = rows["weight"] if "weight" in rows else 1.0
        return _to_rows(rows.assign(weight=weight), mean, np.zeros((len(rows), k, k)), 1.0, 0.0)

    for side, rows in ((users, history), (items, known.where("count > 0"))):
        side.write(rows.groupBy("block").applyInPandas(first, ROWS.format(side.kind)))
    (user_gram,) = _sum_of(
        users.rows, lambda rows: [np.stack(rows["features"]).T @ np.stack(rows["features"])], [(f, f)]
    )
    user_prior = _Regression(user_gram, blocks, units)

    noise = unit
    for _ in range(n_epochs):
        items.update(users, mu, noise, item_prior)
        items.learn(item_prior, plain)
        users.update(items, mu, noise, user_prior)
        noise = max(users.learn(user_prior, user_gram) / n_ratings, 1e-6 * unit)
    # As in `TokenSVD`: once more with the last priors, then a prior for items without ratings; the users at the end.
    items.update(users, mu, noise, item_prior)
    new = _Regression(gram[:width, :width], {"text": blocks["text"]}, units)
    items.learn(new, plain, rounds=10)
    (typical_item,) = _sum_of(
        items.rows.join(items.counts, "id"),
        lambda rows: [rows["count"].to_numpy() @ np.stack(rows["mean"])],
        [(k,)],
    )
    typical_item /= n_ratings
    content = gram[:width, :width]
    said, total = content[0] @ new.W, content[0, 0]  # the first feature is 1
    strays = ((new.W * (content @ new.W)).sum(axis=0) - 2 * typical_item * said) / total + typical_item**2
    untold = 1 / (1 + new.precision * strays)
    shift = users.total(
        items.rows.select("id", F.col("mean").alias("vectors")),
        "shift",
        lambda sums, counts: (
            untold * ((sums + HISTORY_PRIOR * typical_item) / (counts + HISTORY_PRIOR) - typical_item)
        ),
    )
    users.update(items, mu, noise, user_prior, TRUST_ROUNDS, forget=True)
    people = users.rows.join(shift.select("id", "shift"), "id")
    people = people.select(F.col("id").alias("user_id"), F.col("mean").alias("factors"), "shift")

    def by_text(frames):
        for rows in frames:
            mean = np.stack(rows["features"])[:, :width] @ new.W
            yield _plain(pd.DataFrame({"id": rows["id"], "mean": list(mean), "new": True}))

    kinds = f"id {items.kind}, mean array<double>, new boolean"
    unrated = known.where("count = 0").select("id", "features").mapInPandas(by_text, kinds)
    things = items.rows.select("id", "mean", F.lit(False).alias("new")).unionByName(unrated)
    people.write.mode("overwrite").parquet(f"{folder}/users")
    things.select(F.col("id").alias("item_id"), F.col("mean").alias("factors"), "new").write.mode(
        "overwrite"
    ).parquet(f"{folder}/items")
    about = {
        "mu": mu, "noise": noise, "rating_scale": scale, "W": new.W.tolist(),
        "nobody": (typical_history @ user_prior.W).tolist(),
        "nothing": (all_items[:width] / all_items[0] @ new.W).tolist(),
    }  # fmt: skip
    spark.createDataFrame([(json.dumps(about),)], "value string").coalesce(1).write.mode("overwrite").text(
        f"{folder}/about"
    )
    return folder


def _audience(users, items, n):
    """Find who rated an item, as `recommend._audience`: singular vectors by subspace iteration."""
    from pyspark.sql import functions as F

    n_items = items.counts.count()
    m = min(n + _OVERSAMPLED, n_items, users.counts.count())

    def first(rows: pd.DataFrame) -> pd.DataFrame:
        random, rows = np.random.default_rng([0, int(rows["block"].iloc[0])]), rows.sort_values("id")
        vectors = random.normal(size=(len(rows), m)) / np.sqrt(rows[["count"]].to_numpy())
        return _plain(rows[["block", "id"]]).assign(vectors=list(vectors))

    def halfway(sums, counts):  # twice the root: once for this product, once for the next
        return sums / counts

    kinds = f"block int, id {items.kind}, vectors array<double>"
    found = items.counts.withColumn("block", items.block("id")).groupBy("block").applyInPandas(first, kinds)
    for step in range(_ITERATIONS + 1):
        found = items.keep("vectors-of-items-" + str(step % 2), found)
        counted = found.join(items.counts, "id")
        (gram,) = _sum_of(counted, _squares, [(m, m)])
        squares, directions = np.linalg.eigh(gram)
        turn = directions / np.sqrt(np.maximum(squares, 1e-12 * squares[-1]))  # makes the columns orthonormal
        seen = users.total(found.select("id", "vectors"), "vectors", halfway, turn)
        seen = users.keep("vectors-of-users", seen)
        if step < _ITERATIONS:
            found = items.total(seen.select("id", "vectors"), "vectors", halfway)
    (gram,) = _sum_of(seen.join(users.counts, "id"), _squares, [(m, m)])
    squares, directions = np.linalg.eigh(gram)
    squares, directions = np.maximum(squares[::-1][:n], 0.0), directions[:, ::-1][:, :n]
    turn = turn @ directions * np.sqrt(squares * n_items * n / squares.sum())

    def turned(frames):
        for rows in frames:
            vectors = np.stack(rows["vectors"]) * np.sqrt(rows[["count"]].to_numpy()) @ turn
            yield _plain(pd.DataFrame({"id": rows["id"], "audience": list(vectors)}))

    frame = found.join(items.counts, "id").select("id", "vectors", F.col("count"))
    return frame.mapInPandas(turned, f"id {items.kind}, audience array<double>")


def _squares(rows):
    vectors = np.stack(rows["vectors"]) * np.sqrt(rows[["count"]].to_numpy())
    return [vectors.T @ vectors]


def predict(folder, pairs):
    """Predict a rating for each row (user_id, item_id) of a DataFrame of Spark; adds the column `prediction`."""
    from pyspark.sql import functions as F
    from pyspark.sql.types import DoubleType, StructField, StructType

    columns, (about, users, items) = pairs.columns, load(pairs.sparkSession, folder)
    asked = pairs.join(users.withColumnRenamed("factors", "user"), "user_id", "left")
    asked = asked.join(items.withColumnRenamed("factors", "item"), "item_id", "left")
    nobody, nothing = (F.array(*map(F.lit, about[name])) for name in ("nobody", "nothing"))
    none = F.array_repeat(F.lit(0.0), len(about["nobody"]))
    asked = asked.select(
        *columns,
        F.coalesce("user", nobody).alias("user"),
        F.coalesce("item", nothing).alias("item"),
        F.when(F.coalesce("new", F.lit(True)), F.coalesce("shift", none)).otherwise(none).alias("shift"),
    )

    def of_rows(frames):
        for rows in frames:
            user, item, shift = (np.stack(rows[name]) for name in ("user", "item", "shift"))
            item = item + shift
            value = about["mu"] + user[:, 0] + item[:, 0] + (user[:, 1:] * item[:, 1:]).sum(axis=1)
            yield _plain(rows[columns]).assign(prediction=np.clip(value, *about["rating_scale"]))

    schema = StructType([*pairs.schema.fields, StructField("prediction", DoubleType())])
    return asked.mapInPandas(of_rows, schema)


def load(spark, folder):
    """Read a fitted model: what it says of all (a dict), and its users and items (DataFrames of Spark)."""
    about = json.loads(spark.read.text(f"{folder}/about").first()[0])
    return about, spark.read.parquet(f"{folder}/users"), spark.read.parquet(f"{folder}/items")


# --- Evaluating, and a baseline -----------------------------------------------------------------------------


def rmse(predicted) -> float:
    """Measure the root mean squared error of a DataFrame of Spark with `rating` and `prediction`."""
    from pyspark.ml.evaluation import RegressionEvaluator

    return RegressionEvaluator(labelCol="rating", metricName="rmse").evaluate(predicted)


def top(folder, seen, k: int = 10, *, parts: int = 4):
    """List the k best items of each user that they have not rated.

    Users and items meet part by part, so that neither has to fit anywhere as a whole; of each meeting k items a user
    are kept, and of those the k best.

    Parameters
    ----------
    folder : str
        What `fit` returned.
    seen : DataFrame of Spark
        user_id, item_id: the training ratings of the users to list for.
    k, parts : int
        Length of a list; in how many parts users and items are cut.

    Returns
    -------
    DataFrame of Spark
        user_id, item_id, score, rank (from 1).
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    about, users, items = load(seen.sparkSession, folder)
    mu, kinds = about["mu"], dict(users.dtypes) | dict(items.dtypes)
    seen = seen.select(*(F.col(name).cast(kinds[name]) for name in ("user_id", "item_id")))

    def cut(name):
        return F.pmod(F.hash(name), F.lit(parts)).alias(f"part_{name}")

    rated = seen.groupBy("user_id", cut("item_id")).agg(F.collect_set("item_id").alias("rated"))
    shelves = seen.sparkSession.range(parts).select(F.col("id").cast("int").alias("part_item_id"))
    people = users.join(seen.select("user_id").distinct(), "user_id").crossJoin(shelves)
    people = people.join(rated, ["user_id", "part_item_id"], "left").withColumn(
        "part_user_id", cut("user_id")
    )
    halls = shelves.withColumnRenamed("part_item_id", "part_user_id")
    things = items.withColumn("part_item_id", cut("item_id")).crossJoin(halls)

    def meet(people: pd.DataFrame, things: pd.DataFrame) -> pd.DataFrame:
        if people.empty or things.empty:
            return pd.DataFrame({"user_id": [], "item_id": [], "score": []})
        things = things.sort_values("item_id")
        ids, new = pd.Index(things["item_id"]), things["new"].to_numpy()
        factors, found = np.stack(things["factors"]), []
        for user in people.itertuples():
            p, shift = user.factors, user.shift
            scores = mu + p[0] + factors[:, 0] + factors[:, 1:] @ p[1:] + new * (shift[0] + shift[1:] @ p[1:])
            if user.rated is not None:
                at = ids.get_indexer(user.rated)
                scores[at[at >= 0]] = -np.inf
            best = np.argsort(-scores, kind="stable")[:k]
            best = best[scores[best] > -np.inf]
            found.append(pd.DataFrame({"user_id": user.user_id, "item_id": ids[best], "score": scores[best]}))
        return _plain(pd.concat(found))

    keys = ["part_user_id", "part_item_id"]
    met = people.groupBy(*keys).cogroup(things.groupBy(*keys))
    lists = met.applyInPandas(meet, f"user_id {kinds['user_id']}, item_id {kinds['item_id']}, score double")
    order = Window.partitionBy("user_id").orderBy(F.desc("score"), "item_id")
    return lists.withColumn("rank", F.row_number().over(order)).where(F.col("rank") <= k)


def ranking(lists, test, k: int = 10, *, liked: float = 4.0) -> dict[str, float]:
    """Measure lists by Spark's own metrics: mean NDCG@k and recall@k, over users with a liked test item.

    Parameters
    ----------
    lists, test : DataFrame of Spark
        From `top`; and user_id, item_id, rating.
    """
    from pyspark.mllib.evaluation import RankingMetrics
    from pyspark.sql import functions as F

    good = test.where(F.col("rating") >= liked).groupBy("user_id").agg(F.collect_set("item_id").alias("good"))
    ordered = F.array_sort(F.collect_list(F.struct("rank", "item_id")))["item_id"]
    pairs = good.join(lists.groupBy("user_id").agg(ordered.alias("listed")), "user_id", "left")
    empty = F.array().cast(dict(pairs.dtypes)["good"])
    pairs = pairs.select(F.coalesce("listed", empty).alias("listed"), "good")
    measured = RankingMetrics(pairs.rdd.map(lambda row: (list(row["listed"]), list(row["good"]))))
    return {f"NDCG@{k}": measured.ndcgAt(k), f"recall@{k}": measured.recallAt(k)}


def als(train, *, rank: int = 10, penalty: float = 0.1, rounds: int = 10, random_state: int = 0):
    """Fit Spark's own alternating least squares, the baseline: no biases, no text; ids have to be whole numbers.

    Set a checkpoint folder, as `session` does: without one, Spark remembers how each round came from all before it,
    and fails after ten or so.

    Returns
    -------
    ALSModel
        ``transform`` adds the column `prediction`; of users and items that it does not know there is none.
    """
    from pyspark.ml.recommendation import ALS

    columns = {"userCol": "user_id", "itemCol": "item_id", "ratingCol": "rating", "coldStartStrategy": "drop"}
    columns["checkpointInterval"] = 2
    return ALS(rank=rank, regParam=penalty, maxIter=rounds, seed=random_state, **columns).fit(train)


if __name__ == "__main__":
    # Spark forks an executor's Python processes from this one: what is imported above they need not import again,
    # which would take seconds each time.
    from pyspark.daemon import manager

    manager()
