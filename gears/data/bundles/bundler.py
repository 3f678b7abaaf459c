"""Writes a bundle: what a worker process does.

Each file is read once, and hashed on the way into the bundle. One that changes meanwhile becomes a member again, after
the first one; the last of them counts, for tar too. The bundle is read back from the store, compared, and only then
gets its index: a bundle with an index is sealed.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import stat
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from gears.data import attributes, contents, manifest
from gears.data.bundles import tar
from gears.data.bundles.fetching import INDEXES, hash_stored
from gears.data.bundles.layout import index_name
from gears.data.bundles.ownership import Lock
from gears.data.bundles.planning import Plan, cost
from gears.data.bundles.watch import Signals
from gears.data.copier import READS
from gears.data.entries import Entry, Type, parse, to_line, with_bundle
from gears.data.manifest import Bundle, Header
from gears.data.stores.base import CHUNK_BYTES, Expected, Store
from gears.data.tally import Tally
from gears.data.tree import Tree
from gears.errors import ContentsDiffer

SMALL_BYTES = 1 << 18
"""Files up to this size are read at once."""
WRITES = 2
"""How often a bundle is written that is read back with other contents: once, and once again."""


@dataclass(slots=True)
class Written:
    """A bundle that is sealed. `tally`: the files that were read for it."""

    bundle: Bundle
    tally: Tally = field(default_factory=Tally)


class Bundler:
    """Writes one bundle after another, as they are planned."""

    def __init__(self, source: Path, lock: Lock, state: Path, header: Header, signals: Signals) -> None:
        self._tree, self._lock, self._store = Tree(source), lock, lock.store
        self._state, self._header, self._signals = state, header, signals

    def __call__(self, plan: Plan) -> Written:
        """Write, read back and seal a bundle. Raises ContentsDiffer if it is read back with other contents, Paused."""
        lines = plan.path.with_suffix(".lines")
        try:
            written = self._write(plan, lines)
            self._seal(written.bundle, lines)
        finally:
            self._tree.close()
            lines.unlink(missing_ok=True)
            self._signals.finish()
        return written

    def _write(self, plan: Plan, lines: Path) -> Written:
        """Write a bundle until it is read back as it was written."""
        size = plan.size or sum(map(cost, _members(plan.path)))
        for _ in range(WRITES):
            with manifest.Writer(lines, self._header) as results:
                stream = Stream(self._tree, results, plan.name)
                chunks = Expected(self._noted(stream, _members(plan.path)), size)
                self._store.write(plan.name, chunks)
            written = Bundle(plan.name, stream.position, stream.digest.hexdigest())
            if self._read_back(plan.name) == written.sha256:
                return Written(written, stream.tally)
            self._store.remove(plan.name)
        raise ContentsDiffer(
            f"{plan.name} was read back from the store with other contents than were written, {WRITES} times",
            next="gears data status",
        )

    def _noted(self, stream: Stream, members: Iterator[Entry]) -> Iterator[bytes]:
        noted = 0
        for chunk in stream.chunks(members):
            noted, before = stream.position - stream.overhead, noted
            self._signals.note(noted - before)
            yield chunk

    def _read_back(self, name: str) -> str:
        digest = hashlib.sha256()
        try:
            for chunk in self._store.read(name):
                digest.update(chunk)
                self._signals.note(0)
        except FileNotFoundError:
            return ""
        return digest.hexdigest()

    def _seal(self, bundle: Bundle, lines: Path) -> None:
        """Write the index, and read it back."""
        name = index_name(bundle.name)
        path = self._state / INDEXES / name
        new = path.with_name(f"{name}.new")
        with manifest.Writer(new, replace(self._header, bundles=(bundle,), is_index=True)) as writer:
            for line in manifest.read_lines(lines):
                writer.add_line(line)
            writer.seal()
        self._lock.check()
        store_file(self._store, name, new)
        os.replace(new, path)


def store_file(store: Store, name: str, path: Path) -> str:
    """Store a file of this host, read it back, and return its SHA-256. Raises ContentsDiffer if it is another one."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        store.write(name, iter(lambda: file.read(CHUNK_BYTES), b""))
        file.seek(0)
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    if hash_stored(store, name) != digest.hexdigest():
        store.remove(name)
        raise ContentsDiffer(f"{name} was read back from the store with other contents", next="gears data status")
    return digest.hexdigest()


def _members(path: Path) -> Iterator[Entry]:
    with path.open("rb") as file:
        yield from map(parse, file)


# --- the archive -----------------------------------------------------------------------------


