"""`gears open` where the hub wants a passcode: asked for once, and never before somebody is there."""

import re
import socket
import time
from collections.abc import Iterator

import pexpect
import pytest

from tests.centre import Centre
from tests.helpers import Kernel, connect, gears, home, listening_ports, record, wait_until
from tests.opening import (
    ENTER,
    PORT,
    Opened,
    await_nothing_left,
    await_up,
    end,
    masters,
    prompts,
    type_open,
)

CENTRE = {"totp": ("hub",)}
PROMPT = "Verification code: "
CUT_S = 30
RECORDER = """#!/bin/sh
printf '%s\\n' "$*" >> /tmp/shown-$(basename "$0")
"""


def shown(centre: Centre, program: str) -> list[str]:
    """What the stand-ins for a browser and for the desktop's notifications were given."""
    file = centre.laptop.path(f"/tmp/shown-{program}")
    return file.read_text().splitlines() if file.exists() else []


def log_in(centre: Centre, words: str = "andes") -> Opened:
    """Type `gears open andes`, and the passcode."""
    terminal = type_open(centre.laptop, words, BROWSER="browser %s")
    type_passcode(centre, terminal)
    return await_up(centre.laptop, terminal)


def type_passcode(centre: Centre, terminal: "pexpect.spawn[str]") -> None:
    terminal.expect(PROMPT)
    terminal.sendline(centre.passcode())


@pytest.fixture(scope="module")
def kernel(centre: Centre) -> Kernel:
    """With a variable; of the lab that the first `gears open` starts."""
    for program in ("browser", "notify-send"):
        centre.laptop.install(program, RECORDER)
    asked = prompts(centre.hub)
    opened = log_in(centre, "andes --no-browser")
    assert prompts(centre.hub) == asked + 1
    kernel = Kernel(opened.lab)
    kernel.run("kept = 41")
    opened.close()
    return kernel


@pytest.fixture
def opened(centre: Centre, kernel: Kernel) -> Iterator[Opened]:
    opened = log_in(centre)
    kernel.lab = opened.lab
    yield opened
    if opened.terminal.isalive():
        opened.close()
    await_nothing_left_but_records(centre)


def await_nothing_left_but_records(centre: Centre) -> None:
    centre.laptop.run("rm -f /tmp/shown-*", check=True)
    await_nothing_left(centre.laptop)


def ask_for_websocket(centre: Centre, kernel: Kernel) -> socket.socket:
    """As JupyterLab does in a tab once its kernel is out of reach; the answer is to be read."""
    connection = connect(centre.laptop, PORT, timeout_s=60)
    head = f"GET /api/kernels/{kernel.id}/channels HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\r\n"
    connection.sendall(head.encode())
    return connection


def goes_on(centre: Centre, kernel: Kernel) -> None:
    assert kernel.run("print(kept + 1)") == "42\n"


def test_one_passcode_and_the_address_is_open(centre: Centre, opened: Opened, kernel: Kernel) -> None:
    goes_on(centre, kernel)
    assert listening_ports(centre.laptop) == {("0100007F", PORT)}
    [page] = wait_until(lambda: shown(centre, "browser"), 10, "the browser was called")
    assert page == f"file://{home()}/run/andes/open.html"
    path = centre.laptop.path(page.removeprefix("file://"))
    assert path.stat().st_mode & 0o777 == 0o600
    assert f"url=http://localhost:{PORT}/lab?token={opened.lab.token}" in path.read_text()
    for host in (centre.laptop, centre.hub):
        assert not [p for p in host.processes() if opened.lab.token in " ".join(p.argv)]


def test_typed_again_it_finds_the_first(centre: Centre, opened: Opened) -> None:
    asked = prompts(centre.hub)
    again = gears(centre.laptop, "open andes", env={"BROWSER": "browser %s"})
    assert (again.returncode, again.stdout.count("already open")) == (0, 1)
    assert f"http://localhost:{PORT}/lab" in again.stdout
    assert wait_until(lambda: len(shown(centre, "browser")) == 2, 10, "the browser was called again")
    assert prompts(centre.hub) == asked


def test_ctrl_c_leaves_the_lab_and_nothing_here(centre: Centre, opened: Opened) -> None:
    pid = record(centre.hub, "andes/lab.json")["pid"]
    assert opened.close() == 130
    await_nothing_left_but_records(centre)
    assert pid in [process.pid for process in centre.login1.processes("alice")]
    wait_until(
        lambda: not [process for process in centre.hub.processes("alice") if "_open" in process.argv],
        10,
        "the hub's end has gone",
    )


def test_a_cut_of_half_a_minute_costs_no_passcode(centre: Centre, opened: Opened, kernel: Kernel) -> None:
    asked, ssh = prompts(centre.hub), masters(centre.laptop)
    centre.laptop.cut()
    time.sleep(CUT_S)
    centre.laptop.heal()
    wait_until(opened.lab.answers, 60, "the connection goes on")
    goes_on(centre, kernel)
    assert (masters(centre.laptop), prompts(centre.hub)) == (ssh, asked)


