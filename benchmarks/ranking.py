"""The sections `ranking` and `cold` of the benchmark: lists of ten, everybody tuned with the same budget."""

import itertools
import json
from functools import cache
from pathlib import Path

import ml100k
import numpy as np
import pandas as pd
import surprise
from features import film_features, package_features
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender
from measure import cost, say
from rankers import EASE, L3AE, Carried, Cosine, Hybrid, Random, TruePopularity
from sklearn.feature_extraction.text import TfidfVectorizer
from threadpoolctl import threadpool_limits

from llmtok import (
    Dataset,
    ImplicitRecommender,
    InputError,
    Popularity,
    SurpriseRecommender,
    TextEncoder,
    TokenEASE,
    TokenSVD,
    load_dataset,
)
from llmtok.data import cache_folder
from llmtok.evaluation import beyond_accuracy, compare, evaluate_ranking, split, split_by_time, top_lists

HERE = Path(__file__).parent
K = 10
BUDGET = 12
SEEDS = range(5)
DATA = {  # what the table calls it, from which rating on an item is liked, and whether a rating says how much
    "movielens-small": ("movielens-small", 4.0, 2.0),
    "debian-packages": ("debian-packages", 1.0, 0.0),
    "movielens-100k": ("ML-100K", 4.0, 2.0),
}
NEIGHBOURS = {"cosine": CosineRecommender, "tf-idf": TFIDFRecommender, "bm25": BM25Recommender}
BASELINE, OURS = "EASE, tuned", "TokenEASE, text + title"
CARRIED = "EASE carried by text, kernel"
PACKAGES = [
    "implicit",
    "scikit-surprise",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "torch",
    "transformers",
]


@cache
def load(name: str) -> Dataset:
    return ml100k.load() if name == "movielens-100k" else load_dataset(name)


@cache
def encoded(name: str, template: str | None = None) -> pd.DataFrame:
    """Return the embeddings of the full text, or of another template."""
    data = load(name)
    texts = data.items["text"] if template is None else data.with_text(template).items["text"]
    return TextEncoder(progress=False).fit_transform(texts)


def grid(**lists) -> list[dict]:
    return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]


def searches(name: str) -> dict:
    """Return, for each model that is tuned, its 12 settings and how to make it of one."""
    _, liked, power = DATA[name]
    full = encoded(name)
    kinds = (
        (liked, None) if power else (None,)
    )  # learn from what was liked, or from everything that was rated
    penalties = (30, 60, 100, 200, 300, 600) if power else (5, 10, 15, 20, 30, 40, 60, 80, 100, 150, 200, 300)
    one = {"random_state": 0, "num_threads": 1}
    return {
        "item-KNN": (
            grid(kind=list(NEIGHBOURS), K=[50, 100, 200, 400]),
            lambda s: ImplicitRecommender(NEIGHBOURS[s["kind"]](K=s["K"], num_threads=1), liked),
        ),
        "ALS": (
            grid(factors=[16, 32, 64], alpha=[1.0, 10.0], regularization=[1.0, 10.0]),
            lambda s: ImplicitRecommender(AlternatingLeastSquares(**s, **one), liked),
        ),
        "BPR": (
            grid(factors=[32, 64, 128], learning_rate=[0.01, 0.05], iterations=[100, 300]),
            lambda s: ImplicitRecommender(BayesianPersonalizedRanking(**s, **one), liked),
        ),
        "EASE": (grid(l2=penalties, liked=kinds), lambda s: EASE(**s)),
        "L3AE": (
            grid(l2=[50, 100, 200] if power else [10, 20, 40], align=[10, 50], l2_text=[1, 10]),
            lambda s: L3AE(full, liked=liked, **s),
        ),
        "hybrid": (
            grid(weight=[0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5]),
            lambda s: Hybrid(EASE(**tuned(name)["EASE"]), Cosine(full, liked), **s),
        ),
    }


def carriers(name: str) -> dict:
    """Return the features by which something is carried to new items, in the order of the table."""
    data, full, title = load(name), encoded(name), encoded(name, "{title}")
    words = TfidfVectorizer(sublinear_tf=True, max_features=2000, stop_words="english")
    words = pd.DataFrame(words.fit_transform(data.items["text"]).toarray().astype("f4"), data.items.index)
    features = film_features(data.items) if name.startswith("movielens") else package_features(data.items)
    first, both = next(iter(features)), " + ".join(features)
    return {
        f"{first}, ridge": (features[first], False),
        f"{both}, ridge": (pd.concat(features.values(), axis=1), False),
        "TF-IDF, ridge": (words, False),
        "title, ridge": (title, False),
        "text, ridge": (full, False),
        "text, kernel ridge": (full, False),
        "EASE carried by text, ridge": (full, True),
        CARRIED: (full, True),
    }


