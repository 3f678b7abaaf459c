"""Identity of processes: host + pid + start time, on real children."""

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gears.system.processes import Process, children, line, name, parse, read, start_time, this_process


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as child:
        yield child
        child.kill()


def identity(child: subprocess.Popen[bytes]) -> Process:
    return Process(socket.gethostname(), child.pid, start_time(child.pid) or "")


def test_a_process_is_alive_until_it_is_gone_corpses_are_not(sleeper: subprocess.Popen[bytes]) -> None:
    process = identity(sleeper)
    assert process.alive()
    sleeper.kill()
    deadline = time.monotonic() + 60
    while process.alive() and time.monotonic() < deadline:  # not waited for: it stays as a zombie
        time.sleep(0.01)
    assert process.alive() is False


def test_a_pid_that_was_used_again_is_not_signalled(sleeper: subprocess.Popen[bytes]) -> None:
    other = Process(socket.gethostname(), sleeper.pid, "1")
    assert not other.alive()
    assert not other.signal(signal.SIGKILL)
    assert sleeper.poll() is None


def test_another_host_is_not_known_and_not_signalled(sleeper: subprocess.Popen[bytes]) -> None:
    elsewhere = Process("login2", sleeper.pid, start_time(sleeper.pid) or "")
    assert elsewhere.alive() is None
    assert not elsewhere.signal(signal.SIGKILL)
    assert sleeper.poll() is None


def test_end_is_patient_then_firm() -> None:
    with subprocess.Popen(
        ["sh", "-c", "trap '' TERM; echo; while :; do sleep 0.1; done"], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert identity(child).end(timeout_s=0.2)
        assert child.wait(timeout=60) == -signal.SIGKILL


def test_what_a_shell_loop_writes_is_read(tmp_path: Path) -> None:
    script = 'read -r stat </proc/$$/stat; set -- $stat; echo "$(uname -n) $$ ${22}" >f; exec sleep 1000'
    with subprocess.Popen(["/bin/sh", "-c", script], cwd=tmp_path) as child:
        deadline = time.monotonic() + 60
        while not (found := read(tmp_path / "f")) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert found == identity(child)
        child.kill()


@pytest.mark.parametrize("text", ["", "hub", "hub 12", "hub x 12", "hub 12 13 14", "\x00"])
def test_half_a_record_is_no_process(text: str) -> None:
    assert parse(text) is None


def test_written_and_read_back_with_its_children(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    (tmp_path / "me").write_text(line(this_process()))
    me = read(tmp_path / "me")
    assert me == this_process()
    assert me is not None
    assert sleeper.pid in [child.pid for child in children(me)]
    assert name(sleeper.pid) == "sleep"
