"""What the command line and a config file say, turned into arguments of `llmtok.report`."""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path

from llmtok.data import _BUNDLED, _REMOTE, InputError
from llmtok.layouts import shorten

# The options that a config file may have too, by the kind of their values.
KINDS = {
    **dict.fromkeys(
        ("dataset", "ratings", "items", "out", "encoding", "encoder", "engine", "reduction", "split"), str
    ),
    **dict.fromkeys(("user_col", "item_col", "rating_col", "time_col", "action_col"), str),
    **dict.fromkeys(("title_col", "year_col", "genres_col"), str),
    **dict.fromkeys(("no_rating", "quick", "course"), bool),
    **dict.fromkeys(("n_tokens", "seed"), int),
    "liked": float,
    "text": (str, list),
    "strengths": dict,
    "parameters": dict,
}
COLUMNS = {
    "user_col": "user_id", "item_col": "item_id", "rating_col": "rating", "time_col": "timestamp",
    "action_col": "action", "title_col": "title", "year_col": "year", "genres_col": "genres",
}  # fmt: skip
OF_FILES = ("ratings", "items", "encoding", "strengths", "no_rating", *COLUMNS)


def read_mapping(path: Path) -> dict:
    """Read a mapping from a YAML or JSON file, which can name no code and no other file."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".json":
            made = json.loads(text)
        else:
            aliases = any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text))
            made = None if aliases else yaml.safe_load(text)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read safely: {shorten(str(error), 300)}") from None
    if path.suffix != ".json" and aliases:  # a few may stand for gigabytes
        raise InputError(f"{path}: has an alias (*name); write the value out")
    return made if isinstance(made, dict) else {}


def pairs(option: str, written: list[str]) -> list[tuple[str, str]]:
    """Cut NAME=VALUE in two; an action of a log may have an equals sign of its own."""
    cut = [pair.rpartition("=") if option == "--strength" else pair.partition("=") for pair in written]
    for (name, equals, _), pair in zip(cut, written, strict=True):
        if not equals or not name:
            how = "ACTION=WORTH" if option == "--strength" else "NAME=VALUE"
            raise InputError(f"{option} {pair}: write {how}")
    return [(name, value) for name, _, value in cut]


def worth(action: str, value: str) -> float:
    """Read what an action is worth."""
    try:
        return float(value)
    except ValueError:
        raise InputError(f"--strength {action}={value}: {value!r} is no number") from None


def read_config(path: Path) -> dict[str, object]:
    """Read options from a YAML or JSON file; its paths are relative to it."""
    made = read_mapping(path)
    if not made:
        raise InputError(f"{path}: holds no options; write one a line, as in ratings: log.csv")
    options: dict[str, object] = {}
    for key, value in made.items():
        name = str(key).replace("-", "_")
        if name not in KINDS:
            near = difflib.get_close_matches(name, KINDS, 3, 0.5) or KINDS
            raise InputError(f"{path}: unknown option {str(key)!r}; there are {', '.join(near)}")
        if name in options:
            raise InputError(f"{path}: {name} is there twice")
        if value is not None:
            options[name] = _of_kind(f"{path}: {key}", value, KINDS[name])
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


def merge(config: dict[str, object], given: dict[str, object]) -> dict[str, object]:
    """Put what was given on the command line over what a config file says."""
    config = dict(config)
    away = ("dataset",) if {"ratings", "items"} & set(given) else ()
    away += OF_FILES if "dataset" in given else ()
    away += ("no_rating",) if "rating_col" in given else ()
    away += ("rating_col",) if "no_rating" in given else ()
    config = {name: value for name, value in config.items() if name not in away}
    both = [name for name in ("strengths", "parameters") if name in config and name in given]
    return config | given | {name: config[name] | given[name] for name in both}


def arguments_of(options: dict[str, object]) -> dict[str, object]:
    """Turn options into arguments of `llmtok.report`."""
    columns = {ours: options[name] for name, ours in COLUMNS.items() if name in options}
    if options.get("no_rating"):
        if "rating" in columns:
            raise InputError(
                "a column of ratings is named, and --no-rating says that there is none; leave one out"
            )
        columns["rating"] = None
    made = {name: value for name, value in options.items() if name not in (*COLUMNS, "no_rating", "seed")}
    if columns:
        made["columns"] = columns
    if "seed" in options:
        made["parameters"] = {"RANDOM_STATE": options["seed"]} | made.get("parameters", {})
    if isinstance(text := made.get("text"), str) and "{" not in text:
        made["text"] = [column.strip() for column in text.split(",")]
    if not {"dataset", "ratings", "items"} & set(made):
        made["dataset"] = "movielens-small"
    return made


def default_out(arguments: dict[str, object]) -> Path:
    """Name a folder after the data: reports/movielens-small, or reports/shop-log for the file shop/log.csv."""
    if dataset := arguments.get("dataset"):
        return Path("reports") / (Path(dataset).resolve().name or "all")
    file = Path(arguments.get("ratings") or arguments["items"]).resolve()
    return Path("reports") / f"{file.parent.name}-{file.name.partition('.')[0]}".strip("-")


def as_options(message: str) -> str:
    """Say as options what a message says as arguments of a function."""
    options = {ours: option.replace("_", "-") for option, ours in COLUMNS.items()}
    message = re.sub(
        r"(with |then )?columns=\{'(\w+)': ('[^']*')\}",
        lambda m: f"{m[1] or ''}--{options.get(m[2], m[2])} {m[3]}",
        message,
    )
    message = message.replace("columns={'rating': None}", "--no-rating")
    message = message.replace("strengths={'view': 1, 'buy': 3}", "--strength view=1 --strength buy=3")
    return re.sub(r"\b(encoding|text)='", r"--\1 '", message)
