"""Train three small language models of one size on the texts of the course: a BERT, a GPT and a T5.

Run `python data/make_small_models.py`. One thread, about eight minutes. It keeps the word pieces that lie in the
repository. With them the same weights should come out again on the same machine; another one adds in another order, and
the last digits differ.

All three read the same texts, cut into the same word pieces, equally often. They differ in the game that they play:
BERT guesses hidden pieces, GPT the next piece, T5 writes the passages that were cut out. (Of the pieces that BERT is
asked for, half are left to see. With fewer of them a BERT this young gave nearly one vector to every text.) The texts
are those of all films and packages, and sentences on what people liked ("a person liked: Heat; Casino"). In these
sentences stands no film that notebook 10 hides, and none of its test users speaks.

For each kind it tries learning rates, and keeps the model whose encoder ranks films best that were left out of the
sentences. These films and the people whom they are ranked for are not those of notebook 10: of the films that it never
hides a fifth is hidden here, and nobody is asked who is a test user there.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import pandas as pd
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from llmtok import TextEncoder, TokenEASE, load_dataset, make_tokens
from llmtok.evaluation import evaluate_ranking, split

HERE = Path(__file__).parent
SEED = 0
HIDING_SEEDS = (0, 1, 2)  # of the splits of notebook 10
LIKED = 4.0
N_PIECES = 4000
LENGTH = 64  # word pieces of a text at the most
WIDTH, HEADS, LAYERS = 128, 4, 3
PASSES = 3  # times that each text is read; so few that nothing is dropped out while training
FILMS_IN_A_SENTENCE = 6
ASKED, HIDDEN = 0.3, 0.5  # the share of pieces that BERT is asked for; of these, what it does not see
NOISE, SPAN = 0.15, 3  # the share of pieces that are cut out for T5; the mean length of a passage
KINDS = ["bert", "gpt", "t5"]
RATES = [1e-3]
GAPS = [f"<extra_id_{n}>" for n in range(8)]  # what stands for a passage that was cut out, as T5 calls it
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *GAPS]
PAD, CLS, SEP = 0, 2, 3


def may_be_told(data) -> pd.DataFrame:
    """Return the ratings that notebook 10 does not test: neither its films, nor their namesakes, nor its users."""
    tested = np.sort(data.ratings["user_id"].unique())[1::2]  # every other person is a test user there
    hidden = pd.concat([next(split(data.ratings, by="item_id", random_state=s))[1] for s in HIDING_SEEDS])
    titles = data.items["title"]
    namesakes = titles.index[titles.isin(titles[hidden["item_id"].unique()])]
    return data.ratings[~data.ratings["user_id"].isin(tested) & ~data.ratings["item_id"].isin(namesakes)]


def liked_films(ratings: pd.DataFrame) -> list[np.ndarray]:
    """Return the films that each person liked."""
    liked = ratings[ratings["rating"] >= LIKED]
    return [films.to_numpy() for _, films in liked.groupby("user_id")["item_id"]]


def sentences(data, liked: list[np.ndarray], rng) -> list[str]:
    """Say what people liked, a few films at a time, in an order that is drawn."""
    said = []
    for films in liked:
        titles = data.items.loc[rng.permutation(films), "title"].tolist()
        for start in range(0, len(titles), FILMS_IN_A_SENTENCE):
            said.append("a person liked: " + "; ".join(titles[start : start + FILMS_IN_A_SENTENCE]))
    return said


def texts(told: pd.DataFrame, n_passes: int) -> list[str]:
    """Return all that is read, in the order of reading: each text once a pass, the sentences drawn anew."""
    films, packages = load_dataset("movielens-small"), load_dataset("debian-packages")
    catalogue = list(dict.fromkeys([*films.items["text"], *packages.items["text"]]))
    liked, rng = liked_films(told), np.random.default_rng(SEED)
    read = []
    for _ in range(n_passes):
        both = catalogue + sentences(films, liked, rng)
        read += [both[n] for n in rng.permutation(len(both))]
    return read


def learn_pieces(read: list[str]) -> Tokenizer:
    """Learn the word pieces of all three models: pieces of words in lower case, as BERT's."""
    pieces = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer(lowercase=True)
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces.decoder = decoders.WordPiece()
    pieces.train_from_iterator(read, trainers.WordPieceTrainer(vocab_size=N_PIECES, special_tokens=SPECIAL))
    return pieces


