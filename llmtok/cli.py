"""The command line: what `make` calls, and what works where there is no make."""

from __future__ import annotations

import inspect
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from llmtok.data import InputError
from llmtok.layouts import printable, shorten
from llmtok.options import KINDS, arguments_of, as_options, default_out, merge, pairs, read_config, worth

app = typer.Typer(
    help="LLM tokens for recommenders.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


# The options that both report and sweep have.
_DatasetOption = Annotated[
    str | None,
    typer.Option(help="A data set's name, or a folder; movielens-small if nothing is named."),
]
_RatingsOption = Annotated[str | None, typer.Option(help="A file of ratings, or a log of what people did.")]
_ItemsOption = Annotated[str | None, typer.Option(help="A file of the catalogue.")]
_QuickOption = Annotated[bool | None, typer.Option("--quick/--no-quick", help="A quick look, not a verdict.")]
_SeedOption = Annotated[int | None, typer.Option(help="Of what is drawn.")]
_ParameterOption = Annotated[
    list[str] | None,
    typer.Option("--parameter", "-p", help="A further parameter of the notebooks, as NAME=VALUE."),
]


@app.command()
def report(
    dataset: _DatasetOption = None,
    ratings: _RatingsOption = None,
    items: _ItemsOption = None,
    out: Annotated[
        str | None, typer.Option(help="The folder of the result; by default one in reports/.")
    ] = None,
    user_col: Annotated[str | None, typer.Option(help="The column of users.")] = None,
    item_col: Annotated[str | None, typer.Option(help="The column of items.")] = None,
    rating_col: Annotated[str | None, typer.Option(help="The column of ratings.")] = None,
    time_col: Annotated[str | None, typer.Option(help="The column of times.")] = None,
    action_col: Annotated[str | None, typer.Option(help="The column of actions, in a log.")] = None,
    title_col: Annotated[str | None, typer.Option(help="The catalogue's column of titles.")] = None,
    year_col: Annotated[str | None, typer.Option(help="The catalogue's column of years.")] = None,
    genres_col: Annotated[str | None, typer.Option(help="The catalogue's column of categories.")] = None,
    no_rating: Annotated[
        bool | None, typer.Option("--no-rating", help="Each row is an interaction, without a rating.")
    ] = None,
    strength: Annotated[
        list[str] | None,
        typer.Option(help="What an action of a log is worth, as view=1; repeat it for each action."),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Of files that are not in UTF-8, such as cp1252.")
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(help="An item's text: columns, title,description, or a template, '{title} ({year})'."),
    ] = None,
    liked: Annotated[float | None, typer.Option(help="A rating from here on counts as liked.")] = None,
    encoder: Annotated[str | None, typer.Option(help="Name or folder of the language model.")] = None,
    n_tokens: Annotated[int | None, typer.Option(help="Length of a token.")] = None,
    reduction: Annotated[str | None, typer.Option(help="pca, truncated_svd or random.")] = None,
    split: Annotated[
        str | None, typer.Option(help="What is tested: random ratings, or temporal, the latest.")
    ] = None,
    quick: _QuickOption = None,
    seed: _SeedOption = None,
    engine: Annotated[
        str | None,
        typer.Option(help="What computes: memory, or spark, for data that do not fit; a shorter report."),
    ] = None,
    course: Annotated[
        bool | None, typer.Option("--course/--no-course", help="Run notebooks 01 to 05 too.")
    ] = None,
    parameter: _ParameterOption = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="A YAML or JSON file with these options, without the dashes; what is written here wins."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done with the data, and do nothing.")
    ] = False,
) -> None:
    """Measure whether text tokens would help on your data, and write a report that opens in a browser."""
    from llmtok import reports

    given = {name: value for name, value in locals().items() if name in KINDS and value is not None}
    if strength:
        given["strengths"] = {name: worth(name, value) for name, value in pairs("--strength", strength)}
    if parameter:
        given["parameters"] = dict(pairs("-p", parameter))
    options = merge(read_config(config) if config else {}, given)
    place, engine = options.pop("out", None), options.pop("engine", None)
    arguments = arguments_of(options)
    place = Path(place or default_out(arguments)).absolute()
    if engine not in (None, "memory", "spark"):
        raise InputError(f"--engine {engine}: there are memory and spark")
    if engine == "spark":
        _on_spark(place, arguments, dry_run)
        return
    if engine is None and (size := _size(arguments.get("ratings"))) > LARGE:
        typer.echo(f"The ratings have {size / 1e9:.1f} GB; --engine spark would read them in parts")
    if dry_run:
        reports.preview(say=typer.echo, **arguments)
        return
    try:
        status = reports.report(place, say=typer.echo, **arguments)
    except KeyboardInterrupt:
        status = {"state": "stopped", "error": "stopped by Ctrl-C"}
    if status["state"] == "ok":
        for line in _verdict(place):
            typer.echo(printable(line))
        typer.echo(f"Done in {status['seconds']:.0f} s. Read {place / 'report.html'}")
        return
    typer.echo(printable(f"llmtok: {status['state']}: {status['error']}; see {place}.failed"), err=True)
    raise typer.Exit(130 if status["state"] == "stopped" else 1)


