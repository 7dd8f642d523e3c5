"""Running notebooks, and what comes of it, with stand-in notebooks of a few cells."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from llmtok import InputError, report
from llmtok.report import declared_parameters, execute, normalise, read_parameters, refresh, to_html

PARAMETERS = """\
DATASET = "movielens-small"  # which data
N = 3  # a count
SHARE = 0.2  # a share
FAST = True  # yes or no
SIZES = {"a": 1, "b": -2}  # a dict
NAMES = ["x", "y"]  # a list
"""


def write_notebook(path, *cells, parameters=PARAMETERS, title="# Try it"):
    """Write a notebook; a cell is its source, or a pair of source and tags."""
    document = new_notebook(cells=[new_markdown_cell(title)])
    for cell in [(parameters, ["parameters"]), *cells]:
        source, tags = cell if isinstance(cell, tuple) else (cell, [])
        document.cells.append(new_code_cell(source, metadata={"tags": tags}))
    nbformat.write(normalise(document), path)
    return path


def results(path):
    """What the cells of an executed notebook end on, as text."""
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    return [o.data["text/plain"] for c in cells for o in c.outputs if o.output_type == "execute_result"]


# --- parameters ---


def test_declared_parameters(tmp_path):
    declared = declared_parameters(write_notebook(tmp_path / "a.ipynb"))
    assert list(declared) == ["DATASET", "N", "SHARE", "FAST", "SIZES", "NAMES"]
    assert declared["SIZES"] == {"a": 1, "b": -2}
    bare = new_notebook(cells=[new_code_cell("N = 3")])
    nbformat.write(bare, tmp_path / "bare.ipynb")
    assert declared_parameters(tmp_path / "bare.ipynb") == {}


def test_parameters_keep_the_type_of_their_default(tmp_path):
    a = write_notebook(tmp_path / "a.ipynb")
    b = write_notebook(tmp_path / "b.ipynb", parameters='DATASET = "x"  # which data\nDEPTH = 1  # how deep')
    given = {
        "DATASET": "007",
        "N": "-4",
        "SHARE": "1",
        "FAST": "false",
        "SIZES": "{'a': 5}",
        "NAMES": "['z']",
        "DEPTH": "2",
    }
    read = read_parameters(given, [a, b])
    expected = {"DATASET": "007", "N": -4, "SHARE": 1.0, "FAST": False, "SIZES": {"a": 5}, "NAMES": ["z"]}
    assert read == {a: expected, b: {"DATASET": "007", "DEPTH": 2}}
    assert isinstance(read[a]["SHARE"], float)
    assert read_parameters({"DATASET": "None"}, [b])[b] == {"DATASET": "None"}


def test_an_unknown_parameter_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"no notebook has a parameter 'M'; there are DATASET, .*SIZES$"):
        read_parameters({"N": "1", "M": "2"}, [write_notebook(tmp_path / "a.ipynb")])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("N", "1.5"), ("N", "many"), ("N", "True"), ("N", ""), ("N", "2; import os"), ("FAST", "1"),
        ("FAST", "perhaps"), ("SHARE", "'0.5'"), ("SIZES", "[1]"), ("SIZES", "{[]: 1}"), ("NAMES", "x,y"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused_in_one_line(tmp_path, name, value):
    with pytest.raises(InputError, match=f"parameter {name}: .* is not like its default") as error:
        read_parameters({name: value}, [write_notebook(tmp_path / "a.ipynb")])
    assert "\n" not in str(error.value)


# --- execute ---


def test_execute(tmp_path, monkeypatch, recwarn, caplog, capfd):
    """In the notebook's own folder, with the parameters given; errors on purpose are no failure; no noise."""
    (tmp_path / "own").mkdir()
    (tmp_path / "elsewhere").mkdir()
    notebook = write_notebook(
        tmp_path / "own" / "a.ipynb",
        "import os\nos.path.basename(os.getcwd())",
        "N * 2, DATASET, SIZES",
        ("1 / 0", ["raises-exception"]),
        "'the end'",
    )
    monkeypatch.chdir(tmp_path / "elsewhere")
    before = notebook.read_bytes()
    given = {"N": 5, "DATASET": 'it\'s "mine"', "SIZES": {"b": 9}, "UNDECLARED": 1}
    status = execute(notebook, tmp_path / "out.ipynb", given, progress=False)
    assert status | {"seconds": 0} == {"notebook": "a", "state": "ok", "seconds": 0, "parameters": given}
    assert results(tmp_path / "out.ipynb") == [
        "'own'",
        """(10, 'it\\'s "mine"', {'b': 9})""",
        "'the end'",
    ]
    assert "papermill" not in (tmp_path / "out.ipynb").read_text()
    assert notebook.read_bytes() == before
    assert not list(Path().iterdir())
    assert not recwarn and not caplog.records and not capfd.readouterr().err


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x = 0\n1 / x", r"cell \[4\] 'x = 0': ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit()", r"cell \[4\] 'import sys': SystemExit"),
        ("import os\nos._exit(1)", r"cell \[4\] 'import os': the kernel died"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", r"cell \[4\] .*: the kernel died"),
    ],
    ids=["an error", "exit", "the kernel ends", "the kernel is killed"],
)
def test_execute_tells_the_truth(tmp_path, source, words):
    notebook = write_notebook(tmp_path / "a.ipynb", "'before'", source, "'after'")
    status = execute(notebook, tmp_path / "out.ipynb", {"N": 1}, progress=False)
    assert status["state"] == "failed"
    assert re.match(words, status["error"]) and "\n" not in status["error"]
    assert results(tmp_path / "out.ipynb") == ["'before'"]  # what was done before can be read


