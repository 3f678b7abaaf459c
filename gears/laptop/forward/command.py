"""`gears forward …`: the command in the foreground, and what is typed beside it."""

from __future__ import annotations

from collections.abc import Callable

from gears.errors import NothingRunning, UsageError
from gears.laptop.forward import records
from gears.laptop.forward.servers import NAMES


def forward(names: list[str], *, show: Callable[[str], None], say: Callable[[str], None], with_tokens: bool) -> None:
    """Forward what is found on each host, in the foreground; see `Session.forward`."""
    from gears.laptop.forward.session import Session

    Session(show=show, say=say, with_tokens=with_tokens).forward(names)


def listed() -> list[str]:
    """Return a line for each forward of this laptop, whichever command made it. Raises NothingRunning without any."""
    found = [_line(one) for one in records.live()]
    if not found:
        raise NothingRunning("nothing is forwarded", next="gears forward HOST")
    return found


def cancelled(ports: list[str]) -> list[str]:
    """End the forward at a port, or all. Raises NothingRunning if there is none, UsageError for anything but a port."""
    if len(ports) > 1 or not all(port.isdecimal() for port in ports):
        raise UsageError("cancel takes one port, or none for all", next="gears forward list")
    return [f"cancelled  {_line(one)}" for one in records.cancel(int(ports[0]) if ports else None)]


def _line(one: records.Forward) -> str:
    return f"{one.port}  {one.name:12} {NAMES.get(one.kind, one.kind):8} {one.address}  → {one.target}"
