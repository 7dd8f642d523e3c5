"""Run notebooks with parameters, and turn what they show into pages that anyone can open.

papermill puts the parameters in; what is written here is what it leaves out: unknown parameters are refused,
the status is true even when a kernel dies, a page needs no network, and a run that fails spoils nothing.
"""

from __future__ import annotations

import ast
import json
import logging
import platform
import re
import shutil
import time
from html import escape
from importlib.metadata import version
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
_PACKAGES = ["llmtok", "numpy", "pandas", "scikit-learn", "scikit-surprise", "torch", "transformers"]


def notebooks_folder() -> Path:
    """Where the notebooks lie: beside the package, in the repository."""
    folder = Path(__file__).resolve().parent.parent / "notebooks"
    if not folder.is_dir():
        raise InputError(f"{folder}: the notebooks are not there; clone the repository")
    return folder


def declared_parameters(notebook: Path) -> dict[str, object]:
    """Return the names and defaults in the cell of a notebook that is tagged ``parameters``."""
    for cell in nbformat.read(notebook, as_version=4).cells:
        if "parameters" in cell.metadata.get("tags", []):
            assigned = [node for node in ast.parse(cell.source).body if isinstance(node, ast.Assign)]
            return {node.targets[0].id: ast.literal_eval(node.value) for node in assigned}
    return {}


def read_parameters(given: dict[str, str], notebooks: list[Path]) -> dict[Path, dict[str, object]]:
    """Give each notebook the parameters that it declares, in the type of its default.

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


def _as_type(name: str, value: str, default):
    if isinstance(default, str):
        return value
    try:
        read = ast.literal_eval(value.capitalize() if isinstance(default, bool) else value)
        if type(read) is type(default) or (isinstance(default, float) and type(read) is int):
            return type(default)(read)
    except Exception:  # literal_eval raises many kinds
        pass
    raise InputError(
        f"parameter {name}: {value!r} is not like its default {default!r} ({type(default).__name__})"
    )


def execute(notebook: Path, out: Path, parameters: dict[str, object], *, progress: bool = True) -> dict:
    """Run one notebook in its own folder, write the executed copy to `out`, and say how it ended.

    Returns
    -------
    dict
        ``notebook``, ``state`` (``ok``, ``failed`` or ``stopped``), ``seconds``, ``parameters``, and where it
        did not end well ``error``, which names the cell by its number in the executed copy.
    """
    import papermill

    logging.getLogger("papermill").setLevel(logging.ERROR)
    document = papermill.execute_notebook(
        notebook, out, parameters, kernel_name="python3", prepare_only=True, progress_bar=False
    )
    start = time.perf_counter()
    state, error = _execute_cells(document, notebook.parent, progress=progress)
    _write(out, nbformat.writes(normalise(document)) + "\n")
    status = {
        "notebook": notebook.stem,
        "state": state,
        "seconds": round(time.perf_counter() - start, 1),
        "parameters": parameters,
    }
    return status | ({"error": error} if error else {})


def _execute_cells(document: nbformat.NotebookNode, folder: Path, *, progress: bool) -> tuple[str, str]:
    """Run a notebook's cells, with their outputs put into it; return the state and the error.

    papermill's own loop is not used: it takes an error shown on purpose (tag ``raises-exception``) for a
    failure, and ``sys.exit()`` in the middle for a success.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    from tqdm.auto import tqdm

    quiet = logging.getLogger("llmtok.kernel")  # what went wrong is in what we return
    quiet.setLevel(logging.CRITICAL)
    client = NotebookClient(
        document,
        log=quiet,
        timeout=3600,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        coalesce_streams=True,
        extra_arguments=["--IPKernelApp.log_level=CRITICAL"],  # else each kernel warns that it talks over TCP
    )
    code = {index: cell for index, cell in enumerate(document.cells) if cell.cell_type == "code"}
    for cell in code.values():
        cell.outputs, cell.execution_count = [], None
    number, cell = 0, None
    try:
        with client.setup_kernel():
            for index, cell in tqdm(code.items(), unit="cell", disable=not progress):
                number += 1
                client.execute_cell(cell, index)
        return "ok", ""
    except CellExecutionError as error:
        state, what = "failed", f"{error.ename}: {error.evalue}"
    except DeadKernelError:
        state, what = "failed", "the kernel died; the usual reason is too little memory"
    except CellTimeoutError:
        state, what = "failed", "it took more than an hour"
    except KeyboardInterrupt:
        state, what = "stopped", "stopped by Ctrl-C"
    line = cell.source.strip().partition("\n")[0] if cell else ""
    return state, f"cell [{number}] {line!r}: {' '.join(what.split())}"


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
        config=config, exclude_input=not code, exclude_input_prompt=True, exclude_output_prompt=True
    )
    document = nbformat.read(notebook, as_version=4)
    for cell in document.cells:
        if cell.cell_type == "code":
            cell.outputs = [_with_alt(output) for output in cell.outputs if not _is_for_the_runner(output)]
        else:  # a picture from the web, such as a badge, is replaced by its text
            cell.source = re.sub(r"!\[([^\]]*)\]\(https?://[^)]*\)", r"\1", cell.source)
    headings = [c.source for c in document.cells if c.cell_type == "markdown" and c.source.startswith("# ")]
    title = headings[0].partition("\n")[0].removeprefix("# ") if headings else notebook.stem
    body, _ = exporter.from_notebook_node(document, {"metadata": {"name": title}})
    # The template loads MathJax, Mermaid and more from the web. Our pages need none: formulas are plain text.
    _write(html, re.sub(r"<script\b.*?</script>", "", body, flags=re.DOTALL | re.IGNORECASE))


