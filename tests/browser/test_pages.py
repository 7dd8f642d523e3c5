"""The pages of the site, and the reports on it, on a phone and on a desk: nothing broken, too wide or hard to reach."""

import os
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

BUILT = Path(__file__).resolve().parent.parent.parent / "build" / "site" / "html"
PAGES = ["index.html", "notebooks/00_start_here.html"]  # the sample of `make test`
if "LLMTOK_BROWSER" in os.environ:  # `make browser-test` builds the site first
    PAGES = sorted(
        str(path.relative_to(BUILT)) for path in BUILT.rglob("*.html") if "_static" not in path.parts
    )


@pytest.fixture(scope="module")
def pages(request):
    """The folder of the site: that of ``make site``, whole, or one without reports."""
    return BUILT if "LLMTOK_BROWSER" in os.environ else request.getfixturevalue("site")


def test_the_site_is_there(pages):
    assert all((pages / name).exists() for name in PAGES)
    if pages == BUILT:
        assert {"index.html", "examples/movielens-small.html", "examples/debian-packages.html"} <= set(PAGES)


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_page(browser, pages, name, width):
    page = browser.new_page(viewport={"width": width, "height": 900})
    broken = []
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.on("requestfailed", lambda request: broken.append(request.url))
    # The theme says on each first visit that no theme was chosen yet.
    page.on(
        "console", lambda m: broken.append(m.text) if m.type == "error" and "theme mode" not in m.text else 0
    )
    page.goto((pages / name).as_uri())
    page.wait_for_load_state("networkidle")
    assert not broken
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    found = Axe().run(page).response["violations"]
    serious = [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")]
    page.close()
    assert not serious
