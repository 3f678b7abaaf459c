"""Passcodes: asked for once, in the person's own terminal, and never again by itself."""

import re
import time
from collections.abc import Iterator

import pexpect
import pytest

from tests.centre import Centre, Host
from tests.helpers import Kernel, Lab, gears, home, lab_at, make, status, wait_until

CENTRE = {"totp": ("hub", "login1", "login2")}
PROMPT = r"\(alice@\w+\) Verification code: "
WRONG = "000000"


@pytest.fixture
def hub(centre: Centre) -> Iterator[Host]:
    yield centre.hub
    for host in (centre.hub, centre.login1, centre.login2):
        gears(host, "stop andes")
        wait_until(lambda host=host: not host.processes("alice"), 10, f"nothing of hers is left on {host.name}")


def prompts(host: Host) -> int:
    """How often this host's sshd has asked for a passcode."""
    return host.path("/var/log/sshd.log").read_text().count("Postponed keyboard-interactive for alice")


def ssh_runs(host: Host) -> list[int]:
    return [process.pid for process in host.processes("alice") if process.comm == "ssh"]


def resident(host: Host) -> set[str]:
    return {process.comm for process in host.processes("alice")}


def page(lab: Lab) -> str:
    """What a browser shows while the lab can't be reached."""
    reply = lab.request("GET", "/lab", accept="text/html")
    assert (reply.status, reply.headers["Retry-After"]) == (503, "2")
    return reply.text


def shows_login(lab: Lab) -> bool:
    return lab.request("GET", "/api").json()["gears"]["state"] == "needs-login"


def log_in(hub: Host, passcode: str, *, command: str = "make andes-lab") -> "pexpect.spawn[str]":
    """Type a command, and the passcode once it is asked for; what comes of it is in the terminal that is returned."""
    terminal = hub.spawn(command, cwd=home(), timeout_s=60)
    terminal.expect(PROMPT)
    terminal.sendline(passcode)
    return terminal


def end(terminal: "pexpect.spawn[str]") -> tuple[int | None, str]:
    """Exit status, and what was shown after the person's own screen was back (tmux uses the alternate one)."""
    terminal.expect(pexpect.EOF)
    terminal.close()
    return terminal.exitstatus, (terminal.before or "").rpartition("\x1b[?1049l")[2]


def test_without_a_terminal_it_says_at_once_what_to_type(centre: Centre, hub: Host) -> None:
    asked = prompts(centre.login1)
    began = time.monotonic()
    done = gears(hub, "lab andes")
    assert done.returncode == 3
    assert time.monotonic() - began < 10
    assert re.search(r"andes requires a passcode\n  next: \S*gears lab andes   \(in a terminal\)\n", done.stderr)
    assert gears(hub, "status andes").returncode == 3
    assert "Error 3" in make(hub, "andes-lab").stderr
    assert prompts(centre.login1) == asked


def test_the_waiting_page_says_so(centre: Centre, hub: Host) -> None:
    gears(hub, "lab andes")
    way = lab_at(hub)
    wait_until(lambda: "login required" in page(way), 5, "the keeper has seen it too")
    text = page(way)
    assert re.search(r'class="failed"><span>✗</span>connection hub → andes', text)
    assert "Run on <b>hub</b>" in text
    assert re.search(r"<pre>\S*gears lab andes", text)
    assert shows_login(way)


def test_a_wrong_passcode_is_tried_once(centre: Centre, hub: Host) -> None:
    asked = prompts(centre.login1)
    code, shown = end(log_in(hub, WRONG, command=f"{home()}/.venv/bin/gears lab andes"))
    assert code == 3
    assert "andes did not accept the passcode" in shown
    assert re.search(r"next: \S*gears lab andes", shown)
    for _ in range(3):  # nothing happens by itself
        time.sleep(1)
        assert (prompts(centre.login1), ssh_runs(hub)) == (asked + 1, [])
    assert "did not accept the passcode" in page(lab_at(hub))


