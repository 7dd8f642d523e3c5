"""What holds for every notebook as it is committed, and each of them run on a small data set.

That the saved outputs are what the cells give is checked by nbval (`make test`). nbval compares nothing in a
cell without outputs, so here it is held that the outputs are there, and how many cells are compared.
"""

import ast
import copy
import importlib.util
import itertools
import json
import re
import statistics
import tomllib
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pandas as pd
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from llmtok import spark
from llmtok.notebooks import (
    COURSE,
    FOLDED,
    ON_SPARK,
    REPORT,
    declared_parameters,
    execute,
    normalise,
    notebooks_folder,
    to_html,
)

ROOT = Path(__file__).resolve().parent.parent
FOLDER = notebooks_folder()
STEMS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
# Not part of the main job.
RANKING = [
    "06_rank_with_tokens",
    "07_cold_start",
    "09_train_the_encoder",
    "10_bert_gpt_t5",
    "11_more_ways_to_tokens",
    "12_more_recommenders",
    "13_in_practice",
    "13b_open_questions",
]
IN_ORDER = "10b_predict_the_next_item"  # needs times, which the packages do not have
OWN_DATA = "08_report_on_your_data"
EXPECTED = ["00_start_here", *COURSE, *RANKING, IN_ORDER, ON_SPARK, OWN_DATA, REPORT]

# How many cells of each notebook nbval compares: those that are not exempt and show more than a picture. If it
# changes, that is a decision, so it is changed here, by hand; the failing test says what it should be.
CHECKED = {
    "00_start_here": 28,
    "01_collect_data": 56,
    "02_encode_with_bert": 43,
    "03_generate_tokens": 57,
    "04_recommend_with_svd": 75,
    "05_evaluate": 58,
    "06_rank_with_tokens": 46,
    "07_cold_start": 45,
    "08_report_on_your_data": 52,
    "09_train_the_encoder": 29,
    "10_bert_gpt_t5": 29,
    "10b_predict_the_next_item": 22,
    "11_more_ways_to_tokens": 35,
    "12_more_recommenders": 24,
    "13_in_practice": 41,
    "13b_open_questions": 42,
    "14_scale_out_with_spark": 34,
    "report": 20,
}

# What makes the run on the small data set short. Each of these must be declared by its notebook.
REDUCED = {
    "00_start_here": {"N_FILMS": 100},
    "01_collect_data": {"MIN_USER_RATINGS": 100},
    "02_encode_with_bert": {"N_POPULAR": 200, "N_PAIRS": 2000},
    "03_generate_tokens": {"N_COMPONENTS": 20, "N_PAIRS": 2000, "N_KNOWN": 200},
    "04_recommend_with_svd": {"N_EPOCHS": 5, "N_FACTORS": 4, "TOKEN_LENGTH": 20, "N_SUBSET_USERS": 30},
    "05_evaluate": {"N_FOLDS": 2, "N_COMPONENTS": 20, "TOP_K": 5},
    "06_rank_with_tokens": {"N_USERS": 100, "N_TOP": 300, "SVD_EPOCHS": 5},
    "07_cold_start": {
        "N_USERS": 60,
        "SEEDS": [0],
        "N_GIVEN": [0, 3],
        "MIN_TESTED": {"films": 5, "packages": 3},
        "N_SMALL": 200,
    },
    "08_report_on_your_data": {"N_USERS": 100, "N_ITEMS": 300, "LENGTHS": [10], "N_COINS": 4},
    "09_train_the_encoder": {
        "N_USERS": 60,
        "N_KNOWN": 300,
        "RANK": 10,
        "BATCH": 8,
        "N_STEPS": {"films": 10, "packages": 10},
        "N_MASKED": 10,
    },
    "10_bert_gpt_t5": {"N_USERS": 60, "N_KNOWN": 300, "SEEDS": [0], "N_WORDS": 500},
    "10b_predict_the_next_item": {
        "N_TESTED": 3,
        "GPT_PLAIN": {"epochs": 1, "rate": 0.001, "dropout": 0.4},
        "GPT_TEXT": {"epochs": 1, "rate": 0.001, "dropout": 0.2},
        "GPT_BINARY": {"epochs": 1, "rate": 0.003, "dropout": 0.2},
        "WIDTH": 16,
        "N_ACCOUNTS": 100,
    },
    "11_more_ways_to_tokens": {
        "TOKEN_LENGTH": 20,
        "N_USERS": 60,
        "N_KNOWN": 300,
        "SEEDS": [0],
        "N_EPOCHS": 3,
        "N_CODES": 16,
    },
    "12_more_recommenders": {"TOKEN_LENGTH": 20, "N_USERS": 60, "N_KNOWN": 200, "MOST_EPOCHS": 1},
    "13_in_practice": {
        "N_PACKAGES": 300,
        "N_PROJECTS": 100,
        "N_PEOPLE": 200,
        "GIVEN": [0, 3],
        "N_BLOCKS": 5,
        "N_QUERIES": 60,
        "N_ROUNDS": 200,
        "N_LOGS": 5,
    },
    "13b_open_questions": {
        "N_EPOCHS": 3,
        "N_STREAM": 8,
        "N_EACH": 10,
        "N_EXPLAINED": 10,
        "N_PACKAGES": 300,
        "N_PROJECTS": 100,
        "EPSILONS": [1, 10],
        "N_TARGETS": 2,
        "FAKES": [0, 10],
        "N_FILMS": 400,
    },
    "14_scale_out_with_spark": {
        "EXECUTORS": 0,
        "PARTS": 2,
        "MOST": 300,
        "N_TEXTS": 20,
        "TOKEN_LENGTH": 20,
        "N_FACTORS": 3,
        "N_ROUNDS": 1,
        "N_LISTS": 5,
    },
    "report": {"N_TOKENS": 20, "N_PEOPLE": 1},
}

