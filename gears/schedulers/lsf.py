"""LSF: bsub, bjobs, bkill. Written against 10.1, the first version with JSON output of bjobs.

While the master is unreachable, LSF's commands wait for it, by default without limit; gears' time limit ends them.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

from gears.errors import CommandFailed, MissingProgram
from gears.schedulers.base import QUERY_S, WAITING, Job, JobSpec, JobState, directive_lines
from gears.schedulers.environment import run
from gears.schedulers.parsing import Explanations, explain, failed_query, run_submission
from gears.system.timestamps import utc_time

_FIELDS = "jobid stat exec_host pend_reason exit_code exit_reason estimated_start_time finish_time"

_STATES = {
    "PEND": JobState.PENDING,
    "PROV": JobState.PENDING,
    "WAIT": JobState.PENDING,
    "PSUSP": JobState.HELD,
    "RUN": JobState.RUNNING,
    "USUSP": JobState.SUSPENDED,
    "SSUSP": JobState.SUSPENDED,
    "DONE": JobState.ENDED,
    "EXIT": JobState.ENDED,
    "ZOMBI": JobState.ENDED,
}

_WHY: Explanations = (
    (r"New job is waiting for scheduling;?", "not yet considered"),
    (r"Job dependency condition not satisfied.*", "waits for another job to end"),
    (r".*suspended by (its owner|(the )?user).*", "held by its owner; release it with bresume"),
    (r".*suspended by (the )?LSF admin.*", "held by an administrator"),
    (r"Not enough (job slot|slots|processors|hosts).*", "waits for free nodes"),
    (
        r".*(job slot limit|slot or resource limit|limit has been reached).*",
        "account or user limit reached",
    ),
)

_TERMINATED: Explanations = (
    (r"TERM_RUNLIMIT.*", "ended by its walltime"),
    (r"TERM_(OWNER|FORCE_OWNER).*", "cancelled"),
    (r"TERM_(ADMIN|FORCE_ADMIN).*", "cancelled by an administrator"),
    (r"TERM_MEMLIMIT.*", "exceeded its memory limit"),
    (r"TERM_(PREEMPT|LOAD).*", "preempted by another job"),
    (r"TERM_(ZOMBIE|EXTERNAL_SIGNAL).*", "ended outside LSF"),
)

_BLAME = {
    # lsberrno of lsblib(3), and messages of commands that wait for the master
    "scheduler": r"LSF is down|Cannot connect to LSF|not responding|Failed in an LSF library call|timeout"
    r"|Connection refused|daemon internal error|Batch (service|protocol)|not connected|System call failed|cannot fork"
    r"|No job Id can be used",
    "account": r"project|account|user group",
    "queue": r"queue|window|run ?limit",
}
_GONE = r"is not found|No matching job found"


def header(spec: JobSpec) -> list[str]:
    """Return the #BSUB lines of a job script.

    `-o` appends, and includes standard error (bsub(1)). `-nnodes` works on systems that allocate whole nodes, such as
    Summit; elsewhere LSF counts slots, and directives specify their distribution.
    """
    minutes = -(-spec.walltime_s // 60)
    lines = [f"#BSUB -J {spec.name}"]
    lines += [f"#BSUB -P {spec.account}"] if spec.account else []
    lines += [f"#BSUB -q {spec.queue}"] if spec.queue else []
    lines += [f"#BSUB -nnodes {spec.nodes}"] if spec.nodes else []
    lines += [f"#BSUB -W {minutes // 60}:{minutes % 60:02d}"]
    lines += [f"#BSUB -o {spec.log}"]
    lines += [f'#BSUB -w "ended({spec.after})"'] if spec.after else []
    return lines + directive_lines("#BSUB", spec.directives)


def submit(script: Path) -> str:
    """Submit a script on standard input, where alone bsub reads #BSUB lines, and return the job's id."""
    output = run_submission(["bsub"], _BLAME, input=script.read_text(encoding="utf-8"))
    if found := re.search(r"Job <(\d+)> is submitted", output):
        return found[1]
    raise CommandFailed(f"bsub: no job id in its output: {output.strip()!r}", next="bjobs")


