"""envs/init.sh, without network: what is said of a lack, the stamp, the lock, runs that are killed."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.environment import PYTHON, copy_checkout, make_current, write_program
from tests.helpers import wait_until

# What init.sh calls; neither python, uv, tmux nor flock.
TOOLS = [
    "sh", "awk", "cat", "cksum", "date", "df", "dirname", "find", "grep", "id",
    "mkdir", "mv", "ps", "readlink", "rm", "rmdir", "sed", "sleep", "tail", "uname",
]  # fmt: skip


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return copy_checkout(tmp_path / "gears")


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A directory to be the whole PATH, with the tools and nothing else yet."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in TOOLS:
        path = shutil.which(name)
        assert path, name
        (directory / name).symlink_to(path)
    return directory


def init(checkout: Path, programs: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    settings = {"PATH": str(programs), "HOME": str(checkout), "LC_ALL": "C.UTF-8"} | settings
    command = [str(checkout / "envs/init.sh"), *words]
    return subprocess.run(command, env=settings, capture_output=True, text=True, timeout=240)


def add_python(programs: Path, *, name: str = "python3", without: str = "") -> None:
    """The Python of these tests, under a name; `without` a module it has."""
    hide = f"import sys; sys.modules['{without}'] = None; exec(sys.argv.pop(1))" if without else "exec(sys.argv.pop(1))"
    write_program(programs / name, f'shift; exec {PYTHON} -c "import sys; {hide}" "$@"')


# --- What is missing -------------------------------------------------------------------------------------------------


def test_no_python_names_what_is_needed_and_the_ways_to_it(checkout: Path, programs: Path) -> None:
    done = init(checkout, programs)
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed; found: none" in done.stderr
    assert "uv" in done.stderr
    assert not (checkout / ".venv").exists()


def test_old_python_is_named_with_its_version(checkout: Path, programs: Path) -> None:
    write_program(programs / "python3", "case $2 in *exit*) exit 1 ;; *) echo 3.9.2 ;; esac")
    done = init(checkout, programs)
    assert done.returncode == 1
    assert f"found: {programs}/python3 (3.9.2)" in done.stderr


def test_a_python_that_does_not_start_is_passed_over(checkout: Path, programs: Path) -> None:
    write_program(programs / "python3.13", "echo 'python3.13: command not found' >&2; exit 127")
    done = init(checkout, programs)
    assert "found: none" in done.stderr


def test_missing_tmux_is_said_before_anything_is_made(checkout: Path, programs: Path) -> None:
    assert "apt install tmux" in init(checkout, programs).stdout
    write_program(programs / "tmux", "exit 0")
    assert "tmux" not in init(checkout, programs).stdout


def test_named_python_that_is_wrong_is_not_replaced_by_another(checkout: Path, programs: Path) -> None:
    add_python(programs)
    done = init(checkout, programs, PYTHON="/nowhere/python3")
    assert done.returncode == 1
    assert "PYTHON=/nowhere/python3 is not Python 3.11 or newer" in done.stderr


def test_missing_ensurepip_names_the_package(checkout: Path, programs: Path) -> None:
    add_python(programs, without="ensurepip")
    done = init(checkout, programs)
    assert done.returncode == 1
    assert "apt install python3-venv" in done.stderr
    assert f"python3.{sys.version_info.minor}-venv" in done.stderr
    assert "uv" in done.stderr
    assert not (checkout / ".venv").exists()


def test_no_way_to_the_package_index(checkout: Path, programs: Path, tmp_path: Path) -> None:
    (programs / "python3").symlink_to(PYTHON)
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_NO_CACHE_DIR": "1"}
    done = init(checkout, programs, **nowhere, PIP_CONFIG_FILE="/dev/null", TMPDIR=str(tmp_path))
    assert done.returncode == 1
    assert "The package index can't be reached from here" in done.stderr
    assert "make init" in done.stderr
    assert not list((checkout / ".venv").glob("*.stamp"))
    assert (checkout / "run/env.log").stat().st_mode & 0o777 == 0o600


def test_unwritable_checkout(checkout: Path, programs: Path) -> None:
    add_python(programs)
    if os.geteuid() == 0:
        shutil.rmtree(checkout / "run")
        (checkout / "run").touch()
    else:
        (checkout / "run").chmod(0o500)
    done = init(checkout, programs)
    assert done.returncode == 1
    assert f"{checkout}/run" in done.stderr


def test_wrong_word(checkout: Path, programs: Path) -> None:
    done = init(checkout, programs, "tset")
    assert (done.returncode, done.stdout) == (1, "")
    assert "usage" in done.stderr


# --- The stamp -------------------------------------------------------------------------------------------------------


def test_current_environment_is_left_alone_at_once(checkout: Path, programs: Path) -> None:
    stamp = make_current(checkout)
    before = stamp.stat()
    done = init(checkout, programs)
    assert (done.returncode, done.stderr) == (0, "")
    assert "current" in done.stdout
    after = stamp.stat()  # the access time may differ: the stamp is read
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert init(checkout, programs, "--quiet").stdout == ""


def test_modules_are_collected_again_once_after_packages_have_changed(checkout: Path, programs: Path) -> None:
    make_current(checkout)
    packages, modules = checkout / ".venv/lib/python3.12/site-packages", checkout / ".venv/gears-modules"
    packages.mkdir(parents=True)
    (checkout / "run/env.log").touch()
    assert "collecting" not in init(checkout, programs).stdout  # there is none: it was removed, or never wanted
    modules.write_text("of other packages")
    os.utime(modules, (1, 1))
    assert "collecting" in init(checkout, programs, "--quiet").stdout
    assert modules.read_bytes() == b""  # it failed, as these packages are none; a start then imports as usual
    assert "collecting" not in init(checkout, programs).stdout


def test_current_environment_costs_little(checkout: Path, programs: Path) -> None:
    make_current(checkout)
    assert fastest(lambda: init(checkout, programs, "--quiet")) < 0.05 + fastest(start_python)


def start_python() -> None:
    subprocess.run([PYTHON, "-c", "pass"], check=True, timeout=120)


def fastest(action: Callable[[], object]) -> float:
    def seconds() -> float:
        began = time.monotonic()
        action()
        return time.monotonic() - began

    return min(seconds() for _ in range(7))


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [("envs/base.lock.txt", "jupyterlab==", "jupyterlab==0"), ("pyproject.toml", "gears.cli:main", "gears.cli:other")],
)
def test_changed_lock_or_project_is_noticed(checkout: Path, programs: Path, file: str, old: str, new: str) -> None:
    make_current(checkout)
    path = checkout / file
    path.write_text(path.read_text().replace(old, new))
    assert "Python 3.11 or newer is needed" in init(checkout, programs).stderr


def test_settings_of_tools_make_no_difference(checkout: Path, programs: Path) -> None:
    make_current(checkout)
    path = checkout / "pyproject.toml"
    path.write_text(path.read_text().replace("line-length = 120", "line-length = 100"))
    assert init(checkout, programs).returncode == 0


def test_base_does_not_stand_for_test(checkout: Path, programs: Path) -> None:
    make_current(checkout)
    assert init(checkout, programs, "test").returncode == 1
    make_current(checkout, "test")
    assert init(checkout, programs, "test").returncode == 0


def test_moved_checkout_is_noticed(checkout: Path, programs: Path) -> None:
    make_current(checkout)
    moved = checkout.rename(checkout.with_name("moved"))
    assert init(moved, programs).returncode == 1


def test_environment_of_an_unlike_host_is_not_taken_away(checkout: Path, programs: Path) -> None:
    add_python(programs)
    stamp = make_current(checkout)
    (checkout / ".venv/bin/python").unlink()
    stamp.write_text(
        stamp.read_text().replace(f"{PYTHON}", "/opt/other/python").replace(os.uname().nodename, "summit5")
    )
    done = init(checkout, programs)
    assert done.returncode == 1
    assert "was made on summit5 with /opt/other/python" in done.stderr
    assert stamp.exists()


# --- Extensions of JupyterLab ----------------------------------------------------------------------------------------


@pytest.fixture
def installed(programs: Path, tmp_path: Path) -> Callable[[], list[str]]:
    """A uv that makes an environment without packages; tells the lock files that it was last asked for."""
    log = tmp_path / "uv.log"
    write_program(
        programs / "uv",
        f"""
        [ "$1" = pip ] || {{
            PATH=/usr/bin:/bin; for venv; do :; done; mkdir -p "$venv/bin"
            ln -s {PYTHON} "$venv/bin/python"; : >"$venv/bin/gears"; exit
        }}
        for word; do case $word in *.lock.txt) echo "${{word##*/}}" >>{log} ;; esac; done
        [ ! -e {tmp_path}/killed ] || kill -9 $PPID""",
    )
    add_python(programs)

    def names() -> list[str]:
        found = log.read_text().split()
        log.unlink()
        return found

    return names


def test_extensions_are_added_and_kept(
    checkout: Path, programs: Path, installed: Callable[[], list[str]], tmp_path: Path
) -> None:
    extensions, base = "extensions.lock.txt", "base.lock.txt"
    assert init(checkout, programs).returncode == 0
    assert installed() == [base]
    assert init(checkout, programs, "extensions").returncode == 0
    assert installed() == [extensions]
    assert "current" in init(checkout, programs, "extensions").stdout
    assert "current" in init(checkout, programs).stdout

    lock = checkout / "envs" / base
    lock.write_text(lock.read_text() + "# newer\n")
    (tmp_path / "killed").touch()
    assert init(checkout, programs).returncode == -signal.SIGKILL
    assert installed() == [base]
    (tmp_path / "killed").unlink()
    assert init(checkout, programs).returncode == 0
    assert installed() == [base, extensions]
    shutil.rmtree(checkout / ".venv")
    assert init(checkout, programs).returncode == 0
    assert installed() == [base, extensions]

    init(checkout, programs, "remove")
    assert init(checkout, programs).returncode == 0
    assert installed() == [base]


# --- Interrupted, and two at once ------------------------------------------------------------------------------------


class Run:
    """A run of init.sh under way, in a session of its own."""

    def __init__(self, checkout: Path, programs: Path, output: Path) -> None:
        self.output = output
        with output.open("w") as file:
            command, settings = [checkout / "envs/init.sh"], {"PATH": str(programs), "LC_ALL": "C.UTF-8"}
            self.process = subprocess.Popen(command, env=settings, stdout=file, stderr=file, start_new_session=True)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        wait_until(lambda: condition() or self.process.poll() is not None, 20, "init.sh to get there")
        assert self.process.poll() is None, self.output.read_text()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=60)


@pytest.fixture
def start(checkout: Path, programs: Path, tmp_path: Path) -> Iterator[Callable[[], Run]]:
    runs: list[Run] = []

    def start_run() -> Run:
        runs.append(Run(checkout, programs, tmp_path / f"output.{len(runs)}"))
        return runs[-1]

    yield start_run
    for run in runs:
        run.kill()


@pytest.fixture
def venv_is_slow(programs: Path) -> Callable[[], bool]:
    """A Python whose `-m venv` makes a directory and then takes for ever; tells whether it is there by now."""
    reached = programs / "reached"
    add_python(programs, name="python-quick")
    slow = f'mkdir -p "$3/bin"; : >{reached}; exec sleep 600'
    write_program(programs / "python3", f'[ "$1" != -m ] || {{ {slow}; }}; exec python-quick "$@"')
    return reached.exists


@pytest.fixture(params=["flock", "no flock"])
def with_and_without_flock(request: pytest.FixtureRequest, programs: Path) -> None:
    if request.param == "flock":
        (programs / "flock").symlink_to(shutil.which("flock") or pytest.skip("no flock on this machine"))


@pytest.mark.usefixtures("with_and_without_flock")
def test_killed_run_leaves_no_stamp_and_no_lock(
    checkout: Path, programs: Path, start: Callable[[], Run], venv_is_slow: Callable[[], bool]
) -> None:
    make_current(checkout).write_text("of another lock\n")
    for _ in range(2):
        (programs / "reached").unlink(missing_ok=True)
        run = start()
        run.wait_for(venv_is_slow)
        run.kill()
        assert "waiting" not in run.output.read_text()
        assert not list((checkout / ".venv").glob("*.stamp"))
    assert not list(checkout.glob(".venv.old.*"))


@pytest.mark.usefixtures("with_and_without_flock")
def test_second_run_waits_for_the_first(
    checkout: Path, start: Callable[[], Run], venv_is_slow: Callable[[], bool]
) -> None:
    first = start()
    first.wait_for(venv_is_slow)
    second = start()
    second.wait_for(lambda: "waiting" in second.output.read_text())
    make_current(checkout)
    first.kill()
    assert second.process.wait(timeout=60) == 0
    assert "the environment is current" in second.output.read_text()
    assert "making" not in second.output.read_text()


def test_remove(checkout: Path, programs: Path) -> None:
    make_current(checkout)
    assert "removed" in init(checkout, programs, "remove").stdout
    assert not list(checkout.glob(".venv*"))
    assert "no environment" in init(checkout, programs, "remove").stdout