TAGS = {
    "parameters",
    "nbval-ignore-output",
    "raises-exception",
    "check",
    "exercise",
    "solution",
    "remove-cell",
}
WRONG_ANSWERS = (
    ROOT / "tests" / "wrong_answers"
)  # what learners get wrong, and what the check has to say of it
OWN_FOLDERS = re.compile(
    r"(?<![\w.:/])/(home|root|tmp|work|Users|private|var)/|[A-Z]:\\\\?Users", re.IGNORECASE
)
every_notebook = pytest.mark.parametrize("stem", STEMS)
every_lesson = pytest.mark.parametrize("stem", [stem for stem in STEMS if stem != REPORT])


def read(stem):
    return nbformat.read(FOLDER / f"{stem}.ipynb", as_version=4)


def code_cells(stem):
    return [cell for cell in read(stem).cells if cell.cell_type == "code"]


def prose(stem):
    return "\n\n".join(cell.source for cell in read(stem).cells if cell.cell_type == "markdown")


def tags(cell):
    return set(cell.metadata.get("tags", []))


def is_picture(output):
    return "image/png" in output.get("data", {})


def test_all_are_there():
    assert STEMS == sorted(EXPECTED)
    assert set(CHECKED) == set(REDUCED) == set(EXPECTED)


# --- saved from one clean run ---


@every_notebook
def test_saved_from_one_run_from_top_to_bottom(stem):
    counts = [cell.execution_count for cell in code_cells(stem)]
    assert counts == list(range(1, len(counts) + 1))


@every_notebook
def test_errors_are_shown_on_purpose_only(stem):
    for cell in code_cells(stem):
        raised = any(output.output_type == "error" for output in cell.outputs)
        assert raised == ("raises-exception" in tags(cell)), cell.source
        for output in cell.outputs:  # neither a warning nor the progress bar of a cold cache
            assert output.get("name") != "stderr" and "widget-view" not in json.dumps(output), cell.source


def parsed(cell):
    """The syntax tree of a cell; what only IPython understands (`%pip`) as the Python that it stands for."""
    return ast.parse(TransformerManager().transform_cell(cell.source))


@every_notebook
def test_number_of_cells_that_are_compared(stem):
    compared = 0
    for cell in code_cells(stem):
        shows_text = any(not is_picture(output) for output in cell.outputs)
        compared += shows_text and "nbval-ignore-output" not in tags(cell)
    assert compared >= 8
    assert compared == CHECKED[stem], f'CHECKED["{stem}"] should say {compared}, if that is meant'


@every_notebook
def test_metadata_is_normalised(stem):
    document = read(stem)
    assert normalise(copy.deepcopy(document)) == document, f"run `python -m llmtok notebooks {stem}`"
    assert document.metadata.kernelspec.name == "python3"
    nbformat.validate(document)


@every_notebook
def test_no_output_is_huge(stem):
    for cell in code_cells(stem):
        assert sum(len(json.dumps(output)) for output in cell.outputs) < 600_000, cell.source


@every_notebook
def test_no_folder_of_the_machine_it_was_made_on(stem):
    for cell in read(stem).cells:
        shown = [
            {**output, "data": {**output.get("data", {}), "image/png": ""}}
            for output in cell.get("outputs", [])
        ]
        for text in (cell.source, json.dumps(shown)):
            assert not OWN_FOLDERS.search(text), text[:1000]


