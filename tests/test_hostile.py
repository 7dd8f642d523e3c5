"""What strangers write into a catalogue stays text: in the page, in the notebook, and on the disk.

One report is made of a catalogue that tries everything, and read as a parser, a browser and a person would.
"""

import html.parser
import json
import os
import shutil
import subprocess
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

import llmtok

MARK = "it-ran"  # what a script that runs would write into the page
RUN = f"document.body.dataset.mark='{MARK}'"
TITLES = [
    f"<script>{RUN}</script>",
    f'<img src=x onerror="{RUN}">',
    f'"><svg/onload="{RUN}">',
    f"<details open ontoggle={RUN}>",
    f'<a href="javascript:{RUN}">click</a>',
    f"</pre></table><iframe srcdoc='<script>parent.{RUN}</script>'></iframe>",
    f"<style>@import 'https://example.org/x.css'</style><b onmouseover={RUN}>b</b>",
    f"[click](javascript:{RUN}) ![x](https://example.org/x.png) **bold** `code`",
    "<!-- --><base href='https://example.org/'><meta http-equiv=refresh content='0;url=https://example.org'>",
    "$\\frac{1}{0$ $x^{$ \\input{/etc/passwd} $$",
    "{{7*7}} {%raw%} {title} {0.__class__} %s %(x)s {}",
    "=HYPERLINK('https://example.org','x') @SUM(1+1) +1 -1",
    "__import__('os').system('touch pwned')",
    "../../../../etc/passwd",
    "\x1b[31mred\x1b[0m \x07bell",
    "\u202eright to left\u202c",
    "日本語のタイトル 中文 😀 عنوان",
    "&lt;script&gt; &amp;amp; &#x3c;script&#x3e;",
]
IDS = ["../../pwned", "=1+1", "<b>id</b>", "a b\tc", "$(touch pwned)", "`touch pwned`", "{id}", "007", "é"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with two hostile files, and the report of them."""
    folder = tmp_path_factory.mktemp("hostile")
    rng = np.random.default_rng(0)
    ids = [*IDS, *(f"item {n}" for n in range(81))]
    items = pd.DataFrame({"item_id": ids, "title": [TITLES[n % len(TITLES)] + f" {n}" for n in range(90)]})
    items["genres"] = [TITLES[n % 6] for n in range(90)]
    items["description"] = [f"Number {n} says {TITLES[(n + 3) % len(TITLES)]}" for n in range(90)]
    users = [f"<script>{RUN}</script>{n}" if n < 5 else f"u{n}" for n in range(100)]
    rows = [(user, ids[i], rng.integers(1, 6)) for user in users for i in rng.permutation(90)[:15]]
    items.to_csv(folder / "items.csv", index=False)
    pd.DataFrame(rows, columns=["user_id", "item_id", "rating"]).to_csv(folder / "ratings.csv", index=False)
    before = sorted(folder.iterdir())
    out = folder / "out"
    old = Path.cwd()
    os.chdir(folder)
    try:
        status = llmtok.report(
            out, ratings=folder / "ratings.csv", items=folder / "items.csv", quick=True, say=lambda line: None,
            parameters={"N_PEOPLE": 5},
        )  # fmt: skip
    finally:
        os.chdir(old)
    assert status["state"] == "ok", status
    assert sorted(folder.iterdir()) == [*before[:1], out, *before[1:]]  # nothing but the result was written
    return out


class Elements(html.parser.HTMLParser):
    """Collect what a browser would act on."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data):
        self.text.append(data)


def check(page):
    found = Elements(page)
    assert not {"script", "iframe", "object", "embed", "base", "link", "form"} & set(found.tags)
    assert not [a for a in found.attributes if a[1].startswith("on")]
    assert not [a for a in found.attributes if a[2].strip().lower().startswith("javascript:")]
    assert all(value.startswith("data:") for _, name, value in found.attributes if name == "src")
    return found


def test_page_holds_no_markup_of_the_catalogue(made):
    page = (made / "report.html").read_text(encoding="utf-8")
    found = check(page)
    policies = [value for tag, name, value in found.attributes if tag == "meta" and name == "content"]
    assert any("default-src 'none'" in policy for policy in policies)
    assert (
        page.count("http-equiv") == 1 + page.count("&lt;meta http-equiv") // 1
    )  # one is ours, others are text
    text = "".join(found.text)
    assert f"<script>{RUN}</script>" in text and "&lt;script&gt; &amp;amp;" in text  # shown as it was written
    assert "49" not in text.split("{{7*7}}")[0][-5:]


def test_notebook_holds_no_markup_of_the_catalogue(made):
    """JupyterLab shows these outputs too, and trusts those of a notebook that was run in it."""
    document = nbformat.read(made / "report.ipynb", as_version=4)
    pieces = [
        o.data["text/html"]
        for c in document.cells
        for o in c.get("outputs", [])
        if "text/html" in o.get("data", {})
    ]
    assert len(pieces) > 10
    for piece in pieces:
        check(piece)
    for cell in document.cells:
        for output in cell.get("outputs", []):
            assert "text/markdown" not in output.get("data", {}), cell.source  # there titles would be markup


def test_results_are_data(made):
    """Nothing is pickled; ids and titles come back as they were."""
    metrics = json.loads((made / "metrics.json").read_text(encoding="utf-8"))
    assert len(metrics["verdict"]) == 5
    tokens = pd.read_parquet(made / "tokens.parquet")
    assert set(IDS) <= set(tokens["item_id"])
    assert tokens["title"].iloc[0] == TITLES[0] + " 0"
    for name in ("lists.npz", "ratings.npz"):
        with np.load(made / name, allow_pickle=False) as arrays:
            assert all(arrays[key].dtype != object for key in arrays.files)


def browser():
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    return next(filter(None, map(shutil.which, names)), None)


def after_loading(page, profile):
    """Return the page as a browser has it after its scripts had their time."""
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={profile}",
        "--no-first-run",
    ]
    options += ["--disable-background-networking", "--disable-component-update", "--virtual-time-budget=4000"]
    command = [browser(), *options, "--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, timeout=120, check=True).stdout.decode()


@pytest.mark.skipif(browser() is None, reason="there is no Chromium or Chrome")
def test_nothing_runs_in_a_browser(made, tmp_path):
    # The control: the same titles as markup do run, so that this test can fail.
    control = tmp_path / "control.html"
    control.write_text("<!doctype html><body>" + "".join(TITLES[1:4]) + TITLES[0], encoding="utf-8")
    assert f'data-mark="{MARK}"' in after_loading(control, tmp_path / "one")
    shown = after_loading(made / "report.html", tmp_path / "two")
    assert "What the encoder sees" in shown and f'data-mark="{MARK}"' not in shown
    # And if markup did get in, the page's policy would stop it.
    page = (
        (made / "report.html").read_text(encoding="utf-8").replace("</body>", "".join(TITLES[:4]) + "</body>")
    )
    (tmp_path / "worse.html").write_text(page, encoding="utf-8")
    assert f'data-mark="{MARK}"' not in after_loading(tmp_path / "worse.html", tmp_path / "three")
