"""From `make andes-lab` to the first answer at the laptop, against a bare `jupyter lab` on the login node."""

import time
from collections.abc import Callable, Iterator

from tests.bench.client import Client, port, wait_for_answer
from tests.bench.laptop import PORT, laptop_connected
from tests.bench.rows import Row
from tests.centre import Centre
from tests.helpers import gears, home

BARE_PORT = 38999
BARE = f"exec {home()}/.venv/bin/jupyter-lab --no-browser --ServerApp.port={BARE_PORT} --ServerApp.port_retries=0"


def measure(centre: Centre, rounds: int) -> Iterator[Row]:
    """Round 0 of each fills the caches and is not counted. The laptop's ssh is up all the time."""
    ours, bare = [], []
    with laptop_connected(centre), Client(centre.laptop) as laptop, Client(centre.login1) as login1:
        for _ in range(rounds + 1):
            ours.append(start_ours(centre, laptop))
            bare.append(start_bare(centre, login1))
    yield Row(
        "start: `make andes-lab` to the first answer at the laptop",
        *("s", ours[1:], "bare `jupyter lab`, on the login node", bare[1:], "≤ 1.15"),
    )


def nothing() -> None:
    pass


def start_ours(centre: Centre, laptop: Client, *, after: Callable[[], None] = nothing) -> float:
    """`after` is called with the first answer, before the end of the lab."""
    began = time.monotonic()
    command = centre.hub.popen("exec make andes-lab", cwd=home())
    answered = laptop.run(wait_for_answer, port(PORT))
    after()
    command.communicate(timeout=30)
    gears(centre.hub, "stop andes", check=True)
    return answered - began


def start_bare(centre: Centre, login1: Client, *, after: Callable[[], None] = nothing) -> float:
    began = time.monotonic()
    command = centre.login1.popen(BARE)
    answered = login1.run(wait_for_answer, port(BARE_PORT))
    after()
    centre.login1.end_popen(command)
    return answered - began
