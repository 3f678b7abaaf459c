"""A run and its helpers, here as processes of this host: who does what, whoever is killed or has to stop meanwhile.

Batches wait for events of the test, which are files: nothing depends on who is faster.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gears.data import batch, records, workers
from gears.data.crew import Crew, Helpers
from gears.data.messages import Channel, Stop
from gears.data.pulse import Pulse
from gears.data.records import Method, Task, TaskState, Transfer, Verb
from gears.data.tree import MARK
from gears.errors import Paused
from gears.sites.context import Context
from gears.sites.paths import RunDir
from gears.sites.profile import Place, Scheduler, Site
from gears.sites.profile import Transfer as TransferLimits
from gears.sites.route import plan_route
from gears.system.host import this_host
from tests.helpers import wait_until

MEMBER = [sys.executable, "-m", "gears", "_data", "_member", "--jobs=2"]
LONG_S = 60.0


class Desk:
    """What the processes of a test tell one another, and what the crew has said."""

    def __init__(self, top: Path) -> None:
        self.top, self.said, self.hosts = top, list[str](), list[str]()
        top.mkdir(exist_ok=True)

    def crew(self, *commands: list[str]) -> Crew:
        return Crew(commands or [MEMBER], self.said.append, self.hosts.extend)

    def tell(self, name: str) -> None:
        (self.top / name).touch()

    def has(self, name: str) -> bool:
        return (self.top / name).exists()

    def await_file(self, name: str) -> None:
        deadline = time.monotonic() + LONG_S
        while not self.has(name) and time.monotonic() < deadline:
            time.sleep(0.02)

    def done(self, words: str) -> bool:
        return any(words in said for said in self.said)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "desk")


def is_helper() -> bool:
    return MARK in os.environ


def note_and_wait(desk: Path, batch: Any) -> None:
    """A helper says that it has begun, and waits if it is told so; the run itself waits until a helper has begun."""
    at = Desk(desk)
    if is_helper():
        at.tell("helped")
        (at.top / "pids").open("a").write(f"{os.getppid()} {os.getpid()} {batch}\n")
        if at.has("hold"):
            at.await_file("go")
    else:
        at.await_file("helped")


class Square:
    """The work of the plain tests: `batch` squared, and whether a helper did it."""

    def __init__(self, desk: Path, pulse: Pulse | None = None) -> None:
        self.desk, self.pulse = desk, pulse

    def __call__(self, batch: int) -> tuple[int, bool]:
        note_and_wait(self.desk, batch)
        return batch * batch, is_helper()


class Failing(Square):
    """A node that lacks something: each batch fails there."""

    def __call__(self, batch: int) -> tuple[int, bool]:
        found = super().__call__(batch)
        if is_helper():
            raise FileNotFoundError("no such place here")
        return found


class Asked(Square):
    """Work that sees itself a reason to stop."""

    def __call__(self, batch: int) -> tuple[int, bool]:
        super().__call__(batch)
        raise Paused("its signals say so")


class Stoppable(Square):
    """Batches that end by the request to stop alone; a helper's say so."""

    def __call__(self, batch: int) -> tuple[int, bool]:
        at, pulse = Desk(self.desk), self.pulse
        assert pulse is not None
        at.tell("helped" if is_helper() else "here")
        pulse.add(10)
        deadline = time.monotonic() + LONG_S
        while not pulse.stopped and time.monotonic() < deadline:
            time.sleep(0.02)
        return batch, is_helper()


def squares(crew: Crew, work: Square, count: int = 40, is_doubtful: Callable[[Any], bool] = lambda _: False) -> Any:
    helpers = Helpers(crew, is_doubtful, work.pulse)
    results = list(workers.run_ordered(work, iter(range(count)), jobs=1, helpers=helpers))
    assert [value for value, _ in results] == [number * number for number in range(count)]
    return sum(helped for _, helped in results), helpers


def helpers_of(desk: Desk) -> list[tuple[int, int]]:
    """Each helper's process, and the one of its pool, that have begun a batch."""
    lines = (desk.top / "pids").read_text().splitlines() if desk.has("pids") else []
    return [(int(one), int(other)) for one, other, _ in (line.split(maxsplit=2) for line in lines)]


