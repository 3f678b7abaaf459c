"""`gears data put`, `get`, `copy`, `verify`: what moves and reads data."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from gears.cli.console import say, show
from gears.cli.data.where import (
    has_records,
    open_context,
    pass_on,
    pass_to_transfer_host,
    route_to,
    transfer_target,
)
from gears.cli.options import Commands, add_command
from gears.errors import UsageError

if TYPE_CHECKING:
    from gears.data.planning import Asked
    from gears.data.records import Transfer, Verb
    from gears.sites.context import Context
    from gears.sites.route import Route


def add(verbs: Commands) -> None:
    """Add the verbs and their arguments."""
    put = add_command(verbs, "put", do_put, summary="put a directory on a place, and read it back", site=False)
    put.add_argument("source", metavar="DIR", help="a directory, or PLACE:PATH")
    put.add_argument("target", metavar="PLACE[:PATH]", help="it will be PLACE:PATH/NAME")
    get = add_command(verbs, "get", do_get, summary="bring back what was put", site=False)
    get.add_argument("source", metavar="PLACE:NAME")
    get.add_argument("patterns", nargs="*", metavar="PATTERN", help="only paths that match; * matches / as well")
    get.add_argument("--to", required=True, dest="target", metavar="PLACE[:PATH]", help="it will be PLACE:PATH/NAME")
    copy = add_command(verbs, "copy", do_copy, summary="copy a directory between two places", site=False)
    copy.add_argument("source", metavar="FROM", help="a directory, or PLACE:PATH")
    copy.add_argument("target", metavar="TO", help="the copy: a directory, or PLACE:PATH")
    for verb in (put, get, copy):
        verb.add_argument("--name", default="", help="name of the transfer (default: that of the directory)")
        verb.add_argument(
            "--jobs", type=_processes, default=0, metavar="N", help="processes (default: one a processor)"
        )
    verify = add_command(verbs, "verify", do_verify, summary="read everything again", site=False)
    verify.add_argument("name", metavar="NAME")
    for verb in (put, get, copy, verify):
        verb.add_argument("--site", metavar="SITE")
        how = verb.add_mutually_exclusive_group()
        how.add_argument("--wait", action="store_true", help="follow it to the end, and exit with its status")
        how.add_argument(
            "--foreground", action="store_true", help="run here, in this process, such as in a job of yours"
        )


def _processes(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError("must be a number from 1 to 1024")
    return int(text)


def do_put(args: argparse.Namespace) -> int:
    """Put a directory on a place."""
    return _move(args, "put")


def do_get(args: argparse.Namespace) -> int:
    """Bring back what was put."""
    return _move(args, "get")


def do_copy(args: argparse.Namespace) -> int:
    """Copy a directory."""
    return _move(args, "copy")


def _move(args: argparse.Namespace, word: str) -> int:
    from gears.data.dispatch import named
    from gears.data.planning import Asked, plan
    from gears.data.records import Verb
    from gears.system.host import this_host

    route = route_to(args)
    typed = Asked(Verb(word), args.source, args.target, args.name, tuple(getattr(args, "patterns", ())), args.jobs)
    asked = typed.absolute(route.site)
    planned = plan(asked, route.site, this_host())  # errors in the words are seen here, before any login
    if (status := _elsewhere(args, route, asked, planned)) is not None:
        return status
    context = open_context(route)
    if asked.verb is not Verb.PUT and not asked.name:
        planned = named(context, planned)
    return _start(args, context, planned, asked.verb)


def _elsewhere(args: argparse.Namespace, route: Route, asked: Asked, planned: Transfer) -> int | None:
    """Carry it out on another host, where that has to be, and return the exit status; None: it is to be here."""
    from gears.data.planning import check_on_laptop
    from gears.sites.locate import host_role

    words = [*asked.words(), *["--wait"] * args.wait, *["--foreground"] * args.foreground]
    if args.here:
        return None
    if host_role(route) == "laptop":
        if asked.has_path(route.site):
            check_on_laptop(planned)
            args.foreground = True
            return None
        return pass_on(route, words)
    if args.foreground:
        return None
    if host := transfer_target(args, route):
        return pass_to_transfer_host(route, host, words)
    return None if host_role(route) == "lab" else pass_on(route, words)


def _start(args: argparse.Namespace, context: Context, transfer: Transfer, verb: Verb) -> int:
    from gears.cli.data.tracking import follow, line
    from gears.data.dispatch import start
    from gears.data.execution import execute

    started = start(context, transfer, verb, foreground=args.foreground)
    to_follow = f"gears data status {transfer.name} --site {context.site.name} --watch"
    if args.foreground and not started.already:
        status = execute(context, transfer.name)
    elif args.wait:
        status = follow(context, transfer.name)
    else:
        show(f"{line(started.shown)}{' (already)' * started.already}\nto follow it: {to_follow}")
        return 0
    return status


def do_verify(args: argparse.Namespace) -> int:
    """Read everything that a transfer has written again."""
    from gears.data.following import find
    from gears.data.records import Verb, manifest_path

    route = route_to(args)
    words = ["verify", args.name, *["--wait"] * args.wait, *["--foreground"] * args.foreground]
    if not has_records(args, route):
        return pass_on(route, words)
    context = open_context(route)
    shown = find(context, args.name)
    if not args.foreground and (host := transfer_target(args, route)):
        return pass_to_transfer_host(route, host, words)
    if not manifest_path(context.paths, args.name).exists():
        raise UsageError(f"{args.name} has never been complete: there is nothing to verify by", next=shown.next)
    if shown.transfer.patterns:
        raise UsageError(
            f"{args.name} is a part of {shown.transfer.source}: only the whole is verified", next=shown.next
        )
    return _start(args, context, shown.transfer, Verb.VERIFY)


def do_work(args: argparse.Namespace) -> int:
    """Carry out the task of a transfer, in its job or session."""
    from gears.data.execution import execute

    context = open_context(route_to(args))
    say(f"begin of {args.job_name} on {context.route.here}")
    return execute(context, args.name, args.job_name)


def do_help(args: argparse.Namespace) -> int:
    """Help with the task of a transfer, on another node of its job."""
    from gears.data.execution import help_execute

    context = open_context(route_to(args))
    say(f"{context.route.here} helps {args.job_name}")
    return help_execute(context, args.name, args.job_name)


def do_serve(args: argparse.Namespace) -> int:
    """Do batches for a run on another node of the job, over standard input and output."""
    from gears.data.member import serve
    from gears.data.methods import default_jobs

    serve(args.mark, args.jobs or default_jobs())
