"""Grid Engine: qsub, qstat, qacct, qdel. Written against Son of Grid Engine 8.1.9.

Grid Engine accepts a job that no queue can ever run. `-w e` would reject it, but also every job that requests a load
value such as mem_free, even if nodes have enough of it (observed). So gears does not use it; `query` reports why a job
waits, with Grid Engine's message, if the administrator has enabled that.
"""

from __future__ import annotations

import os
import pwd
import re
import time
from pathlib import Path

from gears.errors import CommandFailed, MissingProgram, UsageError
from gears.schedulers.base import QUERY_S, Job, JobSpec, JobState, clock, directive_lines
from gears.schedulers.environment import run
from gears.schedulers.parsing import Explanations, explain, failed_query, run_submission
from gears.system.timestamps import utc_time

ACCOUNTING_S = 5.0
"""Time limit of qacct, which reads a file that grows for years."""

_WHY: Explanations = (
    (r"All queues dropped because of overload or full|.*dropped because it is full", "waits for free slots"),
    (r".*temporarily not available|.*dropped because it is (disabled|suspended).*", "its queue is closed"),
    (
        r".*cannot run .*|.*no suitable queues.*",
        "requested resources are not free on any node; will never start if no node has them",
    ),
)

_FAILED: Explanations = (
    (r"37 : .*", "ended by its walltime, or by another limit"),
    (r"100 : .*", "killed, for example by qdel"),
)

_BLAME = {
    "scheduler": r"commlib error|unable to (send|contact|receive|read qmaster)|failed receiving|timeout"
    r"|cell directory|can't connect",
    "account": r"project",
    "queue": r"queue",
}


def header(spec: JobSpec) -> list[str]:
    """Return the #$ lines of a job script. Output is appended (sge_submit(1)).

    Raises UsageError for several nodes without a `-pe` directive: Grid Engine allocates slots, and a parallel
    environment, whose name depends on the site, distributes them over nodes.
    """
    if (spec.nodes or 1) > 1 and not any(re.match(r"(#\$ *)?-pe ", line) for line in spec.directives):
        pe = f'"-pe NAME {spec.nodes}"'
        raise UsageError(
            f"Grid Engine gives {spec.nodes} nodes only through a parallel environment: add {pe} to directives",
            next="qconf -spl   (lists their names)",
        )
    lines = [f"#$ -N {spec.name}", "#$ -S /bin/sh", "#$ -notify"]  # SIGUSR2 before SIGKILL, the only warning
    lines += [f"#$ -P {spec.account}"] if spec.account else []
    lines += [f"#$ -q {spec.queue}"] if spec.queue else []
    lines += [f"#$ -l h_rt={clock(spec.walltime_s)}"]
    lines += [f"#$ -o {spec.log}", "#$ -j y"]
    lines += [f"#$ -hold_jid {spec.after}"] if spec.after else []
    return lines + directive_lines("#$", spec.directives)


def submit(script: Path) -> str:
    """Submit a script by `qsub -terse` and return the job's id. Raises CommandFailed if it prints none."""
    output = run_submission(["qsub", "-terse", str(script)], _BLAME)
    if found := re.search(r"^(\d+)$", output, re.MULTILINE):
        return found[1]
    raise CommandFailed(f"qsub: no job id in its output: {output.strip()!r}", next="qstat")


def query(job: str) -> Job:
    """Query the job, with a second call for why it waits or how it ended."""
    try:
        listed = _listed()
    except (CommandFailed, MissingProgram) as failure:
        return failed_query(job, failure, gone=r"(?!)")
    if listed is None:
        return Job(job, JobState.UNKNOWN, reason="qstat: incomplete output")
    values = next((values for values in listed if values.get("JB_job_number") == job), None)
    return _parse(job, values) if values else _ended(job)


def find(name: str, _clusters: str = "") -> list[str] | None:
    """Return the ids of the user's jobs of that name; None if qstat fails or its output is incomplete."""
    try:
        listed = _listed()
    except (CommandFailed, MissingProgram):
        return None
    return None if listed is None else [job["JB_job_number"] for job in listed if job.get("full_job_name") == name]


def other_nodes() -> str:
    """Return no command: how a job starts one process on each node was not tried here."""
    return ""


def on_other_nodes() -> list[list[str]]:
    """Return no commands, as `other_nodes`."""
    return []


def cancel(job: str) -> None:
    """Cancel the job by qdel. No error if it is gone or being deleted. Raises CommandFailed, CommandTimeout."""
    try:
        run(["qdel", job], timeout_s=QUERY_S)
    except CommandFailed as failure:
        if not re.search(r"does not exist|already in deletion", failure.message):
            raise