# --- results, failures, ends -----------------------------------------------------------------


def test_results_come_in_order_whoever_does_a_batch_and_a_crew_serves_several_runs(desk: Desk) -> None:
    with desk.crew() as crew:
        for _ in range(2):
            helped, helpers = squares(crew, Square(desk.top))
            assert helped > 0
            assert not helpers.lost
    host = os.uname().nodename
    assert desk.hosts == [host]
    assert desk.said[0] == f"{host} helps with 2 processes"
    assert all(said.startswith(f"batches that were done on other nodes: {host} ") for said in desk.said[1:])
    assert len(desk.said) == 3


def test_kill_9_of_a_helper_costs_its_batches_a_second_time_and_no_result(desk: Desk) -> None:
    desk.tell("hold")

    def kill() -> None:
        if desk.has("hold") and (found := helpers_of(desk)):
            os.kill(found[0][0], signal.SIGKILL)
            (desk.top / "hold").unlink()

    with desk.crew() as crew:
        helpers = Helpers(crew, lambda _: False)
        work = Square(desk.top)
        results = list(workers.run_ordered(work, iter(range(60)), jobs=1, helpers=helpers, on_wait=kill))
    assert [value for value, _ in results] == [number * number for number in range(60)]
    assert desk.done("has ended with -9; starting it again")
    assert {batch for _, batch in helpers.lost} <= set(range(60))
    assert helpers.lost
    first = helpers_of(desk)[0]
    assert wait_until(lambda: not any(alive(pid) for pid in first), 30, "the killed helper's processes are gone")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_helpers_that_do_nothing_are_given_up_and_the_run_does_it_all(desk: Desk) -> None:
    desk.tell("helped")
    with desk.crew([sys.executable, "-c", "raise SystemExit(3)"], ["/does/not/exist"]) as crew:
        helped, _ = squares(crew, Square(desk.top))
        assert helped == 0
        wait_until(lambda: sum("does not help" in said for said in desk.said) == 2, 30, "both are given up")
    assert desk.done("the node 2 of the job does not help: its helper has ended with 3; the other nodes go on")
    assert desk.done("does not help: its helper could not be started: /does/not/exist is not installed")


def test_what_fails_on_another_node_is_done_here_and_that_node_gets_no_more(desk: Desk) -> None:
    with desk.crew() as crew:
        helped, _ = squares(crew, Failing(desk.top))
    assert helped == 0
    assert desk.done("gets no more: no such place here")


def test_a_doubtful_result_of_another_node_is_looked_at_here(desk: Desk) -> None:
    with desk.crew() as crew:
        helped, _ = squares(crew, Square(desk.top), is_doubtful=lambda result: bool(result[1]))
    assert helped == 0


def test_a_request_to_stop_and_the_bytes_reach_the_other_end(desk: Desk) -> None:
    work = Stoppable(desk.top, Pulse())

    def look() -> None:
        assert work.pulse is not None
        if desk.has("helped") and work.pulse.far and work.pulse.moved >= 30:
            work.pulse.stop()

    with desk.crew() as crew:
        helpers = Helpers(crew, lambda _: True, work.pulse)  # once stopped, nothing is done again
        begun = time.monotonic()
        found = list(workers.run_ordered(work, iter(range(4)), jobs=1, helpers=helpers, on_wait=look))
    assert [batch for batch, _ in found] == [0, 1, 2, 3]
    assert any(helped for _, helped in found)
    assert time.monotonic() - begun < LONG_S / 2


def test_what_pauses_a_helper_pauses_the_run(desk: Desk) -> None:
    with desk.crew() as crew, pytest.raises(Paused, match="its signals say so"):
        squares(crew, Asked(desk.top))


LEADER = """\
import sys
from pathlib import Path
from tests.test_data_crew import Desk, Square, squares
if __name__ == "__main__":
    desk = Desk(Path(sys.argv[1]))
    with desk.crew() as crew:
        squares(crew, Square(desk.top))
"""


