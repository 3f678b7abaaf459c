"""`make extensions`: git, differences of notebooks, and notebooks as scripts, in a real browser."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.centre import Centre
from tests.centre.browser import CHROMIUM
from tests.conftest import skip_or_fail
from tests.environment import CHECKOUT
from tests.helpers import add_stanza, dial, gears, lab_at, make, wait_until

URL = "http://localhost:38888"
WHEELS = "/home/alice/wheels"
"""Hosts of the centre have no network."""
CLONE, SCRIPT = "/home/alice/climate", "notebooks/first_look.py"
NOTEBOOK = """
{"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": {"name": "python3"}}, "cells": [
 {"id": "a", "cell_type": "code", "source": "x = 1", "metadata": {}, "outputs": [], "execution_count": null}]}
"""
PIP = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": WHEELS}


def packages(name: str) -> dict[str, str]:
    """The packages of a lock file, each with its lines."""
    text = (CHECKOUT / f"envs/{name}.lock.txt").read_text()
    return {found[1]: found[0] for found in re.finditer(r"^([a-z0-9-]+)==(?:.*\\\n)*.*\n", text, re.MULTILINE)}


@pytest.fixture(scope="module")
def added(centre: Centre, tmp_path_factory: pytest.TempPathFactory) -> str:
    """alice's JupyterLab with the extensions, through the laptop's port; its token."""
    if not Path(CHROMIUM).exists():
        skip_or_fail("the browser's tests need: apt-get install chromium")
    host, made, base = centre.login1, tmp_path_factory.mktemp("made"), packages("base")
    lines, wheels = made / "more.txt", made / "wheels"
    lines.write_text("".join(text for name, text in packages("extensions").items() if name not in base))
    download = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-r", str(lines)]
    subprocess.run([*download, "-d", str(wheels)], check=True, timeout=300)
    shutil.copytree(wheels, host.path(WHEELS))
    done = make(host, "extensions", env=PIP, timeout_s=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert make(centre.hub, "andes-lab").returncode == 0
    add_stanza(centre)
    dial(centre)
    return lab_at(centre.hub).token


@pytest.fixture(scope="module")
def page(centre: Centre, added: str) -> Iterator[Page]:
    """JupyterLab in a new workspace, whose script names a kernel that is there."""
    gears(centre.login1, "workspace new ~/climate --defaults", check=True, timeout_s=120)
    centre.login1.run(
        f"sed -i 's/name: climate/name: python3/' {SCRIPT} && git commit -qam kernel", cwd=CLONE, check=True
    )
    with centre.browser() as browser:
        browser.page.goto(f"{URL}/login?token={added}")
        yield browser.page


def open_file(page: Page, path: str) -> None:
    """In the editor that JupyterLab has for it, with nothing else open."""
    page.goto(f"{URL}/lab/tree/{path}?reset")
    page.wait_for_selector("#jupyterlab-splash", state="detached")


def test_script_is_a_notebook_and_git_shows_what_was_changed(centre: Centre, page: Page, tmp_path: Path) -> None:
    open_file(page, f"climate/{SCRIPT}")
    page.locator(".jp-DirListing-item", has_text="first_look.py").click(button="right")
    page.get_by_text("Open With").hover()
    page.get_by_text("Jupytext Notebook").click()
    cell = page.locator(".jp-NotebookPanel .jp-CodeCell .cm-content").first
    expect(cell).to_contain_text("import")
    cell.click()
    page.keyboard.press("Control+Home")
    page.keyboard.insert_text("import this\n")
    page.keyboard.press("Control+s")
    wait_until(lambda: "import this" in centre.login1.path(f"{CLONE}/{SCRIPT}").read_text(), 60, "the script is saved")

    page.locator('[title="Git"]').click()
    panel = page.locator("#jp-git-sessions")
    expect(panel).to_contain_text("Start from the template of gears")
    expect(panel).to_contain_text("first_look.py")
    page.screenshot(path=tmp_path / "git.png")


def test_differences_of_a_notebook_are_shown_by_cells(centre: Centre, page: Page, tmp_path: Path) -> None:
    centre.login1.path(f"{CLONE}/change.ipynb").write_text(NOTEBOOK)
    centre.login1.run("chown alice: change.ipynb", "root", cwd=CLONE, check=True)
    commit = "git add -f change.ipynb && git commit -qm notebook && sed -i 's/x = 1/x = 2/' change.ipynb"
    centre.login1.run(commit, cwd=CLONE, check=True)
    open_file(page, "climate/change.ipynb")
    page.locator('[data-command="nbdime:diff-git"]').click()
    shown = page.locator(".nbdime-Widget")
    expect(shown).to_contain_text("x = 1")
    expect(shown).to_contain_text("x = 2")
    page.screenshot(path=tmp_path / "nbdime.png")
