"""The browser that the tests drive: Debian's Chromium, or Chrome.

``make browser-test`` drives it through everything, ``make test`` through a sample, where there is one.
"""

import os
import shutil

import pytest
from playwright.sync_api import sync_playwright


@pytest.fixture(scope="session")
def browser():
    """Find and start it."""
    found = filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"]))
    program = next(found, None)
    if not program and "LLMTOK_BROWSER" not in os.environ:
        pytest.skip("there is no Chromium or Chrome")
    assert program, "install Chromium or Chrome"
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