def tuned(name: str) -> dict:
    """Return the settings that `tune` found on a data set."""
    path = HERE / "tuned.json"
    return json.loads(path.read_text(encoding="utf-8")).get("ranking", {}).get(name, {})


def tune(only: list[str], names=tuple(DATA)) -> None:
    """Choose settings on a fifth of the training ratings (of the items, for new items), and write them down.

    The rows of the table are then measured on the test fold, which is never looked at here.
    """
    for name in names:
        liked = DATA[name][1]
        try:
            train, test = next(split(next(split(load(name).ratings))[0], random_state=1))
        except InputError as error:
            say(f"{name} is left out: {error}")
            continue
        catalogue = _catalogue(train)
        test = _some_users(test[test["user_id"].isin(train["user_id"])])
        for model, (settings, make) in searches(name).items():
            if only and model not in only:
                continue
            if len(settings) != BUDGET:
                raise AssertionError(f"{model}: the same effort for everybody")
            found = {}
            for setting in settings:
                fitted = make(setting).fit(train)
                value = evaluate_ranking({"": fitted}, test, catalogue, k=K, liked=liked)[f"NDCG@{K}"].mean()
                found[json.dumps(setting)] = value
            _keep(name, model, json.loads(max(found, key=found.get)))
            say(f"{name} | {model} | {max(found, key=found.get)} | validation {max(found.values()):.4f}")
        if not only or "carried" in only:
            hidden = next(
                split(next(split(load(name).ratings, by="item_id"))[0], by="item_id", random_state=1)
            )
            _tune_carried(name, *hidden)


def _tune_carried(name, train, test):
    _, liked, _ = DATA[name]
    catalogue = _catalogue(test)
    test = _some_users(test[test["user_id"].isin(train["user_id"])])
    ease = tuned(name)["EASE"]
    for model, (features, carry) in carriers(name).items():
        values = {}
        for ridge in (0.3, 1.0, 3.0, 10.0, 100.0, 300.0):
            fitted = Carried(features, ease if carry else None, ridge, liked, "kernel" in model).fit(train)
            found = evaluate_ranking({"": fitted}, test, catalogue, k=K, liked=liked)
            values[ridge] = found[f"NDCG@{K}"].mean()
        _keep(name, model, {"ridge": max(values, key=values.get)})
        say(f"{name} | {model} | ridge {max(values, key=values.get)} | validation {max(values.values()):.4f}")


def _keep(name, model, setting):
    path = HERE / "tuned.json"
    kept = json.loads(path.read_text(encoding="utf-8"))
    kept.setdefault("ranking", {}).setdefault(name, {})[model] = setting
    path.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def _catalogue(ratings: pd.DataFrame) -> pd.Index:
    """Return the rated items in a drawn order: of equal scores the first wins, and the order must not tell anything."""
    items = np.sort(ratings["item_id"].unique())
    return pd.Index(np.random.default_rng(0).permutation(items))


def _some_users(test: pd.DataFrame, n: int = 2000) -> pd.DataFrame:
    """Return the ratings of at most `n` users, drawn: of more, the lists take longer than they tell."""
    users = test["user_id"].drop_duplicates().sort_values()
    return test[test["user_id"].isin(users.sample(min(n, len(users)), random_state=0))]


# --- lists from the whole catalogue ---


def models(name: str) -> dict:
    """Return the models of the table, by their names in it."""
    _, liked, power = DATA[name]
    found, made = tuned(name), searches(name)
    settings = json.loads((HERE / "tuned.json").read_text(encoding="utf-8"))
    full, title = encoded(name), encoded(name, "{title}")
    noise = pd.DataFrame(np.random.default_rng(0).normal(size=full.shape), index=full.index)
    best = {model: (lambda make=make, model=model: make(found[model])) for model, (_, make) in made.items()}
    rating = {
        "SVD, tuned": lambda: SurpriseRecommender(surprise.SVD(random_state=0, **settings["SVD"]["setting"])),
        "TokenSVD, text": lambda: TokenSVD(full),
    }
    return {
        "popularity": Popularity,
        **(rating if power else {}),  # where nearly all ratings are equal there is nothing to predict
        "cosine to the history's text": lambda: Cosine(full, liked),
        **{f"{model}, tuned": best[model] for model in ("item-KNN", "ALS", "BPR", "EASE", "L3AE")},
        "EASE + cosine, tuned": best["hybrid"],
        "TokenEASE, no text": lambda: TokenEASE(rating_power=power),
        "TokenEASE, random vectors": lambda: TokenEASE(noise, rating_power=power),
        "TokenEASE, text": lambda: TokenEASE(full, rating_power=power),
        OURS: lambda: TokenEASE(full, side={"title": title}, rating_power=power),
    }