LARGE = 1_000_000_000  # bytes: pandas needs about six times as many


def _size(path: str | None) -> int:
    return Path(path).stat().st_size if path and Path(path).is_file() else 0


def _on_spark(place: Path, arguments: dict, dry_run: bool) -> None:
    """Hand the report over to Spark, as far as it can make one."""
    from llmtok import spark, spark_report
    from llmtok.data import dataset_folder

    arguments, parameters = dict(arguments), dict(arguments.get("parameters", {}))
    if name := arguments.pop("dataset", None):
        folder = dataset_folder(name)
        arguments |= {"ratings": folder / "ratings.csv", "items": folder / "items.csv"}
        if not all(arguments[what].exists() for what in ("ratings", "items")):
            raise InputError(
                f"--engine spark does not read the data set {name}: name its files, --ratings and --items"
            )
    if "RANDOM_STATE" in parameters:
        arguments["seed"] = parameters.pop("RANDOM_STATE")
        if not str(arguments["seed"]).isdigit():
            raise InputError(f"RANDOM_STATE={arguments['seed']}: it is a whole number, 0 or more")
        arguments["seed"] = int(arguments["seed"])
    if not parameters:
        arguments.pop("parameters", None)
    unknown = set(arguments) - set(inspect.signature(spark_report.report).parameters)
    unknown |= {
        f"a missing {ours}" for ours, theirs in arguments.get("columns", {}).items() if theirs is None
    }
    if unknown:
        raise InputError(f"--engine spark does not know {', '.join(sorted(unknown))}; leave it out")
    if not {"ratings", "items"} <= set(arguments):
        raise InputError("--engine spark needs two files, --ratings and --items")
    if why := spark.missing():
        raise InputError(why)
    if dry_run:
        typer.echo(
            f"Spark would read {arguments['ratings']} and {arguments['items']}, and write into {place}"
        )
        return
    for line in spark_report.report(place, say=typer.echo, **arguments)["answer"]:
        typer.echo(printable(line))
    typer.echo(f"Done. Read {place / 'report.html'}")


def _verdict(folder: Path) -> list[str]:
    """Read the first lines of a report."""
    try:
        lines = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["verdict"]
        return [str(line) for line in lines[:5]]
    except (OSError, ValueError, KeyError, TypeError):  # a notebook of another kind
        return []


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def lab(
    context: typer.Context,
    into: Annotated[
        Path | None,
        typer.Option(
            help="Copy the notebooks into this folder first, and open them there; yours that are there stay. By "
            "default those of the repository are opened, and where there is none, copies in llmtok-course."
        ),
    ] = None,
) -> None:
    """Open JupyterLab on the first notebook. Further arguments go to JupyterLab."""
    from llmtok.notebooks import copy_notebooks, repository

    root, first = repository(), "notebooks/00_start_here.ipynb"
    if into or not root:
        root, first = (into or Path("llmtok-course")).absolute(), "00_start_here.ipynb"
        copied, kept = copy_notebooks(root)
        typer.echo(printable(f"{root}: {len(copied)} notebooks copied, {len(kept)} kept as they are"))
    start = f"--LabApp.default_url=/lab/tree/{first}"
    _hand_over("-m", "jupyterlab", f"--notebook-dir={root}", start, *context.args, folder=root)


