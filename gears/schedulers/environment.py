"""The environment in which a scheduler's programs run: a person's, without what changes the meaning of our commands.

Such a variable wins over the lines of a job script (sbatch(1), INPUT ENVIRONMENT VARIABLES), lets a program wait or ask
(SBATCH_WAIT, SCANCEL_INTERACTIVE), or is of the job in which the command was typed. What says where a scheduler is, or
whom it charges, is the person's to set.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence

from gears.system import commands

SCHEDULERS = r"(SBATCH|SLURM|SQUEUE|SCANCEL|SALLOC|SRUN|SINFO|SACCT|PBS|QSUB|LSB|BSUB|SGE)_\w+"

KEPT = re.compile(
    r"SBATCH_(ACCOUNT|PARTITION|QOS|RESERVATION|CONSTRAINT|WCKEY|CLUSTERS)"
    r"|SLURM_(CONF|CONF_SERVER|JWT|ROOT|HOME|CLUSTERS|TIME_FORMAT|SACK_\w+)"
    r"|PBS_(DEFAULT|SERVER|CONF_FILE|EXEC|HOME|PRIMARY|SECONDARY|AUTH_\w+)"
    r"|LSB_(DEFAULTPROJECT|CONFDIR|SHAREDIR)"
    r"|SGE_(ROOT|CELL|ARCH|CLUSTER_NAME|QMASTER_PORT|EXECD_PORT)"
)
"""Where the scheduler is, and whose account pays; of a partition and its like only as long as no script names one."""

CHOSEN = {
    "slurm": re.compile(r"SBATCH_(ACCOUNT|PARTITION|QOS|RESERVATION|CONSTRAINT|WCKEY|CLUSTERS)|SLURM_CLUSTERS"),
    "pbs": re.compile(r"PBS_DEFAULT"),
    "lsf": re.compile(r"LSB_DEFAULTPROJECT"),
    "sge": re.compile(r"SGE_CELL"),
}
"""Of those kept, what decides where a job goes and who pays: a person is told."""

CLUSTER_VARIABLES = ("SLURM_CLUSTERS", "SBATCH_CLUSTERS")
"""The first wins, over the lines of a job script as well (seen with Slurm 22.05)."""

_NAMES_CLUSTERS = re.compile(r"(?:^|\s)(?:--clusters?(?:=|\s+)|-M\s*)[\"']?([^\s\"']+)")


def clean(environ: Mapping[str, str], named: Collection[str] = ()) -> dict[str, str]:
    """Return `environ` without what changes our commands.

    `named`: variables that a job script has words of its own for, left out as well.
    """
    return {name: value for name, value in environ.items() if name not in named and not is_dropped(name)}


def submission_environment(script: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return `environ` without SBATCH_ACCOUNT and its like where the job script says the same.

    They would win (sbatch(1)). A job that waits for one of the own cluster goes there too.
    """
    named = re.findall(r"^#SBATCH --([a-z-]+)=", script, re.MULTILINE)
    dropped = {f"SBATCH_{option.upper().replace('-', '_')}" for option in named} | {"SBATCH_TIMELIMIT"}
    follows = re.search(r"^#SBATCH --dependency=afterany:\d+$", script, re.MULTILINE)
    if follows or clusters_named(re.findall(r"^#SBATCH\s(.*)$", script, re.MULTILINE)):
        dropped |= {*CLUSTER_VARIABLES}
    return clean(environ, dropped)


def clusters(kind: str, directives: Sequence[str], environ: Mapping[str, str]) -> str:
    """Return the clusters among which a job with these directives goes, as Slurm's --clusters has them.

    "": the own one. Only Slurm has others.
    """
    if kind != "slurm":
        return ""
    return clusters_named(directives) or next(filter(None, map(environ.get, CLUSTER_VARIABLES)), "")


def clusters_named(directives: Sequence[str]) -> str:
    """Return the last word of directives on clusters, with or without their prefix; empty where they say nothing."""
    found = [name for directive in directives for name in _NAMES_CLUSTERS.findall(directive)]
    return found[-1] if found else ""


def chosen(kind: str, environ: Mapping[str, str]) -> list[str]:
    """List what a person has chosen by variables of `environ`: a line each, NAME=value, in the order of the names."""
    return [f"{name}={value}" for name, value in sorted(environ.items()) if value and CHOSEN[kind].fullmatch(name)]


def is_dropped(name: str) -> bool:
    """Tell whether a variable is a scheduler's, by SCHEDULERS, and not among those KEPT."""
    return bool(re.fullmatch(SCHEDULERS, name)) and not KEPT.fullmatch(name)


def kept_pattern(*, account: bool, queue: bool, clusters: bool = False) -> str:
    """Return KEPT for grep -E, less the variables of what the profile itself names: an account, a queue, clusters."""
    less = ["ACCOUNT|"] * account + ["PARTITION|"] * queue + ["|CLUSTERS"] * 2 * clusters
    pattern = KEPT.pattern
    for part in less:
        pattern = pattern.replace(part, "", 1)
    return pattern


def run(
    argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None, input: str | None = None
) -> str:
    """Run a program of the scheduler's, in `env` or a clean environment. Raises as `commands.run` does."""
    return commands.run(argv, timeout_s=timeout_s, env=clean(os.environ) if env is None else env, input=input)