# --- run ---

WRITE_METRICS = """\
import json, pathlib
pathlib.Path(OUT_DIR, "metrics.json").write_text(json.dumps({"N": N}))
N"""
REPORT_PARAMETERS = 'OUT_DIR = ""  # where to\nN = 3  # a count\nFAIL = False  # or not\n'


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of one notebook and a report, in a folder of their own."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    monkeypatch.setattr(report, "notebooks_folder", lambda: folder)
    monkeypatch.setattr(report, "COURSE", ["01_first"])
    write_notebook(folder / "01_first.ipynb", "N", title="# Learn it")
    write_notebook(
        folder / "report.ipynb",
        "assert not FAIL",
        WRITE_METRICS,
        parameters=REPORT_PARAMETERS,
        title="# Read the report",
    )
    return folder


def run(out, given, **settings):
    said = []
    status = report.run(out, given, progress=False, say=said.append, **settings)
    assert said[0].startswith("[1/")
    return status


def test_run(course, tmp_path):
    out = tmp_path / "reports" / "mine"
    status = run(out, {"N": "5"})
    assert status["state"] == "ok"
    assert [(n["notebook"], n["state"], n["parameters"]) for n in status["notebooks"]] == [
        ("01_first", "ok", {"N": 5}),
        ("report", "ok", {"N": 5}),
    ]
    assert sorted(p.name for p in out.iterdir()) == [
        "01_first.html", "01_first.ipynb", "metrics.json", "report.html", "report.ipynb", "status.json",
    ]  # fmt: skip
    assert [p.name for p in out.parent.iterdir()] == ["mine"]
    assert json.loads((out / "metrics.json").read_text()) == {"N": 5}
    assert json.loads((out / "status.json").read_text()) == status
    assert status["versions"]["llmtok"] and status["seconds"] > 0
    assert "write_text" not in (out / "report.html").read_text()
    assert ".running" not in (out / "report.html").read_text()

    # A run that fails leaves that alone; one that is good replaces it whole.
    (out / "extra.txt").write_text("from the first run")
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    failed = run(out, {"N": "6", "FAIL": "true"})
    assert failed["state"] == "failed"
    assert "AssertionError" in failed["notebooks"][-1]["error"]
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    assert sorted(p.name for p in out.parent.iterdir()) == ["mine", "mine.failed"]
    assert json.loads((out.parent / "mine.failed" / "status.json").read_text()) == failed
    assert (out.parent / "mine.failed" / "report.ipynb").exists()
    assert run(out, {"N": "7"}, course=False)["state"] == "ok"
    assert json.loads((out / "metrics.json").read_text()) == {"N": 7}
    assert sorted(p.name for p in out.iterdir()) == [
        "metrics.json",
        "report.html",
        "report.ipynb",
        "status.json",
    ]
    assert [p.name for p in out.parent.iterdir()] == ["mine"]


