"""Files as people have them: separators, encodings, headers or none, JSON lines; each becomes a frame of text.

`read_table` reads one file, of ratings or of a catalogue, and says what it took it for. It never guesses at a
meaning: what fits no rule is refused, with the line of the file. The rules are few:

* The separator is the one of comma, semicolon, tab, pipe or ``::`` that the first line is made of.
* A first line without any name that we know, and with numbers where ratings and times stand, is a row: the file
  has no header, and the columns are user, item, rating, time. Amazon's file of 2018 has the item first.
* A file that begins with a brace is JSON lines: one object a line, its lists written into one text.
* Text is UTF-8, or what a byte order mark says, or what the caller names. MovieLens' own files are Latin-1.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pandas as pd

# The other names under which the columns travel, the better one first. Compared in lower case, without blanks,
# '_' and '-', and without the types that RecBole writes behind a colon.
ALIASES = {
    "user_id": ("userid", "user", "uid", "customerid", "customer", "reviewerid", "visitorid"),
    "item_id": (
        "itemid", "item", "iid", "movieid", "productid", "parentasin", "asin", "articleid", "isbn"
    ),
    "rating": ("rating", "stars", "score", "overall", "bookrating"),
    "timestamp": ("timestamp", "time", "date", "datetime", "unixreviewtime"),
    "action": ("action", "event", "eventtype", "behavior", "behaviour"),
    "title": ("title", "name", "booktitle", "productname", "itemname"),
    "year": ("year",),
    "genres": ("genres", "genre", "categories", "category"),
}  # fmt: skip
NEEDED = {"ratings": ("user_id", "item_id"), "items": ("item_id",)}
WELCOME = {"ratings": ("rating", "timestamp", "action"), "items": ("title", "year", "genres")}

TEXTS = (
    "description summary abstract plot overview synopsis subtitle features content body text about "
    "longdescription shortdescription productdescription"
).split()  # columns of text, wherever they are

WORDS = r"(?:\S+\s+){4}\S|[\u3040-\u9fff]{10}"  # what half of the fields of other columns of text have

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes", "::": "'::'"}
PARAGRAPHS = ("description", "summary", "abstract")  # a list of these is one text; other lists are listed

ML100K_GENRES = (
    "unknown Action Adventure Animation Children Comedy Crime Documentary Drama Fantasy Film-Noir Horror "
    "Musical Mystery Romance Sci-Fi Thriller War Western"
).split()
_U_ITEM = ["item_id", "title", "released", "video", "url", *ML100K_GENRES]

_BOMS = (  # that of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
_BINARY = {b"PK\x03\x04": "a zip archive or an Excel file", b"PAR1": "a Parquet file", b"SQLi": "a database"}
_CHUNK = 1000  # rows at a time: few enough to stay in the processor's cache, which halves the time


class InputError(ValueError):
    """Something that the caller gave us is wrong; one line says what, where, and how to mend it."""

    def __init__(self, message: str):
        # A message quotes what is in a file: no break of a line, and nothing that would steer a terminal.
        super().__init__(printable(" ".join(message.splitlines())))


def printable(text) -> str:
    """Write a text without what would break a line or steer a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))


@dataclass
class Table:
    """A file that was read.

    Attributes
    ----------
    path : Path
        Where it lies.
    frame : DataFrame
        Its columns under their own names, each categorical: the distinct texts as they are written, and which of
        them a row has. An empty field is missing. Only a column of times may be float64.
    layout : str
        What the file was taken for, in words.
    short : int
        How many rows have fewer fields than the header; the others are missing there.
    encoding : str
        In which it was read.
    unused : list of str
        The columns that are not in `frame`.
    found : dict
        Our name to the file's, once the columns have been named.
    kept : list of str
        The columns of a catalogue that stay beside ours, then too.
    """

    path: Path
    frame: pd.DataFrame
    layout: str
    short: int
    encoding: str
    unused: list[str] = field(default_factory=list)
    found: dict[str, str] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)


