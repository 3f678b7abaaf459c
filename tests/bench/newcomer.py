"""The newcomer's time: from the address of an analysis to its first plot in the browser, commands counted.

Three ways, each by its own documentation, on one login node and with the same notebook, data and packages:

- `gears workspace join`, in gears' JupyterLab;
- a project of cookiecutter-data-science (docs/using-the-template.md of its repository). Its recipes are typed as its
  Makefile has them for virtualenv, since the template is fetched from a forge; `sync_data_down` copies a directory;
- a dataset of DataLad (the handbook, "Looking without touching"), which leaves the environment to the reader.

Packages are wheels on the login node, so the network has no part. Needs PyPI, for the wheels.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Page

from tests.centre import Centre, Host
from tests.environment import CHECKOUT
from tests.helpers import home, lab_at

TEMPLATE = CHECKOUT / "gears/workspace/templates/analysis/1.0.0/template/requirements.txt.jinja"
PEERS = ("datalad", "boto3 >=1.34,<1.36", "git-annex", "jupyterlab", "setuptools", "wheel", "pip")
SHARED = "/home/shared"
ORIGIN, PROJECT, DATASET = f"{SHARED}/climate.git", f"{SHARED}/project.git", f"{SHARED}/dataset"
OFFLINE = {"UV_NO_INDEX": "1", "UV_OFFLINE": "1", "UV_FIND_LINKS": f"{SHARED}/wheels", "UV_PYTHON_DOWNLOADS": "never"}
OFFLINE |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": f"{SHARED}/wheels", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
PORTS = {"project": 38811, "dataset": 38812}
TOOLS = f"{SHARED}/tools/bin"
VENV = ["python3 -m venv .venv", ".venv/bin/python -m pip install -q -r requirements.txt"]
BY_PROJECT = [f"git clone -q {PROJECT}", "cd project", *VENV, f"cp -r {SHARED}/bucket results"]
DATALAD = f"PATH={TOOLS}:$PATH datalad"
BY_DATASET = [f"{DATALAD} clone {DATASET}", "cd dataset", f"{DATALAD} get .", *VENV]
AUTHOR = f"""
git config --global user.name alice; git config --global user.email alice@example.org
exec 2>&1; set -eux
gears() {{ {home()}/.venv/bin/gears "$@"; }}
gears workspace new climate --defaults; cd climate
gears env create climate --from requirements.txt
gears workspace run; git add -A; git commit -qm Results
make notebooks
git init -q --bare --shared=group --initial-branch=main {ORIGIN}
git remote add origin {ORIGIN}; git push -q -u origin main
python3 -m venv {SHARED}/tools; {SHARED}/tools/bin/pip install -q datalad git-annex
mkdir -p ~/project/notebooks ~/project/results; cd ~/project; git init -q --initial-branch=main
sed 's/"climate"/"python3"/g' ../climate/notebooks/first_look.ipynb >notebooks/first_look.ipynb
sed 's/^dvc.*/jupyterlab/' ../climate/requirements.txt >requirements.txt
printf 'results/\\n' >.gitignore; mkdir {SHARED}/bucket; cp -L ../climate/results/summary.csv {SHARED}/bucket
git add -A; git commit -qm Project; git clone -q --bare . {PROJECT}
PATH={TOOLS}:$PATH; cd {SHARED}; datalad create dataset; cd dataset
cp -r ~/project/notebooks ~/project/requirements.txt .; mkdir results; cp -L ~/climate/results/summary.csv results
echo '*.csv annex.largefiles=anything' >>.gitattributes
datalad save -m Analysis; chmod -R a+rX {DATASET} {PROJECT} {SHARED}/bucket
"""


def measure(centre: Centre, _rounds: int) -> Iterator[str]:
    """Once each: what counts is the number of commands, and minutes against seconds."""
    prepare(centre)
    yield "| from the address to the first plot | commands | seconds | of them in the browser |"
    yield "| --- | --- | --- | --- |"
    with centre.browser("bob") as browser:
        yield row("gears", *gears_way(centre, browser.page))
        for name, words in {"project": BY_PROJECT, "dataset": BY_DATASET}.items():
            yield row(name, *peers_way(centre, browser.page, name, words))


def row(name: str, commands: int, seconds: float, shown: float) -> str:
    return f"| {name} | {commands} | {seconds:.0f} | {shown:.0f} |"


def prepare(centre: Centre) -> None:
    """Wheels, uv, and alice's three repositories, of which bob gets the addresses."""
    host = centre.login1
    for name in ("login1", "hub"):
        centre.hosts[name].run("echo team:x:20100:alice,bob >>/etc/group", "root", check=True)
    host.run(f"mkdir {SHARED} && chgrp 20100 {SHARED} && chmod 2775 {SHARED}", "root", check=True)
    with tempfile.TemporaryDirectory() as made:
        make_wheels(Path(made))
        subprocess.run(["cp", "-r", f"{made}/wheels", host.path(SHARED)], check=True)
        subprocess.run(["chmod", "-R", "a+rX", host.path(f"{SHARED}/wheels")], check=True)
    for user in ("alice", "bob"):
        host.run("mkdir -p ~/.local/bin", user, check=True)
        subprocess.run(
            ["cp", Path(sys.executable).with_name("uv"), host.path(f"/home/{user}/.local/bin/uv")], check=True
        )
        profile = f"{home(user)}/../.config/gears/sites/andes.toml"
        host.run(
            f'printf \'[filesystem.team]\\npath = "{SHARED}"\\nshared = "group"\\n\' >>{profile}', user, check=True
        )
    done = host.run(AUTHOR, env=OFFLINE | {"GEARS_SITE": "andes"}, timeout_s=900)
    assert done.returncode == 0, done.stdout[-4000:]
    trust = "git config --global --add safe.directory '*'; git config --global user.name bob"
    host.run(f"{trust}; git config --global user.email bob@example.org", "bob", check=True)


