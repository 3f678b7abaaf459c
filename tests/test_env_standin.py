"""What tests of environments stand on: a channel made on the spot, and a stand-in that answers as micromamba does."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests import standins
from tests.channel import make_channel
from tests.repacked import sample
from tests.wheelhouse import SYSTEM_PYTHON

Said = subprocess.CompletedProcess[str]


class Room:
    """A channel with two packages, and who asks for them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        packages = [*(sample("sand", version) for version in ("1.0", "2.0", "3.0")), sample("salt", "1.0")]
        self.channel = make_channel(directory / "channel", SYSTEM_PYTHON, packages)
        self.program = standins.install_micromamba(directory / "bin")

    def run(self, *words: str | Path) -> Said:
        clean = os.environ | {"CONDA_PKGS_DIRS": str(self.directory / "pkgs")}
        return subprocess.run([self.program, *words], env=clean, capture_output=True, text=True, timeout=240)

    def write(self, *dependencies: str) -> Path:
        file = self.directory / "environment.yml"
        lines = "".join(f"  - {dependency}\n" for dependency in dependencies)
        file.write_text(f"name: sandy\nchannels:\n  - {self.channel}\ndependencies:\n{lines}")
        return file

    def versions(self, prefix: Path) -> dict[str, str]:
        listed = json.loads(self.run("list", "--prefix", prefix, "--json").stdout)
        return {one["name"]: one["version"] for one in listed}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    return Room(tmp_path_factory.mktemp("room"))


@pytest.fixture
def prefix(room: Room, tmp_path: Path) -> Path:
    prefix = tmp_path / "env"
    done = room.run("create", "--yes", "--prefix", prefix, "--file", room.write("python", "sand <3"))
    assert done.returncode == 0, done.stderr
    return prefix


def test_from_a_file(room: Room, prefix: Path) -> None:
    assert {"sand": "2.0"}.items() <= room.versions(prefix).items()
    assert subprocess.check_output([prefix / "bin/sand"], text=True, timeout=240) == "sand 2.0\n"
    where = subprocess.check_output([prefix / "bin/python", "-c", "import sys; print(sys.prefix)"], text=True)
    assert where == f"{prefix}\n"
    assert (prefix / "lib").stat().st_dev == (room.directory / "pkgs").stat().st_dev
    module = next(prefix.glob("lib/python3*/site-packages/sand/__init__.py"))
    assert module.stat().st_nlink > 1, "a hard link to the package cache"


def test_what_is_asked_for_later_keeps_what_was_asked_for_before(room: Room, prefix: Path) -> None:
    more = ("--yes", "--prefix", prefix, "--channel", room.channel)
    assert room.run("install", *more, "salt").returncode == 0
    assert room.versions(prefix)["salt"] == "1.0"
    assert room.run("update", *more, "--all").returncode == 0
    assert (room.versions(prefix)["sand"], room.versions(prefix)["salt"]) == ("2.0", "1.0")
    assert "sand <3" in room.run("env", "export", "--prefix", prefix, "--from-history").stdout


def test_a_new_file_is_installed_and_then_all_is_updated(room: Room, prefix: Path) -> None:
    """By install; update takes no notice of what is not there, and env update of what satisfies the file."""
    file = ("--yes", "--prefix", prefix, "--file", room.write("python", "sand", "salt"))
    assert "already installed" in room.run("update", *file[:3], "--channel", room.channel, "salt").stdout
    assert room.run("update", *file).returncode == 0
    assert "salt" not in room.versions(prefix)
    assert room.run("env", "update", *file).returncode == 0
    assert room.versions(prefix)["salt"] == "1.0"
    assert room.run("install", *file).returncode == 0
    assert room.run("update", *file[:3], "--channel", room.channel, "--all").returncode == 0
    assert room.versions(prefix)["sand"] == "3.0"


def test_an_export_makes_the_same_again(room: Room, prefix: Path, tmp_path: Path) -> None:
    exported = tmp_path / "exported.yml"
    exported.write_text(room.run("env", "export", "--prefix", prefix).stdout)
    assert room.run("create", "--yes", "--prefix", tmp_path / "again", "--file", exported).returncode == 0
    assert room.versions(tmp_path / "again") == room.versions(prefix)
    assert room.run("create", "--yes", "--prefix", prefix, "--file", exported).returncode == 0, "overwritten"


def test_refusals(room: Room, tmp_path: Path) -> None:
    """As micromamba words them, always with 1, and without a prefix left."""
    prefix = tmp_path / "env"
    create = ("create", "--yes", "--prefix", prefix)
    impossible = room.run(*create, "--channel", room.channel, "sand ==1.0", "sand ==2.0")
    assert "error    libmamba Could not solve for environment specs\n" in impossible.stderr
    assert impossible.stderr.endswith("critical libmamba Could not solve for environment specs\n")
    unknown = room.run(*create, "--channel", room.channel, "gravel")
    assert "gravel" in unknown.stderr
    nowhere = room.run(*create, "--channel", f"file://{tmp_path}/nowhere", "sand")
    assert "repodata.json" in nowhere.stderr
    missing = room.run(*create, "--file", tmp_path / "none.yml")
    assert missing.stderr.endswith("critical libmamba File not found. Aborting.\n")
    assert {done.returncode for done in (impossible, unknown, nowhere, missing)} == {1}
    assert not prefix.exists()
    prefix.mkdir()
    assert "Non-conda folder exists at prefix" in room.run(*create, "--channel", room.channel, "sand").stderr
    assert room.run("list", "--prefix", tmp_path / "none").returncode == 1


def test_it_says_what_it_is(room: Room) -> None:
    assert room.run("--version").stdout.startswith("2.")
