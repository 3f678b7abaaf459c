"""What carrying variables costs each cell: two kernels, one that carries and one that does not, take turns.

    python -m tests.bench.carry_cells [CELLS]

Printed is the ratio of the processor time that the kernels took, which depends less than the clock on what else the
machine does: for cells of some 10 ms, and for empty ones, which are all overhead. No save is made meanwhile: those on
request are the person's, and periodic ones take at most 2 % by construction (`agent.SHARE`).
"""

import os
import sys
import tempfile
from pathlib import Path

from gears.carry.protocol import STATES
from tests.test_carry_kernel import Notebook, Running

CELLS = {"a cell of 10 ms": "sum(range(500_000))", "an empty cell": "pass"}


def main(count: int) -> None:
    """Print both ratios."""
    with tempfile.TemporaryDirectory(prefix="carry") as where:
        notebook = Notebook(Path(where))
        try:
            kernels = {True: notebook.start(), False: notebook.start(**{STATES: ""})}
            for name, code in CELLS.items():
                print(f"{name}: {measure(kernels, code, count)}", flush=True)
        finally:
            notebook.end()


def measure(kernels: dict[bool, Running], code: str, count: int) -> str:
    """Return the ratio, carrying over not, and both in milliseconds for each cell."""
    before = {carries: cpu_s(kernel.pid) for carries, kernel in kernels.items()}
    for number in range(count):
        for carries in (number % 2 == 0, number % 2 == 1):
            kernels[carries].run(code)
    took = {carries: (cpu_s(kernel.pid) - before[carries]) / count * 1000 for carries, kernel in kernels.items()}
    return f"{took[True] / took[False]:.3f} ({took[True]:.2f} ms, {took[False]:.2f} ms; {count} cells each)"


def cpu_s(pid: int) -> float:
    """Return the processor time of a process (proc(5): fields 14 and 15 of /proc/PID/stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)