# --- parameters ---


@every_notebook
def test_parameters(stem):
    """One cell, literals only, upper case, a comment each, and every one of them is read below."""
    cells = code_cells(stem)
    [number] = [n for n, cell in enumerate(cells) if "parameters" in tags(cell)]
    lines = cells[number].source.splitlines()
    for node in parsed(cells[number]).body:
        assert isinstance(node, ast.Assign) and len(node.targets) == 1, ast.unparse(node)
        assert re.fullmatch(r"[A-Z][A-Z0-9_]*", node.targets[0].id)
        ast.literal_eval(node.value)
        said = [line for line in lines[node.lineno - 1 : node.end_lineno] if re.search(r"  # \S", line)]
        assert len(said) == 1, f"{ast.unparse(node)} has no comment behind it"
    names = list(declared_parameters(FOLDER / f"{stem}.ipynb"))
    assert len(names) == len(set(names)) and "DATASET" in names
    read_below = {
        node.id
        for cell in cells[number + 1 :]
        for node in ast.walk(parsed(cell))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    assert set(names) <= read_below, f"nobody reads {set(names) - read_below}"


# --- code ---


@every_lesson
def test_cells_are_small(stem):
    """Lines that say something count: not blank ones, comments, or the brackets that ruff sets alone."""
    sizes = {}
    for cell in code_cells(stem):
        if "parameters" not in tags(cell):
            sizes[cell.source] = sum(bool(re.match(r"[^#]*\w", line)) for line in cell.source.splitlines())
    longest = max(sizes, key=sizes.get)
    assert sizes[longest] <= 20, longest
    assert statistics.median(sizes.values()) <= 5


@every_notebook
def test_code(stem):
    for cell in code_cells(stem):
        assert cell.source.strip(), "an empty cell"
        for node in ast.walk(parsed(cell)):
            if isinstance(node, ast.ImportFrom):
                assert all(alias.name != "*" for alias in node.names), cell.source


@every_notebook
def test_tags_are_known(stem):
    for cell in read(stem).cells:
        assert tags(cell) <= TAGS, cell.source
        assert cell.cell_type == "code" or not tags(cell) - {"remove-cell"}, cell.source


# --- prose ---


@every_notebook
def test_title(stem):
    first = read(stem).cells[0]
    assert first.cell_type == "markdown" and re.match(r"# [A-Z]", first.source)


@every_lesson
def test_badge(stem):
    repository = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
    name = repository.removeprefix("https://github.com/")
    link = f"https://mybinder.org/v2/gh/{name}/main?urlpath=lab/tree/notebooks/{stem}.ipynb"
    assert f"[![Binder](https://mybinder.org/badge_logo.svg)]({link})" in read(stem).cells[0].source
    colab = f"https://colab.research.google.com/github/{name}/blob/main/notebooks/{stem}.ipynb"
    badge = f"[![Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab})"
    assert badge in read(stem).cells[0].source
    assert prose(stem).count("mybinder.org/v2/") == prose(stem).count("colab.research.google.com/github") == 1
    for address in re.findall(r"https://github\.com/[^\s)>\"]*llmtok[^\s)>\"]*", prose(stem)):
        assert address.startswith(repository)


@every_notebook
def test_first_cell_installs_what_is_missing(stem, monkeypatch):
    """Colab has the notebook and nothing else; where the package is there, the cell does nothing."""
    repository = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"][
        "Repository"
    ]
    first = next(cell for cell in read(stem).cells if cell.cell_type == "code")
    assert "remove-cell" in tags(first) and not first.outputs
    asked = []
    shell = SimpleNamespace(run_line_magic=lambda *words: asked.append(words))
    source = TransformerManager().transform_cell(first.source)  # Python, where IPython's own is written out
    exec(source, {"get_ipython": lambda: shell})
    assert asked == []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    exec(source, {"get_ipython": lambda: shell})
    assert asked == [("pip", f'install --quiet "llmtok @ git+{repository}"')]


@every_lesson
def test_parts_of_a_lesson(stem):
    first = read(stem).cells[0].source
    for part in ("What you'll do", "What you'll learn", "What you need"):
        assert f"**{part}" in first, part
    assert re.search(r"\bminutes?\b", first)
    headings = re.findall(r"^## (.+)$", prose(stem), flags=re.MULTILINE)
    last = [h for h in headings if h.startswith(("In this notebook we", "Exercises", "What's next"))]
    assert [h.split(" ")[0] for h in last] == ["In", "Exercises", "What's"]


