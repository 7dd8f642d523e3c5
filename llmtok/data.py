"""Raw files in, a clean `Dataset` out, with a table of everything that cleaning did.

One schema serves the whole course. ``ratings`` has the columns user_id, item_id, rating and (where known)
timestamp in seconds since 1970; ``items`` is indexed by item_id and has title, text and whatever else the
catalogue says. The *text* of an item is made in one place, by a template such as
``"{title} ({year}). {genres}"``, because every number of the course depends on it.
"""

from __future__ import annotations

import csv
import logging
import os
import re
import string
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

logger = logging.getLogger("llmtok")

FILM_TEXT = "{title} ({year}). {genres}"
"""The default text of a film. The title-only control is ``"{title}"``."""

PACKAGE_TEXT = "{title}: {summary}. {description}"
"""The default text of a package. The controls are ``"{title}"`` and ``"{title}: {summary}"``."""

NO_TITLE = "(no title)"
"""What cleaning writes for a missing title; a text leaves it out."""

MOVIELENS_LICENCE = (
    "MovieLens, GroupLens, University of Minnesota: research use, no commercial use without permission, no "
    "endorsement implied. Cite F. M. Harper and J. A. Konstan (2015), doi:10.1145/2827872."
)

DEBIAN_LICENCE = (
    "Debian package lists, area main: descriptions by the packages' maintainers, each under the free licence of "
    "its source package (named in items.source); anyone may use, share, modify and redistribute them under it. "
    "No endorsement by Debian implied."
)

# The other names under which the columns travel. Compared in lower case, without blanks, '_' and '-'.
_ALIASES = {
    "user_id": ("userid", "user", "uid", "customerid", "customer", "reviewerid", "visitorid"),
    "item_id": ("itemid", "item", "iid", "movieid", "productid", "asin", "parentasin", "articleid"),
    "rating": ("rating", "stars", "score", "overall"),
    "timestamp": ("timestamp", "time", "date", "datetime", "unixreviewtime"),
    "action": ("action", "event", "eventtype", "behavior", "behaviour"),
    "title": ("title", "name"),
    "year": ("year",),
    "genres": ("genres", "genre"),
}


