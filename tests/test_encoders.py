"""What notebook 10 keeps of the larger encoders is what the benchmark measured."""

import ast
import json
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "notebooks" / "10_bert_gpt_t5.ipynb"
KEPT = json.loads((ROOT / "benchmarks" / "encoders.json").read_text(encoding="utf-8"))


def test_kept_numbers_are_those_of_the_file():
    [statement] = [
        node
        for cell in nbformat.read(NOTEBOOK, as_version=4).cells
        if "LARGER = {" in cell.source
        for node in ast.parse(cell.source).body
        if isinstance(node, ast.Assign)
    ]
    shown = ast.literal_eval(statement.value)
    heads = ("films, cosine", "films, ridge")
    assert shown == {
        name: [own["megabytes"], own["numbers"], *(own[head]["NDCG"] for head in heads)]
        for name, own in KEPT.items()
    }