def make_wheels(directory: Path) -> None:
    """All that the three need, resolved by uv: pip takes minutes for that."""
    wanted, found = directory / "wanted.txt", directory / "found.txt"
    wanted.write_text(TEMPLATE.read_text().partition("\n")[2] + "\n".join(PEERS))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    uv: Sequence[str | Path] = [
        Path(sys.executable).with_name("uv"),
        "pip",
        "compile",
        "-q",
        "--python-version",
        version,
    ]
    subprocess.run([*uv, wanted, "-o", found], check=True, timeout=600, stdout=subprocess.DEVNULL)
    build: Sequence[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "-w",
        directory / "wheels",
        "-r",
        found,
    ]
    subprocess.run(build, check=True, timeout=900)


def gears_way(centre: Centre, page: Page) -> tuple[int, float, float]:
    """Return the number of commands, and the seconds of all and of the browser. Bob's laptop has the stanza already."""
    stanza = centre.hub.run("exec make ssh-config SITE=andes", "bob", cwd=home("bob"), check=True).stdout
    centre.laptop.run("cat >> ~/.ssh/config", "bob", input=stanza, check=True)
    began = time.monotonic()
    lines = [f"{home('bob')}/.venv/bin/gears workspace join {ORIGIN}", "cd climate", "make notebooks"]
    typed(centre.login1, lines)
    centre.hub.run("exec make andes-lab", "bob", cwd=home("bob"), timeout_s=120, check=True)
    centre.laptop.spawn("ssh andes-jupyter", "bob").expect(r"\$ $")
    shown = plot(page, 38888, "climate/notebooks/first_look.ipynb", lab_at(centre.hub, user="bob").token)
    return len(lines) + 2, time.monotonic() - began, shown


def peers_way(centre: Centre, page: Page, name: str, words: list[str]) -> tuple[int, float, float]:
    """Return the same. JupyterLab is started and forwarded by hand."""
    host, laptop, port = centre.login1, centre.laptop, PORTS[name]
    began = time.monotonic()
    typed(host, words)
    server = f"exec .venv/bin/jupyter lab --no-browser --port {port} --IdentityProvider.token=newcomer"
    running = host.popen(server, "bob", cwd=f"/home/bob/{name}")
    options = f"-o StrictHostKeyChecking=accept-new -J hub -L {port}:localhost:{port}"
    forward = laptop.popen(f"exec ssh -N {options} login1", "bob")
    shown = plot(page, port, "notebooks/first_look.ipynb", "newcomer")
    seconds = time.monotonic() - began
    host.end_popen(running)
    laptop.end_popen(forward)
    return len(words) + 2, seconds, shown


def typed(host: Host, words: Sequence[str]) -> None:
    """Run commands of one shell, each a line, as bob."""
    environment = OFFLINE | {"GEARS_SITE": "andes"}
    host.run("set -eu\n" + "\n".join(words), "bob", cwd="/home/bob", env=environment, timeout_s=900, check=True)


def plot(page: Page, port: int, path: str, token: str) -> float:
    """Open the notebook, run all of it, and wait for the picture. Returns the seconds that took."""
    began = time.monotonic()
    while not opens(page, f"http://localhost:{port}/lab/tree/{path}?reset&token={token}"):
        page.wait_for_timeout(1000)  # the server does not listen yet
    page.wait_for_selector("#jupyterlab-splash", state="detached")
    page.get_by_text("| Idle").wait_for()  # the kernel: without one nothing is run
    page.get_by_text("Run", exact=True).click()
    page.get_by_text("Run All Cells").first.click()
    page.locator(".jp-OutputArea-output img").wait_for()
    return time.monotonic() - began


def opens(page: Page, url: str) -> bool:
    try:
        page.goto(url)
    except PlaywrightError:
        return False
    return True
