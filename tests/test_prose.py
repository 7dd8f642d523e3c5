"""What learners read: spelled, in short sentences and plain words, and no word before it is explained."""

import re
import statistics
from pathlib import Path

import nbformat
import pyphen
import pytest
from spellchecker import SpellChecker

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"]
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
every_text = pytest.mark.parametrize("path", NOTEBOOKS + PAGES, ids=lambda path: path.stem)

# Words that the dictionary does not have: British spellings, words of the field, names that stand in prose.
WORDS = set((ROOT / "tests" / "words.txt").read_text(encoding="utf-8").split())
AMERICAN = r"\b\w*(?:color|behavior|neighbor|favorite|center(?!ed on)|gray|(?:norm|regular|optim|factor|general)iz)\w*"

LONGEST_SENTENCE = 35
HARDEST = 60  # Flesch's reading ease: 60 to 70 is plain English, read easily from the age of 13 on

# An acronym stands for these words; they are there at its first use in a notebook, or before. The others are names
# of files or formats, which everybody who opens a notebook has met.
ACRONYMS = {
    "ALS": "alternating least squares",
    "BERT": "bidirectional encoder representations from transformers",
    "BPR": "Bayesian personalised ranking",
    "CP": "canonical polyadic",
    "DCG": "discounted cumulative gain",
    "EASE": "embarrassingly shallow autoencoder",
    "ICA": "independent component analysis",
    "KNN": "nearest neighbours",
    "LLM": "large language model",
    "MAE": "mean absolute error",
    "NDCG": "normalised discounted cumulative gain",
    "NMF": "non-negative matrix factorisation",
    "PCA": "principal component analysis",
    "RMSE": "root mean squared error",
    "SGD": "stochastic gradient descent",
    "SVD": "singular value decomposition",
    "TF-IDF": "term frequency",
    "UMAP": "uniform manifold approximation and projection",
    "WARP": "weighted approximate-rank pairwise",
}
KNOWN = {
    "CSV",
    "GB",
    "HTML",
    "ID",
    "JSON",
    "OK",
    "README",
    "UTF-8",
    "YAML",
    "F1",
    "ML-100K",
    "ACM",
    "SNE",
    "GPT",
    "GPT-2",
    "T5",
}
OF_A_NAME = {"BM25", "CEASE", "L3AE", "T1", "T3", "T9", "TIGER"}  # names of models and of things in the data


def cells(path):
    """The pieces of prose: a notebook's markdown cells, or a page's paragraphs."""
    if path.suffix == ".ipynb":
        document = nbformat.read(path, as_version=4)
        return [cell.source for cell in document.cells if cell.cell_type == "markdown"]
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return text.split("\n\n")


def lesson(path):
    """The same, without what only announces: the first cell, headings, a table of contents."""
    announced = r"^#.*$|\[[^\]]*\]\([\w./]*\.ipynb\)"
    read = [text for text in cells(path)[1:] if not text.startswith("### The notebooks")]
    return [re.sub(announced, "", text, flags=re.MULTILINE) for text in read]


def plain(text):
    """The words that are read: no code, no addresses, no formulas."""
    text = re.sub(r"```.*?```|^ {4,}\S[^\n]*$|<!--.*?-->", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"`[^`]*`", "code", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"<[^>]+>|https?://\S+", "", text)


def sentences(text):
    """Sentences in running text; a table, a heading or an entry of a list is not one with its neighbours."""
    text = re.sub(r"^[|#].*$", "", re.sub(r"^> ?", "", plain(text), flags=re.MULTILINE), flags=re.MULTILINE)
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", text):
        for sentence in re.split(r"(?<=[.?!:;])[\"”*)]*\s+", " ".join(paragraph.split())):
            words = re.findall(r"[A-Za-z][A-Za-z'’-]*", sentence)
            if len(words) > 3:
                yield sentence, words


@every_text
def test_spelling(path):
    found = set()
    for text in cells(path):
        for word in re.findall(r"(?<![\w.@/-])[A-Za-z][a-zA-Z']+(?![\w@/])", plain(text)):
            if word[1:] == word[1:].lower():  # not an acronym, and not CamelCase
                found.add(word.lower().removesuffix("'s").strip("'"))
    unknown = SpellChecker(distance=1).unknown(found - WORDS)
    assert not unknown, f"misspelled, or missing in tests/words.txt: {sorted(unknown)}"
    assert not re.findall(AMERICAN, plain("\n\n".join(cells(path))), flags=re.IGNORECASE), "British spelling"


@every_text
def test_sentences_are_short(path):
    lengths = {sentence: len(words) for text in cells(path) for sentence, words in sentences(text)}
    longest = max(lengths, key=lengths.get)
    assert lengths[longest] <= LONGEST_SENTENCE, f"{lengths[longest]} words: {longest}"
    assert statistics.mean(lengths.values()) <= 18


@every_notebook
def test_words_are_plain(path):
    split = pyphen.Pyphen(lang="en_GB")
    read = [words for text in cells(path) for _, words in sentences(text)]
    words = [word for sentence in read for word in sentence]
    syllables = sum(len(split.positions(word)) + 1 for word in words)
    ease = 206.835 - 1.015 * len(words) / len(read) - 84.6 * syllables / len(words)
    assert ease >= HARDEST, f"{ease:.0f}"


@every_notebook
def test_acronyms_are_spelled_out(path):
    read = " ".join(plain("\n\n".join(lesson(path))).split())
    for acronym in sorted(set(re.findall(r"\b[A-Z](?:[A-Z]|-?\d|-(?=[A-Z]{2}))+[A-Z0-9]?\b", read))):
        if acronym in KNOWN | OF_A_NAME:
            continue
        first = re.search(rf"\b{re.escape(acronym)}\b", read).start()
        told = " ".join([plain(cells(path)[0]), read[: first + 200]]).lower()
        assert ACRONYMS[acronym].lower() in told, f"{acronym}: {read[max(first - 60, 0) : first + 60]}"


# --- terms ---


def glossary():
    """Each term and the number of the notebook that explains it."""
    rows = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").splitlines()
    return re.findall(r"^\| ([^|]+?) \| [^|]+ \| [^|]+ \| \[(\d\db?)\]", "\n".join(rows), flags=re.MULTILINE)


@pytest.mark.parametrize(("term", "number"), glossary())
def test_a_word_is_explained_before_it_is_used(term, number):
    """Where the course is read in order: in italics in the glossary's notebook, and nowhere before."""
    used = rf"(?<![\w-]){re.escape(term)}(?:s|es)?(?![\w-])"
    for path in NOTEBOOKS:
        notebook = path.stem.partition("_")[0]
        if not notebook[:2].isdigit() or notebook > number:
            continue
        for text in lesson(path):
            if re.search(used, plain(text), flags=re.IGNORECASE):
                assert notebook == number, f"{path.stem} uses it: {text[:300]}"
                assert re.search(rf"\*+[^*\n]*{used}[^*\n]*\*+", text, flags=re.IGNORECASE), text[:600]
                return
    raise AssertionError(f"{number} does not have it")
