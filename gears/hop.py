"""A hop: one ssh process with one session, a forward to the next host's socket beside the remote command.

Plans the command line (`plan_hop`) and says why an ssh ended (`why_ended`). ssh exits 255 for every failure of its own,
so the reason is read from its standard error, in its English, which ssh never translates.
"""

from __future__ import annotations

import base64
import functools
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gears.command import run
from gears.errors import CommandFailed, MissingProgram
from gears.rundir import RunDir
from gears.sites import Site, to_json
from gears.state import Ended, Pin

ENDED = 4
"""Exit status of the remote command when the lab was stopped on purpose."""

STOPPED = "gears: all has ended here"
"""The last line of the remote command, when it was told to stop the lab and has."""

ELSEWHERE = 66
"""Exit status of the remote command on another node than the one that was meant (`only_on`)."""

ANOTHER_NODE = "gears: this is another node"

FORBIDDING = "AllowStreamLocalForwarding, AllowTcpForwarding, PermitOpen or DisableForwarding"
"""sshd_config(5): each of these can close the way, and ssh is told the same for all."""

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


@dataclass(frozen=True, slots=True)
class Hop:
    """How to dial the next host. `options` go before the host's name; the loop adds how and where. `forward`: words of
    the command line, read by a shell; empty where one of the options sees to it."""

    host: str
    key_alias: str
    options: tuple[str, ...]
    forward: str
    remote: str


def plan_hop(site: Site, paths: RunDir, gears: str, *, job: bool = False, forward: str = "", control: str = "") -> Hop:
    """Plan the hop from this host to the site's lab host.

    `gears`: the command on the lab host. `job`: a job is asked for. `forward`, `control`: as `own_forward` has them.

    Asks `ssh -G` what the person's configuration says of the host. Raises CommandFailed with ssh's words where that is
    wrong, MissingProgram without ssh.
    """
    host = str(site.lab.host)
    effective = effective_options(host)
    behind = forward if has_forwards(host) else ""
    return Hop(
        host=host,
        key_alias=known_as(effective, host),
        options=ssh_options(
            effective.get("ciphers", ""), forward=behind, control=control, clear=not forward or bool(behind)
        ),
        forward="" if behind else forward,
        remote=remote_command(site, paths, gears, job=job),
    )


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


def remote_command(site: Site, paths: RunDir, gears: str, *, job: bool = False) -> str:
    """Return what the lab host runs.

    Where it does not share our home, and so our profiles, the resolved one is handed over; with a job always, since the
    command line may have changed it.

    Every word is safe in any login shell, and none is secret: processes' arguments can be read by all users of a host.
    """
    command = f"{gears} _serve {site.name} --local {paths.local} --dir {site.lab.directory}"
    if site.envs.default:
        command += f" --env {site.envs.default}"
    if job:
        return f"{command} --job --profile {hand_over(site)}"
    return command if site.lab.home == "shared" else f"{command} --profile {hand_over(site)}"


def hand_over(site: Site) -> str:
    """Return the resolved profile in one word, as `_serve --profile` takes it."""
    return base64.urlsafe_b64encode(to_json(site).encode()).decode()


def remote_gears(site: Site, home: Path, executable: str) -> str:
    """Return the command for gears on the lab host.

    It is under the profile's `lab.root`, else at the same path as here (`executable`). A leading ~ is left to the
    remote shell.
    """
    if site.lab.root:
        return f"{site.lab.root}/.venv/bin/gears"
    given = f"env GEARS_HOME={shlex.quote(str(home))} " if os.environ.get("GEARS_HOME") else ""
    return f"{given}{shlex.quote(executable)}"


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


def way_back(host: str, pin: Pin) -> str:
    """Tell how the node of `pin` is reached again behind `host`: by "address", else by "name".

    By name, by which another node may answer, where the person's configuration would not apply to the address as it
    does to the name, or that is no way from here.
    """
    address, port = str(pin.address), pin.port or ""
    named = effective_options(host)
    if port not in ("", named.get("port", port)):
        return "name"
    if any(named.get(way, "none") != "none" for way in ("proxycommand", "proxyjump")):
        return "name"
    if named.get("gssapiauthentication") == "yes" and has_ticket():
        return "name"
    lines = _but_for_the_name(effective_lines(host))
    same = lines == _but_for_the_name(effective_lines(host, *by_address(address, host)))
    return "address" if same and not any("%h" in line for line in lines) else "name"


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
    return _but_for_the_name(effective_lines(host)) == _but_for_the_name(effective_lines(other))


