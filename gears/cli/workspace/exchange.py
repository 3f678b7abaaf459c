"""`gears workspace push` and `pull`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gears.cli.console import say, show
from gears.cli.options import Commands, add_command

if TYPE_CHECKING:
    from gears.workspace.exchange import Exchanged
    from gears.workspace.here import Here


def add(verbs: Commands) -> None:
    """Add the verbs and their arguments."""
    summary = "send data that the commit needs to the remote place, and the branch to git's"
    push = add_command(verbs, "push", do_push, summary=summary, site=False)
    summary = "fetch the branch, and bring back data that is not in the cache"
    pull = add_command(verbs, "pull", do_pull, summary=summary, site=False)
    for verb, whose in ((push, "the remote place has"), (pull, "the cache has")):
        verb.add_argument("directory", nargs="?", type=Path, default=Path(), metavar="DIR", help="default: this one")
        verb.add_argument("--verify", action="store_true", help=f"read again what {whose}, and replace what differs")
        verb.add_argument("--site", metavar="SITE")
        verb.add_argument("--json", action="store_true", help="print the outcome as JSON")


def do_push(args: argparse.Namespace) -> int:
    """Push data and code, and say what was done."""
    from gears.workspace.exchange import push

    return _exchange(args, push, "pushed")


def do_pull(args: argparse.Namespace) -> int:
    """Pull code and data, and say what was done."""
    from gears.workspace.exchange import pull

    return _exchange(args, pull, "pulled")


def _exchange(args: argparse.Namespace, exchange: Callable[..., Exchanged], word: str) -> int:
    done = exchange(here(args), verify=args.verify)
    if args.json:
        import json

        print(json.dumps(as_json(done)))
    else:
        show(as_text(done, word))
    if done.problem:
        raise done.problem
    return 0


def here(args: argparse.Namespace) -> Here:
    """Return the clone of the command line, seen from this host."""
    from gears.cli.workspace.creation import site_of
    from gears.system.host import this_host
    from gears.workspace import settings
    from gears.workspace.here import Here

    top, found = settings.find(args.directory)
    site = site_of(args)
    host = this_host(full_name=any(place.hosts for place in site.filesystem.values()))
    return Here(top, found, site, host, say)


def as_json(done: Exchanged) -> dict[str, Any]:
    """Return the outcome for programs."""
    from dataclasses import replace

    from gears.system.records import as_values

    values = as_values(replace(done, problem=None))
    values["problem"] = done.problem.message if done.problem else ""
    values["status"] = done.problem.exit_code if done.problem else 0
    return values


def as_text(done: Exchanged, word: str) -> str:
    """Write the outcome for a terminal."""
    lines = []
    if data := done.data:
        from gears.cli.data.places import size

        where = "the cache" if word == "pulled" else data.place
        done_now = f"{data.copied:,} of {data.objects:,} objects copied to {where}, {size(data.size)}"
        whole = not data.missing and not data.damaged
        has_all = f"{where} has all {data.objects:,} objects"
        nothing = has_all if whole and where else f"{data.objects:,} objects, none copied"
        lines.append(f"data: {done_now if data.copied else nothing}")
    if done.code and done.remote:
        lines.append(f"code: {done.branch or 'HEAD'} {done.commit[:10]} {word}, {done.remote}")
    return "\n".join(lines) or f"nothing was {word}"
