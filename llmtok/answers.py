"""Recommendations for the command line: who asks, what they get, and what speaks for it."""

from __future__ import annotations

import difflib
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd

from llmtok.data import InputError, _rename
from llmtok.layouts import (
    Notes,
    as_text,
    names_of,
    plain,
    printable,
    read_ids,
    read_numbers,
    read_table,
    read_times,
    shorten,
    tidy_ids,
)
from llmtok.recommend import TokenSVD


def known_users(model, names: list[str]) -> dict:
    """Find users by their ids as they are written."""
    ids = {str(known): known for known in model.user_ids.tolist()}
    for name in names:
        if name not in ids:
            near = difflib.get_close_matches(name, ids, cutoff=0.75) if len(ids) < 20_000 else []
            hint = f"near it are {', '.join(near)}" if near else f"one is {next(iter(ids))!r}"
            raise InputError(f"unknown user {name!r}; the model knows {len(ids):,}, and {hint}")
    return {ids[name]: ids[name] for name in names}


def new_users(model, path: Path, columns: dict[str, str], encoding: str | None) -> dict:
    """Read new ratings: to each user's id (None where the file has none) a Series indexed by item_id."""
    table, notes = read_table(path, "ratings", columns, encoding), Notes()
    usual = names_of("user_id", "ratings")
    alone = "user_id" not in columns and not any(plain(name) in usual for name in table.frame)
    if alone:
        table.frame["user_id"] = pd.Categorical(["0"] * len(table.frame))
    frame = _rename(table, "ratings", columns)
    [users] = read_ids([tidy_ids(frame["user_id"], "user_id", path, "ratings", notes)], notes)
    items = as_text(tidy_ids(frame["item_id"], "item_id", path, "ratings", notes))
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
            theirs = next(iter(items.dropna()), "")
            ids = f"its ids are like {model.item_ids[0]!s:.40}, the file's like {theirs:.40}"
            raise InputError(f"{path}: all rows {what}; {ids}")
        if wrong.any():
            print(f"llmtok: left out: {wrong.sum():,} of {len(items):,} rows, which {what}", file=sys.stderr)
        rows = rows[~wrong]
    if rows["rating"].max() > highest:
        raise InputError(
            f"{path}: a rating is {rows['rating'].max():g}, and those that the model learned from end at {highest:g}; "
            "write them on its scale"
        )
    if lost := users.nunique() - rows["user"].nunique():
        print(
            f"llmtok: left out: {lost:,} of {users.nunique():,} users, of whom no row remains",
            file=sys.stderr,
        )
    rows = rows.drop_duplicates(["user", "place"], keep="last").sort_index()
    return {
        None if alone else user: pd.Series(own["rating"].to_numpy(), model.item_ids[own["place"].astype(int)])
        for user, own in rows.groupby("user", sort=False)
    }


def read_titles(folder: Path) -> dict[str, str]:
    """Read the titles of a report's items; where they cannot be read there are none."""
    path = folder / "tokens.parquet"
    try:
        frame = pd.read_parquet(path, columns=["item_id", "title"])
    except FileNotFoundError:
        return {}
    except (ImportError, OSError, ValueError, KeyError) as error:  # no pyarrow, or a damaged file
        print(printable(f"llmtok: {path}: no titles ({shorten(str(error), 160)})"), file=sys.stderr)
        return {}
    return dict(zip(frame["item_id"].astype("str"), frame["title"].astype("str"), strict=True))


def recommendations(model, who, n: int, titles: dict[str, str]) -> list[dict]:
    """Recommend to somebody: with each item the two past ones that speak most for it, and their shares."""

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


def align(rows: list[list], longest: int = 60) -> list[str]:
    """Write rows as lines with aligned columns; a Chinese character is two wide, a combining one none."""

    def width(text):
        return sum(
            0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text
        )

    cells = [[shorten(printable(cell), longest) for cell in row] for row in rows]
    widths = [max(map(width, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(cell + " " * (wide - width(cell)) for cell, wide in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
