"""The verdict's sentences, of findings made by hand: each is true to the table that it was made of."""

import itertools
import re

import numpy as np
import pandas as pd
import pytest

from llmtok.data import Dataset
from llmtok.measure import ALL, CATEGORIES, FULL, GROUPS, NEW, NONE, TFIDF, TITLE, Findings, Plan
from llmtok.verdict import conclude

COLUMNS = [
    "question",
    "items",
    "rival",
    "users",
    "without",
    "with",
    "gain",
    "low",
    "high",
    "p",
    "p corrected",
]
GAIN = {"helps": 0.1, "hurts": -0.1, "unclear": 0.01}
ENGLISH = {"word pieces a word": 1.15, "share of texts cut off": 0.0, "share of word pieces unknown": 0.0,
           "share of letters not Latin": 0.01}  # fmt: skip


def row(question, items, rival, verdict, without=0.5, p=None):
    """One line of the table of gains; of ratings a gain is what the error falls by."""
    gain = GAIN[verdict]
    after = without + (gain if question == "lists" else -gain)
    p = {"unclear": 0.4}.get(verdict, 0.0001) if p is None else p
    return (question, items, rival, 100, without, after, gain, gain - 0.03, gain + 0.03, p, p, verdict)


def findings(*rows, **seen):
    gains = pd.DataFrame([row(*r) for r in rows], columns=[*COLUMNS, "verdict"])
    encoding = pd.Series(
        {"texts": 1234, "word pieces a text": 30.0, "seconds to read all": 12.3} | ENGLISH | seen
    )
    seconds = {f"fit lists, known items, {variant}": n for n, variant in enumerate((NONE, FULL), 1)}
    embeddings = pd.DataFrame(np.zeros((4, 384)))
    return Findings(gains, pd.DataFrame(), encoding, seconds, embeddings, None, None)


def planned(text="long " * 30, temporal=False, times=True, notes=(), encoder="all-MiniLM-L6-v2"):
    ratings = pd.DataFrame({"user_id": [1, 2, 3, 4, 5, 1], "item_id": [0, 0, 0, 0, 0, 1], "rating": 1.0})
    ratings = ratings.assign(timestamp=1) if times else ratings
    items = pd.DataFrame({"title": "x", "text": text}, pd.RangeIndex(4, name="item_id"))
    data = Dataset("made", ratings, items, pd.DataFrame(), "", "{title}")
    return Plan(data, 1.0, True, [], temporal, 2000, encoder, list(notes), {})


def check(plan, found):
    """Conclude, and hold the result to what holds of all: five lines, whole sentences, no nan."""
    verdict = conclude(plan, found)
    assert len(verdict.lines) == 5
    for line in [*verdict.lines, *verdict.warnings, *verdict.next_steps]:
        assert line.isprintable() and "nan" not in line.lower() and "inf" not in line and "  " not in line
        assert line[0] == line[0].upper() and line.endswith(".") and ".." not in line
        assert not re.search(r"\(\)| \.(?![0-9])|-0\.000", line)
    assert len(set(verdict.next_steps)) == len(verdict.next_steps) and verdict.next_steps[-1].startswith(
        "Then test"
    )
    return verdict


BOTH = [("lists", NEW, NONE, "helps"), ("ratings", NEW, NONE, "helps")]


def test_text_helps():
    verdict = check(
        planned(), findings(*BOTH, ("lists", "1 to 4", NONE, "helps"), ("lists", ALL, NONE, "unclear"))
    )
    assert verdict.lines == [
        "Yes: text tokens help this recommender, for new items (lists and ratings) and items with 1 to 4 interactions "
        "(lists). 50% of the items have no interaction yet, and 25% have 1 to 4.",
        "New items, a fifth of all hidden whole: lists of ten among them reach NDCG@10 0.600 by their text and 0.500 "
        "in random order (95% interval of the gain +0.070 to +0.130, p < .001); predicted ratings are off by 0.400 "
        "with text and 0.500 without, 20.0% less (95% interval of the gain +0.070 to +0.130, p < .001).",
        "All items together: lists of ten reach NDCG@10 0.510 with text and 0.500 without (95% interval of the gain "
        "-0.020 to +0.040, p = .400, so it could be chance).",
        "Cheaper features in place of a language model: none could be compared.",
        "Cost: reading 1,234 texts takes about 12 s here, once; a fit for lists takes 2.0 s with text and 1.0 s "
        "without; an item's embedding is 384 numbers, 1.5 kB.",
    ]  # fmt: skip
    assert verdict.next_steps[0].startswith("Use the text for new items") and not verdict.warnings
    assert "--split temporal" in verdict.next_steps[1]


def test_text_does_not_help():
    verdict = check(planned(), findings(("lists", NEW, NONE, "unclear"), ("ratings", ALL, NONE, "unclear")))
    assert (
        verdict.lines[0].startswith("No: it cannot be shown that text tokens help")
        and "worse" not in verdict.lines[0]
    )
    assert verdict.lines[1].count("so it could be chance") == 1
    assert verdict.next_steps[0].startswith("Leave the encoder out")
    assert not any("new items" in step for step in verdict.next_steps)


