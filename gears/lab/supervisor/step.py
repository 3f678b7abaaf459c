"""Decide what a shell loop does next: called once between two runs of its command; prints one line and exits.

    dial NUMBER PAUSE batch|asked|person ADDRESS NODE    the hop: dial after PAUSE seconds (ADDRESS or -; by
                                                     name, only on NODE or -)
    run NUMBER PAUSE PORT                            the lab: start JupyterLab
    ask                                              wait at the fifo for the user
    stop                                             end

The keeper, which answers at the fixed path until the lab can be reached, is started next.

A lost connection is dialled again without starting Python first: the keeper that has reached the lab plans the turn
that follows a loss of the network, as it would be planned then. The loop takes it once (`hop.sh.j2`).
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path

from gears.errors import CommandFailed, NothingRunning
from gears.lab.jupyter.settings import REFUSED, REFUSED_MARK
from gears.lab.state import Plan, Turn, load_given_up, load_lab, load_turn, load_up, save_turn
from gears.lab.status.report import read_hop
from gears.lab.supervisor.cleanup import finish
from gears.lab.supervisor.policy import plan_hop_turn, plan_lab_turn, plan_target
from gears.sites.context import Context
from gears.sites.paths import RunDir
from gears.ssh.failures import Failure, ended_before_gears, explain_failure
from gears.ssh.options import effective_options
from gears.ssh.pin import load_pin, redial_method
from gears.system import files, processes, records, timestamps

MOST_LOG_BYTES = 5_000_000
LOG_MARK = "gears: JupyterLab is started"

STOP = "stop"
LOST = 255
"""ssh's exit status when the connection is lost."""

USER_WORDS = ("start", "again", "person")


def check_loop(paths: RunDir, pid: int) -> None:
    """Raise NothingRunning unless the shell `pid` is the loop of this site.

    A loop whose directory was removed must not act on the files of a later one.
    """
    loop = processes.read(paths.loop)
    if loop is None or loop.pid != pid:
        raise NothingRunning(f"{pid} is no longer the loop of {paths.site}", next=f"gears status {paths.site}")


def next_turn(context: Context, what: str, word: str) -> str:
    """Decide after `word`, prepare that turn, and return the line for the loop.

    `word`: `start` (a new loop), `again` or `person` (a user's command), or an exit status; a job's loop has other
    words (`job_step`). After the last turn clean up.
    """
    turn = decide(context, what, word)
    if turn.plan == Plan.STOP:
        finish(context, what, moved=turn.why == "moved")
        return STOP
    make_ready(context, turn)
    return format_line(context, turn)


def prepare_redial(context: Context, turn: Turn) -> None:
    """Plan the turn after `turn`, which is up, if the connection is lost. Write its record, and its line."""
    paths, site = context.paths, context.site
    if not load_pin(paths).by:
        return
    lost = explain_failure(LOST, "", site=site.name, host=str(site.lab.host), interactive=False)
    coming = _choose_target(context, plan_hop_turn(turn, str(LOST), lost, True), turn)
    with contextlib.suppress(OSError):  # on a full disk it is planned when it begins
        for stale in paths.here.glob("redial.*"):
            stale.unlink(missing_ok=True)
        records.save(paths.redial_turn(turn.number), coming)
        files.write_private(paths.redial(turn.number), f"{format_line(context, coming)}\n")


# --- deciding --------------------------------------------------------------------------------


def decide(context: Context, what: str, word: str) -> Turn:
    """Plan the next turn, and write its record, so that every reader sees the coming turn."""
    if what == "job":
        from gears.lab.supervisor.job_step import next_job_turn

        return next_job_turn(context, word)
    paths = context.paths
    last = load_turn(paths)
    ended = None if word in USER_WORDS else _explain_end(context, what, int(word), last)
    up = load_up(paths).is_of(last)
    if what == "hop":
        lasted_s = files.age_s(paths.hop_out)  # ssh's output is truncated when it starts
        turn = _choose_target(context, plan_hop_turn(last, word, ended, up, lasted_s=lasted_s), last)
    else:
        turn = plan_lab_turn(last, ended, up, now=time.time())
    save_turn(paths, turn)
    return turn


