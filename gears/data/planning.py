"""What a user's words ask for, as a transfer; and whether it can be reached from this host."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gears.data import places
from gears.data.addresses import Address, full_path, parse, place_of
from gears.data.records import Method, Transfer, Verb
from gears.errors import NotReachable, UsageError
from gears.sites.locate import host_role
from gears.sites.profile import Place, Site
from gears.sites.route import Route
from gears.sites.validators import size_bytes
from gears.system import commands, timestamps
from gears.system.host import Host, this_host

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user has typed. `name`: "": derived from the source; `jobs`: processes, 0: as many as processors."""

    verb: Verb
    source: str
    target: str
    name: str = ""
    patterns: tuple[str, ...] = ()
    jobs: int = 0

    def absolute(self, site: Site) -> Asked:
        """Return the same with absolute paths, valid in another directory and on another host."""
        return replace(self, source=str(parse(self.source, site)), target=str(parse(self.target, site)))

    def has_path(self, site: Site) -> bool:
        """Tell whether one of the two is a path of this host."""
        return not (parse(self.source, site).place and parse(self.target, site).place)

    def words(self) -> list[str]:
        """Return the command line after `gears data`."""
        given = [f"--name={self.name}"] * bool(self.name) + [f"--jobs={self.jobs}"] * bool(self.jobs)
        if self.verb is Verb.GET:
            return ["get", self.source, *self.patterns, "--to", self.target, *given]
        return [str(self.verb), self.source, self.target, *given]


def plan(asked: Asked, site: Site, host: Host) -> Transfer:
    """Plan a transfer. A put and a get end in the directory NAME of their target, a copy in the target itself.

    Raises UsageError for a place or a name that is not valid, or what a place does not hold.
    """
    source, target = parse(asked.source, site), parse(asked.target, site)
    into = asked.verb is not Verb.COPY
    name = _checked_name(asked, _last(source, site, host))
    target = target.join(_last(source, site, host) if asked.verb is Verb.GET else name) if into else target
    method, place = _method(asked, source, target, site)
    if asked.patterns and method is Method.TREE:
        part = shlex.join(["copy", str(source.join("…")), asked.target])
        raise UsageError(f"{source.place or source} holds files: patterns are for bundles", next=f"gears data {part}")
    return Transfer(
        name=name,
        verb=asked.verb,
        method=method,
        source=str(source),
        target=str(target),
        source_path=full_path(source, site, host),
        target_path=full_path(target, site, host),
        host=host.hostname,
        user=host.user,
        created=timestamps.utc_now(),
        patterns=asked.patterns,
        bundle_size=size_bytes(place.bundle_size) if place.bundle_size else 0,
        jobs=asked.jobs,
    )


def _last(address: Address, site: Site, host: Host) -> str:
    return os.path.basename(address.path or full_path(address, site, host))


def _checked_name(asked: Asked, last: str) -> str:
    if asked.name:
        if not NAME.fullmatch(asked.name):
            rule = "letters, digits, '.', '_' and '-', at most 100, not with '.' or '-' in front"
            raise UsageError(f"--name {asked.name}: not a valid name: {rule}", next="gears data list")
        return asked.name
    name = re.sub(r"[^A-Za-z0-9._-]", "_", last).lstrip(".-")[:90]
    if not name:
        raise UsageError(f"{asked.source}: no name for the transfer follows from it", next="add --name NAME")
    return {Verb.GET: f"get-{name}", Verb.COPY: f"copy-{name}"}.get(asked.verb, name)


def _method(asked: Asked, source: Address, target: Address, site: Site) -> tuple[Method, Place]:
    """Return how the data is held, and the place that says so. Raises UsageError for a copy from or to bundles."""
    held = place_of(source if asked.verb is Verb.GET else target, site)
    ends = [(address, place_of(address, site)) for address in (source, target)]
    for address, place in ends:
        if holds_bundles(place) and (asked.verb is Verb.COPY or place is not held):
            words = shlex.join(["get", str(address), "--to", asked.target])
            words = words if address is source else shlex.join(["put", asked.source, address.place])
            raise UsageError(f"{address.place} holds bundles, not files", next=f"gears data {words}")
    return Method.BUNDLES if holds_bundles(held) else Method.TREE, held


