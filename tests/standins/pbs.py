#!/usr/bin/python3
"""A stand-in for PBS Professional and OpenPBS: qsub, qstat, qselect and qdel, as far as jobs of one script need them.

Formats, messages and exit statuses are those of qsub(1B), qstat(1B), qselect(1B) and qdel(1B), and of OpenPBS's
pbs_messages.c, pbs_error.h and qstat.c: a status is the error's number, of which a shell sees the last eight bits.

Setting of its own: `history`, whether ended jobs are kept for `-x` (server attribute job_history_enable; true).
"""

import os
import pwd
import re
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from standin_engine import Job, find, is_down, jobs, settings, submit, waits_for

SERVER = "pbs"
UNKNOWN_JOB, UNKNOWN_QUEUE, BAD_ACCOUNT, FINISHED, NO_HISTORY = 15001, 15018, 15049, 15139, 15140
IGNORED = ("-j", "-S", "-k", "-r", "-m", "-M", "-V")


def refuse(words: str, error: int) -> NoReturn:
    print(words, file=sys.stderr)
    sys.exit(error % 256)


# --- qsub ------------------------------------------------------------------------------------


def qsub(arguments: list[str]) -> None:
    script = Path(arguments[-1]).read_text()
    given = read_directives(script)
    known = settings()["queues"]
    if given.get("q", known[0]) not in known:
        refuse("qsub: Unknown queue", UNKNOWN_QUEUE)
    accounts = settings()["accounts"]
    if accounts and given.get("A", "") not in accounts:
        refuse("qsub: Invalid Account", BAD_ACCOUNT)
    spec = {
        "name": given.get("N", Path(arguments[-1]).name),
        "queue": given.get("q", known[0]),
        "account": given.get("A", ""),
        "walltime": given.get("walltime", "01:00:00"),
        "walltime_s": seconds(given.get("walltime", "01:00:00")),
        "output": given.get("o", "/dev/null"),
        "mode": "wb",
        "after": given.get("after", ""),
        "env": {"PBS_O_WORKDIR": str(Path.cwd()), "PBS_JOBNAME": given.get("N", ""), "PBS_ENVIRONMENT": "PBS_BATCH"},
        "cwd": str(Path.home()),
        "signals": ["TERM", "KILL"],
        "variable": "PBS_JOBID",
        "suffix": f".{SERVER}",
    }
    job = submit(script, spec, hold="h" in given)
    print(f"{job.id}.{SERVER}")


def read_directives(script: str) -> dict[str, str]:
    """#PBS lines up to the first command (qsub(1B))."""
    given: dict[str, str] = {}
    for line in script.splitlines():
        if line.strip() and not line.startswith("#"):
            break
        if line.startswith("#PBS"):
            read_directive(shlex.split(line)[1:], given)
    return given


def read_directive(words: list[str], given: dict[str, str]) -> None:
    option, value = words[0], words[1] if len(words) > 1 else ""
    if option in ("-N", "-A", "-q", "-o", "-h"):
        given[option[1:]] = value
    elif option == "-l":
        given |= dict(part.split("=", 1) for part in value.split(","))
    elif option == "-W" and value.startswith("depend=afterany:"):
        given["after"] = value.partition(":")[2]
    elif option not in IGNORED:
        refuse(f"qsub: illegal {option} value", 2)


def seconds(clock: str) -> int:
    total = 0
    for part in clock.split(":"):
        total = total * 60 + int(part)
    return total


# --- qstat and qselect -----------------------------------------------------------------------


def qstat(arguments: list[str]) -> None:
    """`-f JOB`, with `-x` for one that may have ended."""
    history, asked = settings().get("history", True), arguments[-1]
    if "-x" in arguments and not history:
        # qstat ends with 0 all the same
        refuse(f"qstat: PBS is not configured to maintain job history {asked}", 0)
    job = find(asked)
    if not job or (job.is_over() and not history):
        refuse(f"qstat: Unknown Job Id {asked}", UNKNOWN_JOB)
    if job.is_over() and "-x" not in arguments:
        told = f"{asked} Job has finished, use -x or -H to obtain historical job information"
        refuse(f"qstat: {told}", FINISHED)
    print(f"Job Id: {job.id}.{SERVER}")
    for name, value in tell(job).items():
        print(fold(f"    {name} = {value}"))
    print()


