"""The test centre itself: that it is what other tests take it for."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from tests.centre import Centre, CentreUnavailable, CommandError, Host
from tests.centre.provision import CHECKOUT
from tests.centre.requirements import check_requirements
from tests.conftest import OpenCentre

LISTEN = "import socket, sys, time; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); time.sleep(60)"
QUICK = "ssh -o ConnectTimeout=2 -o BatchMode=yes"


def until(condition: Callable[[], object], limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


def listen(host: Host, path: str) -> "subprocess.Popen[str]":
    process = host.popen(["/usr/bin/python3", "-c", LISTEN, path])
    until(lambda: host.connect_unix(path))
    return process


# Names and ways


def test_ssh_leads_from_laptop_to_compute_node(centre: Centre) -> None:
    assert centre.laptop.run("ssh hub ssh login1 ssh c1 hostname", check=True).stdout == "c1\n"
    assert centre.laptop.run("ssh hub.ccs.ornl.gov whoami", "bob", check=True).stdout == "bob\n"


def test_laptop_sees_only_the_hub(centre: Centre) -> None:
    assert "Could not resolve" in centre.laptop.run(f"{QUICK} login1 true").stderr
    by_address = centre.laptop.run(f"{QUICK} -o StrictHostKeyChecking=no 10.77.2.11 true")
    assert "unreachable" in by_address.stderr


def test_alias_leads_where_it_is_told(centre: Centre) -> None:
    assert centre.hub.run("ssh andes hostname", check=True).stdout == "login1\n"
    centre.order("andes", ["login2", "login1"])
    assert centre.hub.run("ssh andes hostname", check=True).stdout == "login2\n"
    centre.order("andes", ["login1", "login2"])


# Homes


def test_home_is_shared_but_sockets_answer_where_they_are_bound(centre: Centre) -> None:
    listener = listen(centre.login1, "/home/alice/shared.sck")
    assert centre.hub.run("test -S ~/shared.sck").returncode == 0
    assert not centre.hub.connect_unix("/home/alice/shared.sck")
    assert centre.laptop.run("test -e ~/shared.sck").returncode != 0
    centre.login1.end_popen(listener)
    assert not centre.login1.connect_unix("/home/alice/shared.sck")


def test_local_directories_are_not_shared(centre: Centre) -> None:
    for directory in ("/tmp", "/var/tmp", "/dev/shm"):
        centre.hub.run(f"touch {directory}/here", check=True)
        assert centre.login1.run(f"ls {directory}").stdout == ""


def test_a_home_can_be_separate(open_centre: OpenCentre) -> None:
    centre = open_centre(separate_homes={"login1", "login2"})
    centre.hub.run("touch ~/here", check=True)
    assert centre.c1.run("ls ~/here").returncode == 0
    assert centre.login1.run("ls ~/here").returncode != 0
    assert centre.login1.run("ls ~/gears/Makefile", check=True).returncode == 0


def test_nobody_reads_another_users_home(centre: Centre) -> None:
    assert "Permission denied" in centre.hub.run("ls /home/alice", "bob").stderr


def test_checkout_and_environment_are_at_home(centre: Centre) -> None:
    code = "import gears, jupyterlab; print(gears.__file__)"
    for host, user in ((centre.hub, "bob"), (centre.laptop, "alice")):
        ran = host.run([f"/home/{user}/gears/.venv/bin/python", "-c", code], user, check=True)
        assert ran.stdout == f"/home/{user}/gears/gears/__init__.py\n"
    here = (CHECKOUT / "tests/test_centre.py").read_text()
    assert centre.hub.run("cat gears/tests/test_centre.py").stdout == here
    assert "current" in centre.hub.run("make init", cwd="/home/alice/gears", check=True).stdout


# Commands


def test_environment_is_that_of_a_login(centre: Centre) -> None:
    names = centre.hub.run("env", check=True, env={"EXTRA": "1"}).stdout
    assert {line.split("=")[0] for line in names.splitlines()} == {
        *("USER", "LOGNAME", "HOME", "SHELL", "PATH", "LANG", "PWD", "EXTRA")
    }


def test_failure_shows_what_was_written(centre: Centre) -> None:
    with pytest.raises(CommandError, match="so it is"):
        centre.hub.run("echo so it is >&2; exit 3", check=True)


def test_time_limit_kills_the_whole_group(centre: Centre) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        centre.hub.run("sleep 98 & sleep 99", timeout_s=0.5)
    until(lambda: not [p for p in centre.hub.processes("alice") if p.comm == "sleep"])


def test_terminal_is_the_users_own(centre: Centre) -> None:
    terminal = centre.laptop.spawn(
        ["sh", "-c", "test -O $(tty) && stty size < /dev/tty && echo asked: && read x && echo got $x"]
    )
    terminal.expect(r"40 120\r\nasked:")
    terminal.sendline("this")
    terminal.expect("got this")
    terminal.close()


def test_tmux_attaches_in_a_terminal(centre: Centre) -> None:
    terminal = centre.laptop.spawn(
        ["ssh", "-t", "hub", "tmux -L trial new-session -s s1 'echo in tmux; exec sleep 60'"]
    )
    terminal.expect("in tmux")
    until(lambda: centre.hub.run("tmux -L trial list-clients -t s1").stdout)
    terminal.close()
    until(lambda: not centre.hub.run("tmux -L trial list-clients -t s1").stdout, 30)
    centre.hub.run("tmux -L trial kill-server", check=True)


def test_no_zombies_stay(centre: Centre) -> None:
    centre.laptop.run("ssh hub true", check=True)
    centre.hub.run("setsid -f sleep 0.1", check=True)
    until(lambda: "defunct" not in centre.hub.run("ps -ef").stdout)


# Sessions and sshd


def test_kill_sessions_spares_tmux(centre: Centre) -> None:
    inside = "setsid -f sleep 60; exec sleep 61"
    centre.laptop.run(["ssh", "hub", f"tmux -L trial new-session -d '{inside}'"], check=True)
    session = centre.laptop.popen("ssh hub 'setsid -f sleep 62 > /dev/null 2>&1; sleep 63'")

    def mine() -> set[str]:
        return {process.argv[-1] for process in centre.hub.processes("alice") if process.comm == "sleep"}

    until(lambda: mine() == {"60", "61", "62", "63"})
    centre.hub.kill_sessions("alice")
    assert session.wait(60) == 255
    until(lambda: mine() == {"60", "61"})  # a process that was killed is gone a moment later
    centre.laptop.end_popen(session)
    centre.hub.kill(*(process.pid for process in centre.hub.processes("alice")))


def test_passcode_is_wanted_where_told(open_centre: OpenCentre) -> None:
    centre = open_centre(totp={"hub"})
    refused = centre.laptop.run("ssh -o BatchMode=yes hub true")
    assert "Permission denied (keyboard-interactive)" in refused.stderr
    login = centre.laptop.spawn("ssh hub hostname")
    login.expect("Verification code: ")
    login.sendline(centre.passcode("alice"))
    login.expect("hub\r\n")
    login.close()
    centre.hub.reconfigure_sshd(totp=False)
    centre.login1.reconfigure_sshd(totp=True)
    assert "keyboard-interactive" in centre.laptop.run("ssh hub ssh -o BatchMode=yes login1 true").stderr


def test_max_sessions_and_lines_of_sshd_config(open_centre: OpenCentre) -> None:
    centre = open_centre(max_sessions={"hub": 1}, sshd_extra={"login1": "AllowTcpForwarding no\n"})
    master = centre.laptop.popen("ssh -M -S /tmp/control hub sleep 60")
    until(lambda: centre.laptop.connect_unix("/tmp/control"))
    second = centre.laptop.run("ssh -S /tmp/control -o ProxyCommand=false hub true")
    assert "refused" in second.stderr
    centre.laptop.end_popen(master)
    assert "stdio forwarding failed" in centre.hub.run("ssh -J login1 c1 true").stderr
    centre.login1.reconfigure_sshd("")
    assert centre.hub.run("ssh -J login1 c1 true").returncode == 0


def test_changed_host_key_is_noticed(open_centre: OpenCentre) -> None:
    centre = open_centre()
    centre.hub.change_host_key()
    assert "IDENTIFICATION HAS CHANGED" in centre.laptop.run("ssh hub true").stderr


# Links and power


def test_cut_is_silence_and_heals(centre: Centre) -> None:
    talk = centre.hub.popen("ssh login1 'sleep 10; echo still here'")
    until(lambda: [p for p in centre.login1.processes("alice") if p.comm == "sleep"])
    centre.login1.cut()
    assert "timed out" in centre.hub.run(f"{QUICK} login1 true").stderr
    assert "inside" in centre.login1.run("ip -brief address show up", check=True).stdout
    assert talk.poll() is None
    centre.login1.heal()
    assert talk.communicate(timeout=180)[0] == "still here\n"


def test_hub_can_lose_one_side(centre: Centre) -> None:
    centre.hub.cut("inside")
    assert centre.laptop.run("ssh hub true").returncode == 0
    assert "timed out" in centre.hub.run(f"{QUICK} login1 true").stderr
    centre.hub.heal("inside")
    centre.hub.run("ssh login1 true", check=True)


@pytest.mark.parametrize("clean", [False, True])
def test_power_off_and_boot(centre: Centre, clean: bool) -> None:
    centre.login2.run("touch /tmp/local /run/user-less ~/kept; tmux new-session -d", check=False)
    session = centre.hub.popen("ssh -o BatchMode=yes login2 sleep 60")
    until(lambda: [p for p in centre.login2.processes("alice") if p.comm == "sleep"])
    centre.login2.power_off(clean=clean)
    if clean:
        assert session.wait(60) == 255
    else:
        assert "timed out" in centre.hub.run(f"{QUICK} login2 true").stderr
        assert session.poll() is None
    centre.hub.end_popen(session)
    centre.login2.boot()
    assert centre.hub.run("ssh login2 'ls /tmp; ls ~/kept'", check=True).stdout == "/home/alice/kept\n"
    until(lambda: not centre.login2.processes("alice"))


# The browser


def test_browser_runs_a_cell(centre: Centre, tmp_path: Path) -> None:
    lab = centre.laptop.popen(
        ["/home/alice/gears/.venv/bin/jupyter", "lab", "--no-browser", "--port=38888"],
        env={"JUPYTER_TOKEN": "trial", "PATH": "/home/alice/gears/.venv/bin:/usr/bin:/bin"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(lambda: centre.laptop.run("curl -s http://localhost:38888/api").returncode == 0, limit_s=60)
    with centre.browser() as browser:
        notebook = browser.open_notebook(token="trial")
        assert notebook.run_cell("answer = 42") == ""
        assert notebook.run_cell("print(answer)") == "42"
        browser.screenshot(tmp_path / "notebook.png")
    assert (tmp_path / "notebook.png").stat().st_size > 10_000
    centre.laptop.end_popen(lab)


# For a person


def test_make_centre_seats_a_person_at_the_laptop(centre_possible: None) -> None:
    person: pexpect.spawn[str] = pexpect.spawn(
        sys.executable, ["-m", "tests.centre", "--totp", "hub"], cwd=str(CHECKOUT), encoding="utf-8", timeout=240
    )
    person.expect("nothing stays")
    person.expect(r"\$ ")  # bash drops what was typed before its first prompt
    person.sendline("centre off c1 && centre hosts; hostname; centre passcode")
    person.expect(r"c1 +off(.|\n)*laptop\r\n\d{6}\r\n")
    person.sendline("exit 3")
    person.expect(pexpect.EOF)
    person.close()
    assert person.exitstatus == 3


# The centre among others


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 20001)  # the tests run as root
    with pytest.raises(CentreUnavailable, match="needs root"):
        check_requirements()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(CentreUnavailable, match=r"apt-get install bindfs .* tmux"):
        check_requirements()


def test_two_centres_do_not_meet(centre: Centre, open_centre: OpenCentre) -> None:
    other = open_centre()
    other.hub.run("touch ~/other /tmp/other", check=True)
    assert centre.hub.run("ls ~/other /tmp/other").returncode != 0
    other.hub.power_off()
    assert centre.laptop.run("ssh hub hostname", check=True).stdout == "hub\n"


def test_nothing_stays_when_the_test_process_is_killed(centre_possible: None) -> None:
    code = "from tests.centre import Centre\nwith Centre() as c: print(c.hub.pid, flush=True); input()"
    runner = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT
    )
    with runner:
        assert runner.stdout is not None
        hub = int(runner.stdout.readline())
        runner.send_signal(signal.SIGKILL)
    until(lambda: not Path(f"/proc/{hub}").exists())


def test_the_machine_is_not_changed(centre: Centre) -> None:
    assert "alice" not in Path("/etc/passwd").read_text()
    assert not re.search(r"gears-centre", Path("/proc/self/mounts").read_text())
    assert os.uname().nodename not in centre.hosts
