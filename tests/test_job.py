"""JupyterLab as a batch job, on real Slurm: the same address, on whatever node the job runs."""

from collections.abc import Iterator

import pytest

from tests.centre import Centre
from tests.helpers import gears, listening_ports, make, status, wait_until
from tests.jobs import SLURM, JobLab, cancel, clear, connect, node_of, occupy, queue, submit

CENTRE = SLURM


@pytest.fixture(scope="module")
def laptop(centre: Centre) -> JobLab:
    submit(centre.hub)
    return connect(centre)


@pytest.fixture
def site(laptop: JobLab) -> Iterator[JobLab]:
    """The laptop's ssh lives through all tests; each leaves no job behind."""
    clear(laptop.centre)
    yield laptop
    clear(laptop.centre)


@pytest.mark.parametrize("reach", ["ssh", "reverse"])
def test_from_hub_and_laptop_a_cell_runs_on_the_compute_node(site: JobLab, reach: str) -> None:
    hub, c1 = site.centre.hub, site.centre.c1
    done = make(hub, f"andes-lab JOB=1 ARGS='--reach {reach} -t 0:20:00'")
    assert done.returncode == 0, done.stderr
    assert "is up on c1" in done.stdout
    kernel = site.kernel()
    assert node_of(kernel) == "c1"
    found = status(hub)
    assert found["state"] == "up"
    assert found["lab"]["host"] == "c1"
    assert (found["job"]["state"], found["job"]["node"]) == ("RUNNING", "c1")
    assert found["job"]["id"] == queue(site.centre)[0]["id"]
    assert listening_ports(c1) == set(), "a lab in a job, and its kernels, have no TCP port"


def test_cancelled_job_is_told_of_and_not_submitted_again(site: JobLab) -> None:
    submit(site.centre.hub)
    (job,) = queue(site.centre)
    cancel(site.centre, job["id"])
    assert "cancelled" in site.waits_with("cancelled").lower()
    found = status(site.centre.hub)
    assert (found["state"], found["job"]["state"]) == ("failed", "ENDED")
    assert "--job" in found["next"]
    assert queue(site.centre) == []
    plain = gears(site.centre.hub, "lab andes")
    assert plain.returncode == 1
    assert queue(site.centre) == []
    submit(site.centre.hub)
    assert node_of(site.kernel()) == "c1"


@pytest.mark.parametrize("reach", ["ssh", "reverse"])
def test_successor_takes_over_on_another_node(site: JobLab, reach: str) -> None:
    centre = site.centre
    submit(centre.hub, f"--renew 2 --reach {reach}")
    first, second = wait_until(lambda: len(found := queue(centre)) == 2 and found, 20, "a successor waits")
    assert {first["reason"], second["reason"]} >= {"Dependency"}
    running = next(job for job in (first, second) if job["state"] == "RUNNING")
    assert status(centre.hub)["job"]["successor"] == next(job["id"] for job in (first, second) if job != running)
    occupied = None
    cancel(centre, running["id"])
    occupied = occupy(centre, "c1")
    assert node_of(wait_until(lambda: site.lab.answers() and site.kernel(), 60, "the successor answers")) in (
        "c1",
        "c2",
    )
    assert status(centre.hub)["job"]["renew"] == 1
    cancel(centre, occupied)
