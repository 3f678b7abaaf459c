"""The server extension: JupyterLab listens on gears' socket itself, and writes down where and what it is. What was put
off at its start (`gears.lab.jupyter.deferred_extensions`) is loaded then.

It runs inside JupyterLab, so it imports nothing slow. In a server that gears did not start it does nothing. The two are
told apart by environment variables, which a lab keeps from its terminals and kernels, so from servers started there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from pathlib import Path
from typing import Any

from gears.lab.jupyter import deferred_extensions, rebind
from gears.lab.state import Lab, save_lab
from gears.system import processes, timestamps
from gears.system.files import read_text

OWN_VARIABLES = ("GEARS_LAB_SOCKET", "GEARS_LAB_RECORDS", "JUPYTER_TOKEN_FILE", "GEARS_JOB")


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "gears.lab.jupyter.extension"}]


def _load_jupyter_server_extension(_serverapp: Any) -> None:
    """Keep the token out of logs, and settle what a hangup does, before the server is bound."""
    if "GEARS_LAB_SOCKET" not in os.environ:
        return
    keep_out_of_logs(read_text(Path(os.environ["JUPYTER_TOKEN_FILE"])).strip())
    # A handler, since programs in terminals inherit a signal that is ignored, as the loop has it: they'd outlive them.
    signal.signal(signal.SIGHUP, lambda *_: None)


async def _start_jupyter_server_extension(serverapp: Any) -> None:
    """Listen on the socket beside the port, once the server is bound, then write the record."""
    path, records, token, job = (os.environ.pop(name, "") for name in OWN_VARIABLES)
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
    rebind.watch(rebind.Places(serverapp, Path(path), files, Path(token), lab))
    deferred_extensions.load_noted(serverapp, Path(token))


def describe(serverapp: Any, path: str, job: int | None) -> Lab:
    """Tell where this JupyterLab runs, what it listens on, and how one logs in. `job`: the number of the job it is."""
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
    """Tell whether the person's password is what one logs in with, and not the token."""
    return bool(getattr(serverapp.identity_provider, "hashed_password", ""))


def keep_out_of_logs(secret: str) -> None:
    """Keep `secret` out of every log of this process from now on.

    Of a request that fails, tornado logs the whole address.
    """
    make_record = logging.getLogRecordFactory()

    def make_clean_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        """Make a record whose message has "[token]" where the secret stood."""
        record = make_record(*args, **kwargs)
        with contextlib.suppress(TypeError, ValueError, KeyError):  # a wrong format is for the handler to complain of
            if secret and secret in (text := record.getMessage()):
                record.msg, record.args = text.replace(secret, "[token]"), None
        return record

    logging.setLogRecordFactory(make_clean_record)
