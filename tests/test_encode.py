"""The text encoder: the numbers are those of a plain computation, and the cache never gives others."""

import logging
import os
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from llmtok import InputError, TextEncoder, make_tokens
from llmtok import encode as module

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] toy story a b c ##s".split()
TEXTS = ["toy story", "a b c", "toys", "", "story story story a", "b", "zebra a", "a b c"]


def refused(function, *args, **kwargs):
    """Call, and return the one line of the InputError that it must raise."""
    with pytest.raises(InputError) as caught:
        function(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A BERT of two small layers and random weights, in a folder; it encodes in milliseconds."""
    return make_checkpoint(tmp_path_factory.mktemp("tiny"), seed=0)


def make_checkpoint(folder, seed):
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    torch.manual_seed(seed)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=len(WORDS), max_position_embeddings=128, **shape)
    BertModel(config).save_pretrained(folder)
    tokenizer = BertTokenizerFast(vocab={w: i for i, w in enumerate(WORDS)}, model_max_length=128)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def encoder(tiny, tmp_path):
    """Make an encoder on the tiny model with a cache of its own."""

    def _encoder(**settings):
        return TextEncoder(
            **({"model": tiny, "cache_dir": tmp_path, "progress": False, "n_threads": 1} | settings)
        )

    return _encoder


def by_hand(tokenizer, model, texts, max_length=128):
    """Encode with padding, an attention mask, and the mean over what is not padding."""
    import torch

    inputs = tokenizer(texts, padding=True, truncation=True, max_length=max_length, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"][:, :, None]
    return ((hidden * mask).sum(1) / mask.sum(1)).numpy()


def shards(folder):
    return sorted(folder.rglob("*.safetensors"))


def must_not_load(*args):
    raise AssertionError("the model was loaded")


# --- The numbers --------------------------------------------------------------------------------------------


def test_bundled_model_equals_the_plain_computation():
    texts = [
        "Toy Story (1995). Animation",
        "",
        "Heat",
        "東京物語 (Tôkyô monogatari) (1953). Drama",
        "x " * 300,
        "Heat",
    ]
    encoder = TextEncoder(cache_dir=False, progress=False)
    made = encoder.transform(texts)
    assert made.shape == (6, 384) and made.dtype == np.float32
    np.testing.assert_allclose(made, by_hand(*encoder.load(), texts), atol=1e-5)


def test_bundled_model_equals_sentence_transformers():
    library = pytest.importorskip("sentence_transformers")
    folder, _ = module.checkpoint()
    rival = library.SentenceTransformer(str(folder), device="cpu")
    texts = [
        "Toy Story (1995). Animation",
        "Heat",
        "The Good, the Bad and the Ugly (1966). Western",
        "x " * 300,
    ]
    rival.max_seq_length = 128
    expected = rival.encode(texts, normalize_embeddings=False, show_progress_bar=False)
    made = TextEncoder(cache_dir=False, progress=False).transform(texts)
    made /= np.linalg.norm(
        made, axis=1, keepdims=True
    )  # the published pipeline scales to unit length; we do not
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(made, expected, atol=1e-5)


def test_cached_embeddings_of_the_bundled_data_are_right(data, embeddings):
    assert embeddings.index.equals(data.items.index) and embeddings.shape == (9066, 384)
    texts = data.items.text.sample(40, random_state=0)
    expected = by_hand(*TextEncoder().load(), texts.tolist())
    np.testing.assert_allclose(embeddings.loc[texts.index], expected, atol=1e-5)


@pytest.mark.parametrize(
    "settings", [{}, {"batch_size": 1}, {"batch_size": 3, "n_threads": 2}, {"n_threads": None}]
)
def test_any_batches_and_threads_give_the_plain_computation(encoder, settings, monkeypatch):
    monkeypatch.setattr(module, "_SHARD", 5)
    encoder = encoder(cache_dir=False, **settings)
    texts = [*TEXTS, *(f"a {'b ' * (n % 9)}c" for n in range(40))]
    expected = by_hand(*encoder.load(), texts)
    np.testing.assert_allclose(encoder.transform(texts), expected, atol=1e-5)
    np.testing.assert_allclose(encoder.transform(texts[::-1]), expected[::-1], atol=1e-5)


def test_one_thread_and_two_agree_on_the_bundled_model(data):
    texts = data.items.text.iloc[:150]
    one, two = (TextEncoder(cache_dir=False, progress=False, n_threads=n).transform(texts) for n in (1, 2))
    np.testing.assert_allclose(one, two, atol=1e-5)


def test_series_in_frame_out(encoder):
    series = pd.Series(TEXTS, index=[f"i{n}" for n in range(8)][::-1], name="text").rename_axis("item_id")
    frame = encoder().fit_transform(series)
    array = encoder().fit_transform(TEXTS)
    assert isinstance(frame, pd.DataFrame) and isinstance(array, np.ndarray)
    pd.testing.assert_index_equal(frame.index, series.index)
    assert np.array_equal(frame.to_numpy(), array) and array.dtype == np.float32
    assert np.array_equal(array[1], array[7])  # equal texts
    assert np.array_equal(encoder().transform(np.array(TEXTS)), array)
    assert np.array_equal(encoder().transform(pd.Series(TEXTS, dtype="string")), array)
    assert np.array_equal(encoder().transform(tuple(TEXTS)), array)


def test_it_is_a_scikit_learn_transformer(encoder):
    made = encoder(max_length=17, batch_size=5)
    copy = clone(made)
    assert copy.get_params() == made.get_params() and copy.max_length == 17
    assert made.set_params(batch_size=2).batch_size == 2 and made.fit(TEXTS) is made
    series = pd.Series(TEXTS, index=range(10, 18))
    tokens = make_pipeline(encoder(), make_tokens(3)).fit_transform(series)
    pd.testing.assert_frame_equal(tokens, make_tokens(3).fit_transform(encoder().transform(series)))


def test_report(encoder):
    texts = ["toy story", "toy story", "zebra toy", "a " * 50]
    made = encoder(max_length=10)
    made.transform(texts)
    expected = {
        "texts": 4,
        "distinct texts": 3,
        "distinct texts from the cache": 0,
        "word pieces a text": (4 + 4 + 4 + 52) / 4,
        "share of texts cut off": 0.25,
        "share of word pieces unknown": 1 / 64,
    }
    assert made.report_.to_dict() == pytest.approx(expected)
    made.transform(texts)
    assert made.report_.to_dict() == pytest.approx(expected | {"distinct texts from the cache": 3})


def test_cut_off_texts_keep_the_last_special_piece(encoder):
    made = encoder(max_length=6, cache_dir=False)
    long, exact = "a b c a b c a b c", "a b c a"
    vectors = made.transform([long, exact, "a b c a zebra"])
    tokenizer, model = made.load()
    assert len(tokenizer(exact)["input_ids"]) == 6 and made.report_[
        "share of texts cut off"
    ] == pytest.approx(2 / 3)
    np.testing.assert_array_equal(vectors[0], vectors[1])
    np.testing.assert_allclose(
        vectors, by_hand(tokenizer, model, [long, exact, "a b c a zebra"], 6), atol=1e-5
    )


@pytest.mark.parametrize("max_length", [0, 2, 129])
def test_lengths_that_the_model_cannot_read(encoder, max_length):
    message = refused(encoder(max_length=max_length).transform, ["a"])
    assert f"max_length is {max_length}" in message and "3 to 128" in message


def test_gpt_and_t5(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import GPT2Config, GPT2Model, PreTrainedTokenizerFast, T5Config, T5Model

    words = {w: i for i, w in enumerate(["[PAD]", "[UNK]", "</s>", "toy", "story", "a", "b", "c"])}
    gpt = GPT2Model(GPT2Config(vocab_size=8, n_embd=16, n_layer=1, n_head=2, n_positions=32))
    t5 = T5Model(T5Config(vocab_size=8, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2))
    for name, model in (("gpt", gpt), ("t5", t5)):
        pieces = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
        pieces.pre_tokenizer = pre_tokenizers.Whitespace()
        if name == "t5":
            end = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
            pieces.post_processor = end
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=pieces, unk_token="[UNK]", eos_token="</s>", pad_token="[PAD]"
        )
        model.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
        encoder = TextEncoder(tmp_path / name, max_length=8, cache_dir=False, progress=False)
        vectors = encoder.transform(["toy story", "", "a " * 20, "a " * (8 if name == "gpt" else 7)])
        assert vectors.shape == (4, 16) and np.isfinite(vectors).all()
        np.testing.assert_array_equal(vectors[2], vectors[3])
        plain = by_hand(encoder.load()[0], encoder.load()[1], ["toy story"])
        np.testing.assert_allclose(vectors[:1], plain, atol=1e-5)
        tokenizer, loaded = encoder.load()
        last = encoder.set_params(pooling="last").transform(["a", "toy story", "a b c", "b c a"])
        for text, row in zip(
            ["a", "toy story", "a b c", "b c a"], last, strict=True
        ):  # alone, so without padding
            hidden = loaded(
                **tokenizer(text, return_tensors="pt", return_token_type_ids=False)
            ).last_hidden_state
            np.testing.assert_allclose(row, hidden[0, -1].detach(), atol=1e-5)


def test_pooling_has_a_cache_of_its_own(encoder, tmp_path):
    mean, last = encoder().transform(TEXTS), encoder(pooling="last").transform(TEXTS)
    assert not np.allclose(mean, last) and len({path.parent for path in shards(tmp_path)}) == 2
    for pooling, made in (("mean", mean), ("last", last)):
        again = encoder(pooling=pooling)
        assert (
            np.array_equal(again.transform(TEXTS), made)
            and again.report_["distinct texts from the cache"] == 7
        )


def test_caches_of_before_are_still_found(encoder, tmp_path, tiny):
    """The name of the mean's cache is that of the time when there was no other pooling."""
    encoder().transform(["a"])
    _, name = module.checkpoint(tiny)
    assert [path.parent for path in shards(tmp_path)] == [
        module._Cache(tmp_path, f"{name}|max_length=128|mean|1").folder
    ]


def test_a_pooling_that_there_is_not(encoder, monkeypatch):
    monkeypatch.setattr(module, "_load", must_not_load)
    message = refused(encoder(pooling="max").transform, ["a"])
    assert "'max'" in message and "'mean' and 'last'" in message


# --- Texts and models that are wrong ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ("Toy Story", "list"),
        ([], "at least one"),
        (None, "list"),
        (["a", None], "text 1 is None"),
        (["a", float("nan"), 3], "2 such"),
        (pd.Series(["a", float("nan")]), "text 1 is nan"),
        (pd.DataFrame({"text": ["a"]}), "shape (1, 1)"),
    ],
)
def test_texts_that_are_none(encoder, texts, said):
    assert said in refused(encoder().transform, texts)


