"""What gears costs while all is well: processes on hub and login node, memory, modules and time of a command.

Figures are printed (`-s` shows them); what is asserted does not depend on the machine.
"""

import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.centre import Centre, Host
from tests.helpers import gears, home, lab_at, record, wait_until

COUNT = """
import atexit, sys
atexit.register(lambda: print(len(sys.modules), file=sys.stderr))
from gears.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def up(centre: Centre) -> Iterator[Centre]:
    gears(centre.hub, "lab andes", check=True)
    yield centre
    gears(centre.hub, "stop andes", check=True)


def running(host: Host, *, but: int = 0) -> Counter[str]:
    """How many of each program she runs, without the process `but`."""
    return Counter(process.comm for process in host.processes("alice") if process.pid != but)


def zombies(host: Host) -> list[str]:
    return [line for line in host.run("ps -u alice -o stat=,comm=").stdout.splitlines() if line.startswith("Z")]


def resident_mb(host: Host) -> float:
    """Of all her processes on the host together."""
    pids = ",".join(str(process.pid) for process in host.processes("alice"))
    return sum(map(int, host.run(f"ps -o rss= -p {pids}", check=True).stdout.split())) / 1024


def test_on_the_hub_only_tmux_a_shell_and_ssh_stay(up: Centre) -> None:
    expected = Counter({"tmux: server": 1, "sh": 1, "ssh": 1})
    wait_until(lambda: running(up.hub) == expected, 10, f"only {dict(expected)} on hub")
    before = up.hub.processes("alice")
    assert lab_at(up.hub).answers()
    assert gears(up.hub, "status andes").returncode == 0
    assert up.hub.processes("alice") == before
    assert not zombies(up.hub)
    print(f"\nhub: {resident_mb(up.hub):.0f} MB resident in all")


def test_on_the_login_node_only_shells_stay_beside_jupyterlab(up: Centre) -> None:
    lab = record(up.hub, "andes/lab.json")["pid"]
    expected = Counter({"tmux: server": 1, "sh": 2, "sshd": 1})
    wait_until(lambda: running(up.login1, but=lab) == expected, 10, f"beside JupyterLab only {dict(expected)}")
    assert lab in [process.pid for process in up.login1.processes("alice")]
    assert not zombies(up.login1)
    print(f"\nlogin1: {resident_mb(up.login1):.0f} MB resident in all")


@pytest.mark.parametrize(
    "words",
    [
        "--version",
        "ssh-config local",
        "status local",
        "status andes",
        "dask status local",
        "dask status andes",
        "data places andes",
        "data status --site andes",
    ],
)
def test_a_command_loads_few_modules(up: Centre, words: str) -> None:
    python, command = f"{home()}/.venv/bin/python", f"{home()}/.venv/bin/gears {words}"
    modules = int(up.hub.run([python, "-c", COUNT, *words.split()]).stderr.splitlines()[-1])
    gears_s, pass_s = best_of_five(up.hub, command), best_of_five(up.hub, f"{python} -c pass")
    print(f"\ngears {words}: {modules} modules, {gears_s * 1000:.0f} ms; python -c pass: {pass_s * 1000:.0f} ms")
    assert 30 < modules < 200


def best_of_five(host: Host, command: str) -> float:
    times = []
    for _ in range(5):
        began = time.perf_counter()
        host.run(command)
        times.append(time.perf_counter() - began)
    return min(times)
