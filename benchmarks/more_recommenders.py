"""Choose the settings of notebook 12 inside its training data.

Run as ``python benchmarks/more_recommenders.py``; it writes ``more_recommenders.json`` beside itself: every setting
that was tried with its validation score, six for each model. What is there already is not tried again. The models are
those of the notebook: its own definitions are run.
"""

from __future__ import annotations

import ast
import itertools
import json
from pathlib import Path

import nbformat

HERE = Path(__file__).resolve().parent
NOTEBOOK = HERE.parent / "notebooks" / "12_more_recommenders.ipynb"
KEPT = HERE / "more_recommenders.json"
TABLES = {"FEATURES", "LINEAR", "TOWERS", "NEW", "labels"}  # of the notebook, beside its definitions
STARS = (
    'd = asked["films"]',
    "def judge",
    "base = ",
    "alike = ",
    "def arrays",
    "tokens = ",
    "nothing = ",
    "def periods",
)


def grid(**lists) -> list[dict]:
    return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]


HYBRID = grid(epochs=[5, 10], decay=[0.01, 0.03, 0.06])
ALONE = grid(epochs=[5, 15], decay=[0.0, 0.01, 0.03])  # without vectors of the items
SETTINGS = {
    "known": {
        "user neighbours": grid(k=[20, 50, 150], shrink=[0, 20]),
        "item neighbours": grid(k=[20, 100, 400], shrink=[0, 20]),
        "content": grid(length=[20, 50, 100, 200, 300, 384]),
        "SVD": grid(factors=[8, 16, 32, 64, 128, 256]),
        "NMF": grid(factors=[8, 16, 32, 48, 64, 96]),
        "iALS": grid(factors=[16, 64, 128], l2=[3.0, 10.0]),
        "EASE": grid(l2=[5.0, 15.0, 50.0, 150.0, 300.0, 600.0]),
        "TokenEASE": grid(l2=[4.0, 8.0, 16.0], text_weight=[10.0, 30.0]),
        "BPR, no features": HYBRID,
        "hybrid, labels": HYBRID,
        "hybrid, tokens": grid(epochs=[10], decay=[0.01, 0.03, 0.06], length=[50, 384]),
        "NeuMF": grid(epochs=[20, 30, 60], decay=[0.003, 0.01]),
        "towers": grid(epochs=[2, 4, 8], heat=[0.1, 0.2], length=[384]),
    },
    "new": {
        "content": grid(length=[20, 50, 100, 200, 300, 384]),
        "kernel ridge": grid(ridge=[0.1, 0.3, 1.0, 3.0, 10.0, 30.0]),
        "EASE carried over": grid(ridge=[0.1, 0.3, 1.0, 3.0, 10.0, 30.0]),
        "TokenEASE": grid(l2=[4.0, 8.0, 16.0], text_weight=[10.0, 30.0]),
        "hybrid, labels": ALONE,
        "hybrid, tokens": grid(epochs=[5, 15], decay=[0.0, 0.01, 0.03], length=[384]),
        "towers": grid(epochs=[1, 4, 12], heat=[0.1, 0.2], length=[384]),
    },
    "stars": {
        "user neighbours": grid(k=[20, 40, 80], shrink=[20, 100]),
        "item neighbours": grid(k=[10, 20, 40], shrink=[1.0, 4.0]),
        "content": grid(l2=[1.0, 3.0, 10.0, 30.0, 100.0, 300.0]),
        "SVD": grid(n_factors=[20, 50], n_epochs=[30, 60], lr_all=[0.01], reg_all=[0.1])
        + grid(n_factors=[20, 50], n_epochs=[30], lr_all=[0.01], reg_all=[0.05]),
        "SVD++": grid(n_factors=[10], n_epochs=[10, 20], reg_all=[0.02, 0.05, 0.1]),
        "NMF": grid(n_factors=[5, 15, 30], reg_pu=[0.06, 0.15]),
        "machine, ids alone": grid(epochs=[3, 6, 12], decay=[0.1, 0.3]),
        "machine, labels": grid(epochs=[3, 6, 12], decay=[0.1, 0.3]),
        "tensor, no time": grid(rank=[4, 8], l2=[5.0, 10.0, 20.0]),
        "tensor": grid(
            pull=[10.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0]
        ),  # beside the other's rank and ridge
    },
}


def cells() -> list[str]:
    read = nbformat.read(NOTEBOOK, as_version=4).cells
    code = [
        c.source for c in read if c.cell_type == "code" and "remove-cell" not in c.metadata.get("tags", [])
    ]
    return code[
        : next(n for n, source in enumerate(code) if source.startswith("# How the answer is checked"))
    ]


