"""The small BERT, GPT and T5: they load and are of one size, and nothing that notebook 10 tests was told to them."""

import runpy
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

from llmtok import TextEncoder
from llmtok.data import dataset_folder
from llmtok.evaluation import split

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("bert", "gpt", "t5")


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(ROOT / "data" / "make_small_models.py"))


@pytest.mark.parametrize("kind", KINDS)
def test_they_read(kind, script):
    encoder = TextEncoder(
        dataset_folder("small-models") / kind, max_length=script["LENGTH"], cache_dir=False, progress=False
    )
    vectors = encoder.transform(["Heat (1995). Action, Crime, Thriller", "Casino (1995). Crime, Drama", ""])
    assert vectors.shape == (3, script["WIDTH"]) and np.isfinite(vectors).all()
    assert encoder.report_["share of word pieces unknown"] == 0
    tokenizer, model = encoder.load()
    assert len(tokenizer) == script["N_PIECES"] and model.config.num_hidden_layers == script["LAYERS"]
    around = {"bert": ("[CLS]", "[SEP]"), "gpt": (), "t5": ("[SEP]",)}[kind]
    pieces = tokenizer.convert_ids_to_tokens(tokenizer("toy story")["input_ids"])
    assert [p for p in pieces if p not in around] == ["toy", "story"] and len(pieces) == 2 + len(around)


def test_they_are_small_and_of_one_size():
    files = sorted(dataset_folder("small-models").glob("*/model.safetensors"))
    sizes = [file.stat().st_size for file in files]
    assert len(files) == 3 and max(sizes) < 1.25 * min(sizes) and sum(sizes) < 15_000_000


def test_no_sentence_tells_what_is_tested(script, data):
    """No film that is hidden, nor a namesake of it; and no person who may be a test user."""
    document = nbformat.read(ROOT / "notebooks" / "10_bert_gpt_t5.ipynb", as_version=4)
    [knobs] = [cell.source for cell in document.cells if "parameters" in cell.metadata.get("tags", [])]
    given = {}
    exec(knobs, given)
    assert given["SEEDS"] == list(script["HIDING_SEEDS"]) and given["LIKED"] == script["LIKED"]
    people = np.sort(data.ratings["user_id"].unique())
    ratings, held_out = script["validation"](script["may_be_told"](data))
    assert not set(ratings["item_id"]) & set(held_out["item_id"])
    told = script["liked_films"](ratings)
    items = set(np.concatenate(told))
    for seed in given["SEEDS"]:
        _, test = next(split(data.ratings, by="item_id", random_state=seed))
        hidden = test["item_id"].unique()
        assert not items & set(hidden) and not set(data.items.title[list(items)]) & set(
            data.items.title[hidden]
        )
    liked = data.ratings[data.ratings["rating"] >= given["LIKED"]]
    may_speak = liked[liked["user_id"].isin(people[::2])].groupby("user_id")["item_id"].agg(set)
    assert all(any(set(films) <= own for own in may_speak) for films in told)
    assert len(told) <= len(may_speak) and pd.Index(people[::2]).intersection(people[1::2]).empty


def test_a_sentence(script, data):
    said = script["sentences"](data, [np.array([1, 2, 3, 6, 10, 16, 6])], np.random.default_rng(0))
    assert len(said) == 2 and all(text.startswith("a person liked: ") for text in said)
    titles = "; ".join(text.removeprefix("a person liked: ") for text in said).split("; ")
    assert sorted(titles) == sorted(data.items.title[[1, 2, 3, 6, 6, 10, 16]])


def test_what_is_cut_out_can_be_put_back(script):
    rng, gaps = np.random.default_rng(0), [script["SPECIAL"].index(gap) for gap in script["GAPS"]]
    for length in [*range(1, 40), 126]:
        ids = (100 + rng.integers(1000, size=length)).tolist()
        kept, answer = script["cut_out"](ids, rng)
        assert kept[-1] == answer[-1] == script["SEP"]
        spans, back = {}, []
        for piece in answer[:-1]:
            if piece in gaps:
                spans[piece] = []
            else:
                spans[list(spans)[-1]].append(piece)
        for piece in kept[:-1]:
            back += spans.get(piece, [piece])
        assert back == ids and list(spans) == gaps[: len(spans)] and all(spans.values())
        assert sum(map(len, spans.values())) == max(1, round(script["NOISE"] * length))
