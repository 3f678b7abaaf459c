"""A lab that nobody uses ends after `lab.idle_timeout`: what counts as use, the warning, and the end on every route."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from http.client import HTTPException
from itertools import cycle
from pathlib import Path
from typing import cast

import pytest
from playwright.sync_api import Page, sync_playwright
from websocket import WebSocket

from gears.dask.records import ClusterRecord, ClusterState, save_cluster
from gears.lab.jupyter.command_line import plan_environment
from gears.lab.jupyter.idle import Times, is_use, work_of
from gears.lab.state import Lab as LabRecord
from gears.lab.status.model import State
from gears.lab.status.status import with_idle
from gears.sessions.records import RunRecord, save_run
from gears.sites.paths import RunDir
from gears.sites.profile import Lab as LabProfile
from gears.sites.profile import Site
from gears.system.files import write_private
from gears.system.processes import line, this_process
from tests.centre import Centre, Host
from tests.centre.browser import CHROMIUM, QUIET
from tests.conftest import OpenCentre, skip_or_fail
from tests.helpers import Kernel, Lab, gears, listening_sockets, status, wait_until
from tests.jobs import PROFILE, queue
from tests.pages import ROOT

TOKEN = "5d41402abc4b2a76b9719d911017c592"
TIMEOUT_S = 5
WITH_PAGE_S = 12


class Here:
    """This machine, where `tests.helpers.Lab` expects a host of the centre."""

    def path(self, path: str) -> Path:
        return Path(path)


@dataclass
class Running:
    """A lab's JupyterLab as its loop starts it, with the environment that gears plans for the site."""

    process: "subprocess.Popen[bytes]"
    lab: Lab
    records: Path

    def idle_since(self) -> str | None:
        found: str | None = json.loads(self.records.read_text())["idle_since"]
        return found

    def await_use(self) -> None:
        wait_until(lambda: not self.idle_since(), 5, "the record says that it is in use")

    def await_end(self) -> None:
        assert self.process.wait(10 * TIMEOUT_S) == 0
        assert self.idle_since()


