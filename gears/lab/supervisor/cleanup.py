"""The end of all that a site has on this host: hops that end here are told, nothing is left."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from pathlib import Path

from gears.lab.state import load_lab, mark_ended
from gears.sites.paths import RunDir
from gears.ssh.pin import load_pin
from gears.system import files, processes


def finish(paths: RunDir, what: str, *, moved: bool = False) -> None:
    """End all after the last turn: hops that end here are told, and no socket, link or file of this host is left.

    `moved`: another login node sees to the job now, and the job is none of this host's business. Fronts dial again.
    """
    if not moved:
        _close_records(paths, what)
    tell_fronts(paths, signal.SIGHUP if moved else signal.SIGTERM)
    with contextlib.suppress(FileNotFoundError):
        if (lock := files.try_lock(paths.start_lock)) is not None:  # else a stop or a start waits for us, and clears up
            clean(paths)
            leave(paths)
            os.close(lock)


def tell_fronts(paths: RunDir, number: int = signal.SIGTERM) -> None:
    """Tell hops that end on this host that there is nothing here any more.

    By SIGTERM that all was stopped (`templates/remote.sh.j2`), by SIGHUP that the connection is over. Their directory
    is renamed first: who is not in it by then can't note itself any more, and learns of the end by that.
    """
    told = paths.remote_ends.with_name(f"{paths.remote_ends.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        paths.remote_ends.rename(told)
    for file in told.glob("*"):
        remote = processes.read(file)
        if remote and remote.pid != os.getpid():  # whoever stops it for a front tells that front itself
            remote.signal(number)
    _remove_tree(told)


def _close_records(paths: RunDir, what: str) -> None:
    if what == "job":
        from gears.lab.job.cancel import end_records

        end_records(paths)
        return
    host = socket.gethostname() if what == "lab" else load_pin(paths).host
    mark_ended(paths, host)
    if what == "hop" and not shares_home(paths):
        paths.job_record.unlink(missing_ok=True)


def shares_home(paths: RunDir) -> bool:
    """Tell whether what stands in this home is the lab host's own, and no copy."""
    from gears.sites.route_record import load_route

    return load_route(paths.here)[0].site.lab.home == "shared"


def clean(paths: RunDir) -> None:
    """Remove what a site has on this host, and tell fronts. Only called when nothing of it runs here any more.

    The fixed link goes too, unless a lab that was started on another host of the same home may be using it.
    """
    lab = load_lab(paths.lab_record)
    if lab is None or lab.ended or lab.host == socket.gethostname():
        paths.fixed.unlink(missing_ok=True)
    tell_fronts(paths)
    if keeper := processes.read(paths.keeper):
        keeper.end(timeout_s=3)
    for path in [paths.link, *paths.local.glob(f"{paths.site}.*.sck")]:
        path.unlink(missing_ok=True)
    _remove_tree(paths.here)
    _remove_aliases(paths)


def _remove_aliases(paths: RunDir) -> None:
    """Remove the directories that fronts with homes of their own call by another name (`directories.open_rundir`)."""
    for directory in paths.local.parent.glob(f"{paths.local.name.rpartition('-')[0]}-*"):
        link = directory / paths.link.name
        with contextlib.suppress(OSError):
            if os.readlink(link) == str(paths.link):
                link.unlink()
                directory.rmdir()


def leave(paths: RunDir) -> None:
    """Remove the start lock, which the caller holds, and the host-local directory when no other site uses it."""
    paths.start_lock.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        paths.local.rmdir()


def _remove_tree(directory: Path) -> None:
    import shutil

    shutil.rmtree(directory, ignore_errors=True)
