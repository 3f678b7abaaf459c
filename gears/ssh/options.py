"""Options that gears passes to every ssh, and the user's effective configuration for a host (`ssh -G`)."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Mapping

from gears.errors import CommandFailed, MissingProgram
from gears.system.commands import run

FAST_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")

NEUTRAL_OPTIONS = {
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
"""ssh_config(5): options that neutralize what the user's configuration can add to a connection."""

CLEAR_FORWARDINGS = "ClearAllForwardings"
"""Clears forwards of the command line too. So it is set only if the user's configuration has forwards for the host; the
forward of gears is then requested once ssh is connected (`control_socket_forward`)."""

NEWER_OPTIONS = (("RemoteCommand",), ("SessionType", "ForkAfterAuthentication", "StdinNull"))
"""Since OpenSSH 7.6 and 8.7; an older ssh rejects them."""

NO_MULTIPLEXING = {"ControlMaster": "no", "ControlPath": "none", "PermitLocalCommand": "no"}


def control_socket_forward(forward: str, control: str) -> dict[str, str]:
    """Return options that request a forward over the control socket (ssh(1), -O forward) once ssh is connected.

    ClearAllForwardings does not affect it. If it fails, ssh exits. `forward`: `-L FROM:TO` or `-R FROM:TO`. `control`:
    a private path. The user's login shell reads the command, as it does with every LocalCommand.
    """
    mux = f"ssh -F none -S {control} -O"
    request = f"{{ {mux} forward {forward} gears </dev/null >/dev/null || {mux} exit gears; }} &"
    return {
        "ControlMaster": "yes",
        "ControlPath": control,
        "ControlPersist": "no",
        "PermitLocalCommand": "yes",
        "LocalCommand": f"sh -c {shlex.quote(request)}",
    }


ANY_NODE = "gears-node"
"""Stands for a compute node whose name is not known yet: only options for all hosts apply to it."""


def has_forwards(host: str) -> bool:
    """Tell whether the user's configuration adds forwards to every connection to this host."""
    return any(re.match(r"(local|remote|dynamic)forward ", line) for line in effective_lines(host))


def ssh_options(ciphers: str = "", *, forward: str = "", control: str = "", clear: bool = True) -> tuple[str, ...]:
    """Return the options of every ssh that gears runs.

    `ciphers`: those that the user's configuration allows; "": not set. `forward`, `control`: see
    `control_socket_forward`. Without `clear`, forwards of the command line are kept.
    """
    options = {
        **neutral_options(),
        CLEAR_FORWARDINGS: "yes" if clear else "no",
        "ConnectTimeout": "5",
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "2",
        "TCPKeepAlive": "yes",
        "ExitOnForwardFailure": "yes",
        "StreamLocalBindMask": "0177",
        "StreamLocalBindUnlink": "no",
        "EscapeChar": "none",
        "RequestTTY": "no",
        **(control_socket_forward(forward, control) if forward else NO_MULTIPLEXING),
        "NumberOfPasswordPrompts": "1",
        "Ciphers": _prefer_fast(ciphers),
    }
    return tuple(f"{name}={value}" for name, value in options.items() if value)


@functools.cache
def neutral_options() -> dict[str, str]:
    """Return those of NEUTRAL_OPTIONS that this machine's ssh supports. Runs ssh once per process."""
    unknown = [name for group in NEWER_OPTIONS for name in group if not _supports(group)]
    return {name: value for name, value in NEUTRAL_OPTIONS.items() if name not in unknown}


def _supports(names: tuple[str, ...]) -> bool:
    try:
        run(["ssh", "-F", "none", "-G", *(f"-o{name}={NEUTRAL_OPTIONS[name]}" for name in names), "gears"], timeout_s=5)
    except CommandFailed:
        return False
    return True


def effective_options(host: str) -> dict[str, str]:
    """Return the effective options for a host; of a keyword with several values, the last."""
    pairs = (line.partition(" ") for line in effective_lines(host))
    return {name: value for name, _, value in pairs}


def effective_lines(host: str, *options: str) -> list[str]:
    """Return the lines of `ssh -G` for a host. Raises CommandFailed with ssh's message if it is invalid."""
    try:
        return run(["ssh", "-G", *options, host], timeout_s=10).splitlines()
    except CommandFailed as exc:
        raise CommandFailed(f"ssh's configuration: {exc.stderr.strip() or exc}", next="ssh -G " + host) from exc


def host_key_alias(effective: Mapping[str, str], host: str) -> str:
    """Return the name under which known_hosts has the host's key (sshd(8)), whatever address is dialled."""
    name, port = effective.get("hostname") or host, effective.get("port", "22")
    return effective.get("hostkeyalias") or (name if port == "22" else f"[{name}]:{port}")


def has_kerberos_ticket() -> bool:
    """Tell whether there is a valid Kerberos ticket (`klist -s`). A ticket authenticates to host names, not addresses.

    Debian's ssh enables GSSAPI for every host.
    """
    try:
        run(["klist", "-s"], timeout_s=2)
    except (CommandFailed, MissingProgram):
        return False
    return True


def same_configuration(host: str, other: str) -> bool:
    """Tell whether the user's configuration for both hosts is the same, apart from their names."""
    return without_host_names(effective_lines(host)) == without_host_names(effective_lines(other))


def without_host_names(lines: list[str]) -> list[str]:
    """Return `effective_lines` without those that differ between two names of a host."""
    return [line for line in lines if line.split(" ")[0] not in ("host", "hostname", "hostkeyalias")]


def address_options(address: str, key_alias: str) -> tuple[str, ...]:
    """Return options with which ssh dials `address` and looks up the host key under `key_alias`."""
    return ("-o", f"HostName={address}", "-o", f"HostKeyAlias={key_alias}")


def _prefer_fast(ciphers: str) -> str:
    """Move AES-GCM to the front of the list. Adds no cipher that the configuration does not allow."""
    allowed = [cipher for cipher in ciphers.split(",") if cipher]
    fast = [cipher for cipher in FAST_CIPHERS if cipher in allowed]
    return ",".join(fast + [cipher for cipher in allowed if cipher not in fast])
