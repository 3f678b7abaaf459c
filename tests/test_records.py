"""Records of other versions, and of a disk that was full: what is there is read, the rest has its default."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from gears.records import as_values, load, parse, save


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
