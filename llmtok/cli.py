"""The command line: what `make` calls, and what works where there is no make."""

from __future__ import annotations

import difflib
import json
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Annotated, Literal

import typer

from llmtok.data import InputError
from llmtok.layouts import shorten

ROOT = Path(__file__).resolve().parent.parent
app = typer.Typer(
    help="LLM tokens for recommenders.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


# The options that a config file may have too, by the kind of their values.
_KINDS = {
    **dict.fromkeys(("dataset", "ratings", "items", "out", "encoding", "encoder", "reduction", "split"), str),
    **dict.fromkeys(("user_col", "item_col", "rating_col", "time_col", "action_col"), str),
    **dict.fromkeys(("title_col", "year_col", "genres_col"), str),
    **dict.fromkeys(("no_rating", "quick", "course"), bool),
    **dict.fromkeys(("n_tokens", "seed"), int),
    "liked": float,
    "text": (str, list),
    "strengths": dict,
    "parameters": dict,
}
_COLUMNS = {
    "user_col": "user_id", "item_col": "item_id", "rating_col": "rating", "time_col": "timestamp",
    "action_col": "action", "title_col": "title", "year_col": "year", "genres_col": "genres",
}  # fmt: skip
_OF_FILES = ("ratings", "items", "encoding", "strengths", "no_rating", *_COLUMNS)


@app.command()
def report(
    dataset: Annotated[
        str | None,
        typer.Option(help="A data set's name, or a folder; movielens-small if nothing is named."),
    ] = None,
    ratings: Annotated[
        str | None, typer.Option(help="A file of ratings, or a log of what people did.")
    ] = None,
    items: Annotated[str | None, typer.Option(help="A file of the catalogue.")] = None,
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
    quick: Annotated[
        bool | None, typer.Option("--quick/--no-quick", help="A quick look, not a verdict.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of what is drawn.")] = None,
    course: Annotated[
        bool | None, typer.Option("--course/--no-course", help="Run notebooks 01 to 05 too.")
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", help="A further parameter of the notebooks, as NAME=VALUE."),
    ] = None,
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

    given = {name: value for name, value in locals().items() if name in _KINDS and value is not None}
    if strength:
        given["strengths"] = {name: _worth(name, value) for name, value in _pairs("--strength", strength)}
    if parameter:
        given["parameters"] = dict(_pairs("-p", parameter))
    options = _merge(_read_config(config) if config else {}, given)
    place = options.pop("out", None)
    arguments = _arguments(options)
    if dry_run:
        reports.preview(say=typer.echo, **arguments)
        return
    place = Path(place or _default_out(arguments)).absolute()
    try:
        status = reports.report(place, say=typer.echo, **arguments)
    except KeyboardInterrupt:
        status = {"state": "stopped", "error": "stopped by Ctrl-C"}
    if status["state"] == "ok":
        for line in _verdict(place):
            typer.echo(_plain(line))
        typer.echo(f"Done in {status['seconds']:.0f} s. Read {place / 'report.html'}")
        return
    typer.echo(_plain(f"llmtok: {status['state']}: {status['error']}; see {place}.failed"), err=True)
    raise typer.Exit(130 if status["state"] == "stopped" else 1)


def _pairs(option: str, written: list[str]) -> list[tuple[str, str]]:
    pairs = [pair.rpartition("=") if option == "--strength" else pair.partition("=") for pair in written]
    for (name, equals, _), pair in zip(pairs, written, strict=True):
        if not equals or not name:
            raise InputError(
                f"{option} {pair}: write {'ACTION=WORTH' if option == '--strength' else 'NAME=VALUE'}"
            )
    return [(name, value) for name, _, value in pairs]


def _worth(action: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise InputError(f"--strength {action}={value}: {value!r} is no number") from None


def _read_config(path: Path) -> dict[str, object]:
    """Read options from a YAML or JSON file; its paths are relative to it."""
    import yaml

    from llmtok.data import _BUNDLED, _REMOTE

    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".json":
            made = json.loads(text)
        elif any(
            isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)
        ):  # a few may stand for gigabytes
            raise InputError(f"{path}: has an alias (*name); write the value out")
        else:
            made = yaml.safe_load(text)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read safely: {shorten(str(error), 300)}") from None
    if not isinstance(made, dict):
        raise InputError(f"{path}: holds no options; write one a line, as in ratings: log.csv")
    options: dict[str, object] = {}
    for key, value in made.items():
        name = str(key).replace("-", "_")
        if name not in _KINDS:
            near = difflib.get_close_matches(name, _KINDS, 3, 0.5) or _KINDS
            raise InputError(f"{path}: unknown option {str(key)!r}; there are {', '.join(near)}")
        if name in options:
            raise InputError(f"{path}: {name} is there twice")
        if value is not None:
            options[name] = _of_kind(f"{path}: {key}", value, _KINDS[name])
    for name in ("ratings", "items", "out", "dataset", "encoder"):
        if name in options:
            there = path.absolute().parent / options[name]
            a_name = name in ("dataset", "encoder") and (
                options[name] in {*_BUNDLED, *_REMOTE} or not there.is_dir()
            )
            options[name] = options[name] if a_name else str(there)
    return options


def _of_kind(where: str, value, kind):
    """Check a value of a config file. It is not repeated in the message: it may be anything."""
    if kind is float and type(value) is int:
        return float(value)
    if kind is dict and isinstance(value, dict):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise InputError(f"{where}: put the key {wrong[0]!s:.40} into quotes")
        return value
    if isinstance(value, kind) and isinstance(value, bool) == (kind is bool):
        return value
    words = {
        str: "a text (put it into quotes)",
        bool: "true or false",
        int: "a whole number",
        float: "a number",
    }
    words |= {dict: "a mapping, as in {view: 1}"}
    wanted = words.get(kind, "a text, or a list of columns")
    raise InputError(f"{where} needs {wanted}, and has a value of the kind {type(value).__name__}")


def _merge(config: dict[str, object], given: dict[str, object]) -> dict[str, object]:
    """Put what was given on the command line over what a config file says."""
    config = dict(config)
    away = ("dataset",) if {"ratings", "items"} & set(given) else ()
    away += _OF_FILES if "dataset" in given else ()
    away += ("no_rating",) if "rating_col" in given else ()
    away += ("rating_col",) if "no_rating" in given else ()
    config = {name: value for name, value in config.items() if name not in away}
    both = [name for name in ("strengths", "parameters") if name in config and name in given]
    return config | given | {name: config[name] | given[name] for name in both}


def _arguments(options: dict[str, object]) -> dict[str, object]:
    """Turn options into arguments of `llmtok.report`."""
    columns = {ours: options[name] for name, ours in _COLUMNS.items() if name in options}
    if options.get("no_rating"):
        if "rating" in columns:
            raise InputError(
                "a column of ratings is named, and --no-rating says that there is none; leave one out"
            )
        columns["rating"] = None
    made = {name: value for name, value in options.items() if name not in (*_COLUMNS, "no_rating", "seed")}
    if columns:
        made["columns"] = columns
    if "seed" in options:
        made["parameters"] = {"RANDOM_STATE": options["seed"]} | made.get("parameters", {})
    if isinstance(text := made.get("text"), str) and "{" not in text:
        made["text"] = [column.strip() for column in text.split(",")]
    if not {"dataset", "ratings", "items"} & set(made):
        made["dataset"] = "movielens-small"
    return made


def _default_out(arguments: dict[str, object]) -> Path:
    """Name a folder after the data: reports/movielens-small, or reports/shop-log for the file shop/log.csv."""
    if dataset := arguments.get("dataset"):
        return Path("reports") / (Path(dataset).resolve().name or "all")
    file = Path(arguments.get("ratings") or arguments["items"]).resolve()
    return Path("reports") / f"{file.parent.name}-{file.name.partition('.')[0]}".strip("-")


def _verdict(folder: Path) -> list[str]:
    """Read the first lines of a report."""
    try:
        lines = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["verdict"]
        return [str(line) for line in lines[:5]]
    except (OSError, ValueError, KeyError, TypeError):  # a notebook of another kind
        return []


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def lab(context: typer.Context) -> None:
    """Open JupyterLab on the first notebook. Further arguments go to JupyterLab."""
    from llmtok.notebooks import notebooks_folder

    start = "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb"
    _hand_over("-m", "jupyterlab", f"--notebook-dir={notebooks_folder().parent}", start, *context.args)


@app.command()
def notebooks(
    names: Annotated[
        list[str] | None, typer.Argument(help="Such as 02_encode_with_bert; by default all.")
    ] = None,
) -> None:
    """Run the notebooks in place and normalise them."""
    from llmtok.notebooks import notebooks_folder, refresh

    found = {path.stem: path for path in sorted(notebooks_folder().glob("*.ipynb"))}
    for name in names or found:
        if name not in found:
            raise InputError(f"no notebook {name!r}; there are {', '.join(found)}")
    for name in names or found:
        typer.echo(name)
        refresh(found[name], progress=sys.stderr.isatty())


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def test(
    context: typer.Context,
    slow: Annotated[
        bool, typer.Option("--slow", help="The tests of the modules alone, with many more draws and kills.")
    ] = False,
) -> None:
    """Run every test: the modules, then every cell of every notebook. Further arguments go to pytest."""
    if slow:
        os.environ["LLMTOK_SLOW"] = "1"
        _hand_over("-m", "pytest", *(context.args or ["tests"]))
    named = any((ROOT / argument.partition("::")[0]).exists() for argument in context.args)
    what = [] if named else ["tests", "notebooks"]
    nbval = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=900"]
    _hand_over("-m", "pytest", *nbval, *context.args, *what)


@app.command()
def bench() -> None:
    """Measure speed and memory, as ratios within one run."""
    _hand_over("benchmarks/bench.py")


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
    dataset: Annotated[
        str | None,
        typer.Option(help="A data set's name, or a folder; movielens-small if nothing is named."),
    ] = None,
    ratings: Annotated[
        str | None, typer.Option(help="A file of ratings, or a log of what people did.")
    ] = None,
    items: Annotated[str | None, typer.Option(help="A file of the catalogue.")] = None,
    quick: Annotated[
        bool | None, typer.Option("--quick/--no-quick", help="A quick look, not a verdict.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of what is drawn.")] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", help="A further parameter of the notebooks, as NAME=VALUE."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A YAML or JSON file with the options of llmtok report.")
    ] = None,
) -> None:
    """Make a report for each combination of settings, and compare them. Finished runs are kept."""
    from llmtok import sweeps

    given = {name: value for name, value in locals().items() if name in _KINDS and value is not None}
    del given["out"]
    if parameter:
        given["parameters"] = dict(_pairs("-p", parameter))
    varies, fixed = sweeps.read_grid(grid_file) if grid_file else ({}, {})
    varies |= sweeps.parse_grid(grid or [])
    options = _merge((_read_config(config) if config else {}) | fixed, given)
    options.pop("out", None)
    arguments = _arguments(options)
    if {"dataset", "ratings", "items"} & set(varies) and "dataset" not in options:
        arguments.pop("dataset", None)
    try:
        ended = sweeps.sweep(out, varies, say=lambda line: typer.echo(_plain(line)), **arguments)
    except KeyboardInterrupt:
        typer.echo("llmtok: stopped by Ctrl-C; finished runs are kept", err=True)
        raise typer.Exit(130) from None
    typer.echo(_plain(f"Read {out.resolve() / 'compare.html'}"))
    if bad := {"stopped", "failed"} & set(ended.values()):
        raise typer.Exit(130 if "stopped" in bad else 1)


