"""The command line: what goes in, what it hands on, and how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmtok import InputError, cli, notebooks, reports


def main(monkeypatch, *arguments):
    """Run the command line in this process; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["llmtok", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0


def in_a_shell(*arguments, cwd=None):
    command = [sys.executable, "-m", "llmtok", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)


# --- as a reader sees it ---


def test_help():
    done = in_a_shell("--help")
    assert done.returncode == 0 and done.stderr == ""
    commands = ("report", "sweep", "compare", "recommend", "lab", "notebooks", "test", "bench")
    assert all(re.search(rf"\b{command}\b", done.stdout) for command in commands)


def test_wrong_data_set_is_one_line(tmp_path):
    done = in_a_shell("report", "--dataset", "nonsense", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("llmtok: unknown data set 'nonsense'; there are movielens-small")
    assert done.stderr.count("\n") == 1 and done.stdout == ""
    assert not list(tmp_path.iterdir())


# --- report ---

VERDICT = ["Yes: tokens help.", "New items: \x1b[2Jmore.", "All.", "Cheaper.", "Cost.", "a sixth"]


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """What `reports.report` and `reports.preview` were called with, instead of running anything."""
    made = []

    def fake(out, say, **arguments):
        made.append({"out": out} | arguments)
        out.mkdir(parents=True, exist_ok=True)
        (out / "metrics.json").write_text(json.dumps({"verdict": VERDICT}))
        return {"state": "ok", "seconds": 1.0}

    monkeypatch.setattr(reports, "report", fake)
    monkeypatch.setattr(
        reports, "preview", lambda say, **arguments: made.append({"preview": True} | arguments)
    )
    monkeypatch.chdir(tmp_path)
    return made


def test_report_of_the_bundled_data(monkeypatch, calls, tmp_path, capsys):
    assert main(monkeypatch, "report") == 0
    out = tmp_path / "reports" / "movielens-small"
    assert calls == [{"out": out, "dataset": "movielens-small"}]
    said = capsys.readouterr().out.splitlines()
    assert said == [
        VERDICT[0],
        "New items: \\x1b[2Jmore.",
        *VERDICT[2:5],
        f"Done in 1 s. Read {out / 'report.html'}",
    ]


def test_report_hands_on_what_was_given(monkeypatch, calls, tmp_path):
    words = (
        "--ratings shop/log.csv.gz --items shop/items.csv --user-col u --item-col i --time-col t --action-col a "
        "--title-col n --year-col y --genres-col g --no-rating --strength view=1 --strength a=b=2.5 --encoding cp1252 "
        "--text title,plot --liked 4 --encoder e --n-tokens 8 --reduction random --split temporal --quick --seed 3 "
        "-p N_PEOPLE=5 --parameter EASE={'l2':2.0}"
    ).split()
    assert main(monkeypatch, "report", *words) == 0
    columns = {"user_id": "u", "item_id": "i", "timestamp": "t", "action": "a", "title": "n", "year": "y"}
    assert calls[0] == {
        "out": tmp_path / "reports" / "shop-log", "ratings": "shop/log.csv.gz", "items": "shop/items.csv",
        "columns": columns | {"genres": "g", "rating": None}, "strengths": {"view": 1.0, "a=b": 2.5},
        "encoding": "cp1252", "text": ["title", "plot"], "liked": 4.0, "encoder": "e", "n_tokens": 8,
        "reduction": "random", "split": "temporal", "quick": True,
        "parameters": {"RANDOM_STATE": 3, "N_PEOPLE": "5", "EASE": "{'l2':2.0}"},
    }  # fmt: skip
    assert (
        main(monkeypatch, "report", "--dataset", ".", "--out", "here", "--text", "{a}, {b}", "--course") == 0
    )
    assert calls[1] == {"out": tmp_path / "here", "dataset": ".", "text": "{a}, {b}", "course": True}
    assert main(monkeypatch, "report", "--dataset", "a/b/..") == 0
    assert calls[2]["out"] == tmp_path / "reports" / "a"
    assert main(monkeypatch, "report", "--dry-run", "--quick") == 0
    assert calls[3] == {"preview": True, "dataset": "movielens-small", "quick": True}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-p", "N"], "-p N: write NAME=VALUE"),
        (["-p", "=N"], "-p =N: write NAME=VALUE"),
        (["--strength", "view"], "--strength view: write ACTION=WORTH"),
        (["--strength", "view=much"], "--strength view=much: 'much' is no number"),
        (["--no-rating", "--rating-col", "stars"], "--no-rating says that there is none"),
        (["--liked", "much"], "Invalid value for '--liked'"),
        (["--colour", "red"], "--colour"),
        (["--out"], "'--out' requires an argument"),
    ],
)
def test_report_refuses_in_one_line(monkeypatch, calls, capsys, arguments, words):
    assert main(monkeypatch, "report", *arguments) == 2
    said = capsys.readouterr()
    assert words in said.err and said.err.startswith("llmtok: ") and said.err.count("\n") == 1
    assert calls == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--ratings", "r.csv"], "no items: give two files, ratings"),
        (["--dataset", "."], "ratings.csv: no such file"),
        (["-p", "NOBODY_READS_ME=1"], "no notebook has a parameter 'NOBODY_READS_ME'; there are "),
        (["-p", "DATASET=x"], "parameter DATASET: use the option dataset"),
        (["-p", "OUT_DIR=x"], "parameter OUT_DIR: use the option out"),
        pytest.param(
            ["--out", "/dev/null/x"],
            "/dev/null/x: cannot be written (Not a directory)",
            marks=pytest.mark.skipif(os.name == "nt", reason="Windows has no /dev/null"),
        ),
        (["--out", "."], "you are in this folder"),
    ],
)
def test_what_the_report_refuses_is_one_line_too(monkeypatch, tmp_path, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert main(monkeypatch, "report", *arguments) == 2
    said = capsys.readouterr().err
    assert words in said and said.startswith("llmtok: ") and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_report_that_fails_or_is_stopped(monkeypatch, calls, capsys):
    error = "report cell [4] 'x': NameError: x\x1b[2J"
    monkeypatch.setattr(reports, "report", lambda *a, **s: {"state": "failed", "error": error})
    assert main(monkeypatch, "report", "--out", "a") == 1
    said = capsys.readouterr().err
    assert said.startswith("llmtok: failed: report cell [4] 'x': NameError: x\\x1b[2J; see ")
    assert said.endswith("a.failed\n") and said.count("\n") == 1
    monkeypatch.setattr(reports, "report", lambda *a, **s: {"state": "stopped", "error": "stopped by Ctrl-C"})
    assert main(monkeypatch, "report") == 130
    assert capsys.readouterr().err.startswith("llmtok: stopped")


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "llmtok: stopped"),
        (OSError(28, "No space left on device", "/a/b"), 1, "llmtok: /a/b: No space left on device\n"),
        (OSError("odd"), 1, "llmtok: cannot go on: odd\n"),
        (InputError("log.csv: it is empty"), 2, "llmtok: log.csv: it is empty\n"),
    ],
)
def test_what_ends_a_report_is_one_line(monkeypatch, calls, capsys, error, code, words):
    def raises(*arguments, **settings):
        raise error

    monkeypatch.setattr(reports, "report", raises)
    assert main(monkeypatch, "report") == code
    said = capsys.readouterr().err
    assert said.startswith(words) and said.count("\n") == 1


