"""`gears env`: environments of each tool made, changed and removed; broken off, at once, without room.

uv, venv and pip are the real ones; conda's kind is made by a stand-in on a real solver. Nothing comes from a network.
"""

import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gears.envs import execute, registry
from gears.envs.tools import Step
from gears.errors import UsageError
from tests import standins
from tests.channel import make_channel
from tests.conftest import skip_or_fail
from tests.helpers import wait_until
from tests.repacked import HOLLOW, installed, sample
from tests.wheelhouse import SYSTEM_PYTHON, run, write_wheel

Said = subprocess.CompletedProcess[str]
SITE_PACKAGES = Path(pytest.__file__).parents[1]
GEARS = Path(sys.executable).with_name("gears")
LOCAL = ".config/gears/sites/local.toml"


@dataclass
class Room:
    """A home of somebody who has uv and micromamba, and whose packages are all on this machine."""

    home: Path
    wheels: Path
    channel: str
    environ: dict[str, str] = field(default_factory=dict)

    def gears(self, *words: str | Path, **more: str) -> Said:
        argv = [GEARS, *words]
        return subprocess.run(argv, env=self.environ | more, cwd=self.home, capture_output=True, text=True, timeout=240)

    def popen(self, *words: str | Path) -> "subprocess.Popen[str]":
        """In a process group of its own."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [GEARS, *words],
            env=self.environ,
            cwd=self.home,
            stdout=pipe,
            stderr=pipe,
            text=True,
            start_new_session=True,
        )

    def create(self, name: str, *words: str | Path) -> Said:
        done = self.gears("env", "create", name, *words)
        assert done.returncode == 0, done.stderr
        return done

    def all(self) -> dict[str, dict[str, Any]]:
        return {one["name"]: one for one in json.loads(self.gears("env", "list", "--json").stdout)}

    def write(self, name: str, text: str) -> Path:
        (self.home / name).parent.mkdir(parents=True, exist_ok=True)
        (self.home / name).write_text(text)
        return self.home / name

    def prints(self, name: str, code: str = "import sample; print(sample.__version__)") -> str:
        done = self.gears("env", "run", name, "--", "python", "-c", code)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def kernels(self) -> set[str]:
        """What Jupyter offers of it."""
        path = next(self.run_directory.glob("envs/*/jupyter"), self.home / "none")
        return {file.parent.name for file in path.glob("kernels/*/kernel.json")}

    @property
    def run_directory(self) -> Path:
        return self.home / "gears/run"

    def traces(self, name: str) -> list[str]:
        """Whatever is left of an environment, but for its log, and the lock that those who wait for it hold open."""
        found = [*self.run_directory.glob(f"envs/**/{name}"), *self.run_directory.glob(f"envs/**/{name}.*")]
        return sorted(str(path) for path in found if path.suffix not in (".lock", ".log"))

    def make_venv(self, name: str) -> Path:
        """By hand, with no more than makes it look like one with a kernel."""
        prefix = self.home / name
        uv = str(self.home / ".local/bin/uv")
        run([uv, "venv", "-q", "--python", str(SYSTEM_PYTHON), str(prefix)], env=self.environ)
        install = [uv, "pip", "install", "-q", "--compile-bytecode", "--python", f"{prefix}/bin/python", "--no-deps"]
        run([*install, "ipykernel", "sample"], env=self.environ)
        return prefix


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    top = tmp_path_factory.mktemp("envs")
    home, wheels = top / "home", top / "wheels"
    packages = installed(SITE_PACKAGES, "ipykernel", "pip", left_out=HOLLOW)
    packages += [sample("sample", f"{n}.0") for n in range(1, 5)] + [sample("silt", "1.0")]
    for package in packages:
        write_wheel(wheels, package)
    channel = make_channel(top / "channel", SYSTEM_PYTHON, packages)
    standins.install_micromamba(home / ".local/bin")
    (home / ".local/bin/uv").symlink_to(Path(sys.executable).with_name("uv"))
    plain = {
        name: value for name, value in os.environ.items() if not name.startswith(("UV_", "PIP_", "CONDA", "GEARS"))
    }
    offline = {"UV_NO_INDEX": "1", "UV_OFFLINE": "1", "UV_FIND_LINKS": str(wheels), "PIP_NO_INDEX": "1"}
    own = {"HOME": str(home), "GEARS_HOME": str(home / "gears"), "PATH": "/usr/local/bin:/usr/bin:/bin"}
    offline |= {"PIP_FIND_LINKS": str(wheels), "UV_PYTHON_DOWNLOADS": "never", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return Room(home, wheels, channel, plain | offline | own)


@pytest.fixture
def conda_file(room: Room) -> Path:
    """An environment.yml; it does not ask for what a kernel needs."""
    text = f"name: other\nchannels:\n  - {room.channel}\ndependencies:\n  - python\n  - sample =2\n"
    return room.write("conda/environment.yml", text)


# --- one of each -----------------------------------------------------------------------------


def specifications(room: Room) -> dict[str, tuple[list[str | Path], str, str]]:
    """What is typed after the name; the tool it needs; the version of `sample` it brings."""
    project = '[project]\nname = "p"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["sample <3"]\n'
    locked = room.write("locked/pyproject.toml", project.replace("<3", "==1.0"))
    run([str(GEARS.with_name("uv")), "lock", "--project", str(locked.parent)], env=room.environ)
    conda = f"channels:\n  - {room.channel}\ndependencies:\n  - python\n  - sample =2\n"
    return {
        "packages": (["sample==3.0"], "uv", "3.0"),
        "requirements": (["--from", room.write("a/requirements.txt", "sample==1.0\n")], "uv", "1.0"),
        "pip": (["--tool", "venv", "sample==4.0"], "venv", "4.0"),
        "project": (["--from", room.write("b/pyproject.toml", project)], "uv", "2.0"),
        "locked": (["--from", locked.with_name("uv.lock")], "uv", "1.0"),
        "conda": (["--from", room.write("c/environment.yml", conda)], "micromamba", "2.0"),
    }


def test_one_of_each_specification(room: Room) -> None:
    """The best tool that is here is taken, and named; each has its own version, a kernel, and what a kernel needs."""
    wanted = specifications(room)
    for name, (words, tool, version) in wanted.items():
        said = room.create(name, *words)
        assert f"/{tool}" in said.stderr or tool == "venv", name
        assert f"{name} is ready" in said.stdout
        assert room.prints(name) == version, name
    known = room.all()
    for name, (_, tool, _) in wanted.items():
        assert (known[name]["state"], known[name]["tool"], known[name]["kernel"]) == ("ready", tool, True)
        assert room.prints(name, "import ipykernel, sys; print(sys.prefix)") == known[name]["prefix"]
    assert room.kernels() == set(wanted)
    again = room.create("packages", "sample==3.0")
    assert "already exists" in again.stdout
    for name in wanted:
        room.gears("env", "remove", name)
    assert (room.all(), room.kernels()) == ({}, set())
    assert not [trace for name in wanted for trace in room.traces(name)]


@pytest.mark.parametrize("name", ["a b", "a/b", "-a", "Python3"])
def test_names_that_are_refused(room: Room, name: str) -> None:
    """With 2, and before anything is made."""
    for words in (["create", name, "sample"], ["add", str(room.home), "--name", name]):
        done = room.gears("env", *words)
        assert done.returncode == 2, done.stderr
        assert not room.traces("a")


@pytest.mark.parametrize("name", ["", "..", ".a", "a;b", "a\nb", "ä", "a" * 65])
def test_words_that_are_no_names(name: str) -> None:
    with pytest.raises(UsageError, match="invalid environment name"):
        registry.check_name(name)


def test_specifications_that_are_refused(room: Room) -> None:
    """Before anything is made, with the reason, the file, and what to type."""
    for name, text, why in [
        ("environment.yml", "dependencies: [", "environment.yml"),
        ("environment.yml", "channels: [x]\n", "dependencies"),
        ("pyproject.toml", "[tool.x]\n", "[project]"),
        ("pyproject.toml", "[project", "pyproject.toml"),
        ("notes.md", "", "notes.md"),
    ]:
        done = room.gears("env", "create", "refused", "--from", room.write(f"bad/{name}", text))
        assert done.returncode == 2, done.stderr
        assert why in done.stderr
        assert "next: " in done.stderr
    assert room.gears("env", "create", "refused", "--from", "nowhere.yml").returncode == 2
    assert room.gears("env", "create", "refused", "--index-url=http://x").returncode == 2
    assert room.gears("env", "create", "refused", "--tool", "uv", "--from", "bad/environment.yml").returncode == 2
    assert not room.traces("refused")


def test_a_tool_that_is_not_here(room: Room, conda_file: Path) -> None:
    """Named, with where to get it."""
    bare = {"HOME": str(room.home / "bare"), "PATH": "/usr/bin:/bin"}
    (room.home / "bare").mkdir()
    done = room.gears("env", "create", "none", "--from", conda_file, **bare)
    assert done.returncode == 1
    assert "conda, mamba or micromamba" in done.stderr
    assert not room.traces("none")


# --- what fails leaves nothing -----------------------------------------------------------------


def test_what_cannot_be_solved(room: Room) -> None:
    both = room.write("d/environment.yml", f"channels: [{room.channel}]\ndependencies: [python, sample =9]\n")
    for words in (["sample==9.0"], ["--from", both]):
        done = room.gears("env", "create", "unsolved", *words)
        assert done.returncode == 1
        assert "the requested packages conflict or are not available" in done.stderr
        assert "sample" in done.stderr
        assert "next: " in done.stderr
        assert not room.traces("unsolved")
    assert room.kernels() == set()


@pytest.fixture
def small_disk(room: Room) -> Iterator[Path]:
    """Where this home's environments are built meanwhile."""
    if os.geteuid() != 0:
        skip_or_fail("only root can mount a file system")
    disk = room.home / "small"
    disk.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "none", str(disk)])
    profile = room.write(LOCAL, f'[envs]\ndirectory = "{disk}"\n')
    yield disk
    profile.unlink()
    run(["umount", "-l", str(disk)])


