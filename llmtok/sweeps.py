"""Sweeps: a report for each combination of settings, and one table over what came of them.

A sweep is killed and started again as often as one likes: a run that is finished, and would be the same again, is
kept, and every other one is done (again).
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import hashlib
import inspect
import itertools
import json
import math
import re
from html import escape
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from llmtok import reports
from llmtok.data import InputError
from llmtok.notebooks import SECURITY_POLICY, write_text
from llmtok.options import read_mapping

WRITTEN = ("dataset", "ratings", "items", "encoding", "text", "encoder", "reduction", "split")
VARIES = (*WRITTEN, "columns", "strengths", "liked", "n_tokens", "quick", "seed")
"""What a grid may vary, besides ``ease.l2``, ``svd.n_factors`` and the like, and the notebook's own PARAMETERS."""

MAIN = ", full text"  # the metrics of what uses the tokens end in this
_LONGEST = 100  # characters of a run's name
_HEAD = f"""<head>
<meta http-equiv="Content-Security-Policy" content="{SECURITY_POLICY}"><meta charset="utf-8">
<title>Runs compared</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem;
       background: white; color: #1a1a1a; }}
div {{ overflow-x: auto; }} table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .3rem .7rem; text-align: left; vertical-align: top; border-bottom: 1px solid #ccc; }}
@media print {{ div {{ overflow: visible; }} tr {{ break-inside: avoid; }} a {{ color: inherit; }} }}
</style></head>
"""


# --- Running ------------------------------------------------------------------------------------------------


def sweep(out: str | Path, grid: dict[str, list], *, say=print, progress=None, **fixed) -> dict[str, str]:
    """Make a report for each combination of settings, each in a folder of its own, and compare them.

    Parameters
    ----------
    out : path
        Will hold a folder for each run, named by its settings, and ``compare.html`` and ``compare.json``.
    grid : dict of str to list
        The values of each setting that varies: a keyword of `llmtok.report`, ``ease.l2`` and the like for a setting
        of `TokenEASE` (``svd.`` of `TokenSVD`), ``seed``, or a notebook's parameter.
    say : callable
        Told a line at each step.
    progress : bool, optional
        Show progress bars; by default on a terminal.
    **fixed
        Keywords of `llmtok.report`, the same for all runs.

    Returns
    -------
    dict of str to str
        How each run ended: ``ok``, ``kept`` (it was finished already), ``failed``, or ``stopped`` by Ctrl-C, which
        is then the last.

    Raises
    ------
    InputError
        The grid is wrong, another sweep writes to `out`, or something is wrong with the first run's input, and so
        probably with everybody's.

    Examples
    --------
    >>> from llmtok.sweeps import list_runs
    >>> list(list_runs({"n_tokens": [10, 50], "encoder": ["a", "b"]}, {}))[:2]
    ['n_tokens=10,encoder=a', 'n_tokens=50,encoder=a']
    """
    out, runs, ended = Path(out).resolve(), list_runs(grid, fixed), {}
    wanted = {}
    for name, settings in runs.items():  # what is wrong is said now, and not in the night
        cheap = {keyword: value for keyword, value in settings.items() if keyword != "timeout"}
        wanted[name] = reports.describe(**cheap)
    if reports._read(out):
        raise InputError(f"{out}: is the folder of a report; choose another place for a sweep")
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        with reports.locked(out):
            for number, (name, settings) in enumerate(runs.items(), 1):
                say(f"[{number}/{len(runs)}] {name}")
                if _is_finished(out / name, wanted[name]):
                    ended[name] = "kept"
                    say("  kept: it is finished, and nothing has changed")
                    continue
                try:
                    status = reports.report(out / name, say=lambda line: None, progress=progress, **settings)
                except InputError as error:
                    if not ended:
                        raise
                    status = _note_failure(out / name, wanted[name], error)
                ended[name] = status["state"]
                said = f": {status['error']}" if status.get("error") else f" in {status['seconds']:.0f} s"
                say(f"  {status['state']}{said}")
                if status["state"] == "stopped":
                    break
            compare_runs(out)
    finally:
        for folder in made:
            with contextlib.suppress(OSError):  # it holds a run
                folder.rmdir()
    counts = (f"{list(ended.values()).count(state)} {state}" for state in ("ok", "kept", "failed"))
    say(f"{len(runs)} runs: {', '.join(counts)}{', then stopped' if 'stopped' in ended.values() else ''}")
    return ended


