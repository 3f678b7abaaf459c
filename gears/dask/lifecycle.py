"""The verbs of `gears dask`, and the host on which each runs.

The owner of a cluster runs on the lab host. Requests to it go through files in the home, from any host that shares the
home; otherwise the command is passed on by ssh, as `gears run` does.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gears.dask import leftovers
from gears.dask.cluster import Cluster, ask_owner, check_workers, forget_stale, look, record_end, settle_job
from gears.dask.records import ClusterRecord, ClusterState, End, WaitingJob, save_wanted
from gears.errors import NothingRunning, NotReachable
from gears.schedulers.base import scheduler
from gears.sites import directories
from gears.sites.context import Context
from gears.sites.locate import host_role, lab_route, locate
from gears.sites.paths import RunDir
from gears.sites.route import Route
from gears.ssh.target import pass_on
from gears.system.host import this_host
from gears.system.installation import gears_home
from gears.system.progress import Progress, wait_for
from gears.system.records import as_values

if TYPE_CHECKING:
    from gears.dask.launch import Request

DOWN_S = 90.0
MOST_QUERIES = 5


def up(name: str, request: Request, say: Progress, *, on_lab_host: bool, words: Sequence[str]) -> ClusterRecord | int:
    """Start the cluster on its host, or find it.

    Returns its record, or the exit status of the command on the host to which it was passed on.
    """
    route = locate(name)
    if on_lab_host or host_role(route) == "lab":
        return _up_on_this_host(lab_route(route.site), request, say)
    found = _look_from_here(route)
    if found and found.state == ClusterState.UP and not words:
        return found.record
    return _pass_on(route, "up", name, *words)


def _up_on_this_host(route: Route, request: Request, say: Progress) -> ClusterRecord:
    from gears.dask.launch import bring_up

    paths = _paths(route)
    record = bring_up(Context(route, paths, say), request)
    least, most = record.requested
    if (request.minimum, request.maximum) in ((None, None), (least, most)):
        return record
    minimum = least if request.minimum is None else request.minimum
    maximum = max(minimum, most) if request.maximum is None else request.maximum
    return _request(paths, look(paths).record, minimum, maximum)


def adapt(name: str, minimum: int, maximum: int, *, on_lab_host: bool, verb: Sequence[str]) -> ClusterRecord | int:
    """Request a number of workers.

    Returns the record, or the exit status of the command on the host to which it was passed on. Raises NothingRunning,
    UsageError, NotReachable.
    """
    route = locate(name)
    found = _look_from_here(route, on_lab_host=on_lab_host)
    if found is None:
        return _pass_on(route, *verb, name)
    return _request(_paths(route), _running(found, name), minimum, maximum)


def down(name: str, say: Progress, *, on_lab_host: bool) -> bool | int:
    """End the cluster and all its jobs; False if there was none. Raises NotReachable."""
    route = locate(name)
    found = _look_from_here(route, on_lab_host=on_lab_host)
    if found is None:
        return _pass_on(route, "down", name)
    paths = _paths(route)
    if found.state == ClusterState.QUEUED:
        if not _can_query_scheduler(route, on_lab_host=on_lab_host):
            return _pass_on(route, "down", name)
        record_end(paths, found.record, "it was stopped before its job started")
        existed = True
    else:
        existed = _end(paths, found, say)
    forget_stale(paths)
    if _can_query_scheduler(route, on_lab_host=on_lab_host) and not leftovers.reap(paths, say):
        again = f"gears dask down {name}"
        raise NotReachable(
            "jobs of the cluster may still be in the queue: the batch system can't be queried", next=again
        )
    return existed


def status(name: str, say: Progress, *, on_lab_host: bool, words: Sequence[str]) -> Cluster | int:
    """Return the cluster, or the exit status of the command on the host to which it was passed on.

    If the cluster has ended, withdraw its address, and cancel its remaining jobs if the batch system can be queried.
    """
    route = locate(name)
    found = _look_from_here(route, on_lab_host=on_lab_host)
    if found is None:
        return _pass_on(route, "status", name, *words)
    paths = _paths(route)
    if _can_query_scheduler(route, on_lab_host=on_lab_host):
        found = settle_job(paths, found)
    forget_stale(paths)
    if not found.lives and leftovers.noted_names(paths) and _can_query_scheduler(route, on_lab_host=on_lab_host):
        leftovers.reap(paths, say)
    return found


def end(name: str, id: str, say: Progress) -> None:
    """Remove the address and the jobs of a cluster whose owner has ended for any reason. Called by the shell loop."""
    from gears.dask.launch import leave

    paths = _paths(locate(name))
    forget_stale(paths, by_loop=True)
    leftovers.reap_one(paths, id, say)
    leave(paths)


def address(name: str) -> str:
    """Find the address by which other nodes reach this one, for an owner in a job. Raises UsageError."""
    from gears.dask.network_address import scheduler_host

    site = lab_route(locate(name).site).site
    assert site.scheduler
    return scheduler_host(site, site.scheduler)


def jobs(kind: str, name: str, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return for the owner which of its pending jobs are over, and why the first of the others is pending.

    One query lists the jobs that are left, so the number of queries does not grow with the number of pending jobs.
    """
    batch = scheduler(kind)
    in_queue = batch.find(name, ",".join(sorted({id.partition(";")[2] for id in ids} - {""})))
    if in_queue is None:
        return []
    numbers = {_number(id) for id in in_queue}
    over = [id for id in ids if _number(id) not in numbers][:MOST_QUERIES]
    pending = [id for id in ids if _number(id) in numbers][:1]
    found = [replace(batch.query(id), id=id) for id in [*over, *pending]]
    return [as_values(WaitingJob(job.id, job.state, job.reason, job.starts)) for job in found]


