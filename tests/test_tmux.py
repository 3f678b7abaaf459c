"""Sessions of tmux, on a server of the test's own."""

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from gears.system import tmux
from tests.helpers import wait_until


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMUX_TMPDIR", str(tmp_path))
    script = tmp_path / "script"
    script.write_text("exec sleep 60\n")
    return script


def ask(words: str) -> int:
    return int(subprocess.run(["tmux", "-L", tmux.SERVER, "display", "-pt", "a", words], stdout=-1, check=True).stdout)


def test_a_server_that_is_just_exiting(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last session ends while the client of the next one waits to be accepted: it may get no answer."""
    end_session = tmux.end_session
    monkeypatch.setattr(tmux, "end_session", lambda site: None)  # ends before; here it would wait for the server
    for _ in range(30):
        tmux.start_session("a", "window", script)
        server, pane = ask("#{pid}"), ask("#{pane_pid}")
        os.kill(server, signal.SIGSTOP)
        os.kill(pane, signal.SIGKILL)
        threading.Timer(0.05, os.kill, (server, signal.SIGCONT)).start()
        tmux.start_session("b", "window", script)
        assert tmux.has_session("b")
        end_session("b")
    wait_until(lambda: not tmux.has_session("b"), 5, "the last session has ended")
