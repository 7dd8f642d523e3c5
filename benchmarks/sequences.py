"""Choose the settings of notebook 10b inside its training data, and repeat its verdict at three other dates.

``python benchmarks/sequences.py search`` measures every setting in the early period, and then ``python
benchmarks/sequences.py`` measures the best ones at each date; both write their part of
``sequences.json``. The models are those of the notebook: its own cells are run up to the heading of section 6 that says
how many passes are made.
"""

from __future__ import annotations

import json
import sys
from itertools import product
from pathlib import Path

import nbformat
import numpy as np
import torch

HERE = Path(__file__).resolve().parent
NOTEBOOK = HERE.parent / "notebooks" / "10b_predict_the_next_item.ipynb"
RESULT = HERE / "sequences.json"
DATES = [(0.5, 0.65), (0.65, 0.8), (0.8, 1.0)]  # learn before one share of the ratings, test up to the next
NETWORKS = {
    "GPT": "GPT_PLAIN",
    "GPT + text": "GPT_TEXT",
    "SASRec-style": "GPT_BINARY",
}  # and the notebook's settings
TRIED = [
    {"epochs": epochs, "rate": rate, "dropout": dropout}
    for rate, dropout, epochs in product((0.001, 0.003), (0.2, 0.4), (4, 8, 16))
]


def lesson() -> dict:
    """Run the notebook's cells until it has its models, and return its names."""
    names: dict = {}
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if cell.source.startswith("How many passes?"):
            return names
        if cell.cell_type == "code" and "remove-cell" not in cell.metadata.get("tags", []):
            exec(cell.source, names)
    raise LookupError("the notebook has no cell that begins with 'How many passes?'")


def how(network: str, tokens) -> dict:
    """Return what makes a network more than the plain GPT."""
    more = {"GPT + text": {"tokens": torch.tensor(tokens)}, "SASRec-style": {"binary": True}}
    return more.get(network, {})


def named(setting: dict) -> str:
    """Name a setting, as the kept result does."""
    return f"rate {setting['rate']:g}, dropout {setting['dropout']:g}, {setting['epochs']} epochs"


def search(nb: dict, tokens) -> dict[str, float]:
    """Measure every setting in the early period: NDCG@10, each person counted once."""
    early, train, found = nb["early"], nb["early"]["train"], {}

    def told(name, score):
        found[name] = round(float(nb["mean_ndcg"](score, early)), 4)
        print(name, found[name], flush=True)

    told("popular", nb["popularity"](train))
    for recent in (1000, 3000, 10000):
        told(f"popular of late, {recent}", nb["popularity"](train, recent))
    for smoothing in (10.0, 100.0, 300.0, 1000.0):
        told(f"Markov chain, {smoothing:g}", nb["markov"](train, smoothing))
    for last, l2 in product((0, 1, 3, 5, 10), (100.0, 300.0, 1000.0)):
        told(f"EASE, last {last or 'all'}, l2 {l2:g}", nb["ease"](train, l2, last))
    for weight in (1.0, 10.0, 100.0):
        rows = np.float32(weight**0.5) * tokens.T
        told(f"EASE, last ones + text, {weight:g}", nb["ease"](train, last=nb["LAST"], rows=rows))
    for network in NETWORKS:
        for setting in TRIED:
            model = nb["gpt"](train, **setting, **how(network, tokens))
            told(f"{network}, {named(setting)}", nb["scorer"](model))
    return found


def repeat(nb: dict, embeddings) -> dict:
    """Learn before each date, test up to the next: each person's mean over their moments."""
    ends = {}
    for start, end in DATES:
        p = nb["period"](start, end)
        tokens = tokens_of(nb, embeddings, p)
        rows = np.float32(nb["TEXT_WEIGHT"] ** 0.5) * tokens.T
        models = {
            "popular": nb["popularity"](p["train"]),
            "Markov chain": nb["markov"](p["train"]),
            "EASE": nb["ease"](p["train"]),
            "EASE, last ones": nb["ease"](p["train"], last=nb["LAST"]),
            "EASE, last ones + text": nb["ease"](p["train"], last=nb["LAST"], rows=rows),
        }
        for network, chosen in NETWORKS.items():
            models[network] = nb["scorer"](nb["gpt"](p["train"], **nb[chosen], **how(network, tokens)))
        ends[f"{start:g} to {end:g}"] = {"people": int(p["tested"]["user_id"].nunique())} | {
            name: round(float(nb["mean_ndcg"](score, p)), 4) for name, score in models.items()
        }
        print(ends, flush=True)
    return ends


def tokens_of(nb: dict, embeddings, p):
    known = embeddings.iloc[: p["n_known"]]
    return nb["make_tokens"](nb["TOKEN_LENGTH"]).fit(known).transform(embeddings).to_numpy("f4")


if __name__ == "__main__":
    nb = lesson()
    embeddings = nb["TextEncoder"]().fit_transform(nb["films"].items["text"]).reindex(nb["items"])
    kept = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    if sys.argv[1:] == ["search"]:
        kept["early period"] = search(nb, tokens_of(nb, embeddings, nb["early"]))
    else:
        kept["three dates"] = repeat(nb, embeddings)
    RESULT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
