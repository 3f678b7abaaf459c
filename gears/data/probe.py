"""Try a directory, and print the result as one line of JSON.

It runs by itself (`python -I -S probe.py directory PATH`) in a process that can be killed, since a
system call on a file system whose server is down may never return. So it imports nothing of gears.
"""

import errno
import json
import os
import secrets
import signal
import stat
import sys
from typing import Any

LONGEST_S = 60
"""After that it ends by itself, even if its parent was killed."""


def try_directory(path: str) -> dict[str, Any]:
    """Stat and list the directory, query its free space, and write a small file to it."""
    found: dict[str, Any] = {"reachable": False, "writable": False, "reason": ""}
    try:
        if not stat.S_ISDIR(os.stat(path).st_mode):
            return found | {"reason": "not a directory"}
        found |= free_space(path)
        with os.scandir(path) as entries:
            next(entries, None)
    except OSError as exc:
        return found | {"reason": _reason(exc)}
    try:
        write_file(path)
    except OSError as exc:
        return found | {"reachable": True, "reason": f"can't write: {_reason(exc)}"}
    return found | {"reachable": True, "writable": True}


def free_space(path: str) -> dict[str, int | None]:
    """Return what statvfs(3) says is left for users. Some file systems report 0 of 0 inodes: they have no limit."""
    room = os.statvfs(path)
    return {
        "free_bytes": room.f_bavail * room.f_frsize,
        "total_bytes": room.f_blocks * room.f_frsize,
        "free_files": room.f_favail if room.f_files else None,
    }


def write_file(path: str) -> None:
    """Write one block to a new file and sync it. Raises OSError.

    The file loses its name before it is written: nothing remains if this process is killed.
    """
    if not os.access(path, os.W_OK | os.X_OK):
        code = errno.EROFS if os.statvfs(path).f_flag & os.ST_RDONLY else errno.EACCES
        raise OSError(code, os.strerror(code))
    name = os.path.join(path, f".gears-places-{os.getpid()}-{secrets.token_hex(4)}")
    file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        os.unlink(name)
        os.write(file, bytes(4096))
        os.fsync(file)
    finally:
        os.close(file)


def _reason(exc: OSError) -> str:
    return (exc.strerror or str(exc)).lower()


if __name__ == "__main__":
    signal.alarm(LONGEST_S)
    json.dump(try_directory(sys.argv[2]), sys.stdout)
