"""The current state of a site's cluster, and requests to its owner.

Its files are in the home, so any host that shares the home can read and request. The record alone is no proof: an owner
is alive if its process is, or, seen from another host, if its record is fresh.
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
"""An owner writes its record at least every 10 s; clocks of hosts differ, and NFS shows changes late."""

CONNECT_S = 2.0
ACCEPT_S = 40.0

NOTHING = ClusterRecord(id="")
"""The record of a cluster that does not exist."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster. `record`: as its owner wrote it; of one that is starting, as its plan has it."""

    state: ClusterState
    record: ClusterRecord = NOTHING

    @property
    def lives(self) -> bool:
        """Tell whether the cluster may still exist: its state is neither ended nor stopped."""
        return self.state not in (ClusterState.ENDED, ClusterState.STOPPED)


def look(paths: RunDir) -> Cluster:
    """Return the current state of the cluster.

    Only reads; but tries to connect, for at most 2 s, if it is on another host and its record is stale.
    """
    record, loop, plan = load_cluster(paths), read(paths.dask_file("loop")), load_plan(paths)
    if plan and (record is None or plan.id != record.id):
        if loop and (loop.alive() or (loop.alive() is None and _is_new(paths, plan))):
            return Cluster(ClusterState.STARTING, plan.record(loop.host))
        if plan.job and loop is None:
            return Cluster(ClusterState.QUEUED, plan.record())
    return Cluster(_state_of(record), record) if record else Cluster(ClusterState.STOPPED)


def _is_new(paths: RunDir, plan: Plan) -> bool:
    """Tell whether a loop on another host has just begun. The loop of a job begins when the job starts."""
    with contextlib.suppress(OSError):
        began = max(plan.made, paths.dask_file("loop").stat().st_mtime)
        return time.time() - began < FRESH_S
    return False


def settle_job(paths: RunDir, found: Cluster) -> Cluster:
    """Query the batch system once about a cluster that is owned by a job and can't be checked otherwise.

    If the job is over, record that the cluster has ended.
    """
    record = found.record
    if found.state not in (ClusterState.QUEUED, ClusterState.UNKNOWN) or not record.job or not record.kind:
        return found
    job = scheduler(record.kind).query(record.job)
    if job.state not in OVER:
        return replace(found, record=replace(record, reason=job.reason or job.word))
    why = f"job {job.id}, which owned it, is over: {job.reason or job.word or 'it is no longer in the queue'}"
    record_end(paths, record, why)
    return look(paths)


def record_end(paths: RunDir, record: ClusterRecord, why: str) -> None:
    """Record that the cluster has ended, and withdraw its address."""
    save_cluster(paths, record.ended(why))
    paths.dask_published.unlink(missing_ok=True)


def _state_of(record: ClusterRecord) -> ClusterState:
    recorded = record.state or ClusterState.UNKNOWN
    if recorded == ClusterState.ENDED:
        return recorded
    alive = record.owner.alive() if record.owner else None
    if alive is None and time.time() - seconds(record.updated) >= FRESH_S:
        return ClusterState.ENDED if _refuses(record.address or "") else ClusterState.UNKNOWN
    return ClusterState.ENDED if alive is False else recorded


def _refuses(address: str) -> bool:
    host, _, port = address.partition("://")[2].rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except ConnectionRefusedError:
        return True
    except (OSError, ValueError):
        return False
    return False


def is_up(site: str) -> bool:
    """Tell whether a cluster of the site is up, according to this home: `gears stop` does not end it."""
    paths = RunDir(gears_home(), site, Path("/nonexistent"))
    return paths.dask_file("cluster.json").exists() and look(paths).state == ClusterState.UP


def forget_stale(paths: RunDir, *, by_loop: bool = False) -> None:
    """Withdraw the address of a cluster that has ended for whatever reason.

    Record its end for other hosts, which can't see its process. `by_loop`: the owner's own loop calls this.
    """
    loop, current = read(paths.dask_file("loop")), look(paths)
    if current.lives:
        return
    if loop and loop.alive() and not by_loop:
        return  # it does so itself, and the record may have been read while it was replaced
    paths.dask_published.unlink(missing_ok=True)
    if current.state == ClusterState.ENDED and current.record.state != ClusterState.ENDED:
        save_cluster(paths, current.record.ended(current.record.reason or "its owner was killed"))


def check_workers(terms: Terms, minimum: int, maximum: int) -> None:
    """Raise UsageError for invalid numbers of workers, or if they need more jobs than are allowed."""
    if minimum > maximum:
        raise UsageError(
            f"the minimum, {minimum}, is greater than the maximum, {maximum}", next="gears dask adapt --help"
        )
    processes, most = terms.processes, terms.maximum_jobs
    jobs = -(-max(minimum, maximum) // processes)
    if jobs <= most:
        return
    site, bounds = terms.site, terms.bounds
    if bounds:
        raise UsageError(
            f"{maximum} workers exceed the limit of {most} on this machine: {bounds.cores} cores "
            f"({bounds.why_cores}) and {bounds.memory / 1e9:.1f} GB ({bounds.why_memory})",
            next=f"gears dask scale {most} {site}",
        )
    raise UsageError(
        f"{maximum} workers need {jobs} jobs of {processes}, but dask.maximum_jobs is {most}",
        next=f"gears dask scale {most * processes} {site}   (or increase it in ~/.config/gears/sites/{site}.toml)",
    )


def ask_owner(paths: RunDir, record: ClusterRecord, minimum: int, maximum: int) -> ClusterRecord:
    """Request a number of workers from the owner, on any host. Return its record once it has accepted the request.

    Raises NotReachable if it has not accepted within 40 s.
    """
    wanted = Wanted(record.id, secrets.token_hex(4), minimum, maximum)
    save_wanted(paths, wanted)

    def accepted() -> bool:
        """Tell whether the owner has accepted the request, or has ended."""
        current = look(paths)
        return current.record.wanted == wanted or not current.lives

    if not wait_for(accepted, timeout_s=ACCEPT_S, every_s=0.1):
        host = record.host
        raise NotReachable(f"the cluster's owner on {host} does not respond", next=f"gears dask status {paths.site}")
    return look(paths).record


def seconds(utc: str | None) -> float:
    """Convert a time in the format of records to seconds since 1970; 0 for none."""
    try:
        return float(calendar.timegm(time.strptime(utc or "", "%Y-%m-%dT%H:%M:%SZ")))
    except ValueError:
        return 0.0
