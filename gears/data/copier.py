"""Copies a batch of entries: what a worker process does.

A file is written under a temporary name in its directory, with its contents and all that belongs to it, and synced;
then it is renamed. So what has a final name is whole, whenever the process or the host ends. The files of a batch are
synced together (`durable`). Their directories are not: a rename that the disk has not seen is found to be missing by
the next run, and a run syncs all directories before it seals its manifest.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from gears.data import attributes, checksums, contents, durable
from gears.data.entries import Entry, Type, to_line
from gears.data.pulse import Pulse, StopRequested
from gears.data.sharing import Rule
from gears.data.tally import Tally
from gears.data.tree import Tree, new_token, split

READS = 4
"""How often a file is read that changes meanwhile: once, and three times again."""
SAME_TIME_NS = 2 * 10**9
"""Some file systems round times to 2 s."""
COUNTED_BYTES = 1 << 20
"""After how many bytes they are counted for the other processes."""


class Item(NamedTuple):
    """An entry to copy. A tuple, since these are pickled by the million.

    `known`: as an earlier run has recorded it; `others`: how many other names will be linked to it.
    """

    entry: Entry
    known: Entry | None = None
    others: int = 0


@dataclass(slots=True)
class Done:
    """The result for a batch, in its order.

    `results`: lines of the manifest; an entry where a hard link has still to be made. `shared`: entries by path that
    these need, and how many need it. `checksums`: lines of SHA256SUMS. `stopped`: why the rest was not begun: the
    target has no room, or fails, or the run has to stop.
    """

    results: list[bytes | Entry] = field(default_factory=list)
    shared: dict[bytes, tuple[Entry, int]] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    checksums: bytes = b""
    stopped: str | None = None


@dataclass(slots=True)
class _Part:
    """A copy under its temporary name. `fd`: None if it need not be open to be synced."""

    entry: Entry
    name: bytes
    fd: int | None
    lost: list[str]


class Copier:
    """Copies from one tree to another. With `restoring` the entries say what the contents have to be.

    Otherwise the source says it, and what has the same name in the target is replaced. `rule`: of a shared target.
    `pulse`: counts the bytes. `tick` is called after each buffer; it stays in this process.
    """

    def __init__(
        self,
        source: Path,
        target: Path,
        *,
        restoring: bool = False,
        rule: Rule | None = None,
        pulse: Pulse | None = None,
    ) -> None:
        self._source, self.target, self._restoring, self.rule = Tree(source), Tree(target), restoring, rule
        self.pulse, self.tick, self._uncounted = pulse or Pulse(), _nothing, 0
        self._token, self._number = "", 0
        self._root, self._at_once = -1, False
        self._directory, self._has_acl = b"", False

    def __reduce__(self) -> tuple[Callable[..., Copier], tuple[object, ...]]:
        """Pickle without what is open in this process."""
        return _again, (self._source.root, self.target.root, self._restoring, self.rule, self.pulse)

    def close(self) -> None:
        """Close the directories that are open. Idempotent."""
        self._source.close()
        self.target.close()
        if self._root >= 0:
            os.close(self._root)
        self._root = -1

    def __call__(self, batch: list[Item]) -> Done:
        """Copy a batch. Problems of single files are in the result."""
        done, begun = Done(), list[Entry | _Part]()
        self._open_root()  # before anything is written: else `durable.sync_all` would not see that it failed
        for item in batch:
            try:
                begun.append(self._begin(item, done.tally))
            except StopRequested:
                done.stopped = "the run has to stop"
                break
            except OSError as exc:
                if contents.is_full(exc):
                    done.stopped = exc.strerror
                    break
                begun.append(replace(item.entry, problem=exc.strerror or str(exc)))
        self._tell()
        entries = self._finish(begun, done)
        for item, entry in zip(batch, entries, strict=False):
            self._record(item, entry, done)
        done.checksums = checksums.to_lines(entries)
        return done

    def _open_root(self) -> None:
        if self._root < 0:
            self._root = os.open(self.target.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._at_once = durable.syncs_all_at_once(self._root)

    def _look(self) -> None:
        """Ask for the stop while a file is only read."""
        self._count(0)

    def _count(self, size: int) -> None:
        """Count bytes that were moved. Raises StopRequested."""
        self.tick()
        self._uncounted += size
        if self._uncounted >= COUNTED_BYTES:
            self._tell()
        self.pulse.require_going_on()

    def _tell(self) -> None:
        counted, self._uncounted = self._uncounted, 0
        self.pulse.add(counted)

    def _record(self, item: Item, entry: Entry, done: Done) -> None:
        if item.others:
            done.shared[entry.path] = entry, item.others
        if entry.same_as is not None and entry.problem is None:
            done.results.append(entry)
        else:
            done.tally.count(entry)
            done.results.append(to_line(entry))

    # --- under a temporary name ---------------------------------------------------------------

    def _begin(self, item: Item, tally: Tally) -> Entry | _Part:
        entry = item.entry
        if not entry.held or entry.same_as is not None:
            return entry
        if entry.type is Type.DIRECTORY:
            return self._describe_directory(entry)
        if entry.type is Type.SYMLINK:
            return self._begin_symlink(entry)
        if item.known and (reused := self._reuse(entry, item.known, tally)):
            return reused
        return self._begin_file(entry, tally)

    def _describe_directory(self, entry: Entry) -> Entry:
        """Complete the entry of a directory, which is there: it gets all that belongs to it at the end."""
        if self._restoring:
            return entry
        with self._source.opened(entry.path, keep_atime=not self._restoring) as fd:
            return replace(entry, xattrs=attributes.read_xattrs(fd))

    def _begin_symlink(self, entry: Entry) -> _Part:
        directory, name = split(entry.path)
        target = entry.target or os.readlink(name, dir_fd=self._source.directory(directory))
        part = _Part(replace(entry, target=target), self.temporary_name(), None, [])
        at = self.target.directory(directory)
        os.symlink(target, part.name, dir_fd=at)
        try:
            part.lost = attributes.apply_to_symlink(part.name, at, self._wanted(part.entry))
        except OSError:
            os.unlink(part.name, dir_fd=at)
            raise
        return part

    def _begin_file(self, entry: Entry, tally: Tally) -> _Part:
        at, name = self.target.directory(split(entry.path)[0]), self.temporary_name()
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=at)
        try:
            part = self._fill(name, fd, entry, at)
        except BaseException:
            os.close(fd)
            os.unlink(name, dir_fd=at)
            raise
        tally.copied += 1
        tally.copied_size += part.entry.size
        return part

    def _fill(self, name: bytes, fd: int, entry: Entry, at: int) -> _Part:
        copied = self._restore_into(fd, entry) if self._restoring else self._copy_into(fd, entry)
        wanted = self._wanted(copied)
        plain = not wanted.xattrs and not self._inherits(split(entry.path)[0], at)
        lost = attributes.apply(fd, wanted, plain=plain)
        if self._at_once:
            os.close(fd)
            return _Part(copied, name, None, lost)
        contents.start_writing(fd)
        return _Part(copied, name, fd, lost)

    def _wanted(self, entry: Entry) -> Entry:
        """Return what the target is to have of an entry."""
        return self.rule.applied(entry) if self.rule else entry

    def _inherits(self, directory: bytes, fd: int) -> bool:
        """Return whether new files in the directory get an ACL. Asked once for each directory in turn."""
        if directory != self._directory:
            self._directory, self._has_acl = directory, attributes.has_default_acl(fd)
        return self._has_acl

    def _copy_into(self, fd: int, entry: Entry) -> Entry:
        """Copy a file and return what it was. Raises OSError, also for one that changes in each of READS reads."""
        for _ in range(READS):
            with self._source.opened(entry.path, keep_atime=not self._restoring) as source:
                before = os.fstat(source)
                if not stat.S_ISREG(before.st_mode):
                    raise OSError("it was replaced while it was read")
                extents = attributes.read_extents(source, before)
                digest = contents.copy(source, fd, before.st_size, extents, self._count)
                xattrs = attributes.read_xattrs(source)
                after = os.fstat(source)
            if digest and _version(before) == _version(after):
                changed = attributes.settled(after)
                return attributes.plan_entry(
                    entry.path, after, extents=extents, xattrs=xattrs, sha256=digest, ctime_ns=changed
                )
            os.ftruncate(fd, 0)
        raise OSError(f"it changed in each of {READS} reads")

    def _restore_into(self, fd: int, entry: Entry) -> Entry:
        with self._source.opened(entry.path, keep_atime=not self._restoring) as source:
            info = os.fstat(source)
            digest = contents.copy(source, fd, info.st_size, attributes.read_extents(source, info), self._count)
        if digest != entry.sha256:
            raise OSError("the copy has other contents than the manifest says")
        return entry

    def _reuse(self, entry: Entry, known: Entry, tally: Tally) -> Entry | None:
        """Return the entry of a file that an earlier run has copied, with what belongs to it as it is now.

        None if the file in the source or in the target is another one by its size or time. If the ctime in the source
        is another too, or was not recorded, it is hashed: that finds contents with their old mtime.
        """
        if not known.held or not known.sha256 or (known.size, known.mtime_ns) != (entry.size, entry.mtime_ns):
            return None
        if (there := self._find_copy(known)) is None:
            return None
        with self._source.opened(entry.path, keep_atime=not self._restoring) as fd:
            xattrs, info = attributes.read_xattrs(fd), os.fstat(fd)
            if known.ctime_ns != info.st_ctime_ns and contents.sha256(fd, self._look) != known.sha256:
                return None
        changed = attributes.settled(info)
        now = replace(entry, xattrs=xattrs, sha256=known.sha256, extents=known.extents, ctime_ns=changed)
        wanted = self._wanted(now)
        if xattrs or known.xattrs or attributes.differences(wanted, there):
            with self.target.opened(entry.path) as copy:
                tally.lost.update(attributes.apply(copy, wanted))
        tally.reused += 1
        return now

    def _find_copy(self, known: Entry) -> Entry | None:
        """Return what the target has of a file, without its attributes. None if its size or time is another."""
        try:
            info = self.target.lstat(known.path)
        except OSError:
            return None
        found = attributes.plan_entry(known.path, info)
        same = found.type is Type.FILE and found.size == known.size
        return found if same and abs(found.mtime_ns - known.mtime_ns) <= SAME_TIME_NS else None

    def temporary_name(self) -> bytes:
        """Return a name that no other process has (`tree.TEMPORARY`)."""
        self._token = self._token or new_token()
        self._number += 1
        return f".gears-part-{self._token}-{self._number}".encode()

    # --- under the final name -----------------------------------------------------------------

    def _finish(self, begun: list[Entry | _Part], done: Done) -> list[Entry]:
        """Sync and rename the parts, and return the entries, none if the target fails."""
        entries: list[Entry] = []
        try:
            self._sync(begun)
            for one in begun:
                entries.append(self._rename(one, done.tally) if isinstance(one, _Part) else one)
        except OSError as exc:
            done.stopped = done.stopped or exc.strerror or str(exc)
            entries = []
        self._discard(begun)
        return entries

    def _sync(self, begun: list[Entry | _Part]) -> None:
        parts = [one for one in begun if isinstance(one, _Part)]
        if self._at_once and parts:
            durable.sync_all(self._root)
        durable.sync_each([part.fd for part in parts if part.fd is not None])

    def _rename(self, part: _Part, tally: Tally) -> Entry:
        try:
            self.publish(part.name, part.entry.path)
        except OSError as exc:
            if contents.is_full(exc):
                raise
            return replace(part.entry, problem=exc.strerror or str(exc))
        part.name = b""
        tally.lost.update(part.lost)
        return part.entry

    def publish(self, temporary: bytes, path: bytes) -> None:
        """Rename a whole file to its final name. Raises OSError; when restoring, also if that name is taken."""
        directory, name = split(path)
        at = self.target.directory(directory)
        if self._restoring and _exists(name, at):
            raise FileExistsError("there is a new file of this name")
        os.rename(temporary, name, src_dir_fd=at, dst_dir_fd=at)

    def _discard(self, begun: list[Entry | _Part]) -> None:
        """Close the parts, and remove those that did not get their final name."""
        for one in begun:
            if not isinstance(one, _Part):
                continue
            if one.fd is not None:
                os.close(one.fd)
            if one.name:
                with contextlib.suppress(OSError):
                    os.unlink(one.name, dir_fd=self.target.directory(split(one.entry.path)[0]))


def _nothing() -> None: ...


def _again(source: Path, target: Path, restoring: bool, rule: Rule | None, pulse: Pulse) -> Copier:
    return Copier(source, target, restoring=restoring, rule=rule, pulse=pulse)


def _version(info: os.stat_result) -> tuple[int, int, int]:
    return info.st_size, info.st_mtime_ns, info.st_ctime_ns


def _exists(name: bytes, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
