"""`gears dask up`: the plan of a cluster, its owner in tmux or in a job, and the wait until it is up."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gears.dask import scheduler_job
from gears.dask.anywhere import gears_dask_limits as limits
from gears.dask.certificate import ensure_certificate
from gears.dask.cluster import check_workers, look
from gears.dask.config import CLUSTERS, life_s, plan_jobqueue
from gears.dask.config_files import ensure_config
from gears.dask.environment import plan_worker, python_of
from gears.dask.leftovers import note_name, reap
from gears.dask.network_address import scheduler_host
from gears.dask.records import (
    ClusterRecord,
    ClusterState,
    Counts,
    Files,
    Plan,
    Ports,
    Wanted,
    load_cluster,
    remove_wanted,
    save_plan,
)
from gears.dask.settings import Settings, bytes_of, processes_of, read_settings
from gears.envs import registry
from gears.errors import GearsError, NotReachable, ProfileError, UsageError
from gears.schedulers.environment import SCHEDULERS, chosen, clusters, clusters_named, kept_pattern
from gears.sites.context import Context
from gears.sites.paths import RunDir
from gears.sites.profile import Site
from gears.sites.route import Route
from gears.system import files, processes, tmux
from gears.system.files import current_umask
from gears.system.installation import gears_argv, this_gears
from gears.system.progress import Progress, wait_for
from gears.system.tmux import session_name

OWNER = Path(__file__).parent / "anywhere" / "gears_dask_owner.py"
START_S = 90.0
LOOP_S = 15.0
REPORT_EVERY_S = 3.0
LOOK_EVERY_S = 0.5
"""Interval for reading the records, which are in the home: it may be on a slow file server."""

FIRST_JOBS_S = 10.0
"""How long `up` waits to see whether the batch system accepts the first jobs."""


@dataclass(frozen=True, slots=True)
class Request:
    """The options of the command line. None: as in the profile."""

    minimum: int | None = None
    maximum: int | None = None
    cores: int | None = None
    memory: str | None = None
    environment: str = ""
    oversubscribe: bool = False
    in_job: bool = False


def bring_up(context: Context, request: Request) -> ClusterRecord:
    """Return the record of the running cluster; start it if there is none. Concurrent calls start only one.

    Raises UsageError, ProfileError, NotReachable, CommandFailed; if the owner ended, GearsError with its last output.
    """
    paths = context.paths
    with _locked(paths):
        ensure_config(context.site, paths)
        current = look(paths)
        if not current.lives:
            if not reap(paths, context.say):
                context.say("jobs of a previous cluster may still be in the queue: the batch system can't be queried")
            ensure_certificate(paths, renew=True)
            plan = make_plan(context, request)
            _start(context, plan)
        elif request.environment and request.environment != current.record.environment:
            name = current.record.environment or registry.BASE
            again = f"gears dask down {paths.site}; gears dask up {paths.site} --env {request.environment}"
            raise UsageError(f"a cluster with the environment {name} is up already", next=again)
    return _await_up(paths, context.say)


@contextlib.contextmanager
def _locked(paths: RunDir) -> Iterator[None]:
    """Hold the lock for starting a cluster on this host. Raises NotReachable.

    If clusters start on two hosts at once, the owner whose record was replaced ends. The lock's directory is removed
    with the cluster (`leave`).
    """
    files.ensure_private(paths.local)
    with files.locked(paths.dask_lock):
        try:
            yield
        except GearsError:
            leave(paths)
            raise


def leave(paths: RunDir) -> None:
    """Remove the cluster's files on this host's own disk."""
    paths.dask_lock.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        paths.local.rmdir()


def make_plan(context: Context, request: Request) -> Plan:
    """Return the plan for the owner, see `anywhere/gears_dask_owner.py`. Queries the batch system for its nodes.

    Raises UsageError, ProfileError, and what `scheduler_host` raises.
    """
    paths = context.paths
    site, id = context.site, f"dask-{secrets.token_hex(5)}"
    settings = _settings(site, request)
    plan = Plan(
        id=id,
        site=site.name,
        made=time.time(),
        environment=request.environment,
        tls=str(paths.dask_tls),
        prefix=files.ensure_secret(paths.dask_file("prefix")),
        logs=str(paths.dask / "logs"),
        idle_timeout_s=settings.idle_timeout_s,
        idle_worker_s=settings.idle_worker_s,
        ports=Ports(settings.scheduler_port, settings.dashboard_port),
        files=Files(
            record=str(paths.dask_file("cluster.json")),
            wanted=str(paths.dask_file("wanted.json")),
            published=str(paths.dask_published),
            addresses=str(paths.dask_file("addresses")),
        ),
    )
    if site.scheduler:
        plan = _batch_plan(plan, site, paths, settings, request)
    elif request.in_job:
        raise UsageError(f"{site.name} has no batch system", next=f"gears dask up {site.name}")
    else:
        plan = _local_plan(plan, paths, settings, request)
    minimum = settings.minimum if request.minimum is None else request.minimum
    most = settings.maximum or plan.maximum_jobs * plan.processes
    maximum = max(most, minimum) if request.maximum is None else request.maximum
    check_workers(plan, minimum, maximum)
    return replace(plan, wanted=Wanted(id, "", minimum, maximum))


def _settings(site: Site, request: Request) -> Settings:
    settings = read_settings(site)
    if request.cores:
        settings = replace(settings, cores=request.cores)
    if request.memory:
        try:
            bytes_of(request.memory)
        except ValueError as exc:
            raise UsageError(f"--memory: {exc}", next=f"gears dask up {site.name} --memory 8GB") from exc
        settings = replace(settings, memory=request.memory)
    return settings


def _batch_plan(plan: Plan, site: Site, paths: RunDir, settings: Settings, request: Request) -> Plan:
    batch = site.scheduler
    assert batch
    if not settings.cores or not settings.memory:
        key = "dask.memory" if settings.cores else "dask.cores"
        reason = "is required: the part of a node that a job of workers uses"
        raise ProfileError(f"~/.config/gears/sites/{plan.site}.toml", key, reason)
    return replace(
        plan,
        kind=batch.kind,
        worker=plan_worker(request.environment, paths),
        class_name=CLUSTERS[batch.kind],
        options={"cores": settings.cores, "memory": settings.memory},
        processes=settings.processes or processes_of(settings.cores),
        maximum_jobs=settings.maximum_jobs,
        host="" if settings.interface or request.in_job else scheduler_host(site, batch),
        in_job=request.in_job,
        named=bool(settings.interface),
        life_s=life_s(plan_jobqueue(batch, settings, paths)["worker-extra-args"]),
        query=(this_gears(), "_dask", "jobs", batch.kind),  # the owner appends the jobs' name and their ids
    )


def _local_plan(plan: Plan, paths: RunDir, settings: Settings, request: Request) -> Plan:
    memory = bytes_of(settings.memory) if settings.memory else None
    bounds = limits.bound(limits.read_machine(), share=settings.share, cores=settings.cores, memory=memory)
    if not request.oversubscribe:
        _check_room(paths, settings, bounds)
    options = limits.workers(bounds, settings.processes)
    workers = options.pop("n_workers")
    return replace(plan, options=options, maximum_jobs=workers, bounds=bounds)


def _check_room(paths: RunDir, settings: Settings, bounds: limits.Bounds) -> None:
    """Raise UsageError, with numbers, if a further cluster on this machine would exceed the user's share."""
    fair = limits.bound(limits.read_machine(), share=settings.share)
    for name, used in _others(paths):
        if bounds.cores + used.cores > fair.cores or bounds.memory + used.memory > fair.memory:
            raise UsageError(
                f"{bounds.cores} cores and {bounds.memory / 1e9:.1f} GB more exceed your share: the cluster of {name} "
                f"has {used.cores} cores and {used.memory / 1e9:.1f} GB of the {fair.cores} cores "
                f"({fair.why_cores}) and {fair.memory / 1e9:.1f} GB ({fair.why_memory}) that you can use here",
                next=f"gears dask down {name}   (or reduce --cores and --memory, or add --oversubscribe)",
            )


