"""Show how to open a Dask dashboard in your own browser. For any notebook and any cluster; optional.

    from gears.notebook import show_dashboard
    show_dashboard(client)      # a Client, a cluster of any kind, a scheduler, or an address

If this notebook's Jupyter has jupyter-server-proxy, as every lab of gears has, show a link below the address the
browser already has. Otherwise show the `ssh -L …` that forwards the dashboard to the user's machine. This module
imports only the standard library, so that any environment can import it, and changes nothing.
"""

from __future__ import annotations

import getpass
import glob
import html
import http.client
import json
import os
import re
import shlex
import socket
from typing import Any

TIMEOUT_S = 3.0
ADDRESSES = ("scheduler_address", "address")
"""Attributes with the address, of clusters, clients' schedulers and schedulers."""

LOOPBACK = ("localhost", "127.0.0.1", "::1", "0.0.0.0", "::", "")


def show_dashboard(what: Any) -> None:
    """Print the link, or the command to run on the user's machine. Never raises for what it can't find out."""
    shown = Dashboard(what)
    if _in_jupyter():
        from IPython.display import display

        display(shown)  # type: ignore[no-untyped-call]
    else:
        print(shown)


class Dashboard:
    """How to open a dashboard, as text and as HTML. `path`: below the address of the notebook's Jupyter."""

    def __init__(self, what: Any) -> None:
        link = link_of(what)
        proxied = re.match(r"^(?:https?://[^/]+)?(/(?:.*/)?proxy/(\d+)/.*)$", link)
        host, port, page = parts_of(link)
        self.path, self.text = "", link or "There is no dashboard: is bokeh installed in this environment?"
        if proxied and (elsewhere := scheduler_host(what)):
            self.text = f"Dask's dashboard is on {elsewhere}, this Jupyter on {socket.gethostname()}: gears dask status"
        elif proxied:
            self.path = proxied[1]
        elif port and _is_here(host) and (base := proxy_base()) is not None:
            self.path = f"{base}proxy/{port}{page}"
        elif port:
            self.text = forward_hint(host, port, page)
        if self.path:
            self.text = f"Dask's dashboard: {address() or '(below the address of your Jupyter) '}{self.path}"

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str | None:
        """Return the link for a notebook, without a host: the browser has the right one. Without a path, the text."""
        if not self.path:
            return f"<pre>{html.escape(self.text)}</pre>"
        path = html.escape(self.path)
        return f'Dask’s dashboard: <a href="{path}" target="_blank" rel="noreferrer">{path}</a>'


# --- where the dashboard is ------------------------------------------------------------------


def link_of(what: Any) -> str:
    """Return the link as Dask formats it, or "".

    Dask raises KeyError if the link's pattern names a variable that is not set.
    """
    if isinstance(what, str):
        return what
    for one in (what, getattr(what, "cluster", None), getattr(what, "scheduler", None)):
        try:
            link = getattr(one, "dashboard_link", None)
        except KeyError:
            continue
        if link and isinstance(link, str):  # a client's `scheduler` returns something for any attribute
            return link
    return _by_services(what)


def _by_services(what: Any) -> str:
    info = getattr(what, "scheduler_info", None)
    try:
        info = info() if callable(info) else info or {}
        services = info.get("services") or what.services
        service = services["dashboard"]
    except (AttributeError, KeyError, TypeError, OSError):
        return ""
    host = scheduler_host(what) or "127.0.0.1"
    return f"http://{host}:{service if isinstance(service, int) else service.port}/status"


def scheduler_host(what: Any) -> str:
    """Return the scheduler's host if it is not this one, else ""."""
    found = (getattr(one, name, None) for one in (what, getattr(what, "scheduler", None)) for name in ADDRESSES)
    address = next((one for one in found if isinstance(one, str)), "")
    host = address.partition("://")[2].rpartition(":")[0].strip("[]")
    return "" if address.startswith("inproc") or _is_here(host) else host


def parts_of(link: str) -> tuple[str, int, str]:
    """Return host, port and page of a link; port 0 if it has none."""
    found = re.match(r"^https?://(\[[^]]*\]|[^:/]*):(\d+)(/.*)?$", link)
    return (found[1].strip("[]"), int(found[2]), found[3] or "/status") if found else ("", 0, "")


