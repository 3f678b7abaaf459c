"""Dask's configuration for a site, from its profile: what a notebook of any environment reads. Pure.

Format: docs.dask.org, configuration. Everything else keeps Dask's defaults.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from gears.dask.settings import Settings, bytes_of, processes_of, read_settings
from gears.sites import validators
from gears.sites.paths import RunDir
from gears.sites.profile import Scheduler, Site

Config = dict[str, Any]

CLIENT = Path(__file__).parent / "anywhere" / "gears_dask_client.py"
CLUSTERS = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "lsf": "LSFCluster", "sge": "SGECluster"}
ACCOUNTS = {"slurm": "account", "pbs": "account", "lsf": "project", "sge": "project"}
"""The parameter of each class of dask-jobqueue for the account that a job is charged to."""

RUN_BY_LOGIN_SHELL = ("pbs", "sge")
"""Batch systems that run a job's script with the login shell or the queue's, whatever its first line says, unless -S
names another one (qsub(1B); queue_conf(5), shell_start_mode). dask-jobqueue's scripts are for bash."""

PRIVATE = (
    '[ -d "${TMPDIR:-}" ] || TMPDIR=/tmp',
    'TMPDIR=$(mktemp -d "$TMPDIR/dask-XXXXXXXX") && export TMPDIR && trap \'rm -rf "$TMPDIR"\' EXIT',
)
"""In a job, before its workers: they spill to a directory of mode 0700 on the node's disk, which is removed with them.
Dask would make one that every user can read."""

LOOPBACK = "127.0.0.1:0"
LINK = "/proxy/{port}/status"
"""The link to a dashboard on the lab's host, through JupyterLab's own address. Dask fills in the port."""


def plan_config(site: Site, paths: RunDir, *, user: str) -> Config:
    """Return Dask's configuration for a site. `user`: the account, in paths. Raises ProfileError."""
    settings = read_settings(site)
    config: Config = {"gears": _limits(site, settings), "distributed": _distributed(paths)}
    if scratch := _scratch(site, settings, user):
        config["temporary-directory"] = scratch
    if site.scheduler:
        config["jobqueue"] = {site.scheduler.kind: plan_jobqueue(site.scheduler, settings, paths)}
    config["labextension"] = _labextension(site, settings)
    return config


def _scratch(site: Site, settings: Settings, user: str) -> str:
    """Return the directory of the place `scratch`, to which workers spill.

    Empty if there is none, if it needs a project that is not set, if it is purged within the life of a job, or if the
    profile names another directory.
    """
    place = site.filesystem.get("scratch")
    if place is None or place.kind != "posix" or "local-directory" in settings.jobqueue:
        return ""
    if place.purge_days and place.purge_days * 86_400 <= _job_s(site, settings):
        return ""
    return place.filled(place.path, user=user, project=site.project)


def _job_s(site: Site, settings: Settings) -> int:
    """Return the walltime of a job of workers; 0 without a batch system."""
    if site.scheduler is None:
        return 0
    return walltime_s(str(settings.jobqueue.get("walltime", "")), validators.walltime_s(site.scheduler.walltime))


def plan_tls(paths: RunDir) -> Config:
    """Return one key pair for all roles, as `distributed.Security.temporary` does: its holder is the user."""
    file = str(paths.dask_tls)
    return {"ca-file": file, **{role: {"cert": file, "key": file} for role in ("scheduler", "worker", "client")}}


def plan_jobqueue(scheduler: Scheduler, settings: Settings, paths: RunDir) -> Config:
    """Return dask-jobqueue's defaults for the site's batch system; the profile's own [dask] keys win."""
    limit_s = validators.walltime_s(scheduler.walltime)
    defaults: Config = {
        "queue": scheduler.queue or None,
        ACCOUNTS[scheduler.kind]: scheduler.account or None,
        "walltime": clock(scheduler.kind, limit_s),
        "log-directory": str(paths.dask / "logs"),
        "shared-temp-directory": str(paths.dask),
        "scheduler-options": {"dashboard_address": LOOPBACK},
    }
    profile = dict(settings.jobqueue)
    if settings.cores and not settings.processes:
        profile["processes"] = processes_of(settings.cores)
    if account := profile.pop("project" if ACCOUNTS[scheduler.kind] == "account" else "account", None):
        profile.setdefault(ACCOUNTS[scheduler.kind], account)
    if scheduler.kind in RUN_BY_LOGIN_SHELL:
        given = [str(directive) for directive in profile.get("job-extra-directives") or []]
        own = any(directive.split()[:1] == ["-S"] for directive in given)
        profile["job-extra-directives"] = given if own else ["-S /bin/bash", *given]
    merged = defaults | profile
    limit_s = walltime_s(str(profile["walltime"]), limit_s) if "walltime" in profile else limit_s
    prologue = profile.get("job-script-prologue", list(scheduler.prologue))
    merged["job-script-prologue"] = [*prologue, f"export DASK_CONFIG={shlex.quote(str(paths.dask_config))}", *PRIVATE]
    merged["worker-extra-args"] = [*worker_options(limit_s), *map(str, profile.get("worker-extra-args", []))]
    return merged


