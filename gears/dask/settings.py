"""The [dask] section of a profile: keys of gears, and keys of dask-jobqueue. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gears.errors import ProfileError
from gears.sites import validators
from gears.sites.profile import Site

RENAMED = {
    "extra": "worker-extra-args",
    "env-extra": "job-script-prologue",
    "job-extra": "job-extra-directives",
    "header-skip": "job-directives-skip",
}
"""Deprecated keys, for which dask-jobqueue warns in each notebook, and their current names (0.8)."""

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


@dataclass(frozen=True, slots=True)
class Settings:
    """The [dask] section. `jobqueue`: keys of dask-jobqueue, with current names, including those in `SHARED`.

    `maximum`: of workers, when scaling adaptively; None: as many as fit into `maximum_jobs`. `share`: of this machine's
    processors and memory, for a cluster without a batch system. Times in seconds; `idle_timeout_s` None: never. Ports:
    0 for any.
    """

    jobqueue: dict[str, Any]
    cores: int | None = None
    memory: str = ""
    processes: int | None = None
    interface: str = ""
    maximum_jobs: int = 10
    minimum: int = 0
    maximum: int | None = None
    idle_timeout_s: int | None = 2 * 3600
    idle_worker_s: int = 60
    share: float = 0.5
    scheduler_port: int = 0
    dashboard_port: int = 0


def read_settings(site: Site) -> Settings:
    """Read the [dask] section. Raises ProfileError for an invalid value."""
    values: dict[str, Any] = {}
    jobqueue: dict[str, Any] = {}
    for key, value in site.dask.items():
        name = key.replace("-", "_")
        if name in OURS:
            field, check = OURS[name]
            try:
                values[field] = check(value)
            except ValueError as exc:
                raise ProfileError(site.sources.get(f"dask.{key}", site.name), f"dask.{key}", str(exc)) from exc
        if name not in OURS or name in SHARED:
            jobqueue[RENAMED.get(key.replace("_", "-"), key.replace("_", "-"))] = value
    return Settings(jobqueue, **values)


def fixed_ports(site: Site) -> dict[str, str]:
    """Return the variables for older notebooks, in which users divide fixed ports among themselves."""
    settings = read_settings(site)
    fixed = {"my_scheduler_port": settings.scheduler_port, "my_dashboard_address": settings.dashboard_port}
    return {name: f"127.0.0.1:{port}" if "address" in name else str(port) for name, port in fixed.items() if port}


def memory(value: object) -> str:
    """Check an amount in Dask's format: "20GB" are powers of ten, "20GiB" powers of two. Raises ValueError."""
    text = str(validators.text(value))
    bytes_of(text)
    return text


def bytes_of(text: str) -> int:
    """Parse the bytes in "20GB", "1.5 GiB" or "4096". Raises ValueError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?", text.strip().lower())
    if not found or found[2] not in UNITS:
        raise ValueError(f"{text!r} is not an amount of memory such as 20GB")
    return int(float(found[1]) * UNITS[found[2]])


def fraction(value: object) -> float:
    """Check a number above 0 and not above 1. Raises ValueError."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 1:
        raise ValueError(f"{value!r} is not a number above 0 and not above 1")
    return float(value)


def seconds(value: object) -> int:
    """Convert a walltime in the format of `validators.walltime` to seconds. Raises ValueError."""
    return validators.walltime_s(validators.walltime(value))


def processes_of(cores: int) -> int:
    """Return the default number of processes per job: about as many as each has threads.

    The rule is Dask's own (distributed.deploy.local.nprocesses_nthreads).
    """
    if cores <= 4:
        return cores
    return min(count for count in range(1, cores + 1) if cores % count == 0 and count >= math.sqrt(cores))


_COUNT = validators.number(1, 100_000)
OURS: dict[str, tuple[str, Callable[[object], Any]]] = {
    "cores": ("cores", _COUNT),
    "memory": ("memory", memory),
    "processes": ("processes", _COUNT),
    "interface": ("interface", validators.word(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,14}", "a network interface such as ib0")),
    "maximum_jobs": ("maximum_jobs", _COUNT),
    "minimum": ("minimum", validators.number(0, 100_000)),
    "maximum": ("maximum", _COUNT),
    "share": ("share", fraction),
    "idle_timeout": ("idle_timeout_s", lambda value: None if value == "" else seconds(value)),
    "idle_worker": ("idle_worker_s", seconds),
    "scheduler_port": ("scheduler_port", validators.port),
    "dashboard_port": ("dashboard_port", validators.port),
}
"""The keys of [dask] that gears reads, each with its field of `Settings` and its check."""

SHARED = ("cores", "memory", "processes", "interface")
"""The keys in `OURS` that dask-jobqueue reads as well."""
