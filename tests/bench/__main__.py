"""python -m tests.bench [NAME]… [--rounds N]: prints a Markdown table. Takes some ten minutes in all."""

import argparse
import sys
from collections.abc import Callable, Iterator

from tests.bench import (
    commands,
    dashboards,
    environments,
    growth,
    job,
    newcomer,
    notebooks,
    pages,
    peers,
    redial,
    slow_home,
    start,
    traffic,
    travel,
    work,
)
from tests.bench.rows import HEAD, Row
from tests.centre import Centre, CentreUnavailable

MEASUREMENTS: dict[str, Callable[[Centre, int], Iterator[Row | str]]] = {
    "start": start.measure,
    "slow_home": slow_home.measure,
    "job": job.measure,
    "traffic": traffic.measure,
    "redial": redial.measure,
    "commands": commands.measure,
    "notebooks": notebooks.measure,
    "environments": environments.measure,
    "pages": pages.measure,
    "work": work.measure,
    "dashboards": dashboards.measure,
    "travel": travel.measure,
    "peers": peers.measure,
    "growth": growth.measure,
    "newcomer": newcomer.measure,
}


OPTIONS = {"job": job.CENTRE, "peers": peers.CENTRE, "growth": growth.CENTRE}


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(MEASUREMENTS)}; else all")
    parser.add_argument("--rounds", type=int, default=5)
    wanted = parser.parse_args()
    if unknown := set(wanted.names) - set(MEASUREMENTS):
        parser.error(f"no measurement is called {', '.join(unknown)}")
    print(HEAD, flush=True)
    for name in wanted.names or MEASUREMENTS:
        with Centre(**OPTIONS.get(name, {})) as centre:
            for row in MEASUREMENTS[name](centre, wanted.rounds):
                print(row, flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CentreUnavailable as unavailable:
        sys.exit(str(unavailable))
