"""Files that nobody would write by hand: each is read as it was written, or refused with one line.

A generated file is known before it is written, so a slow and plain reading of its rows says what `load_csv` must
return. The drawn files are the same in each run; LLMTOK_SLOW=1 draws many more.
"""

import csv
import gzip
import io
import json
import math
import os
import re
import tempfile
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest
from hypothesis import Phase, assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from llmtok import InputError, layouts, load_csv
from llmtok.data import NO_TITLE

SLOW = bool(os.environ.get("LLMTOK_SLOW"))

set_hypothesis_home_dir(Path(tempfile.gettempdir(), "llmtok-hypothesis"))  # and not in the repository


def many(examples):
    """Draw so many files, thirty times as many in the long run; always the same ones."""
    return settings(
        max_examples=examples * (30 if SLOW else 1),
        derandomize=True,
        deadline=None,
        database=None,
        phases=set(Phase) - {Phase.explain},  # slow, and about the insides of pandas
    )


# --- Files and what is in them ------------------------------------------------------------------------------

ALPHABET = "ab Zé,;|\t:\"'(){}<>=+-\\/.\n\r#_日本שלום🎬👩\u200d🚀\u202e\u2028\u0085\u00a0%$0"
words = st.one_of(
    st.text(ALPHABET, max_size=12),
    st.sampled_from(["Heat", "Heat (1995)", "Up (2009) ", "NA", "null", "=1+1", "<script>alert(1)</script>"]),
)
IDS = {  # what may stand in one column of ids
    "whole": st.integers(-3, 30).map(str),
    "pointed": st.integers(-3, 30).map(lambda n: f"{n}.0"),
    "zeros": st.sampled_from(["7", "07", "007", "0", "00", "7.0"]),
    "huge": st.sampled_from(["9" * 18, "9" * 19, "9" * 40, "-" + "9" * 18, str(2**63), str(2**64 + 1)]),
    "digits": st.sampled_from(["1", "13", "1٣", "1３"]),
    "words": st.sampled_from(
        ["a", "A", "é", "e\u0301", "１", "²", "a b", " a", "a ", "\u00a0a", "../../etc", "C:\\x", "nan", "日"]
    ),
    "any": st.text(ALPHABET.replace("\n", "").replace("\r", ""), max_size=4),
}
ratings_as_written = st.one_of(
    st.sampled_from(["1", "2.5", "5", " 4 ", "-3", "1e2", "0", "+1", ".5", "3."]),
    st.sampled_from(["", "nan", "NULL", "inf", "-inf", "1e999"]),
)
times_as_written = st.one_of(
    st.integers(10**8, 2 * 10**9).map(str),
    st.sampled_from(["978300760000", "978300760.9", "-5", "99999999999", "1e9", "9e18", ""]),
    st.sampled_from(
        ["2000-12-31 22:12:40", "2000-12-31T22:12:40Z", "31.12.2000 22:12:40", "soon", "now", "Mon"]
    ),
)
HEADERS = {
    "user_id": ["user_id", "userId", "User-ID", "reviewerID", "user_id:token"],
    "item_id": ["item_id", "movieId", "ASIN", "item", " item_id "],
    "rating": ["rating", "Stars", "overall", "rating:float"],
    "timestamp": ["timestamp", "unixReviewTime", "Date"],
    "title": ["title", "Name"],
    "description": ["description", "plot!", "a: b"],
}  # fmt: skip


@st.composite
def tables(draw):
    """Draw ratings and catalogue: each the names of its columns and rows of text."""
    users, items = (IDS[draw(st.sampled_from(sorted(IDS)))] for _ in range(2))
    gap = st.sampled_from([0, 0, 0, 0, 1])  # an id is missing now and then
    users, items = (
        st.tuples(gap, ids).map(lambda drawn: "" if drawn[0] else drawn[1]) for ids in (users, items)
    )
    timed = draw(st.booleans())
    logged = ["user_id", "item_id", "rating"] + ["timestamp"] * timed
    log = st.tuples(users, items, ratings_as_written, *[times_as_written] * timed)
    listed = ["item_id", "title", "description"]
    catalogue = draw(st.lists(st.tuples(items, words, words), min_size=1, max_size=8))
    log = draw(st.lists(log, min_size=1, max_size=25))
    if draw(st.booleans()):  # most rated items are in the catalogue
        known = [row[0] for row in catalogue]
        log = [(row[0], known[i % len(known)], *row[2:]) for i, row in enumerate(log)]
    return (logged, log), (listed, catalogue)


