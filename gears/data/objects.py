"""Stores of objects: files that are named for the MD5 of what they contain, as DVC keeps them in caches and remotes.

A store is a directory with `files/md5/ab/cdef…`; the list of a directory's files has `.dir` behind its name.
`object_copies` writes into one.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LAYOUT = Path("files", "md5")
LIST = ".dir"
"""What the name of a directory's list ends with."""

IN_PLACE = "workspaces"
"""The directory of a place in which each workspace has one."""
CACHE, REMOTE = "dvc-cache", "dvc-remote"
"""The stores of a workspace there."""

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """A store at `root`, which exists."""

    root: Path

    def path(self, name: str) -> Path:
        """Return the path of an object. Pure."""
        return self.root / LAYOUT / name[:2] / name[2:]

    def names(self) -> list[str]:
        """Return the names of all objects, sorted."""
        return sorted(path.parent.name + path.name for path in self.root.joinpath(LAYOUT).glob("??/*"))

    def size(self, name: str) -> int | None:
        """Return the size of an object in bytes; None if there is none."""
        try:
            info = self.path(name).lstat()
        except OSError:
            return None
        return info.st_size if stat.S_ISREG(info.st_mode) else None

    def is_whole(self, name: str) -> bool:
        """Read an object from the disk, and tell whether it has its MD5; False if it can't be read."""
        try:
            return md5_of(self.path(name)) == digest_of(name)
        except OSError:
            return False


def read_first(stores: Sequence[ObjectStore], name: str) -> bytes | None:
    """Read an object from the first store that has it whole; None if none has."""
    return next((store.path(name).read_bytes() for store in stores if store.is_whole(name)), None)


def digest_of(name: str) -> str:
    """Return the MD5 that an object has to have. Pure."""
    return name.removesuffix(LIST)


def md5_of(path: Path) -> str:
    """Read a file from the disk rather than from memory, and return its MD5. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        digest = new_md5()
        for chunk in iter(lambda: os.read(fd, CHUNK_BYTES), b""):
            digest.update(chunk)
        return digest.hexdigest()
    finally:
        os.close(fd)


def new_md5() -> hashlib._Hash:
    """Return an MD5 to which bytes can be added."""
    return hashlib.md5(usedforsecurity=False)
