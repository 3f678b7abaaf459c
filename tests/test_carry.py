"""The variables of a notebook, saved by one kernel and loaded by another process: right, or named."""

import ast
import importlib
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

import gears.carry
from gears.carry import kernel_state
from gears.carry.files import LOCK, MANIFEST, PART
from gears.carry.report import Report

PACKAGE = Path(gears.carry.__file__).parent
LOADED = f"""
import importlib.util, json, os, sys
spec = importlib.util.spec_from_file_location("state", {str(PACKAGE / "__init__.py")!r},
                                              submodule_search_locations=[{str(PACKAGE)!r}])
sys.modules["state"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["state"])
from state import kernel_state
"""
"""What a kernel of any environment does: it has no gears. The path of the package is all that it knows."""


CELLS = """
import builtins, types
cells = sys.modules["__main__"] = types.ModuleType("__main__")
builtins.os, builtins.sys, builtins.json, builtins.kernel_state = os, sys, json, kernel_state
builtins.save = lambda **how: kernel_state.save(vars(cells), {state!r}, key={key!r}, **how)
builtins.load = lambda: kernel_state.load({state!r}, vars(cells), key={key!r})
exec({code!r}, vars(cells))
"""


class Notebook:
    """A state below `tmp_path`, and kernels, each a new process, that save and load it."""

    def __init__(self, tmp_path: Path) -> None:
        self.state, self.key, self.where = tmp_path / "state", tmp_path / "key", tmp_path

    def run(self, code: str, before: str = "") -> str:
        """Run cells as a kernel does, in a module `__main__` of their own, where `save()` and `load()` are at hand."""
        script = before + LOADED + CELLS.format(code=textwrap.dedent(code), state=str(self.state), key=str(self.key))
        argv = [sys.executable, "-I", "-W", "error", "-c", script]
        done = subprocess.run(argv, cwd=self.where, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def save(self, code: str) -> Report:
        """Save after these cells. The process ends as a killed one does: nothing is closed, and nothing warns of it."""
        end = "print(json.dumps(vars(save())), flush=True)\nos._exit(0)"
        return Report(**json.loads(self.run(f"{textwrap.dedent(code)}\n{end}")))

    def check(self, code: str) -> Report:
        """Load in another process, and run the assertions there."""
        return Report(
            **json.loads(self.run(f"_report = load()\n{textwrap.dedent(code)}\nprint(json.dumps(vars(_report)))"))
        )


@pytest.fixture
def notebook(tmp_path: Path) -> Notebook:
    return Notebook(tmp_path)


def test_variables_come_back_with_what_they_share(notebook: Notebook) -> None:
    report = notebook.save("""
        import collections, dataclasses, enum, functools, numpy as np
        numbers = [1, 2]; by_name = {"numbers": numbers}; numbers.append(numbers)
        pair = (numbers, by_name); text = "x" * 10_000; same_text = text
        array = np.arange(12.0).reshape(3, 4); rows = array[1:]; turned = array.T; every = array[::2, ::-1]
        fixed = np.arange(5); fixed.flags.writeable = False
        fortran = np.asfortranarray(np.ones((3, 4))); column = fortran[:, 1]
        objects = np.array([numbers, None], dtype=object); times = np.array(["2026-01-01"], dtype="M8[D]")
        record = np.zeros(3, dtype=[("a", "i4"), ("b", "f8")]); empty = np.empty((0, 3)); big = np.ones(400_000)
        generator = np.random.default_rng(7); drawn = generator.random()
        class Colour(enum.Enum): RED = 1
        red = Colour.RED
        Point = collections.namedtuple("Point", "x y"); point = Point(1, 2)
        @dataclasses.dataclass
        class Item:
            size: int
            parts: list = dataclasses.field(default_factory=list)
        item = Item(3)
        nothing = dataclasses.MISSING
        class Slotted: __slots__ = ("a", "__weakref__")
        slotted = Slotted(); slotted.a = numbers
        partial = functools.partial(max, 3); method = by_name.get
        import queue; sentinel = queue.Queue
    """)
    assert report.missing == {}
    assert report.notes == {}
    assert report.problem == ""
    loaded = notebook.check("""
        assert numbers is by_name["numbers"] is numbers[2] is pair[0] is objects[0] is slotted.a and pair[1] is by_name
        assert text is same_text
        array[2, 3] = array[0, 3] = 99
        assert rows[1, 3] == turned[3, 2] == every[1, 0] == 99 and every[0, 0] == 99 and rows.shape == (2, 4)
        fortran[2, 1] = 5
        assert column[2] == 5 and fortran.flags.f_contiguous
        assert not fixed.flags.writeable and big.flags.writeable and big.sum() == 400_000 and empty.shape == (0, 3)
        assert str(times[0]) == "2026-01-01" and record.dtype.names == ("a", "b")
        twin = np.random.default_rng(7); twin.random()
        assert generator.random() == twin.random()
        assert red is Colour.RED and isinstance(point, Point) and point.y == 2
        assert type(item) is Item and Item(4).parts == [] and item == Item(3) and nothing is dataclasses.MISSING
        assert partial(5) == 5 and method("numbers") is numbers and method.__self__ is by_name
    """)
    assert sorted(loaded.names) == sorted(report.names)
    assert loaded.missing == {}


def test_functions_see_the_notebook_and_closures_share_their_cells(notebook: Notebook) -> None:
    """Where cloudpickle alone makes copies."""
    report = notebook.save("""
        import functools
        x, seen = 1, []
        def reads(): return x
        def writes(value):
            global x
            x = value
        def counter():
            n = 0
            def up():
                nonlocal n
                n += 1
                return n
            return up, lambda: n
        up, shown = counter(); up()
        def even(n): return n == 0 or odd(n - 1)
        def odd(n): return n != 0 and even(n - 1)
        def local():
            def again(n): return 1 if n < 2 else n * again(n - 1)
            return again
        factorial = local()
        def noted(function):
            @functools.wraps(function)
            def inner(*values):
                seen.append(values)
                return function(*values)
            return inner
        @noted
        def add(a, b=2, *, c=3):
            "Add."
            return a + b + c
        @functools.lru_cache
        def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
        class Base:
            made = 0
            def __init__(self): Base.made += 1
            @property
            def twice(self): return 2 * x
            @classmethod
            def build(cls): return cls()
        class Child(Base):
            def __init__(self): super().__init__(); self.me = self
        old = Child()
        class Child(Base): version = 2
        new = Child()
    """)
    assert report.missing == {}
    assert report.notes == {"fib": ["what functools.lru_cache has kept is not carried"]}
    notebook.check("""
        x = 5
        assert reads() == 5 and old.twice == 10
        writes(6)
        assert x == 6 and up() == 2 and shown() == 2 and up.__closure__[0] is shown.__closure__[0]
        assert even(10) and factorial(5) == 120 and fib(10) == 55
        assert add(1) == 6 and seen == [(1,)] and add.__doc__ == "Add." and add.__wrapped__(1, c=0) == 3
        assert old.me is old and type(new) is Child and Child.version == 2 and not hasattr(old, "version")
        assert Base.made == 2 and type(Child.build()) is Child and Base.made == 3 and isinstance(old, Base)
    """)


def test_what_cannot_be_carried_is_named_with_its_path(notebook: Notebook) -> None:
    report = notebook.save("""
        import io, mmap, socket, tempfile, threading, weakref, concurrent.futures, numpy as np
        class Model: pass
        model = Model(); model.callbacks = [1, 2, Model()]; model.callbacks[2].file = open(os.devnull)
        generator = (i for i in [1]); lock = threading.Lock(); thread = threading.Thread()
        sock = socket.socket(); ref = weakref.ref(model); proxy = weakref.proxy(model); pool_class = socket.socket
        pool = concurrent.futures.ThreadPoolExecutor(); event = threading.Event(); iterator = iter({"a": 1})
        deep = []
        for _ in range(100_000): deep = [deep]
        del _
        view = memoryview(b"abc"); by_key = {"a": {"b": (0, lock)}}
        def closure():
            kept = lock
            return lambda: kept
        closed = closure()
        with open("map", "wb") as file: file.write(bytes(8))
        mapped = np.memmap("map"); over = np.asarray(mapped)[2:]; mapped_sum = mapped.sum()
        good = [model.callbacks[0]]; buffered = io.BytesIO(b"abc")
        class Bad:
            def __reduce__(self): raise ValueError("as I like")
        bad = Bad(); del Bad; masked = np.ma.masked_array([1, 2], mask=[0, 1]); half = masked[1:]
        made = type(sys)("made")
        class Own:
            def __getstate__(self): return {}
        own = Own()
    """)
    assert report.missing == {
        "model": "model.callbacks[2].file: an open file",
        "file": "file: an open file",
        "generator": "generator: a generator",
        "lock": "lock: a lock",
        "thread": "thread: a thread",
        "sock": "sock: a socket",
        "ref": "ref: a weak reference",
        "proxy": "proxy: a weak reference",
        "pool": "pool: belongs to a pool of workers (concurrent.futures)",
        "event": "event: an event of threads",
        "iterator": "iterator: an iterator over a dict",
        "deep": "deep: nested too deeply for pickle",
        "view": "view: a view of memory (memoryview)",
        "by_key": "by_key['a']['b'][1]: a lock",
        "closed": "closed closure kept: a lock",
        "mapped": "mapped._mmap: a memory map",
        "over": "over: an array over a memory map",
        "bad": "bad: an object of __main__.Bad (ValueError: as I like)",
        "made": "made: a module that can't be imported by its name",
    }
    shared = ["shares memory with another array; after the load each has a copy of its own"]
    kept = ["its class Own says itself what is kept (__getstate__)"]
    assert report.notes == {"masked": shared, "half": shared, "own": kept, "Own": kept}
    loaded = notebook.check("assert good == [1] and buffered.read() == b'abc' and half.mask[0]")
    assert loaded.missing == report.missing
    assert loaded.notes == report.notes


def test_settings_of_the_kernel_come_back(notebook: Notebook) -> None:
    (notebook.where / "mine").mkdir()
    (notebook.where / "mine/mymodule.py").write_text("class Kept:\n    pass\n")
    notebook.save("""
        import random, numpy
        sys.path.append(os.path.abspath("mine")); import mymodule
        kept = mymodule.Kept()
        os.chdir("mine"); os.environ["OF_HERS"] = "1"; os.environ.pop("LC_ALL", None); os.environ["SLURM_JOB_ID"] = "1"
        random.seed(3); numpy.random.seed(3); drawn = None
    """)
    check = """
import random, numpy
assert os.path.basename(os.getcwd()) == "mine" and os.environ["OF_HERS"] == "1"
assert "SLURM_JOB_ID" not in os.environ or os.environ["SLURM_JOB_ID"] != "1"
assert random.random() == random.Random(3).random()
assert numpy.random.rand() == numpy.random.RandomState(3).rand()
"""
    assert notebook.check(check + "assert type(kept) is mymodule.Kept").missing == {}
    (notebook.where / "mine/mymodule.py").write_text("class Kept:\n    new = 1\n")
    assert notebook.check("").missing["kept"].startswith("mymodule has changed since")


def test_a_big_buffer_that_did_not_change_is_not_written_again(notebook: Notebook) -> None:
    out = notebook.run("""
        import numpy
        array, other = numpy.ones(500_000), numpy.zeros(500_000)
        print(save().bytes_written)
        again = save()
        other[1] = 1
        third = save()
        print(again.bytes_written, again.bytes_reused, third.bytes_reused)
    """)
    first, again, reused, third = map(int, out.split())
    assert first > 8_000_000 > 100_000 > again
    assert reused == 8_000_000
    assert third == 4_000_000
    assert len([*notebook.state.glob("*.part")]) == len(parts_named(notebook))
    notebook.check("assert array.sum() == 500_000 and other.sum() == 1")


def parts_named(notebook: Notebook) -> set[str]:
    groups = json.loads((notebook.state / MANIFEST).read_bytes().partition(b"\n")[2])["groups"]
    return {group["part"] for group in groups if group["part"]} | {
        b["part"] for g in groups for b in g["buffers"] if b["part"]
    }


def test_limits_are_kept_and_small_variables_first(notebook: Notebook) -> None:
    out = notebook.run("""
        import numpy, resource
        small, large = [1], numpy.ones(500_000)
        print(save(limit_bytes=100_000).missing)
        print(save(limit_s=1e-9).missing["small"])
        print(save().problem, save(must_stop=lambda: True).problem)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        large[0] = 2
        print(save().missing)
    """)
    room, late, stopped, quota = out.splitlines()
    assert "'large': 'it is larger than the room that is left" in room
    assert "small" not in room
    assert late == "there was no time left to save it"
    assert stopped == " the save was stopped"
    assert "'large': \"it can't be written: [Errno 27] File too large" in quota or "File too large" in quota
    notebook.check("assert small == [1] and 'large' not in globals()")
    assert {path.name for path in notebook.state.iterdir()} == parts_named(notebook) | {MANIFEST, LOCK}


EVERY_CALL = """
import numpy
def state(number):
    return {"a": [number] * 20_000, "b": numpy.full(200_000, number), "c": {"number": number},
            "d": numpy.full(150_000, number), "same": numpy.ones(200_000)}
where, key = sys.argv[1:]
kernel_state.save(state(1), where, key=key)
def killed_at(call, before):
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9
    left = [call]
    def watch(name):
        real = getattr(os, name)
        def counted(*args, **how):
            left[0] -= 1
            if left[0] == 0 and before:
                os.kill(os.getpid(), 9)
            if left[0] == 0 and name == "write":
                real(args[0], bytes(args[1])[:len(args[1]) // 2])
            elif left[0] == 0:
                real(*args, **how)
            if left[0] == 0:
                os.kill(os.getpid(), 9)
            return real(*args, **how)
        setattr(os, name, counted)
    for name in ("open", "write", "fsync", "rename", "unlink"):
        watch(name)
    kernel_state.save(state(2), where, key=key)
    os._exit(0)
found, call = [], 2
while killed_at(call // 2, call % 2 == 0):
    names = {}
    report = kernel_state.load(where, names, key=key)
    assert not report.problem and not report.missing, report
    number = names["a"][0]
    assert names["c"] == {"number": number} and (names["b"] == number).all()
    assert (names["d"] == number).all() and names["same"].sum() == 200_000
    found.append(number)
    if number == 2:
        kernel_state.save(state(1), where, key=key)
    call += 1
print(found)
"""


def test_a_kill_at_any_call_leaves_the_last_whole_save(notebook: Notebook) -> None:
    """SIGKILL before, after, and in the middle of each call that changes the disk."""
    argv = [sys.executable, "-I", "-c", LOADED + EVERY_CALL, notebook.state, notebook.key]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) >= 50
    assert found == sorted(found)
    assert set(found) == {1, 2}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def swap(state: Path) -> None:
    one, other, *_ = sorted(state.glob(f"*{PART}"), key=lambda path: path.stat().st_size)
    other.write_bytes(one.read_bytes())


