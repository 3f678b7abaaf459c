"""A notebook in a real browser goes on in the next job, in each way that a job ends by a real Slurm.

The cell after each change of node prints what the first job has begun; what is in the notebook stays as it was.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.centre import Centre
from tests.centre.browser import CHROMIUM, Browser, Notebook
from tests.conftest import skip_or_fail
from tests.helpers import gears, wait_until
from tests.jobs import JobLab, cancel, clear, connect, queue, submit
from tests.test_carry_job import CENTRE as CARRY
from tests.test_carry_job import LIMIT_S, running, starts_again

CENTRE = CARRY
URL = "http://localhost:38888"
NAME = "steps.ipynb"
NOTICE_S, SLURM_EARLY_S = 12, 60
"""Before the end of two minutes (`carry_limits`); Slurm may warn earlier by so much (sbatch(1), --signal)."""
PREEMPTION = """\
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
PartitionName=urgent Nodes=c1,c2 OverSubscribe=EXCLUSIVE PriorityTier=100
"""
PREEMPTED = "s/^PartitionName=batch .*/& PriorityTier=1 GraceTime=30/; s/KillWait=5/KillWait=30/"


@pytest.fixture(scope="module")
def site(centre: Centre) -> Iterator[JobLab]:
    """The laptop is connected. Jobs of the partition `urgent` preempt all others, which have 30 seconds to end."""
    if not Path(CHROMIUM).exists():
        skip_or_fail("the browser's tests need: apt-get install chromium")
    for host in (centre.login1, centre.login2, centre.c1, centre.c2):
        host.run(f"sed -i '{PREEMPTED}' /etc/slurm/slurm.conf", "root", check=True)
        host.run("cat >> /etc/slurm/slurm.conf", "root", input=PREEMPTION, check=True)
    centre.fail_scheduler()
    centre.mend_scheduler()
    wait_until(lambda: "urgent" in centre.login1.run("sinfo -h -p urgent").stdout, 60, "the partition is there")
    submit(centre.hub)
    yield connect(centre)
    clear(centre)


class Steps:
    """A notebook whose list `steps` grows by a cell in each job."""

    def __init__(self, site: JobLab, browser: Browser) -> None:
        self.site, self.page, self.steps = site, browser.page, list[str]()
        self.notebook: Notebook = browser.open_notebook(URL, NAME, site.lab.token)
        self.notebook.run_cell("steps = []")

    def add(self, step: str) -> str:
        """Add a step in a cell, and save the notebook. Return what the cell printed."""
        self.steps.append(step)
        printed = self.notebook.run_cell(f"steps.append({step!r}); print(steps)")
        self.page.keyboard.press("Control+s")
        wait_until(lambda: self.on_disk().count("print(steps)") == len(self.steps), 60, "the notebook is saved")
        assert f"{self.steps}" in printed
        return printed

    def on_disk(self) -> str:
        return self.site.centre.login1.run(f"cat {NAME}", check=True).stdout

    def go_on(self, step: str, job: str) -> None:
        """Open the notebook in the lab of the next job."""
        before = self.outputs()
        wait_until(self.site.lab.answers, LIMIT_S, "the next job answers at the same address")
        self.page.goto(f"{URL}/lab/workspaces/auto-x/tree/{NAME}?reset&token={self.site.lab.token}")
        expect(self.page.locator(".jp-NotebookPanel")).to_be_visible()
        self.page.wait_for_selector("#jupyterlab-splash", state="detached")
        wait_until(self.notebook.is_ready, LIMIT_S, "its kernel is ready")
        assert self.outputs() == before
        assert f"variables are back, from job {job} at" in self.add(step)

    def outputs(self) -> list[str]:
        return [text for text in self.page.locator(".jp-OutputArea-output pre").all_inner_texts() if text]


def saved_in(centre: Centre) -> str:
    """The job in which the newest state of the notebook was saved."""
    states = json.loads(gears(centre.login1, "state list andes --json").stdout)
    return next((state["job"] for state in states if state["notebook"].endswith(NAME)), "")


@contextmanager
def opened(site: JobLab, words: str) -> Iterator[Steps]:
    """A notebook in the lab of a job."""
    clear(site.centre)
    submit(site.centre.hub, f"--carry {words}")
    site.dial()
    wait_until(site.lab.answers, LIMIT_S, "it answers at the laptop")
    with site.centre.browser() as browser:
        yield Steps(site, browser)
    clear(site.centre)


def test_preempted_cancelled_and_a_node_without_power(site: JobLab, tmp_path: Path) -> None:
    with opened(site, "--renew") as steps:
        go_through_ends(site.centre, steps)
        steps.page.screenshot(path=tmp_path / "steps.png")


def go_through_ends(centre: Centre, steps: Steps) -> None:
    wait_until(lambda: len(queue(centre)) == 2, LIMIT_S, "a successor waits")
    steps.add("first")
    first = running(centre)
    (node,) = [job["node"] for job in queue(centre) if job["id"] == first]
    urgent = f"sbatch --parsable -p urgent --nodelist={node} --output=/dev/null --wrap 'sleep 5'"
    centre.login1.run(urgent, "bob", cwd="/tmp", check=True)
    wait_until(lambda: running(centre) not in (first, ""), LIMIT_S, "it was preempted, and the successor runs")
    shown = centre.login2.run(["scontrol", "show", "job", first], "root").stdout
    assert "JobState=PREEMPTED" in shown, shown
    steps.go_on("preempted", first)

    second = running(centre)
    cancel(centre, second)
    wait_until(lambda: not queue(centre), LIMIT_S, "it is over")
    submit(centre.hub, "--carry")
    steps.go_on("cancelled", second)

    third, node = next((job["id"], job["node"]) for job in queue(centre))
    wait_until(lambda: saved_in(centre) == third, LIMIT_S, "it is saved while the job runs")
    centre.hosts[node].power_off()
    down = ["scontrol", "update", f"nodename={node}", "state=down", "reason=off"]
    centre.login2.run(down, "root", check=True)
    wait_until(lambda: starts_again(centre, third), LIMIT_S, "it runs on the other node")
    steps.go_on("without power", third)
    centre.hosts[node].boot()


@pytest.mark.timeout(1200)
def test_two_walltimes_are_reached(site: JobLab, tmp_path: Path) -> None:
    """Nobody ends the jobs of two minutes but their limit. `gears` renews them, as often as it was asked for."""
    centre, jobs = site.centre, list[str]()
    with opened(site, "-t 0:02:00 --renew 2") as steps:
        while len(jobs) < 3:
            jobs.append(running(centre))
            if len(jobs) == 1:
                steps.add(jobs[0])
            else:
                steps.go_on(jobs[-1], jobs[-2])
            wait_until(lambda: running(centre) != jobs[-1], LIMIT_S, "its walltime is reached")
            check_walltime(centre, jobs[-1])
            if len(jobs) < 3:
                wait_until(lambda: running(centre), LIMIT_S, "the next one runs")
        steps.page.screenshot(path=tmp_path / "renewed.png")
        assert len({*jobs}) == 3
        wait_until(lambda: not queue(centre), LIMIT_S, "no job follows the third")


def check_walltime(centre: Centre, job: str) -> None:
    found = centre.login2.run(["scontrol", "show", "job", job], "root").stdout
    minutes, seconds = map(int, re.findall(r"RunTime=00:(\d\d):(\d\d)", found)[0])
    assert minutes * 60 + seconds >= 120 - NOTICE_S - SLURM_EARLY_S, found
