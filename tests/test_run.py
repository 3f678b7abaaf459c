"""`gears run`: a command on the lab host, followed from the laptop, that needs no connection to go on."""

import json
import re
import shlex

import pexpect
import pytest

from tests.centre import Centre, Host
from tests.helpers import gears, home, wait_until
from tests.test_shell import CENTRE, hosts

__all__ = ["CENTRE", "hosts"]

WAITS = "import sys; print('begun', flush=True); input(); print('gone on'); sys.exit(7)"
"""Until somebody types a line."""


def command(*argv: str, site: str = "matagorda") -> list[str]:
    return [f"{home()}/.venv/bin/gears", "run", site, "--", *argv]


def run_waiting(centre: Centre, host: Host, site: str = "matagorda") -> "pexpect.spawn[str]":
    """A run that waits for a line, followed in a terminal."""
    terminal = host.spawn(command("python", "-c", WAITS, site=site), timeout_s=40)
    terminal.expect("begun")
    return terminal


def attach(host: Host, site: str = "matagorda") -> "pexpect.spawn[str]":
    terminal = host.spawn([f"{home()}/.venv/bin/gears", "run", "attach", site, "1"], timeout_s=40)
    terminal.expect("begun")
    return terminal


def state(host: Host, site: str = "matagorda") -> str:
    return gears(host, f"run list {site}", check=True).stdout


def test_output_and_exit_status_are_the_commands(hosts: Centre) -> None:
    done = hosts.laptop.run(command("sh", "-c", "echo out; echo err >&2; exit 3"))
    assert (done.returncode, done.stdout) == (3, "out\nerr\n")
    assert re.search(
        r"run 1 of matagorda started on login1; .* To follow it: \S*gears run logs matagorda 1 --follow", done.stderr
    )
    assert re.match(r"1 +ended 3 +login1 +2\S+Z  sh -c 'echo out; ", state(hosts.laptop))


@pytest.mark.parametrize("host", ["laptop", "login1"])
def test_words_arrive_as_they_were_typed(hosts: Centre, host: str) -> None:
    words = ["a b", "", "'", '"', "$HOME", "`id`", "\\", "*", "--", "-x", "ü!", "new\nline", "100%"]
    show = "import json, sys; print(json.dumps(sys.argv[1:]))"
    done = hosts.hosts[host].run(command("python", "-c", show, *words), check=True)
    assert json.loads(done.stdout) == words


def test_it_has_gears_environment_a_terminal_and_her_umask(hosts: Centre) -> None:
    show = "import os, sys; print(sys.prefix, os.getcwd(), sys.stdout.isatty(), oct(os.umask(0)))"
    done = hosts.laptop.run(command("python", "-c", show), check=True)
    assert done.stdout == f"{home()}/.venv /home/alice True 0o22\n"


def test_it_survives_the_laptops_ssh(hosts: Centre) -> None:
    terminal = run_waiting(hosts, hosts.laptop)
    hosts.laptop.kill(*(process.pid for process in hosts.laptop.processes("alice") if process.comm == "ssh"))
    terminal.expect(pexpect.EOF)
    terminal.close()
    wait_until(lambda: not far_gears(hosts.login1), 10, "whoever followed it there has gone")
    assert re.match(r"1 +running ", state(hosts.laptop))
    assert gears(hosts.laptop, "run logs matagorda 1", check=True).stdout == "begun\n"

    terminal = attach(hosts.laptop)
    terminal.send("\r")
    terminal.expect(pexpect.EOF)
    terminal.close()
    done = gears(hosts.laptop, "run logs matagorda 1 --follow")
    assert (done.returncode, done.stdout.replace("\n\n", "\n")) == (7, "begun\ngone on\n")
    assert re.match(r"1 +ended 7 ", state(hosts.laptop))
    assert gears(hosts.laptop, "run attach matagorda 1").returncode == 4


def far_gears(host: Host) -> list[str]:
    return [shlex.join(process.argv) for process in host.processes("alice") if "_run" in process.argv]


def test_without_a_terminal_nobody_stays_to_follow_it(hosts: Centre) -> None:
    following = hosts.laptop.popen(command("python", "-c", WAITS))
    wait_until(lambda: far_gears(hosts.login1), 20, "it is followed")
    wait_until(lambda: "running" in state(hosts.laptop), 20, "it runs")
    hosts.laptop.end_popen(following)
    wait_until(lambda: not far_gears(hosts.login1), 10, "whoever followed it there has gone")
    assert "running" in state(hosts.laptop)


def test_ctrl_c_leaves_it_running(hosts: Centre) -> None:
    terminal = run_waiting(hosts, hosts.laptop)
    terminal.send("\x03")
    terminal.expect("run 1 continues")
    terminal.expect(r"next: \S*gears run logs matagorda 1 --follow")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 130
    assert "running" in state(hosts.laptop)


def test_on_a_relay_it_is_found_from_every_host(hosts: Centre) -> None:
    first = run_waiting(hosts, hosts.laptop, "andes")
    hosts.order("andes", ("login2", "login1"))
    for host in (hosts.laptop, hosts.hub, hosts.login1):
        assert re.match(r"1 +running\??  +login1 ", state(host, "andes"))
    terminal = attach(hosts.hub, "andes")
    terminal.send("\r")
    first.expect("gone on")
    first.expect(pexpect.EOF)
    first.close()
    assert first.exitstatus == 7


def test_a_run_whose_session_is_taken_away(hosts: Centre) -> None:
    terminal = run_waiting(hosts, hosts.laptop)
    hosts.login1.run("tmux -L gears kill-session -t =run1@matagorda", check=True)
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus not in (0, None)
    assert re.match(r"1 +ended [1-9]", state(hosts.laptop))


def test_a_run_whose_host_lost_its_power(hosts: Centre) -> None:
    terminal = run_waiting(hosts, hosts.login1)
    terminal.close()
    hosts.login1.power_off()
    hosts.login1.boot()
    assert re.match(r"1 +lost +login1 ", state(hosts.laptop))
    done = gears(hosts.laptop, "run logs matagorda 1 --follow")
    assert (done.returncode, done.stdout) == (1, "begun\n")
    assert "run 1 is gone and left no exit status" in done.stderr
    assert gears(hosts.laptop, "run attach matagorda 1").returncode == 4


def test_files_are_hers_alone(hosts: Centre) -> None:
    hosts.login1.run(["sh", "-c", 'umask 0; exec "$@"', "sh", *command("true")], check=True)
    listed = hosts.login1.run("find ~/gears/run/matagorda -printf '%y %m %P\n'", check=True).stdout.splitlines()
    runs = {
        "d 700 ",
        "d 700 runs",
        "f 600 places.json",
        *(f"f 600 runs/1.{what}" for what in ("end", "json", "out", "pid", "sh")),
    }
    assert runs == {line for line in listed if " dask" not in line}
    assert {line.partition(" dask")[0] for line in listed if " dask" in line} <= {"d 700", "f 600", "l 777"}


@pytest.mark.parametrize("words", ["", "matagorda", "list", "attach matagorda", "logs matagorda one", "-- "])
def test_what_can_not_be_meant_is_refused(hosts: Centre, words: str) -> None:
    assert gears(hosts.login1, f"run {words}").returncode == 2
