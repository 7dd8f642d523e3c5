"""What was measured, in words: nothing that the tables of `llmtok.measure` do not bear out."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from llmtok.measure import ALL, FULL, GROUPS, NEW, NONE, RIVALS, Findings, Plan

MULTILINGUAL = "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"
BROKEN = 1.4  # word pieces a word: English catalogues have 1.1 to 1.2 with the bundled encoder, French 1.5, German 2.2


@dataclass
class Verdict:
    """What came out, in sentences of plain text.

    Attributes
    ----------
    lines : list of str
        Five: the answer; new items; all items; cheaper features; what it costs. The last holds times.
    warnings : list of str
        What the reader must know before they believe it.
    next_steps : list of str
        What to do.
    """

    lines: list[str]
    warnings: list[str]
    next_steps: list[str]


def conclude(plan: Plan, found: Findings) -> Verdict:
    """Put findings into words.

    Parameters
    ----------
    plan, found
        From `llmtok.measure.plan` and `llmtok.measure.examine`.
    """
    gains = found.gains.set_index(["rival", "items", "question"])
    own = gains.loc[NONE] if NONE in gains.index else gains.iloc[:0].droplevel(0)
    rivals = {name: gains.loc[name] for name in RIVALS if name in gains.index}
    helped = own.index[own["verdict"] == "helps"]
    # A rival that the text beats nowhere that it helps, in lists or in ratings, makes the text needless there.
    level = {
        question: [name for name, rows in rivals.items() if not _beaten(rows, helped, question)]
        for question in helped.unique("question")
    }
    lines = [
        f"{_answer(own, level)} {_shares(plan)}",
        _of_new(own),
        _of_all(own),
        _of_rivals(rivals),
        _of_cost(found),
    ]
    return Verdict(lines, _warnings(plan, found), _next_steps(plan, own, level))


def _beaten(rows: pd.DataFrame, helped: pd.Index, question: str) -> bool:
    places = [place for place in helped if place[1] == question and place in rows.index]
    return not places or (rows.loc[places, "verdict"] == "helps").any()


def _answer(own: pd.DataFrame, level: dict[str, list[str]]) -> str:
    if own.empty:
        return (
            "It cannot be said: in no part of the catalogue are there enough users and items to measure on."
        )
    helps, hurts = _where(own, "helps"), _where(own, "hurts")
    harm = f" Text tokens make it worse for {hurts}." if hurts else ""
    if not helps:
        return f"No: it cannot be shown that text tokens help this recommender, whatever the item.{harm}"
    common = [name for name in RIVALS if all(name in names for names in level.values())]
    alone, but = "alone, without a language model,", ""
    if common:
        but = f" But {_and(common)} {alone} {_do(common)} at least as well as far as can be told."
    for question, names in level.items():
        more = [name for name in names if name not in common]
        if more and common:
            but += f" For {question}, so {_do(more)} {_and(more)}."
        elif more:
            but += (
                f" For {question}, {_and(more)} {alone} {_do(more)} at least as well as far as can be told."
            )
    return f"Yes: text tokens help this recommender, for {helps}.{but}{harm}"


def _where(own: pd.DataFrame, verdict: str) -> str:
    """Name groups of items, and for which question: 'new items (lists and ratings)'. All items, where no group is."""
    rows = own.index[own["verdict"] == verdict]
    in_group = {question for group, question in rows if group != ALL}
    named = []
    for group in [NEW, *GROUPS, ALL]:
        questions = [q for g, q in rows if g == group and (g != ALL or q not in in_group)]
        if questions:
            what = {NEW: "new items", ALL: "all items together"}.get(
                group, f"items with {group} interactions"
            )
            named.append(f"{what} ({_and(questions)})")
    return _and(named)


def _and(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _signed(value: float) -> str:
    return f"{round(value, 3) + 0.0:+.3f}"  # and no -0.000


def _do(names: list[str]) -> str:
    return "does" if names == ["TF-IDF"] else "do"


def _shares(plan: Plan) -> str:
    count = plan.data.ratings["item_id"].value_counts().reindex(plan.data.items.index).fillna(0)
    new, few = (count == 0).mean(), count.between(1, 4).mean()
    return f"{new:.0%} of the items have no interaction yet, and {few:.0%} have 1 to 4."


def _ends(row: pd.Series) -> str:
    p = "p < .001" if row["p corrected"] < 0.001 else f"p = {row['p corrected']:.3f}".replace("0.", ".")
    sure = "" if row["verdict"] != "unclear" else ", so it could be chance"
    return f"95% interval of the gain {_signed(row['low'])} to {_signed(row['high'])}, {p}{sure}"


def _off(row: pd.Series) -> str:
    less = f"{abs(row['gain']) / row['without']:.1%}" if row["without"] > 0 else f"{abs(row['gain']):.3f}"
    return (
        f"predicted ratings are off by {row['with']:.3f} with text and {row['without']:.3f} without, "
        f"{less} {'less' if row['gain'] >= 0 else 'more'} ({_ends(row)})"
    )


def _of_new(own: pd.DataFrame) -> str:
    said = []
    if (NEW, "lists") in own.index:
        row = own.loc[(NEW, "lists")]
        said.append(
            f"lists of ten among them reach NDCG@10 {row['with']:.3f} by their text and {row['without']:.3f} in random "
            f"order ({_ends(row)})"
        )
    if (NEW, "ratings") in own.index:
        said.append(_off(own.loc[(NEW, "ratings")]))
    return f"New items, a fifth of all hidden whole: {'; '.join(said) or 'too few to measure'}."


def _of_all(own: pd.DataFrame) -> str:
    said = []
    if (ALL, "lists") in own.index:
        row = own.loc[(ALL, "lists")]
        said.append(
            f"lists of ten reach NDCG@10 {row['with']:.3f} with text and {row['without']:.3f} without ({_ends(row)})"
        )
    if (ALL, "ratings") in own.index:
        said.append(_off(own.loc[(ALL, "ratings")]))
    return f"All items together: {'; '.join(said) or 'too few to measure'}."


def _of_rivals(rivals: dict[str, pd.DataFrame]) -> str:
    words, said, unsure = {"helps": "worse", "hurts": "better", "unclear": "as well"}, [], False
    for group, name in ((NEW, "new items"), (ALL, "all items together")):
        parts = []
        for rival, rows in rivals.items():
            if group in rows.index:
                each = rows.loc[group, "verdict"].map(words)
                same = len(set(each)) == 1 and len(each) > 1
                how = each.iloc[0] if same else _and([f"{w} in {q}" for q, w in each.items()])
                parts.append(f"{rival} {_do([rival])} {how}")
                unsure |= "as well" in set(each)
        if parts:
            said.append(f"for {name}, {', and '.join(parts)}")
    sure = " (as well: no difference could be shown)" if unsure else ""
    return (
        f"Cheaper features in place of a language model: {'; '.join(said) or 'none could be compared'}{sure}."
    )


def _of_cost(found: Findings) -> str:
    n, seconds = int(found.encoding["texts"]), found.encoding["seconds to read all"]
    fits = [found.seconds[f"fit lists, known items, {variant}"] for variant in (FULL, NONE)]
    width = found.embeddings.shape[1]
    return (
        f"Cost: reading {n:,} texts takes {_duration(seconds)} here, once; a fit for lists takes {fits[0]:.1f} s "
        f"with text and {fits[1]:.1f} s without; an item's embedding is {width} numbers, {width * 4 / 1024:.1f} kB."
    )


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "less than a second"
    if seconds < 100:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} minutes" if seconds < 6000 else f"about {seconds / 3600:.1f} hours"


def _warnings(plan: Plan, found: Findings) -> list[str]:
    seen, said = found.encoding, []
    unknown, pieces = seen["share of word pieces unknown"], seen["word pieces a word"]
    cut, strange = seen["share of texts cut off"], seen["share of letters not Latin"]
    reads_english = "all-MiniLM" in plan.encoder
    if unknown > 0.05 or pieces > BROKEN or (strange > 0.2 and reads_english):
        signs = {
            f"{unknown:.0%} of the word pieces are unknown to it": unknown > 0.05,
            f"a word breaks into {pieces:.1f} pieces (in English 1.1)": pieces > BROKEN,
            f"{strange:.0%} of the letters are not Latin": strange > 0.2,
        }
        seen_here = _and([sign for sign, there in signs.items() if there])
        said.append(
            f"The encoder {plan.encoder} reads these texts badly: {seen_here}. Take one that knows the language, "
            f"such as --encoder {MULTILINGUAL}, before you believe what is said here."
        )
    if cut > 0.2:
        said.append(f"{cut:.0%} of the texts are longer than the encoder reads: put what matters first.")
    return said + plan.notes


def _next_steps(plan: Plan, own: pd.DataFrame, level: dict[str, list[str]]) -> list[str]:
    said, richer = [], "Give the encoder more to read: a description says more than a name (--text)."
    helped = own.index[own["verdict"] == "helps"]
    if (NEW, "lists") in helped:
        said.append(
            "Use the text for new items: the model lists.npz beside this page ranks what nobody has taken yet "
            "(llmtok recommend)."
        )
    for question, names in level.items():
        if names:
            said.append(f"For {question} try {_and(names)} first: no language model is needed.")
    if own.empty:
        said.append(
            "Gather more interactions: a part of the catalogue is measured from 20 users and 20 items on."
        )
    elif helped.empty:
        said += ["Leave the encoder out as long as nothing else changes.", richer]
    elif plan.data.items["text"].str.len().median() < 100:
        said.append(richer)
    if len(helped) and (hurts := _where(own, "hurts")):
        less = """, or give it less weight (-p "EASE={'text_weight': 2.0}")""" if "lists" in hurts else ""
        said.append(f"Leave the text out for {hurts}{less}: there it makes things worse.")
    if not plan.temporal and "timestamp" in plan.data.ratings:
        said.append(
            "Measure by time too (--split temporal): a drawn split knows the future, and your recommender will not."
        )
    said.append(
        "Then test it on people: what is measured here is what they took, not what they would have taken."
    )
    return said
