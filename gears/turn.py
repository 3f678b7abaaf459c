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
import random
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path

from gears import process, store
from gears.errors import CommandFailed
from gears.hop import NOT_AT_AN_ADDRESS, before_gears, effective_options, way_back, why_ended
from gears.report import read_hop
from gears.route import Route
from gears.rundir import RunDir
from gears.state import (
    Ended,
    Plan,
    Turn,
    load_given_up,
    load_lab,
    load_pin,
    load_turn,
    mark_ended,
    save_turn,
    was_up,
)

NETWORK_PAUSES_S = (0.0, 0.5, 1.0, 2.0, 4.0, 5.0)
"""Before the next dial while only the network is missing. ssh's own ConnectTimeout comes on top."""

CRASH_WINDOW_S = 600
MOST_CRASHES = 5
"""JupyterLab is started again this often within the window, then a person is asked."""

MOST_LOG_BYTES = 5_000_000
LOG_MARK = "gears: JupyterLab is started"

REFUSED = 78
"""What JupyterLab ends with where a setting of the person's is in the way: EX_CONFIG of sysexits(3)."""

REFUSED_MARK = "gears: refused: "
"""In its log, before where that stands, and the reason."""

PERSON_WORDS = ("start", "again", "person")


def next_turn(route: Route, paths: RunDir, what: str, word: str) -> str:
    """Decide after `word`: `start` (a new loop), `again` or `person` (somebody came), or an exit status; a job's loop
    knows other words.

    Writes the turn's record before the keeper may start: whoever reads it sees the turn that is coming.
    """
    if what == "job":
        from gears.jobs.turn import next_job_turn

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


# --- deciding: pure --------------------------------------------------------------------------


def plan_hop_turn(last: Turn, word: str, ended: Ended | None, was_up: bool) -> Turn:
    """Plan the next turn of a hop. Only a missing network is dialled again unasked, and never with a prompt."""
    ever_up = was_up or (last.ever_up and word != "start")
    turn = Turn(number=last.number + 1, what="hop", ever_up=ever_up, ended=ended)
    if ended is None:
        return replace(turn, plan=Plan.DIAL, how="person" if word == "person" else "asked")
    if ended.kind == "stopped":
        return replace(turn, plan=Plan.STOP)
    if ended.kind == "network" or (ended.kind == "unknown-host" and ever_up):
        failures = 0 if was_up else last.failures + 1
        pause_s = NETWORK_PAUSES_S[min(failures, len(NETWORK_PAUSES_S) - 1)] * random.uniform(0.8, 1.2)
        how = "batch" if ever_up else "asked"
        return replace(turn, plan=Plan.DIAL, how=how, failures=failures, pause_s=round(pause_s, 2))
    return replace(turn, plan=Plan.ASK)


def plan_aim(turn: Turn, last: Turn, by: str, *, gssapi: bool) -> Turn:
    """Choose how the node of the last time is dialled: `by` address or name, after two vain dials the other way once.

    Where a dial by address is refused, the name's own configuration may let in: tried once, without a prompt.
    """
    kinds = (*NOT_AT_AN_ADDRESS, "login") if gssapi and last.how != "person" else NOT_AT_AN_ADDRESS
    refused = turn.ended is not None and turn.ended.kind in kinds
    if turn.plan == Plan.ASK and last.by == "address" and refused:
        how = "batch" if turn.ever_up else "asked"
        return replace(turn, plan=Plan.DIAL, how=how, by="name", forced=True)
    other = "name" if by == "address" else "address"
    return replace(turn, by=other if turn.failures % 3 == 2 else by)


