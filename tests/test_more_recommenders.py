"""What notebook 12 keeps of the long run is what the run wrote, and everybody had the same number of tries."""

import ast
import importlib.util
import json
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "notebooks" / "12_more_recommenders.ipynb"
KEPT = json.loads((ROOT / "benchmarks" / "more_recommenders.json").read_text(encoding="utf-8"))


def script():
    spec = importlib.util.spec_from_file_location(
        "more_recommenders", ROOT / "benchmarks" / "more_recommenders.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def literal(name):
    """The table that a cell of the notebook writes out."""
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    statements = [
        node for c in cells if f"{name} = ".replace("'", '"') in c.source for node in ast.parse(c.source).body
    ]
    [value] = [node.value for node in statements if ast.unparse(node).startswith(f"{name} = ")]
    return ast.literal_eval(value)


def test_settings_are_the_best_that_were_tried():
    for of, settings in script().chosen(KEPT).items():
        assert literal(f"CHOSEN['{of}']") == settings


def test_everybody_had_six_tries():
    for of, models in script().SETTINGS.items():
        for name, settings in models.items():
            tried = KEPT["tried"][of][name]
            for found in [tried] if of == "stars" else tried.values():
                assert set(found) == {json.dumps(s) for s in settings} and len(found) == 6, (of, name)
