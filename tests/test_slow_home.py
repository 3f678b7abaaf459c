"""A home on a slow file server: what a start asks of it, against a bare JupyterLab there. Counted, since times vary.

Each question counts once for each host: what is asked again depends on how long the start takes.
"""

import re
import time
from collections.abc import Callable, Iterable

import pytest

from gears.lab.status.status import OBSERVE_EVERY_S
from tests.bench.start import BARE, BARE_PORT
from tests.centre import Centre, Host
from tests.file_server import watched_home
from tests.helpers import gears, home, lab_at, wait_until

COLLECT = f"{home()}/.venv/bin/python -EsP -m gears.lab.collect"
OF_A_PATH = re.compile(r"(\w+)\((?:AT_FDCWD, )?\"([^\"]*)\"")
QUESTIONS = {"lstat", "newfstatat", "openat", "readlink"}

LOOKING = 4
"""Who waits for the lab, and looks at its record: on both hosts a keeper, and what started it."""

Question = tuple[str, str, str]


def questions_of(centre: Centre, start: Callable[[], object]) -> list[Question]:
    """What hub and login1 ask until a start is done: the host, the system call of the server, the path."""
    with watched_home(centre.hub) as of_hub, watched_home(centre.login1) as of_login1:
        start()
        asked = {"hub": of_hub.take(), "login1": of_login1.take()}
    found = ((host, OF_A_PATH.search(request)) for host, requests in asked.items() for request in requests)
    return [(host, *call.groups()) for host, call in found if call and call[1] in QUESTIONS]


def opened(questions: Iterable[Question], end: str) -> int:
    return sum(call == "openat" and path.endswith(end) for _, call, path in questions)


def start_bare(host: Host) -> None:
    command = host.popen(BARE)
    answers = lab_at(host, where=BARE_PORT).answers
    wait_until(lambda: answers() or command.poll() is not None, 120, "a bare JupyterLab to answer")
    assert command.poll() is None, command.communicate()
    host.end_popen(command)


@pytest.mark.timeout(600)
def test_a_start_asks_for_less_than_a_bare_jupyterlab(centre: Centre) -> None:
    centre.login1.run(COLLECT, check=True, timeout_s=120)  # as `make init` does, for gears as it is here
    began = time.monotonic()
    try:
        asked = questions_of(centre, lambda: gears(centre.hub, "lab andes", check=True, timeout_s=240))
    finally:
        gears(centre.hub, "stop andes", check=True)
    looks, looks_planned = opened(asked, "/andes/lab.json"), LOOKING * (time.monotonic() - began) / OBSERVE_EVERY_S
    ours, bare = set(asked), set(questions_of(centre, lambda: start_bare(centre.login1)))
    modules, of_bare = opened(ours, ".pyc"), opened(bare, ".pyc")
    print(f"\nquestions: {len(ours)}, bare {len(bare)}: {len(ours) / len(bare):.2f}; bytecode: {modules}, {of_bare}")
    assert looks < looks_planned + 20  # each event is one more
    assert modules < of_bare / 5
    assert len(ours) < 0.6 * len(bare)
