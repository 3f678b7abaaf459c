"""Copies, gets and verifications with a helper are what they are without one, also if it is killed in the middle."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gears.data import engine, pulse, run, verification
from gears.data.bundles import get, getting, put, verify
from gears.data.crew import Crew
from gears.data.manifest import check
from gears.data.stores.posix import PosixStore
from gears.data.verification import DIFFERENT
from gears.errors import Paused
from tests import trees
from tests.conftest import skip_or_fail
from tests.helpers import wait_until
from tests.test_data_engine import temporaries

START = 'echo $$ >"$1.new"; mv "$1.new" "$1"; shift; exec "$@"'


class Helped:
    """A source with every kind of file and some more, and a crew of one helper."""

    def __init__(self, top: Path) -> None:
        self.source, self.copy, self.record = top / "source", top / "copy", top / "records/run7"
        self.store, self.state, self.got = PosixStore(top / "store"), top / "state", top / "got"
        self.said, self.pid_path = list[str](), top / "pid"
        self._stopped = 0
        without = ["deep", "special", *([] if trees.has_attributes(top) else ["attributes", "acls"])]
        trees.make(self.source, without=without)
        self.add("more", 120)

    def add(self, name: str, count: int) -> None:
        for number in range(count):
            (self.source / f"{name}-{number:03}").write_bytes(os.urandom(20_000))

    def crew(self) -> Crew:
        member = [sys.executable, "-m", "gears", "_data", "_member", "--jobs=1"]
        return Crew([["/bin/sh", "-c", START, "-", str(self.pid_path), *member]], self.said.append, lambda _: None)

    def await_helper(self, done: bool) -> None:
        """Once something is done: wait until the helper is there, so that it gets a part of the rest."""
        if done:
            wait_until(lambda: any("helps with" in one for one in self.said), 60, "a helper is there")

    def kill(self, done: bool) -> None:
        """Halt the helper, so that what it is given stays in its hand, and kill it later; once."""
        self.await_helper(done)
        if not done or self._stopped > 3:
            return
        pid = int(self.pid_path.read_text())
        os.kill(pid, signal.SIGSTOP if self._stopped == 0 else signal.SIGKILL if self._stopped == 3 else 0)
        self._stopped += 1

    def check_helped(self) -> None:
        assert any(one.startswith("batches that were done on other nodes: ") for one in self.said), self.said

    def check_killed(self) -> None:
        assert any(one.endswith("has ended with -9; starting it again") for one in self.said), self.said

    def copy_tree(self, crew: Crew | None, on_progress: Callable[[Any], None], **options: Any) -> Any:
        return engine.copy_tree(
            self.source, self.copy, self.record, jobs=1, on_progress=on_progress, crew=crew, **options
        )

    def check_copied(self) -> None:
        check(self.record)
        assert trees.compare(self.source, self.copy) == []
        assert not temporaries(self.copy)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Helped:
    monkeypatch.setattr(run, "BATCH_FILES", 4)  # a helper gets some of few files
    monkeypatch.setattr(verification, "BATCH_FILES", 4)
    monkeypatch.setattr(getting, "PART_FILES", 6)
    if os.geteuid() != 0:
        skip_or_fail("the tree has files of other owners")
    return Helped(tmp_path)


def test_a_copy_and_its_verification_with_a_helper(place: Helped) -> None:
    with place.crew() as crew:
        tally = place.copy_tree(crew, lambda now: place.await_helper(now.copied > 0))
        place.check_helped()
        place.check_copied()
        alone = engine.copy_tree(place.source, place.copy, place.record, jobs=1)
        assert (alone.files, alone.size, alone.entries) == (tally.files, tally.size, tally.entries)
        assert (alone.copied, alone.reused) == (0, tally.copied)
        place.said.clear()
        verified = verification.verify(place.record, place.copy, jobs=1, crew=crew)
        place.check_helped()
        assert verified.whole
        assert not verified.differences
        (place.copy / "more-111").write_bytes(os.urandom(20_000))
        found = verification.verify(place.record, place.copy, jobs=1, crew=crew)
    assert [(one.path, one.kind) for one in found.named if one.kind == DIFFERENT] == [(b"more-111", DIFFERENT)]
    assert found.entries == verified.entries - 1


def test_kill_9_of_the_helper_of_a_copy(place: Helped) -> None:
    with place.crew() as crew:
        tally = place.copy_tree(crew, lambda now: place.kill(now.copied > 0))
        assert tally.complete
    place.check_killed()
    place.check_copied()


def test_a_pause_reaches_the_helper_and_the_same_call_goes_on(place: Helped, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "EVERY_S", 0.0)  # the run asks after each batch
    place.add("later", 400)  # more than twice as many batches as may be under way: two runs can't finish them
    stop, copied = "", 0

    def note(now: Any) -> None:
        nonlocal stop, copied
        place.await_helper(now.copied > 0)
        stop, copied = "the job ends" if now.copied > 20 else "", now.copied

    for _ in range(2):  # the second run has what the first one has left
        with place.crew() as crew, pytest.raises(Paused):
            place.copy_tree(crew, note, must_stop=lambda: stop)
        assert not temporaries(place.copy)
        place.said.clear()
    tally = place.copy_tree(None, lambda _: None)
    assert tally.reused >= copied
    place.check_copied()


def test_bundles_are_got_and_verified_with_a_helper_that_is_killed(place: Helped) -> None:
    put(place.source, place.store, place.state, bundle_size=100_000, jobs=2)
    with place.crew() as crew:
        tally = get(
            place.store,
            place.copy,
            place.got,
            jobs=1,
            on_progress=lambda now: place.kill(now.copied > 0),
            crew=crew,
        )
        assert tally.complete
        place.check_killed()
        assert trees.compare(place.source, place.copy) == []
        assert not temporaries(place.copy)
        assert get(place.store, place.copy, place.got, jobs=1, crew=crew).copied == 0
        wait_until(lambda: sum("helps with" in one for one in place.said) == 2, 60, "it is there again")
        place.said.clear()
        assert verify(place.store, place.state, jobs=1, crew=crew).whole
    place.check_helped()
