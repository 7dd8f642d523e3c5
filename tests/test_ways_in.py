"""Every way in: what the workflows, the dev container and the lock promise, and that they agree with each other.

Only GitHub runs the workflows, and only Docker the container; here it is held that what they call is there.
"""

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import metadata, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
GITHUB = ROOT / ".github"
CONTAINER = ROOT / ".devcontainer"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
WORKFLOWS = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in sorted((GITHUB / "workflows").glob("*.yml"))
}
SYSTEMS = {"POSIX :: Linux": "ubuntu", "MacOS": "macos", "Microsoft :: Windows": "windows"}


def promised(kind):
    """What pyproject.toml's classifiers of a kind name."""
    found = (re.fullmatch(rf"{kind} :: (.+)", classifier) for classifier in PROJECT["classifiers"])
    return [match[1] for match in found if match]


PYTHONS = [version for version in promised("Programming Language :: Python") if "." in version]


def steps():
    """Each step of each job of each workflow."""
    for workflow in WORKFLOWS.values():
        for job in workflow["jobs"].values():
            yield from job["steps"]


def container():
    """The dev container's settings; whole lines of them may be comments."""
    text = (CONTAINER / "devcontainer.json").read_text(encoding="utf-8")
    return json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))


# --- workflows ---


def test_github_would_read_it():
    files = map(str, (GITHUB / "workflows").glob("*.yml"))
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    done = subprocess.run([*check, *files], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("job", ["installed", "cloned"])
def test_what_is_promised_is_run(job):
    matrix = WORKFLOWS["ways-in"]["jobs"][job]["strategy"]["matrix"]
    assert matrix["python"] == PYTHONS
    assert SpecifierSet(f">={PYTHONS[0]}") == SpecifierSet(PROJECT["requires-python"])
    systems = [SYSTEMS[system] for system in promised("Operating System")]
    assert [name.partition("-")[0] for name in matrix["os"]] == systems


def test_on_windows_it_is_what_the_readme_says():
    [there] = [step["run"] for step in steps() if step.get("if") == "runner.os == 'Windows'"]
    for line in there.splitlines():
        assert f"\n{line.replace('python -m venv', 'py -3.11 -m venv')}\n" in README, line


def test_what_is_made_can_be_made():
    commands = [step["run"] for step in steps() if "run" in step]
    commands += [(ROOT / ".ci" / "run").read_text(encoding="utf-8"), container()["postCreateCommand"]]
    commands += [port["label"] for port in container()["portsAttributes"].values()]
    made = {name for command in commands for name in re.findall(r"\bmake ([a-z-]+)", command)}
    assert {"setup", "test", "audit", "lab"} <= made
    assert made <= set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE))


# --- dev container ---


def test_dev_container():
    given = container()
    image = (CONTAINER / given["build"]["dockerfile"]).read_text(encoding="utf-8")
    assert re.search(rf"^RUN useradd .*\b{given['remoteUser']}$", image, flags=re.MULTILINE)
    python = re.search(r"^FROM python:(\d\.\d+)-", image, flags=re.MULTILINE)[1]
    assert f"PYTHON ?= python{python}\n" in MAKEFILE
    interpreter = given["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"]
    environment = interpreter.removeprefix("${containerWorkspaceFolder}/").removesuffix("/python")
    assert f"BIN := {environment}\n" in MAKEFILE
    assert all((ROOT / file).is_file() for file in given["customizations"]["codespaces"]["openFiles"])


# --- the lock ---


def test_lock_is_for_every_python_that_is_promised():
    """For the first release of each too: Debian 12 has Python 3.11.2."""
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines():
        if "==" in line:
            needed = SpecifierSet(metadata(line.partition("==")[0])["Requires-Python"] or "")
            assert all(f"{python}.0" in needed for python in PYTHONS), f"{line} needs Python {needed}"


def test_what_is_not_permissive_is_not_needed_at_run_time():
    """`make audit` passes over the packages that pyproject.toml names with their reasons; most are for development."""
    needed, waiting = set(), [(Requirement(line).name, "") for line in PROJECT["dependencies"]]
    while waiting:
        name, extra = package = waiting.pop()
        if package not in needed:
            needed.add(package)
            for below in map(Requirement, requires(name) or []):
                if not below.marker or below.marker.evaluate({"extra": extra}):
                    waiting += [(canonicalize_name(below.name), asked) for asked in ("", *below.extras)]
    excused = set(PYPROJECT["tool"]["pip-licenses"]["ignore-packages"])
    at_run_time = excused & {name for name, _ in needed}
    assert at_run_time == {"certifi", "fqdn", "tqdm"}  # all MPL-2.0, and used as they are


# --- hosts ---


def test_no_registry_is_named():
    """Where packages and images come from is for the user's own settings to say. Data are others' words."""
    host = re.compile(
        r"\b(pypi|pythonhosted|anaconda|mcr\.microsoft|ghcr|gcr|quay|docker|npmjs|download\.pytorch)\.(org|com|io)\b"
    )
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git repository")
    for name in done.stdout.splitlines():
        if (path := ROOT / name).is_file() and path.suffix not in (".csv", ".png", ".safetensors"):
            found = host.search(path.read_text(encoding="utf-8"))
            assert not found, f"{name}: {found[0]}"
