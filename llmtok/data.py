"""Raw files in, a clean `Dataset` out, with a table of everything that cleaning did.

One schema serves the whole course. ``ratings`` has the columns user_id, item_id, rating and (where known)
timestamp in seconds since 1970; ``items`` is indexed by item_id and has title, text and whatever else the
catalogue says. The *text* of an item is made in one place, by a template such as
``"{title} ({year}). {genres}"``, because every number of the course depends on it. How files are read, and
which layouts are known, is in `llmtok.layouts`.
"""

from __future__ import annotations

import logging
import os
import re
import string
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from llmtok import __version__
from llmtok.layouts import (
    ALIASES,
    NEEDED,
    TEXTS,
    WELCOME,
    WORDS,
    InputError,
    Notes,
    Table,
    as_text,
    names_of,
    plain,
    read_ids,
    read_numbers,
    read_table,
    read_times,
    shorten,
    spread,
    tidy_ids,
    whole,
)

logger = logging.getLogger("llmtok")

FILM_TEXT = "{title} ({year}). {genres}"
"""The default text of a film. The title-only control is ``"{title}"``."""

PACKAGE_TEXT = "{title}: {summary}. {description}"
"""The default text of a package. The controls are ``"{title}"`` and ``"{title}: {summary}"``."""

NO_TITLE = "(no title)"
"""What cleaning writes for a missing title; a text leaves it out."""

STRONGEST = "several actions on one item: the strongest is kept"
"""The cleaning step of a log whose actions became strengths; where there are ratings it is not there."""

MOVIELENS_LICENCE = (
    "MovieLens, GroupLens, University of Minnesota: research use, no commercial use without permission, no "
    "endorsement implied. Cite F. M. Harper and J. A. Konstan (2015), doi:10.1145/2827872."
)

DEBIAN_LICENCE = (
    "Debian package lists, area main: descriptions by the packages' maintainers, each under the free licence of "
    "its source package (named in items.source); anyone may use, share, modify and redistribute them under it. "
    "No endorsement by Debian implied."
)