def _but_for_the_name(lines: list[str]) -> list[str]:
    return [line for line in lines if line.split(" ")[0] not in ("host", "hostname", "hostkeyalias")]


def by_address(address: str, key_alias: str) -> tuple[str, ...]:
    """Return the options by which ssh dials `address`, and looks up the host's key under `key_alias`."""
    return ("-o", f"HostName={address}", "-o", f"HostKeyAlias={key_alias}")


ON_NODE = f"""sh -c 'test "$(uname -n)" = "$0" || {{ echo "{ANOTHER_NODE}" >&2; exit {ELSEWHERE}; }}'"""
"""With a node's name, in any login shell: whether this is that node."""


def dial_again(hop: Hop, pin: Pin) -> tuple[tuple[str, ...], str]:
    """Return ssh's options, and what stands before the remote command, to reach the node of `pin`.

    Any node, where the pin is empty.
    """
    if not pin.address:
        return (), ""
    if (pin.by or way_back(hop.host, pin)) == "address":
        return by_address(pin.address, hop.key_alias), ""
    return (), f"{ON_NODE} {pin.host} && "


NOT_AT_AN_ADDRESS = ("refused", "hostkey", "hostkey-unknown", "config")
"""Kinds of Ended that may be another at the host's name, where the person's configuration applies."""


def may_enter_by_name(host: str, ended: Ended) -> bool:
    """Tell whether a dial by address that ended so is worth another one by name. A ticket is good for names only."""
    if ended.kind == "login":
        return effective_options(host).get("gssapiauthentication") == "yes"
    return ended.kind in NOT_AT_AN_ADDRESS


def _prefer_fast(ciphers: str) -> str:
    """Put AES-GCM first of the same ciphers.

    Nothing is added to what the person's or the site's configuration allows.
    """
    allowed = [cipher for cipher in ciphers.split(",") if cipher]
    fast = [cipher for cipher in FAST_CIPHERS if cipher in allowed]
    return ",".join(fast + [cipher for cipher in allowed if cipher not in fast])


# --- why it ended ----------------------------------------------------------------------------


def why_ended(status: int, stderr: str, *, site: str, host: str, asked: bool, again: str = "") -> Ended:
    """Say why ssh ended. `asked`: a person was at its prompt. `again`: what dials once more, else `gears lab SITE`."""
    again = again or f"gears lab {site}"
    if status == ENDED:
        return Ended("stopped", "the lab was stopped on its host", again)
    if 128 < status < 255:
        return _killed(status - 128, host, again, asked)
    if status == ELSEWHERE:
        return Ended("network", f"{host} led to another node than the one the lab is on", again)
    if status != 255:
        return _remote_ended(status, stderr, site, host)
    if found := _cause(stderr):
        kind, reason, cure = found
        return Ended(kind, reason.format(host=host), cure.format(host=host, site=site, again=again))
    if denied := re.search(r"(?:(\S+): )?Permission denied \(([^)]*)\)", stderr):
        before = denied[1] if re.search(PROXY_ENDED, stderr[denied.end() :]) else None
        return _denied(denied[2], (before or host).rpartition("@")[2], again, asked)
    return Ended("network", f"{host}: {_last_line(stderr) or 'the connection ended'}", again)


def _cause(stderr: str) -> tuple[str, str, str] | None:
    """Find the last line that tells why; None where there is none.

    ssh goes on after what it says before, as of a name it could not canonicalize.
    """
    if re.search(_REASONS[0][0], stderr):  # further lines follow
        return _REASONS[0][1:]
    for line in reversed(stderr.splitlines()):
        if re.search(_OTHERWISE, line):
            return None
        for pattern, *found in _REASONS:
            if re.search(pattern, line, re.IGNORECASE):
                return found[0], found[1], found[2]
    return None


PROXY_ENDED = r"UNKNOWN port 65535"
"""What ssh says of a connection through another ssh, which may have named the host that let nobody in."""