@app.command()
def notebooks(
    names: Annotated[
        list[str] | None, typer.Argument(help="Such as 02_encode_with_bert; by default all.")
    ] = None,
) -> None:
    """Run the notebooks in place and normalise them."""
    from llmtok import spark
    from llmtok.notebooks import ON_SPARK, notebooks_folder, refresh

    _clone()
    found = {path.stem: path for path in sorted(notebooks_folder().glob("*.ipynb"))}
    for name in names or found:
        if name not in found:
            raise InputError(f"no notebook {name!r}; there are {', '.join(found)}")
    for name in names or found:
        if not names and name == ON_SPARK and (why := spark.missing()):
            typer.echo(f"{name} is left out, for Spark cannot run here: {why}")
            continue
        typer.echo(name)
        refresh(found[name], progress=sys.stderr.isatty())


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def test(
    context: typer.Context,
    slow: Annotated[
        bool, typer.Option("--slow", help="The tests of the modules alone, with many more draws and kills.")
    ] = False,
    browser: Annotated[
        bool,
        typer.Option("--browser", help="Every notebook in JupyterLab, in a real browser; needs Playwright."),
    ] = False,
) -> None:
    """Run every test: the modules, then every cell of every notebook. Further arguments go to pytest."""
    from llmtok import spark
    from llmtok.notebooks import ON_SPARK

    if browser:
        os.environ["LLMTOK_BROWSER"] = "1"
        _hand_over("-m", "pytest", "tests/browser", *context.args, folder=_clone())
    if slow:
        os.environ["LLMTOK_SLOW"] = "1"
        _hand_over("-m", "pytest", *(context.args or ["tests"]), folder=_clone())
    named = any((_clone() / argument.partition("::")[0]).exists() for argument in context.args)
    if not named and (why := spark.missing()):
        typer.echo(f"{ON_SPARK} is left out, for Spark cannot run here: {why}")
        context.args.append(f"--ignore=notebooks/{ON_SPARK}.ipynb")
    # Two files at a time, each from top to bottom: more would need more memory than a laptop has. Threads are for one
    # process that has the machine to itself: two that share it wait for each other.
    what = [] if named else ["tests", "notebooks", "--numprocesses=2", "--dist=loadfile"]
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    nbval = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=900"]
    _hand_over("-m", "pytest", *nbval, *what, *context.args, folder=_clone())


@app.command()
def bench() -> None:
    """Measure speed and memory, as ratios within one run."""
    _hand_over("benchmarks/bench.py", folder=_clone())


@app.command()
def site() -> None:
    """Build the site: the course, the package's names and two reports, as pages that need no network."""
    _hand_over("site/build.py", folder=_clone())


@app.command()
def sweep(
    out: Annotated[Path, typer.Option(help="The folder of the runs, one folder each.")],
    grid: Annotated[
        list[str] | None,
        typer.Option(
            "-g",
            metavar="SETTING=VALUE,VALUE",
            help="What varies: n_tokens=10,50, encoder=a,b, reduction=pca,random, ease.l2=2,8, svd.n_factors=5,10, "
            "seed=0,1, ... Repeat it for further settings, and for each text='{title}, {year}': a text is one value, "
            "commas or not. Another value with a comma in it goes into a --grid file.",
        ),
    ] = None,
    grid_file: Annotated[
        Path | None,
        typer.Option(
            "--grid", help="A YAML file: 'grid', a mapping of lists, and 'fixed', keywords of llmtok.report."
        ),
    ] = None,
    dataset: _DatasetOption = None,
    ratings: _RatingsOption = None,
    items: _ItemsOption = None,
    quick: _QuickOption = None,
    seed: _SeedOption = None,
    parameter: _ParameterOption = None,
    config: Annotated[
        Path | None, typer.Option(help="A YAML or JSON file with the options of llmtok report.")
    ] = None,
) -> None:
    """Make a report for each combination of settings, and compare them. Finished runs are kept."""
    from llmtok import sweeps

    given = {name: value for name, value in locals().items() if name in KINDS and value is not None}
    del given["out"]
    if parameter:
        given["parameters"] = dict(pairs("-p", parameter))
    varies, fixed = sweeps.read_grid(grid_file) if grid_file else ({}, {})
    varies |= sweeps.parse_grid(grid or [])
    options = merge((read_config(config) if config else {}) | fixed, given)
    options.pop("out", None)
    arguments = arguments_of(options)
    if {"dataset", "ratings", "items"} & set(varies) and "dataset" not in options:
        arguments.pop("dataset", None)
    try:
        ended = sweeps.sweep(out, varies, say=lambda line: typer.echo(printable(line)), **arguments)
    except KeyboardInterrupt:
        typer.echo("llmtok: stopped by Ctrl-C; finished runs are kept", err=True)
        raise typer.Exit(130) from None
    typer.echo(printable(f"Read {out.resolve() / 'compare.html'}"))
    if bad := {"stopped", "failed"} & set(ended.values()):
        raise typer.Exit(130 if "stopped" in bad else 1)


