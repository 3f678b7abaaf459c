"""A job behind each kind of route: homes of their own, a server behind a jump host; and a scheduler that is down."""

from collections.abc import Iterator

import pytest

from tests.centre import Centre
from tests.conftest import OpenCentre
from tests.helpers import Kernel, Lab, dial, gears, home, lab_at, status, wait_until
from tests.jobs import PROFILE, SLURM, cancel, clear, node_of, queue, submit

PROXY = """\
title = "A login node behind another"
[front]
jump = ["hub"]
[lab]
host = "login1"
[laptop]
port = 38894
[scheduler]
kind = "slurm"
"""


@pytest.fixture
def separate(open_centre: OpenCentre) -> Iterator[Centre]:
    profiles = {"andes": PROFILE.replace('host = "andes"', 'host = "andes"\nhome = "separate"')}
    centre = open_centre(slurm=True, separate_homes={"hub"}, profiles=profiles)
    yield centre
    clear(centre)


@pytest.mark.parametrize("reach", ["ssh", "reverse"])
def test_hub_with_a_home_of_its_own(separate: Centre, reach: str) -> None:
    """What the hub can't read in its home, it is told: the options go there, the job's state comes back."""
    submit(separate.hub, f"--reach {reach} -t 0:11:00")
    lab = lab_at(separate.hub)
    kernel = Kernel(lab)
    assert node_of(kernel) == "c1"
    (job,) = queue(separate)
    found = status(separate.hub)
    assert (found["state"], found["job"]["id"], found["job"]["node"]) == ("up", job["id"], "c1")
    cancel(separate, job["id"])
    found = wait_until(lambda: (now := status(separate.hub))["state"] == "failed" and now, 60, "its end is told")
    assert "cancelled" in found["reason"]
    submit(separate.hub)
    assert gears(separate.hub, "stop andes", timeout_s=120).returncode == 0
    assert queue(separate) == []


def test_server_behind_a_jump_host(open_centre: OpenCentre) -> None:
    centre = open_centre(slurm=True, profiles={"cadeslike": PROXY})
    done = gears(centre.login1, "lab cadeslike --job")
    assert done.returncode == 0, done.stderr
    stanza = gears(centre.login1, "ssh-config cadeslike", check=True).stdout
    centre.laptop.run("cat >>~/.ssh/config", input=stanza, check=True)
    terminal = dial(centre, "cadeslike")
    token = centre.login1.path(f"{home()}/run/cadeslike/token").read_text()
    assert node_of(Kernel(Lab(centre.laptop, 38894, token))) == "c1"
    assert gears(centre.login1, "stop cadeslike", timeout_s=120).returncode == 0
    terminal.close()
    assert queue(centre) == []


@pytest.mark.parametrize("where", ["login1", "hub"])
def test_scheduler_down_when_a_job_is_asked_for(open_centre: OpenCentre, where: str) -> None:
    """The message has the scheduler's words; nothing was submitted, nothing is left, and later it works."""
    centre = open_centre(**SLURM)
    host = centre.hosts[where]
    centre.fail_scheduler()
    done = gears(host, "lab andes --job", timeout_s=120)
    assert done.returncode == 1, done.stderr
    assert "Unable to contact slurm controller" in done.stderr
    assert "next:" in done.stderr
    centre.mend_scheduler()
    assert queue(centre) == []
    submit(host, timeout_s=120)
    assert len(queue(centre)) == 1
    gears(host, "stop andes", timeout_s=120, check=True)
    assert queue(centre) == []


@pytest.mark.parametrize("where", ["login1", "hub"])
def test_scheduler_down_when_the_job_is_stopped(open_centre: OpenCentre, where: str) -> None:
    """It is told that the job may run on; the same command ends it later."""
    centre = open_centre(**SLURM)
    host = centre.hosts[where]
    submit(host)
    centre.fail_scheduler()
    done = gears(host, "stop andes", timeout_s=240)
    assert done.returncode == 5, done.stderr
    assert "next:" in done.stderr
    assert lab_at(centre.login1).answers()
    centre.mend_scheduler()
    assert len(queue(centre)) == 1
    gears(host, "stop andes", timeout_s=120, check=True)
    assert queue(centre) == []
    assert status(host)["state"] == "stopped"
