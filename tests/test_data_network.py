"""The network is cut at random points of copies between a laptop and a place, over the real sshd and rsync.

Five copies run at once, so that one cut meets each at another point; GEARS_FAULT_POINTS cuts in all (10). The link is
parted without a word. On this laptop ssh notices that after 2 s instead of 10, and rsync is slow.
"""

import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.centre import Centre
from tests.helpers import wait_until
from tests.test_data_copying import PROFILE, command, words

COPIES = 5
POINTS = int(os.environ.get("GEARS_FAULT_POINTS", "10"))
CENTRE: dict[str, Any] = {"profiles": {"matagorda": PROFILE}}
PROGRAMS = {
    "ssh": 'exec /usr/bin/ssh -oServerAliveInterval=$SILENT_S -oServerAliveCountMax=1 -oConnectTimeout=5 "$@"',
    "rsync": 'exec /usr/bin/rsync --bwlimit=500 "$@"',
}
chance = random.Random(os.environ.get("GEARS_FAULT_SEED", "12"))

Tree = dict[str, bytes]
Running = list[subprocess.Popen[str]]


@pytest.fixture(scope="module")
def trees(centre: Centre) -> list[Tree]:
    """A directory for each copy: small files, and one that takes a second."""
    made = []
    for number in range(COPIES):
        tree = {f"d{n % 3}/f{n}": chance.randbytes(chance.choice([10, 3_000, 20_000])) for n in range(20)}
        tree["large"] = chance.randbytes(600_000)
        for name, data in tree.items():
            path = centre.laptop.path(f"/home/alice/run{number}/{name}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        made.append(tree)
    centre.laptop.run("chown -R alice: /home/alice/run*; mkdir -p /home/alice/slow", "root", check=True)
    for name, text in PROGRAMS.items():
        centre.laptop.run(
            f"cat > /home/alice/slow/{name} && chmod 755 /home/alice/slow/{name}",
            "root",
            input=f"#!/bin/sh\n{text}\n",
            check=True,
        )
    return made


@pytest.fixture
def line(centre: Centre) -> Iterator[Centre]:
    yield centre
    centre.hub.heal("outside")


def start(centre: Centre, number: int, delay_s: float, *, silent_s: int = 1) -> "subprocess.Popen[str]":
    """`silent_s`: half of ssh's patience."""
    copy = command(words(f"/home/alice/run{number}", f"scratch:run{number}").replace('"run7"', f'"run{number}"'))
    later = ["sh", "-c", f'sleep {delay_s:.2f}; PATH=/home/alice/slow:$PATH; exec "$@"', "sh"]
    return centre.laptop.popen([*later, *copy], cwd="/home/alice/gears", env={"SILENT_S": str(silent_s)})


def arrived(centre: Centre, number: int) -> dict[str, Path]:
    """What has its final name at the far end."""
    root = centre.login1.path(f"/tmp/alice/run{number}")
    found = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    return {name: path for name, path in found.items() if ".gears-partial" not in name and not _is_temporary(path)}


def sends(centre: Centre) -> bool:
    """Whether the first copy's large file is under way. It is the first, and takes a second."""
    return bool(list(centre.login1.path("/tmp/alice/run0").glob(".large.*")))


def _is_temporary(path: Path) -> bool:
    return path.name.startswith(".")


def ends(running: Running) -> list[str]:
    """The last line of each."""
    said = [process.communicate(timeout=90) for process in running]
    return [(out.splitlines() or [""])[-1] if not err.strip() else f"{out}\n{err}" for out, err in said]


def amount(centre: Centre) -> int:
    root = centre.login1.path("/tmp/alice")
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) if root.exists() else 0


def cut_somewhere(centre: Centre, left: list[int]) -> list[str]:
    """Start the copies that are not done, cut the line when some more has arrived, and return how they ended."""
    before, more, delay_s = amount(centre), chance.uniform(0, 900_000), chance.uniform(0, 3)
    running = [start(centre, number, chance.uniform(0, 1.5)) for number in left]
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and is_less(centre, before + more) and _any_runs(running):
            time.sleep(0.05)
        time.sleep(delay_s if chance.random() < 0.3 else 0)
        centre.hub.cut("outside")
        return ends(running)
    finally:
        centre.hub.heal("outside")
        for process in running:
            process.kill()


def is_less(centre: Centre, wanted: float) -> bool:
    try:
        return amount(centre) < wanted
    except FileNotFoundError:  # renamed meanwhile
        return True


def _any_runs(running: Running) -> bool:
    return any(process.poll() is None for process in running)


def test_the_same_command_ends_with_every_byte_right(line: Centre, trees: list[Tree]) -> None:
    cuts, done, sealed = 0, set[int](), [dict[str, int]() for _ in trees]
    rounds = 0
    while cuts < POINTS:
        rounds += 1
        assert rounds < 3 * POINTS, "copies end before they are cut"
        if len(done) == COPIES:
            line.login1.run("rm -rf /tmp/alice/run*", check=True)
            done, sealed = set(), [{} for _ in trees]
        left = [number for number in range(COPIES) if number not in done]
        for number, said in zip(left, cut_somewhere(line, left), strict=True):
            check(line, number, trees[number], sealed[number])
            if said.startswith("copied "):
                done.add(number)
            else:
                assert said.startswith("failed 7 "), said
                cuts += 1
    last = [start(line, number, 0) for number in range(COPIES)]
    assert ends(last) == ["copied 21 0 {}"] * COPIES
    for number, tree in enumerate(trees):
        check(line, number, tree, sealed[number])
        assert {name: path.read_bytes() for name, path in arrived(line, number).items()} == tree


def test_what_an_earlier_run_left_at_work_is_ended_first(line: Centre, trees: list[Tree]) -> None:
    """Its receivers don't know yet that the line was cut. Stopped here, they would move their part into place later."""
    line.login1.run("rm -rf /tmp/alice/run0", check=True)
    process = start(line, 0, 0)
    wait_until(lambda: process.poll() is not None or sends(line), 60, "it sends")
    line.hub.cut("outside")
    assert ends([process])[0].startswith("failed 7 ")
    left = receivers(line)
    line.login1.run("kill -STOP " + " ".join(map(str, left)), check=True)
    line.hub.heal("outside")
    assert ends([start(line, 0, 0)]) == ["copied 21 0 {}"]
    assert not left & receivers(line)
    assert {name: path.read_bytes() for name, path in arrived(line, 0).items()} == trees[0]


def receivers(centre: Centre) -> set[int]:
    return {int(pid) for pid in centre.login1.run("pgrep -f '[r]sync --server'").stdout.split()}


def check(centre: Centre, number: int, tree: Tree, sealed: dict[str, int]) -> None:
    """What has a final name is whole; what had it before is the same file."""
    found = arrived(centre, number)
    assert {name for name, path in found.items() if path.read_bytes() != tree[name]} == set()
    inodes = {name: path.stat().st_ino for name, path in found.items()}
    assert sealed.items() <= inodes.items()
    sealed.update(inodes)


def test_a_line_that_comes_back_at_once_costs_nothing(line: Centre, trees: list[Tree]) -> None:
    """As in the lift: less than ssh's patience."""
    line.login1.run("rm -rf /tmp/alice/run0", check=True)
    process = start(line, 0, 0, silent_s=10)
    wait_until(lambda: process.poll() is not None or sends(line), 60, "it sends")
    line.hub.cut("outside")
    time.sleep(0.2)
    line.hub.heal("outside")
    assert ends([process]) == ["copied 21 0 {}"]
    assert {name: path.read_bytes() for name, path in arrived(line, 0).items()} == trees[0]
