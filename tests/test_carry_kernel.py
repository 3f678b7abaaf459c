"""The variables of a notebook, carried by a real kernel: saved between its cells, loaded before the first cell."""

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

from gears.carry import saved
from gears.carry.protocol import ASKED, CRASHED, LAB, START, STATES, socket_of
from gears.lab.jupyter.kernels import LAUNCHER
from tests.helpers import wait_until

ANSWER_S = 60.0


class Notebook:
    """Kernels of one notebook, below `where`; `lab` is the identity of the lab that starts the next one."""

    def __init__(self, where: Path) -> None:
        self.where, self.root, self.lab = where, where / "states", "lab-1"
        self.root.mkdir(0o700)
        self.file = where / "note.ipynb"
        self.file.write_text("{}")
        self.kernels: list[Running] = []

    def start(self, start: str = "", **variables: str) -> "Running":
        """Start a kernel. The home is `where`, so that the key is there too."""
        manager = KernelManager(transport="ipc", connection_file=str(self.where / f"k{len(self.kernels)}.json"))
        manager.ip = str(self.where / f"k{len(self.kernels)}")
        argv = [sys.executable, str(LAUNCHER), "-f", "{connection_file}"]
        manager._kernel_spec = KernelSpec(argv=argv, display_name="gears", language="python")
        names = {STATES: str(self.root), LAB: self.lab, "JPY_SESSION_NAME": str(self.file), START: start}
        manager.start_kernel(env={**os.environ, "HOME": str(self.where), **names, **variables})
        self.kernels.append(Running(manager))
        return self.kernels[-1]

    def find(self) -> saved.State:
        found = saved.find(str(self.root), str(self.file), key=str(self.where / ".config/gears/carry.key"))
        assert found is not None
        return found

    def end(self) -> None:
        for kernel in self.kernels:
            kernel.client.stop_channels()
            kernel.manager.shutdown_kernel(now=True)
            kernel.manager.context.destroy()


class Running:
    """A kernel, and what its lab and its person do with it."""

    def __init__(self, manager: KernelManager) -> None:
        self.manager = manager
        self.client = manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=ANSWER_S)
        self.socket = socket_of(manager.connection_file)

    def run(self, code: str, *, silent: bool = False) -> dict[str, str]:
        """Run a cell, and return what it printed by stream, and what it displayed."""
        printed: dict[str, str] = {}

        def take(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                printed[content["name"]] = printed.get(content["name"], "") + content["text"]
            elif message["msg_type"] == "display_data":
                printed["display"] = content["data"]["text/plain"]
            assert message["msg_type"] != "error", content["traceback"]

        self.client.execute_interactive(code, silent=silent, timeout=ANSWER_S, output_hook=take)
        return printed

    def save(self, **wanted: Any) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_S)
            connection.connect(self.socket)
            with connection.makefile("rwb") as file:
                file.write(json.dumps({"wait_s": ANSWER_S, **wanted}).encode() + b"\n")
                file.flush()
                answer: dict[str, Any] = json.loads(file.readline())
        return answer

    @property
    def pid(self) -> int:
        return int(self.manager.provisioner.pid)

    def is_over(self) -> bool:
        return not self.manager.is_alive()


@pytest.fixture
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    found = Notebook(tmp_path_factory.mktemp("n"))
    yield found
    found.end()


def test_next_lab_has_the_variables_and_says_so_once(notebook: Notebook) -> None:
    first = notebook.start(SLURM_JOB_ID="4711", GEARS_JOB_ENDS="9")
    first.run("import math\nx, words = 42, ['a']\nsame = words\nmodel = open('/dev/null')\ndef half(n): return n / 2")
    answer = first.save()
    assert (answer["problem"], sorted(answer["names"])) == ("", ["half", "math", "same", "words", "x"])
    assert "an open file" in answer["missing"]["model"]
    notebook.lab = "lab-2"
    second = notebook.start()
    printed = second.run("words.append('b'); print(x, same, half(x), math.pi > 3)")
    assert printed["stdout"] == "42 ['a', 'b'] 21.0 True\n"
    assert "5 of 6 variables are back, from job 4711 at " in printed["stderr"]
    assert "`model` was not: model: an open file" in printed["stderr"]
    assert second.run("print(x)") == {"stdout": "42\n"}
    assert notebook.find().origin == "job 4711"


def test_same_lab_loads_after_a_crash_only(notebook: Notebook) -> None:
    first = notebook.start()
    first.run("x = 1")
    first.save()
    os.kill(first.pid, signal.SIGKILL)
    wait_until(first.is_over, ANSWER_S, "it is killed")
    for start in ("", ASKED):
        assert notebook.start(start).run("print('x' in globals())") == {"stdout": "False\n"}
    again = notebook.start(CRASHED)
    assert again.run("print(x)")["stdout"] == "1\n"
    assert again.run("y = 2") == {}