def test_text_does_harm():
    hurts = [("lists", "50 or more", NONE, "hurts"), ("ratings", ALL, NONE, "hurts")]
    line = check(planned(), findings(*hurts)).lines[0]
    assert line.startswith("No:")
    assert "worse for items with 50 or more interactions (lists) and all items together (ratings)." in line
    verdict = check(planned(), findings(*BOTH, *hurts))
    assert (
        verdict.lines[0].startswith("Yes:")
        and "Text tokens make it worse for items with 50" in verdict.lines[0]
    )
    assert any(step.startswith("Leave the text out for items with 50 or more") for step in verdict.next_steps)
    assert "20.0% more" in verdict.lines[2]


def test_all_items_count_where_no_group_does():
    """Each group may be too small to tell, and all of them together not: that is no No."""
    rows = [
        ("lists", "1 to 4", NONE, "unclear"),
        ("lists", ALL, NONE, "helps"),
        ("ratings", NEW, NONE, "helps"),
    ]
    line = check(planned(), findings(*rows)).lines[0]
    assert line.startswith(
        "Yes: text tokens help this recommender, for new items (ratings) and all items together (lists)."
    )
    rows.append(("ratings", ALL, NONE, "helps"))  # said already, of a part
    assert "(lists)." in check(planned(), findings(*rows)).lines[0]


def test_nothing_was_measured():
    verdict = check(planned(), findings())
    assert verdict.lines[0].startswith("It cannot be said: in no part of the catalogue")
    assert verdict.lines[1].endswith("too few to measure.") and verdict.lines[2].endswith(
        "too few to measure."
    )
    assert "none could be compared" in verdict.lines[3] and "Gather more" in verdict.next_steps[0]


@pytest.mark.parametrize("question", ["lists", "ratings"])
def test_one_question_only(question):
    rows = [
        (question, NEW, NONE, "helps"),
        (question, ALL, NONE, "hurts"),
        (question, NEW, CATEGORIES, "helps"),
    ]
    verdict = check(planned(), findings(*rows))
    other = {"lists": "ratings", "ratings": "lists"}[question]
    assert not any(
        re.search(rf"\b{other} of ten|predicted {other}|\({other}\)|in {other}\b", line)
        for line in verdict.lines
    )
    assert (
        f"for new items ({question})" in verdict.lines[0]
        and f"all items together ({question})" in verdict.lines[0]
    )
    assert f"categories do worse in {question}." in verdict.lines[3]
    assert ("Use the text" in verdict.next_steps[0]) == (question == "lists")


def test_groups_that_are_missing():
    verdict = check(planned(), findings(("lists", "5 to 19", NONE, "helps")))
    assert "for items with 5 to 19 interactions (lists)." in verdict.lines[0]
    assert verdict.lines[1] == "New items, a fifth of all hidden whole: too few to measure."


# --- Rivals -------------------------------------------------------------------------------------------------


def rivals(**verdicts):
    """Rows of new items: what full text does against a rival, by question, as in lists_tfidf="unclear"."""
    names = {"tfidf": TFIDF, "genres": CATEGORIES}
    return [(key.split("_")[0], NEW, names[key.split("_")[1]], value) for key, value in verdicts.items()]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (rivals(lists_tfidf="helps", ratings_tfidf="helps"), ""),
        (
            rivals(lists_tfidf="unclear", ratings_tfidf="hurts"),
            " But TF-IDF alone, without a language model, does at least as well as far as can be told.",
        ),
        (
            rivals(lists_tfidf="helps", ratings_tfidf="unclear", lists_genres="helps", ratings_genres="hurts"),
            " For ratings, categories and TF-IDF alone, without a language model,"
            " do at least as well as far as can be told.",
        ),
        (
            rivals(lists_tfidf="unclear", ratings_tfidf="unclear", lists_genres="helps", ratings_genres="hurts"),
            " But TF-IDF alone, without a language model, does at least as well as far as can be told. "
            "For ratings, so do categories.",
        ),
        (
            rivals(lists_tfidf="unclear", ratings_tfidf="helps"),
            " For lists, TF-IDF alone, without a language model, does at least as well as far as can be told.",
        ),
        (
            rivals(lists_genres="unclear", ratings_genres="unclear", lists_tfidf="unclear", ratings_tfidf="unclear"),
            " But categories and TF-IDF alone, without a language model, do at least as well as far as can be told.",
        ),
    ],
)  # fmt: skip
def test_rivals(rows, said):
    verdict = check(planned(), findings(*BOTH, *rows))
    whole = f"for new items (lists and ratings).{said} 50% of the items"
    assert whole in verdict.lines[0]
    tries = [step for step in verdict.next_steps if "no language model is needed" in step]
    assert bool(tries) == bool(said)


