"""What a command costs before it does anything: modules imported and time, against an empty Python. And what stays."""

import json
from collections.abc import Iterator

from tests.bench.rows import Row
from tests.centre import Centre
from tests.helpers import gears, home

COMMANDS = ["--version", "ssh-config local", "status local", "dask status local"]
PYTHON = f"{home()}/.venv/bin/python"
COUNT = """
import sys
from gears.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print(len(sys.modules), file=sys.stderr)
"""
TIME = """
import json, subprocess, sys, time
rounds, commands = int(sys.argv[1]), json.loads(sys.argv[2])
taken = [[] for _ in commands]
for _ in range(rounds + 1):
    for command, times in zip(commands, taken):
        began = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        times.append((time.perf_counter() - began) * 1000)
print(json.dumps([times[1:] for times in taken]))
"""


def measure(centre: Centre, rounds: int) -> Iterator[Row]:
    lines = [[PYTHON, "-c", "pass"], *([f"{home()}/.venv/bin/gears", *words.split()] for words in COMMANDS)]
    timed = centre.hub.run([PYTHON, "-c", TIME, str(3 * rounds), json.dumps(lines)], check=True, timeout_s=120)
    empty, *ours = json.loads(timed.stdout)
    modules = [_modules(centre, words) for words in COMMANDS]
    nothing = int(centre.hub.run([PYTHON, "-c", "import sys; print(len(sys.modules))"], check=True).stdout)
    for words, count, times in zip(COMMANDS, modules, ours, strict=True):
        yield Row(f"`gears {words}`", "ms", times, "`python -c pass`", empty)
        yield Row(f"`gears {words}`", "modules", [count], "`python -c pass`", [nothing], "< 200 modules")
    yield from _measure_resident(centre)


def _modules(centre: Centre, words: str) -> int:
    return int(centre.hub.run([PYTHON, "-c", COUNT, *words.split()]).stderr.split()[-1])


def _measure_resident(centre: Centre) -> Iterator[Row]:
    """What stays on the hub once a lab is up and the keeper has left."""
    gears(centre.hub, "lab andes", check=True)
    centre.hub.run("sleep 2")
    for process in centre.hub.processes("alice"):
        status = centre.hub.path(f"/proc/{process.pid}/status").read_text()
        kilobytes = int(status.partition("VmRSS:")[2].split()[0])
        yield Row(f"stays on the hub: {process.comm}", "MB", [kilobytes / 1000])
