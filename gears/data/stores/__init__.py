"""Places as stores of whole files: bundles, indexes, manifests. One module for each kind of place."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import cast

from gears.data.addresses import Address, full_path
from gears.data.places import declared, is_mounted
from gears.data.stores.base import ByProgram, Near, Store
from gears.errors import CommandFailed, LoginNeeded
from gears.sites.paths import RunDir
from gears.sites.profile import PlaceKind, Site
from gears.system.host import Host

STAGING = ".gears-globus"
"""The directory for files on their way, in the place."""


def open_store(kind: PlaceKind, path: str, *, near: Near | None = None) -> Store:
    """Return the directory `path` of a place as a store. `path`: as `addresses.full_path` returns it.

    `near`: see `near_end`; needed for Globus only. Raises MissingProgram if what reaches such a place is not installed,
    UsageError if the profile lacks something. Connects to nothing yet.
    """
    module = importlib.import_module(f"gears.data.stores.{kind}")
    return cast(Store, module.open_store(path, near) if kind == "globus" else module.open_store(path))


def needs_login(kind: PlaceKind, path: str, status: int, said: str) -> LoginNeeded | None:
    """Return what the user has to do if a program says that a login is needed; None if it failed for another reason.

    `kind`: hpss or rclone; `status`, `said`: exit status and messages of their program. Raises MissingProgram,
    UsageError.
    """
    last = (said.strip().splitlines() or [f"exit status {status}"])[-1].strip()
    store = cast(ByProgram, open_store(kind, path))
    error = store.explain(CommandFailed(last, stderr=said, status=status))
    return error if isinstance(error, LoginNeeded) else None


def near_end(site: Site, host: Host, paths: RunDir) -> Near | None:
    """Return where on this host files are staged for Globus: in the first place that is a collection, too.

    None if this host mounts no such place. Raises UsageError if its path needs a project, and the profile has none.
    """
    for name, place in declared(site).items():
        if place.collection and (is_mounted(place, host) or not place.hosts):
            directory = Path(full_path(Address(name, STAGING), site, host))
            collection, _, root = place.collection.partition(":")
            path = f"{root.rstrip('/')}/{STAGING}" if root else str(directory)
            return Near(collection, path, directory, site.transfer.globus_client, paths.globus_tokens)
    return None
