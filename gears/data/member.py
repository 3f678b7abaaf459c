"""A helper on another node: does batches that a run sends, with a pool of processes, as long as the run listens.

It ends when its input does, or is silent for too long: then nobody would take its results. Signals do not end it: the
run decides what becomes of a batch under way.
"""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import signal
import sys
import threading
import traceback
from concurrent.futures import Future
from typing import Any, NoReturn

from gears.data import pool
from gears.data.messages import Answer, Begin, Channel, End, Hello, Moved, Stop, Task
from gears.data.pulse import Pulse
from gears.data.tree import MARK
from gears.system.host import this_host

SILENT_S = 30.0
"""The run says something every second."""
TELL_S = 1.0
ENDING_S = 5.0


def serve(mark: str, jobs: int) -> NoReturn:
    """Work for the run at the other end of standard input and output. `mark`: of this process's temporary files."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.environ[MARK] = mark
    channel = Channel(os.dup(0), os.dup(1))
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)  # what a library prints is no message
    _Member(channel, jobs).carry_out()


class _Member:
    """Takes messages in one thread, and acts on them in another: the end is seen whatever is under way."""

    def __init__(self, channel: Channel, jobs: int) -> None:
        self._channel, self._jobs, self._messages = channel, jobs, queue.SimpleQueue[Any]()
        self._run, self._pools = 0, contextlib.ExitStack()
        self._pool: pool.Pool | None = None
        self._pulse: Pulse | None = None
        self._ended = threading.Event()

    def carry_out(self) -> NoReturn:
        """Work until the other end is gone."""
        try:
            self._channel.send(Hello(this_host().hostname, self._jobs))
            threading.Thread(target=self._receive, daemon=True).start()
            while True:
                try:
                    self._act(self._messages.get(timeout=TELL_S))
                except queue.Empty:
                    self._tell()
        except OSError:
            traceback.print_exc()
        os._exit(1)

    def _receive(self) -> None:
        message = None
        try:
            while (received := self._channel.receive(SILENT_S)) is not None:
                message = received
                if isinstance(message, Begin):
                    self._ended.clear()
                self._messages.put(message)
        finally:
            if isinstance(message, End):  # nothing is under way: the pool may end in order
                self._ended.wait(ENDING_S)
            os._exit(0)  # its processes end with it

    def _act(self, message: object) -> None:
        if isinstance(message, Begin):
            self._end()
            self._pulse = getattr(message.work, "pulse", None)
            self._pool = self._pools.enter_context(pool.open_pool(message.work, self._jobs, message.begin))
            self._run = message.run
        elif isinstance(message, Task) and self._pool and message.run == self._run:
            future = self._pool.submit(message.batch)
            future.add_done_callback(functools.partial(self._answer, message))
        elif isinstance(message, Stop) and self._pulse:
            self._pulse.stop()
        elif isinstance(message, End):
            self._end()
            self._ended.set()

    def _answer(self, task: Task, future: Future[Any]) -> None:
        """Send what came of a batch. Called in a thread of the pool."""
        error = None if future.cancelled() else future.exception()
        try:
            if isinstance(error, pool.WorkerGone):
                sys.stderr.write("a process of this helper was killed, perhaps for want of memory\n")
                os._exit(1)
            if isinstance(error, Exception):
                self._channel.send(Answer(task.run, task.number, error=error))
            else:  # the run is over for what was cancelled
                self._channel.send(Answer(task.run, task.number, None if future.cancelled() else future.result()))
        except OSError:
            os._exit(1)

    def _tell(self) -> None:
        if self._pulse:
            self._channel.send(Moved(self._run, self._pulse.moved))

    def _end(self) -> None:
        """End the processes of a run, after batches that have begun."""
        self._pools.close()
        self._pool = self._pulse = None
