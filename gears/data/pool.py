"""Processes that do batches, each reached by a pipe and a thread of its own.

The pools of the standard library have semaphores, which stay in /dev/shm if all processes are killed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from gears.errors import Incomplete


@contextlib.contextmanager
def open_pool(work: Callable[[Any], Any], jobs: int, begin: Callable[[], object] | None) -> Iterator[Pool]:
    """Make a pool that ends with the block: after batches that have begun, or at once after Ctrl-C."""
    pool = Pool(work, jobs, begin)
    try:
        yield pool
    except WorkerGone as exc:
        pool.kill()
        raise Incomplete("a worker process was killed, perhaps for want of memory", next="free -m") from exc
    except KeyboardInterrupt:
        pool.kill()
        raise
    finally:
        pool.close()


class WorkerGone(Exception):
    """A worker has ended by itself."""


class _Worker:
    """A process that answers one batch at a time."""

    def __init__(self, work: Callable[[Any], Any], begin: Callable[[], object] | None) -> None:
        spawn = multiprocessing.get_context("spawn")  # a fork would inherit locks that other threads hold
        self._here, there = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(there, work, begin), daemon=True)
        with there:
            self._process.start()

    def ask(self, batch: Any) -> Any:
        """Return the result for a batch, or raise what it has raised. Raises WorkerGone."""
        try:
            self._here.send(batch)
            answered, result = self._here.recv()
        except (EOFError, ConnectionError) as exc:
            raise WorkerGone from exc
        if answered:
            return result
        raise result

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        self._here.close()  # it sees the end of its batches
        self._process.join()
        self._process.close()


class Pool:
    """Up to `jobs` workers, each started when there is a batch for it."""

    def __init__(self, work: Callable[[Any], Any], jobs: int, begin: Callable[[], object] | None) -> None:
        self._work, self._jobs, self._begin = work, jobs, begin
        self._threads = ThreadPoolExecutor(jobs)
        self._workers, self._idle = list[_Worker](), SimpleQueue[_Worker]()

    def submit(self, batch: Any) -> Future[Any]:
        """Have a batch done."""
        if len(self._workers) < self._jobs:
            worker = _Worker(self._work, self._begin)
            self._workers.append(worker)
            self._idle.put(worker)
        return self._threads.submit(self._ask, batch)

    def _ask(self, batch: Any) -> Any:
        worker = self._idle.get()
        try:
            return worker.ask(batch)
        finally:
            self._idle.put(worker)

    def kill(self) -> None:
        """End all workers at once: a large file could take an hour."""
        for worker in self._workers:
            worker.kill()

    def close(self) -> None:
        """End all workers after the batches that they have begun; the others are dropped."""
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.close()


# --- in a worker -----------------------------------------------------------------------------


def _serve(connection: Connection, work: Callable[[Any], Any], begin: Callable[[], object] | None) -> None:
    """Do batches as long as some come. Ctrl-C is for the parent; this ends with the parent, kill -9 included.

    If the parent is gone when `begin` has returned, nothing is done any more.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _begun = begin() if begin else None  # kept as long as this runs
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            connection.send_bytes(_answer(work, connection.recv()))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _answer(work: Callable[[Any], Any], batch: Any) -> bytes:
    """Return the result, or what was raised, for `_Worker.ask`."""
    try:
        return pickle.dumps((True, work(batch)))
    except Exception as exc:  # noqa: BLE001  raised again by who asked
        exc.add_note(traceback.format_exc())
        return _pickled(exc)


def _pickled(exc: Exception) -> bytes:
    """Return an exception for `_Worker.ask`; another one that says the same if it can't be sent."""
    try:
        pickle.loads(data := pickle.dumps((False, exc)))
    except Exception:  # noqa: BLE001  whatever the methods of an exception raise
        return pickle.dumps((False, RuntimeError("".join(traceback.format_exception(exc)))))
    return data