def test_a_bug_is_not_hidden(monkeypatch, calls):
    def broken(*arguments, **settings):
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(reports, "report", broken)
    monkeypatch.setattr(sys, "argv", ["llmtok", "report"])
    with pytest.raises(RuntimeError, match="a bug of ours"):
        cli.main()


# --- config files ---

CONFIG = """ratings: data/log.csv
items: data/items.csv
user-col: who
rating_col: stars
strengths: {view: 1, buy: 3}
text: [title, plot]
liked: 4
quick: true
out: results
encoder: model
parameters:
  N_PEOPLE: 5
  EASE: {l2: 2.0}
"""


@pytest.fixture
def config(tmp_path):
    """A config file in a folder of its own."""
    (tmp_path / "conf" / "model").mkdir(parents=True)
    path = tmp_path / "conf" / "report.yaml"
    path.write_text(CONFIG)
    return path


def test_config(monkeypatch, calls, config):
    here = config.parent
    assert main(monkeypatch, "report", "--config", str(config)) == 0
    expected = {
        "out": here / "results", "ratings": str(here / "data/log.csv"), "items": str(here / "data/items.csv"),
        "columns": {"user_id": "who", "rating": "stars"}, "strengths": {"view": 1, "buy": 3},
        "text": ["title", "plot"], "liked": 4.0, "quick": True, "encoder": str(here / "model"),
        "parameters": {"N_PEOPLE": 5, "EASE": {"l2": 2.0}},
    }  # fmt: skip
    assert calls[0] == expected
    wins = "--user-col u --no-quick --strength view=9 -p N_PEOPLE=1 --ratings r.csv --no-rating --text title".split()
    assert main(monkeypatch, "report", "--config", str(config), *wins) == 0
    assert calls[1] == expected | {
        "ratings": "r.csv", "columns": {"user_id": "u", "rating": None}, "strengths": {"view": 9.0, "buy": 3},
        "quick": False, "text": ["title"], "parameters": {"N_PEOPLE": "1", "EASE": {"l2": 2.0}},
    }  # fmt: skip
    assert main(monkeypatch, "report", "--config", str(config), "--dataset", "debian-packages") == 0
    assert calls[2]["dataset"] == "debian-packages"  # and what says how to read files goes with the files
    assert {"ratings", "items", "columns", "strengths"}.isdisjoint(calls[2])


