"""`gears env verify` finds what a purge or a broken installation left, and what it says mends it does."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gears.envs import metadata
from gears.envs.registry import Environment
from gears.envs.report import Report, as_text, plan_repair
from gears.envs.verify import verify
from tests.wheelhouse import make_conda_prefix, make_venv, make_wheel, run

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
SITE = f"lib/python{VERSION}/site-packages"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    room = tmp_path_factory.mktemp("pristine")
    wants = {"sand": "Salt>=0.5; python_version >= '3'", "salt": "pepper; extra == 'hot'"}
    wheels = [make_wheel(room / "wheels", name, "1.0", modules=20, requires=wants[name]) for name in wants]
    return make_venv(room / "env", *wheels)


@pytest.fixture
def prefix(pristine: Path) -> Iterator[Path]:
    """The same environment for each test, at the same path, for its scripts name that. pip in it is left alone."""
    kept = pristine.with_name("kept")
    copy(pristine, kept)
    yield pristine
    for path in mine(pristine):
        shutil.rmtree(path)
    copy(kept, pristine)
    shutil.rmtree(kept)


def mine(prefix: Path) -> list[Path]:
    """What the tests change."""
    return [prefix / "bin", *(path for path in (prefix / SITE).iterdir() if path.name.startswith(("sa", "~")))]


def copy(here: Path, there: Path) -> None:
    for path in mine(here):
        shutil.copytree(path, there / path.relative_to(here), symlinks=True)


def made_by_venv(report: Report) -> Environment:
    return Environment(name="e", prefix=Path(report.prefix), tool="venv")


def mend(report: Report, pristine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Type what is said, with an index that is a directory."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(pristine.with_name("wheels")))
    for command in plan_repair(report, made_by_venv(report)):
        run(command)


def names(report: Report) -> list[str]:
    return [broken.name for broken in report.broken]


def test_a_whole_environment(prefix: Path) -> None:
    report = verify(prefix, hashes=True)

    assert report.whole
    assert report.files > 400, "pip is among them"
    assert "all present" in as_text(report, "e", [])


def test_a_purge_by_age(prefix: Path, pristine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules that nobody used for long are removed, among them such as make a package unusable to its manager."""
    for path in ("sand/part7.py", "sand/part8.py", "salt-1.0.dist-info/RECORD", "salt-1.0.dist-info/METADATA"):
        (prefix / SITE / path).unlink()

    report = verify(prefix)

    assert names(report) == ["salt", "sand"]
    text = as_text(report, "e", plan_repair(report, made_by_venv(report)))
    assert "sand 1.0: 2 of " in text
    assert f"{SITE}/sand/part7.py (missing)" in text
    mend(report, pristine, monkeypatch)
    assert verify(prefix, hashes=True).whole
    assert run([f"{prefix}/bin/sand"]) == "sand 1.0\n"


