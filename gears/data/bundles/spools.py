"""Lines for each of many bundles, spooled to files, with bounded memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gears.data.bundles import tar
from gears.data.entries import Entry, parse, to_line

WAITING_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """Members of a bundle that one worker reads. `path`: of the file with their entries."""

    bundle: str
    path: Path


class Spools:
    """Files with the entries of each bundle, in parts of at most `most_bytes` of contents and `most` entries."""

    def __init__(self, directory: Path, *, most_bytes: int | None = None, most: int | None = None) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory, self._most_bytes, self._most = directory, most_bytes, most
        self._lines, self._waiting = defaultdict[Path, list[bytes]](list), 0
        self._current = dict[str, tuple[Part, int, int]]()
        self.parts = list[Part]()

    def add(self, entry: Entry) -> None:
        """Add an entry to the last part of its bundle, or to a new one."""
        bundle, size = entry.bundle or "", tar.stored_size(entry)
        part, entries, total = self._current.get(bundle) or (self._begin(bundle), 0, 0)
        if entries and self._is_full(entries, total + size):
            part, entries, total = self._begin(bundle), 0, 0
        self._current[bundle] = part, entries + 1, total + size
        line = b"%d %d %b" % (entry.offset or 0, size, to_line(entry))
        self._lines[part.path].append(line)
        self._waiting += len(line)
        if self._waiting >= WAITING_BYTES:
            self.flush()

    def _is_full(self, entries: int, total: int) -> bool:
        if self._most and entries >= self._most:
            return True
        return self._most_bytes is not None and total > self._most_bytes

    def _begin(self, bundle: str) -> Part:
        part = Part(bundle, self._directory / f"{len(self.parts):06d}.part")
        self.parts.append(part)
        return part

    def flush(self) -> None:
        """Write what waits to its files."""
        for path, lines in self._lines.items():
            with path.open("ab") as file:
                file.writelines(lines)
        self._lines.clear()
        self._waiting = 0


class Member(NamedTuple):
    """A line with the place of its contents in the bundle."""

    offset: int
    size: int
    line: bytes

    @property
    def entry(self) -> Entry:
        """The entry of the line."""
        return parse(self.line)


def read_sorted(part: Part) -> list[Member]:
    """Return the members of a part, by offset."""
    with part.path.open("rb") as file:
        return sorted(map(_member, file))


def _member(line: bytes) -> Member:
    offset, size, rest = line.split(b" ", 2)
    return Member(int(offset), int(size), rest)


def passes(members: list[Member], most_gap: int | None) -> Iterator[list[Member]]:
    """Group members into runs that one stream reads, none twice at the same place.

    `most_gap`: the most bytes to skip within a run; None: any.
    """
    while members:
        run, again, end = list[Member](), list[Member](), -1
        for member in members:
            if member.offset < end:
                again.append(member)
                continue
            if run and most_gap is not None and member.offset - end > most_gap:
                yield run
                run = []
            run.append(member)
            end = member.offset + max(member.size, 1)
        if run:
            yield run
        members = again
