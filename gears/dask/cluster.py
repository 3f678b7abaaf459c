"""A site's cluster as it is now, and how its owner is asked for something.

All that is known of it is in the home, so that any host which shares that can tell, and ask. None of it is believed as
it stands: an owner lives if its process does, or from another host if its record is fresh.
"""

from __future__ import annotations

import calendar
import contextlib
import secrets
import socket
import time
from dataclasses import dataclass, replace
from pathlib import Path

from gears.dask.records import (
    ClusterRecord,
    ClusterState,
    Plan,
    Terms,
    Wanted,
    load_cluster,
    load_plan,
    save_cluster,
    save_wanted,
)
from gears.errors import NotReachable, UsageError
from gears.schedulers.base import OVER, scheduler
from gears.sites.paths import RunDir
from gears.system.installation import gears_home
from gears.system.processes import read
from gears.system.progress import wait_for

FRESH_S = 60.0
"""An owner writes its record every ten seconds at least; clocks of hosts differ, and NFS shows it late."""

KNOCK_S = 2.0
OBEY_S = 40.0

NOTHING = ClusterRecord(id="")
"""What is known of a cluster that there is not."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """`record`: as its owner has told it; of one that begins, what its plan says."""

    state: ClusterState
    record: ClusterRecord = NOTHING

    @property
    def lives(self) -> bool:
        """Tell whether the cluster may still be there: its state is neither ended nor stopped."""
        return self.state not in (ClusterState.ENDED, ClusterState.STOPPED)


def look(paths: RunDir) -> Cluster:
    """Return the cluster as it is now.

    Only reads; but knocks, for 2 s at most, if its host is another one and it is silent.
    """
    record, loop, plan = load_cluster(paths), read(paths.dask_file("loop")), load_plan(paths)
    if plan and (record is None or plan.id != record.id):
        if loop and (loop.alive() or (loop.alive() is None and _is_new(paths, plan))):
            return Cluster(ClusterState.STARTING, plan.record(loop.host))
        if plan.job and loop is None:
            return Cluster(ClusterState.QUEUED, plan.record())
    return Cluster(_state_of(record), record) if record else Cluster(ClusterState.STOPPED)


def _is_new(paths: RunDir, plan: Plan) -> bool:
    """Tell whether a loop of another host has just begun: that of a job begins when its turn comes."""
    with contextlib.suppress(OSError):
        began = max(plan.made, paths.dask_file("loop").stat().st_mtime)
        return time.time() - began < FRESH_S
    return False


def settle_job(paths: RunDir, found: Cluster) -> Cluster:
    """Ask the batch system, once, about a cluster that a job owns and that can't be seen.

    If that job is over, write down that the cluster has ended.
    """
    record = found.record
    if found.state not in (ClusterState.QUEUED, ClusterState.UNKNOWN) or not record.job or not record.kind:
        return found
    job = scheduler(record.kind).query(record.job)
    if job.state not in OVER:
        return replace(found, record=replace(record, reason=job.reason or job.word))
    why = f"job {job.id}, which owned it, is over: {job.reason or job.word or 'it is gone from the queue'}"
    note_end(paths, record, why)
    return look(paths)


def note_end(paths: RunDir, record: ClusterRecord, why: str) -> None:
    """Write down that the cluster has ended, and withdraw its address."""
    save_cluster(paths, record.ended(why))
    paths.dask_published.unlink(missing_ok=True)


def _state_of(record: ClusterRecord) -> ClusterState:
    told = record.state or ClusterState.UNKNOWN
    if told == ClusterState.ENDED:
        return told
    alive = record.owner.alive() if record.owner else None
    if alive is None and time.time() - seconds(record.updated) >= FRESH_S:
        return ClusterState.ENDED if _refuses(record.address or "") else ClusterState.UNKNOWN
    return ClusterState.ENDED if alive is False else told


def _refuses(address: str) -> bool:
    host, _, port = address.partition("://")[2].rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=KNOCK_S).close()
    except ConnectionRefusedError:
        return True
    except (OSError, ValueError):
        return False
    return False


def goes_on(site: str) -> bool:
    """Tell whether a cluster of the site is up, as far as this home tells: `gears stop` leaves it alone."""
    paths = RunDir(gears_home(), site, Path("/nonexistent"))
    return paths.dask_file("cluster.json").exists() and look(paths).state == ClusterState.UP


def forget_stale(paths: RunDir, *, by_loop: bool = False) -> None:
    """Withdraw the address of a cluster that has ended, whatever ended it.

    Write its end down for other hosts, which can't see its process. `by_loop`: the owner's own loop asks for this.
    """
    loop, now = read(paths.dask_file("loop")), look(paths)
    if now.lives:
        return
    if loop and loop.alive() and not by_loop:
        return  # it sees to that itself, and a record may have been shown by half
    paths.dask_published.unlink(missing_ok=True)
    if now.state == ClusterState.ENDED and now.record.state != ClusterState.ENDED:
        save_cluster(paths, now.record.ended(now.record.reason or "its owner was killed"))


def check_workers(terms: Terms, minimum: int, maximum: int) -> None:
    """Raise UsageError for numbers that can't be, or that ask for more jobs than there may be."""
    if minimum > maximum:
        raise UsageError(f"the least, {minimum}, is more than the most, {maximum}", next="gears dask adapt --help")
    processes, most = terms.processes, terms.maximum_jobs
    jobs = -(-max(minimum, maximum) // processes)
    if jobs <= most:
        return
    site, bounds = terms.site, terms.bounds
    if bounds:
        raise UsageError(
            f"{maximum} workers are more than the {most} that this machine has room for: {bounds.cores} cores "
            f"({bounds.why_cores}) and {bounds.memory / 1e9:.1f} GB ({bounds.why_memory})",
            next=f"gears dask scale {most} {site}",
        )
    raise UsageError(
        f"{maximum} workers are {jobs} jobs of {processes}, and dask.maximum_jobs is {most}",
        next=f"gears dask scale {most * processes} {site}   (or raise it in ~/.config/gears/sites/{site}.toml)",
    )


def ask_owner(paths: RunDir, record: ClusterRecord, minimum: int, maximum: int) -> ClusterRecord:
    """Ask the owner, on whatever host it is, for so many workers. Return its record once it has taken that up.

    Raises NotReachable if it has not within 40 s.
    """
    wanted = Wanted(record.id, secrets.token_hex(4), minimum, maximum)
    save_wanted(paths, wanted)

    def obeyed() -> bool:
        """Tell whether the owner has taken up the wish, or is gone."""
        now = look(paths)
        return now.record.wanted == wanted or not now.lives

    if not wait_for(obeyed, timeout_s=OBEY_S, every_s=0.1):
        host = record.host
        raise NotReachable(f"the cluster's owner on {host} does not answer", next=f"gears dask status {paths.site}")
    return look(paths).record


def seconds(utc: str | None) -> float:
    """Convert a time as records have it into seconds since 1970; 0 for none."""
    try:
        return float(calendar.timegm(time.strptime(utc or "", "%Y-%m-%dT%H:%M:%SZ")))
    except ValueError:
        return 0.0
