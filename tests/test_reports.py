"""The folder of a report: what goes in, what comes out, and what is left when something goes wrong."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from test_run_notebooks import wait_for, write_notebook

import llmtok
from llmtok import InputError, notebooks, report, reports
from llmtok.reports import describe, locked, preview, read_status

PARAMETERS = """\
DATASET = "movielens-small"
RATINGS = ""
ITEMS = ""
COLUMNS = {}
STRENGTHS = {}
ENCODING = ""
TEXT = ""
LIKED = 0.0
ENCODER = "all-MiniLM-L6-v2"
N_TOKENS = 0
REDUCTION = "pca"
SPLIT = "random"
QUICK = False
EASE = {}
RANDOM_STATE = 0
OUT_DIR = ""
DO = ""  # what is to go wrong
"""
WORK = """\
import json, os, pathlib, sys, time
mine = {k: v for k, v in globals().items() if k.isupper() and k not in ("DO", "OUT_DIR")}
out = pathlib.Path(OUT_DIR)
(out / "progress.json").write_text(json.dumps({"done": 1, "total": 2, "what": "work"}))
(out / "left.part").touch()
exec(DO)
(out / "metrics.json").write_text(json.dumps(mine))"""
STATUS_KEYS = {"state", "started", "ended", "seconds", "pid", "settings", "data", "notebooks", "versions"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Stand-in notebooks: a course of one, and a report that writes down its parameters."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    monkeypatch.setattr(notebooks, "notebooks_folder", lambda: folder)
    monkeypatch.setattr(reports, "COURSE", ["01_first"])
    write_notebook(folder / "01_first.ipynb", "DATASET", title="# Learn it")
    write_notebook(folder / "report.ipynb", WORK, parameters=PARAMETERS, title="# Read the report")
    return folder


@pytest.fixture
def faked(monkeypatch, folder):
    """The same without a kernel: what `execute` was given, and what it does instead."""
    calls = []

    def fake(notebook, out, parameters, **settings):
        calls.append(parameters)
        out.write_text("{}")
        if do := parameters.get("DO"):
            exec(do)
        (out.parent / "metrics.json").write_text(json.dumps(parameters))
        return {"notebook": notebook.stem, "state": "ok", "seconds": 0.1, "parameters": parameters}

    monkeypatch.setattr(reports, "execute", fake)
    monkeypatch.setattr(reports, "to_html", lambda notebook, html, code: html.write_text("<p>page</p>"))
    return calls


def run(out, do="", **arguments):
    """Run quietly; `do` is what the notebook does."""
    arguments = {"dataset": "movielens-small"} | arguments if "ratings" not in arguments else arguments
    parameters = arguments.pop("parameters", {}) | ({"DO": do} if do else {})
    return report(out, parameters=parameters, progress=False, say=lambda line: None, **arguments)


def contents(folder):
    return {p.name: p.read_bytes() for p in Path(folder).iterdir()}


def names(folder):
    return sorted(p.name for p in Path(folder).iterdir())


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "log.csv").write_text("user_id,item_id,rating\n1,1,5\n")
    (folder / "items.csv").write_text("item_id,title\n1,Soap\n")
    return {"ratings": folder / "log.csv", "items": folder / "items.csv"}


# --- a run ---


def test_the_function_is_not_hidden_by_a_module():
    assert callable(llmtok.report) and llmtok.report is reports.report


def test_report(folder, tmp_path):
    """With real kernels, from nothing to a result, over a failure, to another result."""
    out, said = tmp_path / "reports" / "mine", []
    status = report(out, dataset="movielens-small", n_tokens=5, course=True, progress=False, say=said.append)
    assert said == ["[1/2] 01_first", "[2/2] report"]
    assert status["state"] == "ok" and set(status) == STATUS_KEYS and status["pid"] == os.getpid()
    assert [(n["notebook"], n["state"]) for n in status["notebooks"]] == [
        ("01_first", "ok"),
        ("report", "ok"),
    ]
    assert status["notebooks"][1]["parameters"] == {"DATASET": "movielens-small", "N_TOKENS": 5}
    pages = ["01_first.html", "01_first.ipynb", "report.html", "report.ipynb"]
    assert names(out) == sorted([*pages, "metrics.json", "status.json"])
    assert names(out.parent) == ["mine"]
    assert json.loads((out / "metrics.json").read_text())["N_TOKENS"] == 5
    assert json.loads((out / "status.json").read_text()) == status == read_status(out)
    assert "write_text" not in (out / "report.html").read_text()
    assert ".running" not in (out / "report.html").read_text()

    # A run that fails leaves that alone; one that is good replaces it whole.
    (out / "extra.txt").write_text("from the first run")
    before = contents(out)
    failed = run(out, do="1 / 0")
    assert failed["state"] == "failed" and failed["error"].startswith("report cell [3] 'import json")
    assert failed["error"].endswith("ZeroDivisionError: division by zero")
    assert contents(out) == before and names(out.parent) == ["mine", "mine.failed"]
    assert json.loads((out.parent / "mine.failed" / "status.json").read_text()) == failed
    assert (out.parent / "mine.failed" / "report.ipynb").exists()
    assert read_status(out)["state"] == "ok" and read_status(out.parent / "mine.failed")["state"] == "failed"
    assert run(out, n_tokens=7)["state"] == "ok"
    assert json.loads((out / "metrics.json").read_text())["N_TOKENS"] == 7
    assert names(out) == ["metrics.json", "report.html", "report.ipynb", "status.json"]
    assert names(out.parent) == ["mine"]


def test_what_was_given_reaches_the_notebook(faked, tmp_path, files, monkeypatch):
    model = tmp_path / "model"
    model.mkdir()
    monkeypatch.chdir(tmp_path)
    status = run(
        "out", ratings="shop/log.csv", items=files["items"], columns={"rating": None, "user_id": "who"},
        strengths={"view": 1}, encoding="cp1252", text=["title", "plot"], liked=np.float64(3), encoder="model",
        n_tokens=np.int64(8), reduction="random", split="temporal", quick=True,
        parameters={"EASE": {"l2": 2.0}, "RANDOM_STATE": "3"},
    )  # fmt: skip
    [given] = faked
    assert Path(given.pop("OUT_DIR")).parent == tmp_path / "out.running"
    assert given == {
        "DATASET": "", "RATINGS": str(files["ratings"]), "ITEMS": str(files["items"]),
        "COLUMNS": {"rating": None, "user_id": "who"}, "STRENGTHS": {"view": 1.0}, "ENCODING": "cp1252",
        "TEXT": "{title}. {plot}", "LIKED": 3.0, "ENCODER": str(model), "N_TOKENS": 8, "REDUCTION": "random",
        "SPLIT": "temporal", "QUICK": True, "EASE": {"l2": 2.0}, "RANDOM_STATE": 3,
    }  # fmt: skip
    assert status["settings"] == json.loads(json.dumps(status["settings"]))
    assert status["settings"]["parameters"] == {"EASE": {"l2": 2.0}, "RANDOM_STATE": 3}
    assert status["data"][str(files["ratings"])]["bytes"] == len(files["ratings"].read_bytes())
    assert {"course", "dataset"}.isdisjoint(status["settings"])


def test_what_is_described_is_what_stands_in_the_status(faked, tmp_path, files):
    """So a sweep knows what is finished."""
    first = run(tmp_path / "a", liked=4, **files)
    told = describe(liked=4, parameters={}, **files)
    assert {name: first[name] for name in told} == told and set(told) == {"settings", "data", "versions"}
    files["ratings"].write_text("user_id,item_id,rating\n1,1,4\n")
    changed = describe(liked=4, **files)
    assert changed["settings"] == told["settings"] and changed["data"] != told["data"]
    assert set(describe(dataset="debian-packages")["data"]) == {"interactions.csv", "items.csv"}
    assert describe(dataset="movielens-1m")["data"]["ml-1m.zip"]["sha256"].startswith("a689")
    assert describe(dataset="movielens-32m")["data"]["ml-32m.zip"]["md5"].startswith("d472")


# --- what is refused ---


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "no data: give a data set, or the two files"),
        ({"ratings": "log"}, "no items: give two files"),
        ({"items": "items"}, "no ratings: give two files"),
        ({"dataset": "movielens-small", "ratings": "log"}, "a data set and files are given"),
        ({"dataset": "movielens-small", "columns": {"title": "t"}}, "columns says how files are read"),
        ({"dataset": "nonsense"}, "unknown data set 'nonsense'; there are movielens-small"),
        ({"dataset": ""}, "unknown data set ''"),
        ({"dataset": "a\0b"}, "unknown data set"),
        ({"dataset": 3}, "dataset=3: it is the name of a data set"),
        ({"dataset": "notebooks"}, "ratings.csv: no such file"),
        ({"ratings": "nowhere.csv", "items": "items"}, "nowhere.csv: no such file"),
        ({"ratings": "shop", "items": "items"}, "shop: a folder; name the file"),
        ({"ratings": "log", "items": "items", "course": True}, "the course runs on a data set"),
        ({"ratings": "log", "items": "items", "columns": {"colour": "c"}}, "columns= knows .* not 'colour'"),
        ({"ratings": "log", "items": "items", "columns": {"title": 3}}, "title is 3, and not the name"),
        ({"ratings": "log", "items": "items", "columns": ["title"]}, "it maps our names to yours"),
        ({"ratings": "log", "items": "items", "strengths": {"view": "x"}}, "the strength of 'view' is 'x', and not a"),
        ({"ratings": "log", "items": "items", "strengths": {"view": float("nan")}}, "is nan, and not a number"),
        ({"ratings": "log", "items": "items", "strengths": {1: 1}}, "it maps each action"),
        ({"ratings": "log", "items": "items", "encoding": "klingon"}, "encoding='klingon' is not known"),
        ({"ratings": "log", "items": "items", "encoding": "rot13"}, "encoding='rot13' is not known"),
        ({"dataset": "movielens-small", "liked": "4"}, "liked is '4', and not a number"),
        ({"dataset": "movielens-small", "liked": float("inf")}, "liked is inf, and not a number"),
        ({"dataset": "movielens-small", "n_tokens": 2.5}, "n_tokens is 2.5, and not a whole number"),
        ({"dataset": "movielens-small", "n_tokens": -1}, "n_tokens is -1"),
        ({"dataset": "movielens-small", "n_tokens": True}, "n_tokens is True"),
        ({"dataset": "movielens-small", "reduction": "umap"}, "'umap': it is one of pca, truncated_svd, random"),
        ({"dataset": "movielens-small", "split": "tempral"}, "it is one of random, temporal"),
        ({"dataset": "movielens-small", "encoder": 3}, "encoder=3: it is a name, or a folder"),
        ({"dataset": "movielens-small", "text": {"title"}}, "neither a text nor a list"),
        ({"dataset": "movielens-small", "text": ["{title}"]}, "rename it, without braces"),
        ({"dataset": "movielens-small", "timeout": 0}, "timeout=0: it is a number of seconds"),
        ({"dataset": "movielens-small", "parameters": {"M": 1}}, "no notebook has a parameter 'M'"),
        ({"dataset": "movielens-small", "parameters": {"OUT_DIR": "x"}}, "OUT_DIR: use the option out"),
        ({"dataset": "movielens-small", "parameters": {"LIKED": 1.0}}, "LIKED: use the option liked"),
        ({"dataset": "movielens-small", "parameters": {"EASE": "import os"}}, "is not like its default"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_before_anything_is_written(faked, tmp_path, files, monkeypatch, given, words):
    monkeypatch.chdir(tmp_path)
    given = given | {
        k: files["ratings" if v == "log" else "items"] for k, v in given.items() if v in ("log", "items")
    }
    with pytest.raises(InputError, match=words) as error:
        report("reports/out", **given)
    assert "\n" not in str(error.value)
    assert faked == [] and names(tmp_path) == ["notebooks", "shop"]


def test_bad_data_leave_nothing_behind(folder, tmp_path):
    """They are read in the kernel; its line is ours."""
    do = "from llmtok import InputError; raise InputError('log.csv: it is empty')"
    with pytest.raises(InputError, match=r"^log.csv: it is empty$"):
        run(tmp_path / "reports" / "deep" / "out", do=do)
    assert names(tmp_path) == ["notebooks"]


def test_what_is_not_ours_is_not_replaced(faked, tmp_path, monkeypatch, files):
    mine = tmp_path / "documents"
    mine.mkdir()
    (mine / "letter.txt").write_text("dear")
    for what in ("letter.txt", "status.json"):
        (mine / what).write_text("{" if what == "status.json" else "dear")
        with pytest.raises(InputError, match="not the result of a run"):
            run(mine)
    (mine / "status.json").write_text('{"state": "ok"}')  # of another program
    with pytest.raises(InputError, match="not the result of a run"):
        run(mine)
    with pytest.raises(InputError, match="not the result of a run"):
        run(mine / "letter.txt")
    for beside in ("x.failed", "x.replaced", "x.running"):  # nor what has the name of one of ours
        (tmp_path / beside).mkdir()
        (tmp_path / beside / "letter.txt").touch()
        with pytest.raises(InputError, match=f"{beside}: is there already"):
            run(tmp_path / "x")
        assert read_status(tmp_path / "x") is None
        assert names(tmp_path / beside) == ["letter.txt"]
        shutil.rmtree(tmp_path / beside)
    monkeypatch.chdir(mine)
    for here in (".", "..", tmp_path):
        with pytest.raises(InputError, match="you are in this folder"):
            run(here)
    with pytest.raises(InputError, match="a result cannot take its place"):
        run("/")
    assert faked == [] and names(tmp_path) == ["documents", "notebooks", "shop"]
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty")["state"] == "ok"


def test_data_in_the_folder_of_results_are_not_lost(faked, tmp_path, files):
    out = tmp_path / "out"
    run(out)
    (out / "log.csv").write_text("user_id,item_id,rating\n1,1,5\n")
    with pytest.raises(InputError, match=r"log.csv: lies in .*out, which the result replaces"):
        run(out, ratings=out / "log.csv", items=files["items"])
    assert (out / "log.csv").exists()


@pytest.mark.parametrize("place", ["letter.txt/out", "letter.txt/a/b", "x" * 250, "a\0b", "x" * 5000])
def test_a_place_that_cannot_be(faked, tmp_path, place):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match=r"cannot be written .*; choose another place") as error:
        run(f"{tmp_path}/{place}")
    assert "\n" not in str(error.value)
    assert names(tmp_path) == ["letter.txt", "notebooks"]


def test_a_place_that_may_only_be_read(faked, tmp_path, monkeypatch):
    if os.name != "nt" and os.geteuid():
        (tmp_path / "mine").mkdir(mode=0o555)
    else:  # nothing is forbidden to root, and on Windows not by a mode

        def forbidden(*arguments, **settings):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(reports.FileLock, "acquire", forbidden)
    with pytest.raises(InputError, match=r"cannot be written \(Permission denied\); choose another place"):
        run(tmp_path / "mine" / "out")
    assert not (tmp_path / "mine").exists() or not names(tmp_path / "mine")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="a file system that can hold no file of ours")
def test_a_file_system_that_takes_nothing(faked):
    with pytest.raises(InputError, match="/proc/out: cannot be written"):
        run("/proc/out")


# --- what goes wrong ---


def test_our_own_writing_fails(faked, tmp_path, monkeypatch):
    run(tmp_path / "out")
    before = contents(tmp_path / "out")

    def full(*arguments, **settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reports, "to_html", full)
    with pytest.raises(OSError, match="No space"):
        run(tmp_path / "out")
    status = read_status(tmp_path / "out.failed")
    assert status["state"] == "failed" and "No space left" in status["error"]
    monkeypatch.setattr(reports, "write_text", full)  # not even the status can be written
    with pytest.raises(OSError, match="No space"):
        run(tmp_path / "out")
    assert contents(tmp_path / "out") == before
    assert names(tmp_path) == ["notebooks", "out", "out.failed"]


def test_a_cell_that_times_out(folder, tmp_path):
    status = run(tmp_path / "out", do="time.sleep(60)", timeout=1)
    assert status["state"] == "failed" and status["error"].endswith("it took longer than 1 seconds")
    assert read_status(tmp_path / "out") == status  # of the last try, for there is no result
    assert names(tmp_path) == ["notebooks", "out.failed"]


SCRIPT = """
import pathlib, sys
from llmtok import notebooks, report, reports
notebooks.notebooks_folder = lambda: pathlib.Path({folder!r})
reports.COURSE = ["01_first"]
{more}
out, do = sys.argv[1:]
status = report(out, dataset="movielens-small", parameters={{"DO": do}} if do else {{}}, progress=False)
print(status["state"], status.get("error", ""))
"""


@pytest.fixture
def elsewhere(folder):
    """Start a run in another process."""

    def start(out, do="", more="", **settings):
        script = SCRIPT.format(folder=str(folder), more=more)
        return subprocess.Popen([sys.executable, "-c", script, str(out), do], text=True, **settings)

    return start


posix = pytest.mark.skipif(os.name == "nt", reason="signals are sent otherwise on Windows")


@posix
def test_a_full_disk(elsewhere, faked, tmp_path):
    """No file may be longer than this: neither the page nor, at the second time, the status."""
    run(tmp_path / "out")
    before = contents(tmp_path / "out")
    for most, left in ((100_000, ["notebooks", "out", "out.failed"]), (300, ["notebooks", "out"])):
        shutil.rmtree(tmp_path / "out.failed", ignore_errors=True)
        limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most}))"
        process = elsewhere(tmp_path / "out", more=limit, stderr=subprocess.PIPE)
        said = process.communicate(timeout=60)[1]
        assert "File too large" in said and process.returncode == 1
        assert contents(tmp_path / "out") == before and names(tmp_path) == left
    assert run(tmp_path / "out")["state"] == "ok" and names(tmp_path) == ["notebooks", "out"]


@posix
def test_ctrl_c(elsewhere, tmp_path):
    """As a reader does it: a signal to the process, in the middle of a cell."""
    process = elsewhere(tmp_path / "out", "(out / 'begun').touch(); time.sleep(120)", stdout=subprocess.PIPE)
    wait_for(lambda: list(tmp_path.glob("out.running/*/begun")))
    assert read_status(tmp_path / "out")["state"] == "running"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert said.splitlines()[-1].startswith("stopped report cell [3]") and said.endswith(
        "stopped by Ctrl-C\n"
    )
    status = read_status(tmp_path / "out.failed")
    assert status["state"] == "stopped" and [n["state"] for n in status["notebooks"]] == ["stopped"]
    assert names(tmp_path) == ["notebooks", "out.failed"]


@posix
def test_two_runs_to_one_folder(elsewhere, faked, tmp_path):
    process = elsewhere(
        tmp_path / "out", "(out / 'begun').touch()\nwhile not (out / 'go').exists(): time.sleep(.1)"
    )
    wait_for(lambda: list(tmp_path.glob("out.running/*/begun")))
    with pytest.raises(InputError, match=f"out: process {process.pid} writes a result there; wait for it"):
        run(tmp_path / "out")
    assert read_status(tmp_path / "out")["state"] == "running"
    (tmp_path / "out.running" / str(process.pid) / "go").touch()
    assert process.wait(timeout=60) == 0 and faked == []
    assert read_status(tmp_path / "out")["pid"] == process.pid
    assert names(tmp_path) == ["notebooks", "out"]


def test_a_lock_keeps_threads_apart_too(faked, tmp_path):
    """And whoever waited for a lock file that went away does not hold another one than the next."""
    inside, most = [], []

    def work():
        for _ in range(20):
            with locked(tmp_path / "out", wait=30):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.002)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 80 and max(most) == 1
    assert names(tmp_path) == ["notebooks"]


@posix
def test_killed_at_any_moment(elsewhere, faked, tmp_path):
    """The earlier result stays whole, the status says what happened, and the next run is right and tidies up."""
    out = tmp_path / "out"
    run(out)
    before = contents(out)
    draw = random.Random(5)
    for _ in range(20 if os.environ.get("LLMTOK_SLOW") else 3):
        process = elsewhere(out, "time.sleep(1)", stdout=subprocess.DEVNULL)
        wait_for(lambda: (tmp_path / "out.running").exists())
        time.sleep(draw.uniform(0, 3.5))
        process.kill()
        process.wait()
        status = read_status(out)
        assert status["state"] == "ok"
        if status["pid"] != process.pid:
            assert contents(out) == before
        else:  # it had ended well by then
            assert json.loads((out / "metrics.json").read_text())["N_TOKENS"] == 0
        assert (
            run(out)["state"] == "ok"
        )  # at once, though a kernel of the killed one may live on for a second
        before = contents(out)
        assert names(tmp_path) == ["notebooks", "out"]


def test_a_run_that_was_killed_says_so(faked, tmp_path):
    with pytest.raises(SystemExit):  # nothing of ours is done on the way out
        run(tmp_path / "out", do="raise SystemExit")
    work = next((tmp_path / "out.running").iterdir())
    assert json.loads((work / "status.json").read_text())["state"] == "running"
    assert read_status(tmp_path / "out")["state"] == "killed"
    with locked(tmp_path / "out"):
        assert read_status(tmp_path / "out")["state"] == "running"
    assert run(tmp_path / "out")["state"] == "ok" and names(tmp_path) == ["notebooks", "out"]


@pytest.mark.parametrize("renames", range(4))
@pytest.mark.parametrize("by", ["a run", "a reader"])
def test_killed_while_folders_are_swapped(faked, tmp_path, monkeypatch, renames, by):
    """Stopped at each of the steps; neither of the two results is lost."""
    out = tmp_path / "out"
    first = run(out, liked=1)
    rename, remove, steps = Path.rename, reports._remove, []

    class Killed(BaseException):
        pass

    def step(kind):
        def stepped(path, *arguments):
            if faked[-1].get("LIKED") == 2.0 and path.name.partition(".")[0] in ("out", str(os.getpid())):
                if (tmp_path / "out.running" / str(os.getpid()) / "metrics.json").exists() or steps:
                    steps.append(path)
                    if len(steps) > renames:
                        raise Killed
            return kind(path, *arguments)

        return stepped

    monkeypatch.setattr(Path, "rename", step(rename))
    monkeypatch.setattr(reports, "_remove", step(remove))
    with pytest.raises(Killed):
        run(out, liked=2)
    monkeypatch.undo()
    if by == "a reader":
        status = read_status(out)
        assert (
            status["settings"]["liked"] == 2.0
            and json.loads((out / "metrics.json").read_text())["LIKED"] == 2.0
        )
        assert names(tmp_path) == ["notebooks", "out"]
    else:
        monkeypatch.setattr(notebooks, "notebooks_folder", lambda: tmp_path / "notebooks")
        monkeypatch.setattr(
            reports, "execute", lambda *a, **s: {"state": "failed", "error": "cell [1]", "seconds": 0}
        )
        assert run(out, liked=3)["state"] == "failed"
        assert read_status(out)["settings"]["liked"] == 2.0
        assert names(tmp_path) == ["notebooks", "out", "out.failed"]
    assert first["settings"]["liked"] == 1.0


def test_a_deletion_that_was_interrupted(faked, tmp_path):
    """What is left of one is known as ours, and goes."""
    run(tmp_path / "out")
    for left in ([], ["status.json.part"]):
        (tmp_path / "out.replaced").mkdir()
        for name in left:
            (tmp_path / "out.replaced" / name).touch()
        assert run(tmp_path / "out")["state"] == "ok" and names(tmp_path) == ["notebooks", "out"]
    for number in range(30):  # a folder has an order of its own
        (tmp_path / "out" / f"{number}.txt").touch()
    order, unlink = [], os.unlink

    def noted(path, *arguments, **settings):
        order.append(Path(path).name)
        unlink(path, *arguments, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "unlink", noted)
        reports._remove(tmp_path / "out")
    assert order[-1] == "status.json" and not (tmp_path / "out").exists()


@pytest.mark.parametrize("by", ["a run", "a reader"])
def test_a_result_that_was_moved_away_and_not_replaced_comes_back(faked, tmp_path, by):
    out = tmp_path / "out"
    run(out)
    before = contents(out)
    out.rename(tmp_path / "out.replaced")
    if by == "a run":
        with pytest.raises(InputError, match="empty"):
            run(out, do="raise InputError('log.csv: it is empty')")
    assert read_status(out)["state"] == "ok" and contents(out) == before
    assert names(tmp_path) == ["notebooks", "out"]


@pytest.mark.parametrize("text", ["", "{", "[]", '"ok"', "null", "[" * 100_000, "\0"])
def test_a_status_that_cannot_be_read(faked, tmp_path, text):
    out = tmp_path / "out"
    run(out)
    (out / "status.json").write_text(text)
    assert read_status(out) is None
    with pytest.raises(InputError, match="not the result of a run"):
        run(out)
    assert (out / "metrics.json").exists()


def test_nothing_has_run(tmp_path):
    assert read_status(tmp_path / "nowhere" / "out") is None and read_status(tmp_path) is None
    assert names(tmp_path) == []


# --- dry run ---


def test_preview(small_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = []
    how = {"text": ["title", "genres"], "columns": {"year": None}, "quick": True}
    preview(say=said.append, ratings=small_folder / "ratings.csv", items=small_folder / "items.csv", **how)
    text = "\n".join(said)
    assert re.match(r"[\w-]+: [\d,]+ ratings of \d+ users; \d+ items, \d+ of them rated", said[0])
    assert "  ratings.csv, rating: column 'rating'" in said and "  items.csv, year: column 'year'" not in said
    assert "Text of an item: {title}. {genres}" in said and any(
        " such as: Toy Story" in line for line in said
    )
    assert "A quick look" in text and said[-1].startswith("  It will take about ")
    assert names(tmp_path) == []


def test_preview_steers_no_terminal(tmp_path, files, monkeypatch):
    title = "\x1b[2JSoap \u202eeno"
    files["items"].write_text(f'item_id,title\n1,"{title}\n2nd line"\n', encoding="utf-8")
    monkeypatch.setattr(
        "llmtok.measure.plan", lambda data, **how: type("Plan", (), {"notes": ["\x07"], "seconds": 1})
    )
    said = []
    preview(say=said.append, **files)
    assert all(line.isprintable() for line in said) and any(
        "\\x1b[2JSoap \\u202eeno" in line for line in said
    )
    assert any("no column for" in line or "rows: 1" in line for line in said)
