"""Copying a tree with a manifest, and bringing back from a copy what a directory has lost. For Linux.

The walk is in this process, in the order of manifests; batches go to the workers (`copier`), and their results come
back in that order. So entries of earlier runs are found in one pass over their manifest, and memory does not grow with
the number of entries. It grows with the names in one directory, and with the hard links whose other names have not come
yet.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from gears.data import attributes, contents, manifest, workers
from gears.data.checksums import checksums_path, write_checksums
from gears.data.copier import Copier, Done, Item
from gears.data.entries import Entry, Type, to_line
from gears.data.tally import Tally
from gears.data.tree import Found, Tree, split, walk
from gears.data.writers import join_writers, only_writer
from gears.errors import GearsError, Incomplete, UsageError
from gears.system import files, timestamps

BATCH_FILES = 128
BATCH_BYTES = 64 << 20

DIRECTORY_LINE = b'"type":"directory"'
"""In the line of each directory, and in no other: in a name the quotation marks are escaped."""

OnProgress = Callable[[Tally], None]
"""Called after each batch with the sum so far."""


def copy_tree(
    source: Path, target: Path, record: Path, *, jobs: int = 1, on_progress: OnProgress = lambda _tally: None
) -> Tally:
    """Copy what is in `source` into the directory `target`, and write the manifest `record` and its SHA256SUMS.

    Files of the same name in the target are replaced; nothing else there is removed. May be repeated, also after kill
    -9: files that are finished by the manifest, and have the same size and mtime in the source, are not copied again.
    What can't be copied is in the result and in the manifest: `Tally.complete` says whether there was any.

    Raises UsageError for directories that contain one another, Incomplete if the disk is full or a worker ended,
    BrokenSeal for a damaged manifest of an earlier run, NotReachable if another process writes into the target, or with
    this manifest.
    """
    source, target, record = source.resolve(), target.resolve(), record.resolve()
    _check_apart(source, target, record)
    try:
        record.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with files.locked(record.with_name(f"{record.name}.lock"), timeout_s=1.0):
            return _copy_locked(source, target, record, jobs, on_progress)
    except OSError as exc:
        raise _incomplete(target, exc.strerror or str(exc), str(exc.filename or source)) from exc


def _check_apart(source: Path, target: Path, record: Path) -> None:
    if not source.is_dir():
        raise UsageError(f"{source}: not a directory", next=f"ls -ld {source}")
    pairs = ((target, source), (source, target), (record, source), (record, target))
    for inner, outer in pairs:
        if inner.is_relative_to(outer):
            raise UsageError(f"{inner} is in {outer}: source, copy and manifest have to be apart", next="gears --help")


def _copy_locked(source: Path, target: Path, record: Path, jobs: int, on_progress: OnProgress) -> Tally:
    known, new = manifest.carry_over(record), manifest.new_path(record)
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    header = manifest.Header(os.fsencode(source), socket.gethostname(), timestamps.utc_now())
    with only_writer(target), manifest.Writer(new, header) as writer:

        def note(tally: Tally) -> None:
            writer.flush()  # after each batch: kill -9 costs the batches under way, and no more
            on_progress(tally)

        run = _Run(Copier(source, target), writer.add_line, note)
        run.carry_out(_found_items(source, run, manifest.Known(known)), jobs)
        _finish_directories(manifest.read(new, containing=DIRECTORY_LINE), source, target, run.tally)
        writer.seal()
    write_checksums(checksums_path(record), manifest.read(new, containing=b'"sha256":'))
    manifest.old_path(record).unlink(missing_ok=True)  # before the rename: it must not outlive what is newer
    os.replace(new, record)
    with Tree(record.parent) as directory:
        os.fsync(directory.directory(b"."))
    return run.tally


def _incomplete(target: Path, reason: str, name: str) -> GearsError:
    return Incomplete(
        f"{name}: {reason}; what is copied stays, and the same command goes on", next=f"df -h {target}; df -i {target}"
    )


# --- what is to be copied --------------------------------------------------------------------


class _Groups:
    """The names of the same file, by hard links: a name is forgotten once all the others have come."""

    def __init__(self) -> None:
        self._groups: dict[tuple[int, int], tuple[bytes, int]] = {}

    def first(self, path: bytes, info: os.stat_result) -> bytes | None:
        """Return the first path of the same file; None if this is the first."""
        key = info.st_dev, info.st_ino
        found = self._groups.pop(key, None)
        first, left = found or (path, info.st_nlink)
        if left > 1:
            self._groups[key] = first, left - 1
        return first if found else None


def _found_items(source: Path, run: _Run, known: manifest.Known) -> Iterator[Item]:
    """Walk the source, create its directories in the target, and yield what is to be copied."""
    groups, refused = _Groups(), set[bytes]()

    def enter(path: bytes) -> bool:
        return path not in refused

    for found in walk(source, enter):
        refused.clear()
        item = _plan(found, groups, known)
        is_directory = item.entry.type is Type.DIRECTORY and item.entry.held
        if is_directory and (problem := run.create_directory(item.entry.path)):
            refused.add(found.path)
            item = Item(replace(item.entry, problem=problem))
        yield item


def _plan(found: Found, groups: _Groups, known: manifest.Known) -> Item:
    if found.info is None:
        return Item(Entry(found.path, Type.FILE, problem=found.problem))
    entry = replace(attributes.plan_entry(found.path, found.info), problem=found.problem)
    others = found.info.st_nlink - 1 if entry.type in (Type.FILE, Type.SYMLINK) else 0
    if others and (first := groups.first(found.path, found.info)):
        return Item(replace(entry, same_as=first))
    return Item(entry, known.find(found.path) if entry.type is Type.FILE else None, others)


def _batches(items: Iterable[Item], run: _Run) -> Iterator[list[Item]]:
    """Group items; ends when the target has failed."""
    batch, size = list[Item](), 0
    for item in items:
        if run.stopped:
            return
        batch.append(item)
        size += item.entry.size
        if len(batch) >= BATCH_FILES or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


# --- the run ---------------------------------------------------------------------------------


class _Run:
    """A copy or a restoration under way: hands out batches, makes hard links, and sums up."""

    def __init__(self, copier: Copier, add_line: Callable[[bytes], None], on_progress: OnProgress) -> None:
        self.tally, self.stopped = Tally(), ""
        self._copier, self._add_line, self._on_progress = copier, add_line, on_progress
        self._target, self._shared = Tree(copier.target.root), dict[bytes, tuple[Entry, int]]()

    def carry_out(self, items: Iterator[Item], jobs: int) -> None:
        """Copy all items. Raises Incomplete if the target has failed; then all results are added that there are."""
        try:
            begin = functools.partial(join_writers, self._copier.target.root)
            found = workers.run_ordered(self._copier, _batches(items, self), jobs=jobs, begin=begin)
            with contextlib.closing(found) as results:
                for done in results:
                    self._take(done)
        finally:
            self._copier.close()
            self._target.close()
        if self.stopped:
            root = self._copier.target.root
            raise _incomplete(root, self.stopped, str(root))

    def create_directory(self, path: bytes) -> str | None:
        """Make sure of a directory in the target; return why there can't be one. Raises OSError if there is no room."""
        try:
            self._target.ensure_directory(path)
        except OSError as exc:
            if contents.is_full(exc):
                raise
            return f"no directory in the copy: {exc.strerror}"
        return None

    def clear_temporaries(self, path: bytes) -> None:
        """Remove what an interrupted run has left in a directory, if it is one, and may be read."""
        with contextlib.suppress(OSError):
            self._target.clear_temporaries(path)

    def _take(self, done: Done) -> None:
        self.stopped = self.stopped or done.stopped or ""
        self.tally.add(done.tally)
        self._shared |= done.shared
        for result in done.results:
            if isinstance(result, bytes):
                self._add_line(result)
            else:
                self._link(result)
        self._on_progress(self.tally)

    def _link(self, entry: Entry) -> None:
        """Make a hard link; copy the file instead where that is refused."""
        first = self._first(entry.same_as or b"")
        if first is None or not self._make_link(first.path, entry.path):
            self.tally.lost["hard link"] += 1
            self._take(self._copier([Item(replace(entry, same_as=None))]))
            return
        linked = replace(first, path=entry.path, same_as=first.path)
        self.tally.count(linked)
        self._add_line(to_line(linked))

    def _first(self, path: bytes) -> Entry | None:
        """Return the entry that another name is to be linked to, if it was copied. Forgets it with the last name."""
        entry, others = self._shared.pop(path, (None, 0))
        if entry is not None and others > 1:
            self._shared[path] = entry, others - 1
        return entry if entry is not None and entry.held else None

    def count_unlinked(self) -> None:
        """Count as lost the links that nobody has asked for: those of names that were still there."""
        self.tally.lost += Counter({"hard link": sum(others for _, others in self._shared.values())})

    def _make_link(self, first: bytes, path: bytes) -> bool:
        temporary, (first_directory, first_name) = self._copier.temporary_name(), split(first)
        try:
            source = self._target.directory(first_directory)
            at = self._copier.target.directory(split(path)[0])
            os.link(first_name, temporary, src_dir_fd=source, dst_dir_fd=at, follow_symlinks=False)
        except OSError:
            return False
        try:
            self._copier.publish(temporary, path)
        except OSError:
            return False
        finally:
            with contextlib.suppress(FileNotFoundError):  # rename(2) leaves it if both are the same file already
                os.unlink(temporary, dir_fd=at)
        return True


