"""`gears dask`: which of its verbs is meant, and on which host it is carried out.

A cluster is owned on the lab host. What is only to be told to its owner goes by files in the home, from any host that
shares it; else the command is passed on by ssh, as `gears run` does.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gears.dask import leftovers
from gears.dask.cluster import Cluster, ask_owner, check_workers, forget_stale, look, note_end, settle_job
from gears.dask.records import ClusterRecord, ClusterState, End, WaitingJob, save_wanted
from gears.errors import NothingRunning, NotReachable
from gears.schedulers.base import scheduler
from gears.sites import directories
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
MOST_ASKED = 5


def up(name: str, request: Request, say: Progress, *, on_lab_host: bool, words: Sequence[str]) -> ClusterRecord | int:
    """Start the cluster or find it, on its host.

    Returns its record, or the exit status of the host that the command was passed on to.
    """
    route = locate(name)
    if on_lab_host or host_role(route) == "lab":
        return _up_here(lab_route(route.site), request, say)
    found = _look_from_here(route)
    if found and found.state == ClusterState.UP and not words:
        return found.record
    return _pass_on(route, "up", name, *words)


def _up_here(route: Route, request: Request, say: Progress) -> ClusterRecord:
    from gears.dask.launch import bring_up

    paths = _paths(route)
    record = bring_up(route, paths, request, say)
    least, most = record.asked
    asked = (request.minimum, request.maximum)
    if asked in ((None, None), (least, most)):
        return record
    minimum = least if request.minimum is None else request.minimum
    maximum = max(minimum, most) if request.maximum is None else request.maximum
    return _ask(paths, look(paths).record, minimum, maximum)


def adapt(name: str, minimum: int, maximum: int, *, on_lab_host: bool, verb: Sequence[str]) -> ClusterRecord | int:
    """Ask for so many workers. Returns the record, or the exit status of the host that the command was passed on to.

    Raises NothingRunning, UsageError, NotReachable.
    """
    route = locate(name)
    found = _look_from_here(route, on_lab_host=on_lab_host)
    if found is None:
        return _pass_on(route, *verb, name)
    return _ask(_paths(route), _running(found, name), minimum, maximum)


def down(name: str, say: Progress, *, on_lab_host: bool) -> bool | int:
    """End the cluster and all its jobs; False where none was. Raises NotReachable."""
    route = locate(name)
    found = _look_from_here(route, on_lab_host=on_lab_host)
    if found is None:
        return _pass_on(route, "down", name)
    paths = _paths(route)
    if found.state == ClusterState.QUEUED:
        if not _may_ask_scheduler(route, on_lab_host=on_lab_host):
            return _pass_on(route, "down", name)
        note_end(paths, found.record, "it was asked to end before its job had begun")
        ran = True
    else:
        ran = _end(paths, found, say)
    forget_stale(paths)
    if _may_ask_scheduler(route, on_lab_host=on_lab_host) and not leftovers.reap(paths, say):
        again = f"gears dask down {name}"
        raise NotReachable("jobs of the cluster may still be in the queue: the batch system can't be asked", next=again)
    return ran


def status(name: str, say: Progress, *, on_lab_host: bool, words: Sequence[str]) -> Cluster | int:
    """Return the cluster, or the exit status of the host that the command was passed on to.

    If the cluster has ended, withdraw its address. Cancel the jobs it has left, where the batch system can be asked.
    """
    route = locate(name)
    found = _look_from_here(route, on_lab_host=on_lab_host)
    if found is None:
        return _pass_on(route, "status", name, *words)
    paths = _paths(route)
    if _may_ask_scheduler(route, on_lab_host=on_lab_host):
        found = settle_job(paths, found)
    forget_stale(paths)
    if not found.lives and leftovers.noted_names(paths) and _may_ask_scheduler(route, on_lab_host=on_lab_host):
        leftovers.reap(paths, say)
    return found


def end(name: str, id: str, say: Progress) -> None:
    """Leave no address and no job once the owner is gone, however it went. The loop calls it."""
    from gears.dask.launch import leave

    paths = _paths(locate(name))
    forget_stale(paths, by_loop=True)
    leftovers.reap_one(paths, id, say)
    leave(paths)


def address(name: str) -> str:
    """Find the address by which other nodes know this one, for an owner in a job. Raises UsageError."""
    from gears.dask.network_address import scheduler_host

    site = lab_route(locate(name).site).site
    assert site.scheduler
    return scheduler_host(site, site.scheduler)


def jobs(kind: str, name: str, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Tell the owner which of its waiting jobs are over, and why the first of the others waits.

    One question tells which are there still; so it costs the batch system two or three, however many there are.
    """
    batch = scheduler(kind)
    there = batch.find(name, ",".join(sorted({id.partition(";")[2] for id in ids} - {""})))
    if there is None:
        return []
    numbers = {_number(id) for id in there}
    over = [id for id in ids if _number(id) not in numbers][:MOST_ASKED]
    waits = [id for id in ids if _number(id) in numbers][:1]
    found = [replace(batch.query(id), id=id) for id in [*over, *waits]]
    return [as_values(WaitingJob(job.id, job.state, job.reason, job.starts)) for job in found]


def _number(id: str) -> str:
    """Return a job's id without the server's name that PBS puts behind it: dask-jobqueue leaves that out."""
    return id.partition(".")[0]


def _pass_on(route: Route, *words: str) -> int:
    return pass_on(route, "dask", words, again=f"gears dask {words[0]} {route.site.name}")


def _paths(route: Route) -> RunDir:
    return directories.open_records(gears_home(), route.site.name, route.site.local, this_host().user)


def _look_from_here(route: Route, *, on_lab_host: bool = False) -> Cluster | None:
    """Return the cluster, as far as this home tells; None where only the lab host can."""
    place = "lab" if on_lab_host else host_role(route)
    if place == "laptop" or (place == "front" and route.site.lab.home == "separate"):
        return None
    return look(_paths(route))


def _may_ask_scheduler(route: Route, *, on_lab_host: bool) -> bool:
    return route.site.scheduler is not None and (on_lab_host or host_role(route) == "lab")


def _running(found: Cluster, name: str) -> ClusterRecord:
    host = found.record.host
    if found.state == ClusterState.UNKNOWN:
        words = f"the cluster on {host} can't be seen from here, and its owner is silent"
        raise NotReachable(words, next=f"ssh {host}   (there: gears dask status {name})")
    if found.state != ClusterState.UP:
        raise NothingRunning(f"{name} has no Dask cluster that is up", next=f"gears dask up {name}")
    return found.record


def _ask(paths: RunDir, record: ClusterRecord, minimum: int, maximum: int) -> ClusterRecord:
    check_workers(record, minimum, maximum)
    return ask_owner(paths, record, minimum, maximum)


def _end(paths: RunDir, found: Cluster, say: Progress) -> bool:
    """End the cluster by a word in the home; if its owner is deaf, and on this host, by signals.

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
        say(f"its owner does not listen, and is ended after {time.monotonic() - began:.0f} s")
        record.owner.end(timeout_s=20)
        gone = wait_for(lambda: not look(paths).lives, timeout_s=DOWN_S / 3, every_s=0.1)
    if not gone:
        host = record.host
        raise NotReachable(
            f"the cluster's owner on {host} does not answer", next=f"ssh {host}   (there: gears dask down)"
        )
    return True