def _others(paths: RunDir) -> Iterator[tuple[str, limits.Bounds]]:
    """Yield the user's other clusters with workers on this machine: the site, and the bounds of each."""
    for file in sorted(paths.run.glob("*/dask/cluster.json")):
        site = file.parent.parent.name
        record = load_cluster(replace(paths, site=site))
        if site == paths.site or not record or not record.bounds or record.state == ClusterState.ENDED:
            continue
        if record.owner and record.owner.alive():
            yield site, record.bounds


def _start(context: Context, plan: Plan) -> None:
    paths = context.paths
    from gears.system.templates import render

    if not plan.in_job:
        tmux.check_tmux()
    python = python_of(plan.environment, paths.site, batch=bool(plan.kind))
    remove_wanted(paths)
    paths.dask_file("loop").unlink(missing_ok=True)
    save_plan(paths, plan)
    if plan.kind:
        note_name(paths, plan.id, plan.kind, _clusters(context.site, plan))
    script = render("dask.sh.j2", **_values(context, plan, python))
    files.write_private(paths.dask_file("owner.sh"), script)
    files.write_private(paths.dask_file("owner.log"), "")
    if plan.in_job:
        scheduler_job.submit(context, plan)
        return
    tmux.start_session(session_name("dask", paths.site), "dask", paths.dask_file("owner.sh"))
    variables = "".join(f", with your {variable}" for variable in _chosen(context.route, plan))
    context.say(f"{context.route.here}: started the Dask cluster of {paths.site} in tmux{variables}")
    loop = paths.dask_file("loop")  # the next holder of the lock has to see that it is alive
    wait_for(lambda: processes.read(loop) is not None, timeout_s=LOOP_S)