MODELS_LICENCE = (
    "Three small language models, trained on the texts and ratings of movielens-small and the texts of "
    f"debian-packages, whose conditions they carry. {MOVIELENS_LICENCE} {DEBIAN_LICENCE}"
)


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Ratings and the catalogue they are about, cleaned.

    Attributes
    ----------
    name : str
        What the tables and plots call it.
    ratings : DataFrame
        One row a rating: user_id, item_id, rating, and timestamp (seconds since 1970) where the source has
        it.
    items : DataFrame
        One row an item, indexed by item_id: title, text, and the other columns of the catalogue. Items that
        nobody rated are here too.
    cleaning : DataFrame
        One row a cleaning step: what it looked for, how many rows it changed and dropped.
    licence : str
        What may be done with the data.
    text_template : str
        The template that made ``items.text``.
    source : DataFrame
        What the files were taken for: the layout and the rows of each, which of its columns became which of
        ours, which are kept beside them, and which are not used. Columns: file, what, taken.
    """

    name: str
    ratings: pd.DataFrame
    items: pd.DataFrame
    cleaning: pd.DataFrame
    licence: str
    text_template: str
    source: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["file", "what", "taken"]))

    def __repr__(self) -> str:
        users = self.ratings["user_id"].nunique()
        return f"<Dataset {self.name}: {len(self.ratings)} ratings, {users} users, {len(self.items)} items>"

    def with_text(self, template: str | list[str]) -> Dataset:
        """Return the same data with ``items.text`` made by another template.

        Parameters
        ----------
        template : str or list of str
            Names columns of ``items`` in braces, such as ``"{title}"`` or ``"{title} ({year}). {genres}"``; or
            the columns alone, ``["title", "genres"]`` for ``"{title}. {genres}"``.

        Examples
        --------
        >>> from llmtok import load_dataset
        >>> load_dataset("movielens-small").with_text("{title}").items.text.iloc[0]
        'Toy Story'
        """
        items = self.items.assign(text=make_text(self.items, template))
        return replace(self, items=items, text_template=_template(template))


def _template(template: str | list[str]) -> str:
    """Write a list of columns as a template."""
    if isinstance(template, str):
        return template
    if not isinstance(template, (list, tuple)):
        raise InputError(f"the text template {template!r} is neither a text nor a list of columns")
    if wrong := [name for name in template if not isinstance(name, str) or re.search("[{}]", name)]:
        raise InputError(f"a text cannot be made of the column {wrong[0]!r}; rename it, without braces")
    return ". ".join(f"{{{name}}}" for name in template)


def make_text(items: pd.DataFrame, template: str | list[str]) -> pd.Series:
    """Fill a template from the columns of `items`; what a missing value leaves behind is tidied away.

    Parameters
    ----------
    items : DataFrame
        The catalogue.
    template : str or list of str
        Column names in braces, or a list of columns to be joined by ``". "``. A value that is a list joined by
        ``|`` is written with commas.

    Returns
    -------
    Series of str
        Indexed as `items`; empty where every column that the template names is missing.
    """
    template = _template(template)
    try:
        parts = [
            # The name of a column may hold '!' and ':', which mean something to Python.
            (literal, name and name + (f"!{turned}" if turned else "") + (f":{spec}" if spec else ""))
            for literal, name, spec, turned in string.Formatter().parse(template)
        ]
    except ValueError as error:
        raise InputError(f"the text template {template!r} cannot be read: {error}") from None
    names = [name for _, name in parts if name is not None]
    missing = [repr(name) for name in names if name not in items.columns]
    if missing or not names:
        said = f"the text template {template!r} names {', '.join(missing) or 'no column in braces'}"
        raise InputError(f"{said}; the catalogue has the columns {', '.join(map(str, items.columns))}")
    texts = pd.Series("", index=items.index, dtype="string")
    gap = pd.Series(False, index=items.index)
    for literal, name in parts:
        texts = texts + literal
        if name is not None:
            column = items[name]
            if pd.api.types.is_float_dtype(column):  # 1995.0 is written 1995
                column = column.map("{:.15g}".format, na_action="ignore")
            column = column.astype("string").str.strip().str.replace(r"\s*\|\s*", ", ", regex=True)
            absent = column.isin(["", NO_TITLE] if name == "title" else [""]) | column.isna()
            texts, gap = texts + column.mask(absent, ""), gap | absent
    texts = texts.str.replace(r"\s+", " ", regex=True).str.strip()
    return texts.where(~gap, texts.map(_close_gap)).astype("str").rename("text")


def _close_gap(text: str) -> str:
    """Tidy away the punctuation around a missing value; a text with nothing missing stays as it is."""
    text = re.sub(r"\s*(\(\s*\)|\[\s*\])", "", text)
    text = re.sub(r"\s+([.,;:])", r"\1", re.sub(r"([.,;:])(\s+[.,;:])+(?=\s|$)", r"\1", text))
    return text.strip(" .,;:-|")


def clean(
    ratings: pd.DataFrame,
    items: pd.DataFrame,
    *,
    rating_scale: tuple[float, float] | None = None,
    min_user_ratings: int = 1,
    min_item_ratings: int = 1,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Clean ratings and catalogue, and say what was done.

    Parameters
    ----------
    ratings : DataFrame
        user_id, item_id, rating and perhaps timestamp.
    items : DataFrame
        item_id, title and whatever else the catalogue says.
    rating_scale : (float, float), optional
        Lowest and highest possible rating. Without it every finite rating is possible.
    min_user_ratings, min_item_ratings : int
        Ratings of users and items with fewer than this are dropped: users first, then items, once each. The
        items stay in the catalogue.

    Returns
    -------
    ratings, items, steps : DataFrame
        `items` is indexed by item_id. `steps` has one row a step: table, step, rows before, changed, dropped,
        rows after. Rows before less dropped is rows after, so nothing is lost in silence.
    """
    steps = []

    def step(table, what, frame, keep=None, changed=0):
        kept = frame if keep is None else frame[keep]
        steps.append((table, what, len(frame), int(changed), len(frame) - len(kept), len(kept)))
        return kept

    items = step("items", "no item id", items, items["item_id"].notna())
    items = step("items", "item listed twice: the first is kept", items, ~items["item_id"].duplicated())
    blank = items["title"].isna() | (items["title"].astype("string").str.strip() == "")
    items = items.assign(title=items["title"].astype("str").where(~blank, NO_TITLE))
    what = f"no title: '{NO_TITLE}' stands in, and the text leaves it out"
    items = step("items", what, items, changed=blank.sum())
    if "genres" in items:
        none = items["genres"].isin(["(no genres listed)"])
        items = items.assign(genres=items["genres"].where(~none))
        items = step("items", "'(no genres listed)' is no genre: made empty", items, changed=none.sum())

    whole = ratings[["user_id", "item_id", "rating"]].notna().all(axis=1)
    ratings = step("ratings", "no user, item or rating", ratings, whole)
    low, high = rating_scale or (-np.inf, np.inf)
    possible = ratings["rating"].between(low, high) & np.isfinite(ratings["rating"])
    if len(ratings) and not possible.any():
        least, most = ratings["rating"].min(), ratings["rating"].max()
        if rating_scale is None:
            raise InputError(f"no rating is a finite number; they run from {least:g} to {most:g}: mend them")
        raise InputError(
            f"no rating lies between {low:g} and {high:g}; they run from {least:g} to {most:g}: "
            "give their own rating_scale"
        )
    scale = f"outside {low:g} to {high:g}" if rating_scale else "not a finite number"
    ratings = step("ratings", f"impossible rating: {scale}", ratings, possible)
    if "timestamp" in ratings:
        # A wrong clock does not make a rating wrong: the rating stays, the time goes.
        wrong = ~ratings["timestamp"].between(0, 4102444800)  # 1970 to 2100
        times = ratings["timestamp"].where(~wrong) // 1
        ratings = ratings.assign(timestamp=times.astype("Int64" if wrong.any() else "int64"))
        ratings = step("ratings", "missing or impossible time: made empty", ratings, changed=wrong.sum())
        ratings = ratings.sort_values("timestamp", kind="stable", na_position="first")
    twice = ratings.duplicated(["user_id", "item_id"], keep="last")
    ratings = step("ratings", "same user and item twice: the latest is kept", ratings, ~twice).sort_index()
    known = ratings["item_id"].isin(items["item_id"])
    if len(ratings) and not known.any():
        theirs = f"one like '{items['item_id'].iloc[0]}'" if len(items) else "none"
        raise InputError(
            "no rated item is in the catalogue: the ratings have an item_id like "
            f"'{ratings['item_id'].iloc[0]}', the catalogue has {theirs}; name the right columns, or write "
            "the ids alike"
        )
    ratings = step("ratings", "item not in the catalogue", ratings, known)
    for column, least in (("user_id", min_user_ratings), ("item_id", min_item_ratings)):
        count = ratings[column].map(ratings[column].value_counts())
        ratings = step("ratings", f"{column} with fewer than {least} ratings", ratings, count >= least)
    if ratings.empty:
        dropped = "; ".join(f"{table}, {what}: {n}" for table, what, _, _, n, _ in steps if n)
        raise InputError(f"no rating is left after cleaning; rows dropped: {dropped}")
    columns = ["table", "step", "rows before", "changed", "dropped", "rows after"]
    return ratings.reset_index(drop=True), items.set_index("item_id"), pd.DataFrame(steps, columns=columns)