def tokenizer_of(kind: str, pieces: Tokenizer):
    """Make the tokenizer of a kind of model, with what stands around a text. A GPT has nothing there."""
    pieces = Tokenizer.from_str(pieces.to_str())
    around = {"bert": "[CLS] $A [SEP]", "t5": "$A [SEP]"}
    if kind in around:
        ids = [(name, SPECIAL.index(name)) for name in ("[CLS]", "[SEP]")]
        pieces.post_processor = processors.TemplateProcessing(single=around[kind], special_tokens=ids)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        model_max_length=LENGTH,
        model_input_names=["input_ids", "attention_mask"],  # a GPT would add up what BERT calls token types
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        eos_token="[SEP]",
        extra_special_tokens=GAPS,
    )


class HiddenPieces(transformers.BertForMaskedLM):
    """A BERT that answers where it is asked, and nowhere else: half the work."""

    def forward(self, input_ids, attention_mask, labels):
        """Return the loss."""
        asked = labels != -100
        states = self.bert(input_ids, attention_mask=attention_mask).last_hidden_state
        return {"loss": torch.nn.functional.cross_entropy(self.cls(states[asked]), labels[asked])}


def model_of(kind: str):
    """Make a new model, its weights drawn at random."""
    transformers.set_seed(SEED)
    common = {"vocab_size": N_PIECES, "pad_token_id": PAD, "eos_token_id": SEP}
    if kind == "bert":
        shape = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
        shape |= {"intermediate_size": 4 * WIDTH, "max_position_embeddings": LENGTH, "type_vocab_size": 1}
        shape |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        return HiddenPieces(transformers.BertConfig(**common, **shape))
    if kind == "gpt":
        shape = {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "n_positions": LENGTH}
        shape |= {"embd_pdrop": 0.0, "resid_pdrop": 0.0, "attn_pdrop": 0.0}
        return transformers.GPT2LMHeadModel(transformers.GPT2Config(**common, bos_token_id=SEP, **shape))
    shape = {"d_model": WIDTH, "d_ff": 4 * WIDTH, "d_kv": WIDTH // HEADS, "num_heads": HEADS}
    shape |= {"num_layers": LAYERS, "num_decoder_layers": 1, "decoder_start_token_id": PAD}
    shape |= {"dropout_rate": 0.0}
    return transformers.T5ForConditionalGeneration(transformers.T5Config(**common, **shape))


def cut_out(ids: list[int], rng) -> tuple[list[int], list[int]]:
    """Play T5's game: cut passages out, each leaves a numbered gap; the answer names the gaps and what stood there."""
    n_cut = max(1, round(NOISE * len(ids)))
    n_spans = min(max(1, round(n_cut / SPAN)), len(GAPS), len(ids) - n_cut + 1)
    lengths = 1 + np.bincount(rng.integers(n_spans, size=n_cut - n_spans), minlength=n_spans)
    starts = np.sort(rng.choice(len(ids) - n_cut + 1, n_spans, replace=False))  # of the pieces that stay
    kept, answer, place, so_far = [], [], 0, 0
    for n, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
        gap = SPECIAL.index(GAPS[n])
        kept += [*ids[place : start + so_far], gap]
        so_far, place = so_far + length, start + so_far + length
        answer += [gap, *ids[place - length : place]]
    return [*kept, *ids[place:], SEP], [*answer, SEP]


def padded(rows: list[list[int]], fill: int) -> torch.Tensor:
    """Make rows equally long."""
    return torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(r) for r in rows], batch_first=True, padding_value=fill
    )


def collator_of(kind: str, tokenizer):
    """Make a batch out of texts: the game of each kind of model."""
    if kind == "bert":
        hide = transformers.DataCollatorForLanguageModeling(
            tokenizer, mlm_probability=ASKED, mask_replace_prob=HIDDEN, random_replace_prob=0
        )
        return lambda rows: hide([{"input_ids": [CLS, *row["input_ids"], SEP]} for row in rows])
    if kind == "gpt":

        def next_piece(rows):
            ids = [[*row["input_ids"], SEP] for row in rows]
            mask = padded([[1] * len(row) for row in ids], 0)
            return {"input_ids": padded(ids, PAD), "attention_mask": mask, "labels": padded(ids, -100)}

        return next_piece
    rng = np.random.default_rng(SEED)

    def passages(rows):
        kept, answers = zip(*(cut_out(row["input_ids"], rng) for row in rows), strict=True)
        mask = padded([[1] * len(row) for row in kept], 0)
        return {"input_ids": padded(kept, PAD), "attention_mask": mask, "labels": padded(answers, -100)}

    return passages


