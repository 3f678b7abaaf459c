"""A clone as seen from a host of a site: its DVC, its cache, its remote place, and what its commit has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gears.data.objects import ObjectStore, read_first
from gears.errors import GearsError, NotReachable
from gears.sites.profile import Site
from gears.system.host import Host
from gears.workspace.dvc import Dvc, find_dvc
from gears.workspace.remote import Remote, find_remote
from gears.workspace.settings import Settings
from gears.workspace.setup import Say, ensure_dvc
from gears.workspace.tracked import Tracked, find_tracked


@dataclass(frozen=True)
class Here:
    """A clone, as seen from a host of a site."""

    top: Path
    found: Settings
    site: Site
    host: Host
    say: Say

    @cached_property
    def dvc(self) -> Dvc:
        """Return DVC. Raises MissingProgram."""
        return find_dvc(self.top, self.found)

    @cached_property
    def cache(self) -> ObjectStore:
        """Return the cache. A clone that is set up for what is gone, such as a place that has moved, is set up again.

        Raises NotReachable if the cache is not there, and can't be.
        """
        ensure_dvc(self.dvc, self.found, self.site, self.host, self.say)
        directory = self.dvc.cache()
        if directory.is_relative_to(self.top):
            directory.mkdir(parents=True, exist_ok=True)
        if not directory.is_dir():
            said = f"the cache {directory} is not there"
            raise NotReachable(said, next=f"gears workspace join {self.top}   (sets the clone up again)")
        return ObjectStore(directory)

    def remote(self) -> Remote | None:
        """Return the remote place; one that this site has not is said, and None."""
        try:
            return find_remote(self.found, self.site, self.host)
        except GearsError as exc:
            if type(exc) is not GearsError:  # it is there, and does not answer
                raise
            self.say(f"there is no remote place, and data is only in the cache: {exc}")
            return None

    def tracked(self, stores: Sequence[ObjectStore]) -> Tracked:
        """Return what the commit has in DVC; lists are read from the first store that has them whole."""
        return find_tracked(self.top, lambda name: read_first(stores, name))