@st.composite
def formats(draw):
    """Draw a way to write a table."""
    return {
        "separator": draw(st.sampled_from([",", ";", "\t", "|", "::", "json"])),
        "encoding": draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "gb18030"])),
        "end": draw(st.sampled_from(["\n", "\r\n", "\r"])),
        "quote": draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
        "gzip": draw(st.booleans()),
        "blank lines": draw(st.booleans()),
        "a separator at the end": draw(st.booleans()),
        "short": draw(st.booleans()),
        "names": draw(st.integers(0, 4)),
    }


def write(path, names, rows, how):
    """Write a table to a file in the way that was drawn."""
    names = [HEADERS[name][how["names"] % len(HEADERS[name])] for name in names]
    sep, end = how["separator"], how["end"]
    out = io.StringIO()
    if sep == "json":
        for i, row in enumerate(rows):
            # Null and no such key are both a gap; a number may stand as a number.
            values = [int(v) if re.fullmatch("[1-9][0-9]*", v) else v or None for v in row]
            keys = {
                name: v for name, v in zip(names, values, strict=True) if v is not None or i == len(rows) - 1
            }
            out.write(json.dumps(keys, ensure_ascii=how["quote"] == csv.QUOTE_ALL) + end)
    elif sep == "::":
        out.write("".join("::".join(row) + end for row in [names, *rows]))
    else:
        # With "\n" for line ends the csv module leaves a field with "\r" without quotes, and the other way round.
        quote = (
            csv.QUOTE_ALL if any({"\r", "\n"} & set(field) for row in rows for field in row) else how["quote"]
        )
        writer = csv.writer(out, delimiter=sep, lineterminator=end, quoting=quote)
        writer.writerow(names)
        for row in rows:
            row = list(row)
            while how["short"] and len(row) > 2 and row[-1] == "":
                row.pop()
            writer.writerow(row + [""] * how["a separator at the end"])
            out.write(end * how["blank lines"])
    raw = out.getvalue().encode(how["encoding"])
    raw = b"\xfe\xff" * (how["encoding"] == "utf-16-be") + raw
    path.write_bytes(gzip.compress(raw) if how["gzip"] else raw)


def fits(rows, how):
    """Whether the format can say it at all."""
    if how["separator"] != "::":
        return True
    return not any(set(":\n\r") & set(field) for row in rows for field in row)


# --- The slow and plain reading -----------------------------------------------------------------------------


def plain_ids(*columns):
    """Ids as they must come out: whole numbers where all are, of all columns; else text without blanks around."""
    columns = [[text.strip() or None for text in column] for column in columns]
    candidates = []
    for column in columns:
        there = [text for text in column if text]
        if there and all(re.fullmatch(r"-?[0-9]+\.0", text) for text in there):
            column = [text and text[:-2] for text in column]
        candidates.append(column)
    if all(re.fullmatch("0|-?[1-9][0-9]{0,17}", text) for column in candidates for text in column if text):
        return [[None if text is None else int(text) for text in column] for column in candidates]
    return columns


def plain_time(text):
    try:
        number = 978300760 if re.search("31.*22:12:40", text) else float(text)
    except ValueError:
        return None
    number = number // 1000 if abs(number) >= 1e11 else number // 1
    return int(number) if 0 <= number <= 4102444800 else None