_OTHERWISE = (
    r"Permission denied \(|connect to host \S+ port \d+: |^Timeout, server |^Connection to \S+ timed out"
    r"|^Connection (closed|reset) by (?!UNKNOWN)|^(Received disconnect|Disconnected) from (?!.*Too many auth)"
)
"""Lines with a cause that is none of the following."""

_REASONS: list[tuple[str, str, str, str]] = [
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "hostkey",
        "the host key of {host} has changed: somebody may be listening in, or the centre has new keys",
        "ask the centre whether it has new keys; if so: ssh-keygen -R {host} && {again}",
    ),
    (
        r"Host key verification failed|No .* host key is known for",
        "hostkey-unknown",
        "the host key of {host} is not known yet",
        "{again}   (in a terminal: ssh asks once; or first: ssh {host})",
    ),
    (
        r"Could not resolve hostname",
        "unknown-host",
        "no host is known by the name {host}",
        "ssh {host}   (on a laptop: type this on the front instead; else check lab.host in the profile)",
    ),
    (
        r"unix_listener|cannot listen to|Could not request local forwarding|Bad local forwarding"
        r"|forwarding request failed",
        "forward",
        "ssh could not bind the hop's socket",
        "gears doctor {site}",
    ),
    (
        r"Bad configuration option|Bad SSH2 cipher|terminating, \d+ bad configuration|no argument after keyword"
        r"|Bad owner or permissions",
        "config",
        "ssh does not accept its configuration",
        "ssh -G {host}",
    ),
    (
        r"Too many authentication failures|no mutual signature|Unable to negotiate|no matching",
        "refused",
        "{host} and this ssh do not agree",
        "ssh -v {host}",
    ),
]


def _denied(methods: str, host: str, again: str, asked: bool) -> Ended:
    """Say why nobody was let in.

    `methods`: what the server would still take; without a key among them ours was accepted, or is not asked for.
    """
    wants_person = "keyboard-interactive" in methods or "password" in methods
    if wants_person and asked:
        return Ended("login", f"{host} did not accept the passcode (one try was made, none is made by itself)", again)
    if wants_person:
        return Ended("login", f"{host} wants a passcode", f"{again}   (in a terminal)")
    return Ended(
        "refused",
        f"{host} refused the login key ({methods})",
        f"ssh {host}   (ssh-copy-id {host} brings the key there)",
    )


def _killed(signal: int, host: str, again: str, asked: bool) -> Ended:
    """Say what became of an ssh that a signal killed.

    Once connected, ssh answers a signal with 255; before, at its prompt, it dies of what a person sends it.
    """
    if asked and signal in (1, 2, 15):
        return Ended("login", f"the login to {host} was broken off", again)
    return Ended("network", f"{host}: ssh was killed by signal {signal}", again)


def _remote_ended(status: int, stderr: str, site: str, host: str) -> Ended:
    if status in (126, 127):
        cure = f"ssh {host}   (there: git clone … gears && cd gears && make init; or set lab.root in the profile)"
        return Ended("remote", f"gears is not installed on {host}: {_last_line(stderr)}", cure)
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and not re.match(r"channel \d+: ", line)]
    cures = [line.removeprefix("next: ") for line in lines if line.startswith("next: ")]
    if not any(line.startswith(("gears: ", "Traceback ")) for line in lines):
        return before_gears(host, f"the session ended with {status}", _last_line(stderr))
    reason = " ".join(line.removeprefix("gears: ") for line in lines[-3:] if not line.startswith("next: "))
    following = f"ssh {host}   (there: {cures[-1]})" if cures else f"gears logs {site}"
    if cures and (found := re.search(rf"gears (lab {re.escape(site)} --job .*)", cures[-1])):
        following = f"gears {found[1]}"  # that is to be typed here again
    return Ended("remote", f"{host}: {reason}", following)


def before_gears(host: str, how: str, said: str = "") -> Ended:
    """Make the reason of a session that ended without a word of gears in it. `said`: the last line of others."""
    words = f" ({said})" if said else ""
    reason = f"{host}: {how} before gears began in it{words}, as by exit or exec in a start-up file of yours there"
    return Ended("remote", reason, f"ssh {host} echo works   (if it prints nothing: look into ~/.bashrc there)")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else ""