def plan_lab_turn(last: Turn, ended: Ended | None, was_up: bool, *, now: float) -> Turn:
    """Plan the next turn of a lab: one that was shut down is over, one that died is started again, within bounds.

    The bounds: MOST_CRASHES in CRASH_WINDOW_S, and three in a row that were never up. `now`: seconds since 1970.
    """
    turn = Turn(number=last.number + 1, what="lab", ended=ended)
    if ended is None:
        return replace(turn, plan=Plan.RUN)
    if ended.kind == "stopped":
        return replace(turn, plan=Plan.STOP)
    if ended.kind == "refused":
        return replace(turn, plan=Plan.ASK)
    crashes = (*(when for when in last.crashes if when > now - CRASH_WINDOW_S), now)
    never_up = 0 if was_up else last.never_up + 1
    turn = replace(turn, crashes=crashes, never_up=never_up)
    if len(crashes) > MOST_CRASHES or never_up >= 3:
        return replace(turn, plan=Plan.ASK)
    return replace(turn, plan=Plan.RUN, pause_s=float(2 ** (len(crashes) - 1) - 1))


# --- carrying out ----------------------------------------------------------------------------


def _aim(route: Route, paths: RunDir, turn: Turn, last: Turn) -> Turn:
    pin, host = load_pin(paths), str(route.site.lab.host)
    if not (pin.address and pin.host) or turn.plan == Plan.STOP:
        return turn
    try:
        by = pin.by or way_back(host, pin)
        gssapi = turn.plan == Plan.ASK and effective_options(host).get("gssapiauthentication") == "yes"
    except CommandFailed:  # ssh itself will say so
        by, gssapi = "name", False
    return plan_aim(turn, last, str(by), gssapi=gssapi)


def _why(route: Route, paths: RunDir, what: str, status: int, last: Turn) -> Ended:
    site = route.site.name
    if what == "lab":
        return why_lab_ended(status, paths, site)
    host = str(route.site.lab.host)
    if given_up := load_given_up(paths):
        return given_up
    asked = last.how == "person"
    if status == 0:
        return why_session_ended(host, site, answered=read_hop(paths) is not None)
    return why_ended(status, store.read_text(paths.hop_err), site=site, host=host, asked=asked)


def why_session_ended(host: str, site: str, *, answered: bool) -> Ended:
    """Say why ssh ended with 0. A session in which gears had begun is dialled again, as after any cut."""
    if answered:
        return Ended("network", f"{host}: the session there was ended", f"gears lab {site}")
    return before_gears(host, "the session ended")


def why_lab_ended(status: int, paths: RunDir, site: str) -> Ended:
    """Say why JupyterLab ended.

    0 and the end by SIGTERM or SIGINT are somebody's wish (File ▸ Shut Down, `gears stop`), the rest is a death.
    """
    if status in (0, 130, 143):
        return Ended("stopped", "JupyterLab was shut down", f"gears lab {site}")
    words = store.read_text(paths.log("lab")).rpartition(LOG_MARK)[2].partition("\n")[2]
    if status == REFUSED:
        return why_refused(words, site)
    lines = [line for line in words.splitlines() if line.strip()]
    how = f"was killed by signal {status - 128}" if status > 128 else f"ended with {status}"
    return Ended("died", "JupyterLab " + how + ":\n" + "\n".join(lines[-5:]), f"gears logs {site}")


def why_refused(words: str, site: str) -> Ended:
    """Return what JupyterLab said in its log before it ended with REFUSED (`gears.lab.server.end`)."""
    said = words.rpartition(REFUSED_MARK)[2].partition("\n")[0]
    reason = f"JupyterLab was not started: {said}"
    return Ended("refused", reason, f"gears lab {site}   (after that file was mended; more: gears logs {site})")


def _carry_out(route: Route, paths: RunDir, what: str, turn: Turn) -> str:
    if turn.plan == Plan.STOP:
        finish(paths, what, moved=turn.why == "moved")
        return "stop"
    paths.given_up.unlink(missing_ok=True)
    for fifo in (paths.ask, paths.hop_in):
        store.ensure_fifo(fifo)
    from gears.keeper.keep import start_keeper

    if turn.plan != Plan.ASK:
        _make_ready(route, paths, what, turn)
    start_keeper(route, paths)
    return "ask" if turn.plan == Plan.ASK else _line(route, paths, what, turn)


