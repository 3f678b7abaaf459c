"""The interface of stores: each module of this package has a class with these methods, and `open_store(path)`.

What a store accepts is not proven by it: `bundles` reads everything back and compares.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gears.data.tree import TEMPORARY
from gears.errors import CommandFailed

CHUNK_BYTES = 1 << 20


class Store(Protocol):
    """A directory that holds whole files. Each method may be repeated.

    Each raises LoginNeeded if the user has to log in, NotReachable if the place does not answer, Incomplete if it has
    no room or the connection was cut, CommandFailed for other failures.
    """

    ranged: bool
    """Whether reading a part of a file takes no longer than the part."""

    def write(self, name: str, chunks: Iterable[bytes]) -> None:
        """Store a file, whole or not at all, in place of one of this name. It is durable when this returns.

        Errors of `chunks` pass through, and nothing is stored.
        """

    def read(self, name: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Read a file, or the part of it, in chunks, from the medium rather than from memory where that is possible.

        Raises FileNotFoundError if there is no such file; this may come with the first chunk.
        """

    def sizes(self) -> dict[str, int]:
        """Return name and size in bytes of all whole files; empty if the directory does not exist."""

    def remove(self, name: str) -> None:
        """Remove a file that gears itself has written and not sealed. No error if there is none."""


class ByProgram(Store, Protocol):
    """A store that is reached by a program."""

    def explain(self, exc: CommandFailed) -> Exception:
        """Return what a failure of the program means."""


@dataclass(frozen=True, slots=True)
class Near:
    """The near end of transfers by Globus: a directory of this host, and the path that it has in a collection.

    `client`: the id of the registered application for which the user logs in; `tokens`: the file of its tokens.
    """

    collection: str
    path: str
    directory: Path
    client: str
    tokens: Path


class Expected:
    """The chunks of a file of about `size` bytes, for stores that have to know that before."""

    def __init__(self, chunks: Iterable[bytes], size: int) -> None:
        self._chunks, self.size = chunks, size

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._chunks)


class Source:
    """The chunks of a file, which remember whether it was they that failed."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._chunks
        except BaseException as exc:
            self.error = exc
            raise


def part_stem(name: str) -> str:
    """Return the beginning of the names that a file has before it is whole, the same in each attempt."""
    return f".gears-part-{hashlib.sha256(name.encode()).hexdigest()[:16]}-"


def part_name(name: str) -> str:
    """Return a name for a file that is not whole yet (`tree.TEMPORARY`), another one in each attempt."""
    return f"{part_stem(name)}{secrets.randbelow(10**12)}"


def is_part(name: str) -> bool:
    """Return whether this is the name of a file that is not whole."""
    return bool(TEMPORARY.fullmatch(os.fsencode(name)))
