"""Schedulers as they behave: what their programs do beside what they are asked for, by stand-ins that say so."""

import os
import re
import time
from pathlib import Path

import pytest

from gears.errors import CommandFailed, SubmissionRefused
from gears.schedulers import pbs, slurm
from gears.schedulers.base import JobSpec, find_taken, scheduler
from gears.schedulers.environment import clean, clusters, kept_pattern, submission_environment
from gears.system.commands import MAX_OUTPUT, run
from tests.scheduler_says import Says

SPEC = JobSpec("gears-x", Path("/tmp/log"), after="8;other")

# slurm.schedmd.com/job_state_codes.html
SLURM_STATES = [
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PENDING",
    "PREEMPTED",
    "RUNNING",
    "SUSPENDED",
    "TIMEOUT",
    "COMPLETING",
    "CONFIGURING",
    "EXPEDITING",
    "LAUNCH_FAILED",
    "POWER_UP_NODE",
    "RECONFIG_FAIL",
    "REQUEUED",
    "REQUEUE_FED",
    "REQUEUE_HOLD",
    "RESIZING",
    "RESV_DEL_HOLD",
    "REVOKED",
    "SIGNALING",
    "SPECIAL_EXIT",
    "STAGE_OUT",
    "STOPPED",
    "UPDATE_DB",
]
PBS_STATES = ["B", "C", "E", "F", "H", "M", "Q", "R", "S", "T", "U", "W", "X"]


# --- one door to programs --------------------------------------------------------------------


def test_a_program_that_asks_in_a_loop_is_ended(tmp_path: Path) -> None:
    endless = tmp_path / "scancel"
    endless.write_text("#!/bin/sh\nwhile :; do echo 'Cancel job_id=8 [y/n]?'; read -r answer; done\n")
    endless.chmod(0o755)
    with pytest.raises(CommandFailed, match="printed too much output"):
        run([str(endless)], timeout_s=60)