class InputError(ValueError):
    """Something that the caller gave us is wrong; one line says what, where, and how to mend it."""

    def __init__(self, message: str):
        super().__init__(" ".join(message.splitlines()))


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
    """

    name: str
    ratings: pd.DataFrame
    items: pd.DataFrame
    cleaning: pd.DataFrame
    licence: str
    text_template: str

    def __repr__(self) -> str:
        users = self.ratings["user_id"].nunique()
        return f"<Dataset {self.name}: {len(self.ratings)} ratings, {users} users, {len(self.items)} items>"

    def with_text(self, template: str) -> Dataset:
        """Return the same data with ``items.text`` made by another template.

        Parameters
        ----------
        template : str
            Names columns of ``items`` in braces, such as ``"{title}"`` or ``"{title} ({year}). {genres}"``.

        Examples
        --------
        >>> from llmtok import load_dataset
        >>> load_dataset("movielens-small").with_text("{title}").items.text.iloc[0]
        'Toy Story'
        """
        items = self.items.assign(text=make_text(self.items, template))
        return replace(self, items=items, text_template=template)


def make_text(items: pd.DataFrame, template: str) -> pd.Series:
    """Fill a template from the columns of `items`; what a missing value leaves behind is tidied away.

    Parameters
    ----------
    items : DataFrame
        The catalogue.
    template : str
        Column names in braces. A list joined by ``|`` is written with commas.

    Returns
    -------
    Series of str
        Indexed as `items`; empty where every column that the template names is missing.
    """
    try:
        parts = [(literal, name) for literal, name, _, _ in string.Formatter().parse(template)]
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
    text = re.sub(r"\s+([.,;:])", r"\1", re.sub(r"\s*(\(\s*\)|\[\s*\])", "", text))
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
    text_template: str | None = None,
    columns: dict[str, str] | None = None,
    rating_scale: tuple[float, float] | None = None,
    strengths: dict[str, float] | None = None,
    min_user_ratings: int = 1,
    min_item_ratings: int = 1,
    name: str | None = None,
    licence: str = "your own data",
) -> Dataset:
    """Load your own ratings, or a log of what people did, and your own catalogue.

    Parameters
    ----------
    ratings : path
        A CSV file in UTF-8 with a column each for user, item and rating, and perhaps time (seconds or
        milliseconds since 1970, or a date). Or a behaviour log: the action in place of the rating, with
        `strengths`.
    items : path
        A CSV file with a column for the item's id and further columns that describe it.
    text_template : str, optional
        How to write an item's text from its columns; by default the title, and year and genres where present.
    columns : dict, optional
        Our name to yours, such as ``{"user_id": "customer no", "title": "headline"}``, where yours is none of
        the usual ones (userId, movieId, asin, stars, ...). Ours are user_id, item_id, rating, timestamp,
        action, title, year and genres.
    rating_scale : (float, float), optional
        Lowest and highest possible rating; others are dropped, and counted.
    strengths : dict, optional
        For a behaviour log, what each action is worth, such as ``{"view": 1, "cart": 2, "buy": 3}``. Of
        several actions of a user on an item the strongest counts, and of equally strong ones the latest.
    min_user_ratings, min_item_ratings : int
        See `clean`.
    name, licence : str, optional
        Kept in the result.

    Returns
    -------
    Dataset
        Ids are whole numbers where every id of both files is one (``007`` is not), else strings.

    Raises
    ------
    InputError
        A file or a column is missing, a file is empty, there is text where a number belongs, the ids of the
        two files have nothing in common, or nothing is left after cleaning.
    """
    ratings, items, columns = Path(ratings), Path(items), columns or {}
    if strange := set(columns) - set(_ALIASES):
        raise InputError(f"columns= knows {', '.join(_ALIASES)}, and not {', '.join(map(repr, strange))}")
    welcome = ["rating", "timestamp", "action"]
    events = _rename(_read_csv(ratings), ratings, ["user_id", "item_id"], welcome, columns)
    catalogue = _rename(_read_csv(items), items, ["item_id", "title"], ["year", "genres"], columns)
    if "timestamp" in events:
        events["timestamp"] = _times(events["timestamp"], ratings)
    notes = []
    if strengths is not None:
        events, notes = _weigh_actions(events, strengths, ratings)
    elif "rating" in events:
        events["rating"] = _numbers(events["rating"], ratings, "rating")
    else:
        hint = "name it, with columns={'rating': 'your column'}"
        if "action" in events:
            hint = "there are actions: say what each is worth, with strengths={'view': 1, 'buy': 3}"
        raise InputError(f"{ratings}: no column for 'rating' among {', '.join(events.columns)}; {hint}")
    if _whole(events["item_id"]) and _whole(catalogue["item_id"]):
        events["item_id"] = events["item_id"].astype("Int64")
        catalogue["item_id"] = catalogue["item_id"].astype("Int64")
    if _whole(events["user_id"]):
        events["user_id"] = events["user_id"].astype("Int64")
    if "year" in catalogue and _whole(years := catalogue["year"].str.replace(r"\.0$", "", regex=True)):
        catalogue["year"] = years.astype("Int64")
    kept = [c for c in ("user_id", "item_id", "rating", "timestamp") if c in events]
    cleaned, table, steps = clean(
        events[kept],
        catalogue,
        rating_scale=rating_scale,
        min_user_ratings=min_user_ratings,
        min_item_ratings=min_item_ratings,
    )
    if notes:
        steps = pd.concat([pd.DataFrame(notes, columns=steps.columns), steps], ignore_index=True)
    # Missing ids are gone now, so whole numbers can be plain ones.
    cleaned = cleaned.astype({c: "int64" for c in ("user_id", "item_id") if cleaned[c].dtype == "Int64"})
    if table.index.dtype == "Int64":
        table.index = table.index.astype("int64")
    if text_template is None:
        text_template = "{title}" + " ({year})" * ("year" in table) + ". {genres}" * ("genres" in table)
    table = table.assign(text=make_text(table, text_template))
    name = name or ratings.resolve().parent.name
    dataset = Dataset(name, cleaned, table, steps, licence, text_template)
    logger.info("%r", dataset)
    return dataset


def _read_csv(path: Path) -> pd.DataFrame:
    """Every column as text, so that an id such as 007 stays what it is; only an empty field is missing."""
    try:
        frame = pd.read_csv(
            path, dtype="str", keep_default_na=False, na_values=[""], encoding="utf-8-sig", index_col=False
        )
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except pd.errors.EmptyDataError:
        raise InputError(f"{path}: the file is empty; it needs a header line and rows below it") from None
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8 ({error}); save it as one") from None
    if frame.empty:
        raise InputError(f"{path}: a header and no rows; it needs rows below the header")
    return frame


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.split(":")[0]).lower()


def _rename(frame, path, needed, welcome, columns) -> pd.DataFrame:
    """Give the columns our names: as the caller says, or by the usual other names."""
    found = {}
    for ours in needed + welcome:
        usual = [c for c in frame if c == ours] or [c for c in frame if _plain(c) in _ALIASES[ours]]
        theirs = [c for c in frame if c == columns.get(ours)]
        if ours not in columns or (
            ours == "item_id" and not theirs
        ):  # each file may have its own name for it
            theirs = usual
        if theirs:
            found[ours] = theirs[0]
        elif ours in needed or ours in columns:
            hint = f"name it, with columns={{{ours!r}: 'your column'}}"
            if len(frame.columns) == 1:
                hint = "are its columns separated by commas?"
            what = repr(columns[ours]) if ours in columns else f"for {ours!r}"
            raise InputError(f"{path}: no column {what} among {', '.join(frame.columns)}; {hint}")
    rest = frame[[c for c in frame if c not in found and c not in found.values()]]
    return pd.concat([frame[list(found.values())].set_axis(list(found), axis=1), rest], axis=1)


def _whole(column: pd.Series) -> bool:
    """Whether each value, so far text, is a whole number as one writes it; ``007`` is not."""
    return bool(column.dropna().str.fullmatch(r"0|-?[1-9]\d{0,17}").all())


def _numbers(column: pd.Series, path: Path, what: str) -> pd.Series:
    numbers = pd.to_numeric(column, errors="coerce")
    missing = column.isna() | column.str.strip().str.lower().isin(["nan", "na", "null", "none"])
    wrong = numbers.isna() & ~missing
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"{path}, row {row + 1} of {len(column)} below the header: {what} is {column.iloc[row]!r}, which "
            "is no number; mend or delete the row"
        )
    return numbers.astype("float64")


def _times(column: pd.Series, path: Path) -> pd.Series:
    """Seconds since 1970 from seconds, milliseconds or dates; what is none of them becomes missing."""
    seconds = pd.to_numeric(column, errors="coerce").astype("float64")
    seconds = seconds.where(~(seconds.abs() >= 1e11), seconds // 1000)
    text = seconds.isna() & column.notna()
    if text.any():
        dates = pd.to_datetime(column[text], errors="coerce", utc=True, format="mixed")
        seconds[text] = (dates - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(seconds=1)
        if seconds.isna().all():
            example = column[text].iloc[0]
            raise InputError(f"{path}: the times, like {example!r}, are neither numbers nor dates; mend them")
    return seconds


def _weigh_actions(events: pd.DataFrame, strengths: dict[str, float], path: Path):
    """Turn actions into strengths and keep the strongest of a user on an item."""
    if "action" not in events:
        raise InputError(
            f"{path}: strengths are given, and no column for 'action' is among {', '.join(events.columns)}; "
            "name it, with columns={'action': 'your column'}"
        )
    if unknown := sorted(set(events["action"].dropna()) - set(strengths)):
        few = ", ".join(unknown[:5])
        raise InputError(f"{path}: no strength for the action {few}; strengths has {', '.join(strengths)}")
    events = events.assign(rating=events["action"].map(strengths).astype("float64"))
    by_strength = events.sort_values(
        [c for c in ("rating", "timestamp") if c in events], kind="stable", na_position="first"
    )
    ids = ["user_id", "item_id"]
    weaker = by_strength.duplicated(ids, keep="last") & by_strength[ids].notna().all(axis=1)
    strongest = by_strength[~weaker].sort_index()
    what = "several actions on one item: the strongest is kept"
    return strongest, [("ratings", what, len(events), 0, int(weaker.sum()), len(strongest))]


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
_ML100K_GENRES = (
    "unknown Action Adventure Animation Children Comedy Crime Documentary Drama Fantasy Film-Noir Horror "
    "Musical Mystery Romance Sci-Fi Thriller War Western"
).split()


def data_folder() -> Path:
    """Where the bundled data sets lie: the folder ``data`` of the repository, or ``$LLMTOK_DATA``."""
    return Path(os.environ.get("LLMTOK_DATA") or Path(__file__).resolve().parent.parent / "data")


def cache_folder() -> Path:
    """Where downloads and embeddings are kept: the user's cache folder, or ``$LLMTOK_CACHE``."""
    import platformdirs

    return Path(os.environ.get("LLMTOK_CACHE") or platformdirs.user_cache_dir("llmtok", appauthor=False))