def test_a_full_disk(room: Room, small_disk: Path, conda_file: Path) -> None:
    """A clear word from each kind of tool, the next command, and nothing left: no file there, no record, no kernel."""
    for words in (["sample"], ["--tool", "venv", "sample"], ["--from", conda_file]):
        done = room.gears("env", "create", "large", *words)
        assert done.returncode == 1, done.stdout
        assert "the disk or your quota is full" in done.stderr
        assert "next: " in done.stderr
        assert not room.traces("large")
        assert not list(small_disk.glob("*/large"))
    assert (room.all(), room.kernels()) == ({}, set())


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("error: Failed to install: x.whl\n  Caused by: Disk quota exceeded (os error 122)", "quota is full"),
        ("OSError: [Errno 122] Disk quota exceeded: '/home/alice/x'", "quota is full"),
        ("critical libmamba filesystem error: cannot write: No space left on device", "quota is full"),
        ("error: Request failed after 3 retries\n  Caused by: dns error: failed to lookup address", "be reached"),
        ("Could not fetch URL: Temporary failure in name resolution", "be reached"),
        ("CondaHTTPError: HTTP 000 CONNECTION FAILED for url <x>", "be reached"),
        ("Retrying: Temporary failure in name resolution\nERROR: No matching distribution found for x", "be reached"),
        ("LibMambaUnsatisfiableError: Encountered problems while solving", "conflict or are not available"),
        ("ERROR: No matching distribution found for nowhere", "conflict or are not available"),
        ("Segmentation fault", "end of its output"),
    ],
)
def test_what_a_tools_last_words_mean(said: str, meant: str) -> None:
    step = Step("installing packages", ("/usr/bin/uv", "pip"))
    told = execute.explain_failure(step, f"\n== uv pip\n{said}\n", 1, Path("/home/alice/gears/run/x.log"))
    assert meant in str(told)
    assert said.splitlines()[-1] in str(told)
    assert told.next


