"""Copies of trees for transfers: between places that this host mounts, or over ssh between a laptop and a place."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from gears.data import engine, locks, overssh
from gears.data.addresses import parse, place_of
from gears.data.crew import Crew
from gears.data.overssh import End, Far, News
from gears.data.pulse import MustStop
from gears.data.records import Transfer
from gears.data.run import OnProgress
from gears.data.sharing import Shared, share, unreadable
from gears.data.tally import Tally
from gears.data.verification import Verified
from gears.errors import NotReachable, UsageError
from gears.sites.locate import host_role, route_of
from gears.sites.profile import Site
from gears.ssh.target import find_target
from gears.system.host import this_host


def copy(  # noqa: PLR0913
    transfer: Transfer,
    site: Site,
    state: Path,
    *,
    jobs: int,
    must_stop: MustStop,
    on_progress: OnProgress,
    crew: Crew | None = None,
) -> Tally:
    """Copy the tree of a transfer and write its manifest in `state`. May be repeated: it goes on where it was.

    `jobs`: processes, 0: as many as there are processors. `crew`: helps on other nodes. In a place that is shared the
    copy gets the place's group and modes, and what the others can't reach or read after all counts as a problem.

    Raises what `engine.copy_tree` raises; NotReachable also if another transfer writes into the target. Over ssh,
    Incomplete if the connection was cut, ContentsDiffer if the target has other contents after all, MissingProgram
    without an rsync.
    """
    if ends := far_ends(transfer, site):
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _connect(transfer, site, News(state, must_stop, on_progress)) as far:
            return overssh.copy(far, *ends, state)
    target, source = Path(transfer.target_path), Path(transfer.source_path)
    into = _shared(transfer, site, target)
    if into is None:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locks.held(target, transfer.name):
        tally = engine.copy_tree(
            source,
            into or target,
            state / "manifest",
            jobs=jobs or len(os.sched_getaffinity(0)),
            must_stop=must_stop,
            on_progress=on_progress,
            crew=crew,
        )
        for path, reason in unreadable(into) if into else ():
            tally.fail(path, reason)
    return tally


def verify_far(
    transfer: Transfer, site: Site, state: Path, *, must_stop: MustStop, on_progress: OnProgress
) -> Verified | None:
    """Read the target of a transfer again if it is at the far end of the route; None if this host has it.

    Raises UsageError, BrokenSeal or Incomplete for the manifest, Incomplete if the connection was cut, Paused.
    """
    ends = far_ends(transfer, site)
    if ends is None or not ends[1].host:
        return None
    with _connect(transfer, site, News(state, must_stop, on_progress)) as far:
        return overssh.verify(far, ends[1], state)


def _shared(transfer: Transfer, site: Site, target: Path) -> Shared | None:
    """Return the target with its rule, and create the directories to it; None if nobody shares its place."""
    address = parse(transfer.target, site)
    place = place_of(address, site)
    if place.shared == "no":
        return None
    root = Path(os.path.normpath(target.joinpath(*[".."] * len(Path(address.path).parts))))
    try:
        return share(target, root, place.shared)
    except OSError as exc:
        raise NotReachable(f"{root}: {exc.strerror}", next=f"gears data places {site.name}") from exc


# --- over ssh --------------------------------------------------------------------------------


def far_ends(transfer: Transfer, site: Site) -> tuple[End, End] | None:
    """Return source and target of a copy between this laptop and a place; None for any other copy."""
    source, target = parse(transfer.source, site), parse(transfer.target, site)
    if bool(source.place) == bool(target.place) or host_role(route_of(site)) != "laptop":
        return None
    there = find_target(site.name)
    if there is None:
        return None
    if source.place:
        return End(there.host, _far_path(transfer.source, site)), End("", transfer.target_path)
    far = _far_path(transfer.target, site), place_of(target, site).shared, _far_path(f"{target.place}:", site)
    return End("", transfer.source_path), End(there.host, *far)


def _far_path(text: str, site: Site) -> str:
    """Return a path in a place as the far end has it; `~` is left to it."""
    address = parse(text, site)
    user = site.front.user or this_host().user
    root = place_of(address, site).filled(place_of(address, site).path, user=user, project=site.project)
    return os.path.join(root, address.path) if address.path else root


def _connect(transfer: Transfer, site: Site, news: News) -> Far:
    target = find_target(site.name)
    if target is None:
        raise UsageError(f"{site.name}: this host is its lab host", next=f"gears data places {site.name}")
    again = f"gears data {transfer.verb} {transfer.source} {transfer.target} --name {transfer.name} --site {site.name}"
    copy = hashlib.sha256(f"{transfer.name} {transfer.created}".encode()).hexdigest()
    return Far(site.name, target, f"GEARS_COPY={copy}", again, news)
