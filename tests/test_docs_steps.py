"""The steps that README and docs show are run in the test centre, and what stands then is as the reference says.

How a page marks a step is told in docs/test-centre.md.
"""

import calendar
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.centre import Centre, Host
from tests.centre.accounts import USERS
from tests.centre.homes import write_profile
from tests.helpers import Kernel, Lab, lab_at, status, wait_until
from tests.pages import COMMANDS, PAGES, ROOT, Block, blocks, code, documented_files, table

CENTRE = {"slurm": True}
STEPS = ["README.md", *(f"docs/how-to/{name}.md" for name in ("first-lab", "relay", "job", "proxy", "own-site"))]
"""In this order: the lab that one page leaves running is found by the next."""

DONE_BEFORE = "git clone URL gears && "
"""The users of the centre have a checkout, and no network to make another one's environment."""

STANDINS = {
    "matagorda": 'title = "A server behind a login node"\n[front]\njump = ["hub"]\n'
    '[lab]\nhost = "login2"\nmatch = ["login2"]\n',
}
"""What the hosts of a page are in the centre."""


def test_all_pages_with_steps_are_run() -> None:
    assert [ROOT / name for name in STEPS if steps(ROOT / name)] == [ROOT / name for name in STEPS]
    assert {page for page in PAGES if steps(page)} == {ROOT / name for name in STEPS}


def steps(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.run]


@pytest.fixture(scope="module")
def stocked_centre(centre: Centre) -> Centre:
    for host in (centre.laptop, centre.hub):  # the hub's home is that of the login nodes
        for site, text in STANDINS.items():
            write_profile(host.path("/home/alice"), USERS[0], site, text)
    return centre


@pytest.mark.parametrize("name", STEPS)
def test_the_steps_of_a_page_work(name: str, stocked_centre: Centre) -> None:
    centre, terminals, before = stocked_centre, [], ""
    for block in steps(ROOT / name):
        host_name, *rest = block.run.split(", ")
        options = dict(option.split(": ", 1) for option in rest)
        host = centre.hosts[host_name]
        if site := options.get("stanza"):
            printed = centre.hosts[before].run(f"gears/.venv/bin/gears ssh-config {site}", check=True).stdout
            host.run("cat >>~/.ssh/config", input=printed, check=True)
        if url := options.get("until"):
            terminals.append(open_until(host, block, url))
        else:
            done = host.run(block.text.replace(DONE_BEFORE, ""), timeout_s=120)
            assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        if re.search(r"^make andes-lab\b(?!-)", block.text, re.MULTILINE):
            check_while_up(centre)
        before = host_name
    for terminal in terminals:
        terminal.close()


def open_until(host: Host, block: Block, url: str) -> "pexpect.spawn[str]":
    """Type the block into a terminal that stays open, and wait until JupyterLab answers at `url` on that host."""
    found = re.fullmatch(r"http://localhost:(\d+)/api", url)
    assert found, f"{block}: {url}"
    terminal = host.spawn(block.text)
    wait_until(Lab(host, int(found[1])).answers, 20, f"{block}: {url} answers")
    return terminal


def check_while_up(centre: Centre) -> None:
    """The relay stands: its files and the fields of its status are those that the reference describes."""
    found = status(centre.hub)
    node = [centre.hosts[found["job"]["node"]]] if found["job"] else []
    for host in (centre.hub, centre.login1, *node):
        check_files(host, "andes|local")
    documented = {code(row[0])[0] for row in table(COMMANDS, "Fields of `--json`", "field")}
    documented = {field for field in documented if not field.startswith("carry.")}  # of a lab that carries variables
    without_job = {field for field in documented if not field.startswith("job.")} | {"job"}
    assert set(flatten(found)) == (documented if node else without_job)
    if node:
        cells = [block.text for block in blocks(ROOT / "docs/how-to/job.md") if block.kind == "python"]
        left_s = float(Kernel(lab_at(centre.hub)).run("\n".join([*cells, "print(left_s)"])))
        assert abs(time.time() + left_s - seconds(found["job"]["ends"])) < 120


def seconds(utc: str) -> int:
    return calendar.timegm(time.strptime(utc, "%Y-%m-%dT%H:%M:%SZ"))


def flatten(value: Any, name: str = "") -> Iterator[str]:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        yield from flatten(value[0], f"{name}[]")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from flatten(item, f"{name}.{key}" if name else key)
    else:
        yield name


def check_files(host: Host, site: str) -> None:
    """Every file on a host is described, with its kind and its mode. What is just being written has a moment's time."""
    try:
        wait_until(lambda: not undescribed(host, site), 10, f"{host.name}: every file is described")
    except AssertionError:
        assert undescribed(host, site) == []
        raise


def undescribed(host: Host, site: str) -> list[str]:
    kinds = {"d": "directory", "f": "file", "s": "socket", "p": "fifo", "l": "link"}
    local = host.run("readlink ~/gears/run/*.sck | xargs dirname").stdout.strip()
    listed = host.run(["find", "/home/alice/gears/run", local, "-printf", "%y 0%m %p\n"])
    wrong = listed.stderr.splitlines()
    for kind, mode, path in (line.split() for line in listed.stdout.splitlines()):
        name = path.replace("/home/alice/gears/", "").replace(local, "LOCAL")
        known = [said for file, said in documented_files().items() if re.fullmatch(as_pattern(file, site), name)]
        said_kind, said_mode = known[0] if known else ("not there", "")
        if said_kind not in (kinds[kind], "any") or (kind != "l" and said_mode not in (mode, "any")):
            wrong.append(f"{kinds[kind]} {mode} {path}")
    return wrong


def as_pattern(path: str, site: str) -> str:
    pattern = re.escape(path).replace(r"\*", r"[^/]+").replace("SITE", f"(?:{site})")
    return re.sub(r"\bN\b", r"\\d+", pattern)
