"""The kept table of notebook 09 is what its benchmark measured, with the functions that the notebook has now."""

import importlib.util
import json
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
BENCHMARK = ROOT / "benchmarks" / "train_encoder.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("train_encoder", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def result(benchmark):
    return json.loads(benchmark.RESULT.read_text(encoding="utf-8"))


def test_the_functions_are_those_that_were_measured(benchmark, result):
    for kind in benchmark.SEEDS:
        assert result[kind]["notebook"] == benchmark.fingerprint(), (
            "run `python benchmarks/train_encoder.py` again"
        )


def test_the_notebook_keeps_what_was_measured(benchmark, result):
    code = [cell.source for cell in nbformat.read(benchmark.NOTEBOOK, as_version=4).cells]
    kept = [source.split('"""')[1].strip() for source in code if source.startswith("KEPT_")]
    assert "\n".join(kept).splitlines() == result["films"]["table"] + result["packages"]["table"][1:]
    [curve] = [source for source in code if source.startswith("CURVE = {")]
    space = {}
    exec(curve.splitlines()[0], space)
    assert {str(steps): ndcg for steps, ndcg in space["CURVE"].items()} == result["films"]["curve"]["cosine"]


def test_the_benchmark_can_be_run_from_the_notebook_alone(benchmark):
    """All that it asks of the notebook is there."""
    space = {"__name__": "lesson"}
    exec("\n".join(benchmark.of_notebook()), space)
    asked = {
        "hide",
        "collaborative",
        "with_map",
        "liked_pairs",
        "lower_states",
        "contrast",
        "guess",
        "read",
        "HEADS",
    }
    assert asked <= set(space)