def plain_reading(log, catalogue):
    """What must come out of the two tables: rows of ratings, and titles and descriptions by item."""
    (_, log), (_, listed) = log, catalogue
    rated, items = plain_ids([row[1] for row in log], [row[0] for row in listed])
    [users] = plain_ids([row[0] for row in log])
    table, titles = {}, [row[1] for row in listed]
    years = [re.fullmatch(r"(.*?)\s*\(([0-9]{4})\)\s*", title, re.DOTALL) for title in titles]
    split = sum(map(bool, years)) * 2 >= max(1, sum(title != "" for title in titles))
    for item, row, year in zip(items, listed, years, strict=True):
        title = year[1] if split and year else row[1]
        if item is not None and item not in table:
            table[item] = (title if title.strip() else NO_TITLE, row[2] or None)
    kept = {}
    for n, (user, item, row) in enumerate(zip(users, rated, log, strict=True)):
        written = row[2].strip().lower()
        rating = math.nan if written in ("", "nan", "null") else float(written)
        time = plain_time(row[3]) if len(row) > 3 else None
        if user is None or item is None or not math.isfinite(rating):
            continue
        age = (-1 if time is None else time, n)
        if (user, item) not in kept or kept[user, item][0] <= age:
            kept[user, item] = (age, n, rating, time)
    rows = [
        (n, user, item, rating, time) for (user, item), (_, n, rating, time) in kept.items() if item in table
    ]
    return [row[1:] for row in sorted(rows)], table


def assert_accounted(steps):
    """Rows before less dropped is rows after, and the next step begins with these."""
    assert (steps["rows before"] - steps["dropped"] == steps["rows after"]).all()
    for _, rows in steps.groupby("table"):
        assert (rows["rows after"].iloc[:-1].to_numpy() == rows["rows before"].iloc[1:].to_numpy()).all()


def load(folder, **options):
    """Load, or return the one line of the refusal; no other exception is allowed."""
    try:
        return load_csv(folder / "ratings", folder / "items", **options)
    except InputError as error:
        message = str(error)
        assert message.isprintable() and len(message) > 20, message
        return message


@given(tables(), formats(), formats(), st.booleans(), st.sampled_from([1, 3, 1000]))
@many(250)
def test_any_files_are_read_as_they_were_written(drawn, how, other, same, chunk):
    log, catalogue = drawn
    other = how if same else other
    assume(fits(log[1], how) and fits(catalogue[1], other))
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write(folder / "ratings", *log, how)
        write(folder / "items", *catalogue, other)
        # Without a byte order mark nobody can know, so it must be said, and then it is so for both files.
        said = "gb18030" if "gb18030" in (how["encoding"], other["encoding"]) else None
        assume(said is None or not {"utf-8"} & {how["encoding"], other["encoding"]})
        with mock.patch.object(layouts, "_CHUNK", chunk):  # rows that are read at a time
            loaded = load(folder, encoding=said)
    ratings, items = plain_reading(log, catalogue)
    if isinstance(loaded, str):
        times = [row[3] for row in log[1] if len(row) > 3]
        if "neither numbers nor dates" in loaded:
            assert not any(re.search("[0-9]", time) for time in times)
        else:
            assert not ratings and ("no rating" in loaded or "no rated item" in loaded), loaded
        return
    assert ratings
    missing = [None] * len(ratings)
    got = list(zip(*(loaded.ratings[c].tolist() for c in ("user_id", "item_id", "rating")), strict=True))
    assert got == [row[:3] for row in ratings]
    assert [type(row[0]) for row in got] == [type(row[0]) for row in ratings]
    time = loaded.ratings["timestamp"].tolist() if "timestamp" in loaded.ratings else missing
    assert [None if t is pd.NA else t for t in time] == [row[3] for row in ratings]
    assert loaded.items.index.tolist() == list(items)
    assert loaded.items["title"].tolist() == [title for title, _ in items.values()]
    described = HEADERS["description"][other["names"] % 3]
    texts = loaded.items.get(described, pd.Series(index=loaded.items.index, dtype="str"))
    assert [None if pd.isna(text) else text for text in texts] == [text for _, text in items.values()]
    steps = loaded.cleaning
    assert_accounted(steps)
    assert steps[steps["table"] == "ratings"]["rows before"].iloc[0] == len(log[1])
    assert steps[steps["table"] == "items"]["rows before"].iloc[0] == len(catalogue[1])
    rows = loaded.source[loaded.source["what"] == "rows"]["taken"]
    assert rows.tolist() == [str(len(log[1])), str(len(catalogue[1]))]


