"""How a transfer is carried out, by its method: the one place that knows the modules that move and verify."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gears.data import batch, bundles, copying, records, verification
from gears.data.addresses import Address, full_path, parse, place_of
from gears.data.bundles import ownership
from gears.data.crew import Crew
from gears.data.records import Method, Task, Transfer, Verb
from gears.data.reporter import Reporter
from gears.data.resumption import Resumption
from gears.data.sharing import share
from gears.data.stores import near_end, open_store
from gears.data.stores.base import Store
from gears.data.tally import Tally
from gears.data.verification import Verified
from gears.errors import NotReachable, Paused
from gears.sites.context import Context
from gears.system.host import this_host

PAUSE = "GEARS_TEST_PAUSE_S"
"""Variable with which tests make a transfer slow."""

TASKS = "GEARS_JOB_TASKS"
"""Variable of a job with tasks on other nodes: the file that exists once they have ended."""

BUNDLE_SIZE = 100 * 10**9
"""Of places that say no size."""

MOST_JOBS = 16
"""Processes by default at most, on a host with more processors."""


@dataclass(frozen=True, slots=True)
class Work:
    """A transfer to carry out. `before`: the task as an earlier process has left it; `stop`: the reason to stop.

    `crew`: helpers on other nodes, if there are any.
    """

    transfer: Transfer
    context: Context
    before: Task
    stop: Callable[[], str]
    crew: Crew | None = None

    @property
    def state(self) -> Path:
        """Return the directory of its records."""
        return self.context.paths.transfer(self.transfer.name)

    @property
    def verified(self) -> Path:
        """Return the file that says how far a verification has come."""
        return self.state / "verified.json"

    @property
    def jobs(self) -> int:
        """Return the number of processes: as asked, else as many as this process may use processors."""
        return self.transfer.jobs or default_jobs()


def default_jobs() -> int:
    """Return how many processes to use if nobody has said it: one for each processor that this one may use."""
    return min(MOST_JOBS, len(os.sched_getaffinity(0)))


def move(work: Work, on_progress: Callable[[Tally], None]) -> Tally:
    """Copy what is not there yet. Raises what the methods raise, Paused if there is a reason to stop."""

    def note(tally: Tally) -> None:
        on_progress(tally)
        slow_down(tally.copied)

    work.verified.unlink(missing_ok=True)  # what is written from now on was not read again
    if work.transfer.method is Method.TREE:
        site, jobs, crew = work.context.site, work.jobs, work.crew
        return copying.copy(
            work.transfer, site, work.state, jobs=jobs, must_stop=work.stop, on_progress=note, crew=crew
        )
    return _put(work, note) if work.transfer.verb is Verb.PUT else _get(work, note)


def reverify(work: Work, reporter: Reporter) -> Verified:
    """Read everything at the target again. Raises Paused if there is a reason to stop."""
    transfer, base = work.transfer, reporter.task.mark
    if transfer.method is Method.BUNDLES and transfer.verb is Verb.PUT:

        def note(verified: Verified) -> None:
            reporter.change(size=verified.size)
            check_stop(work.stop)

        return bundles.verify(_store(work), work.state, jobs=work.jobs, on_progress=note, crew=work.crew)

    def note_far(_tally: Tally) -> None:
        reporter.change(mark=base)

    far = copying.verify_far(transfer, work.context.site, work.state, must_stop=work.stop, on_progress=note_far)
    return far or _reverify_tree(work, reporter)


def _reverify_tree(work: Work, reporter: Reporter) -> Verified:
    base, record = reporter.task.mark, records.manifest_path(work.context.paths, work.transfer.name)
    resumption = Resumption(work.verified, record)

    def note(verified: Verified) -> None:
        reporter.change(size=verified.size, mark=base + verified.entries)
        resumption.note(verified)
        slow_down(verified.entries)
        check_stop(work.stop)

    target = Path(work.transfer.target_path)
    verified = verification.verify(
        record, target, jobs=work.jobs, on_progress=note, begun=resumption.begun(), crew=work.crew
    )
    resumption.forget()
    return verified


# --- bundles ---------------------------------------------------------------------------------


def _put(work: Work, on_progress: Callable[[Tally], None]) -> Tally:
    return bundles.put(
        Path(work.transfer.source_path),
        _store(work),
        work.state,
        bundle_size=work.transfer.bundle_size or BUNDLE_SIZE,
        jobs=work.jobs,
        must_stop=work.stop,
        on_progress=on_progress,
        is_gone=partial(_is_gone, work),
        others=bundles.Others(Path(ended)) if (ended := os.environ.get(TASKS)) else None,
    )


def help_move(work: Work, is_needed: Callable[[], bool]) -> None:
    """Write bundles of the put that another process carries out, in the same job on another node."""
    bundles.help_put(_store(work), work.state, jobs=work.jobs, must_stop=_Slowed(work.stop), is_needed=is_needed)


@dataclass(frozen=True, slots=True)
class _Slowed:
    """Waits, if a test says so (PAUSE), and asks whether to stop."""

    stop: Callable[[], str]

    def __call__(self) -> str:
        time.sleep(float(os.environ.get(PAUSE) or 0))
        return self.stop()


def _get(work: Work, on_progress: Callable[[Tally], None]) -> Tally:
    return bundles.get(
        _store(work),
        Path(work.transfer.target_path),
        work.state,
        patterns=work.transfer.patterns,
        jobs=work.jobs,
        must_stop=work.stop,
        on_progress=on_progress,
        crew=work.crew,
    )


def count_bundles(work: Work) -> int:
    """Return how many bundles the place has."""
    return sum(bool(re.fullmatch(r"\d+\.tar", name)) for name in _store(work).sizes())


def _is_gone(work: Work, holder: ownership.Holder) -> bool:
    """Tell whether the holder of a lock in the place has ended: it is the one before, or its job is over."""
    before = work.before
    process = holder.process
    if (process.host, process.pid, process.start) == (before.host, before.pid, before.started_ticks):
        return True  # the lock of the transfer is ours: this was proven
    return bool(holder.job) and batch.is_over(work.context.site, holder.job)


def _store(work: Work) -> Store:
    transfer, site = work.transfer, work.context.site
    text, path = (
        (transfer.source, transfer.source_path)
        if transfer.verb is Verb.GET
        else (transfer.target, transfer.target_path)
    )
    place = place_of(parse(text, site), site)
    near = near_end(site, this_host(), work.context.paths) if place.kind == "globus" else None
    if place.kind == "posix" and place.shared != "no" and transfer.verb is Verb.PUT:
        _share(path, full_path(Address(parse(text, site).place, ""), site, this_host()), place.shared)
    return open_store(place.kind, path, near=near)


def _share(directory: str, top: str, shared: str) -> None:
    """Create a directory in a shared place, for those who share it."""
    try:
        share(Path(directory) / "any", Path(top), shared)
    except OSError as exc:
        raise NotReachable(f"{exc.filename or top}: {exc.strerror}", next=f"ls -ld {top}; id") from exc


# --- both ------------------------------------------------------------------------------------


def slow_down(done: int) -> None:
    """Wait, if a test says so (PAUSE), where something was done."""
    global _done
    if done != _done:
        time.sleep(float(os.environ.get(PAUSE) or 0))
    _done = done


_done = 0


def check_stop(must_stop: Callable[[], str]) -> None:
    """Raise Paused if there is a reason to stop."""
    if reason := must_stop():
        raise Paused(f"stopped: {reason}")
