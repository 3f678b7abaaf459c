"""A real browser on the laptop: JupyterLab through the whole route, and the waiting page that turns into it."""

import time
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.centre import Centre
from tests.centre.browser import CHROMIUM, Browser, Notebook
from tests.conftest import Took, skip_or_fail
from tests.helpers import Lab, add_stanza, dial, lab_at, make, record, wait_until

URL = "http://localhost:38888/lab"
CUT_S = 20


@pytest.fixture(scope="module")
def token(centre: Centre) -> str:
    """Of a lab that runs, and is reached through the laptop's port."""
    if not Path(CHROMIUM).exists():
        skip_or_fail("the browser's tests need: apt-get install chromium")
    assert make(centre.hub, "andes-lab").returncode == 0
    add_stanza(centre)
    dial(centre)
    return lab_at(centre.hub).token


def test_notebook_and_waiting_page_while_the_hop_is_cut(centre: Centre, token: str, tmp_path: Path, took: Took) -> None:
    """A cell typed meanwhile runs in its kernel, with its variable; pages opened meanwhile turn into JupyterLab."""
    pid = record(centre.hub, "andes/lab.json")["pid"]
    with centre.browser() as browser:
        notebook, kernel = start_notebook(browser, token)
        browser.screenshot(tmp_path / "jupyterlab.png")

        healed = time.monotonic() + CUT_S
        cut(centre)
        cell = notebook.type_cell("print(kept + ' on')")
        page = open_waiting_page(browser.page.context.new_page())
        page.screenshot(path=tmp_path / "waiting.png")
        unscripted = open_waiting_page(without_scripts(browser))
        time.sleep(max(0, healed - time.monotonic()))
        assert page.evaluate("window.opened"), "the page changes in place, it is not loaded anew"

        centre.login1.heal()
        began = time.monotonic()
        expect(page.locator("#jp-main-dock-panel")).to_be_visible()
        took("hop healed, the waiting page is JupyterLab", began)
        assert page.evaluate("window.opened"), "JupyterLab's page is not asked for twice"
        unscripted.wait_for_url("**/login*")
        assert notebook.wait_output(cell, timeout_s=60) == "kept on"
        took("hop healed, the cell typed meanwhile ran", began)
        browser.screenshot(tmp_path / "jupyterlab-after.png")
        goes_on(notebook, kernel)
    assert record(centre.hub, "andes/lab.json")["pid"] == pid


def test_waiting_page_outlives_the_laptops_ssh(centre: Centre, token: str) -> None:
    """While nothing listens at the laptop's port the page says so, and it goes on once ssh is typed again."""
    with centre.browser() as browser:
        cut(centre)
        page = open_waiting_page(browser.page)
        expect(page.locator("#closed")).to_be_hidden()
        centre.laptop.kill(*[p.pid for p in centre.laptop.processes("alice") if p.comm == "ssh"], check=True)
        expect(page.locator("#closed")).to_contain_text("ssh andes-jupyter")
        expect(page.locator("#closed")).to_be_visible()
        centre.login1.heal()
        dial(centre)
        page.wait_for_url("**/login*")


def start_notebook(browser: Browser, token: str) -> tuple[Notebook, str]:
    """A notebook whose kernel has a variable, and the kernel's name."""
    notebook = browser.open_notebook(token=token)
    assert notebook.run_cell("kept = 'kept'; print(kept)") == "kept"
    session = notebook.session()
    assert session
    return notebook, session["kernel"]["id"]


def goes_on(notebook: Notebook, kernel: str) -> None:
    notebook.dismiss_dialogs()
    assert notebook.run_cell("print(kept)") == "kept"
    session = notebook.session()
    assert session
    assert session["kernel"]["id"] == kernel


def cut(centre: Centre) -> None:
    """Part hub and login node, and let ssh notice it at once."""
    centre.login1.cut()
    hop = [p.pid for p in centre.hub.processes("alice") if p.comm == "ssh" and "-L" in p.argv]
    centre.hub.kill(*hop, check=True)
    wait_until(Lab(centre.laptop, 38888).waits, 10, "the waiting page")


def open_waiting_page(page: Page) -> Page:
    answer = page.goto(URL)
    assert answer
    assert answer.status == 503
    expect(page.locator("h1")).to_contain_text("not reachable at the moment")
    expect(page.locator("pre")).to_contain_text("gears lab andes")
    page.evaluate("window.opened = true")
    return page


def without_scripts(browser: Browser) -> Page:
    """A page of a browser that runs no scripts, and is not logged in."""
    chromium = browser.page.context.browser
    assert chromium
    return chromium.new_context(java_script_enabled=False).new_page()
