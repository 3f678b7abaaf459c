"""Why a connection of the laptop ended, or why the front's gears failed. Pure.

What waiting or the user can fix is returned as `Failure`; the rest is raised.
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
"""Exit statuses of a remote shell whose connection was closed."""


def why_front_failed(report: FrontFailed, route: Route, again: str, *, shown: bool) -> Failure:
    """Return why the front's gears failed if the lab was up before (`shown`), since then `gears open` keeps running.

    Otherwise raise the error of the exit status reported, or GearsError.
    """
    if shown:
        kind = "network" if report.exit == NotReachable.exit_code else "remote"
        return Failure(kind, report.failed, report.next)
    fix = f"ssh {route.front}   (there: {report.next})" if report.next else again
    raise ERRORS.get(report.exit, GearsError)(f"{route.front}: {report.failed}", next=fix)


def why_connection_ended(connection: Connection, route: Route, user: str, again: str) -> Failure:
    """Return why a connection ended.

    Raises NothingRunning if the lab was stopped, KeyboardInterrupt if the user pressed Ctrl-C there, GearsError if
    gears is not on the front.
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
    output = connection.errors.decode(errors="replace")
    if status != 255:
        output += connection.noise.decode(errors="replace").replace("\r", "")
    found = re.search(r"@(\S+): Permission denied", output)  # of a jump host, perhaps
    host = found[1] if found else front
    return explain_failure(
        status, output, site=route.site.name, host=host, interactive=connection.interactive, again=again
    )