def list_runs(grid: dict[str, list], fixed: dict[str, object]) -> dict[str, dict]:
    """List the runs of a grid in the order in which they are done: name to keywords of `llmtok.report`.

    The encoder changes last, so that the texts are read once for each.
    """
    _check_grid(grid, fixed)
    order = sorted(grid, key=lambda setting: setting != "encoder")
    runs: dict[str, dict] = {}
    for values in itertools.product(*(_distinct(grid[setting]) for setting in order)):
        chosen = dict(zip(order, values, strict=True))
        settings = dict(fixed)
        parameters = dict(settings.pop("parameters", None) or {})
        if (seed := settings.pop("seed", None)) is not None:
            parameters["RANDOM_STATE"] = seed
        for setting, value in chosen.items():
            model, dot, name = setting.partition(".")
            if dot:
                parameters[model.upper()] = {**parameters.get(model.upper(), {}), name: value}
            elif setting == "seed":
                parameters["RANDOM_STATE"] = value
            elif setting.isupper():
                parameters[setting] = value
            else:
                settings[setting] = value
        taken = {name.casefold() for name in runs}
        runs[_name({setting: chosen[setting] for setting in grid}, taken)] = settings | (
            {"parameters": parameters} if parameters else {}
        )
    return runs


def _check_grid(grid, fixed) -> None:
    if not isinstance(grid, dict) or not grid:
        raise InputError("the grid is empty; name a setting and its values, as in -g n_tokens=10,50")
    parameters = fixed.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise InputError(f"parameters: a mapping of names to values is needed, and this is {parameters!r}")
    known = [*VARIES, *_model_settings()]
    for setting, values in grid.items():
        if setting not in known and not re.fullmatch("[A-Z][A-Z_0-9]*", str(setting)):
            near = difflib.get_close_matches(str(setting), known, 3, 0.5) or known
            raise InputError(f"a grid cannot vary {setting!r}; it can {', '.join(near)}")
        if not isinstance(values, (list, tuple)) or not values:
            raise InputError(f"grid, {setting}: a list of values is needed, and this is {values!r}")
        if fixed.get(setting) is not None or {"seed": "RANDOM_STATE"}.get(setting, setting) in parameters:
            raise InputError(f"{setting} is in the grid, and given for all runs too; leave one out")
        if setting == "text" and (wrong := [v for v in values if not isinstance(v, (str, list))]):
            raise InputError(f"grid, text: {wrong[0]!r} is no template; put it into quotes, as '{{title}}'")
        model = setting.partition(".")[0].upper()
        if model != setting and not isinstance(parameters.get(model, {}), dict):
            raise InputError(f"parameter {model}: give its settings one by one, as in -g ease.l2=4")


def _model_settings() -> list[str]:
    """Name what can be set of the two models, as a grid does."""
    from llmtok.ease import TokenEASE
    from llmtok.recommend import TokenSVD

    made_by_us = {"embeddings", "reducer", "side"}
    return [
        f"{model}.{name}"
        for model, kind in (("ease", TokenEASE), ("svd", TokenSVD))
        for name in inspect.signature(kind).parameters
        if name not in made_by_us
    ]


def _distinct(values: list) -> list:
    return list({json.dumps(value, default=str): value for value in values}.values())


def _name(chosen: dict[str, object], taken: set[str]) -> str:
    """Name a run's folder, so that one can read it, and that any file system can keep it."""
    written = ",".join(f"{setting}={_in_words(value)}" for setting, value in chosen.items())
    name = re.sub(r"[^A-Za-z0-9=,._+-]+|\.{2,}", "_", written)
    # Behind a last point may stand what marks a folder beside it, as in 'name.failed'.
    if (
        name != written
        or len(name) > _LONGEST
        or name.casefold() in taken
        or re.search(r"\.[A-Za-z]*$", name)
    ):
        digest = hashlib.sha256(json.dumps(chosen, default=str).encode()).hexdigest()[:8]
        name = f"{name[: _LONGEST - 9].rstrip('._')}-{digest}"
    return name


def _in_words(value) -> str:
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return "+".join(value)
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _is_finished(folder: Path, wanted: dict) -> bool:
    """Whether a run ended well, and would be the same if it were done again."""
    status = reports.read_status(folder) or {}
    same = all(status.get(what) == wanted[what] for what in ("settings", "data"))
    versions = status.get("versions")
    return (
        status.get("state") == "ok"
        and same
        and isinstance(versions, dict)
        and versions.get("llmtok") == wanted["versions"]["llmtok"]
    )


def _note_failure(folder: Path, wanted: dict, error: InputError) -> dict:
    """Write down that something is wrong with a run's own input: of such a run nothing else is left."""
    status = {"state": "failed", "seconds": 0.0, **wanted, "error": str(error)}
    failed = folder.with_name(f"{folder.name}.failed")
    if not failed.exists() or reports._is_ours(failed):
        reports._remove(failed)
        failed.mkdir()
        write_text(failed / reports.STATUS, json.dumps(status, indent=2) + "\n")
    return status


