"""What `gears dask` answers: one text, or one line of JSON, and an exit status."""

from __future__ import annotations

import argparse
import json
import os
import time

from gears.dask import commands
from gears.dask.cluster import Cluster, seconds
from gears.dask.records import ClusterRecord, ClusterState, End, Jobs
from gears.loop import Say
from gears.records import as_values
from gears.sites import default_site, load_site
from gears.store import utc_time

EXITS = {
    ClusterState.UP: 0,
    ClusterState.QUEUED: 0,
    ClusterState.STARTING: 0,
    ClusterState.ENDING: 0,
    ClusterState.ENDED: 4,
    ClusterState.STOPPED: 4,
    ClusterState.UNKNOWN: 5,
}
"""`gears dask status` answers by its exit status as well."""

SHOWN = (
    *(
        "state",
        "reason",
        "id",
        "job",
        "site",
        "kind",
        "host",
        "environment",
        "started",
        "updated",
        "address",
        "dashboard",
    ),
    *("versions", "wanted", "workers", "threads", "memory", "jobs", "waiting", "tasks", "trouble", "counts"),
    *("bounds", "processes", "maximum_jobs", "idle_since", "idle_timeout_s"),
)
"""What of the record `--json` has, in this order."""

Answer = tuple[str, int]


def answer(args: argparse.Namespace, say: Say) -> Answer:
    """Carry out the command. Return what to print, and the exit status.

    There is nothing to print where another host has answered already.
    """
    name = args.site or default_site()
    match args.command:
        case "dask up":
            return _up(name, args, say)
        case "dask status":
            words = ["--json"] * args.json
            found = commands.status(name, say, there=args.there, words=words)
            return ("", found) if isinstance(found, int) else (_status(name, found, args), EXITS[found.state])
        case "dask scale" | "dask adapt":
            return _adapt(name, args)
        case "dask down":
            ran = commands.down(name, say, there=args.there)
            if ran is True or ran is False:
                return f"{name}: the Dask cluster has ended" if ran else f"{name}: no Dask cluster was up", 0
            return "", ran
    raise AssertionError(args.command)


def _up(name: str, args: argparse.Namespace, say: Say) -> Answer:
    from gears.dask.environment import asked_for
    from gears.dask.start import Request

    args.env = asked_for(args.env, os.environ)
    request = Request(args.min, args.max, args.cores, args.memory, args.env, args.oversubscribe, args.in_job)
    found = commands.up(name, request, say, there=args.there, words=_words(args))
    if isinstance(found, int):
        return "", found
    return _as_json(Cluster(ClusterState.UP, found)) if args.json else _how_to_use(name, found), 0


def _words(args: argparse.Namespace) -> list[str]:
    """Return the options as they were typed, for gears on another host."""
    values = {"--min": args.min, "--max": args.max, "--cores": args.cores, "--memory": args.memory, "--env": args.env}
    words = [f"{option}={value}" for option, value in values.items() if value not in (None, "")]
    return words + ["--oversubscribe"] * args.oversubscribe + ["--in-job"] * args.in_job + ["--json"] * args.json


def _adapt(name: str, args: argparse.Namespace) -> Answer:
    if args.command == "dask scale":
        least, most, verb = args.number, args.number, ["scale", str(args.number)]
    else:
        least, most, verb = args.least, args.most, ["adapt", str(args.least), str(args.most)]
    found = commands.adapt(name, least, most, there=args.there, verb=verb)
    return ("", found) if isinstance(found, int) else (f"{name}: {_wanted(found)}{_trouble(found)}", 0)


def _how_to_use(name: str, record: ClusterRecord) -> str:
    lines = [
        f"The Dask cluster of {name} is up on {record.host}.",
        "  use       from dask.distributed import Client; client = Client()",
        f"  workers   {_workers(record)}",
        f"  page      {_page(name, record)}   (while the lab is up)",
        f"  stop      gears dask down {name}",
    ]
    return "\n".join(lines) + _trouble(record)


def _status(name: str, found: Cluster, args: argparse.Namespace) -> str:
    if args.json:
        return _as_json(found)
    record = found.record
    why = f": {record.reason}" if record.reason else ""
    match found.state:
        case ClusterState.STOPPED:
            return f"{name}: no Dask cluster is up\n  next: gears dask up {name}"
        case ClusterState.ENDED:
            return f"{name}: the last one ended at {record.updated}{why}\n  next: gears dask up {name}"
        case ClusterState.QUEUED:
            waits = f"{name}: job {record.job}, which is to own the Dask cluster, waits{why}"
            return f"{waits}\n  stop      gears dask down {name}"
        case ClusterState.STARTING | ClusterState.UNKNOWN:
            return f"{name}: the Dask cluster on {record.host} is {found.state}\n  next: gears dask status {name}"
    lines = [
        f"{name}: the Dask cluster is {found.state} on {record.host}, since {record.started}",
        f"  workers   {_workers(record)}",
        f"  jobs      {_jobs(record)}",
        f"  tasks     {record.tasks or 0}{_idle(record)}",
        f"  page      {_page(name, record)}",
    ]
    return "\n".join(lines) + _trouble(record)


def _as_json(found: Cluster) -> str:
    """Format the record as one line of JSON, null where nothing is known."""
    values = as_values(found.record) if found.record.id else {}
    return json.dumps({name: values.get(name) for name in SHOWN} | {"state": found.state})


def _wanted(record: ClusterRecord) -> str:
    (least, most), there = record.asked, record.workers or 0
    if isinstance(record.wanted, End):
        return f"it is to end, {there} workers are there"
    if least == most:
        return f"{least} workers are wanted, {there} are there"
    return f"{least} to {most} workers as the work wants, {there} are there"


def _workers(record: ClusterRecord) -> str:
    if bounds := record.bounds:
        memory = f"{bounds.memory / 1e9:.1f} GB ({bounds.why_memory})"
        return f"{_wanted(record)}; at most {bounds.cores} cores ({bounds.why_cores}), {memory}"
    return f"{_wanted(record)}; {record.processes} in a job, at most {record.maximum_jobs} jobs"


def _jobs(record: ClusterRecord) -> str:
    if record.kind is None:
        return "none: the workers are on this machine"
    jobs = record.jobs or Jobs()
    waits = [job for job in record.waiting or () if job.reason]
    why = f"; {waits[0].id}: {waits[0].reason}" if waits else ""
    return f"{jobs.all}, of which {jobs.waiting} wait{why}"


def _idle(record: ClusterRecord) -> str:
    since, limit_s = record.idle_since, record.idle_timeout_s
    if not since or not limit_s:
        return ""
    return f"; nothing to do since {since}, and it ends itself at {utc_time(seconds(since) + limit_s)}"


def _trouble(record: ClusterRecord) -> str:
    trouble = record.trouble
    if not trouble:
        return ""
    minutes = (time.time() - seconds(trouble.since)) / 60
    return f"\n  trouble   no workers for {minutes:.0f} min: {trouble.message}"


def _page(name: str, record: ClusterRecord) -> str:
    if not (dashboard := record.dashboard):
        return "none"
    return f"http://localhost:{load_site(name).laptop.port}/proxy/{dashboard.port}/{dashboard.prefix}/status"
