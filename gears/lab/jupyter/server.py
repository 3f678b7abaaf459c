"""JupyterLab's server, closed to others whatever the user has configured.

gears sets the settings that would open it or break the connection to it, and before it gets a port it must have refused
requests without a login. If it can't start (`Refused`), it ends with status REFUSED, and the loop does not restart it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, cast

from jupyter_server.serverapp import ServerApp
from jupyter_server.utils import JupyterServerAuthWarning
from traitlets import TraitError

from gears.lab.jupyter import closed, pages, panel, settings
from gears.lab.jupyter.settings import REFUSED, REFUSED_MARK
from gears.system.files import read_text

EXTENSION = "gears.lab.jupyter.extension"


class Refused(Exception):
    """JupyterLab can't start with the user's configuration. `where`: FILE:LINE, if known."""

    def __init__(self, reason: str, where: str = "") -> None:
        super().__init__(reason)
        self.where = where

    def as_line(self) -> str:
        """Return REFUSED_MARK, the place if known, and the reason, on one line."""
        reason = " ".join(str(self).split())
        return REFUSED_MARK + (f"{self.where}: {reason}" if self.where else reason)


class Server(ServerApp):
    """ServerApp with the settings of gears enforced. For a lab of gears only, whose variables `command_line` sets."""

    gears_notes: list[str]
    """A line for each of the user's settings that is not used, or that would stop kernels from starting."""

    def find_server_extensions(self) -> None:
        """Find the configured extensions, and enable that of gears."""
        super().find_server_extensions()
        self.jpserver_extensions[EXTENSION] = True

    def init_resources(self) -> None:
        """Enforce the settings of gears, in the first step after the configuration has been read."""
        self.gears_notes = []
        sock = self.cli_config.ServerApp.get("sock", "")
        self._own_secret = "cookie_secret" in self.config.ServerApp
        self._note(settings.take_out(self.config))
        for name, (value, why) in settings.SERVER.items():
            self._set(name, value, why)
        self._set("sock", sock, settings.WAY)
        self.config.KernelManager.transport = "ipc"
        self._close_origins()
        if home := os.environ.get("PYTHONHOME"):
            self.gears_notes.append(
                f"PYTHONHOME={home}: kernels of another Python do not start with it; unset it first"
            )
        self.no_browser_open_file = True  # it would hold the token, where others can read it
        if not self.allow_remote_access and "localhost" not in self.local_hostnames:
            self.local_hostnames = [*self.local_hostnames, "localhost"]
        super().init_resources()

    def init_configurables(self) -> None:
        """Set the token, or none with a password; use the default cookie secret where the user's was removed."""
        super().init_configurables()
        token = read_text(Path(os.environ["JUPYTER_TOKEN_FILE"])).strip()
        provider: Any = self.identity_provider
        provider.token = "" if getattr(provider, "hashed_password", "") else token
        if self._own_secret:
            self.cookie_secret = cast("bytes", self.trait_defaults("cookie_secret"))

    def init_webapp(self) -> None:
        """Make the application, let it compress, and answer paths without the base URL (`answer_without_base`)."""
        super().init_webapp()
        pages.install(self, Path(os.environ["JUPYTER_TOKEN_FILE"]).parents[1] / "pages")
        answer_without_base(self.web_app, self.base_url)

    def _bind_http_server(self) -> None:
        self._gears_bound = asyncio.ensure_future(self._prove_and_bind())

    async def _post_start(self) -> None:
        await self._gears_bound
        await super()._post_start()  # type: ignore[no-untyped-call]

    async def _prove_and_bind(self) -> None:
        """Verify through a private socket that the server is closed, bind it, then verify the port."""
        try:
            await closed.prove(self.web_app, self.base_url, Path(self.runtime_dir))
            super()._bind_http_server()
            if not self.sock:
                await closed.prove_port(self.port, self.base_url)
        except closed.Open as exc:
            self.remove_server_info_file()
            self.remove_browser_open_files()
            end(Refused(f"JupyterLab would be open to others: {exc}", self._where(["get_user", "auth"])))
        except Exception:
            self.log.exception("gears: JupyterLab could not be bound")
            self.exit(1)

    def exit(self, exit_status: int | str | None = 0) -> None:
        """Exit; but raise Refused, with the setting and its file, where traitlets exits for an invalid value."""
        if isinstance(error := sys.exception(), TraitError):
            raise Refused(f"a setting has a wrong value: {error}", self._where(quoted(str(error)))) from error
        super().exit(exit_status)

    def _set(self, name: str, value: Any, why: str) -> None:
        """Set a trait of this server, and note it where the user's value was different."""
        if value is None:
            return
        noted = any(f".{name} is not used" in note for note in self.gears_notes)
        before = getattr(self, name)
        setattr(self, name, value)
        self.config.ServerApp[name] = getattr(self, name)
        if getattr(self, name) != before and not noted:
            self._note(iter([settings.Found(f"ServerApp.{name}", why)]))

    def _close_origins(self) -> None:
        if settings.admits_anybody(self.allow_origin, self.allow_origin_pat):
            self.allow_origin = self.allow_origin_pat = ""
            self._note(iter([settings.Found("ServerApp.allow_origin", settings.CLOSED)]))
        if ours := settings.TORNADO.intersection(self.tornado_settings):
            self.tornado_settings = {key: self.tornado_settings[key] for key in self.tornado_settings.keys() - ours}
            self._note(settings.Found(f"ServerApp.tornado_settings {key}", settings.CLOSED) for key in sorted(ours))

    def _note(self, found: Iterator[settings.Found]) -> None:
        """Note settings that are not used.

        Settings in no file are of gears' own command line; those with the same value need no note.
        """
        for setting in found:
            where, line = settings.find_line(configuration_texts(self), setting.name)
            wanted = settings.SERVER.get(setting.name.rpartition(".")[2], ("ipc", ""))[0]
            note = setting.as_line(where)
            if where and note not in self.gears_notes and not settings.says(line, wanted):
                self.gears_notes.append(note)
                self.log.warning("gears: %s", note)

    def _where(self, words: list[str]) -> str:
        """Find the line of a configuration file with one of these words; else return the files that were read."""
        texts = list(configuration_texts(self))
        found = [where for word in words if (where := settings.find_line(texts, word)[0])]
        return found[0] if found else ", ".join(file for file, _ in texts if not is_packaged(file))


