# ruff: noqa: E501, SIM905
"""Carry states of notebooks to another process by gears, by dill and by Kishu: what comes back right, time, size.

    pip install numpy pandas pyarrow xarray scikit-learn matplotlib 'dask[array,dataframe]' networkx torch ipython \
        cloudpickle dill kishu             # into an environment of its own
    GEARS_SOURCE=. PYTHON tests/bench/carry.py [gears|dill|kishu|disk …]

Each state is made, saved and loaded in processes forked from one that has imported the packages. A variable is right if
its expression holds; named if it is not there and the program says so (dill: an error says that nothing was saved); wrong
if it is there otherwise without a word, lost if it is not there without a word. An open file and the like, which Kishu
makes again by running the cell again, counts as "run again".
"""

import ast
import collections
import contextlib
import importlib
import io
import json
import os
import signal
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[0] = os.path.abspath(os.environ.get("GEARS_SOURCE", "."))

from tests.bench.carry_states import STATES  # noqa: E402

LIMIT_S = 60
PACKAGES = ("numpy pandas pyarrow xarray sklearn.svm sklearn.ensemble sklearn.pipeline networkx torch matplotlib "
            "matplotlib.pyplot dask.array dask.dataframe").split()  # fmt: skip
Answer = dict[str, Any]


def in_child(work: Callable[[], Answer]) -> Answer:
    """Run in a forked process; {"error": …} if it fails, dies or takes too long."""
    reads, writes = os.pipe()
    pid = os.fork()
    if not pid:
        signal.alarm(LIMIT_S)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                answer = work()
        except BaseException as error:  # noqa: BLE001
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        os.write(writes, json.dumps(answer).encode()[:60_000])
        os._exit(0)
    os.close(writes)
    with open(reads, "rb") as pipe:
        content = pipe.read()
    os.waitpid(pid, 0)
    return json.loads(content) if content else {"error": "it died, or took too long"}


def main_module() -> types.ModuleType:
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    return module


def judge(namespace: dict[str, Any], checks: dict[str, str]) -> dict[str, str]:
    """In the order of the checks, some of which change the variables."""
    found = {}
    for name, expression in checks.items():
        if name not in namespace:
            found[name] = "absent"
        elif expression == "False":
            found[name] = "impossible"
        else:
            try:
                found[name] = "right" if eval(expression, namespace) else "wrong"
            except Exception as error:  # noqa: BLE001
                found[name] = f"wrong ({type(error).__name__}: {error})"
    return found


# --- the programs ----------------------------------------------------------------------------


def gears_save(code: str, where: Path) -> Answer:
    from gears.carry import kernel_state

    names = vars(main_module())
    exec(code, names)
    began = time.perf_counter()
    report = kernel_state.save(names, str(where / "state"), key=str(where / "key"))
    return {"s": time.perf_counter() - began, "said": {**report.missing, **report.notes}, "error": report.problem}


def gears_load(checks: dict[str, str], where: Path) -> Answer:
    from gears.carry import kernel_state

    names = vars(main_module())
    began = time.perf_counter()
    report = kernel_state.load(str(where / "state"), names, key=str(where / "key"))
    took = time.perf_counter() - began
    return {"s": took, "found": judge(names, checks), "said": {**report.missing, **report.notes}}


def dill_save(code: str, where: Path) -> Answer:
    import dill

    module = main_module()
    exec(code, vars(module))
    began = time.perf_counter()
    dill.dump_session(str(where / "session"), main=module)
    return {"s": time.perf_counter() - began, "said": {}}


def dill_load(checks: dict[str, str], where: Path) -> Answer:
    import dill

    module = main_module()
    began = time.perf_counter()
    dill.load_session(str(where / "session"), main=module)
    return {"s": time.perf_counter() - began, "found": judge(vars(module), checks), "said": {}}


