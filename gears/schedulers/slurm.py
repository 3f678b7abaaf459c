"""Slurm: sbatch, squeue, scancel. Written against 22.05; the fields of squeue are there since 17.11."""

from __future__ import annotations

import os
import re
from pathlib import Path

from gears.errors import CommandFailed, MissingProgram
from gears.schedulers.base import QUERY_S, WAITING, Job, JobSpec, JobState, clock, directive_lines
from gears.schedulers.environment import CLUSTER_VARIABLES, clean, run, submission_environment
from gears.schedulers.parsing import Plain, explain, failed_query, run_submission
from gears.system.timestamps import utc_time

_FIELDS = {"state": 30, "reason": 200, "starttime": 30, "endtime": 30, "batchhost": 255, "exit_code": 20}
"""squeue(1), --Format: name and width; what is longer is cut, what is shorter is filled with spaces."""

# slurm.schedmd.com/job_state_codes.html: the base states and the flags, all of them with `_ENDS`.
_STATES = {
    "PENDING": JobState.PENDING,
    "REQUEUED": JobState.PENDING,
    "REQUEUE_FED": JobState.PENDING,
    "EXPEDITING": JobState.PENDING,
    "POWER_UP_NODE": JobState.PENDING,
    "CONFIGURING": JobState.PENDING,  # it has nodes, but they boot: nothing of the job runs yet
    "REQUEUE_HOLD": JobState.HELD,
    "RESV_DEL_HOLD": JobState.HELD,
    "SPECIAL_EXIT": JobState.HELD,
    "RUNNING": JobState.RUNNING,
    "RESIZING": JobState.RUNNING,
    "SIGNALING": JobState.RUNNING,
    # Its processes may still be ending, no job that comes after it begins, and how it ended is not told before it is
    # over. So it is not yet: who submits another, or clears up, waits until Slurm itself has done.
    "COMPLETING": JobState.ENDING,
    "STAGE_OUT": JobState.ENDING,
    "UPDATE_DB": JobState.ENDING,
    "LAUNCH_FAILED": JobState.ENDING,  # Slurm requeues it, holds it, or lets it fail: its next word tells
    "RECONFIG_FAIL": JobState.ENDING,
    "SUSPENDED": JobState.SUSPENDED,
    "STOPPED": JobState.SUSPENDED,
}

_ENDS = {
    "COMPLETED": "finished normally",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
    "TIMEOUT": "ended by its walltime",
    "DEADLINE": "ended by its deadline",
    "NODE_FAIL": "node failure",
    "BOOT_FAIL": "its node did not boot",
    "OUT_OF_MEMORY": "exceeded its memory limit",
    "PREEMPTED": "preempted by another job",
    "REVOKED": "runs on another cluster",
}

_HELD = r"JobHeld.*|JobHoldMaxRequeue|.*\bheld\b.*|.*_held"

_WHY: Plain = (
    ("Resources", "waits for free nodes"),
    ("Priority", "other jobs have priority"),
    ("Dependency", "waits for another job to end"),
    ("DependencyNeverSatisfied", "will never start: its dependency cannot be satisfied"),
    ("JobHeldUser", "held by its owner; release it with scontrol release"),
    ("JobHeldAdmin", "held by an administrator"),
    (_HELD, "held: it could not be started"),
    ("BeginTime", "cannot start yet, for example for two minutes after a requeue"),
    ("PartitionTimeLimit|(QOS|Assoc)MaxWall.*", "will never start: exceeds the time limit, see -t"),
    ("PartitionNodeLimit|(QOS|Assoc)MaxNode.*", "will never start: exceeds the node limit, see -N"),
    ("PartitionDown|PartitionInactive", "its queue is closed"),
    ("(QOS|Assoc)Grp.*(Minutes|Billing).*", "the account has used up its time"),
    ("(QOS|Assoc).*Limit", "account or user limit reached"),
    (
        "AccountNotAllowed|InvalidAccount|QOSNotAllowed|InvalidQOS",
        "will never start: account or QOS not permitted, see -A",
    ),
    ("BadConstraints", "will never start: no node meets its constraints"),
    ("ReqNodeNotAvail.*", "nodes it needs are down, drained or reserved"),
    ("Nodes required for job are DOWN.*", "nodes it needs are down, drained or reserved"),
    ("Reservation", "waits for its reservation to begin"),
    ("Licenses", "waits for a licence"),
    ("Prolog", "its nodes are being prepared"),
    ("None", "not yet considered"),
)

