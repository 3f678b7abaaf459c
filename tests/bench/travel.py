"""A laptop that sleeps, and one whose address changes as Wi-Fi does: until JupyterLab answers at its port again.

Over a long line. `gears open` leads to the lab on a login node, autossh to the fixed path on the hub, so it has one
connection less to make.
"""

import shutil
import signal
import time
from collections.abc import Callable, Iterator

from tests.bench.client import Client, port, wait_for_answer
from tests.bench.pages import Line, lines, over
from tests.bench.redial import AUTOSSH
from tests.bench.rows import Row
from tests.centre import Centre
from tests.helpers import fixed_path, gears
from tests.opening import PORT, await_up, fall_asleep, readdress, type_open

ASLEEP_S = 40
AUTOSSH_PORT = 38821
USUAL = ((0, 0), (80, 20))
AT_HOME, ELSEWHERE = "10.77.1.10", "10.77.1.99"
GIVE_UP_S = 90


def measure(centre: Centre, rounds: int) -> Iterator[Row]:
    gears(centre.hub, "lab andes", check=True)
    for line in lines(USUAL):
        with over(centre, line):
            yield from _over(centre, line, rounds)


def _over(centre: Centre, line: Line, rounds: int) -> Iterator[Row]:
    asleep = f"asleep for {ASLEEP_S} s, its session ended meanwhile"
    for what, happens in ((asleep, _sleep), ("another address", _move)):
        ours = [_by_gears(centre, happens) for _ in range(rounds)]
        theirs = [_by_autossh(centre, happens) for _ in range(rounds)] if shutil.which(AUTOSSH) else []
        name = f"{AUTOSSH}, to the hub" if theirs else f"{AUTOSSH} is not installed"
        yield Row(f"laptop, {line}: {what}, to the next answer", "s", ours, name, theirs)


Happens = Callable[[Centre], float]
"""Returns time.monotonic() as of when the laptop is there again."""


def _by_gears(centre: Centre, happens: Happens) -> float:
    opened = await_up(centre.laptop, type_open(centre.laptop, "andes --no-browser"))
    try:
        began = happens(centre)
        opened.terminal.kill(signal.SIGCONT)  # nsenter(1) stops itself when its child is stopped
        return _back(centre, PORT, began)
    finally:
        opened.close()


def _by_autossh(centre: Centre, happens: Happens) -> float:
    """It notices dead links as fast as we do. Without a gate time it would end with its first ssh."""
    options = "-o ServerAliveInterval=5 -o ServerAliveCountMax=2"
    words = f"exec {AUTOSSH} -M 0 -N {options} -L {AUTOSSH_PORT}:{fixed_path()} hub"
    running = centre.laptop.popen(words, env={"AUTOSSH_GATETIME": "0"})
    try:
        _back(centre, AUTOSSH_PORT, time.monotonic())
        return _back(centre, AUTOSSH_PORT, happens(centre))
    finally:
        centre.laptop.end_popen(running)


def _back(centre: Centre, number: int, began: float) -> float:
    """Return the seconds until the first answer, or those waited for it in vain."""
    with Client(centre.laptop) as laptop:
        try:
            return laptop.run(wait_for_answer, port(number), GIVE_UP_S) - began
        except TimeoutError:
            return time.monotonic() - began


def _sleep(centre: Centre) -> float:
    fall_asleep(centre, ASLEEP_S)
    return time.monotonic()


def _move(centre: Centre) -> float:
    old, new = (AT_HOME, ELSEWHERE) if _has(centre, AT_HOME) else (ELSEWHERE, AT_HOME)
    readdress(centre.laptop, old, new)
    return time.monotonic()


def _has(centre: Centre, address: str) -> bool:
    return f" {address}/" in centre.laptop.run("ip -brief address show dev outside").stdout
