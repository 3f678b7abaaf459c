"""`gears run`."""

from __future__ import annotations

import argparse
import shlex

from gears.cli.console import say, show_part
from gears.cli.options import Commands, add_command, add_internal
from gears.errors import GearsError, Interrupted, UsageError
from gears.sessions.run import attach, every, find, open_runs, output, start
from gears.sessions.shell import run_in
from gears.sites.locate import host_role, lab_route, locate
from gears.sites.route import Route
from gears.ssh.target import pass_on


def add(commands: Commands) -> None:
    """Add the arguments of the command."""
    run = add_command(commands, "run", do_run, site=False)
    for command in (run, add_internal(commands, "_run", do_run_on_lab_host)):  # the same, passed on to the lab host
        command.add_argument("--env", metavar="NAME", help="activate an environment of yours instead of gears' own")
        command.add_argument(
            "words", nargs="*", metavar="SITE -- COMMAND… | list SITE | attach SITE NUMBER | logs SITE NUMBER"
        )
        command.add_argument(
            "-f",
            "--follow",
            action="store_true",
            help="with logs: follow to the end, and exit with the command's status",
        )


def do_run(args: argparse.Namespace) -> int:
    """Carry out `gears run` and return its exit status."""
    return carry_out(args.words, env=args.env, follow=args.follow)


def do_run_on_lab_host(args: argparse.Namespace) -> int:
    """Carry out `gears run` on this host, the lab host, whatever its names are."""
    return carry_out(args.words, env=args.env, follow=args.follow, on_lab_host=True)


VERBS = {"list": 1, "attach": 2, "logs": 2}
"""Verbs, with the number of arguments of each."""


def carry_out(words: list[str], *, env: str | None, follow: bool, on_lab_host: bool = False) -> int:
    """Carry out `gears run` and return its exit status: that of the command if it is followed to its end.

    `on_lab_host`: this is the lab host, whatever its names are. Raises UsageError, and what the steps raise.
    """
    verb, rest = (words[0], words[1:]) if words and words[0] in VERBS else ("", words)
    if len(rest) != VERBS.get(verb, len(rest)) or len(rest) < (1 if verb else 2):
        raise UsageError("invalid arguments", next="gears run SITE -- COMMAND …   (or: gears run --help)")
    route = locate(rest[0])
    if not on_lab_host and host_role(route) != "lab":
        options = [f"--env={env}"] if env else []
        arguments = [verb, *rest, *["--follow"] * follow] if verb else [*options, rest[0], "--", *rest[1:]]
        return pass_on(route, "run", arguments, again=f"gears run list {route.site.name}")
    route = lab_route(route.site) if on_lab_host else route
    if not verb:
        return _start(route, rest[1:], env)
    if verb == "list":
        return _list(route)
    paths, number = open_runs(route), _number(rest[1])
    if verb == "attach":
        return attach(route, paths, number)
    return _show(route, number, follow=follow)


def _start(route: Route, argv: list[str], env: str | None) -> int:
    run = start(route, argv, before=run_in(env))
    site, follow = route.site.name, f"gears run logs {route.site.name} {run.number} --follow"
    say(f"run {run.number} of {site} started on {run.host}; it continues without a connection. To follow it: {follow}")
    return _show(route, run.number, follow=True)


def _show(route: Route, number: int, *, follow: bool) -> int:
    paths, site = open_runs(route), route.site.name
    try:
        for text in output(paths, number, follow=follow):
            show_part(text)
    except KeyboardInterrupt:
        again = f"gears run logs {site} {number} --follow"
        raise Interrupted(f"run {number} continues", next=f"{again}   (or: gears run attach {site} {number})") from None
    run = find(paths, number)
    if run.status is None and run.alive is False:
        raise GearsError(f"run {number} is gone and left no exit status: {run.host} or its tmux session ended")
    return run.status or 0 if follow else 0


def _list(route: Route) -> int:
    for run in every(open_runs(route)):
        command = shlex.join(run.argv)
        show_part(f"{run.number:<4} {run.state():10} {run.host:12} {run.started}  {command}\n")
    return 0


def _number(word: str) -> int:
    if not word.isdecimal():
        raise UsageError(f"invalid run number: {word}", next="gears run list SITE")
    return int(word)
