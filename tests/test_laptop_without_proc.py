"""A laptop as macOS is to gears: without /proc, and with no program but ssh and sh."""

from collections.abc import Iterator

import pexpect
import pytest

from tests.centre import Centre, Host
from tests.helpers import gears, home, lab_at, listening_ports, wait_until
from tests.opening import PORT, await_up, type_open

PROGRAMS = "/home/alice/programs"
BARE = {"PATH": PROGRAMS}


@pytest.fixture(scope="module")
def laptop(centre: Centre) -> Iterator[Host]:
    laptop = centre.laptop
    gears(centre.hub, "lab andes", check=True)
    laptop.run(f"mkdir {PROGRAMS} && ln -s $(command -v ssh) $(command -v sh) {PROGRAMS}", check=True)
    laptop.run("mount -t tmpfs none /proc", "root", check=True)
    assert laptop.run("ls /proc", check=True).stdout == ""
    yield laptop
    laptop.run("umount /proc", "root", check=True)
    gears(centre.hub, "stop andes", check=True)


def test_open_and_its_way_back(centre: Centre, laptop: Host) -> None:
    opened = await_up(laptop, type_open(laptop, "andes --no-browser", **BARE))
    assert opened.lab.patient.answers()
    again = gears(laptop, "open andes --no-browser", env=BARE, check=True)
    assert "already open" in again.stdout
    centre.hub.kill_sessions("alice")
    opened.terminal.expect("reconnecting")
    opened.terminal.expect("andes is back")
    assert opened.lab.patient.answers()
    assert opened.close() == 130
    wait_until(lambda: not listening_ports(laptop), 10, "no port is left")
    assert list(laptop.path("/tmp").glob("gears-*")) == []


def test_a_taken_port_is_said_without_a_name(laptop: Host) -> None:
    taker = laptop.popen(["/usr/bin/python3", "-m", "http.server", "-b", "127.0.0.1", str(PORT)])
    wait_until(lambda: listening_ports(laptop), 20, "something else is at that port")
    done = gears(laptop, "open andes --no-browser", env=BARE)
    laptop.end_popen(taker)
    assert done.returncode == 1
    assert f"port {PORT} of this machine is in use by another program" in done.stderr


def test_forward_list_and_cancel(centre: Centre, laptop: Host) -> None:
    terminal = laptop.spawn([f"{home()}/.venv/bin/gears", "forward", "andes"], env=BARE)
    terminal.expect(r"Jupyter +http://localhost:(\d+)/")
    assert terminal.match
    port = int(terminal.match[1])
    terminal.expect("press Ctrl-C to end these forwards")
    assert listening_ports(laptop) == {("0100007F", port)}
    listed = gears(laptop, "forward list", env=BARE, check=True).stdout
    assert listed.startswith(f"{port}  andes")
    gears(laptop, f"forward cancel {port}", env=BARE, check=True)
    terminal.expect(pexpect.EOF)
    assert lab_at(centre.hub).answers()


def test_the_stanza_and_what_the_doctor_says_of_it(laptop: Host) -> None:
    gears(laptop, "ssh-config andes --write", env=BARE, check=True)
    found = gears(laptop, "doctor andes", env=BARE, check=True, timeout_s=60).stdout
    assert "`ssh andes-jupyter` forwards port 38888" in found
    assert f"{PORT} is free" in found