def query(job: str) -> Job:
    """Query bjobs: GONE if it finds no such job, UNKNOWN if it fails or its output is unexpected."""
    try:
        output = run(["bjobs", "-json", "-o", _FIELDS, job], timeout_s=QUERY_S)
    except (CommandFailed, MissingProgram) as failure:
        return failed_query(job, failure, _GONE)
    return _parse(job, output)


def find(name: str, _clusters: str = "") -> list[str] | None:
    """Return the ids of the user's jobs of that name: by default bjobs lists unfinished jobs."""
    try:
        return run(["bjobs", "-noheader", "-o", "jobid", "-J", name], timeout_s=QUERY_S).split()
    except CommandFailed as failure:
        return [] if re.search(rf"{_GONE}|No unfinished job", failure.message) else None
    except MissingProgram:
        return None


def other_nodes() -> str:
    """Return no command: how a job starts one process on each node was not tried here."""
    return ""


def on_other_nodes() -> list[list[str]]:
    """Return no commands, as `other_nodes`."""
    return []


def cancel(job: str) -> None:
    """Cancel the job by bkill. No error if it has ended or is unknown. Raises CommandFailed, CommandTimeout."""
    try:
        run(["bkill", job], timeout_s=QUERY_S)
    except CommandFailed as failure:
        if not re.search(rf"{_GONE}|already finished", failure.message):
            raise


def _parse(job: str, output: str) -> Job:
    try:
        record = json.loads(output[output.index("{") :])["RECORDS"][0]
    except (ValueError, LookupError, TypeError):
        return Job(job, JobState.UNKNOWN, reason=f"bjobs: unexpected output: {output.strip()[:200]!r}")
    if re.search(_GONE, record.get("ERROR", "")):
        return Job(job, JobState.GONE)
    word = record.get("STAT", "")
    state = _STATES.get(word, JobState.UNKNOWN)
    waits = state in WAITING
    return Job(
        id=job,
        state=state,
        word=word,
        reason=_reason(state, record),
        node=re.sub(r"^\d+\*", "", record.get("EXEC_HOST", "").split(":")[0]) or None,
        starts=_time(record.get("ESTIMATED_START_TIME", "")) if waits else None,
        ends=_ends(state, record.get("FINISH_TIME", "")),
    )


def _reason(state: JobState, record: dict[str, str]) -> str:
    word, terminated = record.get("STAT", ""), record.get("EXIT_REASON", "")
    if state in WAITING:
        return explain(record.get("PEND_REASON", "").strip(" ;\n"), _WHY)
    if word == "DONE":
        return "finished normally (DONE)"
    if word == "ZOMBI":
        return "cancelled while its node was unreachable (ZOMBI)"
    if state == JobState.ENDED:
        code = record.get("EXIT_CODE", "")
        return explain(terminated, _TERMINATED) if terminated else f"failed with exit {code or 'unknown'} ({word})"
    if word == "UNKWN":
        return "LSF has lost contact with its node (UNKWN)"
    if state == JobState.UNKNOWN:
        return f"bjobs reports an unknown state: {word!r}"
    return f"suspended ({word})" if state == JobState.SUSPENDED else ""


def _ends(state: JobState, text: str) -> str | None:
    """Return when the job ends or ended; None if that is an estimate.

    A finish time by the run limit has the suffix L, an estimate E or X (bjobs(1), -WF).
    """
    ended = state == JobState.ENDED
    return _time(text) if ended or (state in (JobState.RUNNING, JobState.SUSPENDED) and text.endswith(" L")) else None


def _time(text: str) -> str | None:
    """Parse a local time such as "Nov 20 11:06 L", in the year nearest to now.

    Some sites add seconds and the year.
    """
    found = re.match(r"([A-Z][a-z]{2} +\d+ \d\d:\d\d)(:\d\d)?( \d{4})?", text)
    if not found:
        return None
    minute, second, year = found.groups()
    now = time.time()
    years = [int(year)] if year else [time.localtime(now).tm_year + more for more in (-1, 0, 1)]
    epochs = [epoch for year in years if (epoch := _epoch(f"{minute}{second or ':00'} {year}"))]
    return utc_time(min(epochs, key=lambda epoch: abs(epoch - now))) if epochs else None


def _epoch(text: str) -> float | None:
    try:
        return time.mktime(time.strptime(text, "%b %d %H:%M:%S %Y"))
    except ValueError:  # 29 February in a common year
        return None
