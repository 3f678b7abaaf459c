"""A job that carries variables ends, in each way that a job can end: the notebook goes on in the next one. Real Slurm."""

import json
from collections.abc import Iterator

import pytest

from tests.centre import Centre
from tests.helpers import Kernel, Lab, gears, home, lab_at, status, wait_until
from tests.jobs import PROFILE, cancel, clear, node_of, queue, submit

NOTEBOOK = "work.ipynb"
EVERY = '[carry]\nevery = "00:00:02"\n'
CENTRE = {"slurm": True, "profiles": {"andes": PROFILE + EVERY}}
LIMIT_S = 120.0
"""For each wait: the machine may be busy."""


@pytest.fixture(scope="module")
def slurm(centre: Centre) -> Iterator[Centre]:
    """A Slurm that leaves a job as much time to end as its default does."""
    for host in (centre.login1, centre.login2, centre.c1, centre.c2):
        host.run("sed -i s/KillWait=5/KillWait=30/ /etc/slurm/slurm.conf", "root", check=True)
    centre.login2.run("scontrol reconfigure", "root", check=True)
    yield centre
    clear(centre)


def notebook(centre: Centre) -> Kernel:
    """The notebook, opened in the lab that is up: it has a kernel of its own, as in a browser."""
    lab = wait_until(lambda: answering(centre), LIMIT_S, "the lab answers")
    if lab.request("GET", f"/api/contents/{NOTEBOOK}").status == 404:
        empty = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        lab.request("PUT", f"/api/contents/{NOTEBOOK}", {"type": "notebook", "content": empty})
    wanted = {"path": NOTEBOOK, "name": NOTEBOOK, "type": "notebook", "kernel": {"name": "python3"}}
    return Kernel(lab, lab.request("POST", "/api/sessions", wanted).json()["kernel"]["id"])


def answering(centre: Centre) -> Lab | None:
    lab = lab_at(centre.hub)
    return lab if lab.answers() else None


def running(centre: Centre) -> str:
    return next((job["id"] for job in queue(centre) if job["state"] == "RUNNING"), "")


def test_every_end_of_a_job(slurm: Centre) -> None:
    hub = slurm.hub
    submit(hub, "--carry --renew")
    kernel = notebook(slurm)
    kernel.run("steps, model = ['first'], open('/dev/null')")
    saved = gears(hub, "state save andes", timeout_s=LIMIT_S)
    assert (saved.returncode, "1 variables" in saved.stdout) == (0, True), saved
    assert "not saved: model: model: an open file" in saved.stdout

    # Slurm's warning before the walltime, as `--signal=B:` sends it: the successor takes over.
    kernel.run("steps += ['warned']")
    first = running(slurm)
    slurm.login2.run(["scancel", "--batch", "--signal=USR1", first], "root", check=True)
    second = wait_until(lambda: (now := running(slurm)) != first and now, LIMIT_S, "the successor runs")
    kernel = notebook(slurm)
    printed = kernel.run("print(steps)")
    assert "['first', 'warned']" in printed
    assert f"1 of 2 variables are back, from job {first} at" in printed
    assert "`model` was not" in printed

    # Requeued: the same job begins again.
    kernel.run("steps += ['requeued']")
    slurm.login2.run(["scontrol", "requeue", second], "root", check=True)
    wait_until(lambda: running(slurm) != second, LIMIT_S, "it has ended")
    wait_until(lambda: started_again(slurm, second), LIMIT_S, "it runs again")
    kernel = notebook(slurm)
    assert "['first', 'warned', 'requeued']" in kernel.run("print(steps)")

    # Cancelled: the next job that she asks for.
    kernel.run("steps += ['cancelled']")
    cancel(slurm, second)
    wait_until(lambda: not queue(slurm), LIMIT_S, "it is over")
    listed = json.loads(gears(hub, "state list andes --json").stdout)
    assert [(state["notebook"], state["job"]) for state in listed] == [(f"/home/alice/{NOTEBOOK}", second)]
    assert status(hub)["carry"]["notebooks"] == 1
    submit(hub, "--carry")
    kernel = notebook(slurm)
    assert "['first', 'warned', 'requeued', 'cancelled']" in kernel.run("print(steps)")

    # The node's power fails: what the last periodic save has.
    kernel.run("steps += ['off']")
    before, node = status(hub)["carry"]["saved"], node_of(kernel)
    wait_until(lambda: status(hub)["carry"]["saved"] > before, LIMIT_S, "it is saved")
    slurm.hosts[node].power_off()
    down = ["scontrol", "update", f"nodename={node}", "state=down", "reason=off"]
    third = running(slurm)
    slurm.login2.run(down, "root", check=True)
    wait_until(lambda: started_again(slurm, third), LIMIT_S, "it runs on the other node")
    assert "['first', 'warned', 'requeued', 'cancelled', 'off']" in notebook(slurm).run("print(steps)")


def started_again(centre: Centre, job: str) -> bool:
    """Whether a requeued job runs; it is not made to wait (BeginTime)."""
    if running(centre) == job:
        return True
    centre.login2.run(["scontrol", "update", f"jobid={job}", "starttime=now"], "root")
    return False