def load_csv(
    ratings: str | Path,
    items: str | Path,
    *,
    text_template: str | list[str] | None = None,
    columns: dict[str, str | None] | None = None,
    rating_scale: tuple[float, float] | None = None,
    strengths: dict[str, float] | None = None,
    min_user_ratings: int = 1,
    min_item_ratings: int = 1,
    name: str | None = None,
    licence: str = "your own data",
    encoding: str | None = None,
) -> Dataset:
    """Load your own ratings, or a log of what people did, and your own catalogue.

    Parameters
    ----------
    ratings : path
        A file with a column each for user, item and rating, and perhaps time (seconds or milliseconds since
        1970, or a date). Or a behaviour log: the action in place of the rating, with `strengths`. Or neither:
        then each row is an interaction, with a rating of 1. Either file is CSV (commas, semicolons, tabs,
        pipes or ``::``) or JSON lines, packed by gzip or not, with a header or in a layout of MovieLens or Amazon.
    items : path
        A file with a column for the item's id and further columns that describe it.
    text_template : str or list of str, optional
        How to write an item's text from its columns, or which columns to write one after the other. By
        default the title, year and genres where present, and then each column of text: one that is called
        description, summary, plot and so on, or has five words or more (in Chinese or Japanese ten characters)
        in half of its fields.
    columns : dict, optional
        Our name to yours, such as ``{"user_id": "customer no", "title": "headline"}``, where yours is none of
        the usual ones (userId, movieId, asin, stars, ...). Ours are user_id, item_id, rating, timestamp,
        action, title, year and genres. None says that there is none: ``{"rating": None}``.
    rating_scale : (float, float), optional
        Lowest and highest possible rating; others are dropped, and counted.
    strengths : dict, optional
        For a behaviour log, what each action is worth, such as ``{"view": 1, "cart": 2, "buy": 3}``. Of
        several actions of a user on an item the strongest counts, and of equally strong ones the latest.
    min_user_ratings, min_item_ratings : int
        See `clean`.
    name, licence : str, optional
        Kept in the result.
    encoding : str, optional
        Such as ``"cp1252"``, of files that are not in UTF-8 and have no byte order mark.

    Returns
    -------
    Dataset
        Ids are whole numbers where every id of both files is one (``007`` is not, ``7.0`` is if all are like
        this), else strings. ``source`` says what the files were taken for, ``cleaning`` what was changed. A
        catalogue without titles has those of its first column of words that differ from item to item, or its
        ids; one whose titles end in a year, ``Toy Story (1995)``, has title and year; a column of its own that
        is called text becomes own_text.

    Raises
    ------
    InputError
        A file or a column is missing, a file is empty or no text, there is text where a number belongs, the ids
        of the two files have nothing in common, or nothing is left after cleaning.
    """
    ratings, items, columns = Path(ratings), Path(items), columns or {}
    if strange := set(columns) - set(ALIASES):
        raise InputError(f"columns= knows {', '.join(ALIASES)}, and not {', '.join(map(repr, strange))}")
    dataset = _load(
        read_table(ratings, "ratings", columns, encoding),
        read_table(items, "items", columns, encoding),
        columns,
        text_template,
        strengths,
        {
            "rating_scale": rating_scale,
            "min_user_ratings": min_user_ratings,
            "min_item_ratings": min_item_ratings,
        },
        name or ratings.resolve().parent.name,
        licence,
    )
    logger.info("%r", dataset)
    return dataset