@app.command()
def compare(
    folder: Annotated[Path, typer.Argument(help="The folder of a sweep, or any that holds reports.")],
) -> None:
    """Lay runs side by side: a table here, and compare.html and compare.json in the folder."""
    from llmtok.answers import align
    from llmtok.sweeps import compare_runs

    table = compare_runs(folder).reset_index()
    table = table if table["error"].any() else table.drop(columns="error")
    digits = {name: 4 if table[name].dtype == "float64" and name != "seconds" else 0 for name in table}
    rows = [
        [
            "" if value != value else f"{value:.{digits[name]}f}" if isinstance(value, float) else value
            for name, value in row.items()
        ]
        for row in table.to_dict("records")
    ]
    typer.echo("\n".join(align([list(table), *rows], 100)))
    typer.echo(printable(f"Read {folder.resolve() / 'compare.html'}"))


@app.command()
def recommend(
    model: Annotated[Path, typer.Argument(help="A saved model, or the folder of a report.")],
    user: Annotated[
        list[str] | None, typer.Option(help="Somebody whom the model knows; repeat it for several.")
    ] = None,
    ratings: Annotated[
        Path | None,
        typer.Option(
            help="A file of new ratings: item_id, and perhaps user_id (else all are one person's) and rating (else "
            "each counts as the highest)."
        ),
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="How many items each.")] = 10,
    style: Annotated[
        Literal["table", "json"],
        typer.Option("--format", help="json writes one object a line, for each user."),
    ] = "table",
    user_col: Annotated[str | None, typer.Option(help="The file's column of users.")] = None,
    item_col: Annotated[str | None, typer.Option(help="The file's column of items.")] = None,
    rating_col: Annotated[str | None, typer.Option(help="The file's column of ratings.")] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Of a file that is not in UTF-8, such as cp1252.")
    ] = None,
) -> None:
    """Recommend items to users, each with what speaks for it."""
    from llmtok.answers import align, known_users, new_users, read_titles, recommendations
    from llmtok.recommend import load_model

    if bool(user) == (ratings is not None):
        raise InputError("give either --user, or --ratings with a file of new ratings")
    path = model / "lists.npz" if model.is_dir() else model
    fitted = load_model(path)
    if user:
        people = known_users(fitted, user)
    else:
        named = {"user_id": user_col, "item_id": item_col, "rating": rating_col}
        named = {ours: theirs for ours, theirs in named.items() if theirs}
        people = new_users(fitted, ratings, named, encoding)
    titles = read_titles(path.parent)
    for name, who in people.items():
        found = recommendations(fitted, who, n, titles)
        if style == "json":
            line = json.dumps({"user": name, "recommendations": found}, ensure_ascii=False, allow_nan=False)
            # What would steer a terminal is written as JSON can write it, by its number.
            line = "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)
            typer.echo(f"{line}\n".encode(), nl=False)
            continue
        rows = [["", "item_id", *(["title"] if titles else []), "score", "because of"]]
        for rank, item in enumerate(found, 1):
            because = "; ".join(
                f"{shorten(str(b.get('title', b['item_id'])), 24)} ({b['share']:.0%})"
                for b in item["because"]
            )
            title = [item.get("title", "")] if titles else []
            rows.append([rank, item["item_id"], *title, f"{item['score']:.3f}", because])
        typer.echo("\n".join(["For you" if name is None else printable(f"User {name}"), *align(rows), ""]))


def _clone() -> Path:
    """Return the repository's folder, for what only it has."""
    from llmtok.notebooks import repository

    if not (root := repository()):
        raise InputError("this needs the repository, not the package alone: clone it, and run this there")
    return root


def _hand_over(*arguments: str, folder: Path) -> None:
    """Run another program in a folder and end as it ends; what Ctrl-C means is up to it."""
    with subprocess.Popen([sys.executable, *arguments], cwd=folder) as process:
        while True:
            try:
                raise typer.Exit(process.wait())
            except KeyboardInterrupt:
                continue


def main() -> None:
    """Run the command line; bad input is one line and exit code 2, a file that cannot be written one and 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a title may hold what Windows' code page cannot write
            stream.reconfigure(errors="backslashreplace")
    code = 2
    try:
        sys.exit(app(standalone_mode=False))  # a command's typer.Exit comes back as a number
    except InputError as error:
        message = as_options(str(error))
    except OSError as error:
        code, message = 1, printable(f"{error.filename or 'cannot go on'}: {error.strerror or error}")
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        message = error.format_message()  # the command line itself is wrong
    if message:
        print(f"llmtok: {message}", file=sys.stderr)
    sys.exit(code)
