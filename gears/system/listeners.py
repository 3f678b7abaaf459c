"""Who listens at a port of this host's loopback, as the kernel has it (proc(5), /proc/net/tcp). Reads only."""

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
"""Where one connects; and the local addresses, four bytes each in this machine's order, of whoever may answer there."""


@dataclass(frozen=True, slots=True)
class Listener:
    """`address`: as the kernel has it, in hexadecimal digits."""

    address: str
    uid: int


@dataclass(frozen=True, slots=True)
class Found:
    """`address`: where to connect to find what is this person's; "" where nobody listens, or `other` does."""

    address: str = ""
    other: int | None = None


def look(port: int) -> Found:
    """Look who listens at a port, and choose where to connect to it."""
    return choose(read(port), os.getuid())


def read(port: int) -> list[Listener]:
    """Read who listens at a port, from TABLES. Takes some milliseconds on a host with thousands of connections."""
    row = re.compile(rf"^ *\d+: ([0-9A-F]+):{port:04X} [0-9A-F:]+ 0A \S+ \S+ \S+ +(\d+) ", re.MULTILINE)
    return [Listener(address, int(uid)) for table in TABLES for address, uid in row.findall(_text(table))]


def choose(listeners: list[Listener], uid: int) -> Found:
    """Choose where to connect: IPv4 first, as Dask does.

    Where one of several may answer, each must be the person's: on IPv6 another one may have the port that is hers on
    IPv4.
    """
    for address, locals_ in ADDRESSES.items():
        if there := [listener for listener in listeners if listener.address in locals_]:
            others = [listener.uid for listener in there if listener.uid != uid]
            return Found(other=others[0]) if others else Found(address)
    return Found()


def _text(table: Path) -> str:
    try:
        return table.read_text()
    except OSError:  # a host without IPv6, or without the file: then nobody is known to be the person's
        return ""
