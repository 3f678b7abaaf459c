"""Environments as kernels: one JupyterLab, one port, and as many environments as there are, in a real browser.

uv and venv are the real ones; conda's environment is made by a stand-in on a real solver, from a channel on this host.
"""

import json
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pexpect
import pytest
from playwright.sync_api import Page, expect

from tests import standins
from tests.centre import Centre, Host
from tests.centre.browser import CHROMIUM, Browser, Notebook
from tests.channel import make_channel
from tests.conftest import skip_or_fail
from tests.helpers import Kernel, Lab, add_stanza, dial, gears, home, lab_at, listening_ports, make, record, wait_until
from tests.notebooks import forwarded_ports
from tests.repacked import BALLAST, installed, sample
from tests.wheelhouse import write_wheel

URL = "http://localhost:38888"
VERSIONS = {"with-uv": "1.0", "with-venv": "2.0", "of-conda": "3.0", "old": "4.0"}
SHOW = "import os, sys, sample; print(sample.__version__, os.environ['GEARS_ENV'], sys.prefix)"
OFFLINE = """\
export UV_NO_INDEX=1 UV_OFFLINE=1 UV_PYTHON_DOWNLOADS=never UV_FIND_LINKS=/home/alice/wheels
export PIP_NO_INDEX=1 PIP_FIND_LINKS=/home/alice/wheels PIP_DISABLE_PIP_VERSION_CHECK=1
"""
CONDA = "channels: [file:///home/alice/channel]\ndependencies: [python, sample =3]\n"
OLD = """\
uv=~/.local/bin/uv prefix=~/conda/envs/old
$uv venv -q $prefix && $uv pip install -q -p $prefix ipykernel sample==4.0
"""


@pytest.fixture(scope="module")
def centre_with_tools(centre: Centre, tmp_path_factory: pytest.TempPathFactory) -> Centre:
    """alice has uv, micromamba and all packages at home; a lab runs on login1, and her laptop is connected."""
    if not Path(CHROMIUM).exists():
        skip_or_fail("the browser's tests need: apt-get install chromium")
    host = centre.login1
    site_packages = next(host.path(f"{home()}/.venv/lib").glob("python3*/site-packages"))
    packages = installed(site_packages, "ipykernel", "pip", left_out=BALLAST)
    packages += [sample("sample", version) for version in VERSIONS.values()]
    for package in packages:
        write_wheel(host.path("/home/alice/wheels"), package)
    channel = tmp_path_factory.mktemp("made") / "channel"
    make_channel(channel, Path("/usr/bin/python3").resolve(), packages)
    shutil.copytree(channel, host.path("/home/alice/channel"))
    standins.install_micromamba(host.path("/home/alice/.local/bin"))
    shutil.copy(Path(sys.executable).with_name("uv"), host.path("/home/alice/.local/bin/uv"))
    host.path("/home/alice/environment.yml").write_text(CONDA)
    host.run("chown -R alice: /home/alice/.local", "root", check=True)
    make(centre.hub, "andes-lab", check=True)
    add_stanza(centre)
    dial(centre)
    return centre


@pytest.fixture(scope="module")
def ports_before(centre_with_tools: Centre) -> dict[str, Any]:
    return ports(centre_with_tools)


@pytest.fixture(scope="module")
def login1(centre_with_tools: Centre, ports_before: dict[str, Any]) -> Host:
    """With the four environments."""
    host = centre_with_tools.login1
    host.run(f"{OFFLINE}{OLD}", check=True, timeout_s=120)
    for words in (
        "create with-uv sample==1.0",
        "create with-venv --tool venv sample==2.0",
        "create of-conda --from ~/environment.yml",
        "add ~/conda/envs/old",
    ):
        done = host.run(f"{OFFLINE}exec {home()}/.venv/bin/gears env {words}", timeout_s=240)
        assert done.returncode == 0, done.stderr
    return host


@pytest.fixture
def lab(centre_with_tools: Centre, login1: Host) -> Iterator[Lab]:
    """As the laptop has it."""
    lab = Lab(centre_with_tools.laptop, 38888, lab_at(centre_with_tools.hub).token, timeout_s=60)
    yield lab
    for kernel in lab.kernels():
        lab.request("DELETE", f"/api/kernels/{kernel}")


@pytest.fixture(scope="module")
def browser(centre_with_tools: Centre) -> Iterator[Browser]:
    with centre_with_tools.browser() as browser:
        yield browser


