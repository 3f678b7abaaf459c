"""`gears run`."""

from __future__ import annotations

import argparse
import shlex

from gears.cli.console import say, show_part
from gears.cli.options import Commands, add_command, add_internal
from gears.errors import GearsError, Interrupted, UsageError
from gears.sessions.run import attach, every, find, open_runs, output, start
from gears.sessions.shell import run_in
from gears.sites.locate import lab_route, locate, place_of
from gears.sites.route import Route
from gears.ssh.target import pass_on


def add(commands: Commands) -> None:
    """Add the words of the command."""
    run = add_command(commands, "run", "a command there, in tmux: it outlives the connection", do_run, site=False)
    for command in (run, add_internal(commands, "_run", do_run_on_lab_host)):  # the same, on a host that one is sent to
        command.add_argument("--env", metavar="NAME", help="an environment of yours active, instead of gears' own")
        command.add_argument(
            "words", nargs="*", metavar="SITE -- COMMAND… | list SITE | attach SITE NAME | logs SITE NAME"
        )
        command.add_argument(
            "-f", "--follow", action="store_true", help="with logs: go on to its end, whose status is ours"
        )


def do_run(args: argparse.Namespace) -> int:
    """Carry out `gears run`, and return the exit status of a command that is followed to its end."""
    return carry_out(args.words, env=args.env, follow=args.follow)


def do_run_on_lab_host(args: argparse.Namespace) -> int:
    """Carry out `gears run` on the lab host one was sent to, whatever names it has."""
    return carry_out(args.words, env=args.env, follow=args.follow, on_lab_host=True)


VERBS = {"list": 1, "attach": 2, "logs": 2}
"""With how many words behind each."""


def carry_out(words: list[str], *, env: str | None, follow: bool, on_lab_host: bool = False) -> int:
    """Carry out `gears run` and return its exit status: that of the command where it is followed to the end.

    `on_lab_host`: this is the lab host, whatever names it has. Raises UsageError, and what the steps raise.
    """
    verb, rest = (words[0], words[1:]) if words and words[0] in VERBS else ("", words)
    if len(rest) != VERBS.get(verb, len(rest)) or len(rest) < (1 if verb else 2):
        raise UsageError("not a way to type it", next="gears run SITE -- COMMAND …   (or: gears run --help)")
    route = locate(rest[0])
    if not on_lab_host and place_of(route) != "lab":
        active = [f"--env={env}"] if env else []
        typed = [verb, *rest, *["--follow"] * follow] if verb else [*active, rest[0], "--", *rest[1:]]
        return pass_on(route, "run", typed, again=f"gears run list {route.site.name}")
    route = lab_route(route.site) if on_lab_host else route
    if not verb:
        return _start(route, rest[1:], env)
    if verb == "list":
        return _list(route)
    paths, number = open_runs(route), _number(rest[1])
    if verb == "attach":
        return attach(paths, number, route.here)
    return _show(route, number, follow=follow)


def _start(route: Route, argv: list[str], env: str | None) -> int:
    run = start(route, argv, before=run_in(env))
    again = f"gears run logs {route.site.name} {run.number} --follow"
    say(f"run {run.number} of {route.site.name}, on {run.host}; it needs no connection. Back to it: {again}")
    return _show(route, run.number, follow=True)


def _show(route: Route, number: int, *, follow: bool) -> int:
    paths, site = open_runs(route), route.site.name
    try:
        for text in output(paths, number, follow=follow):
            show_part(text)
    except KeyboardInterrupt:
        again = f"gears run logs {site} {number} --follow"
        raise Interrupted(f"run {number} goes on", next=f"{again}   (or: gears run attach {site} {number})") from None
    run = find(paths, number)
    if run.status is None and run.alive is False:
        raise GearsError(f"run {number} is gone, and left no exit status: {run.host} or its tmux was ended")
    return run.status or 0 if follow else 0


def _list(route: Route) -> int:
    for run in every(open_runs(route)):
        command = shlex.join(run.argv)
        show_part(f"{run.number:<4} {run.state():10} {run.host:12} {run.started}  {command}\n")
    return 0


def _number(word: str) -> int:
    if not word.isdecimal():
        raise UsageError(f"{word} is no run's name: they are numbers", next="gears run list SITE")
    return int(word)
