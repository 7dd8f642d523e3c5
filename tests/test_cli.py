"""The command line: what goes in, what it hands on, and how it ends."""

import os
import signal
import subprocess
import sys
import time

import pytest

from llmtok import InputError, cli, report


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
    assert all(command in done.stdout for command in ("run", "lab", "notebooks", "test", "bench"))


def test_wrong_data_set_is_one_line(tmp_path):
    done = in_a_shell("run", "--dataset", "nonsense", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("llmtok: unknown data set 'nonsense'; there are movielens-small")
    assert done.stderr.count("\n") == 1 and done.stdout == ""
    assert not list(tmp_path.iterdir())


# --- run ---


@pytest.fixture
def ran(monkeypatch, tmp_path):
    """What `run` was called with; the notebooks stay where they are."""
    calls = []

    def fake(out, given, **settings):
        calls.append({"out": out, "given": given, **settings})
        return fake.status

    fake.status = {"state": "ok", "seconds": 1.0, "notebooks": []}
    monkeypatch.setattr(report, "run", fake)
    monkeypatch.chdir(tmp_path)
    calls_and_status = (calls, fake)
    return calls_and_status


def test_run_hands_on_what_was_given(monkeypatch, ran, tmp_path, small_folder, capsys):
    calls, _ = ran
    assert main(monkeypatch, "run") == 0
    assert calls[0]["given"] == {"DATASET": "movielens-small"} and calls[0]["course"] is True
    assert calls[0]["out"] == tmp_path / "reports" / "movielens-small"
    assert "report.html" in capsys.readouterr().out
    arguments = ["--out", "here", "-p", "N=3", "--parameter", "FORMULA=a=b", "--report-only"]
    assert main(monkeypatch, "run", *arguments) == 0
    assert calls[1]["given"] == {"DATASET": "movielens-small", "N": "3", "FORMULA": "a=b"}
    assert calls[1]["out"] == tmp_path / "here" and calls[1]["course"] is False
    monkeypatch.chdir(small_folder)
    assert main(monkeypatch, "run", "--dataset", ".") == 0  # the kernel runs in another folder
    assert calls[2]["given"] == {"DATASET": str(small_folder)}
    assert calls[2]["out"] == small_folder / "reports" / small_folder.name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-p", "N"], "-p N: write NAME=VALUE"),
        (["-p", "DATASET=x"], "use --dataset and --out"),
        (["-p", "OUT_DIR=x"], "use --dataset and --out"),
        (["--dataset", "."], "ratings.csv: no such file"),
        (["--colour", "red"], "No such option: --colour"),
        (["--out"], "'--out' requires an argument"),
    ],
)
def test_run_refuses_in_one_line(monkeypatch, ran, capsys, arguments, words):
    assert main(monkeypatch, "run", *arguments) == 2
    said = capsys.readouterr()
    assert words in said.err and said.err.startswith("llmtok: ") and said.err.count("\n") == 1
    assert ran[0] == []


