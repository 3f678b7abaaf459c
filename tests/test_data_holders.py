"""Whether the holder of a lock is over: proven, or in doubt; never taken for over because it can't be seen."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from gears.data import holders
from gears.errors import CommandFailed
from gears.system import commands
from gears.system.processes import LocatedProcess, this_located_process
from tests.conftest import skip_or_fail
from tests.pages import ROOT

SHELLS = ["sh", "bash", "zsh", "tcsh", "fish"]
HIDDEN = """
import os, subprocess, sys, time
from gears.system.processes import this_located_process
here = this_located_process()
other = subprocess.Popen(["sleep", "600"], user=4302)
gone = subprocess.Popen(["true"], user=4302)
gone.wait()
os.setgroups([])
os.setgid(4303)
os.setuid(4303)
found = type(here)(here.host, other.pid, "1", here.boot, here.namespace)
assert not os.access(f"/proc/{other.pid}/stat", os.R_OK)
over = type(here)(here.host, gone.pid, "1", here.boot, here.namespace)
rebooted = type(here)(here.host, other.pid, "1", "another", here.namespace)
print(found.is_over(), over.is_over(), rebooted.is_over())
"""


def ask(process: LocatedProcess, monkeypatch: pytest.MonkeyPatch, shell: str = "sh") -> str:
    """What its host answers, through a login shell of this machine instead of ssh."""
    run = commands.run
    monkeypatch.setattr(commands, "run", lambda argv, timeout_s: run([shell, "-c", argv[-1]], timeout_s=timeout_s))
    return holders.ask_host(process)


@pytest.mark.parametrize("shell", SHELLS)
def test_any_login_shell_of_its_host_can_tell(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    me = this_located_process()
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert ask(me, monkeypatch, shell) == "it is running"
    assert ask(replace(me, pid=ended.pid), monkeypatch, shell) == ""
    assert ask(replace(me, start="1"), monkeypatch, shell) == ""
    assert ask(replace(me, boot="another"), monkeypatch, shell) == ""


def test_another_computer_or_container_of_that_name_can_not(monkeypatch: pytest.MonkeyPatch) -> None:
    me = this_located_process()
    assert "in a container" in ask(replace(me, namespace="pid:[1]", pid=999_999), monkeypatch)
    assert "can't be asked" in ask(replace(me, host="elsewhere", boot="another"), monkeypatch)


@pytest.mark.parametrize("answer", ["", "This service allows sftp connections only.\n", "welcome\n"])
def test_an_answer_that_is_none_proves_nothing(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "run", lambda *_, **__: answer)
    assert "can't be asked" in holders.ask_host(this_located_process())


@pytest.mark.parametrize("status", [1, 127, 255, None])
def test_a_failure_to_ask_proves_nothing(status: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        raise CommandFailed("ssh: no", status=status)

    monkeypatch.setattr(commands, "run", fail)
    assert "can't be asked" in holders.ask_host(this_located_process())


@pytest.mark.parametrize("level", [1, 2])
def test_a_process_that_proc_hides_is_not_taken_for_over(level: int) -> None:
    """Centres mount /proc with hidepid: only root sees the processes of others."""
    if os.geteuid() != 0:
        skip_or_fail("needs root")
    script = f'mount -t proc -o hidepid={level} proc /proc && exec "$0" "$@"'
    argv = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", script, sys.executable, "-c", HIDDEN]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "None True True\n", done.stderr
