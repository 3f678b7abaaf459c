"""Comparison of a copy with its manifest: everything is read again.

The walk of the directory and the manifest are in the same order, so both are gone through once, together. Files are
hashed by several processes, from the disk rather than from the page cache.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from gears.data import attributes, contents, manifest, workers
from gears.data.crew import Crew, Helpers
from gears.data.entries import Entry, Type, order
from gears.data.sharing import Rule
from gears.data.tally import MOST_NAMED
from gears.data.tree import Tree, split, walk
from gears.errors import ContentsDiffer, UsageError

BATCH_FILES = 256
BATCH_BYTES = 64 << 20

MISSING, DIFFERENT, METADATA, EXTRA = "missing", "different", "metadata", "extra"
KINDS = (MISSING, DIFFERENT, METADATA, EXTRA)


@dataclass(frozen=True, slots=True)
class Difference:
    """What is otherwise than in the manifest. `kind`: one of KINDS; `what`: in words."""

    path: bytes
    kind: str
    what: str


@dataclass(slots=True)
class Verified:
    """The result: how many entries and bytes were read and are as in the manifest, and what is not.

    `not_held`: entries that the manifest lists without a copy: problems, FIFOs, sockets, devices. `differences`: the
    number of each kind; `named`: the first of them. `last`: the path up to which all was compared; b"": none yet.
    """

    entries: int = 0
    size: int = 0
    not_held: int = 0
    differences: Counter[str] = field(default_factory=Counter)
    named: list[Difference] = field(default_factory=list)
    last: bytes = b""

    @property
    def whole(self) -> bool:
        """Whether all contents are there and right. Extra files and metadata don't count."""
        return not self.differences[MISSING] and not self.differences[DIFFERENT]

    def require_whole(self, directory: Path) -> None:
        """Raise ContentsDiffer if something is missing or different."""
        if not self.whole:
            counts = ", ".join(f"{self.differences[kind]} {kind}" for kind in (MISSING, DIFFERENT))
            first = next(one for one in self.named if one.kind in (MISSING, DIFFERENT))
            name = os.fsdecode(first.path)
            raise ContentsDiffer(f"{directory}: {counts}, such as {name!r}: {first.what}", next=f"ls -la {directory}")

    def add(self, found: list[Difference]) -> None:
        """Count differences."""
        for one in found:
            self.differences[one.kind] += 1
            serious = one.kind in (MISSING, DIFFERENT) and self.differences[one.kind] <= MOST_NAMED // 2
            if serious or len(self.named) < MOST_NAMED // 2:
                self.named.append(one)


OnProgress = Callable[[Verified], None]


def verify(
    record: Path,
    directory: Path,
    *,
    jobs: int = 1,
    on_progress: OnProgress = lambda _verified: None,
    begun: Verified | None = None,
    crew: Crew | None = None,
) -> Verified:
    """Read the copy in `directory` again and compare it with the manifest `record`. Changes nothing but atimes.

    `begun`: the result of an interrupted run by the same manifest, which is continued after its last path. `crew`:
    reads too, on other nodes; what they find to differ is read once more here.

    Raises UsageError if one of the two is not there, BrokenSeal if the manifest is damaged, Incomplete if it has no
    seal or a worker ended.
    """
    try:
        manifest.check(record)
        verified = begun or Verified()
        pairs, verified.not_held = _pairs(record, directory, verified), 0
        if verified.last:
            pairs = _after(pairs, order(verified.last))
        checker = Checker(directory, _rule(record))
        helpers = Helpers(crew, lambda checked: bool(checked.differences)) if crew else None
        found = workers.run_ordered(checker, _batches(pairs), jobs=jobs, helpers=helpers)
        with contextlib.closing(found) as results:
            for checked in results:
                verified.add(checked.differences)
                verified.entries += checked.entries
                verified.size += checked.size
                verified.last = checked.last
                on_progress(verified)
    except (FileNotFoundError, NotADirectoryError, PermissionError) as exc:
        raise UsageError(f"{exc.filename}: {exc.strerror}", next=f"ls -ld {exc.filename}") from exc
    return verified


def _rule(record: Path) -> Rule | None:
    header = manifest.read_header(record)
    return Rule(header.shared, header.group) if header and header.shared else None


@dataclass(frozen=True, slots=True)
class _Pair:
    """An entry and whether the walk has met its path; no entry for what only the directory has."""

    path: bytes
    entry: Entry | None
    there: bool
    problem: str | None = None


