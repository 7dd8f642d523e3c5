"""Larger encoders on the yardstick of notebook 10: the published ones that are too large for a lesson.

Run `python benchmarks/encoders.py NAME=FOLDER ...`, such as `all-mpnet-base-v2=models/all-mpnet-base-v2`; a folder may
also be a name on the Hugging Face hub. Without names it tries the list below. A name that ends on ", last" is read by
its last piece. The cells of the notebook do the work, so that nobody is measured by another rule. What cannot be had is
named, and left out. Writes encoders.json; readers that were measured before stay in it.
"""

import argparse
import json
import tempfile
from pathlib import Path

import nbformat

HERE = Path(__file__).parent
NOTEBOOK = HERE.parent / "notebooks" / "10_bert_gpt_t5.ipynb"
FROM_THE_HUB = {
    "all-mpnet-base-v2": "sentence-transformers/all-mpnet-base-v2",
    "bert-base-uncased": "google-bert/bert-base-uncased",
    "gpt2": "openai-community/gpt2",
    "gpt2, last": "openai-community/gpt2",
    "t5-small": "google-t5/t5-small",
    "gte-modernbert-base": "Alibaba-NLP/gte-modernbert-base",
}
UNTRAINED = "all-MiniLM-L6-v2, untrained"  # made here: the bundled form, its weights drawn at random


def run(given: dict) -> dict:
    """Run the notebook's cells up to its table of results, with other parameters; return its variables."""
    known = {}
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type != "code" or "remove-cell" in tags:
            continue
        exec(cell.source, known)
        if "parameters" in tags:
            known |= given
        if "means" in known:
            return known
    raise SystemExit(f"{NOTEBOOK}: no table `means`")


def untrained() -> str:
    """Make a folder with the bundled model's form, its weights drawn at random."""
    import torch
    from transformers import AutoModel

    from llmtok import TextEncoder

    to = tempfile.mkdtemp()
    tokenizer, model = TextEncoder().load()
    torch.manual_seed(0)
    AutoModel.from_config(model.config).save_pretrained(to)
    tokenizer.save_pretrained(to)
    return to


def measure(readers: dict[str, str], kinds: list[str]) -> dict:
    """Return for each reader that could be had its NDCG of new items, and what it costs."""
    known = run({"MORE_READERS": readers, "MORE_KINDS": kinds})
    baseline, found = "MiniLM", {}
    for name in [name for name in readers if name in known["ENCODERS"]]:
        encoder = known["ENCODERS"][name]
        own = {"megabytes": round(known["weights"](encoder.load()[1]) * 4 / 1e6, 1)}
        own["numbers"] = known["vectors"][kinds[0]][name].shape[1]
        for (kind, head), rows in known["results"].groupby(["kind", "head"], sort=False):
            if kind in kinds:
                table = rows.pivot_table(index="user", columns="reader", values="NDCG", sort=False)
                tested = known["compare"](table[[baseline, name]], baseline)
                low, high = tested[["low", "high"]].iloc[0].round(3)
                own[f"{kind}, {head}"] = {
                    "NDCG": round(float(known["means"].loc[name, (kind, head)]), 3),
                    "less MiniLM": [round(float(tested["difference"].iloc[0]), 3), float(low), float(high)],
                }
        found[name] = own
    return found


def main(readers: dict[str, str], kinds: list[str]) -> None:
    """Measure, and add to what was measured before."""
    file = HERE / "encoders.json"
    kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if UNTRAINED in readers:
        readers[UNTRAINED] = untrained()
    found = measure(readers, kinds)
    for name in readers.keys() - found.keys():
        print(f"not measured: {name}")
    for name, own in found.items():
        kept[name] = {**kept.get(name, {}), **own}
    file.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("readers", nargs="*", metavar="NAME=FOLDER")
    parser.add_argument("--kinds", nargs="+", default=["films"], choices=["films", "packages"])
    given = parser.parse_args()
    asked = dict(reader.split("=", 1) if "=" in reader else (reader, "") for reader in given.readers)
    main(asked or {UNTRAINED: "", **FROM_THE_HUB}, given.kinds)
