"""`gears run`: a command on a site's lab host, in tmux, with its output followed. It survives a lost connection.

Each run has a number, valid on all hosts that share the home. Its record, output and exit status are files there, so
that each of these hosts can report it. They are 0600, since command lines can be private.
"""

from __future__ import annotations

import codecs
import os
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gears.errors import GearsError, NothingRunning
from gears.sessions.records import RunRecord, load_run, save_run
from gears.sessions.shell import active_environment, open_records
from gears.sites.paths import RunDir
from gears.sites.route import Route
from gears.ssh.remote_gears import remote_gears
from gears.ssh.target import Target, run_remote
from gears.system import files, processes, timestamps, tmux
from gears.system.commands import find_program
from gears.system.files import current_umask
from gears.system.installation import this_gears
from gears.system.progress import wait_for
from gears.system.templates import render
from gears.system.tmux import session_name

KEPT = 20
"""How many ended runs are kept, the newest."""

START_S = 10.0
LOOK_EVERY_S = 0.1
FILES = ("sh", "pid", "out", "end", "json")


@dataclass(frozen=True, slots=True)
class Run:
    """A run. `status`: its exit status, None while there is none. `alive`: None if this host can't tell."""

    number: int
    host: str
    started: str
    argv: tuple[str, ...]
    status: int | None
    alive: bool | None

    def state(self) -> str:
        """Return "ended N" (N: its exit status), "running", "lost", or "running?" if this host can't tell."""
        if self.status is not None:
            return f"ended {self.status}"
        return {True: "running", False: "lost", None: "running?"}[self.alive]


def start(route: Route, argv: Sequence[str], *, before: Sequence[str] = ()) -> Run:
    """Start a command in tmux on this host, and return its run.

    `before`: a command prefix that activates an environment (`shell.run_in`). Waits for the start, START_S at most, and
    removes ended runs except the newest KEPT. Raises MissingProgram, CommandFailed; GearsError if it does not start.
    """
    find_program("script")
    tmux.check_tmux()
    paths = open_runs(route)
    number = _claim(paths)
    files.write_private(paths.run_file(number, "sh"), _script(route, paths, number, [*before, *argv]))
    save_run(paths, number, RunRecord(route.here, timestamps.utc_now(), tuple(argv)))
    tmux.start_session(run_session(route.site.name, number), "run", paths.run_file(number, "sh"))
    if not wait_for(lambda: processes.read(paths.run_file(number, "pid")) is not None, timeout_s=START_S):
        raise GearsError(f"run {number} did not start", next="gears doctor")
    _remove_old(paths)
    return find(paths, number)


def find(paths: RunDir, number: int) -> Run:
    """Return a run. Raises NothingRunning for an unknown number."""
    record = load_run(paths, number)
    if record is None:
        raise NothingRunning(f"{paths.site} has no run {number}", next=f"gears run list {paths.site}")
    ended = files.read_text(paths.run_file(number, "end")).strip()
    loop = processes.read(paths.run_file(number, "pid"))
    return Run(
        number,
        host=record.host,
        started=record.started,
        argv=record.argv,
        status=int(ended) if ended.isdigit() else None,
        alive=loop.alive() if loop else False,
    )


def every(paths: RunDir) -> list[Run]:
    """Return the runs that have a record, by number."""
    return [find(paths, number) for number in _numbers(paths) if load_run(paths, number)]


def output(paths: RunDir, number: int, *, follow: bool) -> Iterator[str]:
    """Yield the output of a run; with `follow` until the run ends, or this command's connection."""
    parent, offset = os.getppid(), 0
    decoder, held = codecs.getincrementaldecoder("utf-8")("replace"), ""
    while True:
        run = find(paths, number)
        at_end = not follow or run.status is not None or run.alive is False
        read = _read_from(paths.run_file(number, "out"), offset)
        offset += len(read)
        text = held + decoder.decode(read, final=at_end)
        held = "\r" if text.endswith("\r") and not at_end else ""
        yield text.removesuffix(held).replace("\r\n", "\n")  # line ends of a terminal
        if at_end or os.getppid() != parent:
            return
        time.sleep(LOOK_EVERY_S)


def attach(route: Route, paths: RunDir, number: int) -> int:
    """Attach to the tmux session of a run from this host. Raises NothingRunning if the run has ended."""
    run = find(paths, number)
    if run.status is not None or run.alive is False:
        state = run.state() if run.status is not None else "gone: its host or its tmux session ended"
        raise NothingRunning(f"run {number} is {state}", next=f"gears run logs {paths.site} {number}")
    if run.host != route.here:
        remote = f"{remote_gears(route.site, paths.home, this_gears())} _run attach {paths.site} {number}"
        return run_remote(Target(run.host), remote, again=f"gears run list {paths.site}")
    return tmux.attach(run_session(paths.site, number)).wait()


def run_session(site: str, number: int) -> str:
    """Return the name of a run's tmux session."""
    return session_name(f"run{number}", site)


def open_runs(route: Route) -> RunDir:
    """Create and check the site's directory for runs. Raises UnsafePath."""
    paths = open_records(route)
    files.ensure_private(paths.runs)
    return paths


def _script(route: Route, paths: RunDir, number: int, argv: Sequence[str]) -> str:
    script = paths.run_file(number, "sh")
    return render(
        "run.sh.j2",
        number=number,
        site=route.site.name,
        argv=argv,
        umask=current_umask(),
        directory=Path(route.site.lab.directory).expanduser(),
        environment=active_environment(route.site, paths),
        inside=f"exec /bin/sh {shlex.quote(str(script))} inside",
        **{what: paths.run_file(number, what) for what in ("pid", "out", "end")},
    )


def _claim(paths: RunDir) -> int:
    """Claim the next number. Safe for concurrent runs, also on several hosts."""
    number = max(_numbers(paths), default=0) + 1
    while True:
        try:
            os.close(os.open(paths.run_file(number, "json"), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            number += 1
            continue
        return number


def _numbers(paths: RunDir) -> list[int]:
    return sorted(int(file.stem) for file in paths.runs.glob("*.json") if file.stem.isdigit())


def _remove_old(paths: RunDir) -> None:
    ended = [run.number for run in every(paths) if run.status is not None or run.alive is False]
    for number in ended[:-KEPT]:
        for what in FILES:
            paths.run_file(number, what).unlink(missing_ok=True)


def _read_from(file: Path, offset: int) -> bytes:
    """Read a file from `offset` (bytes) on; nothing if there is no such file."""
    try:
        with file.open("rb") as opened:
            opened.seek(offset)
            return opened.read()
    except OSError:
        return b""
