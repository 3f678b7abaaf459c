"""One ssh to one host: find the servers there, and add and cancel forwards while it runs.

It has one session and one login, so `MaxSessions 1` is enough. Forwards are added and cancelled through its control
socket (ssh(1), -O), in a private directory; no second session is opened.
"""

from __future__ import annotations

import base64
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gears.errors import GearsError, LoginNeeded, NotReachable
from gears.laptop.forward import discover, records
from gears.laptop.forward.servers import Server, read_servers
from gears.sites.paths import CONTROL_SUFFIX, MAX_FORWARD_PATH
from gears.ssh.failures import Failure, explain_failure
from gears.ssh.report import BEGIN, read
from gears.ssh.target import find_target
from gears.system import files
from gears.system.commands import Conversation

INTERACTIVE_S, BATCH_S = 120.0, 30.0
"""Time limit for the remote host's report, with and without prompts."""

LOADER = "import sys,base64;exec(base64.b64decode(sys.stdin.readline()))"
NO_PYTHON = 9
REMOTE = (
    "exec sh -c 'for p in python3 python; do "
    '"$p" -c "import sys; sys.exit(sys.version_info < (3, 6))" </dev/null 2>/dev/null && '
    f'exec "$p" -c "{LOADER}"; '
    f"done; exit {NO_PYTHON}'"
)
"""Safe in any login shell. `discover` is sent as the first line of standard input; it exits at the end of input."""


def private_directory() -> Path:
    """Create a directory, 0700; in /tmp if $TMPDIR is too long for a control socket."""
    long = len(os.fsencode(f"{tempfile.gettempdir()}/gears-12345678/ctl{CONTROL_SUFFIX}")) > MAX_FORWARD_PATH
    return Path(tempfile.mkdtemp(prefix="gears-", dir="/tmp" if long else None))


class Tunnel:
    """A context manager: on exit, ssh and its ports are closed. Raises LoginNeeded, NotReachable, GearsError."""

    def __init__(self, name: str, *, interactive: bool) -> None:
        self.name, self.interactive = name, interactive
        self.directory = private_directory()
        self.control, self.log = self.directory / "ctl", self.directory / "log"
        self.record = records.directory() / f"{self.directory.name}.json"
        self.forwards: list[records.Forward] = []
        self.host = name
        self.servers: list[Server] = []
        target = find_target(name, common_options=("-E", str(self.log), *(() if interactive else ("-oBatchMode=yes",))))
        assert target is not None
        options = [f"ControlPath={self.control}", "ControlMaster=yes", "ControlPersist=no", "ClearAllForwardings=yes"]
        words = [f"-o{option}" for option in (*options, "RequestTTY=no", "LogLevel=INFO")]
        self._ssh = Conversation([*target.command(*words), REMOTE], show_errors=True)

    def __enter__(self) -> Self:
        try:
            self._look()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End ssh, and remove the record and the directory. Can be repeated."""
        self.record.unlink(missing_ok=True)
        self._ssh.terminate(timeout_s=3)
        self._ssh.__exit__(None, None, None)
        shutil.rmtree(self.directory, ignore_errors=True)

    def ended(self) -> Failure | None:
        """Return why ssh ended; None while it runs."""
        status = self._ssh.status()
        if status is None:
            return None
        return explain_failure(
            status, files.read_text(self.log), site=self.name, host=self.name, interactive=self.interactive
        )

    def add(self, server: Server, port: int) -> bool:
        """Forward `port` to `server`. Return False if the port can't be bound."""
        forward = records.Forward(port, server.target, server.kind, server.address(port, with_token=False))
        if not records.control_ssh(self.control, "forward", "-L", forward.spec):
            return False
        self.forwards.append(forward)
        records.save(self.record, records.TunnelRecord(self.name, str(self.control), tuple(self.forwards)))
        return True

    def _look(self) -> None:
        source = Path(discover.__file__).read_bytes()
        self._ssh.write_line(base64.b64encode(source).decode())
        line = self._ssh.read_line(BEGIN, timeout_s=INTERACTIVE_S if self.interactive else BATCH_S)
        report: dict[str, Any] = read(line)
        if not report:
            raise self._failure()
        self.host = str(report.get("host"))
        self.servers = read_servers(report)

    def _failure(self) -> GearsError:
        again = f"gears forward {self.name}"
        status, _ = self._ssh.end(timeout_s=2)
        if status == NO_PYTHON:
            return GearsError(f"{self.name}: python3 (3.6 or newer) not found there", next="module avail python")
        ended = self.ended() if status is not None else None
        if ended is None or ended.kind == "network":
            return NotReachable(ended.reason if ended else f"no answer from {self.name} in time", next=again)
        if ended.kind == "login":
            return LoginNeeded(ended.reason, next=f"{again}   (in a terminal)")
        return GearsError(ended.reason, next=f"ssh -v {self.name}")
