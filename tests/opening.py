"""`gears open` in a terminal of the laptop, as the tests of it share it."""

import time
from dataclasses import dataclass

import pexpect

from tests.centre import Centre, Host
from tests.helpers import Lab, home, listening_ports, wait_until

PORT = 38888
ENTER = "next: press Enter here"


@dataclass
class Opened:
    """A `gears open` that is up: its terminal, and the lab behind the laptop's port."""

    laptop: Host
    terminal: "pexpect.spawn[str]"
    lab: Lab

    def close(self) -> int | None:
        """Ctrl-C: the exit status."""
        self.terminal.sendcontrol("c")
        return end(self.terminal)


def type_open(laptop: Host, words: str = "andes", **env: str) -> "pexpect.spawn[str]":
    return laptop.spawn(f"exec {home()}/.venv/bin/gears open {words}", env=env, timeout_s=60)


def await_up(laptop: Host, terminal: "pexpect.spawn[str]") -> Opened:
    terminal.expect(r"open +http://localhost:(\d+)/lab\?token=(\w+)")
    assert terminal.match
    port, token = terminal.match.groups()
    terminal.expect("leave +Ctrl-C")
    return Opened(laptop, terminal, Lab(laptop, int(port), token, timeout_s=5))


def end(terminal: "pexpect.spawn[str]") -> int | None:
    terminal.expect(pexpect.EOF)
    terminal.close()
    return terminal.exitstatus


def prompts(host: Host) -> int:
    """How often this host's sshd has asked for a passcode."""
    return host.path("/var/log/sshd.log").read_text().count("Postponed keyboard-interactive for alice")


def left(laptop: Host) -> list[object]:
    """What is left on the laptop: processes, ports, files."""
    processes = [process.argv for process in laptop.processes("alice")]
    files = list(laptop.path("/tmp").glob("gears-*"))
    files += [path for path in laptop.path(f"{home()}/run").glob("*/*") if path.name.startswith("open")]
    return [*processes, *listening_ports(laptop), *files]


def await_nothing_left(laptop: Host) -> None:
    wait_until(lambda: not left(laptop), 10, f"nothing of gears is left: {left(laptop)}")


def fall_asleep(centre: Centre, for_s: float) -> None:
    """All processes of the laptop stand still, its network is away, and the hub ends the session."""
    pids = [process.pid for process in centre.laptop.processes("alice")]
    centre.laptop.kill(*pids, signal="STOP", check=True)
    centre.laptop.cut()
    centre.hub.kill_sessions("alice")
    time.sleep(for_s)
    centre.laptop.heal()
    centre.laptop.kill(*pids, signal="CONT", check=True)


def route_by(address: str) -> str:
    """The command by which the laptop sends to the hub from another address of its own."""
    return f"ip route replace 10.77.1.0/24 dev outside src {address}"


def readdress(laptop: Host, old: str, new: str) -> None:
    """As Wi-Fi elsewhere: what was connected from the old address is lost without a word."""
    change = f"ip addr add {new}/32 dev outside && {route_by(new)} && ip addr del {old}/32 dev outside"
    laptop.run(change, "root", check=True)


def masters(laptop: Host) -> list[int]:
    """Pids of the ssh of a `gears open` on the laptop, without those of jump hosts."""
    return [p.pid for p in laptop.processes("alice") if p.comm == "ssh" and "ControlMaster=yes" in p.argv]