def test_other_weights_than_the_published_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_BUNDLED_SHA256", "0" * 64)
    message = refused(TextEncoder(cache_dir=tmp_path, progress=False).transform, ["a"])
    assert "not the published weights" in message and "reinstall" in message
    assert shards(tmp_path) == []


def test_folders_without_a_checkpoint(tmp_path, tiny):
    assert "config.json" in refused(TextEncoder(str(tmp_path)).transform, ["a"])
    (tmp_path / "config.json").write_bytes((tiny / "config.json").read_bytes())
    assert "model.safetensors" in refused(TextEncoder(str(tmp_path)).transform, ["a"])


def test_pickled_weights_are_refused(tmp_path, tiny, monkeypatch):
    import torch

    unpickled = []
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: unpickled.append(args))
    for file in tiny.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    assert "model.safetensors" in refused(TextEncoder(tmp_path, cache_dir=False).transform, ["a"])
    # So it is with a repository of the hub that has nothing else.
    assert "cannot be loaded" in refused(module._load, tmp_path, "cpu")
    assert unpickled == []


def test_damaged_weights(tmp_path, tiny):
    for file in tiny.iterdir():
        (tmp_path / file.name).write_bytes(
            file.read_bytes()[: 1000 if file.suffix == ".safetensors" else None]
        )
    message = refused(TextEncoder(tmp_path, cache_dir=False).transform, ["a"])
    assert str(tmp_path) in message and "cannot be loaded" in message


