"""What a shell loop does next: called once between two runs of its command, answers in one line, and leaves.

    dial NUMBER PAUSE batch|asked|person ADDRESS NODE    the hop: dial after PAUSE seconds (ADDRESS or -; by
                                                     name, only on NODE or -)
    run NUMBER PAUSE PORT                            the lab: start JupyterLab
    ask                                              wait at the fifo for a person
    stop                                             all is over

It also starts the keeper, which then answers at the fixed path until the way is up.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path

from gears.errors import CommandFailed
from gears.lab.jupyter.settings import REFUSED, REFUSED_MARK
from gears.lab.state import Plan, Turn, load_given_up, load_lab, load_turn, save_turn, was_up
from gears.lab.status.report import read_hop
from gears.lab.supervisor.cleanup import finish
from gears.lab.supervisor.policy import plan_aim, plan_hop_turn, plan_lab_turn
from gears.sites.paths import RunDir
from gears.sites.route import Route
from gears.ssh.failures import Failure, before_gears, explain_failure
from gears.ssh.options import effective_options
from gears.ssh.pin import load_pin, reached_by
from gears.system import files, timestamps

MOST_LOG_BYTES = 5_000_000
LOG_MARK = "gears: JupyterLab is started"

PERSON_WORDS = ("start", "again", "person")


def next_turn(route: Route, paths: RunDir, what: str, word: str) -> str:
    """Decide after `word`: `start` (a new loop), `again` or `person` (somebody came), or an exit status; a job's loop
    knows other words.

    Writes the turn's record before the keeper may start: whoever reads it sees the turn that is coming.
    """
    if what == "job":
        from gears.lab.supervisor.job_step import next_job_turn

        return _carry_out(route, paths, what, next_job_turn(route, paths, word))
    last = load_turn(paths)
    ended = None if word in PERSON_WORDS else _why(route, paths, what, int(word), last)
    up = was_up(paths, last)
    if what == "hop":
        turn = _aim(route, paths, plan_hop_turn(last, word, ended, up), last)
    else:
        turn = plan_lab_turn(last, ended, up, now=time.time())
    save_turn(paths, turn)
    return _carry_out(route, paths, what, turn)


def _aim(route: Route, paths: RunDir, turn: Turn, last: Turn) -> Turn:
    pin, host = load_pin(paths), str(route.site.lab.host)
    if not (pin.address and pin.host) or turn.plan == Plan.STOP:
        return turn
    try:
        by = pin.by or reached_by(host, pin)
        gssapi = turn.plan == Plan.ASK and effective_options(host).get("gssapiauthentication") == "yes"
    except CommandFailed:  # ssh itself will say so
        by, gssapi = "name", False
    return plan_aim(turn, last, str(by), gssapi=gssapi)


def _why(route: Route, paths: RunDir, what: str, status: int, last: Turn) -> Failure:
    site = route.site.name
    if what == "lab":
        return why_lab_ended(status, paths, site)
    host = str(route.site.lab.host)
    if given_up := load_given_up(paths):
        return given_up
    interactive = last.how == "person"
    if status == 0:
        return why_session_ended(host, site, answered=read_hop(paths) is not None)
    return explain_failure(status, files.read_text(paths.hop_err), site=site, host=host, interactive=interactive)


def why_session_ended(host: str, site: str, *, answered: bool) -> Failure:
    """Say why ssh ended with 0. A session in which gears had begun is dialled again, as after any cut."""
    if answered:
        return Failure("network", f"{host}: the session was closed", f"gears lab {site}")
    return before_gears(host, "the session ended")


def why_lab_ended(status: int, paths: RunDir, site: str) -> Failure:
    """Say why JupyterLab ended.

    0 and the end by SIGTERM or SIGINT are somebody's wish (File ▸ Shut Down, `gears stop`), the rest is a death.
    """
    if status in (0, 130, 143):
        return Failure("stopped", "JupyterLab was shut down", f"gears lab {site}")
    words = files.read_text(paths.log("lab")).rpartition(LOG_MARK)[2].partition("\n")[2]
    if status == REFUSED:
        return why_refused(words, site)
    lines = [line for line in words.splitlines() if line.strip()]
    how = f"was killed by signal {status - 128}" if status > 128 else f"ended with {status}"
    return Failure("died", "JupyterLab " + how + ":\n" + "\n".join(lines[-5:]), f"gears logs {site}")


def why_refused(words: str, site: str) -> Failure:
    """Return what JupyterLab said in its log before it ended with REFUSED (`gears.lab.jupyter.server.end`)."""
    said = words.rpartition(REFUSED_MARK)[2].partition("\n")[0]
    reason = f"JupyterLab was not started: {said}"
    return Failure("refused", reason, f"gears lab {site}   (after fixing that file; details: gears logs {site})")


def _carry_out(route: Route, paths: RunDir, what: str, turn: Turn) -> str:
    if turn.plan == Plan.STOP:
        finish(paths, what, moved=turn.why == "moved")
        return "stop"
    paths.given_up.unlink(missing_ok=True)
    for fifo in (paths.ask, paths.hop_in):
        files.ensure_fifo(fifo)
    from gears.lab.supervisor.keeper import start_keeper

    if turn.plan != Plan.ASK:
        _make_ready(route, paths, what, turn)
    start_keeper(route, paths)
    return "ask" if turn.plan == Plan.ASK else _line(route, paths, what, turn)


def _make_ready(route: Route, paths: RunDir, what: str, turn: Turn) -> None:
    """Clear away what the turn before left in the way of this one."""
    if what == "job":
        from gears.lab.supervisor.job_step import clear_sockets

        clear_sockets(route, paths, turn)
    else:
        for stale in paths.local.glob(f"{paths.site}.{what}.*.sck"):
            stale.unlink(missing_ok=True)
    if what != "lab":
        for file in (paths.hop_out, paths.hop_err):
            files.write_private(file, "")
    begin_log(paths.log(what), f"{LOG_MARK}, {timestamps.utc_now()}\n" if what == "lab" else "")


def _line(route: Route, paths: RunDir, what: str, turn: Turn) -> str:
    if what == "job":
        from gears.lab.supervisor.job_step import line

        return line(turn)
    if what == "lab":
        return f"run {turn.number} {turn.pause_s} {route.site.lab.port or choose_port(paths)}"
    pin, by = load_pin(paths), turn.by
    aim = f"{pin.address if by == 'address' else '-'} {pin.host if by == 'name' else '-'}"
    return f"dial {turn.number} {turn.pause_s} {turn.how} {aim}"


def choose_port(paths: RunDir) -> int:
    """Choose the port of last time where it is free, so that a tab on this machine finds the lab again; else 0: any."""
    lab = load_lab(paths.lab_record)
    port = lab.port if lab else None
    if port is None:
        return 0
    with socket.socket() as trial, contextlib.suppress(OSError):
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind(("127.0.0.1", port))
        return port
    return 0


def begin_log(log: Path, line: str) -> None:
    """Keep one old log: a log that grew past the bound becomes it. `line` tells where the next run begins."""
    with contextlib.suppress(OSError):
        if log.exists() and log.stat().st_size > MOST_LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as file:
            file.write(line)
