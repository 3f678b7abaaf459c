"""Who writes into a tree: one run at a time, with its workers.

Each of them holds a shared flock(2) on the root of the tree, and a run first waits for an exclusive one. So a run after
kill -9 begins when the last worker of the killed one has ended. Where the file system has no locks on directories, as
NFS, such a worker could leave a temporary file; it is removed by the next run.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from gears.errors import NotReachable


@contextlib.contextmanager
def only_writer(root: Path, timeout_s: float = 10.0) -> Iterator[None]:
    """Write into the tree as the only run. Raises NotReachable if another one does so for longer than `timeout_s`."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + timeout_s
        while not (_lock(fd, fcntl.LOCK_EX) and _lock(fd, fcntl.LOCK_SH)):  # flock(2): another may get in between
            if time.monotonic() > deadline:
                raise NotReachable(f"another process writes into {root}", next=f"fuser -v {root}")
            time.sleep(0.02)
        yield
    finally:
        os.close(fd)


def join_writers(root: Path) -> int:
    """Write into the tree as a worker of a run, as long as the descriptor that this returns is open."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with contextlib.suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_SH)
    return fd


def _lock(fd: int, kind: int) -> bool:
    """Take a lock if it is free. True also where there are no locks."""
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