@app.command()
def compare(
    folder: Annotated[Path, typer.Argument(help="The folder of a sweep, or any that holds reports.")],
) -> None:
    """Lay runs side by side: a table here, and compare.html and compare.json in the folder."""
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
    typer.echo("\n".join(_align([list(table), *rows], 100)))
    typer.echo(_plain(f"Read {folder.resolve() / 'compare.html'}"))


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
    from llmtok.recommend import load_model

    if bool(user) == (ratings is not None):
        raise InputError("give either --user, or --ratings with a file of new ratings")
    path = model / "lists.npz" if model.is_dir() else model
    fitted = load_model(path)
    if user:
        people = _known_users(fitted, user)
    else:
        named = {"user_id": user_col, "item_id": item_col, "rating": rating_col}
        named = {ours: theirs for ours, theirs in named.items() if theirs}
        people = _new_users(fitted, ratings, named, encoding)
    titles = _read_titles(path.parent)
    for name, who in people.items():
        found = _recommendations(fitted, who, n, titles)
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
        typer.echo("\n".join(["For you" if name is None else _plain(f"User {name}"), *_align(rows), ""]))


def _known_users(model, names: list[str]) -> dict:
    """Find users by their ids as they are written."""
    ids = {str(known): known for known in model.user_ids.tolist()}
    for name in names:
        if name not in ids:
            near = difflib.get_close_matches(name, ids, cutoff=0.75) if len(ids) < 20_000 else []
            hint = f"near it are {', '.join(near)}" if near else f"one is {next(iter(ids))!r}"
            raise InputError(f"unknown user {name!r}; the model knows {len(ids):,}, and {hint}")
    return {ids[name]: ids[name] for name in names}