_BLAME = {
    # slurm_errno.c, and what its parts say when there is no configuration or no munged
    "scheduler": r"Unable to (contact|resolve|establish)|timed out|Zero Bytes|Connection refused|standby mode"
    r"|not respond|Protocol authentication|Munge|configuration source|Can't find an address"
    r"|can't be reached|talking to (the )?database"
    r"|Communication|Message (send|receive)|Unexpected message|Insane message"
    r"|temporarily|Rate limit|try again|Job creation|queue full|submissions disabled",
    "account": r"account\b",
    "queue": r"partition|time limit|qos",
}


def header(spec: JobSpec) -> list[str]:
    """Return the #SBATCH lines of a job script.

    Standard error goes where standard output does, since nothing else is said (sbatch(1)). Appended to, so that a job
    that is requeued keeps its words. A dependency holds within one cluster, whatever a directive says.
    """
    lines = [f"#SBATCH --job-name={spec.name}"]
    lines += [f"#SBATCH --account={spec.account}"] if spec.account else []
    lines += [f"#SBATCH --partition={spec.queue}"] if spec.queue else []
    lines += [f"#SBATCH --nodes={spec.nodes}"] if spec.nodes else []
    lines += [f"#SBATCH --time={clock(spec.walltime_s)}"]
    lines += [f"#SBATCH --output={spec.log}", "#SBATCH --open-mode=append"]
    after, clusters = _split(spec.after)
    lines += [f"#SBATCH --dependency=afterany:{after}"] if after else []
    return lines + directive_lines("#SBATCH", (*spec.directives, *clusters))


def submit(script: Path) -> str:
    """Submit a script by sbatch and return the job's id. Raises CommandFailed where it prints none.

    The id is "123", or "123;cluster" where that is another than the one that is asked by itself (sbatch(1)).
    """
    env = submission_environment(script.read_text(encoding="utf-8"), os.environ)
    said = run_submission(["sbatch", "--parsable", str(script)], _BLAME, env=env)
    # a site's own wrapper may say more before
    if found := re.search(r"^\d+(;\S+)?$", said, re.MULTILINE):
        return found[0]
    raise CommandFailed(f"sbatch: no job id in its output: {said.strip()!r}", next="squeue --me")


def query(job: str) -> Job:
    """Ask squeue for the job: GONE where it shows none, UNKNOWN where it can't be asked."""
    fields = ",".join(f"{name}:{width}" for name, width in _FIELDS.items())
    try:
        number, clusters = _split(job)
        said = _squeue(*clusters, "--jobs", number, "--states", "all", "--Format", fields)
    except (CommandFailed, MissingProgram) as failure:
        return failed_query(job, failure, r"Invalid job id")
    return _parse(job, said)


def find(name: str, clusters: str = "") -> list[str] | None:
    """Find the ids of my own jobs of that name.

    None where squeue can't be asked, or shows none and not all of `clusters`.

    squeue shows, unless asked for others, the jobs that are not over. It heads those of each cluster, with its other
    headings only; and leaves a cluster that is down out without a word.
    """
    where = [f"--clusters={clusters}"] if clusters else []
    try:
        said = _squeue(*where, "--user", str(os.getuid()), "--name", name, "--format", "%A", headings=True)
    except (CommandFailed, MissingProgram):
        return None
    found, cluster, seen = [], "", set()
    for line in said.split("\n"):
        if line.startswith(_CLUSTER):
            cluster = line.removeprefix(_CLUSTER).strip()
            seen.add(cluster)
        elif line.strip().isdigit():
            found.append(f"{line.strip()};{cluster}" if cluster else line.strip())
    all_seen = clusters.lower() in ("", "all") or {*clusters.lower().split(",")} <= seen
    return found if found or all_seen else None


