"""Fixtures that several test files use. The first run encodes 9,066 texts; later ones have them cached."""

import importlib.util
from pathlib import Path

import pandas as pd
import pytest

from llmtok import TextEncoder, load_dataset
from llmtok.data import dataset_folder

ROOT = Path(__file__).resolve().parent.parent


def pytest_sessionstart(session):
    """Encode what both processes are going to need, before there are two of them."""
    if getattr(session.config.option, "numprocesses", None) and not hasattr(session.config, "workerinput"):
        for name in ("movielens-small", "debian-packages"):
            TextEncoder(progress=False).transform(load_dataset(name).items.text)


@pytest.fixture(scope="session")
def data():
    """The bundled data."""
    return load_dataset("movielens-small")


@pytest.fixture(scope="session")
def embeddings(data):
    """Full-text embeddings of the bundled data, indexed by item_id."""
    return TextEncoder(progress=False).transform(data.items.text)


@pytest.fixture(scope="session")
def small_folder(tmp_path_factory):
    """A folder with ratings.csv and items.csv: user 1 and the 150 most active, the 800 most rated films."""
    source = dataset_folder("movielens-small")
    ratings = pd.read_csv(source / "ratings.csv", dtype="str")
    items = pd.read_csv(source / "items.csv", dtype="str", keep_default_na=False)
    users = ["1", *ratings["user_id"].value_counts(sort=True).index[:150]]
    films = ["1", *ratings["item_id"].value_counts(sort=True).index[:800]]
    folder = tmp_path_factory.mktemp("movielens-tiny")
    small = ratings[ratings["user_id"].isin(users) & ratings["item_id"].isin(films)]
    small.to_csv(folder / "ratings.csv", index=False)
    items[items["item_id"].isin(films)].to_csv(folder / "items.csv", index=False)
    return folder


@pytest.fixture(scope="session")
def small_packages(tmp_path_factory):
    """The same of packages: the 500 most used, and 400 of the projects that use at least ten of them."""
    source = dataset_folder("debian-packages")
    log = pd.read_csv(source / "interactions.csv", dtype="str")
    items = pd.read_csv(source / "items.csv", dtype="str", keep_default_na=False)
    used = log[log["item_id"].isin(log["item_id"].value_counts().index[:500])]
    sizes = used["user_id"].value_counts().sort_index()
    small = used[used["user_id"].isin(sizes.index[sizes >= 10][:400])]
    folder = tmp_path_factory.mktemp("packages-tiny")
    strength = small["action"].map({"depends": 3, "recommends": 2, "suggests": 1})
    small.assign(rating=strength)[["user_id", "item_id", "rating"]].to_csv(
        folder / "ratings.csv", index=False
    )
    items = items[items["item_id"].isin(small["item_id"])].rename(columns={"section": "genres"})
    items.to_csv(folder / "items.csv", index=False)
    return folder


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The built pages, without the example reports, which take minutes."""
    spec = importlib.util.spec_from_file_location("build_site", ROOT / "site" / "build.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    folder = tmp_path_factory.mktemp("site")
    made.assemble(folder / "source")
    made.build(folder / "source", folder / "html")  # -W: a warning raises
    return folder / "html"
