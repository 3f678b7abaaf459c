"""Work on batches by several processes, with the results in the order of the batches.

The processes are reached by pipes, each by a thread of its own. The pools of the standard library have semaphores,
which stay in /dev/shm if all processes are killed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, TypeVar

from gears.data.crew import Helpers, Shift
from gears.errors import Incomplete

Batch = TypeVar("Batch")
Result = TypeVar("Result")

WAITING_PER_JOB = 16
"""Batches under way for each process: others go on while one of them has a large file."""

WAIT_S = 1.0


def run_ordered(  # noqa: PLR0913
    work: Callable[[Batch], Result],
    batches: Iterable[Batch],
    *,
    jobs: int,
    begin: Callable[[], object] | None = None,
    on_wait: Callable[[], None] | None = None,
    waiting: int = WAITING_PER_JOB,
    helpers: Helpers | None = None,
) -> Generator[Result, None, None]:
    """Yield `work(batch)` for each batch, in order. `work` is pickled; with one job it runs in this process.

    `helpers`: on other nodes, which do batches too; what they are given is pickled for another host.

    `begin` is called once in each worker before, and what it returns is kept. `on_wait` is called in this process every
    WAIT_S while it waits for a worker. `waiting`: how many batches may be under way for each process.

    Close the iterator to stop: batches that have begun are finished first, except after Ctrl-C. Raises Incomplete if a
    worker is killed.
    """
    if helpers:
        yield from _run_with(helpers, work, batches, jobs=max(1, jobs), begin=begin, on_wait=on_wait, waiting=waiting)
        return
    if jobs <= 1:
        yield from map(work, batches)
        return
    under_way: deque[Future[Result]] = deque()
    with open_pool(work, jobs, begin) as pool:
        for batch in batches:
            under_way.append(pool.submit(batch))
            while under_way and (under_way[0].done() or len(under_way) >= jobs * waiting):
                yield _result(under_way.popleft(), on_wait)
        while under_way:
            yield _result(under_way.popleft(), on_wait)


def _run_with(  # noqa: PLR0913
    helpers: Helpers,
    work: Callable[[Batch], Result],
    batches: Iterable[Batch],
    *,
    jobs: int,
    begin: Callable[[], object] | None,
    on_wait: Callable[[], None] | None,
    waiting: int,
) -> Generator[Result, None, None]:
    under_way: deque[Future[Result]] = deque()
    with open_pool(work, jobs, begin) as pool:
        with Shift(helpers, work, begin, pool.submit, jobs).opened() as shift:
            for batch in batches:
                under_way.append(shift.submit(batch))
                while under_way and (under_way[0].done() or len(under_way) >= shift.jobs * waiting):
                    yield shift.result(under_way.popleft(), on_wait)
            while under_way:
                yield shift.result(under_way.popleft(), on_wait)


def run_growing(
    work: Callable[[Batch], Result], following: Callable[[], Batch | None], *, jobs: int
) -> Generator[Result, None, None]:
    """Yield `work(batch)` as batches are finished, for work that finds more work.

    `following` returns the next batch; None if there is none until another one is finished. Raises Incomplete if a
    worker is killed.
    """
    if jobs <= 1:
        yield from map(work, iter(following, None))
        return
    under_way: set[Future[Result]] = set()
    with open_pool(work, jobs, None) as pool:
        while True:
            while len(under_way) < 2 * jobs and (batch := following()) is not None:
                under_way.add(pool.submit(batch))
            if not under_way:
                return
            finished, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            yield from (one.result() for one in finished)


def _result(future: Future[Result], on_wait: Callable[[], None] | None) -> Result:
    while on_wait and not wait([future], timeout=WAIT_S).done:
        on_wait()
    return future.result()


@contextlib.contextmanager
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
