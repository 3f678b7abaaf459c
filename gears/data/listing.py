"""The files that a purge will take soon: found by a walk in several processes, or by `lfs find` on Lustre.

It only looks. It reads no contents and changes no time: directories are opened with O_NOATIME where that is permitted
(their owner may).

Most files are summed up where they are found, and forgotten. Those that may have a copy (`Search.covered`) go to a
`Spool`, from which they come in the order of manifests, so memory does not grow with their number. It grows with the
number of names in one directory.
"""

from __future__ import annotations

import heapq
import os
import pickle
import stat
import tempfile
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from types import TracebackType
from typing import IO, Self

from gears.data.sums import Sum, Sums
from gears.sites.profile import PurgeBy

DAY_NS = 86_400 * 10**9
BATCH_FILES = 20_000
BATCH_S = 0.5
MOST_DIRECTORIES = 256
"""Limits of the work that is given to a process at once."""
RUN_FILES = 100_000
BLOCK_FILES = 1_000
MOST_NAMED = 20
SNAPSHOTS = (".snapshot", ".snapshots", ".zfs")
"""Directories in which file servers show earlier states of the others: no purge takes those."""

TIMES: dict[PurgeBy, Callable[[os.stat_result], int]] = {
    "atime": lambda info: info.st_atime_ns,
    "mtime": lambda info: info.st_mtime_ns,
    "either": lambda info: max(info.st_atime_ns, info.st_mtime_ns),
    "ctime": lambda info: info.st_ctime_ns,
    "": lambda info: min(info.st_atime_ns, info.st_mtime_ns),
}
"""The time in nanoseconds from which a rule counts. Where the centre does not say, the earlier one: the worst case."""

Candidate = tuple[bytes, int, int, int]
"""A due file that may have a copy: its key (`key_of`), the day it dies on (`date.toordinal`), size, mtime in ns."""


def key_of(path: str) -> bytes:
    """Return the key of a path: keys are in the order of manifests (`entries.order`), since no name has a NUL."""
    return os.fsencode(path).replace(b"/", b"\0")


@dataclass(slots=True)
class Part:
    """What a part of the search has found. `left`: directories that it has not visited; `named`: the first problems."""

    seen: int = 0
    sums: Sums = field(default_factory=Sums)
    candidates: list[Candidate] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    problems: int = 0
    named: list[tuple[str, str]] = field(default_factory=list)

    def fail(self, path: str, reason: str) -> None:
        """Count a directory or a file that can't be looked at."""
        self.problems += 1
        if len(self.named) < MOST_NAMED:
            self.named.append((path, reason))


