"""End a lab that nobody has used for `lab.idle_timeout`, as File ▸ Shut Down does, and warn before.

Jupyter's own `shutdown_no_activity_timeout` does not fit: it never ends a server that has a kernel, however long that
was idle, and JupyterLab's polling of the server counts as activity. See docs/how-to/idle.md for what counts here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from dataclasses import dataclass
from typing import Any

from gears.errors import GearsError
from gears.lab.jupyter.rebind import Places
from gears.lab.jupyter.walltime_warning import warn_terminals
from gears.sites.paths import RunDir
from gears.system import timestamps

SETTING = "gears_idle"
"""The key of the watch in the application's settings; absent where no timeout is set."""

PATH = "gears/use"
"""Where pages report their use (`browser/idle.js`), below the base URL."""

UNASKED = re.compile(rf"{PATH}|lab/api/workspaces(?:/|$)")
"""What pages change by themselves: JupyterLab saves its layout."""

POLLED = re.compile(r"(?:api|lab/api|dask|static|lab/extensions|lab/themes|gears)(?:/|$)")
"""What pages read without anybody at them, below the base URL. Their changes are use."""

MOST_PAUSE_S = 60.0
WARN_BEFORE_S = 600.0


@dataclass(frozen=True, slots=True)
class Times:
    """The idle timeout, the time between two looks, and the time of the warning before the end, in seconds."""

    timeout_s: float

    @property
    def pause_s(self) -> float:
        """Return the time between two looks, and between two reports of a page."""
        return min(MOST_PAUSE_S, self.timeout_s / 20)

    @property
    def warn_s(self) -> float:
        """Return after how long without use it warns: ten minutes before the end, or half of a short timeout."""
        return self.timeout_s - min(WARN_BEFORE_S, self.timeout_s / 2)


class Watch:
    """The watch over the use of one server. `paths`: of its site, for its Dask cluster and its runs."""

    def __init__(self, serverapp: Any, places: Places, paths: RunDir, times: Times) -> None:
        self.serverapp, self.places, self.paths, self.times = serverapp, places, paths, times
        self.idle_s, self.warned, self.uses = 0.0, False, 0
        self._looked, self._seen = time.monotonic(), (self._traces(), "")

    def use(self) -> None:
        """Count a use: the timeout begins again."""
        self.uses += 1
        self.idle_s = 0.0
        if self.warned:
            self.warned = False
            self.serverapp.log.info("gears: the lab is in use again")
            self.places.note_idle(None, None)

    def left_s(self) -> int | None:
        """Return the seconds until the end, once it is warned of."""
        return max(0, round(self.times.timeout_s - self.idle_s)) if self.warned else None

    async def look(self) -> None:
        """Look whether it was used since the last look; if not, warn or end in time.

        Time during which this process was stopped, as that of a suspended job, does not count.
        """
        works, cluster = await asyncio.to_thread(work_of, self.paths)
        now = time.monotonic()
        passed_s, self._looked = min(now - self._looked, 2 * self.times.pause_s), now
        before, self._seen = self._seen, (self._traces(), cluster)
        if works or before != self._seen or is_busy(self.serverapp):
            self.use()
            self._seen = self._traces(), cluster
            return
        self.idle_s += passed_s
        if self.idle_s >= self.times.timeout_s:
            self._end()
        elif self.idle_s >= self.times.warn_s and not self.warned:
            self._warn()
            self._seen = self._traces(), cluster  # a line in a terminal is output

    def _traces(self) -> tuple[Any, ...]:
        """Return what changes with any use."""
        kernels, terminals = kernels_of(self.serverapp), terminals_of(self.serverapp)
        last = {name: getattr(one, "last_activity", None) for name, one in [*kernels.items(), *terminals.items()]}
        return self.uses, last

    def _warn(self) -> None:
        self.warned = True
        left_s = self.left_s() or 0
        self.places.note_idle(self._since(), timestamps.utc_time(time.time() + left_s))
        left = f"{left_s // 60} min" if left_s >= 120 else f"{left_s} s"
        words = f"gears: nobody uses this lab: it ends in {left}. Any use keeps it, such as a key pressed here."
        self.serverapp.log.warning(words)
        warn_terminals(self.serverapp.web_app.settings.get("terminal_manager"), words)

    def _end(self) -> None:
        since = self._since()
        self.serverapp.log.warning("gears: idle since %s; shutting down", since)
        self.places.note_idle(since, timestamps.utc_now())
        self.serverapp.stop()

    def _since(self) -> str:
        return timestamps.utc_time(time.time() - self.idle_s)


