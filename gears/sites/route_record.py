"""The route record (`RunDir.route`): the profile and the route with which the loop on this host was started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gears.errors import NothingRunning
from gears.sites.context import Context
from gears.sites.load import from_json, to_json
from gears.sites.paths import RunDir
from gears.sites.route import Route
from gears.system import records


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRecord:
    """A route (`route.Route`) and its directories, as JSON has them.

    `lab_host`: as the profile has it; None: this machine. `home`, `local`: those of `RunDir`. `site`: the resolved
    profile, as `load.to_json` writes it.
    """

    kind: Literal["local", "relay", "proxy"]
    role: Literal["lab", "front", "elsewhere"]
    here: str
    front: str
    lab: str
    job: bool = False
    lab_host: str | None = None
    home: str
    local: str
    site: str


def save_route(route: Route, paths: RunDir) -> None:
    """Save what the loop on this host needs, so that later changes of the profile do not affect it. Raises OSError."""
    record = RouteRecord(
        kind=route.kind,
        role=route.role,
        here=route.here,
        front=route.front,
        lab=route.lab,
        job=route.job,
        lab_host=route.site.lab.host,
        home=str(paths.home),
        local=str(paths.local),
        site=to_json(route.site),
    )
    records.save(paths.route, record)


def load_route_record(paths: RunDir) -> RouteRecord | None:
    """Read the route record. None if no loop of the site has been started on this host."""
    return records.load(RouteRecord, paths.route)


def load_route(directory: Path) -> Context:
    """Read the route and the paths with which a loop was started. `directory`: `RunDir.here`.

    Raises NothingRunning if there is no record, ProfileError if its profile is invalid.
    """
    record = records.load(RouteRecord, directory / "route.json")
    if record is None:
        raise NothingRunning(f"{directory}: no route is recorded here", next="gears status")
    site = from_json(record.site)
    route = Route(site, record.kind, record.role, record.here, front=record.front, lab=record.lab, job=record.job)
    return Context(route, RunDir(Path(record.home), site.name, Path(record.local)))
