"""Manifests: a header, a line for each entry, a seal. Written and read as streams.

The header has the version of the format, the source, the host and the time. Entries are in the order of
`entries.order`. The seal is the last line, with the SHA-256 of all bytes before it: `head -n -1 FILE | sha256sum` must
print it.

The manifest FILE is always sealed. While a copy runs, its entries go to `FILE.new`; `FILE.old` has those of earlier,
interrupted runs. Both may end with an incomplete line, after kill -9.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from gears.data.entries import Entry, Values, dump, from_values, load, order, parse, put_bytes, take_bytes, to_line
from gears.errors import BrokenSeal, Incomplete, UsageError

VERSION = 1
SEAL = b'{"seal":'
"""How the last line begins."""
BUFFER_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that was read back after it was written. `size`: in bytes."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Header:
    """What a manifest is of. `source`: its absolute path; `time`: when the copy began (ISO 8601, UTC).

    `number`: that of the put, from 1, and `bundles`: all that hold it, if it is one of bundles; `is_index`: it lists
    only what is in the one bundle. `shared`, `group`: the
    rule of a shared target (`sharing.Rule`).
    """

    source: bytes
    host: str
    time: str
    number: int = 0
    bundles: tuple[Bundle, ...] = ()
    shared: str = ""
    group: str = ""
    is_index: bool = False


@dataclass(frozen=True, slots=True)
class Seal:
    """The last line: how many entries there are, and the SHA-256 of all before it."""

    entries: int
    sha256: str


class Writer:
    """Writes a new manifest at `path`, 0600, replacing what is there. Each call may raise OSError."""

    def __init__(self, path: Path, header: Header) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._hash, self._waiting, self._bytes, self._entries = hashlib.sha256(), list[bytes](), 0, 0
        values: Values = {"manifest": VERSION, "hash": "sha256"}
        put_bytes(values, "source", header.source)
        values |= {"host": header.host, "time": header.time}
        if header.number:
            bundles = [{"name": one.name, "size": one.size, "sha256": one.sha256} for one in header.bundles]
            values |= {"number": header.number, "bundles": bundles, "index": header.is_index}
        if header.shared:
            values |= {"shared": header.shared, "group": header.group}
        self._add(dump(values))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what was added and close the file; after another error, failures of that are ignored."""
        try:
            with contextlib.suppress(*(() if error is None else (OSError,))):
                self.flush()
        finally:
            os.close(self._fd)

    def add(self, entry: Entry) -> None:
        """Append an entry."""
        self.add_line(to_line(entry))

    def add_line(self, line: bytes) -> None:
        """Append an entry that `to_line` has formatted."""
        self._entries += 1
        self._add(line)

    def _add(self, line: bytes) -> None:
        self._waiting.append(line)
        self._bytes += len(line)
        if self._bytes >= BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was added: it survives the end of the process."""
        text = memoryview(b"".join(self._waiting))
        self._hash.update(text)
        self._waiting, self._bytes = [], 0
        while text:
            text = text[os.write(self._fd, text) :]

    def sync(self) -> None:
        """Write what was added to the disk: it survives the end of the host."""
        self.flush()
        os.fsync(self._fd)

    def seal(self) -> Seal:
        """Append the seal and sync. Nothing may be added afterwards."""
        self.flush()
        seal = Seal(self._entries, self._hash.hexdigest())
        self._add(dump({"seal": seal.sha256, "entries": seal.entries}))
        self.sync()
        return seal


# --- reading ---------------------------------------------------------------------------------


def read_header(path: Path) -> Header | None:
    """Read the header. None if it is incomplete or of another format. Raises OSError."""
    with path.open("rb") as file:
        return _header(file.readline())


def _header(line: bytes) -> Header | None:
    try:
        values = load(line)
        if values["manifest"] != VERSION:
            return None
        found = values.get("bundles", [])
        bundles = tuple(Bundle(str(one["name"]), int(one["size"]), str(one["sha256"])) for one in found)
        number = int(values.get("number", 0))
        rule = str(values.get("shared", "")), str(values.get("group", ""))
        is_index = values.get("index") is True
        names = take_bytes(values, "source"), str(values["host"]), str(values["time"])
        return Header(*names, number, bundles, *rule, is_index)
    except (KeyError, ValueError, TypeError):
        return None


def read(path: Path, *, containing: bytes = b"") -> Iterator[Entry]:
    """Read the entries up to the seal, the end, or the first incomplete or damaged line. Raises OSError.

    `containing`: only those with this in their line, which spares parsing the others. No entry if the header is
    missing. `check` first a manifest that has to be whole.
    """
    with path.open("rb") as file:
        if _header(file.readline()) is None:
            return
        for line in file:
            if containing not in line:
                continue
            try:
                entry = parse(line)
            except ValueError:  # the seal is one too
                return
            yield entry


def read_lines(path: Path) -> Iterator[bytes]:
    """Read the lines after the header, unparsed, of a file that this process has just written. Raises OSError."""
    with path.open("rb") as file:
        file.readline()
        yield from file


def check(path: Path) -> Seal:
    """Read the whole manifest and compare it with its seal.

    Raises UsageError if there is none, Incomplete if it has no seal, BrokenSeal if it is not what was sealed, OSError.
    """
    if not path.exists():
        raise UsageError(f"{path}: no such manifest", next=f"ls -l {path.parent}")
    digest, entries, last = hashlib.sha256(), -2, b""  # neither header nor seal is an entry
    with path.open("rb") as file:
        header = _header(file.readline())
        file.seek(0)
        for line in file:
            digest.update(last)
            entries, last = entries + 1, line
    seal = _seal(path, last)
    if seal != Seal(entries, digest.hexdigest()):
        raise BrokenSeal(f"{path}: differs from its seal: it was changed or damaged", next=_restore_hint(path))
    if header is None:
        raise BrokenSeal(f"{path}: not a manifest of version {VERSION}", next=f"head -n 1 {path}")
    return seal


def _seal(path: Path, line: bytes) -> Seal:
    try:
        values = load(line)
        return Seal(int(values["entries"]), str(values["seal"]))
    except (KeyError, ValueError, TypeError):
        if line.endswith(b"\n") and _header(line) is None and not _is_entry(line):
            raise BrokenSeal(f"{path}: its last line is damaged", next=_restore_hint(path)) from None
    raise Incomplete(f"{path}: has no seal: its copy has not finished, or its end is lost", next=_restore_hint(path))


def _is_entry(line: bytes) -> bool:
    try:
        return bool(from_values(load(line)))
    except ValueError:
        return False


def _restore_hint(path: Path) -> str:
    return f"tail -n 1 {path}   (restore this file from a backup, or make the copy again)"


# --- interrupted runs ------------------------------------------------------------------------


def new_path(manifest: Path) -> Path:
    """Return where entries go while a copy runs."""
    return manifest.with_name(f"{manifest.name}.new")


def old_path(manifest: Path) -> Path:
    """Return where the entries of interrupted runs are."""
    return manifest.with_name(f"{manifest.name}.old")


def carry_over(manifest: Path) -> Path | None:
    """Merge what earlier runs have recorded, and return the file with it; None if there was none.

    Repeatable: kill -9 in it loses nothing. Raises BrokenSeal or Incomplete for a damaged manifest, OSError.
    """
    new, old = new_path(manifest), old_path(manifest)
    if not old.exists() and manifest.exists():
        check(manifest)
    known = next((path for path in (old, manifest) if path.exists()), None)
    header = read_header(new) if new.exists() else None
    if header is None:
        return known
    merged = manifest.with_name(f"{manifest.name}.merging")
    with Writer(merged, header) as writer:
        for entry in merge(read(new), iter(()) if known is None else read(known)):
            writer.add(entry)
        writer.sync()
    os.replace(merged, old)
    new.unlink()
    return old


def merge(preferred: Iterator[Entry], others: Iterator[Entry]) -> Iterator[Entry]:
    """Yield the entries of both in order; for a path that both have, the preferred one."""
    other = next(others, None)
    for entry in preferred:
        while other and order(other.path) < order(entry.path):
            yield other
            other = next(others, None)
        if other and other.path == entry.path:
            other = next(others, None)
        yield entry
    if other:
        yield other
        yield from others


class Known:
    """Looks up entries of a manifest by paths that ascend, in one pass over it."""

    def __init__(self, path: Path | None) -> None:
        self._entries = iter(()) if path is None else read(path)
        self._next = next(self._entries, None)

    def find(self, path: bytes) -> Entry | None:
        """Return the entry of `path`, which must be after that of the call before."""
        if self._next is None or self._next.path == path:
            return self._next
        wanted = order(path)
        while self._next and order(self._next.path) < wanted:
            self._next = next(self._entries, None)
        return self._next if self._next and self._next.path == path else None
