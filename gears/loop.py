"""The shell loops that tmux runs: rendered from their templates, started once, found by pid and start time."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gears import process, store
from gears.errors import CommandFailed, NothingRunning, NotReachable
from gears.locate import open_paths, save_route
from gears.route import Route
from gears.rundir import RunDir
from gears.status import observe
from gears.typed import typed

Say = Callable[[str], None]


def start_loop(route: Route, paths: RunDir, *, say: Say | None = None, local: Path | None = None) -> bool:
    """Start the loop of this host, unless it lives. True if it was started now. Ten at once start one.

    A loop that is just ending is waited for; it may take the directories along, so they are made again under the lock.
    """
    for _ in range(5):
        with contextlib.suppress(NothingRunning), store.locked(paths.start_lock):
            if store.read_record(paths.turn).get("plan") == "stop":
                wait_for(lambda: not loop_alive(paths), timeout_s=10)
            if loop_alive(paths) or lab_without_loop(route, paths):
                return False
            open_paths(route, local=local)
            _start(route, paths, say)
            return True
        open_paths(route, local=local)
    raise NotReachable(f"{route.site.name} is being stopped again and again", next=f"gears status {route.site.name}")


def _start(route: Route, paths: RunDir, say: Say | None) -> None:
    from gears.tmux import check_tmux, start_session
    from gears.turn import clean, leave

    what = "hop" if route.role == "front" else "lab"
    check_tmux()
    write_loop(route, paths, what)
    try:
        start_session(route.site.name, what, paths.script(what))
    except CommandFailed:
        clean(paths)
        leave(paths)
        raise
    if say:
        say(f"{route.here}: started {what} of {route.site.name} in tmux")
    wait_for(lambda: loop_alive(paths), timeout_s=10)


def loop_alive(paths: RunDir) -> bool:
    loop = process.read(paths.loop)
    return bool(loop and loop.alive())


def check_loop(paths: RunDir, pid: int) -> None:
    """Raise NothingRunning unless the shell `pid` is the loop of this site: a loop whose directory was taken from under
    it must not act on what a later one has put there."""
    loop = process.read(paths.loop)
    if loop is None or loop.pid != pid:
        raise NothingRunning(f"{pid} is not the loop of {paths.site} any more", next=f"gears status {paths.site}")


def lab_without_loop(route: Route, paths: RunDir) -> bool:
    """A lab whose loop was killed lives on by itself, and is as good as ever."""
    return route.role == "lab" and observe(route, paths).state == "up"


def write_loop(route: Route, paths: RunDir, what: str) -> None:
    """Decide on the first turn and render the loop's script. Stale records of a former loop go first.

    The first turn is decided here, and not by the loop, to spare the start of a Python.
    """
    from gears.render import render
    from gears.turn import next_turn

    values = _hop_values(route, paths) if what == "hop" else _lab_values(route, paths)  # may refuse: before all else
    for stale in (paths.loop, paths.turn, paths.up, paths.given_up, paths.hop_out, paths.hop_err):
        stale.unlink(missing_ok=True)
    save_route(route, paths)
    first = next_turn(route, paths, what, "start")
    store.write_private(paths.script(what), render(f"{what}.sh.j2", first=first, **values))


def _hop_values(route: Route, paths: RunDir) -> dict[str, Any]:
    from gears.hop import plan_hop, remote_gears
    from gears.keeper import hold

    hop = plan_hop(route.site, paths, remote_gears(route.site, paths.home, this_gears()))
    return {
        "again": typed(f"gears lab {route.site.name}"),
        "site": route.site.name,
        "host": hop.host,
        "local": paths.local,
        "here": paths.here,
        "loop": paths.loop,
        "ask": paths.ask,
        "log": paths.log("hop"),
        "gears": this_gears(),
        "options": hop.options,
        "key_alias": hop.key_alias,
        "forward_to": hop.forward_to,
        "remote": hop.remote,
        "hop_in": paths.hop_in,
        "hop_out": paths.hop_out,
        "hop_err": paths.hop_err,
        "keeper": paths.keeper,
        "link": paths.link,
        "held": paths.held,
        "hold": hold.__file__,
        "python": sys.executable,
        "prompt_s": os.environ.get("GEARS_PROMPT_S"),
    }


def _lab_values(route: Route, paths: RunDir) -> dict[str, Any]:
    from gears.lab.launch import plan_command, plan_environment

    umask = os.umask(0o077)
    os.umask(umask)
    return {
        "again": typed(f"gears lab {route.site.name}"),
        "site": route.site.name,
        "directory": Path(route.site.lab.directory).expanduser(),
        "local": paths.local,
        "here": paths.here,
        "loop": paths.loop,
        "ask": paths.ask,
        "log": paths.log("lab"),
        "gears": this_gears(),
        "environment": plan_environment(route.site, paths),
        "jupyter": plan_command(route.site, paths, root=os.geteuid() == 0),
        "listen": route.site.lab.listen,
        "umask": f"{umask:03o}",
    }


def this_gears() -> str:
    """The command that runs this very gears, by its absolute path."""
    return str(Path(sys.executable).with_name("gears"))


def wait_for(condition: Callable[[], bool], *, timeout_s: float, every_s: float = 0.02) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True
