"""Records of environments: on disk as earlier versions wrote them, and read whatever is missing or unknown."""

import json
from pathlib import Path
from typing import Any

import pytest

from gears.cli.env import _row
from gears.envs import registry
from gears.envs.archive import Pack, archive_of, load_pack, pack_names, save_pack
from gears.envs.paths import Place
from gears.envs.registry import Environment
from gears.envs.saved_spec import load_spec, save_spec
from gears.envs.spec import Spec
from gears.envs.tools import Order, Tool
from gears.system.records import as_values

GOLDEN = Path(__file__).parent / "golden"
PREFIX = Path("/home/alice/gears/run/envs/linux-x86_64/built/climate")
CLIMATE = Environment(
    name="climate",
    prefix=PREFIX,
    tool="uv",
    program="/home/alice/.local/bin/uv",
    source="/home/alice/requirements.txt",
    created="2026-11-27T02:19:37Z",
    state="making",
    maker="login1 31 1919401",
)


@pytest.fixture
def where(tmp_path: Path) -> Place:
    return Place(tmp_path)


def golden(name: str) -> str:
    return (GOLDEN / name).read_text()


def rewrite(file: Path, **values: Any) -> None:
    """Change keys of a record; None removes one."""
    changed = json.loads(file.read_text()) | values
    file.write_text(json.dumps({key: value for key, value in changed.items() if value is not None}))


def test_an_environment_is_on_disk_as_ever(where: Place) -> None:
    registry.save(where, CLIMATE)
    assert where.record("climate").read_text() == golden("environment.json")
    assert registry.load(where, "climate") == CLIMATE


def test_an_environment_of_another_version_is_read(where: Place) -> None:
    registry.save(where, CLIMATE)
    rewrite(where.record("climate"), maker=None, source=None, state=7, later="new")
    assert registry.load(where, "climate") == Environment(
        name="climate", prefix=PREFIX, tool="uv", program=CLIMATE.program, created=CLIMATE.created
    )


@pytest.mark.parametrize("key", ["name", "tool", "prefix"])
@pytest.mark.parametrize("value", [None, 5])
def test_an_environment_without_what_it_must_have_is_none(key: str, value: object, where: Place) -> None:
    registry.save(where, CLIMATE)
    rewrite(where.record("climate"), **{key: value})
    assert registry.load(where, "climate") is None
    assert list(registry.every(where)) == []


def test_keys_that_are_shown(where: Place) -> None:
    keys = [*json.loads(golden("environment.json")), "reason", "next", "kernel", "pack"]
    row = as_values(_row(CLIMATE, where))
    assert list(row) == keys
    assert (row["state"], row["kernel"], row["pack"]) == ("making", False, "")
    assert row["prefix"] == str(PREFIX)


def test_a_pack_is_on_disk_as_ever(tmp_path: Path) -> None:
    pack = Pack("climate", str(PREFIX), "venv", "0f2d5b7a91c3e486", 4, 900, "/usr/bin/python3.12", CLIMATE.created)
    save_pack(tmp_path, pack)
    assert (tmp_path / "climate.json").read_text() == golden("pack.json")
    assert load_pack(tmp_path, "climate") is None, "there is no archive"
    archive_of(tmp_path, "climate").write_bytes(b"1234")
    assert load_pack(tmp_path, "climate") == pack
    rewrite(tmp_path / "climate.json", later="new")
    assert load_pack(tmp_path, "climate") == pack
    rewrite(tmp_path / "climate.json", of=None)
    assert load_pack(tmp_path, "climate") is None
    assert pack_names(tmp_path) == ["climate"]


def test_a_specification_is_on_disk_as_ever(where: Place) -> None:
    spec = Spec("packages", packages=("numpy", "xarray>=2025.6"))
    save_spec(Order("climate", PREFIX, Tool("uv", "uv"), spec, where.spec("climate")))
    assert (where.spec("climate") / "spec.json").read_text() == golden("spec.json")
    assert load_spec("climate", where) == spec
    assert load_spec("none", where) == Spec("packages")


def test_a_specification_is_saved_with_its_file(where: Place, tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("numpy\n")
    save_spec(Order("climate", PREFIX, Tool("uv", "uv"), Spec("requirements", file), where.spec("climate")))
    file.unlink()
    saved = where.spec("climate") / "asked-requirements.txt"
    assert json.loads((where.spec("climate") / "spec.json").read_text()) == {
        "kind": "requirements",
        "packages": [],
        "file": str(saved),
    }
    assert load_spec("climate", where) == Spec("requirements", saved)