def measure_ranking(name: str, model: str, kind: str) -> dict:
    """Fit one model and measure its lists."""
    _, liked, _ = DATA[name]
    ratings = load(name).ratings
    train, test = next(split(ratings)) if kind == "random" else split_by_time(ratings)
    test = test[test["user_id"].isin(train["user_id"])]
    catalogue = _catalogue(train)
    made = models(name)[model]()
    fitted, seconds, peak, before = cost(lambda: made.fit(train))
    values = evaluate_ranking({"": fitted}, test, catalogue, k=K, liked=liked).droplevel("model")
    lists = top_lists({"": fitted}, values.index, catalogue, k=K)
    return {
        "by user": {str(user): value for user, value in values[f"NDCG@{K}"].items()},
        "recall": float(values[f"recall@{K}"].mean()),
        **{what: float(value) for what, value in beyond_accuracy(lists, train, catalogue).iloc[0].items()},
        "fit seconds": seconds,
        "GB": peak - before,
    }


WHAT = ["recall", "coverage@10", "novelty@10", "fit seconds", "GB"]
RANKING_COLUMNS = [
    ["model", "s"],
    ["NDCG@10", ".4f"],
    ["less tuned EASE's", "+.4f"],
    ["from", "+.4f"],
    ["to", "+.4f"],
    ["p", ".2g"],
    ["recall@10", ".3f"],
    ["coverage@10", ".3f"],
    ["novelty@10", ".1f"],
    ["fit s", ".1f"],
    ["fit GB", ".2f"],
]


def ranking(only: list[str]) -> dict:
    """Measure the lists of every model on every data set, and return the section for results.json."""
    tables = []
    for name, (title, _, _) in DATA.items():
        try:
            timed = "timestamp" in load(name).ratings
        except InputError as error:
            say(f"{name} is left out: {error}")
            continue
        for kind in ["random", *["by time"] * timed]:
            found = {m: _measured(measure_ranking, only, name, m, kind) for m in models(name)}
            n = len(found[BASELINE]["by user"])
            against = _against(found, BASELINE)
            rows = [
                [m, np.mean(list(v["by user"].values())), *against[m], *(v[what] for what in WHAT)]
                for m, v in found.items()
            ]
            tables.append(
                {"title": f"{title}, split {_cut(kind)}, {n} users", "columns": RANKING_COLUMNS, "rows": rows}
            )
    note = (
        "Each user's ten best of all items that somebody rated in training and the user did not; hits are the liked "
        "test items (films: 4 stars or more; packages: all). *At random*: the first of five folds. *By time*: the last "
        "fifth; only users known from before are tested, which leaves few. p is that of the paired t-test by user, "
        "corrected for all rows (Benjamini and Hochberg). TokenEASE has its defaults. *Tuned*: the best of 12 settings "
        "on a fifth of the training ratings, by `python benchmarks/tune.py ranking`; see tuned.json. *Text* is full "
        "text, *title* the title alone as a second view. Seconds are processor seconds on one thread."
    )
    return {"seeds": "0 for models and splits, 1 for the inner split", "note": note, "tables": tables}


def _cut(kind):
    return "at random" if kind == "random" else kind


def _against(found, baseline):
    by_user = pd.DataFrame({m: v["by user"] for m, v in found.items()})
    table = compare(by_user, baseline)[["difference", "low", "high", "p corrected"]]
    return {m: [float(x) for x in table.loc[m]] if m != baseline else [None] * 4 for m in found}


def _measured(function, only, *arguments) -> dict:
    """Measure on one thread, or take what the last run left in the cache."""
    folder = cache_folder() / "benchmarks" / function.__name__
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{'-'.join(map(str, arguments))}.json"
    if not path.exists() or not only or any(word in arguments[1] for word in only):
        with threadpool_limits(1):
            path.write_text(json.dumps(function(*arguments)), encoding="utf-8")
        kept = json.loads(path.read_text(encoding="utf-8"))
        say(f"{' | '.join(map(str, arguments))} | NDCG@{K} {np.mean(list(kept['by user'].values())):.4f}")
    return json.loads(path.read_text(encoding="utf-8"))