def test_a_prompt_that_nobody_answers_ends(centre: Centre, hub: Host) -> None:
    asked = prompts(centre.login1)
    terminal = hub.spawn([f"{home()}/.venv/bin/gears", "lab", "andes"], env={"GEARS_PROMPT_S": "2"})
    terminal.expect(PROMPT)
    assert ssh_runs(hub)
    code, shown = end(terminal)
    assert code == 3
    assert re.search(r"nobody typed the passcode for andes in time\r\n  next: \S*gears lab andes", shown)
    assert (prompts(centre.login1), ssh_runs(hub)) == (asked + 1, [])


def test_whoever_turns_away_from_the_prompt_can_come_back(centre: Centre, hub: Host) -> None:
    asked = prompts(centre.login1)
    terminal = hub.spawn([f"{home()}/.venv/bin/gears", "lab", "andes"])
    terminal.expect(PROMPT)
    terminal.send("\x03")
    code, shown = end(terminal)
    assert code == 3
    assert "login to andes was interrupted" in shown
    assert (ssh_runs(hub), status(hub)["state"]) == ([], "needs-login")

    terminal = hub.spawn([f"{home()}/.venv/bin/gears", "lab", "andes"])
    terminal.expect(PROMPT)
    terminal.close()  # the terminal is gone, the prompt stays
    assert "did not accept" in end(log_in(hub, WRONG))[1]
    assert prompts(centre.login1) == asked + 2


@pytest.mark.parametrize("term", ["not-a-terminal", "dumb", None])
def test_a_terminal_unknown_to_the_host_will_do(hub: Host, term: str | None) -> None:
    command = f"{f'export TERM={term}' if term else 'unset TERM'}; exec {home()}/.venv/bin/gears lab andes"
    assert "did not accept" in end(log_in(hub, WRONG, command=command))[1]


def test_a_login_brings_back_the_same_lab_and_kernels(centre: Centre, hub: Host) -> None:
    """From the first login to a hop that died and a second login, with the laptop looking on."""
    asked = prompts(centre.login1)
    shell = hub.spawn("exec sh", cwd=home(), timeout_s=60)
    shell.sendline('before=$(stty -g); make andes-lab; test "$before" = "$(stty -g)" && echo as be\'\'fore')
    shell.expect(PROMPT)
    shell.sendline(centre.passcode())
    shell.expect("\x1b\\[\\?1049l")
    shell.expect("JupyterLab of andes is up")
    shell.expect(r"open +http://localhost:38888/lab\?token=\w+")
    shell.expect("as before")
    shell.close()
    wait_until(lambda: resident(hub) == {"tmux: server", "sh", "ssh"}, 5, "all but the hop has left")
    lab = lab_at(hub)
    kernel, pid = Kernel(lab), status(hub)["lab"]["pid"]
    kernel.run("a = 41")

    hub.kill(*ssh_runs(hub))
    wait_until(lambda: status(hub)["state"] == "needs-login", 20, "the hop's end is noticed")
    wait_until(lambda: "login required" in page(lab), 5, "the waiting page follows")
    assert "andes requires a passcode" in page(lab)
    time.sleep(2)
    assert (prompts(centre.login1), ssh_runs(hub)) == (asked + 1, [])

    assert end(log_in(hub, centre.passcode()))[0] == 0
    assert prompts(centre.login1) == asked + 2
    assert status(hub)["lab"]["pid"] == pid
    assert Kernel(lab, kernel.id).run("print(a + 1)") == "42\n"


def test_the_laptop_logs_in_once_too(centre: Centre, hub: Host) -> None:
    stanza = gears(hub, "ssh-config andes", check=True).stdout
    centre.laptop.path("/home/alice/.ssh/config").write_text(stanza)
    gears(hub, "lab andes")
    asked = prompts(hub)
    terminal = centre.laptop.spawn("ssh andes-jupyter")
    terminal.expect("Verification code: ")
    terminal.sendline(centre.passcode())
    terminal.expect(r"\$ ")
    way = lab_at(centre.laptop, where=38888)
    assert shows_login(way)
    assert end(log_in(hub, centre.passcode()))[0] == 0
    wait_until(way.answers, 5, "JupyterLab on the laptop")
    assert prompts(hub) == asked + 1
    terminal.close()