def _listed() -> list[dict[str, str]] | None:
    """Return the user's unfinished jobs, with each element's text by its tag; None for incomplete output.

    `qstat -xml -j JOB` does not show the node; the list does.
    """
    output = run(["qstat", "-xml", "-r", "-u", pwd.getpwuid(os.getuid()).pw_name], timeout_s=QUERY_S)
    if not output.rstrip().endswith("</job_info>"):
        return None
    blocks = re.findall(r"<job_list .*?</job_list>", output, re.DOTALL)
    return [_values(block) for block in blocks]


def _values(block: str) -> dict[str, str]:
    values = dict(re.findall(r"<(\w+)>([^<]*)</", block))
    if limit := re.search(r'<hard_request name="h_rt"[^>]*>(\d+)', block):
        values["h_rt"] = limit[1]
    return values


def _parse(job: str, values: dict[str, str]) -> Job:
    word = values.get("state", "")
    state = _state(word, "predecessor_jobs" in values)
    began, limit = _epoch(values.get("JAT_start_time", ""), "%Y-%m-%dT%H:%M:%S"), values.get("h_rt")
    return Job(
        id=job,
        state=state,
        word=word,
        reason=_reason(job, state, word, values),
        node=values.get("queue_name", "").partition("@")[2] or None,
        ends=utc_time(began + int(limit)) if began and limit else None,
    )


def _state(word: str, depends: bool) -> JobState:
    """Parse a state of qstat(1), a combination of letters.

    They are d(eletion), E(rror), h(old), r(unning), R(estarted), s(uspended), S(uspended), t(ransfering), T(hreshold)
    or w(aiting).
    """
    if "d" in word:
        return JobState.ENDING
    if "w" in word:
        held = "E" in word or ("h" in word and not depends)
        return JobState.HELD if held else JobState.PENDING
    if set(word) & set("sST"):
        return JobState.SUSPENDED
    return JobState.RUNNING if set(word) & set("rt") else JobState.UNKNOWN


def _reason(job: str, state: JobState, word: str, values: dict[str, str]) -> str:
    if state == JobState.UNKNOWN:
        return f"qstat reports an unknown state: {word!r}"
    if state == JobState.ENDING:
        return f"is being cancelled ({word})"
    if "h" in word and state == JobState.PENDING:
        return f"waits for job {values['predecessor_jobs']} to end ({word})"
    if "E" in word:
        return f"could not be started: {_detail(job) or 'see qstat -j'}; qmod -cj clears the error ({word})"
    if state == JobState.HELD:
        return f"held; release it with qrls ({word})"
    if state == JobState.PENDING:
        return explain(_detail(job), _WHY) or f"waits in the queue ({word})"
    return f"suspended ({word})" if state == JobState.SUSPENDED else ""


def _detail(job: str) -> str:
    """Return why the job failed, else why it waits; empty if not reported (sched_conf(5), schedd_job_info).

    Prefers a message about the job itself to the last one about all jobs.
    """
    try:
        output = run(["qstat", "-j", job], timeout_s=QUERY_S)
    except (CommandFailed, MissingProgram):
        return ""
    if error := re.search(r"^error reason +\d+: +(?:\S+ \S+ \[\S+\]: )?(.*)", output, re.MULTILINE):
        return error[1].strip()
    lines = [line.strip() for line in output.partition("scheduling info:")[2].splitlines() if line.strip()]
    lines = [line for line in lines if "turned off" not in line]
    own = [line for line in lines if "cannot run" in line]
    return (own or lines[-1:] or [""])[0]


def _ended(job: str) -> Job:
    """Return how a job ended that qstat does not list any more; GONE if the accounting is not readable here."""
    try:
        output = run(["qacct", "-j", job], timeout_s=ACCOUNTING_S)
    except (CommandFailed, MissingProgram):
        return Job(job, JobState.GONE)
    values = dict(re.findall(r"^(\w+) +(.*?) *$", output, re.MULTILINE))
    failed, status = " ".join(values.get("failed", "").split()), values.get("exit_status", "").partition(" ")[0]
    if not failed:
        return Job(job, JobState.GONE)
    ended = _epoch(values.get("end_time", ""), "%a %b %d %H:%M:%S %Y")
    reason = _exit(status) if failed == "0" else explain(failed, _FAILED)
    return Job(job, JobState.ENDED, word="z", reason=reason, ends=utc_time(ended) if ended else None)


def _exit(status: str) -> str:
    return "finished normally (exit_status 0)" if status == "0" else f"failed with exit {status} (exit_status {status})"


def _epoch(text: str, form: str) -> float | None:
    """Parse a local time of the format `form` to seconds since 1970; None for others."""
    try:
        return time.mktime(time.strptime(text, form))
    except ValueError:
        return None
