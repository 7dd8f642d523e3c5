"""Run a notebook with parameters, and turn what it shows into a page that anyone can open.

papermill puts the parameters in; what is written here is what it leaves out: unknown parameters are refused,
the state is true even when a kernel dies, and a page needs no network and runs no script.
"""

from __future__ import annotations

import ast
import json
import logging
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path

import nbformat

from llmtok.data import InputError

COURSE = [
    "01_collect_data",
    "02_encode_with_bert",
    "03_generate_tokens",
    "04_recommend_with_svd",
    "05_evaluate",
]
REPORT = "report"
ON_SPARK = "14_scale_out_with_spark"  # needs Java and pyspark
TIMEOUT = 6 * 3600.0
"""Seconds that one cell may take."""

FOLDED = {"check": "How the answer is checked", "solution": "Solution"}
"""Tags of cells that give an answer away, and what their fold is called. JupyterLab shows their first line instead."""

SECURITY_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:; base-uri 'none'; "
    "form-action 'none'"
)
"""The Content-Security-Policy of our pages: nothing is loaded, and no script runs even if one got in."""

TEMPLATE = """{% extends "lab/index.html.j2" %}
{% block codecell %}
{% set folds = cell.metadata.get("tags", []) | select("in", resources.folded) | list %}
{% if folds %}<details class="fold"><summary>{{ resources.folded[folds[0]] }}</summary>{% endif %}
{{ super() }}
{% if folds %}</details>{% endif %}
{% endblock codecell %}
"""

STYLE = """
:root { color-scheme: light; }
body.jp-Notebook { background: white; color: #1a1a1a; }
main { max-width: 64rem; margin: 0 auto; }
main img { max-width: 100%; height: auto; }
main .jp-RenderedHTMLCommon { overflow-x: auto; }
main details.fold > summary { cursor: pointer; padding: 0.4em 1em; color: #0b5394; font-family: sans-serif; }
@media print {
  body.jp-Notebook { background: white; color: black; padding: 0; }
  main { max-width: none; }
  main a, main a:visited { color: inherit; text-decoration: none; }
  main .anchor-link { display: none; }
  main .jp-RenderedHTMLCommon { overflow: visible; }
  main table, main img, main pre, main tr { break-inside: avoid; }
  main h1, main h2, main h3 { break-after: avoid; }
}
"""


def repository() -> Path | None:
    """Return the clone that this package lies in; None where only the package is installed."""
    folder = Path(__file__).resolve().parent.parent
    return folder if (folder / "pyproject.toml").is_file() else None


def notebooks_folder() -> Path:
    """Where the notebooks lie: beside the package, in the repository; and inside it, where it is installed."""
    clone = repository()
    return clone / "notebooks" if clone else Path(__file__).resolve().parent / "course"


