"""The words of `gears dask`. `cli` knows which function carries them out."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
MakeCommand = Callable[..., argparse.ArgumentParser]
VERBS = "up|status|scale N|adapt MIN MAX|down"


def add_dask(commands: Commands, command: MakeCommand) -> None:
    """Add `dask`, and `_dask` for the host that a command is passed on to. `command`: `arguments._command`."""
    dask = command(
        commands, "dask", "a Dask cluster that every notebook of yours finds", site=False, does="dask status"
    )
    dask.set_defaults(site=None, json=False, there=False)
    _add_verbs(dask.add_subparsers(metavar=VERBS), command, there=False)
    inner = commands.add_parser("_dask")  # the same, on a host that one is sent to
    verbs = inner.add_subparsers(required=True)
    _add_verbs(verbs, command, there=True)
    _add_inner(verbs)


def _add_verbs(verbs: Commands, command: MakeCommand, *, there: bool) -> None:
    up = command(verbs, "up", "start the cluster, or find the one that runs", does="dask up")
    up.add_argument(
        "--min", type=count, metavar="N", help="keep at least so many workers (default: the profile's, or 0)"
    )
    up.add_argument("--max", type=count, metavar="N", help="have at most so many (default: as the profile allows)")
    up.add_argument("--cores", type=count, metavar="N", help="of a job, or of this machine (default: the profile's)")
    up.add_argument("--memory", metavar="8GB", help="the same of its memory")
    up.add_argument("--env", metavar="NAME", help="the environment whose Python the workers have")
    up.add_argument("--oversubscribe", action="store_true", help="though another cluster of yours has the machine")
    up.add_argument("--in-job", action="store_true", help="its owner, too, is a batch job: nothing stays on this host")
    status = command(verbs, "status", "whether it is up, its workers and jobs, and what is wrong", does="dask status")
    scale = command(verbs, "scale", "have so many workers, no more and no fewer", site=False, does="dask scale")
    scale.add_argument("number", type=count, metavar="N")
    adapt = command(
        verbs, "adapt", "have as many as the work wants, within these bounds", site=False, does="dask adapt"
    )
    adapt.add_argument("least", type=count, metavar="MIN")
    adapt.add_argument("most", type=count, metavar="MAX")
    down = command(verbs, "down", "end the cluster and all its jobs", does="dask down")
    for verb in (scale, adapt):
        verb.add_argument("site", nargs="?", metavar="SITE")
    for verb in (up, status, scale, adapt, down):
        verb.set_defaults(there=there)
    for verb in (up, status):
        verb.add_argument("--json", action="store_true", help="for programs")


def _add_inner(verbs: Commands) -> None:
    """Add what the owner of a cluster and the loop around it call; no person types these."""
    jobs = verbs.add_parser("jobs")
    jobs.set_defaults(command="_dask jobs")
    jobs.add_argument("kind")
    jobs.add_argument("name")
    jobs.add_argument("ids", nargs="*")
    address = verbs.add_parser("address")
    address.set_defaults(command="_dask address")
    address.add_argument("site")
    end = verbs.add_parser("end")
    end.set_defaults(command="_dask end")
    end.add_argument("site")
    end.add_argument("id")


def count(text: str) -> int:
    """Parse a number from 0 to 100000. Raises ArgumentTypeError."""
    if not text.isdecimal() or int(text) > 100_000:
        raise argparse.ArgumentTypeError(f"{text} is not a number between 0 and 100000")
    return int(text)