def test_killed_at_any_point(room: Room, conda_file: Path) -> None:
    """Nothing half-made is offered; the next command clears it up and makes the environment."""
    chance = random.Random(5)
    for words in (["sample==1.0"], ["--from", conda_file]):
        began = time.monotonic()
        room.create("killed", *words)
        whole_s = time.monotonic() - began
        room.gears("env", "remove", "killed")
        for part in (0.25, 0.5, 0.75):
            process = room.popen("env", "create", "killed", *words)
            time.sleep(whole_s * (part + chance.uniform(-0.2, 0.2)))
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate(timeout=180)
            before = room.all().get("killed", {"state": "none"})
            assert (before["state"] == "ready") == ("killed" in room.kernels())
        room.create("killed", *words)
        assert room.prints("killed") in ("1.0", "2.0")
        assert room.all()["killed"]["state"] == "ready"
        room.gears("env", "remove", "killed")
        assert not room.traces("killed")


def test_only_gears_is_killed(room: Room, conda_file: Path) -> None:
    """The tool goes on for a while; whoever comes next waits for it, and neither builds into the other's."""
    process = room.popen("env", "create", "orphan", "--from", conda_file)
    wait_until(lambda: list(room.run_directory.glob("envs/*/built/orphan/lib")), 30, "the tool is at work")
    process.kill()
    process.communicate(timeout=180)
    assert room.all()["orphan"]["state"] != "ready"
    assert "orphan" not in room.kernels()
    said = room.create("orphan", "sample==4.0")
    assert "interrupted" in said.stderr
    assert room.prints("orphan") == "4.0"
    room.gears("env", "remove", "orphan")


