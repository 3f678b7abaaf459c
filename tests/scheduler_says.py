"""Programs that say what a scheduler has been seen, or is documented, to say: real processes, first in PATH."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Says = Callable[..., Path]
"""`says(program, out, error="", status=0)` installs a program; it puts its arguments into the file returned, a line per
call, and its environment beside it, in PROGRAM.env."""


@pytest.fixture
def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Says:
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")

    def install(program: str, out: str = "", error: str = "", status: int = 0) -> Path:
        (directory / f"{program}.out").write_text(out)
        (directory / f"{program}.error").write_text(error)
        script = directory / program
        script.write_text(
            f'#!/bin/sh\necho "$*" >>"$0.calls"\nenv >"$0.env"\ncat "$0.out"\ncat "$0.error" >&2\nexit {status}\n'
        )
        script.chmod(0o755)
        return directory / f"{program}.calls"

    return install


@pytest.fixture
def in_denver(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Schedulers tell local time: here, seven hours before UTC in winter."""
    monkeypatch.setenv("TZ", "America/Denver")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()