def test_code_of_a_checkpoint_is_not_run(tmp_path, tiny):
    import json

    for file in tiny.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModel": "evil.M"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    refused(TextEncoder(tmp_path, cache_dir=False).transform, ["a"])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["nobody/no-such-model", "no such name at all", "a/b/c"])
def test_unknown_hub_name_without_a_network(name, monkeypatch, tmp_path):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    start = time.monotonic()
    message = refused(TextEncoder(name, cache_dir=tmp_path).transform, ["a"])
    assert repr(name) in message and "all-MiniLM-L6-v2" in message
    assert time.monotonic() - start < 20


def test_the_default_comes_from_the_hub_where_it_is_not_bundled(monkeypatch, tiny):
    asked = []
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    monkeypatch.setattr(module, "_from_hub", lambda *args: asked.append(args) or tiny)
    module.checkpoint()
    assert asked == [("sentence-transformers/all-MiniLM-L6-v2", module._HUB[1])] and len(module._HUB[1]) == 40


# --- Nothing global -----------------------------------------------------------------------------------------


def global_settings():
    import torch
    import transformers

    log = transformers.utils.logging
    return torch.get_num_threads(), log.is_progress_bar_enabled(), log.get_verbosity()


@pytest.mark.parametrize("bars", [True, False])
def test_settings_of_torch_and_transformers_are_put_back(encoder, monkeypatch, tmp_path, bars):
    import torch
    import transformers

    log = transformers.utils.logging
    before = global_settings()
    try:
        torch.set_num_threads(2)
        log.set_verbosity_info()
        (log.enable_progress_bar if bars else log.disable_progress_bar)()
        mine = global_settings()
        assert mine[0] == 2 and mine[1] == bars
        made = encoder(cache_dir=False)
        made.transform(TEXTS)
        assert global_settings() == mine

        seen = []
        forward = transformers.BertModel.forward

        def fails(*args, **kwargs):
            seen.append(torch.get_num_threads())
            raise RuntimeError("in the model")

        monkeypatch.setattr(transformers.BertModel, "forward", fails)
        with pytest.raises(RuntimeError, match="in the model"):
            made.transform(TEXTS)
        assert global_settings() == mine and set(seen) == {1}
        monkeypatch.setattr(transformers.BertModel, "forward", forward)

        (tmp_path / "config.json").write_text("{")
        (tmp_path / "model.safetensors").write_text("")
        refused(TextEncoder(tmp_path, cache_dir=False).transform, ["a"])
        assert global_settings() == mine
    finally:
        torch.set_num_threads(before[0])
        log.set_verbosity(before[2])
        (log.enable_progress_bar if before[1] else log.disable_progress_bar)()


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import llmtok; dir(llmtok)", ["torch", "pandas", "numpy", "sklearn", "transformers"]),
        ("import llmtok.encode", ["torch", "transformers", "safetensors", "huggingface_hub"]),
        ("from llmtok import TextEncoder; TextEncoder()", ["torch", "transformers"]),
        ("from llmtok import load_dataset; load_dataset()", ["torch", "sklearn", "requests", "pooch"]),
    ],
)
def test_imports_are_light(statement, absent):
    code = f"import os, sys; e = {{**os.environ}}\n{statement}\nassert e == os.environ; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert set(absent) & set(run.stdout.split()) == set() and "llmtok" in run.stdout and run.stderr == ""