def _load(log: Table, listed: Table, columns, text_template, strengths, cleaning, name, licence) -> Dataset:
    """Make a data set of two files that were read; `cleaning` are options of `clean`."""
    events, catalogue = _rename(log, "ratings", columns), _rename(listed, "items", columns)
    notes = Notes()
    for table, told, frame in ((log, "ratings", events), (listed, "items", catalogue)):
        notes.add(told, "fewer fields than the header: the others are empty", frame, table.short)
    source = [*_taken(log, events), *_taken(listed, catalogue)]
    if "timestamp" in events:
        events["timestamp"] = read_times(events["timestamp"], log.path)
    for told, frame, path in (("ratings", events, log.path), ("items", catalogue, listed.path)):
        for ours in NEEDED[told]:
            frame[ours] = tidy_ids(frame[ours], ours, path, told, notes)
    events["item_id"], catalogue["item_id"] = read_ids([events["item_id"], catalogue["item_id"]], notes)
    [events["user_id"]] = read_ids([events["user_id"]], notes)
    events = _rate(events, log, strengths, columns, notes)
    catalogue, default = _describe(catalogue, listed.path, columns, text_template, notes)
    kept = [c for c in ("user_id", "item_id", "rating", "timestamp") if c in events]
    cleaned, table, steps = clean(events[kept], catalogue, **cleaning)
    if notes.rows:
        steps = pd.concat([pd.DataFrame(notes.rows, columns=steps.columns), steps], ignore_index=True)
    # Missing ids are gone now, so whole numbers can be plain ones.
    cleaned = cleaned.astype({c: "int64" for c in ("user_id", "item_id") if cleaned[c].dtype == "Int64"})
    if table.index.dtype == "Int64":
        table.index = table.index.astype("int64")
    text_template = _template(default if text_template is None else text_template)
    table = table.assign(text=make_text(table, text_template))
    source = pd.DataFrame(source, columns=["file", "what", "taken"])
    return Dataset(name, cleaned, table, steps, licence, text_template, source)


def _rename(table: Table, kind: str, columns: dict) -> pd.DataFrame:
    """Give the columns our names: as the caller says, or by the usual other names."""
    frame, found = table.frame, {}
    named = [columns.get(ours) for ours in NEEDED[kind] + WELCOME[kind]] if kind == "ratings" else []
    for ours in NEEDED[kind] + WELCOME[kind]:
        theirs = [c for c in frame if ours in columns and c == columns[ours]]
        # The ids of items may have another name in each file.
        if ours not in columns or (ours == "item_id" and not theirs):
            usual = names_of(ours, kind)
            theirs = [c for c in frame if c not in named and (c == ours or plain(c) in usual)]
            theirs.sort(key=lambda c: -1 if c == ours else usual.index(plain(c)))
        if theirs:
            found[ours] = theirs[0]
        elif ours in NEEDED[kind] or columns.get(ours):
            names = [*frame, *table.unused]
            hint = f"name it, with columns={{{ours!r}: 'your column'}}"
            if len(names) == 1:
                hint = "are its columns separated by commas, semicolons, tabs or pipes?"
            elif any(re.fullmatch(r"[0-9.]+", name) for name in names):
                hint = f"the first line must name the columns, as in {','.join(NEEDED[kind] + WELCOME[kind][:1])}"
            what = repr(columns[ours]) if columns.get(ours) else f"for {ours!r}"
            raise InputError(f"{table.path}: no column {what} among {', '.join(map(shorten, names))}; {hint}")
    table.found, left = found, [c for c in frame if c not in found.values()]
    made = {ours: frame[theirs] for ours, theirs in found.items()}
    if kind == "ratings":
        if twice := [theirs for theirs in found.values() if list(found.values()).count(theirs) > 1]:
            raise InputError(f"{table.path}: columns= names {twice[0]!r} twice; name another column")
        table.unused += left
        return pd.DataFrame(made)
    table.kept = [c for c in left if c not in found]
    table.unused = [c for c in left if c in found]  # its name is another's now
    made |= {c: frame[c] for c in table.kept}
    return pd.DataFrame({c: made[c] if c == "item_id" else as_text(made[c]) for c in made})


