"""The import that JupyterLab's start puts off: it succeeds at once, and the real thing answers when it is asked."""

import subprocess
import sys

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
