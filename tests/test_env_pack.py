"""An environment as one archive: it works wherever it is unpacked, and on a node it is unpacked once and whole."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gears.envs.archive import is_fresh, load_pack, remove_pack
from gears.envs.pack import pack
from gears.errors import GearsError
from gears.system.templates import render
from tests.conftest import skip_or_fail
from tests.helpers import wait_until
from tests.wheelhouse import SYSTEM_PYTHON, make_conda_prefix, make_venv, make_wheel, run


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`env`, and its archive `packs/sand.tar.gz`. Tests leave both as they are."""
    room = tmp_path_factory.mktemp("room")
    make_venv(room / "env", make_wheel(room / "wheels", "sand", "1.0", modules=5))
    pack("sand", room / "env", room / "packs", say=print)
    return room


def unpack_on_node(packs: Path, local: Path, *names: str) -> "subprocess.Popen[str]":
    """As the job script has it."""
    argv = [sys.executable, "-P", "-m", "gears.envs.unpack", str(packs), str(local), *names]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def said(process: "subprocess.Popen[str]") -> str:
    return process.communicate(timeout=240)[0]


def test_the_archive(room: Path) -> None:
    archive = room / "packs/sand.tar.gz"

    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    assert [path.name for path in archive.parent.iterdir() if path.name.startswith(".")] == []
    known = load_pack(room / "packs", "sand")
    assert known is not None
    assert is_fresh(known)
    assert known.base == os.path.realpath(sys.executable)
    with tarfile.open(archive) as tar:
        assert {member.uname for member in tar} == {""}, "whose it was is nobody's business"


def test_it_works_elsewhere(room: Path, tmp_path: Path) -> None:
    """Python, a script, and an activated shell, with the environment itself out of the way."""
    run(["tar", "-xzf", str(room / "packs/sand.tar.gz"), "-C", str(tmp_path)])
    os.rename(room / "env", room / "away")
    try:
        show = "import sand, sys; print(sand.__file__, sys.prefix)"
        assert run([f"{tmp_path}/bin/python", "-c", show]).split()[1] == str(tmp_path)
        assert run([f"{tmp_path}/bin/sand"]) == "sand 1.0\n"
        assert run([f"{tmp_path}/bin/pip", "--version"]).split()[3].startswith(str(tmp_path))
        active = run(["bash", "-c", ". bin/activate && cd / && command -v sand && sand"], cwd=tmp_path)
        assert active == f"{tmp_path}/bin/sand\nsand 1.0\n"
    finally:
        os.rename(room / "away", room / "env")


def test_ten_at_once_unpack_once(room: Path, tmp_path: Path) -> None:
    local = tmp_path / "envs"
    with ThreadPoolExecutor(10) as pool:
        words = list(pool.map(lambda _: said(unpack_on_node(room / "packs", local)), range(10)))

    assert [("unpacked in" in line, "already unpacked" in line) for line in sorted(words)].count((True, False)) == 1
    assert all("environment sand" in line for line in words)
    assert run([f"{local}/sand/bin/sand"]) == "sand 1.0\n"
    assert stat.S_IMODE(local.stat().st_mode) == 0o700