def kishu_shell(where: Path) -> tuple[Any, Any]:
    from IPython.core.interactiveshell import InteractiveShell
    from kishu.jupyterint import KishuForJupyter
    from kishu.notebook_id import NotebookId

    os.environ["HOME"] = str(where)
    if not (where / "notebook.ipynb").exists():
        (where / "notebook.ipynb").write_text('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
    KishuForJupyter.save_notebook = lambda self: None  # there is no page that could save it
    KishuForJupyter._all_notebook_cells = lambda self: (None, [])
    shell = InteractiveShell.instance()
    kishu = KishuForJupyter(NotebookId("key", where / "notebook.ipynb", "kernel"), ip=shell)
    return shell, kishu


def kishu_save(code: str, where: Path) -> Answer:
    shell, kishu = kishu_shell(where)
    kishu.install_kishu_hooks()
    spent = [0.0]

    def timed(hook: Callable[[Any], None]) -> Callable[[Any], None]:
        def run(info: Any) -> None:
            began = time.perf_counter()
            hook(info)
            spent[0] += time.perf_counter() - began

        return run

    for event, hook in (("pre_run_cell", kishu.pre_run_cell), ("post_run_cell", kishu.post_run_cell)):
        shell.events.unregister(event, hook)
        shell.events.register(event, timed(hook))
    for statement in ast.parse(code).body:
        done = shell.run_cell(ast.unparse(statement), store_history=True)
        done.raise_error()
    return {"s": spent[0], "said": {}, "commit": kishu._kishu_graph.head()}


def kishu_load(checks: dict[str, str], where: Path, commit: str) -> Answer:
    shell, kishu = kishu_shell(where)
    began = time.perf_counter()
    kishu.checkout(commit, skip_notebook=True)
    return {"s": time.perf_counter() - began, "found": judge(shell.user_ns, checks), "said": {}}


PROGRAMS: dict[str, tuple[Callable[..., Answer], Callable[..., Answer]]] = {
    "gears": (gears_save, gears_load),
    "dill": (dill_save, dill_load),
    "kishu": (kishu_save, kishu_load),
}


def carry(program: str, name: str, where: Path) -> tuple[dict[str, str], float, float, int]:
    """Return what became of each variable, the seconds of save and load, and the bytes."""
    code, checks = STATES[name]
    save, load = PROGRAMS[program]
    os.chdir(where)
    saved = in_child(lambda: save(code, where))
    if saved.get("error"):
        return dict.fromkeys(checks, f"named: {saved['error']}"), 0, 0, 0
    more = [saved["commit"]] if "commit" in saved else []
    loaded = in_child(lambda: load(checks, where, *more))
    size = sum(path.stat().st_size for path in where.rglob("*") if path.is_file())
    if loaded.get("error"):
        return dict.fromkeys(checks, f"named: {loaded['error']}"), saved["s"], 0, size
    said, found = {**saved["said"], **loaded["said"]}, loaded["found"]
    return {key: outcome(program, found[key], key in said) for key in checks}, saved["s"], loaded["s"], size


def outcome(program: str, found: str, said: bool) -> str:
    if found == "right":
        return found
    if said:
        return "named"
    if found == "impossible":
        return "run again" if program == "kishu" else "wrong"
    return "lost" if found == "absent" else found


def disk() -> None:
    """2 GB of arrays: a first save, one with nothing changed, the load; beside dd to the same place, which syncs too."""
    import numpy

    from gears.carry import kernel_state

    with tempfile.TemporaryDirectory(dir=os.environ.get("GEARS_BENCH_DISK")) as made:
        where = Path(made)
        names: dict[str, Any] = {f"a{number}": numpy.random.default_rng(number).random(1 << 26) for number in range(4)}
        size = sum(array.nbytes for array in names.values())
        for _ in range(3):
            began = time.perf_counter()
            os.system(f"dd if=/dev/zero of={where}/dd bs=8M count={size >> 23} conv=fsync 2>/dev/null")
            plain = time.perf_counter() - began
            os.unlink(where / "dd")
            report = kernel_state.save(names, str(where / "state"), key=str(where / "key"))
            again = kernel_state.save(names, str(where / "state"), key=str(where / "key"))
            loaded: dict[str, Any] = {}
            back = kernel_state.load(str(where / "state"), loaded, key=str(where / "key"))
            right = all((loaded[name] == names[name]).all() for name in names)
            print(f"dd {size / plain / 1e9:.2f} GB/s, save {size / report.seconds / 1e9:.2f} GB/s "
                  f"({plain / report.seconds:.2f} of dd), unchanged {again.seconds:.2f} s, load {back.seconds:.2f} s, {right}")  # fmt: skip
            for path in (where / "state").iterdir():
                path.unlink()


def main(programs: list[str]) -> None:
    if programs == ["disk"]:
        return disk()
    for package in PACKAGES:
        importlib.import_module(package)
    importlib.import_module("torch").set_num_threads(1)
    for program in programs or PROGRAMS:
        counts, save_s, load_s, size = collections.Counter[str](), 0.0, 0.0, 0
        for name in STATES:
            with tempfile.TemporaryDirectory() as where:
                found, saved, loaded, stored = carry(program, name, Path(where))
            os.chdir("/")
            save_s, load_s, size = save_s + saved, load_s + loaded, size + stored
            counts.update(word.partition(" (")[0].partition(":")[0] for word in found.values())
            if unusual := {key: word for key, word in found.items() if word not in ("right", "named")}:
                print(f"  {program}, {name}: {unusual}", flush=True)
        shares = ", ".join(f"{word} {count}" for word, count in counts.most_common())
        print(f"{program}: {sum(counts.values())} variables of {len(STATES)} states: {shares}; "
              f"save {save_s:.1f} s, load {load_s:.1f} s, {size / 1e6:.1f} MB", flush=True)  # fmt: skip
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
