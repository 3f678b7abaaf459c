"""Restrict JupyterLab's proxy (/proxy/PORT/…): forward only to programs of this user, and forward no login.

jupyter-server-proxy sends the browser's cookies and its Authorization header to any program that has the port, and
serves the answer as a page of JupyterLab's own origin, whose scripts have all the user's rights
(jupyterhub/jupyter-server-proxy#590, GHSA-q52h-2389-h4hv). On a shared host any user can take the port of a dashboard
that has ended. So before each request the owner of the listener is looked up in the kernel.

Also inserts the secret prefix of the dashboard of a cluster of `gears dask`. Delete `clean` and `without` when the
issue is fixed; the rest is needed as long as hosts are shared.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from gears.dask.records import ClusterRecord
from gears.system import listeners, records

LOOPBACK = ("localhost", "127.0.0.1", "::1")
LOGIN_HEADERS = ("Authorization", "X-Xsrftoken")
LOGIN_COOKIES = re.compile(r"_xsrf$|username-|jupyterhub-")
"""Of any Jupyter at this name: the browser sends the cookies of all ports to each."""


@dataclass(frozen=True, slots=True)
class Own:
    """The lab's secret token, and the directory with the records of the user's sites."""

    secret: str
    run: Path


def guard(handlers: Any, own: Own) -> None:
    """Add the checks to jupyter_server_proxy.handlers. Raises AttributeError where its methods have changed."""
    base = handlers.ProxyHandler
    proxy, proxy_open, client_uri = base.proxy, base.proxy_open, base.get_client_uri
    _ = base.proxy_request_headers, base.get_request_headers_override

    async def guarded_proxy(self: Any, host: str, port: Any, path: str) -> Any:
        """Forward a request, with the path that `admit` returns."""
        return await proxy(self, host, port, await admit(self, host, port, path, own))

    async def guarded_open(self: Any, host: str, port: Any, path: str = "") -> None:
        """Open a websocket to the path that `admit` returns; close it with 1008 where that raises (RFC 6455, 7.4.1)."""
        from tornado.web import HTTPError

        try:
            path = await admit(self, host, port, path, own)
        except HTTPError as exc:
            self.close(1008, str(exc.reason)[:100])
            return
        await proxy_open(self, host, port, path)

    def guarded_uri(self: Any, protocol: str, host: str, port: Any, path: str) -> str:
        """Return the URI to request, with the address at which the listener was found."""
        uri: str = client_uri(self, protocol, host, port, path)
        where = getattr(self, "gears_address", "")
        return uri.replace(f"//{host}:", f"//{where}:", 1) if where else uri

    def guarded_headers(self: Any) -> Any:
        """Return the headers to forward: those of the request that `clean` keeps, and the handler's own."""
        headers = self.request.headers.copy()
        clean(headers, own.secret, self.identity_provider.get_cookie_name(self))
        headers.update(self.get_request_headers_override())
        return headers

    base.proxy, base.proxy_open = guarded_proxy, guarded_open
    base.get_client_uri, base.proxy_request_headers = guarded_uri, guarded_headers


async def admit(handler: Any, host: str, port: Any, path: str, own: Own) -> str:
    """Return the path to request. Raises HTTPError: 403 where the port is another user's, 502 where nothing listens."""
    handler.request.query = without(handler.request.query, own.secret)
    if handler.unix_socket is not None or host not in LOOPBACK:
        return path
    found, prefix = await asyncio.to_thread(_look, int(port), own.run)
    if not found.address:
        refuse(found, int(port))
    handler.gears_address = found.address
    if not prefix or handler.absolute_url or path.startswith(f"/{prefix}/"):
        return path
    return f"/{prefix}/{path.removeprefix('/')}"


def refuse(found: listeners.Found, port: int) -> None:
    """Raise HTTPError: 502 where nothing listens at the port, 403 where it is another user's."""
    from tornado.web import HTTPError

    here = socket.gethostname()
    if found.other is None:
        why = f"Nothing listens at port {port} of {here}: the program has ended, or runs on another host."
        raise HTTPError(502, f"{why} For a Dask cluster: gears dask status", reason="Nothing listens")
    why = f"Port {port} of {here} belongs to another user (uid {found.other}); nothing was sent there."
    raise HTTPError(403, f"{why} Your own program at this port has ended.", reason="Another user's port")


def clean(headers: Any, secret: str, cookie: str = "") -> None:
    """Remove headers that log in to a Jupyter server, or contain the token, such as Referer."""
    for name in {*LOGIN_HEADERS, *(name for name, value in headers.get_all() if secret and secret in value)}:
        if name in headers:
            del headers[name]
    if "Cookie" in headers:
        cookies = [part.strip() for part in headers["Cookie"].split(";")]
        remaining = [part for part in cookies if not _logs_in(part.partition("=")[0].strip(), cookie)]
        headers["Cookie"] = "; ".join(remaining)
        if not remaining:
            del headers["Cookie"]


def _logs_in(name: str, cookie: str) -> bool:
    return name == cookie or bool(LOGIN_COOKIES.match(name))


def without(query: str, secret: str) -> str:
    """Return the query of an address without parameters that contain the token."""
    if not secret or secret not in query:
        return query
    return urlencode([(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if secret not in value])


def _look(port: int, run: Path) -> tuple[listeners.Found, str]:
    return listeners.look(port), prefix_of(port, run.glob("*/dask/cluster.json"))


def prefix_of(port: int, files: Iterable[Path]) -> str:
    """Return the secret prefix of the dashboard at a port of this host, if it belongs to a live cluster of the user.

    Empty where it does not. `files`: the records of clusters.
    """
    clusters = [cluster for file in files if (cluster := records.load(ClusterRecord, file))]
    for cluster in clusters:
        dashboard, owner = cluster.dashboard, cluster.owner
        if dashboard and dashboard.port == port and owner and owner.alive():
            return dashboard.prefix
    return ""