class Stream:
    """An archive as chunks of bytes. `position`: its length so far, `overhead`: of that no contents; `digest`."""

    def __init__(self, tree: Tree, results: manifest.Writer, bundle: str) -> None:
        self.position, self.overhead, self.digest, self.tally = 0, 0, hashlib.sha256(), Tally()
        self._tree, self._results, self._bundle = tree, results, bundle
        self._failed = set[bytes]()

    def chunks(self, entries: Iterator[Entry]) -> Iterator[bytes]:
        """Yield the archive, and add what each member has become to the results."""
        waiting, size = list[bytes](), 0
        for piece in self._pieces(entries):
            waiting.append(piece)
            size += len(piece)
            if size >= CHUNK_BYTES:
                yield self._hashed(b"".join(waiting))
                waiting, size = [], 0
        if waiting:
            yield self._hashed(b"".join(waiting))

    def _hashed(self, chunk: bytes) -> bytes:
        self.digest.update(chunk)
        return chunk

    def _pieces(self, entries: Iterator[Entry]) -> Iterator[bytes]:
        for entry in entries:
            for piece in self._member(entry):
                self.position += len(piece)
                yield piece
        rest = tar.end(self.position)
        self.position += len(rest)
        self.overhead += len(rest)
        yield rest

    def _member(self, entry: Entry) -> Iterator[bytes]:
        if entry.type is Type.FILE and entry.same_as is None:
            yield from self._file(entry)
            return
        if entry.same_as in self._failed:
            return
        head = tar.header(entry, self._owner(entry.path))
        self.overhead += len(head)
        yield head
        self._results.add(replace(entry, bundle=self._bundle))

    def _owner(self, path: bytes) -> tar.Owner:
        try:
            return _owner_of(self._tree.lstat(path))
        except OSError:  # it has vanished, or its directory
            return tar.Owner(os.getuid(), os.getgid())

    def _file(self, entry: Entry) -> Iterator[bytes]:
        """Yield a file, again as long as it changes, and note its last member or why there is none."""
        problem = f"it changed in each of {READS} reads"
        try:
            for _ in range(READS):
                fd = self._tree.open(entry.path, keep_atime=True)
                try:
                    done = yield from self._read(entry.path, fd)
                finally:
                    os.close(fd)
                if done:
                    self._results.add_line(done)
                    return
        except OSError as exc:
            problem = exc.strerror or str(exc)
        self._failed.add(entry.path)
        self._results.add(replace(entry, bundle=None, problem=problem))

    def _read(self, path: bytes, fd: int) -> Generator[bytes, None, bytes | None]:
        """Yield a member, whole even if the file ends early, and return its line; None if it has changed."""
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            raise OSError("it was replaced while it was read")
        extents = attributes.read_extents(fd, before)
        if extents is not None:
            extents = tar.aligned(extents, before.st_size)
        entry = attributes.plan_entry(path, before, extents=extents, xattrs=attributes.read_xattrs(fd))
        head = tar.header(entry, _owner_of(before))
        offset, size = self.position + len(head), tar.stored_size(entry)
        self.overhead += len(head) + len(tar.padding(size))
        if extents is None and size <= SMALL_BYTES:
            done = yield from _small(fd, head, before)
        else:
            done = yield from _large(fd, head, before, entry)
        if done is None:
            return None
        self.tally.copied += 1
        self.tally.copied_size += entry.size
        return with_bundle(to_line(entry), self._bundle, ctime_ns=done[1], sha256=done[0], offset=offset)


Read = Generator[bytes, None, tuple[str, int | None] | None]
"""Yields a member, and returns the hash of its file and its ctime, if that is settled; None if it has changed."""


def _small(fd: int, head: bytes, before: os.stat_result) -> Read:
    """Read a file at once. One that has changed is not yielded."""
    data = os.pread(fd, before.st_size, 0)
    after = os.fstat(fd)
    if len(data) < before.st_size or _version(before) != _version(after):
        return None
    ctime_ns = attributes.settled(after)
    yield b"".join((head, data, tar.padding(len(data))))
    return hashlib.sha256(data).hexdigest(), ctime_ns


def _large(fd: int, head: bytes, before: os.stat_result, entry: Entry) -> Read:
    """Read a file in chunks, each of which is yielded."""
    yield head
    reader = Reader(fd, entry)
    yield from reader.chunks()
    yield tar.padding(tar.stored_size(entry))
    after = os.fstat(fd)
    if reader.failure:
        raise reader.failure
    if reader.short or _version(before) != _version(after):
        return None
    return reader.digest.hexdigest(), attributes.settled(after)


class Reader:
    """Reads the extents of a file and hashes it, holes as zeros. Where it can't be read it yields zeros."""

    def __init__(self, fd: int, entry: Entry) -> None:
        self.digest, self.short = hashlib.sha256(), False
        self.failure: OSError | None = None
        self._fd, self._entry = fd, entry

    def chunks(self) -> Iterator[bytes]:
        """Yield what the extents have."""
        position, size = 0, self._entry.size
        extents = ((0, size),) if self._entry.extents is None else self._entry.extents
        for start, length in extents:
            contents.hash_zeros(self.digest, start - position)
            position, end = start, start + length
            while position < end:
                chunk = self._read(min(end - position, CHUNK_BYTES), position)
                position += len(chunk)
                yield chunk
        contents.hash_zeros(self.digest, size - position)

    def _read(self, length: int, position: int) -> bytes:
        if not self.short:
            try:
                if chunk := os.pread(self._fd, length, position):
                    self.digest.update(chunk)
                    return chunk
            except OSError as exc:
                self.failure = exc
            self.short = True
        return bytes(length)


def _version(info: os.stat_result) -> tuple[int, int, int]:
    return info.st_size, info.st_mtime_ns, info.st_ctime_ns


def _owner_of(info: os.stat_result) -> tar.Owner:
    return _owner(info.st_uid, info.st_gid)


@lru_cache(maxsize=1024)
def _owner(user: int, group: int) -> tar.Owner:
    try:
        return tar.Owner(user, group, pwd.getpwuid(user).pw_name)
    except KeyError:
        return tar.Owner(user, group)