def copy_notebooks(folder: Path) -> tuple[list[str], list[str]]:
    """Copy the notebooks into a folder of the learner's own; what is there already stays as it is.

    Parameters
    ----------
    folder : Path
        Where to; it is made if it is not there.

    Returns
    -------
    copied, kept : list of str
        Names of the notebooks.

    Raises
    ------
    InputError
        The folder is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder")
    folder.mkdir(parents=True, exist_ok=True)
    copied, kept = [], []
    for notebook in sorted(notebooks_folder().glob("*.ipynb")):
        there = folder / notebook.name
        (kept if there.exists() else copied).append(notebook.name)
        if not there.exists():
            write_text(there, notebook.read_text(encoding="utf-8"))
    return copied, kept


# --- Parameters ---------------------------------------------------------------------------------------------


def declared_parameters(notebook: Path) -> dict[str, object]:
    """Return the names and defaults in the cell of a notebook that is tagged ``parameters``.

    Examples
    --------
    >>> from llmtok.notebooks import declared_parameters, notebooks_folder
    >>> declared_parameters(notebooks_folder() / "01_collect_data.ipynb")["DATASET"]
    'movielens-small'
    """
    for cell in nbformat.read(notebook, as_version=4).cells:
        if "parameters" in cell.metadata.get("tags", []):
            assigned = [node for node in ast.parse(cell.source).body if isinstance(node, ast.Assign)]
            return {node.targets[0].id: ast.literal_eval(node.value) for node in assigned}
    return {}


def read_parameters(given: dict[str, object], notebooks: list[Path]) -> dict[Path, dict[str, object]]:
    """Give each notebook the parameters that it declares, in the type of its default.

    Parameters
    ----------
    given : dict
        Values by name. One that is written, as on the command line, is read as its default's type.
    notebooks : list of Path
        Who may declare them.

    Raises
    ------
    InputError
        No notebook declares a parameter, or a value is not of its type.
    """
    declared = {notebook: declared_parameters(notebook) for notebook in notebooks}
    known = sorted({name for names in declared.values() for name in names})
    for name in given:
        if name not in known:
            raise InputError(f"no notebook has a parameter {name!r}; there are {', '.join(known)}")
    return {
        notebook: {
            name: _as_type(name, given[name], default) for name, default in names.items() if name in given
        }
        for notebook, names in declared.items()
    }


def _as_type(name: str, value, default):
    read = value
    try:
        if isinstance(value, str) and not isinstance(default, str):
            read = ast.literal_eval(value.capitalize() if isinstance(default, bool) else value)
        if _is_plain(read):
            if type(read) is type(default):
                return read
            if isinstance(default, float) and type(read) is int:
                return float(read)
    except Exception:  # literal_eval raises many kinds
        pass
    raise InputError(
        f"parameter {name}: {value!r} is not like its default {default!r} ({type(default).__name__})"
    )


def _is_plain(value) -> bool:
    """Whether papermill writes a value down as it is: it would turn other kinds, and other keys, into texts."""
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(map(_is_plain, value.values()))
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or type(value) in (str, bool, int, float)


# --- Running ------------------------------------------------------------------------------------------------


def execute(
    notebook: Path,
    out: Path,
    parameters: dict[str, object],
    *,
    progress: bool = True,
    timeout: float = TIMEOUT,
) -> dict:
    """Run one notebook in its own folder, write the executed copy to `out`, and say how it ended.

    Parameters
    ----------
    notebook, out : Path
        What to run, and where to write what came of it.
    parameters : dict
        What papermill puts in. Where ``OUT_DIR`` is among them, the notebook may write ``progress.json`` there:
        ``{"done": 12.5, "total": 80.0, "what": "ranking"}``, in seconds of work.
    progress : bool
        Show a bar with the time left: of the work, where the notebook tells of it, else of the cells.
    timeout : float
        Seconds that a cell may take.

    Returns
    -------
    dict
        ``notebook``, ``state`` (``ok``, ``failed`` or ``stopped``), ``seconds``, ``parameters``, and where it
        did not end well ``error``, which names the cell by its number in the executed copy.

    Raises
    ------
    InputError
        A cell raised it: something that was given is wrong.
    """
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    document = load_notebook_node(str(notebook.resolve()))
    if parameters:
        document = parameterize_notebook(document, parameters, kernel_name="python3", language="python")
    told = Path(parameters["OUT_DIR"]) / "progress.json" if parameters.get("OUT_DIR") else None
    start = time.perf_counter()
    state, error, refused = _execute_cells(
        document, notebook.parent, progress=progress, timeout=timeout, told=told
    )
    write_text(out, nbformat.writes(normalise(document)) + "\n")
    if refused:
        raise InputError(refused)
    status = {
        "notebook": notebook.stem,
        "state": state,
        "seconds": round(time.perf_counter() - start, 1),
        "parameters": parameters,
    }
    return status | ({"error": error} if error else {})


def _execute_cells(
    document: nbformat.NotebookNode,
    folder: Path,
    *,
    progress: bool,
    timeout: float = TIMEOUT,
    told: Path | None = None,
) -> tuple[str, str, str]:
    """Run a notebook's cells, with their outputs put into it; return state, error, and the message of an InputError.

    papermill's own loop is not used: it takes an error shown on purpose (tag ``raises-exception``) for a
    failure, and ``sys.exit()`` in the middle for a success.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    quiet = logging.getLogger("llmtok.kernel")  # what went wrong is in what we return
    quiet.setLevel(logging.CRITICAL)
    client = NotebookClient(
        document,
        log=quiet,
        timeout=max(1, math.ceil(timeout)),
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        coalesce_streams=True,
        extra_arguments=["--IPKernelApp.log_level=CRITICAL"],  # else each kernel warns that it talks over TCP
    )
    code = {index: cell for index, cell in enumerate(document.cells) if cell.cell_type == "code"}
    for cell in code.values():
        cell.outputs, cell.execution_count = [], None
    number, cell, refused = 0, None, ""
    try:
        with client.setup_kernel(), _bar(len(code), told, shown=progress) as one_more:
            for index, cell in code.items():
                number += 1
                client.execute_cell(cell, index)
                one_more()
        return "ok", "", ""
    except CellExecutionError as error:
        state, what = "failed", f"{error.ename}: {error.evalue}"
        refused = error.evalue if error.ename == InputError.__name__ else ""
    except DeadKernelError:
        state, what = "failed", "the kernel died; the usual reason is too little memory"
    except CellTimeoutError:
        state, what = "failed", f"it took longer than {_in_words(timeout)}"
    except KeyboardInterrupt:
        state, what = "stopped", "stopped by Ctrl-C"
    line = cell.source.strip().partition("\n")[0] if cell else ""
    what = "".join(c for c in " ".join(what.split()) if c.isprintable())
    return state, f"cell [{number}] {line!r}: {what}", refused


