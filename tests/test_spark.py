"""The pipeline on Spark gives what one machine gives; and so it does when an executor dies, or one user is huge."""

import ast
import contextlib
import functools
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import psutil
import pytest
from scipy import stats

from llmtok import TextEncoder, TokenSVD, make_tokens, spark_report
from llmtok import spark as scale
from llmtok.cli import app
from llmtok.data import InputError
from llmtok.evaluation import evaluate_ranking

SLOW = bool(os.environ.get("LLMTOK_SLOW"))
WHY = scale.missing()
needs_spark = pytest.mark.skipif(bool(WHY), reason=f"Spark cannot run here: {WHY}")
with_executors = pytest.mark.skipif(
    bool(WHY) or not SLOW, reason=f"Spark cannot run here: {WHY}" if WHY else "slow: LLMTOK_SLOW=1 runs it"
)
# pyspark 4 works with pandas 3, and warns; the tests here are about what we use of it.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:pyspark", "ignore::DeprecationWarning:pyspark")
N_USERS, N_ITEMS, K = 40, 60, 3


def made_up(n_users=N_USERS, n_items=N_ITEMS, n_ratings=1200, seed=0):
    """Ratings of items with tokens; the last five items have none, and item 900 has ratings and no token."""
    rng = np.random.default_rng(seed)
    users, items = rng.integers(n_users, size=n_ratings), rng.integers(n_items - 5, size=n_ratings)
    ratings = pd.DataFrame({"user_id": users + 10, "item_id": items + 100})
    ratings = ratings.drop_duplicates(ignore_index=True)
    ratings.loc[:9, "item_id"] = 900
    ratings = ratings.drop_duplicates(ignore_index=True)
    taste, tokens = rng.normal(size=(n_users, 4)), rng.normal(size=(n_items, 4))
    tokens = pd.DataFrame(tokens, index=pd.RangeIndex(100, 100 + n_items, name="item_id"))
    said = np.nan_to_num(tokens.reindex(ratings["item_id"]).to_numpy())
    rating = 3 + (said * taste[ratings["user_id"] - 10]).sum(axis=1) + rng.normal(size=len(ratings)) / 2
    return ratings.assign(rating=np.clip(np.round(rating), 1, 5)), tokens


@pytest.fixture(scope="module")
def spark():
    made = scale.session(0, spark__sql__shuffle__partitions=2)
    yield made
    made.stop()


def to_spark(spark, frame, column=None):
    """Bring a frame to Spark; of one with a vector a row make the columns item_id and `column`."""
    if column:
        frame = pd.DataFrame({"item_id": frame.index, column: list(frame.to_numpy())})
    return spark.createDataFrame(frame)


def first_values(model, ratings, n_factors):
    """What `TokenSVD` begins with, so that both begin alike."""
    scale_ = 0.1 * float(np.var(ratings["rating"])) ** 0.25
    drawn = np.random.default_rng(0).normal(scale=scale_, size=(len(model.user_ids), n_factors))
    factors = np.c_[np.zeros(len(drawn)), drawn]
    return pd.DataFrame({"user_id": model.user_ids, "factors": list(factors)})


@pytest.fixture(scope="module")
def both(spark, tmp_path_factory):
    """The same model, fitted here and there. Users of more than 25 ratings are taken apart."""
    ratings, tokens = made_up()
    ratings["user_id"] = "u" + ratings["user_id"].astype(str)  # an id may be a text
    ratings["item_id"] = ratings["item_id"].astype(str)
    tokens.index = tokens.index.astype(str)
    one = TokenSVD(tokens, reducer="passthrough", n_factors=K, n_epochs=2, n_audience=0).fit(ratings)
    start = to_spark(spark, first_values(one, ratings, K))
    frames = to_spark(spark, ratings), to_spark(spark, tokens, "token")
    options = {"n_factors": K, "n_epochs": 2, "n_audience": 0, "parts": 3, "most": 25, "start": start}
    assert (ratings["user_id"].value_counts() > 25).any() and (ratings["user_id"].value_counts() <= 25).any()
    return one, ratings, scale.fit(*frames, str(tmp_path_factory.mktemp("model")), **options)


