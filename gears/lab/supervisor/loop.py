"""The shell loops in tmux: rendered from templates, started once, identified by pid and start time."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from gears.errors import GearsError, NothingRunning, NotReachable
from gears.lab.state import Plan, load_lab, load_turn
from gears.lab.status.model import State
from gears.lab.status.status import observe
from gears.sites.context import Context
from gears.sites.locate import open_paths
from gears.sites.paths import RunDir
from gears.sites.route import Route
from gears.sites.route_record import save_route
from gears.system import files, processes
from gears.system.installation import gears_argv, this_gears, with_gears_path
from gears.system.progress import wait_for


def start_loop(context: Context, *, local: Path | None = None, word: str = "start") -> bool:
    """Start the loop of this host, unless it lives. True if this call started it. Safe to call concurrently.

    `word`: decides the first turn; of a job `submit` or `adopt`, whose errors are raised.

    Waits for a loop that is just ending. That may remove the directories, so they are made again under the lock.
    Raises NotReachable where the site keeps being stopped.
    """
    paths = context.paths
    for _ in range(5):
        with contextlib.suppress(NothingRunning), files.locked(paths.start_lock):
            if load_turn(paths).plan == Plan.STOP:
                wait_for(lambda: not loop_alive(paths), timeout_s=10)
            if loop_alive(paths) or lab_without_loop(context) or lab_without_socket(context):
                return False
            open_paths(context.route, local=local)
            _start(context, word)
            return True
        open_paths(context.route, local=local)
    raise NotReachable(f"{context.site.name} keeps being stopped", next=f"gears status {context.site.name}")


def kind_of_loop(route: Route) -> str:
    """Return what the loop of this host supervises: hop on the front, else job or lab."""
    return "hop" if route.role == "front" else "job" if route.job else "lab"


def _start(context: Context, word: str) -> None:
    paths = context.paths
    from gears.lab.supervisor.cleanup import clean, leave
    from gears.system.tmux import check_tmux, start_session

    what = kind_of_loop(context.route)
    check_tmux()
    try:
        write_loop(context, what, word)
        start_session(context.site.name, what, paths.script(what))
    except (GearsError, OSError):
        clean(paths)
        leave(paths)
        raise
    context.say(f"{context.route.here}: started {what} of {context.site.name} in tmux")
    wait_for(lambda: loop_alive(paths), timeout_s=10)


def loop_alive(paths: RunDir) -> bool:
    """Return whether the loop of this host lives, by its record."""
    loop = processes.read(paths.loop)
    return bool(loop and loop.alive())


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
    reason, fix = _unreachable(route, lab, Path(str(record.socket)))
    raise GearsError(reason, next=fix)


REBIND_S = 20.0
"""Several checks of JupyterLab (`rebind.EVERY_S`), of which one can be late while it is busy."""


def _unreachable(route: Route, lab: processes.Process, socket: Path) -> tuple[str, str]:
    """Return reason and fix. /proc/PID/root: files as that process sees them (proc(5))."""
    site = route.site.name
    if not socket.exists() and Path(f"/proc/{lab.pid}/root{socket}").exists():
        reason = f"JupyterLab runs here (pid {lab.pid}), in a {route.site.local} that only its own session can see"
        return reason, f"gears stop {site}; then set `local` in the profile to a directory on local disk"
    reason = f"JupyterLab runs here (pid {lab.pid}), but has not recreated its socket; its kernels can't be reached"
    return reason, f"gears logs {site}   (gears stop {site} ends it, with its kernels)"


def write_loop(context: Context, what: str, word: str = "start") -> None:
    """Decide on the first turn and render the loop's script, after removing records of an earlier loop.

    The first turn is decided here, and not by the loop, to save the start of a Python.
    """
    paths = context.paths
    from gears.lab.supervisor.step import next_turn
    from gears.system.templates import render

    values = VALUES[what](context)  # can raise: before anything is changed
    for stale in (
        paths.loop,
        paths.turn,
        paths.up,
        paths.given_up,
        paths.hop_out,
        paths.hop_err,
    ):
        stale.unlink(missing_ok=True)
    if what == "hop" and context.site.lab.home == "separate":
        paths.job_record.unlink(missing_ok=True)  # only a copy: the lab host reports whether there is a job
    save_route(context.route, paths)
    first = next_turn(context, what, word)
    files.write_private(paths.script(what), render(f"{what}.sh.j2", first=first, **values))


def _hop_values(context: Context) -> dict[str, Any]:
    paths = context.paths
    from gears.ssh.hop import plan_hop
    from gears.ssh.pin import NODE_GUARD
    from gears.ssh.remote_gears import remote_gears

    hop = plan_hop(
        context.site,
        paths,
        remote_gears(context.site, paths.home, this_gears()),
        job=context.route.job,
        forward=f"-L {paths.local}/{paths.site}.hop.$GEARS_TURN.sck:{paths.link}",
        control=str(paths.control("hop")),
    )
    return (
        _common_values(context, "hop")
        | _ssh_values(paths)
        | {
            "host": hop.host,
            "options": hop.options,
            "forward": hop.forward,
            "key_alias": hop.key_alias,
            "on_node": NODE_GUARD,
            "remote": hop.remote,
            "prompt_s": os.environ.get("GEARS_PROMPT_S"),
        }
    )


def _job_values(context: Context) -> dict[str, Any]:
    paths = context.paths
    from gears.lab.job import wait_for_exit
    from gears.lab.job.options import check_scheduler
    from gears.ssh.options import ANY_NODE, has_forwards, ssh_options

    forward = f"-L {paths.local}/{paths.site}.job.$GEARS_TURN.sck:{paths.local}/{paths.site}.lab.$GEARS_JOB.sck"
    behind = forward if has_forwards(ANY_NODE) else ""
    return (
        _common_values(context, "job")
        | _ssh_values(paths)
        | {
            "again": with_gears_path(f"gears lab {context.site.name} --job"),
            "options": ssh_options(forward=behind, control=str(paths.control("job")), clear=bool(behind)),
            "forward": "" if behind else forward,
            "reach": check_scheduler(context.site).reach,
            "meet": paths.meet_fifo,
            "watch": f"{shlex.quote(sys.executable)} -IS {shlex.quote(wait_for_exit.__file__)}",
            "lives": shlex.quote(str(paths.records)),
        }
    )


def _common_values(context: Context, what: str) -> dict[str, Any]:
    paths = context.paths
    return {
        "again": with_gears_path(f"gears lab {context.site.name}"),
        "site": context.site.name,
        "local": paths.local,
        "here": paths.here,
        "loop": paths.loop,
        "ask": paths.ask,
        "log": paths.log(what),
        "gears": shlex.join(gears_argv()),
    }


def _ssh_values(paths: RunDir) -> dict[str, Any]:
    from gears.lab.supervisor import held_socket

    return {
        "hop_in": paths.hop_in,
        "hop_out": paths.hop_out,
        "hop_err": paths.hop_err,
        "keeper": paths.keeper,
        "link": paths.link,
        "held": paths.held,
        "hold": held_socket.__file__,
        "python": sys.executable,
    }


def _lab_values(context: Context) -> dict[str, Any]:
    paths = context.paths
    from gears.dask.config_files import ensure_config
    from gears.lab.jupyter.command_line import plan_command, plan_environment
    from gears.system.files import current_umask

    ensure_config(context.site, paths)
    return _common_values(context, "lab") | {
        "directory": Path(context.site.lab.directory).expanduser(),
        "environment": plan_environment(context.site, paths),
        "jupyter": plan_command(context.site, paths, root=os.geteuid() == 0),
        "listen": context.site.lab.listen,
        "umask": current_umask(),
    }


VALUES = {"hop": _hop_values, "lab": _lab_values, "job": _job_values}
"""The values for the template of each loop."""
