"""A bundle read as one stream, from which members are taken in the order of their offsets."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

from gears.data import contents
from gears.data.entries import Entry
from gears.data.stores.base import Store


class Damaged(OSError):
    """The bundle is missing, or ends before the member does."""


def read_bundle(store: Store, name: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
    """Yield a part of a bundle. Raises Damaged if it is not there, and what `Store.read` raises."""
    try:
        yield from store.read(name, offset, length)
    except FileNotFoundError as exc:
        raise Damaged(f"{name} is not there") from exc


class Stream:
    """Chunks of a bundle from `offset` on. `note` is called with the size of each; `digest`: of all that was read."""

    def __init__(self, chunks: Iterator[bytes], offset: int, note: Callable[[int], None]) -> None:
        self.position, self.digest = offset, hashlib.sha256()
        self._chunks, self._chunk, self._note = chunks, memoryview(b""), note

    def take(self, offset: int, length: int) -> Iterator[memoryview]:
        """Yield `length` bytes at `offset`, which is not before what was taken. Raises Damaged."""
        for _ in self._advance(offset - self.position):
            pass
        yield from self._advance(length)

    def _advance(self, length: int) -> Iterator[memoryview]:
        while length > 0:
            if not self._chunk and not self._fill():
                raise Damaged("its bundle ends before it")
            piece = self._chunk[:length]
            self._chunk = self._chunk[len(piece) :]
            self.position += len(piece)
            length -= len(piece)
            yield piece

    def _fill(self) -> bool:
        for chunk in self._chunks:
            if chunk:
                self.digest.update(chunk)
                self._note(len(chunk))
                self._chunk = memoryview(chunk)
                return True
        return False

    def close(self) -> None:
        """Stop reading: what holds the bundle open is closed."""
        close = getattr(self._chunks, "close", None)
        if close:
            close()

    def drain(self) -> None:
        """Read to the end."""
        self.position += len(self._chunk)
        while self._fill():
            self.position += len(self._chunk)
        self._chunk = memoryview(b"")


Place = Callable[[memoryview, int], None]


def take_file(stream: Stream, entry: Entry, place: Place = lambda _data, _position: None) -> str:
    """Take the contents of a file, give each piece to `place` with its position in it, and return their SHA-256."""
    digest, position, offset = hashlib.sha256(), 0, entry.offset or 0
    extents = ((0, entry.size),) if entry.extents is None else entry.extents
    for start, length in extents:
        contents.hash_zeros(digest, start - position)
        position = start
        for piece in stream.take(offset, length):
            digest.update(piece)
            place(piece, position)
            position += len(piece)
        offset += length
    contents.hash_zeros(digest, entry.size - position)
    return digest.hexdigest()
