"""The wheel and the sdist: built, looked into, and used from a folder that is not the repository."""

import json
import os
import re
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """The folder with both; the wheel is made of the sdist, as a registry's user would."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def installed(dist, tmp_path_factory):
    """What starts the installed package, before the one of the repository, in a folder of its own."""
    folder, elsewhere = tmp_path_factory.mktemp("site-packages"), tmp_path_factory.mktemp("elsewhere")
    [wheel] = dist.glob("*.whl")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(folder),
    ]
    subprocess.run([*pip, str(wheel)], check=True)

    def start(*arguments, **more):
        environment = {**os.environ, "PYTHONPATH": str(folder)} | more
        return subprocess.Popen(
            [sys.executable, *arguments], cwd=elsewhere, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    start.folder, start.elsewhere = folder, elsewhere
    return start


def test_the_wheel_has_code_and_notebooks_and_no_data(dist):
    [wheel] = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = [name for name in packed.namelist() if ".dist-info/" not in name]
        [about] = [packed.read(name) for name in packed.namelist() if name.endswith("METADATA")]
        licences = {Path(name).name for name in packed.namelist() if "/licenses/" in name}
    modules = {f"llmtok/{path.name}" for path in (ROOT / "llmtok").glob("*.py")}
    assert set(names) == modules | {f"llmtok/course/{name}" for name in NOTEBOOKS}
    assert licences == {"LICENSE", "LICENSES.md"}
    readme = message_from_bytes(about).get_payload()
    links = re.findall(r"\]\(([^)\s]+)\)", readme)
    assert len(links) > 20 and all(link.startswith(("https://", "#")) for link in links)


def test_the_sdist_has_what_the_wheel_is_made_of_and_no_data(dist):
    [packed] = dist.glob("*.tar.gz")
    with tarfile.open(packed) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert {f"notebooks/{name}" for name in NOTEBOOKS} | {"pyproject.toml", "LICENSE", "README.md"} <= names
    assert not [name for name in names if name.startswith(("data/", "tests/")) or name.endswith(".csv")]


def test_lab_opens_copies_of_the_notebooks(installed):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    quiet = ["--no-browser", f"--port={port}", "--IdentityProvider.token=us", *root]
    lab = installed("-m", "llmtok", "lab", *quiet)

    def ask(what, body=None):
        address, us = f"http://127.0.0.1:{port}/api/{what}", {"Authorization": "token us"}
        return urllib.request.urlopen(urllib.request.Request(address, body, us), timeout=5)

    listed, deadline = None, time.monotonic() + 60
    while listed is None and lab.poll() is None and time.monotonic() < deadline:
        try:
            with ask("contents") as answer:
                listed = sorted(file["name"] for file in json.load(answer)["content"])
        except OSError:
            time.sleep(0.2)
    if lab.poll() is None:
        ask("shutdown", b"").close()
    said, wrong = lab.communicate(timeout=30)
    assert listed == NOTEBOOKS, wrong
    assert f"llmtok-course: {len(NOTEBOOKS)} notebooks copied, 0 kept" in said


def test_report_is_read_from_the_package(installed, small_folder):
    """Its notebook, that is; a whole report takes long, and ways-in.yml makes one."""
    small = ["-p", "N_PEOPLE=1", "--dry-run"]
    report = installed("-m", "llmtok", "report", "--dataset", str(small_folder), *small)
    said, wrong = report.communicate(timeout=120)
    assert report.returncode == 0 and "ratings.csv" in said, wrong
    report = installed("-m", "llmtok", "report", "--dataset", str(small_folder), "-p", "N_PEEPLE=1")
    assert "no notebook has a parameter 'N_PEEPLE'" in report.communicate(timeout=120)[1]


def test_without_the_data_it_says_how_to_get_them(installed, tmp_path):
    """There is no network behind this proxy, and no file of data in the wheel."""
    code = "import llmtok; print(llmtok.__file__); llmtok.load_dataset('movielens-small', progress=False)"
    nowhere = dict.fromkeys(["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"], "http://127.0.0.1:9")
    asked = installed(
        "-c", code, LLMTOK_CACHE=str(tmp_path), LLMTOK_DATA="", NO_PROXY="", no_proxy="", **nowhere
    )
    said, wrong = asked.communicate(timeout=120)
    assert Path(said.strip()).parent.parent == installed.folder
    last = wrong.strip().splitlines()[-1]
    assert "cannot download movielens-small/items.csv" in last and "set LLMTOK_DATA" in last
