"""A site as a command works on it: passed on whole, in place of its parts."""

from __future__ import annotations

from dataclasses import dataclass

from gears.sites.paths import RunDir
from gears.sites.profile import Site
from gears.sites.route import Route
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