def _new_users(model, path: Path, columns: dict[str, str], encoding: str | None) -> dict:
    """Read new ratings: to each user's id (None where the file has none) a Series indexed by item_id."""
    import numpy as np
    import pandas as pd

    from llmtok.data import _rename
    from llmtok.layouts import (
        Notes,
        names_of,
        plain,
        read_ids,
        read_numbers,
        read_table,
        read_times,
        tidy_ids,
    )

    table, notes = read_table(path, "ratings", columns, encoding), Notes()
    usual = names_of("user_id", "ratings")
    alone = "user_id" not in columns and not any(plain(name) in usual for name in table.frame)
    if alone:
        table.frame["user_id"] = pd.Categorical(["0"] * len(table.frame))
    frame = _rename(table, "ratings", columns)
    [users] = read_ids([tidy_ids(frame["user_id"], "user_id", path, "ratings", notes)], notes)
    items = tidy_ids(frame["item_id"], "item_id", path, "ratings", notes).astype("str")
    places = {str(known): place for place, known in enumerate(model.item_ids.tolist())}
    highest = model.highest_ if hasattr(model, "highest_") else model.rating_scale_[1]
    given = read_numbers(frame["rating"], path, "the rating", notes) if "rating" in frame else highest
    rows = pd.DataFrame({"user": users, "place": items.map(places), "rating": given})
    if "timestamp" in frame:  # of several ratings of an item the latest counts
        rows = rows.assign(time=read_times(frame["timestamp"], path))
        rows = rows.sort_values("time", kind="stable", na_position="first")
    for what, wrong in {
        "have no user or no item": rows["user"].isna() | items.isna(),
        "have no rating that is a finite number": ~np.isfinite(rows["rating"]),
        "name an item that the model does not know": rows["place"].isna(),
    }.items():
        wrong = wrong.reindex(rows.index)
        if wrong.all():
            ids = f"its ids are like {model.item_ids[0]!s:.40}, the file's like {items.dropna().iloc[:1].sum():.40}"
            raise InputError(f"{path}: all rows {what}; {ids}")
        if wrong.any():
            typer.echo(f"llmtok: left out: {wrong.sum():,} of {len(items):,} rows, which {what}", err=True)
        rows = rows[~wrong]
    if rows["rating"].max() > highest:
        raise InputError(
            f"{path}: a rating is {rows['rating'].max():g}, and those that the model learned from end at {highest:g}; "
            "write them on its scale"
        )
    if lost := users.nunique() - rows["user"].nunique():
        typer.echo(
            f"llmtok: left out: {lost:,} of {users.nunique():,} users, of whom no row remains", err=True
        )
    rows = rows.drop_duplicates(["user", "place"], keep="last").sort_index()
    return {
        None if alone else user: pd.Series(own["rating"].to_numpy(), model.item_ids[own["place"].astype(int)])
        for user, own in rows.groupby("user", sort=False)
    }