def _number(id: str) -> str:
    """Return a job's id without the server's name that PBS appends and dask-jobqueue omits."""
    return id.partition(".")[0]


def _pass_on(route: Route, *words: str) -> int:
    return pass_on(route, "dask", words, again=f"gears dask {words[0]} {route.site.name}")


def _paths(route: Route) -> RunDir:
    return directories.open_records(gears_home(), route.site.name, route.site.local, this_host().user)


def _look_from_here(route: Route, *, on_lab_host: bool = False) -> Cluster | None:
    """Return the cluster according to this home; None if only the lab host can tell."""
    place = "lab" if on_lab_host else host_role(route)
    if place == "laptop" or (place == "front" and route.site.lab.home == "separate"):
        return None
    return look(_paths(route))


def _can_query_scheduler(route: Route, *, on_lab_host: bool) -> bool:
    return route.site.scheduler is not None and (on_lab_host or host_role(route) == "lab")


def _running(found: Cluster, name: str) -> ClusterRecord:
    host = found.record.host
    if found.state == ClusterState.UNKNOWN:
        reason = f"the cluster on {host} can't be checked from here, and its owner does not respond"
        raise NotReachable(reason, next=f"ssh {host}   (there: gears dask status {name})")
    if found.state != ClusterState.UP:
        raise NothingRunning(f"{name}: no Dask cluster is up", next=f"gears dask up {name}")
    return found.record


def _request(paths: RunDir, record: ClusterRecord, minimum: int, maximum: int) -> ClusterRecord:
    check_workers(record, minimum, maximum)
    return ask_owner(paths, record, minimum, maximum)


def _end(paths: RunDir, found: Cluster, say: Progress) -> bool:
    """End the cluster by a request in the home; if its owner ignores that and is on this host, by signals.

    False if there is none. Raises NotReachable.
    """
    if not found.lives:
        return False
    if found.state == ClusterState.STARTING:
        wait_for(lambda: look(paths).state != ClusterState.STARTING, timeout_s=30, every_s=0.1)
        found = look(paths)
    record = found.record
    save_wanted(paths, End(record.id, down=True))
    began = time.monotonic()
    gone = wait_for(lambda: not look(paths).lives, timeout_s=DOWN_S / 3, every_s=0.1)
    if not gone and record.owner:
        say(f"its owner has not responded for {time.monotonic() - began:.0f} s; terminating it")
        record.owner.end(timeout_s=20)
        gone = wait_for(lambda: not look(paths).lives, timeout_s=DOWN_S / 3, every_s=0.1)
    if not gone:
        host = record.host
        raise NotReachable(
            f"the cluster's owner on {host} does not respond", next=f"ssh {host}   (there: gears dask down)"
        )
    return True
