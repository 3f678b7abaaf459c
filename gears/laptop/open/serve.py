"""What `gears open` runs on the front: `gears lab` for a user whose terminal is on the laptop.

It reports in lines of JSON (`report`), replaces nothing that runs, and becomes a shell that waits for a word or for the
end of the connection: nothing of gears stays running except ssh and tmux.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gears.errors import GearsError, LoginNeeded
from gears.lab import wait
from gears.lab.start import bring_up
from gears.lab.status.model import ShownLab, State
from gears.lab.status.status import look
from gears.laptop.open.report import FrontFailed, LabUp, Listening, LoginRequired, Progress, Prompt, Report
from gears.sites.directories import find_paths
from gears.sites.route import Route
from gears.ssh.failures import ENDED
from gears.ssh.report import send
from gears.system import files
from gears.system.installation import gears_argv, gears_home, with_gears_path
from gears.system.progress import wait_for
from gears.system.records import as_values
from gears.system.unix_http import connects

WAIT = 'unset TMOUT; read -r word || exit 0; [ "$word" = again ] && set -- "$@" --ask; exec "$@"'
"""`again`: the user is present. Any other word: check again."""


def report(found: Report) -> None:
    """Report to the laptop in a line of JSON."""
    send(as_values(found))


def answer(find_route: Callable[[], Route], *, start: bool, ask: bool) -> int:
    """Ensure that the lab is running, report, and become a shell. Return only if there is nothing to wait for.

    `start`: also start a stopped lab. `ask`: the user is present and can enter passcodes.
    """
    try:
        route = find_route()
        if not start and look(route).state == State.STOPPED:
            return ENDED
        ensure_lab(route, ask=ask)
    except LoginNeeded as error:
        report(LoginRequired(error.message))
    except GearsError as error:
        report(FrontFailed(error.message, with_gears_path(error.next) if error.next else None, error.exit_code))
        return error.exit_code
    return hold([*gears_argv(), "_open", route.site.name])


def ensure_lab(route: Route, *, ask: bool) -> None:
    """Ensure that the lab is running as `gears lab` does, with reports. Raises the errors of `bring_up`."""
    served: list[Path] = []

    def begun() -> None:
        """Report the fixed path once it is served; wait for that for at most 10 s."""
        paths = find_paths(route)
        if paths and not served and wait_for(lambda: connects(paths.link), timeout_s=10):
            served.append(paths.fixed)
            report(Listening(str(paths.fixed)))

    requester = wait.Requester(may_ask=ask, at_prompt=_at_prompt, begun=begun)
    lab = bring_up(route, say=lambda words: report(Progress(words)), requester=requester).lab
    begun()
    report(LabUp(True, _token(route, lab), lab.host if lab else None))


def hold(again: Sequence[str]) -> int:
    """Replace this process with a shell that waits."""
    os.execv("/bin/sh", ["sh", "-c", WAIT, "sh", *again])


@contextmanager
def _at_prompt() -> Iterator[None]:
    report(Prompt(True))
    try:
        yield
    finally:
        report(Prompt(False))


def _token(route: Route, lab: ShownLab | None) -> str:
    if lab and lab.has_password:
        return ""
    return files.read_text(gears_home() / "run" / route.site.name / "token").strip()
