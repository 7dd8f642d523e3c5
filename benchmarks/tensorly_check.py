"""Check the tensor decomposition of notebook 12 against TensorLy, which the course does not install.

Run as ``python benchmarks/tensorly_check.py`` where the package tensorly is installed (``pip install tensorly``).
The two decompose the same full tensors; where their errors differ, it stops.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
from scipy import sparse as sp
from tensorly.decomposition import parafac

NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "12_more_recommenders.ipynb"
SHAPES = [(12, 10, 6), (20, 15, 8), (30, 20, 10)]
RANK = 3


def of_notebook(*names: str) -> list:
    """Return functions as the notebook defines them."""
    found = {"np": np, "sp": sp, "RANDOM_STATE": 0}
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        if any(f"def {name}(" in "".join(cell["source"]) for name in names):
            for node in ast.parse("".join(cell["source"])).body:
                if isinstance(node, ast.FunctionDef) and node.name in names:
                    exec(compile(ast.Module([node], []), str(NOTEBOOK), "exec"), found)
    return [found[name] for name in names]


def main() -> None:
    _, decompose = of_notebook("solve_side", "decompose")
    for shape in SHAPES:
        for noise in (0.1, 0.3):
            rng = np.random.default_rng(0)
            parts = [rng.normal(size=(n, RANK)) for n in shape]
            full = np.einsum("af,bf,cf->abc", *parts) + noise * rng.normal(size=shape)
            cells = np.indices(shape).reshape(3, -1)
            sides = decompose(cells, shape, full.ravel(), RANK, 1e-6, 1e-6, rounds=300)
            ours = np.linalg.norm(np.einsum("af,bf,cf->abc", *sides) - full)
            kept = parafac(full, RANK, n_iter_max=1000, tol=1e-10, random_state=0).to_tensor()
            theirs = np.linalg.norm(kept - full)
            print(shape, f"noise {noise}: ours leaves {ours:.4f}, TensorLy {theirs:.4f}")
            assert np.isclose(ours, theirs, rtol=1e-3)


if __name__ == "__main__":
    main()
