"""What a hundred environments cost JupyterLab's start and its list of kernels, against none, in turn."""

import time
from collections.abc import Iterator

from tests.bench.client import Client, unix, wait_for_answer
from tests.bench.rows import Row
from tests.centre import Centre
from tests.helpers import fixed_path, gears, home, lab_at

NUMBER = 100
ENVS = f"{home()}/run/envs"


def measure(centre: Centre, rounds: int) -> Iterator[Row]:
    """All of one prefix: what is counted is records and kernelspecs. Round 0 fills the caches and is not counted."""
    for number in range(NUMBER):
        gears(centre.login1, f"env add {home()}/.venv --name e{number}", check=True)
    started: dict[bool, list[float]] = {True: [], False: []}
    listed: dict[bool, list[float]] = {True: [], False: []}
    with Client(centre.login1) as login1:
        for _ in range(rounds + 1):
            for have in (True, False):
                _show(centre, have=have)
                began = time.monotonic()
                command = centre.login1.popen(f"exec {home()}/.venv/bin/gears lab andes")
                started[have].append(login1.run(wait_for_answer, unix(centre.login1, fixed_path())) - began)
                command.communicate(timeout=30)
                listed[have].append(_list(centre, NUMBER + 1 if have else 1))
                gears(centre.login1, "stop andes", check=True)
    what = f"with {NUMBER} environments"
    yield Row(f"start of JupyterLab {what}", "s", started[True][1:], "with none", started[False][1:], "≈ 1")
    yield Row(f"`GET /api/kernelspecs` {what}", "ms", listed[True][1:], "with none", listed[False][1:])


def _show(centre: Centre, *, have: bool) -> None:
    here, aside = ENVS, f"{ENVS}.aside"
    move = f"[ -d {here} ] || mv {aside} {here}" if have else f"mv {here} {aside}"
    centre.login1.run(move, check=True)


def _list(centre: Centre, expected: int) -> float:
    """Milliseconds, of the second request: the first one also loads what serves it."""
    lab = lab_at(centre.login1)
    assert len(lab.request("GET", "/api/kernelspecs").json()["kernelspecs"]) == expected
    began = time.monotonic()
    lab.request("GET", "/api/kernelspecs")
    return (time.monotonic() - began) * 1000
