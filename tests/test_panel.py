"""Where a lab runs, in JupyterLab itself: the status bar, the panel and its buttons. In a browser, with a job."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from gears.lab.job import records as job_records
from gears.lab.job.keep_going import keep_going
from gears.lab.job.records import JobRecord
from gears.lab.job.submit import NO_SUCCESSOR
from gears.lab.jupyter.idle import is_use
from gears.lab.panel import low_disks, walltime
from gears.lab.saved_states import SavedKernel, tell_saved
from gears.schedulers.base import JobState
from gears.sites.context import Context
from gears.sites.paths import RunDir
from gears.sites.profile import Lab as LabProfile
from gears.sites.profile import Site
from gears.sites.route import Route
from gears.system.timestamps import utc_time
from tests.centre import Centre
from tests.centre.browser import CHROMIUM, Browser
from tests.conftest import skip_or_fail
from tests.helpers import Kernel, home, wait_until
from tests.jobs import SLURM, JobLab, cancel, clear, connect, job_record, queue, submit

CENTRE = SLURM
PANEL = "/gears/panel"
ENDING = """
const ask = window.fetch;
window.fetch = async (input, init) => {
    const answer = await ask(input, init), url = input instanceof Request ? input.url : String(input);
    if (!window.ending || !url.includes('/gears/panel')) return answer;
    const seen = await answer.json();
    Object.assign(seen.walltime, {left_s: 170});
    seen.saved = window.saved ?? '';
    seen.disks.push({path: '/home', free: 1e9, size: 1e12});
    return new Response(JSON.stringify(seen), {status: answer.status, headers: answer.headers});
};
"""
"""In the page: where `ending` is true, the job is in its last minutes, and a disk is about to be full."""


@pytest.fixture(scope="module")
def site(centre: Centre) -> Iterator[JobLab]:
    """A lab in a job that carries variables, without a successor."""
    if not Path(CHROMIUM).exists():
        skip_or_fail("the browser's tests need: apt-get install chromium")
    submit(centre.hub, "--carry")
    found = connect(centre)
    yield replace(found, lab=replace(found.lab, timeout_s=60))
    clear(centre)


def look(site: JobLab) -> dict[str, Any]:
    found: dict[str, Any] = site.lab.request("GET", PANEL).json()
    return found


@pytest.fixture(scope="module")
def browser(site: JobLab) -> Iterator[Browser]:
    with site.centre.browser() as browser:
        browser.page.add_init_script(ENDING)
        yield browser


def open_lab(page: Page, site: JobLab) -> tuple[Locator, Locator]:
    """The item in the status bar, and the panel."""
    page.goto(f"http://localhost:38888/lab?reset&token={site.lab.token}")
    page.wait_for_selector("#jupyterlab-splash", state="detached", timeout=90_000)
    item = page.locator(".gears-StatusItem button")
    expect(item).to_contain_text("andes on", timeout=60_000)
    return item, page.locator(".gears-Panel")


def test_nobody_else_asks_or_acts(site: JobLab) -> None:
    """Without a login, and without the token that proves the page to be JupyterLab's own."""
    stranger = replace(site.lab, token="")
    assert stranger.request("GET", PANEL).status == 403
    assert stranger.request("POST", f"{PANEL}/keep").status == 403
    assert stranger.request("POST", f"{PANEL}/save").status == 403
    assert site.lab.request("GET", f"{PANEL}/keep").status == 405
    assert len(queue(site.centre)) == 1


def test_answer_is_the_status_and_what_a_page_needs_beside_it(site: JobLab) -> None:
    found = look(site)
    assert (found["status"]["site"], found["status"]["state"]) == ("andes", "up")
    assert found["status"]["lab"]["host"] == found["status"]["job"]["node"] == "c1"
    [hop] = found["status"]["hops"]
    assert (hop["from"], hop["state"], hop["reconnects"]) == ("hub", "up", 0)
    assert 0 < found["walltime"]["left_s"] <= found["walltime"]["whole_s"] == 1800
    assert found["actions"] == ["keep", "stop", "save"]
    assert (found["successor"], found["cluster"]) == (None, None)