# --- questions and exercises ---


@every_lesson
def test_questions_are_answered_by_the_next_cell(stem):
    cells = read(stem).cells
    asked = [
        n for n, cell in enumerate(cells) if "redict first" in cell.source and "**Predict" in cell.source
    ]
    assert len(asked) >= 2
    for n in asked:
        assert re.search(r"^> \*\*Predict first:\*\* .*\?", cells[n].source, re.MULTILINE | re.DOTALL), cells[
            n
        ].source
        assert cells[n + 1].cell_type == "code" and not tags(cells[n + 1]) & {"check", "exercise"}


def exercises(stem):
    """The four cells of each exercise, all that stands between the heading and what comes next."""
    cells = read(stem).cells
    [first] = [n for n, cell in enumerate(cells) if re.search(r"^## Exercises$", cell.source, re.MULTILINE)]
    cells = cells[first + 1 :]
    [end] = [n for n, cell in enumerate(cells) if re.search(r"^## What's next$", cell.source, re.MULTILINE)]
    starts = [n for n, cell in enumerate(cells[:end]) if cell.source.startswith("### ")]
    assert starts[:1] == [0]
    return [cells[a:b] for a, b in itertools.pairwise([*starts, end])]


@every_lesson
def test_exercises(stem):
    """A task with a hint, a check, the cell to fill in, and a solution that gives what is asked for."""
    found = exercises(stem)
    assert 3 <= len(found) <= 5
    for number, (task, check, exercise, *rest) in enumerate(found, start=1):
        assert task.source.startswith(f"### {number}. "), task.source
        assert "<details><summary>Hint</summary>\n\n" in task.source and "</details>" in task.source
        solution = rest.pop(0)
        kinds = [tags(cell) & {"check", "exercise", "solution"} for cell in (check, exercise, solution)]
        assert kinds == [{"check"}, {"exercise"}, {"solution"}], task.source
        for cell in (check, solution):
            [kind] = tags(cell)
            assert cell.source.startswith(f"# {FOLDED[kind]}\n"), cell.source  # what a folded cell shows
        assert all("exercise" not in tags(cell) for cell in rest), task.source
        assert "..." in exercise.source and "..." not in solution.source
        asked, given = parsed(exercise).body, parsed(solution).body
        assert ast.dump(asked[-1]) == ast.dump(given[-1]), "both end on the same call of the check"
        assert forms(asked) <= forms(given), f"{forms(asked) - forms(given)} is asked for and not given"
        assert shown(exercise).startswith("Open: "), exercise.source
        assert shown(solution).startswith("Right. "), solution.source


@every_lesson
def test_nothing_below_needs_a_solution(stem):
    """So that a teacher may take the solutions out."""
    defined, of_solutions = set(), set()
    for cell in code_cells(stem):
        names = [node for node in ast.walk(parsed(cell)) if isinstance(node, ast.Name)]
        stored = {node.id for node in names if isinstance(node.ctx, ast.Store)}
        stored |= {f.name for f in parsed(cell).body if isinstance(f, ast.FunctionDef)}
        if "solution" in tags(cell):
            of_solutions |= stored - defined
            continue
        read = {node.id for node in names if isinstance(node.ctx, ast.Load)}
        assert not read & of_solutions - stored, cell.source
        defined |= stored


def forms(statements):
    """The names that are assigned, and the functions with their arguments."""
    found = {ast.unparse(target) for node in statements for target in getattr(node, "targets", [])}
    return found | {
        f"{node.name}({ast.unparse(node.args)})" for node in statements if isinstance(node, ast.FunctionDef)
    }


def shown(cell):
    """What the cell shows last, without the quotes around it."""
    return cell.outputs[-1].data["text/plain"].strip("\"'") if cell.outputs else ""


def wrong_answers(stem):
    """What may be answered wrongly, and a piece of what the check must say of it."""
    text = (WRONG_ANSWERS / f"{stem}.py").read_text(encoding="utf-8")
    return re.findall(r"^# %% ([^\n]+)\n(.+?)(?=^# %%|\Z)", text, flags=re.MULTILINE | re.DOTALL)


@every_lesson
def test_every_check_is_tried_with_wrong_answers(stem):
    tried = "".join(code for _, code in wrong_answers(stem))
    for _, check, *_ in exercises(stem):
        [name] = [node.name for node in parsed(check).body if isinstance(node, ast.FunctionDef)]
        assert tried.count(f"{name}(") >= 2, (
            f"{name}: at least two wrong answers belong in tests/wrong_answers"
        )


# --- pictures and links ---


