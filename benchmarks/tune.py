"""Choose hyper-parameters inside training data, with the same budget for everybody: `python benchmarks/tune.py`.

For each of the five folds of the course (myFM, which is slow: for the first two), a tenth of the fold's *training*
ratings is set aside for validation, and each model tries 12 settings on the rest. The test fold is never looked at.
What wins on each fold, and by how much, is written to benchmarks/tuned.json; a model's setting in the course is the
one that wins on average over the folds' validation sets. `python benchmarks/tune.py myFM` searches for one model again
and keeps the others; there are SVD, KNNBaseline, myFM, TokenSVD and weight_power. myFM and TokenSVD have genre and
decade of the films, TokenSVD the tokens of the full text as well. `ranking` searches for the models of the sections
ranking and cold, by NDCG and on each of their data sets; ranking.py has the settings.
"""

import itertools
import json
import sys
from pathlib import Path

import pandas as pd
import surprise
from features import film_features
from peers import MyFM, import_myfm

from llmtok import InputError, TextEncoder, TokenSVD, evaluate, load_dataset
from llmtok.evaluation import split

BUDGET = 12
FOLDS = {"myFM": 2}  # a search of myFM's over all five takes most of an hour
SEARCHES = ("SVD", "KNNBaseline", "myFM", "TokenSVD", "weight_power", "ranking")


def grid(**lists) -> list[dict]:
    """All combinations, as `sklearn.model_selection.ParameterGrid` has them."""
    return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]


def weights(ratings: pd.DataFrame, embeddings: pd.DataFrame) -> dict:
    """Return the validation RMSE for known and new items, by how much an item's ratings count when `W` is learned.

    Inside the training part of the first fold of each kind. It decides for one model, so no rival has a budget here.
    """
    known = next(split(next(split(ratings))[0], 10, random_state=1))
    new = next(split(next(split(ratings, by="item_id"))[0], by="item_id", random_state=1))
    rows = {}
    for power in (0.0, 0.25, 0.5, 0.75, 1.0):
        model = TokenSVD(embeddings)
        model.weight_power = power
        found = [evaluate({"": model}, [fold])["RMSE"].iloc[0] for fold in (known, new)]
        rows[str(power)] = dict(
            zip(("known items", "new items"), (round(float(f), 4) for f in found), strict=True)
        )
        print("weight_power", power, rows[str(power)], flush=True)
    return rows


def main(names: list[str]) -> None:
    """Search for the named models, or for all, and write what was found."""
    if unknown := set(names) - set(SEARCHES):
        raise InputError(f"no search is called {', '.join(unknown)}; there are {', '.join(SEARCHES)}")
    names = names or list(SEARCHES)
    data = load_dataset("movielens-small")
    embeddings = TextEncoder().fit_transform(data.items.text)
    film = film_features(data.items)
    similarities = [
        {"name": "msd"},
        {"name": "pearson_baseline", "shrinkage": 30},
        {"name": "pearson_baseline", "shrinkage": 100},
    ]
    searches = {
        "SVD": (
            grid(n_factors=[50, 200], n_epochs=[30, 60], lr_all=[0.01], reg_all=[0.05, 0.1, 0.15]),
            lambda setting: surprise.SVD(random_state=0, **setting),
        ),
        "KNNBaseline": (
            grid(k=[30, 60], user_based=[True, False], similarity=similarities),
            lambda setting: surprise.KNNBaseline(
                setting["k"],
                sim_options={**setting["similarity"], "user_based": setting["user_based"]},
                verbose=False,
            ),
        ),
        "myFM": (
            grid(rank=[5, 10, 20], n_iter=[300], ordered=[False, True], implicit=[False, True]),
            lambda setting: MyFM(side=film, **setting),
        ),
        "TokenSVD": (
            grid(n_factors=[10, 20], n_epochs=[20, 40], n_audience=[50, 100, 200]),
            lambda setting: TokenSVD(embeddings, side=film, **setting),
        ),
    }
    # The tenth of a shuffled training set that serves for validation is the first of ten folds of it.
    inner = [next(split(train, 10, random_state=1)) for train, _ in split(data.ratings)]
    path = Path(__file__).with_name("tuned.json")
    found = json.loads(path.read_text()) if path.exists() else {}
    found |= {
        "command": "python benchmarks/tune.py",
        "data": data.name,
        "text": data.text_template,
        "budget": BUDGET,
    }
    for name, (settings, make) in searches.items():
        assert len(settings) == BUDGET, "the same effort for every model"
        if name not in names:
            continue
        try:
            if name == "myFM":
                import_myfm()
        except InputError as error:
            print(error)
            continue
        folds, errors = inner[: FOLDS.get(name)], {}
        for setting in settings:
            errors[json.dumps(setting)] = evaluate({name: make(setting)}, folds)["RMSE"].to_numpy()
            print(name, setting, errors[json.dumps(setting)].mean().round(4), flush=True)
        table = pd.DataFrame(errors).T
        found[name] = {
            "setting": json.loads(table.mean(axis=1).idxmin()),
            "validation RMSE": round(float(table.mean(axis=1).min()), 4),
            "folds": len(folds),
            "winner on each fold": [json.loads(table[fold].idxmin()) for fold in table],
        }
        path.write_text(json.dumps(found, indent=2) + "\n")
    if "weight_power" in names:
        found["TokenSVD.weight_power"] = weights(data.ratings, embeddings)
        path.write_text(json.dumps(found, indent=2) + "\n")
    if "ranking" in names:
        from ranking import tune  # here: it imports a lot

        tune([])


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.exit(f"tune.py: {error}")
