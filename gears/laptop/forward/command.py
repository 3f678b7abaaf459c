"""`gears forward …`: the command in the foreground, and `list` and `cancel`."""

from __future__ import annotations

from collections.abc import Callable

from gears.errors import NothingRunning, UsageError
from gears.laptop.forward import records
from gears.laptop.forward.servers import NAMES


def forward(names: list[str], *, show: Callable[[str], None], say: Callable[[str], None], with_tokens: bool) -> None:
    """Forward the servers of each host, in the foreground; see `Session.forward`."""
    from gears.laptop.forward.session import Session

    Session(show=show, say=say, with_tokens=with_tokens).forward(names)


def listed() -> list[str]:
    """Return a line for each forward on this machine. Raises NothingRunning if there is none."""
    found = [_line(record.name, forward) for record in records.live().values() for forward in record.forwards]
    if not found:
        raise NothingRunning("nothing is forwarded", next="gears forward HOST")
    return found


def cancelled(ports: list[str]) -> list[str]:
    """Cancel the forward of a port, or all. Raises NothingRunning if there is none, UsageError for an invalid port."""
    if len(ports) > 1 or not all(port.isdecimal() for port in ports):
        raise UsageError("gears forward cancel takes one port, or none to cancel all", next="gears forward list")
    cancelled = records.cancel(int(ports[0]) if ports else None)
    return [f"cancelled  {_line(name, forward)}" for name, forward in cancelled]


def _line(name: str, forward: records.Forward) -> str:
    kind = NAMES.get(forward.kind, forward.kind)
    return f"{forward.port}  {name:12} {kind:8} {forward.address}  → {forward.target}"
