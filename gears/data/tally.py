"""What a copy or a restoration has done, in numbers and with the first names of what it could not do."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from gears.data.entries import COPIED, Entry, Type

MOST_NAMED = 1000
"""How many files with problems are kept by name. All are counted, and the manifest has each."""


@dataclass(slots=True)
class Tally:
    """The sum of what was done.

    `entries`: all that were seen; `files`, `size`: regular files and their bytes, once for all names of a file;
    `copied`, `copied_size`: those read and written now; `moved`: bytes written now, those of files under way included;
    `reused`: those that an earlier run had finished. `listed`: FIFOs, sockets and devices, which are not made, by type.
    `lost`: what of groups, modes, times, attributes and hard links could not be kept, by its name. `problems`: how many
    files could not be copied; `named`: the first of them, with the reason. `bundles`: those that are sealed, of
    `total_bundles` of the whole put; 0 without bundles.
    """

    entries: int = 0
    files: int = 0
    size: int = 0
    copied: int = 0
    copied_size: int = 0
    moved: int = 0
    reused: int = 0
    problems: int = 0
    bundles: int = 0
    total_bundles: int = 0
    listed: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    named: list[tuple[bytes, str]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether all that has contents was copied."""
        return not self.problems

    def count(self, entry: Entry) -> None:
        """Count an entry as it is in the manifest."""
        self.entries += 1
        if entry.problem is not None:
            self.fail(entry.path, entry.problem)
        elif entry.type not in COPIED:
            self.listed[entry.type.value] += 1
        elif entry.type is Type.FILE:
            self.files += 1
            self.size += 0 if entry.same_as else entry.size

    def fail(self, path: bytes, reason: str) -> None:
        """Count what could not be done, by name."""
        self.problems += 1
        if len(self.named) < MOST_NAMED:
            self.named.append((path, reason))

    def add(self, other: Tally) -> None:
        """Add the sum of a part."""
        for name in ("entries", "files", "size", "copied", "copied_size", "reused", "problems"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.listed += other.listed
        self.lost += other.lost
        self.named += other.named[: MOST_NAMED - len(self.named)]
