"""Compressed copies of files that browsers load, named after the checksum of their content. Knows nothing of Jupyter.

A copy is made once: with the environment for its own files, else after the first request for a file. The originals are
only read. A directory of copies can be removed at any time: a file without a copy is served as it is.
"""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gears.errors import GearsError
from gears.system import files

TEXT = frozenset({".css", ".eot", ".html", ".js", ".json", ".map", ".mjs", ".svg", ".ttf", ".txt", ".wasm", ".xml"})
"""Suffixes of files that become much smaller: text, and fonts without a compression of their own."""

LEAST_BYTES, MOST_BYTES = 512, 32_000_000
"""Sizes of files that get copies. Smaller ones fit into one packet; larger ones would use too much memory."""

QUALITY = {"br": 9, "gzip": 9}
BEST_QUALITY = 11
"""brotli's: 9 % less than 9, in 15 times the time."""

KEPT_BYTES = 100_000_000
"""Most of all copies in the home; the oldest are removed first."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A file's content in an encoding. `tag`: a name for both together, for an ETag."""

    encoding: str
    content: bytes
    tag: str


def accepted(header: str) -> str:
    """Return the encoding to use for a client with this Accept-Encoding (RFC 9110, 12.5.3): br, gzip, or ""."""
    offers: dict[str, bool] = {}
    for offer in header.lower().split(","):
        name, _, parameter = (word.strip() for word in offer.partition(";"))
        offers[name] = not parameter.replace(" ", "") or float_or_0(parameter.partition("=")[2]) > 0
    return next((name for name in QUALITY if offers.get(name)), "")


def float_or_0(text: str) -> float:
    """Return the number that `text` is; 0 where it is none."""
    try:
        return float(text)
    except ValueError:
        return 0.0


def compress(content: bytes, encoding: str, quality: int) -> bytes:
    """Return `content` in an encoding. Releases the interpreter's lock while it works."""
    if encoding == "gzip":
        return gzip.compress(content, min(quality, 9), mtime=0)
    import brotli  # type: ignore[import-untyped]

    return bytes(brotli.compress(content, quality=quality))


class Store:
    """Copies in several directories; new ones are written to the last. For one process, any of its threads.

    `mode`: of new files, before the umask.
    """

    def __init__(self, directories: Iterable[Path], mode: int = 0o600) -> None:
        self.directories = [str(directory) for directory in directories]
        self._mode = mode
        self._digests: dict[str, tuple[tuple[int, ...], str]] = {}
        self._failed: set[str] = set()

    def find(self, file: str, encoding: str) -> Copy | None:
        """Return the copy of a file; None where there is none, or none that is smaller. Raises OSError for the file."""
        digest = self._digest(file)
        for directory in map(Path, self.directories):
            try:
                content = (directory / f"{digest}.{encoding}").read_bytes()
            except OSError:
                continue
            return Copy(encoding, content, f"{digest[:24]}-{encoding}") if content else None
        return None

    def needs(self, file: str, encoding: str) -> bool:
        """Return whether a copy is missing and can be tried. Raises OSError for the file."""
        name = f"{self._digest(file)}.{encoding}"
        return name not in self._failed and not any(Path(folder, name).exists() for folder in self.directories)

    def add(self, file: str, encoding: str, quality: int = 0) -> None:
        """Make the copy of a file, empty where it would not be smaller. A failure is only noted."""
        digest = self._digest(file)
        try:
            content = Path(file).read_bytes()
            small = compress(content, encoding, quality or QUALITY[encoding])
            target = Path(self.directories[-1])
            if hashlib.sha256(content).hexdigest() == digest:  # else it was replaced meanwhile
                self._write(target / f"{digest}.{encoding}", small if len(small) < 0.9 * len(content) else b"")
        except (OSError, GearsError, MemoryError):
            self._failed.add(f"{digest}.{encoding}")

    def write(self, name: str, content: bytes) -> Path:
        """Write another file into the last directory, and return its path. Raises OSError or GearsError."""
        path = Path(self.directories[-1], name)
        self._write(path, content)
        return path

    def locate(self, name: str) -> Path | None:
        """Return the path of such a file."""
        return next((path for folder in self.directories if (path := Path(folder, name)).is_file()), None)

    def prune(self, most_bytes: int = KEPT_BYTES) -> None:
        """Remove the oldest files of the last directory until the rest has `most_bytes`. Raises OSError."""
        found = [entry for entry in os.scandir(self.directories[-1]) if entry.is_file(follow_symlinks=False)]
        total = sum(entry.stat().st_size for entry in found)
        for entry in sorted(found, key=lambda entry: entry.stat().st_mtime):
            if total <= most_bytes:
                return
            total -= entry.stat().st_size
            Path(entry.path).unlink(missing_ok=True)

    def remove_others(self, sources: Iterable[str], names: Iterable[str]) -> None:
        """Remove from the last directory what is neither a copy of one of `sources` nor called one of `names`."""
        folder = Path(self.directories[-1])
        kept = set(names)
        digests = {self._digest(file) for file in (*sources, *(str(folder / name) for name in kept))}
        for path in folder.iterdir():
            if path.name.partition(".")[0] not in digests and path.name not in kept:
                path.unlink(missing_ok=True)

    def _write(self, path: Path, content: bytes) -> None:
        if self._mode == 0o600:
            files.ensure_private(path.parent)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path, content, self._mode)

    def _digest(self, file: str) -> str:
        """Return the checksum of a file's content, from memory as long as its size, time and inode are the same."""
        info = os.stat(file)
        key = info.st_size, info.st_mtime_ns, info.st_ino, info.st_dev
        known = self._digests.get(file)
        if not known or known[0] != key:
            known = key, hashlib.sha256(Path(file).read_bytes()).hexdigest()
            self._digests[file] = known
        return known[1]


def is_worthwhile(file: str, size: int) -> bool:
    """Return whether a file of this name and size gets copies."""
    return os.path.splitext(file)[1].lower() in TEXT and LEAST_BYTES <= size <= MOST_BYTES
