"""The browser that the tests drive: Debian's Chromium, or Chrome."""

import shutil

import pytest
from playwright.sync_api import sync_playwright


@pytest.fixture(scope="session")
def browser():
    """Find and start it."""
    found = filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"]))
    program = next(found, None)
    assert program, "install chromium or Chrome"
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
