"""How JupyterLab is started: argument list and environment. Pure; no secret is in either."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from gears.dask.settings import fixed_ports
from gears.envs.paths import place
from gears.sites.paths import RunDir
from gears.sites.profile import Site

CONFIG = Path(__file__).parents[1] / "etc"
"""A Jupyter configuration directory that switches our extension on, beside whatever the person has."""


def plan_command(site: Site, paths: RunDir, *, root: bool) -> list[str]:
    """Return JupyterLab's argument list, less the socket or port, which each turn of the loop chooses."""
    return [*_python("gears.lab"), *_options(site, paths, site.lab.listen, root=root)]


def plan_job_command(site: Site, paths: RunDir, *, root: bool) -> list[str]:
    """Return the same for a batch job, less the socket.

    Others may have jobs on its node, so there is no TCP port at all. The directories of the node are made by
    `gears.lab.node`, in the Python that becomes JupyterLab.
    """
    where = [str(paths.home), site.name, site.local]
    return [*_python("gears.lab.node"), *where, *_options(site, paths, "socket", root=root)]


def _python(module: str) -> list[str]:
    """Return the words that run a module with this Python, isolated.

    -P: nothing is imported from the directory it is started in; -E, -s: nor from what a person's variables name for
    other Pythons. Kernels and terminals have these variables all the same.
    """
    return [sys.executable, "-EsP", "-m", module]


def _options(site: Site, paths: RunDir, listen: str, *, root: bool) -> list[str]:
    """Return JupyterLab's options.

    ipc keeps the kernels off TCP, where every user of the host could read their output. The cookie secret stays in the
    home, so that an open tab stays logged in when the lab comes back, on another host too.
    """
    options = [
        "--no-browser",
        "--ServerApp.ip=127.0.0.1",
        "--ServerApp.port_retries=0",
        f"--ServerApp.cookie_secret_file={paths.cookie_secret}",
        "--KernelManager.transport=ipc",
    ]
    if site.lab.directory != "~":  # else the person's own root_dir counts, or the home, where the loop starts it
        options.append(f"--ServerApp.root_dir={Path(site.lab.directory).expanduser()}")
    if site.envs.default:
        options.append(f"--MappingKernelManager.default_kernel_name={site.envs.default.lower()}")
    if listen == "socket":
        options.append("--MappingKernelManager.kernel_manager_class=gears.lab.jupyter.kernels.SocketKernelManager")
    return [*options, "--allow-root"] if root else options


def plan_environment(site: Site, paths: RunDir, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables that are set for JupyterLab, and so for its terminals and kernels."""
    theirs, data = environ.get("JUPYTER_CONFIG_PATH"), environ.get("JUPYTER_PATH")
    kernels = place(paths.run).jupyter
    return {
        "JUPYTER_PATH": f"{kernels}:{data}" if data else str(kernels),
        "JUPYTER_RUNTIME_DIR": str(paths.runtime),
        "JUPYTER_CONFIG_PATH": f"{CONFIG}:{theirs}" if theirs else str(CONFIG),
        "JUPYTER_TOKEN_FILE": str(paths.token),
        "GEARS_SITE": site.name,
        "GEARS_LAB_RECORDS": f"{paths.lab_here}:{paths.lab_record}",
        "DASK_CONFIG": str(paths.dask_config),
        "GEARS_PROLOGUE": "\n".join(site.envs.prologue),
        **fixed_ports(site),
    }
