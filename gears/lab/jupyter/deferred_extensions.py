"""Load two server extensions only once JupyterLab answers: their imports would double the time of its start.

Before JupyterLab starts, each is replaced by a module that only records that it is to be loaded, so an extension that
the user has disabled stays disabled. They are imported some seconds after the server is up, or with the first request
for them, which waits; slow imports run in a thread. The proxy is guarded first (`proxy_guard`): without its guard it is
not loaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from gears.system import files

SLOW = {
    "dask_labextension": ("distributed", "jupyter_server_proxy.handlers"),
    "jupyter_server_proxy": ("jupyter_server_proxy.handlers",),
}
"""Each extension, and its slow imports: these can run in a thread, while the extension itself must be imported in the
thread of the server's event loop."""

PATHS = r"(dask|proxy|server-proxy)/.*"
"""The paths that they serve, below the server's base URL."""

QUIET_S = 5.0
"""Time for the first answers: an import slows the interpreter."""

noted: list[str] = []


def put_off_extensions() -> None:
    """Replace each extension of SLOW that is installed and not yet imported by a stand-in."""
    for name in SLOW:
        if name not in sys.modules and (spec := importlib.util.find_spec(name)):
            sys.modules[name] = _stand_in(name, spec)


def _stand_in(name: str, spec: Any) -> ModuleType:
    """Make a package whose modules can be imported; other attributes come from the real one."""
    stand_in = ModuleType(name)
    stand_in.__dict__.update(
        __path__=spec.submodule_search_locations,
        __spec__=spec,
        _jupyter_server_extension_points=lambda: [{"module": name}],
        _load_jupyter_server_extension=lambda _: noted.append(name),
        __getattr__=lambda attribute: _attribute(name, attribute),  # PEP 562
    )
    return stand_in


def _attribute(name: str, attribute: str) -> Any:
    """Return an attribute of the real module, unless its name begins with an underscore.

    jupyter_server looks for optional attributes with an underscore, none of which these extensions have.
    """
    if attribute.startswith("_"):
        raise AttributeError(attribute)
    return getattr(_real(name), attribute)


def _real(name: str) -> ModuleType:
    if "__getattr__" in vars(sys.modules[name]):
        del sys.modules[name]
    return importlib.import_module(name)


def load_noted(serverapp: Any, token: Path) -> None:
    """Load the recorded extensions in the background, while requests for them wait. For the server's own thread.

    `token`: its file, in the directory of the site's records.
    """
    if noted:
        wanted = asyncio.Event()
        loaded = asyncio.ensure_future(_load(serverapp, token, list(noted), wanted))
        _let_wait(serverapp.web_app, loaded, wanted)
        noted.clear()


async def _load(serverapp: Any, token: Path, names: list[str], wanted: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(wanted.wait(), QUIET_S)
    from gears.lab.jupyter import dask_panes, idle, proxy_guard

    try:
        for slow in sorted({slow for name in names for slow in SLOW[name]}):
            await asyncio.to_thread(importlib.import_module, slow)
        own = proxy_guard.Own(files.read_text(token).strip(), token.parent.parent)
        proxies = importlib.import_module("jupyter_server_proxy.handlers")
        proxy_guard.guard(proxies, own)
        idle.count_messages(proxies.ProxyHandler, serverapp.web_app)
        for name in names:
            extension = _real(name)
            if name == "dask_labextension":
                dask_panes.fix_dashboards(extension.DaskDashboardHandler)
                dask_panes.close_with(serverapp, importlib.import_module("dask_labextension.manager").manager)
            load = getattr(extension, "_load_jupyter_server_extension", None) or extension.load_jupyter_server_extension
            load(serverapp)
    except Exception:
        serverapp.log.exception("gears: not loaded: %s", ", ".join(names))


def _let_wait(web_app: Any, loaded: asyncio.Future[None], wanted: asyncio.Event) -> None:
    from jupyter_server.auth.decorator import allow_unauthenticated
    from tornado import routing, web

    class NotYet(routing.PathMatches):
        """A rule that matches only until the extensions are loaded."""

        def match(self, request: Any) -> Any:
            """Match the path of a request until the extensions are loaded."""
            return None if loaded.done() else super().match(request)

    class Later(web.RequestHandler):
        """Redirects a request to the loaded extension, which asks for a login."""

        @allow_unauthenticated
        async def prepare(self) -> None:
            """Start loading, wait until it has ended, then redirect to the same address (307)."""
            wanted.set()
            await asyncio.wait([loaded])
            self.redirect(self.request.uri or "/", status=307)

    base = web_app.settings["base_url"]
    web_app.add_handlers(".*", [routing.Rule(NotYet(f"{base}{PATHS}"), Later)])
