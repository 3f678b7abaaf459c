"""`gears run`: which of its verbs is meant, and on which host it is carried out."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from gears import runs
from gears.errors import GearsError, Interrupted, UsageError
from gears.locate import lab_route, locate
from gears.route import Route
from gears.shell import run_in
from gears.way import place_of

VERBS = {"list": 1, "attach": 2, "logs": 2}
"""With how many words behind each."""

Show = Callable[[str], None]


def do(words: list[str], *, env: str | None, follow: bool, show: Show, say: Show, there: bool = False) -> int:
    """Carry out `gears run` and return its exit status: that of the command where it is followed to the end.

    `there`: this is the lab host, whatever names it has. Raises UsageError, and what the steps raise.
    """
    verb, rest = (words[0], words[1:]) if words and words[0] in VERBS else ("", words)
    if len(rest) != VERBS.get(verb, len(rest)) or len(rest) < (1 if verb else 2):
        raise UsageError("not a way to type it", next="gears run SITE -- COMMAND …   (or: gears run --help)")
    route = locate(rest[0])
    if not there and place_of(route) != "lab":
        active = [f"--env={env}"] if env else []
        typed = [verb, *rest, *["--follow"] * follow] if verb else [*active, rest[0], "--", *rest[1:]]
        return runs.pass_on(route, typed)
    route = lab_route(route.site) if there else route
    if not verb:
        return _start(route, rest[1:], env, show, say)
    if verb == "list":
        return _list(route, show)
    paths, number = runs.open_runs(route), _number(rest[1])
    if verb == "attach":
        return runs.attach(paths, number, route.here)
    return _show(route, number, show, follow=follow)


def _start(route: Route, argv: list[str], env: str | None, show: Show, say: Show) -> int:
    run = runs.start(route, argv, before=run_in(env))
    again = f"gears run logs {route.site.name} {run.number} --follow"
    say(f"run {run.number} of {route.site.name}, on {run.host}; it needs no connection. Back to it: {again}")
    return _show(route, run.number, show, follow=True)


def _show(route: Route, number: int, show: Show, *, follow: bool) -> int:
    paths, site = runs.open_runs(route), route.site.name
    try:
        for text in runs.output(paths, number, follow=follow):
            show(text)
    except KeyboardInterrupt:
        again = f"gears run logs {site} {number} --follow"
        raise Interrupted(f"run {number} goes on", next=f"{again}   (or: gears run attach {site} {number})") from None
    run = runs.find(paths, number)
    if run.status is None and run.alive is False:
        raise GearsError(f"run {number} is gone, and left no exit status: {run.host} or its tmux was ended")
    return run.status or 0 if follow else 0


def _list(route: Route, show: Show) -> int:
    for run in runs.every(runs.open_runs(route)):
        command = shlex.join(run.argv)
        show(f"{run.number:<4} {run.state():10} {run.host:12} {run.started}  {command}\n")
    return 0


def _number(word: str) -> int:
    if not word.isdecimal():
        raise UsageError(f"{word} is no run's name: they are numbers", next="gears run list SITE")
    return int(word)
