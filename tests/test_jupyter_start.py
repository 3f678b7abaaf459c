"""What a start of JupyterLab does not do: a slow import, which is put off until it is asked, and a start of Node.js."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import sys
from gears.lab.__main__ import put_off
put_off("rfc3987_syntax")
from jsonschema import FormatChecker
assert "lark" not in sys.modules
valid = [FormatChecker().conforms(word, "iri") for word in ("http://exämple.org/ü", "no iri", "http://b.example")]
assert "lark" in sys.modules
print(valid)
"""


def test_iri_is_checked_by_the_real_module_once_it_is_asked() -> None:
    pytest.importorskip("rfc3987_syntax")
    ran = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=240, check=True)
    assert ran.stdout == "[True, False, True]\n"


WITHOUT_NODE = """
from jupyterlab import commands
from gears.lab.jupyter.server import leave_node_alone
leave_node_alone(commands)
import jupyterlab.labapp
print(jupyterlab.labapp.app_version)
"""


@pytest.mark.parametrize(("code", "started"), [("import jupyterlab.labapp", True), (WITHOUT_NODE, False)])
def test_node_is_not_asked_for_the_settings_of_yarn(code: str, started: bool, tmp_path: Path) -> None:
    node = tmp_path / "node"
    node.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    node.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run([sys.executable, "-c", code], env=environment, timeout=240, check=True)
    assert (tmp_path / "started").exists() == started
