"""Brings members of a bundle into a tree: what a worker process does.

Each is written under a temporary name, hashed on the way and compared with the manifest; those of a batch are synced
together, and only then renamed. A member that is not what the manifest says never gets its name.
"""

from __future__ import annotations

import functools
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from gears.data import attributes, contents, durable
from gears.data.bundles import journal
from gears.data.bundles.spools import Member, Part, passes, read_sorted
from gears.data.bundles.streams import Damaged, Stream, read_bundle, take_file
from gears.data.bundles.watch import Signals
from gears.data.entries import Entry
from gears.data.stores.base import Store
from gears.data.tally import Tally
from gears.data.tree import Tree, new_token, split

BATCH_FILES, BATCH_BYTES = 256, 64 << 20
MOST_GAP = 1 << 20
"""Bytes that are read and dropped rather than to begin another read."""

OTHER_CONTENTS = "the bundle has other contents than the manifest says"
TAKEN = "there is another file of this name, which this get has not written; it stays"
Problem = tuple[bytes, str]


@dataclass(slots=True)
class Extracted:
    """The result for a part. `damaged`: members that the store does not have as the manifest says."""

    tally: Tally = field(default_factory=Tally)
    damaged: list[Problem] = field(default_factory=list)


@dataclass(slots=True)
class _Waiting:
    """A whole file under its temporary name."""

    entry: Entry
    name: bytes
    fd: int
    lost: list[str]


class Extractor:
    """Extracts one part after another. `notes`: the directory of what this get has written of the manifest."""

    def __init__(self, store: Store, target: Path, notes: Path, signals: Signals) -> None:
        self._store, self._tree, self._signals = store, Tree(target), signals
        self._notes = notes
        self._known: journal.Journal | None = None
        self._waiting, self._size, self._result = list[_Waiting](), 0, Extracted()
        self._token, self._number = "", 0
        self._root, self._at_once = -1, False

    def __call__(self, part: Part) -> Extracted:
        """Extract the members of a part. Raises what the store raises, and OSError if the target has no room."""
        self._result, self._token = Extracted(), self._token or new_token()
        self._root = os.open(self._tree.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._at_once = durable.syncs_all_at_once(self._root)
        try:
            for run in passes(read_sorted(part), MOST_GAP if self._store.ranged else None):
                self._extract_run(part.bundle, run)
        finally:
            self._finish()
            os.close(self._root)
            self._tree.close()
            self._signals.finish()
        return self._result

    def _extract_run(self, bundle: str, run: list[Member]) -> None:
        start = run[0].offset if self._store.ranged else 0
        length = run[-1].offset + run[-1].size - start
        stream = Stream(read_bundle(self._store, bundle, start, length), start, self._signals.note)
        for member in run:
            entry = member.entry
            try:
                self._extract(entry, stream)
            except Damaged as exc:
                self._result.damaged.append((entry.path, str(exc)))
            except OSError as exc:
                if contents.is_full(exc):
                    raise
                self._result.tally.fail(entry.path, exc.strerror or str(exc))
        stream.close()

    def _extract(self, entry: Entry, stream: Stream) -> None:
        """Write a member under a temporary name. Raises OSError, Damaged."""
        self._number += 1
        name = f".gears-part-{self._token}-{self._number}".encode()
        at = self._tree.directory(split(entry.path)[0])
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=at)
        try:
            digest = take_file(stream, entry, functools.partial(contents.write_at, fd))
            if digest != entry.sha256:
                raise Damaged(OTHER_CONTENTS)
            if entry.extents is not None:
                os.ftruncate(fd, entry.size)
            if not self._at_once:
                contents.start_writing(fd)
            self._waiting.append(_Waiting(entry, name, fd, attributes.apply(fd, entry)))
        except BaseException:
            os.close(fd)
            os.unlink(name, dir_fd=at)
            raise
        self._size += entry.size
        if len(self._waiting) >= BATCH_FILES or self._size >= BATCH_BYTES:
            self._finish()

    def _finish(self) -> None:
        """Sync the waiting files, give them their names, and note them."""
        waiting, self._waiting, self._size = self._waiting, [], 0
        try:
            self._sync(waiting)
            keys = [found for one in waiting if (found := self._publish(one))]
            for directory in dict.fromkeys(split(one.entry.path)[0] for one in waiting):
                os.fsync(self._tree.directory(directory))
            if keys:
                journal.append(self._notes / self._token, keys)
        finally:
            for one in waiting:
                os.close(one.fd)

    def _sync(self, waiting: list[_Waiting]) -> None:
        fds = [one.fd for one in waiting]
        if self._at_once and waiting:
            durable.sync_all(self._root)
            device = os.fstat(self._root).st_dev
            fds = [fd for fd in fds if os.fstat(fd).st_dev != device]  # below a mount in the target
        durable.sync_each(fds)

    def _publish(self, one: _Waiting) -> bytes | None:
        """Rename a file, unless there is one of another origin; return what to note of it."""
        directory, name = split(one.entry.path)
        at = self._tree.directory(directory)
        try:
            if not self._may_replace(one.entry):
                raise FileExistsError(TAKEN)
            os.rename(one.name, name, src_dir_fd=at, dst_dir_fd=at)
        except OSError as exc:
            os.unlink(one.name, dir_fd=at)
            if contents.is_full(exc):
                raise
            self._result.tally.fail(one.entry.path, exc.strerror or str(exc))
            return None
        tally = self._result.tally
        tally.count(one.entry)
        tally.copied += 1
        tally.copied_size += one.entry.size
        tally.lost.update(one.lost)
        return journal.key(one.entry.path, os.fstat(one.fd))

    def _may_replace(self, entry: Entry) -> bool:
        """Tell whether the name is free, or has what this get has written, noted or, by a helper that ended, not."""
        try:
            info = self._tree.lstat(entry.path)
        except FileNotFoundError:
            return True
        if self._known is None:
            self._known = journal.Journal(self._notes.parent)
        return self._known.has(entry.path, info) or self._is_same(entry, info)

    def _is_same(self, entry: Entry, info: os.stat_result) -> bool:
        if not stat.S_ISREG(info.st_mode) or (info.st_size, info.st_mtime_ns) != (entry.size, entry.mtime_ns):
            return False
        with self._tree.opened(entry.path) as fd:
            return contents.sha256(fd) == entry.sha256