def _is_here(host: str) -> bool:
    """Return whether `host` is an address of this host, so that its loopback reaches the dashboard too."""
    if host in LOOPBACK or host == socket.gethostname():
        return True
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.bind((host, 0))  # only an address of this host can be bound
    except OSError:
        return False
    return True


# --- this notebook's Jupyter -----------------------------------------------------------------


def _in_jupyter() -> bool:
    """Return whether IPython displays in something other than a terminal."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return get_ipython() is not None and "Terminal" not in type(get_ipython()).__name__


def proxy_base() -> str | None:
    """Return the base path of this kernel's Jupyter if that has jupyter-server-proxy, else None.

    Nothing secret is sent.
    """
    server = this_server()
    base = str(server.get("base_url") or "/")
    try:
        return None if not server or _ask(server, f"{base}server-proxy/servers-info") == 404 else base
    except (OSError, ValueError, http.client.HTTPException):
        return None


def _ask(server: dict[str, Any], path: str) -> int:
    """Request `path` from this kernel's Jupyter and return the status; one that asks for a login means it exists."""
    connection = http.client.HTTPConnection("127.0.0.1", int(server.get("port") or 0), timeout=TIMEOUT_S)
    if server.get("sock"):
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(TIMEOUT_S)
        connection.sock.connect(server["sock"])
    try:
        connection.request("GET", path, headers={"Host": "localhost"})
        return connection.getresponse().status
    finally:
        connection.close()


def this_server() -> dict[str, Any]:
    """Read the record of the server that started this kernel (jupyter_server: jpserver-PID.json); {} if none."""
    if not _in_jupyter():
        return {}
    places = [os.environ.get("JUPYTER_RUNTIME_DIR"), os.path.dirname(_connection_file())]
    parents = (os.environ.get("JPY_PARENT_PID"), str(os.getppid()))
    for place in filter(None, places):
        for pid in filter(None, parents):
            for file in glob.glob(os.path.join(glob.escape(str(place)), f"*server-{pid}.json")):
                if found := _read(file):
                    return found
    return {}


def _connection_file() -> str:
    try:
        from IPython import get_ipython

        return str(get_ipython().kernel.config["IPKernelApp"]["connection_file"])
    except (ImportError, AttributeError, KeyError, TypeError):
        return ""


def _read(file: str) -> dict[str, Any]:
    try:
        with open(file, encoding="utf-8") as opened:
            found = json.load(opened)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


# --- the user's own machine ------------------------------------------------------------------


def address() -> str:
    """Return the part of the address before the path, for a site of gears; "" if only the path is known."""
    site = _site()
    return f"http://localhost:{site.laptop.port}" if site and site.name != "local" else ""


def forward_hint(host: str, port: int, page: str) -> str:
    """Return the command that forwards a port of `host` to the user's machine, and the address to open then.

    If no command is known (`login_arguments`), return the address on `host`.
    """
    link = f"http://localhost:{port}{page}"
    target = "localhost" if _is_here(host) else host
    if login := login_arguments():
        return f"On your own machine:  ssh -L {port}:{target}:{port} {login}\nand then open:        {link}"
    return f"Dask's dashboard: http://{target}:{port}{page}"


def login_arguments() -> str:
    """Return the arguments of ssh from there to this host: from the site's profile, else from $SSH_CONNECTION.

    "" on the user's own machine.
    """
    user, site = getpass.getuser(), _site()
    if site and site.lab.host:
        jumps = ",".join([*site.front.jump, site.front.host] if site.front.host else site.front.jump)
        name = socket.gethostname() if site.front.host else site.lab.host
        through = f"-J {shlex.quote(jumps)} " if jumps else ""
        return through + shlex.quote(f"{site.front.user or user}@{name}")
    came = os.environ.get("SSH_CONNECTION", "").split()
    if len(came) != 4:
        return ""
    name = socket.getfqdn()
    name = came[2] if "." not in name or name.startswith("localhost") else name
    return ("" if came[3] == "22" else f"-p {came[3]} ") + shlex.quote(f"{user}@{name}")


def _site() -> Any:
    """Return the profile of $GEARS_SITE; None if it can't be read, as by a Python that is too old."""
    name = os.environ.get("GEARS_SITE")
    try:
        from gears.sites.load import load_site

        return load_site(name) if name else None
    except Exception:  # noqa: BLE001  optional: the notebook must not fail for it
        return None
