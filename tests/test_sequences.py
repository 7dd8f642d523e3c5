"""What notebook 10b keeps of the long run is what the run wrote, and its settings are the best there."""

import ast
import json
import re
from pathlib import Path

import nbformat

from llmtok.notebooks import declared_parameters

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "notebooks" / "10b_predict_the_next_item.ipynb"
KEPT = json.loads((ROOT / "benchmarks" / "sequences.json").read_text(encoding="utf-8"))


def test_kept_numbers_are_those_of_the_file():
    [cell] = [c for c in nbformat.read(NOTEBOOK, as_version=4).cells if c.source.startswith("THREE_DATES = ")]
    shown = ast.literal_eval(ast.parse(cell.source).body[0].value)
    dates = KEPT["three dates"].values()
    assert shown == {name: [round(found[name], 3) for found in dates] for name in next(iter(dates))}


def test_settings_are_the_best_of_the_early_period():
    given, found = declared_parameters(NOTEBOOK), KEPT["early period"]

    def steps(name):
        return f"rate {given[name]['rate']:g}, dropout {given[name]['dropout']:g}, {given[name]['epochs']} epochs"

    chosen = {
        "popular of late": str(given["RECENT"]),
        "Markov chain": f"{given['SMOOTHING']:g}",
        "EASE": f"last {given['LAST']}, l2 {given['L2']:g}",
        "EASE, last ones + text": f"{given['TEXT_WEIGHT']:g}",
        "GPT": steps("GPT_PLAIN"),
        "GPT + text": steps("GPT_TEXT"),
        "SASRec-style": steps("GPT_BINARY"),
    }
    for model, setting in chosen.items():
        tried = {n: v for n, v in found.items() if re.fullmatch(rf"{re.escape(model)}, [^+]*", n)}
        # Less than half a thousandth is no better.
        assert tried[f"{model}, {setting}"] >= max(tried.values()) - 0.0005, tried
