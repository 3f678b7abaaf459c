"""The environment whose Python a cluster and its workers use: found by its name, and started in a job."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from gears.envs import archive, registry
from gears.errors import CommandFailed, GearsError
from gears.sites.paths import RunDir
from gears.system.commands import run
from gears.system.installation import gears_home
from gears.system.templates import render

WORKER = "gears_worker"
"""A function of the job script, in the place of dask-jobqueue's Python executable."""


def requested_environment(named: str | None, environ: Mapping[str, str]) -> str:
    """Return the name of the environment, "" for gears' own.

    The default in a notebook, and in commands started there, is the environment of its kernel.
    """
    name = named or environ.get("GEARS_ENV", "")
    return "" if name == registry.BASE else name


def python_of(environment: str, site: str, *, batch: bool) -> str:
    """Find the Python of an environment, and check that it has the packages that owner and workers need.

    Raises GearsError if it has not, UsageError if there is no such environment.
    """
    if not environment:
        return sys.executable
    python = str(registry.find(gears_home() / "run", environment).prefix / "bin" / "python")
    imports = "import distributed, dask_jobqueue" if batch else "import distributed"
    try:
        run([python, "-c", imports], timeout_s=60)
    except CommandFailed as exc:
        what = "distributed and dask-jobqueue" if batch else "distributed"
        raise GearsError(
            f"the environment {environment} can't run a Dask cluster, which needs {what}: {exc.message[-300:]}",
            next=f"gears dask up {site} --env {registry.BASE}   (with gears' own environment)",
        ) from exc
    return python


def plan_worker(environment: str, paths: RunDir) -> dict[str, Any]:
    """Return `python` and the job script's `prologue` for a job's workers; {} if they use the owner's Python."""
    packs = archive.directory(paths.run)
    if not environment and not archive.archive_of(packs, registry.BASE).exists():
        return {}
    found = registry.find(paths.run, environment or registry.BASE)
    lines = render(
        "dask-worker.sh.j2",
        name=found.name,
        prefix=found.prefix,
        active="CONDA_PREFIX" if (found.prefix / "conda-meta").is_dir() else "VIRTUAL_ENV",
        packs=packs,
        archive=archive.archive_of(packs, found.name),
        envs_local=paths.envs_here,
        gears_python=sys.executable,
    )
    return {"python": WORKER, "prologue": lines.rstrip().splitlines()}
