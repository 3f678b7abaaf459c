"""Directories, records, links, locks: on a real file system, as an ordinary user or root."""

import fcntl
import json
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gears.errors import NotReachable, UnsafePath
from gears.sites import directories
from gears.sites.paths import CONTROL_SUFFIX, MAX_FORWARD_PATH, RunDir, check_lengths, plan_local
from gears.system import files


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Shorter than pytest's own: sockets' paths have to fit."""
    with tempfile.TemporaryDirectory(prefix="g-") as directory:
        yield Path(directory)


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.lstat().st_mode & 0o777


def test_everything_is_private_and_the_fixed_path_leads_to_the_link(tmp_path: Path) -> None:
    paths = directories.open_rundir(tmp_path / "g", "andes", str(tmp_path), "alice")
    assert os.readlink(paths.fixed) == str(paths.link)
    for directory in (paths.run, paths.records, paths.local, paths.here, paths.runtime):
        assert mode(directory) == 0o700
    assert mode(paths.run / "id") == 0o600


def test_the_local_directory_is_chosen_once_by_ten_at_once(tmp_path: Path) -> None:
    chosen: list[Path] = []
    barrier = threading.Barrier(10)

    def choose() -> None:
        barrier.wait()
        chosen.append(directories.open_rundir(tmp_path / "g", "andes", str(tmp_path), "alice").local)

    threads = [threading.Thread(target=choose) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(chosen) == 10
    assert len(set(chosen)) == 1
    assert [path.name for path in (tmp_path / "g" / "run").iterdir() if path.name.startswith(".id")] == []


def test_an_empty_id_left_by_a_crash_does_not_block(tmp_path: Path) -> None:
    (tmp_path / "g" / "run").mkdir(parents=True, mode=0o700)
    (tmp_path / "g" / "run" / "id").touch()
    assert directories.open_rundir(tmp_path / "g", "andes", str(tmp_path), "alice").local.is_dir()


def test_a_directory_that_others_may_write_to_is_refused_once_it_is_in_use(tmp_path: Path) -> None:
    home = tmp_path / "g"
    (home / "run").mkdir(parents=True)
    (home / "run").chmod(0o775)  # what a clone under umask 002 has
    paths = directories.open_rundir(home, "andes", str(tmp_path), "alice")
    assert mode(paths.run) == 0o700
    paths.run.chmod(0o770)
    with pytest.raises(UnsafePath, match="writable by other users"):
        directories.open_rundir(home, "andes", str(tmp_path), "alice")


def test_a_link_in_place_of_the_local_directory_is_refused(tmp_path: Path) -> None:
    paths = directories.open_rundir(tmp_path / "g", "andes", str(tmp_path), "alice")
    (tmp_path / "elsewhere").mkdir()
    paths.local.rename(tmp_path / "moved")
    paths.local.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafePath, match="someone else"):
        directories.open_rundir(tmp_path / "g", "andes", str(tmp_path), "alice")


def test_a_path_too_long_is_refused_before_anything_of_the_site_is_made(tmp_path: Path) -> None:
    home = tmp_path / ("x" * 120)
    with pytest.raises(UnsafePath, match="bytes"):
        directories.open_rundir(home, "andes", str(tmp_path), "alice")
    assert not (home / "run" / "andes").exists()


def test_lengths_count_bytes_and_kernels_need_room_too() -> None:
    check_lengths(RunDir(Path("/home/alice/gears"), "andes", Path("/tmp/gears-alice-0123abcd")))
    with pytest.raises(UnsafePath, match="runtime"):
        check_lengths(RunDir(Path("/home/alice/gears"), "andes", Path("/tmp/" + "x" * 40)))


def test_a_long_name_of_a_person_takes_no_room_from_sockets() -> None:
    """Nor does what ssh appends to the path of a control socket while it makes it."""
    local = plan_local("/tmp", "firstname.lastname@department.ad.example.org", "0123abcd")
    paths = RunDir(Path("/home/f/gears"), "matagorda", local)
    check_lengths(paths)
    assert len(f"{RunDir(paths.home, 'x' * 32, local).open_control(99)}{CONTROL_SUFFIX}") <= MAX_FORWARD_PATH


@pytest.mark.parametrize("text", ["", "{", '{"pid": 1', "[1]", "null", "\x00\xff"])
def test_a_record_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "lab.json").write_text(text, encoding="latin-1")
    assert files.read_record(tmp_path / "lab.json") == {}


def test_a_record_is_replaced_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "lab.json"
    path.write_text("{")
    files.write_record(path, {"pid": 1})
    assert json.loads(path.read_text()) == {"pid": 1}
    assert mode(path) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["lab.json"]


def test_a_secret_is_made_once_without_a_newline(tmp_path: Path) -> None:
    token = files.ensure_secret(tmp_path / "token")
    assert files.ensure_secret(tmp_path / "token") == token == (tmp_path / "token").read_text()
    assert len(token) == 48
    assert mode(tmp_path / "token") == 0o600


def test_a_fifo_without_a_reader_takes_no_word(tmp_path: Path) -> None:
    (tmp_path / "ask").write_text("a file left in its place")
    files.ensure_fifo(tmp_path / "ask")
    assert not files.write_fifo(tmp_path / "ask", "person")
    reader = os.open(tmp_path / "ask", os.O_RDONLY | os.O_NONBLOCK)
    assert files.write_fifo(tmp_path / "ask", "person")
    assert os.read(reader, 100) == b"person\n"
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    assert not all(files.write_fifo(tmp_path / "ask", "person") for _ in range(1000)), "a reader that does not read"
    os.close(reader)
    assert not files.write_fifo(tmp_path / "ask", "person")


def test_a_lock_is_held_by_one_and_survives_its_file_being_removed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with files.locked(path):
        assert files.try_lock(path) is None
        with pytest.raises(NotReachable), files.locked(path, timeout_s=0.1):
            pass
        path.unlink()
    fd = files.try_lock(path)
    assert fd is not None
    os.close(fd)


def test_links_are_left_alone_or_replaced(tmp_path: Path) -> None:
    link = tmp_path / "andes.sck"
    link.symlink_to(tmp_path / "nowhere")
    files.ensure_link(link, tmp_path / "there")
    before = link.lstat().st_ino
    files.ensure_link(link, tmp_path / "there")
    assert os.readlink(link) == str(tmp_path / "there")
    assert link.lstat().st_ino == before
