"""`gears shell`: a session that is there again, from the laptop, from several terminals, by whichever login node."""

import re
from collections.abc import Iterator

import pexpect
import pytest

from tests.centre import Centre, Host
from tests.helpers import gears, home, record, wait_until

PROXY = '[front]\njump = ["hub"]\n[lab]\nhost = "login1"\nmatch = ["login1"]\n'
RELAY = '[front]\nhost = "hub"\nroot = "~/gears"\n[lab]\nhost = "andes"\nmatch = ["login*"]\n'
CENTRE = {"profiles": {"matagorda": PROXY, "andes": RELAY}}
DETACH = "\x02d"


@pytest.fixture
def hosts(centre: Centre) -> Iterator[Centre]:
    yield centre
    for host in (centre.login1, centre.login2):
        host.run("tmux -L gears kill-server")
        wait_until(lambda host=host: not busy(host), 10, f"all has ended on {host.name}")
    centre.login1.run("rm -rf ~/gears/run/andes ~/gears/run/matagorda")
    centre.order("andes", ("login1", "login2"))


def busy(host: Host) -> list[str]:
    return [process.comm for process in host.processes("alice") if process.comm.startswith(("tmux", "bash", "python"))]


def enter(host: Host, words: str) -> "pexpect.spawn[str]":
    return host.spawn(f"exec {home()}/.venv/bin/gears shell {words}", timeout_s=40)


def ask(terminal: "pexpect.spawn[str]", line: str, answer: str) -> str:
    """Type a line, and await an answer that is not in it."""
    terminal.send(f"{line}\r")
    terminal.expect(answer)
    return str(terminal.match[0]) if terminal.match else ""


def leave(terminal: "pexpect.spawn[str]") -> None:
    terminal.send(DETACH)
    terminal.expect(r"\[detached \(from session ")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0


def sessions(host: Host) -> list[str]:
    return host.run("tmux -L gears list-sessions -F '#S #{session_attached}'").stdout.splitlines()


def in_ipython(host: Host, site: str) -> "pexpect.spawn[str]":
    terminal = enter(host, f"{site} --ipython")
    terminal.expect(r"In \[")
    return terminal


def test_ipython_keeps_its_variables(hosts: Centre) -> None:
    terminal = in_ipython(hosts.laptop, "matagorda")
    ask(terminal, "a = 6 * 7; print('set', a)", "set 42")
    leave(terminal)
    wait_until(lambda: not hosts.laptop.processes("alice"), 10, "nothing of hers is left on the laptop")
    terminal = in_ipython(hosts.laptop, "matagorda")
    ask(terminal, "print('still', a)", "still 42")
    leave(terminal)
    assert sessions(hosts.login1) == ["ipython@matagorda 0"]


@pytest.mark.parametrize("other", ["laptop", "login2"])
def test_two_terminals_at_once_are_in_one_session(hosts: Centre, other: str) -> None:
    """From the start: neither finds it there. `other`: the second machine on which it is typed."""
    first, second = (enter(hosts.hosts[name], "matagorda --ipython") for name in ("laptop", other))
    for terminal in (first, second):
        terminal.expect(r"In \[")
    ask(first, "b = 20 + 3", r"In \[")
    ask(second, "print('both', b)", "both 23")
    first.expect("both 23")
    assert sessions(hosts.login1) == ["ipython@matagorda 2"]
    leave(first)
    leave(second)


def test_gears_environment_is_active(hosts: Centre) -> None:
    hosts.login1.run("echo 'PATH=/usr/bin:/bin; echo her own start' >~/.bash_profile", check=True)
    try:
        terminal = enter(hosts.laptop, "matagorda")
        terminal.expect("her own start")
        ask(terminal, "echo in$(command -v python)", rf"in{home()}/\.venv/bin/python")
        ask(terminal, "echo at$(pwd), $VIRTUAL_ENV", rf"at/home/alice, {home()}/\.venv")
        leave(terminal)
    finally:
        hosts.login1.run("rm ~/.bash_profile")