def _make_ready(route: Route, paths: RunDir, what: str, turn: Turn) -> None:
    """Clear away what the turn before left in the way of this one."""
    if what == "job":
        from gears.jobs.turn import clear_sockets

        clear_sockets(route, paths, turn)
    else:
        for stale in paths.local.glob(f"{paths.site}.{what}.*.sck"):
            stale.unlink(missing_ok=True)
    if what != "lab":
        for file in (paths.hop_out, paths.hop_err):
            store.write_private(file, "")
    begin_log(paths.log(what), f"{LOG_MARK}, {store.utc_now()}\n" if what == "lab" else "")


def _line(route: Route, paths: RunDir, what: str, turn: Turn) -> str:
    if what == "job":
        from gears.jobs.turn import line

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


def finish(paths: RunDir, what: str, *, moved: bool = False) -> None:
    """End all after the last turn: hops that end here are told, and no socket, link or file of this host is left.

    `moved`: another login node sees to the job now, and the job is none of this host's business. Fronts dial again.
    """
    if not moved:
        _close_records(paths, what)
    tell_fronts(paths, signal.SIGHUP if moved else signal.SIGTERM)
    with contextlib.suppress(FileNotFoundError):
        if (lock := store.try_lock(paths.start_lock)) is not None:  # else a stop or a start waits for us, and clears up
            clean(paths)
            leave(paths)
            os.close(lock)


def tell_fronts(paths: RunDir, number: int = signal.SIGTERM) -> None:
    """Tell hops that end on this host that there is nothing here any more.

    By SIGTERM that all was stopped (`templates/remote.sh.j2`), by SIGHUP that the connection is over. Their directory
    is renamed first: who is not in it by then can't note itself any more, and learns of the end by that.
    """
    told = paths.remote_ends.with_name(f"{paths.remote_ends.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        paths.remote_ends.rename(told)
    for file in told.glob("*"):
        remote = process.read(file)
        if remote and remote.pid != os.getpid():  # whoever stops it for a front tells that front itself
            remote.signal(number)
    _remove_tree(told)


def _close_records(paths: RunDir, what: str) -> None:
    if what == "job":
        from gears.jobs.end import end_records

        end_records(paths)
        return
    host = socket.gethostname() if what == "lab" else load_pin(paths).host
    mark_ended(paths, host)
    if what == "hop" and not shares_home(paths):
        paths.job_record.unlink(missing_ok=True)


def shares_home(paths: RunDir) -> bool:
    """Tell whether what stands in this home is the lab host's own, and no copy."""
    from gears.locate import saved_route

    return saved_route(paths.here)[0].site.lab.home == "shared"


def clean(paths: RunDir) -> None:
    """Remove what a site has on this host, and tell fronts. Only called when nothing of it runs here any more.

    The fixed link goes too, unless a lab that was started on another host of the same home may be using it.
    """
    lab = load_lab(paths.lab_record)
    if lab is None or lab.ended or lab.host == socket.gethostname():
        paths.fixed.unlink(missing_ok=True)
    tell_fronts(paths)
    if keeper := process.read(paths.keeper):
        keeper.end(timeout_s=3)
    for path in [paths.link, *paths.local.glob(f"{paths.site}.*.sck")]:
        path.unlink(missing_ok=True)
    _remove_tree(paths.here)
    _remove_aliases(paths)


def _remove_aliases(paths: RunDir) -> None:
    """Remove the directories that fronts with homes of their own call by another name (`store.open_rundir`)."""
    for directory in paths.local.parent.glob(f"{paths.local.name.rpartition('-')[0]}-*"):
        link = directory / paths.link.name
        with contextlib.suppress(OSError):
            if os.readlink(link) == str(paths.link):
                link.unlink()
                directory.rmdir()


def leave(paths: RunDir) -> None:
    """Remove the start lock, which the caller holds, and the host-local directory when no other site uses it."""
    paths.start_lock.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        paths.local.rmdir()


def _remove_tree(directory: Path) -> None:
    import shutil

    shutil.rmtree(directory, ignore_errors=True)


def begin_log(log: Path, line: str) -> None:
    """Keep one old log: a log that grew past the bound becomes it. `line` tells where the next run begins."""
    with contextlib.suppress(OSError):
        if log.exists() and log.stat().st_size > MOST_LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as file:
            file.write(line)
