"""A home on a slow file server: what a start asks of it, against a bare JupyterLab there. Counted, since times vary.

What is asked of `run` is not counted: commands and keepers look there all the time, so it depends on the machine.
"""

from collections.abc import Callable

import pytest

from tests.bench.start import BARE, BARE_PORT
from tests.centre import Centre, Host
from tests.file_server import watched_home
from tests.helpers import gears, home, lab_at, wait_until

COLLECT = f"{home()}/.venv/bin/python -EsP -m gears.lab.collect"


def is_counted(request: str) -> bool:
    return "gears/run/" not in request


def requests_of(centre: Centre, start: Callable[[], object]) -> list[str]:
    """What hub and login1 ask until a start is done."""
    with watched_home(centre.hub) as of_hub, watched_home(centre.login1) as of_login1:
        start()
        return [request for requests in (of_hub, of_login1) for request in requests.take() if is_counted(request)]


def opened(requests: list[str], end: str) -> int:
    return sum("openat(" in request and f'{end}"' in request for request in requests)


def start_bare(host: Host) -> None:
    command = host.popen(BARE)
    answers = lab_at(host, where=BARE_PORT).answers
    wait_until(lambda: answers() or command.poll() is not None, 120, "a bare JupyterLab to answer")
    assert command.poll() is None, command.communicate()
    host.end_popen(command)


@pytest.mark.timeout(600)
def test_a_start_asks_for_less_than_a_bare_jupyterlab(centre: Centre) -> None:
    centre.login1.run(COLLECT, check=True, timeout_s=120)  # as `make init` does, for gears as it is here
    try:
        ours = requests_of(centre, lambda: gears(centre.hub, "lab andes", check=True, timeout_s=240))
    finally:
        gears(centre.hub, "stop andes", check=True)
    bare = requests_of(centre, lambda: start_bare(centre.login1))
    modules, of_bare = opened(ours, ".pyc"), opened(bare, ".pyc")
    print(f"\nrequests: {len(ours)}, bare {len(bare)}: {len(ours) / len(bare):.2f}; bytecode: {modules}, {of_bare}")
    assert modules < of_bare / 5
    assert len(ours) < 0.6 * len(bare)
