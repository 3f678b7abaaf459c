"""`gears dask`."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable

from gears.cli.console import say, show
from gears.cli.options import Commands, add_command, add_internal
from gears.dask import lifecycle
from gears.dask.cluster import Cluster, seconds
from gears.dask.records import ClusterRecord, ClusterState, End, Jobs
from gears.sites.load import default_site, load_site
from gears.system.records import as_values
from gears.system.timestamps import utc_time


def do_dask(args: argparse.Namespace) -> int:
    """Run a verb of `gears dask`, and print its answer, if it has one."""
    answer: Answer = args.answer(args.site or default_site(), args)
    text, status = answer
    if text:
        show(text)
    return status


EXITS = {
    ClusterState.UP: 0,
    ClusterState.QUEUED: 0,
    ClusterState.STARTING: 0,
    ClusterState.ENDING: 0,
    ClusterState.ENDED: 4,
    ClusterState.STOPPED: 4,
    ClusterState.UNKNOWN: 5,
}
"""The exit status of `gears dask status` for each state."""

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
"""The fields of the record that `--json` prints, in this order."""

Answer = tuple[str, int]


def up(name: str, args: argparse.Namespace) -> Answer:
    """Start the cluster, or find the running one. If the command ran on another host, there is nothing to print."""
    from gears.dask.environment import requested_environment
    from gears.dask.launch import Request

    args.env = requested_environment(args.env, os.environ)
    request = Request(args.min, args.max, args.cores, args.memory, args.env, args.oversubscribe, args.in_job)
    found = lifecycle.up(name, request, say, on_lab_host=args.on_lab_host, words=_words(args))
    if isinstance(found, int):
        return "", found
    return _as_json(Cluster(ClusterState.UP, found)) if args.json else _how_to_use(name, found), 0


def _words(args: argparse.Namespace) -> list[str]:
    """Return the options as they were given, for gears on another host."""
    values = {"--min": args.min, "--max": args.max, "--cores": args.cores, "--memory": args.memory, "--env": args.env}
    words = [f"{option}={value}" for option, value in values.items() if value not in (None, "")]
    return words + ["--oversubscribe"] * args.oversubscribe + ["--in-job"] * args.in_job + ["--json"] * args.json


def status(name: str, args: argparse.Namespace) -> Answer:
    """Show the cluster; the exit status also reports its state."""
    found = lifecycle.status(name, say, on_lab_host=args.on_lab_host, words=["--json"] * args.json)
    return ("", found) if isinstance(found, int) else (_status(name, found, args), EXITS[found.state])


def scale(name: str, args: argparse.Namespace) -> Answer:
    """Set a fixed number of workers."""
    return _change(name, args, args.number, args.number, ["scale", str(args.number)])


def adapt(name: str, args: argparse.Namespace) -> Answer:
    """Scale the number of workers with the work, within bounds."""
    return _change(name, args, args.least, args.most, ["adapt", str(args.least), str(args.most)])


def _change(name: str, args: argparse.Namespace, least: int, most: int, verb: list[str]) -> Answer:
    found = lifecycle.adapt(name, least, most, on_lab_host=args.on_lab_host, verb=verb)
    return ("", found) if isinstance(found, int) else (f"{name}: {_wanted(found)}{_trouble(found)}", 0)


def down(name: str, args: argparse.Namespace) -> Answer:
    """End the cluster, if one is up."""
    outcome = lifecycle.down(name, say, on_lab_host=args.on_lab_host)
    if outcome is True or outcome is False:
        return f"{name}: the Dask cluster has ended" if outcome else f"{name}: no Dask cluster was up", 0
    return "", outcome


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
            return f"{name}: the last Dask cluster ended at {record.updated}{why}\n  next: gears dask up {name}"
        case ClusterState.QUEUED:
            pending = f"{name}: job {record.job}, which will own the Dask cluster, is pending{why}"
            return f"{pending}\n  stop      gears dask down {name}"
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
    (least, most), connected = record.requested, record.workers or 0
    if isinstance(record.wanted, End):
        return f"shutting down, {connected} workers connected"
    if least == most:
        return f"{least} workers requested, {connected} connected"
    return f"{least} to {most} workers as needed, {connected} connected"


def _workers(record: ClusterRecord) -> str:
    if bounds := record.bounds:
        memory = f"{bounds.memory / 1e9:.1f} GB ({bounds.why_memory})"
        return f"{_wanted(record)}; at most {bounds.cores} cores ({bounds.why_cores}), {memory}"
    return f"{_wanted(record)}; {record.processes} per job, at most {record.maximum_jobs} jobs"


def _jobs(record: ClusterRecord) -> str:
    if record.kind is None:
        return "none: the workers run on this machine"
    jobs = record.jobs or Jobs()
    pending = [job for job in record.waiting or () if job.reason]
    why = f"; {pending[0].id}: {pending[0].reason}" if pending else ""
    return f"{jobs.all}, of which {jobs.waiting} are pending{why}"


def _idle(record: ClusterRecord) -> str:
    since, limit_s = record.idle_since, record.idle_timeout_s
    if not since or not limit_s:
        return ""
    return f"; idle since {since}, and shuts down automatically at {utc_time(seconds(since) + limit_s)}"


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


VERBS = "up|status|scale N|adapt MIN MAX|down"


def add(commands: Commands) -> None:
    """Add `dask`, and `_dask` for a host to which a command is passed on."""
    dask = add_command(commands, "dask", do_dask, site=False)
    dask.set_defaults(answer=status, site=None, json=False, on_lab_host=False)
    _add_verbs(dask.add_subparsers(metavar=VERBS), on_lab_host=False)
    inner = commands.add_parser("_dask")  # the same verbs, on the host to which a command is passed on
    verbs = inner.add_subparsers(required=True)
    _add_verbs(verbs, on_lab_host=True)
    _add_inner(verbs)


def _add_verbs(verbs: Commands, *, on_lab_host: bool) -> None:
    def verb(name: str, help: str, answer: Callable[[str, argparse.Namespace], Answer]) -> argparse.ArgumentParser:
        parser = add_command(verbs, name, do_dask, summary=help, site=False)
        parser.set_defaults(answer=answer, on_lab_host=on_lab_host)
        return parser

    start = verb("up", "start the cluster, or find the running one", up)
    start.add_argument(
        "--min", type=count, metavar="N", help="minimum number of workers (default: from the profile, or 0)"
    )
    start.add_argument("--max", type=count, metavar="N", help="maximum number of workers (default: from the profile)")
    start.add_argument(
        "--cores", type=count, metavar="N", help="cores of a job, or of this machine (default: from the profile)"
    )
    start.add_argument(
        "--memory", metavar="8GB", help="memory of a job, or of this machine (default: from the profile)"
    )
    start.add_argument("--env", metavar="NAME", help="environment whose Python the workers use")
    start.add_argument(
        "--oversubscribe", action="store_true", help="start although another cluster of yours uses this machine"
    )
    start.add_argument(
        "--in-job", action="store_true", help="also run the owner as a batch job: nothing stays on this host"
    )
    look = verb("status", "show whether it is up, its workers and jobs, and any problem", status)
    exact = verb("scale", "set a fixed number of workers", scale)
    exact.add_argument("number", type=count, metavar="N")
    bounds = verb("adapt", "scale with the work, between MIN and MAX workers", adapt)
    bounds.add_argument("least", type=count, metavar="MIN")
    bounds.add_argument("most", type=count, metavar="MAX")
    end = verb("down", "end the cluster and all its jobs", down)
    for parser in (start, look, exact, bounds, end):
        parser.add_argument("site", nargs="?", metavar="SITE")
    for parser in (start, look):
        parser.add_argument("--json", action="store_true", help="print JSON")


def _add_inner(verbs: Commands) -> None:
    """Add the internal commands of a cluster's owner and of the shell loop around it."""
    jobs = add_internal(verbs, "jobs", do_dask_jobs, "kind", "name")
    jobs.add_argument("ids", nargs="*")
    add_internal(verbs, "address", do_dask_address, "site")
    add_internal(verbs, "end", do_dask_end, "site", "id")


def count(text: str) -> int:
    """Parse a number from 0 to 100000. Raises ArgumentTypeError."""
    if not text.isdecimal() or int(text) > 100_000:
        raise argparse.ArgumentTypeError(f"{text} is not a number between 0 and 100000")
    return int(text)


def do_dask_jobs(args: argparse.Namespace) -> int:
    """Print for the cluster's owner, as JSON, what the scheduler reports of its pending jobs."""
    print(json.dumps(lifecycle.jobs(args.kind, args.name, args.ids)))
    return 0


def do_dask_address(args: argparse.Namespace) -> int:
    """Print, for an owner in a job, the address by which other nodes reach this one."""
    print(lifecycle.address(args.site))
    return 0


def do_dask_end(args: argparse.Namespace) -> int:
    """Clean up after a cluster whose owner has ended: its address and its jobs."""
    lifecycle.end(args.site, args.id, say)
    return 0
