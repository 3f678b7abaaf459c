"""`make centre`: the test centre for a person, who is alice in a shell on the laptop until she leaves it."""

import argparse
import os
import signal
import sys

from tests.centre import Centre, CentreUnavailable
from tests.centre.console import Console, names

BANNER = """
Here is a small HPC centre: laptop, hub (the jump host), login1, login2 (alias andes), c1 and c2.
You are alice at her laptop, which sees only the hub. The other hosts share one home; gears is in ~/gears on all.

    ssh -t hub 'cd gears && make andes-lab'    start JupyterLab on a login node, reached through the hub
    cd gears && SITE=andes make ssh-config     what to put into ~/.ssh/config here (ARGS=--write does it)
    ssh andes-jupyter                          then JupyterLab is at http://localhost:38888 of the laptop
    centre browse                              and in a browser of your own machine
    centre                                     more: cut links, power hosts off, passcodes …
    exit                                       ends the centre; nothing stays
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.centre", description=__doc__)
    parser.add_argument(
        "--totp", type=names, default=(), metavar="HOST,…", help="want a passcode there: centre passcode"
    )
    parser.add_argument("--separate-homes", type=names, default=(), metavar="HOST,…", help="with homes of their own")
    scheduler = parser.add_mutually_exclusive_group()
    scheduler.add_argument("--slurm", action="store_true", help="with Slurm on the login nodes, jobs on c1 and c2")
    scheduler.add_argument("--slurm-clusters", action="store_true", help="with two clusters of Slurm: centre, other")
    scheduler.add_argument("--sge", action="store_true", help="with Grid Engine")
    options = parser.parse_args()
    print(
        "booting the centre; the first time it makes the users' environments, which takes a minute or two", flush=True
    )
    try:
        with Centre(**vars(options)) as centre, Console(centre).serve():
            print(BANNER, flush=True)
            return sit_at_laptop(centre)
    except CentreUnavailable as unavailable:
        print(f"centre: {unavailable}", file=sys.stderr)
        return 1


def sit_at_laptop(centre: Centre) -> int:
    """A login shell on the laptop, on the person's terminal; without a terminal it reads standard input."""
    shell = ["bash", "-l"]
    if not sys.stdin.isatty():
        return centre.laptop.popen(shell, stdin=None, stdout=None, stderr=None).wait()
    terminal = centre.laptop.spawn(shell, env={"TERM": os.environ.get("TERM", "xterm-256color")})

    def fit(*_: object) -> None:
        columns, lines = os.get_terminal_size()
        terminal.setwinsize(lines, columns)

    fit()
    signal.signal(signal.SIGWINCH, fit)
    terminal.interact(escape_character=None)
    terminal.close()
    return terminal.exitstatus or 0


if __name__ == "__main__":
    sys.exit(main())
