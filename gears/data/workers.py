"""Work on batches by several processes, with the results in the order of the batches."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from gears.data.crew import Helpers, Shift
from gears.errors import Incomplete

Batch = TypeVar("Batch")
Result = TypeVar("Result")

WAITING_PER_JOB = 16
"""Batches under way for each process: others go on while one of them has a large file."""

WAIT_S = 1.0

_work: Callable[[Any], Any] | None = None
_begun: object = None


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
            under_way.append(pool.submit(do, batch))
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
        with Shift(helpers, work, begin, lambda batch: pool.submit(do, batch), jobs).opened() as shift:
            for batch in batches:
                under_way.append(shift.submit(batch))
                while under_way and (under_way[0].done() or len(under_way) >= shift.window(waiting)):
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
                under_way.add(pool.submit(do, batch))
            if not under_way:
                return
            finished, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            yield from (one.result() for one in finished)


def _result(future: Future[Result], on_wait: Callable[[], None] | None) -> Result:
    while on_wait and not wait([future], timeout=WAIT_S).done:
        on_wait()
    return future.result()


@contextlib.contextmanager
def open_pool(
    work: Callable[[Any], Any], jobs: int, begin: Callable[[], object] | None
) -> Iterator[ProcessPoolExecutor]:
    """Start processes for `work`, which end with the block: after batches that have begun, or at once after Ctrl-C."""
    spawn = multiprocessing.get_context("spawn")  # a fork would inherit locks that other threads hold
    pool = ProcessPoolExecutor(jobs, spawn, initializer=_begin, initargs=(work, begin))
    others = set(multiprocessing.active_children())
    try:
        yield pool
    except BrokenProcessPool as exc:
        raise Incomplete("a worker process was killed, perhaps for want of memory", next="free -m") from exc
    except KeyboardInterrupt:
        _kill(set(multiprocessing.active_children()) - others)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _kill(processes: set[BaseProcess]) -> None:
    """End workers at once: a large file could take an hour."""
    for process in processes:
        process.kill()


def _begin(work: Callable[[Any], Any], begin: Callable[[], object] | None) -> None:
    """Prepare a worker: Ctrl-C is for its parent, and it ends with its parent, kill -9 included.

    A worker whose parent is gone when `begin` has returned, does nothing any more.
    """
    global _work, _begun
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _work, _begun = work, begin() if begin else None
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def do(batch: Any) -> Any:
    """Do a batch, in a process of a pool that `open_pool` has started."""
    assert _work is not None
    return _work(batch)