def test_run_names_an_unknown_parameter(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(monkeypatch, "run", "-p", "NOBODY_READS_ME=1") == 2
    said = capsys.readouterr().err
    assert said.startswith("llmtok: no notebook has a parameter 'NOBODY_READS_ME'; there are ")
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_run_that_fails_or_is_stopped(monkeypatch, ran, capsys):
    _, fake = ran
    failed = [{"notebook": "02_encode_with_bert", "state": "failed", "error": "cell [4] 'x': NameError: x"}]
    fake.status = {"state": "failed", "notebooks": failed}
    assert main(monkeypatch, "run", "--out", "a") == 1
    said = capsys.readouterr().err
    assert said.startswith("llmtok: failed: 02_encode_with_bert cell [4] 'x': NameError: x; see ")
    assert said.endswith("a.failed\n") and said.count("\n") == 1
    fake.status = {"state": "stopped", "notebooks": []}
    assert main(monkeypatch, "run") == 130
    assert capsys.readouterr().err.startswith("llmtok: stopped")


def test_ctrl_c_outside_a_notebook(monkeypatch, ran, capsys):
    def interrupted(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "run", interrupted)
    assert main(monkeypatch, "run") == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_bug_is_not_hidden(monkeypatch, ran):
    def broken(*arguments, **settings):
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(report, "run", broken)
    monkeypatch.setattr(sys, "argv", ["llmtok", "run"])
    with pytest.raises(RuntimeError, match="a bug of ours"):
        cli.main()


# --- the others ---


@pytest.mark.parametrize(("arguments", "words"), [(["dance"], "No such command 'dance'"), ([], "Usage")])
def test_no_such_command(monkeypatch, capsys, arguments, words):
    assert main(monkeypatch, *arguments) == 2
    said = capsys.readouterr()
    assert words in said.out + said.err and "Traceback" not in said.err


def test_notebooks(monkeypatch, tmp_path, capsys):
    refreshed = []
    monkeypatch.setattr(report, "notebooks_folder", lambda: tmp_path)
    monkeypatch.setattr(report, "refresh", lambda path, progress: refreshed.append(path.name))
    for name in ("b.ipynb", "a.ipynb", "c.txt"):
        (tmp_path / name).touch()
    assert main(monkeypatch, "notebooks") == 0 and refreshed == ["a.ipynb", "b.ipynb"]
    assert main(monkeypatch, "notebooks", "b") == 0 and refreshed[2:] == ["b.ipynb"]
    assert main(monkeypatch, "notebooks", "b", "z") == 2 and len(refreshed) == 3
    assert "no notebook 'z'; there are a, b" in capsys.readouterr().err

    def fails(path, progress):
        raise InputError(f"{path.name} failed, and is as it was: cell [1]")

    monkeypatch.setattr(report, "refresh", fails)
    assert main(monkeypatch, "notebooks") == 2
    assert capsys.readouterr().err == "llmtok: a.ipynb failed, and is as it was: cell [1]\n"


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ([], ["tests", "notebooks"]),
        (["-x"], ["-x", "tests", "notebooks"]),
        (["-k", "split"], ["-k", "split", "tests", "notebooks"]),
        (["tests/test_cli.py::test_help", "-q"], ["tests/test_cli.py::test_help", "-q"]),
        (["notebooks"], ["notebooks"]),
    ],
)
def test_test_hands_on_to_pytest(monkeypatch, given, what):
    handed = []
    monkeypatch.setattr(cli, "_hand_over", lambda *arguments: handed.append(arguments))
    assert main(monkeypatch, "test", *given) == 0
    assert handed[0][:3] == ("-m", "pytest", "--nbval")
    assert [a for a in handed[0][2:] if not a.startswith("--nbval")] == what


@pytest.mark.parametrize(("command", "module"), [("lab", "jupyterlab"), ("bench", "benchmarks/bench.py")])
def test_lab_and_bench(monkeypatch, command, module):
    handed = []
    monkeypatch.setattr(cli, "_hand_over", lambda *arguments: handed.append(arguments))
    assert main(monkeypatch, command) == 0
    assert module in handed[0]


def test_hand_over_ends_as_the_other_ends(monkeypatch, tmp_path):
    (tmp_path / "three.py").write_text("import os, sys\nopen('cwd', 'w').close()\nsys.exit(3)")
    monkeypatch.setattr(cli, "ROOT", tmp_path)
    with pytest.raises(cli.typer.Exit) as ended:
        cli._hand_over("three.py")
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
        f"import pathlib, sys; from llmtok import cli; cli.ROOT = pathlib.Path({str(tmp_path)!r})\n"
        "try:\n    cli._hand_over('other.py')\nexcept cli.typer.Exit as end:\n    sys.exit(end.exit_code)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    deadline = time.monotonic() + 30
    while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=30) == 7
