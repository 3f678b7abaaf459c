"""Run stages of a workspace with DVC, each once at a time, by whomever and on whatever host.

DVC keeps two runs apart in one clone on one host. Between clones there is a file for each stage, in the team's
directory or, without one, in the clone. It names DVC's own process: the lock lasts as long as that, whatever becomes of
gears.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import quote, unquote

from gears.data import holders
from gears.data.holders import Holder
from gears.errors import GearsError
from gears.system import records, timestamps
from gears.system.processes import this_located_process
from gears.workspace.dvc import CACHE, Dvc, find_dvc
from gears.workspace.git import common_directory
from gears.workspace.settings import Settings
from gears.workspace.setup import Say, ensure_dvc

if TYPE_CHECKING:
    from gears.sites.profile import Site
    from gears.system.host import Host

FOR_ALL = 0o644
"""Of a lock. Its directory keeps out who is not in the team."""

BEGUN_S = 1.0


@dataclass(frozen=True, slots=True)
class InJob:
    """Who runs stages. `job_name`: of the job that gears submitted for that; "" here."""

    site: Site
    host: Host
    job_name: str = ""

    def holder(self) -> Holder:
        """Return the record of a lock of this process."""
        from gears.schedulers.environment import current_job

        job = current_job()
        kind = self.site.scheduler.kind if self.site.scheduler and job else ""
        return Holder(
            user=self.host.user,
            process=this_located_process(),
            job=job if kind else "",
            job_name=self.job_name,
            scheduler=kind,
            since=timestamps.utc_now(),
        )


def run(top: Path, found: Settings, stages: Sequence[str], site: Site, host: Host, say: Say) -> int:
    """Run `dvc repro` in the workspace's environment, and return its exit status. No stages: all.

    The clone is set up for DVC if that came after it.

    Raises MissingProgram without DVC, CommandFailed for an unknown stage, NotReachable if another process runs one of
    the stages, or may do so.
    """
    dvc = find_dvc(top, found)
    ensure_dvc(dvc, found, site, host, say)
    return repro(dvc, found, stages, locks_of(dvc, stages), InJob(site, host))


def repro(dvc: Dvc, found: Settings, stages: Sequence[str], locks: list[Path], who: InJob) -> int:
    """Run `dvc repro` while the locks are held, and return its exit status. Raises NotReachable, as `run`.

    Where it fails and a killed DVC has left something in its way, that is removed, and it runs once more.
    """
    status = repro_once(dvc, found, stages, locks, who)
    if status and clear_begun(dvc):
        sys.stderr.write("gears: removed what a killed DVC had left of its record of runs; once more\n")
        status = repro_once(dvc, found, stages, locks, who)
    return status


def clear_begun(dvc: Dvc) -> bool:
    """Remove entries that were begun in DVC's record of runs; tell whether any was.

    DVC makes a directory for each, then the file in it. An empty one fails each later run (stage/cache.py, DVC 3). What
    another process has just begun is filled within BEGUN_S, and is not removed then.
    """
    empty = [path for path in (dvc.cache() / "runs").glob("??/*") if path.is_dir() and not any(path.iterdir())]
    if empty:
        time.sleep(BEGUN_S)
    removed = 0
    for path in empty:
        with contextlib.suppress(OSError):
            path.rmdir()
            removed += 1
    return removed > 0


def repro_once(dvc: Dvc, found: Settings, stages: Sequence[str], locks: list[Path], who: InJob) -> int:
    """Run `dvc repro` while the locks are held, and return its exit status. Raises NotReachable, as `run`."""
    argv = [*in_environment(found), *dvc.argv, "--cd", str(dvc.top), "repro", *stages]
    ensure_locks(locks)
    sys.stdout.flush()
    child = os.fork()
    if not child:
        become(argv, locks, who)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is the child's
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for lock in locks:
        holder = records.load(Holder, lock)
        if holder and (holder.process.host, holder.process.pid) == (this_located_process().host, child):
            holders.release(lock, holder)
    return status if status >= 0 else 128 - status


def become(argv: list[str], locks: list[Path], who: InJob) -> NoReturn:
    """Take the locks, then replace this process by the command. Raises NotReachable, and then holds none."""
    me = who.holder()
    taken: list[Path] = []
    try:
        for lock in locks:
            holders.take(lock, me, what=f"the stage {unquote(lock.name)}", mode=FOR_ALL)
            taken.append(lock)
        os.execvpe(argv[0], argv, {**os.environ, "DVC_NO_ANALYTICS": "1"})
    except BaseException:
        for lock in taken:
            holders.release(lock, me)
        raise


def locks_of(dvc: Dvc, stages: Sequence[str]) -> list[Path]:
    """Return the locks of the stages, and of those that they depend on. Raises CommandFailed for an unknown stage."""
    directory = locks_directory(dvc.top, dvc.get_local(CACHE))
    return [directory / quote(stage, safe="") for stage in sorted(needed(dvc, stages))]


def check_free(locks: list[Path], site: Site, host: Host) -> None:
    """Raise NotReachable if another process runs one of the stages, or may do so. Takes no lock."""
    me = InJob(site, host).holder()
    for lock in locks:
        holders.check(lock, me, what=f"the stage {unquote(lock.name)}")


def needed(dvc: Dvc, stages: Sequence[str]) -> set[str]:
    """Return the names of the stages, and of those that they depend on. Raises CommandFailed for an unknown one."""
    targets: list[tuple[str, ...]] = [(stage,) for stage in stages] or [
        ()
    ]  # `dvc dag` takes one; without one it shows all
    return {name for target in targets for name in re.findall(r'"([^"]+)"', dvc.run("dag", "--dot", *target))}


def in_environment(found: Settings) -> list[str]:
    """Return the words that run a command in the workspace's environment; none without a usable one."""
    from gears.envs import activate

    try:
        return ["/bin/sh", activate.usable(found.environment)] if found.environment else []
    except GearsError:
        return []


def locks_directory(top: Path, cache: str) -> Path:
    """Return where the locks are: beside the team's cache, else in the clone. `cache`: DVC's own setting, or ""."""
    return Path(cache).parent / "locks" if cache else common_directory(top) / "gears-locks"


def ensure_locks(locks: list[Path]) -> None:
    """Create the directory of the locks, as open as the one that it is in. Raises OSError."""
    for directory in {lock.parent for lock in locks}:
        try:
            directory.mkdir()
            directory.chmod(directory.parent.stat().st_mode & 0o7777)
        except FileExistsError:
            pass


def running(top: Path, cache: str) -> tuple[str, ...]:
    """Return who runs which stage, in words, as far as this host can tell."""
    directory = locks_directory(top, cache)
    files = sorted(directory.iterdir()) if directory.is_dir() else []
    found = [(unquote(file.name), records.load(Holder, file)) for file in files if not file.name.startswith(".")]
    return tuple(f"{stage}: {holder}" for stage, holder in found if holder and not holder.process.is_over())
