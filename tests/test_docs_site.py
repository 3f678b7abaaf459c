"""README and docs as a site: no warning when it is built, every page can be found, none is wider than its window."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.centre.browser import CHROMIUM, QUIET
from tests.conftest import skip_or_fail
from tests.pages import PAGES, ROOT

NAMES = [str(page.relative_to(ROOT).with_suffix("")) for page in PAGES]
PHONE = {"width": 390, "height": 800}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make docs` builds it."""
    directory = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs", "-d", f"{directory}/doctrees"]
    done = subprocess.run([*command, ".", f"{directory}/html"], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stderr) == (0, "")
    return directory / "html"


@pytest.fixture(scope="module")
def phone(site: Path) -> Iterator[Page]:
    """A browser with a narrow window."""
    if not Path(CHROMIUM).exists():
        skip_or_fail("the site is looked at with Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, chromium_sandbox=False, args=QUIET)
        yield chromium.new_context(viewport=PHONE).new_page()
        chromium.close()


def test_every_page_is_there_and_none_else(site: Path) -> None:
    made = {str(file.relative_to(site).with_suffix("")) for file in site.rglob("*.html") if "_static" not in file.parts}
    assert made - {"index", "search", "genindex"} == set(NAMES)
    assert (site / "index.html").read_text() == (site / "README.html").read_text()


def test_every_page_is_in_the_navigation(site: Path) -> None:
    [sidebar] = re.findall(r'<nav class="bd-docs-nav.*?</nav>', (site / "index.html").read_text(), re.DOTALL)
    assert [name for name in NAMES if f'href="{name}.html"' not in sidebar] == ["README"]
    assert len(re.findall('class="caption-text"', sidebar)) >= 5


def test_every_page_is_in_the_search(site: Path) -> None:
    [index] = re.findall(r"^Search\.setIndex\((.*)\)$", (site / "searchindex.js").read_text(), re.DOTALL)
    assert set(json.loads(index)["docnames"]) == set(NAMES)


def test_it_asks_no_other_host(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|img|iframe)\b[^>]*\bsrc="([^"]+)|<link\b[^>]*\bhref="([^"]+)', page.read_text()
        )
        assert [name for names in loaded for name in names if "//" in name] == [], page


def test_no_page_is_wider_than_a_narrow_window_and_every_picture_shows(site: Path, phone: Page) -> None:
    for name in NAMES:
        phone.goto(f"file://{site}/{name}.html")
        assert phone.evaluate("document.documentElement.scrollWidth") == PHONE["width"], name
        assert phone.evaluate("[...document.images].filter(image => !image.naturalWidth).map(image => image.src)") == []


def test_what_is_searched_for_is_found(site: Path, phone: Page) -> None:
    phone.goto(f"file://{site}/search.html?q=passcode")
    phone.wait_for_selector("#search-results li")
    found = phone.locator("#search-results li > a").all_inner_texts()
    assert "Passcodes" in found