def cancel(job: str) -> None:
    """End the job. Raises CommandFailed, CommandTimeout.

    scancel(1) ends with 0 for a job that is over, in most versions.
    """
    try:
        number, clusters = _split(job)
        run(["scancel", *clusters, number], timeout_s=QUERY_S, env=_environment())
    except CommandFailed as failure:
        if not re.search(r"Invalid job id|already completing or completed", failure.stderr):
            raise


_CLUSTER = "CLUSTER:"


def _split(job: str) -> tuple[str, list[str]]:
    """Split a job's id into its number, and the option that names its cluster, if it is of another.

    For the option see squeue(1), scancel(1).
    """
    number, _, cluster = job.partition(";")
    return number, [f"--clusters={cluster}"] if cluster else []


def _environment() -> dict[str, str]:
    """Return the environment without CLUSTER_VARIABLES.

    A job's id says of which cluster it is, whatever a person's variables say now.
    """
    return clean(os.environ, CLUSTER_VARIABLES)


def _squeue(*options: str, headings: bool = False) -> str:
    """Run squeue and return what it prints.

    `--all`: a partition may be hidden, and so would the job be. SQUEUE_… would choose among the jobs as well. With %s
    times are told in seconds since 1970, so no hour is told twice when summer ends.
    """
    bare = [] if headings else ["--noheader"]
    env = _environment() | {"SLURM_TIME_FORMAT": "%s"}
    return run(["squeue", *bare, "--all", *options], timeout_s=QUERY_S, env=env)


def _parse(job: str, said: str) -> Job:
    line = next((line for line in said.split("\n") if not line.startswith(_CLUSTER)), "")
    values, start = {}, 0
    for name, width in _FIELDS.items():
        values[name] = line[start : start + width].strip()
        start += width
    word = values["state"]
    if not word:
        return Job(job, JobState.GONE)
    state = JobState.ENDED if word in _ENDS else _STATES.get(word, JobState.UNKNOWN)
    if state == JobState.PENDING and re.fullmatch(_HELD, values["reason"]):
        state = JobState.HELD
    waits = state in WAITING
    return Job(
        id=job,
        state=state,
        word=word,
        reason=_reason(state, values),
        node=None if values["batchhost"] in ("", "n/a", "(null)") else values["batchhost"],
        starts=_time(values["starttime"]) if waits else None,
        ends=None if waits else _time(values["endtime"]),
    )


def _reason(state: JobState, values: dict[str, str]) -> str:
    word, reason = values["state"], values["reason"]
    if state == JobState.ENDED:
        return f"{_ENDS[word]}{_failure(reason, values['exit_code']) if word == 'FAILED' else ''} ({word})"
    if state == JobState.UNKNOWN:
        return f"squeue reports an unknown state: {word}"
    if word == "PENDING":
        return explain(reason, _WHY)
    if word == "CONFIGURING":
        return "its nodes are being prepared (CONFIGURING)"
    if word in ("LAUNCH_FAILED", "RECONFIG_FAIL"):
        return f"it could not be started on its nodes ({word})"
    if state == JobState.ENDING:
        return f"it has ended and is being cleaned up ({word})"
    return "" if state == JobState.RUNNING else f"{state.lower()} ({word})"


def _failure(reason: str, code: str) -> str:
    """Say how a FAILED job failed. Other ends may still show why the job waited."""
    return _exit(code) + ("" if reason in ("", "None", "NonZeroExitCode") else f", {reason}")


def _exit(code: str) -> str:
    """Read squeue's exit_code.

    It is "1:0" (status:signal) in newer versions, in others the status of wait(2) as one number.
    """
    status, _, signal = code.partition(":")
    if not signal and code.isdigit():
        status, signal = str(int(code) >> 8), str(int(code) & 0x7F)
    if signal.isdigit() and int(signal):
        return f" by signal {signal}"
    return f" with exit {status}" if status.isdigit() and int(status) else ""


def _time(epoch: str) -> str | None:
    """Read seconds since 1970. "N/A", "Unknown" and "NONE" (no walltime) are no times."""
    return utc_time(int(epoch)) if epoch.isdigit() else None
