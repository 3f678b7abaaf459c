"""The place to which a workspace's objects are pushed: as objects, in DVC's own layout, or in shipments.

A directory that this host has holds the objects themselves, so DVC can use it as well. Whatever else a place is, such
as a tape archive or a directory of the transfer nodes only, it gets each push as one transfer of `gears data`, which
makes bundles where the place wants them (`shipping`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gears.data.addresses import Address, place_of
from gears.data.objects import IN_PLACE, REMOTE, ObjectStore
from gears.data.places import declared, is_mounted
from gears.errors import GearsError, NotReachable
from gears.sites.profile import Site
from gears.system import commands
from gears.system.host import Host
from gears.workspace.settings import Settings
from gears.workspace.setup import ensure_shared, place_path

REACH_S = 8.0


@dataclass(frozen=True, slots=True)
class Remote:
    """A remote place, by its name. `store`: where the objects are if it is a directory of this host; else None."""

    place: str
    bundles: bool
    store: ObjectStore | None = None


def find_remote(found: Settings, site: Site, host: Host) -> Remote | None:
    """Return the remote place; None if gears.toml names none. Makes nothing.

    Raises GearsError if the site has no such place, NotReachable for a directory of this host that does not answer.
    """
    if not found.remote:
        return None
    place = declared(site).get(found.remote)
    if place is None:
        raise GearsError(f"{site.name} has no place {found.remote!r}", next=f"gears data places {site.name}")
    from gears.data.planning import holds_bundles

    bundles = holds_bundles(place)
    if bundles or (place.hosts and not is_mounted(place, host)):
        return Remote(found.remote, bundles)
    top = _answering(found, site, host)
    return Remote(found.remote, bundles, ObjectStore(top / IN_PLACE / found.name / REMOTE))


def _answering(found: Settings, site: Site, host: Host) -> Path:
    """Return the path of the place. Raises NotReachable if its file server does not answer."""
    path = place_path(found.remote, found, site, host, look=False)
    [ran] = commands.run_each([("test", "-d", str(path))], timeout_s=REACH_S)
    if ran.failure or ran.status:
        what = f"does not answer within {REACH_S:g} s" if ran.failure else "is not a directory of this host"
        raise NotReachable(f"the place {found.remote}: {path} {what}", next=f"gears data places {site.name}")
    return path


def ensure_remote(remote: Remote, found: Settings, site: Site, host: Host) -> None:
    """Create the directory of the objects, for the place's group. Raises GearsError, OSError."""
    if remote.store:
        top = place_path(remote.place, found, site, host)
        ensure_shared(remote.store.root, place_of(Address(remote.place, ""), site), top)