def _choose_target(context: Context, turn: Turn, last: Turn) -> Turn:
    pin, host = load_pin(context.paths), str(context.site.lab.host)
    if not (pin.address and pin.host) or turn.plan == Plan.STOP:
        return turn
    try:
        by = pin.by or redial_method(host, pin)
        gssapi = turn.plan == Plan.ASK and effective_options(host).get("gssapiauthentication") == "yes"
    except CommandFailed:  # ssh itself reports this
        by, gssapi = "name", False
    return plan_target(turn, last, str(by), gssapi=gssapi)


def _explain_end(context: Context, what: str, status: int, last: Turn) -> Failure:
    paths = context.paths
    site = context.site.name
    if what == "lab":
        return why_lab_ended(status, paths, site)
    host = str(context.site.lab.host)
    if given_up := load_given_up(paths):
        return given_up
    interactive = last.how == "person"
    if status == 0 and read_hop(paths):  # dialled again, as after a network failure
        return Failure("network", f"{host}: the session was closed", f"gears lab {site}")
    if status == 0:
        return ended_before_gears(host, "the session ended")
    return explain_failure(status, files.read_text(paths.hop_err), site=site, host=host, interactive=interactive)


def why_lab_ended(status: int, paths: RunDir, site: str) -> Failure:
    """Explain why JupyterLab ended.

    0, and an end by SIGTERM or SIGINT, is on purpose (File ▸ Shut Down, `gears stop`); anything else is a crash.
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
    """Explain why JupyterLab refused to start, by its log (`gears.lab.jupyter.server.end`)."""
    message = words.rpartition(REFUSED_MARK)[2].partition("\n")[0]
    reason = f"JupyterLab was not started: {message}"
    return Failure("refused", reason, f"gears lab {site}   (after fixing that file; details: gears logs {site})")


# --- carrying out ----------------------------------------------------------------------------


def make_ready(context: Context, turn: Turn) -> None:
    """Make the fifos at which the loop waits; if it is to run something, remove what the last turn left, and begin the
    log.
    """
    paths, what = context.paths, turn.what
    paths.given_up.unlink(missing_ok=True)
    for fifo in (paths.ask, paths.hop_in):
        files.ensure_fifo(fifo)
    if turn.plan == Plan.ASK:
        return
    if what == "job":
        from gears.lab.supervisor.job_step import clear_sockets

        clear_sockets(context, turn)
    else:
        for stale in paths.local.glob(f"{paths.site}.{what}.*.sck"):
            stale.unlink(missing_ok=True)
    if what != "lab":
        for file in (paths.hop_out, paths.hop_err):
            files.write_private(file, "")
    begin_log(paths.log(what), f"{LOG_MARK}, {timestamps.utc_now()}\n" if what == "lab" else "")


def format_line(context: Context, turn: Turn) -> str:
    """Format the turn as the line that the loop reads."""
    if turn.plan == Plan.ASK:
        return "ask"
    if turn.what == "job":
        from gears.lab.supervisor.job_step import line

        return line(turn)
    if turn.what == "lab":
        return f"run {turn.number} {turn.pause_s} {context.site.lab.port or choose_port(context.paths)}"
    pin, by = load_pin(context.paths), turn.by
    target = f"{pin.address if by == 'address' else '-'} {pin.host if by == 'name' else '-'}"
    return f"dial {turn.number} {turn.pause_s} {turn.how} {target}"


def choose_port(paths: RunDir) -> int:
    """Return the last port where it is free, so that an open tab on this machine stays valid; else 0: any port."""
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
    """Begin a run in the log with `line`; rotate a log larger than MOST_LOG_BYTES, keeping one old log."""
    with contextlib.suppress(OSError):
        if log.exists() and log.stat().st_size > MOST_LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as file:
            file.write(line)
