"""`gears workspace run`, here and in a job, killed with all its processes at some point: nothing is damaged, and the
same command goes on.

The points are GEARS_FAULT_POINTS (1) of the calls that change something, evenly spread. The checks share no code with
gears: git fsck, checksums of the cache, `dvc status`.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import standins
from tests.helpers import wait_until
from tests.workspaces import Person, person

POINTS = int(os.environ.get("GEARS_FAULT_POINTS", "1"))
DRIVER = Path(__file__).with_name("killed.py")


@dataclass
class Desk:
    """A workspace; `saved`: a copy of how it was; `words`: what is run in it."""

    ada: Person
    top: Path
    saved: Path
    counter: Path
    words: list[str] = field(default_factory=lambda: ["workspace", "run"])

    def restore(self) -> None:
        shutil.rmtree(self.top)
        shutil.copytree(self.saved, self.top, symlinks=True)

    def run(self, last: int = 0) -> int:
        """Run it, and kill it at the call of that number. Returns how many there were."""
        running = self.start(last)
        said = running.communicate(timeout=120)[0]
        assert running.returncode == (-9 if last else 0), f"{last}: {said}"
        wait_until(lambda: not lives(running.pid), 30, "init has buried all: to DVC a zombie is a process at work")
        return self.counter.stat().st_size

    def start(self, last: int = 0) -> "subprocess.Popen[str]":
        self.counter.unlink(missing_ok=True)
        return subprocess.Popen(
            [sys.executable, "-EsP", DRIVER, "-m", "gears", *self.words],
            env=self.ada.environ | {"GEARS_TEST_KILL": f"{self.counter} {last}"},
            cwd=self.top,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def record(self) -> Path:
        return next(path for path in (self.top / ".git/gears-runs").iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    root = tmp_path_factory.mktemp("killed")
    ada = person(root)
    ada.gears("new", "climate", "--defaults")
    shutil.copytree(ada.home / "climate", root / "new", symlinks=True)
    return Desk(ada, ada.home / "climate", root / "new", root / "counter")


@pytest.fixture(scope="module")
def job(desk: Desk) -> Iterator[Desk]:
    """It is submitted, and held: what it would run is run here."""
    programs = desk.saved.with_name("bin")
    programs.mkdir()
    standins.install("pbs", programs, state=str(programs.with_name("queue")), kill_s=0.1)
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{programs}:{before}"
    profile = desk.ada.home / ".config/gears/sites/local.toml"
    profile.parent.mkdir(parents=True)
    profile.write_text('[scheduler]\nkind = "pbs"\ndirectives = ["-h"]\n')
    desk.restore()
    desk.ada.gears("run", "--job", cwd=desk.top)
    submitted = desk.saved.with_name("submitted")
    shutil.copytree(desk.top, submitted, symlinks=True)
    record = json.loads((desk.record / "run.json").read_text())
    words = ["_workspace", "work", str(desk.record), record["job_name"]]
    yield Desk(desk.ada, desk.top, submitted, desk.counter, words)
    os.environ["PATH"] = before
    (programs.with_name("queue") / "1/cancel").touch()


def lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def points(desk: Desk) -> list[int]:
    """Of a second run: the first one also makes what is then in the home."""
    desk.run()
    desk.restore()
    total = desk.run()
    return [round(total * (number + 0.5) / POINTS) for number in range(POINTS)]


def check_whole(desk: Desk) -> None:
    """What DVC takes for complete, by its mode, is right, whatever was going on; it checks other files itself."""
    desk.ada.git(desk.top, "fsck", "--strict", "--no-dangling")
    assert desk.ada.git(desk.top, "rev-list", "--count", "main") == "1"
    for file in (desk.top / ".dvc/cache/files/md5").glob("??/" + "?" * 30):
        if file.stat().st_mode & 0o222 == 0:
            assert hashlib.md5(file.read_bytes()).hexdigest() == file.parent.name + file.name


def check_data(desk: Desk) -> None:
    assert len((desk.top / "results/summary.csv").read_text().splitlines()) == 14
    assert "up to date" in desk.ada.dvc(desk.top, "status")
    files = [path for path in (desk.top / ".dvc/cache/files/md5").rglob("*") if path.is_file()]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o444}


def test_a_run_here(desk: Desk) -> None:
    for point in points(desk):
        desk.restore()
        desk.run(point)
        check_whole(desk)
        desk.run()
        check_whole(desk)
    check_data(desk)


def test_a_record_that_dvc_had_only_begun(desk: Desk) -> None:
    """DVC itself would fail at it each time."""
    desk.restore()
    desk.run()
    records = list((desk.top / ".dvc/cache/runs").glob("??/*/*"))
    for record in records:
        record.unlink()
    (desk.top / "dvc.lock").unlink()
    desk.run()
    assert records
    check_data(desk)


def test_a_job(job: Desk) -> None:
    """Its results come as a branch; nothing else of the workspace's repository changes."""
    for point in points(job):
        job.restore()
        job.run(point)
        check_whole(job)
        if not (job.record / "ended.json").exists():
            job.run()
        check_whole(job)
        check_branch(job)
    job.ada.dvc(job.top, "checkout")
    assert len((job.top / "results/summary.csv").read_text().splitlines()) == 14


def test_a_job_that_was_killed_while_a_stage_wrote(job: Desk) -> None:
    """DVC has not saved its output yet, and would not remove it."""
    for _ in range(5):
        job.restore()
        clone = Path(json.loads((job.record / "run.json").read_text())["clone"])
        running = job.start()
        while running.poll() is None and not (clone / "data/measurements.csv").exists():
            time.sleep(0.005)
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
        wait_until(lambda group=running.pid: not lives(group), 30, "all have ended")
        if not (clone / "dvc.lock").exists():
            break
    assert (clone / "data/measurements.csv").exists()
    assert not (clone / "dvc.lock").exists()
    job.run()
    check_branch(job)


def check_branch(job: Desk) -> None:
    ended = json.loads((job.record / "ended.json").read_text())
    branch = json.loads((job.record / "run.json").read_text())["branch"]
    assert (ended["state"], ended["head"]) == ("done", job.ada.git(job.top, "rev-parse", branch))
    assert job.ada.git(job.top, "status", "--porcelain") == ""
    assert job.ada.git(job.top, "diff", "--name-only", "main", branch) == "dvc.lock"
    job.ada.git(job.top, "merge", "-q", branch)
