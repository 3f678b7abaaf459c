"""Access to the files of a tree without following a symbolic link, and walks in the order of manifests.

Below its root each directory is opened relative to the one above it, with O_NOFOLLOW: nobody can lead a copy elsewhere
by replacing a directory with a link.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
TEMPORARY = re.compile(rb"\.gears-part-[0-9a-f]{16}-[0-9]+")
"""Names of files that are not whole yet."""
MARK, MARK_BYTES = "GEARS_PART_MARK", 4
"""Variable with the beginning of all tokens in such names that a process and its children use; how long it is."""


def new_token() -> str:
    """Return the part of the names of temporary files that no other process has."""
    mark = os.environ.get(MARK, "")
    return mark + secrets.token_hex(8 - len(mark) // 2)


def split(path: bytes) -> tuple[bytes, bytes]:
    """Split a path in a tree into its directory (`.` at the top) and its name."""
    directory, _, name = path.rpartition(b"/")
    return directory or b".", name


def is_in(path: bytes, directory: bytes) -> bool:
    """Tell whether a path is below a directory; each is below `.`."""
    return directory == b"." or path.startswith(directory + b"/")


class Tree:
    """A directory tree. It keeps the directory that was used last open."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._path, self._fd = b"", -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[Tree], tuple[Path]]:
        """Pickle without the open directory: its descriptor is of this process."""
        return Tree, (self.root,)

    def close(self) -> None:
        """Close the open directory. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
        self._path, self._fd = b"", -1

    def directory(self, path: bytes) -> int:
        """Open a directory: valid until the next call. Raises OSError, also for a symbolic link on the way."""
        if path != self._path or self._fd < 0:
            self.close()
            fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            for name in () if path == b"." else path.split(b"/"):
                fd = _descend(fd, name)
            self._path, self._fd = path, fd
        return self._fd

    def lstat(self, path: bytes) -> os.stat_result:
        """Return stat(2) of a path. Raises OSError."""
        if path == b".":
            return os.fstat(self.directory(path))
        directory, name = split(path)
        return os.stat(name, dir_fd=self.directory(directory), follow_symlinks=False)

    @contextlib.contextmanager
    def opened(self, path: bytes, *, keep_atime: bool = False) -> Iterator[int]:
        """Open a file or directory for reading: a descriptor. Never blocks, whatever it is. Raises OSError.

        `keep_atime`: do not change its atime, where that is permitted.
        """
        fd = self.open(path, keep_atime=keep_atime)
        try:
            yield fd
        finally:
            os.close(fd)

    def open(self, path: bytes, *, keep_atime: bool = False) -> int:
        """Open a file or directory as `opened` does, for the caller to close. Raises OSError."""
        directory, name = (path, b".") if path == b"." else split(path)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        at = self.directory(directory)
        if keep_atime:
            try:
                return os.open(name, flags | os.O_NOATIME, dir_fd=at)
            except PermissionError:  # only the owner may
                pass
        return os.open(name, flags, dir_fd=at)

    def ensure_directory(self, path: bytes) -> None:
        """Create a directory, 0700, or make the existing one accessible and free of temporaries. Raises OSError."""
        if path != b".":
            directory, name = split(path)
            at = self.directory(directory)
            try:
                os.mkdir(name, 0o700, dir_fd=at)
                return
            except FileExistsError:
                _make_accessible(name, at)
        self.clear_temporaries(path)

    def clear_temporaries(self, path: bytes, mark: str = "") -> None:
        """Remove files that an interrupted copy has left in a directory. Raises OSError.

        `mark`: only those of the process with it.
        """
        fd, beginning = self.directory(path), f".gears-part-{mark}"
        for entry in os.listdir(fd):
            if entry.startswith(beginning) and TEMPORARY.fullmatch(os.fsencode(entry)):
                os.unlink(entry, dir_fd=fd)


def _descend(fd: int, name: bytes) -> int:
    try:
        return os.open(name, DIRECTORY, dir_fd=fd)
    finally:
        os.close(fd)


def _make_accessible(name: bytes, directory: int) -> None:
    """Add read, write and search permission for the owner: a copied directory may forbid them."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
        if mode & 0o700 != 0o700:
            os.chmod(f"/proc/self/fd/{fd}", mode | 0o700)
    finally:
        os.close(fd)


# --- walks -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """A file in a walk. `info`: of stat(2), None if it has vanished; `problem`: why a directory can't be read."""

    path: bytes
    info: os.stat_result | None
    problem: str | None = None


@dataclass(slots=True)
class _Level:
    """A directory of which a walk has still to visit some names, the last one first."""

    path: bytes
    fd: int
    names: list[bytes] = field(default_factory=list)


def walk(root: Path, enter: Callable[[bytes], bool] = lambda _path: True) -> Iterator[Found]:
    """Yield the root and all below it, in order. It holds the names of the directories on the way in memory.

    A directory for which `enter` returns False is yielded, and not what is in it. Raises OSError for the root only.
    """
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    levels = [_Level(b".", fd, _names(fd))]
    try:
        yield Found(b".", os.fstat(fd))
        if not enter(b"."):
            return
        while levels:
            if not levels[-1].names:
                os.close(levels.pop().fd)
                continue
            found, below = _visit(levels[-1], levels[-1].names.pop())
            if below:
                levels.append(below)
            yield found
            if below and not enter(found.path):
                below.names.clear()
    finally:
        for level in levels:
            os.close(level.fd)


def _visit(level: _Level, name: bytes) -> tuple[Found, _Level | None]:
    path = name if level.path == b"." else level.path + b"/" + name
    try:
        info = os.stat(name, dir_fd=level.fd, follow_symlinks=False)
    except OSError as exc:
        return Found(path, None, exc.strerror), None
    if not stat.S_ISDIR(info.st_mode):
        return Found(path, info), None
    try:
        fd = os.open(name, DIRECTORY, dir_fd=level.fd)
    except OSError as exc:
        return Found(path, info, exc.strerror), None
    try:
        return Found(path, info), _Level(path, fd, _names(fd))
    except OSError as exc:
        os.close(fd)
        return Found(path, info, exc.strerror), None


def _names(fd: int) -> list[bytes]:
    return sorted((os.fsencode(name) for name in os.listdir(fd)), reverse=True)
