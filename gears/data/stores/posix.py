"""A directory of a mounted file system as a store.

Files are the owner's alone. In a directory that its group shares (`sharing.share` made it) others may read them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from gears.data.contents import is_full
from gears.data.stores.base import CHUNK_BYTES
from gears.data.tree import TEMPORARY
from gears.errors import Incomplete, NotReachable

PRIVATE, READABLE = 0o600, 0o044
SHARED = stat.S_ISGID | stat.S_IRWXG


def open_store(path: str) -> PosixStore:
    """Return the directory `path` as a store. It need not exist."""
    return PosixStore(Path(path))


class PosixStore:
    """Files in a directory, 0600 in 0700; 0640 in 02770, and 0644 where all may read that."""

    ranged = True

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, name: str, chunks: Iterable[bytes]) -> None:
        """Store a file (`base.Store.write`)."""
        with self._translated():
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = self.directory / f".gears-part-{secrets.token_hex(8)}-0"
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            for chunk in chunks:
                with self._translated():
                    _write(fd, chunk)
            with self._translated():
                os.fchmod(fd, _mode_in(self.directory))
                os.fsync(fd)
                os.rename(part, self.directory / name)
                self._sync()
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)

    def read(self, name: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Read a file (`base.Store.read`), from the disk: its pages in memory are dropped first."""
        fd = os.open(self.directory / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            left = os.fstat(fd).st_size - offset if length is None else length
            while left > 0 and (chunk := os.pread(fd, min(left, CHUNK_BYTES), offset)):
                yield chunk
                offset, left = offset + len(chunk), left - len(chunk)
        finally:
            os.close(fd)

    def sizes(self) -> dict[str, int]:
        """Return the files (`base.Store.sizes`)."""
        try:
            with os.scandir(self.directory) as found:
                return {
                    one.name: one.stat(follow_symlinks=False).st_size
                    for one in found
                    if one.is_file(follow_symlinks=False) and not TEMPORARY.fullmatch(os.fsencode(one.name))
                }
        except FileNotFoundError:
            return {}

    def remove(self, name: str) -> None:
        """Remove a file (`base.Store.remove`)."""
        (self.directory / name).unlink(missing_ok=True)

    def clear_parts(self) -> None:
        """Remove files that an interrupted run has not finished. Only for the one run that writes."""
        with self._translated(), contextlib.suppress(FileNotFoundError):
            for path in self.directory.glob(".gears-part-*"):
                if TEMPORARY.fullmatch(os.fsencode(path.name)):
                    path.unlink(missing_ok=True)

    def _sync(self) -> None:
        fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            if is_full(exc):
                raise Incomplete(f"{self.directory}: {exc.strerror}", next=f"df -h {self.directory}") from exc
            raise NotReachable(f"{self.directory}: {exc.strerror}", next=f"ls -ld {self.directory}") from exc


def _mode_in(directory: Path) -> int:
    """Return the mode of files in a directory."""
    mode = directory.stat().st_mode
    is_shared = mode & SHARED == SHARED
    return PRIVATE | (mode & READABLE if is_shared else 0)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
