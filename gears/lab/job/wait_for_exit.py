"""The compute node's end of the job's hop: wait for the end of JupyterLab or of the connection, whichever is first.

Run as a script, with the standard library only: `wait_for_exit.py PID START LIFE`, START as in field 22 of
/proc/PID/stat (proc(5)), LIFE a file of `records.Life`. It exits with GONE when that process has ended, and records
when it is stopped and continued, as schedulers do to suspend a job. So the login node need not query the scheduler.
"""

import contextlib
import os
import select
import sys

GONE = 3
LOOK_EVERY_S = 1.0


def look(pid: str, start: str) -> str:
    """Return the state of a process: gone, stopped or runs. One with another start time is gone, as is a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            stat = file.read()
    except OSError:
        return "gone"
    fields = stat[stat.rindex(")") + 2 :].split()
    if fields[19] != start or fields[0] in "ZX":
        return "gone"
    return "stopped" if fields[0] == "T" else "runs"


def watch(pid: str, start: str, life: str) -> int:
    """Watch until the process is gone (returns GONE) or standard input ends (0). Write each change to the life."""
    before = ""  # the last line may be of another connection
    while (now := look(pid, start)) != "gone":
        if now != before:
            note(life, now)
        before = now
        if select.select([0], [], [], LOOK_EVERY_S)[0] and not os.read(0, 4096):
            return 0
    return GONE


def note(life: str, word: str) -> None:
    """Append a line to the life. A full home does not end the connection."""
    with contextlib.suppress(OSError), open(life, "a") as file:
        file.write(word + "\n")


if __name__ == "__main__":
    sys.exit(watch(*sys.argv[1:4]))
