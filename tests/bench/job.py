"""From the start of a job on its node to the first answer at the laptop, against a bare `jupyter lab` on that node."""

import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.client import Client, port, wait_for_answer
from tests.bench.laptop import PORT, laptop_connected
from tests.bench.rows import Row
from tests.bench.start import BARE, BARE_PORT
from tests.centre import Centre
from tests.helpers import gears, home, wait_until
from tests.jobs import SLURM, queue

CENTRE = SLURM


def measure(centre: Centre, rounds: int) -> Iterator[Row]:
    """As `start.measure`. A job's start is when its script writes that it runs: its first line."""
    bare: list[float] = []
    ours: dict[str, list[float]] = {"ssh": [], "reverse": []}
    with laptop_connected(centre), Client(centre.laptop) as laptop, Client(centre.c1) as c1:
        for _ in range(rounds + 1):
            bare.append(_start_bare(centre, c1))
            for reach, times in ours.items():
                times.append(_start_job(centre, laptop, reach))
    for reach, times in ours.items():
        yield Row(
            f"job, reach {reach}: its start to the first answer at the laptop",
            *("s", times[1:], "bare `jupyter lab`, on its node", bare[1:], "≤ 1.2"),
        )


def _start_job(centre: Centre, laptop: Client, reach: str) -> float:
    command = centre.hub.popen(f"exec {home()}/.venv/bin/gears lab andes --job --reach {reach}")
    records = centre.hub.path(f"{home()}/run/andes")
    began = _await_start(records)
    answered = laptop.run(wait_for_answer, port(PORT))
    command.communicate(timeout=30)
    gears(centre.hub, "stop andes", check=True, timeout_s=120)
    wait_until(lambda: not queue(centre), 60, "the queue is empty")
    for life in records.glob("job.*.life"):
        life.unlink()
    return answered - began


def _await_start(records: Path, timeout_s: float = 60) -> float:
    """time.monotonic() as of the line `started` of the job's life, which is the only one there."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if any("started" in life.read_text() for life in records.glob("job.*.life")):
            return time.monotonic()
        time.sleep(0.005)
    raise TimeoutError(f"no job started within {timeout_s} s")


def _start_bare(centre: Centre, c1: Client) -> float:
    began = time.monotonic()
    command = centre.c1.popen(BARE)
    answered = c1.run(wait_for_answer, port(BARE_PORT))
    centre.c1.end_popen(command)
    return answered - began
