"""A reader finds her way: how far she walks to follow `gears lab SITE` (`tests.house`); where a command's tests are."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gears.cli.registry import COMMANDS
from tests import house
from tests.conftest import LONGEST


def test_a_start_is_read_in_few_files() -> None:
    """Those that can't be read on their own. `python -m tests.house` prints the way."""
    way = house.plain_start(closed=house.references())
    assert len(way.files) <= 25, way.files
    assert way.climbs <= 22, way


def test_so_it_is_with_all_that_it_refers_to() -> None:
    way = house.plain_start()
    assert len(way.files) <= 50, way.files
    assert way.climbs <= 40, way


def test_the_longest_files_are_there() -> None:
    assert [name for name in LONGEST if not (house.ROOT / f"tests/test_{name}.py").exists()] == []


WITH_THE_LAB = ("stop", "url", "logs", "attach", "password")
"""Commands that need a lab that is up, and are short: their tests are in test_lab_local.py."""


@pytest.mark.parametrize("command", [name for name, (_, summary) in COMMANDS.items() if summary])
def test_the_tests_of_a_command_have_its_name(command: str) -> None:
    if command in WITH_THE_LAB:
        assert f'"{command}' in (house.ROOT / "tests/test_lab_local.py").read_text()
    else:
        module = COMMANDS[command][0]
        assert list((house.ROOT / "tests").glob(f"test_{module}*.py"))


SMALL = {
    "cli/lab.py": """
from gears.lab.start import start

def do_lab(args):
    from gears.lab import wait as later
    start(args)
    later.TABLE["up"](args)
""",
    "lab/start.py": """
from gears.errors import Failed
from gears.lab.wait import Waiting, note
from gears.system import files

def start(args):
    waiting = Waiting(args)
    _check(waiting)
    try:
        files.write(waiting.path)
    except OSError as error:
        raise Failed(error) from note(error)

def _check(waiting: Waiting | None):
    assert waiting and waiting.until_up()
    _check(waiting)
""",
    "lab/wait.py": """
from gears.system import files

class Waiting:
    def __init__(self, args):
        self.args = args

    @property
    def path(self):
        return note(self)

    def until_up(self):
        return files.read(self.args)

def note(what): ...
def up(args): ...

TABLE = {"up": up}
""",
    "system/files.py": "def write(path): ...\ndef read(path): ...\n",
    "errors.py": "class Failed(Exception):\n    def __init__(self, error): ...\n",
}


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, text in SMALL.items():
        (tmp_path / "gears" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "gears" / name).write_text(text)
    monkeypatch.setattr(house, "ROOT", tmp_path)
    house.forget()
    yield
    house.forget()


@pytest.mark.usefixtures("small")
def test_the_way_is_in_the_order_of_the_text_without_what_fails() -> None:
    way = house.plain_start()
    assert [(step.depth, *step.key, step.turn) for step in way.steps] == [
        (0, "gears.cli.lab", "do_lab", ""),
        (1, "gears.lab.start", "start", ""),
        (2, "gears.lab.wait", "Waiting.__init__", ""),
        (2, "gears.lab.start", "_check", "climb"),
        (3, "gears.lab.wait", "Waiting.until_up", "return"),
        (4, "gears.system.files", "read", ""),
        (2, "gears.system.files", "write", ""),
        (1, "gears.lab.wait", "up", "return"),
    ]
    assert str(way) == "8 functions in 4 files; 1 climbs, 2 returns"


@pytest.mark.usefixtures("small")
def test_references_call_no_other_file_but_the_doors() -> None:
    assert sorted(house.references()) == ["gears.errors", "gears.lab.wait", "gears.system", "gears.system.files"]
    assert house.plain_start(closed=house.references()).files == ["gears.cli.lab", "gears.lab.start"]