def test_after_the_hubs_time_limit_it_asks_once_and_waits_for_somebody(
    centre: Centre, opened: Opened, kernel: Kernel
) -> None:
    channels = opened.lab.open_channels(kernel.id)
    asked = prompts(centre.hub)
    opened.terminal.send("\r")  # of somebody who pressed a key before there was a question
    centre.hub.kill_sessions("alice")
    opened.terminal.expect("hub requires a passcode")
    opened.terminal.expect(ENTER)
    page = wait_until(
        lambda: opened.lab.waits() and opened.lab.request("GET", "/lab", accept="text/html").text, 10, "page"
    )
    assert "login required" in str(page)
    assert re.search(r"<pre>Enter</pre>", str(page))
    held = ask_for_websocket(centre, kernel)
    wait_until(lambda: shown(centre, "notify-send"), 10, "the notification")
    for _ in range(3):  # nothing happens by itself
        time.sleep(1)
        assert (prompts(centre.hub), masters(centre.laptop)) == (asked, [])

    opened.terminal.send("\r")
    type_passcode(centre, opened.terminal)
    opened.terminal.expect("andes is back")
    with held:
        assert b"503" in held.recv(100)  # once JupyterLab can be reached, and not before
    goes_on(centre, kernel)
    assert prompts(centre.hub) == asked + 1
    assert len(shown(centre, "notify-send")) == 1
    channels.close()


def test_a_wrong_passcode_is_tried_once(centre: Centre, kernel: Kernel) -> None:
    asked = prompts(centre.hub)
    terminal = type_open(centre.laptop, "andes --no-browser")
    terminal.expect(PROMPT)
    terminal.sendline("000000")
    terminal.expect("hub did not accept the passcode")
    terminal.expect(ENTER)
    time.sleep(2)
    assert (prompts(centre.hub), masters(centre.laptop)) == (asked + 1, [])
    terminal.send("\r")
    terminal.expect(PROMPT)
    terminal.sendline(centre.passcode())
    assert await_up(centre.laptop, terminal).close() == 130
    await_nothing_left_but_records(centre)


def test_a_prompt_that_nobody_answers_ends(centre: Centre, kernel: Kernel) -> None:
    terminal = type_open(centre.laptop, GEARS_PROMPT_S="2")
    terminal.expect(PROMPT)
    terminal.expect("no passcode entered for hub in time")
    terminal.expect(ENTER)
    assert masters(centre.laptop) == []
    terminal.sendcontrol("c")
    assert end(terminal) == 130
    await_nothing_left_but_records(centre)


def test_without_a_terminal_it_asks_nobody(centre: Centre, kernel: Kernel) -> None:
    asked = prompts(centre.hub)
    done = gears(centre.laptop, "open andes")
    assert done.returncode == 3
    assert re.search(r"hub requires a passcode\n  next: \S*gears open andes   \(in a terminal\)\n", done.stderr)
    assert prompts(centre.hub) == asked
    await_nothing_left_but_records(centre)


# --- passcodes further on --------------------------------------------------------------------


def test_the_passcode_of_the_hop_is_asked_for_here_too(centre: Centre, kernel: Kernel) -> None:
    """At its start, and when the hop has died behind a connection that is well."""
    gears(centre.hub, "stop andes", check=True)
    centre.login1.reconfigure_sshd(totp=True)
    opened = log_in_twice(centre)
    asked = prompts(centre.login1)
    kernel = Kernel(opened.lab)
    kernel.run("kept = 41")
    centre.hub.kill(*[p.pid for p in centre.hub.processes("alice") if p.comm == "ssh"], check=True)
    opened.terminal.expect("andes requires a passcode")
    opened.terminal.expect(ENTER)
    assert prompts(centre.login1) == asked
    opened.terminal.send("\r")
    opened.terminal.expect(r"alice@andes\) Verification code: ")
    opened.terminal.sendline(centre.passcode())
    opened.terminal.expect("andes is back")
    goes_on(centre, kernel)
    assert (prompts(centre.login1), len(masters(centre.laptop))) == (asked + 1, 1)
    assert opened.close() == 130
    centre.login1.reconfigure_sshd(totp=False)
    await_nothing_left_but_records(centre)


def log_in_twice(centre: Centre) -> Opened:
    terminal = type_open(centre.laptop, "andes --no-browser")
    for host in ("hub", "andes"):
        terminal.expect(rf"alice@{host}\) Verification code: ")
        terminal.sendline(centre.passcode())
    return await_up(centre.laptop, terminal)


MPI = '[front]\njump = ["hub"]\nproxy = "{proxy}"\n[lab]\nhost = "login1"\n[laptop]\nport = 38889\n'


@pytest.mark.parametrize("proxy", ["-W", "jump", "nc"])
def test_the_passcode_of_a_jump_host(centre: Centre, kernel: Kernel, proxy: str) -> None:
    for host in (centre.laptop, centre.login1):
        host.run("cat > ~/.config/gears/sites/mpi.toml", input=MPI.format(proxy=proxy), check=True)
    asked = prompts(centre.hub)
    terminal = type_open(centre.laptop, "mpi --no-browser")
    terminal.expect(r"alice@hub\) Verification code: ")
    terminal.sendline(centre.passcode())
    opened = await_up(centre.laptop, terminal)
    assert opened.lab.patient.answers()
    centre.hub.kill_sessions("alice")
    terminal.expect("hub requires a passcode")
    terminal.expect(ENTER)
    assert opened.lab.waits()
    assert prompts(centre.hub) == asked + 1
    assert opened.close() == 130
    await_nothing_left_but_records(centre)
