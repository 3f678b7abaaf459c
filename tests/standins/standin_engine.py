"""What the stand-ins for LSF and PBS share: jobs as directories, and the processes that carry a job through.

No batch system, but enough of one to run job scripts as their users: after a delay, when the job before has ended, when
a node is free, until the walltime or a cancel. Each user has a cluster of his own, under `state`. A job that waits is
carried by a process on the host where it was submitted, a job that runs by one on its node.

Settings, in `standin.json` beside the programs:

    state      directory of a user's jobs, seen from every host           "~/.standin"
    nodes      how a shell command is started on each node                {HOST: ["sh", "-c"]}
               e.g. {"c1": ["ssh", "-n", "c1"]}
    delay_s    from the submission to the earliest start                  0
    kill_s     between one signal of a cancel and the next                1
    keep_s     how long an ended job is remembered                        3600
    queues     names that are known; the first is the default             ["normal"]
    accounts   names that are known; empty: none is asked for             []

A file `down` in the state directory: the server can't be reached. A file `hold` in a job's: it is held.
"""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PYTHON = "/usr/bin/python3"
TICK_S = 0.05

DEFAULTS: dict[str, Any] = {
    "state": "~/.standin",
    "nodes": {socket.gethostname(): ["sh", "-c"]},
    "delay_s": 0,
    "kill_s": 1,
    "keep_s": 3600,
    "queues": ["normal"],
    "accounts": [],
}


def settings() -> dict[str, Any]:
    return DEFAULTS | json.loads((HERE / "standin.json").read_text())


def state() -> Path:
    directory = Path(settings()["state"]).expanduser()
    (directory / "nodes").mkdir(parents=True, exist_ok=True)
    return directory


def is_down() -> bool:
    return (state() / "down").exists()


def read(file: Path) -> dict[str, Any]:
    """In a home that hosts share, a file that another host has just replaced may be seen with its length of before."""
    deadline = time.monotonic() + 5
    while True:
        try:
            found: dict[str, Any] = json.loads(file.read_text())
            return found
        except (OSError, ValueError):
            if time.monotonic() > deadline:
                raise
            time.sleep(TICK_S)


