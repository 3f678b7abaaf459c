"""The extension of JupyterLab's page in the package is what its source gives, and names no registry."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import skip_or_fail
from tests.environment import CHECKOUT

SOURCE = CHECKOUT / "labextension"
BUILT = "gears/lab/labextensions"

NO_REGISTRY = re.compile(r"npm error code (EAI_AGAIN|ENOTFOUND|ECONN\w+|E\w*TIMEDOUT|\w*CERT\w*)")
"""What npm says without a network, and behind a firewall (nodejs.org/api/errors.html, docs of OpenSSL's verify)."""


def files_below(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_built_files_are_what_the_source_gives(tmp_path: Path) -> None:
    """Built elsewhere, with the packages in the lock file; types are checked by `make labextension`."""
    shutil.copytree(SOURCE, tmp_path / "labextension", ignore=shutil.ignore_patterns("node_modules", "lib"))
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for words in (["ci", "--omit=dev"], ["run", "build"]):
        command = ["npm", "--prefix", str(tmp_path / "labextension"), *words]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=240)
        if words[0] == "ci" and NO_REGISTRY.search(done.stderr):
            skip_or_fail("the packages of the extension are not to be had: npm reaches no registry here")
        assert done.returncode == 0, done.stdout + done.stderr
    assert files_below(tmp_path / BUILT) == files_below(CHECKOUT / BUILT), "run: make labextension"


def test_lock_names_no_registry() -> None:
    packages = json.loads((SOURCE / "package-lock.json").read_text())["packages"]
    assert not [name for name, package in packages.items() if "resolved" in package]
    assert all("integrity" in package for name, package in packages.items() if name)
    assert "registry=" not in (SOURCE / ".npmrc").read_text()
