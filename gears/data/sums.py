"""How much a purge will take, and how much of it nothing else holds: by day, and by directory."""

from __future__ import annotations

from dataclasses import dataclass, field

DEPTH = 2
"""How deep below the place sums are kept by directory."""
MOST_DIRECTORY_SUMS = 20_000


@dataclass(slots=True)
class Sum:
    """Files and bytes; `alone`: those that nothing else holds; `unproven`: held by a copy that nobody has verified."""

    files: int = 0
    size: int = 0
    alone_files: int = 0
    alone_size: int = 0
    unproven_files: int = 0
    unproven_size: int = 0

    def add(self, size: int, held: bool = False, verified: bool = False) -> None:
        """Count a file."""
        self.files += 1
        self.size += size
        if not held:
            self.alone_files += 1
            self.alone_size += size
        elif not verified:
            self.unproven_files += 1
            self.unproven_size += size

    def merge(self, other: Sum) -> None:
        """Add another sum."""
        self.files += other.files
        self.size += other.size
        self.alone_files += other.alone_files
        self.alone_size += other.alone_size
        self.unproven_files += other.unproven_files
        self.unproven_size += other.unproven_size


@dataclass(slots=True)
class Sums:
    """Sums by day, and by directory: the first `depth` names of its path; "": files at the top."""

    by_day: dict[int, Sum] = field(default_factory=dict)
    by_directory: dict[str, Sum] = field(default_factory=dict)
    depth: int = DEPTH

    def of(self, day: int, directory: str) -> tuple[Sum, Sum]:
        """Return the sums to which a file of a directory counts that dies on a day."""
        return self.by_day.setdefault(day, Sum()), self.by_directory.setdefault(self._top(directory), Sum())

    def merge(self, other: Sums) -> None:
        """Add other sums."""
        for day, one in other.by_day.items():
            self.by_day.setdefault(day, Sum()).merge(one)
        for directory, one in other.by_directory.items():
            self.by_directory.setdefault(self._top(directory), Sum()).merge(one)

    def bound(self) -> None:
        """Keep only the uppermost directories, if there are very many."""
        if self.depth > 1 and len(self.by_directory) > MOST_DIRECTORY_SUMS:
            found, self.depth, self.by_directory = self.by_directory, 1, {}
            self.merge(Sums({}, found))

    def _top(self, directory: str) -> str:
        return "/".join(directory.split("/", self.depth)[: self.depth])
