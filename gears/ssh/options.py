"""What every ssh of ours is told, and what the person's own configuration says of a host (`ssh -G`)."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Mapping

from gears.errors import CommandFailed, MissingProgram
from gears.system.commands import run

FAST_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")

NOTHING_OF_HERS = {
    "ClearAllForwardings": "yes",
    "Tunnel": "no",
    "ForwardX11": "no",
    "ForwardAgent": "no",
    "RemoteCommand": "none",
    "SessionType": "default",
    "ForkAfterAuthentication": "no",
    "StdinNull": "no",
    "LogLevel": "INFO",
}
"""ssh_config(5): what a person's configuration may add to a connection."""

CLEAR = "ClearAllForwardings"
"""Clears forwards of the command line as well. So it is told only where she has some for the host; ours is then asked
for once ssh is connected (`own_forward`)."""

YOUNG = (("RemoteCommand",), ("SessionType", "ForkAfterAuthentication", "StdinNull"))
"""Of 7.6 and of 8.7; an older ssh refuses to hear of them."""

ALONE = {"ControlMaster": "no", "ControlPath": "none", "PermitLocalCommand": "no"}


def own_forward(forward: str, control: str) -> dict[str, str]:
    """Plan a forward, `-L FROM:TO` or `-R FROM:TO`, that ClearAllForwardings leaves alone: ssh(1), -O forward.

    Where it can't be had, ssh ends. `control`: a path that is ours alone. Her own shell reads the command, as all that
    ssh runs for her.
    """
    tell = f"ssh -F none -S {control} -O"
    ask = f"{{ {tell} forward {forward} gears </dev/null >/dev/null || {tell} exit gears; }} &"
    return {
        "ControlMaster": "yes",
        "ControlPath": control,
        "ControlPersist": "no",
        "PermitLocalCommand": "yes",
        "LocalCommand": f"sh -c {shlex.quote(ask)}",
    }


ANY_NODE = "gears-node"
"""In place of a compute node, whose name is not known yet: what holds for every host."""


def has_forwards(host: str) -> bool:
    """Tell whether a person's configuration adds forwards to every connection to this host."""
    return any(re.match(r"(local|remote|dynamic)forward ", line) for line in effective_lines(host))


def ssh_options(ciphers: str = "", *, forward: str = "", control: str = "", clear: bool = True) -> tuple[str, ...]:
    """Return what every ssh of ours is told.

    `ciphers`: those that the person's configuration allows; "": not told. `forward`, `control`: as `own_forward` has
    them. Not `clear`: the command line's count.
    """
    options = {
        **nothing_of_hers(),
        CLEAR: "yes" if clear else "no",
        "ConnectTimeout": "5",
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "2",
        "TCPKeepAlive": "yes",
        "ExitOnForwardFailure": "yes",
        "StreamLocalBindMask": "0177",
        "StreamLocalBindUnlink": "no",
        "EscapeChar": "none",
        "RequestTTY": "no",
        **(own_forward(forward, control) if forward else ALONE),
        "NumberOfPasswordPrompts": "1",
        "Ciphers": _prefer_fast(ciphers),
    }
    return tuple(f"{name}={value}" for name, value in options.items() if value)


@functools.cache
def nothing_of_hers() -> dict[str, str]:
    """Return NOTHING_OF_HERS, as far as this machine's ssh knows it. Asked of ssh once."""
    unknown = [name for group in YOUNG for name in group if not _knows(group)]
    return {name: value for name, value in NOTHING_OF_HERS.items() if name not in unknown}


def _knows(names: tuple[str, ...]) -> bool:
    try:
        run(["ssh", "-F", "none", "-G", *(f"-o{name}={NOTHING_OF_HERS[name]}" for name in names), "gears"], timeout_s=5)
    except CommandFailed:
        return False
    return True


def effective_options(host: str) -> dict[str, str]:
    """Return what ssh's configuration says of a host; of a keyword that stands there several times, the last value."""
    pairs = (line.partition(" ") for line in effective_lines(host))
    return {name: value for name, _, value in pairs}


def effective_lines(host: str, *options: str) -> list[str]:
    """Return the lines of `ssh -G` for a host. Raises CommandFailed with ssh's words where it refuses."""
    try:
        return run(["ssh", "-G", *options, host], timeout_s=10).splitlines()
    except CommandFailed as exc:
        raise CommandFailed(f"ssh's configuration: {exc.stderr.strip() or exc}", next="ssh -G " + host) from exc


def known_as(effective: Mapping[str, str], host: str) -> str:
    """Return the name by which known_hosts has a host's key (sshd(8)), wherever it is dialled."""
    name, port = effective.get("hostname") or host, effective.get("port", "22")
    return effective.get("hostkeyalias") or (name if port == "22" else f"[{name}]:{port}")


def has_ticket() -> bool:
    """Tell whether there is a ticket of Kerberos (`klist -s`): one is good for a host's name alone.

    Debian's ssh would use one for every host.
    """
    try:
        run(["klist", "-s"], timeout_s=2)
    except (CommandFailed, MissingProgram):
        return False
    return True


def same_configuration(host: str, other: str) -> bool:
    """Tell whether a person's configuration says the same of both, but for their names."""
    return but_for_the_name(effective_lines(host)) == but_for_the_name(effective_lines(other))


def but_for_the_name(lines: list[str]) -> list[str]:
    """Leave out of `effective_lines` what differs between two names of a host."""
    return [line for line in lines if line.split(" ")[0] not in ("host", "hostname", "hostkeyalias")]


def by_address(address: str, key_alias: str) -> tuple[str, ...]:
    """Return the options by which ssh dials `address`, and looks up the host's key under `key_alias`."""
    return ("-o", f"HostName={address}", "-o", f"HostKeyAlias={key_alias}")


def _prefer_fast(ciphers: str) -> str:
    """Put AES-GCM first of the same ciphers.

    Nothing is added to what the person's or the site's configuration allows.
    """
    allowed = [cipher for cipher in ciphers.split(",") if cipher]
    fast = [cipher for cipher in FAST_CIPHERS if cipher in allowed]
    return ",".join(fast + [cipher for cipher in allowed if cipher not in fast])
