"""Measure the pipeline on Spark, for notebook 14.

    python benchmarks/spark_scale.py agree          # does it agree with one machine? about 15 minutes
    python benchmarks/spark_scale.py grow           # how does its time grow? 1, 10 and 100 times the data: 12 minutes

Writes into benchmarks/spark_scale.json what it was asked for, and leaves the rest. Times are of the machine as it is.
"""

import json
import os
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from llmtok import TextEncoder, TokenSVD, load_dataset, make_tokens
from llmtok import spark as scale
from llmtok.evaluation import split

FILE = Path(__file__).with_suffix(".json")
SIZES, EXECUTORS, ROUNDS = (1, 10, 100), (1, 2), 2
LASTING = {  # for jobs of minutes: run fast rather than start fast
    "spark__driver__extraJavaOptions": "-Xss4m",
    "spark__executor__extraJavaOptions": "-Xss4m",
    "spark__sql__codegen__wholeStage": "true",
}
STEP, SIDES = 1_000_000, ("users", "items")  # rows of a file; whose ratings are cut into parts


def agree(work):
    """One machine and Spark, on the same fold, each with its own PCA, its own audience and its own first values."""
    data = load_dataset("movielens-small")
    embeddings = TextEncoder().transform(data.items.text)
    train, test = next(split(data.ratings))
    own = TokenSVD(embeddings).fit(train)
    error = own.predict_ratings(test) - test["rating"]
    made = {"rmse one machine": float(np.sqrt((error**2).mean())), "test ratings": len(test)}

    spark = scale.session(0)
    vectors = pd.DataFrame({"item_id": embeddings.index, "embedding": list(embeddings.to_numpy())})
    vectors = spark.createDataFrame(vectors)
    ratings = spark.createDataFrame(train[["user_id", "item_id", "rating"]])
    fitted = scale.fit_tokens(vectors.join(ratings.select("item_id").distinct(), "item_id"), 50)
    tokens = scale.tokens(fitted, vectors)
    ours = tokens.toPandas().set_index("item_id")["token"].loc[embeddings.index]
    ours = np.stack(ours)
    rated = embeddings.index.isin(train["item_id"])
    theirs = make_tokens(50).fit(embeddings[rated]).transform(embeddings).to_numpy()
    signs = np.sign((ours * theirs).sum(axis=0))
    made["largest difference of a token"] = float(np.abs(ours * signs - theirs).max())
    start = time.perf_counter()
    folder = scale.fit(ratings, tokens, f"{work}/agree", parts=4)
    made["seconds of the fit"] = round(time.perf_counter() - start)
    pairs = spark.createDataFrame(test[["user_id", "item_id", "rating"]])
    made["rmse spark"] = scale.rmse(scale.predict(folder, pairs))
    spark.stop()
    return made


def replicate(train, embeddings, times):
    """Copy users `times` times, items as often as its root; a copy has noise in its ratings and in its embedding."""
    rng, shelves = np.random.default_rng(0), round(times**0.5)
    users, items = train["user_id"].to_numpy(), train["item_id"].to_numpy()
    gap_u, gap_i = users.max() + 1, embeddings.index.max() + 1
    copies = []
    for copy in range(times):
        rating = train["rating"].to_numpy() + (rng.normal(scale=0.5, size=len(train)) if copy else 0)
        shelf = rng.integers(shelves, size=len(train)) if copy else 0
        copies.append(
            pd.DataFrame(
                {
                    "user_id": users + copy * gap_u,
                    "item_id": items + shelf * gap_i,
                    "rating": np.clip(np.round(rating * 2) / 2, 0.5, 5.0),
                }
            )
        )
    frames = []
    for shelf in range(shelves):
        noise = rng.normal(scale=0.02, size=embeddings.shape) if shelf else 0
        frames.append(
            pd.DataFrame(
                {
                    "item_id": embeddings.index + shelf * gap_i,
                    "token": list(embeddings.to_numpy() + noise),
                }
            )
        )
    return pd.concat(copies), pd.concat(frames)


def grow(work):
    """Fit for a few rounds, on more data, with one executor and with two."""
    data = load_dataset("movielens-small")
    embeddings = TextEncoder().transform(data.items.text)
    tokens = make_tokens(50).fit_transform(embeddings)
    for times in SIZES:
        for kind, frame in zip(("ratings", "tokens"), replicate(data.ratings, tokens, times), strict=True):
            folder = Path(work, f"{kind}-{times}")
            folder.mkdir()
            for n, at in enumerate(range(0, len(frame), STEP)):
                frame.iloc[at : at + STEP].to_parquet(folder / f"{n}.parquet", index=False)
    runs = [(times, executors) for times in SIZES for executors in EXECUTORS]
    for turn, (times, executors) in enumerate([runs[0], *runs]):
        events = Path(work, f"events-{turn}")
        events.mkdir()
        log = {"enabled": "true", "dir": events.as_uri(), "rolling__enabled": "false", "compress": "false"}
        settings = {f"spark__eventLog__{name}": value for name, value in log.items()}
        spark = scale.session(executors, memory=1024, **settings, **LASTING)
        read = [spark.read.parquet(f"{work}/{kind}-{times}") for kind in ("ratings", "tokens")]
        start = time.perf_counter()
        parts = max(4, 2 * int(times**0.5))
        folder = f"{work}/model-{times}"
        with watched() as largest:
            scale.fit(*read, folder, n_epochs=ROUNDS, n_audience=0, parts=parts)
        made = {"times": times, "executors": executors, "rounds": ROUNDS, "parts": parts}
        made["seconds"] = round(time.perf_counter() - start)
        made["MB of a Python process"] = round(max(largest) / 1e6)
        made["load"] = round(os.getloadavg()[0], 1)  # of the machine: above the cores, times say little
        sent = {side: spark.read.parquet(f"{folder}/parts/{side}-needs").count() for side in SIDES}
        spark.stop()
        if turn:  # the first is there to warm up
            yield made | {"rows sent to " + side: n for side, n in sent.items()} | told(events)


@contextmanager
def watched():
    """Look twice a second how large the Python processes of the executors are; the list has the largest, in bytes."""
    sizes, done = [0], threading.Event()

    def look():
        while not done.wait(0.5):
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):  # it has just ended
                    if "llmtok.spark" in process.cmdline():
                        sizes[0] = max(sizes[0], process.memory_info().rss)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield sizes
    finally:
        done.set()
        thread.join()


def told(events):
    """Read in Spark's own log what its tasks wrote for others to fetch, and how long they ran."""
    tasks = []
    for file in filter(Path.is_file, events.rglob("*")):
        lines = [
            json.loads(line) for line in file.read_text().splitlines() if '"SparkListenerTaskEnd"' in line
        ]
        tasks += [line["Task Metrics"] for line in lines if line.get("Task Metrics")]
    shuffled = sum(task["Shuffle Write Metrics"]["Shuffle Bytes Written"] for task in tasks)
    seconds = sum(task["Executor Run Time"] for task in tasks) / 1000
    return {"tasks": len(tasks), "shuffled MB": round(shuffled / 1e6), "task seconds": round(seconds)}


if __name__ == "__main__":
    kept = json.loads(FILE.read_text()) if FILE.exists() else {}
    for section in sys.argv[1:] or ("agree", "grow"):
        with tempfile.TemporaryDirectory() as work:
            if section == "agree":
                kept[section] = agree(work)
            else:
                kept[section] = []
                for made in grow(work):
                    kept[section].append(made)
                    FILE.write_text(json.dumps(kept, indent=1) + "\n")
                    print(made, flush=True)
        FILE.write_text(json.dumps(kept, indent=1) + "\n")
