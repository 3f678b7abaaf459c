"""What is made of the answers of LSF, in the format of bjobs(1) and of answers that others have published."""

import json
import time

import pytest

from gears.schedulers import lsf
from gears.schedulers.base import Job
from tests.scheduler_says import Says

pytestmark = pytest.mark.usefixtures("in_denver")


def bjobs(**fields: str) -> str:
    """In the layout of real ones; what goes before came with the master out of reach for a moment."""
    answer = {"COMMAND": "bjobs", "JOBS": 1, "RECORDS": [fields]}
    return "LSF is down. Please wait ...\n" + json.dumps(answer, indent=2, separators=(",", ":"))


@pytest.mark.parametrize(
    ("said", "job"),
    [
        (
            bjobs(JOBID="7", STAT="PEND", PEND_REASON="New job is waiting for scheduling;", EXEC_HOST=""),
            Job("7", "PENDING", "PEND", "not yet considered (New job is waiting for scheduling)"),
        ),
        (
            bjobs(JOBID="7", STAT="PEND", PEND_REASON="Job dependency condition not satisfied;"),
            Job("7", "PENDING", "PEND", "waits for another job to end (Job dependency condition not satisfied)"),
        ),
        (
            bjobs(JOBID="7", STAT="PSUSP", PEND_REASON="Job was suspended by LSF admin or root while pending;"),
            Job(
                "7",
                "HELD",
                "PSUSP",
                "held by an administrator (Job was suspended by LSF admin or root while pending)",
            ),
        ),
        (bjobs(JOBID="7", STAT="RUN", EXEC_HOST="4*c1:4*c2"), Job("7", "RUNNING", "RUN", "", node="c1")),
        (bjobs(JOBID="7", STAT="RUN", EXEC_HOST="c1:c1:c2"), Job("7", "RUNNING", "RUN", "", node="c1")),
        (bjobs(JOBID="7", STAT="SSUSP", EXEC_HOST="c1"), Job("7", "SUSPENDED", "SSUSP", "suspended (SSUSP)", "c1")),
        (
            bjobs(JOBID="7", STAT="UNKWN", EXEC_HOST="c1"),
            Job("7", "UNKNOWN", "UNKWN", "LSF has lost contact with its node (UNKWN)", "c1"),
        ),
        (bjobs(JOBID="7", STAT="DONE", EXIT_CODE=""), Job("7", "ENDED", "DONE", "finished normally (DONE)")),
        (bjobs(JOBID="7", STAT="EXIT", EXIT_CODE="3"), Job("7", "ENDED", "EXIT", "failed with exit 3 (EXIT)")),
        (
            bjobs(JOBID="7", STAT="EXIT", EXIT_CODE="130", EXIT_REASON="TERM_OWNER: job killed by owner"),
            Job("7", "ENDED", "EXIT", "cancelled (TERM_OWNER: job killed by owner)"),
        ),
        (
            bjobs(
                JOBID="7",
                STAT="EXIT",
                EXIT_CODE="140",
                EXIT_REASON="TERM_RUNLIMIT: job killed after reaching LSF run time limit",
            ),
            Job(
                "7",
                "ENDED",
                "EXIT",
                "ended by its walltime (TERM_RUNLIMIT: job killed after reaching LSF run time limit)",
            ),
        ),
        (bjobs(JOBID="7", ERROR="Job <7> is not found"), Job("7", "GONE")),
        ("", Job("7", "UNKNOWN", reason="bjobs: unexpected output: ''")),
        ("{}", Job("7", "UNKNOWN", reason="bjobs: unexpected output: '{}'")),
    ],
)
def test_lsf_job(said: str, job: Job, says: Says) -> None:
    says("bjobs", said)
    found = lsf.query("7")
    shown = Job(found.id, found.state, found.word, found.reason, found.node or None)
    assert shown == Job(job.id, job.state, job.word, job.reason, job.node if job.node != "" else None)


@pytest.mark.parametrize("days", [-150, -1, 0, 1, 150])
def test_lsf_times_are_in_the_year_nearest_to_now(days: int, says: Says) -> None:
    when = time.time() + days * 86400
    says("bjobs", bjobs(STAT="RUN", EXEC_HOST="c1", FINISH_TIME=time.strftime("%b %e %H:%M L", time.localtime(when))))
    assert lsf.query("7").ends == time.strftime("%Y-%m-%dT%H:%M:00Z", time.gmtime(when))


def test_lsf_time_with_all_its_parts(says: Says) -> None:
    says("bjobs", bjobs(STAT="DONE", FINISH_TIME="Feb 29 03:00:07 2024 L"))
    assert lsf.query("7").ends == "2024-02-29T10:00:07Z"


def test_lsf_estimate_is_no_end(says: Says) -> None:
    says("bjobs", bjobs(STAT="RUN", EXEC_HOST="c1", FINISH_TIME="Nov 21 03:00 E"))
    assert lsf.query("7").ends is None
