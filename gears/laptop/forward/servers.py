"""Servers found on a remote host. Its values are validated before they are used in a command or shown."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote

from gears.sites.paths import MAX_FORWARD_PATH

SECRET = "SECRET"
"""Stands for a secret that is part of a path."""

NAMES = {"jupyter": "Jupyter", "dask": "Dask"}


@dataclass(frozen=True, slots=True)
class Server:
    """`target`: what ssh dials there, HOST:PORT or the path of a socket. `about`: directory or cluster.

    `token`: for a dashboard of gears, the secret prefix of its pages. `open`: a Jupyter server that requires no login.
    """

    kind: str
    target: str
    path: str
    about: str
    token: str = ""
    secure: bool = False
    open: bool = False

    def address(self, port: int, *, with_token: bool) -> str:
        """Return the address to open. Include the token only for the user's own screen."""
        where = f"{'https' if self.secure else 'http'}://localhost:{port}"
        if self.kind == "dask" and self.token:
            return f"{where}/{quote(self.token, safe='') if with_token else SECRET}{self.path}"
        query = f"?token={quote(self.token)}" if self.token and with_token else ""
        return f"{where}{self.path}{query}"

    def remark(self, *, with_token: bool) -> str:
        """Return what the user must know before opening it; "" for nothing."""
        if self.open:
            return "it requires no login: every user of its host can use it; run there: jupyter server password"
        if self.kind == "jupyter":
            return "" if self.token else "log in with its password"
        return f"{SECRET} is shown only in a terminal" if self.token and not with_token else ""


def read_servers(report: dict[str, Any]) -> list[Server]:
    """Read the servers in a report of `discover`. Skip those that are invalid or can't be forwarded."""
    found = report.get("servers")
    servers = [_read(item) for item in found if isinstance(item, dict)] if isinstance(found, list) else []
    return [server for server in servers if server]


def _read(item: dict[str, Any]) -> Server | None:
    target, path = _target(item.get("target")), str(item.get("path"))
    if item.get("kind") not in NAMES or not target or not path.startswith("/"):
        return None
    return Server(
        kind=item["kind"],
        target=target,
        path=quote(path, safe="/%"),
        about="".join(letter for letter in str(item.get("about", ""))[:100] if letter.isprintable()),
        token=str(item.get("token") or ""),
        secure=item.get("secure") is True,
        open=item.get("open") is True,
    )


def _target(found: object) -> str:
    """Format a target for ssh(1), after `-L PORT:`; "" if it is neither an address with a port nor a usable path."""
    if isinstance(found, str):
        usable = found.startswith("/") and found.isprintable() and ":" not in found
        return found if usable and len(found) <= MAX_FORWARD_PATH else ""
    if not (isinstance(found, list) and len(found) == 2 and isinstance(found[1], int)):
        return ""
    try:
        address = ip_address(str(found[0]))
    except ValueError:
        return ""
    return f"[{address}]:{found[1]}" if address.version == 6 else f"{address}:{found[1]}"
