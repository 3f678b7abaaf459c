"""Makefile, without network: what each target would run."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.environment import CHECKOUT, copy_checkout, make_current, write_program

FOR_ALL = ["help", "init", "extensions", "fini", "env", "lab", "lab-shutdown"]
FOR_ALL += ["ssh-config", "password", "status", "doctor"]
TARGETS = [*FOR_ALL, "test", "check", "format", "docs", "centre", "bench", "labextension", "lock", "clean"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return copy_checkout(tmp_path / "gears")


def make(checkout: Path, *words: str) -> str:
    """What make says. Variables of a make that runs these tests are kept from it."""
    command = ["make", "--no-print-directory", *words]
    settings = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(command, cwd=checkout, env=settings, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_is_the_default_and_lists_every_target() -> None:
    listed = re.findall(r"^  make (\S+) +\S", make(CHECKOUT), flags=re.MULTILINE)
    assert sorted(listed) == sorted([*TARGETS, "NAME-lab", "NAME-lab-shutdown"])
    assert make(CHECKOUT, "help") == make(CHECKOUT)


@pytest.mark.parametrize("target", TARGETS)
def test_each_target_is_one_line_and_its_environment(target: str) -> None:
    lines = make(CHECKOUT, "-n", "SHELL=/bin/dash", target).splitlines()
    parts = {"check": 5, "format": 2, "docs": 2}.get(target, 1)
    assert len([line for line in lines if "--quiet" not in line]) == parts
    assert not any(line.endswith("\\") for line in lines)


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["lab"], "gears lab"),
        (["lab-shutdown"], "gears stop"),
        (["andes-lab"], "gears lab 'andes'"),
        (["andes-lab", "JOB=1"], "gears lab --job 'andes'"),
        (["andes-lab", "JOB=1", "ARGS=-A abc123 -t 02:00:00"], "gears lab --job -A abc123 -t 02:00:00 'andes'"),
        (["andes-lab-shutdown"], "gears stop 'andes'"),
        (["my-own-site-lab"], "gears lab 'my-own-site'"),
        (["../x-lab"], "gears lab '../x'"),
        (["ssh-config", "SITE=andes", "ARGS=--write"], "gears ssh-config --write andes"),
        (["status", "SITE=andes"], "gears status andes"),
        (["doctor", "SITE=andes"], "gears doctor andes"),
        (["password"], "gears password"),
    ],
)
def test_what_a_target_runs(words: list[str], command: str) -> None:
    init_line, line = make(CHECKOUT, "-n", *words).splitlines()
    assert init_line == "envs/init.sh --quiet"
    assert " ".join(line.split()) == f".venv/bin/{command}"


def test_files_named_like_targets_hide_none(checkout: Path) -> None:
    for name in ("lab", "status", "andes-lab", "andes-lab-shutdown", "test", "init"):
        (checkout / name).touch()
        assert make(checkout, "-n", name).strip()


def test_a_target_makes_the_environment_first(checkout: Path) -> None:
    make_current(checkout)
    write_program(checkout / ".venv/bin/gears", 'echo "gears $*"')
    assert make(checkout, "andes-lab").split() == ["gears", "lab", "andes"]


def test_clean_removes_caches_and_nothing_else(checkout: Path) -> None:
    (checkout / "gears/__pycache__").mkdir()
    (checkout / ".mypy_cache").mkdir()
    (checkout / "tests").mkdir()
    make(checkout, "clean")
    left = {path.name for path in checkout.iterdir()}
    assert left == {"Makefile", "pyproject.toml", "LICENSE", "gears", "envs", "run", "tests"}
    assert [path.name for path in (checkout / "gears").iterdir()] == ["__init__.py"]