alike = st.sampled_from(list(IDS.values())).flatmap(
    lambda ids: st.lists(ids.map(str.strip).filter(bool), min_size=1, unique=True, max_size=8)
)


@given(alike)
@many(100)
def test_ids_are_never_merged(ids):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write(folder / "ratings", ["user_id", "item_id", "rating"], [(i, i, "1") for i in ids], PLAIN)
        write(folder / "items", ["item_id", "title"], [(i, i) for i in ids], PLAIN)
        loaded = load(folder)
    assert loaded.ratings["user_id"].nunique() == len(loaded.items) == len(ids)
    assert loaded.ratings["item_id"].tolist() == loaded.items.index.tolist()
    assert (loaded.ratings["item_id"].astype(str).str.removesuffix(".0").tolist()) == [
        i.removesuffix(".0") for i in ids
    ]


PLAIN = {"separator": ",", "encoding": "utf-8", "end": "\n", "quote": csv.QUOTE_MINIMAL, "gzip": False,
         "blank lines": False, "a separator at the end": False, "short": False, "names": 0}  # fmt: skip


# --- Files that are broken ----------------------------------------------------------------------------------

RATINGS = b"user_id,item_id,rating,timestamp\n" + b"".join(
    b"u%d,i%d,%d,%d\n" % (n % 4, n % 7, n % 5, 10**9 + n) for n in range(20)
)
ITEMS = b"item_id,title,description\n" + b"".join(
    b'i%d,"Film, %d",A film of "%d".\n' % (n, n, n) for n in range(7)
)
ITEMS = ITEMS.replace(b' of "', b" of '").replace(b'".\n', b"'.\n")


@st.composite
def damaged(draw, whole):
    """Draw a file with a few of its bytes replaced, taken out, put in or cut off."""
    raw = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(raw)))
        what = draw(st.sampled_from(["replace", "insert", "delete", "cut", "double"]))
        junk = draw(
            st.sampled_from(
                [
                    b'"',
                    b",",
                    b"\n",
                    b"\r",
                    b"\0",
                    b"\xff",
                    b"\xef\xbb\xbf",
                    b"9",
                    b"1e5",
                    b";;",
                    b"'",
                    b"::",
                    b"{",
                ]
            )
        )
        if what == "replace":
            raw[at : at + len(junk)] = junk
        elif what == "insert":
            raw[at:at] = junk
        elif what == "delete":
            del raw[at : at + draw(st.integers(1, 30))]
        elif what == "cut":
            del raw[at:]
        else:
            raw += raw[at:]
    return bytes(raw)


def count_rows(raw):
    """Count rows, and say which pairs of user and item there are, by another and more patient reader."""
    rows = list(csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""), strict=True))
    assert not any(field.strip() for row in rows for field in row[len(rows[0]) :])
    return [[field.strip() for field in row] for row in rows if row and (len(row) > 1 or row[0].strip())][1:]


@given(damaged(RATINGS), damaged(ITEMS), st.sampled_from(["ratings", "items", "both"]))
@many(250)
def test_a_damaged_file_is_read_right_or_refused(ratings, items, which):
    ratings, items = ratings if which != "items" else RATINGS, items if which != "ratings" else ITEMS
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "ratings").write_bytes(ratings)
        (folder / "items").write_bytes(items)
        loaded = load(folder)
    if isinstance(loaded, str):
        return
    steps = loaded.cleaning
    assert_accounted(steps)
    if ratings.startswith(RATINGS.splitlines(keepends=True)[0]):
        rows = count_rows(ratings)
        assert steps[steps["table"] == "ratings"]["rows before"].iloc[0] == len(rows)
        there = {(row[0], row[1], float(row[2])) for row in rows if len(row) > 2 and row[2]}
        assert (
            set(loaded.ratings[["user_id", "item_id", "rating"]].itertuples(index=False, name=None)) <= there
        )
    if items.startswith(ITEMS.splitlines(keepends=True)[0]):
        rows = count_rows(items)
        assert steps[steps["table"] == "items"]["rows before"].iloc[0] == len(rows)
        assert loaded.items.index.tolist() == list(dict.fromkeys(row[0] for row in rows if row[0]))


