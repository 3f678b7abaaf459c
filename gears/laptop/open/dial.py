"""The command line of the laptop's ssh, and the configuration it is given. Pure, but for what `ssh -G` is asked.

The way is the stanza's, with the person's own configuration behind it. It stands in a file, for BatchMode has to hold
for the ssh of each jump host as well: none of them may ask while nobody is there.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from gears.sites.paths import RunDir
from gears.sites.route import Route
from gears.ssh.options import effective_options, neutral_options
from gears.ssh.remote_gears import front_root
from gears.ssh.stanza import alias, plan_blocks

FOR_EACH = {
    "ConnectTimeout": "5",
    "ServerAliveInterval": "5",
    "TCPKeepAlive": "yes",
    "NumberOfPasswordPrompts": "1",
    "PermitLocalCommand": "no",
}
"""What holds for the ssh to the front, and for those of its jump hosts, beside `options.neutral_options`: a stanza in
the person's own file has the port's forward, which comes later here."""

PATIENT = {False: "2", True: "24"}
"""ServerAliveCountMax. A way that needs no person is given up after 15 s of silence, and dialled anew. One that has
cost a passcode is kept for two minutes: a connection outlives a shorter cut, and hangs meanwhile."""


@dataclass(frozen=True, slots=True)
class Dial:
    """One try: `config` belongs into the file that `argv` names. `control`: where this ssh takes further forwards."""

    argv: tuple[str, ...]
    config: str
    interactive: bool


def plan_dial(route: Route, paths: RunDir, number: int, *, user: str, interactive: bool, words: Sequence[str]) -> Dial:
    """Plan a try to reach the front, in a session that has a terminal, for the passcode of the next hop.

    `interactive`: a person is there, whom every ssh may ask. `words`: for gears on the front, as `gears lab` has them.
    The port's forward is no part of it: that is asked for once the port is free (`forward_command`).
    """
    options = {
        "ControlMaster": "yes",
        "ControlPath": str(paths.open_control(number)),
        "ControlPersist": "no",
        "RequestTTY": "force",
        "EscapeChar": "none",
    }
    settings = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    config = plan_config(route, paths, user=user, interactive=interactive)
    remote = remote_command(route, user, words)
    return Dial(("ssh", "-F", str(paths.open_config), *settings, alias(route.site.name), remote), config, interactive)


def plan_config(route: Route, paths: RunDir, *, user: str, interactive: bool) -> str:
    """Return the configuration for ssh: what holds for each host, the stanza's blocks, then the person's own files."""
    settings = {"BatchMode": "no" if interactive else "yes", "ServerAliveCountMax": PATIENT[interactive]}
    settings |= FOR_EACH | neutral_options()
    blocks = plan_blocks(
        route.site, host=route.front, user=user, ssh=f"ssh -T -F {paths.open_config} -o LogLevel=ERROR"
    )
    return "\n".join(
        [
            "Host *",
            *(f"  {name} {value}" for name, value in settings.items()),
            *map(str, blocks),
            "Host *",
            "  Include ~/.ssh/config",
            "  Include /etc/ssh/ssh_config",
            "",
        ]
    )


def forward_command(paths: RunDir, number: int, port: int, socket: str) -> list[str]:
    """Return the command that asks the ssh of dial `number`, which is up, to listen at the laptop's port.

    No session of the front is used.
    """
    control = str(paths.open_control(number))
    return ["ssh", "-F", "none", "-S", control, "-O", "forward", "-L", f"127.0.0.1:{port}:{socket}", "front"]


def end_command(control: str) -> list[str]:
    """Return the command that ends an ssh that an earlier `gears open`, killed, has left behind."""
    return ["ssh", "-F", "none", "-S", control, "-O", "exit", "front"]


def remote_command(route: Route, user: str, words: Sequence[str]) -> str:
    """Return the command for the front's shell, in whose place `gears _open` is run."""
    return f"exec {front_root(route.site, user)}/.venv/bin/gears _open {shlex.join([route.site.name, *words])}"


def first_host(route: Route) -> str:
    """Return the host to which this machine itself connects."""
    jumps = route.site.front.jump
    return jumps[0].rpartition("@")[2] if jumps else route.front


def choose_user(route: Route, given: str | None) -> str:
    """Choose the person's name on the front: as given, as the profile says, else as ssh's configuration has it.

    A stanza there knows it best. Raises CommandFailed where ssh can't read its configuration.
    """
    if found := given or route.site.front.user:
        return found
    stanza = effective_options(alias(route.site.name))
    known = stanza if stanza.get("hostname") == route.front.lower() else effective_options(route.front)
    return known["user"]
