"""Records of other versions, and of a disk that was full: what is there is read, the rest has its default."""

import json
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from gears.lab.state import Turn, load_lab, load_turn, load_up, note_up, save_lab, save_turn
from gears.sites.paths import RunDir
from gears.system.processes import Process
from gears.system.records import as_values, load, parse, save


class State(StrEnum):
    UP = "up"
    ENDED = "ended"


@dataclass(frozen=True)
class Inner:
    name: str
    when: float = 0.0


@dataclass(frozen=True)
class Outer:
    pid: int
    state: State = State.UP
    word: str | None = None
    inner: Inner | None = None
    crashes: tuple[float, ...] = ()
    profile: dict[str, Any] = field(default_factory=dict)
    asked: bool = False


WHOLE = Outer(7, State.ENDED, "x", Inner("y", 1.5), (1.0, 2.0), {"a": {"b": [1]}}, True)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    save(tmp_path / "record.json", WHOLE)
    assert load(Outer, tmp_path / "record.json") == WHOLE
    assert (tmp_path / "record.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"state": "up"}', '{"pid": "7"}', '{"pid": true}', '{"pid": null}']
)
def test_a_record_without_what_it_must_have_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(text)
    assert load(Outer, tmp_path / "record.json") is None
    assert load(Outer, tmp_path / "none.json") is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("state", "sideways"),
        ("word", 5),
        ("inner", {}),
        ("inner", "z"),
        ("crashes", 5),
        ("crashes", ["a"]),
        ("asked", 1),
    ],
)
def test_a_value_of_another_kind_has_the_default(key: str, value: object) -> None:
    found = parse(Outer, {**as_values(WHOLE), key: value, "new in a later version": 1})
    assert found is not None
    assert getattr(found, key) == getattr(Outer(7), key)
    assert found.pid == 7


def test_whole_numbers_are_times_too() -> None:
    assert parse(Inner, {"name": "n", "when": 3}) == Inner("n", 3.0)


# --- the records of gears -----------------------------------------------------------------------

LAB = """\
{"site": "andes", "host": "login1", "pid": 31, "start": "1919401", "port": 37039, "socket": "/tmp/g/andes.lab.1.sck",
 "version": "4.6.6", "started": "2026-11-27T02:19:37Z", "login": "token", "overridden": [], "unreachable": ["a"]}
"""
"""As version 0.1.0 writes it; at first without the last two."""


def test_a_lab_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    (tmp_path / "lab.json").write_text(LAB)
    lab = load_lab(tmp_path / "lab.json")
    assert lab is not None
    assert (lab.process, lab.port) == (Process("login1", 31, "1919401"), 37039)
    save_lab(tmp_path / "lab.json", lab)
    assert load_lab(tmp_path / "lab.json") == lab
    before = {key: value for key, value in json.loads(LAB).items() if key not in ("overridden", "unreachable")}
    (tmp_path / "lab.json").write_text(json.dumps(before))
    assert load_lab(tmp_path / "lab.json") == replace(lab, unreachable=())


def test_how_often_a_way_was_up(tmp_path: Path) -> None:
    paths = RunDir(tmp_path, "andes", tmp_path)
    paths.up.parent.mkdir(parents=True, exist_ok=True)
    assert load_up(paths).number is None
    paths.up.write_text('{"number": 3, "since": "2026-11-27T02:19:37Z", "times": 2}')
    note_up(paths, 4)
    assert (load_up(paths).number, load_up(paths).reconnects) == (4, 2)


TURNS = {
    "hop": """{"number": 4, "what": "hop", "ever_up": true, "failures": 2, "plan": "dial", "how": "batch",
               "ended": {"kind": "network", "reason": "login1: timed out", "next": "gears lab andes"},
               "pause_s": 1.07, "by": "address"}""",
    "lab": """{"number": 2, "what": "lab", "ended": null, "plan": "run", "pause_s": 0.0,
               "crashes": [], "never_up": 0}""",
    "job": """{"number": 3, "what": "job", "ever_up": true, "failures": 0, "lines": 4, "job": 1, "pause_s": 0.0,
               "ended_meeting": 0, "ended": null, "lost": null, "plan": "dial", "how": "batch", "node": "c1",
               "pid": "40", "start": "99"}""",
}
"""As version 0.1.0 wrote them, each with the keys it needed."""


@pytest.mark.parametrize("what", TURNS)
def test_a_loop_of_an_earlier_version_goes_on(what: str, tmp_path: Path) -> None:
    paths = RunDir(tmp_path, "andes", tmp_path)
    paths.turn.parent.mkdir(parents=True, exist_ok=True)
    paths.turn.write_text(TURNS[what])
    turn = load_turn(paths)
    save_turn(paths, turn)
    before, now = json.loads(TURNS[what]), json.loads(paths.turn.read_text())
    assert {key: now[key] for key in before} == before
    assert load_turn(paths) == turn
    paths.turn.write_text("")
    assert load_turn(paths) == Turn()
