"""The shell loops in tmux: rendered from templates, started once, identified by pid and start time, and ended."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

from gears.errors import GearsError, NothingRunning, NotReachable
from gears.lab.state import Plan, load_lab, load_turn, loop_alive
from gears.lab.status.model import State
from gears.lab.status.status import observe
from gears.lab.supervisor.cleanup import clean
from gears.sites.context import Context, save_context
from gears.sites.directories import open_paths
from gears.sites.route import Route
from gears.system import files, processes
from gears.system.progress import wait_for


def start_loop(context: Context, *, local: Path | None = None, word: str = "start") -> bool:
    """Start the loop of this host, unless it lives. True if this call started it. Safe to call concurrently.

    `word`: decides the first turn; of a job `submit` or `adopt`, whose errors are raised.

    Waits for a loop that is just ending. That may remove the directories, so they are made again under the lock.
    Raises NotReachable where the site keeps being stopped.
    """
    from gears.lab.supervisor.keeper import start_keeper

    paths = context.paths
    for _ in range(5):
        with contextlib.suppress(NothingRunning), files.locked(paths.start_lock):
            if load_turn(paths).plan == Plan.STOP:
                wait_for(lambda: not loop_alive(paths), timeout_s=10)
            if loop_alive(paths) or lab_without_loop(context) or lab_without_socket(context):
                return False
            open_paths(context.route, local=local)
            _start(context, word)
            if loop_alive(paths):
                start_keeper(context)  # the first one may have met that of the last loop, which was about to leave
            return True
        open_paths(context.route, local=local)
    raise NotReachable(f"{context.site.name} keeps being stopped", next=f"gears status {context.site.name}")


def _start(context: Context, word: str) -> None:
    """Write the loop's script with its first turn, and run it in tmux. Raises GearsError or OSError, leaving nothing.

    The first turn is decided here, and not by the loop, to save the start of a Python.
    """
    from gears.lab.supervisor.keeper import start_keeper
    from gears.lab.supervisor.script import plan_script
    from gears.lab.supervisor.step import STOP, next_turn
    from gears.system.templates import render
    from gears.system.tmux import check_tmux, start_session

    paths, what = context.paths, kind_of_loop(context.route)
    check_tmux()
    try:
        if what == "lab":
            from gears.dask.config_files import ensure_config

            ensure_config(context.site, paths)  # the kernels read it
        values = plan_script(context, what)
        forget_last_loop(context)
        save_context(context)
        first = next_turn(context, what, word)
        if first != STOP:
            start_keeper(context)
        files.write_private(paths.script(what), render(f"{what}.sh.j2", first=first, **values))
        start_session(context.site.name, what, paths.script(what))
    except (GearsError, OSError):
        clean(paths)
        raise
    context.say(f"{context.route.here}: started {what} of {context.site.name} in tmux")
    wait_for(lambda: loop_alive(paths), timeout_s=10)


def kind_of_loop(route: Route) -> str:
    """Return what the loop of this host supervises: hop on the front, else job or lab."""
    return "hop" if route.role == "front" else "job" if route.job else "lab"


def forget_last_loop(context: Context) -> None:
    """Remove the records of an earlier loop, and of a hop to a separate home the copy of the job's record."""
    paths = context.paths
    for stale in (paths.loop, paths.turn, paths.up, paths.given_up, paths.hop_out, paths.hop_err):
        stale.unlink(missing_ok=True)
    for stale in paths.here.glob("redial.*"):
        stale.unlink(missing_ok=True)
    if context.route.role == "front" and context.site.lab.home == "separate":
        paths.job_record.unlink(missing_ok=True)  # the lab host reports whether there is a job


def end_loop(context: Context) -> None:
    """End the loop of this host and what it runs: the loop first, or it would restart its command.

    Its directories stay. The caller holds the start lock.
    """
    from gears.system import tmux

    if (loop := processes.read(context.paths.loop)) and loop.alive():
        running = processes.children(loop)
        loop.signal(signal.SIGKILL)
        for child in running:
            child.end(timeout_s=10)
    tmux.end_session(context.site.name)


def clear_loop(context: Context) -> None:
    """End the loop of this host, and remove the site's files here. The lab behind it is not stopped."""
    with contextlib.suppress(NothingRunning), files.locked(context.paths.start_lock):  # else the loop has cleaned up
        end_loop(context)
        clean(context.paths)


def lab_without_loop(context: Context) -> bool:
    """Return whether a lab is up here: it survives its loop, and stays usable."""
    return kind_of_loop(context.route) == "lab" and observe(context).state == State.UP


def lab_without_socket(context: Context) -> bool:
    """Return whether a lab lives here that can't be reached, as after a cleaner of /tmp.

    Waits until it has recreated its socket (`rebind`), for REBIND_S at most. Raises GearsError where it does not, so
    that no second lab is started.
    """
    route = context.route
    record = load_lab(context.paths.lab_record)
    if kind_of_loop(route) != "lab" or not record or record.ended or record.job or record.host != route.here:
        return False
    lab = record.process
    if not lab.alive() or processes.before_boot(str(record.started)):
        return False
    if wait_for(lambda: lab_without_loop(context) or not lab.alive(), timeout_s=REBIND_S, every_s=0.2):
        return bool(lab.alive())
    raise _unreachable(route, lab, Path(str(record.socket)))


REBIND_S = 20.0
"""Several checks of JupyterLab (`rebind.EVERY_S`), of which one can be late while it is busy."""


def _unreachable(route: Route, lab: processes.Process, socket: Path) -> GearsError:
    """Explain why. /proc/PID/root: files as that process sees them (proc(5))."""
    site = route.site.name
    if not socket.exists() and Path(f"/proc/{lab.pid}/root{socket}").exists():
        reason = f"JupyterLab runs here (pid {lab.pid}), in a {route.site.local} that only its own session can see"
        return GearsError(
            reason, next=f"gears stop {site}; then set `local` in the profile to a directory on local disk"
        )
    reason = f"JupyterLab runs here (pid {lab.pid}), but has not recreated its socket; its kernels can't be reached"
    return GearsError(reason, next=f"gears logs {site}   (gears stop {site} ends it, with its kernels)")
