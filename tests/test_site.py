"""The site builds without a warning, and needs nothing from the web."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from llmtok.notebooks import FOLDED

ROOT = Path(__file__).resolve().parent.parent


class Page(HTMLParser):
    """What a page loads, where it leads, and its anchors."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.links, self.anchors, self.without_alt = [], [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        """Sort the attributes of a tag."""
        given = dict(attributes)
        self.anchors |= {given[key] for key in ("id", "name") if given.get(key)}
        if tag in ("script", "img", "iframe", "source") and given.get("src"):
            self.loads.append(given["src"])
        if tag == "link" and given.get("rel") in ("stylesheet", "preload", "icon", "shortcut icon"):
            self.loads.append(given["href"])
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag == "img" and not given.get("alt", "").strip():
            self.without_alt.append(given.get("src", ""))


@pytest.fixture(scope="module")
def pages(site):
    return {path.relative_to(site): Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_every_page_is_there(pages):
    names = {str(path) for path in pages}
    lessons = {f"notebooks/{path.stem}.html" for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert lessons | {"index.html", "path.html", "reading.html", "api.html", "docs/glossary.html"} <= names
    assert {"README.zh-CN.html", "docs/teaching.html", "benchmarks/RESULTS.html", "examples.html"} <= names


def test_nothing_is_loaded_from_the_web(pages):
    for path, page in pages.items():
        outside = [address for address in page.loads if re.match(r"(https?:)?//", address)]
        assert not outside, f"{path}: {outside}"


def test_no_dead_links(site, pages):
    for path, page in pages.items():
        for link in page.links:
            if re.match(r"[a-z]+:|//", link) or link.startswith(
                "examples/"
            ):  # those are added by `make site`
                continue
            target, _, anchor = link.partition("#")
            where = (site / path.parent / target).resolve() if target else site / path
            assert where.exists(), f"{path}: {link}"
            if anchor and where.suffix == ".html":
                assert anchor in pages[where.relative_to(site.resolve())].anchors, f"{path}: {link}"


def test_pictures_have_a_text(pages):
    assert not {str(path): page.without_alt for path, page in pages.items() if page.without_alt}


def test_answers_are_folded(site):
    page = (site / "notebooks" / "00_start_here.html").read_text(encoding="utf-8")
    marked = re.findall(r'<div class="cell ([^"]*)">', page)
    for kind in ("check", "solution"):
        of_kind = [classes for classes in marked if f"tag_{kind}" in classes]
        assert len(of_kind) >= 3 and all("tag_hide-cell" in classes for classes in of_kind)
        assert page.count(f">{FOLDED[kind]}<") >= len(of_kind)


def test_lessons_can_be_opened_elsewhere(site):
    page = (site / "notebooks" / "04_recommend_with_svd.html").read_text(encoding="utf-8")
    assert re.search(
        r"https://mybinder\.org/v2/gh/llmtok/llmtok/main\?urlpath=[^\"]*04_recommend_with_svd", page
    )
    assert (
        "https://colab.research.google.com/github/llmtok/llmtok/blob/main/notebooks/04_recommend_with_svd.ipynb"
        in page
    )
