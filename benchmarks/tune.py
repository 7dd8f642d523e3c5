"""Choose hyper-parameters inside training data, with the same budget for everybody: `python benchmarks/tune.py`.

For each of the five folds of the course, a tenth of the fold's *training* ratings is set aside for validation, and
each model tries 12 settings on the rest. The test fold is never looked at. What wins on each fold, and by how much,
is written to benchmarks/tuned.json; a model's setting in the course is the one that wins on average over the folds'
validation sets.
"""

import itertools
import json
from pathlib import Path

import pandas as pd
import surprise

from llmtok import TextEncoder, TokenSVD, evaluate, load_dataset, make_tokens
from llmtok.evaluation import split

BUDGET = 12


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


def main() -> None:
    """Search, and write what was found."""
    data = load_dataset("movielens-small")
    embeddings = TextEncoder().fit_transform(data.items.text)
    searches = {
        "SVD": (
            grid(n_factors=[50, 200], n_epochs=[30, 60], lr_all=[0.01], reg_all=[0.05, 0.1, 0.15]),
            lambda setting: surprise.SVD(random_state=0, **setting),
        ),
        "TokenSVD": (
            grid(n_factors=[5, 10, 20], n_components=[20, 50, 100, 200]),
            lambda setting: TokenSVD(
                embeddings, reducer=make_tokens(setting["n_components"]), n_factors=setting["n_factors"]
            ),
        ),
    }
    # The tenth of a shuffled training set that serves for validation is the first of ten folds of it.
    inner = [next(split(train, 10, random_state=1)) for train, _ in split(data.ratings)]
    found = {
        "command": "python benchmarks/tune.py",
        "data": data.name,
        "text": data.text_template,
        "budget": BUDGET,
    }
    for name, (settings, make) in searches.items():
        assert len(settings) == BUDGET, "the same effort for every model"
        errors = {}
        for setting in settings:
            errors[json.dumps(setting)] = evaluate({name: make(setting)}, inner)["RMSE"].to_numpy()
            print(name, setting, errors[json.dumps(setting)].mean().round(4), flush=True)
        table = pd.DataFrame(errors).T
        found[name] = {
            "setting": json.loads(table.mean(axis=1).idxmin()),
            "validation RMSE": round(float(table.mean(axis=1).min()), 4),
            "winner on each fold": [json.loads(table[fold].idxmin()) for fold in table],
        }
    found["TokenSVD.weight_power"] = weights(data.ratings, embeddings)
    Path(__file__).with_name("tuned.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
