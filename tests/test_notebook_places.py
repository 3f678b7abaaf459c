"""`gears.places`: paths in notebooks of any environment, and errors that say what to do."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gears import places
from gears.dask.config_files import ensure_config
from gears.sites import load
from gears.sites.directories import open_records
from gears.sites.load import load_site
from gears.sites.paths import RunDir
from tests.wheelhouse import SYSTEM_PYTHON

ROOT = Path(__file__).parents[1]
PROFILE = """
[filesystem]
scratch = "/scratch/me"
[filesystem.team-data]
path = "/projects/{project}"
[filesystem.archive]
path = "tape:runs"
kind = "rclone"
[filesystem.none]
path = ""
"""


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own profile of the site x, and nothing started yet."""
    for name in ("GEARS_SITE", "DASK_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GEARS_HOME", str(tmp_path / "gears"))
    monkeypatch.setattr(load, "SYSTEM", tmp_path / "etc")
    file = tmp_path / ".config/gears/sites/x.toml"
    file.parent.mkdir(parents=True)
    file.write_text(PROFILE)
    (tmp_path / "gears").mkdir()
    return file


@pytest.fixture
def started(profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """As in a lab, a shell or a run."""
    paths = open_records(tmp_path / "gears", "x", str(tmp_path), "alice")
    ensure_config(load_site("x"), paths)
    monkeypatch.setenv("GEARS_SITE", "x")
    monkeypatch.setenv("DASK_CONFIG", str(paths.dask_config))
    return paths


@pytest.mark.usefixtures("started")
def test_a_place_is_a_path() -> None:
    assert places.scratch / "run7" == Path("/scratch/me/run7")
    assert places.home == Path(os.environ["HOME"])
    assert dir(places) == ["home", "scratch", "team_data"]
    assert repr(places).splitlines()[0] == "places of x"


@pytest.mark.usefixtures("started")
def test_an_unknown_place_names_those_that_there_are() -> None:
    with pytest.raises(AttributeError, match="no place 'scrath' at x; places: home, scratch, team-data, archive\n"):
        _ = places.scrath
    with pytest.raises(KeyError):
        _ = places["scrath"]
    assert not hasattr(places, "none")
    assert not hasattr(places, "__wrapped__")


@pytest.mark.usefixtures("started")
def test_a_place_that_is_no_directory_says_how_data_comes_from_it() -> None:
    with pytest.raises(
        AttributeError, match="no directory, but rclone\n  next: gears data get archive:NAME --to scratch"
    ):
        _ = places.archive


def test_a_place_that_needs_a_project_says_so_until_there_is_one(started: RunDir, profile: Path) -> None:
    with pytest.raises(AttributeError, match=r"`project` is not set\n.*sites/x.toml"):
        _ = places.team_data
    profile.write_text(f'project = "abc"\n{PROFILE}')
    ensure_config(load_site("x"), started)
    assert places.team_data == places["team-data"] == Path("/projects/abc")
    assert started.places.stat().st_mode & 0o777 == 0o600


def test_a_worker_knows_the_site_by_its_configuration(started: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEARS_SITE")
    monkeypatch.delenv("GEARS_HOME")
    assert places.scratch == Path("/scratch/me")


@pytest.mark.usefixtures("profile")
def test_without_a_start_the_profile_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEARS_SITE", "x")
    assert places.scratch == Path("/scratch/me")
    monkeypatch.setenv("GEARS_SITE", "missing")
    with pytest.raises(
        AttributeError, match="no lab, shell or run of gears was started here\n  next: gears data places"
    ):
        _ = places.scratch


@pytest.mark.usefixtures("started")
def test_the_tab_key_completes_names() -> None:
    code = (
        "from IPython.core.completer import provisionalcompleter\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell(); shell.run_cell('from gears import places')\n"
        "with provisionalcompleter():\n"
        "    print([found.text for found in shell.Completer.completions('places.s', 8)])"
    )
    assert run(sys.executable, code) == "['scratch']"


def run(python: str, code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=240, env=environment)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.mark.usefixtures("started")
def test_an_environment_without_any_package_has_them() -> None:
    code = "from gears import places; print(places.scratch, 'gears.sites' in __import__('sys').modules)"
    assert run(str(SYSTEM_PYTHON), code) == "/scratch/me False"


def test_it_imports_the_standard_library_only_and_is_read_by_an_old_python() -> None:
    tree = ast.parse(Path(str(places.__file__)).read_text(), feature_version=(3, 9))
    names = {name.name for node in tree.body if isinstance(node, ast.Import) for name in node.names}
    names |= {str(node.module) for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_a_damaged_file_is_not_used(started: RunDir) -> None:
    started.places.write_text(json.dumps({"site": "x"}))
    assert places.scratch == Path("/scratch/me")  # from the profile
