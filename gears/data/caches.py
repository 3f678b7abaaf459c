"""Caches of DVC in a place, as a purge sees them: what each object is in its workspace, and what else has it.

Only names and sizes are looked at. What an object is, the last pushes of its workspace have written beside the cache.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gears.data.addresses import Address, full_path
from gears.data.listing import Candidate, key_of
from gears.data.objects import CACHE, IN_PLACE, LAYOUT, REMOTE, ObjectStore
from gears.data.places import declared, is_mounted
from gears.errors import UsageError
from gears.sites.profile import Site
from gears.system import files
from gears.system.host import Host

TRACKED = "tracked.json"
FOR_ALL = 0o644
"""Of that file. The directory keeps out who is not to read it."""

OUT = ".gears-push"
"""In a cache: what is on its way to a place, each in a directory of its own."""


def store_of(path: str) -> str:
    """Return the cache from which a directory was staged for a push; the same path for any other. Pure."""
    return path.partition(f"/{OUT}/")[0]


@dataclass
class CachedObjects:
    """The cache of a workspace. `inside`: its key below the searched root; `stores`: what else may have its objects."""

    workspace: str
    inside: bytes
    stores: tuple[ObjectStore, ...]
    tracked: Path
    verified: bool = True

    def has(self, key: bytes) -> bool:
        """Tell whether the key is in the cache."""
        return key.startswith(self.inside + b"\0")

    def holds(self, candidate: Candidate) -> bool:
        """Tell whether another place has the object, by its size."""
        name = self._name_of(candidate[0])
        return bool(name) and any(store.size(name) == candidate[2] for store in self.stores)

    def what_is(self, key: bytes) -> str:
        """Return the path of an object in its workspace, with that in front; empty if it is not known."""
        path = self._paths.get(self._name_of(key), "")
        return f"{self.workspace}:{path}" if path else ""

    def _name_of(self, key: bytes) -> str:
        words = os.fsdecode(key[len(self.inside) + 1 :]).split("\0")
        return "".join(words[-2:]) if tuple(words[:-2]) == LAYOUT.parts else ""

    @cached_property
    def _paths(self) -> Mapping[str, str]:
        return read_tracked(self.tracked)


def find_caches(root: str, site: Site, host: Host) -> Iterator[CachedObjects]:
    """Yield the caches in a place, each with the stores of other places that are not purged."""
    tops = list(_other_tops(root, site, host))
    for cache in sorted(Path(root).glob(f"{IN_PLACE}/*/{CACHE}")):
        name = cache.parent.name
        stores = tuple(ObjectStore(top / IN_PLACE / name / REMOTE) for top in tops)
        yield CachedObjects(name, key_of(os.path.relpath(cache, root)), stores, cache.with_name(TRACKED))


def _other_tops(root: str, site: Site, host: Host) -> Iterator[Path]:
    for name, place in declared(site).items():
        if place.kind == "posix" and not place.purge_days and (not place.hosts or is_mounted(place, host)):
            try:
                path = Path(full_path(Address(name, ""), site, host))
            except UsageError:
                continue
            if (path / IN_PLACE).is_dir() and os.path.realpath(path) != os.path.realpath(root):
                yield path


# --- what the objects are ----------------------------------------------------------------------


def read_tracked(path: Path) -> dict[str, str]:
    """Return the paths of objects in their workspace, as pushes have written them."""
    return {name: path for name, path in files.read_record(path).items() if isinstance(path, str)}


def add_tracked(path: Path, paths: Mapping[str, str]) -> None:
    """Add paths of objects to those that are known, readable for whoever may enter the directory. Raises OSError."""
    known = read_tracked(path)
    if not paths.items() <= known.items():
        files.write_bytes(path, json.dumps(known | dict(paths), sort_keys=True).encode(), FOR_ALL)
        path.chmod(FOR_ALL)  # whatever the umask
