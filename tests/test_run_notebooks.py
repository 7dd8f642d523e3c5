"""Running a notebook, and its page, with stand-in notebooks of a few cells."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import psutil
import pytest
from hypothesis import given as with_any
from hypothesis import settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from llmtok import InputError, notebooks
from llmtok.notebooks import declared_parameters, execute, normalise, read_parameters, refresh, to_html

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


@pytest.mark.parametrize(
    ("name", "value"),
    [("N", np.int64(4)), ("N", True), ("N", None), ("SIZES", {1: 2}), ("SIZES", {"a": (1, 2)}), ("NAMES", ("x",))],
)  # fmt: skip
def test_a_value_that_papermill_would_turn_into_another_is_refused(tmp_path, name, value):
    with pytest.raises(InputError, match=f"parameter {name}: .* is not like its default"):
        read_parameters({name: value}, [write_notebook(tmp_path / "a.ipynb")])


def test_values_from_python_stay_as_they_are(tmp_path):
    a = write_notebook(tmp_path / "a.ipynb")
    given = {"N": 4, "SHARE": 1, "FAST": False, "SIZES": {"a": None, "b": [1.5, {"c": "d"}]}, "NAMES": []}
    assert read_parameters(given, [a])[a] == given


TEXTS = st.text() | st.sampled_from(
    ['"; import os; "', "'" * 3, '"' * 3, '\\"', "a\\", "\\N{BULLET}", "{x}", "%s", "\n#", "\udc80"]
)


@settings(deadline=None)
@with_any(
    st.dictionaries(TEXTS, TEXTS | st.none() | st.lists(TEXTS | st.integers() | st.floats(allow_nan=False)))
)
def test_a_parameter_that_tries_to_be_code_arrives_as_it_is(value):
    """As papermill writes it down, for the kernel to read."""
    from papermill.parameterize import parameterize_notebook

    for each in (value, list(value)):
        document = new_notebook(cells=[new_code_cell("X = {}", metadata={"tags": ["parameters"]})])
        document.metadata.papermill = {}
        cells = parameterize_notebook(document, {"X": each}, kernel_name="python3", language="python").cells
        names = {}
        exec(compile(cells[1].source, "cell", "exec"), {"__builtins__": {"float": float}}, names)
        assert names == {"X": each}


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
        (
            "raise ValueError('\\x1b[2Jcleared\\nand more')",
            r"cell \[4\] .*: ValueError: \[2Jcleared and more$",
        ),
        ("import sys\nsys.exit()", r"cell \[4\] 'import sys': SystemExit"),
        ("import os\nos._exit(1)", r"cell \[4\] 'import os': the kernel died"),
        pytest.param(
            "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
            r"cell \[4\] .*: the kernel died",
            marks=pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL"),
        ),
    ],
    ids=["an error", "steers a terminal", "exit", "the kernel ends", "the kernel is killed"],
)
def test_execute_tells_the_truth(tmp_path, source, words):
    notebook = write_notebook(tmp_path / "a.ipynb", "'before'", source, "'after'")
    status = execute(notebook, tmp_path / "out.ipynb", {"N": 1}, progress=False)
    assert status["state"] == "failed"
    assert re.match(words, status["error"]) and "\n" not in status["error"]
    assert results(tmp_path / "out.ipynb") == ["'before'"]  # what was done before can be read


def wait_for(what, seconds=60):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def test_a_cell_that_times_out(tmp_path):
    notebook = write_notebook(tmp_path / "a.ipynb", "'before'", "import time\ntime.sleep(60)", "'after'")
    start = time.monotonic()
    status = execute(notebook, tmp_path / "out.ipynb", {"N": 1}, progress=False, timeout=1)
    assert status["state"] == "failed"
    assert status["error"] == "cell [4] 'import time': it took longer than 1 seconds"
    assert results(tmp_path / "out.ipynb") == ["'before'"] and time.monotonic() - start < 30
    assert notebooks._in_words(6 * 3600) == "6 hours"


def test_bad_input_in_a_cell_is_bad_input_here(tmp_path):
    """From a path with braces too, which papermill would take for a place to put a parameter in."""
    folder = tmp_path / "{my} work [1]"
    folder.mkdir()
    source = "from llmtok import InputError\nraise InputError(f'ratings.csv: it is\\nempty, {N}')"
    notebook = write_notebook(folder / "a.ipynb", source)
    with pytest.raises(InputError, match=r"^ratings.csv: it is empty, 8$"):
        execute(notebook, folder / "{out}.ipynb", {"N": 8}, progress=False)
    assert "InputError" in (folder / "{out}.ipynb").read_text()


@pytest.mark.skipif(os.name == "nt", reason="signals are sent otherwise on Windows")
def test_a_kernel_dies_with_its_parent(tmp_path):
    pid = tmp_path / "pid"
    source = (
        f"import os, pathlib, time\npathlib.Path({str(pid)!r}).write_text(str(os.getpid()))\ntime.sleep(90)"
    )
    notebook = write_notebook(tmp_path / "a.ipynb", source)
    script = (
        "import pathlib; from llmtok.notebooks import execute\n"
        f"execute(pathlib.Path({str(notebook)!r}), pathlib.Path({str(tmp_path / 'o.ipynb')!r}), {{}}, progress=False)"
    )
    process = subprocess.Popen([sys.executable, "-c", script])
    wait_for(lambda: pid.exists() and pid.read_text())
    kernel = psutil.Process(int(pid.read_text()))
    process.kill()
    process.wait()
    wait_for(lambda: not kernel.is_running() or kernel.status() == psutil.STATUS_ZOMBIE, seconds=20)


# --- progress ---

TELL = """\
import json, pathlib, time
for done in (10, 20):
    pathlib.Path(OUT_DIR, "progress.json").write_text(json.dumps({"done": done, "total": 40, "what": "ranking"}))
    time.sleep(1.3)"""


@pytest.mark.skipif(os.name == "nt", reason="there is no pty")
def test_progress_on_a_terminal_has_the_time_left(tmp_path):
    import fcntl
    import pty
    import struct
    import termios

    write_notebook(tmp_path / "a.ipynb", TELL, parameters='OUT_DIR = ""  # where to')
    script = (
        "import pathlib; from llmtok.notebooks import execute\n"
        f"here = pathlib.Path({str(tmp_path)!r})\n"
        "execute(here / 'a.ipynb', here / 'o.ipynb', {'OUT_DIR': str(here)}, progress=True)"
    )
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 30, 100, 0, 0))
    process = subprocess.Popen([sys.executable, "-c", script], stderr=theirs)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # how Linux says that the other end is closed; on macOS nothing is read
        while some := os.read(ours, 1000):
            shown += some
    os.close(ours)
    assert process.wait(timeout=60) == 0
    assert re.search(r"25 %\|.*00:0\d < 00:\d\d, ranking", shown.decode())
    assert re.search(r"50 %\|.*00:0\d < 00:\d\d, ranking", shown.decode())


def test_nothing_is_shown_where_no_one_looks(tmp_path, capfd):
    notebook = write_notebook(tmp_path / "a.ipynb", "N")
    execute(notebook, tmp_path / "o.ipynb", {}, progress=False)
    said = capfd.readouterr()
    assert said.out == said.err == ""
    # Asked for, it is of the cells, where the notebook tells nothing.
    execute(notebook, tmp_path / "o.ipynb", {}, progress=True)
    assert "%" in capfd.readouterr().err


@pytest.mark.parametrize(
    "written",
    ["", "{", "[]", '{"done": 1}', '{"done": 1, "total": 0, "what": ""}', '{"done": "x", "total": 1, "what": ""}',
     '{"done": NaN, "total": 1, "what": ""}', '{"done": 1, "total": Infinity, "what": ""}', "\xff"],
)  # fmt: skip
def test_progress_that_cannot_be_read_is_none(tmp_path, written):
    (tmp_path / "p").write_bytes(written.encode("latin-1"))
    assert notebooks._read_progress(tmp_path / "p") is None
    assert notebooks._read_progress(tmp_path / "q") is None and notebooks._read_progress(None) is None


def test_progress_is_told_in_bounds(tmp_path):
    (tmp_path / "p").write_text(json.dumps({"done": 50, "total": 40, "what": "\x1b[2J" + "x" * 99}))
    done, total, what = notebooks._read_progress(tmp_path / "p")
    assert (done, total) == (50, 50) and what.isprintable() and len(what) == 60


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
def test_page_forbids_scripts_before_anything_else(page, code):
    policy = re.search(r'<head>\s*<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page[code])[
        1
    ]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:")
    assert "script-src" not in policy
    assert '<html lang="en">' in page[code]


@pytest.mark.parametrize("code", [True, False])
def test_page_prints(page, code):
    own = page[code].rpartition("<style>")[2].partition("</style>")[0]
    assert "color-scheme: light" in own and "max-width" in own
    assert re.search(r"@media print .*break-inside: avoid", own, re.DOTALL)


HOSTILE = [
    "<scr<script>x</script>ipt>document.title='run'</scr<script>x</script>ipt>",
    "<SCRIPT SRC=//x.org/a.js></SCRIPT >",
    "<img src=x onerror=\"document.title='run'\">",
    "<svg onload=\"document.title='run'\"></svg>",
    "<me<meta>ta http-equiv=refresh content='0;url=https://x.org'>",
    "<meta http-equiv=refresh content='0;url=data:text/html,gone'>",
    "<base href='https://x.org/'>",
    "<iframe srcdoc=\"<script>parent.document.title='run'</script>\"></iframe>",
    "<link rel=stylesheet href='https://x.org/a.css'>",
    "<script>document.title='run'",
]


@pytest.fixture
def hostile_page(tmp_path):
    outputs = [new_output("display_data", {"text/html": html}) for html in HOSTILE]
    document = new_notebook(cells=[new_markdown_cell("# Safe"), new_code_cell("1", outputs=outputs)])
    nbformat.write(normalise(document), tmp_path / "a.ipynb")
    to_html(tmp_path / "a.ipynb", tmp_path / "a.html", code=False)
    return tmp_path / "a.html"


def test_nothing_active_is_left_in_a_page(hostile_page):
    body = hostile_page.read_text(encoding="utf-8").partition("<body")[2]
    assert not re.search(r"<(script|meta|base|link|iframe)", body, re.IGNORECASE)
    assert "</main>" in body  # and none of the rest is lost


@pytest.mark.skipif(not shutil.which("chromium"), reason="there is no browser")
@pytest.mark.parametrize("slipped_past", ["", "<script>document.title='run'</script>"])
def test_no_script_runs_in_a_browser(hostile_page, tmp_path, slipped_past):
    """Nor by the policy alone, if something got past us."""
    page = hostile_page.read_text(encoding="utf-8").replace("</main>", f"{slipped_past}</main>")
    hostile_page.write_text(page, encoding="utf-8")

    def titled(path):
        """The title after the page was opened and had its time."""
        browser = [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path / 'profile'}",
        ]
        command = [*browser, "--virtual-time-budget=2000", "--dump-dom", path.as_uri()]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
        return re.search("<title>(.*?)</title>", shown)[1]

    assert titled(hostile_page) == "Safe"
    if slipped_past:  # which it would do without the policy
        (tmp_path / "b.html").write_text(re.sub('<meta http-equiv="Content.*?>', "", page), encoding="utf-8")
        assert titled(tmp_path / "b.html") == "run"


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
        {"tags": ["solution"], "jupyter": {"source_hidden": True, "outputs_hidden": True}},
        {},
    ]
    assert once.cells[0].source == "# A" and once.cells[1].execution_count == 1
    assert set(once.metadata) == {"kernelspec", "language_info"}
    assert "version" not in once.metadata.language_info
    nbformat.validate(once)
    text = nbformat.writes(once)
    assert nbformat.writes(normalise(nbformat.reads(text, as_version=4))) == text


def test_what_gives_an_answer_away_is_folded(tmp_path):
    cells = [
        new_markdown_cell("# Fold\n\n<details><summary>Hint</summary>\n\nLook *twice*.\n\n</details>"),
        *[
            new_code_cell(f"{tag}_cell", metadata={"tags": [tag]} if tag != "plain" else {})
            for tag in ("check", "exercise", "solution", "plain")
        ],
    ]
    document = normalise(new_notebook(cells=cells))
    folded = ["jupyter" in cell.metadata for cell in document.cells[1:]]
    assert folded == [True, False, True, False]
    nbformat.write(document, tmp_path / "a.ipynb")
    to_html(tmp_path / "a.ipynb", tmp_path / "a.html", code=True)
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    folds = re.findall(r"<details[^>]*><summary>(.*?)</summary>(.*?)</details>", page, re.DOTALL)
    said = [(summary, set(re.findall(r"\w+_cell", inside))) for summary, inside in folds]
    assert said == [
        ("Hint", set()),
        ("How the answer is checked", {"check_cell"}),
        ("Solution", {"solution_cell"}),
    ]
    assert "<em>twice</em>" in folds[0][1] and "plain_cell" in page and "exercise_cell" in page


def test_a_widget_is_kept_as_what_stands_in_its_place():
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "7"}}
    still = {"image/png": "iVBORw0KGgo=", "text/plain": "one"}
    outputs = [new_output("display_data", {**view, **rest}) for rest in (still, {"text/plain": "a bar"})]
    document = normalise(new_notebook(cells=[new_code_cell("play()", outputs=outputs)]))
    kept = [set(output.data) for output in document.cells[0].outputs]
    assert kept == [{"image/png", "text/plain"}, {*view, "text/plain"}]  # a progress bar has no picture
