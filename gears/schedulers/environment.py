"""The environment of a scheduler's programs: the user's, without variables that change the meaning of gears' commands.

Such variables override directives of a job script (sbatch(1), INPUT ENVIRONMENT VARIABLES), make a program wait or
prompt (SBATCH_WAIT, SCANCEL_INTERACTIVE), or belong to the job in which the command was run. Variables that locate the
scheduler or choose the account are kept.
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
"""Variables that locate the scheduler or choose account, partition and the like, unless the job script sets those."""

CHOSEN = {
    "slurm": re.compile(r"SBATCH_(ACCOUNT|PARTITION|QOS|RESERVATION|CONSTRAINT|WCKEY|CLUSTERS)|SLURM_CLUSTERS"),
    "pbs": re.compile(r"PBS_DEFAULT"),
    "lsf": re.compile(r"LSB_DEFAULTPROJECT"),
    "sge": re.compile(r"SGE_CELL"),
}
"""Kept variables that decide where a job runs and what it is charged to; reported to the user."""

CLUSTER_VARIABLES = ("SLURM_CLUSTERS", "SBATCH_CLUSTERS")
"""The first has precedence, also over directives of a job script (observed with Slurm 22.05)."""

_NAMES_CLUSTERS = re.compile(r"(?:^|\s)(?:--clusters?(?:=|\s+)|-M\s*)[\"']?([^\s\"']+)")


def clean(environ: Mapping[str, str], named: Collection[str] = ()) -> dict[str, str]:
    """Return `environ` without variables that change gears' commands, and without those in `named`."""
    return {name: value for name, value in environ.items() if name not in named and not is_dropped(name)}


def submission_environment(script: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return `environ` for sbatch, without variables whose option the job script sets.

    They would override it (sbatch(1)). Without cluster variables too if the job depends on one of the default cluster.
    """
    named = re.findall(r"^#SBATCH --([a-z-]+)=", script, re.MULTILINE)
    dropped = {f"SBATCH_{option.upper().replace('-', '_')}" for option in named} | {"SBATCH_TIMELIMIT"}
    follows = re.search(r"^#SBATCH --dependency=afterany:\d+$", script, re.MULTILINE)
    if follows or clusters_named(re.findall(r"^#SBATCH\s(.*)$", script, re.MULTILINE)):
        dropped |= {*CLUSTER_VARIABLES}
    return clean(environ, dropped)


def clusters(kind: str, directives: Sequence[str], environ: Mapping[str, str]) -> str:
    """Return the clusters to which a job with these directives can go, in the syntax of Slurm's --clusters.

    "": the default cluster. Only Slurm has others.
    """
    if kind != "slurm":
        return ""
    return clusters_named(directives) or next(filter(None, map(environ.get, CLUSTER_VARIABLES)), "")


def clusters_named(directives: Sequence[str]) -> str:
    """Return the last value of --clusters in directives, with or without their prefix; empty if there is none."""
    found = [name for directive in directives for name in _NAMES_CLUSTERS.findall(directive)]
    return found[-1] if found else ""


def chosen(kind: str, environ: Mapping[str, str]) -> list[str]:
    """Return the user's choices in `environ` (CHOSEN) as lines NAME=value, sorted by name."""
    return [f"{name}={value}" for name, value in sorted(environ.items()) if value and CHOSEN[kind].fullmatch(name)]


def is_dropped(name: str) -> bool:
    """Tell whether a variable belongs to a scheduler (SCHEDULERS) and is not in KEPT."""
    return bool(re.fullmatch(SCHEDULERS, name)) and not KEPT.fullmatch(name)


def kept_pattern(*, account: bool, queue: bool, clusters: bool = False) -> str:
    """Return KEPT for grep -E, without variables for what the profile sets: account, queue or clusters."""
    removed = ["ACCOUNT|"] * account + ["PARTITION|"] * queue + ["|CLUSTERS"] * 2 * clusters
    pattern = KEPT.pattern
    for part in removed:
        pattern = pattern.replace(part, "", 1)
    return pattern


def run(
    argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None, input: str | None = None
) -> str:
    """Run a program of the scheduler, in `env` or a clean environment. Raises what `commands.run` raises."""
    return commands.run(argv, timeout_s=timeout_s, env=clean(os.environ) if env is None else env, input=input)


JOB_IDS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")
"""Variables in which a job has its id. Grid Engine's is last: others use the name too."""


def current_job() -> str:
    """Return the scheduler's id of the job that this process is in; "" outside of jobs."""
    return next((os.environ[name] for name in JOB_IDS if os.environ.get(name)), "")
