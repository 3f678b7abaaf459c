"""Records of `gears run` and `gears shell`: those of earlier versions are read, and keep their keys."""

import json
from pathlib import Path

import pytest

from gears.sessions.records import RunRecord, load_run, load_shell_host, save_run, save_shell_host
from gears.sites.paths import RunDir

RUN = '{"host": "login1", "started": "2026-11-27T02:19:37Z", "argv": ["sh", "-c", "echo one; sleep 9"]}'
SHELL = '{"host": "login1"}'
"""As version 0.1.0 writes them."""


@pytest.fixture
def paths(tmp_path: Path) -> RunDir:
    paths = RunDir(tmp_path, "andes", tmp_path)
    paths.runs.mkdir(parents=True)
    return paths


def test_a_run_of_an_earlier_version_is_found(paths: RunDir) -> None:
    file = paths.run_file(3, "json")
    file.write_text(RUN)
    run = load_run(paths, 3)
    assert run == RunRecord("login1", "2026-11-27T02:19:37Z", ("sh", "-c", "echo one; sleep 9"))
    save_run(paths, 3, run)
    assert json.loads(file.read_text()) == json.loads(RUN)
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "{", "{}", '{"host": "login1"}'])
def test_a_number_that_is_only_claimed_is_no_run(text: str, paths: RunDir) -> None:
    paths.run_file(3, "json").write_text(text)
    assert load_run(paths, 3) is None
    assert load_run(paths, 4) is None


def test_a_shell_of_an_earlier_version_is_found(paths: RunDir) -> None:
    assert load_shell_host(paths) is None
    paths.shell_record.write_text(SHELL)
    assert load_shell_host(paths) == "login1"
    save_shell_host(paths, "login2")
    assert json.loads(paths.shell_record.read_text()) == {"host": "login2"}
    paths.shell_record.write_text('{"host": ""}')
    assert load_shell_host(paths) is None