def test_a_package_without_a_trace(prefix: Path, pristine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a purge takes empty directories too. That one is gone is told by another that needs it."""
    for path in [*(prefix / SITE).glob("salt*"), prefix / "bin/salt"]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    report = verify(prefix)

    assert [(absent.name, absent.wanted, absent.needed_by) for absent in report.absent] == [
        ("Salt", "Salt>=0.5", "sand")
    ]
    assert not report.unusable
    assert "Salt is missing, and sand requires it" in as_text(report, "e", [])
    mend(report, pristine, monkeypatch)
    assert verify(prefix, hashes=True).whole


def test_changed_files(prefix: Path) -> None:
    """Of the same size only by their hash; bytecode is nobody's loss."""
    (prefix / SITE / "sand/part1.py").write_text("VALUE = 1 + 1\n")
    (prefix / SITE / "salt/part1.py").write_text("VALUE = 9\n")
    for compiled in (prefix / SITE).glob("sand/__pycache__/*.pyc"):
        compiled.unlink()

    assert [(broken.name, broken.faults[0].what) for broken in verify(prefix).broken] == [("sand", "size")]
    found = {broken.name: broken.faults[0].what for broken in verify(prefix, hashes=True).broken}
    assert found == {"sand": "size", "salt": "hash"}


def test_an_installation_that_broke_off(prefix: Path, pristine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip sets the old package aside under a name with ~, and is killed."""
    os.rename(prefix / SITE / "sand", prefix / SITE / "~and")
    os.rename(prefix / SITE / "sand-1.0.dist-info", prefix / SITE / "~and-1.0.dist-info")

    report = verify(prefix)

    assert [Path(path).name for path in report.leftovers] == ["~and", "~and-1.0.dist-info"]
    mend(report, pristine, monkeypatch)
    assert verify(prefix).whole
    assert run([f"{prefix}/bin/sand"]) == "sand 1.0\n"


def test_a_moved_environment(prefix: Path, pristine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its scripts name an interpreter that is gone."""
    moved = prefix.with_name("moved")
    os.rename(prefix, moved)
    try:
        report = verify(moved)
        assert {"sand", "salt", "pip"} == set(names(report))
        assert report.broken[-1].faults[0].what == f"{prefix}/bin/python"
        assert "is gone" in as_text(report, "e", [])
    finally:
        os.rename(moved, prefix)


def test_the_interpreter_is_gone_or_another(prefix: Path) -> None:
    (prefix / "bin/python").unlink()
    (prefix / "bin/python").symlink_to(prefix / "no-such-python")
    report = verify(prefix)
    assert report.interpreter == f"{prefix}/no-such-python is gone"
    assert [command[:3] for command in plan_repair(report, made_by_venv(report))] == [
        ["gears", "env", "remove"],
        ["gears", "env", "create"],
    ]

    (prefix / "bin/python").unlink()
    (prefix / "bin/python").write_text("#!/bin/sh\necho 3.4\n")
    (prefix / "bin/python").chmod(0o755)
    assert "is Python 3.4 now" in str(verify(prefix).interpreter)

    (prefix / "bin/python").write_text("#!/bin/sh\necho no libpython >&2; exit 127\n")
    assert "no libpython" in str(verify(prefix).interpreter)


def test_a_script_of_nobody(prefix: Path) -> None:
    (prefix / "bin/mine").write_text("#!/nowhere/bin/python3\n")

    report = verify(prefix)

    assert (report.broken, report.scripts[0].what) == ((), "/nowhere/bin/python3")
    assert "bin/mine: /nowhere/bin/python3 is gone" in as_text(report, "e", [])


def test_conda_records(tmp_path: Path) -> None:
    """A text into which the prefix was written has another size than its package says, and a hash of its own."""
    prefix = make_conda_prefix(tmp_path / "env", "silt", "2.0", depends=["quartz >=1", "__glibc >=2.17"])
    make_conda_prefix(prefix, "quartz", "1.5")
    assert verify(prefix, hashes=True).whole
    (prefix / "conda-meta/quartz-1.5-0.json").unlink()

    (prefix / "bin/silt").write_text("#!/bin/sh\n")
    module = prefix / "lib/python3.11/site-packages/silt.py"
    module.unlink()

    report = verify(prefix, hashes=True)
    assert {fault.what for fault in report.broken[0].faults} == {"missing", "hash"}
    assert [(absent.name, absent.needed_by) for absent in report.absent] == [("quartz", "silt")]
    repair = plan_repair(report, Environment(name="e", prefix=prefix, tool="micromamba", program="/opt/micromamba"))
    install = ["/opt/micromamba", "install", "-p", str(prefix)]
    assert repair == [[*install, "--force-reinstall", "silt=2.0"], [*install, "quartz"]]

    (prefix / "conda-meta/silt-2.0-0.json").write_text('{"name": "si')
    assert [(broken.name, broken.version) for broken in verify(prefix).broken] == [("silt", "2.0")]


@pytest.mark.parametrize(
    ("head", "interpreter"),
    [
        ("#!/home/a/env/bin/python\nimport x", "/home/a/env/bin/python"),
        ("#!/bin/sh\n'''exec' \"/home/a b/env/bin/python\" \"$0\" \"$@\"\n' '''", "/home/a b/env/bin/python"),
        ("#!/bin/sh\n'''exec' /home/a/env/bin/python \"$0\" \"$@\"\n' '''", "/home/a/env/bin/python"),
        ('#!/bin/sh\n\'\'\'exec\' "$(dirname -- "$(realpath -- "$0")")"/\'python\' "$0" "$@"\n', None),
        ("#!/usr/bin/env python3\n", None),
        ("#! /bin/bash -e\n", "/bin/bash"),
        ("\x7fELF", None),
    ],
)
def test_whom_a_script_names(head: str, interpreter: str | None) -> None:
    assert metadata.script_interpreter(head) == interpreter


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ('{"url": "file:///home/a/src", "dir_info": {"editable": true}}', "--editable=/home/a/src"),
        ('{"url": "file:///w/x-1.0-py3-none-any.whl", "archive_info": {}}', "x @ file:///w/x-1.0-py3-none-any.whl"),
        (
            '{"url": "https://git.example/x", "vcs_info": {"vcs": "git", "commit_id": "abc"}}',
            "x @ git+https://git.example/x@abc",
        ),
        ("", ""),
    ],
)
def test_where_a_package_came_from(text: str, origin: str) -> None:
    assert metadata.read_origin(text, "x") == origin