def load_dataset(
    name: str = "movielens-small", *, text_template: str | None = None, progress: bool = True
) -> Dataset:
    """Load a data set by its name.

    Parameters
    ----------
    name : str
        ``movielens-small`` and ``debian-packages`` come with the repository. ``movielens-100k``,
        ``movielens-1m`` and ``movielens-32m`` are downloaded once from GroupLens, checked against a pinned
        checksum, and kept (the last needs about 6 GB of memory). A folder of your own with ``ratings.csv``
        and ``items.csv`` is a name too.
    text_template : str, optional
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
        folder, (log, options) = data_folder() / name, _BUNDLED[name]
        if not folder.is_dir():
            raise InputError(
                f"{folder}: the bundled data are not there; clone the repository, or point LLMTOK_DATA at "
                "its folder 'data'"
            )
        if text_template:
            options = options | {"text_template": text_template}
        return load_csv(folder / log, folder / "items.csv", name=name, **options)
    if name in _REMOTE:
        archive = _download(*_REMOTE[name], progress=progress)
        try:
            ratings, items, scale = _READERS[name](archive)
        except (KeyError, zipfile.BadZipFile, pd.errors.ParserError) as error:
            raise InputError(f"{archive}: not the archive of {name} ({error}); delete it") from None
        cleaned, table, steps = clean(ratings, items, rating_scale=scale)
        text_template = text_template or FILM_TEXT
        table = table.assign(text=make_text(table, text_template))
        return Dataset(name, cleaned, table, steps, MOVIELENS_LICENCE, text_template)
    if (folder := Path(name)).is_dir():
        return load_csv(folder / "ratings.csv", folder / "items.csv", text_template=text_template)
    raise InputError(
        f"unknown data set {str(name)!r}; there are {', '.join([*_BUNDLED, *_REMOTE])}, or a folder "
        "with ratings.csv and items.csv"
    )


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
    raise InputError(
        f"cannot download {filename} ({'; '.join(failures)}). Download {sources[0]}{filename} by hand and "
        f"put it at {folder / filename}{wrong}, or use movielens-small, which needs no network"
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


_PLAIN_TEXT = {"encoding": "latin-1", "quoting": csv.QUOTE_NONE, "keep_default_na": False}


def _split_year(titles: pd.Series) -> pd.DataFrame:
    parts = titles.str.extract(r"^(?P<title>.*?)\s*(?:\((?P<year>\d{4})\))?\s*$")
    return parts.assign(year=parts["year"].astype("Int64"))


def _read_100k(archive: Path):
    with zipfile.ZipFile(archive) as z:
        with z.open("ml-100k/u.data") as file:
            ratings = pd.read_csv(file, sep="\t", names=["user_id", "item_id", "rating", "timestamp"])
        with z.open("ml-100k/u.item") as file:
            raw = pd.read_csv(file, sep="|", header=None, **_PLAIN_TEXT)
    flags = raw.iloc[:, 5:].to_numpy(dtype=bool)
    named = np.array(_ML100K_GENRES)
    genres = ["|".join(named[row]).replace("unknown", "") for row in flags]
    titles = raw[1].where(raw[1] != "unknown")  # one film
    items = _split_year(titles).assign(item_id=raw[0], genres=pd.Series(genres, dtype="str"))
    return ratings.astype({"rating": float}), items, (1.0, 5.0)


def _read_1m(archive: Path):
    with zipfile.ZipFile(archive) as z:
        with z.open("ml-1m/ratings.dat") as file:  # '::' read as ':' leaves empty columns, and is much faster
            ratings = pd.read_csv(file, sep=":", header=None, usecols=[0, 2, 4, 6])
        with z.open("ml-1m/movies.dat") as file:
            names = ["item_id", "title", "genres"]
            raw = pd.read_csv(file, sep="::", engine="python", names=names, **_PLAIN_TEXT)
    ratings.columns = ["user_id", "item_id", "rating", "timestamp"]
    items = _split_year(raw["title"]).assign(item_id=raw["item_id"], genres=raw["genres"])
    return ratings.astype({"rating": float}), items, (1.0, 5.0)


def _read_32m(archive: Path):
    names = {"userId": "user_id", "movieId": "item_id"}
    with zipfile.ZipFile(archive) as z:
        with z.open("ml-32m/ratings.csv") as file:
            ratings = pd.read_csv(file).rename(columns=names)
        with z.open("ml-32m/movies.csv") as file:
            raw = pd.read_csv(file, keep_default_na=False, na_values=[""]).rename(columns=names)
    items = _split_year(raw["title"]).assign(item_id=raw["item_id"], genres=raw["genres"])
    return ratings.astype({"rating": float}), items, (0.5, 5.0)


_READERS = {"movielens-100k": _read_100k, "movielens-1m": _read_1m, "movielens-32m": _read_32m}