def test_interrupted_by_the_person(room: Room, conda_file: Path) -> None:
    process = room.popen("env", "create", "stopped", "--from", conda_file)
    wait_until(lambda: list(room.run_directory.glob("envs/*/built/stopped/lib")), 30, "the tool is at work")
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=180)
    assert process.returncode == 130
    assert not room.traces("stopped")


def test_ten_at_once(room: Room) -> None:
    with ThreadPoolExecutor(10) as pool:
        done = list(pool.map(lambda _: room.gears("env", "create", "one", "sample==2.0"), range(10)))
    assert [each.returncode for each in done] == [0] * 10, [each.stderr for each in done]
    made = [each for each in done if "is ready" in each.stdout]
    assert len(made) == 1
    assert sum("already exists" in each.stdout for each in done) == 9
    assert room.prints("one") == "2.0"
    room.gears("env", "remove", "one")


# --- an environment's life ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def climate(room: Room) -> Iterator[str]:
    """Made by uv. Tests leave it usable."""
    room.create("climate", "sample==2.0")
    yield "climate"
    room.gears("env", "remove", "climate")


def test_caches_are_shared_by_hard_links(room: Room, climate: str) -> None:
    prefix = Path(room.all()[climate]["prefix"])
    module = next(prefix.glob("lib/python3*/site-packages/sample/__init__.py"))
    assert module.stat().st_nlink > 1
    assert stat.S_IMODE(prefix.parent.stat().st_mode) == 0o700


def test_it_is_active_in_a_command(room: Room, climate: str) -> None:
    """With its status, its words as they are, and its own commands first."""
    prefix = room.all()[climate]["prefix"]
    show = 'printf "%s\\n" "$VIRTUAL_ENV" "$GEARS_ENV" "$(command -v sample)" "$1"; exit 7'
    done = room.gears("env", "run", climate, "--", "sh", "-c", show, "sh", "two  words; $HOME")
    assert done.stdout.splitlines() == [prefix, climate, f"{prefix}/bin/sample", "two  words; $HOME"]
    assert done.returncode == 7
    assert room.gears("env", "run", "nobody", "--", "true").returncode == 2


def test_update(room: Room, climate: str) -> None:
    """By name, and by a new file."""
    assert room.gears("env", "update", climate, "sample==3.0").returncode == 0
    assert room.prints(climate) == "3.0"
    done = room.gears("env", "update", climate, "--from", room.write("e/requirements.txt", "sample==4.0\n"))
    assert done.returncode == 0, done.stderr
    assert room.prints(climate) == "4.0"
    other = room.write("e/environment.yml", "dependencies: [python]\n")
    assert "uv can't" in room.gears("env", "update", climate, "--from", other).stderr
    failed = room.gears("env", "update", climate, "sample==9.0")
    assert failed.returncode == 1
    assert room.gears("env", "update", climate, "sample==2.0").returncode == 0
    assert (room.prints(climate), room.all()[climate]["state"]) == ("2.0", "ready")


def test_update_of_condas_kind(room: Room) -> None:
    """A changed file: what it adds is installed, what it frees is updated, and it is what counts from then on."""
    head = f"channels: [{room.channel}]\ndependencies: "
    room.create("dunes", "--from", room.write("f/environment.yml", f"{head}[python, sample =2]\n"))
    assert room.gears("env", "update", "dunes").returncode == 0
    assert room.prints("dunes") == "2.0"
    freed = room.write("f/environment.yml", f"{head}[python, sample, silt]\n")
    done = room.gears("env", "update", "dunes", "--from", freed)
    assert done.returncode == 0, done.stderr
    assert room.prints("dunes", "import silt, sample; print(sample.__version__)") == "4.0"
    assert room.gears("env", "update", "dunes", "sample=3.0").returncode == 0
    assert room.prints("dunes") == "3.0"
    exported = room.write("g/environment.yml", room.gears("env", "export", "dunes").stdout)
    room.gears("env", "remove", "dunes")
    room.create("dunes", "--from", exported)
    assert room.prints("dunes") == "3.0"
    room.gears("env", "remove", "dunes")