def test_helpers_end_with_the_run_also_by_kill_9(desk: Desk, tmp_path: Path) -> None:
    desk.tell("hold")
    (tmp_path / "script.py").write_text(LEADER)
    environ = {**os.environ, "PYTHONPATH": os.getcwd()}
    with subprocess.Popen([sys.executable, tmp_path / "script.py", desk.top], env=environ) as leader:
        wait_until(lambda: helpers_of(desk), 60, "the helper has begun")
        pids = {pid for pair in helpers_of(desk) for pid in pair}
        assert all(alive(pid) for pid in pids)
        leader.kill()
    wait_until(lambda: not any(alive(pid) for pid in pids), 30, "the helper and its processes are gone")


def test_a_channel_keeps_messages_whole_and_says_that_the_other_end_is_silent() -> None:
    reading, writing = os.pipe()
    channel = Channel(reading, writing)
    channel.send(Stop())
    channel.send(b"\n" * 1000)
    assert (channel.receive(), channel.receive(), channel.receive(0.05)) == (Stop(), b"\n" * 1000, None)
    os.close(writing)
    assert channel.receive() is None
    os.close(reading)


# --- which jobs have several nodes -----------------------------------------------------------

TRANSFER = Transfer(
    name="run7",
    verb=Verb.COPY,
    method=Method.TREE,
    source="/source",
    target="/target",
    source_path="/source",
    target_path="/target",
    host="login1",
    user="alice",
    created="2026-11-20T11:06:53Z",
)
BUNDLES = replace(TRANSFER, method=Method.BUNDLES, target="tape:run7")
GET = replace(BUNDLES, verb=Verb.GET, source="tape:run7", target="/target")
PLANNED: dict[str, tuple[str, Transfer, Verb, str, bool, bool]] = {
    # the scheduler, a transfer, what is done; why one node; whether its script starts tasks; whether it gets helpers
    "a copy": ("slurm", TRANSFER, Verb.COPY, "", False, True),
    "its verification": ("slurm", TRANSFER, Verb.VERIFY, "", False, True),
    "a put into bundles": ("slurm", replace(BUNDLES, verb=Verb.PUT), Verb.PUT, "", True, True),
    "reading it again": ("slurm", replace(BUNDLES, verb=Verb.PUT), Verb.VERIFY, "", False, True),
    "a get": (
        "slurm",
        replace(BUNDLES, verb=Verb.GET, source="tape:run7", target="/target"),
        Verb.GET,
        "",
        False,
        True,
    ),
    "a put by hsi": ("slurm", replace(BUNDLES, verb=Verb.PUT, target="deep:run7"), Verb.PUT, "", True, False),
    "reading it by hsi": (
        "slurm",
        replace(BUNDLES, verb=Verb.PUT, target="deep:run7"),
        Verb.VERIFY,
        "bundles that a program keeps are read by one node",
        False,
        False,
    ),
    "another scheduler": (
        "lsf",
        TRANSFER,
        Verb.COPY,
        "gears starts processes on the other nodes with Slurm only",
        False,
        False,
    ),
}


@pytest.mark.parametrize("case", PLANNED)
def test_which_jobs_ask_for_several_nodes(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, transfer, verb, why, has_tasks, has_helpers = PLANNED[case]
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "3")
    places = {"tape": Place("/tape", bundle_size="1GB"), "deep": Place("/deep", kind="hpss")}
    moved = TransferLimits(queue="dtn", nodes=3, walltime="01:00:00")
    site = Site("x", scheduler=Scheduler(kind), transfer=moved, filesystem=places)  # type: ignore[arg-type]
    context = Context(plan_route(site, this_host(), on_lab_host=True), RunDir(tmp_path, "x", tmp_path))
    context.paths.transfer("run7").mkdir(parents=True)
    records.save_transfer(context.paths, transfer)
    records.save_task(context.paths, "run7", Task(verb=verb, state=TaskState.QUEUED))
    assert batch.why_one_node(context, "run7") == why
    script = batch.render_script(context, "run7", "gears-data-1a2b")
    assert ("--nodes=3" in script) == (not why)
    assert ('"${1-}" = help' in script) == has_tasks
    commands = batch.helper_commands(context, "run7", 4)
    assert [command[:2] for command in commands] == [["srun", "--relative=1"], ["srun", "--relative=2"]] * has_helpers
    assert all(command[-3:] == ["_data", "_member", "--jobs=4"] for command in commands)
