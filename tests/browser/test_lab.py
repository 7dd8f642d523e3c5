"""Every notebook in JupyterLab, in a real browser: run whole, its pictures drawn, its controls moved.

``make browser-test`` runs this; screenshots for a person to look at are in ``build/browser/``.
"""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import pytest

from llmtok import spark
from llmtok.notebooks import ON_SPARK, notebooks_folder

FOLDER = notebooks_folder()
SHOTS = FOLDER.parent / "build" / "browser"
STEMS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
if "LLMTOK_BROWSER" not in os.environ:  # the sample of `make test`
    STEMS = STEMS[:1]

# What JupyterLab knows of the open notebook; its model, and not the page, which draws only what is in view.
READY = """() => {
    const session = window.jupyterapp?.shell.currentWidget?.sessionContext;
    return session?.isReady && session.session?.kernel?.status === 'idle';
}"""
RUN = """() => {
    window.over = false;
    window.jupyterapp.commands.execute('notebook:run-all-cells').finally(() => window.over = true);
}"""
DONE = """() =>
    window.over && window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'"""
NOT_RUN = """() => [...window.jupyterapp.shell.currentWidget.content.model.cells]
    .filter(cell => cell.type === 'code' && !cell.executionCount).map(cell => cell.toJSON().source)"""
OUTPUTS = """() => [...window.jupyterapp.shell.currentWidget.content.model.cells]
    .filter(cell => cell.type === 'code').map(cell => cell.toJSON().outputs)"""
SCROLL_TO = """index => window.jupyterapp.shell.currentWidget.content.scrollToItem(index, 'start')"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Address of a JupyterLab on a copy of the notebooks, without outputs."""
    root = tmp_path_factory.mktemp("lab")
    for stem in STEMS:
        notebook = nbformat.read(FOLDER / f"{stem}.ipynb", as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, root / f"{stem}.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [
        "--no-browser",
        f"--port={port}",
        "--IdentityProvider.token=",
        f"--ServerApp.root_dir={root}",
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.news_url=None",
        *(["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
    ]
    server = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{address}/api", timeout=1)
            break
        except OSError:
            time.sleep(0.5)
    yield address
    server.terminate()
    server.wait(30)


@pytest.fixture
def page(lab, browser, stem):
    """A notebook that was run whole."""
    if stem == ON_SPARK and (why := spark.missing()):
        pytest.skip(f"Spark cannot run here: {why}")
    page = browser.new_page(viewport={"width": 1300, "height": 1000})
    page.broken = []
    page.on("pageerror", lambda error: page.broken.append(str(error)))
    page.goto(f"{lab}/lab/tree/{stem}.ipynb?reset", wait_until="domcontentloaded")
    page.wait_for_function(READY, timeout=120_000)
    page.evaluate(RUN)
    page.wait_for_function(DONE, timeout=1_800_000, polling=500)
    yield page
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.close()


@pytest.mark.parametrize("stem", STEMS)
def test_notebook_in_jupyterlab(page, stem):
    committed = nbformat.read(FOLDER / f"{stem}.ipynb", as_version=4)
    cells = [cell for cell in committed.cells if cell.cell_type == "code"]
    for cell, outputs in zip(cells, page.evaluate(OUTPUTS), strict=True):
        raised = [output["evalue"] for output in outputs if output["output_type"] == "error"]
        assert bool(raised) == ("raises-exception" in cell.metadata.get("tags", [])), (cell.source, raised)
        pictures = [sum("image/png" in o.get("data", {}) for o in given) for given in (cell.outputs, outputs)]
        assert pictures[0] == pictures[1], cell.source
    SHOTS.mkdir(parents=True, exist_ok=True)
    for number, cell in enumerate(committed.cells):
        if cell.cell_type == "code" and re.search(r"^play\(", cell.source, re.MULTILINE):
            move_the_controls(page, number, stem)
    assert not page.evaluate(NOT_RUN)
    assert not page.broken


def move_the_controls(page, number, stem):
    """Move each slider of a cell, or its menu or field of text, and see that what stands below it changes."""
    page.evaluate(SCROLL_TO, number)
    cell = page.locator(f".jp-Cell[data-windowed-list-index='{number}']")
    stage = cell.locator(".jp-OutputArea img, .jp-OutputArea .jp-RenderedHTMLCommon table").first
    stage.wait_for(timeout=20_000)
    page.screenshot(path=SHOTS / f"{stem}-{number}-before.png")
    kinds = (".widget-slider .noUi-handle", ".widget-text input", ".widget-dropdown select")
    sliders, fields, menus = (cell.locator(kind).all() for kind in kinds)
    assert sliders or fields or menus, f"{stem}: cell {number} has no controls"
    for handle in sliders:
        seen = what_is_shown(stage)
        low, now, high = (float(handle.get_attribute(f"aria-value{end}")) for end in ("min", "now", "max"))
        for _ in range(6):  # to where there is more room, or the value would come back to where it was
            handle.press("ArrowRight" if now - low < high - now else "ArrowLeft")
        wait_for_another(stage, seen, f"{stem}: a slider of cell {number} moves nothing")
    for field in fields if not sliders else []:
        seen = what_is_shown(stage)
        field.fill("A robot learns to love")
        field.press("Enter")
        wait_for_another(stage, seen, f"{stem}: a text in cell {number} changes nothing")
    for menu in menus if not (sliders or fields) else []:
        seen = what_is_shown(stage)
        menu.select_option(index=0 if menu.evaluate("menu => menu.selectedIndex") else 1)
        wait_for_another(stage, seen, f"{stem}: a menu in cell {number} changes nothing")
    page.screenshot(path=SHOTS / f"{stem}-{number}-after.png")


def wait_for_another(stage, seen, complaint):
    """Wait until something else is shown."""
    deadline = time.monotonic() + 60
    while what_is_shown(stage) == seen and time.monotonic() < deadline:
        time.sleep(0.1)
    assert what_is_shown(stage) != seen, complaint


def what_is_shown(stage):
    """The picture's address or the table's text."""
    return stage.get_attribute("src") or stage.inner_text()
