"""A job in a real browser: its queue on the waiting page, its node in a cell, its successor at the same address."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.centre import Centre
from tests.centre.browser import CHROMIUM
from tests.conftest import skip_or_fail
from tests.helpers import gears, wait_until
from tests.jobs import SLURM, JobLab, cancel, clear, connect, drained, occupy, queue, submit

CENTRE = SLURM
URL = "http://localhost:38888/lab"
HOST = "import socket; print(socket.gethostname())"


@pytest.fixture(scope="module")
def connected(centre: Centre) -> JobLab:
    if not Path(CHROMIUM).exists():
        skip_or_fail("the browser's tests need: apt-get install chromium")
    submit(centre.hub)
    return connect(centre)


@pytest.fixture
def site(connected: JobLab) -> Iterator[JobLab]:
    """The laptop is connected, and nothing is in the queue."""
    clear(connected.centre)
    yield connected
    clear(connected.centre)


def open_page(page: Page, heading: str) -> None:
    answer = page.goto(URL)
    assert answer
    assert answer.status == 503
    expect(page.locator("h1")).to_contain_text(heading, ignore_case=True)


def test_page_shows_the_queue_and_turns_into_jupyterlab(site: JobLab, tmp_path: Path) -> None:
    centre = site.centre
    theirs = [occupy(centre, node) for node in ("c1", "c2")]
    gears(centre.hub, "lab andes --job --no-wait", check=True)
    site.waits_with("Resources")
    with centre.browser() as browser:
        open_page(browser.page, "queued")
        reason = browser.page.locator(".reason")
        expect(reason).to_contain_text("Resources")
        expect(reason).to_contain_text("expected to start")
        browser.screenshot(tmp_path / "queued.png")
        cancel(centre, *theirs)
        browser.page.wait_for_url("**/login*")


def test_cell_names_the_node_and_then_that_of_the_successor(site: JobLab, tmp_path: Path) -> None:
    centre = site.centre
    submit(centre.hub, "--renew --reach reverse")
    with centre.browser() as browser:
        assert browser.open_notebook(token=site.lab.token).run_cell(HOST) == "c1"
        browser.screenshot(tmp_path / "on-c1.png")
        jobs = wait_until(lambda: len(found := queue(centre)) == 2 and found, 20, "a successor waits")
        (running,) = [job["id"] for job in jobs if job["state"] == "RUNNING"]
        with drained(centre, "c1"):
            cancel(centre, running)
            wait_until(site.lab.waits, 20, "the waiting page")
            wait_until(site.lab.answers, 60, "the successor answers at the same address")
        assert browser.open_notebook(name="later.ipynb", token=site.lab.token).run_cell(HOST) == "c2"
        cancel(centre, *[job["id"] for job in jobs])
        site.waits_with("cancelled")
        open_page(browser.page, "the job has ended")
        expect(browser.page.locator(".reason")).to_contain_text("cancelled")
        expect(browser.page.locator("pre")).to_contain_text("gears lab andes --job")
        browser.screenshot(tmp_path / "cancelled.png")
    assert queue(centre) == []