@given(
    st.one_of(st.binary(max_size=200), st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")))
)
@example(b"")
@example(b"\xff\xfe")
@example(b"\xff\xfe\x00")
@example(b"\x1f\x8b")
@example(gzip.compress(RATINGS)[:-9])
@example(gzip.compress(RATINGS)[:20] + b"xxxx" + gzip.compress(RATINGS)[24:])
@example(gzip.compress(gzip.compress(RATINGS)))
@example(b"{" * 100_000)
@example(b'{"a":' * 100_000)
@example(b"PK\x03\x04 and so on")
@example(b"1,2\n" * 3)
@many(150)
def test_junk_is_refused(junk):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for broken, whole, right in (("ratings", "items", ITEMS), ("items", "ratings", RATINGS)):
            (folder / broken).write_bytes(junk)
            (folder / whole).write_bytes(right)
            loaded = load(folder)
            assert isinstance(loaded, str), loaded


@pytest.mark.parametrize(
    ("ratings", "items", "said"),
    [
        (b'user,item,rating\nu,1,"4\nu,2,3\n', None, ["ratings, line 3", "never closes"]),
        (b'user,item,rating\n"u,1,4\nv,"1",4\n', None, ["ratings, line 3", "follows a closing quote"]),
        (b'user,item,rating\n"u,1,4\nv",1,4\n', None, ["ratings", "user_id", "several lines", "close the quote"]),
        (None, b'item,title\n1,"A" b\n', ["items, line 2", "follows a closing quote"]),
        (b"user,item,rating\nu,1,4\nu,1\nu,1,4,5\n", None, ["ratings, line 4", "expected 3 fields, saw 4"]),
        (b"user,item,rating\nu,1,\0\n", None, ["ratings, line 2", "NUL"]),
        ("user,item,rating\nu,1,4\n".encode("utf-16-le"), None, ["ratings, line 1", "NUL"]),
        (None, "item,title\n1,Amélie\n".encode("cp1252"), ["items", "UTF-8", "0xe9", "encoding='cp1252'"]),
        (b"user,user,item,rating\nu,v,1,4\n", None, ["ratings, line 1", "two columns", "'user'", "rename"]),
        (b"1,2,3,4,5\n1,2,3,4,5\n", None, ["ratings", "the first line must name the columns", "user_id,item_id"]),
        (b"user item rating\nu 1 4\n", None, ["ratings", "commas, semicolons, tabs or pipes"]),
        (b'{"user": 1, "item": 2}\nplain\n', None, ["ratings, line 2", "one object a line"]),
        (b'{"user": 1, "item": 2}\n[1, 2]\n', None, ["ratings, line 2", "one object a line"]),
        (b'[{"user": 1, "item": 2}]', None, ["ratings", "JSON list", "one object a line"]),
        (None, b"item,title\r1,A\n2\r", ["items, line 2", "a line break of another kind"]),
        (None, b"item,title\n1,A\r2\n", ["items, line 2", "a line break of another kind"]),
        (b"PK\x03\x04...", None, ["ratings", "Excel", "CSV"]),
        (gzip.compress(RATINGS)[:-20], None, ["ratings", "cannot be read"]),
        (b"user,item,action\nu,1,view\n", None, ["ratings", "'rating'", "strengths="]),
        (b"user,item,how good\nu,1,4\n", None, ["ratings", "'how good'", "columns={'rating': None}"]),
        (None, b"item,price\n1,3.50\n", ["items", "none of words", "columns={'title': 'your column'}"]),
        (b"user,item,rating\nu,1,inf\n", None, ["no rating is a finite number"]),
        (b"user,item,rating\nu,1,1,000\n", None, ["ratings, line 2"]),
        (b'user,item,rating\nu,1,"1,000"\n', None, ["ratings, row 1 of 1", "'1,000'", "no number"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(tmp_path, ratings, items, said):
    (tmp_path / "ratings").write_bytes(b"user,item,rating\nu,1,4\n" if ratings is None else ratings)
    (tmp_path / "items").write_bytes(b"item,title\n1,A\n2,B\n" if items is None else items)
    message = load(tmp_path)
    assert isinstance(message, str) and "\n" not in message
    for part in said:
        assert part in message, message


@pytest.mark.parametrize("wrong", ["klingon", "base64", "utf\0", 7])
def test_unknown_encodings(tmp_path, wrong):
    (tmp_path / "ratings").write_bytes(RATINGS)
    (tmp_path / "items").write_bytes(ITEMS)
    assert "unknown encoding" in load(tmp_path, encoding=wrong)


def test_folders_in_place_of_files(tmp_path):
    (tmp_path / "items").write_bytes(ITEMS)
    assert "no such file" in load(tmp_path)
    assert "no such file" in load(tmp_path / "a\0b")
    (tmp_path / "ratings").mkdir()
    assert "cannot be read" in load(tmp_path)


def test_a_message_cannot_steer_a_terminal(tmp_path):
    (tmp_path / "ratings").write_bytes(b"us\x1b[2Jer,what,rating\nu,1,4\n")
    (tmp_path / "items").write_bytes(ITEMS)
    assert "us\\x1b[2Jer" in load(tmp_path)


@pytest.mark.parametrize("json_lines", [False, True])
def test_long_texts(tmp_path, json_lines):
    text = "שלום 🎬 " * 50_000
    (tmp_path / "ratings").write_bytes(b"user,item,rating\nu,1,4\n")
    items = [{"item": 1, "title": "A", "description": text}]
    made = json.dumps(items[0]) if json_lines else pd.DataFrame(items).to_csv(index=False)
    (tmp_path / "items").write_text(made, encoding="utf-8")
    before = csv.field_size_limit(1234)  # a setting of others, left alone
    try:
        loaded = load(tmp_path)
        assert csv.field_size_limit() == 1234
    finally:
        csv.field_size_limit(before)
    assert loaded.items.description.tolist() == [text]
    assert loaded.items.text.tolist() == ["A. " + text.strip()]


def test_half_of_a_surrogate_pair(tmp_path):
    (tmp_path / "ratings").write_bytes(b'{"user": "u", "item": 1, "rating": 4}\n')
    (tmp_path / "items").write_bytes(
        b'{"item": 1, "title": "A\\ud83cB\\u0000C", "tags": ["\\udf6c", "x"], "c": "y\\u0000"}\n'
    )
    loaded = load(tmp_path)
    assert loaded.items.text.str.encode("utf-8").tolist() == ["A�B C".encode()]
    assert loaded.items.tags.tolist() == ["�|x"] and loaded.items.c.tolist() == ["y "]


@pytest.mark.parametrize(
    ("ratings", "left"),
    [
        ("u,1,4\n", 1),  # one user, one item
        ("".join(f"u{n},{n % 2 + 1},3\n" for n in range(50)), 50),  # all ratings equal
        ("".join("u,1,3\n" for _ in range(50)), 1),
        ("u,1,-4\nv,1,1e300\n", 2),
    ],
)
def test_ratings_that_say_little(tmp_path, ratings, left):
    (tmp_path / "ratings").write_text("user,item,rating\n" + ratings)
    (tmp_path / "items").write_text("item,title\n1,\n2,\n")
    loaded = load(tmp_path)
    assert len(loaded.ratings) == left and loaded.items.text.tolist() == ["", ""]
    assert_accounted(loaded.cleaning)