def holds_bundles(place: Place) -> bool:
    """Tell whether a place gets few large files in place of many small ones."""
    return place.kind != "posix" or bool(place.bundle_size)


def again(transfer: Transfer, site: str, verb: Verb | None = None) -> str:
    """Return the command that goes on with a transfer, as text."""
    if verb in (Verb.VERIFY, Verb.RESTORE):
        return f"gears data {verb} {transfer.name} --site {site}"
    target = transfer.target if transfer.verb is Verb.COPY else _parent(transfer.target)
    asked = Asked(transfer.verb, transfer.source, target, transfer.name, transfer.patterns, transfer.jobs)
    return f"gears data {shlex.join([*asked.words(), '--site', site])}"


def _parent(address: str) -> str:
    place = _place_name(address)
    above = os.path.dirname(address[len(place) + bool(place) :])
    return above if not place else f"{place}:{above}" if above else place


def check_reachable(transfer: Transfer, route: Route) -> None:
    """Try the places of a transfer from this host, for places.TIMEOUT_S at most; those of a site not from a laptop.

    Raises LoginNeeded for one that wants a login, NotReachable for one that does not answer or, as target, can't be
    written, UsageError if the source is not there.
    """
    site, on_laptop = route.site, host_role(route) == "laptop"
    host = this_host(full_name=any(place.hosts for place in site.filesystem.values()))
    used = {_place_name(transfer.source): False, _place_name(transfer.target): True}
    names = [] if on_laptop else [name for name in used if name]
    for place, ran in _try_places(site, host, names):
        if place.reachable is False or (used[place.name] and place.writable is False):
            if ran and ran.status and place.kind in ("hpss", "rclone"):
                _check_login(place, ran)
            raise NotReachable(f"{place.name} can't be used from {host.hostname}: {place.reason}", next=place.next)
    if not (on_laptop and _place_name(transfer.source)):
        _check_source(transfer, site, host)


def _check_source(transfer: Transfer, site: Site, host: Host) -> None:
    source, place = transfer.source_path, place_of(parse(transfer.source, site), site)
    if place.kind == "posix" and not os.path.isdir(source):
        there = f"ls -ld {shlex.quote(os.path.dirname(source) or '/')}"
        raise UsageError(f"{source}: not a directory on {host.hostname}", next=there)


def check_on_laptop(transfer: Transfer) -> None:
    """Raise UsageError for a transfer that a laptop can't do: bundles are made, and read, at the site."""
    if transfer.method is Method.BUNDLES:
        source, target = transfer.source, transfer.target
        first = f"gears data copy {shlex.quote(source)} scratch:{transfer.name}"
        then = f"gears data put scratch:{transfer.name} {_place_name(target)}"
        if transfer.verb is Verb.GET:
            first, then = f"gears data get {source} --to scratch", f"gears data copy scratch:… {shlex.quote(target)}"
        raise UsageError(f"bundles of {source} and {target} are handled at the site", next=f"{first}; then {then}")


def _place_name(address: str) -> str:
    place, colon, _ = address.partition(":")
    return place if colon and "/" not in place else ""


def _check_login(place: places.FoundPlace, ran: commands.Outcome) -> None:
    from gears.data import stores

    if error := stores.needs_login(place.kind, place.path, ran.status or 0, ran.err):
        raise error


def _try_places(
    site: Site, host: Host, names: Sequence[str]
) -> list[tuple[places.FoundPlace, commands.Outcome | None]]:
    """Return what was found of the places, and how the program ended that has tried each."""
    trials = [replace(trial, quota=None) for trial in places.plan_trials(site, host) if trial.place.name in names]
    programs = list(dict.fromkeys(trial.probe for trial in trials if trial.probe))
    outcomes = dict(zip(programs, commands.run_each(programs, timeout_s=places.TIMEOUT_S), strict=True))
    found = [places.conclude(trial, outcomes, site) for trial in trials]
    return [(place, outcomes.get(trial.probe or ())) for place, trial in zip(found, trials, strict=True)]
