"""What a run and its helpers on other nodes say to each other: over two pipes, each message a line.

Lines, since srun passes output on by lines; of base64, so that no byte in them ends one.
"""

from __future__ import annotations

import base64
import os
import pickle
import select
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

READ_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Hello:
    """A helper is ready, on `host` with so many processes."""

    host: str
    jobs: int


@dataclass(frozen=True, slots=True)
class Begin:
    """A run begins: its number, what does a batch, and what each process calls before."""

    run: int
    work: Callable[[Any], Any]
    begin: Callable[[], object] | None


@dataclass(frozen=True, slots=True)
class Task:
    """A batch of a run to do."""

    run: int
    number: int
    batch: Any


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a batch: a result, or the error instead."""

    run: int
    number: int
    result: Any = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """How many bytes a helper has moved in a run so far."""

    run: int
    size: int


@dataclass(frozen=True, slots=True)
class Stop:
    """The run has to stop: give up what is under way."""


@dataclass(frozen=True, slots=True)
class End:
    """The run is over: begin no further batch of it."""


@dataclass(frozen=True, slots=True)
class Beat:
    """The sender is alive."""


class Channel:
    """One end of the two pipes. Any thread may send, one thread may receive."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = reading, writing
        self._guard, self._rest = threading.Lock(), bytearray()

    def send(self, message: object) -> None:
        """Send a message; waits until the other end reads. Raises OSError if that is gone."""
        text = memoryview(base64.b64encode(zlib.compress(pickle.dumps(message), 1)) + b"\n")
        with self._guard:
            while text:
                text = text[os.write(self._writing, text) :]

    def receive(self, silence_s: float | None = None) -> Any:
        """Return the next message; None at the end, or after so much silence. Raises OSError, ValueError if damaged."""
        start = 0
        while (end := self._rest.find(b"\n", start)) < 0:
            start = len(self._rest)
            if not select.select([self._reading], [], [], silence_s)[0]:
                return None
            if not (read := os.read(self._reading, READ_BYTES)):
                return None
            self._rest += read
        line = bytes(self._rest[:end])
        del self._rest[: end + 1]
        return pickle.loads(zlib.decompress(base64.b64decode(line)))
