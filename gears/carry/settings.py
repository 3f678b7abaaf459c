"""What a kernel has beside its variables: directory, `sys.path`, environment, random states, matplotlib's settings."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from typing import Any

OF_A_JOB = ("SLURM", "PBS", "LSB_", "LSF_", "SGE_", "JOB_", "JPY_", "GEARS_", "DASK_", "KERNEL_", "CUDA_VISIBLE", "TMP")
"""Beginnings of variables that another job has its own values of."""
OF_A_BACKEND = ("backend", "backend_fallback", "interactive", "toolbar")

START_ENVIRONMENT = dict(os.environ)
START_PATH = tuple(sys.path)
"""As they were when this module was loaded: a kernel loads it before the person's first cell."""


def gather() -> dict[str, Any]:
    """Return the settings by name, each for itself to be pickled. Imports nothing and changes nothing."""
    found: dict[str, Any] = {"sys.path": [path for path in sys.path if path not in START_PATH]}
    try:
        found["working directory"] = os.getcwd()
    except FileNotFoundError:  # it was removed
        pass
    changed = {name: value for name, value in os.environ.items() if START_ENVIRONMENT.get(name) != value}
    gone = [name for name in START_ENVIRONMENT if name not in os.environ]
    found["environment variables"] = {
        "set": {name: value for name, value in changed.items() if not name.startswith(OF_A_JOB)},
        "unset": [name for name in gone if not name.startswith(OF_A_JOB)],
    }
    found["random state of random"] = random.getstate()
    if "numpy.random" in sys.modules:
        found["random state of numpy"] = sys.modules["numpy.random"].get_state()
    if "torch" in sys.modules:
        found["random state of torch"] = sys.modules["torch"].get_rng_state()
    if "matplotlib" in sys.modules:
        settings = sys.modules["matplotlib"].rcParams
        found["settings of matplotlib"] = {
            name: dict.__getitem__(settings, name) for name in settings if name not in OF_A_BACKEND
        }
    return found


def _set_path(added: list[str]) -> None:
    sys.path += [path for path in added if path not in sys.path]


def _set_environment(changes: dict[str, Any]) -> None:
    os.environ.update(changes["set"])
    for name in changes["unset"]:
        os.environ.pop(name, None)


def _set_numpy(state: Any) -> None:
    import numpy

    numpy.random.set_state(state)


def _set_torch(state: Any) -> None:
    sys.modules["torch"].set_rng_state(state)  # the state is a tensor, so torch is loaded


def _set_matplotlib(settings: dict[str, Any]) -> None:
    import importlib

    importlib.import_module("matplotlib").rcParams.update(settings)


FIRST: dict[str, Callable[[Any], None]] = {
    "sys.path": _set_path,
    "working directory": os.chdir,
    "environment variables": _set_environment,
}
"""Set before the variables are loaded, which may import what these lead to."""
LAST: dict[str, Callable[[Any], None]] = {
    "settings of matplotlib": _set_matplotlib,
    "random state of random": random.setstate,
    "random state of numpy": _set_numpy,
    "random state of torch": _set_torch,
}
"""Set after: a load may draw random numbers."""
