"""The record of a task while it runs: numbers from the run, and a sign of life, written by a thread of its own."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import replace
from typing import Any

from gears.data import records
from gears.data.records import Step, Task
from gears.data.tally import Tally
from gears.sites.paths import RunDir
from gears.system import timestamps

EVERY_S = 2.0
"""The record is written at most so often."""
BEAT_S = 30.0
"""…and at least so often, also while a large file gives no numbers."""


class Reporter:
    """Keeps the record of a task. Used as a context, in which it is written; after it only by `record`."""

    def __init__(self, paths: RunDir, name: str, task: Task) -> None:
        self.task = task
        self._paths, self._name, self._base = paths, name, task.mark
        self._changed, self._ended, self._guard = True, threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._write_often, daemon=True)

    def __enter__(self) -> Reporter:
        self._save()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def change(self, **values: Any) -> None:
        """Change the record. It is written by and by."""
        with self._guard:
            self.task = replace(self.task, **values)
            self._changed = True

    def note_moved(self, tally: Tally) -> None:
        """Take over what a run has done so far."""
        size = max(tally.size, tally.copied_size)  # the latter has bytes of what is not whole yet, which is no progress
        self.change(files=tally.files, size=size, problems=tally.problems, mark=self._base + tally.copied)
        if tally.total_bundles:
            self.change(bundles=tally.bundles, total_bundles=tally.total_bundles)

    def begin(self, step: Step) -> None:
        """Begin a step."""
        self._base = self.task.mark
        self.record(step=step)

    def record(self, **values: Any) -> None:
        """Change the record, and write it at once. Raises OSError."""
        self.change(**values)
        self._save()

    def end(self, task: Task) -> None:
        """Replace the record by that of the end, and write it. Raises OSError."""
        with self._guard:
            self.task = task
        self._save()

    def _write_often(self) -> None:
        last = time.monotonic()
        while not self._ended.wait(EVERY_S):
            if self._changed or time.monotonic() - last > BEAT_S:
                last = time.monotonic()
                with contextlib.suppress(OSError):  # a full home must not end the transfer
                    self._save()

    def _save(self) -> None:
        with self._guard:
            self._changed, task = False, replace(self.task, updated=timestamps.utc_now())
        records.save_task(self._paths, self._name, task)
