"""Runs a module of Python, and kills its process group at the Nth call that changes something outside of it.

    python tests/killed.py -m gears workspace run

In $GEARS_TEST_KILL: a file, in which each such call of any process writes a byte, and N, 0 for never. What the module
starts as `sys.executable` is run in the same way.
"""

import os
import runpy
import signal
import sys
from pathlib import Path

CHANGES = {"rename", "link", "symlink", "remove", "mkdir", "rmdir", "chmod", "truncate", "fork", "exec", "posix_spawn"}
EVENTS = {*(f"os.{name}" for name in CHANGES), "subprocess.Popen"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT

counting = True


def count(event: str, args: tuple[object, ...]) -> None:
    global counting
    changes = event in EVENTS or (event == "open" and isinstance(args[2], int) and args[2] & WRITES)
    if not changes or not counting:
        return
    counting = False
    file, _, last = os.environ["GEARS_TEST_KILL"].rpartition(" ")
    fd = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, b".")
    if os.lseek(fd, 0, os.SEEK_CUR) == int(last):
        os.killpg(0, signal.SIGKILL)
    os.close(fd)
    counting = True


def main() -> None:
    words = [word for word in sys.argv[1:] if word != "-EsP"]
    assert words[0] == "-m"
    again = Path(os.environ["GEARS_TEST_KILL"].rpartition(" ")[0]).with_name("python-killed")
    if not again.exists():
        again.write_text(f'#!/bin/sh\nexec {sys.executable} -EsP {Path(__file__).resolve()} "$@"\n')
        again.chmod(0o755)
    sys.executable = str(again)
    sys.argv = words[1:]
    sys.addaudithook(count)
    runpy.run_module(words[1], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
