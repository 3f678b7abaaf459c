"""The list of checksums beside a manifest, for `cd COPY && sha256sum -c FILE`.

Names are escaped as coreutils does it from 9.0 on: a line with a backslash in front has `\\\\`, `\\n` and `\\r` in its
name. Each begins with `./`, since a bare `-` would be standard input.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from gears.data.entries import Entry

ESCAPES = ((b"\\", b"\\\\"), (b"\n", b"\\n"), (b"\r", b"\\r"))
NEEDS_ESCAPE = re.compile(rb"[\\\n\r]").search


def checksums_path(manifest: Path) -> Path:
    """Return where the checksums of a manifest are: `run7.SHA256SUMS` beside `run7.jsonl`."""
    return manifest.with_name(f"{manifest.stem}.SHA256SUMS")


class Checksums:
    """Writes the list at `path` anew, 0600; that of before is there until `finish`. Each call may raise OSError."""

    def __init__(self, path: Path) -> None:
        self._path, self._temporary = path, path.with_name(f".{path.name}.new")
        fd = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(fd, "wb", buffering=1 << 18)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(*(() if error is None else (OSError,))):
            self._file.close()

    def add(self, lines: bytes) -> None:
        """Append lines that `to_lines` has formatted."""
        self._file.write(lines)

    def finish(self) -> None:
        """Replace the list by the new one, atomically."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._temporary, self._path)


def write_checksums(path: Path, entries: Iterable[Entry]) -> None:
    """Replace the list at `path` atomically, 0600, by the held files of `entries`. Raises OSError."""
    with Checksums(path) as checksums:
        for entry in entries:
            checksums.add(to_lines((entry,)))
        checksums.finish()


def to_lines(entries: Iterable[Entry]) -> bytes:
    """Format the lines of the files among entries whose contents are known."""
    return b"".join(to_line(entry) for entry in entries if entry.sha256 and entry.held)


def to_line(entry: Entry) -> bytes:
    """Format the line of a file, with a newline."""
    name = entry.path
    if not NEEDS_ESCAPE(name):
        return f"{entry.sha256}  ./".encode() + name + b"\n"
    for plain, escaped in ESCAPES:
        name = name.replace(plain, escaped)
    return b"\\" + f"{entry.sha256}  ./".encode() + name + b"\n"