def test_broken_off_it_is_never_used(room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while tar is at work: no link, and the next one begins anew."""
    local, slow = tmp_path / "envs", tmp_path / "slow"
    slow.mkdir()
    a_second_each_200_kb = "--checkpoint=20 --checkpoint-action=sleep=1"
    (slow / "tar").write_text(f'#!/bin/sh\nexec {shutil.which("tar")} {a_second_each_200_kb} "$@"\n')
    (slow / "tar").chmod(0o755)
    with monkeypatch.context() as changed:
        changed.setenv("PATH", f"{slow}:{os.environ['PATH']}")
        process = unpack_on_node(room / "packs", local, "sand")
    wait_until(lambda: list(local.glob("sand-*/lib/python3*/site-packages/*")), 30, "files appear")
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    process.kill()
    process.communicate()
    assert not (local / "sand").exists()

    assert "unpacked in" in said(unpack_on_node(room / "packs", local, "sand"))
    assert run([f"{local}/sand/bin/sand"]) == "sand 1.0\n"
    assert len(list(local.glob("sand-*"))) == 1


def test_changed_since(room: Path, tmp_path: Path) -> None:
    """Not used, and told; packed anew it is."""
    prefix, packs, local = tmp_path / "env", tmp_path / "packs", tmp_path / "envs"
    wheels = [make_wheel(tmp_path / "wheels", "sand", version) for version in ("1.0", "2.0")]
    make_venv(prefix, wheels[0])
    pack("sand", prefix, packs, say=print)
    said(unpack_on_node(packs, local))
    run([f"{prefix}/bin/python", "-m", "pip", "install", "-q", "--no-index", str(wheels[1])])

    assert "has changed since it was packed" in said(unpack_on_node(packs, local))
    assert not (local / "sand").exists()

    pack("sand", prefix, packs, say=print)
    assert "unpacked in" in said(unpack_on_node(packs, local))
    assert run([f"{local}/sand/bin/sand"]) == "sand 2.0\n"
    remove_pack(packs, "sand")
    assert said(unpack_on_node(packs, local)) == ""


def test_what_is_installed_in_the_copy_is_refused(room: Path, tmp_path: Path) -> None:
    """It would be lost with the job. Root may write anywhere, so only the directory's mode is looked at."""
    local = tmp_path / "envs"
    said(unpack_on_node(room / "packs", local))

    site = next(local.glob("sand/lib/python3*/site-packages"))
    assert stat.S_IMODE(site.stat().st_mode) == 0o500


def test_a_python_of_the_home_is_taken_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As uv keeps them there: links to it by a directory that is a link itself. What it has installed stays behind."""
    own, version = tmp_path / "home/pythons/3", f"python{sys.version_info.major}.{sys.version_info.minor}"
    (own / "bin").mkdir(parents=True)
    shutil.copy(SYSTEM_PYTHON, own / "bin" / version)
    shutil.copytree(Path(os.__file__).parent, own / "lib" / version, symlinks=True)
    (own / "lib" / version / "site-packages").mkdir(exist_ok=True)
    (own.with_name("newest")).symlink_to("3")
    prefix = tmp_path / "env"
    run([f"{own.with_name('newest')}/bin/{version}", "-m", "venv", "--without-pip", str(prefix)])
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    pack("own", prefix, tmp_path / "packs", say=print)

    for path in (own, prefix / "bin"):
        os.rename(path, path.with_name("away"))
    known = load_pack(tmp_path / "packs", "own")
    assert known is not None
    assert known.base == ""
    assert "unpacked in" in said(unpack_on_node(tmp_path / "packs", tmp_path / "envs"))
    show = "import sys, json; print(sys.prefix, sys.base_prefix, json.__file__.rsplit('/', 3)[0])"
    copy = tmp_path / "envs" / f"own-{known.of}"
    words = run([f"{tmp_path}/envs/own/bin/python", "-c", show]).split()
    assert words == [f"{tmp_path}/envs/own", f"{copy}/.base", f"{copy}/.base/lib"]


def test_conda(tmp_path: Path) -> None:
    """conda-pack's archive, with the prefix written anew into every text that names it."""
    prefix = make_conda_prefix(tmp_path / "env", "silt", "2.0")
    pack("silt", prefix, tmp_path / "packs", say=print)

    assert "unpacked in" in said(unpack_on_node(tmp_path / "packs", tmp_path / "envs"))

    shutil.rmtree(prefix)
    assert run([f"{tmp_path}/envs/silt/bin/python", f"{tmp_path}/envs/silt/bin/silt"], env=_finds(tmp_path)) == (
        "silt 2.0\n"
    )
    assert str(prefix) not in (tmp_path / "envs/silt/bin/silt").read_text()


def _finds(tmp_path: Path) -> dict[str, str]:
    """The stand-in prefix has no Python of its own that would look in its lib/."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": f"{tmp_path}/envs/silt/lib/python3.11/site-packages"}


def test_a_full_disk(room: Path, small_disk: Path) -> None:
    """A clear word, and nothing left there."""
    with pytest.raises(GearsError, match="No space left") as caught:
        pack("sand", room / "env", small_disk / "packs", say=print)

    assert "gears env pack sand --output" in str(caught.value)
    assert list((small_disk / "packs").iterdir()) == []


def test_no_room_on_the_node(room: Path, small_disk: Path) -> None:
    words = said(unpack_on_node(room / "packs", small_disk / "envs"))

    assert "not unpacked" in words
    assert "MB are needed" in words
    assert [path.name for path in (small_disk / "envs").iterdir()] == [".sand.lock"]


def test_the_last_job_of_a_node_takes_the_copies_away(tmp_path: Path) -> None:
    """Each holds them as long as it runs; who is killed holds them no more."""
    local = tmp_path / "gears" / ".envs"
    script = render("node-envs.sh.j2", envs_local=local) + "echo held; read -r line; release_envs\n"

    def start() -> "subprocess.Popen[str]":
        pipe = subprocess.PIPE
        job = subprocess.Popen(["sh", "-uc", script], stdin=pipe, stdout=pipe, text=True)
        assert job.stdout
        assert job.stdout.readline() == "held\n"
        return job

    jobs = [start(), start(), start()]
    (local / "copy").mkdir(mode=0o500)
    jobs[0].kill()
    jobs[0].communicate()
    jobs[1].communicate("\n")
    assert (local / "copy").exists()
    jobs[2].communicate("\n")
    assert not local.exists()


@pytest.mark.parametrize("which", ["gears", ".envs"])
@pytest.mark.parametrize("how", ["another owner", "a link"])
def test_what_somebody_else_put_there_is_not_used(tmp_path: Path, which: str, how: str) -> None:
    """Names in /tmp can be seen on one node, and taken on another before the job comes."""
    if os.geteuid() != 0:
        skip_or_fail("only root can make a directory of another owner")
    local = tmp_path / "gears" / ".envs"
    taken = local if which == ".envs" else local.parent
    taken.parent.mkdir(exist_ok=True)
    real = tmp_path / "theirs" if how == "a link" else taken
    real.mkdir(mode=0o777)
    os.chown(real, 65534, 65534)
    if how == "a link":
        taken.symlink_to(real)
    (real / "planted").touch()

    script = render("node-envs.sh.j2", envs_local=local) + 'echo "<$GEARS_ENVS_LOCAL>"; release_envs'

    assert run(["sh", "-uc", script]) == "<>\n"
    assert (real / "planted").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        skip_or_fail("only root can mount a file system")
    disk = tmp_path / "small"
    disk.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "none", str(disk)])
    yield disk
    run(["umount", "-l", str(disk)])
