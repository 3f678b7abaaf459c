"""What this host's sshd forbids: its effective options, if ordinary users can read its configuration."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gears.doctor.finding import Finding, failed, ok, warning
from gears.errors import GearsError
from gears.sites.context import Context
from gears.system.commands import run
from gears.system.host import this_host

NEEDED = {
    "DisableForwarding": ("no",),
    "AllowTcpForwarding": ("local", "yes", "all"),
    "AllowStreamLocalForwarding": ("local", "yes", "all"),
    "PermitOpen": ("any",),
    "ForceCommand": ("none",),
}
"""sshd_config(5): each of these prevents a forward to a socket, or the session beside it, unless it has one of these
values; so do AllowTcpForwarding and PermitOpen, although they are about TCP."""

Options = dict[str, str]


def check_forwarding(context: Context) -> Iterator[Finding]:
    """Check forwarding for ssh to this host; forwarding to the next host is checked through the hop."""
    options = effective_options()
    if options is not None:
        yield judge(forbidden_by(options))
    elif context.route.kind != "local" and find_sshd():
        cause = "sshd_config is not readable: could not check whether the laptop can forward to this host"
        yield warning("forwarding", cause, f"on the laptop: ssh -v {context.site.name}-jupyter")


def judge(forbidden: list[str]) -> Finding:
    """Return the finding for the options that `forbidden_by` returned."""
    if not forbidden:
        return ok("forwarding", "sshd allows it")
    return failed("forwarding", f"sshd forbids it: {', '.join(forbidden)}", fix_for(forbidden))


def fix_for(forbidden: list[str]) -> str:
    """Return what to ask the centre for: each of these options, with the first value in NEEDED."""
    wanted = [f"{name} {NEEDED[name][0]}" for name in (words.split()[0] for words in forbidden)]
    return f"ask the centre to set in sshd_config, for you: {', '.join(wanted)}"


def forbidden_by(options: Options) -> list[str]:
    """Return the options that forbid forwarding, as `Name value`. Pure."""
    return [
        f"{name} {value}"
        for name, allowed in NEEDED.items()
        if (value := options.get(name.lower(), allowed[0])) not in allowed
    ]


def effective_options() -> Options | None:
    """Return sshd's options for this user and this connection; None if they can't be read. Takes at most 5 s.

    sshd(8) needs a host key that it can load before it prints them: any key does, so create a temporary one.
    """
    sshd = find_sshd()
    if not sshd or not shutil.which("ssh-keygen"):
        return None
    with tempfile.TemporaryDirectory(prefix="gears-doctor-") as directory:
        key = Path(directory, "key")
        try:
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], timeout_s=2)
            output = run([sshd, "-T", "-h", str(key), "-C", _connection()], timeout_s=3)
        except GearsError:
            return None
    pairs = (line.partition(" ") for line in output.splitlines())
    return {name.lower(): value for name, _, value in pairs}


def find_sshd() -> str | None:
    """Find sshd in $PATH or in the usual directories; None if it is missing."""
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/sbin")


def _connection() -> str:
    """Return this session's connection, for `Match` lines; a local one if it has none."""
    words = os.environ.get("SSH_CONNECTION", "").split()
    address, _, own, port = words if len(words) == 4 else ("127.0.0.1", "", "127.0.0.1", "22")
    return f"user={this_host().user},host={address},addr={address},laddr={own},lport={port}"
