"""`llmtok recommend` and `load_model`: a saved model in, lists with reasons out."""

import io
import json
import pickle
import re
import subprocess
import sys
import unicodedata

import numpy as np
import pandas as pd
import pytest

from llmtok import InputError, TokenEASE, TokenSVD, cli
from llmtok.recommend import load_model, write_model

ESCAPE = "\x1b[31mred\x1b[0m \u202eevil\u2028 =HYPERLINK(1)"
TITLES = {10: "Ten", 11: ESCAPE, 12: "三体", 13: "Cafe\u0301", 14: "Fourteen", 15: "New <b>"}


def make_ratings(ids=int):
    pairs = [
        (1, 10),
        (1, 11),
        (1, 12),
        (2, 10),
        (2, 11),
        (2, 13),
        (3, 12),
        (3, 13),
        (4, 13),
        (4, 14),
        (5, 10),
        (5, 12),
    ]
    frame = pd.DataFrame(pairs, columns=["user_id", "item_id"]).assign(
        rating=[5.0, 4, 3, 5, 5, 2, 4, 3, 5, 4, 1, 2]
    )
    return frame.astype({"user_id": ids, "item_id": ids})


def make_embeddings(ids=int):
    vectors = np.random.default_rng(0).normal(size=(6, 3))
    return pd.DataFrame(vectors, index=pd.Index([ids(i) for i in TITLES], name="item_id"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What a report leaves: two models and the titles."""
    place = tmp_path_factory.mktemp("shop")
    TokenEASE(make_embeddings()).fit(make_ratings()).save(place / "lists.npz")
    svd = TokenSVD(make_embeddings(), "passthrough", n_factors=2)
    svd.fit(make_ratings()).save(place / "ratings.npz")
    pd.DataFrame({"item_id": list(TITLES), "title": list(TITLES.values()), "token 0": 0.0}).to_parquet(
        place / "tokens.parquet"
    )
    return place


@pytest.fixture
def run(monkeypatch, capfdbinary):
    """Run the command in this process; return its exit code and what it wrote."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["llmtok", "recommend", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfdbinary.readouterr()
        return ended.value.code or 0, out.decode("utf-8"), err.decode("utf-8")

    return run


@pytest.fixture
def as_json(run):
    def as_json(*arguments):
        code, out, _ = run(*arguments, "--format", "json")
        assert code == 0
        return [json.loads(line, parse_constant=pytest.fail) for line in out.splitlines()]

    return as_json


@pytest.fixture
def refused(run):
    """Run what must be refused in one line; return the line."""

    def refused(*arguments):
        code, out, err = run(*arguments)
        assert (code, out) == (2, "") and err.startswith("llmtok: ") and err.count("\n") == 1
        assert err[:-1].isprintable()
        return err

    return refused


def new_file(tmp_path, text):
    path = tmp_path / "new.csv"
    path.write_text(text, encoding="utf-8")
    return path


# --- load_model ---


def test_either_model(folder):
    assert type(load_model(folder / "lists.npz")) is TokenEASE
    assert type(load_model(str(folder / "ratings.npz"))) is TokenSVD


def test_what_is_loaded_scores_as_what_was_saved(folder):
    fitted = TokenEASE(make_embeddings()).fit(make_ratings())
    pd.testing.assert_series_equal(load_model(folder / "lists.npz").score(1), fitted.score(1))


@pytest.mark.parametrize(("name", "read"), [("TokenEASE", 1), ("TokenSVD", 2)])
def test_another_schema_version_is_refused_by_name(tmp_path, name, read):
    write_model(tmp_path / "m.npz", {"format": f"llmtok.{name}/9"}, {})
    words = f"it is llmtok.{name}/9, and this version reads llmtok.{name}/{read}"
    with pytest.raises(InputError, match=words):
        load_model(tmp_path / "m.npz")


def write_npz(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is no whole .npz file"),
        (b"user,item\n1,2\n", "it is no whole .npz file"),
        (pickle.dumps({"a": 1}), "it is no whole .npz file"),
        (write_npz(a=np.zeros(3))[:-30], "it is no whole .npz file"),
        (write_npz(a=np.zeros(3)), "about"),
        (write_npz(about=np.array("not json")), "not a saved model"),
        (write_npz(about=np.array("[]")), "not a saved model"),
        (write_npz(about=np.array([{}], dtype=object)), "allow_pickle"),
        (
            write_npz(about=np.array('{"format": "other/1"}')),
            "it is other/1, and this version knows llmtok.TokenEASE",
        ),
    ],
)
def test_what_is_no_model(tmp_path, content, words):
    (tmp_path / "m.npz").write_bytes(content)
    with pytest.raises(InputError, match=words):
        load_model(tmp_path / "m.npz")


def test_a_model_with_a_damaged_array(folder, tmp_path):
    whole = bytearray((folder / "lists.npz").read_bytes())
    whole[len(whole) // 3] ^= 0xFF
    (tmp_path / "m.npz").write_bytes(whole)
    with pytest.raises(InputError, match="not a saved"):
        load_model(tmp_path / "m.npz")


def test_no_such_model(tmp_path, refused):
    assert "no such file" in refused(tmp_path / "none.npz", "--user", 1)
    assert "lists.npz: not a saved model (there is no such file)" in refused(tmp_path, "--user", 1)


# --- users whom the model knows ---


def test_json_says_what_the_model_says(folder, as_json):
    [told] = as_json(folder, "--user", 1, "-n", 2)
    model = load_model(folder / "lists.npz")
    best = model.recommend(1, 2)
    assert told["user"] == 1 and [r["item_id"] for r in told["recommendations"]] == best.index.tolist()
    for found, score in zip(told["recommendations"], best, strict=True):
        assert found["score"] == pytest.approx(score, abs=1e-6) and found["title"] == TITLES[found["item_id"]]
        parts = model.explain(1, found["item_id"])
        parts = parts[parts > 0]
        assert [b["item_id"] for b in found["because"]] == parts.index[:2].tolist()
        assert [b["share"] for b in found["because"]] == pytest.approx(
            (parts / parts.sum())[:2].tolist(), abs=1e-3
        )


def test_a_model_of_ratings_explains_without_its_base(folder, as_json):
    [told] = as_json(folder / "ratings.npz", "--user", 4)
    reasons = [b["item_id"] for r in told["recommendations"] for b in r["because"]]
    assert set(reasons) <= {13, 14}
    assert all(0 < b["share"] <= 1 for r in told["recommendations"] for b in r["because"])


def test_several_users_and_all_items(folder, as_json):
    told = as_json(folder, "--user", 5, "--user", 3, "--user", 5, "-n", 100)
    assert [t["user"] for t in told] == [5, 3]
    assert {r["item_id"] for r in told[0]["recommendations"]} == {11, 13, 14, 15}  # not what they took


def test_ids_that_are_texts(tmp_path, as_json):
    model = TokenEASE(make_embeddings(str)).fit(make_ratings(str).replace({"user_id": {"1": "007"}}))
    model.save(tmp_path / "m.npz")
    [told] = as_json(tmp_path / "m.npz", "--user", "007")
    assert told["user"] == "007" and all(isinstance(r["item_id"], str) for r in told["recommendations"])
    assert all("title" not in r for r in told["recommendations"])


def test_unknown_user(folder, refused):
    assert "unknown user '99'; the model knows 5, and one is '1'" in refused(
        folder, "--user", 1, "--user", 99
    )
    assert "\\x1b" in refused(folder, "--user", "\x1b[31m")


def test_near_users_are_suggested(tmp_path, refused):
    names = {1: "anna", 2: "bert", 3: "carla", 4: "dora", 5: "emil"}
    frame = make_ratings().replace({"user_id": names})
    TokenEASE().fit(frame).save(tmp_path / "m.npz")
    assert "near it are carla" in refused(tmp_path / "m.npz", "--user", "carlo")


@pytest.mark.parametrize("further", [[], ["--user", "1", "--ratings", "x.csv"]])
def test_users_or_ratings(folder, refused, further):
    assert "give either --user, or --ratings" in refused(folder, *further)


@pytest.mark.parametrize("further", [["-n", "0"], ["--format", "xml"]])
def test_wrong_options(folder, refused, further):
    refused(folder, "--user", 1, *further)


# --- new ratings ---


def test_one_person_without_a_name(folder, as_json, tmp_path):
    [told] = as_json(folder, "--ratings", new_file(tmp_path, "item_id,rating\n10,5\n13,2\n"))
    best = load_model(folder / "lists.npz").recommend(pd.Series({10: 5.0, 13: 2.0}), 10)
    assert told["user"] is None and [r["item_id"] for r in told["recommendations"]] == best.index.tolist()
    assert [r["score"] for r in told["recommendations"]] == pytest.approx(best.tolist(), abs=1e-6)


@pytest.mark.parametrize("model", ["lists.npz", "ratings.npz"])
def test_without_ratings_each_counts_as_the_highest(folder, as_json, tmp_path, model):
    unrated = as_json(folder / model, "--ratings", new_file(tmp_path, "item_id\n10\n13\n"))
    assert unrated == as_json(folder / model, "--ratings", new_file(tmp_path, "item_id,rating\n10,5\n13,5\n"))


def test_several_people_in_the_order_of_the_file(folder, as_json, tmp_path):
    path = new_file(tmp_path, "userId;movieId;stars\n8;10;4,5\n7;13;1\n8;11;5\n")
    told = as_json(folder, "--ratings", path)
    assert [t["user"] for t in told] == [8, 7]
    best = load_model(folder / "lists.npz").recommend(pd.Series({10: 4.5, 11: 5.0}), 10)
    assert [r["item_id"] for r in told[0]["recommendations"]] == best.index.tolist()
    assert [t["user"] for t in as_json(folder, "--ratings", new_file(tmp_path, "user,item\nann,10\nbob,11\n"))] == [
        "ann", "bob"
    ]  # fmt: skip


def test_columns_of_another_name_and_encoding(folder, as_json, tmp_path):
    path = tmp_path / "new.csv"
    path.write_bytes("Käufer;Artikel;Note\nJürgen;10;5\n".encode("cp1252"))
    columns = [
        "--user-col",
        "Käufer",
        "--item-col",
        "Artikel",
        "--rating-col",
        "Note",
        "--encoding",
        "cp1252",
    ]
    [told] = as_json(folder, "--ratings", path, *columns)
    assert told["user"] == "Jürgen" and len(told["recommendations"]) == 5


def test_of_two_ratings_the_latest_counts(folder, as_json, tmp_path):
    path = new_file(tmp_path, "item_id,rating,timestamp\n13,1,100\n10,5,300\n10,1,200\n")
    assert as_json(folder, "--ratings", path) == as_json(
        folder, "--ratings", new_file(tmp_path, "item_id,rating\n13,1\n10,5\n")
    )


def test_people_stay_in_order_whatever_their_times(folder, as_json, tmp_path):
    path = new_file(tmp_path, "user,item,timestamp\nb,10,900\na,11,100\n")
    assert [told["user"] for told in as_json(folder, "--ratings", path)] == ["b", "a"]


def test_what_is_left_out_is_counted(folder, run, tmp_path):
    path = new_file(tmp_path, "user,item,rating\na,10,5\na,99,5\n,10,5\na,11,\nb,77,1\na,12,inf\n")
    code, out, err = run(folder, "--ratings", path, "--format", "json")
    assert code == 0 and [json.loads(line)["user"] for line in out.splitlines()] == ["a"]
    assert err.splitlines() == [
        "llmtok: left out: 1 of 6 rows, which have no user or no item",
        "llmtok: left out: 2 of 6 rows, which have no rating that is a finite number",
        "llmtok: left out: 2 of 6 rows, which name an item that the model does not know",
        "llmtok: left out: 1 of 2 users, of whom no row remains",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("item,rating\n98,5\n99,5\n", "the model does not know; its ids are like 10, the file's like 98"),
        ("item,rating\n10,50\n", "a rating is 50, and those that the model learned from end at 5"),
        ("item,rating\n10,good\n", "the rating is 'good', which is no number"),
        ("item,rating\n10,\n", "have no rating that is a finite number"),
        ("item,rating\n,5\n", "have no user or no item"),
        ("price,rating\n10,5\n", "no column for 'item_id' among"),
        ("item\n", "a header and no rows"),
        ("", "the file is empty"),
        ("item,\x00\n", "NUL"),
    ],
)  # fmt: skip
def test_files_that_are_refused(folder, refused, tmp_path, text, words):
    assert words in refused(folder, "--ratings", new_file(tmp_path, text))


def test_no_such_file(folder, refused, tmp_path):
    assert "no such file" in refused(folder, "--ratings", tmp_path / "none.csv")
    refused(folder, "--ratings", tmp_path)


# --- output ---


def test_nothing_steers_a_terminal(folder, run):
    for style in ("table", "json"):
        code, out, _ = run(folder, "--user", 5, "--format", style)
        assert code == 0 and all(c.isprintable() or c == "\n" for c in out)
        assert "red" in out and "=HYPERLINK(1)" in out
    [told] = [json.loads(line) for line in out.splitlines()]
    assert ESCAPE in [r["title"] for r in told["recommendations"]]  # as it is, once it is read


@pytest.mark.parametrize(
    ("user", "title"), [(4, "三体"), (5, "Cafe\u0301")]
)  # two cells wide; a combining accent
def test_the_table_is_aligned(folder, run, user, title):
    def width(text):
        return sum(
            1 + (unicodedata.east_asian_width(c) in "WF") - bool(unicodedata.combining(c)) for c in text
        )

    code, out, _ = run(folder, "--user", user)
    name, header, *lines = out.rstrip("\n").split("\n")
    assert code == 0 and name == f"User {user}"
    assert header.split() == ["item_id", "title", "score", "because", "of"]
    assert len(lines) == 4 and any(title in line for line in lines)
    for line in lines:
        score = re.search(r"  (-?[0-9]+\.[0-9]{3})(  |$)", line)
        assert width(line[: score.start(1)]) == header.index("score")


def test_without_titles(folder, run, tmp_path):
    (tmp_path / "lists.npz").write_bytes((folder / "lists.npz").read_bytes())
    code, out, err = run(tmp_path, "--user", 1)
    assert code == 0 and "title" not in out and err == ""
    (tmp_path / "tokens.parquet").write_bytes(b"not parquet")
    code, out, err = run(tmp_path, "--user", 1)
    assert code == 0 and "item_id" in out and "no titles (" in err and err.count("\n") == 1


def test_utf8_whatever_the_terminal_speaks(folder):
    command = [sys.executable, "-m", "llmtok", "recommend", str(folder), "--user", "4", "--format", "json"]
    done = subprocess.run(
        command, capture_output=True, timeout=120, env={"PYTHONIOENCODING": "ascii", "PATH": ""}
    )
    assert done.returncode == 0 and "三体" in done.stdout.decode("utf-8")
