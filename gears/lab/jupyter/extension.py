"""The server extension: let JupyterLab listen on the socket of gears, and write the lab's record.

Then load the deferred extensions (`gears.lab.jupyter.deferred_extensions`). It runs inside JupyterLab, so it imports
nothing slow. In a server that gears did not start it does nothing: it looks for environment variables that a lab
removes from its terminals and kernels.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from pathlib import Path
from typing import Any

from gears.lab.jupyter import deferred_extensions, panel, rebind
from gears.lab.jupyter.carry_limits import VARIABLE as CARRY
from gears.lab.state import Lab, save_lab
from gears.sites.paths import RunDir
from gears.system import processes, timestamps
from gears.system.files import read_text

OWN_VARIABLES = (
    *("GEARS_LAB_SOCKET", "GEARS_LAB_RECORDS", "JUPYTER_TOKEN_FILE", "GEARS_JOB", "GEARS_IDLE_TIMEOUT_S"),
    "GEARS_PYTHON",
)


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "gears.lab.jupyter.extension"}]


def _load_jupyter_server_extension(_serverapp: Any) -> None:
    """Keep the token out of logs, and handle SIGHUP, before the server is bound."""
    if "GEARS_LAB_SOCKET" not in os.environ:
        return
    keep_out_of_logs(read_text(Path(os.environ["JUPYTER_TOKEN_FILE"])).strip())
    # The loop ignores SIGHUP. Programs in terminals would inherit that, and outlive them; a handler is not inherited.
    signal.signal(signal.SIGHUP, lambda *_: None)


async def _start_jupyter_server_extension(serverapp: Any) -> None:
    """Listen on the socket in addition to the port, once the server is bound, then write the record."""
    path, records, token, job, timeout_s, python = (os.environ.pop(name, "") for name in OWN_VARIABLES)
    if not path:
        return
    if not serverapp.sock:
        from tornado.netutil import bind_unix_socket

        serverapp.http_server.add_socket(bind_unix_socket(path, mode=0o600))
    lab = describe(serverapp, path, int(job) if job else None)
    if ends := os.environ.get("GEARS_JOB_ENDS"):
        from gears.lab.jupyter.walltime_warning import warn_before_end

        warn_before_end(serverapp, float(ends))
    files = [Path(name) for name in records.split(":") if name]
    for file in files:
        save_lab(file, lab)
    places = rebind.Places(serverapp, Path(path), files, Path(token), lab)
    rebind.watch(places)
    if timeout_s:
        from gears.lab.jupyter import idle

        idle.watch(places, RunDir(Path(token).parents[2], str(lab.site), Path(path).parent), float(timeout_s))
    if lab.site:
        panel.serve(serverapp.web_app, panel.plan_looker(Path(token).parents[2], lab.site, python))
    if CARRY in os.environ:
        from gears.lab.jupyter import carry

        carry.begin(serverapp, RunDir(Path(token).parents[2], str(lab.site), Path(path).parent))
    deferred_extensions.load_noted(serverapp, Path(token))


def describe(serverapp: Any, path: str, job: int | None) -> Lab:
    """Return this JupyterLab's record: where it runs, where it listens, how to log in. `job`: the number of its job."""
    import jupyterlab

    me = processes.this_process()
    return Lab(
        host=me.host,
        pid=me.pid,
        start=me.start,
        site=os.environ.get("GEARS_SITE"),
        port=None if serverapp.sock else serverapp.port,
        socket=path,
        version=jupyterlab.__version__,
        started=timestamps.utc_now(),
        login="password" if has_password(serverapp) else "token",
        overridden=tuple(serverapp.gears_notes),
        job=job,
    )


def has_password(serverapp: Any) -> bool:
    """Return whether the login is by the user's password, and not by the token."""
    return bool(getattr(serverapp.identity_provider, "hashed_password", ""))


def keep_out_of_logs(secret: str) -> None:
    """Keep `secret` out of every log of this process from now on.

    tornado logs the whole address of a failed request.
    """
    make_record = logging.getLogRecordFactory()

    def make_clean_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        """Make a record with "[token]" in place of the secret."""
        record = make_record(*args, **kwargs)
        with contextlib.suppress(TypeError, ValueError, KeyError):  # the handler reports a wrong format
            if secret and secret in (text := record.getMessage()):
                record.msg, record.args = text.replace(secret, "[token]"), None
        return record

    logging.setLogRecordFactory(make_clean_record)
