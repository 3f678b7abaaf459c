"""What the four schedulers refuse, and what they do not answer: the two are never mixed up."""

import getpass
from pathlib import Path

import pytest

from gears.errors import CommandFailed, SubmissionRefused
from gears.schedulers import lsf, pbs, slurm
from gears.schedulers.base import Job, scheduler
from tests.scheduler_says import Says

QUERY = {"slurm": "squeue", "sge": "qstat", "pbs": "qstat", "lsf": "bjobs"}
FIND = QUERY | {"pbs": "qselect"}
CANCEL = {"slurm": "scancel", "sge": "qdel", "pbs": "qdel", "lsf": "bkill"}
SUBMIT = {"slurm": "sbatch", "sge": "qsub", "pbs": "qsub", "lsf": "bsub"}
DOWN = {
    "slurm": "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n",
    "sge": "error: commlib error: got select error (Connection refused)\n"
    'error: unable to send message to qmaster using port 6444 on host "login2": got send error\n',
    "pbs": "Connection refused\nqstat: cannot connect to server pbs (errno=111)\n",
    "lsf": "Failed in an LSF library call: Slave LIM configuration is not ready yet\n",
}
KINDS = tuple(DOWN)


@pytest.mark.parametrize("kind", KINDS)
def test_scheduler_that_is_down_is_unknown_and_never_gone(kind: str, says: Says) -> None:
    says(QUERY[kind], error=DOWN[kind], status=1)
    says(FIND[kind], error=DOWN[kind], status=1)
    says(CANCEL[kind], error=DOWN[kind], status=1)
    job = scheduler(kind).query("7")
    assert (job.state, job.reason) == ("UNKNOWN", f"{QUERY[kind]}: {DOWN[kind].strip()}")
    assert scheduler(kind).find("gears-x") is None
    with pytest.raises(CommandFailed):
        scheduler(kind).cancel("7")


def test_slurm_that_does_not_know_us_is_not_taken_for_one_that_does_not_know_the_job(says: Says) -> None:
    says("squeue", error="slurm_load_jobs error: Invalid authentication credential\n", status=1)
    assert slurm.query("7").state == "UNKNOWN"


def test_pbs_is_asked_for_my_own_jobs(says: Says) -> None:
    calls = says("qselect", "7.pbs\n8.pbs\n")
    assert pbs.find("gears-x") == ["7.pbs", "8.pbs"]
    assert calls.read_text() == f"-N gears-x -u {getpass.getuser()}\n"


@pytest.mark.parametrize("kind", KINDS)
def test_program_that_is_missing_is_unknown(kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    job = scheduler(kind).query("7")
    assert (job.state, job.reason) == ("UNKNOWN", f"{QUERY[kind]} is not installed on this machine")
    assert scheduler(kind).find("gears-x") is None


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("slurm", "slurm_load_jobs error: Invalid job id specified\n"),
        ("pbs", "qstat: Unknown Job Id 7.pbs\n"),
        ("lsf", "Job <7> is not found\n"),
    ],
)
def test_job_that_the_scheduler_does_not_know_is_gone(kind: str, error: str, says: Says) -> None:
    says(QUERY[kind], error=error, status=1)
    assert scheduler(kind).query("7") == Job("7", "GONE")


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("slurm", "scancel: error: Kill job error on job id 7: Invalid job id specified\n"),
        ("slurm", "scancel: error: Kill job error on job id 7: Job/step already completing or completed\n"),
        ("sge", 'denied: job "7" does not exist\n'),
        ("sge", "job 7 is already in deletion\n"),
        ("pbs", "qdel: Unknown Job Id 7.pbs\n"),
        ("pbs", "qdel: Job has finished 7.pbs\n"),
        ("lsf", "Job <7>: No matching job found\n"),
        ("lsf", "Job <7>: Job has already finished\n"),
    ],
)
def test_cancelling_a_job_that_is_over_is_no_error(kind: str, error: str, says: Says) -> None:
    calls = says(CANCEL[kind], error=error, status=1)
    scheduler(kind).cancel("7")
    assert calls.read_text() == "7\n"


@pytest.mark.parametrize("nothing", ["Job <gears-x> is not found\n", "No unfinished job found\n"])
def test_lsf_finds_no_job_of_that_name(nothing: str, says: Says) -> None:
    says("bjobs", error=nothing, status=255)
    assert lsf.find("gears-x") == []


# --- submission ------------------------------------------------------------------------------


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "job.sh"
    path.write_text("#!/bin/sh\n")
    return path