def test_the_connection_may_die(hosts: Centre) -> None:
    terminal = in_ipython(hosts.laptop, "matagorda")
    ask(terminal, "c = 5; print('set', c)", "set 5")
    hosts.hub.kill_sessions("alice")
    terminal.expect("connection to login1 failed or was closed")
    terminal.expect(r"next: \S*gears shell matagorda")
    terminal.expect(pexpect.EOF)
    terminal = in_ipython(hosts.laptop, "matagorda")
    ask(terminal, "print('still', c + 1)", "still 6")
    leave(terminal)


def test_behind_a_name_of_two_hosts_it_is_found_again(hosts: Centre) -> None:
    terminal = enter(hosts.laptop, "andes")
    ask(terminal, "d=one; echo on$(uname -n)", "onlogin1")
    leave(terminal)
    assert record(hosts.hub, "andes/shell.json") == {"host": "login1"}
    hosts.order("andes", ("login2", "login1"))
    for host in (hosts.laptop, hosts.hub, hosts.login2, hosts.login1):
        terminal = enter(host, "andes")
        ask(terminal, "echo still-$d-$(uname -n)", "still-one-login1")
        leave(terminal)
    assert sessions(hosts.login2) == []


def test_where_its_login_node_is_gone_there_is_a_new_one(hosts: Centre) -> None:
    leave_at = enter(hosts.login1, "andes")
    ask(leave_at, "echo on$(uname -n)", "onlogin1")
    leave(leave_at)
    hosts.login1.cut()
    try:
        terminal = enter(hosts.login2, "andes")
        terminal.expect("your shell is on login1, which is unreachable; starting a new one on login2")
        ask(terminal, "echo on$(uname -n)", "onlogin2")
        leave(terminal)
    finally:
        hosts.login1.heal()


def test_a_tmux_that_is_too_old_is_said(hosts: Centre) -> None:
    hosts.login1.install("tmux", "#!/bin/sh\necho tmux 2.9a\n")
    try:
        terminal = enter(hosts.laptop, "matagorda")
        terminal.expect("tmux 2.9a is too old: gears needs 3.2a or later")
        terminal.expect(pexpect.EOF)
        terminal.close()
        assert terminal.exitstatus == 1
    finally:
        hosts.login1.path("/usr/local/bin/tmux").unlink()


def test_without_a_terminal_it_says_what_to_type(hosts: Centre) -> None:
    done = gears(hosts.laptop, "shell matagorda")
    assert done.returncode == 2
    assert re.search(r"requires a terminal\n  next: \S*gears run matagorda -- COMMAND", done.stderr)


def test_a_session_of_the_lab_is_another_one(hosts: Centre) -> None:
    gears(hosts.login1, "lab matagorda", check=True)
    terminal = enter(hosts.laptop, "matagorda")
    ask(terminal, "echo on$(uname -n)", "onlogin1")
    gears(hosts.login1, "stop matagorda", check=True)
    ask(terminal, "echo yet$(uname -n)", "yetlogin1")
    leave(terminal)


def test_passcodes_are_asked_for_in_this_terminal(hosts: Centre) -> None:
    """Of each host on the way; without a terminal nothing is asked."""
    for host in (hosts.hub, hosts.login1):
        host.reconfigure_sshd(totp=True)
    try:
        terminal = enter(hosts.laptop, "andes")
        for host in ("hub", "andes"):
            terminal.expect(rf"@{host}\) Verification code: ")
            terminal.sendline(hosts.passcode())
        ask(terminal, "echo on$(uname -n)", "onlogin1")
        leave(terminal)
        done = gears(hosts.laptop, "run andes -- true")
        assert done.returncode == 5
        assert "connection to hub failed or was closed" in done.stderr
    finally:
        for host in (hosts.hub, hosts.login1):
            host.reconfigure_sshd(totp=False)
