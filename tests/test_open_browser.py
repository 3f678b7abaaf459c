"""A tab of a real browser lives through what `gears open` lives through."""

import time
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.centre import Centre
from tests.centre.browser import CHROMIUM, Browser, Notebook
from tests.conftest import Took, skip_or_fail
from tests.helpers import wait_until
from tests.opening import PORT, Opened, await_nothing_left, await_up, masters, type_open

DOWN_S = 20


@pytest.fixture(scope="module")
def opened(centre: Centre) -> Opened:
    if not Path(CHROMIUM).exists():
        skip_or_fail("the browser's tests need: apt-get install chromium")
    return await_up(centre.laptop, type_open(centre.laptop, "andes --no-browser"))


def test_a_notebook_goes_on_after_the_way_was_down(centre: Centre, opened: Opened, tmp_path: Path, took: Took) -> None:
    """The laptop's ssh dies and finds no way for a while: what was typed meanwhile runs in the same kernel."""
    with centre.browser() as browser:
        notebook, kernel = start_notebook(browser, opened.lab.token)
        centre.laptop.cut()
        centre.laptop.kill(*masters(centre.laptop), check=True)
        wait_until(opened.lab.waits, 10, "the waiting page")
        healed = time.monotonic() + DOWN_S
        cell = notebook.type_cell("print(kept + ' on')")
        page = open_waiting_page(browser.page.context.new_page(), opened.lab.token)
        page.screenshot(path=tmp_path / "waiting.png")
        time.sleep(max(0, healed - time.monotonic()))
        centre.laptop.heal()
        began = time.monotonic()
        expect(page.locator("#jp-main-dock-panel")).to_be_visible()
        took("healed, the waiting page is JupyterLab", began)
        assert notebook.wait_output(cell, timeout_s=90) == "kept on"
        took("healed, the cell typed meanwhile ran", began)
        browser.screenshot(tmp_path / "notebook.png")
        assert kernel_of(notebook) == kernel
    assert opened.close() == 130
    await_nothing_left(centre.laptop)


def start_notebook(browser: Browser, token: str) -> tuple[Notebook, str]:
    """A notebook whose kernel has a variable, and the kernel's name."""
    notebook = browser.open_notebook(token=token)
    assert notebook.run_cell("kept = 'kept'; print(kept)") == "kept"
    return notebook, kernel_of(notebook)


def kernel_of(notebook: Notebook) -> str:
    session = notebook.session()
    assert session
    return str(session["kernel"]["id"])


def open_waiting_page(page: Page, token: str) -> Page:
    answer = page.goto(f"http://localhost:{PORT}/lab?token={token}")
    assert answer
    assert answer.status == 503
    expect(page.locator("h1")).to_contain_text("connecting")
    return page
