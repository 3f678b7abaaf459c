"""python -m tests.bench.scripts: list the scripts that the installed JupyterLab loads at its start (first_page.py).

For a new JupyterLab in the lock file. Replaces gears/lab/jupyter/browser/scripts.json.
"""

import json
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Request, sync_playwright

from gears.lab.jupyter.first_page import BROWSER
from tests.centre.browser import CHROMIUM, QUIET
from tests.test_compression import STATIC, TOKEN, Running, await_answer, free_port, start


def main() -> int:
    listed = BROWSER / "scripts.json"
    listed.write_text(json.dumps({"main": "none", "scripts": []}))  # so that JupyterLab loads them one by one
    with tempfile.TemporaryDirectory(prefix="gp-", dir="/tmp") as name:
        server = Running(Path(name, "a"), Path(name, "home"), Path(name, "run/pages"), free_port())
        Path(name, "run/site").mkdir(parents=True)
        server.home.mkdir()
        Path(name, "run/site/token").write_text(TOKEN)
        process = start(Path(name), "a", f"port={server.port}")
        try:
            await_answer(server, process)
            scripts = _load(server)
        finally:
            process.terminate()
            process.wait(30)
    first, *others = scripts
    listed.write_text(json.dumps({"main": first, "scripts": others}, indent=1) + "\n")
    return 0


def _load(server: Running) -> list[str]:
    """Return what the page loads of STATIC, in order, until its launcher is there."""
    requests: list[Request] = []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, "--no-sandbox"])
        page = chromium.new_page()
        page.on("request", lambda request: requests.append(request))
        page.goto(f"http://localhost:{server.port}/lab?token={TOKEN}")
        page.wait_for_selector(".jp-LauncherCard", timeout=120_000)
        names = [request.url.partition("/static/lab/")[2].partition("?")[0] for request in requests]
        chromium.close()
    return [name for name in dict.fromkeys(names) if name.endswith(".js") and (STATIC / name).exists()]


if __name__ == "__main__":
    sys.exit(main())