def test_a_rival_counts_only_where_text_helps():
    """Of items that text does nothing for, the rival that is level does nothing either."""
    rows = [*BOTH, ("lists", "50 or more", NONE, "unclear"), ("lists", "50 or more", TFIDF, "unclear"),
            *rivals(lists_tfidf="helps", ratings_tfidf="helps")]  # fmt: skip
    assert "TF-IDF" not in check(planned(), findings(*rows)).lines[0]
    rows = [*BOTH, ("lists", ALL, TFIDF, "unclear"), ("lists", NEW, TITLE, "unclear")]
    assert "without a language model" not in check(planned(), findings(*rows)).lines[0]


def test_the_line_of_rivals():
    rows = [
        *rivals(lists_genres="helps", ratings_genres="hurts", lists_tfidf="unclear", ratings_tfidf="unclear"),
        ("lists", ALL, CATEGORIES, "helps"), ("ratings", ALL, CATEGORIES, "helps"),
    ]  # fmt: skip
    assert check(planned(), findings(*BOTH, *rows)).lines[3] == (
        "Cheaper features in place of a language model: for new items, categories do worse in lists and better in "
        "ratings, and TF-IDF does as well; for all items together, categories do worse (as well: no difference could "
        "be shown)."
    )


# --- Numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "said"), [(0.0, "< .001"), (0.00099, "< .001"), (0.0312, "= .031"), (1.0, "= 1.000")]
)
def test_p(p, said):
    found = findings(("lists", NEW, NONE, "helps", 0.5, p))
    assert f", p {said})" in check(planned(), found).lines[1]


def test_numbers_at_the_edge():
    found = findings(*BOTH, ("lists", ALL, NONE, "unclear"), ("ratings", ALL, NONE, "unclear"))
    found.gains[["low", "gain", "without", "with"]] = [-0.0001, 0.0, 0.0, 0.0]
    verdict = check(planned(), found)
    assert (
        "+0.000 to" in verdict.lines[2]
        and "0.000 with text and 0.000 without, 0.000 less" in verdict.lines[2]
    )


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "less than a second"), (45, "about 45 s"), (600, "about 10 minutes"), (9000, "about 2.5 hours")],
)
def test_time_in_words(seconds, said):
    assert f"takes {said} here" in check(planned(), findings(**{"seconds to read all": seconds})).lines[4]


# --- Warnings and next steps --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "encoder", "warned"),
    [
        ({}, "all-MiniLM-L6-v2", False),
        ({"word pieces a word": 2.2}, "all-MiniLM-L6-v2", True),
        ({"share of word pieces unknown": 0.3}, "bert-base-uncased", True),
        ({"share of letters not Latin": 0.9}, "all-MiniLM-L6-v2", True),
        ({"share of letters not Latin": 0.9}, "sentence-transformers/all-MiniLM-L12-v2", True),
        ({"share of letters not Latin": 0.9}, "intfloat/multilingual-e5-small", False),
    ],
)
def test_a_language_that_the_encoder_does_not_read(seen, encoder, warned):
    verdict = check(planned(encoder=encoder), findings(*BOTH, **seen))
    assert bool(verdict.warnings) == warned
    if warned:
        assert encoder in verdict.warnings[0] and "--encoder sentence-transformers/" in verdict.warnings[0]


def test_warnings_go_before_notes():
    notes = ["A quick look (--quick): decide nothing by it."]
    verdict = check(planned(notes=notes), findings(**{"share of texts cut off": 0.25}))
    assert verdict.warnings == [
        "25% of the texts are longer than the encoder reads: put what matters first.",
        *notes,
    ]


@pytest.mark.parametrize(
    ("plan", "said", "expected"),
    [
        (planned(text="short"), "a description says more", True),
        (planned(), "a description says more", False),
        (planned(temporal=True), "--split temporal", False),
        (planned(times=False), "--split temporal", False),
        (planned(), "--split temporal", True),
    ],
)
def test_next_steps(plan, said, expected):
    assert any(said in step for step in check(plan, findings(*BOTH)).next_steps) == expected


def test_any_table_can_be_said():
    """Whatever is measured or missing, helps or not: the answer names what helps, and nothing else."""
    rng = np.random.default_rng(0)
    places = list(itertools.product(("lists", "ratings"), (NEW, *GROUPS, ALL)))
    for _ in range(60):
        rows = [
            (*place, rival, rng.choice(list(GAIN)))
            for place in places
            for rival in (NONE, TITLE, CATEGORIES, TFIDF)
            if rng.random() < rng.choice([0.2, 0.9])
        ]
        line = check(planned(), findings(*rows)).lines[0]
        own = [(group, question, verdict) for question, group, rival, verdict in rows if rival == NONE]
        helps, _, hurts = line.partition(" Text tokens make it worse for ")
        for said, verdict in ((helps, "helps"), (hurts, "hurts")):
            for question, group in places:
                name = {NEW: "new items", ALL: "all items together"}.get(group, f"with {group} interactions")
                named = re.search(rf"{name} \([^)]*{question}", said)
                if group != ALL:
                    assert bool(named) == ((group, question, verdict) in own), (line, own)
                elif named:
                    assert (ALL, question, verdict) in own
            assert line.startswith("Yes") == any(verdict == "helps" for *_, verdict in own)
