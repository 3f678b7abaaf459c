"""The bytes of a file: read, hashed, and written to a copy in the same pass."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable

from gears.data.entries import Extents

BUFFER_BYTES = 1 << 20
"""Larger buffers were slower: 4 MiB took more than twice the time."""
WRITING_BYTES = 32 << 20
"""After how many bytes the kernel is told to begin writing to the disk, so that a sync at the end has little to do."""

_buffer = bytearray(BUFFER_BYTES)
_zeros = bytes(BUFFER_BYTES)


def copy(
    source: int, target: int, size: int, extents: Extents | None, on_bytes: Callable[[int], None] | None = None
) -> str | None:
    """Copy a file of `size` bytes into an empty one, its holes as holes, and return its SHA-256.

    `on_bytes` is called after each buffer with its size; what it raises passes through. None if the source has ended
    early. Raises OSError.
    """
    digest, position, view = hashlib.sha256(), 0, memoryview(_buffer)
    for start, length in ((0, size),) if extents is None else extents:
        hash_zeros(digest, start - position)
        position, end = start, start + length
        while position < end:
            read = os.preadv(source, [view[: end - position]], position)
            if not read:
                return None
            digest.update(view[:read])
            write_at(target, view[:read], position)
            position += read
            if on_bytes:
                on_bytes(read)
            if position % WRITING_BYTES < read and size >= WRITING_BYTES:
                start_writing(target)
    if position < size:
        hash_zeros(digest, size - position)
        os.ftruncate(target, size)
    return digest.hexdigest()


def hash_zeros(digest: hashlib._Hash, length: int) -> None:
    """Hash a hole, as zeros."""
    while length > 0:
        digest.update(memoryview(_zeros)[: min(length, BUFFER_BYTES)])
        length -= BUFFER_BYTES


def write_at(fd: int, data: memoryview, position: int) -> None:
    """Write all of `data` at a position. Raises OSError."""
    while data:
        written = os.pwrite(fd, data, position)
        data, position = data[written:], position + written


def sha256(fd: int, on_read: Callable[[], None] = lambda: None) -> str:
    """Read a file to its end, from the disk rather than from memory, and return its SHA-256. Raises OSError.

    `on_read` is called after each buffer.
    """
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    digest, view = hashlib.sha256(), memoryview(_buffer)
    while read := os.readv(fd, [view]):
        digest.update(view[:read])
        on_read()
    return digest.hexdigest()


def start_writing(fd: int) -> None:
    """Let the kernel begin to write what was written of a copy to the disk, and then to forget it."""
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def is_full(error: OSError) -> bool:
    """Return whether the file system or the quota has no room left."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
