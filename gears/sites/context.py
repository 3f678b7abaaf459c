"""A site as a command works on it, passed on whole; and its record, for what runs on after the command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gears.errors import NothingRunning
from gears.sites.load import from_json, to_json
from gears.sites.paths import RunDir
from gears.sites.profile import Site
from gears.sites.route import Route
from gears.system import records
from gears.system.progress import Progress


def no_progress(_words: str) -> None:
    """Report nothing: for loops and remote ends, where no user looks."""


@dataclass(frozen=True, slots=True)
class Context:
    """The route to a site as seen from this host, the site's paths, and where progress is reported."""

    route: Route
    paths: RunDir
    say: Progress = no_progress

    @property
    def site(self) -> Site:
        """Return the site's profile."""
        return self.route.site


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRecord:
    """`RunDir.route`: the route and the directories with which the loop on this host was started, as JSON has them.

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


def save_context(context: Context) -> None:
    """Save what the loop on this host needs, so that later changes of the profile do not affect it. Raises OSError."""
    route, paths = context.route, context.paths
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


def load_record(paths: RunDir) -> RouteRecord | None:
    """Read the route record. None if no loop of the site has been started on this host."""
    return records.load(RouteRecord, paths.route)


def load_context(directory: Path) -> Context:
    """Read the route and the paths with which a loop was started. `directory`: `RunDir.here`.

    Raises NothingRunning if there is no record, ProfileError if its profile is invalid.
    """
    record = records.load(RouteRecord, directory / "route.json")
    if record is None:
        raise NothingRunning(f"{directory}: no route is recorded here", next="gears status")
    site = from_json(record.site)
    route = Route(site, record.kind, record.role, record.here, front=record.front, lab=record.lab, job=record.job)
    return Context(route, RunDir(Path(record.home), site.name, Path(record.local)))
