"""Plan and render the job script. `lab.job.submit` submits it; it is kept as run/<site>/job.sh."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gears.envs import archive, registry
from gears.lab.job.options import check_scheduler
from gears.lab.job.records import JobRecord
from gears.lab.jupyter.carry_limits import VARIABLE, notice_s, plan_job_limits
from gears.lab.jupyter.command_line import plan_environment, plan_job_command
from gears.schedulers.base import JobSpec, check_output, scheduler
from gears.sites import validators
from gears.sites.context import Context
from gears.ssh.options import has_forwards, ssh_options
from gears.system.files import current_umask

BEAT_S = 10
"""Interval of a reverse tunnel's heartbeat to the login node, which closes it after three missed beats."""

MOST_TRIES = 5
"""How often JupyterLab is started in one job before the job ends."""


@dataclass(frozen=True, slots=True)
class Tunnel:
    """The ssh from the job to the login node: its options, and what it runs there."""

    options: tuple[str, ...]
    forward: str
    control: str
    remote: str


def plan_job(context: Context, number: int, name: str, *, after: JobRecord | None) -> JobSpec:
    """Plan the request to the scheduler. `after`: the record of a job that has to end first.

    Raises UsageError where the path of gears is not valid in a job script, or the profile has no scheduler.
    """
    wanted = check_scheduler(context.site)
    out = check_output(context.paths.job_out(number))
    return JobSpec(
        name=name,
        log=out,
        account=wanted.account,
        queue=wanted.queue,
        nodes=wanted.nodes,
        walltime_s=validators.walltime_s(wanted.walltime),
        directives=wanted.directives,
        notice_s=notice_s(validators.walltime_s(wanted.walltime)) if context.site.carry.on else 0,
        after=after.id if after else "",
    )


def render_script(context: Context, number: int, spec: JobSpec, *, before: int | None) -> str:
    """Render the job script. `before`: the number of the job that this one follows."""
    from gears.system.templates import render

    wanted = check_scheduler(context.site)
    values = _values(context, number, before) | {
        "header": scheduler(wanted.kind).header(spec),
        "name": spec.name,
        "walltime_s": spec.walltime_s,
        "prologue": wanted.prologue,
        "tunnel": plan_tunnel(context, number) if wanted.reach == "reverse" else None,
    }
    return render("batch.sh.j2", **values)


def _values(context: Context, number: int, before: int | None) -> dict[str, Any]:
    paths = context.paths
    site, wanted = context.site, check_scheduler(context.site)
    own = {
        "GEARS_LAB_SOCKET": str(paths.socket("lab", number)),
        "GEARS_JOB": str(number),
        "GEARS_PYTHON": sys.executable,
    }
    if site.carry.on:
        limits = plan_job_limits(site, wanted.kind, validators.walltime_s(wanted.walltime))
        own[VARIABLE] = limits.as_words()
    return {
        "site": site.name,
        "number": number,
        "umask": current_umask(),
        "log": paths.job_log(number),
        "life": paths.job_life(number),
        "before": paths.job_life(before) if before else None,
        "record": paths.job_record,
        "meet": paths.job_meet(number),
        "beat_s": BEAT_S,
        "most_tries": MOST_TRIES,
        "here": paths.here,
        "local": paths.local,
        "packs": archive.directory(paths.run),
        "base": registry.BASE,
        "base_archive": archive.archive_of(archive.directory(paths.run), registry.BASE),
        "envs_local": paths.envs_here,
        "directory": Path(site.lab.directory).expanduser(),
        "python": sys.executable,
        "environment": plan_environment(site, paths) | own,
        "carry": site.carry.on,
        "jupyter": plan_job_command(site, paths, root=os.geteuid() == 0),
    }


def plan_tunnel(context: Context, number: int) -> Tunnel:
    """Plan the ssh from the job to the login node.

    Its remote end holds the fifo from which the loop there learns of its end, and ends when no beat has come for three
    times BEAT_S. Any login shell can start it.
    """
    paths = context.paths
    beat = f'[ "$(timeout {3 * BEAT_S} head -c 1)" ]'
    fifo = paths.meet_fifo(number)
    remote = f"mkfifo -m 600 {fifo} 2>/dev/null; exec 3<>{fifo} && while {beat}; do :; done"
    control = str(paths.local / f"{paths.site}.tunnel.{number}.sck")
    forward = f"-R {paths.local}/{paths.site}.job.{number}.sck:$GEARS_LAB_SOCKET"
    behind = forward if has_forwards(context.route.here) else ""
    return Tunnel(
        ssh_options(forward=behind, control=control, clear=bool(behind)),
        "" if behind else forward,
        control,
        f"exec sh -c {shlex.quote(remote)}",
    )
