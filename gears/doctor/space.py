"""Free space for what gears writes: write a small file and remove it, and query the file system."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from gears.doctor.finding import Finding, failed, ok, warning
from gears.errors import GearsError
from gears.sites.context import Context
from gears.system.commands import run

LOW_BYTES = 50_000_000
LOW_INODES = 100
MOST_SKEW_S = 30
"""A passcode is valid for 30 s, and most servers accept the previous and the next one."""


def check_home_space(context: Context) -> Iterator[Finding]:
    """Check the free space in the home, the quota, and the clock of the home's server."""
    directory = first_directory(context.paths.run, context.paths.home, Path.home())
    fix = f"df -h {directory}; df -i {directory}; du -sh ~/* | sort -h"
    yield _check_room("room in the home", directory, fix)
    yield from _check_quota()
    yield from _check_server_clock(directory)


def check_local_space(context: Context) -> Iterator[Finding]:
    """Check the free space in the host-local directory, or where it would be created."""
    base = Path(context.site.local)
    fix = f"df -h {base}; df -i {base}   (or set `local` in the profile of {context.site.name} to another directory)"
    yield _check_room("room on this host", first_directory(context.paths.local, base), fix)


def first_directory(*candidates: Path) -> Path:
    """Return the first of these that is a directory; the last if none is."""
    return next((path for path in candidates if path.is_dir()), candidates[-1])


def write_mark(directory: Path) -> tuple[Path, float]:
    """Write a new file of one block in `directory`; return its path, and the time that the file system gave it.

    Raises OSError if there is no space.
    """
    mark = directory / f".doctor.{secrets.token_hex(4)}"
    try:
        with open(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            return mark, os.fstat(file.fileno()).st_mtime
    except OSError:
        mark.unlink(missing_ok=True)
        raise


def _check_room(what: str, directory: Path, fix: str) -> Finding:
    """Write a file, and check free bytes and inodes. Some file systems report 0 of 0 inodes: they have no limit."""
    try:
        mark, _ = write_mark(directory)
        mark.unlink(missing_ok=True)
    except OSError as exc:
        return failed(what, f"can't write to {directory}: {exc.strerror}", fix)
    room = os.statvfs(directory)
    free = room.f_bavail * room.f_frsize
    if free < LOW_BYTES:
        return warning(what, f"{directory}: {free / 1e6:.0f} MB free", fix)
    if room.f_files and room.f_favail < LOW_INODES:
        return warning(what, f"{directory}: {room.f_favail} inodes (files) free", fix)
    return ok(what, f"{directory}: {free / 1e9:.1f} GB free")


def _check_server_clock(directory: Path) -> Iterator[Finding]:
    """Compare this host's clock with that of the home's server, which dates files on NFS."""
    try:
        mark, written = write_mark(directory)
    except OSError:
        return
    skew_s = written - time.time()
    mark.unlink(missing_ok=True)
    if abs(skew_s) >= MOST_SKEW_S:
        cause = f"this host's clock differs from that of the home's server by {abs(skew_s):.0f} s: passcodes may fail"
        yield warning(
            "clock of the home", cause, "compare `date -u` with your phone, and report a wrong clock to the centre"
        )


def _check_quota() -> Iterator[Finding]:
    """Run `quota -q`, which lists only file systems over quota (quota(1))."""
    if not shutil.which("quota"):
        return
    try:
        output = run(["quota", "-q"], timeout_s=2, check=False).strip()
    except GearsError:
        return
    if output:
        yield warning("quota", " ".join(output.split()), "quota -s   (then remove files, or ask for more)")
