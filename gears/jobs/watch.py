"""The compute node's end of the job's hop: waits for the end of JupyterLab, or of the connection, whichever is first.

Run as a script, of the standard library only: `watch.py PID START`, START as in field 22 of /proc/PID/stat (proc(5)).
It exits with GONE when that process is gone, which tells the login node without asking the scheduler.
"""

import os
import select
import sys

GONE = 3
LOOK_EVERY_S = 1.0


def alive(pid: str, start: str) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            stat = file.read()
    except OSError:
        return False
    fields = stat[stat.rindex(")") + 2 :].split()
    return fields[19] == start and fields[0] not in "ZX"


def watch(pid: str, start: str) -> int:
    while alive(pid, start):
        if select.select([0], [], [], LOOK_EVERY_S)[0] and not os.read(0, 4096):
            return 0
    return GONE


if __name__ == "__main__":
    sys.exit(watch(*sys.argv[1:3]))