def fold(line: str) -> str:
    """As qstat does: what is too long for a line goes on in the next, after a tab."""
    return "\n\t".join([line[:79], *re.findall(".{1,71}", line[79:])])


def qselect(arguments: list[str]) -> None:
    """`[-N NAME] -u USER`: jobs that are not over."""
    name = arguments[arguments.index("-N") + 1] if "-N" in arguments else ""
    for job in jobs():
        if name in ("", job.spec["name"]) and not job.is_over():
            print(f"{job.id}.{SERVER}")


def tell(job: Job) -> dict[str, Any]:
    now, spec = job.now, job.spec
    owner = pwd.getpwuid(os.getuid()).pw_name
    told: dict[str, Any] = {"Job_Name": spec["name"], "Job_Owner": f"{owner}@{SERVER}"}
    told |= tell_state(job, now)
    told |= {"queue": spec["queue"], "server": SERVER, "ctime": time.ctime(spec["submitted"])}
    if now["started"]:
        told |= {"exec_host": f"{now['node']}/0*4", "stime": time.ctime(now["started"])}
    if now.get("ended"):
        told |= {"obittime": time.ctime(now["ended"])}
    told |= {"Hold_Types": hold_types(job), "Join_Path": "oe", "Output_Path": f"{SERVER}:{spec['output']}"}
    told |= {"Resource_List.walltime": spec["walltime"], "Account_Name": spec["account"]}
    if waits_for(job):
        told["depend"] = f"afterany:{spec['after']}@{SERVER}"
    return told


def hold_types(job: Job) -> str:
    """u(ser), or s(ystem): PBS itself holds a job that depends on another."""
    return "u" if job.flagged("hold") else "s" if waits_for(job) else "n"


def tell_state(job: Job, now: dict[str, Any]) -> dict[str, Any]:
    if now["state"] == "ended":
        return tell_end(now)
    if now["state"] == "runs":
        return {"job_state": "R", "substate": 42, "comment": ran(now)}
    if hold_types(job) != "n":
        return {"job_state": "H", "substate": 20}
    if time.time() < job.spec["submitted"] + settings()["delay_s"]:
        return {"job_state": "Q", "substate": 10}
    wanted, free = "Insufficient amount of resource: ncpus", "R: 4 A: 0 T: 8"
    return {"job_state": "Q", "substate": 10, "comment": f"Not Running: {wanted} ({free})"}


def tell_end(now: dict[str, Any]) -> dict[str, Any]:
    """Exit_status: the script's; 256 and the signal; -29 where MoM ended it by its walltime (job.h)."""
    if now["exit"] is None:
        return {"job_state": "F", "substate": 91, "comment": "Not Running and terminated"}
    if now["why"] == "walltime":
        return {"job_state": "F", "Exit_status": -29, "comment": f"{ran(now)} and exceeded resource walltime"}
    status = now["exit"] if now["exit"] >= 0 else 256 - now["exit"]
    word = "terminated" if now["why"] else "failed" if status else "finished"
    return {"job_state": "F", "Exit_status": status, "comment": f"{ran(now)} and {word}"}


def ran(now: dict[str, Any]) -> str:
    return (
        time.strftime("Job run at %a %b %d at %H:%M on", time.localtime(now["started"])) + f" ({now['node']}:ncpus=4)"
    )


# --- qdel ------------------------------------------------------------------------------------


def qdel(arguments: list[str]) -> None:
    """SIGTERM, then SIGKILL."""
    job = find(arguments[0])
    if not job or (job.is_over() and not settings().get("history", True)):
        refuse(f"qdel: Unknown Job Id {arguments[0]}", UNKNOWN_JOB)
    if job.is_over():
        refuse(f"qdel: Job has finished {arguments[0]}", FINISHED)
    job.flag("cancel")


COMMANDS: dict[str, Callable[[list[str]], None]] = {"qsub": qsub, "qstat": qstat, "qselect": qselect, "qdel": qdel}

if __name__ == "__main__":
    command = Path(sys.argv[0]).name
    if is_down():
        refuse(f"Connection refused\n{command}: cannot connect to server {SERVER} (errno=111)", 111)
    COMMANDS[command](sys.argv[1:])
