"""What a lab and the way to it have on disk: who JupyterLab is, and whether a way has led to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from gears import process, records, store
from gears.rundir import RunDir


@dataclass(frozen=True, slots=True)
class Lab:
    """JupyterLab as it wrote itself down. `job`: the number of the job it is. `ended`: when it ended on purpose."""

    host: str
    pid: int
    start: str
    site: str | None = None
    port: int | None = None
    socket: str | None = None
    version: str | None = None
    started: str | None = None
    login: str | None = None
    overridden: tuple[str, ...] = ()
    unreachable: tuple[str, ...] = ()
    job: int | None = None
    ended: str | None = None

    @property
    def process(self) -> process.Process:
        return process.Process(self.host, self.pid, self.start)


@dataclass(frozen=True, slots=True)
class Pin:
    """Which node behind a name the lab is on, where ssh has found it, and how it is dialled again: by its address or by
    name; None while that was not found out."""

    host: str | None = None
    address: str | None = None
    port: str | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Up:
    """The newest turn whose way has led to JupyterLab, since when, and how often that has been."""

    number: int | None = None
    since: str | None = None
    times: int = 0

    @property
    def reconnects(self) -> int:
        return max(0, self.times - 1)


def load_lab(path: Path) -> Lab | None:
    """Read the lab's record: `RunDir.lab_here`, or its copy in the home, `RunDir.lab_record`. None if there is none."""
    return records.load(Lab, path)


def save_lab(path: Path, lab: Lab) -> None:
    """Replace the lab's record. Raises OSError."""
    records.save(path, lab)


def mark_ended(paths: RunDir, host: str | None) -> None:
    """Note in the home that the lab ended on purpose, unless the record speaks of the lab of another host."""
    lab = load_lab(paths.lab_record)
    if lab and lab.host == host and not lab.ended:
        save_lab(paths.lab_record, replace(lab, ended=store.utc_now()))


def load_up(paths: RunDir) -> Up:
    """Read how often the way was up."""
    return records.load(Up, paths.up) or Up()


def note_up(paths: RunDir, number: int) -> None:
    """Write down that the way of turn `number` leads to JupyterLab. Raises OSError."""
    records.save(paths.up, Up(number, store.utc_now(), load_up(paths).times + 1))


def load_pin(paths: RunDir) -> Pin:
    """Read which node the lab is on; of an empty one any may be dialled."""
    return records.load(Pin, paths.pin) or Pin()


def save_pin(paths: RunDir, pin: Pin) -> None:
    """Write down which node the lab is on. Raises OSError."""
    records.save(paths.pin, pin)
