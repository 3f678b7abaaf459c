"""Lustre: recognised by statfs(2), and searched by its own `lfs find` (lfs-find(1)).

`lfs find` decides from the attributes that the metadata servers have, and asks the storage servers only where it must;
a walk asks for each file. Its options for times have a margin of up to a day, and its own output has no nanoseconds.
So it only narrows the search, by whole days, and what it finds is looked at again: the files that may be due. For
the same reason `-printf`, which old versions lack, is not needed.
"""

from __future__ import annotations

import os
import select
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import IO

from gears.data.listing import DAY_NS, Listing, OnListed, Part, Search
from gears.system import commands

MAGIC = 0x0BD00BD0
"""`f_type` of statfs(2) (LL_SUPER_MAGIC)."""
MARGIN_DAYS = 2
BATCH_FILES = 2_000
LOOK_EVERY_S = 1.0

OPTIONS = {"atime": ("--atime",), "mtime": ("--mtime",), "either": ("--atime", "--mtime"), "ctime": ("--ctime",)}
"""Those that must all be old enough. Any one of several can't be asked for: `lfs find` has no "or"."""


def is_lustre(path: str) -> bool:
    """Tell whether a directory is on Lustre. False where that can't be found out."""
    import ctypes

    found = ctypes.create_string_buffer(512)  # struct statfs, which begins with f_type
    if ctypes.CDLL(None).statfs(os.fsencode(path), found) != 0:
        return False
    return ctypes.c_uint32.from_buffer(found).value == MAGIC


def program() -> str | None:
    """Return the path of `lfs`; None if it is not installed."""
    return shutil.which("lfs")


def plan_find(lfs: str, search: Search, start: str, now_ns: int) -> list[str]:
    """Return the command that lists at least all that is due in the directory `start` below the root. Pure."""
    argv = [lfs, "find", os.path.join(search.root, start) if start else search.root, "--type", "f"]
    argv += [] if search.uid is None else ["--uid", str(search.uid)]
    days = (now_ns - search.latest_ns) // DAY_NS - MARGIN_DAYS
    for option in OPTIONS.get(search.by, ()) if days > 0 else ():
        argv += [option, f"+{days}"]
    return [*argv, "--print0"]


def find(
    lfs: str,
    search: Search,
    start: str,
    listing: Listing,
    *,
    jobs: int = 1,
    on_listed: OnListed = lambda _listing: None,
) -> bool:
    """Search as `listing.walk` does. Return False if it listed nothing and failed: then nothing is added.

    Each message of `lfs find` counts as a directory that can't be read.
    """
    from gears.data import workers

    with tempfile.TemporaryFile() as errors:
        argv = plan_find(lfs, search, start, time.time_ns())
        with commands.output_of(argv, errors=errors.fileno()) as ran:
            assert ran.stdout is not None
            batches = _batches(ran.stdout, search.root, lambda: on_listed(listing))
            for part in workers.run_ordered(search.look_at, batches, jobs=jobs):
                listing.add(part)
                on_listed(listing)
            status = ran.wait()
        errors.seek(0)
        complaints = _complaints(errors, status)
    if complaints.problems and not listing.seen:
        return False
    listing.add(complaints)
    return True


def _batches(output: IO[bytes], root: str, waiting: Callable[[], None]) -> Iterator[list[str]]:
    """Yield paths below the root in batches. `waiting` is called as long as nothing comes."""
    start, rest, batch = len(os.fsencode(root)) + 1, b"", list[str]()
    while True:
        if not select.select([output], [], [], LOOK_EVERY_S)[0]:
            waiting()
            continue
        read = os.read(output.fileno(), 1 << 16)
        *names, rest = (rest + read).split(b"\0")
        batch += [os.fsdecode(name[start:]) for name in names]
        if batch and (len(batch) >= BATCH_FILES or not read):
            yield batch
            batch = []
        if not read:
            return


def _complaints(errors: IO[bytes], status: int) -> Part:
    part = Part()
    for line in errors:
        part.fail(line.decode(errors="replace").strip(), "")
    if status and not part.problems:
        part.fail(f"lfs find ended with status {status}", "")
    return part
