"""The command line and the configuration of the laptop's ssh. Pure, except for `ssh -G`.

The route is the stanza's, with the user's own configuration after it. It is in a file, because BatchMode must also
apply to the ssh of each jump host: none of them may prompt while the user is away.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from gears.sites.paths import RunDir
from gears.sites.route import Route
from gears.ssh.login_shell import for_login_shell
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
"""Options for the ssh to the front and to its jump hosts, in addition to those that keep out what the user's own files
set, as the port's forward of a stanza: here it is added later."""

PATIENT = {False: "2", True: "24"}
"""ServerAliveCountMax, by whether the dial is interactive. A connection without a passcode is given up after 15 s of
silence and dialled again. One that cost a passcode is kept for two minutes: it survives a shorter network failure."""


@dataclass(frozen=True, slots=True)
class Dial:
    """One attempt to connect: `config` is the content of the file that `argv` names."""

    argv: tuple[str, ...]
    config: str
    interactive: bool


def plan_dial(route: Route, paths: RunDir, number: int, *, user: str, interactive: bool, words: Sequence[str]) -> Dial:
    """Plan one connection to the front, in a session with a terminal, for the passcode of the next hop.

    `interactive`: the user is present, so every ssh may prompt. `words`: options of `gears lab` for gears on the front.
    The port's forward is added later, once the port is free (`forward_command`).
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
    """Return the configuration for ssh: options for every host, the stanza's blocks, then the user's own files."""
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
    """Return the command that tells the running ssh of dial `number` to forward the laptop's port to `socket`.

    It uses no session of the front.
    """
    control = str(paths.open_control(number))
    return ["ssh", "-F", "none", "-S", control, "-O", "forward", "-L", f"127.0.0.1:{port}:{socket}", "front"]


def end_command(control: str) -> list[str]:
    """Return the command that ends an ssh that a killed `gears open` left running."""
    return ["ssh", "-F", "none", "-S", control, "-O", "exit", "front"]


def remote_command(route: Route, user: str, words: Sequence[str]) -> str:
    """Return the command for the front's shell, which `gears _open` replaces."""
    gears = f"{front_root(route.site, user)}/.venv/bin/gears"
    return for_login_shell(f"exec {gears} _open {shlex.join([route.site.name, *words])}")


def first_host(route: Route) -> str:
    """Return the host to which this machine connects directly."""
    jumps = route.site.front.jump
    return jumps[0].rpartition("@")[2] if jumps else route.front


def choose_user(route: Route, given: str | None) -> str:
    """Choose the user name on the front: as given, from the profile, else from ssh's configuration (stanza first).

    Raises CommandFailed if ssh can't read its configuration.
    """
    if found := given or route.site.front.user:
        return found
    stanza = effective_options(alias(route.site.name))
    options = stanza if stanza.get("hostname") == route.front.lower() else effective_options(route.front)
    return options["user"]
