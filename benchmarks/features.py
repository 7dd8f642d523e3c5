"""What the films' catalogue says, as numbers: the same features for our models and for the rivals."""

import pandas as pd


def film_features(items: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return genre and decade as one-hots, two blocks indexed by item_id."""
    genre = items["genres"].astype("string").fillna("").str.get_dummies("|")
    decade = pd.get_dummies((items["year"] // 10 * 10).astype("string"), dummy_na=True)
    return {name: block.astype(float) for name, block in (("genre", genre), ("decade", decade))}


def package_features(items: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return section and tags of Debian's packages as one-hots, two blocks indexed by item_id."""
    section = items["genres"].astype("string").fillna("").str.get_dummies()
    tags = items["tags"].astype("string").fillna("").str.get_dummies("|")
    return {name: block.astype(float) for name, block in (("section", section), ("tags", tags))}