def train(kind, tokenizer, rows, rate):
    """Train a new model on rows of word pieces."""
    with tempfile.TemporaryDirectory() as folder:
        settings = transformers.TrainingArguments(
            output_dir=folder,
            num_train_epochs=1,  # `rows` has every pass already
            per_device_train_batch_size=32,
            learning_rate=rate,
            warmup_steps=0.05,
            lr_scheduler_type="cosine",
            weight_decay=0.01,
            train_sampling_strategy="group_by_length",
            remove_unused_columns=False,
            seed=SEED,
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = transformers.Trainer(model_of(kind), settings, collator_of(kind, tokenizer), rows)
        trainer.train()
    return trainer.model.eval()


def save(kind, model, tokenizer, folder) -> None:
    """Write a model and its tokenizer, as `TextEncoder` reads them."""
    if kind == "bert":  # under the name that transformers knows
        plain = transformers.BertForMaskedLM(model.config)
        plain.load_state_dict(model.state_dict())
        model = plain
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    Path(folder, "generation_config.json").unlink(missing_ok=True)  # repeats config.json


def validation(told: pd.DataFrame):
    """Hide a fifth of the films that may be told of; return what is left, and the ratings that are hidden."""
    return next(split(told, by="item_id", random_state=SEED))


def rank_new_films(folder, train, test) -> dict[str, float]:
    """NDCG@10 of hidden films by their tokens, for each way of pooling."""
    hidden, found = pd.Index(test["item_id"].unique()), {}
    texts = (
        load_dataset("movielens-small")
        .items["text"]
        .loc[train["item_id"].unique().tolist() + hidden.tolist()]
    )
    for pooling in ("mean", "last"):
        read = TextEncoder(folder, pooling=pooling, max_length=LENGTH, cache_dir=False, progress=False)
        vectors = read.fit_transform(texts)
        tokens = make_tokens(50).fit(vectors.drop(index=hidden)).transform(vectors)
        model = TokenEASE(tokens).fit(train)
        ranked = evaluate_ranking({"": model}, test, hidden, liked=LIKED)
        found[pooling] = round(float(ranked["NDCG@10"].mean()), 3)
    return found


def cut(tokenizer, read):
    """Cut texts into word pieces, without those that a kind of model puts around them."""
    ids = tokenizer(read, add_special_tokens=False, truncation=True, max_length=LENGTH - 2)["input_ids"]
    return [{"input_ids": row} for row in ids if row]


def main(out: Path, kinds: list[str], n_passes: int, rates: list[float]) -> None:
    """Train with each rate, and keep the best of each kind in a folder of its name."""
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    told, test = validation(may_be_told(load_dataset("movielens-small")))
    read = texts(told, n_passes)
    if (kept := HERE / "small-models" / "gpt" / "tokenizer.json").exists():
        pieces = Tokenizer.from_file(str(kept))
        pieces.no_truncation()
    else:  # who learns them breaks ties by chance, so another run has a few other pieces
        pieces = learn_pieces(read[: len(read) // n_passes])
    for kind in kinds:
        tokenizer = tokenizer_of(kind, pieces)
        rows = cut(tokenizer, read)
        n_pieces, best = sum(len(row["input_ids"]) for row in rows), -1.0
        print(f"{kind}: {len(rows)} texts, {n_pieces} word pieces", flush=True)
        for rate in [0, *rates]:  # with 0 the model stays as it was drawn: the control
            started = time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                save(kind, train(kind, tokenizer, rows, rate) if rate else model_of(kind), tokenizer, folder)
                seconds = time.process_time() - started
                found = rank_new_films(folder, told, test)
                print(f"  rate {rate:g}: NDCG@10 {found}, {seconds:.0f} s", flush=True)
                if rate and found["mean"] > best:
                    best = found["mean"]
                    shutil.copytree(folder, out / kind, dirs_exist_ok=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=HERE / "small-models")
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--passes", type=int, default=PASSES, help="times that each text is read")
    parser.add_argument("--rates", type=float, nargs="+", default=RATES, help="learning rates to try")
    given = parser.parse_args()
    main(given.out, given.kinds, given.passes, given.rates)