@pytest.fixture
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    site = Site("site", lab=LabProfile(idle_timeout=f"00:00:{getattr(request, 'param', TIMEOUT_S):02}"))
    with tempfile.TemporaryDirectory(prefix="gi-", dir="/tmp") as name:
        home, paths = Path(name), RunDir(Path(name), "site", Path(name) / "local")
        paths.records.mkdir(parents=True, mode=0o700)
        paths.local.mkdir(mode=0o700)
        paths.token.write_text(TOKEN)
        environment = {
            **plan_environment(site, paths, {}),
            "PATH": os.environ["PATH"],
            "HOME": name,
            "PYTHONPATH": str(ROOT),
            "SHELL": "/bin/sh",
            "GEARS_LAB_SOCKET": str(home / "lab.sck"),
            "GEARS_LAB_RECORDS": str(paths.lab_record),
            "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        }
        command = [sys.executable, "-m", "gears.lab", "--no-browser", "--ServerApp.port=0", "--allow-root"]
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(command, env=environment, cwd=home, stdout=log, stderr=log)
        try:
            lab = Lab(cast(Host, Here()), str(home / "lab.sck"), TOKEN)
            wait_until(lambda: process.poll() is not None or paths.lab_record.exists(), 60, "JupyterLab")
            yield Running(process, lab, paths.lab_record)
        except BaseException:
            print((home / "log").read_text())
            raise
        finally:
            process.kill()
            process.wait(30)


def poll_to_the_end(running: Running) -> None:
    """As a page that is only open does."""
    targets = cycle(("/api/kernels", "/api/sessions", "/api/contents?content=1&hash=0", "/dask/clusters"))
    with suppress(OSError, HTTPException):  # it has ended
        while running.process.poll() is None:
            running.lab.request("GET", next(targets))


def test_work_and_changes_keep_it_and_an_open_page_does_not(running: Running) -> None:
    kernel = Kernel(running.lab)
    kernel.run(f"import time; time.sleep({1.2 * TIMEOUT_S})")
    assert running.process.poll() is None
    name = running.lab.request("POST", "/api/terminals", {}).json()["name"]
    with closing(running.lab.open_websocket(f"/terminals/websocket/{name}")) as terminal:
        terminal.send(json.dumps(["stdin", f"sleep {1.2 * TIMEOUT_S}; echo do''ne\r"]))
        read_until(terminal, "done")
        assert running.process.poll() is None
        read_until(terminal, "nobody uses this lab")
        poll_to_the_end(running)
    running.await_end()


def read_until(terminal: WebSocket, words: str) -> None:
    """Read what a terminal shows until it has shown `words`."""
    shown = ""
    while words not in shown:
        shown += str(json.loads(terminal.recv())[1])


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of a browser that was started before the lab."""
    if not Path(CHROMIUM).exists():
        skip_or_fail(f"{CHROMIUM} is not installed")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, "--no-sandbox"])
        yield chromium.new_page()
        chromium.close()


@pytest.mark.parametrize("running", [WITH_PAGE_S], indirect=True)
def test_page_warns_and_a_key_keeps_the_lab(page: Page, running: Running) -> None:
    port = json.loads(running.records.read_text())["port"]
    page.goto(f"http://localhost:{port}/lab?token={TOKEN}", wait_until="commit")
    while not page.locator(".jp-LauncherCard").count():
        running.lab.request("POST", "/gears/use", {"used": True})
        page.wait_for_timeout(200)
    notice = page.get_by_text("Nobody uses this lab")
    notice.first.wait_for(timeout=90_000)
    page.keyboard.press("Shift")
    notice.first.wait_for(state="detached", timeout=90_000)
    running.await_use()
    running.await_end()


@pytest.mark.parametrize(
    ("method", "path", "used"),
    [
        ("GET", "lab", True),
        ("GET", "files/a.txt", True),
        ("GET", "proxy/8080/", True),
        ("GET", "api/kernels", False),
        ("GET", "api", False),
        ("GET", "lab/api/settings", False),
        ("GET", "dask/clusters", False),
        ("POST", "api/sessions", True),
        ("PUT", "api/contents/a.ipynb", True),
        ("POST", "gears/use", False),
        ("PUT", "lab/api/workspaces/default", False),
    ],
)
def test_what_counts(method: str, path: str, used: bool) -> None:
    assert is_use(method, path) == used


def test_times() -> None:
    day, minute = Times(86_400), Times(60)
    assert (day.pause_s, day.warn_s) == (60, 86_400 - 600)
    assert (minute.pause_s, minute.warn_s) == (3, 30)


def test_run_and_tasks_of_a_cluster_count(tmp_path: Path) -> None:
    paths, me = RunDir(tmp_path, "site", tmp_path / "local"), this_process()
    assert work_of(paths) == (False, "False")
    paths.runs.mkdir(parents=True)
    save_run(paths, 1, RunRecord(me.host, "2026-11-27T02:19:37Z", ("sleep", "9")))
    write_private(paths.run_file(1, "pid"), line(me))
    assert work_of(paths)[0]
    write_private(paths.run_file(1, "end"), "0\n")
    assert not work_of(paths)[0]
    up = ClusterRecord(id="a", state=ClusterState.UP, host=me.host, pid=me.pid, start=me.start, tasks=3)
    paths.dask_file("cluster.json").parent.mkdir()
    save_cluster(paths, up)
    assert work_of(paths)[0]
    save_cluster(paths, replace(up, tasks=0, idle_since="2026-11-27T02:19:37Z"))
    assert work_of(paths) == (False, "2026-11-27T02:19:37Z")


def test_status_says_since_when() -> None:
    lab = LabRecord(host="h", pid=1, start="1", idle_since="2026-11-27T02:00:00Z", ends="2026-11-27T02:10:00Z")
    up, stopped = (State.UP, None, None), (State.STOPPED, None, "gears lab")
    assert with_idle(lab, up)[1] == "idle since 2026-11-27T02:00:00Z: it ends 2026-11-27T02:10:00Z, unless it is used"
    assert with_idle(replace(lab, ended="2026-11-27T02:10:01Z"), stopped)[1] == "idle since 2026-11-27T02:00:00Z"
    by_hand = replace(lab, ended="2026-11-27T02:05:00Z")
    assert with_idle(by_hand, stopped) == stopped
    assert with_idle(replace(lab, idle_since=None), up) == up


# --- on every route ------------------------------------------------------------------------------

IDLE = PROFILE.replace("[scheduler]", 'idle_timeout = "00:00:12"\n[scheduler]')


@pytest.fixture
def centre(open_centre: OpenCentre) -> Centre:
    return open_centre(slurm=True, profiles={"andes": IDLE, "frontier": IDLE.partition("[scheduler]")[0]})


def await_end(centre: Centre, site: str) -> None:
    """The hub says why it has stopped."""
    found = wait_until(lambda: (now := status(centre.hub, site))["state"] == "stopped" and now, 60, f"{site} ends")
    assert found["reason"].startswith("idle since 20")
    assert found["next"].endswith(f"gears lab {site}")


def await_nothing(host: Host) -> None:
    """Nothing dials again, and nothing is left."""
    wait_until(lambda: not host.processes("alice"), 10, f"alice has no process on {host.name}")
    assert not [path for path in listening_sockets(host) if "gears" in path]


def test_end_is_as_of_a_stop_on_the_hub_and_in_a_job(centre: Centre) -> None:
    for words in ("andes --job", "frontier"):
        gears(centre.hub, f"lab {words}", check=True)
    for site in ("andes", "frontier"):
        await_end(centre, site)
    wait_until(lambda: not queue(centre), 30, "the job has left the queue")
    for host in (centre.hub, centre.login1, centre.login2):
        await_nothing(host)
