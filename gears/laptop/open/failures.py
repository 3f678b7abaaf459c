"""Why a connection of the laptop has ended, or what the front's gears has given up for. Pure.

What waiting can mend, or a person at the terminal, comes back as `Ended`; the rest is raised.
"""

from __future__ import annotations

import re

from gears.errors import GearsError, Interrupted, LoginNeeded, NothingRunning, NotReachable, UsageError
from gears.laptop.open.connection import Connection
from gears.laptop.open.report import FrontFailed
from gears.sites.route import Route
from gears.ssh.failures import ENDED, Failure, explain_failure
from gears.ssh.remote_gears import front_root

ERRORS = {kind.exit_code: kind for kind in (GearsError, UsageError, LoginNeeded, NothingRunning, NotReachable)}

HUNG_UP = (0, 129, 143)
"""The remote shell's exit status where the connection ended under it."""


def why_front_failed(report: FrontFailed, route: Route, again: str, *, shown: bool) -> Failure:
    """Return why the front's gears failed, once the lab was up (`shown`); else raise that as an error of ours.

    Once it was up, nothing that happens there ends `gears open`. The error is that of the exit status reported, or
    GearsError.
    """
    if shown:
        kind = "network" if report.exit == NotReachable.exit_code else "remote"
        return Failure(kind, report.failed, report.next)
    fix = f"ssh {route.front}   (there: {report.next})" if report.next else again
    raise ERRORS.get(report.exit, GearsError)(f"{route.front}: {report.failed}", next=fix)


def why_connection_ended(connection: Connection, route: Route, user: str, again: str) -> Failure:
    """Return why a connection ended.

    Raises NothingRunning where the lab was stopped, KeyboardInterrupt where a person typed Ctrl-C there, GearsError
    where gears is not on the front.
    """
    status, front = connection.status(), route.front
    if status == ENDED:
        raise NothingRunning(f"the lab of {route.site.name} was stopped", next=again)
    if status == Interrupted.exit_code:
        raise KeyboardInterrupt
    if status in (126, 127):
        root = front_root(route.site, user)
        fix = f"ssh {front}   (there: git clone … {root}, and make init; or set front.root in the profile)"
        raise GearsError(f"gears is not at {root} on {front}", next=fix)
    if status in HUNG_UP:
        return Failure("network", f"{front}: the session ended")
    said = connection.errors.decode(errors="replace")
    if status != 255:
        said += connection.noise.decode(errors="replace").replace("\r", "")
    found = re.search(r"@(\S+): Permission denied", said)  # a jump host's, if it was that
    host = found[1] if found else front
    return explain_failure(
        status, said, site=route.site.name, host=host, interactive=connection.interactive, again=again
    )