def _in_words(seconds: float) -> str:
    return f"{seconds / 3600:g} hours" if seconds >= 3600 else f"{seconds:g} seconds"


@contextmanager
def _bar(cells: int, told: Path | None, *, shown: bool) -> Iterator[Callable[[], object]]:
    """Show how far a notebook is; what is yielded is to be called after each cell."""
    if not shown:
        yield lambda: None
        return
    from tqdm import tqdm

    form = "{percentage:3.0f} %|{bar:30}| {elapsed} < {remaining}{postfix}"
    over = threading.Event()
    with tqdm(total=cells, smoothing=0, bar_format=form, leave=False) as bar:

        def watch():
            while not over.wait(1):
                if work := _read_progress(told):
                    bar.n, bar.total, what = work
                    bar.set_postfix_str(what, refresh=False)
                bar.refresh()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield lambda: None if _read_progress(told) else bar.update()
        finally:
            over.set()
            watcher.join()


def _read_progress(told: Path | None) -> tuple[float, float, str] | None:
    """Read what a notebook says of its work: seconds done, seconds in all, and what it is at."""
    try:
        work = json.loads(told.read_text(encoding="utf-8"))
        done, total = float(work["done"]), float(work["total"])
        what = "".join(c for c in str(work["what"]) if c.isprintable())
    except (AttributeError, OSError, ValueError, KeyError, TypeError):  # there is none, or not yet
        return None
    return (max(done, 0.0), max(done, total), what[:60]) if 0 < total < math.inf and done < math.inf else None


# --- Pages --------------------------------------------------------------------------------------------------


