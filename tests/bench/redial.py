"""How soon a hop is back: after its ssh was killed, after a cut link was healed. Against autossh, if installed."""

import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from tests.bench.client import Connect, unix, wait_for_answer
from tests.bench.rows import Row
from tests.centre import Centre, Process
from tests.helpers import fixed_path, gears, record, wait_until

AUTOSSH = "autossh"
THEIRS = "/tmp/autossh.sck"
CUT_S, PHASES_S = 30, 5
"""Each cut lasts another part of PHASES_S longer: a dial under way at its end notices at times that it chose."""


def measure(centre: Centre, rounds: int) -> Iterator[Row]:
    """Both hops lead from the hub to the same lab."""
    gears(centre.hub, "lab andes", check=True)
    ours = unix(centre.hub, fixed_path())
    theirs = _start_autossh(centre) if shutil.which(AUTOSSH) else None
    yield _after_kill(centre, rounds, ours, theirs)
    yield _after_cut(centre, rounds, ours, theirs)


def _start_autossh(centre: Centre) -> Connect:
    """As well as autossh can: noticing dead links as fast as we do, and taking its own stale socket away."""
    target = record(centre.login1, "andes/lab.json")["socket"]
    options = "-o ServerAliveInterval=5 -o ServerAliveCountMax=2 -o StreamLocalBindUnlink=yes"
    centre.hub.popen(f"exec {AUTOSSH} -M 0 -N {options} -L {THEIRS}:{target} login1")
    theirs = unix(centre.hub, THEIRS)
    wait_for_answer(theirs)
    return theirs


def _after_kill(centre: Centre, rounds: int, ours: Connect, theirs: Connect | None) -> Row:
    back = [_kill(centre, _is_ours, ours) for _ in range(rounds)]
    back_theirs = [_kill(centre, _is_theirs, theirs) for _ in range(rounds)] if theirs else []
    return Row("redial: `kill -9` of the hop's ssh to the first answer", "s", back, _name(theirs), back_theirs)


def _kill(centre: Centre, which: Callable[[Process], bool], connect_to: Connect) -> float:
    """The next round begins from a steady state."""
    ssh = next(process.pid for process in centre.hub.processes("alice") if which(process))
    centre.hub.kill(ssh)
    began = time.monotonic()
    taken_s = wait_for_answer(connect_to) - began
    wait_until(lambda: any(which(process) for process in centre.hub.processes("alice")), 10, "a new ssh")
    time.sleep(1.5)  # longer than the keeper takes to leave
    return taken_s


def _after_cut(centre: Centre, rounds: int, ours: Connect, theirs: Connect | None) -> Row:
    """Both are cut at once, so both meet the same silence."""
    back, back_theirs = [], []
    with ThreadPoolExecutor(2) as pool:
        for number in range(rounds):
            centre.hub.cut("inside")
            time.sleep(CUT_S + PHASES_S * number / rounds)
            centre.hub.heal("inside")
            began = time.monotonic()
            answers = [pool.submit(wait_for_answer, connect_to) for connect_to in (ours, theirs) if connect_to]
            back.append(answers[0].result() - began)
            back_theirs += [_or_limit(answer, began) for answer in answers[1:]]
            time.sleep(1.5)
    return Row(
        f"recovery after a cut of {CUT_S} to {CUT_S + PHASES_S} s is healed",
        "s",
        back,
        _name(theirs),
        back_theirs,
        "≤ 1.5",
    )


def _or_limit(answer: Future[float], began: float) -> float:
    """The seconds until the answer, or those waited for it in vain: autossh's pauses grow with each cut."""
    try:
        return answer.result() - began
    except TimeoutError:
        return time.monotonic() - began


def _name(theirs: Connect | None) -> str:
    return AUTOSSH if theirs else f"{AUTOSSH} is not installed"


def _is_ours(process: Process) -> bool:
    return process.comm == "ssh" and "_serve" in " ".join(process.argv)


def _is_theirs(process: Process) -> bool:
    return process.comm == "ssh" and THEIRS in " ".join(process.argv)
