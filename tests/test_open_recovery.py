"""`gears open` where no passcode is wanted: whatever happens to the laptop, the way comes back by itself."""

import signal
import time
from collections.abc import Iterator

import pytest

from gears.laptop.open.connection import split
from tests.centre import Centre
from tests.conftest import Took
from tests.helpers import PATIENCE, Kernel, gears, home, listening_ports, wait_until
from tests.opening import (
    PORT,
    Opened,
    await_nothing_left,
    await_up,
    end,
    fall_asleep,
    masters,
    readdress,
    route_by,
    type_open,
)

ASLEEP_S = 60
NEW = "10.77.1.99"


@pytest.fixture
def opened(centre: Centre) -> Iterator[Opened]:
    opened = await_up(centre.laptop, type_open(centre.laptop, "andes --no-browser"))
    yield opened
    if opened.terminal.isalive():
        opened.close()
    await_nothing_left(centre.laptop)


@pytest.fixture
def kernel(opened: Opened) -> Kernel:
    kernel = Kernel(opened.lab)
    kernel.run("kept = 41")
    return kernel


def goes_on(kernel: Kernel) -> None:
    assert kernel.run("print(kept + 1)") == "42\n"


def test_ssh_killed(centre: Centre, opened: Opened, kernel: Kernel, took: Took) -> None:
    channels = opened.lab.open_channels(kernel.id)
    began = time.monotonic()
    centre.laptop.kill(*masters(centre.laptop), check=True)
    opened.terminal.expect("reconnecting")
    wait_until(opened.lab.answers, 20, "JupyterLab at the port")
    took("ssh killed, JupyterLab answers again", began)
    opened.terminal.expect("andes is back")
    goes_on(kernel)
    channels.close()


def test_the_port_is_never_closed_for_long(centre: Centre, opened: Opened, took: Took) -> None:
    """Somebody connects without a break while ssh dies and comes back: the page, or JupyterLab, or a moment nobody."""
    centre.laptop.kill(*masters(centre.laptop), check=True)
    longest, answered, waited = 0.0, False, False
    last = time.monotonic()
    deadline = last + PATIENCE * 20
    while not (waited and answered):
        began = time.monotonic()
        assert began < deadline
        if answered := opened.lab.answers():
            longest = max(longest, began - last)  # to where this connection was taken
            last = time.monotonic()
            continue
        began = time.monotonic()
        if opened.lab.waits():
            waited, longest = True, max(longest, began - last)
            last = time.monotonic()
    took(f"longest without an answer {1000 * longest:.0f} ms, of all", began)
    assert longest < 2


def test_asleep(centre: Centre, opened: Opened, kernel: Kernel) -> None:
    """All processes stand still; the network goes, the hub ends the session, and all goes on."""
    fall_asleep(centre, ASLEEP_S)
    opened.terminal.kill(signal.SIGCONT)  # nsenter(1) stops itself when its child is stopped
    wait_until(opened.lab.answers, 60, "JupyterLab at the port")
    goes_on(kernel)


def test_another_address(centre: Centre, opened: Opened, kernel: Kernel, took: Took) -> None:
    """Wi-Fi elsewhere: what was connected from the old address is lost without a word."""
    began = time.monotonic()
    readdress(centre.laptop, "10.77.1.10", NEW)
    try:
        opened.terminal.expect(f"address is {NEW} now, was 10.77.1.10: reconnecting")
        wait_until(opened.lab.answers, 60, "JupyterLab at the port")
        took("another address, JupyterLab answers again", began)
        goes_on(kernel)
    finally:
        readdress(centre.laptop, NEW, "10.77.1.10")
        opened.close()


def test_a_route_by_another_address_is_no_reason_to_reconnect(centre: Centre, opened: Opened, kernel: Kernel) -> None:
    """As when a VPN begins: the old address is still there, and so is the connection."""
    before = masters(centre.laptop)
    centre.laptop.run(f"ip addr add {NEW}/32 dev outside && {route_by(NEW)}", "root", check=True)
    try:
        time.sleep(3)  # it looks twice a second
        wait_until(opened.lab.answers, 10, "JupyterLab at the port")
        goes_on(kernel)
        assert masters(centre.laptop) == before
    finally:
        centre.laptop.run(f"{route_by('10.77.1.10')} && ip addr del {NEW}/32 dev outside", "root", check=True)
        opened.close()


