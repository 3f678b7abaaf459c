"""What of a source is as an earlier put has stored it. Runs in workers, on batches of the walk.

A file is unchanged if its size, mtime and ctime are those in the manifest. If only the ctime is another, or unknown
since the file had just been changed when it was read, the file is hashed: that finds contents which were changed and
given their old mtime again, and costs no room for a mode that was changed. The inode is of no use: it is another one
after a restoration, and the same after a change in place.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from gears.data import attributes, contents
from gears.data.bundles.watch import Signals
from gears.data.entries import Entry, Type
from gears.data.tree import Tree, split


class Found(NamedTuple):
    """A file of the walk. A tuple, since these are pickled by the million.

    `known`: as an earlier put has recorded it; `others`: how many other names will come.
    """

    entry: Entry
    ctime_ns: int = 0
    known: Entry | None = None
    others: int = 0


class Compared(NamedTuple):
    """A file with what is known of it. `kept`: its bundle has it already; `same`: nothing at all has changed."""

    entry: Entry
    kept: bool = False
    same: bool = False
    others: int = 0


class Comparer:
    """Compares batches of a walk with what is known."""

    def __init__(self, source: Path, signals: Signals) -> None:
        self._tree, self._signals = Tree(source), signals

    def __call__(self, batch: list[Found]) -> list[Compared]:
        """Compare a batch. Problems of single files are in the result."""
        compared = []
        for found in batch:
            try:
                compared.append(self._compare(found))
            except OSError as exc:
                entry = replace(found.entry, problem=exc.strerror or str(exc))
                compared.append(Compared(entry, same=entry == found.known))
        self._tree.close()
        return compared

    def _compare(self, found: Found) -> Compared:
        entry, known = found.entry, found.known
        if entry.problem is not None or entry.same_as is not None:
            kept = known is not None and known.bundle is not None and known.same_as == entry.same_as
            return Compared(entry, kept, kept or known == entry, found.others)
        if entry.type is Type.FILE:
            now = self._file(found)
        elif entry.type is Type.SYMLINK:
            now = replace(entry, target=self._target(entry.path))
        elif entry.type is Type.DIRECTORY:
            now = self._directory(found)
        else:
            now = entry
        if entry.type is not Type.FILE and known and replace(known, bundle=None) == now:
            now = known
        return Compared(now, now.bundle is not None, now == known, found.others)

    def _target(self, path: bytes) -> bytes:
        directory, name = split(path)
        return os.readlink(name, dir_fd=self._tree.directory(directory))

    def _directory(self, found: Found) -> Entry:
        with self._tree.opened(found.entry.path, keep_atime=True) as fd:
            return replace(found.entry, xattrs=attributes.read_xattrs(fd))

    def _file(self, found: Found) -> Entry:
        """Return the entry with the bundle that has it, or without one if it is to be put."""
        entry, known = found.entry, found.known
        if known is None:
            return entry
        if known.problem is not None:
            with self._tree.opened(entry.path, keep_atime=True):
                return entry
        stored = known.held and known.bundle is not None and known.sha256 is not None
        if not stored or (known.size, known.mtime_ns) != (entry.size, entry.mtime_ns):
            return entry
        kept = replace(known, mode=entry.mode, group=entry.group, same_as=None)
        if known.ctime_ns == found.ctime_ns:
            return kept
        with self._tree.opened(entry.path, keep_atime=True) as fd:
            xattrs, digest, info = attributes.read_xattrs(fd), self._hash(fd), os.fstat(fd)
        same = digest == known.sha256 and (info.st_size, info.st_ctime_ns) == (entry.size, found.ctime_ns)
        return replace(kept, xattrs=xattrs, ctime_ns=attributes.settled(info)) if same else entry

    def _hash(self, fd: int) -> str:
        return contents.sha256(fd, self._signals.look_at_times)
