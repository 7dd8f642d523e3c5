"""The command line: what `make` calls, and what works where there is no make."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from llmtok.data import InputError

ROOT = Path(__file__).resolve().parent.parent
app = typer.Typer(
    help="LLM tokens for recommenders.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def run(
    dataset: Annotated[
        str, typer.Option(help="A data set's name, or a folder with ratings.csv and items.csv.")
    ] = "movielens-small",
    out: Annotated[
        Path | None, typer.Option(help="Where the results go; by default reports/<dataset>.")
    ] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="A notebook's parameter, as NAME=VALUE.")
    ] = None,
    report_only: Annotated[bool, typer.Option(help="Only the report, without notebooks 01 to 05.")] = False,
) -> None:
    """Run notebooks 01 to 05 and the report on a data set."""
    from llmtok.data import load_dataset
    from llmtok.report import run as run_notebooks

    given = {"DATASET": str(Path(dataset).resolve()) if Path(dataset).is_dir() else dataset}
    for pair in parameter or []:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"-p {pair}: write NAME=VALUE")
        if name in ("DATASET", "OUT_DIR"):
            raise InputError(f"-p {pair}: use --dataset and --out")
        given[name] = value
    load_dataset(given["DATASET"])  # what is wrong with the data is said now, and in one line
    out = (out or Path("reports") / Path(given["DATASET"]).name).resolve()
    status = run_notebooks(out, given, course=not report_only, progress=sys.stderr.isatty(), say=typer.echo)
    if status["state"] == "ok":
        typer.echo(f"Done in {status['seconds']:.0f} s. Read {out / 'report.html'}")
        return
    last = status["notebooks"][-1] if status["notebooks"] else {}
    where = f"{last.get('notebook', '')} {last.get('error', '')}".strip()
    typer.echo(f"llmtok: {status['state']}: {where}; see {out}.failed", err=True)
    raise typer.Exit(130 if status["state"] == "stopped" else 1)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def lab(context: typer.Context) -> None:
    """Open JupyterLab on the first notebook. Further arguments go to JupyterLab."""
    from llmtok.report import notebooks_folder

    start = "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb"
    _hand_over("-m", "jupyterlab", f"--notebook-dir={notebooks_folder().parent}", start, *context.args)


@app.command()
def notebooks(
    names: Annotated[
        list[str] | None, typer.Argument(help="Such as 02_encode_with_bert; by default all.")
    ] = None,
) -> None:
    """Run the notebooks in place and normalise them."""
    from llmtok.report import notebooks_folder, refresh

    found = {path.stem: path for path in sorted(notebooks_folder().glob("*.ipynb"))}
    for name in names or found:
        if name not in found:
            raise InputError(f"no notebook {name!r}; there are {', '.join(found)}")
    for name in names or found:
        typer.echo(name)
        refresh(found[name], progress=sys.stderr.isatty())


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def test(context: typer.Context) -> None:
    """Run every test: the modules, then every cell of every notebook. Further arguments go to pytest."""
    named = any((ROOT / argument.partition("::")[0]).exists() for argument in context.args)
    what = [] if named else ["tests", "notebooks"]
    nbval = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=900"]
    _hand_over("-m", "pytest", *nbval, *context.args, *what)


@app.command()
def bench() -> None:
    """Measure speed and memory, as ratios within one run."""
    _hand_over("benchmarks/bench.py")


def _hand_over(*arguments: str) -> None:
    """Run another program at the root of the repository and end as it ends; what Ctrl-C means is up to it."""
    with subprocess.Popen([sys.executable, *arguments], cwd=ROOT) as process:
        while True:
            try:
                raise typer.Exit(process.wait())
            except KeyboardInterrupt:
                continue


def main() -> None:
    """Run the command line; bad input is one line and exit code 2."""
    try:
        sys.exit(app(standalone_mode=False))  # a command's typer.Exit comes back as a number
    except InputError as error:
        message = str(error)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        message = error.format_message()  # the command line itself is wrong
    if message:
        print(f"llmtok: {message}", file=sys.stderr)
    sys.exit(2)
