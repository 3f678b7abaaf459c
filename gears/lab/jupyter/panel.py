"""The server's side of the panel in JupyterLab (`labextension/`): what it shows, and what its buttons do.

`gears _panel` gathers it, at most every EVERY_S, and only while a page asks. It runs in the Python of the home: the
one of this process can be a copy on a compute node, which the next job does not have. Variables are saved by this
process, where it carries them (`carry`).
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import re
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gears.errors import GearsError, NothingRunning
from gears.lab.jupyter.carry_limits import CARRIER
from gears.lab.saved_states import tell_saved
from gears.system import commands, files

LABEXTENSIONS = Path(__file__).parents[1] / "labextensions"
"""A directory of extensions of JupyterLab's page, as `jupyter labextension build` makes them."""

PATH = "gears/panel"
"""Of the requests, below the base URL."""

EVERY_S = 10.0
ASK_EVERY_S = 60.0
"""Least time between two looks, and between two queries to the scheduler: centres block users who query more often."""

SAVE = "save"
"""The button of a lab that carries variables."""

LOOK_S, KEEP_S = 30.0, 120.0
"""Time limits of `gears _panel`."""


@dataclass
class Looker:
    """Runs `gears _panel` for one server: once at a time, whoever asks. `command`: to which options are added."""

    command: list[str]
    environment: dict[str, str]
    _answer: files.Record = field(default_factory=dict)
    _looked: float = float("-inf")
    _asked: float = float("-inf")
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def look(self, *, ask: bool) -> files.Record:
        """Return what the page shows, of the last EVERY_S. `ask`: also about the queue of the next job, if it is time.

        Raises GearsError.
        """
        async with self._turn:
            now = time.monotonic()
            ask = ask and now - self._asked >= ASK_EVERY_S
            if ask or now - self._looked >= EVERY_S:
                self._answer = _object(await self._run(LOOK_S, *(["--ask"] if ask else [])))
                self._looked, self._asked = now, now if ask else self._asked
            return self._answer

    async def keep(self) -> str:
        """Let another job take over at the end of this one; return a sentence on it. Raises GearsError."""
        async with self._turn:
            self._looked = self._asked = float("-inf")
            return (await self._run(KEEP_S, "--keep")).strip()

    async def _run(self, timeout_s: float, *options: str) -> str:
        argv = [*self.command, *options]
        return await asyncio.to_thread(commands.run, argv, timeout_s=timeout_s, env=self.environment)


def _object(text: str) -> files.Record:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}


def plan_looker(home: Path, site: str, python: str) -> Looker:
    """Return what looks at the lab of a site. `home`: of gears; `python`: in which gears is installed for all hosts."""
    command = [python or sys.executable, "-EsP", "-m", "gears", "_panel", site]
    return Looker(command, {**os.environ, "GEARS_HOME": str(home)})


async def with_save(seen: Awaitable[files.Record], settings: Mapping[str, Any]) -> files.Record:
    """Return what the page shows; where the lab carries variables with the button for saving, and `saved`: a sentence
    on the save that was made for the warning of the job's end, or ""."""
    answer = await seen
    actions = answer.get("actions")
    if CARRIER not in settings or not isinstance(actions, list):
        return answer
    return answer | {"actions": [*actions, SAVE], "saved": settings[CARRIER].told}


async def save(settings: Mapping[str, Any]) -> str:
    """Save the variables of all notebooks; return a sentence on it. Raises NothingRunning where none are carried."""
    if CARRIER not in settings:
        raise NothingRunning("this lab does not carry variables", next="gears lab --carry")
    return tell_saved(await settings[CARRIER].save())


def add_labextensions(lab_app: Any) -> None:
    """Let the pages of a LabApp load our extension too, beside those of the user. `lab_app`: the class."""
    initialize = lab_app.initialize_handlers

    @functools.wraps(initialize)
    def initialize_ours(self: Any) -> None:
        """Add our directory, then make the handlers as usual."""
        self.extra_labextensions_path = [*self.extra_labextensions_path, str(LABEXTENSIONS)]
        initialize(self)

    lab_app.initialize_handlers = initialize_ours


def serve(web_app: Any, looker: Looker) -> None:
    """Let pages ask for the state of the lab, and use its buttons, with JupyterLab's own login and authorizer."""
    from jupyter_server.auth.decorator import authorized
    from jupyter_server.base.handlers import APIHandler
    from tornado.web import authenticated

    class Request(APIHandler):
        """Answers the extension of JupyterLab's page. `answer`: called with the request."""

        auth_resource = "server"
        _track_activity = False

        def initialize(self, answer: Callable[[APIHandler], Awaitable[object]]) -> None:
            """Note what answers: tornado calls this with what the route gives."""
            self._answer = answer

        async def respond(self) -> None:
            """Answer as JSON; 503 and a message where that fails."""
            try:
                self.finish(json.dumps(await self._answer(self)))
            except GearsError as exc:
                self.set_status(503)
                self.finish(json.dumps({"message": str(exc)}))

    class Shown(Request):
        """Answers what the page shows; with `?ask=1` also with the queue of the next job."""

        get = authenticated(authorized(Request.respond))

    class Button(Request):
        """Carries out a button."""

        post = authenticated(authorized(Request.respond))

    def shown(request: APIHandler) -> Awaitable[files.Record]:
        return with_save(looker.look(ask=request.get_query_argument("ask", "") == "1"), web_app.settings)

    base = re.escape(web_app.settings["base_url"]) + PATH
    keep, saved = {"answer": lambda _: looker.keep()}, {"answer": lambda _: save(web_app.settings)}
    handlers = [(base, Shown, {"answer": shown}), (f"{base}/keep", Button, keep), (f"{base}/{SAVE}", Button, saved)]
    web_app.add_handlers(".*", handlers)