def _taken(table: Table, frame: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Say what a file was taken for: rows of `Dataset.source`."""
    ours = [(name, f"column {theirs!r}") for name, theirs in table.found.items()]
    others = [(what, ", ".join(c)) for what, c in (("kept", table.kept), ("not used", table.unused)) if c]
    told = [("layout", table.layout), ("rows", f"{len(frame)}"), *ours, *others]
    return [(table.path.name, *row) for row in told]


def _rate(events, table: Table, strengths, columns: dict, notes: Notes) -> pd.DataFrame:
    """Give each row a rating: the one that it has, or its action's worth, or 1."""
    path = table.path
    if strengths is not None:
        return _weigh_actions(events, strengths, table, notes)
    if "rating" in events:
        return events.assign(rating=read_numbers(events["rating"], path, "rating", notes))
    if "rating" not in columns:
        missing = f"{path}: no column for 'rating' among {', '.join(map(shorten, [*events, *table.unused]))}"
        if "action" in events:
            hint = "there are actions: say what each is worth, with strengths={'view': 1, 'buy': 3}"
            raise InputError(f"{missing}; {hint}")
        if perhaps := _looks_like_rating(table):
            raise InputError(
                f"{missing}; is it {perhaps!r}? then columns={{'rating': {perhaps!r}}}; if each row is an "
                "interaction without a rating, columns={'rating': None}"
            )
    notes.add("ratings", "no column for 'rating': each row is an interaction, rating 1", events, len(events))
    return events.assign(rating=1.0)


def _looks_like_rating(table: Table) -> str | None:
    """Find a column that nobody named and that holds numbers; an id is none."""
    if not table.unused:
        return None
    start = read_table(table.path, "ratings", {}, table.encoding, rows=1000).frame
    for name in table.unused:
        texts = start[name].cat.categories if name in start else []
        if len(texts) and not re.search(r"id$|^column[0-9]+$", plain(name)):
            if pd.to_numeric(texts, errors="coerce").notna().all():
                return name
    return None


def _describe(items, path: Path, columns: dict, given, notes: Notes) -> tuple[pd.DataFrame, str]:
    """Find title, year and texts of a catalogue; return it with the default template of its text."""
    if "text" in items:  # the name of the text that we make
        free = "own_text"
        while free in items:
            free = f"own_{free}"
        items = items.rename(columns={"text": free})
    words = [
        c for c in items if c not in ("item_id", "title", "year", "genres") and _has(items[c], "[^\\W\\d_]")
    ]
    words = [c for c in words if not _has(items[c], r"^\s*(?:https?://|[\[{])") and not re.search("[{}]", c)]
    texts = [c for c in words if plain(c) in (*TEXTS, "owntext") or _has(items[c], WORDS)]
    first = "title"
    if "title" in items and "year" not in items and "year" not in columns:
        parts = _split_year(items["title"])
        if (dated := parts["year"].notna()).sum() * 2 >= max(items["title"].notna().sum(), 1):
            items = items.assign(title=parts["title"].where(dated, items["title"]), year=parts["year"])
            notes.add("items", "a year at the end of the title: a column of its own", items, dated.sum())
    elif "year" in items and whole((years := items["year"].str.replace(r"\.0$", "", regex=True)).dropna()):
        items["year"] = years.astype("Int64")
    if "title" not in items:
        named = [c for c in words if items[c].nunique() * 2 >= items[c].notna().sum()]
        first = named[0] if named else None
        if not words and "genres" not in items and given is None:
            raise InputError(
                f"{path}: no column for 'title' among {', '.join(map(shorten, items))}, and none of words; name one, "
                "with columns={'title': 'your column'}"
            )
        title = items[first].map(shorten, na_action="ignore") if first else items["item_id"].astype("str")
        items = items.assign(title=title)
        notes.add("items", f"no column for 'title': '{first or 'item_id'}' stands in", items, len(items))
        if not first:
            texts = texts or words
    rest = [c for c in texts if c != first]
    parts = ["{year}"] * ("year" in items) + ["{genres}"] * ("genres" in items) + [f"{{{c}}}" for c in rest]
    template = f"{{{first}}}" if first else ""
    for part in parts:
        template += (f" ({part})" if part == "{year}" else f". {part}") if template else part
    return items, template


def _has(column: pd.Series, pattern: str) -> bool:
    """Whether half of the fields have it; of a long column, of its first thousand."""
    some = column.dropna().head(1000)
    return len(some) > 0 and some.astype("str").str.contains(pattern).mean() >= 0.5


def _split_year(titles: pd.Series) -> pd.DataFrame:
    parts = titles.str.extract(r"^(?P<title>.*?)\s*(?:\((?P<year>[0-9]{4})\))?\s*$", flags=re.DOTALL)
    return parts.assign(year=parts["year"].astype("Int64"))


def _weigh_actions(events, strengths: dict[str, float], table: Table, notes: Notes) -> pd.DataFrame:
    """Turn actions into strengths and keep the strongest of a user on an item."""
    if "action" not in events:
        raise InputError(
            f"{table.path}: strengths are given, and no column for 'action' is among "
            f"{', '.join(map(shorten, [*events, *table.unused]))}; name it, with columns={{'action': 'your column'}}"
        )
    actions = events["action"].cat.categories
    if unknown := sorted(set(actions) - set(strengths)):
        few = ", ".join(map(shorten, unknown[:5]))
        raise InputError(
            f"{table.path}: no strength for the action {few}; strengths has {', '.join(strengths)}"
        )
    worth = np.array([strengths[action] for action in actions], dtype="float64")
    events = events.assign(rating=spread(events["action"], worth, np.nan))
    by_strength = events.sort_values(
        [c for c in ("rating", "timestamp") if c in events], kind="stable", na_position="first"
    )
    ids = ["user_id", "item_id"]
    weaker = by_strength.duplicated(ids, keep="last") & by_strength[ids].notna().all(axis=1)
    notes.add("ratings", STRONGEST, events, 0, weaker.sum())
    return by_strength[~weaker].sort_index()


# --- Data sets by name --------------------------------------------------------------------------------------

_BUNDLED = {  # the log of what people did, and how `load_csv` is to read it
    "movielens-small": (
        "ratings.csv",
        {"text_template": FILM_TEXT, "rating_scale": (0.5, 5.0), "licence": MOVIELENS_LICENCE},
    ),
    "debian-packages": (
        "interactions.csv",
        {
            "text_template": PACKAGE_TEXT,
            "strengths": {"depends": 3, "recommends": 2, "suggests": 1},
            "columns": {"genres": "section"},
            "licence": DEBIAN_LICENCE,
        },
    ),
}

# Where only the package is installed, the files come from the repository, once. A test holds these checksums to them.
_FILES = {
    "movielens-small": {
        "items.csv": "8c30a0fe0b1c3fa1458e004b84ef39140a4374b5130b9bd3e42ca86c0c73c651",
        "ratings.csv": "d5dcf4c16472c3c735657fbbed3a38a9ac1ae3fab5661ef68da9719356f91085",
    },
    "debian-packages": {
        "interactions.csv": "a6a3e02ab475db85977cccc2adef3b8c836cf7527426a0fa8582d0408618b029",
        "items.csv": "138cdb3a69598ee589a3a4aebd2cde399dd23b18f32390feeeac2e26afa9a273",
    },
    "small-models": {
        "bert/config.json": "0432a0352e73ed44309af9a733f104760e5519138d6584bb8c387701e4f83144",
        "bert/model.safetensors": "904a291a2d1e51e96f1b77f3321233695546c8f525e3d550ca74d6a24f7e879e",
        "bert/tokenizer.json": "11ae8284cd4fd3dcbd88d7b8c093657142c39cccae5c02762d9deebcf964174d",
        "bert/tokenizer_config.json": "6166a0a8ff624e16413640e318909be4938b4044981d6ac34bf43946695f6a9f",
        "gpt/config.json": "9f3ba26996bcd6daf100561c71dcb05490323c387484248443b69d18fb48bda3",
        "gpt/model.safetensors": "0cd7d3f63305c8dd4c38e8235e7c115ac94ce97bcbf2f355d191391ca3e1d391",
        "gpt/tokenizer.json": "ac2696d8e3b773bb5ed53bcbedfa88b946b89dba1ea63cb0f2910d405d69446e",
        "gpt/tokenizer_config.json": "6166a0a8ff624e16413640e318909be4938b4044981d6ac34bf43946695f6a9f",
        "t5/config.json": "833fd8ac6b3c108d23509e28a26fe791247ff24d987ea41bf2975938fd7f77f5",
        "t5/model.safetensors": "4c5f3eb04e53e5044e26bb22033d0c0b84c209797cba672fe1a8217aeb7a383a",
        "t5/tokenizer.json": "87339747c332e98bc10c0be2bc9cd99dfbb5194fa3bbaaf1a302a708b6c3e005",
        "t5/tokenizer_config.json": "6166a0a8ff624e16413640e318909be4938b4044981d6ac34bf43946695f6a9f",
    },
}
_REPOSITORY = tuple(  # of this release; and, before it has its tag, of the branch
    f"https://github.com/llmtok/llmtok/raw/{version}/data/" for version in (f"v{__version__}", "main")
)

# GroupLens' certificate has expired more than once, and their server answers plain http as well: with the
# checksum pinned a second, unencrypted address is as safe as the first. Of ml-32m they publish the MD5.
_GROUPLENS = (
    "https://files.grouplens.org/datasets/movielens/",
    "http://files.grouplens.org/datasets/movielens/",
)
_REMOTE = {
    "movielens-100k": ("ml-100k.zip", "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229"),
    "movielens-1m": ("ml-1m.zip", "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20"),
    "movielens-32m": ("ml-32m.zip", "md5:d472be332d4daa821edc399621853b57"),
}
_PAIRS = (  # the files of a folder, by their usual names
    ("ratings.csv", "items.csv"), ("ratings.csv", "movies.csv"), ("ratings.dat", "movies.dat"), ("u.data", "u.item")
)  # fmt: skip


def dataset_folder(name: str, *, progress: bool = True) -> Path:
    """Where the files of a data set lie that comes with the course.

    They lie in the folder ``data`` of the repository, or in ``$LLMTOK_DATA``. The installed package comes without them,
    since they have licences of their own: there they are downloaded once, and kept in the cache folder.

    Parameters
    ----------
    name : str
        ``movielens-small`` or ``debian-packages``; or ``small-models``, the language models of notebook 10, each in a
        folder that `TextEncoder` reads. Any other is taken for a folder of your own.
    progress : bool
        Show a bar while downloading.

    Raises
    ------
    InputError
        The data are not there and cannot be downloaded; the message says what to do.

    Examples
    --------
    >>> from llmtok.data import dataset_folder
    >>> sorted(path.name for path in dataset_folder("movielens-small").glob("*.csv"))
    ['items.csv', 'ratings.csv']
    """
    if name not in _FILES:
        return Path(name)
    own = os.environ.get("LLMTOK_DATA")
    folder = Path(own or Path(__file__).resolve().parent.parent / "data") / name
    if folder.is_dir():
        return folder
    if own:
        raise InputError(
            f"{folder}: the data are not there; let LLMTOK_DATA name the folder 'data' of the repository, or unset it"
        )
    for file, checksum in _FILES[name].items():
        _download(f"{name}/{file}", checksum, progress=progress, sources=_REPOSITORY)
    folder = cache_folder() / "data" / name
    licence = folder / "LICENCE.txt"
    if not licence.exists():
        said = _BUNDLED[name][1]["licence"] if name in _BUNDLED else MODELS_LICENCE
        licence.write_text(said + "\n", encoding="utf-8")
    return folder


def cache_folder() -> Path:
    """Where downloads and embeddings are kept: the user's cache folder, or ``$LLMTOK_CACHE``."""
    import platformdirs

    return Path(os.environ.get("LLMTOK_CACHE") or platformdirs.user_cache_dir("llmtok", appauthor=False))


def load_dataset(
    name: str = "movielens-small", *, text_template: str | list[str] | None = None, progress: bool = True
) -> Dataset:
    """Load a data set by its name.

    Parameters
    ----------
    name : str
        ``movielens-small`` and ``debian-packages`` come with the course (`dataset_folder`). ``movielens-100k``,
        ``movielens-1m`` and ``movielens-32m`` are downloaded once from GroupLens, checked against a pinned
        checksum, and kept (the last needs about 6 GB of memory). A folder of your own with ``ratings.csv``
        and ``items.csv`` is a name too, and so is one with MovieLens' own files.
    text_template : str or list of str, optional
        How an item's text is made; by default title, year and genres of a film as far as the catalogue has
        them, and name, summary and description of a package.
    progress : bool
        Show a bar while downloading.

    Returns
    -------
    Dataset
        In ``debian-packages`` a user is a source package, and an item a package that it depends on
        (rating 3), recommends (2) or suggests (1). It has no timestamps; ``items.genres`` is Debian's section.

    Raises
    ------
    InputError
        The name is unknown, or the data cannot be had; the message says what to do.

    References
    ----------
    F. M. Harper and J. A. Konstan (2015). The MovieLens Datasets: History and Context. ACM Transactions on
    Interactive Intelligent Systems 5(4). doi:10.1145/2827872

    Examples
    --------
    >>> from llmtok import load_dataset
    >>> data = load_dataset("movielens-small")
    >>> len(data.ratings), data.ratings.user_id.nunique(), len(data.items)
    (100004, 671, 9066)
    >>> load_dataset("debian-packages")
    <Dataset debian-packages: 139297 ratings, 11983 users, 4788 items>
    """
    if name in _BUNDLED:
        folder, (log, options) = dataset_folder(name, progress=progress), _BUNDLED[name]
        if text_template:
            options = options | {"text_template": text_template}
        return load_csv(folder / log, folder / "items.csv", name=name, **options)
    if name in _REMOTE:
        archive = _download(*_REMOTE[name], progress=progress)
        try:
            folder = zipfile.Path(archive, f"{Path(_REMOTE[name][0]).stem}/")
            log, listed = next(pair for pair in _PAIRS if (folder / pair[1]).exists())
            tables = read_table(folder / log, "ratings", {}), read_table(folder / listed, "items", {})
            scale = {"rating_scale": (0.5 if name == "movielens-32m" else 1.0, 5.0)}
            return _load(*tables, {}, text_template or FILM_TEXT, None, scale, name, MOVIELENS_LICENCE)
        except (StopIteration, InputError, zipfile.BadZipFile) as error:
            raise InputError(f"{archive}: not the archive of {name} ({error}); delete it") from None
    if not (folder := Path(name)).is_dir():
        raise InputError(
            f"unknown data set {str(name)!r}; there are {', '.join([*_BUNDLED, *_REMOTE])}, or a folder "
            "with ratings.csv and items.csv"
        )
    pairs = [pair for pair in _PAIRS if all((folder / file).exists() for file in pair)]
    log, listed = (pairs or _PAIRS)[0]
    return load_csv(folder / log, folder / listed, text_template=text_template)


def _download(filename: str, checksum: str, *, progress: bool, sources: tuple[str, ...] = _GROUPLENS) -> Path:
    """Fetch a file once. It appears in the cache whole and with the right checksum, or not at all."""
    import pooch
    import requests

    folder = cache_folder() / "data"
    failures = []
    log = pooch.get_logger()
    level = log.level
    log.setLevel("WARNING")
    try:
        for source in sources:
            bar = pooch.HTTPDownloader(progressbar=progress, timeout=30)
            try:
                return Path(pooch.retrieve(source + filename, checksum, filename, folder, downloader=bar))
            except (requests.RequestException, ValueError) as error:  # ValueError: a wrong checksum
                failures.append(f"{source}: {_reason(error)}")
    except OSError as error:  # a full disk, a folder that may not be written
        why = error.strerror or error
        raise InputError(f"{folder}: {why}; make room, or set LLMTOK_CACHE to another folder") from None
    finally:
        log.setLevel(level)
    wrong = " (the file there now has another checksum)" if (folder / filename).exists() else ""
    instead = "set LLMTOK_DATA to the folder 'data' of a clone of the repository"
    if sources != _REPOSITORY:
        instead = "use movielens-small, which needs no network"
    raise InputError(
        f"cannot download {filename} ({'; '.join(failures)}). Download {sources[0]}{filename} by hand and "
        f"put it at {folder / filename}{wrong}, or {instead}"
    )


def _reason(error: Exception) -> str:
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answers {error.response.status_code}"
    if not isinstance(error, requests.RequestException):
        return "the file has another checksum than the published one"
    reasons = {  # the special before the general
        requests.exceptions.SSLError: "its certificate is not valid",
        requests.Timeout: "no answer in time",
        requests.ConnectionError: "no connection",
        requests.exceptions.ChunkedEncodingError: "the connection was cut",
    }
    return next((said for kind, said in reasons.items() if isinstance(error, kind)), type(error).__name__)
