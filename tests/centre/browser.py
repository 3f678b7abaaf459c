"""A real Chromium on the laptop, and JupyterLab in it as a person uses it.

Playwright runs in the test's process and speaks with Chromium over two pipes, which cross into the laptop's namespaces
where sockets would not. So whatever asks the server must be asked by the page itself, not by Playwright's own client.
"""

import json
import re
import shlex
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from playwright.sync_api import Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from tests.centre.accounts import ACCOUNTS
from tests.centre.commands import login_environment
from tests.centre.host import Host

CHROMIUM = "/usr/bin/chromium"
QUIET = [
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
LIMIT_MS = 90_000
"""For what a page shows, on a slow machine that does other things as well."""
expect.set_options(timeout=LIMIT_MS)
NEWS = "/lab/api/settings/@jupyterlab/apputils-extension:notification"
FETCH = """async ([method, path, body, token]) => {
    const xsrf = /\\b_xsrf=([^;]*)/.exec(document.cookie);
    const headers = token ? {Authorization: `token ${token}`} : {'X-XSRFToken': xsrf ? xsrf[1] : ''};
    const answer = await fetch(path, {method, headers, body, cache: 'no-store'});
    return [answer.status, await answer.text()];
}"""


class Browser:
    """Chromium as one user of the laptop; a context manager. `page` is Playwright's own, for all that is not here."""

    page: Page

    def __init__(self, laptop: Host, user: str) -> None:
        self._laptop = laptop
        self._account = ACCOUNTS[user]

    def __enter__(self) -> Self:
        self._scratch = tempfile.TemporaryDirectory(prefix="gears-browser-")
        self._playwright = sync_playwright().start()
        try:
            self._chromium = self._playwright.chromium.launch(
                executable_path=self._write_launcher(Path(self._scratch.name)),
                chromium_sandbox=False,
                args=QUIET,
                env=dict(login_environment(self._account)),
            )
            context = self._chromium.new_context(viewport={"width": 1280, "height": 900})  # for more tabs than one
            context.set_default_timeout(LIMIT_MS)
            self.page = context.new_page()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._chromium.close()
        self._close()

    def log_in(self, url: str, password: str) -> None:
        """Through JupyterLab's own form."""
        self.page.goto(f"{url}/login")
        self.page.fill("#password_input", password)
        self.page.click("#login_submit")
        self.page.wait_for_url("**/lab*")

    def open_notebook(
        self,
        url: str = "http://localhost:38888",
        name: str = "test.ipynb",
        token: str | None = None,
        timeout_s: float = 180,
    ) -> "Notebook":
        """Make a new notebook and open it; returns once its kernel is connected and idle."""
        self.page.goto(f"{url}/no-such-page")  # of the same origin, and free to ask: API pages may not
        notebook = Notebook(self.page, name, token)
        notebook.open(url, timeout_s)
        return notebook

    def screenshot(self, path: Path | str) -> None:
        """To a path of the machine, not of the laptop."""
        self.page.screenshot(path=path)

    def _write_launcher(self, directory: Path) -> Path:
        launcher = directory / "chromium"
        enter = shlex.join(self._laptop.enter([CHROMIUM], self._account))
        launcher.write_text(f'#!/bin/sh\nexec {enter} "$@"\n')
        launcher.chmod(0o700)
        return launcher

    def _close(self) -> None:
        self._playwright.stop()
        self._scratch.cleanup()


class Notebook:
    """An open notebook. Cells are counted from 0; the last one is empty and next to be typed into."""

    def __init__(self, page: Page, name: str, token: str | None, kernel: str = "python3") -> None:
        self._page = page
        self._token = token
        self._cells = 0
        self._kernel = kernel
        self.name = name

    def open(self, url: str, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        cell: dict[str, Any] = {
            "cell_type": "code",
            "source": "",
            "metadata": {},
            "outputs": [],
            "execution_count": None,
        }
        kernel = {"kernelspec": {"name": self._kernel, "display_name": self._kernel}}
        content = {"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 4}
        self.ask("PUT", f"/api/contents/{self.name}", {"type": "notebook", "content": content})
        self.ask("PUT", NEWS, {"raw": json.dumps({"fetchNews": "false", "checkForUpdates": False})})
        token = f"&token={quote(self._token)}" if self._token else ""
        self._page.goto(f"{url}/lab/workspaces/auto-x/tree/{self.name}?reset{token}", timeout=timeout_s * 1000)
        self._page.wait_for_selector(".jp-NotebookPanel", timeout=_left_ms(deadline))
        self._page.wait_for_selector("#jupyterlab-splash", state="detached", timeout=_left_ms(deadline))
        while not self.is_ready():
            self._page.wait_for_timeout(min(100, _left_ms(deadline)))

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One request to the server by the page itself; raises RuntimeError on any answer that is not a success."""
        text = None if body is None else json.dumps(body)
        status, answer = self._page.evaluate(FETCH, [method, path, text, self._token])
        if not 200 <= status < 300:
            raise RuntimeError(f"{method} {path}: {status} {answer[:300]}")
        return json.loads(answer) if answer else None

    def session(self) -> dict[str, Any] | None:
        """The server's record of this notebook's session and kernel."""
        sessions: list[dict[str, Any]] = self.ask("GET", "/api/sessions")
        return next((session for session in sessions if session["path"] == self.name), None)

    def is_ready(self) -> bool:
        """Connected and idle by the server's word: the toolbar says so too early."""
        kernel = self._kernel_now()
        return bool(kernel.get("connections")) and kernel.get("execution_state") == "idle"

    def is_connected(self) -> bool:
        return bool(self._kernel_now().get("connections"))

    def _kernel_now(self) -> dict[str, Any]:
        kernel: dict[str, Any] = (self.session() or {}).get("kernel", {})
        return kernel

    def run_cell(self, code: str, timeout_s: float = 90) -> str:
        """Type into the last cell, run it, and return what it printed."""
        return self.wait_output(self.type_cell(code), timeout_s)

    def type_cell(self, code: str) -> int:
        """Type into the last cell and press Shift+Enter, without waiting; returns its number for `wait_output`."""
        number, self._cells = self._cells, self._cells + 1
        try:
            self._page.click(f"{_cell(number)} .cm-content", timeout=5_000)
        except PlaywrightTimeout:  # a dialog is in the way, as where a request of JupyterLab's was in vain
            self.dismiss_dialogs()
            self._page.click(f"{_cell(number)} .cm-content")
        self._page.keyboard.insert_text(code)
        self._page.keyboard.press("Shift+Enter")
        return number

    def wait_output(self, number: int, timeout_s: float = 90) -> str:
        """What a cell printed, once its prompt carries a number."""
        prompt = self._page.locator(f"{_cell(number)} .jp-InputPrompt").filter(has_text=re.compile(r"\[\d+\]"))
        prompt.wait_for(timeout=timeout_s * 1000)
        return "".join(self._page.locator(f"{_cell(number)} .jp-OutputArea-output pre").all_inner_texts()).strip()

    def screenshot(self, path: Path) -> None:
        self._page.screenshot(path=path)

    def dialogs(self) -> list[str]:
        """Titles of the dialogs in the way."""
        return self._page.locator(".jp-Dialog .jp-Dialog-header").all_inner_texts()

    def dismiss_dialogs(self) -> None:
        while self.dialogs():
            self._page.locator(".jp-Dialog .jp-Dialog-footer button").last.click()


def _cell(number: int) -> str:
    return f'.jp-CodeCell[data-windowed-list-index="{number}"]'


def _left_ms(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the notebook's kernel was not ready in time")
    return left * 1000