def test_the_core_does_not_import_spark():
    code = "import sys, llmtok.cli, llmtok.reports, llmtok.spark; print('pyspark' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_what_is_missing_is_said_in_one_line(monkeypatch):
    monkeypatch.setattr(scale.shutil, "which", lambda name: None)
    monkeypatch.setattr(scale, "find_spec", lambda name: object())
    with pytest.raises(InputError, match="Java: install a JDK or JRE, version 17") as error:
        scale.session()
    assert "\n" not in str(error.value)
    monkeypatch.setattr(scale.shutil, "which", lambda name: "java")
    for line, said in (
        ('java version "1.8.0_392"', "Java 8 is too old"),
        ('openjdk version "11.0.2"', "Java 11 is too old"),
        ('openjdk version "17.0.15" 2025-04-15', None),
        ('openjdk version "25" 2025-09-16', None),
        ("The operation couldn't be completed. Unable to locate a Java Runtime.", "there is no Java"),
    ):
        told = subprocess.CompletedProcess([], 0, stderr=line)
        monkeypatch.setattr(scale.subprocess, "run", lambda *a, told=told, **k: told)
        assert (scale.missing() or "").startswith(said or "") and bool(scale.missing()) == bool(said)
    monkeypatch.setattr(scale, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pyspark is not installed: pip install"):
        scale.session()


@needs_spark
def test_a_session_is_what_was_asked_for(spark):
    """Spark itself would hand out the session that there is."""
    assert scale.session(0) is spark
    with pytest.raises(InputError, match=r"a session with local\[2\] runs already: stop it first"):
        scale.session(2)


@needs_spark
def test_the_model_is_that_of_one_machine(spark, both):
    one, _, folder = both
    about, users, items = scale.load(spark, folder)
    users = users.toPandas().set_index("user_id").loc[one.user_ids]
    items = items.toPandas().set_index("item_id").loc[one.item_ids]
    np.testing.assert_allclose(np.stack(users["factors"]), one.user_factors_, atol=1e-10)
    np.testing.assert_allclose(np.stack(users["shift"]), one._user_shift, atol=1e-10)
    np.testing.assert_allclose(np.stack(items["factors"]), one.item_factors_, atol=1e-10)
    assert (items["new"] == one._is_new).all() and items["new"].sum() == 5
    assert about["noise"] == pytest.approx(one.noise_) and about["mu"] == one.mu_


@needs_spark
def test_predictions_are_those_of_one_machine(spark, both):
    one, ratings, folder = both
    more = pd.DataFrame(
        {
            "user_id": ["u10", "u11", "new", "new", "u12"],
            "item_id": ["159", "900", "120", "159", "555"],
            "rating": 3.0,
        }
    )
    # New items, somebody unknown, something unknown.
    pairs = pd.concat([more, ratings[:50]]).drop_duplicates(["user_id", "item_id"], ignore_index=True)
    found = scale.predict(folder, to_spark(spark, pairs)).toPandas()
    pairs["expected"] = one.predict_ratings(pairs)
    found = found.merge(pairs, on=["user_id", "item_id"])
    assert len(found) == len(pairs) >= 54
    np.testing.assert_allclose(found["prediction"], found["expected"], atol=1e-10)
    error = found["prediction"] - found["rating_x"]
    measured = scale.rmse(to_spark(spark, found.rename(columns={"rating_x": "rating"})))
    assert measured == pytest.approx(np.sqrt((error**2).mean()))


@needs_spark
def test_lists_and_their_metrics_are_those_of_one_machine(spark, both):
    one, ratings, folder = both
    users = ratings["user_id"].unique()[:8]
    seen = ratings[ratings["user_id"].isin(users)]
    lists = scale.top(folder, to_spark(spark, seen[["user_id", "item_id"]]), 5, parts=2)
    found = lists.toPandas().sort_values(["user_id", "rank"])
    for user in users:
        expected = one.recommend(user, 5)
        mine = found[found["user_id"] == user]
        assert mine["item_id"].tolist() == expected.index.tolist()
        np.testing.assert_allclose(mine["score"], expected, atol=1e-10)
    # A test set of items that nobody of them has seen, liked by some.
    rng = np.random.default_rng(1)
    test = pd.DataFrame({"user_id": np.repeat(users, 12)})
    test["item_id"] = np.concatenate([one.score(u).drop(one.seen(u)).index[:12] for u in users])
    test["rating"] = rng.integers(2, 6, size=len(test)).astype(float)
    ours = evaluate_ranking({"one": one}, test, one.item_ids, k=5).loc["one"].mean()
    theirs = scale.ranking(lists, to_spark(spark, test), 5)
    assert theirs == pytest.approx(ours.to_dict()) and 0 < ours["NDCG@5"] < 1


@needs_spark
def test_tokens_are_those_of_one_machine(spark):
    rng = np.random.default_rng(0)
    embeddings = pd.DataFrame(rng.normal(2, np.linspace(1, 3, 8), (50, 8)), index=range(50))  # not centred
    fitted = scale.fit_tokens(to_spark(spark, embeddings[:40], "embedding"), 4)
    found = scale.tokens(fitted, to_spark(spark, embeddings, "embedding")).toPandas().set_index("item_id")
    found = np.stack(found["token"].loc[embeddings.index])
    expected = make_tokens(4).fit(embeddings[:40]).transform(embeddings).to_numpy()
    np.testing.assert_allclose(found * np.sign((found * expected).sum(axis=0)), expected, atol=1e-6)


@needs_spark
def test_the_audience_is_that_of_one_machine(spark, tmp_path):
    ratings, _ = made_up()
    pairs = to_spark(spark, ratings)
    sides = [
        scale._Side(str(tmp_path), name, pairs.selectExpr(f"{a} id", f"{b} other", "rating"), 2, 25)
        for name, a, b in (("users", "user_id", "item_id"), ("items", "item_id", "user_id"))
    ]
    found = np.stack(scale._audience(*sides, 5).toPandas().sort_values("id")["audience"])
    one = TokenSVD(pd.DataFrame(np.ones((60, 1)), index=range(100, 160)), reducer="passthrough", n_audience=5)
    one.n_epochs = 1
    one.fit(ratings)
    order = one.item_ids.argsort()
    own = one._features[order][~one._is_new[order], one.blocks_["audience"]]
    # Vectors may turn; what they say of who is alike may not. The first is 1 in each, and the rest is smaller.
    np.testing.assert_allclose(found @ found.T, own @ own.T, atol=0.05 * np.abs(own @ own.T).max())


@needs_spark
def test_texts_are_encoded_as_on_one_machine(spark):
    texts = pd.DataFrame(
        {"item_id": range(6), "text": ["Toy Story", "Alien (1979). Horror", "", "a", "b", "Jaws"]}
    )
    found = (
        scale.encode(to_spark(spark, texts), parts=1).toPandas().set_index("item_id").loc[texts["item_id"]]
    )
    expected = TextEncoder(progress=False, cache_dir=False).transform(texts["text"])
    np.testing.assert_allclose(np.stack(found["embedding"]), expected, atol=1e-5)


@needs_spark
def test_the_baseline_learns(spark):
    ratings, _ = made_up()
    train, test = to_spark(spark, ratings[:800]), to_spark(spark, ratings[800:])
    fitted = scale.als(train, rank=2, rounds=3)
    assert 0.3 < scale.rmse(fitted.transform(test)) < 2


def test_the_command_hands_over_to_spark(small_folder, tmp_path, monkeypatch, capsys):
    def report(out, *, say, **given):
        asked.append((out, given))
        return {"answer": ["Text tokens help."]}

    asked = []
    monkeypatch.setattr(scale, "missing", lambda: None)
    monkeypatch.setattr(spark_report, "report", functools.wraps(spark_report.report)(report))
    files = ["--ratings", str(small_folder / "ratings.csv"), "--items", str(small_folder / "items.csv")]
    command = ["report", *files, "--out", str(tmp_path / "out"), "--quick", "--seed", "3"]
    app([*command, "--engine", "spark", "--text", "title,genres"], standalone_mode=False)
    [(out, given)] = asked
    assert out == tmp_path / "out" and given["quick"] and given["seed"] == 3
    assert given["text"] == ["title", "genres"] and "Text tokens help." in capsys.readouterr().out
    for more, said in (
        (["--split", "temporal"], "does not know split"),
        (["-p", "K=3"], "does not know parameters"),
        (["--no-rating"], "does not know a missing rating"),
        (["-p", "RANDOM_STATE=x"], "RANDOM_STATE=x"),
        (["--engine", "dask"], "memory and spark"),
    ):
        with pytest.raises(InputError, match=said):
            app([*command, "--engine", "spark", *more], standalone_mode=False)
    app([*command, "--engine", "spark", "--dry-run"], standalone_mode=False)
    assert "Spark would read" in capsys.readouterr().out and len(asked) == 1
    monkeypatch.setattr(scale, "missing", lambda: "there is no Java")
    with pytest.raises(InputError, match="no Java"):
        app([*command, "--engine", "spark"], standalone_mode=False)
    # Suggested by size, and never without being asked for.
    monkeypatch.setattr("llmtok.cli.LARGE", 10)
    app([*command, "--dry-run"], standalone_mode=False)
    assert "--engine spark would read them in parts" in capsys.readouterr().out and len(asked) == 1


@needs_spark
def test_a_report(spark, tmp_path):
    """The text is the digit that people like or do not: with it the error is smaller, and the report says so."""
    ratings, _ = made_up(300, 200, 12_000)
    ratings["rating"] = (
        3.0 + (ratings["item_id"] % 2) + np.random.default_rng(0).normal(size=len(ratings)) / 5
    )
    rare = ratings["item_id"] > 130  # most items have few ratings: there the text tells something
    ratings = ratings[~rare | (ratings["user_id"] % 12 == ratings["item_id"] % 12)]
    items = pd.DataFrame({"item_id": sorted(ratings["item_id"].unique())})
    items["name"] = ["shark" if item % 2 else "wedding" for item in items["item_id"]]
    twice = pd.concat([ratings, ratings[:20]]).rename(columns={"rating": "stars"})
    twice.to_csv(tmp_path / "ratings.csv", index=False)
    items.to_parquet(tmp_path / "items.parquet", index=False)
    files = {"ratings": tmp_path / "ratings.csv", "items": tmp_path / "items.parquet"}
    given = {**files, "columns": {"rating": "stars"}, "text": "{name}!", "n_tokens": 3, "quick": True}
    out, steps = tmp_path / "out", []
    found = spark_report.report(out, **given, say=steps.append)
    assert [step[:5] for step in steps] == [f"[{n}/5]" for n in range(1, 6)]
    measured, groups = found["measured"], pd.DataFrame(found["groups"]).set_index("ratings of the item")
    assert measured["ratings"] == len(ratings) and measured["items"] == len(items)
    assert measured["error, with tokens"] < measured["error, without text"] < measured["error, global mean"]
    assert groups.loc["all", "tested"] == groups["tested"].drop("all").sum()
    assert groups.loc["1 to 4", "text"] == "helps" and "1 to 4" in found["answer"][0]
    assert json.loads((out / "metrics.json").read_text()) == found
    page = (out / "report.html").read_text()
    assert found["answer"][0] in page and "99 % interval" in page
    assert {path.name for path in out.iterdir()} == {
        "embeddings",
        "metrics.json",
        "model",
        "report.html",
        "tokens",
    }
    assert len(pd.read_parquet(out / "tokens")) == len(items)
    with pytest.raises(InputError, match="is there already"):
        spark_report.report(out, **given)


@needs_spark
def test_gains_and_their_intervals_are_those_by_hand(spark):
    rng = np.random.default_rng(0)
    test = pd.DataFrame({"user_id": rng.integers(60, size=600), "item_id": rng.integers(40, size=600)})
    test = test.drop_duplicates(ignore_index=True).assign(rating=3.0)
    test["own"], test["other"] = 3 + rng.normal(size=(2, len(test)))
    test.loc[test["item_id"] < 5, "own"] = 3.0  # text is right about those that nobody has rated
    counts = {item: 0 if item < 5 else 1 if item < 6 else 30 for item in range(40)}
    train = pd.DataFrame({"item_id": np.repeat(list(counts), list(counts.values()))}).assign(user_id=0)
    frames = [
        to_spark(spark, test[["user_id", "item_id", "rating", name]].rename(columns={name: "prediction"}))
        for name in ("own", "other")
    ]
    found = spark_report._compare(*frames, to_spark(spark, train))
    assert found["text"].to_dict() == {
        "0": "too few",  # five items
        "1 to 4": "too few",
        "20 to 99": "not shown",
        "all": "not shown",  # five items of forty are better: who drew other forty might have none
    }
    for name, rows in (("all", test), ("20 to 99", test[test["item_id"] >= 6])):
        gains = (rows["other"] - 3) ** 2 - (rows["own"] - 3) ** 2
        spreads, counts = [], []
        for key in ([rows["user_id"]], [rows["item_id"]], [rows["user_id"], rows["item_id"]]):
            strays = (gains - gains.mean()).groupby(key).sum()
            spreads.append((strays**2).sum() * len(strays) / (len(strays) - 1) / len(rows) ** 2)
            counts.append(len(strays))
        spread = max(spreads[0] + spreads[1] - spreads[2], *spreads[:2])
        wide = stats.t.ppf(0.995, min(counts) - 1) * np.sqrt(spread)
        errors = [np.sqrt(((rows[column] - 3) ** 2).mean()) for column in ("other", "own")]
        expected = [
            len(rows),
            *errors,
            errors[0] - errors[1],
            *(gains.mean() + np.r_[-wide, wide]) / sum(errors),
        ]
        np.testing.assert_allclose(found.loc[name].drop("text").astype(float), expected)


@needs_spark
def test_what_a_report_cannot_read_is_said_in_one_line(spark, tmp_path):
    few = [f"{user},{item},{1 + (user + item) % 3}" for user in range(9) for item in range(3)]
    (tmp_path / "ratings.csv").write_text("\n".join(["user_id,item_id,rating", *few]))
    (tmp_path / "same.csv").write_text(
        "\n".join(["user_id,item_id,rating", *(f"{line[:4]}3" for line in few)])
    )
    (tmp_path / "words.csv").write_text("user_id,item_id,rating\n1,1,good\n")
    (tmp_path / "items.csv").write_text("item_id,title\n0,Jaws\n1,Alien\n2,Heat\n")
    (tmp_path / "broken.parquet").write_text("no")
    (tmp_path / "ratings.xlsx").write_text("no")
    good = {
        "ratings": tmp_path / "ratings.csv",
        "items": tmp_path / "items.csv",
        "text": "{title}",
        "n_tokens": 2,
    }
    good["liked"] = 3
    for wrong, said in (
        ({"ratings": tmp_path / "none.csv"}, "none.csv: no such file"),
        ({"ratings": tmp_path / "ratings.xlsx"}, "Spark reads .parquet, .csv"),
        ({"items": tmp_path / "broken.parquet"}, "broken.parquet: Spark cannot read it: Encountered error"),
        (
            {"text": None},
            "names 'year', 'genres'; the catalogue has the columns item_id, title; name others by --text",
        ),
        ({"text": "plain"}, "names no column in braces"),
        ({"columns": {"rating": "stars"}}, "neither has a column stars"),
        ({"ratings": tmp_path / "items.csv"}, "no column user_id, rating among item_id, title"),
        ({"ratings": tmp_path / "words.csv"}, "too little to measure on: 0 items"),
        ({"ratings": tmp_path / "same.csv"}, "every rating is 3"),
        ({"liked": 4.0}, "liked=4: no rating of the test set is as high; they go from 1 to 3"),
        ({"n_tokens": 50}, "n_tokens=50: with 3 rated items and this encoder, 1 to 3"),
        ({"encoder": "no/such-model"}, "no/such-model"),
        ({"seed": -1}, "seed=-1"),
    ):
        with pytest.raises(InputError, match=re.escape(said)) as error:
            spark_report.report(tmp_path / "out", **good | wrong, say=lambda line: None)
        assert "\n" not in str(error.value) and not list(tmp_path.glob("out*"))


@needs_spark
def test_tables_are_read_as_they_were_meant(spark, tmp_path):
    """Ids that look like numbers, lines in quotes, a name that two columns have, and what is there twice."""
    (tmp_path / "ratings.csv").write_text(
        "user_id,item_id,rating,stars\n007,1.0,9,3\n7,1.0,9,4\n7,1,9,2\n8,A1,9,inf\n9,A1,9,\n9,,9,3\n8,2,9,5\n"
    )
    (tmp_path / "items.csv").write_text(
        'item_id,title,genres\n1,"A shark.\nMore ""than"" one",Action|Horror\nA1,,\n'
    )
    columns = {"rating": "stars"}
    files = tmp_path / "items.csv", tmp_path / "ratings.csv"
    items, ratings = spark_report._tables(spark, *files, columns, ["title", "genres"])
    assert items.toPandas().set_index("item_id")["text"].to_dict() == {
        "1": 'A shark. More "than" one. Action, Horror',
        "A1": "",
    }
    found = ratings.toPandas().set_index(["user_id", "item_id"])["rating"].to_dict()
    assert found == {("007", "1"): 3.0, ("7", "1"): 3.0, ("8", "2"): 5.0}
    pd.DataFrame({"user_id": [1.0, np.nan], "item_id": [5, 5], "rating": [1, 2]}).to_parquet(
        tmp_path / "r.parquet"
    )
    pd.DataFrame({"item_id": [5], "title": ["Heat"], "year": [1995.0]}).to_parquet(tmp_path / "i.parquet")
    items, ratings = spark_report._tables(
        spark, tmp_path / "i.parquet", tmp_path / "r.parquet", {}, "{title} ({year})"
    )
    assert items.first().asDict() == {"item_id": 5, "text": "Heat (1995)"}
    assert [row.asDict() for row in ratings.collect()] == [{"user_id": 1, "item_id": 5, "rating": 1.0}]


@needs_spark
def test_everybody_has_rated_everything(spark, tmp_path):
    """The audience then says nothing: there is one direction, and the others are 0, not missing."""
    pairs = pd.MultiIndex.from_product([range(30), range(20)], names=["user_id", "item_id"]).to_frame(
        index=False
    )
    pairs["rating"] = np.random.default_rng(0).integers(1, 6, len(pairs)).astype(float)
    tokens = pd.DataFrame(np.random.default_rng(1).normal(size=(20, 2)))
    tokens = to_spark(spark, tokens, "token")
    place = scale.fit(
        to_spark(spark, pairs), tokens, str(tmp_path / "m"), n_factors=2, n_epochs=1, n_audience=5
    )
    assert np.isfinite(scale.rmse(scale.predict(place, to_spark(spark, pairs))))
    pairs.loc[3, "rating"] = np.nan
    with pytest.raises(InputError, match="missing or not finite"):
        scale.fit(to_spark(spark, pairs), tokens, str(tmp_path / "n"), n_factors=2, n_epochs=1)


def test_the_notebook_quotes_what_was_measured():
    """Its literals are what `python benchmarks/spark_scale.py` wrote."""
    root = Path(__file__).resolve().parent.parent
    measured = json.loads((root / "benchmarks" / "spark_scale.json").read_text())
    notebook = nbformat.read(root / "notebooks" / "14_scale_out_with_spark.ipynb", as_version=4)
    quoted = {}
    for cell in notebook.cells:
        for node in ast.parse(cell.source).body if re.match("(AGREE|GROW) =", cell.source) else []:
            if isinstance(node, ast.Assign) and node.targets[0].id in ("AGREE", "GROW"):
                quoted[node.targets[0].id] = ast.literal_eval(node.value)
    assert quoted["AGREE"] == {name: measured["agree"][name] for name in quoted["AGREE"]}
    assert ("GROW" in quoted) == ("grow" in measured)
    if "GROW" in quoted:
        assert quoted["GROW"] == {name: [run[name] for run in measured["grow"]] for name in quoted["GROW"]}


# --- Real executors -----------------------------------------------------------------------------------------


def executors():
    """The executors that this process has started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has just ended
            if "CoarseGrainedExecutorBackend" in " ".join(process.cmdline()):
                found.append(process)
    return found


@pytest.fixture(scope="module")
def cluster():
    if not SLOW or WHY:
        pytest.skip("no executors here")
    from pyspark.sql import SparkSession

    if active := SparkSession.getActiveSession():  # that of the tests above, which has no executors
        active.stop()
    made = scale.session(2, memory=1024, spark__sql__shuffle__partitions=2)
    assert made.range(2).count() == 2 and len(executors()) == 2
    yield made
    made.stop()


def killing(work, when):
    """Do `work`, and kill an executor when `when()` says so; return how many died."""
    killed = []

    def kill():
        while not done.is_set() and not killed:
            with contextlib.suppress(OSError):  # a folder that was looked into has just gone
                if when() and (found := executors()):
                    found[0].kill()
                    killed.append(found[0].pid)
            time.sleep(0.1)

    done, thread = threading.Event(), threading.Thread(target=kill)
    thread.start()
    try:
        work()
    finally:
        done.set()
        thread.join()
    return len(killed)


@with_executors
def test_an_executor_dies_while_it_encodes(cluster, data, tmp_path):
    items = pd.DataFrame({"item_id": data.items.index[:1500], "text": data.items["text"].to_numpy()[:1500]})
    items = to_spark(cluster, items)
    embeddings = scale.encode(items, parts=8, batch_size=64)
    embeddings.write.parquet(str(tmp_path / "calm"))

    def half_done():  # some tasks have written
        return len(list(tmp_path.glob("killed/_temporary/**/*.parquet"))) >= 3

    assert killing(lambda: embeddings.write.parquet(str(tmp_path / "killed")), half_done) == 1
    calm, killed = (
        pd.read_parquet(tmp_path / name).sort_values("item_id", ignore_index=True)
        for name in ("calm", "killed")
    )
    assert len(calm) == 1500 and (calm["item_id"] == killed["item_id"]).all()
    np.testing.assert_array_equal(np.stack(calm["embedding"]), np.stack(killed["embedding"]))


@with_executors
def test_an_executor_dies_while_it_fits(cluster, tmp_path):
    ratings, tokens = made_up(200, 150, 5000)
    frames = to_spark(cluster, ratings), to_spark(cluster, tokens, "token")
    options = {"n_factors": K, "n_epochs": 1, "n_audience": 0, "parts": 2}
    scale.fit(*frames, str(tmp_path / "calm"), **options)

    def half_done():  # users and items have been solved once, and will be again
        return (tmp_path / "killed/parts/users-rows-0/_SUCCESS").exists()

    assert killing(lambda: scale.fit(*frames, str(tmp_path / "killed"), **options), half_done) == 1
    for side, key in (("users", "user_id"), ("items", "item_id")):
        calm, killed = (pd.read_parquet(tmp_path / name / side) for name in ("calm", "killed"))
        calm, killed = (frame.sort_values(key, ignore_index=True) for frame in (calm, killed))
        assert (calm[key] == killed[key]).all()
        np.testing.assert_allclose(np.stack(calm["factors"]), np.stack(killed["factors"]), atol=1e-10)


@with_executors
def test_one_user_with_a_million_ratings(cluster, tmp_path):
    rng, n = np.random.default_rng(0), 1_000_000
    one = pd.DataFrame({"user_id": 0, "item_id": np.arange(n)})
    rest = pd.DataFrame({"user_id": rng.integers(1, 2000, 40_000), "item_id": rng.integers(0, 500, 40_000)})
    ratings = pd.concat([one, rest], ignore_index=True).drop_duplicates()
    ratings["rating"] = rng.integers(1, 6, len(ratings)).astype(float)
    tokens = pd.DataFrame(rng.normal(size=(n, 2)))
    for name, frame in (("ratings", ratings), ("tokens", tokens)):
        if name == "tokens":
            frame = pd.DataFrame({"item_id": frame.index, "token": list(frame.to_numpy())})
        (tmp_path / name).mkdir()
        frame.to_parquet(tmp_path / name / "0.parquet", index=False)
    frames = [cluster.read.parquet(str(tmp_path / name)) for name in ("ratings", "tokens")]
    model = TokenSVD(tokens, reducer="passthrough", n_factors=2, n_epochs=1, n_audience=0).fit(ratings)
    start = to_spark(cluster, first_values(model, ratings, 2))
    folder = str(tmp_path / "model")
    scale.fit(*frames, folder, n_factors=2, n_epochs=1, n_audience=0, parts=16, most=50_000, start=start)
    sizes = cluster.read.parquet(f"{folder}/parts/users-ratings").groupBy("part").count().toPandas()["count"]
    assert len(sizes) == 16 and sizes.max() < 1.3 * sizes.mean()  # nobody carries the million alone
    users = pd.read_parquet(tmp_path / "model" / "users").set_index("user_id").loc[model.user_ids]
    np.testing.assert_allclose(np.stack(users["factors"]), model.user_factors_, atol=1e-8)