def worker_options(walltime_s: int) -> list[str]:
    """Return options that make a worker leave before its walltime ends, so that it can hand over its data.

    Workers do not leave all at once. They have no web pages, as those would not require the certificate.
    """
    stagger_s = min(120, walltime_s // 20)
    lifetime_s = max(walltime_s // 2, walltime_s - min(300, walltime_s // 6) - stagger_s)
    return [
        *("--lifetime", f"{lifetime_s}s", "--lifetime-stagger", f"{stagger_s}s"),
        *("--no-dashboard", "--dashboard-address", LOOPBACK),
    ]


def life_s(words: Sequence[str]) -> float | None:
    """Return after how many seconds, at the earliest, a worker with these options leaves; None: it stays.

    The last of several equal options counts.
    """
    given = {name: value for name, value in pairwise(words) if name in ("--lifetime", "--lifetime-stagger")}
    found = {name: re.fullmatch(r"(\d+)\s*s?", value) for name, value in given.items()}
    life, stagger = found.get("--lifetime"), found.get("--lifetime-stagger")
    return float(int(life[1]) - int(stagger[1] if stagger else 0)) if life else None


def clock(kind: str, seconds: int) -> str:
    """Format a walltime for dask-jobqueue: HH:MM:SS; for LSF, which has no seconds, HH:MM, rounded up."""
    hours, minutes, rest = seconds // 3600, seconds // 60 % 60, seconds % 60
    if kind == "lsf":
        minutes += bool(rest)
        return f"{hours + minutes // 60:02d}:{minutes % 60:02d}"
    return f"{hours:02d}:{minutes:02d}:{rest:02d}"


def walltime_s(text: str, otherwise: int) -> int:
    """Parse a walltime of the profile's [dask], in the formats of the schedulers: [D-]H:M[:S].

    Returns seconds, or `otherwise` if it has none of these formats.
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+)(?::(\d+))?", text)
    if not found:
        return otherwise
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def render_yaml(config: Mapping[str, Any], comment: str) -> str:
    """Format as block YAML. Scalars and lists are written as JSON, which is valid YAML."""
    return "".join(f"# {line}\n" for line in comment.splitlines()) + "\n".join(_lines(config, 0)) + "\n"


def _lines(config: Mapping[str, Any], depth: int) -> list[str]:
    lines = []
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            lines += [f"{'  ' * depth}{key}:", *_lines(value, depth + 1)]
        else:
            lines.append(f"{'  ' * depth}{key}: {json.dumps(value)}")
    return lines


def _limits(site: Site, settings: Settings) -> Config:
    """Return the limits that `anywhere/gears_dask_client.py` applies where there is no cluster.

    With a batch system, cores and memory are those of its jobs, and omitted here.
    """
    limits: Config = {"share": settings.share}
    if site.scheduler is None:
        limits |= {"cores": settings.cores, "memory": bytes_of(settings.memory) if settings.memory else None}
    return limits


def _distributed(paths: RunDir) -> Config:
    return {
        "comm": {"default-scheme": "tls", "require-encryption": True, "tls": plan_tls(paths)},
        "client": {"preload": [str(CLIENT)]},
        "dashboard": {"link": LINK},
        "worker": {"http": {"routes": []}},
        "logging": {
            "distributed.preloading": "warning",
            "distributed.utils": "warning",
        },  # of `client.preload`, each time
    }


def _labextension(site: Site, settings: Settings) -> Config:
    """Return the settings of the button +NEW of JupyterLab's Dask pane.

    `processes` is repeated: dask-jobqueue groups the workers of a job only if its caller passes it.
    """
    most = settings.maximum or settings.maximum_jobs
    adapt = {"minimum": settings.minimum, "maximum": most}
    if site.scheduler is None:
        factory: Config = {"module": "dask.distributed", "class": "LocalCluster"}
        return {"factory": factory | {"args": [], "kwargs": {"dashboard_address": LOOPBACK}}}
    factory = {"module": "dask_jobqueue", "class": CLUSTERS[site.scheduler.kind], "args": []}
    processes = settings.processes or (processes_of(settings.cores) if settings.cores else None)
    return {
        "factory": factory | {"kwargs": {"processes": processes} if processes else {}},
        "default": {"adapt": adapt},
    }