def read_table(
    path: Path, kind: str, columns: dict[str, str | None], encoding: str | None = None, *, rows=None
) -> Table:
    """Read a file, whatever its layout.

    Parameters
    ----------
    path : Path or zipfile.Path
        A file with separators or of JSON lines, packed by gzip or not.
    kind : str
        ``ratings``: only columns under a name that we know, or that `columns` names, are kept. ``items``: all.
    columns : dict
        Our name to the file's.
    encoding : str, optional
        Of a file without byte order mark, where it is not UTF-8.
    rows : int, optional
        Read about so many rows, and every column.

    Raises
    ------
    InputError
        There is no such file, or it cannot be read without a guess.

    Examples
    --------
    >>> from llmtok.data import dataset_folder
    >>> from llmtok.layouts import read_table
    >>> table = read_table(dataset_folder("movielens-small") / "items.csv", "items", {})
    >>> table.layout
    'a header, columns separated by commas; UTF-8'
    >>> table.frame["genres"].cat.categories[0]
    'Adventure|Animation|Children|Comedy|Fantasy'
    """
    if encoding is not None:
        try:
            b" ".decode(encoding, "replace")
        except (LookupError, ValueError, TypeError):
            raise InputError(
                f"unknown encoding {encoding!r}; there are 'cp1252', 'utf-16', 'gbk', ..."
            ) from None
    try:
        try:
            return _read(path, kind, columns, encoding or "utf-8", rows)
        except UnicodeError:
            with _open(path, "latin-1") as (text, _):
                layout = _sniff(next(filter(str.strip, text), ""), kind, columns)
            if encoding is not None or not layout.latin:
                raise
            return _read(path, kind, columns, "latin-1", rows)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeError as error:
        byte = ""
        if isinstance(error, UnicodeDecodeError):
            byte = f" (there is a byte 0x{error.object[error.start]:02x})"
        raise InputError(
            f"{path}: the text is not in {(encoding or 'UTF-8').upper()}{byte}; save it as UTF-8, or name its "
            "encoding, as in encoding='cp1252'"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


def _read(path, kind, columns, encoding, rows) -> Table:
    with _open(path, encoding) as (text, encoding), _long_fields():
        lines = _Lines(text, path)
        stream = iter(lines)
        # Excel writes a line sep=; before the header.
        first = next((line for line in stream if line.strip() and not re.match("sep=.[\r\n]", line)), None)
        if first is None:
            raise InputError(f"{path}: the file is empty; it needs a header line and rows below it")
        stream, layout = chain([first], stream), _sniff(first, kind, columns)
        if first.lstrip().startswith("{"):
            layout, parts = _Layout("JSON lines"), _objects(stream, lines)
        elif first.lstrip().startswith("["):
            raise InputError(f"{path}: a JSON list; write one object a line instead (jq -c '.[]' does it)")
        else:
            parts = _fields(stream, lines, layout)
        taken, unused, n = {}, {}, 0
        for size, part in parts:
            for name in part:
                if name in unused:
                    continue
                unused[name] = not (kind == "items" or rows or _ours(name, kind, columns))
                if not unused[name]:
                    taken[name] = _Column(n, kind == "ratings" and _ours(name, kind, columns) == "timestamp")
            for name, column in taken.items():
                column.add(part[name] if name in part else [""] * size)
            n += size
            if rows and n >= rows:
                break
        if not n:
            raise InputError(f"{path}: a header and no rows; it needs rows below the header")
    frame = pd.DataFrame({name: column.series() for name, column in taken.items()}, index=pd.RangeIndex(n))
    if layout.names == _U_ITEM:
        frame = _name_genres(frame)
    said = f"{layout.name}; {encoding.removesuffix('-sig').upper()}"
    unused = [name for name in unused if unused[name]]
    return Table(path, frame, said, lines.short, encoding, unused)


# --- From bytes to lines ------------------------------------------------------------------------------------


@contextmanager
def _open(path, encoding):
    """Open a file as text: unpacked, in the encoding that its byte order mark says, else in `encoding`."""
    if "\0" in str(path):
        raise InputError(f"{path}: no such file")
    with path.open("rb") as raw:
        packed = raw.peek(4)[:2] == b"\x1f\x8b"
        with gzip.open(raw) if packed else raw as plain:
            head = plain.peek(4)[:4]
            if head in _BINARY:
                raise InputError(f"{path}: {_BINARY[head]}; save the table as a CSV file in UTF-8")
            encoding = next((name for bom, name in _BOMS if head.startswith(bom)), encoding)
            with io.TextIOWrapper(plain, encoding=encoding, newline="") as text:
                yield text, encoding


class _Lines:
    """The lines of a text, counted; and what is counted of its rows."""

    def __init__(self, text, path):
        self.text, self.path, self.number, self.short = text, path, 0, 0

    def __iter__(self) -> Iterator[str]:
        end, held = None, ""
        for line in self.text:
            end = end or line[-1]
            if line[-1] != end and line[-1] in "\r\n":  # of this file's lines not the end: within a field
                held += line
                continue
            if held:
                line, held = held + line, ""
            yield self.checked(line)
        if held:
            yield self.checked(held)

    def checked(self, line: str) -> str:
        self.number += 1
        if "\0" in line:
            raise self.error("there is a NUL byte, so this is no text; save it as a CSV file in UTF-8")
        return line

    def error(self, what: str) -> InputError:
        return InputError(f"{self.path}, line {self.number}: {what}")


@contextmanager
def _long_fields():
    """Let the csv module read fields of more than 131,072 characters, which it refuses unless told otherwise."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


# --- From lines to columns ----------------------------------------------------------------------------------


@dataclass
class _Layout:
    """What the first line says: how rows are parted, and the names where there is no header."""

    name: str
    separator: str | None = None
    names: list[str] | None = None
    quoted: bool = True
    spaced: bool = False  # each separator has a blank behind it, as in 'user, item, rating'
    latin: bool = False  # the file may be in Latin-1, for it is one of MovieLens'


def plain(name: str) -> str:
    """Write a column's name without what is written differently everywhere."""
    return re.sub(r"[\s_-]", "", name.split(":")[0]).lower()


def names_of(ours: str, kind: str) -> tuple[str, ...]:
    """Return the usual names of a column, the better one first; in a catalogue ``id`` is the item's."""
    return ALIASES[ours] + ("id",) * (kind == "items" and ours == "item_id")


def _ours(name: str, kind: str, columns: dict) -> str | None:
    """Which of our columns a name may mean."""
    known = NEEDED[kind] + WELCOME[kind]
    said = (ours for ours in known if columns.get(ours) == name)
    usual = (ours for ours in known if name == ours or plain(name) in names_of(ours, kind))
    return next(chain(said, usual), None)


def _sniff(line: str, kind: str, columns: dict) -> _Layout:
    """Find the layout of a file in its first line."""
    line = re.sub("[\r\n]+", " ", line.rstrip("\r\n"))

    def known(names):
        return sum(_ours(name.strip(), kind, columns) is not None for name in names)

    def cut(separator):
        with _long_fields():
            return line.split("::") if separator == "::" else next(csv.reader([line], delimiter=separator))

    ways = {separator: cut(separator) for separator in SEPARATORS}
    # 'Film::Drama|War|Crime' has more pipes than colons.
    separator = max(
        ways, key=lambda sep: (known(ways[sep]), sep == "::" and len(ways[sep]) > 2, len(ways[sep]))
    )
    fields, by = ways[separator], SEPARATORS[separator]
    headless = f"no header, columns separated by {by}"
    if not known(fields):
        number = [bool(re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", field.strip())) for field in fields]
        n = len(fields)
        if kind == "items":
            raw = {"quoted": False, "latin": True}
            if n == len(_U_ITEM) and separator == "|" and set(fields[5:]) <= {"0", "1"}:
                return _Layout(f"u.item of MovieLens 100K ({headless})", "|", _U_ITEM, **raw)
            if n == 3 and separator == "::" and number[0]:
                names = ["item_id", "title", "genres"]
                return _Layout(f"movies.dat of MovieLens 1M ({headless})", "::", names, **raw)
        elif 2 <= n <= 4 and all(number[2:]) and (n > 2 or all(number)):
            names = ["user_id", "item_id", "rating", "timestamp"][:n]
            if n == 3 and float(fields[2]) > 1e8:
                names = ["user_id", "item_id", "timestamp"]
            name = f"{', '.join(names)} ({headless})"
            if _is_asin(fields[0]) and re.fullmatch(r"A[0-9A-Z]{9,20}", fields[1]):
                names[:2] = names[1::-1]
                name = f"Amazon's ratings of 2018 (item first; {headless})"
            return _Layout(name, separator, names)
    spaced = len(fields) > 1 and all(field.startswith(" ") for field in fields[1:])
    return _Layout(f"a header, columns separated by {by}", separator, spaced=spaced)


def _is_asin(text: str) -> bool:
    """Whether this is an item's id at Amazon: ten characters, of a book its ISBN."""
    return bool(re.fullmatch(r"B[0-9A-Z]{9}|[0-9]{9}[0-9X]", text))


def _fields(stream, lines, layout) -> Iterator[tuple[int, dict]]:
    """Cut lines at the separators; yields the columns of some rows at a time."""
    if layout.separator == "::":
        rows = (line.rstrip("\r\n").split("::") for line in stream)
    else:
        quoting = csv.QUOTE_MINIMAL if layout.quoted else csv.QUOTE_NONE
        rows = csv.reader(
            stream, delimiter=layout.separator, quoting=quoting, strict=True, skipinitialspace=layout.spaced
        )
    try:
        names = layout.names or _name_all([name.strip() for name in next(rows)], lines)
        whole = _whole_rows(rows, len(names), lines)
        while chunk := list(islice(whole, _CHUNK)):
            yield len(chunk), dict(zip(names, zip(*chunk, strict=True), strict=True))
    except csv.Error as error:
        why = {
            "unexpected end of data": "a quote opens and never closes; close it, or write it twice",
            f"'{layout.separator}' expected after '\"'": "text follows a closing quote; write a quote inside "
            "quotes twice",
        }.get(str(error), f"not a CSV file ({error})")
        if "new-line" in str(error):
            why = "a line break of another kind stands within a field; put the field into quotes"
        raise lines.error(why) from None


def _name_all(names: list[str], lines: _Lines) -> list[str]:
    names = [name or f"column {i}" for i, name in enumerate(names, 1)]
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise lines.error(f"two columns are called {twice[0]!r}; rename one")
    return names


def _whole_rows(rows, width: int, lines: _Lines) -> Iterator[list[str]]:
    """Rows of as many fields as there are columns; a blank line is none."""
    for row in rows:
        if len(row) != width:
            if len(row) < 2 and not "".join(row).strip():
                continue
            if any(field.strip() for field in row[width:]):
                raise lines.error(
                    f"not a CSV file with this header: expected {width} fields, saw {len(row)}; put a field that "
                    "holds a separator into quotes"
                )
            lines.short += len(row) < width
            row = row[:width] + [""] * (width - len(row))
        yield row


def _objects(stream, lines: _Lines) -> Iterator[tuple[int, dict]]:
    """Read JSON lines; yields the columns of some rows at a time."""

    def read(line):
        try:
            # Numbers stay as they are written, so that an id of twenty digits is not rounded.
            made = json.loads(line, parse_int=str, parse_float=str, parse_constant=str)
        except (ValueError, RecursionError):
            made = None
        if not isinstance(made, dict):
            raise lines.error("not a JSON object; write one object a line, and nothing else")
        return {_in_words(name, "") or "(no name)": _in_words(value, name) for name, value in made.items()}

    records = (read(line) for line in stream if line.strip())
    while chunk := list(islice(records, _CHUNK)):
        names = dict.fromkeys(name for record in chunk for name in record)
        yield len(chunk), {name: [record.get(name, "") for record in chunk] for name in names}


def _in_words(value, name: str) -> str:
    """Write a JSON value as the field of a table."""
    if isinstance(value, list):
        parts = [part for part in (_in_words(each, name) for each in value) if part]
        return (" " if plain(name) in PARAGRAPHS else "|").join(parts)
    if not isinstance(value, str):
        return "" if value is None else json.dumps(value, ensure_ascii=False)
    if value.isascii():
        return value.replace("\0", " ")
    # Half of a surrogate pair is no character: JSON can write it, and nothing can store it.
    return value.replace("\0", " ").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class _Column:
    """A column while it is read: the distinct texts, and which of them each row has; numbers of `numeric`."""

    def __init__(self, before: int = 0, numeric: bool = False):
        self.index = defaultdict()
        self.index.default_factory = self.index.__len__  # a new text gets the next number
        self.index[""] = 0
        self.numeric, self.parts = numeric, []
        if before:
            self.add([""] * before)

    def add(self, values) -> None:
        if self.numeric:
            try:
                self.parts.append(np.fromiter(map(float, values), "float64", len(values)))
                return
            except ValueError:  # a date, or a gap: text after all
                self.numeric, numbers, self.parts = False, self.parts, []
                for part in numbers:
                    self.add([f"{number:.17g}" for number in part])
        self.parts.append(np.fromiter(map(self.index.__getitem__, values), "int32", len(values)))

    def series(self) -> pd.Series:
        values = np.concatenate(self.parts)
        if self.numeric:
            return pd.Series(values)
        texts = pd.Index(list(self.index)[1:], dtype="str")
        return pd.Series(pd.Categorical.from_codes(values - 1, texts))


def _name_genres(frame: pd.DataFrame) -> pd.DataFrame:
    """Read MovieLens 100K's 19 columns of 0 and 1 as genres; one film is called unknown."""
    flags = (frame[ML100K_GENRES] == "1").to_numpy()
    named = np.array(ML100K_GENRES)
    genres = pd.Series(["|".join(named[row]).replace("unknown", "") for row in flags])
    title = as_text(frame["title"])
    title = title.where(title != "unknown")
    kept = {"item_id": frame["item_id"], "title": title.astype("category")}
    return pd.DataFrame(kept | {"genres": genres.where(genres != "").astype("category")})


# --- From text to values ------------------------------------------------------------------------------------
# A column is categorical: each distinct text is looked at once, however many rows have it.


class Notes:
    """Steps of cleaning before `clean`, in the shape of its table."""

    def __init__(self):
        self.rows = []

    def add(self, table, step, frame, changed, dropped=None) -> None:
        """Note a step that changed a row, or that may drop some."""
        if changed or dropped is not None:
            self.rows.append(
                (table, step, len(frame), int(changed), int(dropped or 0), len(frame) - int(dropped or 0))
            )


def as_text(column: pd.Series) -> pd.Series:
    """Make strings of the values; what is missing stays so, which before pandas 3 would become ``"nan"``."""
    return column.astype("str").where(column.notna())


def shorten(text: str, length: int = 80) -> str:
    """Cut a long text off."""
    return text if len(text) <= length else text[: length - 1] + "…"


def spread(column: pd.Series, values, missing) -> pd.Series:
    """Spread one value for each distinct text over the rows."""
    return pd.Series(np.append(values, missing)[column.cat.codes], index=column.index)


def tidy_ids(column: pd.Series, ours: str, path: Path, table: str, notes: Notes) -> pd.Series:
    """Take blanks off around the ids; one that goes over several lines is a quote that did not close."""
    texts = column.cat.categories
    tidy = texts.str.strip()
    if (broken := tidy.str.contains("[\r\n]")).any():
        raise InputError(
            f"{path}: the {ours} {shorten(texts[broken][0], 40)!r} goes over several lines; close the quote that opens"
        )
    if (differs := tidy != texts).any():
        codes, texts = pd.factorize(tidy.where(tidy != ""))
        notes.add(table, f"blanks around {ours}: taken off", column, spread(column, differs, False).sum())
        column = pd.Series(pd.Categorical.from_codes(spread(column, codes, -1), texts), index=column.index)
    return column


def whole(texts) -> bool:
    """Whether each text is a whole number as one writes it; ``007`` is not."""
    return bool(texts.str.fullmatch(r"0|-?[1-9][0-9]{0,17}").all())


def read_ids(columns: list[pd.Series], notes: Notes) -> list[pd.Series]:
    """Make whole numbers of the ids in these columns, where all of them are; else strings."""
    texts = [column.cat.categories for column in columns]
    pointed = [len(t) > 0 and t.str.fullmatch(r"-?[0-9]+\.0").all() for t in texts]
    # pandas writes a column of ids with a gap as 7.0, 8.0; where not all are so, 1.0 may be a version.
    texts = [t.str[:-2] if point else t for t, point in zip(texts, pointed, strict=True)]
    if not all(map(whole, texts)):
        return [as_text(column) for column in columns]
    made = []
    for column, text, point, table in zip(columns, texts, pointed, ("ratings", "items"), strict=False):
        numbers = spread(column, np.array([int(t) for t in text], dtype="int64"), 0)
        notes.add(table, f"{column.name} written as 7.0: read as 7", column, point * column.notna().sum())
        made.append(numbers.astype("Int64").mask(column.isna()) if column.isna().any() else numbers)
    return made


def read_numbers(column: pd.Series, path: Path, what: str, notes: Notes) -> pd.Series:
    """Read numbers; a missing one may be written as NaN or null, and a comma may stand for the point."""
    texts = column.cat.categories.str.strip()
    comma = texts.str.fullmatch("-?[0-9]+,[0-9]+")
    if comma.any() and not texts[comma].str.fullmatch(".*,[0-9]{3}").all():  # 1,000 may be a thousand
        texts = texts.where(~comma, texts.str.replace(",", "."))
        notes.add(
            "ratings", f"{what} with a comma: read as a point", column, spread(column, comma, False).sum()
        )
    numbers = pd.to_numeric(texts, errors="coerce")
    plain = texts.str.fullmatch(r"(?i)[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|[+-]?inf(inity)?")
    wrong = ~plain & ~texts.str.lower().isin(["", "nan", "na", "null", "none"])
    if (rows := np.flatnonzero(spread(column, wrong, False))).size:
        row = int(rows[0])
        raise InputError(
            f"{path}, row {row + 1} of {len(column)} below the header: {what} is {shorten(column.iloc[row])!r}, "
            "which is no number; mend or delete the row"
        )
    return spread(column, np.where(plain, numbers, np.nan).astype("float64"), np.nan)


def _since_1970(times: pd.Series) -> pd.Series:
    # The year 1000 is no time in nanoseconds, so seconds are asked for.
    return times.dt.as_unit("s").astype("int64").where(times.notna()).astype("float64")


def read_times(column: pd.Series, path: Path) -> pd.Series:
    """Seconds since 1970 from seconds, milliseconds or dates; what is none of them becomes missing."""
    written = column.dtype == "category"  # else numbers already
    texts = column.cat.categories if written else column
    seconds = pd.Series(np.array(pd.to_numeric(texts, errors="coerce"), dtype="float64"))
    seconds = seconds.where(~(seconds.abs() >= 1e11), seconds // 1000)
    if (day := seconds.between(19000101, 21001231)).any():  # 20201231 is a day, and no second of August 1970
        days = seconds[day].astype("int64").astype("str")
        seconds[day] = _since_1970(pd.to_datetime(days, format="%Y%m%d", errors="coerce"))
    if not written:
        return seconds
    dates = pd.Series(texts[seconds.isna()], index=seconds.index[seconds.isna()], dtype="str").str.strip()
    if len(dates):
        # Without the year in four digits it is anyone's guess. With points the day is first; with slashes, if it
        # must be so for one of them.
        dates = dates[dates.str.contains("(?<![0-9])[12][0-9]{3}(?![0-9])")]
        day = bool(dates.str.match(r"[0-9]{1,2}\.|(1[3-9]|2[0-9]|3[01])/").any())
        read = pd.to_datetime(dates, errors="coerce", utc=True, format="mixed", dayfirst=day)
        seconds[dates.index] = _since_1970(read)
    if len(seconds) and seconds.isna().all():
        raise InputError(
            f"{path}: the times, like {shorten(texts[0])!r}, are neither numbers nor dates; mend them"
        )
    return spread(column, seconds, np.nan)
