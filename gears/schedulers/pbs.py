"""PBS Professional and OpenPBS: qsub, qstat, qselect, qdel.

Reads the plain format of qstat: every version has it, while the JSON of older ones is not always valid.
"""

from __future__ import annotations

import os
import pwd
import re
import time
from pathlib import Path

from gears.errors import CommandFailed, MissingProgram
from gears.schedulers.base import QUERY_S, WAITING, Job, JobSpec, JobState, clock, directive_lines
from gears.schedulers.environment import run
from gears.schedulers.parsing import Explanations, explain, failed_query, run_submission
from gears.system.timestamps import utc_time

# qstat(1B) of OpenPBS, and C of Torque.
_STATES = {
    "Q": JobState.PENDING,
    "T": JobState.PENDING,
    "W": JobState.PENDING,
    "H": JobState.HELD,
    "R": JobState.RUNNING,
    "B": JobState.RUNNING,  # an array with jobs that have started
    "E": JobState.ENDING,  # exiting: its files are being copied back
    "S": JobState.SUSPENDED,
    "U": JobState.SUSPENDED,
    "F": JobState.ENDED,
    "X": JobState.ENDED,
    "C": JobState.ENDED,  # Torque only
    "M": JobState.ENDED,  # moved to another server, which this one does not query
}

_WHY: Explanations = (
    (r"", "not yet considered"),
    (r"Can Never Run.*", "will never start: no nodes meet its request"),
    (r"Not Running: Queue not started.*", "its queue is closed"),
    (r"Not Running: .*\blimit\b.*", "account or user limit reached"),
    (r"Not Running: (Insufficient amount|No available|Not enough|Nodes? not|.*too few free).*", "waits for free nodes"),
    (r"Not Running: Job would .*", "other jobs have priority"),
)

_KILLED = {-24: "CPU", -25: "CPU", -26: "memory", -27: "memory", -28: "CPU time"}
_WALLTIME = -29
"""Exit_status of a job killed by MoM for exceeding its request (JOB_EXEC_KILL_… in PBS's job.h)."""

_BLAME = {
    # pbs_messages.c and cnt2server.c
    "scheduler": r"cannot connect|refused|timed out|shutting down|connections|table full|Communication failure"
    r"|protocol error|System (call|error)|internal error|temporarily|No default server|Unknown Host|credential"
    r"|authenticat|submit retries",
    "account": r"account|project",
    "queue": r"queue|destination|walltime",
}
_GONE = r"Unknown Job Id"
_FINISHED = r"Job has finished"


def header(spec: JobSpec) -> list[str]:
    """Return the #PBS lines of a job script.

    `-S`: otherwise PBS runs the script in the login shell (qsub(1B)). The output is copied back after the job's end,
    unless a directive has `-k oed`, which newer versions support.
    """
    lines = [f"#PBS -N {spec.name}", "#PBS -S /bin/sh"]
    lines += [f"#PBS -A {spec.account}"] if spec.account else []
    lines += [f"#PBS -q {spec.queue}"] if spec.queue else []
    lines += [f"#PBS -l select={spec.nodes}"] if spec.nodes else []
    lines += ["#PBS -l place=scatter"] if spec.nodes and spec.nodes > 1 else []
    lines += [f"#PBS -l walltime={clock(spec.walltime_s)}"]
    lines += [f"#PBS -o {spec.log}", "#PBS -j oe"]
    lines += [f"#PBS -W depend=afterany:{spec.after}"] if spec.after else []
    return lines + directive_lines("#PBS", spec.directives)


def submit(script: Path) -> str:
    """Submit a script by qsub and return the job's id (123.server). Raises CommandFailed if it prints none."""
    output = run_submission(["qsub", str(script)], _BLAME)
    if found := re.search(r"^(\d+\S*)$", output, re.MULTILINE):  # "123.server"
        return found[1]
    raise CommandFailed(f"qsub: no job id in its output: {output.strip()!r}", next="qstat -u $USER")


def query(job: str) -> Job:
    """Query qstat: GONE if it knows no such job, UNKNOWN if it fails.

    Only `-x` shows a job that has ended; a server without a history rejects `-x` for every job.
    """
    try:
        return _parse(job, _ask("qstat", "-f", job))
    except (CommandFailed, MissingProgram) as failure:
        if not re.search(_FINISHED, failure.message):
            return failed_query(job, failure, _GONE)
    try:
        return _parse(job, _ask("qstat", "-x", "-f", job))
    except (CommandFailed, MissingProgram) as failure:
        return failed_query(job, failure, _GONE)


def find(name: str, _clusters: str = "") -> list[str] | None:
    """Return the ids of the user's jobs of that name: by default qselect omits jobs that have ended."""
    try:
        return _ask("qselect", "-N", name, "-u", pwd.getpwuid(os.getuid()).pw_name).split()
    except (CommandFailed, MissingProgram):
        return None


