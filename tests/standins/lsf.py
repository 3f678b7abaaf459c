#!/usr/bin/python3
"""A stand-in for LSF 10.1: bsub, bjobs and bkill, as far as jobs of one script need them.

Formats and messages are those of the IBM Spectrum LSF 10.1 Command Reference (bsub, bjobs -o and -json, bkill), of
lsb_errmsg in lsblib, of OLCF's esub, and of answers of bjobs that others have published. Like the real commands these
wait as long as the master is down.

Setting of its own: `minute_s`, how long a minute of walltime lasts (60), since LSF's walltimes are whole minutes.
"""

import json
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from standin_engine import Job, find, is_down, jobs, settings, submit, waits_for

OPTIONS = {"-J": "name", "-P": "account", "-q": "queue", "-W": "walltime", "-o": "output", "-w": "after"}
IGNORED = ("-nnodes", "-n", "-R", "-alloc_flags", "-L")


def refuse(words: str) -> NoReturn:
    print(words, file=sys.stderr)
    sys.exit(255)


# --- bsub ------------------------------------------------------------------------------------


def bsub(_arguments: list[str]) -> None:
    """bsub(1): #BSUB lines are read where the script comes on standard input; exit 255 where it is refused."""
    script = sys.stdin.read()
    given, hold = read_options(script)
    known = settings()["queues"]
    if given.get("queue", known[0]) not in known:
        refuse(f"{given['queue']}: No such queue. Job not submitted.")
    check_account(given.get("account", ""))
    spec = {
        "name": given.get("name", "STDIN"),
        "queue": given.get("queue", known[0]),
        "walltime_s": minutes(given.get("walltime", "60")) * settings().get("minute_s", 60),
        "output": given.get("output", "/dev/null"),
        "mode": "ab",
        "after": dependency(given.get("after", "")),
        "env": dict(os.environ),
        "cwd": str(Path.cwd()),
        "signals": ["INT", "TERM", "KILL"],
        "variable": "LSB_JOBID",
        "suffix": "",
    }
    job = submit(script, spec, hold=hold)
    default = "" if "queue" in given else "default "
    print(f"Job <{job.id}> is submitted to {default}queue <{spec['queue']}>.")


def read_options(script: str) -> tuple[dict[str, str], bool]:
    given: dict[str, str] = {}
    hold = False
    for line in re.findall(r"^#BSUB (.*)", script, re.MULTILINE):
        words = line.split(maxsplit=1)
        if words[0] == "-H":
            hold = True
        elif words[0] in OPTIONS:
            given[OPTIONS[words[0]]] = words[1].strip('"')
        elif words[0] not in IGNORED:
            refuse(f"{words[0]}: Illegal option. Job not submitted.")
    return given, hold


def check_account(account: str) -> None:
    known = settings()["accounts"]
    if not known or account in known:
        return
    if account:
        refuse(f"Not a member of the specified project: {account}.\nRequest aborted by esub. Job not submitted.")
    refuse(
        "**  Project not specified.  Please specify a project using the -P flag.\n"
        "Request aborted by esub. Job not submitted."
    )


def minutes(walltime: str) -> int:
    """[hour:]minute."""
    hours, _, rest = walltime.rpartition(":")
    return int(hours or 0) * 60 + int(rest)


def dependency(condition: str) -> str:
    """`ended(ID)`; of other conditions nothing is known here."""
    if not condition:
        return ""
    found = re.fullmatch(r"ended\((\d+)\)", condition)
    if not found:
        refuse("Dependency condition syntax error. Job not submitted.")
    if not find(found[1]):
        refuse(f"{found[1]}: No matching job found. Job not submitted.")
    return found[1]


# --- bjobs -----------------------------------------------------------------------------------


def bjobs(arguments: list[str]) -> None:
    """bjobs(1): `-json -o FIELDS JOB`, or `-noheader -o jobid [-J NAME]`, which leaves out jobs that are over."""
    if "-json" in arguments:
        tell_one(arguments[-1], arguments[arguments.index("-o") + 1])
    else:
        list_named(arguments[arguments.index("-J") + 1] if "-J" in arguments else "")


def tell_one(asked: str, fields: str) -> None:
    job = find(asked)
    if job:
        told = tell(job)
        record = {name.upper(): told.get(name, "") for name in fields.split()}
    else:
        record = {"JOBID": asked, "ERROR": f"Job <{asked}> is not found"}
    print(json.dumps({"COMMAND": "bjobs", "JOBS": 1, "RECORDS": [record]}, indent=2))
    sys.exit(0 if job else 255)


def list_named(name: str) -> None:
    found = [job.id for job in jobs() if name in ("", job.spec["name"]) and not job.is_over()]
    if not found:
        refuse(f"Job <{name}> is not found" if name else "No unfinished job found")
    print("\n".join(found))


def tell(job: Job) -> dict[str, str]:
    now, spec = job.now, job.spec
    told = {"jobid": job.id, "job_name": spec["name"], "queue": spec["queue"]}
    if now["started"]:
        ends = now.get("ended") or now["started"] + spec["walltime_s"]
        told |= {"exec_host": now["node"], "start_time": stamp(now["started"]), "finish_time": f"{stamp(ends)} L"}
    if now["state"] == "ended":
        return told | tell_end(now)
    if now["state"] == "runs":
        return told | {"stat": "RUN"}
    return told | tell_wait(job)


def tell_wait(job: Job) -> dict[str, str]:
    if job.flagged("hold"):
        return {"stat": "PSUSP", "pend_reason": "Job was suspended by the user while pending;"}
    if waits_for(job):
        return {"stat": "PEND", "pend_reason": "Job dependency condition not satisfied;"}
    if time.time() < job.spec["submitted"] + settings()["delay_s"]:
        return {"stat": "PEND", "pend_reason": "New job is waiting for scheduling;"}
    return {"stat": "PEND", "pend_reason": f"Not enough job slot(s): {len(settings()['nodes'])} hosts;"}


def tell_end(now: dict[str, Any]) -> dict[str, str]:
    reasons = {
        "cancel": "TERM_OWNER: job killed by owner",
        "walltime": "TERM_RUNLIMIT: job killed after reaching LSF run time limit",
    }
    code = now["exit"]
    if code == 0 and not now["why"]:
        return {"stat": "DONE"}
    told = "" if code is None else str(code if code >= 0 else 128 - code)
    return {"stat": "EXIT", "exit_code": told, "exit_reason": reasons.get(now["why"], "")}


def stamp(epoch: float) -> str:
    """As bjobs does: to the minute, local, without the year."""
    return time.strftime("%b %e %H:%M", time.localtime(epoch))


# --- bkill -----------------------------------------------------------------------------------


def bkill(arguments: list[str]) -> None:
    """bkill(1): SIGINT, SIGTERM, SIGKILL, one after the other."""
    job = find(arguments[0])
    if not job:
        refuse(f"Job <{arguments[0]}>: No matching job found")
    if job.is_over():
        refuse(f"Job <{job.id}>: Job has already finished")
    job.flag("cancel")
    print(f"Job <{job.id}> is being terminated")


COMMANDS: dict[str, Callable[[list[str]], None]] = {"bsub": bsub, "bjobs": bjobs, "bkill": bkill}

if __name__ == "__main__":
    while is_down():
        print("LSF is down. Please wait ...", file=sys.stderr, flush=True)
        time.sleep(1)
    COMMANDS[Path(sys.argv[0]).name](sys.argv[1:])
