"""Progress of workers and the request to stop, through files: the parent looks, the workers note.

The parent asks `must_stop` at most once a second, while it waits; a worker looks at each chunk, at most twice a second.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from gears.data.tally import Tally
from gears.errors import Paused

OnProgress = Callable[[Tally], None]
MustStop = Callable[[], str]

PARENT_S, WORKER_S = 1.0, 0.5
STOP = "stop"


@dataclass(slots=True)
class Signals:
    """A worker's end. `poll`: the parent's own look, where it does the work itself."""

    directory: Path
    poll: Callable[[], None] | None = None
    _size: int = 0
    _due: float = 0.0

    def note(self, size: int) -> None:
        """Count bytes. Raises Paused if the run has to stop."""
        self._size += size
        self.look_at_times()

    def look_at_times(self) -> None:
        """Look, if half a second has passed. Raises Paused if the run has to stop."""
        if time.monotonic() >= self._due:
            self.look()

    def look(self) -> None:
        """Report the bytes so far. Raises Paused if the run has to stop."""
        self._due = time.monotonic() + WORKER_S
        try:
            self._path.write_text(str(self._size))
        except FileNotFoundError as exc:
            raise Paused("the run that this worker helps has ended; what is finished stays") from exc
        if self.poll:
            self.poll()
        if (stop := self.directory / STOP).exists():
            raise Paused(f"{stop.read_text() or 'asked to stop'}; what is finished stays, and the same command goes on")

    def finish(self) -> None:
        """Forget the bytes: the result has them now."""
        self._size, self._due = 0, 0.0
        self._path.unlink(missing_ok=True)

    @property
    def _path(self) -> Path:
        return self.directory / f"{os.getpid()}@{os.uname().nodename}"


@dataclass(slots=True)
class Watch:
    """The parent's end. `tally`: of all that is finished."""

    directory: Path
    must_stop: MustStop
    on_progress: OnProgress
    tally: Tally = field(default_factory=Tally)
    _reason: str = ""
    _due: float = 0.0
    _shown: int = 0

    def __post_init__(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(mode=0o700, parents=True)

    def signals(self, jobs: int) -> Signals:
        """Return the end of the workers."""
        return Signals(self.directory, self.poll if jobs <= 1 else None)

    def poll(self) -> None:
        """Ask whether to stop, and report, if a second has passed."""
        if time.monotonic() >= self._due:
            self.report()

    def report(self) -> None:
        """Ask whether to stop, and tell the workers; report what is finished and what is under way."""
        self._due = time.monotonic() + PARENT_S
        stop = self.directory / STOP
        if not stop.exists() and (reason := self.must_stop()):
            stop.with_name(".stop").write_text(reason)
            stop.with_name(".stop").rename(stop)
            self._reason = reason
        self._shown = max(self._shown, self.tally.copied_size + self._under_way())  # headers count only on the way
        self.on_progress(replace(self.tally, copied_size=self._shown))

    def check(self) -> None:
        """Raise Paused if the run has to stop. For what the parent does itself."""
        self.poll()
        if self._reason:
            raise Paused(f"{self._reason}; what is finished stays, and the same command goes on")

    def _under_way(self) -> int:
        total = 0
        for path in self.directory.glob("[0-9]*"):
            try:
                total += int(path.read_text() or 0)
            except (OSError, ValueError):  # another node's, just made or removed; it is only shown
                continue
        return total