# --- directories, at the end -----------------------------------------------------------------


def _finish_directories(entries: Iterator[Entry], source: Path, target: Path, tally: Tally) -> None:
    """Give each directory its mode, time and attributes, after what is in it. `entries`: directories, in order."""
    open_ones: list[Entry] = []
    with Tree(source) as from_tree, Tree(target) as to_tree:
        for entry in entries:
            while open_ones and not _is_in(entry.path, open_ones[-1].path):
                _finish_directory(open_ones.pop(), from_tree, to_tree, tally)
            if entry.held:
                open_ones.append(entry)
        while open_ones:
            _finish_directory(open_ones.pop(), from_tree, to_tree, tally)


def _is_in(path: bytes, directory: bytes) -> bool:
    return directory == b"." or path.startswith(directory + b"/")


def _finish_directory(entry: Entry, source: Tree | None, target: Tree, tally: Tally) -> None:
    try:
        if source and source.lstat(entry.path).st_mtime_ns != entry.mtime_ns:
            tally.fail(entry.path, "files were added to it or removed from it meanwhile")
        with target.opened(entry.path) as fd:
            tally.lost.update(attributes.apply(fd, entry))
    except OSError as exc:
        tally.fail(entry.path, exc.strerror or str(exc))


# --- restoring -------------------------------------------------------------------------------