def lesson() -> dict:
    """Run what the notebook defines, and none of its trainings; return its names."""
    nb: dict = {}
    first = next(n for n, source in enumerate(cells()) if source.startswith("asked = "))
    for n, source in enumerate(cells()):
        for node in ast.parse(source).body:
            named = {
                t.id
                for t in getattr(node, "targets", [getattr(node, "target", None)])
                if isinstance(t, ast.Name)
            }
            defined = isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom))
            if n < first or defined or named & {"worth", "CHOSEN", "results", *TABLES}:
                exec(compile(ast.Module([node], []), str(NOTEBOOK), "exec"), nb)
    nb["results"], nb["seconds"], nb["weights"] = {}, {}, {}
    return nb


def lists(nb: dict, of: str, name: str):
    """Return the function of a model that makes lists."""
    if of == "new":
        return nb["NEW"][name]
    if name in nb["FEATURES"]:
        return nb["with_features"](name)
    own = {"user neighbours": "user_neighbours", "item neighbours": "item_neighbours", "NeuMF": "neumf"}
    return nb["LINEAR"].get(name) or nb[own.get(name, name)]


def tried(kept: dict, *where: str) -> dict:
    for key in where:
        kept = kept.setdefault(key, {})
    return kept


def search(nb: dict, kept: dict) -> None:
    """Try six settings of each model on a part of the training data: NDCG of lists."""
    for of, kind in itertools.product(("known", "new"), nb["data"]):
        d = None
        for name, settings in SETTINGS[of].items():
            found = tried(kept, "tried", of, name, kind)
            for setting in settings:
                if json.dumps(setting) in found:
                    continue
                d = d or nb["question"](kind, by=None if of == "known" else "item_id", inner=True)
                if name == "EASE carried over":
                    nb["CHOSEN"]["known"] = {"EASE": {kind: best(kept, "known", "EASE", kind)}}
                value = nb["ndcg"](lists(nb, of, name)(d, **setting), d).mean()
                note(kept, found, setting, value, of, name, kind)


def search_stars(nb: dict, kept: dict) -> None:
    """Do the same for stars: RMSE by user, lower is better."""
    if all(len(tried(kept, "tried", "stars", name)) == 6 for name in SETTINGS["stars"]):
        return
    nb["asked"] = {"films": nb["question"]("films", inner=True)}
    nb["CHOSEN"]["stars"] = {}
    for source in cells():
        if source.startswith(STARS):
            for node in ast.parse(source).body:
                if (
                    "judge(" not in ast.unparse(node)
                    or isinstance(node, ast.FunctionDef)
                    or "base" in source[:4]
                ):
                    exec(compile(ast.Module([node], []), str(NOTEBOOK), "exec"), nb)
    seed, period = {"random_state": nb["RANDOM_STATE"]}, (nb["period"], nb["period_t"])
    library, surprise = nb["of_library"], nb["surprise"]
    models = {
        "user neighbours": lambda k, shrink: library(
            surprise.KNNBaseline(k, sim_options=nb["alike"] | {"shrinkage": shrink}, verbose=False)
        ),
        "item neighbours": nb["star_neighbours"],
        "content": lambda l2: nb["star_content"](nb["tokens"], l2),
        "SVD": lambda **s: library(surprise.SVD(**s, **seed)),
        "SVD++": lambda **s: library(surprise.SVDpp(**s, **seed)),
        "NMF": lambda **s: library(surprise.NMF(**s, **seed)),
        "machine, ids alone": lambda **s: nb["machine"](nb["nothing"], **s),
        "machine, labels": lambda **s: nb["machine"](nb["labels"]["films"], **s),
        "tensor, no time": lambda **s: nb["tensor"](*period, **s),
        "tensor": lambda **s: nb["tensor"](*period, **s, **best(kept, "stars", "tensor, no time")),
    }
    for name, settings in SETTINGS["stars"].items():
        found = tried(kept, "tried", "stars", name)
        for setting in settings:
            if json.dumps(setting) not in found:
                note(kept, found, setting, nb["judge"](name, models[name](**setting)), "stars", name)


def note(kept, found, setting, value, *where) -> None:
    found[json.dumps(setting)] = round(float(value), 4)
    print(*where, setting, f"{value:.4f}", flush=True)
    KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def best(kept: dict, of: str, name: str, kind: str | None = None) -> dict:
    """Return the setting of the best validation score: the highest NDCG, the lowest RMSE."""
    found = kept["tried"][of][name]
    if of == "stars":
        return json.loads(min(found, key=found.get))
    return json.loads(max(found[kind], key=found[kind].get))


def chosen(kept: dict) -> dict:
    """Return the settings as the notebook has them."""
    kinds = ("films", "packages")
    both = {
        of: {n: {k: best(kept, of, n, k) for k in kinds} for n in SETTINGS[of]} for of in ("known", "new")
    }
    return both | {"stars": {name: best(kept, "stars", name) for name in SETTINGS["stars"]}}


if __name__ == "__main__":
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    nb = lesson()
    search(nb, kept)
    search_stars(nb, kept)
