"""Leftovers of a crash or of an old checkout on this host. They do not block the next start."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from gears.doctor.finding import Finding, ok, warning
from gears.lab.state import loop_alive
from gears.sites.context import Context
from gears.sites.paths import RunDir, plan_local
from gears.system import processes
from gears.system.host import this_host
from gears.system.unix_http import connects


def check_leftovers(context: Context) -> Iterator[Finding]:
    """Look for a loop that has died, sockets without a listener, and older directories that are not in use."""
    site = context.site.name
    found = [*_dead_loop(context.paths), *_stale_sockets(context.paths)]
    for cause in found:
        yield warning("leftovers", cause, f"gears lab {site}   (restarts it; or: gears stop {site})")
    old = list(_old_directories(context))
    for directory in old:
        yield warning(
            "leftovers", f"{directory} is an older directory of yours that nothing uses", f"rm -r {directory}"
        )
    if not found and not old:
        yield ok("leftovers", "none")


def _dead_loop(paths: RunDir) -> Iterator[str]:
    loop = processes.read(paths.loop)
    if loop and not loop.alive():
        yield f"the loop of {paths.site} (pid {loop.pid}) has died"


def _stale_sockets(paths: RunDir) -> Iterator[str]:
    """Find sockets without a listener. A live loop may have some between two turns, and removes them itself."""
    if loop_alive(paths):
        return
    stale = [path for path in sorted(paths.local.glob(f"{paths.site}.*.sck")) if not connects(path)]
    if stale:
        yield f"no process listens on {' '.join(map(str, stale))}"


def _old_directories(context: Context) -> Iterator[Path]:
    """Find unused directories of other checkouts; one is in use while a loop holds its lock.

    A front with a separate home has one here that only links to ours.
    """
    paths = context.paths
    pattern = plan_local(context.site.local, this_host().user, "*")
    for directory in sorted(pattern.parent.glob(pattern.name)):
        ours = directory in (paths.local, paths.local.resolve()) or _leads_to(directory, paths.local)
        if not ours and _is_unused(directory):
            yield directory


def _leads_to(directory: Path, local: Path) -> bool:
    try:
        return any(link.is_symlink() and link.readlink().parent == local for link in directory.iterdir())
    except OSError:
        return False


def _is_unused(directory: Path) -> bool:
    try:
        info = directory.lstat()
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(fd)
    return info.st_uid == os.getuid()