def _read_titles(folder: Path) -> dict[str, str]:
    """Read the titles of a report's items; where they cannot be read there are none."""
    import pandas as pd

    path = folder / "tokens.parquet"
    try:
        frame = pd.read_parquet(path, columns=["item_id", "title"])
    except FileNotFoundError:
        return {}
    except (ImportError, OSError, ValueError, KeyError) as error:  # no pyarrow, or a damaged file
        typer.echo(_plain(f"llmtok: {path}: no titles ({shorten(str(error), 160)})"), err=True)
        return {}
    return dict(zip(frame["item_id"].astype("str"), frame["title"].astype("str"), strict=True))


def _recommendations(model, who, n: int, titles: dict[str, str]) -> list[dict]:
    """Recommend to somebody: with each item the two past ones that speak most for it, and their shares."""
    from llmtok.recommend import TokenSVD

    def named(item, **further):
        title = {"title": titles[str(item)]} if str(item) in titles else {}
        return {"item_id": item, **title, **further}

    made = []
    for item, score in model.recommend(who, n).items():
        parts = model.explain(who, item)
        if isinstance(model, TokenSVD):
            parts = parts.iloc[1:]  # the first is what it says before any opinion
        parts = parts[parts > 0]
        because = [
            named(past, share=round(float(part / parts.sum()), 3)) for past, part in parts.head(2).items()
        ]
        made.append(named(item, score=round(float(score), 6), because=because))
    return made


