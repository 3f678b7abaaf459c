"""From the laptop to a first answer, and back after a fault: gears, the commands of a seed by hand, jupyter-forward.

JupyterLab runs on the hub, of one environment for all. What a person types is counted, not the time she takes for it.
Each login would cost a passcode where the host wants one; counted are those that the hub's sshd has let in.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.bench.client import Client, answers, port, wait_for_answer
from tests.centre import Centre
from tests.helpers import gears, home, wait_until
from tests.opening import await_up, type_open

PROFILE = '[lab]\nhost = "hub"\n[laptop]\nport = 38950\n'
CENTRE = {"profiles": {"peer": PROFILE}}
GEARS_PORT, HAND_PORT, FORWARD_PORT = 38950, 38951, 38952
PEER = Path("/var/cache/gears-bench/jupyter-forward")
BIN = f"{home()}/.venv/bin"
CUT_S, PATIENCE_S, DROP_S = 30, 60.0, 40.0

BY_HAND = (
    "tmux -L hand new-session -d -s jupyter",
    f"tmux -L hand send-keys -t jupyter '. {BIN}/activate' Enter",
    f"tmux -L hand send-keys -t jupyter 'jupyter lab --no-browser --port={HAND_PORT}' Enter",
)
"""Typed on the server, as in the seeds' first examples; then, on the laptop, `ssh -N -L`."""


@dataclass
class Found:
    """Seconds; of `after_drop` None: not without somebody who types."""

    typed: int
    logins: int = 0
    first: list[float] = field(default_factory=list)
    after_cut: list[float] = field(default_factory=list)
    after_drop: list[float | None] = field(default_factory=list)
    kept: bool = False  # whether JupyterLab, and so its kernels, outlived the end of the hub's sessions


@dataclass(frozen=True)
class Contender:
    """`begin` types what a person types and returns; `port` is where the browser looks on the laptop."""

    name: str
    typed: int
    port: int
    begin: Callable[[Centre], Callable[[], None]]


def measure(centre: Centre, rounds: int) -> Iterator[str]:
    for name in ("jupyter", "jupyter-lab"):  # jupyter-forward looks on PATH
        centre.hub.install(name, f'#!/bin/sh\nexec {BIN}/{name} "$@"\n')
    centre.hub.install("activate", "# conda's, which jupyter-forward wants: JupyterLab is on PATH here\n")
    head = (
        "",
        "typed",
        "logins",
        "first answer",
        "link cut for 30 s, healed",
        "the hub ends the sessions",
        "kernels then",
    )
    yield f"| {' | '.join(head)} |"
    yield "| --- " * len(head) + "|"
    for contender in _contenders():
        found = Found(contender.typed)
        for _ in range(max(1, rounds // 3)):
            _round(centre, contender, found)
        yield _row(contender.name, found)
    if not PEER.exists():
        yield "| jupyter-forward | could not be installed here | | | | | |"


def _contenders() -> list[Contender]:
    known = [
        Contender("`gears open`", 1, GEARS_PORT, _begin_gears),
        Contender("by hand, as in the seeds: ssh, tmux, activate, jupyter lab; ssh -L", 5, HAND_PORT, _begin_by_hand),
    ]
    if install_peer():
        known.append(Contender("jupyter-forward", 1, FORWARD_PORT, _begin_forward))
    return known


def _round(centre: Centre, contender: Contender, found: Found) -> None:
    before, began = _logins(centre), time.monotonic()
    end = contender.begin(centre)
    try:
        with Client(centre.laptop) as laptop:
            found.first.append(laptop.run(wait_for_answer, port(contender.port)) - began)
            found.logins = _logins(centre) - before
            centre.laptop.cut()
            time.sleep(CUT_S)
            centre.laptop.heal()
            healed = time.monotonic()
            found.after_cut.append(laptop.run(wait_for_answer, port(contender.port), PATIENCE_S) - healed)
            lab = _labs(centre)
            centre.hub.kill_sessions("alice")
            found.after_drop.append(laptop.run(_back, contender.port))
            found.kept = bool(lab) and lab <= _labs(centre)
    finally:
        end()
        wait_until(lambda: not _labs(centre), 30, "JupyterLab has ended")


def _back(number: int) -> float | None:
    began = time.monotonic()
    time.sleep(1.0)  # what dies of it is dying
    while time.monotonic() - began < DROP_S:
        if answers(port(number)):
            return time.monotonic() - began
        time.sleep(0.05)
    return None


def _row(name: str, found: Found) -> str:
    back = [seconds for seconds in found.after_drop if seconds is not None]
    drop = f"{median(back):.1f} s" if len(back) == len(found.after_drop) else "not by itself"
    kept = "kept" if found.kept else "lost"
    first, cut = f"{median(found.first):.1f} s", f"{median(found.after_cut):.1f} s"
    return f"| {name} | {found.typed} | {found.logins} | {first} | {cut} | {drop} | {kept} |"


def _begin_gears(centre: Centre) -> Callable[[], None]:
    terminal = type_open(centre.laptop, "peer --no-browser")
    opened = await_up(centre.laptop, terminal)

    def end() -> None:
        opened.close()
        gears(centre.hub, "stop peer", check=True)

    return end


def _begin_by_hand(centre: Centre) -> Callable[[], None]:
    centre.laptop.run(["ssh", "hub", "; ".join(BY_HAND)], check=True)
    listening = f"until ss -ltn | grep -q :{HAND_PORT}; do sleep 0.05; done"  # a person waits for the printed address
    centre.hub.run(listening, check=True, timeout_s=60)
    forward = centre.laptop.popen(["ssh", "-N", "-L", f"{HAND_PORT}:localhost:{HAND_PORT}", "hub"])

    def end() -> None:
        centre.laptop.end_popen(forward)
        centre.hub.run("tmux -L hand kill-server")

    return end


def _begin_forward(centre: Centre) -> Callable[[], None]:
    words = f"exec {PEER}/bin/jupyter-forward --port {FORWARD_PORT} --conda-env base alice@hub"
    terminal = centre.laptop.spawn(words, env={"BROWSER": "true"}, timeout_s=60)

    def end() -> None:
        terminal.close(force=True)
        centre.hub.kill(*_labs(centre))

    return end


def _logins(centre: Centre) -> int:
    return centre.hub.path("/var/log/sshd.log").read_text(errors="replace").count("Accepted publickey for ")


def _labs(centre: Centre) -> set[int]:
    return {process.pid for process in centre.hub.processes("alice") if process.comm.startswith("jupyter-lab")}


def install_peer() -> bool:
    """Whether jupyter-forward is there: installed here, for all users, since the centre has no way to an index."""
    if not (PEER / "bin/jupyter-forward").exists():
        python = os.path.realpath("/usr/bin/python3")
        for command in ([python, "-m", "venv", str(PEER)], [f"{PEER}/bin/pip", "install", "-q", "jupyter-forward"]):
            if subprocess.run(command, stdout=sys.stderr, timeout=600).returncode != 0:
                return False
    return True