@every_notebook
def test_every_picture_has_a_text(stem):
    for cell in code_cells(stem):
        for output in filter(is_picture, cell.outputs):
            assert output.metadata.get("image/png", {}).get("alt", "").strip(), cell.source
    assert all(alt.strip() for alt in re.findall(r"!\[([^\]]*)\]\(", prose(stem)))
    assert all("alt=" in image for image in re.findall(r"<img[^>]*>", prose(stem)))


@every_notebook
def test_links_lead_somewhere(stem):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(stem)):
        if not re.match(r"https?://|mailto:|#|attachment:", target):
            assert (FOLDER / target.partition("#")[0]).exists(), target


@every_notebook
def test_makes_a_page(stem, tmp_path):
    """As `llmtok report --course` does: its answers folded, its pictures with their texts."""
    to_html(FOLDER / f"{stem}.ipynb", tmp_path / "page.html", code=stem != REPORT)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    folds = [kind for kind in FOLDED for cell in code_cells(stem) if kind in tags(cell)]
    assert page.count('<details class="fold">') == len(folds)
    pictures = sum(is_picture(output) for cell in code_cells(stem) for output in cell.outputs)
    assert len(re.findall(r'<img alt="[^"]+" src="data:image/png', page)) == pictures


# --- run with other parameters, on other data, from another folder ---


@pytest.mark.parametrize("stem", EXPECTED)
def test_runs_on_a_small_data_set(
    stem, small_folder, small_packages, tmp_path, tmp_path_factory, monkeypatch
):
    """Its checks are right on other data too: they accept the solutions, and say what is wrong with wrong answers."""
    if stem == ON_SPARK and (why := spark.missing()):
        pytest.skip(f"Spark cannot run here: {why}")
    monkeypatch.chdir(tmp_path)
    notebook = FOLDER / f"{stem}.ipynb"
    assert set(REDUCED[stem]) | {"DATASET"} <= set(declared_parameters(notebook))
    given = {"DATASET": str(small_folder), **REDUCED[stem]}
    if stem in RANKING:
        given["PACKAGES"] = str(small_packages)
    if stem == REPORT:
        given["OUT_DIR"] = str(tmp_path)
    document, wrong = read(stem), wrong_answers(stem) if stem != REPORT else []
    document.cells += [nbformat.v4.new_code_cell(answer) for _, answer in wrong]
    elsewhere = tmp_path_factory.mktemp("notebooks")
    nbformat.write(document, elsewhere / notebook.name)
    status = execute(elsewhere / notebook.name, tmp_path / "out.ipynb", given, progress=False)
    assert status["state"] == "ok", status["error"]
    assert {path.name for path in elsewhere.iterdir()} == {notebook.name}
    if stem != REPORT:
        assert [path.name for path in tmp_path.iterdir()] == ["out.ipynb"]
        cells = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
        for cell in cells:
            if "solution" in tags(cell):
                assert shown(cell).startswith("Right. "), f"{shown(cell)}\n{cell.source}"
        for (said, answer), cell in zip(wrong, cells[len(cells) - len(wrong) :], strict=True):
            assert shown(cell).startswith("Not yet: ") and said in shown(cell), f"{shown(cell)}\n{answer}"
        return
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert len(metrics["verdict"]) == 5 and "nan" not in " ".join(metrics["verdict"])
    summary = metrics["summary"]
    for which in ("known items", "new items"):
        of = {name.rpartition(", ")[2]: value for name, value in summary.items() if f"RMSE, {which}" in name}
        assert all(0.6 < value < 1.3 for value in of.values()), of
        assert of["full text"] < of["global mean"]
    assert summary["NDCG@10, all items, full text"] > summary["NDCG@10, all items, popularity"]
    assert summary["NDCG@10, new items, full text"] > summary["NDCG@10, new items, no text"]


def test_report_of_a_catalogue_of_titles(small_folder, tmp_path):
    """There are no categories, so one of the rivals is missing in every picture."""
    items = pd.read_csv(small_folder / "items.csv", usecols=["item_id", "title"]).head(60)
    ratings = pd.read_csv(small_folder / "ratings.csv")
    ratings = ratings[ratings["item_id"].isin(items["item_id"])]
    for name, table in (("items", items), ("ratings", ratings)):
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    given = {"DATASET": str(tmp_path), "OUT_DIR": str(tmp_path), **REDUCED[REPORT]}
    status = execute(FOLDER / f"{REPORT}.ipynb", tmp_path / "out.ipynb", given, progress=False)
    assert status["state"] == "ok", status["error"]
    assert (
        "categories" not in json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))["verdict"][0]
    )
