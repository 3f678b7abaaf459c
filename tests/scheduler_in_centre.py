"""Our functions for a scheduler, called as alice on a host of the test centre, where the real one is."""

import json
from dataclasses import dataclass
from typing import Any

from tests.centre import Host
from tests.helpers import home, wait_until

CALL = """\
import dataclasses, json, sys
from pathlib import Path
from gears.errors import GearsError
from gears.schedulers.base import JobSpec, scheduler

def submit(body, **asked):
    script = Path.home() / "job.sh"
    header = jobs.header(JobSpec(log=Path.home() / "job.log", **asked))
    script.write_text("\\n".join(["#!/bin/sh", *header, body, ""]))
    return jobs.submit(script)

call = json.load(sys.stdin)
jobs = scheduler(call["kind"])
try:
    function = submit if call["function"] == "submit" else getattr(jobs, call["function"])
    answer = function(*call["words"], **call["asked"])
    print(json.dumps({"answer": dataclasses.asdict(answer) if dataclasses.is_dataclass(answer) else answer}))
except GearsError as exc:
    print(json.dumps({"error": type(exc).__name__, "message": exc.message, "next": exc.next}))
"""
PATIENCE_S = 60


@dataclass
class Asked:
    """Each method is the function of that name in `gears.schedulers.base`."""

    host: Host
    kind: str

    def call(self, function: str, *words: object, **asked: object) -> dict[str, Any]:
        """The answer, or error, message and next."""
        call = json.dumps({"kind": self.kind, "function": function, "words": words, "asked": asked})
        python = f"{home()}/.venv/bin/python"
        said: dict[str, Any] = json.loads(self.host.run([python, "-c", CALL], input=call, check=True).stdout)
        return said

    def submit(self, body: str, **asked: object) -> str:
        return str(self.call("submit", body, name="gears-x", **asked)["answer"])

    def query(self, job: str) -> dict[str, Any]:
        job_now: dict[str, Any] = self.call("query", job)["answer"]
        return job_now

    def find(self, name: str = "gears-x") -> Any:
        """A list of ids, or None."""
        return self.call("find", name)["answer"]

    def cancel(self, *jobs: str) -> None:
        for job in jobs:
            assert self.call("cancel", job) == {"answer": None}

    def until(self, job: str, state: str, reason: str = "") -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            job_now = self.query(job)
            return job_now if job_now["state"] == state and reason in job_now["reason"] else None

        found = wait_until(reached, PATIENCE_S, f"job {job} is {state}: {reason}")
        assert found
        return found

    def clear(self) -> None:
        """Leave the queue empty."""
        self.cancel(*self.find())
        wait_until(lambda: self.find() == [], PATIENCE_S, "the queue is empty")

    def log(self) -> str:
        return self.host.path("/home/alice/job.log").read_text()
