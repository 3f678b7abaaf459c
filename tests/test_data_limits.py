"""Limits of jobs for each user, by a QOS of a real slurmdbd: a transfer goes on one job at a time, or says why not."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests import jobs
from tests.centre import Centre
from tests.helpers import gears, wait_until

PROFILE = (
    jobs.PROFILE
    + """\
prologue = [
    "export SLURM_JOB_END_TIME=$(($(date +%s)+$(cat ~/seconds)))",
    "export GEARS_TEST_PAUSE_S=$(cat ~/pause)",
]
[transfer]
queue = "transfer"
walltime = "00:01:00"
[filesystem]
scratch = "/home/{user}/scratch"
archive = "/home/{user}/archive"
"""
)
CENTRE: dict[str, Any] = {"slurm_clusters": True, "profiles": {"lake": PROFILE}}
LINES = """\
PartitionName=transfer Nodes=c1 OverSubscribe=EXCLUSIVE MaxTime=00:10:00
AccountingStorageEnforce=associations,limits,qos
"""
ACCOUNTS = """\
sacctmgr --immediate add qos transfer
sacctmgr --immediate add account lab cluster=centre
sacctmgr --immediate add user alice account=lab cluster=centre qos=transfer defaultqos=transfer
"""


@pytest.fixture(scope="module", autouse=True)
def accounts(centre: Centre) -> None:
    centre.login2.run(ACCOUNTS, "root", check=True)
    for host in (centre.login1, centre.login2, centre.c1):
        host.run("cat >> /etc/slurm/slurm.conf", "root", input=LINES, check=True)
    centre.fail_scheduler()
    centre.mend_scheduler()
    wait_until(lambda: "transfer" in centre.login1.run("sinfo -h -p transfer").stdout, 60, "the partition is there")


@pytest.fixture
def desk(centre: Centre) -> Iterator[Centre]:
    make = "mkdir -p scratch/run7 archive; cd scratch/run7; for i in $(seq 500); do echo $i > f$i; done"
    centre.login1.run(make, check=True)
    yield centre
    limit(centre, running=-1, submitted=-1)
    centre.login2.run("scancel -u alice", "root")
    wait_until(lambda: not queue(centre), 60, "the queue is empty")
    centre.login1.run("rm -rf scratch archive gears/run/lake/data", check=True)


def limit(centre: Centre, *, running: int, submitted: int) -> None:
    """-1: no limit. It is in force when the controller says so."""
    numbers = f"MaxJobsPerUser={running} MaxSubmitJobsPerUser={submitted}"
    centre.login2.run(f"sacctmgr --immediate modify qos transfer set {numbers}", "root", check=True)
    wanted = [
        f"MaxJobsPU={'N' if running < 0 else running}(",
        f"MaxSubmitJobsPU={'N' if submitted < 0 else submitted}(",
    ]
    asked = "scontrol show assoc_mgr flags=qos qos=transfer"
    wait_until(lambda: all(word in centre.login2.run(asked, "root").stdout for word in wanted), 60, f"{wanted}")


def told(centre: Centre, *, seconds: int, pause: float) -> None:
    centre.login1.run(f"echo {seconds} > seconds; echo {pause} > pause", check=True)


def queue(centre: Centre) -> list[list[str]]:
    """Id, name, state and reason of each job."""
    listed = centre.login2.run(["squeue", "-h", "-u", "alice", "-o", "%i|%j|%T|%r"], check=True).stdout
    return [line.split("|") for line in listed.splitlines()]


def status(centre: Centre) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gears(centre.login1, "data status run7 --site lake --json").stdout)
    return found["transfers"][0]  # type: ignore[no-any-return]


def await_end(centre: Centre, timeout_s: float = 150) -> dict[str, Any]:
    def ended() -> dict[str, Any] | None:
        assert len([job for job in queue(centre) if job[2] == "RUNNING"]) <= 1
        found = status(centre)
        return None if found["under_way"] else found

    return wait_until(ended, timeout_s, "it has ended") or {}


def put(centre: Centre) -> Any:
    return gears(centre.login1, "data put scratch:run7 archive --site lake")


def check_done(centre: Centre, found: dict[str, Any]) -> None:
    assert (found["state"], found["task"]["verified"]) == ("done", True), json.dumps(found)
    centre.login1.run("diff -r scratch/run7 archive/run7", check=True)


def test_one_job_at_a_time_goes_on_by_itself(desk: Centre) -> None:
    """Another job of hers is first: the transfer waits for it, says so, and then takes several jobs."""
    limit(desk, running=1, submitted=3)
    told(desk, seconds=11, pause=0.7)
    other = desk.login1.run("sbatch --parsable --output=/dev/null --wrap 'sleep 600'", cwd="/tmp", check=True).stdout
    assert put(desk).returncode == 0
    wait_until(lambda: "QOSMaxJobsPerUserLimit" in [job[3] for job in queue(desk)], 60, "the transfer waits")
    shown = gears(desk.login1, "data status run7 --site lake").stdout
    assert "waits" in shown
    assert status(desk)["reason"]
    desk.login1.run(f"scancel {other}", check=True)
    found = await_end(desk)
    check_done(desk, found)


def test_no_second_job_is_accepted(desk: Centre) -> None:
    """The one that runs counts as submitted: it says that none follows, and the same command goes on after its end."""
    limit(desk, running=1, submitted=1)
    told(desk, seconds=12, pause=1)
    assert put(desk).returncode == 0
    found = await_end(desk)
    assert (found["state"], found["exit_status"]) == ("paused", 7), json.dumps(found)
    assert "QOSMaxSubmitJobPerUserLimit" in found["reason"]
    assert found["next"].startswith("gears data put scratch:run7 archive")
    told(desk, seconds=50, pause=0)
    assert put(desk).returncode == 0
    check_done(desk, await_end(desk))


def test_no_job_at_all_is_accepted(desk: Centre) -> None:
    limit(desk, running=1, submitted=1)
    desk.login1.run("sbatch --output=/dev/null --wrap 'sleep 600'", cwd="/tmp", check=True)
    refused = put(desk)
    assert (refused.returncode, "QOSMaxSubmitJobPerUserLimit" in refused.stderr) == (1, True), refused.stderr
    assert "next: " in refused.stderr
    assert "no transfers yet" in gears(desk.login1, "data list --site lake").stdout
