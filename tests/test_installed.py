"""gears as `uv tool install` and pipx install it: away from any checkout, its files below ~/gears."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from zipfile import ZipFile

import pytest

import gears
from tests.environment import CHECKOUT
from tests.wheelhouse import SYSTEM_PYTHON, run

BUILD = "import sys; from flit_core import buildapi; print(buildapi.build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-c", BUILD, str(directory)]
    built = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=240, check=True)
    return directory / built.stdout.split()[-1]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command. What gears requires is taken from the environment of the tests."""
    prefix = tmp_path_factory.mktemp("installed") / "tool"
    run([str(SYSTEM_PYTHON), "-m", "venv", "--without-pip", str(prefix)])
    pip = [sys.executable, "-m", "pip", "--python", str(prefix / "bin/python")]
    run([*pip, "install", "-q", "--no-index", "--no-deps", str(wheel)])
    [packages] = prefix.glob("lib/python*/site-packages")
    (packages / "required.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return prefix / "bin" / "gears"


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "gears"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    with ZipFile(wheel) as archive:
        assert set(listed.stdout.split()) <= set(archive.namelist())


def test_it_works_from_anywhere_with_its_files_below_the_home(installed: Path, tmp_path: Path) -> None:
    def typed(words: str) -> str:
        environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
        command = [str(installed), *words.split()]
        done = subprocess.run(
            command, cwd="/", env=environment, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert typed("--version").split()[-1] == gears.__version__
    assert "andes" in typed("sites list")
    stanza = typed("ssh-config andes --user alice")
    assert "Host andes-jupyter\n" in stanza
    assert list(tmp_path.iterdir()) == []
    typed("ssh-config andes --user alice --write")
    assert stanza.splitlines()[0] in (tmp_path / ".ssh/config").read_text()
