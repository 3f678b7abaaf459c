"""Compressed copies without a server: how they are made, bounded, replaced; and what belongs to which JupyterLab."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gears.lab.jupyter import first_page
from gears.lab.jupyter.compressed import Store, accepted
from gears.lab.jupyter.pages import make_copies
from tests.pages import ROOT
from tests.test_compression import KNOWN, STATIC


def test_the_list_of_scripts_is_that_of_this_jupyterlab() -> None:
    """After an upgrade: list what JupyterLab's page loads from static/lab, in order, in browser/scripts.json."""
    scripts = first_page.plan_scripts(STATIC)
    assert scripts, f"another JupyterLab: {[path.name for path in STATIC.glob('main.*.js')]}, not {KNOWN['main']}"
    assert [path.name for path in scripts if not path.exists()] == []


def test_another_jupyterlab_gets_no_list(tmp_path: Path) -> None:
    assert first_page.plan_scripts(tmp_path) == []
    assert first_page.add_to_page("<html>another page</html>", "/", {}, "first.0.js") == "<html>another page</html>"


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip", "gzip"),
        ("GZIP;q=1.0, br; q=0", "gzip"),
        ("br;q=0.001", "br"),
        ("br;q=x", ""),
        ("*", ""),
        ("", ""),
    ],
)
def test_accept_encoding(header: str, encoding: str) -> None:
    assert accepted(header) == encoding


FULL = """
import resource, sys
from pathlib import Path
from gears.lab.jupyter.compressed import Store
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
store = Store([Path(sys.argv[1])])
store.add(sys.argv[2], "br")
print(store.find(sys.argv[2], "br"), store.needs(sys.argv[2], "br"))
"""


def test_a_full_disk_leaves_nothing_and_is_not_tried_again(tmp_path: Path) -> None:
    """As a limit on the size of files does, which every file system has."""
    (tmp_path / "run").mkdir(mode=0o700)
    command = [sys.executable, "-c", FULL, str(tmp_path / "run/pages"), str(STATIC / KNOWN["main"])]
    ran = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=240
    )
    assert ran.stdout == "None False\n", ran.stderr
    assert list((tmp_path / "run/pages").iterdir()) == []


def test_a_directory_that_cannot_be_made_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "pages").write_text("a file")
    store = Store([tmp_path / "none", tmp_path / "pages"])
    store.add(str(STATIC / KNOWN["main"]), "gzip")
    assert store.find(str(STATIC / KNOWN["main"]), "gzip") is None


def test_copies_in_the_home_are_bounded(tmp_path: Path) -> None:
    store = Store([tmp_path / "pages"])
    for number in range(4):
        path = store.write(f"{number}.br", b"x" * 1000)
        os.utime(path, (number, number))
    store.prune(2500)
    assert sorted(path.name for path in (tmp_path / "pages").iterdir()) == ["2.br", "3.br"]


def test_an_environments_copies_replace_those_of_an_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few files only: `monkeypatch` since all of JupyterLab's take a minute."""
    for name in ("a.js", "b.js"):
        (tmp_path / name).write_text(name * 1000)
    monkeypatch.setattr("gears.lab.jupyter.pages.files_to_compress", lambda _: [str(tmp_path / "a.js")])
    monkeypatch.setattr("gears.lab.jupyter.first_page.plan_scripts", lambda _: [])
    (tmp_path / "made").mkdir()
    (tmp_path / "made/old.br").write_text("of an older one")
    make_copies(tmp_path / "made")
    store = Store([tmp_path / "made"])
    assert sorted(path.suffix for path in (tmp_path / "made").iterdir()) == [".br", ".gzip"]
    assert store.find(str(tmp_path / "a.js"), "br")
    assert store.find(str(tmp_path / "b.js"), "br") is None


def test_what_has_its_copies_is_not_compressed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an update finds it, after which a file may be the same one with another time."""
    file, script = tmp_path / "a.js", tmp_path / "script.js"
    for one in (file, script):
        one.write_text(one.name * 1000)
    monkeypatch.setattr("gears.lab.jupyter.pages.files_to_compress", lambda _: [str(file)])
    monkeypatch.setattr("gears.lab.jupyter.first_page.plan_scripts", lambda _: [script])
    make_copies(tmp_path / "made")
    made = {path.name: path.stat().st_ino for path in (tmp_path / "made").iterdir()}
    assert len(made) == 5
    monkeypatch.setattr("gears.lab.jupyter.compressed.compress", None)
    make_copies(tmp_path / "made")
    assert {path.name: path.stat().st_ino for path in (tmp_path / "made").iterdir()} == made
    os.utime(script)
    make_copies(tmp_path / "made")
    assert len(list((tmp_path / "made").iterdir())) == 5
