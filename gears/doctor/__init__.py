"""`gears doctor`: check every hop and setting of a route, and report the cause and the fix of each failure.

Takes at most 15 s and leaves everything as it was: temporary files and directories are removed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from gears.doctor.finding import Finding, as_text, failed, ok, warning
from gears.doctor.leftovers import check_leftovers
from gears.doctor.login import check_login
from gears.doctor.logout import check_logout
from gears.doctor.modes import check_home_modes, check_local_modes, check_path_lengths, check_ssh_modes
from gears.doctor.programs import check_ssh, check_terminal, check_tmux
from gears.doctor.space import check_home_space, check_local_space
from gears.doctor.sshd import check_forwarding
from gears.errors import GearsError
from gears.lab.status.model import Status
from gears.lab.status.status import observe
from gears.sites.context import Context
from gears.sites.directories import find_paths
from gears.sites.locate import host_role
from gears.sites.paths import RunDir, plan_local
from gears.sites.route import Route
from gears.system.host import this_host
from gears.system.installation import gears_home

__all__ = ["Finding", "as_text", "examine", "examine_host"]

MOST_S = 11.0
"""For everything except the resolver, which `sites.locate` gives 3 s."""

Probe = Callable[[Context], Iterable[Finding]]

HOST_PROBES: dict[str, Probe] = {
    "ssh": check_ssh,
    "tmux": check_tmux,
    "paths": check_path_lengths,
    "modes on this host": check_local_modes,
    "room on this host": check_local_space,
    "logout": check_logout,
    "leftovers": check_leftovers,
    "login": check_login,
}
HOME_PROBES: dict[str, Probe] = {
    "modes in the home": check_home_modes,
    "modes of the keys": check_ssh_modes,
    "room in the home": check_home_space,
}
ENTRY_PROBES: dict[str, Probe] = {"terminal": check_terminal, "forwarding": check_forwarding}
"""Only for the host on which the user runs the command."""


def examine(route: Route) -> list[Finding]:
    """Check everything that can be checked from this host, without asking the user for anything."""
    return elsewhere(_examine(route), route.site.name)


def _examine(route: Route) -> list[Finding]:
    until = time.monotonic() + MOST_S
    if host_role(route) == "laptop":
        from gears.doctor.laptop import examine_laptop

        remote = _probe({"login": lambda _: examine_laptop(route, until=until)}, route)
        return [*_probe({"ssh": check_ssh, "modes of the keys": check_ssh_modes}, route), *remote]
    findings = examine_host(route, ENTRY_PROBES)
    status = observe(Context(route, paths_of(route)))
    if route.role == "front":
        findings += _probe({"login": lambda context: _next(context, status, until)}, route)
    return [*findings, replace(judge_state(status), host=route.here)]


def examine_host(route: Route, more: dict[str, Probe] | None = None, *, home: bool = True) -> list[Finding]:
    """Check this host alone. `home`: also the home, unless another host that shares it has checked it already."""
    return _probe(HOST_PROBES | (HOME_PROBES if home else {}) | (more or {}), route)


def paths_of(route: Route) -> RunDir:
    """Return the site's paths, or those it would have. Creates nothing."""
    local = plan_local(route.site.local, this_host().user, "0" * 8)
    return find_paths(route) or RunDir(gears_home(), route.site.name, local)


def judge_state(status: Status) -> Finding:
    """Return what `gears status` reports, as a finding."""
    seen = f"{status.site} is {status.state}" + (f": {status.reason}" if status.reason else "")
    if status.state in ("up", "stopped", "starting"):
        return ok("lab", seen)
    judged = warning if status.state in ("connecting", "needs-login") else failed
    return judged("lab", seen, status.next or f"gears logs {status.site}")


def _next(context: Context, status: Status, until: float) -> list[Finding]:
    from gears.doctor.remote_host import examine_next

    return examine_next(context, status, until=until)


def _probe(probes: dict[str, Probe], route: Route) -> list[Finding]:
    """Run the probes in order. An error of one becomes its finding, and the next ones still run."""
    context, findings = Context(route, paths_of(route)), []
    for what, probe in probes.items():
        try:
            findings += list(probe(context))
        except GearsError as exc:
            findings.append(failed(what, exc.message, exc.next or f"gears logs {route.site.name}"))
        except OSError as exc:
            findings.append(warning(what, f"can't be checked: {exc}", f"ls -ld {exc.filename or Path.home()}"))
    return [found if found.host else replace(found, host=route.here) for found in findings]


def elsewhere(findings: list[Finding], site: str) -> list[Finding]:
    """Return the findings, with the log as the fix where the fix would be `gears doctor` itself."""
    return [
        replace(found, fix=f"gears logs {site}") if re.match(r"(\S*/)?gears doctor\b", found.fix or "") else found
        for found in findings
    ]
