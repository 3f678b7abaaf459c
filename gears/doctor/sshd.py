"""What this host's sshd forbids: its effective options, where an ordinary user may read its configuration."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gears.doctor.finding import Finding, failed, ok, warning
from gears.errors import GearsError
from gears.sites.paths import RunDir
from gears.sites.route import Route
from gears.system.commands import run
from gears.system.host import this_host

NEEDED = {
    "DisableForwarding": ("no",),
    "AllowTcpForwarding": ("local", "yes", "all"),
    "AllowStreamLocalForwarding": ("local", "yes", "all"),
    "PermitOpen": ("any",),
    "ForceCommand": ("none",),
}
"""sshd_config(5): each of these stops a forward to a socket, or the session beside it, unless it has such a value;
AllowTcpForwarding and PermitOpen too, though they speak of TCP."""

Options = dict[str, str]


def check_forwarding(route: Route, _paths: RunDir) -> Iterator[Finding]:
    """Check forwarding for the ssh that lands here; what lands on the next host is probed through the hop."""
    options = effective_options()
    if options is not None:
        yield judge(forbidden_by(options))
    elif route.kind != "local" and find_sshd():
        cause = "you may not read sshd_config: whether the laptop may forward to this host was not probed"
        yield warning("forwarding", cause, f"on the laptop: ssh -v {route.site.name}-jupyter")


def judge(forbidden: list[str]) -> Finding:
    """Return the finding for the options in the way, as `forbidden_by` has them."""
    if not forbidden:
        return ok("forwarding", "sshd allows it")
    return failed("forwarding", f"sshd forbids it: {', '.join(forbidden)}", fix_for(forbidden))


def fix_for(forbidden: list[str]) -> str:
    """Return what to ask the centre for: each option in the way, with the first value of NEEDED."""
    wanted = [f"{name} {NEEDED[name][0]}" for name in (words.split()[0] for words in forbidden)]
    return f"ask the centre to set in sshd_config, for you: {', '.join(wanted)}"


def forbidden_by(options: Options) -> list[str]:
    """Return the options in the way, as `Name value`. Pure."""
    return [
        f"{name} {value}"
        for name, allowed in NEEDED.items()
        if (value := options.get(name.lower(), allowed[0])) not in allowed
    ]


def effective_options() -> Options | None:
    """Ask for sshd's options for us, coming from where we came from; None where they can't be read. Takes 5 s at most.

    sshd(8) wants a host key it can load before it prints them: any key does, so it gets one made for this alone.
    """
    sshd = find_sshd()
    if not sshd or not shutil.which("ssh-keygen"):
        return None
    with tempfile.TemporaryDirectory(prefix="gears-doctor-") as directory:
        key = Path(directory, "key")
        try:
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], timeout_s=2)
            said = run([sshd, "-T", "-h", str(key), "-C", _connection()], timeout_s=3)
        except GearsError:
            return None
    pairs = (line.partition(" ") for line in said.splitlines())
    return {name.lower(): value for name, _, value in pairs}


def find_sshd() -> str | None:
    """Find sshd, in $PATH or where systems have it; None where it is not."""
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/sbin")


def _connection() -> str:
    """Return this session's own connection, where it has one, for `Match` lines."""
    words = os.environ.get("SSH_CONNECTION", "").split()
    address, _, own, port = words if len(words) == 4 else ("127.0.0.1", "", "127.0.0.1", "22")
    return f"user={this_host().user},host={address},addr={address},laddr={own},lport={port}"