def to_html(notebook: Path, html: Path, *, code: bool) -> None:
    """Write a notebook as one HTML file that needs no network: pictures and alt texts inside, no scripts.

    Parameters
    ----------
    notebook, html : Path
        What to read and write.
    code : bool
        Show the code too, and with it the parameters that were given.
    """
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    config = Config()
    config.TagRemovePreprocessor.enabled = True
    config.TagRemovePreprocessor.remove_cell_tags = {"remove-cell"} | (
        set() if code else {"injected-parameters"}
    )
    exporter = HTMLExporter(
        config=config,
        exclude_input=not code,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        raw_template=TEMPLATE,
    )
    document = nbformat.read(notebook, as_version=4)
    for cell in document.cells:
        if cell.cell_type == "code":
            cell.outputs = [_with_alt(output) for output in cell.outputs if not _is_for_the_runner(output)]
        else:  # a picture from the web, such as a badge, is replaced by its text
            cell.source = re.sub(r"!\[([^\]]*)\]\(https?://[^)]*\)", r"\1", cell.source)
    headings = [c.source for c in document.cells if c.cell_type == "markdown" and c.source.startswith("# ")]
    title = headings[0].partition("\n")[0].removeprefix("# ") if headings else notebook.stem
    about = {"metadata": {"name": title}, "folded": FOLDED}
    page, _ = exporter.from_notebook_node(document, about)
    write_text(html, _make_safe(page))


def _make_safe(page: str) -> str:
    """Take out the scripts, add our policy and our style."""
    # The template loads MathJax, Mermaid and more from the web. Our pages need none: formulas are plain text.
    page = re.sub(r"<script\b.*?</script\s*>", "", page, flags=re.DOTALL | re.IGNORECASE)
    head, body_tag, body = page.partition("<body")
    # What is left is someone's text. It is made visible and not cut out: what a cut leaves could be a tag again.
    active = r"<(?=/?(?:script|meta|base|link|iframe|frame|object|embed|form)\b)"
    body = re.sub(active, "&lt;", body, flags=re.IGNORECASE)
    policy = f'<meta http-equiv="Content-Security-Policy" content="{SECURITY_POLICY}">'
    head = head.replace("<head>", f"<head>{policy}", 1).replace(
        "</head>", f"<style>{STYLE}</style></head>", 1
    )
    return head + body_tag + body


def _is_for_the_runner(output: nbformat.NotebookNode) -> bool:
    """Tell warnings and progress bars from what a reader wants."""
    return output.get("name") == "stderr" or "application/vnd.jupyter.widget-view+json" in output.get(
        "data", {}
    )


def _with_alt(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Put a picture into HTML by hand: nbconvert's template drops the alt text."""
    alt = output.get("metadata", {}).get("image/png", {}).get("alt")
    if alt and "image/png" in output.data:
        png = output.data.pop("image/png").strip()
        output.data["text/html"] = (
            f'<img style="max-width: 100%" src="data:image/png;base64,{png}" alt="{escape(alt)}">'
        )
    return output


# --- In place -----------------------------------------------------------------------------------------------


def refresh(notebook: Path, *, progress: bool = True) -> None:
    """Run a notebook in place from top to bottom, and save it so that a diff shows only what changed.

    Raises
    ------
    InputError
        A cell failed; the file is as it was.
    """
    document = nbformat.read(notebook, as_version=4)
    state, error, _ = _execute_cells(document, notebook.parent, progress=progress)
    if state != "ok":
        raise InputError(f"{notebook.name} {state}, and is as it was: {error}")
    write_text(notebook, nbformat.writes(normalise(document)) + "\n")


def normalise(document: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Strip what changes from run to run or from machine to machine, and fold in JupyterLab what gives answers away."""
    document.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    document.nbformat, document.nbformat_minor = 4, 5
    for number, cell in enumerate(document.cells):
        tags = cell.metadata.get("tags", [])
        folded = {"source_hidden": True} if FOLDED.keys() & set(tags) else {}
        folded |= {"outputs_hidden": True} if "solution" in tags else {}
        cell.metadata = nbformat.from_dict(
            ({"tags": tags} if tags else {}) | ({"jupyter": folded} if folded else {})
        )
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if {"image/png", "text/html"} & data.keys():  # what `play` shows where no kernel runs
                data.pop("application/vnd.jupyter.widget-view+json", None)
        cell.id = f"cell-{number:02d}"
        cell.source = cell.source.strip("\n")
    return document


def write_text(path: Path, text: str) -> None:
    """Write a file so that it is there whole, or as it was."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
