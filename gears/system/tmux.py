"""tmux, on its own server (`tmux -L gears`): a session per site, a window named after its program.

The only importer of libtmux, for the creation of sessions alone: libtmux returns an empty list for every failure of the
server, so whether something is running is asked of the process itself (`processes`).
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from gears.errors import CommandFailed, MissingProgram
from gears.system.commands import find_program, run
from gears.system.progress import wait_for

SERVER = "gears"
CONFIG = Path(__file__).with_name("tmux.conf")

OLDEST = (3, 2)
"""The oldest version that libtmux supports (3.2a)."""

EXITING = "server exited unexpectedly"
"""What a client says whose server ended before it took the command: the last session has just ended (client.c)."""


def check_tmux() -> str:
    """Return the version, such as "3.3a". Raises MissingProgram where tmux is absent or older than libtmux supports."""
    find_program("tmux")
    version = run(["tmux", "-V"], timeout_s=5).split()[-1]
    numbers = re.search(r"(\d+)\.(\d+)", version)
    if numbers and (int(numbers[1]), int(numbers[2])) < OLDEST:
        raise MissingProgram(
            f"tmux {version} is too old: gears needs 3.2a or later",
            next="module avail tmux   (or, without an administrator: conda install -c conda-forge tmux)",
        )
    return version


def start_session(site: str, window: str, script: Path) -> None:
    """Run `script` in a new detached session, in place of a leftover one of that name.

    The caller holds the site's lock and has checked that no loop is alive. The command has several words: tmux passes
    one of a single word to the user's shell, with its start-up files (tmux(1)). Raises CommandFailed.
    """
    import libtmux
    from libtmux.exc import LibTmuxException

    end_session(site)
    _use_known_terminal()
    server = libtmux.Server(socket_name=SERVER, config_file=str(CONFIG))
    stderr = ""

    def start() -> bool:
        nonlocal stderr  # Server.new_session would leave 130 format names in the argv of the server, readable by all
        done = server.cmd("new-session", "-d", "-s", site, "-n", window, "-c", "/", "--", "/bin/sh", str(script))
        stderr = " ".join(done.stderr)
        return EXITING not in stderr

    try:
        wait_for(start, timeout_s=5)
    except LibTmuxException as exc:
        raise CommandFailed(f"tmux could not create session {site}: {exc}", next="gears doctor") from exc
    if stderr:
        raise _no_session(site, stderr)


def _no_session(site: str, stderr: str) -> CommandFailed:
    """Explain why there is no session.

    tmux has its sockets in /tmp/tmux-UID or under $TMUX_TMPDIR, and rejects a directory that is open to others.
    """
    unsafe = re.search(r"(\S+) has unsafe permissions", stderr)
    fix = f"chmod 700 {unsafe[1]}   (if it is another user's, only an administrator can remove it)" if unsafe else ""
    return CommandFailed(f"tmux could not create session {site}: {stderr}", next=fix or "gears doctor")


def end_session(site: str) -> None:
    """End the session of a site, if there is one. Its programs get SIGHUP."""
    with contextlib.suppress(CommandFailed):
        run(["tmux", "-L", SERVER, "kill-session", "-t", f"={site}"], timeout_s=10)


def enter_session(name: str, window: str, directory: Path, command: Sequence[str]) -> int:
    """Replace this process by a tmux client in the session of that name; if there is none, create it with `command`."""
    _use_known_terminal()
    os.environ.pop("TMUX", None)
    made = ["new-session", "-A", "-s", name, "-n", window, "-c", str(directory), "--", *command]
    os.execvp("tmux", ["tmux", "-L", SERVER, "-f", str(CONFIG), *made])


def has_session(site: str) -> bool:
    """Tell whether the tmux server of gears has a session of that name. Takes up to 5 s."""
    try:
        run(["tmux", "-L", SERVER, "has-session", "-t", f"={site}"], timeout_s=5)
    except CommandFailed:
        return False
    return True


def attach_command(site: str) -> list[str]:
    """Return the command that attaches to the session, for users as well."""
    return ["tmux", "-L", SERVER, "attach-session", "-t", f"={site}"]


def attach(site: str) -> subprocess.Popen[bytes]:
    """Attach the user's terminal to the session, until `detach` or until the user detaches."""
    _use_known_terminal()
    env = {name: value for name, value in os.environ.items() if name not in ("TMUX", "TMUX_PANE")}
    return subprocess.Popen(attach_command(site), env=env)


def _use_known_terminal() -> None:
    """Set $TERM to xterm if this host's terminfo does not describe it well enough for tmux."""
    import curses

    try:
        curses.setupterm()
        known = curses.tigetstr("clear") and curses.tigetstr("cup")
    except curses.error:
        known = None
    if not known:
        os.environ["TERM"] = "xterm"


def detach(site: str) -> None:
    """Detach all terminals from the session of a site. Its programs keep running."""
    with contextlib.suppress(CommandFailed):
        run(["tmux", "-L", SERVER, "detach-client", "-s", f"={site}"], timeout_s=5)


def session_name(kind: str, site: str) -> str:
    """Return the name of a session, distinct from the lab's, which has the site's name."""
    return f"{kind}@{site}"