def test_export_says_what_is_installed(room: Room, climate: str) -> None:
    exported = room.gears("env", "export", climate).stdout.splitlines()
    assert {"sample==2.0", "silt==1.0"} & set(exported) == {"sample==2.0"}
    assert "ipykernel" in " ".join(exported)


def test_one_that_lost_its_ipykernel(room: Room, climate: str) -> None:
    """Shown with its reason, no kernel, and the command that mends it does."""
    python = Path(room.all()[climate]["prefix"], "bin/python")
    run([str(python), "-m", "pip", "uninstall", "-qy", "ipykernel"])
    found = room.all()[climate]
    assert (found["state"], found["reason"], found["kernel"]) == ("broken", "has no ipykernel", False)
    assert climate not in room.kernels()
    shown = room.gears("env", "list").stdout
    assert "has no ipykernel" in shown
    assert found["next"] in shown
    assert room.prints(climate) == "2.0", "it can be used for all else"
    assert room.gears(*found["next"].split()[1:]).returncode == 0
    assert (room.all()[climate]["state"], room.all()[climate]["kernel"]) == ("ready", True)


def test_one_whose_python_is_gone(room: Room, climate: str) -> None:
    python = Path(room.all()[climate]["prefix"]) / "bin/python"
    python.rename(python.with_name("away"))
    found = room.all()[climate]
    assert (found["state"], found["kernel"]) == ("broken", False)
    assert "is gone" in found["reason"]
    assert room.gears("env", "run", climate, "--", "true").returncode == 1
    assert climate not in room.kernels()
    python.with_name("away").rename(python)
    assert room.all()[climate]["kernel"]
    assert climate in room.kernels(), "offered again"


def test_adopted(room: Room) -> None:
    """Left as it is, whatever is done; a kernel of it is there and goes, it stays."""
    prefix = room.make_venv("miniconda3/envs/old")
    before = tree(prefix)
    assert room.gears("env", "add", "~/miniconda3/envs/old").returncode == 0
    assert room.gears("env", "add", prefix).returncode == 0, "again"
    assert room.all()["old"]["kernel"]
    assert room.prints("old") == "4.0"
    assert room.gears("env", "add", prefix, "--name", "Old").returncode == 2, "the same to Jupyter"
    assert room.gears("env", "remove", "old").returncode == 0
    assert "old" not in room.kernels() | set(room.all())
    assert tree(prefix) == before
    assert room.gears("env", "add", room.home / "nowhere").returncode == 2


def tree(prefix: Path) -> set[tuple[str, int]]:
    return {
        (str(path.relative_to(prefix)), path.lstat().st_mtime_ns)
        for path in prefix.rglob("*")
        if "__pycache__" not in path.parts
    }


def test_what_is_in_the_way_is_not_touched(room: Room) -> None:
    """A directory of that name that gears did not make."""
    stranger = next(room.run_directory.glob("envs/*/built")) / "mine"
    stranger.mkdir()
    (stranger / "thesis").write_text("years")
    done = room.gears("env", "create", "mine", "sample")
    assert done.returncode == 2
    assert "was not made by gears" in done.stderr
    room.gears("env", "remove", "mine")
    assert (stranger / "thesis").read_text() == "years"
    shutil.rmtree(stranger)


def test_prune(room: Room, climate: str) -> None:
    """Ours whose environment is gone; a person's own are named, and removed when she says so."""
    room.gears("env", "add", room.make_venv("gone"))
    shutil.rmtree(room.home / "gone")
    own = room.write(".local/share/jupyter/kernels/dead/kernel.json", '{"argv": ["/nowhere/bin/python"]}')
    alive = room.write(".local/share/jupyter/kernels/alive/kernel.json", f'{{"argv": ["{SYSTEM_PYTHON}"]}}')
    said = room.gears("kernel", "prune").stdout
    assert "gone" in said
    assert "/nowhere/bin/python" in said
    assert "gears kernel prune --all" in said
    assert (own.exists(), room.kernels()) == (True, {climate})
    room.gears("kernel", "prune", "--all")
    assert (own.parent.exists(), alive.exists()) == (False, True)
    room.gears("env", "remove", "gone")