def test_config_in_json_and_of_a_data_set(monkeypatch, calls, config):
    path = config.with_suffix(".json")
    path.write_text(
        '\ufeff{"dataset": "movielens-small",\t"n-tokens": 8, "encoder": "all-MiniLM-L6-v2", "seed": null}',
        encoding="utf-8",
    )
    assert main(monkeypatch, "report", "--config", str(path)) == 0
    assert calls[0] == {
        "out": Path.cwd() / "reports" / "movielens-small", "dataset": "movielens-small", "n_tokens": 8,
        "encoder": "all-MiniLM-L6-v2",
    }  # fmt: skip
    path.write_text('{"dataset": "model"}')
    assert main(monkeypatch, "report", "--config", str(path)) == 0
    assert calls[1]["dataset"] == str(config.parent / "model")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rating-column: stars", "unknown option 'rating-column'; there are rating_col"),
        ("colour: red", "unknown option 'colour'; there are "),
        ("config: other.yaml", "unknown option 'config'"),
        ("dataset: 2020", "dataset needs a text (put it into quotes), and has a value of the kind int"),
        ("quick: 'yes please'", "quick needs true or false"),
        ("liked: true", "liked needs a number"),
        ("n-tokens: 2.5", "n-tokens needs a whole number"),
        ("seed: true", "seed needs a whole number"),
        ("text: {a: b}", "text needs a text, or a list of columns"),
        ("strengths: [view]", "strengths needs a mapping, as in {view: 1}"),
        ("strengths: {on: 1}", "strengths: put the key True into quotes"),
        ("parameters: {1: 2}", "parameters: put the key 1 into quotes"),
        ("n-tokens: 1\nn_tokens: 2", "n_tokens is there twice"),
        (
            "dataset: !!python/object/apply:os.system ['touch hacked']",
            "cannot be read safely: could not determine",
        ),
        ("dataset: !!python/name:os.system", "cannot be read safely"),
        ("!!python/object:llmtok.InputError {}", "cannot be read safely"),
        ("text: &a [x, y]\nparameters: {X: [*a, *a]}", "has an alias"),
        ("dataset: [", "cannot be read safely"),
        ("[" * 1000, "cannot be read safely"),
        ("dataset: a\x00b", "cannot be read safely"),
        ("", "holds no options"),
        ("- dataset", "holds no options"),
        ("just words", "holds no options"),
        ("dataset: \xff", "cannot be read safely"),
    ],
)
def test_config_is_refused_in_one_line(monkeypatch, calls, tmp_path, capsys, text, words):
    (tmp_path / "c.yaml").write_bytes(text.encode("latin-1"))
    assert main(monkeypatch, "report", "--config", "c.yaml") == 2
    said = capsys.readouterr().err
    assert said.startswith("llmtok: c.yaml: ") and words in said and said.count("\n") == 1 and len(said) < 600
    assert calls == [] and [p.name for p in tmp_path.iterdir()] == ["c.yaml"]


def test_config_that_is_not_there(monkeypatch, calls, tmp_path, capsys):
    assert main(monkeypatch, "report", "--config", "c.yaml") == 2
    assert main(monkeypatch, "report", "--config", str(tmp_path)) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "llmtok: c.yaml: cannot be read (No such file or directory)" and "directory" in said[1]


# --- the others ---


@pytest.mark.parametrize(("arguments", "words"), [(["dance"], "No such command 'dance'"), ([], "Usage")])
def test_no_such_command(monkeypatch, capsys, arguments, words):
    assert main(monkeypatch, *arguments) == 2
    said = capsys.readouterr()
    assert words in said.out + said.err and "Traceback" not in said.err


def test_notebooks(monkeypatch, tmp_path, capsys):
    refreshed = []
    monkeypatch.setattr(notebooks, "notebooks_folder", lambda: tmp_path)
    monkeypatch.setattr(notebooks, "refresh", lambda path, progress: refreshed.append(path.name))
    for name in ("b.ipynb", "a.ipynb", "c.txt"):
        (tmp_path / name).touch()
    assert main(monkeypatch, "notebooks") == 0 and refreshed == ["a.ipynb", "b.ipynb"]
    assert main(monkeypatch, "notebooks", "b") == 0 and refreshed[2:] == ["b.ipynb"]
    assert main(monkeypatch, "notebooks", "b", "z") == 2 and len(refreshed) == 3
    assert "no notebook 'z'; there are a, b" in capsys.readouterr().err

    def fails(path, progress):
        raise InputError(f"{path.name} failed, and is as it was: cell [1]")

    monkeypatch.setattr(notebooks, "refresh", fails)
    assert main(monkeypatch, "notebooks") == 2
    assert capsys.readouterr().err == "llmtok: a.ipynb failed, and is as it was: cell [1]\n"


