"""DVC for the users of a centre: that of the environment of the tests, copied to where all hosts of one home see it.

A host sees neither this checkout nor its environment, wherever they are. Its Python is the one they were made with.
"""

import os
import re
import shutil
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.centre import Centre

SHARED = "/home/programs"
PYTHON = "/usr/bin/python3"
SCRIPT = f"""#!{PYTHON} -sE
import sys
sys.path.insert(0, "{SHARED}/packages")
from dvc.cli import main
sys.exit(main())
"""


def install_dvc(centre: Centre) -> None:
    """Put `dvc` on the PATH of the login and compute nodes."""
    if Path(sys.executable).resolve() != Path(PYTHON).resolve():
        pytest.skip(f"the environment of the tests was not made with {PYTHON}, which the users of the centre have")
    packages = centre.login1.path(f"{SHARED}/packages")
    for one in closure("dvc").values():
        copy(one, packages)
    for name in ("login1", "login2", "c1", "c2"):
        centre.hosts[name].install("dvc", SCRIPT)


def closure(name: str, found: dict[str, Distribution] | None = None) -> dict[str, Distribution]:
    """A package with all that it needs."""
    found = {} if found is None else found
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key not in found:
        found[key] = distribution(name)
        for line in found[key].requires or []:
            wanted = Requirement(line)
            extras = ["", *wanted.extras]
            if wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in extras):
                closure(wanted.name, found)
    return found


def copy(one: Distribution, packages: Path) -> None:
    """With its compiled modules, which are as old as their sources."""
    site = Path(str(one.locate_file("")))
    for file in one.files or []:
        source = site / file
        if ".." in file.parts or not source.is_file():
            continue
        target = packages / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
        os.chmod(target, 0o755 if os.access(source, os.X_OK) else 0o644)