# --- items that nobody has rated ---


def cold_models(name: str) -> dict:
    """Return the models of the cold table; each is fitted without the hidden items' ratings."""
    _, liked, power = DATA[name]
    full, title = encoded(name), encoded(name, "{title}")
    found = tuned(name)
    carried = {
        model: (
            lambda f=f, carry=carry, model=model: Carried(
                f, found["EASE"] if carry else None, found[model]["ridge"], liked, "kernel" in model
            )
        )
        for model, (f, carry) in carriers(name).items()
    }
    return {
        "random": lambda: Random(full.index),
        "true popularity (a cheat)": lambda: TruePopularity(load(name).ratings, liked),
        "cosine, not centred": lambda: Cosine(full, liked, centred=False),
        "cosine": lambda: Cosine(full, liked),
        **carried,
        "TokenSVD, text": lambda: TokenSVD(full),
        "TokenEASE, title": lambda: TokenEASE(title, rating_power=power),
        "TokenEASE, text": lambda: TokenEASE(full, rating_power=power),
        OURS: lambda: TokenEASE(full, side={"title": title}, rating_power=power),
        f"{OURS}, no rows": lambda: TokenEASE(full, side={"title": title}, rating_power=power, text_weight=0),
    }


def measure_cold(name: str, model: str) -> dict:
    """Hide a fifth of the items, five times; rank them alone, and among all."""
    _, liked, _ = DATA[name]
    ratings = load(name).ratings
    alone, among, share = {}, {}, []
    for seed in SEEDS:
        train, test = next(split(ratings, by="item_id", random_state=seed))
        test = _some_users(test[test["user_id"].isin(train["user_id"])])
        hidden = _catalogue(test)
        every = _catalogue(ratings)
        fitted = cold_models(name)[model]().fit(train)
        for kept, catalogue in ((alone, hidden), (among, every)):
            values = evaluate_ranking({"": fitted}, test, catalogue, k=K, liked=liked).droplevel("model")
            kept[seed] = values[f"NDCG@{K}"]
        lists = top_lists({"": fitted}, values.index[:500], every, k=K)
        share.append(float(lists["item_id"].isin(hidden).mean()))
    table = pd.DataFrame(alone)
    return {
        "by user": {
            str(user): value for user, value in table.mean(axis=1).items()
        },  # over the seeds they are in
        "by seed": [float(v) for v in table.mean()],
        "among all": float(pd.DataFrame(among).mean().mean()),
        "share": float(np.mean(share)),
    }


COLD_COLUMNS = [
    ["model", "s"],
    ["NDCG@10, hidden only", ".3f"],
    ["spread over draws", ".3f"],
    ["less carried EASE's", "+.3f"],
    ["from", "+.3f"],
    ["to", "+.3f"],
    ["p", ".2g"],
    ["NDCG@10, among all", ".3f"],
    ["share of lists", ".3f"],
]


def cold(only: list[str]) -> dict:
    """Measure how hidden items are ranked, and return the section for results.json."""
    tables = []
    for name, (title, _, _) in DATA.items():
        try:
            load(name)
        except InputError as error:
            say(f"{name} is left out: {error}")
            continue
        found = {m: _measured(measure_cold, only, name, m) for m in cold_models(name)}
        against = _against(found, CARRIED)
        rows = [
            [m, np.mean(v["by seed"]), np.std(v["by seed"]), *against[m], v["among all"], v["share"]]
            for m, v in found.items()
        ]
        tables.append({"title": title, "columns": COLD_COLUMNS, "rows": rows})
    note = (
        "A fifth of the items hidden whole, five draws; everything is fitted on the rest. *Hidden only*: the hidden "
        "items are ranked by themselves. *Among all*: all items are ranked, and only hidden ones are hits; *share* is "
        "that of the hidden items in the lists of 500 users. The mean over draws; differences and p by user (at most "
        "2,000 a draw), over the draws that a user is in, from *EASE carried by text, kernel*: EASE's scores of rated "
        "items carried to hidden ones by kernel ridge regression on the text. *Ridge* carries what users liked. "
        "The penalty is the best of six on a second hidden draw, inside the first draw's training items "
        "(`python benchmarks/tune.py ranking`); "
        "TokenEASE has its defaults."
    )
    return {"seeds": f"{', '.join(map(str, SEEDS))} for the draws", "note": note, "tables": tables}