def test_node_without_the_schedulers_programs_leaves_it_to_the_login_node(site: JobLab) -> None:
    command = f"PATH=/nonexistent {home()}/.venv/bin/gears _panel andes --keep"
    told = site.centre.c1.run(command, "alice", check=True).stdout
    assert "submits the next job when this one ends" in told
    assert "sbatch is not installed" in told
    found = wait_until(lambda: (job := job_record(site.centre.hub))["renew"] and job, 30, "the record has the wish")
    assert (found["renew"], found["successor"], found["trouble"]) == (1, None, "")
    life = site.centre.hub.path(f"{home()}/run/andes/job.{found['number'] + 1}.life")
    wait_until(lambda: not life.exists(), 30, "the number of the next job is free again")


def test_panel_shows_the_job_and_keeps_it_going(site: JobLab, browser: Browser, tmp_path: Path) -> None:
    page = browser.page
    item, panel = open_lab(page, site)
    expect(item).to_contain_text("andes on c1")
    expect(item).to_contain_text("min left")
    assert "andes on c1" in (item.get_attribute("aria-label") or "")

    item.focus()
    page.keyboard.press("Enter")
    expect(panel.get_by_role("heading", name="andes on c1")).to_be_focused(timeout=30_000)
    expect(panel).to_contain_text("running")
    page.keyboard.press("Tab")
    expect(panel.get_by_role("button", name="Keep going")).to_be_focused()
    page.keyboard.press("Enter")
    expect(panel.get_by_role("status")).to_contain_text("takes over", timeout=60_000)
    expect(panel.get_by_role("button", name="Keep going")).to_be_hidden(timeout=30_000)
    expect(panel.get_by_role("heading", name="andes on c1")).to_be_focused(timeout=30_000)
    [waiting] = [job["id"] for job in queue(site.centre) if job["state"] == "PENDING"]
    wait_until(lambda: (job_record(site.centre.hub)["successor"] or {}).get("id") == waiting, 30, "it is recorded")
    expect(panel).to_contain_text(f"job {waiting}, pending", timeout=30_000)
    browser.screenshot(tmp_path / "kept.png")


def test_last_minutes_are_told(browser: Browser, tmp_path: Path) -> None:
    page = browser.page
    page.evaluate("window.ending = true")
    page.locator(".gears-StatusItem button").click()
    notice = page.locator(".Toastify__toast", has_text="takes over")
    expect(notice).to_contain_text("ends in 2 min", timeout=30_000)
    expect(notice).to_contain_text("Variables are saved for the next lab")
    expect(page.locator(".gears-mod-low").first).to_have_text("2 min left")
    expect(page.locator(".gears-mod-low").last).to_have_text("disk almost full")
    page.evaluate("window.saved = 'saved: 2 of 3 variables'")
    item = page.locator(".gears-StatusItem button")
    item.click()
    expect(notice).to_contain_text("saved again for the next lab; by now saved: 2 of 3 variables", timeout=30_000)
    browser.screenshot(tmp_path / "ending.png")


def test_state_is_saved_on_request(site: JobLab, browser: Browser, tmp_path: Path) -> None:
    page, panel = browser.page, browser.page.locator(".gears-Panel")
    page.evaluate("window.ending = false")
    panel.get_by_role("button", name="Python 3").click()
    expect(page.locator(".jp-NotebookPanel")).to_be_visible(timeout=60_000)
    [session] = wait_until(lambda: site.lab.request("GET", "/api/sessions").json(), 60, "the notebook has a kernel")
    Kernel(site.lab, session["kernel"]["id"]).run("answer, log = 42, open('/dev/null')")
    panel.get_by_role("button", name="Save the state now").click()
    told = panel.get_by_role("status")
    expect(told).to_contain_text("saved: 1 of 2 variables of 1 of 1 notebooks", timeout=60_000)
    expect(told).to_contain_text("log is not: ")
    browser.screenshot(tmp_path / "saved.png")


