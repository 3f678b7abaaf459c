"""Why an ssh ended.

ssh exits with 255 for every failure of its own, so the reason is read from its standard error, which it never
translates.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ENDED = 4
"""Exit status of the remote command after the lab was stopped on purpose."""

STOPPED = "gears: all has ended here"
"""The last line of the remote command after it has stopped the lab on request."""

WRONG_NODE = 66
"""Exit status of the remote command on a node other than the pinned one (`pin.NODE_GUARD`)."""

ANOTHER_NODE = "gears: this is another node"

FORBIDDING = "AllowStreamLocalForwarding, AllowTcpForwarding, PermitOpen or DisableForwarding"
"""sshd_config(5): each of these can forbid the forward, and ssh reports the same for all."""


def explain_failure(status: int, stderr: str, *, site: str, host: str, interactive: bool, again: str = "") -> Failure:
    """Explain why ssh ended with `status`.

    `interactive`: a user was at its prompt. `again`: the command that dials again, by default `gears lab SITE`.
    """
    again = again or f"gears lab {site}"
    if status == ENDED:
        return Failure("stopped", "the lab was stopped on its host", again)
    if 128 < status < 255:
        return _killed(status - 128, host, again, interactive)
    if status == WRONG_NODE:
        return Failure("network", f"{host}: reached another node, not the lab's", again)
    if status != 255:
        return _remote_ended(status, stderr, site, host)
    if found := _cause(stderr):
        kind, reason, fix = found
        return Failure(kind, reason.format(host=host), fix.format(host=host, site=site, again=again))
    if denied := re.search(r"(?:(\S+): )?Permission denied \(([^)]*)\)", stderr):
        before = denied[1] if re.search(PROXY_ENDED, stderr[denied.end() :]) else None
        return _denied(denied[2], (before or host).rpartition("@")[2], again, interactive)
    return Failure("network", f"{host}: {_last_line(stderr) or 'connection closed'}", again)


def _cause(stderr: str) -> tuple[str, str, str] | None:
    """Find the last line that gives a reason; None if there is none.

    ssh continues after earlier messages, such as a name that it could not canonicalize.
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
"""ssh's message for a connection through a proxy that ended; the proxy's ssh may have named the refusing host."""

_OTHERWISE = (
    r"Permission denied \(|connect to host \S+ port \d+: |^Timeout, server |^Connection to \S+ timed out"
    r"|^Connection (closed|reset) by (?!UNKNOWN)|^(Received disconnect|Disconnected) from (?!.*Too many auth)"
)
"""Lines with a cause that is not among _REASONS."""

_REASONS: list[tuple[str, str, str, str]] = [
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "hostkey",
        "the host key of {host} has changed: the connection may be intercepted, or the centre has new keys",
        "ask the centre whether it has new keys; if so: ssh-keygen -R {host} && {again}",
    ),
    (
        r"Host key verification failed|No .* host key is known for",
        "hostkey-unknown",
        "the host key of {host} is unknown",
        "{again}   (in a terminal: ssh asks once; or first: ssh {host})",
    ),
    (
        r"Could not resolve hostname",
        "unknown-host",
        "cannot resolve host name {host}",
        "ssh {host}   (on a laptop: run this on the front instead; otherwise check lab.host in the profile)",
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
        "ssh rejected its configuration",
        "ssh -G {host}",
    ),
    (
        r"Too many authentication failures|no mutual signature|Unable to negotiate|no matching",
        "refused",
        "ssh could not negotiate a connection with {host}",
        "ssh -v {host}",
    ),
]


def _denied(methods: str, host: str, again: str, interactive: bool) -> Failure:
    """Explain a denied login. `methods`: authentication methods with which the server would have continued."""
    needs_passcode = "keyboard-interactive" in methods or "password" in methods
    if needs_passcode and interactive:
        return Failure(
            "login", f"{host} did not accept the passcode (gears never retries a passcode automatically)", again
        )
    if needs_passcode:
        return Failure("login", f"{host} requires a passcode", f"{again}   (in a terminal)")
    return Failure(
        "refused",
        f"{host} refused the login key ({methods})",
        f"ssh {host}   (ssh-copy-id {host} installs the key)",
    )


def _killed(signal: int, host: str, again: str, interactive: bool) -> Failure:
    """Explain an ssh that died by a signal.

    Once connected, ssh exits with 255 on a signal; at its prompt it dies by the signal that the user sends.
    """
    if interactive and signal in (1, 2, 15):
        return Failure("login", f"login to {host} was interrupted", again)
    return Failure("network", f"{host}: ssh was killed by signal {signal}", again)


def _remote_ended(status: int, stderr: str, site: str, host: str) -> Failure:
    if status in (126, 127):
        fix = f"ssh {host}   (there: git clone … gears && cd gears && make init; or set lab.root in the profile)"
        return Failure("remote", f"gears is not installed on {host}: {_last_line(stderr)}", fix)
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and not re.match(r"channel \d+: ", line)]
    fixes = [line.removeprefix("next: ") for line in lines if line.startswith("next: ")]
    if not any(line.startswith(("gears: ", "Traceback ")) for line in lines):
        return ended_before_gears(host, f"the session ended with exit status {status}", _last_line(stderr))
    reason = " ".join(line.removeprefix("gears: ") for line in lines[-3:] if not line.startswith("next: "))
    command = f"ssh {host}   (there: {fixes[-1]})" if fixes else f"gears logs {site}"
    if fixes and (found := re.search(rf"gears (lab {re.escape(site)} --job .*)", fixes[-1])):
        command = f"gears {found[1]}"  # this one is to be run here again
    return Failure("remote", f"{host}: {reason}", command)


def ended_before_gears(host: str, how: str, last_line: str = "") -> Failure:
    """Explain a session that ended without any output of gears. `last_line`: of other output."""
    quoted = f" ({last_line})" if last_line else ""
    reason = f"{host}: {how} before gears started{quoted}, for example because a start-up file there runs exit or exec"
    return Failure("remote", reason, f"ssh {host} echo works   (if it prints nothing, check ~/.bashrc there)")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else ""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an ssh ended. kind: login, refused, hostkey, unknown-host, network, forward, remote, config or stopped.

    gears redials automatically only after `network`; the others require the user, or nothing.
    """

    kind: str
    reason: str
    next: str | None = None


NAME_DEPENDENT_KINDS = ("refused", "hostkey", "hostkey-unknown", "config")
"""Kinds of failure that can differ when dialling by name, to which the user's configuration applies."""
