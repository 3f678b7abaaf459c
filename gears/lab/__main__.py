"""JupyterLab as `jupyter-lab` starts it, but with one slow import deferred until it is needed: twice as fast.

jsonschema imports rfc3987_syntax for the formats `iri` and `iri-reference`, which no schema of Jupyter has; at import
that compiles 38 grammars, 0.5–1.4 s (python-jsonschema/jsonschema#1428). Delete this module when that is fixed.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from gears.lab.jupyter.settings import VARIABLES

SLOW = "rfc3987_syntax"


def put_off(name: str) -> None:
    """Let `from NAME import function` succeed at once; import the module when the function is called."""

    def attribute(function: str) -> Any:
        """Return a function that imports the module once it is called. Raises AttributeError for a dunder name."""
        if function.startswith("__"):
            raise AttributeError(function)
        return lambda *arguments, **options: getattr(_real(name), function)(*arguments, **options)

    stand_in = ModuleType(name)
    stand_in.__dict__["__getattr__"] = attribute  # PEP 562
    sys.modules[name] = stand_in


def _real(name: str) -> ModuleType:
    if "__getattr__" in vars(sys.modules[name]):
        del sys.modules[name]
    return importlib.import_module(name)


def main() -> None:
    """Start JupyterLab under its usual name, with slow imports deferred."""
    prepare()
    try:
        Path("/proc/self/comm").write_text("jupyter-lab")  # what ps and top show
    except OSError:
        pass
    from gears.lab.jupyter.server import start

    sys.argv[0] = "jupyter-lab"
    start()


def prepare() -> None:
    """Defer slow imports, and remove VARIABLES from the environment."""
    put_off(SLOW)
    for name in VARIABLES:
        os.environ.pop(name, None)  # before jupyter_core reads them at its import
    if "GEARS_LAB_SOCKET" in os.environ:  # else nothing would load them later
        from gears.lab.jupyter.deferred_extensions import put_off_extensions

        put_off_extensions()


if __name__ == "__main__":
    main()
