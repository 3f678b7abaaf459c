"""The list of checksums beside a manifest, for `cd COPY && sha256sum -c FILE`.

Names are escaped as coreutils does it from 9.0 on: a line with a backslash in front has `\\\\`, `\\n` and `\\r` in its
name. Each begins with `./`, since a bare `-` would be standard input.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from gears.data.entries import Entry

ESCAPES = ((b"\\", b"\\\\"), (b"\n", b"\\n"), (b"\r", b"\\r"))


def checksums_path(manifest: Path) -> Path:
    """Return where the checksums of a manifest are: `run7.SHA256SUMS` beside `run7.jsonl`."""
    return manifest.with_name(f"{manifest.stem}.SHA256SUMS")


def write_checksums(path: Path, entries: Iterator[Entry]) -> None:
    """Replace the list at `path` atomically, 0600, by the held files of `entries`. Raises OSError."""
    temporary = path.with_name(f".{path.name}.new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.writelines(to_line(entry) for entry in entries if entry.sha256 and entry.held)
        file.flush()
        os.fsync(fd)
    os.replace(temporary, path)


def to_line(entry: Entry) -> bytes:
    """Format the line of a file, with a newline."""
    name = entry.path
    for plain, escaped in ESCAPES:
        name = name.replace(plain, escaped)
    return (b"" if name == entry.path else b"\\") + f"{entry.sha256}  ./".encode() + name + b"\n"
