"""The file with the modules of a start: what is imported from it is as without it, and it never hides a change."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.environment import CHECKOUT, PYTHON

MODULES = ("tool", "tool.part", "tool.deep", "tool.deep.below", "single", "json", "_json")
WRITE = f"""
import sys
from gears import bytecode
key, path = bytecode.key(), list(sys.path)
from gears.lab import collect
import tool.part, tool.deep.below, single, json
wanted = {MODULES!r}
collect.write(key, *collect.collect([row for row in collect.imported() if row[0] in wanted], path))
"""
FROM_FILE = """
import gears
def from_file(*names):
    import importlib
    loaders = {name: type(importlib.import_module(name).__spec__.loader).__module__ for name in names}
    return {name: loader == "gears.bytecode" for name, loader in loaders.items()}
"""


class Environment:
    """A virtual environment with a few packages, and this checkout on its import path."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.python = top / "bin/python"
        self.file = top / "gears-modules"
        self.packages = top / f"lib/python3.{sys.version_info.minor}/site-packages"
        for directory in (self.python.parent, self.packages):
            directory.mkdir(parents=True)
        self.python.symlink_to(PYTHON)
        (top / "pyvenv.cfg").write_text(f"home = {PYTHON.parent}\n")
        (self.packages / "checkout.pth").write_text(f"{CHECKOUT}\n")
        self.write("tool/__init__.py", "name = 'tool'\n")
        self.write("tool/part.py", "def fail():\n    raise ValueError('of the part')  # the line that failed\n")
        self.write("tool/deep/__init__.py", "depth = 2\n")
        self.write("tool/deep/below.py", "from tool.part import fail\nvalue = 1\n")
        self.write("tool/data.txt", "data\n")
        self.write("single.py", "value = 'first'\n")
        self.install("tool", "1")

    def write(self, name: str, text: str) -> None:
        file = self.packages / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def install(self, name: str, version: str) -> None:
        """What an installer leaves beside a package."""
        self.write(f"{name}-{version}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")

    def start(self, code: str, *, flags: str = "-EsP", **variables: str) -> subprocess.CompletedProcess[str]:
        command = [self.python, *flags.split(), "-c", FROM_FILE + code]
        environ = {"PATH": os.environ["PATH"], **variables}
        return subprocess.run(command, env=environ, capture_output=True, text=True, cwd="/", timeout=60)

    def run(self, code: str, **options: str) -> str:
        done = self.start(code, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def from_file(self, *names: str, **options: str) -> dict[str, bool]:
        """Whether each of these modules is read from the file."""
        found: dict[str, bool] = json.loads(
            self.run(f"import json; print(json.dumps(from_file(*{names!r})))", **options)
        )
        return found

    def collect(self) -> None:
        """As `make init`: only after all is compiled, which makes a directory among the packages."""
        subprocess.run([self.python, "-m", "compileall", "-q", self.packages], check=True, timeout=60)
        self.run(WRITE)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    environment = Environment(tmp_path / "environment")
    environment.collect()
    return environment


ALL = {name: name != "_json" for name in MODULES}  # an extension module is only found by the file


def test_modules_are_read_from_the_file(environment: Environment) -> None:
    assert environment.from_file(*MODULES) == ALL
    assert environment.run("import _json, json.scanner; print(json.scanner.c_make_scanner.__module__)") == "_json"


def test_a_module_is_as_without_the_file(environment: Environment) -> None:
    code = """
import importlib.resources, importlib.metadata, inspect, pkgutil, json
import tool.part, tool.deep.below
def of(module):
    spec = module.__spec__
    return [module.__name__, module.__file__, module.__cached__, getattr(module, "__path__", None), module.__package__,
            spec.origin, spec.cached, spec.has_location, spec.submodule_search_locations, spec.parent,
            inspect.getsource(module), spec.loader.get_source(module.__name__), spec.loader.is_package(module.__name__)]
modules = [tool, tool.part, tool.deep, tool.deep.below]
print(json.dumps([
    [of(module) for module in modules],
    [found.name for found in pkgutil.walk_packages(tool.__path__, "tool.")],
    (importlib.resources.files(tool) / "data.txt").read_text(), pkgutil.get_data("tool", "data.txt").decode(),
    importlib.metadata.version("tool"), tool.part.fail.__code__.co_filename, importlib.reload(tool.part).__name__,
]))
"""
    found = environment.run(code)
    environment.file.unlink()
    assert json.loads(found) == json.loads(environment.run(code))
    assert environment.from_file("tool") == {"tool": False}


def test_a_traceback_shows_the_source(environment: Environment) -> None:
    shown = environment.start("import tool.part; tool.part.fail()").stderr
    assert f'File "{environment.packages}/tool/part.py", line 2, in fail' in shown
    assert "# the line that failed" in shown


def test_a_file_edited_in_place_is_seen_at_once(environment: Environment) -> None:
    environment.write("single.py", "value = 'edited'\n")
    assert environment.run("import single; print(single.value)") == "edited"
    assert environment.from_file("single", "tool") == {"single": False, "tool": True}


def test_an_edit_that_keeps_the_size_is_seen(environment: Environment) -> None:
    before = (environment.packages / "single.py").stat()
    environment.write("single.py", "value = 'other'\n")
    os.utime(environment.packages / "single.py", (before.st_atime, before.st_mtime + 2))
    assert environment.run("import single; print(single.value)") == "other"


def test_an_installation_or_removal_puts_the_file_out_of_use(environment: Environment) -> None:
    environment.install("other", "1")
    assert environment.from_file("tool", "single") == {"tool": False, "single": False}
    environment.collect()
    assert environment.from_file("tool", "single") == {"tool": True, "single": True}
    (environment.packages / "single.py").unlink()
    assert "No module named 'single'" in environment.start("import single").stderr
    assert environment.from_file("tool") == {"tool": False}


def test_a_package_in_place_of_a_module_is_seen(environment: Environment) -> None:
    (environment.packages / "tool/part.py").unlink()
    environment.write("tool/part/__init__.py", "fail = 'a package'\n")
    assert environment.run("import tool.part; print(tool.part.fail)") == "a package"


def test_a_directory_put_first_by_a_program_comes_first(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "mine/tool/deep").mkdir(parents=True)
    (tmp_path / "mine/single.py").write_text("value = 'mine'\n")
    (tmp_path / "mine/below.py").write_text("value = 'mine'\n")
    mine = str(tmp_path / "mine")
    assert environment.run(f"import sys; sys.path.insert(0, {mine!r}); import single; print(single.value)") == "mine"
    code = f"import tool.deep; tool.deep.__path__.insert(0, {mine!r}); import tool.deep.below as b; print(b.value)"
    assert environment.run(code) == "mine"
    assert environment.run(f"import sys; sys.path.append({mine!r}); import single; print(single.value)") == "first"


@pytest.mark.parametrize("flags", ["", "-E", "-s -P", "-I -O"])
def test_only_processes_of_gears_use_it(environment: Environment, tmp_path: Path, flags: str) -> None:
    """A kernel, pip and IPython start without -EsP; with -O the bytecode would be another."""
    (tmp_path / "tool.py").write_text("")
    assert environment.from_file("tool", flags=flags) == {"tool": False}


@pytest.mark.parametrize("size", [0, 4, 100, -1, -1000])
def test_a_damaged_file_is_as_none(environment: Environment, size: int) -> None:
    content = environment.file.read_bytes()
    environment.file.write_bytes(content[:size])
    found = environment.start("import tool.part, tool.deep.below, single; print(single.value, tool.deep.below.value)")
    assert (found.stdout, found.stderr) == ("first 1\n", "")


def test_a_file_that_is_gone_or_of_others_is_as_none(environment: Environment, tmp_path: Path) -> None:
    other = Environment(tmp_path / "other")
    other.file.write_bytes(environment.file.read_bytes())
    assert other.from_file("tool") == {"tool": False}
    environment.file.unlink()
    environment.file.mkdir()
    assert environment.from_file("tool") == {"tool": False}


def test_a_file_emptied_under_a_process_is_as_none(environment: Environment) -> None:
    code = f"import tool; open({str(environment.file)!r}, 'w').close(); import tool.part; print(tool.part.__name__)"
    assert environment.run(code) == "tool.part"


def test_a_process_keeps_to_the_file_that_it_has_opened(environment: Environment) -> None:
    code = f"""
import os, tool
os.replace({str(environment.packages / "tool/data.txt")!r}, {str(environment.file)!r})
print(from_file("tool.part")["tool.part"])
"""
    assert environment.run(code) == "True"


def test_two_at_once_leave_one_whole_file(environment: Environment) -> None:
    writers = [threading.Thread(target=environment.collect) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert environment.from_file(*MODULES) == ALL
    assert list(environment.top.glob("gears-modules*")) == [environment.file]


# --- Of this environment ---------------------------------------------------------------------------------------------

NAMES = """
import marshal, sys
with open(sys.prefix + "/gears-modules", "rb") as file:
    key, index = marshal.loads(file.read(int.from_bytes(file.read(8), "little")))
print(*index)
"""


def test_make_init_has_written_what_a_start_needs() -> None:
    done = subprocess.run([sys.executable, "-c", NAMES], capture_output=True, text=True, timeout=60)
    names = set(done.stdout.split())
    assert {"gears.cli", "gears.lab.jupyter.server", "jupyterlab.labapp", "tornado.web", "distributed"} <= names
    assert "rfc3987_syntax" not in names  # which a start defers (gears/lab/__main__.py)
