"""A put by several nodes: the bundles are shares, which the tasks of a job claim, write and seal.

The first task walks, publishes each plan in the state directory as it is complete, works on them as the others do, and
stores the manifest. The others need the plans, the source, the store and the state directory only. What stops the first
one, or its end, ends their shares: their signals are in the directory of its run. Numbers of bundles are not used again
in the next run, so that a task which is cut off can't write under the name of a bundle of that.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gears.data import manifest, workers
from gears.data.bundles.bundler import Bundler, Written
from gears.data.bundles.fetching import INDEXES, fetch_index, header_of
from gears.data.bundles.layout import index_name
from gears.data.bundles.ownership import Holder, Lock
from gears.data.bundles.planning import Plan
from gears.data.bundles.watch import Signals, Watch
from gears.data.manifest import Bundle, Header
from gears.data.shares import Shares
from gears.data.stores.base import Store
from gears.data.tally import Tally
from gears.data.writers import join_writers
from gears.errors import GearsError, Paused
from gears.system import files, records

RUNS, RUN, HEADER, CLAIMS, WATCH, LAST = "shares", "run.json", "header", "claims", "watch", "last"
"""Below the state directory: of the runs; in one: its record, the header of its manifest, its claims, its signals, and
that all shares are published."""

NUMBER = "next-bundle"
"""In the state directory: the first number that no run with several tasks has planned."""

POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Others:
    """Tasks that may help, on other nodes. `ended`: a file that exists once the scheduler has ended them."""

    ended: Path | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """A run that others may help with."""

    source: str
    holder: Holder


@dataclass(frozen=True, slots=True)
class Result:
    """A bundle that a task has sealed. `copied`, `size`: files that it has read; `host`: where."""

    bundle: Bundle
    copied: int
    size: int
    host: str


def next_number(state: Path) -> int:
    """Return the first number that no run with several tasks has planned."""
    text = files.read_text(state / NUMBER).strip()
    return int(text) if text.isdigit() else 1


def end_runs(state: Path) -> None:
    """Remove what runs with several tasks have left. Who still helps with one of them stops by this."""
    for record in (state / RUNS).glob(f"*/{RUN}"):  # first: without it, what else is missing is no failure
        record.unlink(missing_ok=True)
    shutil.rmtree(state / RUNS, ignore_errors=True)


class Claimant:
    """Writes the bundle of a plan, if nobody else does. Runs in workers."""

    def __init__(self, bundler: Bundler, store: Store, state: Path, shares: Shares) -> None:
        self._bundler, self._store, self._state, self._shares = bundler, store, state, shares

    def __call__(self, plan: Plan) -> bool:
        """Tell whether the share was done here. Raises what the bundler raises; others may do the share then."""
        number = self._shares.claim(plan.name)
        if not number:
            return False
        try:
            written = (self._sealed(plan.name) if number > 1 else None) or self._bundler(plan)
            tally, host = written.tally, os.uname().nodename
            self._shares.finish(plan.name, Result(written.bundle, tally.copied, tally.copied_size, host))
        except BaseException:
            self._shares.give_up(plan.name, number)
            raise
        return True

    def _sealed(self, name: str) -> Written | None:
        """Return the bundle of a share that was taken over, if it was sealed before its task ended.

        Without its index else: an index must not be there while another bundle of this name is written.
        """
        bundle = fetch_index(self._store, self._state, name)
        if bundle is None or self._store.sizes().get(name) != bundle.size:
            self._store.remove(index_name(name))
            (self._state / INDEXES / index_name(name)).unlink(missing_ok=True)
            return None
        tally = Tally()
        for entry in manifest.read(self._state / INDEXES / index_name(name), containing=b'"sha256":'):
            if entry.held and entry.same_as is None:
                tally.copied += 1
                tally.copied_size += entry.size
        return Written(bundle, tally)


# --- the first task --------------------------------------------------------------------------


@dataclass(slots=True)
class Leader:
    """Publishes the plans of a run, works on them with the others, and takes the results. `work`: of this run."""

    work: Path
    state: Path
    watch: Watch
    ended: Path | None
    _results: dict[str, Result] = field(default_factory=dict)

    def write(
        self, source: Path, header: Header, plans: Iterator[Plan], bundler: Bundler, lock: Lock, jobs: int
    ) -> list[Bundle]:
        """Write the bundles, and return them. Raises Paused, and what the bundler and `plans` raise."""
        shares, published = Shares(self.work / CLAIMS, self.ended), list[Plan]()
        shares.directory.mkdir(mode=0o700)
        with manifest.Writer(self.work / HEADER, header):
            pass
        records.save(self.work / RUN, Published(os.fspath(source), lock.holder))
        claimant, ready = Claimant(bundler, lock.store, self.state, shares), self._publish(plans, shares, published)
        self._work(claimant, list(ready) if jobs <= 1 else ready, shares, jobs)
        (self.work / LAST).touch()
        while len(self._results) < len(published):
            if names := set(shares.free()):
                free = [plan for plan in published if plan.name in names]
                self._work(claimant, free, shares, jobs)
            else:
                time.sleep(POLL_S)
                self._take(shares)
                self.watch.check()
        return [self._results[plan.name].bundle for plan in published]

    def _publish(self, plans: Iterator[Plan], shares: Shares, published: list[Plan]) -> Iterator[Plan]:
        for plan in plans:
            files.write_private(self.state / NUMBER, f"{int(plan.path.stem) + 1}\n")
            shares.publish(plan.name)
            published.append(plan)
            yield plan

    def _work(self, claimant: Claimant, plans: Iterable[Plan], shares: Shares, jobs: int) -> None:
        begin, poll = functools.partial(join_writers, self.state), self.watch.poll
        done = workers.run_ordered(claimant, plans, jobs=jobs, begin=begin, on_wait=poll, waiting=sys.maxsize)
        with contextlib.closing(done) as results:
            for _ in results:
                self._take(shares)
        self._take(shares)

    def _take(self, shares: Shares) -> None:
        """Take the results that are there, and report."""
        for name in sorted(shares.done() - self._results.keys()):
            if result := shares.result(name, Result):
                self._results[name] = result
                self.watch.tally.bundles += 1
                self.watch.tally.add(Tally(copied=result.copied, copied_size=result.size))
        self.watch.report()


# --- the others ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Raising:
    """Raises Paused if there is a reason to stop. Sent to workers."""

    must_stop: Callable[[], str]

    def __call__(self) -> None:
        """Ask."""
        if reason := self.must_stop():
            raise Paused(f"{reason}; the other tasks go on with this share")


def help_put(
    store: Store, state: Path, *, jobs: int, must_stop: Callable[[], str], is_needed: Callable[[], bool]
) -> None:
    """Write bundles of the put under way with this state directory, until there are no more, or `is_needed` says so.

    May be started before that put, and any number of times, on any host that has state, source and store. Raises what
    the bundler raises: the share is left to others then. `must_stop` is pickled.
    """
    helper = _Helper(store, state.resolve(), jobs, must_stop)
    while is_needed() and not must_stop():
        work = next(helper.state.glob(f"{RUNS}/*/{RUN}"), helper.state).parent
        if run := records.load(Published, work / RUN):
            last = (work / LAST).exists()
            if helper.work_on(work, run):
                continue
            if last:
                return
        time.sleep(POLL_S)


@dataclass(frozen=True, slots=True)
class _Helper:
    store: Store
    state: Path
    jobs: int
    must_stop: Callable[[], str]

    def work_on(self, work: Path, run: Published) -> bool:
        """Write what nobody does; tell whether there was any. False too if the run has ended meanwhile."""
        shares = Shares(work / CLAIMS)
        free = [Plan(name, (work / name).with_suffix(".plan")) for name in shares.free()]
        try:
            return bool(free) and self._write(work, run, free)
        except (OSError, GearsError):
            if (work / RUN).exists():
                raise
            return False

    def _write(self, work: Path, run: Published, free: list[Plan]) -> bool:
        signals, lock = Signals(work / WATCH, Raising(self.must_stop)), Lock(self.store, run.holder)
        bundler = Bundler(Path(run.source), lock, self.state, header_of(work / HEADER), signals)
        claimant = Claimant(bundler, self.store, self.state, Shares(work / CLAIMS))
        with contextlib.closing(workers.run_ordered(claimant, free, jobs=min(self.jobs, len(free)))) as results:
            return sum(results) > 0
