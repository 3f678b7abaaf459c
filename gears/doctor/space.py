"""Room for what gears writes: a real write of a few bytes, removed at once, and what the filesystem says of itself."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from gears.doctor.finding import Finding, failed, ok, warning
from gears.errors import GearsError
from gears.sites.paths import RunDir
from gears.sites.route import Route
from gears.system.commands import run

LOW_BYTES = 50_000_000
LOW_INODES = 100
MOST_SKEW_S = 30
"""A passcode is good for half a minute, give or take one more."""


def check_home_space(_route: Route, paths: RunDir) -> Iterator[Finding]:
    """Check the room in the home, the quota, and the clock of the home's server."""
    directory = first_directory(paths.run, paths.home, Path.home())
    fix = f"df -h {directory}; df -i {directory}; du -sh ~/* | sort -h"
    yield _check_room("room in the home", directory, fix)
    yield from _check_quota()
    yield from _check_server_clock(directory)


def check_local_space(route: Route, paths: RunDir) -> Iterator[Finding]:
    """Check the room in the host-local directory, or where it would be made."""
    base = Path(route.site.local)
    fix = f"df -h {base}; df -i {base}   (or let `local` in the profile of {route.site.name} name another directory)"
    yield _check_room("room on this host", first_directory(paths.local, base), fix)


def first_directory(*candidates: Path) -> Path:
    """Return the first of these that is a directory; the last where none is."""
    return next((path for path in candidates if path.is_dir()), candidates[-1])


def write_mark(directory: Path) -> tuple[Path, float]:
    """Write a new file of one block in `directory`; return it, and the time its filesystem gave it.

    Raises OSError where there is no room.
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
    """Write a file, and look for free bytes and inodes. Some filesystems say 0 inodes of 0: they have no such limit."""
    try:
        mark, _ = write_mark(directory)
        mark.unlink(missing_ok=True)
    except OSError as exc:
        return failed(what, f"nothing can be written to {directory}: {exc.strerror}", fix)
    room = os.statvfs(directory)
    free = room.f_bavail * room.f_frsize
    if free < LOW_BYTES:
        return warning(what, f"{directory}: {free / 1e6:.0f} MB are left", fix)
    if room.f_files and room.f_favail < LOW_INODES:
        return warning(what, f"{directory}: {room.f_favail} files (inodes) are left", fix)
    return ok(what, f"{directory}: {free / 1e9:.1f} GB are left")


def _check_server_clock(directory: Path) -> Iterator[Finding]:
    """Compare this host's clock with the home's: on NFS the server dates a file."""
    try:
        mark, written = write_mark(directory)
    except OSError:
        return
    skew_s = written - time.time()
    mark.unlink(missing_ok=True)
    if abs(skew_s) >= MOST_SKEW_S:
        cause = f"this host's differs from that of the home's server by {abs(skew_s):.0f} s: passcodes may fail"
        yield warning(
            "clock of the home", cause, "compare `date -u` with your phone, and tell the centre if it is wrong"
        )


def _check_quota() -> Iterator[Finding]:
    """Ask `quota -q`, which names filesystems over quota, and nothing else (quota(1))."""
    if not shutil.which("quota"):
        return
    try:
        said = run(["quota", "-q"], timeout_s=2, check=False).strip()
    except GearsError:
        return
    if said:
        yield warning("quota", " ".join(said.split()), "quota -s   (then remove, or ask for more)")
