"""Sweeps: which runs there are, which of them are done again, and the table over them."""

import json
import multiprocessing
import os
import random
import re
import sys
import time

import nbformat
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtok import InputError, TextEncoder, __version__, cli, reports, sweeps
from llmtok import notebooks as runner
from llmtok.sweeps import compare_runs, list_runs, parse_grid, read_grid, sweep

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
N_TOKENS = 50
REDUCTION = "pca"
SPLIT = "random"
QUICK = False
EASE = {}
SVD = {}
RANDOM_STATE = 0
OUT_DIR = ""
"""
FULL = "NDCG@10, all items, full text"
CSP = "default-src 'none'"


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    """In place of the report notebook: one that is done at once, and what it was done with.

    `stand_in.fails` says by parameters how a run goes wrong.
    """
    folder = tmp_path / "notebooks"
    folder.mkdir()
    cell = nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / "report.ipynb")

    class StandIn:
        calls, seconds = [], 0.0

        @staticmethod
        def fails(parameters):
            return None

        @classmethod
        def execute(cls, notebook, out, parameters, **more):
            parameters = runner.declared_parameters(notebook) | parameters
            cls.calls.append(parameters)
            for part in range(5):
                (out.parent / f"part{part}").write_text("x" * 1000)
                time.sleep(cls.seconds / 5)
            done = {"notebook": "report", "state": "ok", "seconds": 0.1}
            if wrong := cls.fails(parameters):
                return done | {"state": wrong, "error": "cell [1] 'x': it went wrong"}
            summary = {
                FULL: parameters["N_TOKENS"] / 100,
                "RMSE, known items, full text": 1 / parameters["N_TOKENS"],
            }
            (out.parent / "metrics.json").write_text(json.dumps({"summary": summary}))
            return done

    StandIn.calls = []
    monkeypatch.setattr(runner, "notebooks_folder", lambda: folder)
    monkeypatch.setattr(reports, "execute", StandIn.execute)
    monkeypatch.setattr(reports, "to_html", lambda notebook, html, **more: html.write_text("page"))
    return StandIn


@pytest.fixture
def files(tmp_path):
    """Ratings and a catalogue: nothing here reads them, but they have checksums."""
    (tmp_path / "r.csv").write_text("user_id,item_id\n1,1\n")
    (tmp_path / "i.csv").write_text("item_id,title\n1,One\n")
    return {"ratings": tmp_path / "r.csv", "items": tmp_path / "i.csv"}


def quiet(line):
    pass


def contents(folder):
    """All files of a folder: when they were written, and what is in them."""
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(folder.rglob("*")) if p.is_file()}


# --- which runs, in which order, under which names ---


def test_the_encoder_changes_last_and_names_are_in_the_order_of_the_grid():
    runs = list_runs({"n_tokens": [10, 50], "encoder": ["a/b", "c"], "ease.l2": [2]}, {"quick": True})
    names = list(runs)
    assert names[2:] == ["n_tokens=10,encoder=c,ease.l2=2", "n_tokens=50,encoder=c,ease.l2=2"]
    assert re.fullmatch("n_tokens=10,encoder=a_b,ease.l2=2-[0-9a-f]{8}", names[0])
    assert runs[names[2]] == {
        "quick": True,
        "n_tokens": 10,
        "encoder": "c",
        "parameters": {"EASE": {"l2": 2}},
    }


def test_parameters_are_joined_and_not_shared():
    fixed = {"parameters": {"EASE": {"dropout": 0.5}, "N_PEOPLE": 1}, "seed": 7}
    runs = list_runs({"ease.l2": [2, 8], "svd.n_factors": [5]}, fixed)
    assert [run["parameters"]["EASE"] for run in runs.values()] == [
        {"dropout": 0.5, "l2": 2},
        {"dropout": 0.5, "l2": 8},
    ]
    assert all(
        run["parameters"]["RANDOM_STATE"] == 7 and run["parameters"]["N_PEOPLE"] == 1 for run in runs.values()
    )
    assert all(run["parameters"]["SVD"] == {"n_factors": 5} for run in runs.values())
    assert fixed == {"parameters": {"EASE": {"dropout": 0.5}, "N_PEOPLE": 1}, "seed": 7}
    seeds = list_runs({"seed": [0, 1], "N_PEOPLE": [2]}, {})
    assert list(seeds) == ["seed=0,N_PEOPLE=2", "seed=1,N_PEOPLE=2"]
    assert seeds["seed=1,N_PEOPLE=2"] == {"parameters": {"RANDOM_STATE": 1, "N_PEOPLE": 2}}


@pytest.mark.parametrize(
    "value",
    ["../../etc", "a:b", "C:\\x", "x" * 300, "三体", "a.failed", "x.running", "end.", "{title}, {year}", "a\nb", "",
     " ", "\x1b[31m", ["title", "ünder"], "CON"],
)  # fmt: skip
def test_names_are_safe_on_every_file_system(value, tmp_path):
    [name] = list_runs({"text": [value]}, {})
    assert re.fullmatch(r"[A-Za-z0-9=,._+-]{1,100}", name) and ".." not in name
    assert not re.search(
        r"\.[A-Za-z]*$", name
    )  # no name of ours for a folder beside it; Windows drops a last point
    (tmp_path / name).mkdir()


@given(st.lists(st.text(max_size=120), min_size=1, max_size=8, unique=True))
def test_no_two_runs_have_one_name(values):
    names = list_runs({"encoder": values}, {})
    assert len({name.casefold() for name in names}) == len(values) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9=,._+-]{1,100}", name) for name in names)


def test_names_that_differ_in_case_only():
    assert len({name.casefold() for name in list_runs({"encoder": ["x", "X"]}, {})}) == 2


def test_a_name_stays_when_the_grid_grows():
    small = set(list_runs({"encoder": ["x", "a/b"], "n_tokens": [10]}, {}))
    assert small < set(list_runs({"encoder": ["x", "X", "a/b", "a:b"], "n_tokens": [10, 20]}, {}))


def test_a_value_that_is_there_twice_is_run_once():
    assert len(list_runs({"n_tokens": [10, 10, 50]}, {})) == 2


@pytest.mark.parametrize(
    ("grid", "fixed", "words"),
    [
        ({}, {}, "the grid is empty"),
        ({"n_token": [1]}, {}, "a grid cannot vary 'n_token'; it can n_tokens"),
        ({"ease.l3": [1]}, {}, "a grid cannot vary 'ease.l3'; it can ease.l2"),
        ({"ease.embeddings": [1]}, {}, "a grid cannot vary"),
        ({"out": ["x"]}, {}, "a grid cannot vary"),
        ({7: [1]}, {}, "a grid cannot vary 7"),
        ({"n_tokens": 10}, {}, "a list of values is needed"),
        ({"n_tokens": []}, {}, "a list of values is needed"),
        ({"encoder": "ab"}, {}, "a list of values is needed"),
        ({"n_tokens": [10]}, {"n_tokens": 50}, "is in the grid, and given for all runs too"),
        ({"seed": [1]}, {"parameters": {"RANDOM_STATE": 1}}, "is in the grid, and given for all runs too"),
        ({"text": [{"title": None}]}, {}, "put it into quotes"),
        ({"ease.l2": [1]}, {"parameters": {"EASE": "{}"}}, "give its settings one by one"),
        ({"ease.l2": [1]}, {"parameters": [1]}, "a mapping of names to values"),
    ],
)
def test_grids_that_are_refused(grid, fixed, words):
    with pytest.raises(InputError, match=re.escape(words)):
        list_runs(grid, fixed)


# --- as it is written ---


def test_the_grid_of_the_command_line():
    written = [
        "n_tokens=10,50",
        "encoder=a, b/c",
        "ease.l2=2,8.5",
        "quick=true,False",
        "seed=1",
        "N_PEOPLE=3",
    ]
    assert parse_grid(written) == {
        "n_tokens": [10, 50],
        "encoder": ["a", "b/c"],
        "ease.l2": [2, 8.5],
        "quick": [True, False],
        "seed": [1],
        "N_PEOPLE": ["3"],
    }
    texts = ["text={title}, {year}", "text=title,summary", "text={a}=b"]
    assert parse_grid(texts) == {"text": ["{title}, {year}", ["title", "summary"], "{a}=b"]}


@pytest.mark.parametrize(
    "written",
    ["n_tokens", "n_tokens=", "n_tokens=10,5o", "n_tokens=1,", "ease.l2=__import__('os')", "liked=[1]"],
)
def test_command_lines_that_are_refused(written):
    with pytest.raises(InputError, match="-g "):
        parse_grid([written])


def test_a_grid_file(tmp_path):
    (tmp_path / "enc").mkdir()
    path = tmp_path / "grid.yaml"
    path.write_text(
        "grid:\n  encoder: [enc, other]\n  text: ['{title}, {year}', [title, genres]]\n  ease.l2: [2.0]\n"
        "fixed:\n  ratings: r.csv\n  items: /else/i.csv\n  columns: {rating: null}\n  seed: 3\n"
    )
    grid, fixed = read_grid(path)
    assert grid == {
        "encoder": [str(tmp_path / "enc"), "other"],
        "text": ["{title}, {year}", ["title", "genres"]],
        "ease.l2": [2.0],
    }
    assert fixed == {
        "ratings": str(tmp_path / "r.csv"),
        "items": str(tmp_path / "/else/i.csv"),
        "columns": {"rating": None},
        "seed": 3,
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "needs a mapping of lists"),
        ("[1]", "needs a mapping of lists"),
        ("grid: [1]", "needs a mapping of lists"),
        ("grid: {n_tokens: [1]}\nfixed: 3", "needs a mapping of lists"),
        ("grid: {n_tokens: [1]}\nfix: {}", "unknown key 'fix'; there are fixed"),
        ("grid: {n_tokens: [1]}\nfixed: {encodr: x}", "unknown key 'encodr'; there are encoder"),
        ("grid: {n_tokens: !!python/object/apply:os.system ['touch pwned']}", "cannot be read safely"),
        ("grid: {n_tokens: &a [1], seed: *a}", "has an alias"),
        ("grid: {n_tokens: [1", "cannot be read safely"),
        ("grid: \x00", "cannot be read safely"),
    ],
)
def test_grid_files_that_are_refused(tmp_path, monkeypatch, text, words):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(words)) as error:
        read_grid(path)
    assert str(error.value).isprintable() and not (tmp_path / "pwned").exists()


def test_no_grid_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_grid(tmp_path / "none.yaml")


# --- running ---


def test_each_run_in_its_folder(stand_in, files, tmp_path):
    said = []
    ended = sweep(tmp_path / "s", {"n_tokens": [10, 50]}, say=said.append, quick=True, **files)
    assert ended == {"n_tokens=10": "ok", "n_tokens=50": "ok"}
    assert [call["N_TOKENS"] for call in stand_in.calls] == [10, 50] and all(
        c["QUICK"] for c in stand_in.calls
    )
    assert said[0] == "[1/2] n_tokens=10" and said[-1] == "2 runs: 2 ok, 0 kept, 0 failed"
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == [
        "compare.html", "compare.json", "n_tokens=10", "n_tokens=50"
    ]  # fmt: skip
    assert reports.read_status(tmp_path / "s" / "n_tokens=10")["settings"]["n_tokens"] == 10


def test_finished_runs_are_kept_to_the_byte(stand_in, files, tmp_path):
    sweep(tmp_path / "s", {"n_tokens": [10, 50]}, say=quiet, **files)
    before = contents(tmp_path / "s" / "n_tokens=10") | contents(tmp_path / "s" / "n_tokens=50")
    ended = sweep(tmp_path / "s", {"n_tokens": [10, 50, 90]}, say=quiet, **files)
    assert ended == {"n_tokens=10": "kept", "n_tokens=50": "kept", "n_tokens=90": "ok"}
    assert len(stand_in.calls) == 3 and before.items() <= contents(tmp_path / "s").items()


def change_data(files, monkeypatch, folder):
    files["ratings"].write_text("user_id,item_id\n2,1\n")


def change_settings(files, monkeypatch, folder):
    files["liked"] = 4.0


def change_version(files, monkeypatch, folder):
    status = json.loads((folder / "status.json").read_text())
    status["versions"]["llmtok"] = "0.0.9"
    (folder / "status.json").write_text(json.dumps(status))


def spoil_status(files, monkeypatch, folder):
    (folder / "status.json").write_text('{"state": "ok", "versions": {}}')


@pytest.mark.parametrize("change", [change_data, change_settings, change_version, spoil_status])
def test_a_run_that_would_be_another_is_done_again(stand_in, files, tmp_path, monkeypatch, change):
    sweep(tmp_path / "s", {"n_tokens": [10]}, say=quiet, **files)
    change(files, monkeypatch, tmp_path / "s" / "n_tokens=10")
    assert sweep(tmp_path / "s", {"n_tokens": [10]}, say=quiet, **files) == {"n_tokens=10": "ok"}
    assert len(stand_in.calls) == 2


def test_a_failed_run_does_not_stop_the_others(stand_in, files, tmp_path):
    stand_in.fails = lambda parameters: "failed" if parameters["N_TOKENS"] == 10 else None
    ended = sweep(tmp_path / "s", {"n_tokens": [10, 50]}, say=quiet, **files)
    assert ended == {"n_tokens=10": "failed", "n_tokens=50": "ok"}
    stand_in.fails = lambda parameters: None
    ended = sweep(tmp_path / "s", {"n_tokens": [10, 50]}, say=quiet, **files)
    assert ended == {"n_tokens=10": "ok", "n_tokens=50": "kept"}
    assert not (tmp_path / "s" / "n_tokens=10.failed").exists()


def refuse(which):
    def execute(notebook, out, parameters, **more):
        if parameters["N_TOKENS"] in which:
            raise InputError("more tokens than items")
        return {"notebook": "report", "state": "ok", "seconds": 0.1}

    return execute


def test_bad_input_at_the_first_run_stops_at_once(stand_in, files, tmp_path, monkeypatch):
    monkeypatch.setattr(reports, "execute", refuse([10]))
    with pytest.raises(InputError, match="more tokens than items"):
        sweep(tmp_path / "deep" / "s", {"n_tokens": [10, 50]}, say=quiet, **files)
    assert not (tmp_path / "deep").exists()


def test_bad_input_at_a_later_run_is_noted(stand_in, files, tmp_path, monkeypatch):
    monkeypatch.setattr(reports, "execute", refuse([50]))
    ended = sweep(tmp_path / "s", {"n_tokens": [10, 50, 90]}, say=quiet, **files)
    assert ended == {"n_tokens=10": "ok", "n_tokens=50": "failed", "n_tokens=90": "ok"}
    table = compare_runs(tmp_path / "s")
    assert table.loc["n_tokens=50", ["state", "n_tokens", "error"]].tolist() == [
        "failed",
        50,
        "more tokens than items",
    ]
    monkeypatch.setattr(reports, "execute", refuse([]))
    assert sweep(tmp_path / "s", {"n_tokens": [10, 50, 90]}, say=quiet, **files)["n_tokens=50"] == "ok"
    assert set(compare_runs(tmp_path / "s")["state"]) == {"ok"}


def test_a_folder_of_somebody_else_stays(stand_in, files, tmp_path):
    theirs = tmp_path / "s" / "n_tokens=50.failed" / "diary.txt"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("dear diary")
    assert sweep(tmp_path / "s", {"n_tokens": [10, 50]}, say=quiet, **files)["n_tokens=50"] == "failed"
    assert theirs.read_text() == "dear diary"


def test_what_is_wrong_with_any_run_is_said_before_the_first(stand_in, files, tmp_path):
    with pytest.raises(InputError, match="reduction='pcb'"):
        sweep(tmp_path / "s", {"reduction": ["pca", "pcb"]}, say=quiet, **files)
    assert stand_in.calls == [] and not (tmp_path / "s").exists()


def test_ctrl_c_stops_and_keeps(stand_in, files, tmp_path):
    stand_in.fails = lambda parameters: "stopped" if parameters["N_TOKENS"] == 50 else None
    said = []
    ended = sweep(tmp_path / "s", {"n_tokens": [10, 50, 90]}, say=said.append, **files)
    assert ended == {"n_tokens=10": "ok", "n_tokens=50": "stopped"} and said[-1].endswith("then stopped")
    assert compare_runs(tmp_path / "s")["state"].tolist() == ["ok", "stopped"]


def test_two_sweeps_at_one_place(stand_in, files, tmp_path):
    refused = []

    def fails(parameters):
        with pytest.raises(InputError, match=r"process .*writes") as error:
            sweep(tmp_path / "s", {"n_tokens": [50]}, say=quiet, **files)
        refused.append(error)

    stand_in.fails = fails
    assert sweep(tmp_path / "s", {"n_tokens": [10]}, say=quiet, **files) == {"n_tokens=10": "ok"}
    assert len(refused) == 1 and sorted(p.name for p in tmp_path.iterdir() if "lock" in p.name) == []


def test_not_into_a_report(stand_in, files, tmp_path):
    reports.report(tmp_path / "s", say=quiet, **files)
    with pytest.raises(InputError, match="is the folder of a report"):
        sweep(tmp_path / "s", {"n_tokens": [10]}, say=quiet, **files)


def test_each_text_is_encoded_once_for_each_encoder(stand_in, files, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMTOK_CACHE", str(tmp_path / "cache"))

    def execute(notebook, out, parameters, **more):
        reader = TextEncoder(parameters["ENCODER"], progress=False, n_threads=1)
        reader.transform(["Toy Story", "Jumanji"])
        (out.parent / "metrics.json").write_text(json.dumps({"summary": reader.report_.to_dict()}))
        return {"notebook": "report", "state": "ok", "seconds": 0.1}

    monkeypatch.setattr(reports, "execute", execute)
    sweep(tmp_path / "s", {"n_tokens": [10, 50], "encoder": ["all-MiniLM-L6-v2"]}, say=quiet, **files)
    assert compare_runs(tmp_path / "s")["distinct texts from the cache"].tolist() == [0, 2]


# --- killed at any moment ---


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork")
def test_killed_at_any_moment_and_started_again(stand_in, files, tmp_path):
    kills, moments = 20 if os.environ.get("LLMTOK_SLOW") else 3, random.Random()
    seed = moments.randrange(10**6)
    moments.seed(seed)
    out, grid = tmp_path / "s", {"n_tokens": list(range(10, 10 + 6 * kills))}
    stand_in.seconds, finished = 0.1, {}

    def check():
        for path, before in finished.items():
            assert (path.stat().st_mtime_ns, path.read_bytes()) == before, (seed, path)

    for _ in range(kills):
        process = multiprocessing.get_context("fork").Process(
            target=sweep, args=(out, grid), kwargs={"say": quiet, **files}
        )
        process.start()
        process.join(moments.uniform(0.05, 0.8))
        process.kill()  # SIGKILL
        process.join()
        assert process.exitcode in (0, -9), seed
        check()
        for status in out.glob("n_tokens=*/status.json") if out.is_dir() else ():
            if json.loads(status.read_text())["state"] == "ok" and "." not in status.parent.name:
                finished |= contents(status.parent)
        states = set(compare_runs(out)["state"]) if any(out.glob("*/status.json")) else set()
        assert states <= {"ok", "killed"}, seed
    stand_in.seconds = 0
    ended = sweep(out, grid, say=quiet, **files)
    check()
    assert len(ended) == 6 * kills and set(ended.values()) <= {"ok", "kept"}, seed
    # A run that was killed when it was done, and not yet in its place, is put there later: it is kept too.
    kept, seen = {name for name, end in ended.items() if end == "kept"}, {p.parent.name for p in finished}
    assert seen <= kept and len(kept) <= len(seen) + kills, seed
    assert {path.name for path in out.iterdir()} == {*ended, "compare.html", "compare.json"}, seed
    assert not list(tmp_path.glob("s.*"))


# --- comparing ---


def write_run(folder, state="ok", summary=None, **status):
    folder.mkdir(parents=True)
    status = {"state": state, "versions": {"llmtok": __version__}, "seconds": 1.5, "data": {}} | status
    (folder / "status.json").write_text(json.dumps(status))
    if summary is not None:
        (folder / "metrics.json").write_text(json.dumps({"summary": summary}))


def test_the_table(tmp_path):
    known = {"RMSE, known items, full text": 0.9, "NDCG@10, all items, no text": 0.2}
    write_run(tmp_path / "k=100", summary={FULL: 0.25, **known}, settings={"n_tokens": 100, "dataset": "d"})
    write_run(
        tmp_path / "k=20", summary={FULL: 0.3, **known},
        settings={"n_tokens": 20, "dataset": "d", "parameters": {"EASE": {"l2": 2}, "RANDOM_STATE": 1}},
    )  # fmt: skip
    write_run(tmp_path / "k=3.failed", "failed", settings={"dataset": "d"}, error="cell [3]: KeyError")
    write_run(tmp_path / "k=4.running" / "99", "running", settings={"dataset": "d"})
    (tmp_path / "notes").mkdir()
    (tmp_path / "a file").touch()
    table = compare_runs(tmp_path)
    assert table.index.tolist() == ["k=3", "k=4", "k=20", "k=100"]  # by number
    assert table["state"].tolist() == ["failed", "killed", "ok", "ok"]
    assert list(table) == [
        "state", "seconds", "n_tokens", "ease.l2", "seed", FULL, "RMSE, known items, full text", "error"
    ] or set(table) == {
        "state", "seconds", "n_tokens", "ease.l2", "seed", FULL, "RMSE, known items, full text", "error"
    }  # fmt: skip
    assert table["n_tokens"].tolist() == ["(default)", "(default)", 20, 100]
    assert table[FULL].tolist()[2:] == [0.3, 0.25] and table[FULL].isna().tolist() == [
        True,
        True,
        False,
        False,
    ]
    assert table["error"].tolist() == ["cell [3]: KeyError", "", "", ""]
    told = json.loads((tmp_path / "compare.json").read_text())
    assert [run["run"] for run in told["runs"]] == table.index.tolist()
    assert told["runs"][2]["metrics"]["NDCG@10, all items, no text"] == 0.2


def test_a_later_failure_is_shown_beside_the_earlier_result(tmp_path):
    write_run(tmp_path / "a", summary={FULL: 0.3})
    write_run(tmp_path / "a.failed", "failed", error="the disk is full")
    table = compare_runs(tmp_path)
    assert table["state"].to_dict() == {"a": "ok", "a.failed": "failed"}


def test_the_page(tmp_path):
    evil = "<script>alert(1)</script>"
    for name, ndcg, rmse in (("a", 0.25, 0.8), ("b", 0.3, 0.9), ("c", 0.3, 0.9)):
        write_run(
            tmp_path / name,
            summary={FULL: ndcg, "RMSE, known items, full text": rmse, evil: 1},
            settings={"text": evil + name},
        )
    write_run(tmp_path / "d<b>.failed", "failed", error=evil)
    compare_runs(tmp_path)
    page = (tmp_path / "compare.html").read_text()
    assert page.startswith("<!DOCTYPE html>") and page.index(CSP) < page.index("<title>")
    assert "<script" not in page and "&lt;script&gt;" in page and "d&lt;b&gt;" in page
    assert not re.search(r"https?://|src=", page.replace("img-src", ""))
    assert (
        page.count("<b>0.3000</b>") == 2 and page.count("<b>0.8000</b>") == 1 and "<b>0.2500</b>" not in page
    )
    assert "<b>1" not in page  # all alike: none is best
    assert 'href="a/report.html"' in page and 'href="d' not in page
    assert "partly luck" in page and "same data" not in page


def test_other_data_is_said(tmp_path):
    write_run(tmp_path / "a", summary={FULL: 0.2}, data={"r.csv": {"sha256": "1"}})
    write_run(tmp_path / "b", summary={FULL: 0.3}, data={"r.csv": {"sha256": "2"}})
    compare_runs(tmp_path, tmp_path / "elsewhere")
    assert not (tmp_path / "compare.html").exists()
    page = (tmp_path / "elsewhere" / "compare.html").read_text()
    assert "did not all read the same data" in page and "href" not in page


@pytest.mark.parametrize("metrics", [None, "", "[]", '{"summary": 3}', '{"summary": {"a": "x"}}', "{"])
def test_metrics_that_cannot_be_read(tmp_path, metrics):
    write_run(tmp_path / "a")
    if metrics is not None:
        (tmp_path / "a" / "metrics.json").write_text(metrics)
    assert compare_runs(tmp_path).loc["a", "error"] == "metrics.json cannot be read"


@pytest.mark.parametrize(
    "status",
    [{"settings": 3, "seconds": "x", "data": None}, {"settings": {"parameters": [1], "text": {"a": [1]}}}],
)
def test_a_status_that_somebody_else_wrote(tmp_path, status):
    write_run(tmp_path / "a", summary={FULL: float("nan"), "x": 1}, **status)
    write_run(tmp_path / "b", "as you like it")
    table = compare_runs(tmp_path)
    assert table["state"].tolist() == ["ok", "as you like it"] and "x" in table


def test_nothing_to_compare(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match=r"there is no run|cannot be read"):
            compare_runs(folder)
    assert list(tmp_path.iterdir()) == []


# --- the commands ---


@pytest.fixture
def run(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["llmtok", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return run


def test_the_command(stand_in, files, tmp_path, run):
    data = ["--ratings", files["ratings"], "--items", files["items"]]
    grid = ["-g", "n_tokens=10,50", "-g", "ease.l2=2", "-g", "text={title}, {year}"]
    code, out, err = run(
        "sweep", "--out", tmp_path / "s", *grid, *data, "--quick", "--seed", 4, "-p", "LIKED=3"
    )
    assert code == 2 and "parameter LIKED: use the option liked" in err
    code, out, err = run("sweep", "--out", tmp_path / "s", *grid, *data, "--quick", "--seed", 4)
    assert (code, err) == (0, "") and "2 runs: 2 ok, 0 kept, 0 failed" in out and "compare.html" in out
    assert [c["N_TOKENS"] for c in stand_in.calls] == [10, 50]
    assert {c["RANDOM_STATE"] for c in stand_in.calls} == {4} and {c["TEXT"] for c in stand_in.calls} == {
        "{title}, {year}"
    }
    code, out, err = run("compare", tmp_path / "s")
    assert (code, err) == (0, "") and FULL in out and "0.5000" in out and "n_tokens=50,ease.l2=2" in out


def test_the_command_with_files(stand_in, files, tmp_path, run):
    (tmp_path / "grid.yaml").write_text(
        "grid: {n_tokens: [10, 20], seed: [1]}\nfixed: {ratings: r.csv, items: i.csv}"
    )
    (tmp_path / "config.yaml").write_text("liked: 3\nuser-col: who")
    code, out, _ = run(
        "sweep", "--out", tmp_path / "s", "--grid", tmp_path / "grid.yaml", "--config", tmp_path / "config.yaml",
        "-g", "n_tokens=30",
    )  # fmt: skip
    assert code == 0 and "1 runs: 1 ok" in out
    assert [(c["N_TOKENS"], c["RANDOM_STATE"], c["LIKED"]) for c in stand_in.calls] == [(30, 1, 3.0)]
    assert stand_in.calls[0]["COLUMNS"] == {"user_id": "who"}


def test_the_bundled_data_unless_the_grid_says_which(stand_in, tmp_path, run):
    assert run("sweep", "--out", tmp_path / "a", "-g", "n_tokens=10")[0] == 0
    assert run("sweep", "--out", tmp_path / "b", "-g", "dataset=debian-packages,movielens-small")[0] == 0
    names = ["movielens-small", "debian-packages", "movielens-small"]
    assert [call["DATASET"] for call in stand_in.calls] == names


@pytest.mark.parametrize(("end", "code"), [("failed", 1), ("stopped", 130)])
def test_how_the_command_ends(stand_in, files, tmp_path, run, end, code):
    stand_in.fails = lambda parameters: end if parameters["N_TOKENS"] == 50 else None
    data = ["--ratings", files["ratings"], "--items", files["items"]]
    ended, out, _ = run("sweep", "--out", tmp_path / "s", "-g", "n_tokens=10,50", *data)
    assert ended == code and "1 ok, 0 kept" in out and "it went wrong" in out


def test_ctrl_c_outside_a_run(monkeypatch, tmp_path, run):
    def interrupted(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(sweeps, "sweep", interrupted)
    code, _, err = run("sweep", "--out", tmp_path / "s", "-g", "n_tokens=10")
    assert code == 130 and err == "llmtok: stopped by Ctrl-C; finished runs are kept\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sweep", "--out", "s"], "the grid is empty"),
        (["sweep", "-g", "n_tokens=1"], "--out"),
        (
            ["sweep", "--out", "s", "-g", "n_tokens=1", "--ratings", "none.csv", "--items", "i.csv"],
            "no such file",
        ),
        (["sweep", "--out", "s", "-g", "n_tokens=1", "--dataset", "nonsense"], "unknown data set"),
        (["compare", "none"], "cannot be read"),
    ],
)
def test_the_commands_refuse_in_one_line(stand_in, monkeypatch, tmp_path, run, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments)
    assert (code, out) == (2, "") and words in err and err.startswith("llmtok: ") and err.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["notebooks"]


def test_compare_does_not_steer_a_terminal(tmp_path, run):
    write_run(tmp_path / "a\x1b[31m.failed", "failed", error="\x1b]0;title\x07\u202e")
    code, out, _ = run("compare", tmp_path)
    assert code == 0 and all(c.isprintable() or c == "\n" for c in out)
    assert isinstance(compare_runs(tmp_path), pd.DataFrame)
