"""Clean up everything that a site has on this host, and signal the fronts whose hops end here."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from pathlib import Path

from gears.lab.state import load_lab, mark_ended
from gears.sites.context import Context
from gears.sites.paths import RunDir
from gears.ssh.pin import load_pin
from gears.system import files, processes


def finish(context: Context, what: str, *, moved: bool = False) -> None:
    """Clean up after the last turn: signal the fronts, and leave no socket, link or file on this host.

    `moved`: another login node monitors the job now; its records stay, and fronts dial again.
    """
    paths = context.paths
    if not moved:
        _close_records(context, what)
    signal_fronts(paths, signal.SIGHUP if moved else signal.SIGTERM)
    with contextlib.suppress(FileNotFoundError):
        if (lock := files.try_lock(paths.start_lock)) is not None:  # else a stop or a start waits for us, and cleans up
            clean(paths)
            os.close(lock)


def signal_fronts(paths: RunDir, number: int = signal.SIGTERM) -> None:
    """Signal the remote ends of hops on this host that nothing runs here any longer.

    SIGTERM: everything was stopped (`templates/remote.sh.j2`); SIGHUP: only the connection ends. Their directory is
    renamed first: a remote end that is not in it by then fails to write its record, and ends by that.
    """
    renamed = paths.remote_ends.with_name(f"{paths.remote_ends.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        paths.remote_ends.rename(renamed)
    for file in renamed.glob("*"):
        remote = processes.read(file)
        if remote and remote.pid != os.getpid():  # the process that stops it for a front reports to that front itself
            remote.signal(number)
    _remove_tree(renamed)


def _close_records(context: Context, what: str) -> None:
    paths = context.paths
    if what == "job":
        from gears.lab.job.cancel import end_records

        end_records(paths)
        return
    host = socket.gethostname() if what == "lab" else load_pin(paths).host
    mark_ended(paths, host)
    if what == "hop" and context.site.lab.home == "separate":  # only a copy
        paths.job_record.unlink(missing_ok=True)


def clean(paths: RunDir) -> None:
    """Remove what a site has on this host, and signal fronts. Call it only when nothing of the site runs here.

    The fixed link is removed too, unless a lab on another host of the same home may be using it; the host-local
    directory, unless another site uses it; and the start lock, which the caller holds.
    """
    lab = load_lab(paths.lab_record)
    if lab is None or lab.ended or lab.host == socket.gethostname():
        paths.fixed.unlink(missing_ok=True)
    signal_fronts(paths)
    if keeper := processes.read(paths.keeper):
        keeper.end(timeout_s=3)
    for path in [paths.link, *paths.local.glob(f"{paths.site}.*.sck")]:
        path.unlink(missing_ok=True)
    _remove_tree(paths.here)
    _remove_aliases(paths)
    paths.start_lock.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        paths.local.rmdir()


def _remove_aliases(paths: RunDir) -> None:
    """Remove the other names of this directory, made for fronts with separate homes (`directories.open_rundir`)."""
    for directory in paths.local.parent.glob(f"{paths.local.name.rpartition('-')[0]}-*"):
        link = directory / paths.link.name
        with contextlib.suppress(OSError):
            if os.readlink(link) == str(paths.link):
                link.unlink()
                directory.rmdir()


def _remove_tree(directory: Path) -> None:
    import shutil

    shutil.rmtree(directory, ignore_errors=True)