def _pairs(record: Path, directory: Path, verified: Verified) -> Iterator[_Pair]:
    """Go through manifest and directory together. What the manifest lists without a copy is counted, not compared."""
    entries = manifest.read(record)
    entry = next(entries, None)
    for found in walk(directory):
        while entry and order(entry.path) < order(found.path):
            yield from _pair(entry, False, None, verified)
            entry = next(entries, None)
        if entry and entry.path == found.path:
            yield from _pair(entry, found.info is not None, found.problem, verified)
            entry = next(entries, None)
        else:
            yield _Pair(found.path, None, True)
    while entry:
        yield from _pair(entry, False, None, verified)
        entry = next(entries, None)


def _pair(entry: Entry, there: bool, problem: str | None, verified: Verified) -> Iterator[_Pair]:
    if entry.held:
        yield _Pair(entry.path, entry, there, problem)
    else:
        verified.not_held += 1


def _after(pairs: Iterator[_Pair], last: list[bytes]) -> Iterator[_Pair]:
    return (pair for pair in pairs if order(pair.path) > last)


def _batches(pairs: Iterator[_Pair]) -> Iterator[list[_Pair]]:
    batch, size = list[_Pair](), 0
    for pair in pairs:
        batch.append(pair)
        size += pair.entry.size if pair.entry else 0
        if len(batch) >= BATCH_FILES or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


# --- in a worker -----------------------------------------------------------------------------


@dataclass(slots=True)
class _Checked:
    entries: int = 0
    size: int = 0
    differences: list[Difference] = field(default_factory=list)
    last: bytes = b""


class Checker:
    """Compares a batch of entries with a tree. `rule`: of a shared one."""

    def __init__(self, directory: Path, rule: Rule | None = None) -> None:
        self._rule = rule
        self._tree, self._other = Tree(directory), Tree(directory)

    def __call__(self, batch: list[_Pair]) -> _Checked:
        """Compare a batch."""
        checked = _Checked(last=batch[-1].path)
        for pair in batch:
            try:
                found = self._compare(pair)
            except OSError as exc:
                found = [Difference(pair.path, DIFFERENT, exc.strerror or str(exc))]
            checked.differences += found
            if pair.entry and not any(one.kind in (MISSING, DIFFERENT) for one in found):
                checked.entries += 1
                checked.size += 0 if pair.entry.same_as else pair.entry.size
        self._tree.close()
        self._other.close()
        return checked

    def _compare(self, pair: _Pair) -> list[Difference]:
        if pair.entry is None:
            return [Difference(pair.path, EXTRA, "not in the manifest")]
        if not pair.there:
            return [Difference(pair.path, MISSING, "not there")]
        if pair.problem:
            return [Difference(pair.path, DIFFERENT, pair.problem)]
        info = self._tree.lstat(pair.path)
        found = attributes.plan_entry(pair.path, info)
        if found.type is not pair.entry.type:
            return [Difference(pair.path, DIFFERENT, f"a {found.type} instead of a {pair.entry.type}")]
        if what := self._contents_differ(pair.entry, info):
            return [Difference(pair.path, DIFFERENT, what)]
        return [Difference(pair.path, METADATA, what) for what in self._metadata(pair.entry, found, info)]

    def _contents_differ(self, entry: Entry, info: os.stat_result) -> str:
        if entry.type is Type.SYMLINK:
            directory, name = split(entry.path)
            target = os.readlink(name, dir_fd=self._tree.directory(directory))
            return "" if target == entry.target else "another target"
        if entry.type is not Type.FILE:
            return ""
        if info.st_size != entry.size:
            return f"{info.st_size} bytes instead of {entry.size}"
        with self._tree.opened(entry.path) as fd:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return "replaced while it was read"
            return "" if contents.sha256(fd) == entry.sha256 else "other contents"

    def _metadata(self, entry: Entry, found: Entry, info: os.stat_result) -> list[str]:
        if entry.type is not Type.SYMLINK:
            with self._tree.opened(entry.path) as fd:
                found = replace(found, xattrs=attributes.read_xattrs(fd))
        names = attributes.differences(self._rule.applied(entry) if self._rule else entry, found)
        if entry.same_as is not None and not self._is_linked(entry.same_as, info):
            names.append("hard link")
        return names

    def _is_linked(self, first: bytes, info: os.stat_result) -> bool:
        try:
            return os.path.samestat(self._other.lstat(first), info)
        except OSError:
            return False