def _is_for_the_runner(output: nbformat.NotebookNode) -> bool:
    """Tell warnings and progress bars from what a reader wants."""
    return output.get("name") == "stderr" or "application/vnd.jupyter.widget-view+json" in output.get(
        "data", {}
    )


def _with_alt(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Put a picture into HTML by hand: nbconvert's template drops the alt text."""
    alt = output.get("metadata", {}).get("image/png", {}).get("alt")
    if alt:
        png = output.data.pop("image/png").strip()
        output.data["text/html"] = (
            f'<img style="max-width: 100%" src="data:image/png;base64,{png}" alt="{escape(alt)}">'
        )
    return output


def run(out: Path, given: dict[str, str], *, course: bool = True, progress: bool = True, say=print) -> dict:
    """Run the course and the report, and write everything that comes of it into the folder `out`.

    The work is done in a folder beside it. When all went well that one takes the place of `out`; when not, it
    stays as ``<out>.failed``, and what was in `out` before is untouched.

    Parameters
    ----------
    out : Path
        Will hold ``report.html``, ``metrics.json``, ``status.json``, the executed notebooks and their pages.
        A folder that is there already is replaced only if an earlier run wrote it, or if it is empty.
    given : dict of str to str
        Parameters; see `read_parameters`.
    course : bool
        Run notebooks 01 to 05 before the report.
    progress : bool
        Show progress bars.
    say : callable
        Told a line at each step.

    Returns
    -------
    dict
        What is in ``status.json``: ``state`` is ``ok``, ``failed`` or ``stopped``.
    """
    names = [*(COURSE if course else []), REPORT]
    notebooks = [notebooks_folder() / f"{name}.ipynb" for name in names]
    parameters = read_parameters(given, notebooks)
    if out.exists() and not (out / "status.json").is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(
            f"{out}: is there already and is not the result of a run; choose another place with --out"
        )
    work = out.with_name(out.name + ".running")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    status = {
        "state": "failed",
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "notebooks": [],
        "versions": {"python": platform.python_version(), **{p: version(p) for p in _PACKAGES}},
    }
    try:
        for number, notebook in enumerate(notebooks, 1):
            say(f"[{number}/{len(notebooks)}] {notebook.stem}")
            own = {"OUT_DIR": str(work.resolve())} if notebook.stem == REPORT else {}
            done = execute(notebook, work / notebook.name, parameters[notebook] | own, progress=progress)
            status["notebooks"].append(done | {"parameters": parameters[notebook]})
            if done["state"] != "ok":
                status["state"] = done["state"]
                break
            to_html(work / notebook.name, work / f"{notebook.stem}.html", code=notebook.stem != REPORT)
        else:
            status["state"] = "ok"
    except KeyboardInterrupt:
        status["state"] = "stopped"
    finally:  # whatever happened, the status says so
        status["seconds"] = round(sum(n["seconds"] for n in status["notebooks"]), 1)
        _write(work / "status.json", json.dumps(status, indent=2) + "\n")
        _replace(out if status["state"] == "ok" else out.with_name(out.name + ".failed"), work)
        if status["state"] == "ok":
            shutil.rmtree(out.with_name(out.name + ".failed"), ignore_errors=True)
    return status


def _replace(folder: Path, new: Path) -> None:
    """Let `new` take the place of a folder; what was there goes when the new one is in place."""
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def refresh(notebook: Path, *, progress: bool = True) -> None:
    """Run a notebook in place from top to bottom, and save it so that a diff shows only what changed.

    Raises
    ------
    InputError
        A cell failed; the file is as it was.
    """
    document = nbformat.read(notebook, as_version=4)
    state, error = _execute_cells(document, notebook.parent, progress=progress)
    if state != "ok":
        raise InputError(f"{notebook.name} {state}, and is as it was: {error}")
    _write(notebook, nbformat.writes(normalise(document)) + "\n")


def normalise(document: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Strip what changes from run to run or from machine to machine, and fold the solutions in JupyterLab."""
    document.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    document.nbformat, document.nbformat_minor = 4, 5
    for number, cell in enumerate(document.cells):
        tags = cell.metadata.get("tags", [])
        folded = {"jupyter": {"source_hidden": True}} if "solution" in tags else {}
        cell.metadata = nbformat.from_dict(({"tags": tags} if tags else {}) | folded)
        cell.id = f"cell-{number:02d}"
        cell.source = cell.source.strip("\n")
    return document


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