def ports(centre: Centre) -> dict[str, Any]:
    """All TCP ports on which alice listens, and those that are forwarded on her laptop."""
    hosts: list[Host] = [centre.laptop, centre.hub, centre.login1]
    return {host.name: listening_ports(host) for host in hosts} | {"forwarded": forwarded_ports(centre)}


def environments(host: Host) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in json.loads(gears(host, "env list --json", check=True).stdout)}


def launcher(page: Page, token: str) -> set[str]:
    """The kernels of the launcher's first row, with the page loaded anew."""
    page.goto(f"{URL}/lab/workspaces/auto-l?reset&token={token}")
    page.wait_for_selector("#jupyterlab-splash", state="detached")
    cards = page.locator('.jp-LauncherCard[data-category="Notebook"]')
    expect(cards.first).to_be_visible()
    return {str(card.get_attribute("title")).split(" | ")[0] for card in cards.all()}


# --- in the browser --------------------------------------------------------------------------


def test_four_kernels_at_once_and_not_one_port_more(
    centre_with_tools: Centre, login1: Host, lab: Lab, ports_before: dict[str, Any], browser: Browser, tmp_path: Path
) -> None:
    """Each with its own version of a package, as the launcher offers them."""
    offered = launcher(browser.page, lab.token)
    browser.screenshot(tmp_path / "launcher.png")
    assert offered >= set(VERSIONS)
    pages = {name: browser.page.context.new_page() for name in VERSIONS}
    notebooks = {name: open_notebook(page, name, lab.token) for name, page in pages.items()}
    cells = {name: notebook.type_cell(SHOW) for name, notebook in notebooks.items()}
    printed = {name: notebooks[name].wait_output(cells[name]).split() for name in VERSIONS}
    assert {name: words[:2] for name, words in printed.items()} == {
        name: [version, name] for name, version in VERSIONS.items()
    }
    known = environments(login1)
    assert {name: words[2] for name, words in printed.items()} == {name: known[name]["prefix"] for name in VERSIONS}
    assert len(lab.kernels()) == len(VERSIONS)
    assert ports(centre_with_tools) == ports_before
    killed_it_comes_back(notebooks["old"], "old", tmp_path)
    for page in pages.values():
        page.close()
    Kernel(lab).run("1")
    assert ports(centre_with_tools) != ports_before, "a plain kernel's port is seen"


def killed_it_comes_back(notebook: Notebook, name: str, tmp_path: Path) -> None:
    """As by a lack of memory: the page says so, and the kernel is there again, in its environment.

    The server may show it as busy until the next cell: its own look at a new kernel may begin too late.
    """
    notebook.type_cell("os.kill(os.getpid(), 9)")
    wait_until(lambda: "Kernel Restarting" in notebook.dialogs(), 30, "JupyterLab says that the kernel died")
    notebook.screenshot(tmp_path / "killed.png")
    notebook.dismiss_dialogs()
    wait_until(notebook.is_connected, 30, "the kernel is there again")
    assert notebook.run_cell(SHOW, 60).split()[:2] == [VERSIONS[name], name]


def open_notebook(page: Page, name: str, token: str) -> Notebook:
    page.goto(f"{URL}/no-such-page")
    notebook = Notebook(page, f"{name}.ipynb", token, kernel=name)
    notebook.open(URL, 180)  # as long as the other notebooks have
    return notebook


@pytest.mark.usefixtures("login1")
def test_a_card_of_the_launcher_starts_its_kernel(lab: Lab, browser: Browser) -> None:
    launcher(browser.page, lab.token)
    browser.page.locator('.jp-LauncherCard[data-category="Notebook"][title^="of-conda"]').click()
    kernels = wait_until(
        lambda: (found := lab.request("GET", "/api/kernels")).status == 200 and found.json(), 60, "a kernel"
    )
    assert [kernel["name"] for kernel in kernels] == ["of-conda"]


def test_what_is_removed_or_broken_is_offered_no_more(login1: Host, lab: Lab, browser: Browser, tmp_path: Path) -> None:
    """With its reason in the list; mended by what the list says it is offered again. The lab goes on all the while."""
    prefix = environments(login1)["with-venv"]["prefix"]
    login1.run(f"{prefix}/bin/python -m pip uninstall -qy ipykernel", check=True)
    gears(login1, "env remove with-uv", check=True)
    shown = gears(login1, "env list", check=True).stdout
    assert "has no ipykernel" in shown
    assert "with-uv" not in shown
    assert launcher(browser.page, lab.token) & set(VERSIONS) == {"of-conda", "old"}
    browser.screenshot(tmp_path / "launcher-after.png")
    mend = environments(login1)["with-venv"]["next"]
    assert login1.run(f"{OFFLINE}exec {mend}", timeout_s=120).returncode == 0
    assert "with-venv" in launcher(browser.page, lab.token)


