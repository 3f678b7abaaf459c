"""What the processes of a run tell one another while a batch is under way: bytes moved, and the request to stop.

A file of a terabyte takes longer than a caller may wait for news: so each buffer is counted, and the request to stop is
seen after it. The counters are in memory that the workers share with the process that started them. They have no lock:
its semaphore would stay in /dev/shm if all processes were killed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.context import get_spawning_popen
from typing import Any

from gears.errors import Paused

EVERY_S = 1.0
"""How often the process that has started a run is called while bytes move."""

MustStop = Callable[[], str]
"""Returns why a run has to stop, or an empty text. Called about once a second."""


def never() -> str:
    """Return that nothing asks the run to stop."""
    return ""


class StopRequested(Exception):
    """The run has to stop: the file under way is given up."""


SLOTS = 1024
"""Counters, of which each process takes one by its pid. Two of one counter may lose some of what they show."""


class Pulse:
    """Counts bytes over all processes of a run on this host; pickled for another host it is a new one.

    `far`: what was moved on other hosts, by process; for the process that has started the run.
    """

    def __init__(self) -> None:
        context = get_context("spawn")
        self._moved, self._stop = context.RawArray("Q", SLOTS), context.RawValue("b", 0)
        self.far: dict[str, int] = {}

    def __reduce__(self) -> tuple[Callable[..., Pulse], tuple[Any, ...]]:
        """Pickle with what is shared for a process that multiprocessing starts, and without it for all else."""
        return (Pulse, ()) if get_spawning_popen() is None else (_joined, (self._moved, self._stop))

    def add(self, size: int) -> None:
        """Count bytes that were moved."""
        self._moved[os.getpid() % SLOTS] += size

    def require_going_on(self) -> None:
        """Raise StopRequested if the run has to stop."""
        if self._stop.value:
            raise StopRequested

    @property
    def moved(self) -> int:
        """How many bytes were moved."""
        here: int = sum(self._moved)
        return here + sum(self.far.values())

    @property
    def stopped(self) -> bool:
        """Whether all processes were asked to stop."""
        return bool(self._stop.value)

    def stop(self) -> None:
        """Ask all processes to stop."""
        self._stop.value = 1


def _joined(moved: Any, stop: Any) -> Pulse:
    pulse = Pulse()
    pulse._moved, pulse._stop = moved, stop
    return pulse


class Ticker:
    """Calls `beat` about once a second, and asks `must_stop`, in the process that has started a run."""

    def __init__(self, pulse: Pulse, must_stop: MustStop, beat: Callable[[], None]) -> None:
        self.reason = ""
        self._pulse, self._must_stop, self._beat = pulse, must_stop, beat
        self._due = time.monotonic() + EVERY_S

    def tick(self) -> None:
        """Do what is due."""
        if time.monotonic() >= self._due:
            self.now()

    def now(self) -> None:
        """Call both, due or not."""
        self._due = time.monotonic() + EVERY_S
        self._beat()
        self.reason = self.reason or self._must_stop()
        if self.reason:
            self._pulse.stop()

    def require_going_on(self) -> None:
        """Raise Paused if the run had to stop."""
        if self.reason:
            text = f"{self.reason}; all that is finished is kept, and the same command goes on"
            raise Paused(text, next="gears data status")