@dataclass(frozen=True)
class Search:
    """What is searched for: files below `root` that the rule takes by the time `until_ns`.

    `days`, `by`: the rule. `uid`: whose files; None: everybody's. `today`: what should be gone already counts to it
    (`date.toordinal`). `covered`: keys of directories of which there are copies, and of those above them.
    """

    root: str
    by: PurgeBy
    days: int
    until_ns: int
    today: int
    uid: int | None = None
    covered: tuple[bytes, ...] = ()

    @cached_property
    def latest_ns(self) -> int:
        """Return the latest time of a file that is due."""
        return self.until_ns - self.days * DAY_NS

    @cached_property
    def _midnights_ns(self) -> list[int]:
        """The times at which today and the following days end, in the time zone of this host."""
        days = range(self.today + 1, self.today + 2 + max(0, self.until_ns - time.time_ns()) // DAY_NS)
        return [int(time.mktime(date.fromordinal(day).timetuple())) * 10**9 for day in days]

    def day(self, time_ns: int) -> int:
        """Return the day on which a file dies."""
        return self.today + bisect_right(self._midnights_ns, time_ns + self.days * DAY_NS)

    def may_have_copies(self, directory: str) -> bool:
        """Tell whether a directory is in one of which there is a copy."""
        key = key_of(directory)
        return any(not one or key == one or key.startswith(one + b"\0") for one in self.covered)

    # --- a walk ----------------------------------------------------------------------------------

    def __call__(self, directories: list[str]) -> Part:
        """Visit directories, and those in them, up to the limits of a batch."""
        part, ends = Part(left=list(directories)), time.monotonic() + BATCH_S
        while part.left and part.seen < BATCH_FILES and time.monotonic() < ends:
            directory = part.left.pop()
            try:
                self._visit(directory, part)
            except OSError as exc:
                part.fail(directory or ".", exc.strerror or str(exc))
        return part

    def _visit(self, directory: str, part: Part) -> None:
        fd = open_directory(os.path.join(self.root, directory) if directory else self.root)
        prefix = f"{directory}/" if directory else ""
        add = self._adder(directory, part)
        of, latest, uid = TIMES[self.by], self.latest_ns, self.uid
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    part.seen += 1
                    if entry.is_dir(follow_symlinks=False):
                        part.left += [] if entry.name in SNAPSHOTS else [prefix + entry.name]
                    elif entry.is_file(follow_symlinks=False):
                        try:
                            info = entry.stat(follow_symlinks=False)
                        except FileNotFoundError:  # removed meanwhile
                            continue
                        if (time_ns := of(info)) <= latest and (uid is None or info.st_uid == uid):
                            add(entry.name, time_ns, info)
        finally:
            os.close(fd)

    def _adder(self, directory: str, part: Part) -> Callable[[str, int, os.stat_result], None]:
        """Return what takes a due file of a directory: to the candidates, or to the sums."""
        if self.may_have_copies(directory):
            start = key_of(directory) + b"\0" if directory else b""

            def keep(name: str, time_ns: int, info: os.stat_result) -> None:
                key = start + os.fsencode(name)
                part.candidates.append((key, self.day(time_ns), info.st_size, info.st_mtime_ns))

            return keep

        def count(_name: str, time_ns: int, info: os.stat_result) -> None:
            for one in part.sums.of(self.day(time_ns), directory):
                one.add(info.st_size)

        return count

    # --- files that another program has found ----------------------------------------------------

    def look_at(self, paths: list[str]) -> Part:
        """Look at files, with their paths below the root."""
        part, of = Part(), TIMES[self.by]
        for path in paths:
            part.seen += 1
            try:
                info = os.lstat(os.path.join(self.root, path))
            except FileNotFoundError:
                continue
            except OSError as exc:
                part.fail(path, exc.strerror or str(exc))
                continue
            if stat.S_ISREG(info.st_mode) and of(info) <= self.latest_ns and self.uid in (None, info.st_uid):
                directory, _, name = path.rpartition("/")
                self._adder(directory, part)(name, of(info), info)
        return part


def open_directory(path: str) -> int:
    """Open a directory without changing its atime, where that is permitted. Raises OSError."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags | os.O_NOATIME)
    except PermissionError:  # only its owner may; or it can't be read at all
        return os.open(path, flags)


# --- the search ------------------------------------------------------------------------------


class Spool:
    """Candidates, sorted. More than RUN_FILES are in a file without a name; iterating is possible once all are there.

    Raises OSError if the disk is full.
    """

    def __init__(self) -> None:
        self._waiting = list[Candidate]()
        self._runs = list[list[tuple[int, int]]]()
        self._file: IO[bytes] | None = None
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give up the file. Idempotent."""
        if self._file:
            self._file.close()

    def add(self, candidates: list[Candidate]) -> None:
        """Add candidates in any order."""
        self._waiting += candidates
        if len(self._waiting) >= RUN_FILES:
            self._write()

    def _write(self) -> None:
        self._waiting.sort()
        self._file = self._file or tempfile.TemporaryFile()  # noqa: SIM115  closed by `close`
        blocks = list[tuple[int, int]]()
        for start in range(0, len(self._waiting), BLOCK_FILES):
            data = pickle.dumps(self._waiting[start : start + BLOCK_FILES])
            self._file.write(data)
            blocks.append((self._end, len(data)))
            self._end += len(data)
        self._file.flush()
        self._runs.append(blocks)
        self._waiting = []

    def __iter__(self) -> Iterator[Candidate]:
        """Yield all candidates, sorted by their keys."""
        self._waiting.sort()
        return heapq.merge(self._waiting, *map(self._read, self._runs))

    def _read(self, blocks: list[tuple[int, int]]) -> Iterator[Candidate]:
        assert self._file is not None
        for offset, length in blocks:
            yield from pickle.loads(os.pread(self._file.fileno(), length, offset))


@dataclass
class Listing:
    """The result of a search, as far as it has come. `by_data`: what workspaces have in DVC.

    `named`: the first problems, with the reason.
    """

    seen: int = 0
    sums: Sums = field(default_factory=Sums)
    by_data: dict[str, Sum] = field(default_factory=dict)
    spool: Spool = field(default_factory=Spool)
    problems: int = 0
    named: list[tuple[str, str]] = field(default_factory=list)

    def add(self, part: Part) -> None:
        """Add a part."""
        self.seen += part.seen
        self.sums.merge(part.sums)
        self.sums.bound()
        self.spool.add(part.candidates)
        self.problems += part.problems
        self.named += part.named[: MOST_NAMED - len(self.named)]


OnListed = Callable[[Listing], None]


def walk(
    search: Search, start: str, listing: Listing, *, jobs: int = 1, on_listed: OnListed = lambda _listing: None
) -> None:
    """Search the directory `start` below the root ("": all of it), and add what is found to `listing`.

    The first batch is done in this process, so a small tree takes no time to start others. Raises Incomplete if a
    process is killed.
    """
    from gears.data import workers

    pending = [start]

    def take(part: Part) -> None:
        listing.add(part)
        pending.extend(part.left)
        on_listed(listing)

    def following() -> list[str] | None:
        size = min(MOST_DIRECTORIES, -(-len(pending) // (2 * jobs)))
        batch = pending[len(pending) - size :]
        del pending[len(pending) - size :]
        return batch or None

    take(search([pending.pop()]))
    if pending:
        for part in workers.run_growing(search, following, jobs=jobs):
            take(part)
