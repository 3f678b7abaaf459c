"""Bundles on HPSS in spite of faults, at random points of a put and of a get; hsi is a stand-in (`standins/hpss.py`).

Each fault takes its turn, at GEARS_FAULT_POINTS points in all (3: those that only HPSS has).
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import trees
from tests.standins import install_hsi
from tests.test_data_faults import (
    POINTS,
    Bundles,
    assert_nothing_half,
    assert_restored,
    carry_on,
    chance,
    kill_group,
    kill_process,
    source,  # noqa: F401  a fixture
    wanted,  # noqa: F401  a fixture
    written,
)


class Tape(Bundles):
    """Bundles on HPSS, whose files are in `root`."""

    @property
    def address(self) -> str | Path:
        return f"/home/alice/{self.root.name}/place"


@dataclass
class Hpss:
    """The stand-in, and what can befall it. `directory`: where the program is; `root`: where its files are."""

    directory: Path
    root: Path

    def _set(self, name: str, text: str) -> None:
        (self.directory / "new").write_text(text)
        (self.directory / "new").rename(self.directory / name)  # never half of it: hsi may look at any time

    def _fail(self, **faults: object) -> None:
        self._set("faults.json", json.dumps(faults))

    def cut(self, _pid: int) -> None:
        """All sessions end in the middle, and there are no others."""
        self._fail(code=69, words=["Unable to setup communication to HPSS..."])
        subprocess.run(["pkill", "-KILL", "-f", f"^/usr/bin/python3 {self.directory}/hsi"], check=False)

    def fill(self, _pid: int) -> None:
        self._fail(room=0)

    def log_out(self, _pid: int) -> None:
        self._set("login", "0")

    def damage(self, _pid: int) -> None:
        self._fail(damaged=True)

    def shorten(self, _pid: int) -> None:
        self._fail(short=chance.randrange(1, 1000))

    def heal(self) -> None:
        for name in ("faults.json", "login"):
            (self.directory / name).unlink(missing_ok=True)


@pytest.fixture
def hpss(tmp_path: Path) -> Hpss:
    found = Hpss(tmp_path / "bin", tmp_path / "hpss/home/alice")
    found.directory.mkdir()
    found.root.mkdir(parents=True)
    install_hsi(found.directory, root=f"{tmp_path}/hpss")
    return found


Fault = Callable[[Hpss, int], object]
KILLED = (-signal.SIGKILL,)
OF_A_PUT: list[tuple[Fault, tuple[int, ...]]] = [
    (Hpss.cut, (5, 7)),
    (Hpss.fill, (7,)),
    (Hpss.log_out, (3,)),
    (lambda _, pid: kill_group(pid), KILLED),
    (lambda _, pid: kill_process(pid), KILLED),
]
OF_A_GET: list[tuple[Fault, tuple[int, ...]]] = [
    (Hpss.cut, (5, 7)),
    (Hpss.damage, (6,)),
    (Hpss.shorten, (6, 7)),
    (Hpss.log_out, (3,)),
    (lambda _, pid: kill_group(pid), KILLED),
]
"""What befalls it, and the exit statuses that tell of it."""


def befallen(transfer: Tape, words: list[str | Path], into: Path, hpss: Hpss, fault: Fault) -> tuple[int, str]:
    """Start a call, and let the fault befall it at a random point of its writing. Return how it ended."""
    before, point, struck = written(into), chance.uniform(0, 18e6), False
    with transfer.start(words) as process:
        try:
            while process.poll() is None:
                if not struck and written(into) - before >= point:
                    struck = True
                    fault(hpss, process.pid)
                time.sleep(0.002)
            out, err = process.communicate(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    hpss.heal()
    return process.returncode, (out + err).decode()


def make_transfer(tree: Path, tmp_path: Path, hpss: Hpss, number: int) -> Tape:
    environment = {"KIND": "hpss", "PATH": f"{hpss.directory}:{os.environ['PATH']}"}
    beside = tmp_path / str(number)
    return Tape(tree, hpss.root / str(number), 1 + number % 2, environment=environment, beside=beside)


def test_faults_of_a_put(source: Path, wanted: trees.Picture, tmp_path: Path, hpss: Hpss) -> None:  # noqa: F811
    """Some come too late; then the put has succeeded."""
    struck = 0
    for number in range(4 * POINTS):
        fault, statuses = OF_A_PUT[number % len(OF_A_PUT)]
        transfer = make_transfer(source, tmp_path, hpss, number)
        status, said = befallen(transfer, transfer.puts, transfer.place, hpss, fault)
        assert status in (0, *statuses), (number, status, said)
        struck += status != 0
        carry_on(transfer, wanted)
        for directory in (transfer.root, tmp_path / str(number)):
            trees.remove(directory)
        if number + 1 >= POINTS and struck >= POINTS / 2:
            return
    pytest.fail(f"only {struck} came in time")


def test_faults_of_a_get(source: Path, wanted: trees.Picture, tmp_path: Path, hpss: Hpss) -> None:  # noqa: F811
    transfer, struck = make_transfer(source, tmp_path, hpss, 0), 0
    transfer.succeeds(transfer.puts)
    for number in range(4 * POINTS):
        fault, statuses = OF_A_GET[number % len(OF_A_GET)]
        transfer.jobs = 1 + number % 2
        status, said = befallen(transfer, transfer.gets, transfer.back, hpss, fault)
        assert status in (0, *statuses), (number, status, said)
        struck += status != 0
        assert_nothing_half(wanted, transfer.back)
        assert_restored(wanted, transfer.back, transfer.succeeds(transfer.gets))
        trees.remove(transfer.back)
        if number + 1 >= POINTS and struck >= POINTS / 2:
            return
    pytest.fail(f"only {struck} came in time")
