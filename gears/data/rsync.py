"""The user's rsync: what the one installed can do, its command line, and what its exit statuses mean (rsync(1)).

FIFOs, sockets and devices are listed, and not made. rsync 3 keeps hard links, holes, ACLs and extended attributes.
macOS has 2.6.9, and from 15.4 on openrsync, which calls itself compatible to it: without ACLs and extended attributes,
and the paths of the far end are read by its shell.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from gears.errors import CommandFailed, GearsError, Incomplete, MissingProgram
from gears.system import commands

INSTALL = "brew install rsync   (Debian: sudo apt install rsync; Windows: in WSL)"
PARTIAL = ".gears-partial"
"""Directory, beside each file, of what an interrupted transfer has of it; the next run goes on with that."""

MODES = {"group": "Du+rwx,Dg+rwxs,Fu+r,Fg+rX", "world": "Du+rwx,Dg+rwxs,Do+rx,Fu+r,Fgo+rX"}
"""What others may do in a shared place, so that no later run takes it from them meanwhile."""

UNSUPPORTED = (1, 2, 4)
INCOMPLETE_LIST = (23, 24)
"""Some files could not be read, or have vanished: the comparison names them."""
CUT = (10, 12, 20, 30, 35, 255)
WITHOUT = 127
"""The far end's shell has found no rsync."""


@dataclass(frozen=True, slots=True)
class Rsync:
    """An rsync, with its path. `full`: version 3 or newer."""

    path: str
    full: bool

    def command(
        self,
        ssh: Sequence[str],
        ends: tuple[str, str],
        *,
        mark: str,
        attributes: bool,
        checksum: bool,
        shared: str = "no",
    ) -> list[str]:
        """Return the command line. `ends`: source and target, of which one is `HOST:PATH`; `ssh`: up to and without the
        host. Pure.

        `mark`: NAME=VALUE in the environment of the rsync at the far end; `attributes`: with ACLs and extended
        attributes; `checksum`: compare contents, not size and time. `shared`: the target's own group and modes for
        others are kept, as far as rsync can; the catalog does the rest.
        """
        keep = ["-AX"] if self.full and attributes else []
        if shared != "no":
            keep = ["--no-group", *(["-X"] if keep else []), *([f"--chmod={MODES[shared]}"] if self.full else [])]
        quote = ["-s"] if self.full else []
        again = ["--checksum"] if checksum else []
        far = f"--rsync-path=env {mark} rsync"
        options = ["-rlptgHS", *keep, *quote, *again, f"--partial-dir={PARTIAL}", "--out-format=%l", far]
        return [self.path, *options, "-e", shlex.join(ssh), *ends]

    def far_path(self, host: str, path: str) -> str:
        """Return `HOST:PATH/`, a directory whose contents are meant. The home is where rsync starts there. Pure."""
        path = f"./{path[1:].strip('/')}" if path == "~" or path.startswith("~/") else path
        path = f"{path.rstrip('/')}/"
        return f"{host}:{path if self.full else shlex.quote(path)}"


def find_rsync() -> Rsync:
    """Find this host's rsync. Raises MissingProgram."""
    try:
        path = commands.find_program("rsync")
    except MissingProgram as exc:
        raise MissingProgram("rsync is not installed on this machine", next=INSTALL) from exc
    return Rsync(path, is_full(commands.run([path, "--version"], timeout_s=10, check=False)))


def is_full(version: str) -> bool:
    """Tell whether a version text is of rsync 3 or newer, and not of openrsync. Pure."""
    found = re.search(r"^rsync +version v?(\d+)", version, re.MULTILINE)
    return "openrsync" not in version and found is not None and int(found[1]) >= 3


def failure(status: int, said: str, host: str, again: str) -> GearsError | None:
    """Return the error for an exit status; None if the comparison has to tell what is there. Pure."""
    if status == 0 or status in INCOMPLETE_LIST:
        return None
    last = (said.strip().splitlines() or [f"exit status {status}"])[-1]
    if status == WITHOUT:
        return MissingProgram(f"{host} has no rsync: {last}", next=f"ssh {host} command -v rsync")
    if status in CUT:
        return Incomplete(f"{host}: the connection was cut; what has arrived stays: {last}", next=again)
    if status == 11:
        return Incomplete(f"{host}: rsync could not read or write files: {last}", next=f"df -h   (then: {again})")
    return CommandFailed(f"rsync: {last}", stderr=said, status=status)
