"""What a get has written into its target: which file, by path, inode, size and times.

8 bytes a file, the start of a hash: a file that was noted for the same manifest need not be read again, and one that
was noted for any may be replaced. One that is not noted, since a run was killed just after it was renamed, is hashed.
Each worker has a file of its own, below the number of the manifest.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from bisect import bisect_left
from pathlib import Path

BYTES = 8
PORTION = 1 << 20
"""Notes that are sorted together, since sorting takes four times their memory."""


def key(path: bytes, info: os.stat_result) -> bytes:
    """Return what is noted of a file."""
    text = f"{info.st_ino} {info.st_size} {info.st_mtime_ns} {info.st_ctime_ns} ".encode()
    return hashlib.blake2b(text + path, digest_size=BYTES).digest()


def append(path: Path, keys: list[bytes]) -> None:
    """Note finished files."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(b"".join(keys))


class Journal:
    """All that earlier runs have noted below a directory. Takes 8 bytes of memory for each file."""

    def __init__(self, directory: Path) -> None:
        self._portions: list[array[int]] = []
        for path in sorted(directory.rglob("*")):
            if path.is_file():
                self._load(path)

    def _load(self, path: Path) -> None:
        with path.open("rb") as file:
            while data := file.read(PORTION * BYTES):
                keys = array("Q", data[: len(data) - len(data) % BYTES])
                self._portions.append(array("Q", sorted(keys)))

    def has(self, path: bytes, info: os.stat_result) -> bool:
        """Return whether a file is as it was written."""
        wanted = array("Q", key(path, info))[0]
        return any(_contains(keys, wanted) for keys in self._portions)


def _contains(keys: array[int], wanted: int) -> bool:
    place = bisect_left(keys, wanted)
    return place < len(keys) and keys[place] == wanted
