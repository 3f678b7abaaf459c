"""What the tests of batch jobs share: the profile, a lab in a job as the laptop meets it, what stands in the queue."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pexpect

from tests.centre import Centre, Host
from tests.helpers import Kernel, Lab, add_stanza, dial, gears, home, lab_at, status, wait_until

EMPTY = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}

PROFILE = """\
title = "The test centre"
[front]
host = "hub"
root = "~/gears"
[lab]
host = "andes"
match = ["login*"]
[scheduler]
kind = "slurm"
queue = "batch"
walltime = "00:30:00"
"""
PARTITION = "PartitionName=transfer Nodes=c1,c2 OverSubscribe=EXCLUSIVE MaxTime=00:10:00"
SLURM: dict[str, Any] = {"slurm": True, "profiles": {"andes": PROFILE}}


@dataclass
class JobLab:
    """A lab in a job, seen from the laptop through the whole tunnel."""

    centre: Centre
    lab: Lab
    terminal: "pexpect.spawn[str]"

    def dial(self) -> None:
        """`ssh andes-jupyter` again, where it has ended or leads nowhere."""
        if not (self.terminal.isalive() and (self.lab.answers() or self.lab.waits())):
            self.terminal.close()
            self.terminal = dial(self.centre)

    def kernel(self) -> Kernel:
        return Kernel(self.lab)

    def waits_with(self, words: str, timeout_s: float = 30) -> str:
        """The reason on the waiting page, once it has `words`."""

        def reason() -> str:
            try:
                page = self.lab.request("GET", "/").json()
            except (OSError, ValueError):
                return ""
            said = (page.get("gears") or {}).get("reason") or ""
            return said if words in said else ""

        return wait_until(reason, timeout_s, f"the waiting page says {words!r}")


def connect(centre: Centre) -> JobLab:
    """The stanza on the laptop, and `ssh andes-jupyter` in a terminal there."""
    add_stanza(centre)
    terminal = dial(centre)
    return JobLab(centre, Lab(centre.laptop, 38888, lab_at(centre.hub).token, timeout_s=3), terminal)


def submit(host: Host, words: str = "", **options: Any) -> None:
    """`gears lab andes --job WORDS`, until it is up."""
    done = gears(host, f"lab andes --job {words}", **options)
    assert done.returncode == 0, done.stdout + done.stderr


def queue(centre: Centre, user: str = "alice") -> list[dict[str, str]]:
    """The user's jobs, as Slurm lists them."""
    names = ("id", "name", "state", "reason", "node")
    listed = centre.login2.run(["squeue", "-h", "-u", user, "-o", "%i|%j|%T|%r|%N"], check=True).stdout
    return [dict(zip(names, line.split("|"), strict=True)) for line in listed.splitlines()]


def open_notebook(lab: Lab, name: str, kernel: str = "python3") -> Kernel:
    """A notebook, opened as JupyterLab does: it has a kernel of its own. `kernel`: of a kernelspec."""
    if lab.request("GET", f"/api/contents/{name}").status == 404:
        lab.request("PUT", f"/api/contents/{name}", {"type": "notebook", "content": EMPTY})
    wanted = {"path": name, "name": name, "type": "notebook", "kernel": {"name": kernel}}
    return Kernel(lab, lab.request("POST", "/api/sessions", wanted).json()["kernel"]["id"])


def node_of(kernel: Kernel) -> str:
    return kernel.run("import socket; print(socket.gethostname())").strip()


def job_record(host: Host, site: str = "andes") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.path(f"{home()}/run/{site}/job.json").read_text())
    return found


def state(host: Host) -> str:
    return str(status(host)["state"])


def occupy(centre: Centre, node: str) -> str:
    """A job of bob's that keeps a node busy; its id."""
    words = ["sbatch", "--parsable", "--output=/dev/null", f"--nodelist={node}", "--wrap", "sleep 600"]
    return centre.login1.run(words, "bob", cwd="/tmp", check=True).stdout.strip()


def add_partition(centre: Centre) -> None:
    """Add the partition `transfer` to Slurm."""
    for host in (centre.login1, centre.login2, centre.c1, centre.c2):
        host.run(f"echo {PARTITION} >> /etc/slurm/slurm.conf", "root", check=True)
    centre.login2.run("scontrol reconfigure", "root", check=True)
    wait_until(lambda: "transfer" in centre.login1.run("sinfo -h -p transfer").stdout, 30, "the partition is there")


def cancel(centre: Centre, *ids: str) -> None:
    centre.login1.run(["scancel", *ids], "root", check=True)


@contextmanager
def drained(centre: Centre, node: str) -> Iterator[None]:
    """No job starts there."""
    update = ["scontrol", "update", f"nodename={node}"]
    centre.login2.run([*update, "state=drain", "reason=test"], "root", check=True)
    try:
        yield
    finally:
        centre.login2.run([*update, "state=resume"], "root", check=True)


def clear(centre: Centre) -> None:
    """The end of a test: nothing runs, nothing waits, all nodes are free."""
    gears(centre.hub, "stop andes", timeout_s=120)
    centre.login2.run("scancel -u alice; scancel -u bob", "root")
    wait_until(lambda: not queue(centre) and not queue(centre, "bob"), 60, "the queue is empty")