def test_run_refuses_before_it_starts(course, tmp_path):
    with pytest.raises(InputError, match="no notebook has a parameter 'M'"):
        report.run(tmp_path / "out", {"M": "1"})
    mine = tmp_path / "documents"
    mine.mkdir()
    (mine / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="not the result of a run"):  # what is not ours is not replaced
        report.run(mine, {})
    with pytest.raises(InputError, match="not the result of a run"):
        report.run(mine / "letter.txt", {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["documents", "notebooks"]


def test_run_when_something_of_ours_goes_wrong(course, tmp_path, monkeypatch):
    def full(*arguments, **settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "to_html", full)
    with pytest.raises(OSError, match="No space"):
        run(tmp_path / "out", {})
    assert json.loads((tmp_path / "out.failed" / "status.json").read_text())["state"] == "failed"
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.running").exists()


def test_run_stopped_by_ctrl_c(course, tmp_path):
    """As a reader does it: a signal to the process, in the middle of a cell."""
    flag = tmp_path / "begun"
    slow = f"import pathlib, time\npathlib.Path({str(flag)!r}).touch()\ntime.sleep(120)"
    write_notebook(course / "report.ipynb", slow, parameters=REPORT_PARAMETERS)
    script = f"""
import pathlib
from llmtok import report
report.notebooks_folder = lambda: pathlib.Path({str(course)!r})
report.COURSE = ["01_first"]
print(report.run(pathlib.Path({str(tmp_path / "out")!r}), {{}}, progress=False)["state"])
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not flag.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert said.splitlines()[-1] == "stopped"
    status = json.loads((tmp_path / "out.failed" / "status.json").read_text())
    assert status["state"] == "stopped"
    assert [n["state"] for n in status["notebooks"]] == ["ok", "stopped"]
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.running").exists()


# --- pages ---


PROSE = """\
# Read <i>it</i> & weep

[![Binder](https://x.org/a.svg)](https://y.org/lab)

A [link](https://example.org), *a* formula `r = mu + b`."""


@pytest.fixture
def page(tmp_path):
    """A notebook with one of everything that has made trouble, and its pages with and without code."""
    films = pd.DataFrame({"title": ["<script>alert('film')</script>", "Tom & <b>Jerry</b>"]})
    bar = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "encoding: 0%"}
    picture = {"image/png": "iVBORw0KGgo=\n", "text/plain": "<Figure>"}
    document = new_notebook(
        cells=[
            new_code_cell("# a comment is no heading"),
            new_markdown_cell(PROSE),
            new_code_cell('SECRET_DEFAULT = "x"', metadata={"tags": ["parameters"]}),
            new_code_cell('SECRET_GIVEN = "y"', metadata={"tags": ["injected-parameters"]}),
            new_code_cell(
                "1", metadata={"tags": ["remove-cell"]}, outputs=[new_output("stream", text="gone\n")]
            ),
            new_code_cell(
                "films",
                outputs=[
                    new_output("stream", name="stderr", text="WARNING of something"),
                    new_output("display_data", bar),
                    new_output(
                        "execute_result",
                        {"text/html": films.to_html(), "text/plain": str(films)},
                        execution_count=1,
                    ),
                    new_output(
                        "display_data", picture, metadata={"image/png": {"alt": 'Two "bars" < three'}}
                    ),
                    new_output("display_data", {"text/html": "<script>alert('raw')</script><p>kept</p>"}),
                    new_output("stream", text="<script>alert('printed')</script>"),
                ],
            ),
        ]
    )
    nbformat.write(normalise(document), tmp_path / "a.ipynb")
    pages = {}
    for code in (True, False):
        to_html(tmp_path / "a.ipynb", tmp_path / "a.html", code=code)
        pages[code] = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "a.ipynb"]
    return pages


@pytest.mark.parametrize("code", [True, False])
def test_page_opens_without_a_network(page, code):
    html = page[code]
    assert not re.search(r"<script|<iframe|<object|<embed", html, re.IGNORECASE)
    assert not re.search(r"<link\b", html, re.IGNORECASE)
    assert all(src.startswith("data:") for src in re.findall(r"\bsrc\s*=\s*[\"']?([^\"'\s>]*)", html))
    assert not re.search(r"@import|url\(\s*[\"']?(https?:)?//", html)
    assert 'href="https://example.org"' in html  # an ordinary link is fine
    assert re.search(r'href="https://y.org/lab"[^>]*>Binder<', html)


@pytest.mark.parametrize("code", [True, False])
def test_page_is_read_by_people(page, code):
    html = page[code]
    assert "<title>Read &lt;i&gt;it&lt;/i&gt; &amp; weep</title>" in html
    assert "&lt;script&gt;alert('film')&lt;/script&gt;" in html.replace("&#39;", "'")
    assert "Tom &amp; &lt;b&gt;Jerry&lt;/b&gt;" in html
    assert "&lt;script&gt;alert('printed')" in html.replace("&#39;", "'")
    assert "<p>kept</p>" in html and "alert('raw')" not in html
    assert 'alt="Two &quot;bars&quot; &lt; three"' in html or "alt='Two \"bars\" &lt; three'" in html
    assert "WARNING" not in html and "gone" not in html and "encoding" not in html


def test_page_shows_code_or_not(page):
    assert "SECRET_DEFAULT" in page[True] and "SECRET_GIVEN" in page[True]  # what it really ran with
    assert "SECRET" not in page[False] and "films</span>" not in page[False]


# --- in place ---


def test_refresh(tmp_path):
    notebook = write_notebook(tmp_path / "a.ipynb", "N + 1", ("N", ["solution"]))
    refresh(notebook, progress=False)
    document = nbformat.read(notebook, as_version=4)
    code = [c for c in document.cells if c.cell_type == "code"]
    assert [c.execution_count for c in code] == [1, 2, 3]
    assert code[1].outputs[0]["data"]["text/plain"] == "4"
    first = notebook.read_bytes()
    refresh(notebook, progress=False)
    assert notebook.read_bytes() == first
    assert os.listdir(tmp_path) == ["a.ipynb"]


def test_refresh_that_fails_leaves_the_file(tmp_path):
    notebook = write_notebook(tmp_path / "a.ipynb", "N", "1 / 0")
    before = notebook.read_bytes()
    with pytest.raises(
        InputError, match=r"a.ipynb failed, and is as it was: cell \[3\] '1 / 0': ZeroDivisionError"
    ):
        refresh(notebook, progress=False)
    assert notebook.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.ipynb"]


def test_normalise():
    document = new_notebook(
        cells=[
            new_markdown_cell("# A\n", metadata={"editable": True}),
            new_code_cell(
                "N = 1\n", metadata={"tags": ["parameters"], "execution": {"x": "2026"}}, execution_count=1
            ),
            new_code_cell("2", metadata={"tags": ["solution"], "collapsed": True}),
            new_code_cell("3", metadata={"jupyter": {"source_hidden": True}}),
        ],
        metadata={"language_info": {"name": "python", "version": "3.11.7"}, "papermill": {"duration": 1}},
    )
    once = normalise(document)
    assert [dict(c.metadata) for c in once.cells] == [
        {},
        {"tags": ["parameters"]},
        {"tags": ["solution"], "jupyter": {"source_hidden": True}},
        {},
    ]
    assert once.cells[0].source == "# A" and once.cells[1].execution_count == 1
    assert set(once.metadata) == {"kernelspec", "language_info"}
    assert "version" not in once.metadata.language_info
    nbformat.validate(once)
    text = nbformat.writes(once)
    assert nbformat.writes(normalise(nbformat.reads(text, as_version=4))) == text
