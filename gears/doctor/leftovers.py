"""What a crash or an old checkout left on this host. The next start manages all the same; it is only untidy."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from gears.doctor.finding import Finding, ok, warning
from gears.sites.paths import RunDir, plan_local
from gears.sites.route import Route
from gears.system import processes
from gears.system.host import this_host
from gears.system.unix_http import connects


def check_leftovers(route: Route, paths: RunDir) -> Iterator[Finding]:
    """Look for a loop that is dead, sockets on which nobody listens, and older directories that nothing uses."""
    site = route.site.name
    found = [*_dead_loop(paths), *_deaf_sockets(paths)]
    for cause in found:
        yield warning("leftovers", cause, f"gears lab {site}   (goes on from there; or: gears stop {site})")
    old = list(_old_directories(route, paths))
    for directory in old:
        yield warning("leftovers", f"{directory} is of yours, older, and used by nothing", f"rm -r {directory}")
    if not found and not old:
        yield ok("leftovers", "none")


def _dead_loop(paths: RunDir) -> Iterator[str]:
    loop = processes.read(paths.loop)
    if loop and not loop.alive():
        yield f"the loop of {paths.site} (pid {loop.pid}) is gone without having ended"


def _deaf_sockets(paths: RunDir) -> Iterator[str]:
    """Find sockets on which nobody listens. Between two turns a live loop has some, too, and removes them itself."""
    loop = processes.read(paths.loop)
    if loop and loop.alive():
        return
    deaf = [path for path in sorted(paths.local.glob(f"{paths.site}.*.sck")) if not connects(path)]
    if deaf:
        yield f"nobody listens on {' '.join(map(str, deaf))}"


def _old_directories(route: Route, paths: RunDir) -> Iterator[Path]:
    """Find unused directories of other checkouts; one is in use while one of its loops holds its lock.

    A front with a home of its own has one here that only leads to ours.
    """
    pattern = plan_local(route.site.local, this_host().user, "*")
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
