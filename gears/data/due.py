"""What the purge of a place will take, and what of that nothing else holds. It only lists: centres forbid `touch`."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from fnmatch import fnmatchcase

from gears.data import lustre
from gears.data.addresses import Address, parse
from gears.data.copies import Copies, find_copies, is_seen, root_of
from gears.data.listing import DAY_NS, Listing, Search, walk
from gears.data.places import declared
from gears.data.sums import Sum, Sums
from gears.errors import NotReachable, UsageError
from gears.sites.paths import RunDir
from gears.sites.profile import Place, PurgeBy, Site
from gears.ssh.remote_gears import remote_gears
from gears.system import commands
from gears.system.host import Host
from gears.system.installation import gears_home, this_gears
from gears.system.progress import Progress

REACH_S = 8.0
FIRST_WORD_S = 2.0
WORD_EVERY_S = 5.0
MOST_JOBS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What to look at. `within`: days from now. `everybody`: also files of other users. `jobs`: processes."""

    address: Address
    within: int
    everybody: bool = False
    jobs: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What dies. `path`: of the place; `directory`: what of it was looked at, "" for all.

    `seen`: entries that were looked at. `total`, `by_day`, `by_directory` (paths below the place): what dies within the
    days; `by_data`: what of it workspaces have in DVC, as WORKSPACE:PATH. `problems`: how many directories could not be
    read; `named`: the first, with the reason.
    """

    place: str
    path: str
    directory: str
    purge_days: int
    purge_by: PurgeBy
    within: int
    seen: int
    total: Sum
    by_day: dict[str, Sum] = field(default_factory=dict)
    by_directory: dict[str, Sum] = field(default_factory=dict)
    by_data: dict[str, Sum] = field(default_factory=dict)
    problems: int = 0
    named: list[tuple[str, str]] = field(default_factory=list)


def addresses(words: list[str], site: Site) -> list[Address]:
    """Return what to look at: the places that `words` name, or all directories with a purge rule.

    Raises UsageError for what is no place with a purge rule.
    """
    places = declared(site)
    found = [parse(word, site) for word in words]
    purged = [name for name, place in places.items() if place.kind == "posix" and place.purge_days]
    for one in found:
        if one.place not in purged:
            known = ", ".join(purged) or "none"
            what = f"the place {one.place} has no purge rule" if one.place else f"{one.path}: not a place"
            raise UsageError(f"{what}; places with one: {known}", next=f"gears data places {site.name}")
    return found or [Address(name, "") for name in purged]


def find_due(look: Look, site: Site, paths: RunDir | None, host: Host, say: Progress) -> Due:
    """List what dies. Takes as long as a walk of the directory, and reads the manifests of its copies.

    Raises UsageError if the place's path needs a project, NotReachable if this host does not mount the place.
    """
    root = _reachable(look.address, site, host)
    place, started = declared(site)[look.address.place], time.time_ns()
    copies = find_copies(root, site, paths, host)
    search = Search(
        root=root,
        by=place.purge_by,
        days=place.purge_days,
        until_ns=started + look.within * DAY_NS,
        today=date.today().toordinal(),  # noqa: DTZ011  the day of the user
        uid=None if look.everybody else os.getuid(),
        covered=copies.covered,
    )
    words, listing = _Words(look.address.place, say), Listing()
    with listing.spool:
        _list(search, look, listing, words.listed)
        with_copies(listing, copies, words.compared)
    return _conclude(look, search, listing)


def _list(search: Search, look: Look, listing: Listing, on_listed: Callable[[Listing], None]) -> None:
    """Search with `lfs find` on Lustre, else, or if that fails, by a walk."""
    lfs, start, jobs = lustre.program() if lustre.is_lustre(search.root) else None, look.address.path, look.jobs
    if not lfs or not lustre.find(lfs, search, start, listing, jobs=jobs, on_listed=on_listed):
        walk(search, start, listing, jobs=jobs, on_listed=on_listed)


def with_copies(listing: Listing, copies: Copies, on_compared: Callable[[int], None]) -> None:
    """Look up the files that may have copies, and add them to the sums."""
    for number, candidate in enumerate(listing.spool):
        held, verified = copies.look_up(candidate)
        directory = os.fsdecode(candidate[0].rpartition(b"\0")[0].replace(b"\0", b"/"))
        data = copies.what_is(candidate[0])
        tracked = [listing.by_data.setdefault(data, Sum())] if data else []
        for one in [*listing.sums.of(candidate[1], directory), *tracked]:
            one.add(candidate[2], held, verified)
        if not number % 4096:
            listing.sums.bound()
            on_compared(number)


def _reachable(address: Address, site: Site, host: Host) -> str:
    """Return the directory of a place. Raises UsageError, NotReachable; a dead file server costs REACH_S."""
    name = address.place
    root = root_of(name, site, host)
    if not root:
        to_set = f'set project = "…" in ~/.config/gears/sites/{site.name}.toml'
        raise UsageError(f"the place {name} needs a project: `project` is not set", next=to_set)
    again = command_there(site, declared(site)[name], ["due", str(address) if address.path else name])
    [ran] = commands.run_each([("test", "-d", os.path.join(root, address.path))], timeout_s=REACH_S)
    if ran.failure:
        raise NotReachable(f"{root} does not answer within {REACH_S:g} s", next=again)
    if not is_seen(name, site, host):
        raise NotReachable(f"the place {name}, {root}, is not mounted on {host.hostname}", next=again)
    if ran.status != 0:
        raise UsageError(f"{os.path.join(root, address.path)}: not a directory", next=f"ls -la {root}")
    return os.path.realpath(root)


def command_there(site: Site, place: Place, words: list[str]) -> str:
    """Return the command for a host that mounts a place: by ssh to the host for transfers if that is known to do so."""
    host, line = site.transfer.host or "", shlex.join(["data", *words, "--site", site.name])
    if host and (not place.hosts or any(fnmatchcase(host.lower(), pattern.lower()) for pattern in place.hosts)):
        return f"ssh {host} {remote_gears(site, gears_home(), this_gears())} {line}"
    return f"on {', '.join(place.hosts) or 'a host that mounts it'}: gears {line}"


def _conclude(look: Look, search: Search, listing: Listing) -> Due:
    sums, total = listing.sums, Sum()
    for one in sums.by_day.values():
        total.merge(one)
    return Due(
        place=look.address.place,
        path=search.root,
        directory=look.address.path,
        purge_days=search.days,
        purge_by=search.by,
        within=look.within,
        seen=listing.seen,
        total=total,
        by_day={date.fromordinal(day).isoformat(): sums.by_day[day] for day in sorted(sums.by_day)},
        by_directory=largest(sums),
        by_data=dict(sorted(listing.by_data.items(), key=lambda one: (-one[1].alone_size, -one[1].size, one[0]))),
        problems=listing.problems,
        named=listing.named,
    )


def largest(sums: Sums) -> dict[str, Sum]:
    """Return the directories at the top, those with most that nothing else holds first.

    Where all is in one of them, return those in it.
    """
    first = dict[str, Sum]()
    for path, one in sums.by_directory.items():
        first.setdefault(path.partition("/")[0], Sum()).merge(one)
    found = sums.by_directory if len(first) == 1 else first
    return dict(sorted(found.items(), key=lambda one: (-one[1].alone_size, -one[1].size, one[0])))


class _Words:
    """Progress in words, once it takes long."""

    def __init__(self, place: str, say: Progress) -> None:
        self._place, self._say, self._next = place, say, time.monotonic() + FIRST_WORD_S

    def _tell(self, words: str) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + WORD_EVERY_S
            self._say(f"{self._place}: {words}")

    def listed(self, listing: Listing) -> None:
        """Tell how much was listed."""
        self._tell(f"{listing.seen:,} files and directories looked at …")

    def compared(self, number: int) -> None:
        """Tell how many files were compared with manifests."""
        self._tell(f"{number:,} files compared with the manifests of their copies …")


def default_jobs() -> int:
    """Return how many processes to use: as many as processors, but few, since others use the file system too."""
    return max(2, min(MOST_JOBS, len(os.sched_getaffinity(0))))
