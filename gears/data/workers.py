"""Work on batches by several processes, with the results in the order of the batches."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from gears.errors import Incomplete

Batch = TypeVar("Batch")
Result = TypeVar("Result")

WAITING_PER_JOB = 16
"""Batches under way for each process: others go on while one of them has a large file."""

_work: Callable[[Any], Any] | None = None
_begun: object = None


def run_ordered(
    work: Callable[[Batch], Result], batches: Iterable[Batch], *, jobs: int, begin: Callable[[], object] | None = None
) -> Generator[Result, None, None]:
    """Yield `work(batch)` for each batch, in order. `work` is pickled; with one job it runs in this process.

    `begin` is called once in each worker before, and what it returns is kept.

    Close the iterator to stop: batches that have begun are finished first, except after Ctrl-C. Raises Incomplete if a
    worker is killed.
    """
    if jobs <= 1:
        yield from map(work, batches)
        return
    spawn = multiprocessing.get_context("spawn")  # a fork would inherit locks that other threads hold
    pool = ProcessPoolExecutor(jobs, spawn, initializer=_begin, initargs=(work, begin))
    under_way: deque[Future[Result]] = deque()
    others = set(multiprocessing.active_children())
    try:
        for batch in batches:
            under_way.append(pool.submit(_do, batch))
            while under_way and (under_way[0].done() or len(under_way) >= jobs * WAITING_PER_JOB):
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
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


def _do(batch: Any) -> Any:
    assert _work is not None
    return _work(batch)
