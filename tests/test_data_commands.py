"""`gears data put`, `get`, `copy`, `status` … as typed on this machine: they move, survive, and say what to type."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from gears.cli.data.tracking import STATUS_EXITS
from gears.data import batch, following
from gears.data.engine import copy_tree
from gears.data.following import Answers
from gears.data.records import UNDER_WAY, TaskState
from gears.data.resumption import Resumption
from gears.data.verification import Verified, verify
from gears.errors import ContentsDiffer, Paused
from gears.schedulers.base import Job, JobState
from gears.sites.context import Context
from gears.sites.paths import RunDir
from gears.sites.profile import Scheduler, Site
from gears.sites.profile import Transfer as TransferLimits
from gears.sites.route import plan_route
from gears.system.host import this_host
from tests.helpers import wait_until

GEARS = str(Path(sys.executable).with_name("gears"))
SLOW = {"GEARS_TEST_PAUSE_S": "0.15"}
SLOWER = {"GEARS_TEST_PAUSE_S": "0.6"}
"""A transfer that goes on while commands run, on a machine that does other things as well."""
PROFILE = """\
[filesystem]
scratch = "{top}/scratch"
archive = "{top}/archive"
gone = "{top}/gone"
[filesystem.elsewhere]
path = "{top}/elsewhere"
hosts = ["no-such-host*"]
[filesystem.tape]
path = "{top}/tape"
bundle_size = "1MB"
"""


@dataclass
class Desk:
    """A home with gears, a profile with places, and a command line."""

    top: Path
    env: dict[str, str] = field(default_factory=dict)

    def start(self, *words: str, **env: str) -> "subprocess.Popen[str]":
        environ = os.environ | self.env | env
        pipe = subprocess.PIPE
        return subprocess.Popen([GEARS, "data", *words], env=environ, cwd=self.top, stdout=pipe, stderr=pipe, text=True)

    def run(self, *words: str, status: int = 0, **env: str) -> str:
        """What a command prints, both outputs."""
        running = self.start(*words, **env)
        out, err = running.communicate(timeout=180)
        assert running.returncode == status, out + err
        return out + err

    def status(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.start("status", name, "--json").communicate(timeout=180)[0])
        return found["transfers"][0]  # type: ignore[no-any-return]

    def record(self, name: str) -> Path:
        return self.top / "gears/run/local/data" / name / "task.json"

    def task(self, name: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self.record(name).read_text())
        except FileNotFoundError:
            return {}
        return found

    def worker(self, name: str) -> int:
        """The pid of the worker, once it runs."""
        return int(
            wait_until(lambda: self.task(name).get("state") == "running" and self.task(name)["pid"], 30, "it runs")
        )

    def await_end(self, name: str) -> dict[str, Any]:
        def ended() -> dict[str, Any] | None:
            found = self.status(name)
            return None if found["under_way"] else found

        return wait_until(ended, 60, f"{name} is not under way") or {}

    def make(self, name: str, files: int = 300) -> Path:
        """A directory in scratch, with subdirectories."""
        root = self.top / "scratch" / name
        for number in range(files):
            directory = root / f"d{number % 7}"
            directory.mkdir(parents=True, exist_ok=True)
            (directory / f"f{number}").write_bytes(random.Random(f"{name}{number}").randbytes(500 + number))
        return root


@pytest.fixture(name="desk")
def desk_fixture() -> Iterator[Desk]:
    top = Path(tempfile.mkdtemp(prefix="gd-", dir="/tmp"))  # short: tmux has a socket in it
    for name in ("scratch", "archive", "tape", "elsewhere", "gears", ".config/gears/sites"):
        (top / name).mkdir(parents=True)
    (top / ".config/gears/sites/local.toml").write_text(PROFILE.format(top=top))
    env = {"HOME": str(top), "GEARS_HOME": str(top / "gears"), "TMUX_TMPDIR": str(top), "GEARS_SITE": "local"}
    yield Desk(top, env)
    subprocess.run(["tmux", "-L", "gears", "kill-server"], env=os.environ | env, capture_output=True)
    shutil.rmtree(top, ignore_errors=True)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def sessions(desk: Desk) -> str:
    words = ["tmux", "-L", "gears", "list-sessions"]
    return subprocess.run(words, env=os.environ | desk.env, capture_output=True, text=True).stdout


# --- to the end ------------------------------------------------------------------------------


def test_a_put_goes_on_alone_and_is_verified(desk: Desk) -> None:
    source = desk.make("run7")
    said = desk.run("put", "scratch/run7", "archive", **SLOW)
    assert said.startswith("put run7: ")
    assert "data status run7 --site local --watch" in said
    watched = desk.run("status", "run7", "--watch").splitlines()[-1]
    assert "300 files, verified; done" in watched
    assert contents(desk.top / "archive/run7") == contents(source)
    wait_until(lambda: not sessions(desk), 10, "nothing is left in tmux")
    found = desk.status("run7")
    assert (found["state"], found["task"]["verified"], found["exit_status"]) == ("done", True, 0)
    assert f"{source} → archive:run7" in desk.run("list")


def test_it_comes_back_and_is_copied(desk: Desk) -> None:
    source = desk.make("run7", 40)
    desk.run("put", "scratch:run7", "archive", "--foreground")
    assert "done" in desk.run("get", "archive:run7", "--to", "scratch:back", "--wait")
    assert contents(desk.top / "scratch/back/run7") == contents(source)
    desk.run("copy", "archive:run7", "./copied", "--foreground")
    assert contents(desk.top / "copied") == contents(source)
    assert {"run7", "get-run7", "copy-run7"} <= {line.split()[0] for line in desk.run("list").splitlines()[1:]}


def test_bundles_are_put_followed_and_brought_back(desk: Desk) -> None:
    source = desk.make("run7", 60)
    (source / "large").write_bytes(random.Random(1).randbytes(1_500_000))
    assert "bundles" in desk.run("put", "scratch:run7", "tape", "--wait")
    found = desk.status("run7")
    assert (found["method"], found["state"], found["task"]["verified"]) == ("bundles", "done", True)
    assert found["task"]["bundles"] == len(list(desk.top.glob("tape/run7/*.tar"))) > 0
    desk.run("verify", "run7", "--foreground")
    desk.run("get", "tape:run7", "--to", "./back", "--foreground")
    assert contents(desk.top / "back/run7") == contents(source)
    desk.run("get", "tape:run7", "d3/*", "--to", "./part", "--foreground")
    assert {path.split("/")[0] for path in contents(desk.top / "part/run7")} == {"d3"}
    with next(desk.top.glob("tape/run7/*.tar")).open("r+b") as bundle:
        bundle.seek(700)
        bundle.write(b"x")
    assert "contents differ" in desk.run("verify", "run7", "--wait", status=6)


def test_what_is_new_follows_by_the_same_command(desk: Desk) -> None:
    source = desk.make("run7", 40)
    desk.run("put", "scratch:run7", "archive", "--foreground")
    (source / "new").write_text("new")
    desk.run("put", "scratch:run7", "archive", "--foreground")
    assert contents(desk.top / "archive/run7") == contents(source)


# --- interrupted -----------------------------------------------------------------------------


def test_killed_at_any_point_the_same_command_goes_on(desk: Desk) -> None:
    source, moments = desk.make("run7", 1000), random.Random(7)
    words = ("put", "scratch:run7", "archive", "--foreground", "--jobs", "2")
    for _ in range(6):
        running = desk.start(*words, **SLOW)
        with pytest.raises(subprocess.TimeoutExpired):
            running.communicate(timeout=0.3 + moments.random())
        running.kill()
        running.communicate()
        assert desk.task("run7").get("state", "running") in ("queued", "running")
    desk.run(*words)
    assert contents(desk.top / "archive/run7") == contents(source)
    assert not list(desk.top.glob("archive/**/.gears-part*"))
    assert desk.status("run7")["task"]["verified"]


def test_a_killed_worker_is_started_again(desk: Desk) -> None:
    source = desk.make("run7", 1000)
    desk.run("put", "scratch:run7", "archive", **SLOWER)
    pid = desk.worker("run7")
    os.kill(pid, signal.SIGKILL)
    found = desk.await_end("run7")
    assert (found["state"], found["task"]["verified"]) == ("done", True)
    assert found["task"]["pid"] != pid
    assert contents(desk.top / "archive/run7") == contents(source)


def test_when_all_of_it_is_killed_it_is_lost_and_the_command_shown_goes_on(desk: Desk) -> None:
    source = desk.make("run7", 1000)
    desk.run("put", "scratch:run7", "archive", **SLOWER)
    pid = desk.worker("run7")
    loop = int((desk.record("run7").parent / "loop").read_text().split()[1])
    for one in (loop, pid):
        os.kill(one, signal.SIGKILL)
    found = wait_until(lambda: (now := desk.status("run7"))["state"] == "lost" and now, 10, "it is lost")
    assert found["reason"].endswith("was killed")
    said = desk.run("status", "run7", status=7).splitlines()
    assert "lost: its process on" in said[0]
    words = said[1].partition("gears data ")[2].split()
    assert words[:3] == ["put", "scratch:run7", "archive"]
    assert "done" in desk.run(*words, "--wait")
    assert contents(desk.top / "archive/run7") == contents(source)


def test_two_at_once_are_one(desk: Desk) -> None:
    desk.make("run7", 600)
    both = [desk.start("put", "scratch:run7", "archive", **SLOWER) for _ in range(2)]
    said = [running.communicate(timeout=180)[0] for running in both]
    assert [running.returncode for running in both] == [0, 0]
    assert len([text for text in said if "(already)" in text]) == 1
    assert desk.await_end("run7")["state"] == "done"


def test_the_lock_holds_whatever_the_record_says(desk: Desk) -> None:
    desk.make("run7", 1000)
    running = desk.start("put", "scratch:run7", "archive", "--foreground", **SLOWER)
    desk.worker("run7")
    second = [GEARS, "_data", "_work", "run7", "--site", "local"]
    done = subprocess.run(second, env=os.environ | desk.env, capture_output=True, text=True, timeout=240)
    assert (done.returncode, "works on this transfer: it is running" in done.stderr) == (5, True), done.stderr
    assert running.communicate(timeout=180)[1] == ""


def test_stop_and_forget(desk: Desk) -> None:
    source = desk.make("run7", 1000)
    desk.run("put", "scratch:run7", "archive", **SLOWER)
    desk.worker("run7")
    assert "run7 is running: its records are still needed" in desk.run("forget", "run7", status=5)
    assert "to go on: " in desk.run("stop", "run7").lower()
    found = desk.status("run7")
    assert (found["state"], found["under_way"], found["exit_status"]) == ("paused", False, 7)
    assert "is not under way" in desk.run("stop", "run7", status=4)
    assert "done" in desk.run("put", "scratch:run7", "archive", "--wait")
    assert "The data stays in archive:run7" in desk.run("forget", "run7")
    assert contents(desk.top / "archive/run7") == contents(source)
    assert "no transfer run7" in desk.run("status", "run7", status=4)


def test_ctrl_c_of_a_watcher_stops_nothing(desk: Desk) -> None:
    desk.make("run7", 1000)
    desk.run("put", "scratch:run7", "archive", **SLOWER)
    desk.worker("run7")
    watching = desk.start("status", "run7", "--watch")
    assert watching.stdout
    watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    assert "the transfer goes on" in watching.communicate(timeout=180)[1]
    assert watching.returncode == 130
    assert desk.await_end("run7")["state"] == "done"


def test_a_verification_goes_on_where_it_was_and_forgets_no_difference(tmp_path: Path) -> None:
    source, copy, record = tmp_path / "source", tmp_path / "copy", tmp_path / "state/manifest"
    source.mkdir()
    for number in range(700):
        (source / f"f{number:03}").write_text(str(number))
    copy_tree(source, copy, record)
    (copy / "f001").write_text("other")
    read = list[int]()

    def stop(verified: Verified) -> None:
        Resumption(tmp_path / "verified.json", record).note(verified, now=True)
        read.append(verified.entries)
        if len(read) == 2:
            raise Paused("enough")

    with pytest.raises(Paused):
        verify(record, copy, on_progress=stop)
    begun = Resumption(tmp_path / "verified.json", record).begun()
    assert begun is not None
    assert begun.entries == read[1]
    found = verify(record, copy, begun=begun)
    assert (found.entries, found.differences["different"], found.whole) == (700, 1, False)  # with the directory itself
    with pytest.raises(ContentsDiffer, match="'f001'"):
        found.require_whole(copy)
    (source / "new").write_text("new")
    copy_tree(source, copy, record)
    assert Resumption(tmp_path / "verified.json", record).begun() is None


def test_a_later_put_reads_only_new_bundles_again_and_says_since_when_the_others_are_proven(desk: Desk) -> None:
    source = desk.make("run7", 30)
    desk.run("put", "scratch:run7", "tape", "--foreground")
    first = desk.status("run7")["task"]
    (source / "new").write_text("new")
    (bundle,) = desk.top.glob("tape/run7/*.tar")
    with bundle.open("r+b") as file:
        file.seek(700)
        file.write(b"xxxx")
    desk.run("put", "scratch:run7", "tape", "--foreground")
    second = desk.status("run7")["task"]
    assert (second["verified"], second["verified_at"]) == (True, first["verified_at"])
    assert (second["bundles"], second["total_bundles"]) == (2, 2)
    assert "contents differ" in desk.run("verify", "run7", "--wait", status=6)
    (source / "newer").write_text("newer")
    desk.run("put", "scratch:run7", "tape", "--foreground", status=6)  # what was found different is not called verified
    assert not desk.status("run7")["task"]["verified"]


def test_who_watches_asks_the_scheduler_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, asked = Answers(), list[str]()

    def query() -> Job:
        asked.append("")
        return Job("4711", JobState.RUNNING)

    for _ in range(5):
        assert answers.ask(("run7", "running"), query).id == "4711"
    assert len(asked) == 1
    answers.ask(("run7", "paused"), query)
    assert len(asked) == 2
    monkeypatch.setattr(following, "ASK_EVERY_S", 0)
    answers.ask(("run7", "paused"), query)
    assert len(asked) == 3


# --- what is wrong is told -------------------------------------------------------------------


def test_what_could_not_be_copied_is_named(desk: Desk) -> None:
    desk.make("run7", 20)
    (desk.top / "archive/run7/d3/f3").mkdir(parents=True)  # in the way of a file
    said = desk.run("put", "scratch:run7", "archive", "--foreground", status=7)
    assert "'d3/f3': Is a directory" in said
    assert "files that could not be copied: 1, such as 'd3/f3'" in said
    found = desk.status("run7")
    assert (found["state"], found["task"]["problems"], found["exit_status"]) == ("incomplete", 1, 7)


def test_changed_contents_are_found_by_verify(desk: Desk) -> None:
    desk.make("run7", 20)
    desk.run("put", "scratch:run7", "archive", "--foreground")
    damaged = desk.top / "archive/run7/d3/f3"
    info = damaged.stat()
    damaged.write_bytes(b"x" * info.st_size)
    os.utime(damaged, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert "contents differ" in desk.run("verify", "run7", "--wait", status=6)
    found = desk.status("run7")
    assert (found["state"], found["task"]["verified"], found["task"]["verified_at"]) == ("contents differ", False, "")


BAD = {
    "no directory": (("put", "scratch:none", "archive"), 2, "not a directory on", "ls -ld"),
    "no place": (("put", "scratch:run7", "archiv:"), 2, "no place 'archiv'", "gears data places local"),
    "out of the place": (("put", "scratch:../x", "archive"), 2, "leads out of the place", "gears data places"),
    "place is not there": (("put", "scratch:run7", "gone"), 5, "no such file or directory", "gears sites show local"),
    "place of other hosts": (("put", "scratch:run7", "elsewhere"), 5, "on no-such-host* only", "there: gears data"),
    "bad name": (("put", "scratch:run7", "archive", "--name", "a/b"), 2, "not a valid name", "gears data list"),
    "bundles": (("copy", "scratch:run7", "tape:x"), 2, "tape holds bundles", "gears data put scratch:run7 tape"),
    "patterns of files": (
        ("get", "archive:run7", "*.nc", "--to", "scratch"),
        2,
        "archive holds files: patterns are for bundles",
        "gears data copy",
    ),
    "never put": (("verify", "run8"), 4, "no transfer run8", "gears data list"),
    "no name": (("status", "run8"), 4, "no transfer run8", "gears data list"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_starts_nothing_and_says_what_to_type(desk: Desk, what: str) -> None:
    words, status, message, to_type = BAD[what]
    source = desk.make("run7", 3)
    before = contents(source)
    said = desk.run(*words, status=status)
    assert message in said
    assert to_type in said.partition("next: ")[2].replace(f"{GEARS} ", "gears ")
    assert contents(source) == before
    assert "no transfers yet" in desk.run("list")


def test_another_transfer_of_the_name_is_refused_with_a_free_one(desk: Desk) -> None:
    desk.make("run7", 3)
    desk.make("other/run7", 3)
    desk.run("put", "scratch:run7", "archive", "--foreground")
    said = desk.run("put", "scratch:other/run7", "archive", status=2)
    assert "there is another transfer run7: put scratch:run7" in said
    assert "--name=run7-2" in said.partition("next: ")[2]


def test_names_that_need_quotes(desk: Desk) -> None:
    source = desk.make("it's a run\nof mine", 3)
    desk.run("put", str(source), "archive", "--foreground")
    [name] = [path.parent.name for path in desk.top.glob("gears/run/local/data/*/transfer.json")]
    assert contents(desk.top / "archive" / name) == contents(source)


# --- as programs and other hosts see it ------------------------------------------------------


def test_a_worker_of_another_host_is_lost_when_it_gives_no_sign(desk: Desk) -> None:
    desk.make("run7", 3)
    desk.run("put", "scratch:run7", "archive", "--foreground")
    far = desk.task("run7") | {"state": "running", "host": "far", "ended": ""}
    now = time.time()
    for updated, state in ((now - 20, "running"), (now - 600, "lost")):
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(updated))
        desk.record("run7").write_text(json.dumps(far | {"updated": when}))
        assert desk.status("run7")["state"] == state
    assert "far has given no sign of it since" in desk.run("status", "run7", status=7)


def test_every_state_has_an_exit_status() -> None:
    assert {*STATUS_EXITS} | {*UNDER_WAY, "done"} == {*TaskState}


@pytest.mark.parametrize("kind", ["slurm", "pbs", "lsf", "sge"])
def test_the_job_script_of_each_scheduler(tmp_path: Path, kind: Any) -> None:
    wanted = Scheduler(kind, account="abc", prologue=("module load x",))
    moved = TransferLimits(queue="dtn", nodes=4, walltime="1-00:00:00")
    site = replace(Site("x"), scheduler=wanted, transfer=moved)
    context = Context(plan_route(site, this_host(), on_lab_host=True), RunDir(tmp_path, "x", tmp_path))
    script = batch.render_script(context, "run7", "gears-data-1a2b", after="17")
    assert subprocess.run(["sh", "-n"], input=script, text=True).returncode == 0
    header, _, rest = script.partition("# gears: ")
    assert "gears-data-1a2b" in header
    assert "17" in header
    assert "dtn" in header
    assert "run7" not in header.replace(str(batch.log_path(context.paths, "run7").parent), "")
    assert rest.index("module load x") < rest.index("export GEARS_JOB_ENDS=")
    assert "+ 86400" in rest


COUNT = """
import atexit, sys
atexit.register(lambda: print(len(sys.modules), file=sys.stderr))
from gears.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_status_loads_few_modules(desk: Desk) -> None:
    desk.make("run7", 3)
    desk.run("put", "scratch:run7", "archive", "--foreground")
    for words in (["status", "run7"], ["status", "--json"], ["list"]):
        argv = [sys.executable, "-P", "-c", COUNT, "data", *words]
        done = subprocess.run(argv, env=os.environ | desk.env, capture_output=True, text=True, timeout=240, check=True)
        assert int(done.stderr.splitlines()[-1]) <= 200