def configuration_texts(app: Any) -> Iterator[tuple[str, str]]:
    """Yield name and text of each configuration file of Jupyter, in the order in which they are read."""
    names = ("jupyter_config", "jupyter_notebook_config", "jupyter_server_config", "jupyter_lab_config")
    for directory in map(Path, reversed(app.config_file_paths)):
        files = [directory / f"{name}{kind}" for name in names for kind in (".py", ".json")]
        for file in [*files, *sorted(directory.glob("jupyter_server_config.d/*.json"))]:
            with contextlib.suppress(OSError):
                yield str(file), file.read_text(errors="replace")


def is_packaged(file: str) -> bool:
    """Return whether a configuration file belongs to this environment, or to gears."""
    return Path(file).is_relative_to(sys.prefix) or Path(file).is_relative_to(Path(__file__).parents[1])


def quoted(text: str) -> list[str]:
    """Find the quoted words in a message of traitlets: a trait, its value."""
    return re.findall(r"'+([^']+)'+", text)


def answer_without_base(web_app: Any, base_url: str) -> None:
    """Answer paths without the user's `base_url` as those with it: probes of the fixed path don't know it."""
    if base_url == "/":
        return
    find = web_app.find_handler

    def find_handler(request: Any, **options: Any) -> Any:
        """Find the handler of a request, after adding the base to its path and URI if missing."""
        if not f"{request.path}/".startswith(base_url):
            request.path = base_url[:-1] + request.path
            request.uri = base_url[:-1] + request.uri
        return find(request, **options)

    web_app.find_handler = find_handler


def end(refused: Refused) -> NoReturn:
    """Print why, and exit at once with status REFUSED: nothing can be lost yet."""
    sys.stderr.write(f"{refused.as_line()}\n")
    sys.stderr.flush()
    os._exit(REFUSED)


def start() -> None:
    """Start JupyterLab with this server. Exits, naming the line, where a configuration file can't be read."""
    initialize(sys.argv[1:]).start()


def initialize(options: list[str]) -> Any:
    """Make the server as `start` does, without serving yet."""
    from jupyterlab import commands

    leave_node_alone(commands)
    from jupyterlab.labapp import LabApp

    warnings.filterwarnings("ignore", category=JupyterServerAuthWarning)  # such handlers require a login nevertheless
    LabApp.serverapp_class = Server
    panel.add_labextensions(LabApp)
    for app in (LabApp, Server):
        app.raise_config_file_errors = True
    try:
        return LabApp.initialize_server(argv=options)
    except Refused as refused:
        end(refused)
    except (Exception, SystemExit) as exc:
        if where := failed_file(exc):
            end(Refused(f"{type(exc).__name__}: {exc}", where))
        raise


def leave_node_alone(commands: Any) -> None:
    """Keep JupyterLab, whose module of commands this is, from asking Node.js for yarn's settings when it is imported.

    Where there is a `node`, that takes half a second of each start. Only a build of extensions in the server would use
    them: it uses the default registry then.
    """
    commands._yarn_config = lambda _logger: {"yarn config": {}, "npm config": {}}


def failed_file(exc: BaseException) -> str:
    """Find the configuration file and line in which an exception was raised; "" where it was in none."""
    if isinstance(exc, SyntaxError) and is_configuration(exc.filename):
        return f"{exc.filename}:{exc.lineno}"
    found, trace = "", exc.__traceback__
    while trace is not None:
        if is_configuration(trace.tb_frame.f_code.co_filename):
            found = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        found = found or read_file(trace.tb_frame.f_locals, exc)
        trace = trace.tb_next
    return found


def read_file(variables: dict[str, Any], exc: BaseException) -> str:
    """Find the JSON file and line that traitlets or jupyter_server was reading in a frame with these variables.

    "" where it was reading none.
    """
    file = getattr(variables.get("self"), "full_filename", "") or variables.get("path")
    if not (isinstance(exc, json.JSONDecodeError) and is_configuration(file)):
        return ""
    return f"{file}:{exc.lineno}"


def is_configuration(file: object) -> bool:
    """Return whether a file is Jupyter's configuration, by its name (jupyter_…) or its directory's (…_config.d)."""
    path = Path(str(file))
    return path.name.startswith("jupyter_") or path.parent.name.endswith("_config.d")
