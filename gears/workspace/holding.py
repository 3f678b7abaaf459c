"""Where the objects of a workspace's commit are: in the cache, in the remote place, in shipments; and what dies soon.

It only looks, on this host: shipments are those that the clone knows of since its last fetch.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from gears.data.objects import ObjectStore, read_first
from gears.errors import GearsError
from gears.sites.profile import Site
from gears.system.host import Host
from gears.workspace import ledger
from gears.workspace.remote import Remote, find_remote
from gears.workspace.settings import Settings
from gears.workspace.setup import place_path
from gears.workspace.tracked import Tracked, find_tracked

WITHIN_DAYS = 14


@dataclass(frozen=True, slots=True)
class Lost:
    """A file of the workspace that the cache has not. `held`: the places that have it, as far as is known here."""

    path: str
    held: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Dying:
    """What the purge of a place takes from the cache within WITHIN_DAYS. `day`: the first one, ISO 8601."""

    place: str
    files: int
    size: int
    day: str


@dataclass(frozen=True, slots=True)
class Holding:
    """`objects`: of the commit; `unpushed`: how many of them the remote place has not; `problem`: why it is not known.

    `remote`: the name of the remote place, "" for none.
    """

    objects: int = 0
    remote: str = ""
    unpushed: int = 0
    lost: tuple[Lost, ...] = ()
    dying: Dying | None = None
    problem: str = ""


def find_holding(top: Path, found: Settings, site: Site, host: Host, cache: Path) -> Holding:
    """Look where the objects of the commit are. Raises UsageError for what is no data of DVC 3."""
    store, problem, remote = ObjectStore(cache), "", None
    try:
        remote = find_remote(found, site, host)
    except GearsError as exc:
        problem = exc.message
    stores = [store, *([remote.store] if remote and remote.store else [])]
    tracked = find_tracked(top, lambda name: read_first(stores, name))
    held = _held(top, tracked, site, remote)
    missing = [name for name in tracked.paths if store.size(name) is None]
    lost = {tracked.paths[name]: tuple(held.get(name, ())) for name in missing}
    return Holding(
        objects=len(tracked.paths),
        remote=remote.place if remote else "",
        unpushed=_unpushed(tracked, held, remote),
        lost=tuple(Lost(path, lost[path]) for path in sorted(lost)),
        dying=find_dying(store, tracked.paths, found, site, host),
        problem=problem,
    )


def _held(top: Path, tracked: Tracked, site: Site, remote: Remote | None) -> dict[str, list[str]]:
    """Return the places that have each object, the remote one first."""
    held = dict[str, list[str]]()
    if remote and remote.store:
        held = {name: [remote.place] for name in tracked.paths if remote.store.size(name) is not None}
    for shipment in ledger.load_all(top):
        place = shipment.address.partition(":")[0]
        place = place if shipment.site == site.name else f"{place} of {shipment.site}"
        for name in shipment.objects:
            if name in tracked.paths and place not in (places := held.setdefault(name, [])):
                places.append(place)
    return held


def _unpushed(tracked: Tracked, held: dict[str, list[str]], remote: Remote | None) -> int:
    return sum(remote.place not in held.get(name, ()) for name in tracked.paths) if remote else 0


def find_dying(
    store: ObjectStore, names: Iterable[str], found: Settings, site: Site, host: Host, within: int = WITHIN_DAYS
) -> Dying | None:
    """Return what the purge of the team's place takes from a cache soon; None if nothing, or there is no rule."""
    place = site.filesystem.get(found.team)
    try:
        top = place_path(found.team, found, site, host)
    except GearsError:
        return None
    if not place or not place.purge_days or not store.root.is_relative_to(top):
        return None
    from gears.data.listing import DAY_NS, TIMES

    until, times, sizes = time.time_ns() + within * DAY_NS, list[int](), list[int]()
    for name in names:
        try:
            info = store.path(name).lstat()
        except OSError:
            continue
        dies = TIMES[place.purge_by](info) + place.purge_days * DAY_NS
        if dies <= until:
            times.append(dies)
            sizes.append(info.st_size)
    if not times:
        return None
    day = date.fromtimestamp(max(min(times) / 10**9, time.time()))  # noqa: DTZ012  the day of the user
    return Dying(found.team, len(times), sum(sizes), day.isoformat())
