"""Let JupyterLab's page be there after few round trips: one file with its scripts, and early requests.

JupyterLab loads some forty scripts, one chain after another, then asks for its settings. Its page gets, before its own
main script: a script with all of these in one, made when the environment was; early requests for the answers that
JupyterLab will ask for (`browser/early.js`); and hints for the extensions. Where a part does not fit the installed
JupyterLab, it is left out, and the page loads as without gears.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from gears.errors import GearsError
from gears.lab.jupyter import idle
from gears.lab.jupyter.compressed import BEST_QUALITY, QUALITY, Store
from gears.lab.jupyter.static_files import Copies

BROWSER = Path(__file__).parent / "browser"
SCRIPT = '<script defer="defer" src="'
"""Begins JupyterLab's own script in its page."""

URL = "static/gears/"
"""Where our scripts are served, below the base URL. Public, as all of JupyterLab's scripts are."""


def plan_scripts(static: Path) -> list[Path]:
    """Return the scripts that JupyterLab loads at its start; none where another version of it is in `static`.

    Their list is that of the JupyterLab in the lock file.
    """
    known = json.loads((BROWSER / "scripts.json").read_text())
    return [static / name for name in known["scripts"]] if (static / known["main"]).exists() else []


def name_of(scripts: Iterable[Path]) -> str:
    """Return the name of the file with these scripts in one. It changes with any of them. Raises OSError."""
    facts = [(path.name, (info := path.stat()).st_size, info.st_mtime_ns) for path in scripts]
    return f"first.{hashlib.sha256(repr(facts).encode()).hexdigest()[:20]}.js"


def join(scripts: Iterable[Path]) -> bytes:
    """Return scripts in one, each in a function, since "use strict" in one must not apply to others. Raises OSError."""
    return b"".join(b"(()=>{" + path.read_bytes() + b"\n})();\n" for path in scripts)


def make(store: Store, static: Path, quality: int = BEST_QUALITY) -> str:
    """Make the file with JupyterLab's scripts, and its copies. Return its name, "" where there is none to make.

    Raises OSError or GearsError.
    """
    if not (scripts := plan_scripts(static)):
        return ""
    file = store.locate(name_of(scripts)) or store.write(name_of(scripts), join(scripts))
    for encoding in QUALITY:
        if store.needs(str(file), encoding):
            store.add(str(file), encoding, quality)
    return file.name


LAUNCHER, IDLE = "launcher.js", "idle.js"
"""Our extensions, in BROWSER."""

EARLY_LAB = (
    "settings",
    "settings?ids_only=true",
    "settings/@jupyterlab/docmanager-extension:plugin",
    "settings/@jupyterlab/codemirror-extension:plugin",
    "settings/@jupyterlab/notebook-extension:panel",
    "translations",
    "translations/default",
    "workspaces",
)
EARLY_SERVER = (
    "me",
    "kernelspecs",
    "kernels",
    "sessions",
    "contents?content=1&hash=0",
    "config/jupyterlabapputilsextensionannouncements",
)


def early_paths(base: str, page: Mapping[str, Any]) -> list[str]:
    """Return what JupyterLab asks for until it shows its launcher. `page`: the configuration in its page."""
    server = [*EARLY_SERVER, "terminals"] if page.get("terminalsAvailable") else EARLY_SERVER
    lab = [*EARLY_LAB, f"workspaces/{page.get('workspace') or 'default'}"]
    return [f"{base}lab/api/{path}" for path in lab] + [f"{base}api/{path}" for path in server]


def add_to_page(html: str, base: str, page: Mapping[str, Any], name: str) -> str:
    """Return JupyterLab's page with ours before its first script. `name`: of the file with its scripts, or "".

    The page is unchanged where it has no such script.
    """
    before, script, after = html.partition(SCRIPT)
    if not script:
        return html
    paths = json.dumps(early_paths(base, page)).replace("<", "\\u003c")
    ours = f'{SCRIPT}{escape(base + URL + name)}"></script>' if name else ""
    ours += "".join(f'<link rel="preload" as="script" href="{escape(url)}">' for url in entries(page))
    return f"{before}{ours}<script>{_early()}({paths})</script>{script}{after}"


