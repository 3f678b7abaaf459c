"""The directories and the fixed link of a site: made safely, checked at every use."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from gears.errors import UnsafePath
from gears.sites.paths import RunDir, check_lengths, plan_local
from gears.system.files import check_private, ensure_link, ensure_private, write_private


def open_rundir(home: Path, site: str, base: str, user: str, *, local: Path | None = None) -> RunDir:
    """Make and check all directories of a site, and the fixed link. Safe to repeat, and ten at once.

    `local`: the host-local directory the front has chosen, where it and this host share no home.
    Raises UnsafePath before anything of the site's is made where a path is too long, open or somebody else's.
    """
    run = home / "run"
    ensure_private(run, first_use=not (run / "id").exists())
    paths = RunDir(home, site, plan_local(base, user, _identifier(run)))
    check_lengths(paths)
    fronts = () if local in (None, paths.local) else (local,)
    directories = (paths.local, *fronts, paths.here, paths.runtime, paths.remote_ends, paths.records)
    for directory in filter(os.path.lexists, directories):
        check_private(directory, taken=fix_for_taken(paths) if directory == paths.local else f"ls -ld {directory}")
    for directory in directories:
        ensure_private(directory)
    ensure_link(paths.fixed, paths.link)
    for front in fronts:
        ensure_link(front / paths.link.name, paths.link)
    return paths


def open_records(home: Path, site: str, base: str, user: str) -> RunDir:
    """Make and check the site's directory for records. The one on local disk is named, and not made. Safe to repeat."""
    run = home / "run"
    ensure_private(run, first_use=not (run / "id").exists())
    paths = RunDir(home, site, plan_local(base, user, _identifier(run)))
    ensure_private(paths.records)
    return paths


def open_laptop(home: Path, site: str, user: str) -> RunDir:
    """Make and check what `gears open` needs on a laptop, where no lab runs and nothing is served. Safe to repeat."""
    run = home / "run"
    ensure_private(run, first_use=not (run / "id").exists())
    paths = RunDir(home, site, plan_local("/tmp", user, _identifier(run)))
    for directory in (paths.local, paths.records):
        ensure_private(directory)
    return paths


def fix_for_taken(paths: RunDir) -> str:
    """Say what to type where somebody else has the host-local directory: nobody but root can take it from them."""
    return f"rm {paths.run / 'id'}   (stop what runs first; the next start chooses another name)"


def find_rundir(home: Path, site: str, base: str, user: str) -> RunDir | None:
    """Find the paths of a site that was started from here before; None if none ever was. Makes nothing."""
    try:
        identifier = (home / "run" / "id").read_text().strip()
    except OSError:
        return None
    return RunDir(home, site, plan_local(base, user, identifier)) if identifier else None


def _identifier(run: Path) -> str:
    """Choose the random part of the host-local directory's name, once; whoever links first wins."""
    path = run / "id"
    for _ in range(20):
        with contextlib.suppress(OSError):
            if words := path.read_text().split():
                return words[0]
        if path.exists() and path.stat().st_size == 0:
            path.unlink(missing_ok=True)
        mine = run / f".id.{os.getpid()}.{secrets.token_hex(4)}"
        write_private(mine, secrets.token_hex(4) + "\n")
        with contextlib.suppress(FileExistsError):
            os.link(mine, path)
        mine.unlink(missing_ok=True)
    raise UnsafePath(f"{path}: can't be made", next=f"ls -l {run}")