def link(state: Path) -> None:
    (state / MANIFEST).rename(state.parent / "theirs")
    (state / MANIFEST).symlink_to(state.parent / "theirs")


CHANGES: dict[str, Callable[[Path], Any]] = {
    "manifest is not as gears wrote it": lambda state: flip(state / MANIFEST),
    "no saved state": lambda state: (state / MANIFEST).unlink(),
    "open to others (mode 0755)": lambda state: state.chmod(0o755),
    "open to others (mode 0644)": lambda state: (state / MANIFEST).chmod(0o644),
    "symbolic links": link,
}


@pytest.mark.parametrize("says", CHANGES)
def test_a_state_that_others_may_have_changed_is_not_loaded(notebook: Notebook, says: str) -> None:
    notebook.save("value = 1")
    CHANGES[says](notebook.state)
    report = notebook.check("assert 'value' not in globals()")
    assert says in report.problem
    assert report.names == []


@pytest.mark.parametrize(
    "change", [flip, lambda part: part.chmod(0o640), lambda part: part.write_bytes(b"cos\nsystem\n.")]
)
def test_nothing_of_a_changed_part_is_unpickled(notebook: Notebook, change: Callable[[Path], Any]) -> None:
    notebook.save("""
        class A:
            def __reduce__(self): return os.mkdir, ("ran",)
        value, a = list(range(50_000)), [A(), "x" * 50_000]
        del A
    """)
    for part in notebook.state.glob(f"*{PART}"):
        change(part)
    report = notebook.check("assert 'value' not in globals()")
    assert report.names == []
    assert {"value", "a"} <= set(report.missing)
    assert not (notebook.where / "ran").exists()


