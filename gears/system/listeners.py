"""Listeners at a port of this host's loopback, from proc(5), /proc/net/tcp. Read-only."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))

MAPPED = "0" * 16 + "FFFF0000"

ADDRESSES = {
    "127.0.0.1": ("0100007F", "00000000", f"{MAPPED}0100007F", f"{MAPPED}00000000", "0" * 32),
    "[::1]": ("0" * 24 + "01000000", "0" * 32),
}
"""Address to connect to → local addresses of listeners that can answer there, in the kernel's hexadecimal form."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket. `address`: hexadecimal, as the kernel has it."""

    address: str
    uid: int


@dataclass(frozen=True, slots=True)
class Found:
    """`address`: where the user's own listener answers; "" if there is none. `other`: another user's uid."""

    address: str = ""
    other: int | None = None


def look(port: int) -> Found:
    """Find the listeners at a port, and choose the address to connect to."""
    return choose(read(port), os.getuid())


def read(port: int) -> list[Listener]:
    """Read the listeners at a port from TABLES. Takes some milliseconds on a host with thousands of connections."""
    row = re.compile(rf"^ *\d+: ([0-9A-F]+):{port:04X} [0-9A-F:]+ 0A \S+ \S+ \S+ +(\d+) ", re.MULTILINE)
    return [Listener(address, int(uid)) for table in TABLES for address, uid in row.findall(_text(table))]


def choose(listeners: list[Listener], uid: int) -> Found:
    """Choose the address to connect to: IPv4 first, as Dask does.

    If one of several listeners can answer, all must be the user's: another user can have the same port on IPv6.
    """
    for address, locals_ in ADDRESSES.items():
        if matching := [listener for listener in listeners if listener.address in locals_]:
            others = [listener.uid for listener in matching if listener.uid != uid]
            return Found(other=others[0]) if others else Found(address)
    return Found()


def _text(table: Path) -> str:
    try:
        return table.read_text()
    except OSError:  # a host without IPv6 or without /proc: no listener is known to be the user's
        return ""