# --- A grid as it is written --------------------------------------------------------------------------------


def parse_grid(written: list[str]) -> dict[str, list]:
    """Read a grid from the command line: ``n_tokens=10,50``; a text template is one value, commas or not."""
    grid: dict[str, list] = {}
    for pair in written:
        setting, equals, values = pair.partition("=")
        if not equals or not values:
            raise InputError(f"-g {pair}: write SETTING=VALUE,VALUE")
        values = [values] if setting == "text" else values.split(",")
        grid.setdefault(setting, []).extend(_parse_value(setting, value.strip()) for value in values)
    return grid


def _parse_value(setting: str, value: str):
    if setting == "text" and "{" not in value:
        return [column.strip() for column in value.split(",")]
    if setting in WRITTEN or setting.isupper():  # the notebook knows the type of its parameter
        return value
    try:
        read = ast.literal_eval(value.capitalize() if value.lower() in ("true", "false") else value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        read = None
    if not isinstance(read, (bool, int, float)):
        raise InputError(
            f"-g {setting}: {value!r} is no number; what is neither number nor word goes into a YAML grid"
        )
    return read


def read_grid(path: Path) -> tuple[dict[str, list], dict[str, object]]:
    """Read a YAML file with the mappings ``grid`` and ``fixed``; paths in it are relative to it."""
    made = read_mapping(path)
    grid, fixed = made.get("grid"), made.get("fixed") or {}
    if not isinstance(grid, dict) or not isinstance(fixed, dict):
        raise InputError(
            f"{path}: needs a mapping of lists, as in grid: {{n_tokens: [10, 50]}}, and may have one 'fixed'"
        )
    known = [*inspect.signature(reports.describe).parameters, "seed"]
    for key, there in [(key, ["grid", "fixed"]) for key in made] + [(key, known) for key in fixed]:
        if key not in there:
            near = difflib.get_close_matches(str(key), there, 3, 0.5) or there
            raise InputError(f"{path}: unknown key {str(key)!r}; there are {', '.join(near)}")
    here = path.absolute().parent
    resolved = {
        name: [_resolve(name, value, here) for value in values] if isinstance(values, list) else values
        for name, values in grid.items()
    }
    return resolved, {name: _resolve(name, value, here) for name, value in fixed.items()}


def _resolve(name: str, value, here: Path):
    """Read a path as relative to a folder; what may be a name too is a path where there is such a folder."""
    if isinstance(value, str):
        there = here / value
        if name in ("ratings", "items") or (name in ("dataset", "encoder") and value and there.is_dir()):
            return str(there)
    return value


# --- Comparing ----------------------------------------------------------------------------------------------


def compare_runs(folder: str | Path, out: str | Path | None = None) -> pd.DataFrame:
    """Lay the runs in the folders within a folder side by side.

    Parameters
    ----------
    folder : path
        Holds folders that `llmtok.report` wrote, as a sweep makes them, or ``reports``.
    out : path, optional
        Where ``compare.html`` and ``compare.json`` go; by default into `folder`.

    Returns
    -------
    DataFrame
        One row a run: its state, its seconds, the settings that differ between runs, the main metrics, and of a run
        that did not end well the error.
    """
    folder, out = Path(folder), Path(out if out is not None else folder)
    runs = _read_runs(folder)
    if not runs:
        raise InputError(
            f"{folder}: there is no run in the folders within; llmtok report and llmtok sweep write them"
        )
    every = list(dict.fromkeys(setting for run in runs for setting in run["settings"]))
    differ = [s for s in every if len({json.dumps(run["settings"].get(s)) for run in runs}) > 1]
    labels = list(dict.fromkeys(label for run in runs for label in run["metrics"]))
    main = [label for label in labels if label.endswith(MAIN)] or labels
    notes = [
        "Bold is the best of a column. The best of many runs on the same test data is partly luck, and looks better "
        "than it is: before you rely on it, measure it again on other data, or with another seed."
    ]
    if len({json.dumps(run["data"], sort_keys=True) for run in runs if run["state"] == "ok"}) > 1:
        notes.append("These runs did not all read the same data, so their numbers are not all comparable.")
    tables = {"": _tabulate(runs, differ, main)}
    if others := [label for label in labels if label not in main]:
        tables["Other numbers"] = _tabulate(runs, [], others)
    parts = [f"<h1>Runs compared: {escape(folder.resolve().name)}</h1>"]
    for heading, table in tables.items():
        parts += [f"<h2>{heading}</h2>" if heading else "", _as_html(table, labels, linked=out == folder)]
    parts += [f"<p>{escape(note)}</p>" for note in notes]
    out.mkdir(parents=True, exist_ok=True)
    body = "\n".join(parts)
    write_text(
        out / "compare.html", f'<!DOCTYPE html>\n<html lang="en">{_HEAD}<body>\n{body}\n</body></html>\n'
    )
    told = {"runs": [{k: v for k, v in run.items() if k != "data"} for run in runs], "notes": notes}
    write_text(out / "compare.json", json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    return tables[""]


def _read_runs(folder: Path) -> list[dict]:
    """Read every run in the folders within, those that did not end well too."""
    try:
        places = [place for place in folder.iterdir() if place.is_dir()]
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror})") from None
    names = set()
    for place in places:
        name, _, last = place.name.rpartition(".")
        if any(map(reports._read, place.iterdir() if last == "running" else [place])):
            names.add(name if last in ("running", "failed", "old") else place.name)
    found = {name: reports.read_status(folder / name) for name in names}
    for name in [name for name, status in found.items() if status and status["state"] == "ok"]:
        found[f"{name}.failed"] = reports._read(folder / f"{name}.failed")  # a later try, which failed
    by_number = sorted(
        found, key=lambda name: [int(p) if p.isdecimal() else p for p in re.split("([0-9]+)", name)]
    )
    return [_describe(folder / name, found[name]) for name in by_number if found[name]]