# --- what counts as use ----------------------------------------------------------------------


def kernels_of(serverapp: Any) -> dict[str, Any]:
    """Return the server's kernels by their ids."""
    manager = serverapp.kernel_manager
    return {id: manager.get_kernel(id) for id in manager.list_kernel_ids()}


def terminals_of(serverapp: Any) -> dict[str, Any]:
    """Return the server's terminals by their names."""
    return dict(getattr(serverapp.web_app.settings.get("terminal_manager"), "terminals", {}))


def is_busy(serverapp: Any) -> bool:
    """Return whether a kernel is busy, or a program runs in the foreground of a terminal."""
    busy = any(getattr(kernel, "execution_state", "") == "busy" for kernel in kernels_of(serverapp).values())
    return busy or any(runs_program(terminal.ptyproc) for terminal in terminals_of(serverapp).values())


def runs_program(shell: Any) -> bool:
    """Return whether a terminal's foreground is a program, and not its shell (tcgetpgrp(3)). `shell`: a PtyProcess."""
    with contextlib.suppress(OSError):
        return os.tcgetpgrp(shell.fd) != os.getpgid(shell.pid)
    return False


def work_of(paths: RunDir) -> tuple[bool, str]:
    """Return whether the site's Dask cluster has tasks or one of its runs lives here, and a trace of the cluster's use.

    Takes up to 2 s where the cluster's host does not answer. Where the files can't be read, there may be work.
    """
    from gears.dask.cluster import look
    from gears.dask.records import ClusterState
    from gears.sessions.run import every

    try:
        cluster = look(paths)
        up = cluster.state == ClusterState.UP
        works = up and bool(cluster.record.tasks)
        return works or any(run.status is None and run.alive for run in every(paths)), str(
            up and cluster.record.idle_since
        )
    except (GearsError, OSError):
        return True, ""


def is_use(method: str, path: str) -> bool:
    """Return whether a request of the user is use: any change, and any page, but no polling. `path`: below the base."""
    reads = method in ("GET", "HEAD", "OPTIONS")
    return not (UNASKED.match(path) or (reads and POLLED.match(path)))


# --- in the server ---------------------------------------------------------------------------


def watch(places: Places, paths: RunDir, timeout_s: float) -> None:
    """Begin to watch, in the server's event loop."""
    from tornado.ioloop import PeriodicCallback

    serverapp = places.serverapp
    found = Watch(serverapp, places, paths, Times(timeout_s))
    serverapp.web_app.settings[SETTING] = found
    count_requests(serverapp.web_app, found)
    serve_reports(serverapp.web_app, found)
    serverapp.log.info("gears: the lab ends when it was idle for %d s", timeout_s)
    PeriodicCallback(found.look, found.times.pause_s * 1000).start()


def count_requests(web_app: Any, found: Watch) -> None:
    """Count requests of the user that are use. A websocket is not: pages open them again by themselves."""
    log, base = web_app.settings["log_function"], web_app.settings["base_url"]

    def count(handler: Any) -> None:
        """Count a request that was answered, then log it as usual."""
        request, own = handler.request, getattr(handler, "_jupyter_current_user", None)
        answered = handler.get_status() < 400 and "Upgrade" not in request.headers
        if own and answered and is_use(request.method, request.path.removeprefix(base)):
            found.use()
        log(handler)

    web_app.settings["log_function"] = count


def serve_reports(web_app: Any, found: Watch) -> None:
    """Let pages report whether they are used; they learn how long the lab has left, and when to report again."""
    from jupyter_server.base.handlers import APIHandler
    from tornado.web import authenticated

    class Use(APIHandler):
        """Takes the reports of `browser/idle.js`."""

        _track_activity = False

        @authenticated
        def post(self) -> None:
            """Count a use, where there was one since the last report."""
            if (self.get_json_body() or {}).get("used"):
                found.use()
            self.finish({"left_s": found.left_s(), "every_s": found.times.pause_s})

    web_app.add_handlers(".*", [(re.escape(web_app.settings["base_url"]) + PATH, Use)])


def count_messages(handler: Any, web_app: Any) -> None:
    """Count what pages of other programs send by websockets through jupyter-server-proxy. `handler`: its class."""
    take = handler.on_message

    def on_message(self: Any, message: Any) -> Any:
        """Count a message of a page as use, then pass it on."""
        web_app.settings[SETTING].use()
        return take(self, message)

    if SETTING in web_app.settings:
        handler.on_message = on_message