def test_port_taken(centre: Centre) -> None:
    with_port = (
        "import socket, time; s = socket.create_server(('127.0.0.1', 38888)); print('up', flush=True); time.sleep(99)"
    )
    taker = centre.laptop.popen(["/usr/bin/python3", "-c", with_port])
    assert taker.stdout
    assert taker.stdout.readline() == "up\n"
    try:
        done = gears(centre.laptop, "open andes --no-browser")
        assert done.returncode == 1
        assert "port 38888 of this machine is in use by python3 (pid " in done.stderr
        assert "open andes --port 38889" in done.stderr
        opened = await_up(centre.laptop, type_open(centre.laptop, "andes --no-browser --port 38889"))
        assert opened.lab.where == 38889
        assert opened.lab.patient.answers()
        opened.close()
    finally:
        centre.laptop.end_popen(taker)
    await_nothing_left(centre.laptop)


def test_what_a_killed_one_left_is_cleared_up(centre: Centre) -> None:
    shell = centre.laptop.spawn("sh", timeout_s=60)
    shell.sendline(f"{home()}/.venv/bin/gears open andes --no-browser")
    shell.expect("leave +Ctrl-C")
    centre.laptop.kill(*[p.pid for p in centre.laptop.processes("alice") if "open" in p.argv], check=True)
    shell.expect("Killed")
    again = await_up(centre.laptop, type_open(centre.laptop, "andes --no-browser"))
    assert len(masters(centre.laptop)) == 1
    assert again.lab.patient.answers()
    assert again.close() == 130
    shell.close()
    await_nothing_left(centre.laptop)


def test_a_closed_terminal_leaves_nothing(centre: Centre, opened: Opened) -> None:
    opened.terminal.close()
    await_nothing_left(centre.laptop)
    assert gears(centre.hub, "status andes").returncode == 0


def test_a_stanza_in_the_persons_own_file_is_not_in_the_way(centre: Centre) -> None:
    """Its forward of the same port neither disturbs nor is used; what else it says holds."""
    gears(centre.laptop, "ssh-config andes --write", check=True)
    opened = await_up(centre.laptop, type_open(centre.laptop, "andes --no-browser"))
    assert opened.lab.patient.answers()
    assert listening_ports(centre.laptop) == {("0100007F", PORT)}
    opened.close()
    centre.laptop.run("rm ~/.ssh/config*", check=True)


def test_a_stopped_lab_ends_it(centre: Centre, opened: Opened) -> None:
    """It is not started again, neither by the connection that sees it go nor by one that comes back."""
    gears(centre.hub, "stop andes", check=True)
    opened.terminal.expect("the lab of andes was stopped")
    assert end(opened.terminal) == 4
    wait_until(lambda: not centre.login1.processes("alice"), 2, "nothing of hers is left")


def test_on_a_host_of_the_centre_it_says_what_to_type(centre: Centre) -> None:
    for host in (centre.hub, centre.login1):
        done = gears(host, "open andes")
        assert (done.returncode, "gears lab andes" in done.stderr) == (2, True)


def test_without_gears_on_the_front_it_says_so(centre: Centre) -> None:
    profile = f"{home()}/../.config/gears/sites/bare.toml"
    text = '[front]\nhost = "hub"\nroot = "~/nowhere"\n[lab]\nhost = "andes"\n'
    centre.laptop.run(f"cat > {profile}", input=text, check=True)
    done = gears(centre.laptop, "open bare")
    assert (done.returncode, "gears is not at ~/nowhere on hub" in done.stderr) == (1, True)
    await_nothing_left(centre.laptop)


# --- what comes from the front ---------------------------------------------------------------


def test_reports_are_told_from_what_is_for_the_screen() -> None:
    whole = b'motd\r\n{"gears":{"said":"a"}}\r\n\x1b[1mpane\x1b[0m{"gears":{"login":false}}\r\nrest {not}'
    shown, reports, rest = split(whole)
    assert (shown, rest) == (b"motd\r\n\x1b[1mpane\x1b[0mrest {not}", b"")
    assert reports == [{"said": "a"}, {"login": False}]
    for cut in range(len(whole)):
        first, before, rest = split(whole[:cut])
        second, after, end = split(rest + whole[cut:])
        assert (first + second + end, before + after) == (shown, reports)