# --- The cache ----------------------------------------------------------------------------------------------


def test_second_call_reads_the_cache_and_loads_no_model(encoder, monkeypatch, tmp_path):
    first = encoder().transform(TEXTS)
    assert len(shards(tmp_path)) == 1 and list(tmp_path.rglob("*.part")) == []
    monkeypatch.setattr(module, "_load", must_not_load)
    again = encoder(batch_size=2, n_threads=2)
    assert np.array_equal(again.transform(TEXTS), first)
    assert again.report_["distinct texts from the cache"] == 7
    assert np.array_equal(again.transform(TEXTS[5:2:-1]), first[5:2:-1])


def test_several_processes_share_a_cache(encoder, tiny, tmp_path):
    """Each gets what it would get alone, and what is left in the cache is right and whole."""
    script = f"""
import random, sys
from llmtok import TextEncoder
words, rng = "toy story a b c".split(), random.Random(int(sys.argv[1]))
texts = [" ".join(words[(n // 5**k) % 5] for k in range(4)) for n in range(400)]
rng.shuffle(texts)
encoder = TextEncoder({str(tiny)!r}, cache_dir={str(tmp_path)!r}, progress=False, n_threads=1)
for start in range(0, 400, 40):
    encoder.transform(texts[start : start + 80])
"""
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(n)], stderr=subprocess.PIPE) for n in range(3)
    ]
    said = [process.communicate(timeout=120)[1].decode() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said
    assert said == ["", "", ""]  # no piece was found damaged
    texts = [" ".join("toy story a b c".split()[(n // 5**k) % 5] for k in range(4)) for n in range(400)]
    made = encoder()
    shared = made.transform(texts)
    assert made.report_["distinct texts from the cache"] == len(set(texts))
    np.testing.assert_allclose(shared, encoder(cache_dir=False).transform(texts), atol=1e-6)
    assert list(tmp_path.rglob("*.part")) == list(tmp_path.rglob("*.damaged")) == []


def test_only_new_texts_are_encoded(encoder, tmp_path):
    first = encoder().transform(TEXTS[:4])
    made = encoder()
    vectors = made.transform(TEXTS)
    assert made.report_["distinct texts from the cache"] == 4 and len(shards(tmp_path)) == 2
    assert np.array_equal(vectors[:4], first)
    np.testing.assert_allclose(vectors, encoder(cache_dir=False).transform(TEXTS), atol=1e-6)


def test_other_models_and_lengths_share_nothing(encoder, tmp_path, tmp_path_factory, tiny):
    encoder().transform(TEXTS)
    short = encoder(max_length=4)
    short.transform(TEXTS)
    assert short.report_["distinct texts from the cache"] == 0
    other = make_checkpoint(tmp_path_factory.mktemp("other"), seed=1)
    vectors = encoder(model=other).transform(TEXTS)
    assert np.abs(vectors - encoder().transform(TEXTS)).max() > 0.01
    words = tmp_path_factory.mktemp("words")  # the same weights under other word pieces
    for file in tiny.iterdir():
        (words / file.name).write_bytes(file.read_bytes().replace(b'"toy"', b'"yot"'))
    changed = encoder(model=words)
    changed.transform(TEXTS)
    assert changed.report_["distinct texts from the cache"] == 0 and len(shards(tmp_path)) == 4


def flip(body, at):
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


@pytest.mark.parametrize(
    "harm",
    [
        lambda b: flip(b, len(b) - 1),
        lambda b: flip(b, len(b) - 3 * 16 - 4),
        lambda b: flip(b, len(b) - 3 * 16 - 3 * 8 - 9),
        lambda b: flip(b, 10),
        lambda b: flip(b, 0),
        lambda b: b[: len(b) // 2],
        lambda b: b[:-1],
        lambda b: b"",
        lambda b: b"\0" * len(b),
    ],
    ids=["a key", "a count", "a vector", "header", "size", "half", "all but one", "empty", "zeros"],
)
def test_damaged_piece_of_the_cache_is_set_aside(encoder, tmp_path, caplog, harm):
    encoder().transform(TEXTS[:3])
    (damaged,) = shards(tmp_path)
    encoder().transform(TEXTS)
    good = encoder().transform(TEXTS)
    damaged.write_bytes(harm(damaged.read_bytes()))
    made = encoder()
    with caplog.at_level(logging.WARNING, "llmtok"):
        vectors = made.transform(TEXTS)
    np.testing.assert_allclose(vectors, good, atol=1e-6)
    assert made.report_["distinct texts from the cache"] == 4
    assert len(caplog.records) == 1 and "damaged" in caplog.text and str(damaged) in caplog.text
    assert damaged.with_suffix(".damaged").exists() and len(shards(tmp_path)) == 2
    caplog.clear()
    assert np.array_equal(encoder().transform(TEXTS), vectors) and caplog.records == []


@pytest.mark.parametrize("where", ["replace", "temporary", "folder"])
def test_cache_that_cannot_be_written_costs_a_warning_only(encoder, tmp_path, monkeypatch, caplog, where):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    if where == "replace":
        monkeypatch.setattr(module.os, "replace", full)
    elif where == "temporary":
        monkeypatch.setattr(module.tempfile, "NamedTemporaryFile", full)
    else:
        (tmp_path / "file").write_text("")
    made = encoder(cache_dir=tmp_path / "file") if where == "folder" else encoder()
    with caplog.at_level(logging.WARNING, "llmtok"):
        vectors = made.transform(TEXTS)
    assert np.array_equal(vectors, encoder(cache_dir=False).transform(TEXTS))
    assert "not cached" in caplog.text and list(tmp_path.rglob("*.part")) == shards(tmp_path) == []


def test_disk_that_fills_up_while_writing(encoder, tmp_path, monkeypatch, caplog):
    real = module.tempfile.NamedTemporaryFile

    def small(*args, **kwargs):
        file = real(*args, **kwargs)

        def write(body):
            file.file.write(body[:50])
            raise OSError(28, "No space left on device")

        file.write = write
        return file

    monkeypatch.setattr(module.tempfile, "NamedTemporaryFile", small)
    encoder().transform(TEXTS)
    assert "No space left" in caplog.text and list(tmp_path.rglob("*.part")) == shards(tmp_path) == []


@pytest.mark.parametrize("stop_in", ["write", "forward"])
def test_what_is_encoded_survives_an_interruption(encoder, tmp_path, monkeypatch, stop_in):
    import transformers

    monkeypatch.setattr(module, "_SHARD", 3)
    calls = []

    def interrupt(real, at):
        def call(*args, **kwargs):
            calls.append(1)
            if len(calls) == at:
                raise KeyboardInterrupt
            return real(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        if stop_in == "write":
            patch.setattr(module.os, "replace", interrupt(os.replace, 2))
        else:
            forward = transformers.BertModel.forward
            patch.setattr(transformers.BertModel, "forward", interrupt(forward, 4))
        with pytest.raises(KeyboardInterrupt):
            encoder(batch_size=1).transform(TEXTS)
    assert len(shards(tmp_path)) == 1 and list(tmp_path.rglob("*.part")) == []
    made = encoder()
    vectors = made.transform(TEXTS)
    assert made.report_["distinct texts from the cache"] == 3
    np.testing.assert_allclose(vectors, encoder(cache_dir=False).transform(TEXTS), atol=1e-6)


def test_no_cache_no_files(encoder, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMTOK_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    made = encoder(cache_dir=False)
    made.transform(TEXTS)
    made.transform(TEXTS)
    assert made.report_["distinct texts from the cache"] == 0 and list(tmp_path.iterdir()) == []
    encoder(cache_dir=None).transform(TEXTS)
    assert len(shards(tmp_path / "embeddings")) == 1
    made.transform(TEXTS)
    assert made.report_["distinct texts from the cache"] == 0


def test_one_long_text_does_not_blow_up_the_rest(encoder):
    import tracemalloc

    texts = ["a b " * 50_000, *(f"a {n}" for n in range(2000))]
    made = encoder(cache_dir=False, max_length=8)
    made.transform(texts[1:3])
    tracemalloc.start()
    made.transform(texts)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6  # a fixed-width array of these texts would take 1.6 GB


def test_progress_bar_only_where_something_is_encoded(encoder, capsys):
    encoder(progress=True).transform(TEXTS)
    assert "encoding" in capsys.readouterr().err
    encoder(progress=True).transform(TEXTS)
    encoder(progress=False, cache_dir=False).transform(TEXTS)
    assert capsys.readouterr() == ("", "")