@pytest.mark.parametrize(
    ("kind", "said", "job"),
    [
        ("slurm", "7\n", "7"),
        ("slurm", "Your account has 3 hours left.\n7;andes\n", "7;andes"),
        ("sge", "7\n", "7"),
        ("pbs", "7.pbs.example.org\n", "7.pbs.example.org"),
        ("lsf", "Job <7> is submitted to queue <batch>.\n", "7"),
        ("lsf", "Job <7> is submitted to default queue <normal>.\n", "7"),
    ],
)
def test_id_of_the_job(kind: str, said: str, job: str, says: Says, script: Path) -> None:
    says(SUBMIT[kind], said, error="a remark of the site's\n")
    assert scheduler(kind).submit(script) == job


@pytest.mark.parametrize("kind", KINDS)
def test_submission_without_an_id_is_not_known_to_have_failed(kind: str, says: Says, script: Path) -> None:
    says(SUBMIT[kind], "Good morning\n")
    with pytest.raises(CommandFailed, match="no job id in its output: 'Good morning'") as failed:
        scheduler(kind).submit(script)
    assert not isinstance(failed.value, SubmissionRefused)


@pytest.mark.parametrize(
    ("kind", "error", "cure"),
    [
        (
            "slurm",
            "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
            "-A ACCOUNT",
        ),
        (
            "slurm",
            "sbatch: error: invalid partition specified: nosuch\n"
            "sbatch: error: Batch job submission failed: Invalid partition name specified",
            "-p QUEUE",
        ),
        (
            "slurm",
            "sbatch: error: Batch job submission failed: Requested time limit is invalid (missing or exceeds some "
            "limit)",
            "-p QUEUE",
        ),
        ("slurm", "sbatch: unrecognized option '--nosuch=3'\nTry \"sbatch --help\" for more information", ""),
        ("sge", 'Unable to run job: job rejected: the requested project "x" does not exist\nExiting.', "-A ACCOUNT"),
        ("sge", 'Unable to run job: Job was rejected because job requests unknown queue "x"\nExiting.', "-p QUEUE"),
        ("sge", 'Unable to read script file because of error: invalid option argument "--nosuch=3"', ""),
        ("pbs", "qsub: Invalid Account", "-A ACCOUNT"),
        ("pbs", "qsub: Unknown queue", "-p QUEUE"),
        ("pbs", "qsub: Job violates queue and/or server resource limits", "-p QUEUE"),
        ("pbs", "qsub: illegal -l value", ""),
        ("lsf", "nosuch: No such queue. Job not submitted.", "-p QUEUE"),
        (
            "lsf",
            "Project not specified.  Please specify a project using the -P flag.\n"
            "Request aborted by esub. Job not submitted.",
            "-A ACCOUNT",
        ),
        ("lsf", "Bad resource requirement syntax. Job not submitted.", ""),
    ],
)
def test_refusal_has_the_schedulers_words_and_the_cure(
    kind: str,
    error: str,
    cure: str,
    says: Says,
    script: Path,
) -> None:
    says(SUBMIT[kind], error=error + "\n", status=1)
    with pytest.raises(SubmissionRefused) as refused:
        scheduler(kind).submit(script)
    assert refused.value.message == error
    assert cure in (refused.value.next or "")
    assert bool(cure) == bool(refused.value.next)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("slurm", "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)"),
        ("slurm", "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"),
        ("slurm", "sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received"),
        ("slurm", "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying"),
        ("slurm", "sbatch: error: Batch job submission failed: Protocol authentication error"),
        ("slurm", 'sbatch: error: slurm_set_addr: Unable to resolve "login2"'),
        ("sge", DOWN["sge"]),
        ("sge", 'Unable to run job: unable to contact qmaster using port 6444 on host "login2".\nExiting.'),
        ("pbs", "Connection refused\nqsub: cannot connect to server pbs (errno=111)"),
        ("pbs", "qsub: Request not allowed: Server shutting down"),
        ("lsf", "batch system daemon not responding ... still trying\n"),
        ("lsf", DOWN["lsf"]),
        *[(kind, "") for kind in KINDS],
    ],
)
def test_scheduler_that_can_not_be_asked_has_refused_nothing(
    kind: str,
    error: str,
    says: Says,
    script: Path,
) -> None:
    says(SUBMIT[kind], error=error, status=1)
    with pytest.raises(CommandFailed) as failed:
        scheduler(kind).submit(script)
    assert not isinstance(failed.value, SubmissionRefused)
