"""A report on a data set: check what was given, run the notebooks, and put the result where it belongs.

A run works beside its folder, in ``<out>.running/<pid>``, and takes the folder's place when it has ended well; one
that failed becomes ``<out>.failed``. So the folder holds a whole result or none, and whoever is killed at any moment
spoils nothing: the next run, or `read_status`, ends what was begun. A lock keeps two runs apart; the system frees it
when its process dies.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from llmtok import notebooks as runner
from llmtok.data import (
    _BUNDLED,
    _PAIRS,
    _REMOTE,
    Dataset,
    InputError,
    _template,
    dataset_folder,
    load_csv,
    load_dataset,
)
from llmtok.layouts import ALIASES
from llmtok.notebooks import COURSE, REPORT, TIMEOUT, execute, read_parameters, to_html, write_text

STATUS = "status.json"
REDUCTIONS, SPLITS = ("pca", "truncated_svd", "random"), ("random", "temporal")
_OF_FILES = ("columns", "strengths", "encoding")  # what only says how files are read
_OWN = (
    "dataset", "ratings", "items", *_OF_FILES, "text", "liked", "encoder", "n_tokens", "reduction", "split", "quick"
)  # fmt: skip
_PACKAGES = ["llmtok", "numpy", "pandas", "scikit-learn", "scikit-surprise", "torch", "transformers"]


def report(
    out: str | Path,
    *,
    dataset: str | Path | None = None,
    ratings: str | Path | None = None,
    items: str | Path | None = None,
    columns: dict[str, str | None] | None = None,
    strengths: dict[str, float] | None = None,
    encoding: str | None = None,
    text: str | list[str] | None = None,
    liked: float | None = None,
    encoder: str | None = None,
    n_tokens: int | None = None,
    reduction: str | None = None,
    split: str | None = None,
    quick: bool = False,
    parameters: dict[str, object] | None = None,
    course: bool = False,
    timeout: float = TIMEOUT,
    progress: bool | None = None,
    say=print,
) -> dict:
    """Measure whether text tokens help on some data, and write the report into a folder.

    Either `dataset` or `ratings` and `items` are needed. What is None is left to the notebook ``report``.

    Parameters
    ----------
    out : path
        The folder of the result: ``report.html``, ``metrics.json``, ``tokens.parquet``, the models, the executed
        notebook and ``status.json``. An earlier result there is replaced, as a whole and only by a good one;
        what failed stays beside it as ``<out>.failed``. A folder of anything else is refused.
    dataset : str, optional
        A name that `load_dataset` knows, or a folder.
    ratings, items : path, optional
        Files, as in `load_csv`; so are `columns`, `strengths` and `encoding`.
    text : str or list of str, optional
        Template of an item's text, ``"{title}. {description}"``, or the columns, ``["title", "description"]``.
    liked : float, optional
        A rating from here on counts as liked.
    encoder : str, optional
        Name or folder of the language model.
    n_tokens : int, optional
        Length of a token.
    reduction : {"pca", "truncated_svd", "random"}, optional
        How embeddings become tokens.
    split : {"random", "temporal"}, optional
        Which fifth of the ratings is tested: a drawn one, or the latest.
    quick : bool
        A quick look, not a verdict.
    parameters : dict, optional
        Further parameters of the notebooks by their names, such as ``{"RANDOM_STATE": 1, "EASE": {"l2": 8.0}}``.
    course : bool
        Run notebooks 01 to 05 first, on `dataset`.
    timeout : float
        Seconds that one cell may take.
    progress : bool, optional
        Show bars; by default on a terminal.
    say : callable
        Told a line at each step.

    Returns
    -------
    dict
        What is in ``status.json``: ``state`` is ``ok``, ``failed`` or ``stopped`` (by Ctrl-C); ``error`` says in
        one line what went wrong.

    Raises
    ------
    InputError
        Something that was given is wrong, the data too, or another run writes there. Nothing is left behind.
    OSError
        The result could not be written.

    Examples
    --------
    >>> from llmtok import report
    >>> report("reports/mine", ratings="log.csv", items="items.csv")
    Traceback (most recent call last):
    ...
    llmtok.layouts.InputError: log.csv: no such file
    """
    told = describe(
        dataset=dataset, ratings=ratings, items=items, columns=columns, strengths=strengths, encoding=encoding,
        text=text, liked=liked, encoder=encoder, n_tokens=n_tokens, reduction=reduction, split=split, quick=quick,
        parameters=parameters, course=course,
    )  # fmt: skip
    if not _is_number(timeout) or timeout <= 0:
        raise InputError(f"timeout={timeout!r}: it is a number of seconds")
    out = _place(out, told["settings"])
    parents = [folder for folder in out.parents if not folder.exists()]
    progress = sys.stderr.isatty() if progress is None else progress
    try:
        with locked(out):
            _settle(out)
            _remove(_beside(out, "running"))
            return _run(out, told, timeout=timeout, progress=progress, say=say)
    finally:
        for folder in parents:
            with suppress(OSError):  # it holds a result
                folder.rmdir()


def _run(out: Path, told: dict, *, timeout: float, progress: bool, say) -> dict:
    """Run the notebooks in a folder of their own, and let it take its place."""
    settings = told["settings"]
    notebooks = _notebooks(settings)
    parameters = read_parameters(_parameters(settings), notebooks)
    work = _beside(out, "running") / str(os.getpid())
    work.mkdir(parents=True)
    start = time.perf_counter()
    status = {
        "state": "running",
        "started": _now(),
        "pid": os.getpid(),
        **told,
        "notebooks": [],
    }

    def end(state: str, error: str = "") -> dict:
        status.update(state=state, ended=_now(), seconds=round(time.perf_counter() - start, 1))
        if error:
            status["error"] = error
        for left in (work / "progress.json", *work.glob("*.part")):
            left.unlink(missing_ok=True)
        _write(work, status)
        _settle(out)
        return status

    try:
        _write(work, status)
        for number, notebook in enumerate(notebooks, 1):
            say(f"[{number}/{len(notebooks)}] {notebook.stem}")
            own = {"OUT_DIR": str(work)} if notebook.stem == REPORT else {}
            done = execute(
                notebook, work / notebook.name, parameters[notebook] | own, progress=progress, timeout=timeout
            )
            status["notebooks"].append(done | {"parameters": parameters[notebook]})
            if done["state"] != "ok":
                return end(done["state"], f"{notebook.stem} {done['error']}")
            to_html(work / notebook.name, work / f"{notebook.stem}.html", code=notebook.stem != REPORT)
    except KeyboardInterrupt:
        return end("stopped", "stopped by Ctrl-C")
    except InputError:
        _remove(_beside(out, "running"))
        raise
    except Exception as error:
        try:
            end("failed", str(InputError(f"{type(error).__name__}: {error}")))
        except OSError:  # not even that can be written
            _remove(_beside(out, "running"))
        raise
    return end("ok")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


# --- What was given -----------------------------------------------------------------------------------------


def describe(
    *, dataset=None, ratings=None, items=None, columns=None, strengths=None, encoding=None, text=None, liked=None,
    encoder=None, n_tokens=None, reduction=None, split=None, quick=False, parameters=None, course=False,
) -> dict[str, dict]:  # fmt: skip
    """Check what `report` is given, as far as that is cheap, and write it down.

    Returns
    -------
    dict
        As it will stand in ``status.json``: ``settings``, what was given, with paths resolved; ``data``, size and
        checksum of each file; ``versions`` of what it is done with. A result that says the same is the same.

    Raises
    ------
    InputError
        Something is wrong, or missing.
    """
    if dataset is not None:
        if ratings is not None or items is not None:
            raise InputError("a data set and files are given; give one of them")
        for name, value in (("columns", columns), ("strengths", strengths), ("encoding", encoding)):
            if value:
                raise InputError(f"{name} says how files are read: give ratings and items, and no data set")
        dataset = _name(dataset)
    elif ratings is None or items is None:
        missing = "items" if items is None else "ratings"
        raise InputError(
            f"no {missing}: give two files, ratings (or a log of what people did) and items (the catalogue)"
            if ratings is not None or items is not None
            else "no data: give a data set, or the two files ratings and items"
        )
    elif course:
        raise InputError("the course runs on a data set, or on a folder with ratings.csv and items.csv")
    else:
        ratings, items = _file(ratings), _file(items)
    settings = {
        "dataset": dataset,
        "ratings": ratings,
        "items": items,
        "columns": _columns(columns),
        "strengths": _strengths(strengths),
        "encoding": _encoding(encoding),
        "text": _template(text) if text else None,
        "liked": _number("liked", liked),
        "encoder": _encoder(encoder),
        "n_tokens": _count("n_tokens", n_tokens),
        "reduction": _one_of("reduction", reduction, REDUCTIONS),
        "split": _one_of("split", split, SPLITS),
        "quick": bool(quick),
        "parameters": dict(parameters or {}),
        "course": bool(course),
    }
    settings = {name: value for name, value in settings.items() if value not in (None, {}, False)}
    for name in settings.get("parameters", {}):
        if name == "OUT_DIR" or name.lower() in _OWN:
            raise InputError(
                f"parameter {name}: use the option {'out' if name == 'OUT_DIR' else name.lower()}"
            )
    read = read_parameters(_parameters(settings), _notebooks(settings))
    if "parameters" in settings:  # in their types, however they were written
        found = {name: value for of in read.values() for name, value in of.items()}
        settings["parameters"] = {name: found[name] for name in settings["parameters"]}
    versions = {"python": platform.python_version(), **{package: version(package) for package in _PACKAGES}}
    return {"settings": settings, "data": _checksums(settings), "versions": versions}


def _notebooks(settings: dict) -> list[Path]:
    names = [*(COURSE if settings.get("course") else []), REPORT]
    return [runner.notebooks_folder() / f"{name}.ipynb" for name in names]


def _parameters(settings: dict) -> dict[str, object]:
    """Give the settings the names that they have in the notebooks."""
    given = {name.upper(): settings[name] for name in _OWN if name in settings}
    return {"DATASET": ""} | given | settings.get("parameters", {})


def _name(dataset) -> str:
    """Read the name of a data set: known, or a folder."""
    name = os.fspath(dataset) if isinstance(dataset, os.PathLike) else dataset
    if not isinstance(name, str):
        raise InputError(f"dataset={dataset!r}: it is the name of a data set, or a folder")
    if name in _BUNDLED or name in _REMOTE:
        return name
    if name and "\0" not in name and Path(name).is_dir():
        return str(Path(name).resolve())
    raise InputError(
        f"unknown data set {name!r}; there are {', '.join([*_BUNDLED, *_REMOTE])}, or a folder with ratings.csv and "
        "items.csv"
    )


def _file(path) -> str:
    try:
        file = Path(path)
        if file.is_file():
            return str(file.resolve())
        what = "a folder; name the file" if file.is_dir() else "no such file"
    except (TypeError, ValueError, OSError):
        file, what = path, "no such file"
    raise InputError(f"{file}: {what}")


def _columns(columns) -> dict:
    if not columns:
        return {}
    if not isinstance(columns, dict):
        raise InputError(f"columns={columns!r}: it maps our names to yours")
    if strange := [name for name in columns if name not in ALIASES]:
        raise InputError(f"columns= knows {', '.join(ALIASES)}, and not {', '.join(map(repr, strange))}")
    for name, value in columns.items():
        if not (value is None or isinstance(value, str)):
            raise InputError(f"columns: {name} is {value!r}, and not the name of a column")
    return dict(columns)


def _strengths(strengths) -> dict:
    if not strengths:
        return {}
    if not isinstance(strengths, dict) or not all(isinstance(name, str) for name in strengths):
        raise InputError(f"strengths={strengths!r}: it maps each action, a text, to what it is worth")
    return {name: _number(f"the strength of {name!r}", value) for name, value in strengths.items()}


def _encoding(encoding) -> str | None:
    if not encoding:
        return None
    try:
        "".encode(encoding)
    except (LookupError, TypeError, ValueError):
        raise InputError(f"encoding={encoding!r} is not known; some are utf-8, cp1252, gb18030") from None
    return encoding


def _encoder(encoder) -> str | None:
    if encoder is None:
        return None
    if not isinstance(encoder, str | os.PathLike) or not os.fspath(encoder):
        raise InputError(f"encoder={encoder!r}: it is a name, or a folder")
    name = os.fspath(encoder)
    return str(Path(name).resolve()) if "\0" not in name and Path(name).is_dir() else name


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _number(name: str, value) -> float | None:
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or _is_number(value):
        return None if value is None else float(value)
    raise InputError(f"{name} is {value!r}, and not a number")


def _count(name: str, value) -> int | None:
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or (type(value) is int and value >= 0):
        return value
    raise InputError(f"{name} is {value!r}, and not a whole number")


def _one_of(name: str, value, known: tuple[str, ...]) -> str | None:
    if value is None or (isinstance(value, str) and value in known):
        return value
    raise InputError(f"{name}={value!r}: it is one of {', '.join(known)}")


def _checksums(settings: dict) -> dict[str, dict]:
    """Return size and checksum of each file of data; of an archive that is downloaded, the pinned checksum."""
    name = settings.get("dataset")
    if name in _REMOTE:
        archive, checksum = _REMOTE[name]
        kind, _, value = checksum.rpartition(":")
        return {archive: {kind or "sha256": value}}
    if name in _BUNDLED:
        files = [dataset_folder(name) / file for file in (_BUNDLED[name][0], "items.csv")]
    elif name:
        pairs = [[Path(name) / file for file in pair] for pair in _PAIRS]
        files = next((pair for pair in pairs if all(file.exists() for file in pair)), pairs[0])
    else:
        files = [Path(settings["ratings"]), Path(settings["items"])]
    found = {}
    for file in files:
        try:
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
                found[str(file) if name is None else file.name] = {"bytes": stream.tell(), "sha256": digest}
        except OSError as error:
            what = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
            raise InputError(f"{file}: {what}") from None
    return found


def load(settings: dict) -> Dataset:
    """Load the data that settings of `describe` name, as the notebook does."""
    text = settings.get("text")
    if "dataset" in settings:
        return load_dataset(settings["dataset"], text_template=text, progress=False)
    how = {name: settings.get(name) for name in _OF_FILES}
    return load_csv(settings["ratings"], settings["items"], text_template=text, **how)


def preview(*, say=print, **given) -> None:
    """Say what `report` would do with the same arguments; nothing is run or written.

    Parameters
    ----------
    say : callable
        Told a line at a time.
    **given
        Arguments of `report`, without `out`.
    """
    from llmtok.measure import plan

    settings = describe(**given)["settings"]
    data = load(settings)

    def tell(line: str = "") -> None:
        say(str(InputError(line)))  # which leaves out what would steer a terminal

    n_users, n_rated = data.ratings["user_id"].nunique(), data.ratings["item_id"].nunique()
    tell(
        f"{data.name}: {len(data.ratings):,} ratings of {n_users:,} users; {len(data.items):,} items, "
        f"{n_rated:,} of them rated"
    )
    tell("Taken for:")
    for row in data.source.itertuples(index=False):
        tell(f"  {row.file}, {row.what}: {row.taken}")
    tell("Cleaned:")
    for row in data.cleaning.to_dict("records"):
        if row["changed"] or row["dropped"]:
            tell(f"  {row['table']}, {row['step']}: {row['changed']:,} changed, {row['dropped']:,} dropped")
    texts = data.items["text"][data.items["text"] != ""]
    tell(f"Text of an item: {data.text_template}")
    tell(f"  such as: {texts.iloc[0][:300] if len(texts) else '(no item has one)'}")
    how = {name: settings[name] for name in ("liked", "split", "quick", "encoder") if name in settings}
    planned = plan(data, random_state=settings.get("parameters", {}).get("RANDOM_STATE", 0), **how)
    tell("Planned:")
    for note in planned.notes:
        tell(f"  {note}")
    tell(f"  It will take about {max(1, round(planned.seconds / 60))} min.")


# --- The folder ---------------------------------------------------------------------------------------------


def read_status(folder: str | Path) -> dict | None:
    """Return the status of the result in a folder or, where there is none, of the last try.

    A swap of folders that was interrupted is brought to its end first.

    Returns
    -------
    dict or None
        What is in ``status.json``; ``state`` is ``ok``, ``running``, ``failed``, ``stopped``, or ``killed`` for a
        run that ended without a word. None: nothing has run there.
    """
    out = Path(folder).resolve()
    running, busy = _beside(out, "running"), False
    if running.exists() or _beside(out, "replaced").exists():
        try:
            with locked(out, wait=0.1):
                _settle(out)
        except Busy:
            busy = True
        except (InputError, OSError):  # something of another's is in the way, or it may only be read
            pass
    if status := _read(out) or _read(_beside(out, "replaced")):
        return status
    for work in running.iterdir() if running.is_dir() else ():
        if status := _read(work):
            return status | ({"state": "killed"} if not busy and status["state"] == "running" else {})
    return _read(_beside(out, "failed"))


def _beside(out: Path, what: str) -> Path:
    return out.with_name(f"{out.name}.{what}")


class Busy(InputError):
    """Another run writes in the folder."""


def _place(out: str | Path, settings: dict) -> Path:
    """Return where the result goes, if it may go there."""
    try:
        out = Path(out).resolve()
        if not out.name or os.path.ismount(out):
            raise InputError(f"{out}: a result cannot take its place; choose a folder in it")
        if Path.cwd().is_relative_to(out):
            raise InputError(f"{out}: you are in this folder, which the result would replace; choose another")
        with suppress(FileNotFoundError):
            _beside(out, "running.lock").lstat()  # which fails where no file of this name can be
        _check_ours(out)
    except InputError:
        raise
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{out}: {_reason(error)}; choose another place") from None
    for name in ("dataset", "ratings", "items", "encoder"):
        given = Path(settings.get(name, ""))
        if given.is_absolute() and given.is_relative_to(out):
            raise InputError(
                f"{given}: lies in {out}, which the result replaces; move it, or choose another place"
            )
    return out


def _reason(error: Exception) -> str:
    why = "" if isinstance(error, Timeout) else getattr(error, "strerror", None) or error
    return f"cannot be written ({why})" if why else "cannot be written"


def _check_ours(out: Path) -> None:
    """Refuse to replace what no run has made."""
    running = _beside(out, "running")
    for place in (out, _beside(out, "failed"), _beside(out, "replaced")):
        if os.path.lexists(place) and not _is_ours(place):
            raise InputError(
                f"{place}: is there already and is not the result of a run; choose another place"
            )
    if os.path.lexists(running) and not (
        running.is_dir() and all(p.name.isdigit() for p in running.iterdir())
    ):
        raise InputError(f"{running}: is there already and is not of a run; choose another place")


def _is_ours(folder: Path) -> bool:
    """Whether a folder is a result, or what is left of one: it may be replaced."""
    if not folder.is_dir() or folder.is_symlink():
        return False
    return {path.name for path in folder.iterdir()} <= {f"{STATUS}.part"} or _read(folder) is not None


@contextmanager
def locked(out: str | Path, *, wait: float = 1.0) -> Iterator[None]:
    """Keep other runs away from a folder; a moment is waited, for a reader may hold the lock.

    Raises
    ------
    InputError
        Another run writes there; the message names its process.
    """
    out = Path(out).resolve()
    path = _beside(out, "running.lock")
    lock = FileLock(path, poll_interval=0.02)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=wait)
    except OSError as error:  # Timeout is one
        if not isinstance(error, Timeout) or not path.exists():
            raise InputError(f"{out}: {_reason(error)}; choose another place") from None
        running = _beside(out, "running")
        pids = sorted(work.name for work in running.iterdir()) if running.is_dir() else []
        who = f"process {pids[-1]}" if pids else "another process"
        raise Busy(f"{out}: {who} writes a result there; wait for it, or choose another place") from None
    try:
        yield
    finally:
        with suppress(OSError):  # while it is held: whoever waits for it makes a new one
            path.unlink()
        lock.release()


def _settle(out: Path) -> None:
    """Bring a run that has ended to its place, whatever of that was done already."""
    _check_ours(out)
    running, old, failed = (_beside(out, what) for what in ("running", "replaced", "failed"))
    if old.exists() and not out.exists():
        old.rename(out)
    _remove(old)
    for work in running.iterdir() if running.is_dir() else ():
        state = (_read(work) or {}).get("state")
        if state == "ok":
            if out.exists():
                out.rename(old)
            work.rename(out)
            _remove(old)
            _remove(failed)
        elif state in ("failed", "stopped"):
            _remove(failed)
            work.rename(failed)
    with suppress(OSError):  # a run is under way, or was killed
        running.rmdir()


def _remove(folder: Path) -> None:
    """Delete a folder, its status last: what is left when that is interrupted is still known as ours."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != STATUS:
            path.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _read(folder: Path) -> dict | None:
    """Read the status in a folder; None if there is none, or one that is not ours."""
    try:
        status = json.loads((folder / STATUS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return status if isinstance(status, dict) and {"state", "versions"} <= set(status) else None


def _write(folder: Path, status: dict) -> None:
    write_text(folder / STATUS, json.dumps(status, indent=2) + "\n")
