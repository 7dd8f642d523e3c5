"""What the recommenders of the report may read: nothing, the title, the full text, or what needs no language model."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import Normalizer

from llmtok.recommend import TokenSVD
from llmtok.tokens import make_tokens

NONE, TITLE, FULL, CATEGORIES, TFIDF = "no text", "title only", "full text", "categories", "TF-IDF"
N_CATEGORIES = 500  # the most common of a column; more would take much memory and say little


def categories(items: pd.DataFrame) -> pd.DataFrame | None:
    """Return what a catalogue says without a language model: genres, decades and the like, one column each.

    A column counts where it is called genres, or holds lists joined by ``|``, or says one of a few things. Of each the
    most common `N_CATEGORIES` are taken, five items or more each. A year becomes its decade.

    Returns
    -------
    DataFrame of shape (n_items, n_categories) or None
        Zeros and ones; None where the catalogue has nothing of this kind.

    Examples
    --------
    >>> items = pd.DataFrame({"title": list("ABCD"), "genres": ["Drama|War", "Drama", "War", ""]})
    >>> list(categories(items))
    ['genres: Drama', 'genres: War']
    """
    parts = []
    for name in items.columns.drop([c for c in ("title", "text") if c in items]):
        column = items[name]
        if name == "year" and pd.api.types.is_numeric_dtype(column):
            column = (column.astype("Float64") // 10 * 10).astype("Int64")
        elif pd.api.types.is_numeric_dtype(column):
            continue
        column = column.astype("string").fillna("").str.strip()
        given = column[column != ""]
        many = given.str.contains("|", regex=False).mean() > 0.2 if len(given) else False
        few = 1 < given.nunique() <= min(200, len(given) / 5)
        if not (many or few or (name == "genres" and len(given))):
            continue
        comma = name == "genres" and not many and given.str.contains(", ", regex=False).mean() > 0.2
        said = column.set_axis(range(len(items))).str.split(", " if comma else "|", regex=False).explode()
        said = pd.DataFrame({"row": said.index, "value": said.str.strip().array}).drop_duplicates()
        counts = said.loc[said["value"] != "", "value"].value_counts()
        counts = counts[counts.between(min(5, len(items) // 20), len(items) - 1)].head(N_CATEGORIES)
        kept = counts.index.sort_values()
        said = said[said["value"].isin(kept)]
        found = np.zeros((len(items), len(kept)))
        found[said["row"], kept.get_indexer(said["value"])] = 1
        parts.append(pd.DataFrame(found, items.index, [f"{name}: {value}" for value in kept]))
    found = pd.concat(parts, axis=1) if parts else pd.DataFrame()
    return found if found.shape[1] else None


class Reads:
    """What a model may read, for each variant: item features and their reducer, made of the training items alone."""

    def __init__(self, data, embeddings, encoder, n_tokens, reduction, random_state):
        self.items, self.embeddings, self.encoder = data.items, embeddings, encoder
        self.n_tokens, self.reduction, self.random_state = n_tokens, reduction, random_state
        self.titles = data.with_text("{title}").items["text"]
        self._counted = (
            b"",
            None,
        )  # the last training items, and what was counted: lists and ratings ask for the same

    @functools.cached_property
    def title_embeddings(self):
        """What the encoder makes of the titles alone."""
        return self.encoder.transform(self.titles)

    @functools.cached_property
    def categories(self):
        """See the function `categories`."""
        return categories(self.items)

    def of(self, variant: str, train: pd.DataFrame, length: int | None):
        """Return features and reducer, or None and None where nothing is read, or it is all alike.

        `length` is the model's own choice of a token's length; None is as long as can be.
        """
        known = self.items.index.isin(train["item_id"])
        made = {
            NONE: lambda: None,
            TITLE: lambda: self.title_embeddings,
            FULL: lambda: self.embeddings,
            CATEGORIES: lambda: self.categories,
            TFIDF: lambda: self._tfidf(known),
        }
        features = made[variant]()
        if features is None or not np.ptp(features[known], axis=0).any():
            return None, None
        if variant == CATEGORIES:
            return features, Normalizer().set_output(transform="pandas")
        most = min(features.shape[1], max(int(known.sum()) // 2, 2))
        length = self.n_tokens or length
        if length is not None or self.reduction != "pca":
            length = max(1, min(length or most, most - (self.reduction == "truncated_svd")))
        return features, make_tokens(length, reducer=self.reduction, random_state=self.random_state)

    def svd(self, variant: str, train: pd.DataFrame, settings: dict) -> TokenSVD:
        """Make the model for ratings, which needs a feature where there is none."""
        features, reducer = self.of(variant, train, 50)
        if features is None:
            features, reducer = pd.DataFrame({"nothing": 0.0}, self.items.index), "passthrough"
        return TokenSVD(features, reducer, **settings)

    def _tfidf(self, known) -> pd.DataFrame | None:
        if self._counted[0] != known.tobytes():
            self._counted = known.tobytes(), self._count(known)
        return self._counted[1]

    def _count(self, known) -> pd.DataFrame | None:
        """Count words, the rarer the heavier; no language model. Two texts in one word's count have all of it."""
        texts = self.items["text"]
        spaced = (texts.str.split().str.len() >= 3).mean() > 0.3
        # Chinese and Japanese have no blanks, and some texts no words: then characters are counted.
        for how in ({}, {"analyzer": "char", "ngram_range": (1, 2)})[0 if spaced else 1 :]:
            counter = TfidfVectorizer(sublinear_tf=True, max_features=20_000, **how)
            try:
                counted = counter.fit(texts[known]).transform(texts)
            except ValueError:  # there is nothing to count
                continue
            width = min(self.embeddings.shape[1], counted.shape[1] - 1, int(known.sum()) - 1)
            reduce = TruncatedSVD(max(width, 1), random_state=self.random_state).fit(counted[known])
            return pd.DataFrame(reduce.transform(counted), texts.index)
        return None