def restore(
    record: Path, source: Path, directory: Path, *, jobs: int = 1, on_progress: OnProgress = lambda _tally: None
) -> Tally:
    """Bring back to `directory` what the manifest `record` has, and it has not, from the copy `source`.

    What is there under a name, whatever it is, stays as it is. A file of the copy that is not what the manifest says is
    not brought back, and is in the result. May be repeated; after kill -9, directories that were being made can be
    left with the mode 0700 and a new time.

    Raises BrokenSeal for a damaged manifest, Incomplete if it has no seal, the disk is full or a worker ended,
    NotReachable if another process writes into the directory.
    """
    try:
        manifest.check(record)
        created: list[Entry] = []
        if not directory.is_dir():
            directory.mkdir(mode=0o700, parents=True)
            created += itertools.islice(manifest.read(record), 1)  # the directory itself
        run = _Run(Copier(source, directory, restoring=True), lambda _line: None, on_progress)
        with only_writer(directory), Tree(directory) as tree:
            run.carry_out(_lost_items(record, tree, run, created), jobs)
            run.count_unlinked()
            for entry in reversed(created):
                _finish_directory(entry, None, tree, run.tally)
    except OSError as exc:
        raise _incomplete(directory, exc.strerror or str(exc), str(exc.filename or directory)) from exc
    return run.tally


def _lost_items(record: Path, tree: Tree, run: _Run, created: list[Entry]) -> Iterator[Item]:
    """Yield what the tree has lost; create directories, and remove what an interrupted run has left."""
    others = Counter(entry.same_as for entry in manifest.read(record, containing=b'"same_as') if entry.same_as)
    for entry in manifest.read(record):
        if not entry.held or (problem := _why_missing(tree, entry.path)) is None:
            if entry.type is Type.DIRECTORY:  # before anything in it is under way
                run.clear_temporaries(entry.path)
            continue
        if not problem and entry.type is Type.DIRECTORY:
            problem = run.create_directory(entry.path) or ""
            created += [] if problem else [entry]
        yield Item(replace(entry, problem=problem or None), None, others[entry.path])


def _why_missing(tree: Tree, path: bytes) -> str | None:
    """Return None if the path is there, empty if it is missing, else why that is unknown."""
    try:
        tree.lstat(path)
    except FileNotFoundError:
        return ""
    except OSError as exc:
        return exc.strerror or str(exc)
    return None