class Job:
    """A directory: `job.json`, written once; `now.json`, by who carries the job; flags, by the commands."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.id = directory.name

    @property
    def spec(self) -> dict[str, Any]:
        return read(self.directory / "job.json")

    @property
    def now(self) -> dict[str, Any]:
        """`state` is waits, runs or ended; then `node`, `started`, `ended`, `exit`, and `why`: cancel or walltime."""
        return read(self.directory / "now.json")

    def note(self, **changes: Any) -> None:
        self.write(self.now | changes)

    def write(self, now: dict[str, Any]) -> None:
        fresh = self.directory / f"now.{os.getpid()}"
        fresh.write_text(json.dumps(now))
        fresh.replace(self.directory / "now.json")

    def flag(self, name: str) -> None:
        (self.directory / name).touch()

    def flagged(self, name: str) -> bool:
        return (self.directory / name).exists()

    def is_over(self) -> bool:
        return bool(self.now["state"] == "ended")

    def is_known(self) -> bool:
        """Whether the system still remembers it."""
        now = self.now
        return now["state"] != "ended" or time.time() - now["ended"] < settings()["keep_s"]


def jobs() -> list[Job]:
    found = [path for path in state().iterdir() if path.name.isdigit() and (path / "now.json").exists()]
    return [Job(path) for path in sorted(found, key=lambda path: int(path.name))]


def find(job: str) -> Job | None:
    number = job.partition(".")[0]
    return next((found for found in jobs() if found.id == number and found.is_known()), None)


def submit(script: str, spec: dict[str, Any], *, hold: bool) -> Job:
    """Begin to carry a new job. `spec`: name, walltime_s, output, mode (of opening it), after, env, cwd, signals,
    variable and suffix (of its id in its environment), and what the commands want to tell again."""
    directory = _new_directory()
    (directory / "script").write_text(script)
    (directory / "script").chmod(0o700)
    (directory / "job.json").write_text(json.dumps(spec | {"submitted": time.time()}))
    job = Job(directory)
    if hold:
        job.flag("hold")
    job.write({"state": "waits", "started": None, "node": None, "why": ""})
    _detach(["sh", "-c"], [PYTHON, str(HERE / "standin_engine.py"), "wait", str(directory)])
    return job


def _new_directory() -> Path:
    taken = [int(path.name) for path in state().iterdir() if path.name.isdigit()]
    number = max(taken, default=0)
    while True:
        number += 1
        try:
            (state() / str(number)).mkdir()
        except FileExistsError:
            continue
        return state() / str(number)


def _detach(prefix: Sequence[str], argv: Sequence[str]) -> None:
    command = f"setsid -f {shlex.join(argv)} </dev/null >/dev/null 2>&1"
    subprocess.run([*prefix, command], stdin=subprocess.DEVNULL, check=True, timeout=60)


# --- carrying a job that waits ---------------------------------------------------------------


def wait(job: Job) -> None:
    """Until it may begin on a node, or is cancelled."""
    earliest = job.spec["submitted"] + settings()["delay_s"]
    while not (node := _node(job) if time.time() >= earliest else None):
        if job.flagged("cancel"):
            job.note(state="ended", ended=time.time(), exit=None, why="cancel")
            return
        time.sleep(TICK_S)
    argv = [PYTHON, str(HERE / "standin_engine.py"), "run", str(job.directory), node]
    _detach(settings()["nodes"][node], argv)


def waits_for(job: Job) -> str:
    """The job that has to end before; empty where none has to any more."""
    before = job.spec["after"]
    found = find(before) if before else None
    return before if found and not found.is_over() else ""


def _node(job: Job) -> str | None:
    """A node that is free, and now is not."""
    if is_down() or job.flagged("hold") or job.flagged("cancel") or waits_for(job):
        return None
    for node in settings()["nodes"]:
        try:
            (state() / "nodes" / node).mkdir()
        except FileExistsError:
            continue
        return str(node)
    return None


# --- carrying a job that runs ----------------------------------------------------------------


def run(job: Job, node: str) -> None:
    """On its node, to its end; then its output is brought to where it belongs."""
    spec, output = job.spec, job.directory / "output"
    job.note(state="runs", started=time.time(), node=node)
    with output.open("wb") as file:
        process = subprocess.Popen(
            [str(job.directory / "script")],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=spec["cwd"],
            env=os.environ | spec["env"] | {spec["variable"]: job.id + spec["suffix"]},
            start_new_session=True,
        )
        why = _carry(job, process, spec)
    _send(process, "KILL")
    with open(spec["output"], spec["mode"]) as file:
        file.write(output.read_bytes())
    (state() / "nodes" / node).rmdir()
    job.note(state="ended", ended=time.time(), exit=process.returncode, why=why)


def _carry(job: Job, process: "subprocess.Popen[bytes]", spec: dict[str, Any]) -> str:
    """Why it was ended; empty where it ended by itself."""
    ends, why = time.time() + spec["walltime_s"], ""
    signals, next_signal = list(spec["signals"]), 0.0
    while process.poll() is None:
        why = why or ("cancel" if job.flagged("cancel") else "walltime" if time.time() > ends else "")
        if why and signals and time.time() > next_signal:
            _send(process, signals.pop(0))
            next_signal = time.time() + settings()["kill_s"]
        time.sleep(TICK_S)
    return why


def _send(process: "subprocess.Popen[bytes]", name: str) -> None:
    """To the whole job."""
    try:
        os.killpg(process.pid, signal.Signals[f"SIG{name}"])
    except ProcessLookupError:
        pass


if __name__ == "__main__":
    if sys.argv[1] == "wait":
        wait(Job(Path(sys.argv[2])))
    else:
        run(Job(Path(sys.argv[2])), sys.argv[3])
