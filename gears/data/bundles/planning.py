"""The plan of a put: which file goes into which new bundle, spooled to disk.

The listing has all entries of the source in order: those that a bundle has already with all that is known of them,
those to be put with the name of their bundle only. The plan of a bundle has its members in order, each directory before
what is in it, so that each bundle makes the directories that it needs, with their modes and times.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from gears.data import attributes, manifest, workers
from gears.data.bundles import tar
from gears.data.bundles.comparing import Compared, Comparer, Found
from gears.data.bundles.layout import bundle_name
from gears.data.bundles.watch import Watch
from gears.data.entries import Entry, Type, to_line, with_bundle
from gears.data.links import Groups, Outstanding
from gears.data.manifest import Header
from gears.data.tree import is_in, walk

MOST_MEMBERS = 100_000
"""Limit of the members of a bundle: what its index and a verification of it need in memory."""
HEADER_BYTES = 4 * tar.BLOCK
"""Estimate for a member: its header, the extended one with its records, and half a block of padding."""
BATCH = 512
LISTING = "listing"


@dataclass(frozen=True, slots=True)
class Plan:
    """A bundle to write: its name, the file with its members, and about how many bytes it will have; 0: not known."""

    name: str
    path: Path
    size: int = 0


@dataclass(slots=True)
class Planned:
    """What was planned: how many entries and bundles. `changed`: how many entries are otherwise than known."""

    listing: Path
    bundles: int = 0
    finished: bool = False
    entries: int = 0
    changed: int = 0
    kept: int = 0


@dataclass(slots=True)
class _Open:
    """A bundle that is being planned. `depth`: how many of the directories on the way it has."""

    number: int
    file: BinaryIO
    size: int = tar.RECORD  # for its end
    members: int = 0
    depth: int = 0

    def add(self, entry: Entry, line: bytes) -> None:
        self.file.write(line)
        self.size += cost(entry)
        self.members += 1


def cost(entry: Entry) -> int:
    """Estimate how many bytes a member takes."""
    size = entry.size if entry.type is Type.FILE and entry.same_as is None else 0
    return HEADER_BYTES + 2 * len(entry.path) + size


class Planner:
    """Assigns members to bundles, in the order of the walk."""

    def __init__(self, directory: Path, header: Header, first: int, bundle_size: int) -> None:
        self.planned = Planned(directory / LISTING)
        self._directory, self._number, self._bundle_size = directory, first, bundle_size
        self._listing = manifest.Writer(self.planned.listing, header)
        self._way, self._open, self._closed = list[Entry](), list[_Open](), list[Plan]()
        self._links = Outstanding[int]()

    def add(self, compared: Compared) -> None:
        """Take the next file of the walk."""
        entry = compared.entry
        self._follow(entry.path)
        kept, first = compared.kept, 0
        if entry.same_as is not None:
            first = self._links.take(entry.same_as) or 0
            kept = kept and first == 0
        number, line = 0, to_line(entry)
        if entry.problem is None and not kept and entry.type in tar.TYPES:
            number = self._put(entry, line, first)
            line = _planned_line(entry, line, bundle_name(number))
        elif entry.type is Type.DIRECTORY and entry.problem is None:
            self._way.append(entry)
        self._links.put(entry.path, number, compared.others)
        self._note(line, kept and entry.type is Type.FILE, compared.same and kept == compared.kept)

    def _note(self, line: bytes, kept: bool, same: bool) -> None:
        self._listing.add_line(line)
        self.planned.entries += 1
        self.planned.changed += not same
        self.planned.kept += kept

    def take_closed(self) -> list[Plan]:
        """Return the plans that are complete and were not returned yet."""
        closed, self._closed = self._closed, []
        return closed

    def finish(self) -> None:
        """Complete the last plan, and the listing."""
        while self._open:
            self._close(self._open.pop())
        with self._listing:
            self._listing.seal()
        self.planned.finished = True

    def abandon(self) -> None:
        """Close the files."""
        for bundle in self._open:
            bundle.file.close()
        with self._listing:
            pass

    # --- bundles ------------------------------------------------------------------------------

    def _follow(self, path: bytes) -> None:
        """Leave the directories that `path` is not in."""
        while self._way and not is_in(path, self._way[-1].path):
            self._way.pop()
            for bundle in self._open:
                bundle.depth = min(bundle.depth, len(self._way))

    def _put(self, entry: Entry, line: bytes, first: int) -> int:
        """Add a member to a bundle, and return its number. `first`: of the bundle with what it is a hard link to."""
        if tar.RECORD + cost(entry) > self._bundle_size:
            bundle = self._begin()
            self._write(bundle, entry, line)
            self._close(bundle)
            return bundle.number
        if self._open and self._is_full(self._open[0], entry, first):
            self._close(self._open.pop())
        if not self._open:
            self._open.append(self._begin())
        self._write(self._open[0], entry, line)
        return self._open[0].number

    def _is_full(self, bundle: _Open, entry: Entry, first: int) -> bool:
        """Return whether a member needs another bundle; a hard link one after that with its file, for tar."""
        too_large = bundle.size + cost(entry) > self._bundle_size
        return too_large or bundle.members >= MOST_MEMBERS or first > bundle.number

    def _begin(self) -> _Open:
        number, self._number = self._number, self._number + 1
        self.planned.bundles += 1
        return _Open(number, (self._directory / f"{number:06d}.plan").open("wb"))

    def _close(self, bundle: _Open) -> None:
        bundle.file.close()
        self._closed.append(Plan(bundle_name(bundle.number), Path(bundle.file.name), bundle.size))

    def _write(self, bundle: _Open, entry: Entry, line: bytes) -> None:
        for directory in self._way[bundle.depth :]:
            bundle.add(directory, to_line(directory))
        if entry.type is Type.DIRECTORY:
            self._way.append(entry)
        bundle.depth = len(self._way)
        bundle.add(entry, line)


def _planned_line(entry: Entry, line: bytes, bundle: str) -> bytes:
    return with_bundle(line, bundle) if entry.sha256 is entry.bundle is None else to_line(replace(entry, bundle=bundle))


# --- the walk --------------------------------------------------------------------------------


def make_plans(
    source: Path, known: Path | None, planner: Planner, watch: Watch, jobs: int, good: set[str]
) -> Generator[Plan, None, None]:
    """Walk the source, compare it with what is known, and yield each plan as soon as it is complete.

    `good`: the bundles that are there. Raises OSError if the source can't be read, Paused.
    """
    jobs = jobs if known else 1
    comparer = Comparer(source, watch.signals(jobs))
    batches = _batches(_walked(source, known, good), watch)
    try:
        with contextlib.closing(workers.run_ordered(comparer, batches, jobs=jobs, on_wait=watch.poll)) as results:
            for batch in results:
                for compared in batch:
                    planner.add(compared)
                yield from planner.take_closed()
    except BaseException:
        planner.abandon()
        raise
    planner.finish()
    yield from planner.take_closed()


def _walked(source: Path, known: Path | None, good: set[str]) -> Iterator[Found]:
    groups, entries = Groups(), manifest.Known(known)
    for found in walk(source):
        was = entries.find(found.path)
        if was and was.bundle is not None and was.bundle not in good:
            was = None
        if found.info is None:
            yield Found(Entry(found.path, Type.FILE, problem=found.problem), known=was)
            continue
        entry = attributes.plan_entry(found.path, found.info, problem=found.problem)
        others = found.info.st_nlink - 1 if entry.type in (Type.FILE, Type.SYMLINK) else 0
        if others and (first := groups.first(found.path, found.info)):
            entry, others = replace(entry, same_as=first), 0
        yield Found(entry, found.info.st_ctime_ns, was, others)


def _batches(found: Iterator[Found], watch: Watch) -> Iterator[list[Found]]:
    batch = list[Found]()
    for one in found:
        batch.append(one)
        if len(batch) >= BATCH:
            watch.check()
            yield batch
            batch = []
    if batch:
        yield batch