def _plain(text) -> str:
    """Write a text without what would break a line or steer a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))


def _align(rows: list[list], longest: int = 60) -> list[str]:
    """Write rows as lines with aligned columns; a Chinese character is two wide, a combining one none."""

    def width(text):
        return sum(
            0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text
        )

    cells = [[shorten(_plain(cell), longest) for cell in row] for row in rows]
    widths = [max(map(width, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(cell + " " * (wide - width(cell)) for cell, wide in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def _hand_over(*arguments: str) -> None:
    """Run another program at the root of the repository and end as it ends; what Ctrl-C means is up to it."""
    with subprocess.Popen([sys.executable, *arguments], cwd=ROOT) as process:
        while True:
            try:
                raise typer.Exit(process.wait())
            except KeyboardInterrupt:
                continue


def _as_options(message: str) -> str:
    """Say as options what a message says as arguments of a function."""
    options = {ours: option.replace("_", "-") for option, ours in _COLUMNS.items()}
    message = re.sub(
        r"(with |then )?columns=\{'(\w+)': ('[^']*')\}",
        lambda m: f"{m[1] or ''}--{options.get(m[2], m[2])} {m[3]}",
        message,
    )
    message = message.replace("columns={'rating': None}", "--no-rating")
    message = message.replace("strengths={'view': 1, 'buy': 3}", "--strength view=1 --strength buy=3")
    return re.sub(r"\b(encoding|text)='", r"--\1 '", message)


def main() -> None:
    """Run the command line; bad input is one line and exit code 2, a file that cannot be written one and 1."""
    code = 2
    try:
        sys.exit(app(standalone_mode=False))  # a command's typer.Exit comes back as a number
    except InputError as error:
        message = _as_options(str(error))
    except OSError as error:
        code, message = 1, _plain(f"{error.filename or 'cannot go on'}: {error.strerror or error}")
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        message = error.format_message()  # the command line itself is wrong
    if message:
        print(f"llmtok: {message}", file=sys.stderr)
    sys.exit(code)
