"""How long saves of variables may take in a lab, by how its host or its scheduler ends it. Pure."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from gears.sites.profile import Site
from gears.sites.validators import walltime_s

VARIABLE = "GEARS_CARRY"
"""Of JupyterLab: the fields of `Limits`, in order. Removed before kernels and terminals get theirs."""

CARRIER = "gears_carry"
"""The key in the application's settings of what saves (`carry.Carrier`); absent where nothing is carried."""

STOP_S = 16
"""`gears stop` kills a lab on a login node after 20 s."""

KILL_S = {"slurm": 26, "pbs": 8, "lsf": 8, "sge": 8}
"""From SIGTERM to SIGKILL, less the time to end: KillWait is 30 s (slurm.conf(5)), kill_delay 10 s (PBS), and
JOB_TERMINATE_INTERVAL 10 s (LSF). Grid Engine sends SIGUSR2, and SIGKILL `notify` later."""

MOST_NOTICE_S, SHARE = 120, 10
"""The notice before the walltime, at most, and in a short job: this part of its time."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When to save, and how long a save may take. `every_s`: 0 for never; `days`: how long states are kept.

    `end_s`: from SIGTERM until the lab is killed. `notice_s`: from a scheduler's warning until then. `timer`: 1 if
    none warns of the walltime, so that the lab ends by itself `notice_s` before.
    """

    every_s: int = 0
    days: int = 30
    end_s: int = STOP_S
    notice_s: int = 0
    timer: int = 0

    def as_words(self) -> str:
        """Write the limits for `VARIABLE`."""
        return " ".join(map(str, astuple(self)))


def plan_limits(site: Site) -> Limits:
    """Plan the limits for a lab on a login node."""
    return Limits(walltime_s(site.carry.every) if site.carry.every else 0, site.carry.days)


def plan_job_limits(site: Site, kind: str, job_s: int) -> Limits:
    """Plan the limits for a job of `job_s` seconds. Only Slurm can be asked to warn of the walltime."""
    limits = plan_limits(site)
    timer = 0 if kind == "slurm" else 1
    return Limits(limits.every_s, limits.days, KILL_S[kind], notice_s(job_s), timer)


def notice_s(job_s: int) -> int:
    """Return how long before its end a job of `job_s` seconds is ended, for its variables to be saved."""
    return min(MOST_NOTICE_S, max(1, job_s // SHARE))
