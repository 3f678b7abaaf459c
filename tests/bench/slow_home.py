"""The start where the home is on a slow file server, and how many requests it takes."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

from tests.bench.client import Client
from tests.bench.laptop import laptop_connected
from tests.bench.rows import Row
from tests.bench.start import start_bare, start_ours
from tests.centre import Centre
from tests.file_server import CACHED_S, Requests, watched_home
from tests.helpers import home

DELAYS_US = (1000, 5000)
BARE = "bare `jupyter lab`, on the login node"
COLLECT = f"{home()}/.venv/bin/python -EsP -m gears.lab.collect"


def measure(centre: Centre, rounds: int) -> Iterator[Row]:
    """Hub and login node have the slow home."""
    centre.hub.run(COLLECT, check=True)  # as `make init`, for the checkout as it is
    with laptop_connected(centre), Client(centre.laptop) as laptop, Client(centre.login1) as login1:
        start_ours(centre, laptop)
        start_bare(centre, login1)
        for delay_us in DELAYS_US:
            with ExitStack() as stack:
                hosts = (centre.hub, centre.login1)
                homes = [stack.enter_context(watched_home(host, delay_us=delay_us)) for host in hosts]
                starts = partial(start_ours, centre, laptop), partial(start_bare, centre, login1)
                measured = [[_measure(homes, start) for start in starts] for _ in range(rounds)]
            (ours, asked), (bare, asked_by_bare) = ([*zip(*side, strict=True)] for side in zip(*measured, strict=True))
            what = f"start, {delay_us / 1000:g} ms a request to the home: `make andes-lab` to the first answer"
            yield Row(what, "s", ours, BARE, bare, "≤ 0.6")
            yield Row("the same", "requests", asked, BARE, asked_by_bare)


def _measure(homes: list[Requests], start: Callable[..., float]) -> tuple[float, int]:
    """How long a start took, and how many requests came until its first answer."""
    time.sleep(2 * CACHED_S)
    for requests in homes:
        requests.take()
    asked: list[int] = []
    took = start(after=lambda: asked.append(sum(len(requests.take()) for requests in homes)))
    return took, asked[0]
