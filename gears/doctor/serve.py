"""The doctor on the remote host: check it, report in one line of JSON, and listen until standard input ends."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from pathlib import Path

from gears import __version__
from gears.doctor.remote_host import ALIVE
from gears.doctor.report import HostReport
from gears.doctor.sshd import effective_options, forbidden_by
from gears.sites.locate import lab_route
from gears.sites.profile import Site
from gears.ssh.report import send

MOST_S = 15.0


def answer(site: Site, directory: Path | None, mark: Path | None) -> None:
    """Check this host, report, and listen until standard input ends, MOST_S at most.

    `directory`: where to listen; it is created and removed. `mark`: a file that exists here if the home is shared.
    """
    with contextlib.ExitStack() as stack:
        listener = _listen(directory, stack) if directory else None
        send(_report(site, mark).as_record())
        _serve(listener)


def _report(site: Site, mark: Path | None) -> HostReport:
    from gears.doctor import examine_host

    route = lab_route(site)
    shared = mark.exists() if mark else None
    options = effective_options()
    findings = examine_host(route, home=not shared)
    forbidden = None if options is None else tuple(forbidden_by(options))
    return HostReport(route.here, __version__, shared, forbidden, tuple(findings), time.time())


def _listen(directory: Path, stack: contextlib.ExitStack) -> socket.socket | None:
    """Create `directory` and listen in it; None if that fails, which other findings explain."""
    try:
        directory.mkdir(mode=0o700)
        stack.callback(os.rmdir, directory)
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        path = directory / "far.sck"
        listener.bind(str(path))
        stack.callback(path.unlink, missing_ok=True)
        listener.listen()
    except OSError:
        return None
    return listener


def _serve(listener: socket.socket | None) -> None:
    """Answer each connection with ALIVE, until standard input ends."""
    deadline = time.monotonic() + MOST_S
    sources = [0, listener.fileno()] if listener else [0]
    while (left_s := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select(sources, [], [], left_s)
        if 0 in ready:
            return
        if ready and listener:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(ALIVE)
