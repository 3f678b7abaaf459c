"""What is made of the answers of Slurm, as a real one of 22.05 gave them."""

import re
from pathlib import Path

import pytest

from gears.schedulers import slurm
from gears.schedulers.base import Job
from tests.scheduler_says import Says

pytestmark = pytest.mark.usefixtures("in_denver")


NOON = 1795255200
"""2026-11-21T10:00:00Z"""


def squeue(
    state: str, reason: str = "None", host: str = "n/a", code: str = "0", start: str = "N/A", end: str = "N/A"
) -> str:
    return f"{state:30}{reason:200}{start:30}{end:30}{host:255}{code:20}\n"


@pytest.mark.parametrize(
    ("said", "job"),
    [
        (
            squeue("PENDING", "Resources", start=str(NOON)),
            Job("7", "PENDING", "PENDING", "waits for free nodes (Resources)", starts="2026-11-21T10:00:00Z"),
        ),
        (squeue("PENDING"), Job("7", "PENDING", "PENDING", "not yet considered (None)")),
        (
            squeue("PENDING", "ReqNodeNotAvail, UnavailableNodes:c[1-2]"),
            Job(
                "7",
                "PENDING",
                "PENDING",
                "nodes it needs are down, drained or reserved (ReqNodeNotAvail, UnavailableNodes:c[1-2])",
            ),
        ),
        (
            squeue("PENDING", "AssocGrpCPUMinutesLimit"),
            Job("7", "PENDING", "PENDING", "the account has used up its time (AssocGrpCPUMinutesLimit)"),
        ),
        (
            squeue("PENDING", "JobHeldUser"),
            Job("7", "HELD", "PENDING", "held by its owner; release it with scontrol release (JobHeldUser)"),
        ),
        (
            squeue("PENDING", "launch failed requeued held"),
            Job("7", "HELD", "PENDING", "held: it could not be started (launch failed requeued held)"),
        ),
        (squeue("PENDING", "FrontEndDown"), Job("7", "PENDING", "PENDING", "FrontEndDown")),
        (
            squeue("CONFIGURING", host="c1", end=str(NOON)),
            Job("7", "PENDING", "CONFIGURING", "its nodes are being prepared (CONFIGURING)", node="c1"),
        ),
        (
            squeue("RUNNING", host="c1", end=str(NOON)),
            Job("7", "RUNNING", "RUNNING", "", node="c1", ends="2026-11-21T10:00:00Z"),
        ),
        (squeue("RUNNING", host="c1", end="NONE"), Job("7", "RUNNING", "RUNNING", "", node="c1")),
        (
            squeue("COMPLETING", host="c1"),
            Job("7", "ENDING", "COMPLETING", "it has ended and is being cleaned up (COMPLETING)", node="c1"),
        ),
        (squeue("SUSPENDED", host="c1"), Job("7", "SUSPENDED", "SUSPENDED", "suspended (SUSPENDED)", node="c1")),
        (
            squeue("COMPLETED", host="c1", end=str(NOON)),
            Job("7", "ENDED", "COMPLETED", "finished normally (COMPLETED)", node="c1", ends="2026-11-21T10:00:00Z"),
        ),
        (
            squeue("FAILED", "NonZeroExitCode", "c1", "768"),
            Job("7", "ENDED", "FAILED", "failed with exit 3 (FAILED)", node="c1"),
        ),
        (
            squeue("FAILED", "NonZeroExitCode", "c1", "3:0"),
            Job("7", "ENDED", "FAILED", "failed with exit 3 (FAILED)", node="c1"),
        ),
        (
            squeue("FAILED", "JobLaunchFailure", "c1", "9"),
            Job("7", "ENDED", "FAILED", "failed by signal 9, JobLaunchFailure (FAILED)", node="c1"),
        ),
        (squeue("CANCELLED", "JobHeldUser", ""), Job("7", "ENDED", "CANCELLED", "cancelled (CANCELLED)")),
        (
            squeue("TIMEOUT", "TimeLimit", "c1", "15"),
            Job("7", "ENDED", "TIMEOUT", "ended by its walltime (TIMEOUT)", node="c1"),
        ),
        (
            squeue("NODE_FAIL", "NodeDown", "c1", "1"),
            Job("7", "ENDED", "NODE_FAIL", "node failure (NODE_FAIL)", node="c1"),
        ),
        ("", Job("7", "GONE")),
        (
            squeue("TELEPORTED"),
            Job("7", "UNKNOWN", "TELEPORTED", "squeue reports an unknown state: TELEPORTED"),
        ),
    ],
)
def test_slurm_job(said: str, job: Job, says: Says) -> None:
    says("squeue", said)
    assert slurm.query("7") == job


def test_slurm_is_asked_for_the_job_alone_and_nothing_narrows_it(
    says: Says,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SQUEUE_PARTITION", "debug")
    calls = says("squeue", squeue("RUNNING"))
    slurm.query("7")
    (call,) = calls.read_text().splitlines()
    assert call.startswith("--noheader --all --jobs 7 --states all --Format state:30,reason:200,")
    environment = (tmp_path / "bin/squeue.env").read_text().splitlines()
    assert "SLURM_TIME_FORMAT=%s" in environment
    assert not [line for line in environment if line.startswith("SQUEUE_")]


def test_slurm_environment_does_not_win_over_the_script(
    says: Says,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("SBATCH_ACCOUNT", "SBATCH_PARTITION", "SBATCH_TIMELIMIT", "SBATCH_QOS"):
        monkeypatch.setenv(name, "other")
    says("sbatch", "7\n")
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/sh\n#SBATCH --account=csc123\n#SBATCH --time=01:00:00\n")
    assert slurm.submit(script) == "7"
    kept = re.findall("^SBATCH_.*", (tmp_path / "bin/sbatch.env").read_text(), re.MULTILINE)
    assert sorted(kept) == ["SBATCH_PARTITION=other", "SBATCH_QOS=other"]
