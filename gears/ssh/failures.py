"""Why an ssh ended.

It exits with 255 for every failure of its own, so the reason is read from its standard error, in its English, which ssh
never translates.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ENDED = 4
"""Exit status of the remote command when the lab was stopped on purpose."""

STOPPED = "gears: all has ended here"
"""The last line of the remote command, when it was told to stop the lab and has."""

ELSEWHERE = 66
"""Exit status of the remote command on another node than the one that was meant (`only_on`)."""

ANOTHER_NODE = "gears: this is another node"

FORBIDDING = "AllowStreamLocalForwarding, AllowTcpForwarding, PermitOpen or DisableForwarding"
"""sshd_config(5): each of these can close the way, and ssh is told the same for all."""


def explain_failure(status: int, stderr: str, *, site: str, host: str, interactive: bool, again: str = "") -> Failure:
    """Say why ssh ended. `interactive`: a person was at its prompt. `again`: what dials once more.

    That is else `gears lab SITE`.
    """
    again = again or f"gears lab {site}"
    if status == ENDED:
        return Failure("stopped", "the lab was stopped on its host", again)
    if 128 < status < 255:
        return _killed(status - 128, host, again, interactive)
    if status == ELSEWHERE:
        return Failure("network", f"{host} led to another node than the one the lab is on", again)
    if status != 255:
        return _remote_ended(status, stderr, site, host)
    if found := _cause(stderr):
        kind, reason, fix = found
        return Failure(kind, reason.format(host=host), fix.format(host=host, site=site, again=again))
    if denied := re.search(r"(?:(\S+): )?Permission denied \(([^)]*)\)", stderr):
        before = denied[1] if re.search(PROXY_ENDED, stderr[denied.end() :]) else None
        return _denied(denied[2], (before or host).rpartition("@")[2], again, interactive)
    return Failure("network", f"{host}: {_last_line(stderr) or 'the connection ended'}", again)


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


def _denied(methods: str, host: str, again: str, interactive: bool) -> Failure:
    """Say why nobody was let in.

    `methods`: what the server would still take; without a key among them ours was accepted, or is not asked for.
    """
    wants_person = "keyboard-interactive" in methods or "password" in methods
    if wants_person and interactive:
        return Failure("login", f"{host} did not accept the passcode (one try was made, none is made by itself)", again)
    if wants_person:
        return Failure("login", f"{host} wants a passcode", f"{again}   (in a terminal)")
    return Failure(
        "refused",
        f"{host} refused the login key ({methods})",
        f"ssh {host}   (ssh-copy-id {host} brings the key there)",
    )


def _killed(signal: int, host: str, again: str, interactive: bool) -> Failure:
    """Say what became of an ssh that a signal killed.

    Once connected, ssh answers a signal with 255; before, at its prompt, it dies of what a person sends it.
    """
    if interactive and signal in (1, 2, 15):
        return Failure("login", f"the login to {host} was broken off", again)
    return Failure("network", f"{host}: ssh was killed by signal {signal}", again)


def _remote_ended(status: int, stderr: str, site: str, host: str) -> Failure:
    if status in (126, 127):
        fix = f"ssh {host}   (there: git clone … gears && cd gears && make init; or set lab.root in the profile)"
        return Failure("remote", f"gears is not installed on {host}: {_last_line(stderr)}", fix)
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and not re.match(r"channel \d+: ", line)]
    fixes = [line.removeprefix("next: ") for line in lines if line.startswith("next: ")]
    if not any(line.startswith(("gears: ", "Traceback ")) for line in lines):
        return before_gears(host, f"the session ended with {status}", _last_line(stderr))
    reason = " ".join(line.removeprefix("gears: ") for line in lines[-3:] if not line.startswith("next: "))
    following = f"ssh {host}   (there: {fixes[-1]})" if fixes else f"gears logs {site}"
    if fixes and (found := re.search(rf"gears (lab {re.escape(site)} --job .*)", fixes[-1])):
        following = f"gears {found[1]}"  # that is to be typed here again
    return Failure("remote", f"{host}: {reason}", following)


def before_gears(host: str, how: str, said: str = "") -> Failure:
    """Make the reason of a session that ended without a word of gears in it. `said`: the last line of others."""
    words = f" ({said})" if said else ""
    reason = f"{host}: {how} before gears began in it{words}, as by exit or exec in a start-up file of yours there"
    return Failure("remote", reason, f"ssh {host} echo works   (if it prints nothing: look into ~/.bashrc there)")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else ""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an ssh ended. kind: login, refused, hostkey, unknown-host, network, forward, remote, config or stopped.

    Only `network` is dialled again by itself; the others want a person, or nobody.
    """

    kind: str
    reason: str
    next: str | None = None


NOT_AT_AN_ADDRESS = ("refused", "hostkey", "hostkey-unknown", "config")
"""Kinds of Ended that may be another at the host's name, where the person's configuration applies."""
