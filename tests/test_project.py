"""What the repository promises of itself: one version, one set of pins, a Binder that builds."""

import base64
import doctest
import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import llmtok

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK = dict(
    line.split("==")
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
)
CONDA_NAMES = {"pytorch-cpu": "torch", "pytorch": "torch"}  # where conda-forge's name is not PyPI's


def names(requirements):
    return {re.match(r"[\w.-]+", requirement)[0].lower() for requirement in requirements}


def run(*command):
    done = subprocess.run(
        [str(part) for part in command], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def tracked_files():
    """What git knows, and what it would know after `git add`; without git, nothing to look at."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git repository")
    return [ROOT / line for line in done.stdout.splitlines() if (ROOT / line).is_file()]


# --- one version ---


def test_one_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert llmtok.__version__ == PROJECT["version"] == str(citation["version"])
    assert citation["cff-version"] == "1.2.0" and citation["authors"] and citation["title"]
    assert citation["repository-code"] == PROJECT["urls"]["Repository"]
    assert PROJECT["license"] == f"{citation['license']} AND CC-BY-4.0"  # code, and prose
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[?{re.escape(llmtok.__version__)}\b", changelog, flags=re.MULTILINE)


# --- one set of pins ---


def environment():
    """Name -> version in environment.yml, by PyPI's names, without Python and pip."""
    listed = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    [by_pip] = [entry["pip"] for entry in listed if isinstance(entry, dict)]
    by_conda = [
        entry for entry in listed if isinstance(entry, str) and not re.match(r"(python|pip)\b", entry)
    ]
    pins = dict(re.fullmatch(r"([\w.-]+)==([\w.]+)", entry).groups() for entry in by_pip)
    for entry in by_conda:
        name, version = re.fullmatch(r"([\w.-]+)==?([\w.]+)", entry).groups()
        pins[CONDA_NAMES.get(name, name)] = version
    return pins


def test_environment_is_the_same_twice():
    assert (ROOT / "environment.yml").read_bytes() == (ROOT / "binder" / "environment.yml").read_bytes()


def test_environment_has_the_lock_s_versions():
    pins = environment()
    assert pins == {name: LOCK.get(name) for name in pins}
    assert names(PROJECT["dependencies"]) <= set(pins)


def test_lock_has_everything():
    extras = PROJECT["optional-dependencies"]["dev"]
    assert names(PROJECT["dependencies"]) | names(extras) <= set(LOCK)
    for version in LOCK.values():
        assert re.fullmatch(r"[\w.]+", version)  # no "+cpu", which installs nowhere else
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if pin := re.match(r"([\w.-]+)==(\S+)", line):
            assert LOCK[pin[1]] == pin[2] and "#" in line  # each with its reason


# --- Binder ---


@pytest.mark.skipif(os.name == "nt", reason="Binder runs Linux; Windows has no bash and no executable bit")
def test_binder_folder():
    for script in ("postBuild", "start"):
        path = ROOT / "binder" / script
        if script == "postBuild" or path.exists():
            text = path.read_text(encoding="utf-8")
            assert text.startswith("#!") and os.access(path, os.X_OK)
            run("bash", "-n", path)
    assert re.search(r"pip install .*--no-deps", (ROOT / "binder" / "postBuild").read_text(encoding="utf-8"))


@pytest.mark.skipif(os.name == "nt", reason="repo2docker does not run on Windows")
def test_repo2docker_finds_it_in_order():
    """It writes the Dockerfile that Binder would build; no Docker is needed for that."""
    options = ["--no-build", "--debug", "--Repo2Docker.default_buildpack=None"]
    said = run(BIN / "jupyter-repo2docker", *options, "--user-id", "1000", "--user-name", "jovyan", ".")
    assert "binder/environment.yml" in said


# --- commands ---


def test_make_and_ci():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))
    assert {"run", "test", "lab", "notebooks", "bench", "site", "lint", "lock", "setup"} <= targets
    commands = {"run": "report --course", "test-slow": "test --slow", "browser-test": "test --browser"}
    for target in ("run", "test", "test-slow", "browser-test", "lab", "notebooks", "bench", "site"):
        command = commands.get(target, target)
        assert re.search(
            rf"^{target}:.*\n(\t.*\n)*?\t\$\(BIN\)/python -m llmtok {command}$", makefile, flags=re.MULTILINE
        )
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK) and "make test" in script.read_text(encoding="utf-8").splitlines()
    workflows = [
        yaml.safe_load(p.read_text(encoding="utf-8")) for p in (ROOT / ".github" / "workflows").glob("*.yml")
    ]
    assert workflows and all("jobs" in workflow for workflow in workflows)


def test_ruff():
    run(BIN / "ruff", "check", ".")
    run(BIN / "ruff", "format", "--check", ".")


# --- documents ---