def test_successor_has_its_own_time_and_stop_asks_first(site: JobLab, browser: Browser, tmp_path: Path) -> None:
    """The job that was asked for in the panel takes over; the panel's other button ends it."""
    centre, page = site.centre, browser.page
    first, following = sorted((job["id"] for job in queue(centre)), key=int)
    page.goto("about:blank")
    cancel(centre, first)

    def taken_over() -> bool:
        with suppress(OSError, HTTPException, ValueError, KeyError):  # nobody answers yet, or the waiting page
            return bool(look(site)["status"]["job"]["id"] == following)
        return False

    wait_until(taken_over, 120, "the next job took over")
    item, panel = open_lab(page, site)
    item.click()
    expect(panel.get_by_role("button", name="Keep going")).to_be_visible(timeout=30_000)
    dialog, stop = page.locator(".jp-Dialog"), panel.get_by_role("button", name="Stop…")
    stop.click()
    expect(dialog).to_contain_text(f"job {following} end")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    assert site.lab.answers()
    stop.click()
    browser.screenshot(tmp_path / "stop.png")
    dialog.get_by_role("button", name="Stop").click()
    expect(panel.get_by_role("status")).to_contain_text("gears lab andes", timeout=30_000)
    wait_until(lambda: not queue(centre), 60, "the job has ended")


# --- without a centre ------------------------------------------------------------------------


def test_asking_is_no_use_of_the_lab_but_acting_is() -> None:
    assert not is_use("GET", "gears/panel")
    assert is_use("POST", "gears/panel/keep")
    assert is_use("POST", "gears/panel/save")


def test_save_is_told_in_a_sentence() -> None:
    good = SavedKernel(notebook="/home/a/good.ipynb", names=("x",), bytes=2_500_000, seconds=0.31)
    part = replace(good, notebook="part.ipynb", missing={"log": "log: an open file"}, bytes=0)
    busy = SavedKernel(notebook="busy.ipynb", problem="a cell runs")
    assert tell_saved([good, part, busy]) == (
        "saved: 2 of 3 variables of 2 of 3 notebooks, 2.5 MB, 0.3 s; "
        "part.ipynb: log is not: log: an open file; busy.ipynb: a cell runs"
    )
    assert tell_saved([]) == "no notebook has a kernel whose variables can be saved"


def test_what_is_refused_on_the_node_is_left_to_the_login_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    paths = RunDir(tmp_path, "site", tmp_path / "local")
    paths.records.mkdir(parents=True)
    running = {"state": JobState.RUNNING, "known": JobState.RUNNING, "node": "c1"}
    job_records.write(paths, JobRecord(number=1, id="11", host="login1", **running))

    def refuse(context: Context, job: JobRecord, *, claimed_by: str) -> JobRecord:
        assert (context.route.here, claimed_by) == ("login1", "c1")
        return replace(job, renew=0, trouble=f"{NO_SUCCESSOR}no submission from compute nodes")

    monkeypatch.setattr("gears.lab.job.keep_going.submit_successor", refuse)
    kept = keep_going(Context(Route(Site("site"), "local", "lab", "c1", front="c1", lab="c1"), paths))
    assert kept.later == "no submission from compute nodes"
    found = job_records.read(paths)
    assert found
    assert (found.renew, found.successor, found.trouble) == (1, None, "")


def test_disk_is_almost_full_by_its_share_and_its_bytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A large disk has room left at 99 %, and a small one at a few megabytes."""
    site = Site("site", lab=LabProfile(directory=str(tmp_path)))
    route = Route(site, "local", "lab", "here", front="here", lab="here")
    context = Context(route, RunDir(tmp_path, "site", tmp_path))

    def paths_low(free: int, size: int) -> int:
        room = SimpleNamespace(f_bavail=free, f_blocks=size, f_frsize=1)
        monkeypatch.setattr(os, "statvfs", lambda _: room)
        return len(low_disks(context))

    assert paths_low(10**7, 10**8) == paths_low(10**12, 10**14) == 0
    assert paths_low(10**8, 10**10) > 0


@pytest.mark.parametrize(("ends", "whole_s", "warn_s"), [(utc_time(0), 7200, 600), (utc_time(0), 240, 60)])
def test_short_jobs_are_warned_of_in_their_last_quarter(ends: str, whole_s: int, warn_s: int) -> None:
    found = walltime(JobRecord(id="1", ends=ends, walltime_s=whole_s))
    assert found
    assert (found.left_s, found.whole_s, found.warn_s) == (0, whole_s, warn_s)
    assert walltime(JobRecord(id="1", walltime_s=whole_s)) is None