def other_nodes() -> str:
    """Return no command: how a job starts one process on each node was not tried here."""
    return ""


def on_other_nodes() -> list[list[str]]:
    """Return no commands, as `other_nodes`."""
    return []


def cancel(job: str) -> None:
    """Cancel the job by qdel. No error if it has ended, is ending or unknown. Raises CommandFailed, CommandTimeout."""
    try:
        _ask("qdel", job)
    except CommandFailed as failure:
        if not re.search(rf"{_GONE}|{_FINISHED}|already in progress|invalid for state", failure.message):
            raise


def _ask(*argv: str) -> str:
    return run(argv, timeout_s=QUERY_S)


def _parse(job: str, output: str) -> Job:
    values = _values(output)
    word = values.get("job_state", "")
    state = _STATES.get(word, JobState.UNKNOWN)
    if state == JobState.HELD and "depend" in values and values.get("Hold_Types") == "s":
        state = JobState.PENDING  # the hold of PBS itself on a job with a dependency
    waits = state in WAITING
    return Job(
        id=job,
        state=state,
        word=word,
        reason=_reason(state, values),
        node=re.split("[/+]", values.get("exec_host", ""), maxsplit=1)[0] or None,
        starts=_time(values.get("estimated.start_time") or values.get("Execution_Time", "")) if waits else None,
        ends=None if waits else _ends(state, values),
    )


def _values(output: str) -> dict[str, str]:
    """Parse the attributes in the output of `qstat -f`.

    These are lines of four spaces and `name = value`, with continuation lines that begin with a tab.
    """
    values: dict[str, str] = {}
    name = ""
    for line in output.splitlines():
        if found := re.match(r" {4}([\w.]+) = (.*)", line):
            name = found[1]
            values[name] = found[2]
        elif line.startswith("\t") and name:
            values[name] += line[1:]
    return values


def _reason(state: JobState, values: dict[str, str]) -> str:
    word, comment = values.get("job_state", ""), values.get("comment", "").strip()
    if state == JobState.ENDED:
        return f"{_end(values, comment)} ({comment or word})"
    if state == JobState.HELD:
        holds = values.get("Hold_Types", "")
        who = "its owner; release it with qrls" if holds == "u" else "an administrator"
        return f"held by {who} ({comment or f'Hold_Types = {holds}'})"
    if word == "H":
        return f"waits for another job to end (depend = {values['depend']})"
    if word == "W":
        return "waits for its start time (W)"
    if state == JobState.PENDING:
        return explain(comment, _WHY)
    if state == JobState.UNKNOWN:
        return f"qstat reports an unknown state: {word!r}"
    reasons = {JobState.RUNNING: "", JobState.ENDING: "it has ended and is being cleaned up (E)"}
    return reasons.get(state, f"suspended ({word})")


def _end(values: dict[str, str], comment: str) -> str:
    if values.get("job_state") == "M":
        return "moved to another server"
    exit_status = values.get("Exit_status", "")
    if not re.fullmatch(r"-?\d+", exit_status):
        return "cancelled before it started"
    status = int(exit_status)
    if status == _WALLTIME or (status >= 128 and _seconds(values, "resources_used") >= _limit(values)):
        return "ended by its walltime"
    if "terminated" in comment:
        return "cancelled"
    if status in _KILLED:
        return f"exceeded its {_KILLED[status]} limit"
    if status < 0:
        return f"could not be started, Exit_status {status}"
    if status >= 256:
        return f"ended by signal {status - 256}"
    return f"failed with exit {status}" if status else "finished normally"


def _ends(state: JobState, values: dict[str, str]) -> str | None:
    if state == JobState.ENDED:
        return _time(values.get("obittime") or values.get("mtime", ""))
    began, limit = _epoch(values.get("stime", "")), _limit(values)
    return utc_time(began + limit) if began and limit < float("inf") else None


def _limit(values: dict[str, str]) -> float:
    return _seconds(values, "Resource_List") or float("inf")


def _seconds(values: dict[str, str], kind: str) -> float:
    """Parse a walltime, HH:MM:SS or seconds, to seconds; 0 if there is none."""
    seconds = 0
    for part in values.get(f"{kind}.walltime", "").split(":"):
        seconds = seconds * 60 + (int(part) if part.isdigit() else 0)
    return seconds


def _time(text: str) -> str | None:
    epoch = _epoch(text)
    return utc_time(epoch) if epoch else None


def _epoch(text: str) -> float | None:
    """Parse a local time by ctime(3), "Fri Nov 20 11:06:53 2026"; None for others, such as "UNKNOWN"."""
    try:
        return time.mktime(time.strptime(text, "%a %b %d %H:%M:%S %Y"))
    except ValueError:
        return None
