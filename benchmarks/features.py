"""What the films' catalogue says, as numbers: the same features for our models and for the rivals."""

import pandas as pd


def film_features(items: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return genre and decade as one-hots, two blocks indexed by item_id."""
    genre = _one_hots(items["genres"])
    decade = pd.get_dummies((items["year"] // 10 * 10).astype("string"), dummy_na=True)
    return {name: block.astype(float) for name, block in (("genre", genre), ("decade", decade))}


def package_features(items: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return section and tags of Debian's packages as one-hots, two blocks indexed by item_id."""
    section, tags = _one_hots(items["genres"]), _one_hots(items["tags"])
    return {name: block.astype(float) for name, block in (("section", section), ("tags", tags))}


def _one_hots(column: pd.Series) -> pd.DataFrame:
    """Make a column for each value of a list joined by ``|``; an empty text is no value."""
    return column.astype("string").fillna("").str.get_dummies("|").drop(columns="", errors="ignore")
