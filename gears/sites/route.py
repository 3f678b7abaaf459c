"""The route to a lab, as seen from this host. Pure.

local   the lab is on this machine; no ssh at all
relay   laptop → front → lab host: the front keeps the hop
proxy   laptop → lab host, which is also the front, possibly through jump hosts that keep nothing
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

from gears.sites.profile import Site

if TYPE_CHECKING:  # the value only: plans import no effects
    from gears.system.host import Host


@dataclass(frozen=True, slots=True)
class Route:
    """A site, and what `gears lab` runs on this host: "lab", "front" (a hop), or "elsewhere" (nothing).

    Where a command's user is, on the front of a relay or at a laptop, is `locate.host_role`.
    """

    site: Site
    kind: Literal["local", "relay", "proxy"]
    role: Literal["lab", "front", "elsewhere"]
    here: str  # this host's name
    front: str  # where the laptop's ssh lands
    lab: str  # where JupyterLab runs; may be an alias for several hosts
    job: bool = False  # as a batch job, on a compute node behind `lab`


def plan_route(site: Site, host: Host, *, on_lab_host: bool) -> Route:
    """Return the route to the lab from this host.

    `on_lab_host`: whether `site.lab.host` resolves to this host; irrelevant if `site.lab.match` names it.

    On a relay every host that is not the lab host counts as the front: there are often several behind one name.
    """
    kind = _kind(site)
    lab = site.lab.host or host.hostname
    at_lab = kind == "local" or on_lab_host or matches_lab_host(site, host)
    role: Literal["lab", "front", "elsewhere"]
    role = "lab" if at_lab else "front" if kind == "relay" else "elsewhere"
    return Route(site, kind, role, host.hostname, front=site.front.host or lab, lab=lab)


def matches_lab_host(site: Site, host: Host) -> bool:
    """Tell whether one of the host's names, short or full, matches `site.lab.match`."""
    return any(fnmatchcase(name, pattern.lower()) for name in host.names for pattern in site.lab.match)


def _kind(site: Site) -> Literal["local", "relay", "proxy"]:
    if site.lab.host is None:
        return "local"
    return "relay" if site.front.host not in (None, site.lab.host) else "proxy"
