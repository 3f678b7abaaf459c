"""The directories and the fixed link of a site: created safely, checked at every use."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from gears.errors import UnsafePath
from gears.sites.paths import RunDir, check_lengths, plan_local
from gears.sites.route import Route
from gears.system.files import check_private, ensure_link, ensure_private, random_hex, write_private
from gears.system.host import this_host
from gears.system.installation import gears_home


def open_paths(route: Route, *, local: Path | None = None) -> RunDir:
    """Create and check the directories of a route's site for this user (`open_rundir`). Raises UnsafePath."""
    return open_rundir(gears_home(), route.site.name, route.site.local, this_host().user, local=local)


def find_paths(route: Route) -> RunDir | None:
    """Return the paths of a route's site; None if no site was ever started from this home. Creates nothing."""
    return find_rundir(gears_home(), route.site.name, route.site.local, this_host().user)


def open_rundir(home: Path, site: str, base: str, user: str, *, local: Path | None = None) -> RunDir:
    """Create and check all directories of a site, and the fixed link. Idempotent, also when run concurrently.

    `local`: the host-local directory chosen by the front, if it and this host share no home. Raises UnsafePath, before
    anything of the site is created, if a path is too long, writable by others or another user's.
    """
    paths = _open_run(home, site, base, user)
    check_lengths(paths)
    fronts = () if local in (None, paths.local) else (local,)
    directories = (paths.local, *fronts, paths.here, paths.runtime, paths.remote_ends, paths.records)
    for directory in filter(os.path.lexists, directories):
        check_private(directory, fix=fix_for_taken(paths) if directory == paths.local else f"ls -ld {directory}")
    for directory in directories:
        ensure_private(directory)
    ensure_link(paths.fixed, paths.link)
    for front in fronts:
        ensure_link(front / paths.link.name, paths.link)
    return paths


def open_records(home: Path, site: str, base: str, user: str) -> RunDir:
    """Create and check the site's directory for records. Does not create the one on local disk. Idempotent."""
    paths = _open_run(home, site, base, user)
    ensure_private(paths.records)
    return paths


def open_laptop(home: Path, site: str, user: str) -> RunDir:
    """Create and check the directories of `gears open` on a laptop, where no lab runs. Idempotent."""
    paths = _open_run(home, site, "/tmp", user)
    for directory in (paths.local, paths.records):
        ensure_private(directory)
    return paths


def fix_for_taken(paths: RunDir) -> str:
    """Return the fix if another user owns the host-local directory: only root could remove it."""
    return f"rm {paths.run / 'id'}   (first stop what runs; the next start chooses another name)"


def find_rundir(home: Path, site: str, base: str, user: str) -> RunDir | None:
    """Return the paths of a site; None if no site was ever started from this home. Creates nothing."""
    try:
        identifier = (home / "run" / "id").read_text().strip()
    except OSError:
        return None
    return RunDir(home, site, plan_local(base, user, identifier)) if identifier else None


def _open_run(home: Path, site: str, base: str, user: str) -> RunDir:
    """Create and check the directory of all sites, and choose the name of the host-local one. Return a site's paths."""
    run = home / "run"
    ensure_private(run, first_use=not (run / "id").exists())
    return RunDir(home, site, plan_local(base, user, _identifier(run)))


def _identifier(run: Path) -> str:
    """Choose the random part of the host-local directory's name, once: the first process to link the file wins."""
    path = run / "id"
    for _ in range(20):
        with contextlib.suppress(OSError):
            if words := path.read_text().split():
                return words[0]
        if path.exists() and path.stat().st_size == 0:
            path.unlink(missing_ok=True)
        mine = run / f".id.{os.getpid()}.{random_hex(4)}"
        write_private(mine, random_hex(4) + "\n")
        with contextlib.suppress(FileExistsError):
            os.link(mine, path)
        mine.unlink(missing_ok=True)
    raise UnsafePath(f"{path}: cannot create file", next=f"ls -l {run}")
