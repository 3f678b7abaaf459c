"""The environment in which a scheduler's programs run: a person's, without what changes the meaning of our commands.

Such a variable wins over the lines of a job script (sbatch(1), INPUT ENVIRONMENT VARIABLES), lets a program wait or ask
(SBATCH_WAIT, SCANCEL_INTERACTIVE), or is of the job in which the command was typed. What says where a scheduler is, or
whom it charges, is the person's to set.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence

from gears import command

SCHEDULERS = r"(SBATCH|SLURM|SQUEUE|SCANCEL|SALLOC|SRUN|SINFO|SACCT|PBS|QSUB|LSB|BSUB|SGE)_\w+"

KEPT = re.compile(
    r"SBATCH_(ACCOUNT|PARTITION|QOS|RESERVATION|CONSTRAINT|WCKEY|CLUSTERS)"
    r"|SLURM_(CONF|CONF_SERVER|JWT|ROOT|HOME|CLUSTERS|TIME_FORMAT|SACK_\w+)"
    r"|PBS_(DEFAULT|SERVER|CONF_FILE|EXEC|HOME|PRIMARY|SECONDARY|AUTH_\w+)"
    r"|LSB_(DEFAULTPROJECT|CONFDIR|SHAREDIR)"
    r"|SGE_(ROOT|CELL|ARCH|CLUSTER_NAME|QMASTER_PORT|EXECD_PORT)"
)
"""Where the scheduler is, and whose account pays; of a partition and its like only as long as no script names one."""


def clean(environ: Mapping[str, str], named: Collection[str] = ()) -> dict[str, str]:
    """`environ` without what changes our commands; `named`: variables that a job script has words of its own for."""
    return {name: value for name, value in environ.items() if name not in named and not is_dropped(name)}


def is_dropped(name: str) -> bool:
    return bool(re.fullmatch(SCHEDULERS, name)) and not KEPT.fullmatch(name)


def kept_pattern(*, account: bool, queue: bool) -> str:
    """KEPT for grep -E, less the variables of what the profile itself names: an account, a queue."""
    less = ["ACCOUNT|"] * account + ["PARTITION|"] * queue
    pattern = KEPT.pattern
    for part in less:
        pattern = pattern.replace(part, "", 1)
    return pattern


def run(
    argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None, input: str | None = None
) -> str:
    """A program of the scheduler's, in `env` or a clean environment. Raises as `command.run` does."""
    return command.run(argv, timeout_s=timeout_s, env=clean(os.environ) if env is None else env, input=input)