def test_silent_request_before_the_first_cell_takes_no_words_away(notebook: Notebook) -> None:
    first = notebook.start()
    first.run("x = 1")
    first.save()
    notebook.lab = "lab-2"
    second = notebook.start()
    assert second.run("y = x", silent=True) == {}
    assert "1 of 1 variables are back, from the lab on" in second.run("print(x + y)")["display"]


def test_save_waits_for_the_end_of_a_cell_and_gives_up_in_time(notebook: Notebook) -> None:
    kernel, go = notebook.start(), notebook.where / "go"
    cell = f"import os, time\nx = 1\nwhile not os.path.exists({str(go)!r}): time.sleep(0.02)\nx = 2"
    message = kernel.client.execute(cell)
    wait_until(lambda: kernel.save(wait_s=0.1)["problem"] == "a cell was running", ANSWER_S, "a cell runs")
    answers: list[dict[str, Any]] = []
    waiting = threading.Thread(target=lambda: answers.append(kernel.save()))
    waiting.start()
    go.touch()
    waiting.join(ANSWER_S)
    assert "x" in answers[0]["names"]
    kernel.client._recv_reply(message, timeout=ANSWER_S)
    assert kernel.save()["unchanged"] == "no cell has run since"
    notebook.lab = "lab-2"
    assert notebook.start().run("print(x)")["stdout"] == "2\n"


def test_sigterm_saves_then_ends_the_kernel_and_its_children_as_ever(notebook: Notebook) -> None:
    kernel = notebook.start()
    kernel.run(
        "import multiprocessing, time\n"
        "child = multiprocessing.get_context('fork').Process(target=time.sleep, args=[600])\n"
        "child.start(); child.terminate(); child.join(60); ended = child.exitcode; del child"
    )
    os.kill(kernel.pid, signal.SIGUSR1)
    wait_until(lambda: saved.find(str(notebook.root), str(notebook.file)) is not None, ANSWER_S, "a warning saves")
    kernel.run("late = 1")
    os.kill(kernel.pid, signal.SIGTERM)
    wait_until(kernel.is_over, ANSWER_S, "it has ended")
    assert "late" in notebook.find().names
    assert kernel.manager.provisioner.process.poll() == -signal.SIGTERM
    notebook.lab = "lab-2"
    assert notebook.start().run("print(ended, late)")["stdout"] == f"{-signal.SIGTERM} 1\n"


def test_periodic_save_of_a_slow_state_is_rare(notebook: Notebook) -> None:
    kernel = notebook.start()
    kernel.run("import time\nclass Slow:\n    def __getstate__(self): time.sleep(0.2); return {}\nslow = Slow()")
    assert kernel.save(periodic=True)["unchanged"] == ""
    kernel.run("x = 1")
    assert kernel.save(periodic=True)["unchanged"] == "the last save was so long that the next one waits"
    assert "x" in kernel.save()["names"], "but one on request is made"


def test_files_are_private_and_a_planted_state_is_not_loaded(notebook: Notebook) -> None:
    first = notebook.start()
    first.run("x = 1")
    first.save()
    state = Path(notebook.find().directory)
    assert (state.stat().st_mode & 0o777, Path(first.socket).stat().st_mode & 0o777) == (0o700, 0o600)
    assert {file.stat().st_mode & 0o777 for file in state.iterdir()} == {0o600}
    manifest = state / "manifest"
    manifest.write_bytes(manifest.read_bytes().replace(b'"names": ["x"]', b'"names": ["y"]'))
    notebook.lab = "lab-2"
    printed = notebook.start().run("print('x' in globals())")
    assert printed["stdout"] == "False\n"
    assert "not as gears wrote it with your key" in printed["stderr"]


def test_kernel_without_a_notebook_saves_nothing(notebook: Notebook) -> None:
    kernel = notebook.start(JPY_SESSION_NAME=str(notebook.where / "console-1-abc"))
    kernel.run("x = 1")
    assert kernel.save()["problem"] == "the kernel belongs to no notebook"
    assert list(notebook.root.iterdir()) == []


def test_kernel_of_a_lab_that_carries_nothing_has_no_socket_and_no_module(notebook: Notebook) -> None:
    kernel = notebook.start(**{STATES: ""})
    assert kernel.run("import sys; print([name for name in sys.modules if 'carry' in name])") == {"stdout": "[]\n"}
    assert not os.path.exists(kernel.socket)
