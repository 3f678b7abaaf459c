"""What is made of the answers of PBS, in the format of qstat(1B) with the comments of OpenPBS's own source."""

import pytest

from gears.schedulers import pbs
from gears.schedulers.base import Job
from tests.scheduler_says import Says

pytestmark = pytest.mark.usefixtures("in_denver")


QSTAT_F = """\
Job Id: 7.pbs
    Job_Name = gears-x
    Job_Owner = alice@login1
    job_state = {state}
    queue = workq
    server = pbs
    Checkpoint = u
    ctime = Sat Nov 21 02:59:58 2026
    Error_Path = login1:/home/alice/gears-x.e7
{more}
    mtime = Sat Nov 21 03:00:00 2026
    Resource_List.ncpus = 1
    Resource_List.walltime = 00:10:00
    Variable_List = PBS_O_HOME=/home/alice,PBS_O_LANG=C.UTF-8,
\tPBS_O_PATH=/usr/local/bin:/usr/bin:/bin,job_state=X,PBS_O_SHELL=/bin/bash,
\tPBS_O_HOST=login1
    substate = 42

"""
RAN = "Job run at Sat Nov 21 at 03:00 on (c1:ncpus=1)"


@pytest.mark.parametrize(
    ("state", "more", "job"),
    [
        (
            "R",
            f"    comment = {RAN}\n    exec_host = c1/0*4+c2/0*4\n    stime = Sat Nov 21 03:00:00 2026",
            Job("7", "RUNNING", "R", "", node="c1", ends="2026-11-21T10:10:00Z"),
        ),
        ("Q", "    Hold_Types = n", Job("7", "PENDING", "Q", "not yet considered")),
        (
            "Q",
            "    comment = Not Running: Insufficient amount of resource: ncpus (R: 4 A: \n\t0 T: 8)\n"
            "    estimated.start_time = Sat Nov 21 03:00:00 2026",
            Job(
                "7",
                "PENDING",
                "Q",
                "waits for free nodes (Not Running: Insufficient amount of resource: ncpus (R: 4 A: 0 T: 8))",
                starts="2026-11-21T10:00:00Z",
            ),
        ),
        (
            "Q",
            "    comment = Can Never Run: Insufficient amount of resource: ncpus (R: 99 A: 8 T: 8)\n"
            "    estimated.start_time = UNKNOWN",
            Job(
                "7",
                "PENDING",
                "Q",
                "will never start: no nodes meet its request "
                "(Can Never Run: Insufficient amount of resource: ncpus (R: 99 A: 8 T: 8))",
            ),
        ),
        ("H", "    Hold_Types = u", Job("7", "HELD", "H", "held by its owner; release it with qrls (Hold_Types = u)")),
        ("H", "    Hold_Types = so", Job("7", "HELD", "H", "held by an administrator (Hold_Types = so)")),
        (
            "H",
            "    Hold_Types = s\n    depend = afterany:6.pbs@pbs",
            Job("7", "PENDING", "H", "waits for another job to end (depend = afterany:6.pbs@pbs)"),
        ),
        (
            "W",
            "    Execution_Time = Sat Nov 21 03:00:00 2026",
            Job("7", "PENDING", "W", "waits for its start time (W)", starts="2026-11-21T10:00:00Z"),
        ),
        ("E", "    exec_host = c1/0", Job("7", "ENDING", "E", "it has ended and is being cleaned up (E)", node="c1")),
        ("S", "    exec_host = c1/0", Job("7", "SUSPENDED", "S", "suspended (S)", node="c1")),
        (
            "Z",
            "    exec_host = c1/0",
            Job("7", "UNKNOWN", "Z", "qstat reports an unknown state: 'Z'", node="c1"),
        ),
    ],
)
def test_pbs_job(state: str, more: str, job: Job, says: Says) -> None:
    says("qstat", QSTAT_F.format(state=state, more=more))
    assert pbs.query("7") == job


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (f"    Exit_status = 0\n    comment = {RAN} and finished", f"finished normally ({RAN} and finished)"),
        (f"    Exit_status = 3\n    comment = {RAN} and failed", f"failed with exit 3 ({RAN} and failed)"),
        (f"    Exit_status = 265\n    comment = {RAN} and failed", f"ended by signal 9 ({RAN} and failed)"),
        (f"    Exit_status = 271\n    comment = {RAN} and terminated", f"cancelled ({RAN} and terminated)"),
        (
            f"    Exit_status = -29\n    comment = {RAN} and exceeded resource walltime",
            f"ended by its walltime ({RAN} and exceeded resource walltime)",
        ),
        (
            f"    Exit_status = 271\n    comment = {RAN} and failed\n    resources_used.walltime = 00:10:08",
            f"ended by its walltime ({RAN} and failed)",
        ),
        ("    Exit_status = -27", "exceeded its memory limit (F)"),
        ("    Exit_status = -1", "could not be started, Exit_status -1 (F)"),
        ("    comment = Not Running and terminated", "cancelled before it started (Not Running and terminated)"),
    ],
)
def test_pbs_job_that_has_ended(more: str, reason: str, says: Says) -> None:
    says("qstat", QSTAT_F.format(state="F", more=more))
    assert pbs.query("7") == Job("7", "ENDED", "F", reason, ends="2026-11-21T10:00:00Z")