def test_a_state_of_another_key_or_another_user_is_refused(
    notebook: Notebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook.save("value = 1")
    theirs = kernel_state.save({"planted": 1}, str(tmp_path / "theirs"), key=str(tmp_path / "their-key"))
    assert theirs.problem == ""
    assert "with your key" in kernel_state.load(str(tmp_path / "theirs"), {}, key=str(notebook.key)).problem
    notebook.key.chmod(0o644)
    assert "open to others" in kernel_state.load(str(notebook.state), {}, key=str(notebook.key)).problem
    notebook.key.chmod(0o600)
    # Only root can give a file away; so here the reader is another user.
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert "another user" in kernel_state.load(str(notebook.state), {}, key=str(notebook.key)).problem


def test_files_are_for_the_person_only(notebook: Notebook) -> None:
    notebook.run("os.umask(0)\nimport numpy\na = numpy.ones(500_000)\nsave()")
    assert notebook.state.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in [notebook.key, *notebook.state.iterdir()]} == {0o600}


def test_another_python_or_package_is_said(notebook: Notebook) -> None:
    notebook.save("import numpy\narray, plain = numpy.ones(3), 1")
    out = notebook.run("""
        import numpy; numpy.__version__ = "1.26.0"; report = load(); print(report.names, report.missing["array"])
        from state import loading; loading.PYTHON = "CPython 3.8"; print(load().problem)
    """)
    assert "['plain']" in out
    assert "numpy is 1.26.0 here, and was " in out
    assert "this kernel is CPython 3.8" in out


