"""`gears forward` in the foreground: dial each host, forward the servers found there, and redial after a failure."""

from __future__ import annotations

import json
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from gears.errors import GearsError, Interrupted, NothingRunning, NotReachable
from gears.laptop.forward import discover, records
from gears.laptop.forward.servers import NAMES, Server, read_servers
from gears.laptop.forward.tunnel import Tunnel
from gears.ssh.target import find_target
from gears.system.commands import run

Say = Callable[[str], None]

LOOK_EVERY_S = 0.3
LONGEST_PAUSE_S = 5.0


@dataclass
class Line:
    """One host: its tunnel while it is up, and the time of the next dial. `shown`: targets, with the port that was
    shown for each. `cancelled`: targets that the user has cancelled."""

    name: str
    tunnel: Tunnel | None = None
    pause_s: float = 1.0
    again_at: float = 0.0
    shown: dict[str, int] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)


class Session:
    """`show` prints addresses, `say` everything else. `with_tokens`: whether addresses include tokens."""

    def __init__(self, *, show: Say, say: Say, with_tokens: bool) -> None:
        self.show, self.say, self.with_tokens = show, say, with_tokens

    def forward(self, names: list[str]) -> None:
        """Forward until every forward is cancelled; return at once if all existed already.

        Raises NothingRunning if nothing is found, Interrupted at Ctrl-C, and for a single host the errors of `Tunnel`.
        """
        local = [name for name in names if find_target(name) is None]
        for name in local:
            self._show_local(name)
        lines = [Line(name) for name in dict.fromkeys(names) if name not in local]
        with ExitStack() as stack, _ended_by_signals():
            try:
                self._open(lines, found=bool(local))
                stack.callback(_close, lines)
                if any(line.tunnel for line in lines):
                    self.say("press Ctrl-C to end these forwards; or: gears forward cancel")
                while any(line.tunnel or line.again_at for line in lines):
                    for line in lines:
                        self._look_after(line)
                    time.sleep(LOOK_EVERY_S)
            except KeyboardInterrupt:
                _close(lines)
                again = f"gears forward {' '.join(names)}"
                raise Interrupted("forwards ended; the servers keep running", next=again) from None

    def _open(self, lines: list[Line], *, found: bool) -> None:
        errors: list[GearsError] = []
        already = False
        for line in lines:
            try:
                already = self._dial(line, interactive=sys.stdin.isatty()) or already
            except GearsError as error:
                errors.append(error)
                if len(lines) > 1:
                    self.say(str(error))
            except BaseException:
                _close(lines)
                raise
        if any(line.tunnel for line in lines) or already or found:
            return
        if errors:
            raise errors[0]
        names = ", ".join(line.name for line in lines)
        raise NothingRunning(f"no Jupyter server or Dask dashboard of yours found on {names}", next="gears lab SITE")

    def _dial(self, line: Line, *, interactive: bool) -> bool:
        """Log in once and forward the servers found. Return whether there were any.

        Close a tunnel that has no forward of its own.
        """
        with ExitStack() as stack:
            tunnel = stack.enter_context(Tunnel(line.name, interactive=interactive))
            self._show_new(line, tunnel)
            line.again_at, line.pause_s = 0.0, 1.0
            if tunnel.forwards:
                line.tunnel = tunnel
                stack.pop_all()
            return bool(tunnel.servers)

    def _show_new(self, line: Line, tunnel: Tunnel) -> None:
        with records.locked():
            forwarded = {
                (record.name, forward.target): forward.port
                for path, record in records.live().items()
                if path != tunnel.record
                for forward in record.forwards
            }
            wanted = [server for server in tunnel.servers if server.target not in line.cancelled]
            existing = [forwarded.get((line.name, server.target)) for server in wanted]
            ports = [port or _forward(tunnel, server) for server, port in zip(wanted, existing, strict=True)]
        rows = [row for row in zip(wanted, ports, existing, strict=True) if line.shown.get(row[0].target) != row[1]]
        if rows:
            self.show(line.name if line.name == tunnel.host else f"{line.name} ({tunnel.host})")
        for server, port, before in rows:
            line.shown[server.target] = port
            address = server.address(port, with_token=self.with_tokens)
            self.show(self._row(server, address, already=before is not None))

    def _row(self, server: Server, address: str, *, already: bool) -> str:
        remarks = [server.about, server.remark(with_token=self.with_tokens), "already forwarded" if already else ""]
        return f"  {NAMES[server.kind]:8} {address}   {'; '.join(filter(None, remarks))}".rstrip()

    def _show_local(self, name: str) -> None:
        """Show the servers of this host. Nothing is forwarded: a browser here can open those with a port."""
        printed = run([sys.executable, "-IS", discover.__file__], timeout_s=60)
        report = json.loads(printed)["gears"]
        self.show(f"{name} ({report['host']}, which is this host: nothing is forwarded)")
        for server in read_servers(report):
            port = server.target.rpartition(":")[2]
            address = server.address(int(port), with_token=self.with_tokens) if port.isdigit() else server.target
            self.show(self._row(server, address, already=False))

    def _look_after(self, line: Line) -> None:
        if line.tunnel:
            ended = line.tunnel.ended()
            if not line.tunnel.record.exists():
                line.tunnel.close()
                line.tunnel = None
                self.say(f"{line.name}: forwards cancelled")
            elif ended:
                line.cancelled |= set(line.shown) - records.targets(line.tunnel.record)
                line.tunnel.close()
                line.tunnel = None
                self.say(f"{line.name}: {ended.reason}; reconnecting")
                line.again_at = time.monotonic()
        elif line.again_at and time.monotonic() >= line.again_at:
            self._redial(line)

    def _redial(self, line: Line) -> None:
        """Dial again without prompts: if the user has to log in, give up."""
        try:
            self._dial(line, interactive=False)
            self.say(
                f"{line.name}: reconnected"
                if line.tunnel
                else f"{line.name}: no servers of yours are running there now"
            )
        except NotReachable:
            line.pause_s = min(line.pause_s * 2, LONGEST_PAUSE_S)
            line.again_at = time.monotonic() + line.pause_s * random.uniform(0.7, 1.0)
        except GearsError as error:
            line.again_at = 0.0
            self.say(str(error))


def _forward(tunnel: Tunnel, server: Server) -> int:
    """Forward a server's port, or the next one that can be bound, and return it. Raises NotReachable if none can."""
    key = f"{tunnel.name} {server.target}"
    for port in records.ports_of(key, records.remembered_ports()):
        if tunnel.add(server, port):
            records.remember_port(key, port)
            return port
    raise NotReachable(f"{tunnel.name}: no free port on this machine", next="gears forward list")


def _close(lines: list[Line]) -> None:
    for line in lines:
        if line.tunnel:
            line.tunnel.close()
            line.tunnel = None


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt at SIGINT, SIGHUP and SIGTERM, so that no ssh is left running."""

    def end(*_: object) -> None:
        """Raise KeyboardInterrupt."""
        raise KeyboardInterrupt

    endings = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)  # SIGINT is ignored in the background of a script
    before = {number: signal.signal(number, end) for number in endings}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