def _chosen(route: Route, plan: Plan) -> list[str]:
    """Return the user's variables that set the queue, cluster or account of the workers' jobs."""
    if not plan.kind:
        return []
    pattern = re.compile(_kept_variables(route.site))
    return [line for line in chosen(plan.kind, os.environ) if pattern.fullmatch(line.partition("=")[0])]


def _kept_variables(site: Site) -> str:
    """Return a pattern for the user's variables that the owner keeps."""
    batch = site.scheduler
    return kept_pattern(
        account=bool(batch and batch.account),
        queue=bool(batch and batch.queue),
        clusters=bool(clusters_named(_directives(site))),
    )


def _clusters(site: Site, plan: Plan) -> str:
    """Return the Slurm clusters of the workers' jobs: those of an owner that is a job, unless directives differ."""
    assert site.scheduler
    owners = _owners(site) if plan.in_job else ()
    return clusters(site.scheduler.kind, [*owners, *_directives(site)], os.environ)


def _owners(site: Site) -> Sequence[str]:
    """Return the directives of the owner's job."""
    return site.scheduler.directives if site.scheduler else ()


def _directives(site: Site) -> list[str]:
    """Return the directives of the workers' jobs."""
    found = read_settings(site).jobqueue.get("job-extra-directives") or []
    return [str(directive) for directive in found] if isinstance(found, list) else []


def _values(context: Context, plan: Plan, python: str) -> dict[str, Any]:
    paths = context.paths
    path = f"{Path(python).parent}:{os.environ.get('PATH', '/usr/bin:/bin')}"
    environment = {"PATH": path, "GEARS_SITE": paths.site, "DASK_CONFIG": str(paths.dask_config)}
    return {
        "site": paths.site,
        "id": plan.id,
        "header": scheduler_job.header(context, plan),
        "in_job": bool(plan.in_job),
        "clusters": plan.kind and clusters(plan.kind, _owners(context.site), os.environ),
        "named": bool(plan.named),
        "prologue": context.site.scheduler.prologue if context.site.scheduler else (),
        "directory": Path(context.site.lab.directory).expanduser(),
        "environment": environment,
        "workers_here": plan.kind is None,
        "umask": current_umask(),
        "python": python,
        "script": OWNER,
        "plan": paths.dask_file("plan.json"),
        "loop": paths.dask_file("loop"),
        "log": paths.dask_file("owner.log"),
        "published": paths.dask_published,
        "gears": shlex.join(gears_argv()),
        "schedulers": SCHEDULERS,
        "kept": _kept_variables(context.site),
    }


def _await_up(paths: RunDir, say: Progress) -> ClusterRecord:
    began = reported = time.monotonic()
    query = scheduler_job.QueueQuery()
    while True:
        current = look(paths)
        if current.state == ClusterState.UP and (
            not _lacks_workers(current.record) or time.monotonic() - began > FIRST_JOBS_S
        ):
            return current.record
        if current.state == ClusterState.QUEUED:
            began = time.monotonic()
            current = scheduler_job.query_queue(paths, current, query)
        if not current.lives:
            reason = _last_line(paths) or current.record.reason or "no output"
            raise GearsError(f"the cluster's owner ended: {reason}", next=f"cat {shlex.quote(str(_log(paths)))}")
        if time.monotonic() - began > START_S:
            next_command = f"gears dask status {paths.site}"
            raise NotReachable(f"the cluster is {current.state} after {START_S:.0f} s", next=next_command)
        if time.monotonic() - reported > REPORT_EVERY_S:
            reported = time.monotonic()
            queued = current.state == ClusterState.QUEUED
            why = f": {current.record.reason}" if queued and current.record.reason else ""
            say(f"the cluster is {current.state}{why} … {reported - query.began:.0f} s")
        time.sleep(LOOK_EVERY_S)


def _lacks_workers(record: ClusterRecord) -> bool:
    """Tell whether workers were requested, and none of their jobs has been submitted or refused yet."""
    minimum, _ = record.requested
    counts = record.counts or Counts()
    return bool(minimum) and not record.workers and not counts.submitted + counts.refused


def _log(paths: RunDir) -> Path:
    return paths.dask_file("owner.log")


def _last_line(paths: RunDir) -> str:
    lines = files.read_text(_log(paths)).strip().splitlines()
    return lines[-1] if lines else ""
