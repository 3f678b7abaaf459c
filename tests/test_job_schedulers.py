"""A lab in a job under each scheduler but Slurm, the real Grid Engine and the stand-ins for PBS and LSF: its node, its
successor, its end, and nothing left in the queue."""

from collections.abc import Iterator

import pytest

from tests import standins
from tests.centre import Centre
from tests.clusters import await_workers, dask
from tests.conftest import OpenCentre
from tests.helpers import Kernel, gears, lab_at, status, wait_until
from tests.jobs import PROFILE, node_of, open_notebook, submit

NODES = {node: ["ssh", "-n", "-o", "BatchMode=yes", node] for node in ("c1", "c2")}
LISTING = {"sge": "qstat -u alice", "pbs": "qselect -u alice", "lsf": "bjobs -noheader -o jobid"}
CANCEL = {"sge": "qdel", "pbs": "qdel", "lsf": "bkill"}


def profile(kind: str) -> str:
    queue = {"sge": "batch", "pbs": "", "lsf": ""}[kind]
    own = PROFILE.replace('kind = "slurm"', f'kind = "{kind}"').replace('queue = "batch"', f'queue = "{queue}"')
    return f'{own}[dask]\ncores = 1\nmemory = "400MB"\n'


@pytest.fixture(params=["sge", "pbs", "lsf"])
def site(request: pytest.FixtureRequest, open_centre: OpenCentre) -> Iterator[tuple[Centre, str]]:
    kind = request.param
    options = {"sge": True} if kind == "sge" else {}
    centre = open_centre(profiles={"andes": profile(kind)}, **options)
    if kind != "sge":
        for host in (centre.login1, centre.login2, centre.c1, centre.c2):
            for name, text in standins.programs(kind, state=f"~/.{kind}", nodes=NODES, kill_s=10).items():
                host.install(name, text)
    yield centre, kind
    gears(centre.hub, "stop andes", timeout_s=120)


def waiting_or_running(centre: Centre, kind: str) -> list[str]:
    """The numbers of alice's jobs that are not over, as the scheduler's own program lists them."""
    listed = centre.login1.run(LISTING[kind]).stdout.splitlines()
    first = [line.split()[0].partition(".")[0] for line in listed if line.strip()]
    return [word for word in first if word.isdigit()]


def test_lab_in_a_job_and_its_successor(site: tuple[Centre, str]) -> None:
    """By a tunnel from the job; the other tests reach it by ssh."""
    centre, kind = site
    submit(centre.hub, "--renew --reach reverse", timeout_s=120)
    first = node_of(Kernel(lab_at(centre.hub)))
    assert first in ("c1", "c2")
    jobs = wait_until(lambda: len(found := waiting_or_running(centre, kind)) == 2 and found, 30, "a successor waits")
    wait_until(lambda: status(centre.hub)["job"]["successor"], 20, "the record has it")
    running, successor = (status(centre.hub)["job"][name].partition(".")[0] for name in ("id", "successor"))
    assert {running, successor} == set(jobs)

    centre.login1.run([CANCEL[kind], running], check=True)
    wait_until(lambda: job_id(centre) == successor and lab_at(centre.hub).answers(), 120, "the successor answers")
    assert node_of(Kernel(lab_at(centre.hub))) in ("c1", "c2")

    done = gears(centre.hub, "stop andes", timeout_s=120)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: not waiting_or_running(centre, kind), 30, "nothing runs or waits")
    assert status(centre.hub)["state"] == "stopped"
    if kind == "sge":
        check_dask(centre)


def check_dask(centre: Centre) -> None:
    """Grid Engine runs the scripts of the workers' jobs, too; its queue's shell is csh."""
    assert dask(centre.login1, "up andes --min=1").returncode == 0
    await_workers(centre.login1, 1)
    assert dask(centre.login1, "down andes").returncode == 0
    wait_until(lambda: not waiting_or_running(centre, "sge"), 30, "nothing runs or waits")


def test_variables_outlive_a_walltime_and_a_cancelled_job(site: tuple[Centre, str]) -> None:
    """The job's own clock ends the lab before the scheduler does; to cancel it leaves the scheduler's time to end."""
    centre, kind = site
    submit(centre.hub, "--carry --renew -t 0:01:00", timeout_s=120)
    first = job_id(centre)
    open_notebook(lab_at(centre.hub), "carried.ipynb").run("jobs = ['first']")
    wait_until(lambda: job_id(centre) not in (first, "None") and lab_at(centre.hub).answers(), 180, "its successor")
    assert "['first', 'second']\n" in open_notebook(lab_at(centre.hub), "carried.ipynb").run(
        "jobs += ['second']; print(jobs)"
    )
    centre.login1.run([CANCEL[kind], job_id(centre)], check=True)
    wait_until(lambda: not waiting_or_running(centre, kind), 60, "it has ended")
    submit(centre.hub, "--carry", timeout_s=120)
    assert "['first', 'second']\n" in open_notebook(lab_at(centre.hub), "carried.ipynb").run("print(jobs)")


def job_id(centre: Centre) -> str:
    return str((status(centre.hub)["job"] or {}).get("id")).partition(".")[0]


def test_end_is_told_and_shutting_down_leaves_no_job(site: tuple[Centre, str]) -> None:
    centre, kind = site
    submit(centre.hub, timeout_s=120)
    (job,) = waiting_or_running(centre, kind)
    centre.login1.run([CANCEL[kind], job], check=True)
    found = wait_until(lambda: (now := status(centre.hub))["state"] == "failed" and now, 120, "its end is told")
    assert f"job {job}" in found["reason"]
    assert "--job" in found["next"]
    submit(centre.hub, timeout_s=120)
    assert lab_at(centre.hub).request("POST", "/api/shutdown").status == 200
    wait_until(lambda: not waiting_or_running(centre, kind), 30, "the job ends with JupyterLab")
    wait_until(lambda: status(centre.hub)["state"] == "stopped", 30, "it is stopped")