def test_a_name_that_is_there_is_left_alone(notebook: Notebook) -> None:
    notebook.save("value, other = 1, 2")
    out = notebook.run("value = 5\nreport = load()\nprint(value, other, report.missing)")
    assert out == "5 2 {'value': 'the notebook has a variable of this name already'}\n"


def test_without_cloudpickle_classes_are_named_and_functions_carried(notebook: Notebook) -> None:
    out = notebook.run(
        """
        class A: pass
        def double(x): return 2 * x
        a = A()
        report = save()
        print("double" in report.names, report.missing["A"], report.missing["a"], sep="|")
    """,
        before="import sys; sys.modules['cloudpickle'] = None",
    )
    missing = "a class of the notebook, A: its environment has no cloudpickle"
    assert out == f"True|A: {missing}|a its class: {missing}\n"


def test_a_save_changes_nothing(notebook: Notebook) -> None:
    notebook.run("""
        import random, warnings, numpy
        iterator, array = iter([1, 2]), numpy.arange(4); next(iterator)
        def seen():
            return {"random": random.getstate(), "names": {*globals()} - {"before"}, "filters": list(warnings.filters),
                    "limit": sys.getrecursionlimit(), "modules": {*sys.modules}}
        before = seen()
        assert not save().problem
        for name, value in seen().items():
            assert value == before[name], (name, value ^ before[name])
        assert next(iterator) == 2 and array.flags.writeable and sys.getrefcount(array) <= 3
    """)


def test_names_of_ipython_are_not_hers() -> None:
    shell = InteractiveShell()  # type: ignore[no-untyped-call]
    shell.run_cell("hers, _hers = 1, 2; hers")
    assert set(kernel_state.user_names(shell.user_ns)) == {"hers", "_hers"}


def test_it_imports_the_standard_library_only_and_is_read_by_an_old_python() -> None:
    for path in PACKAGE.glob("*.py"):
        tree = ast.parse(path.read_text(), feature_version=(3, 9))
        names = {name.name for node in tree.body if isinstance(node, ast.Import) for name in node.names}
        names |= {str(node.module) for node in tree.body if isinstance(node, ast.ImportFrom) and not node.level}
        assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names, path
        assert "from __future__ import annotations" in path.read_text() or path.name == "__init__.py"
    importlib.import_module("cloudpickle")
    importlib.import_module("numpy")