def test_links_between_documents():
    for document in [path for path in tracked_files() if path.suffix == ".md"]:
        for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
            if not re.match(r"https?://|mailto:|#", target):
                assert (document.parent / target.partition("#")[0]).exists(), f"{document.name}: {target}"


def test_nothing_tells_where_it_was_made():
    own_folder = re.compile(rb"/(work|root)/")
    for path in tracked_files():
        assert not own_folder.search(path.read_bytes()), path


# --- docstrings ---

MODULES = sorted(path.stem for path in (ROOT / "llmtok").glob("*.py") if not path.stem.startswith("__"))


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings(module):
    failed, tried = doctest.testmod(importlib.import_module(f"llmtok.{module}"))
    assert failed == 0
    assert tried or module in (
        "answers",
        "cli",
        "notebooks",
        "options",
        "plots",
        "spark",
        "spark_report",
        "verdict",
    )


def test_public_names():
    assert set(llmtok.__all__) <= set(dir(llmtok))
    for name in llmtok.__all__:
        assert getattr(llmtok, name).__doc__.strip(), name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        llmtok.nonsense  # noqa: B018


def test_import_costs_nothing():
    heavy = "{'torch', 'surprise', 'pandas', 'sklearn', 'transformers', 'numba', 'matplotlib'}"
    code = f"import sys, llmtok, llmtok.plots; sys.exit(bool({heavy} & set(sys.modules)))"
    run(sys.executable, "-c", code)


# --- what the README claims ---


def outputs(stem):
    """Everything that a notebook shows, as text, and its pictures."""
    cells = json.loads((ROOT / "notebooks" / f"{stem}.ipynb").read_text(encoding="utf-8"))["cells"]
    data = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    text = "\n".join(
        "".join(d.get(kind, "")) for d in data for kind in ("text/plain", "text/markdown", "text/html")
    )
    return text, ["".join(d["image/png"]) for d in data if "image/png" in d]


def test_numbers_in_the_readme_are_where_it_says():
    """Each finding names its notebooks, or the benchmark; each of its numbers stands in one of them."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    entries = re.findall(r"^(?:\d\.|-) .*?(?=^(?:\d\.|-) |^!|^$)", readme, flags=re.MULTILINE | re.DOTALL)
    findings = [entry for entry in entries if re.search(r"ipynb\)|RESULTS\.md\)", entry)]
    assert len(findings) >= 9
    for finding in findings:
        shown = "\n".join(outputs(stem)[0] for stem in re.findall(r"notebooks/(\w+)\.ipynb", finding))
        if "benchmarks/RESULTS.md" in finding:
            shown += (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
        numbers = re.findall(r"(?<![\d.])\.\d{3,4}\b|\d\.\d %", finding)
        assert numbers or "crossing" in finding, (
            finding
        )  # the crossing's numbers stand in the title of its picture
        for number in numbers:
            assert number.replace(" %", "%") in shown, f"{number} of {finding!r} is in none of its sources"


def test_what_the_readmes_promise():
    """Both languages give the same numbers, and there are as many exercises and notebooks as they say."""
    english, chinese = (
        (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md")
    )
    decimals = [set(re.findall(r"(?<![\d.])\.\d{3}\b", text)) for text in (english, chinese)]
    assert decimals[1] and decimals[1] <= decimals[0]
    notebooks = [path.read_text(encoding="utf-8") for path in (ROOT / "notebooks").glob("[01]*.ipynb")]
    n_exercises = sum(text.count('"exercise"') for text in notebooks)
    assert f"{n_exercises} exercises" in english and f"{n_exercises} 道练习" in chinese
    assert len(notebooks) == 17 and "seventeen notebooks" in english and "十七个笔记本" in chinese
    minutes = [re.findall(r"notebooks/(\w+)\.ipynb\) \| (\d+) \|", text) for text in (english, chinese)]
    assert minutes[0] == minutes[1] and len(minutes[0]) == 18
    start = (ROOT / "notebooks" / "00_start_here.ipynb").read_text(encoding="utf-8")
    for stem, number in minutes[0]:
        assert re.search(rf"\({stem}\.ipynb\) \| [^|]+ \| {number} \|", start), stem
        if stem != "report":
            first = json.loads((ROOT / "notebooks" / f"{stem}.ipynb").read_text(encoding="utf-8"))["cells"][0]
            assert f"bout {number} minutes" in " ".join("".join(first["source"]).split()), stem


@pytest.mark.parametrize(("name", "stem"), [("gain", "report"), ("crossing", "07_cold_start")])
def test_pictures_in_the_readme_are_the_notebooks(name, stem):
    assert f"docs/{name}.png" in (ROOT / "README.md").read_text(encoding="utf-8")
    picture = base64.b64encode((ROOT / "docs" / f"{name}.png").read_bytes()).decode()
    assert picture in [shown.replace("\n", "") for shown in outputs(stem)[1]]