EVERYTHING = ["tests", "notebooks", "--numprocesses=2", "--dist=loadfile"]


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ([], EVERYTHING),
        (["-x"], [*EVERYTHING, "-x"]),
        (["-k", "split"], [*EVERYTHING, "-k", "split"]),
        (["tests/test_cli.py::test_help", "-q"], ["tests/test_cli.py::test_help", "-q"]),
        (["notebooks"], ["notebooks"]),
    ],
)
def test_test_hands_on_to_pytest(monkeypatch, given, what):
    handed = []
    monkeypatch.setattr(cli, "_hand_over", lambda *arguments, folder: handed.append(arguments))
    assert main(monkeypatch, "test", *given) == 0
    assert handed[0][:3] == ("-m", "pytest", "--nbval")
    assert [a for a in handed[0][2:] if not a.startswith("--nbval")] == what


@pytest.mark.parametrize(("command", "module"), [("lab", "jupyterlab"), ("bench", "benchmarks/bench.py")])
def test_lab_and_bench(monkeypatch, command, module):
    handed = []
    monkeypatch.setattr(cli, "_hand_over", lambda *arguments, folder: handed.append(arguments))
    assert main(monkeypatch, command) == 0
    assert module in handed[0]


def test_lab_copies_and_never_writes_over(monkeypatch, tmp_path, capsys):
    handed = []
    monkeypatch.setattr(cli, "_hand_over", lambda *arguments, folder: handed.append((folder, arguments)))
    mine = tmp_path / "mine" / "02_encode_with_bert.ipynb"
    mine.parent.mkdir()
    mine.write_text("my answers")
    assert main(monkeypatch, "lab", "--into", str(mine.parent), "--no-browser") == 0
    n_others = len(list(notebooks.notebooks_folder().glob("*.ipynb"))) - 1
    assert f"{n_others} notebooks copied, 1 kept" in capsys.readouterr().out
    assert mine.read_text() == "my answers"
    for copy in mine.parent.glob("*.ipynb"):
        assert copy == mine or copy.read_bytes() == (notebooks.notebooks_folder() / copy.name).read_bytes()
    folder, arguments = handed[0]
    assert folder == mine.parent and f"--notebook-dir={folder}" in arguments and "--no-browser" in arguments
    assert "--LabApp.default_url=/lab/tree/00_start_here.ipynb" in arguments
    assert main(monkeypatch, "lab", "--into", str(mine)) == 2
    assert capsys.readouterr().err == f"llmtok: {mine} is a file; name a folder\n"


def test_the_package_alone(monkeypatch, tmp_path, capsys):
    """Without the repository `lab` makes a folder of its own; what only the repository has says so."""
    handed = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "_hand_over", lambda *arguments, folder: handed.append(folder))
    monkeypatch.setattr(notebooks, "repository", lambda: None)
    for command in ("test", "bench", "site", "notebooks"):
        assert main(monkeypatch, command) == 2
        assert capsys.readouterr().err.startswith("llmtok: this needs the repository")
    assert handed == []
    assert main(monkeypatch, "lab") == 0 and handed == [tmp_path / "llmtok-course"]


def test_hand_over_ends_as_the_other_ends(monkeypatch, tmp_path):
    (tmp_path / "three.py").write_text("import os, sys\nopen('cwd', 'w').close()\nsys.exit(3)")
    with pytest.raises(cli.typer.Exit) as ended:
        cli._hand_over("three.py", folder=tmp_path)
    assert ended.value.exit_code == 3
    assert (tmp_path / "cwd").exists()


@pytest.mark.skipif(os.name == "nt", reason="signals are sent otherwise on Windows")
def test_ctrl_c_is_up_to_the_other(tmp_path):
    """JupyterLab asks back, pytest sums up: neither is killed when the terminal sends Ctrl-C to both."""
    (tmp_path / "other.py").write_text(
        "import pathlib, time\n"
        "pathlib.Path('begun').touch()\n"
        "try:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    time.sleep(1)\n    raise SystemExit(7)\n"
    )
    script = (
        f"import pathlib, sys; from llmtok import cli; here = pathlib.Path({str(tmp_path)!r})\n"
        "try:\n    cli._hand_over('other.py', folder=here)\nexcept cli.typer.Exit as end:\n    sys.exit(end.exit_code)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    deadline = time.monotonic() + 30
    while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=30) == 7
