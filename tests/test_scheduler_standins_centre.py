"""The stand-ins on hosts of the test centre: submitted on a login node, a job runs on a compute node."""

from collections.abc import Iterator

import pytest

from tests import standins
from tests.centre import Centre, Host
from tests.helpers import wait_until
from tests.scheduler_in_centre import PATIENCE_S, Asked

NODES = {node: ["ssh", "-n", "-o", "BatchMode=yes", node] for node in ("c1", "c2")}


@pytest.fixture(params=["pbs", "lsf"])
def asked(request: pytest.FixtureRequest, centre: Centre) -> Iterator[Asked]:
    kind = request.param
    for host in (centre.login1, centre.login2, centre.c1, centre.c2):
        for name, text in standins.programs(kind, state=f"~/.{kind}", nodes=NODES, kill_s=0.1).items():
            host.install(name, text)
    found = Asked(centre.login1, kind)
    yield found
    found.clear()


def commands(node: Host) -> list[str]:
    return [process.comm for process in node.processes("alice")]


def test_jobs_run_on_compute_nodes(asked: Asked, centre: Centre) -> None:
    jobs = [asked.submit("uname -n >~/node.$LSB_JOBID$PBS_JOBID; exec sleep 600") for _ in range(2)]
    assert {asked.until(job, "RUNNING")["node"] for job in jobs} == {"c1", "c2"}
    for node in (centre.c1, centre.c2):
        wait_until(lambda node=node: "sleep" in commands(node), PATIENCE_S, f"the job's own process on {node}")
    seen = Asked(centre.login2, asked.kind)
    seen.cancel(*jobs)
    for job in jobs:
        seen.until(job, "ENDED", "cancelled")
    wait_until(lambda: not commands(centre.c1) + commands(centre.c2), PATIENCE_S, "nothing is left on the nodes")
