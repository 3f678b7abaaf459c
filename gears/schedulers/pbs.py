"""PBS Professional and OpenPBS: qsub, qstat, qselect, qdel.

Of qstat's formats the plain one is read: every version has it, while `-F json` of older ones is not always valid JSON.
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
from gears.schedulers.parsing import Plain, explain, failed_query, run_submission
from gears.system.timestamps import utc_time

# qstat(1B) of OpenPBS, with Torque's C.
_STATES = {
    "Q": JobState.PENDING,
    "T": JobState.PENDING,
    "W": JobState.PENDING,
    "H": JobState.HELD,
    "R": JobState.RUNNING,
    "B": JobState.RUNNING,  # an array of which jobs have begun
    "E": JobState.ENDING,  # exiting: its files are being brought home
    "S": JobState.SUSPENDED,
    "U": JobState.SUSPENDED,
    "F": JobState.ENDED,
    "X": JobState.ENDED,
    "C": JobState.ENDED,  # Torque's word
    "M": JobState.ENDED,  # moved to another server, which this one does not ask
}

_WHY: Plain = (
    (r"", "not yet considered"),
    (r"Can Never Run.*", "will never start: no nodes meet its request"),
    (r"Not Running: Queue not started.*", "its queue is closed"),
    (r"Not Running: .*\blimit\b.*", "account or user limit reached"),
    (r"Not Running: (Insufficient amount|No available|Not enough|Nodes? not|.*too few free).*", "waits for free nodes"),
    (r"Not Running: Job would .*", "other jobs have priority"),
)

_KILLED = {-24: "CPU", -25: "CPU", -26: "memory", -27: "memory", -28: "CPU time"}
_WALLTIME = -29
"""Exit_status of a job that MoM killed for using more than it asked for (JOB_EXEC_KILL_… in PBS's job.h)."""

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

    `-S`: else PBS runs the script in the login shell (qsub(1B)). The output is brought home when the job has ended,
    unless a directive says `-k oed`, which newer versions know.
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
    """Submit a script by qsub and return the job's id (123.server). Raises CommandFailed where it prints none."""
    said = run_submission(["qsub", str(script)], _BLAME)
    if found := re.search(r"^(\d+\S*)$", said, re.MULTILINE):  # "123.server"
        return found[1]
    raise CommandFailed(f"qsub: no job id in its output: {said.strip()!r}", next="qstat -u $USER")


def query(job: str) -> Job:
    """Ask qstat for the job; GONE where it knows none, UNKNOWN where it can't be asked.

    A job that has ended is known only to `-x`, which a server that keeps no history refuses for every job.
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
    """Find the ids of my own jobs of that name: qselect leaves jobs out that are over, unless asked for them."""
    try:
        return _ask("qselect", "-N", name, "-u", pwd.getpwuid(os.getuid()).pw_name).split()
    except (CommandFailed, MissingProgram):
        return None


def cancel(job: str) -> None:
    """End the job by qdel. One that is over, unknown or ending is no error. Raises CommandFailed, CommandTimeout."""
    try:
        _ask("qdel", job)
    except CommandFailed as failure:
        if not re.search(rf"{_GONE}|{_FINISHED}|already in progress|invalid for state", failure.message):
            raise


def _ask(*argv: str) -> str:
    return run(argv, timeout_s=QUERY_S)


def _parse(job: str, said: str) -> Job:
    values = _values(said)
    word = values.get("job_state", "")
    state = _STATES.get(word, JobState.UNKNOWN)
    if state == JobState.HELD and "depend" in values and values.get("Hold_Types") == "s":
        state = JobState.PENDING  # PBS itself holds a job that depends on another
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


def _values(said: str) -> dict[str, str]:
    """Read the attributes in an answer of `qstat -f`.

    They are lines of four spaces and `name = value`, which may go on in lines that begin with a tab.
    """
    values: dict[str, str] = {}
    name = ""
    for line in said.splitlines():
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
    told = values.get("Exit_status", "")
    if not re.fullmatch(r"-?\d+", told):
        return "cancelled before it started"
    status = int(told)
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
    """Read a walltime in seconds, from "01:00:00" or seconds; 0 where there is none."""
    seconds = 0
    for part in values.get(f"{kind}.walltime", "").split(":"):
        seconds = seconds * 60 + (int(part) if part.isdigit() else 0)
    return seconds


def _time(told: str) -> str | None:
    epoch = _epoch(told)
    return utc_time(epoch) if epoch else None


def _epoch(told: str) -> float | None:
    """Read a time of ctime(3), "Fri Nov 20 11:06:53 2026", local. "UNKNOWN" is no time."""
    try:
        return time.mktime(time.strptime(told, "%a %b %d %H:%M:%S %Y"))
    except ValueError:
        return None