def _describe(folder: Path, status: dict) -> dict:
    """Take what is compared from a run's folder: a status that anybody may have written, and its metrics."""
    state, error, metrics = str(status["state"]), str(status.get("error", "")), {}
    if state == "ok":
        try:
            summary = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["summary"]
            metrics = {label: float(value) for label, value in summary.items() if math.isfinite(float(value))}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            error = "metrics.json cannot be read"
    settings, seconds = status.get("settings"), status.get("seconds")
    return {
        "run": folder.name,
        "state": state,
        "seconds": seconds if isinstance(seconds, int | float) and math.isfinite(seconds) else None,
        "settings": _flatten(settings) if isinstance(settings, dict) else {},
        "metrics": metrics,
        "error": error,
        "data": status.get("data"),
    }


def _flatten(settings: dict) -> dict[str, object]:
    """Write settings as a grid names them."""
    parameters = settings.get("parameters")
    flat = {name: value for name, value in settings.items() if name != "parameters"}
    for name, value in parameters.items() if isinstance(parameters, dict) else ():
        if name in ("EASE", "SVD") and isinstance(value, dict):
            flat |= {f"{name.lower()}.{own}": one for own, one in value.items()}
        else:
            flat["seed" if name == "RANDOM_STATE" else name] = value
    return {
        name: value if isinstance(value, str | int | float) else json.dumps(value)
        for name, value in flat.items()
    }


def _tabulate(runs: list[dict], settings: list[str], labels: list[str]) -> pd.DataFrame:
    columns = ["run", "state", "seconds", *settings, *labels, "error"]
    rows = [
        {"run": run["run"], "state": run["state"], "seconds": run["seconds"], "error": run["error"]}
        | {setting: run["settings"].get(setting, "(default)") for setting in settings}
        | run["metrics"]
        for run in runs
    ]
    return (
        pd.DataFrame(rows, columns=columns)
        .set_index("run")
        .astype(dict.fromkeys(["seconds", *labels], float))
    )


def _as_html(table: pd.DataFrame, labels: list[str], *, linked: bool) -> str:
    """Write a table with the best of each metric in bold, and nothing in it that a browser would run."""
    table = table if table["error"].any() else table.drop(columns="error")
    cells = table.astype(object).map(lambda value: "–" if pd.isna(value) else escape(str(value)))
    for label in table.columns.intersection(labels):
        values = table[label].round(4)
        best = values.min() if label.startswith("RMSE") else values.max()
        bold = (values == best) & (values.dropna() != best).any()
        written = values.map("{:.4f}".format).where(values.notna(), "–")
        cells[label] = written.where(~bold, "<b>" + written + "</b>")
    done = table["state"] == "ok"
    names = [
        f'<a href="{quote(run)}/report.html">{escape(run)}</a>' if linked and ok else escape(run)
        for run, ok in done.items()
    ]
    cells = cells.set_axis(names).set_axis([escape(name) for name in cells.columns], axis=1)
    with pd.option_context("display.max_colwidth", None):
        return f"<div>{cells.to_html(escape=False, border=0)}</div>"
