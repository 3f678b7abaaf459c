"""Write the modules that a start needs into one file (`gears.bytecode`): `python -m gears.lab.collect`.

For `make init`. Which modules these are depends on the versions of the packages. So JupyterLab is initialized as for a
start, with an empty home and without serving anything, and all modules that this has loaded are written.
"""

from __future__ import annotations

import contextlib
import importlib
import marshal
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from importlib.machinery import ExtensionFileLoader, SourceFileLoader
from pathlib import Path
from typing import Any

import gears
from gears import bytecode

COMMANDS = (
    "gears.cli",
    "gears.lab.start",
    "gears.lab.stop",
    "gears.lab.serve",
    "gears.lab.supervisor.step",
    "gears.lab.supervisor.keeper",
    "gears.system.tmux",
    "gears.system.templates",
    "libtmux",
)
"""What is imported for the commands of a start, before JupyterLab."""

LATER = ("distributed", "jupyter_server_proxy.handlers", "dask_labextension")
"""What a lab imports once it answers (`deferred_extensions`)."""


def initialize_lab(home: Path) -> None:
    """Initialize JupyterLab in this process, with an empty home. Raises or ends the process where it can't."""
    from gears.lab.__main__ import prepare
    from gears.lab.jupyter.command_line import CONFIG

    token = home / "run/local/token"
    token.parent.mkdir(parents=True)
    token.write_text("none")
    for name in [name for name in os.environ if name.startswith(("JUPYTER", "DASK", "IPYTHON", "XDG"))]:
        del os.environ[name]
    os.environ |= {
        "HOME": str(home),
        "JUPYTER_CONFIG_PATH": str(CONFIG),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTER_TOKEN_FILE": str(token),
        "GEARS_LAB_SOCKET": str(home / "lab.sck"),
    }
    os.chdir(home)
    prepare()
    from gears.lab.jupyter.server import initialize

    initialize(["--no-browser", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0", "--allow-root"])


def imported() -> Iterator[tuple[str, str]]:
    """Yield the modules that this process has loaded from files, and the files, in the order of imports."""
    for name, module in list(sys.modules.items()):
        loader = getattr(getattr(module, "__spec__", None), "loader", None)
        if isinstance(loader, SourceFileLoader | ExtensionFileLoader) and loader.name == name:
            yield name, loader.path


def of_gears() -> Iterator[tuple[str, str]]:
    """Yield all modules of gears: commands import further ones only when they need them."""
    top = Path(gears.__file__).parent
    for file in sorted(top.rglob("*.py")):
        parts = file.relative_to(top.parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), str(file)


def bytecode_of(name: str, file: str) -> bytes:
    """Return the bytecode of a module, b"" for an extension module. Raises SyntaxError, OSError."""
    if not file.endswith(".py"):
        return b""
    code = SourceFileLoader(name, file).get_code(name)
    assert code, file
    return marshal.dumps(code)


def collect(modules: Iterable[tuple[str, str]], path: list[str]) -> tuple[dict[str, bytecode.Entry], bytes]:
    """Return the index and the bytecode of those modules that are below an entry of the import path.

    In the order given, that of imports: what is read one after the other takes few requests.
    """
    index: dict[str, bytecode.Entry] = {}
    body = bytearray()
    for name, file in dict(modules).items():
        for root, directory in enumerate(path):
            stem = f"{directory}/{name.replace('.', '/')}"
            if file.startswith((f"{stem}.", f"{stem}/__init__.py")):
                state = os.stat(file)
                code = bytecode_of(name, file)
                entry = (root, file.removeprefix(stem), int(state.st_mtime), state.st_size, len(body), len(code))
                index[name] = entry
                body += code
                break
    return index, bytes(body)


def write(key: tuple[object, ...], index: dict[str, bytecode.Entry], body: bytes) -> None:
    """Write the file in one step, so that a process reads the earlier one or this one. Raises OSError."""
    content: Any = (key, index)
    head = marshal.dumps(content)
    temporary = f"{bytecode.FILE}.{os.getpid()}"
    try:
        with open(temporary, "wb") as file:
            file.write(len(head).to_bytes(8, "little") + head + body)
        os.replace(temporary, bytecode.FILE)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)


def main() -> None:
    """Import what a start imports, then write the file."""
    key, path = bytecode.key(), list(sys.path)  # before anything can change them
    for name in COMMANDS:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory(prefix="gears-") as home:
        initialize_lab(Path(home))
        for name in LATER:
            sys.modules.pop(name, None)  # may be a stand-in
            importlib.import_module(name)
        os.chdir("/")
    write(key, *collect([*imported(), *of_gears()], path))
    sys.stdout.flush()
    os._exit(0)  # the server was never started, and need not be stopped


if __name__ == "__main__":
    main()