def with_ours(page: Mapping[str, Any], base: str, *, watched: bool = False) -> Mapping[str, Any]:
    """Return the page's configuration with our extensions, unless extensions are elsewhere. `watched`: IDLE too."""
    if page.get("fullLabextensionsUrl") != f"{base}lab/extensions":
        return page
    names = {"gears": LAUNCHER, "gears-idle": IDLE} if watched else {"gears": LAUNCHER}
    ours = [
        {"name": name, "load": f"../../../{URL}{file}?v={_version(file)}", "extension": "./extension"}
        for name, file in names.items()
    ]
    return {**page, "federated_extensions": [*(page.get("federated_extensions") or []), *ours]}


@functools.cache
def _version(name: str) -> str:
    return hashlib.sha256((BROWSER / name).read_bytes()).hexdigest()[:16]


def entries(page: Mapping[str, Any]) -> list[str]:
    """Return the first script of each extension, as JupyterLab asks for it."""
    extensions, url = page.get("federated_extensions") or [], page.get("fullLabextensionsUrl", "")
    return [f"{url}/{one['name']}/{one['load']}" for one in extensions if "load" in one]


@functools.cache
def _early() -> str:
    return (BROWSER / "early.js").read_text().strip()


class FirstPage:
    """The scripts in one, for the JupyterLab of one server. `name`: of their file, "" as long as there is none."""

    def __init__(self, static: Path, copies: Copies) -> None:
        self.name = ""
        self._static, self._copies, self._made = static, copies, False

    async def find(self) -> None:
        """Find the file; where it is missing, let it be made for later pages."""
        await asyncio.to_thread(self._find)

    def _find(self) -> None:
        store = self._copies.store
        if self.name and store.locate(self.name):
            return
        self.name, scripts = "", plan_scripts(self._static)
        try:
            name = name_of(scripts) if scripts else ""
        except OSError:
            return
        if name and store.locate(name):
            self.name = name
        elif name and not self._made:
            self._made = True
            self._copies.background.run(self._make)

    def _make(self) -> None:
        try:
            self.name = make(self._copies.store, self._static, QUALITY["br"])
        except GearsError:
            pass  # the page loads as without it


def improve(web_app: Any, static: Path, copies: Copies) -> None:
    """Let JupyterLab's page of this application have our scripts, and serve the file with them."""
    from jupyter_server.base.handlers import FileFindHandler
    from jupyterlab_server.handlers import LabHandler

    first, get, render = FirstPage(static, copies), LabHandler.get, LabHandler.render_template

    @functools.wraps(get)
    async def get_later(self: Any, *arguments: Any, **options: Any) -> None:
        """Answer as usual, once the file with the scripts was looked for."""
        await first.find()
        get(self, *arguments, **options)

    @functools.wraps(render)
    def render_ours(self: Any, name: str, **words: Any) -> Any:
        """Render a page, with our scripts if it is JupyterLab's."""
        if name != "index.html" or "page_config" not in words:
            return render(self, name, **words)
        watched = idle.SETTING in self.settings
        words["page_config"] = with_ours(words["page_config"], self.base_url, watched=watched)
        return add_to_page(render(self, name, **words), self.base_url, words["page_config"], first.name)

    LabHandler.get = get_later  # type: ignore[method-assign]
    LabHandler.render_template = render_ours  # type: ignore[method-assign]
    files = type("FirstScripts", (FileFindHandler,), {"_static_paths": {}})
    base = web_app.settings["base_url"]
    web_app.settings["static_immutable_cache"] = [*web_app.settings.get("static_immutable_cache", []), f"{base}{URL}"]
    path = rf"{base}{URL}({re.escape(LAUNCHER)}|{re.escape(IDLE)}|first\.[0-9a-f]+\.js)"
    web_app.add_handlers(".*", [(path, files, {"path": [str(BROWSER), *copies.store.directories]})])
