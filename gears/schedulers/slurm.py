"""Slurm: sbatch, squeue, scancel. Written against 22.05; squeue has had the fields since 17.11."""

from __future__ import annotations

import os
import re
from pathlib import Path

from gears.errors import CommandFailed, MissingProgram
from gears.schedulers.base import QUERY_S, WAITING, Job, JobSpec, JobState, clock, directive_lines
from gears.schedulers.environment import CLUSTER_VARIABLES, clean, run, submission_environment
from gears.schedulers.parsing import Explanations, explain, failed_query, run_submission
from gears.system.timestamps import utc_time

_FIELDS = {"state": 30, "reason": 200, "starttime": 30, "endtime": 30, "batchhost": 255, "exit_code": 20}
"""squeue(1), --Format: name and width. Values are truncated or padded with spaces."""

# slurm.schedmd.com/job_state_codes.html: the base states and the flags, all of them with `_ENDS`.
_STATES = {
    "PENDING": JobState.PENDING,
    "REQUEUED": JobState.PENDING,
    "REQUEUE_FED": JobState.PENDING,
    "EXPEDITING": JobState.PENDING,
    "POWER_UP_NODE": JobState.PENDING,
    "CONFIGURING": JobState.PENDING,  # it has nodes, but they are booting
    "REQUEUE_HOLD": JobState.HELD,
    "RESV_DEL_HOLD": JobState.HELD,
    "SPECIAL_EXIT": JobState.HELD,
    "RUNNING": JobState.RUNNING,
    "RESIZING": JobState.RUNNING,
    "SIGNALING": JobState.RUNNING,
    # The job's processes can still be ending, no dependent job starts, and its result is not reported before the end.
    # So it has not ended: a new submission and the cleanup wait until Slurm has finished.
    "COMPLETING": JobState.ENDING,
    "STAGE_OUT": JobState.ENDING,
    "UPDATE_DB": JobState.ENDING,
    "LAUNCH_FAILED": JobState.ENDING,  # Slurm then requeues, holds or fails it, as its next state shows
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

_WHY: Explanations = (
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
    # slurm_errno.c, and messages without a configuration or munged
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

    Standard error goes to the same file by default (sbatch(1)). It is appended to, so that a requeued job keeps its
    output. A dependency is valid within its cluster only, whatever a directive says.
    """
    lines = [f"#SBATCH --job-name={spec.name}"]
    lines += [f"#SBATCH --account={spec.account}"] if spec.account else []
    lines += [f"#SBATCH --partition={spec.queue}"] if spec.queue else []
    lines += [f"#SBATCH --nodes={spec.nodes}"] if spec.nodes else []
    lines += [f"#SBATCH --time={clock(spec.walltime_s)}"]
    lines += [f"#SBATCH --signal=B:USR1@{spec.notice_s}"] if spec.notice_s else []
    lines += [f"#SBATCH --output={spec.log}", "#SBATCH --open-mode=append"]
    after, clusters = _split(spec.after)
    lines += [f"#SBATCH --dependency=afterany:{after}"] if after else []
    return lines + directive_lines("#SBATCH", (*spec.directives, *clusters))


def submit(script: Path) -> str:
    """Submit a script by sbatch and return the job's id. Raises CommandFailed if it prints none.

    The id is "123", or "123;cluster" for another cluster than the default one (sbatch(1)).
    """
    env = submission_environment(script.read_text(encoding="utf-8"), os.environ)
    output = run_submission(["sbatch", "--parsable", str(script)], _BLAME, env=env)
    # a site's wrapper can print other lines before
    if found := re.search(r"^\d+(;\S+)?$", output, re.MULTILINE):
        return found[0]
    raise CommandFailed(f"sbatch: no job id in its output: {output.strip()!r}", next="squeue --me")


def query(job: str) -> Job:
    """Query squeue: GONE if it shows no such job, UNKNOWN if it fails."""
    fields = ",".join(f"{name}:{width}" for name, width in _FIELDS.items())
    try:
        number, clusters = _split(job)
        output = _squeue(*clusters, "--jobs", number, "--states", "all", "--Format", fields)
    except (CommandFailed, MissingProgram) as failure:
        return failed_query(job, failure, r"Invalid job id")
    return _parse(job, output)


def find(name: str, clusters: str = "") -> list[str] | None:
    """Return the ids of the user's jobs of that name; None if squeue fails, or shows none and not all of `clusters`.

    By default squeue shows jobs that have not ended. It prints the cluster before its jobs only together with the other
    headings, and silently omits a cluster that is down.
    """
    where = [f"--clusters={clusters}"] if clusters else []
    try:
        output = _squeue(*where, "--user", str(os.getuid()), "--name", name, "--format", "%A", headings=True)
    except (CommandFailed, MissingProgram):
        return None
    found, cluster, seen = [], "", set()
    for line in output.split("\n"):
        if line.startswith(_CLUSTER):
            cluster = line.removeprefix(_CLUSTER).strip()
            seen.add(cluster)
        elif line.strip().isdigit():
            found.append(f"{line.strip()};{cluster}" if cluster else line.strip())
    all_seen = clusters.lower() in ("", "all") or {*clusters.lower().split(",")} <= seen
    return found if found or all_seen else None


def other_nodes() -> str:
    """Return the command that starts a program once on each node of its job but the first, with all processors there.

    srun(1): the step uses the nodes from number 1 on. One task that ends does not end the others. Fails in a job of one
    node.
    """
    nodes = '"$((SLURM_JOB_NUM_NODES - 1))"'
    return (
        f"srun --relative=1 --nodes={nodes} --ntasks={nodes} --ntasks-per-node=1 --cpu-bind=none --kill-on-bad-exit=0"
        " --input=none --quiet"
    )


def on_other_nodes() -> list[list[str]]:
    """Return, for each node of this job but the first, the command that starts a program there.

    A step for each, since input to a step of several tasks goes to all of them. srun(1) passes on whole lines. Its
    variables of this job's own request could ask for what one node has not: the step gets what the node has.
    """
    count = os.environ.get("SLURM_JOB_NUM_NODES", "")
    words = ["--nodes=1", "--ntasks=1", "--ntasks-per-node=1", "--cpu-bind=none", "--export=ALL", "--quiet"]
    return [["srun", f"--relative={number}", *words] for number in range(1, int(count) if count.isdigit() else 1)]


def cancel(job: str) -> None:
    """Cancel the job. Raises CommandFailed, CommandTimeout.

    In most versions scancel(1) exits with 0 for a job that has ended.
    """
    try:
        number, clusters = _split(job)
        run(["scancel", *clusters, number], timeout_s=QUERY_S, env=_environment())
    except CommandFailed as failure:
        if not re.search(r"Invalid job id|already completing or completed", failure.stderr):
            raise


_CLUSTER = "CLUSTER:"


def _split(job: str) -> tuple[str, list[str]]:
    """Split a job's id into its number and the option for another cluster (squeue(1), scancel(1))."""
    number, _, cluster = job.partition(";")
    return number, [f"--clusters={cluster}"] if cluster else []


def _environment() -> dict[str, str]:
    """Return the environment without CLUSTER_VARIABLES: the cluster is part of a job's id."""
    return clean(os.environ, CLUSTER_VARIABLES)


def _squeue(*options: str, headings: bool = False) -> str:
    """Run squeue and return what it prints.

    `--all`: includes jobs of hidden partitions. SQUEUE_… variables, which filter jobs, are not in the environment.
    %s: times as seconds since 1970, unambiguous at the end of daylight saving time.
    """
    bare = [] if headings else ["--noheader"]
    env = _environment() | {"SLURM_TIME_FORMAT": "%s"}
    return run(["squeue", *bare, "--all", *options], timeout_s=QUERY_S, env=env)


def _parse(job: str, output: str) -> Job:
    line = next((line for line in output.split("\n") if not line.startswith(_CLUSTER)), "")
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
    """Return how a FAILED job failed. For other ends, `reason` can still be why the job waited."""
    return _exit(code) + ("" if reason in ("", "None", "NonZeroExitCode") else f", {reason}")


def _exit(code: str) -> str:
    """Parse squeue's exit_code: "1:0" (status:signal) in newer versions, the status of wait(2) in older ones."""
    status, _, signal = code.partition(":")
    if not signal and code.isdigit():
        status, signal = str(int(code) >> 8), str(int(code) & 0x7F)
    if signal.isdigit() and int(signal):
        return f" by signal {signal}"
    return f" with exit {status}" if status.isdigit() and int(status) else ""


def _time(epoch: str) -> str | None:
    """Parse seconds since 1970; None for "N/A", "Unknown" and "NONE" (no walltime)."""
    return utc_time(int(epoch)) if epoch.isdigit() else None
