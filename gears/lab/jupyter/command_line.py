"""Plan how JupyterLab is started: argument list and environment. Pure; neither contains a secret."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from gears.dask.settings import fixed_ports
from gears.envs.paths import place
from gears.lab.jupyter.carry_limits import VARIABLE, plan_limits
from gears.sites.paths import RunDir
from gears.sites.profile import Site
from gears.sites.validators import walltime_s

CONFIG = Path(__file__).parents[1] / "etc"
"""A Jupyter configuration directory that enables the extension of gears, beside the user's own."""


def plan_command(site: Site, paths: RunDir, *, root: bool) -> list[str]:
    """Return JupyterLab's argument list, without the socket or port, which each turn of the loop chooses."""
    return [*_python("gears.lab"), *_options(site, paths, site.lab.listen, root=root)]


def plan_job_command(site: Site, paths: RunDir, *, root: bool) -> list[str]:
    """Return the same for a batch job, without the socket.

    Other users can have jobs on the node, so no TCP port is opened. `gears.lab.node` makes the directories of the node,
    in the Python that becomes JupyterLab.
    """
    where = [str(paths.home), site.name, site.local]
    return [*_python("gears.lab.node"), *where, *_options(site, paths, "socket", root=root)]


def _python(module: str) -> list[str]:
    """Return the command that runs a module with this Python, isolated.

    -P: nothing is imported from the current directory; -E, -s: nor from the user's variables for other Pythons. Kernels
    and terminals keep these variables.
    """
    return [sys.executable, "-EsP", "-m", module]


def _options(site: Site, paths: RunDir, listen: str, *, root: bool) -> list[str]:
    """Return JupyterLab's options.

    ipc keeps the kernels off TCP, where every user of the host could read their output. The cookie secret is in the
    home, so that an open tab stays logged in when the lab restarts, even on another host.
    """
    options = [
        "--no-browser",
        "--ServerApp.ip=127.0.0.1",
        "--ServerApp.port_retries=0",
        f"--ServerApp.cookie_secret_file={paths.cookie_secret}",
        "--KernelManager.transport=ipc",
    ]
    if site.lab.directory != "~":  # else the user's root_dir, or the home, where the loop starts it
        options.append(f"--ServerApp.root_dir={Path(site.lab.directory).expanduser()}")
    if site.envs.default:
        options.append(f"--MappingKernelManager.default_kernel_name={site.envs.default.lower()}")
    if listen == "socket" or site.carry.on:  # its launcher carries variables, too
        options.append("--MappingKernelManager.kernel_manager_class=gears.lab.jupyter.kernels.SocketKernelManager")
    return [*options, "--allow-root"] if root else options


def plan_environment(site: Site, paths: RunDir, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables to set for JupyterLab, and so for its terminals and kernels."""
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
        **_idle_timeout(site),
        **_carry(site),
    }


def _idle_timeout(site: Site) -> dict[str, str]:
    timeout = site.lab.idle_timeout
    return {"GEARS_IDLE_TIMEOUT_S": str(walltime_s(timeout))} if timeout else {}


def _carry(site: Site) -> dict[str, str]:
    """Return what `gears.lab.jupyter.carry` needs to know, where variables are carried."""
    return {VARIABLE: plan_limits(site).as_words()} if site.carry.on else {}
