"""Put the pages of the repository side by side, and build the site: ``python -m llmtok site``.

The folders are those of the repository, so a link that works there works here. What is added: the pages of this folder
go to the top, and what a lesson folds (checks, solutions) is marked for the site's fold.
"""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat

from llmtok.notebooks import FOLDED

ROOT = Path(__file__).resolve().parent.parent
PAGES = ["README.md", "README.zh-CN.md", "LICENSES.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md"]
EXAMPLES = ["movielens-small", "debian-packages"]


def assemble(source: Path) -> None:
    """Copy what the site shows into an empty folder."""
    shutil.rmtree(source, ignore_errors=True)
    for name in PAGES + [str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*")]:
        copy(name, source)
    for path in [ROOT / "benchmarks" / "RESULTS.md", *(ROOT / "benchmarks").glob("*.png")]:
        copy(str(path.relative_to(ROOT)), source)
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            for kind in FOLDED.keys() & set(cell.metadata.get("tags", [])):
                cell.metadata["tags"].append("hide-cell")
                cell.metadata["mystnb"] = dict.fromkeys(
                    ["code_prompt_show", "code_prompt_hide"], FOLDED[kind]
                )
        nbformat.write(notebook, place(source / "notebooks" / path.name))
    for path in (ROOT / "site").glob("*.md"):  # written for their own folder, and moved up by one
        text = path.read_text(encoding="utf-8")
        (source / path.name).write_text(re.sub(r"(\]\(|\n)\.\./", r"\1", text), encoding="utf-8")
    shutil.copy(ROOT / "site" / "conf.py", source)
    shutil.copytree(ROOT / "site" / "_static", source / "_static")
    (source / "reports").mkdir()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lead_out(source, project["urls"]["Repository"])


def copy(name: str, source: Path) -> None:
    """Copy one file, folder and all."""
    shutil.copy(ROOT / name, place(source / name))


def lead_out(source: Path, repository: str) -> None:
    """Let links to what the site does not show, such as the licence, lead to the repository.

    And show no badges: they are pictures from the web, and the site has a button of its own.
    """
    for page in [*source.rglob("*.md"), *source.rglob("*.ipynb")]:

        def link(found, page=page):
            target = (page.parent / found[1]).resolve().relative_to(source.resolve())
            shown = (source / target).exists() or not (ROOT / target).exists()
            return found[0] if shown else f"]({repository}/blob/main/{target.as_posix()}{found[2] or ''})"

        text = re.sub(r"\[!\[(\w+)\]\(https:[^)]*\)\]", r"[\1]", page.read_text(encoding="utf-8"))
        page.write_text(re.sub(r"\]\(((?!https?:)[\w./-]+)(#[\w-]+)?\)", link, text), encoding="utf-8")


def place(path: Path) -> Path:
    """Make the folder that a file needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def add_reports(source: Path) -> None:
    """Put the reports of the bundled data beside the pages; make those that are not there yet."""
    for name in EXAMPLES:
        page = ROOT / "reports" / name / "report.html"
        if not page.exists():
            subprocess.run(
                [sys.executable, "-m", "llmtok", "report", "--dataset", name], check=True, cwd=ROOT
            )
        shutil.copy(page, place(source / "reports" / "examples" / f"{name}.html"))


def build(source: Path, html: Path) -> None:
    """Run Sphinx; a warning is an error."""
    shutil.rmtree(html, ignore_errors=True)
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-d",
        str(html.parent / "doctrees"),
    ]
    subprocess.run([*command, str(source), str(html)], check=True)


def main() -> None:
    """Build the whole site into ``build/site/html``."""
    source, html = ROOT / "build" / "site" / "source", ROOT / "build" / "site" / "html"
    assemble(source)
    add_reports(source)
    build(source, html)
    print(f"the site is in {html.relative_to(ROOT)}/index.html")


if __name__ == "__main__":
    main()
