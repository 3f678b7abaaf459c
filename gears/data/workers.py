"""Work on batches by several processes, with the results in the order of the batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TypeVar

from gears.data.crew import Helpers, Shift
from gears.data.pool import open_pool

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
                under_way.add(pool.submit(batch))
            if not under_way:
                return
            finished, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            yield from (one.result() for one in finished)


def _result(future: Future[Result], on_wait: Callable[[], None] | None) -> Result:
    while on_wait and not wait([future], timeout=WAIT_S).done:
        on_wait()
    return future.result()