def test_what_a_program_prints_and_is_given_comes_whole() -> None:
    text = "x" * 500_000
    assert run(["cat"], timeout_s=20, input=text) == text
    assert len(run(["head", "-c", str(MAX_OUTPUT // 2), "/dev/zero"], timeout_s=20)) == MAX_OUTPUT // 2
    assert run(["sh", "-c", "cat; echo done"], timeout_s=20) == "done\n"


# --- variables -------------------------------------------------------------------------------


def test_only_what_is_set_for_accounts_and_servers_stays() -> None:
    kept = ["SBATCH_ACCOUNT", "SLURM_CONF", "PBS_DEFAULT", "LSB_DEFAULTPROJECT", "SGE_ROOT", "HOME"]
    dropped = [
        "SBATCH_WAIT",
        "SBATCH_TIMELIMIT",
        "SCANCEL_INTERACTIVE",
        "SQUEUE_PARTITION",
        "SLURM_JOB_ID",
        "PBS_JOBID",
    ]
    dropped += [
        "SBATCH_EXPORT",
        "SALLOC_PARTITION",
        "SLURM_NTASKS",
        "PBS_DPREFIX",
        "BSUB_BLOCK",
        "LSB_JOBID",
        "SGE_TASK_ID",
    ]
    assert sorted(clean(dict.fromkeys([*kept, *dropped], "1"))) == sorted(kept)


@pytest.mark.parametrize(
    ("kind", "program"), [("slurm", "scancel"), ("pbs", "qdel"), ("lsf", "bkill"), ("sge", "qdel")]
)
def test_every_command_runs_without_them(kind: str, program: str, says: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SCANCEL_INTERACTIVE", "SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "SGE_TASK_ID"):
        monkeypatch.setenv(name, "true")
    calls = says(program)
    scheduler(kind).cancel("7")
    environment = calls.with_suffix(".env").read_text()
    assert not [name for name in ("INTERACTIVE", "JOB_ID", "JOBID", "TASK_ID") if name in environment]


def test_what_the_profile_names_is_dropped_for_a_cluster_too() -> None:
    kept = re.compile(kept_pattern(account=True, queue=True))
    assert not kept.fullmatch("SBATCH_ACCOUNT")
    assert not kept.fullmatch("SBATCH_PARTITION")
    assert kept.fullmatch("SLURM_CONF")
    assert re.compile(kept_pattern(account=False, queue=True)).fullmatch("SBATCH_ACCOUNT")
    assert kept.fullmatch("SLURM_CLUSTERS")
    kept = re.compile(kept_pattern(account=False, queue=False, clusters=True))
    assert [name for name in (*CLUSTER_VARIABLES, "SLURM_CONF", "SBATCH_QOS") if kept.fullmatch(name)] == [
        "SLURM_CONF",
        "SBATCH_QOS",
    ]


# --- submissions that fail, and have not failed -----------------------------------------------


def test_a_job_that_was_taken_all_the_same_is_found_by_its_name(says: Says) -> None:
    says("squeue", "8\n")
    assert find_taken("slurm", "gears-x", "", [0.0]) == "8"
    calls = says("squeue", "")
    began = time.monotonic()
    assert find_taken("slurm", "gears-x", "", [0.0, 0.1, 0.2]) == ""
    assert time.monotonic() - began > 0.3
    assert len(calls.read_text().splitlines()) == 4


# --- several clusters ------------------------------------------------------------------------


def test_a_job_of_another_cluster_is_asked_for_and_cancelled_there(says: Says, tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text("\n".join(slurm.header(SPEC)))
    says("sbatch", "8;other\n")
    job = slurm.submit(script)
    assert job == "8;other"
    asked = says("squeue", "".join(f"{'RUNNING' if n == 'state' else '':{w}}" for n, w in FIELDS))
    assert slurm.query(job).state == "RUNNING"
    assert "--clusters=other --jobs 8 " in asked.read_text()
    cancelled = says("scancel")
    slurm.cancel(job)
    assert cancelled.read_text() == "--clusters=other 8\n"
    assert {"#SBATCH --dependency=afterany:8", "#SBATCH --clusters=other"} < {*slurm.header(SPEC)}


FIELDS = list(slurm._FIELDS.items())


@pytest.mark.parametrize("clusters", ["all", "one,other"])
def test_a_job_is_found_in_whatever_cluster_it_is(says: Says, clusters: str) -> None:
    calls = says("squeue", "CLUSTER: one\nJOBID\n\nCLUSTER: other\nJOBID\n8\n")
    assert slurm.find("gears-x", clusters) == ["8;other"]
    assert f"--clusters={clusters} --user {os.getuid()} --name gears-x" in calls.read_text()


def test_a_cluster_that_is_left_out_without_a_word_is_no_empty_queue(says: Says) -> None:
    says("squeue", "CLUSTER: one\nJOBID\n")
    assert slurm.find("gears-x", "one") == []
    assert slurm.find("gears-x", "one,other") is None


CLUSTER_VARIABLES = {"SLURM_CLUSTERS": "one", "SBATCH_CLUSTERS": "two"}


@pytest.mark.parametrize(
    ("directives", "meant"),
    [
        ([], "one"),
        (["--clusters=a,b"], "a,b"),
        (["--clusters a"], "a"),
        (["#SBATCH -Ma"], "a"),
        (["-N 2 -M 'a'", "--comment=no-M"], "a"),
        (["-M a", "--cluster=b"], "b"),
    ],
)
def test_where_a_job_goes(directives: list[str], meant: str) -> None:
    assert clusters("slurm", directives, CLUSTER_VARIABLES) == meant
    assert clusters("pbs", directives, CLUSTER_VARIABLES) == ""
    script = "\n".join(slurm.header(JobSpec("gears-x", Path("/tmp/log"), directives=tuple(directives))))
    assert submission_environment(script, CLUSTER_VARIABLES) == ({} if directives else CLUSTER_VARIABLES)


def test_a_job_that_follows_goes_where_the_one_before_it_is() -> None:
    for after in ("8", "8;other"):
        script = "\n".join(slurm.header(JobSpec("gears-x", Path("/tmp/log"), after=after)))
        assert submission_environment(script, CLUSTER_VARIABLES) == {}


def test_a_cluster_that_can_not_be_reached_has_refused_nothing(says: Says, tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/sh\n")
    says(
        "sbatch",
        error="sbatch: error: 'other' can't be reached now, or it is an invalid entry for --cluster.",
        status=1,
    )
    with pytest.raises(CommandFailed) as failed:
        slurm.submit(script)
    assert not isinstance(failed.value, SubmissionRefused)


# --- states ----------------------------------------------------------------------------------


@pytest.mark.parametrize("word", SLURM_STATES)
def test_every_documented_state_of_slurm_is_known(word: str, says: Says) -> None:
    says("squeue", "".join(f"{word if name == 'state' else '':{width}}" for name, width in FIELDS))
    found = slurm.query("8")
    assert found.state != "UNKNOWN"
    assert word in ("RUNNING", "PENDING", "RESIZING", "SIGNALING") or found.reason or found.state == "PENDING"


@pytest.mark.parametrize("word", PBS_STATES)
def test_every_documented_state_of_pbs_and_torque_is_known(word: str, says: Says) -> None:
    says("qstat", f"Job Id: 8.pbs\n    job_state = {word}\n    Hold_Types = u\n")
    assert pbs.query("8.pbs").state != "UNKNOWN"