# --- a kernel's life ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["of-conda", "with-venv"])
def test_interrupt_restart_and_death(login1: Host, lab: Lab, name: str) -> None:
    """They reach the kernel through the script that starts it; one that is killed, as by a lack of memory, comes back
    in the same environment; one that is shut down is gone."""
    kernel = Kernel(lab, name=name)
    pid = kernel.run("import os, time; kept = 1; print(os.getpid())")
    parent = kernel.run("print(os.getppid())")
    assert int(parent) == record(login1, "andes/lab.json")["pid"], "the script has become the kernel"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(kernel.run, "print('began', flush=True); time.sleep(100)")
        wait_until(lambda: state(lab, kernel) == "busy", 20, "the cell runs")
        assert lab.request("POST", f"/api/kernels/{kernel.id}/interrupt").status == 204
        with pytest.raises(RuntimeError, match="KeyboardInterrupt"):
            running.result(timeout=60)
    # ipykernel takes no cell for a moment after one that failed, lest others in the queue go on without it
    wait_until(lambda: kernel.run("print(kept)") == "1\n", 20, "the kernel and its variable are there")

    assert lab.request("POST", f"/api/kernels/{kernel.id}/restart").status == 200
    after = wait_for_another(kernel, pid)
    assert kernel.run("print('kept' in dir())") == "False\n"

    login1.kill(int(after), check=True)
    last = wait_for_another(kernel, after)
    assert kernel.run(SHOW).split()[:2] == [VERSIONS[name], name]

    lab.request("DELETE", f"/api/kernels/{kernel.id}")
    wait_until(lambda: not [p for p in login1.processes("alice") if p.pid == int(last)], 20, "the kernel's end")


def state(lab: Lab, kernel: Kernel) -> str:
    return str(lab.request("GET", f"/api/kernels/{kernel.id}").json()["execution_state"])


def wait_for_another(kernel: Kernel, pid: str) -> str:
    """The pid of the kernel that has taken the place of `pid`."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        wait_until(lambda: state(kernel.lab, kernel) in ("idle", "starting"), 30, "the kernel is there")
        found = kernel.run("import os, time; print(os.getpid())")
        if found != pid:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{pid} is still the kernel")


def test_memory_that_is_not_to_be_had(lab: Lab) -> None:
    """With a limit set, as on many login nodes, a cell fails and its kernel stays."""
    kernel = Kernel(lab, name="old")
    kernel.run("import resource; resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31)); kept = 1")
    with pytest.raises(RuntimeError, match="MemoryError"):
        kernel.run("bytearray(2**32)")
    wait_until(lambda: kernel.run("print(kept)") == "1\n", 20, "the kernel and its variable are there")


# --- elsewhere -----------------------------------------------------------------------------------


def test_in_a_script_and_in_a_shell(centre_with_tools: Centre, login1: Host) -> None:
    """From the hub, where the lab is not: what runs has the environment on the lab host."""
    script = centre_with_tools.hub.path("/home/alice/script.py")
    script.write_text(SHOW)
    done = gears(centre_with_tools.hub, "run --env of-conda andes -- python script.py")
    assert done.returncode == 0, done.stderr
    assert "3.0 of-conda" in done.stdout
    here = gears(login1, "env run old -- python ~/script.py", check=True)
    assert here.stdout.split()[:2] == ["4.0", "old"]
    terminal = centre_with_tools.hub.spawn(f"exec {home()}/.venv/bin/gears shell andes --env old", timeout_s=40)
    terminal.expect(r"\$ ")
    terminal.send("python script.py\r")
    terminal.expect("4.0 old /home/alice/conda/envs/old")
    terminal.send("exit\r")
    terminal.expect(pexpect.EOF)
    terminal.close()


def test_by_default(centre_with_tools: Centre, login1: Host, lab: Lab) -> None:
    """`--env` of the lab names the kernel that new notebooks get."""
    gears(centre_with_tools.hub, "stop andes", check=True)
    assert gears(centre_with_tools.hub, "lab andes --env nowhere").returncode != 0
    gears(centre_with_tools.hub, "lab andes --env old", check=True)
    wait_until(lab.answers, 20, "the lab answers at the laptop")
    assert lab.request("GET", "/api/kernelspecs").json()["default"] == "old"
    assert lab.request("POST", "/api/kernels", {}).json()["name"] == "old"
