"""One run at a time writes into a tree."""

import fcntl
import os
from pathlib import Path

import pytest

from gears.data import writers
from gears.errors import NotReachable


def test_a_run_that_loses_the_lock_between_its_two_kinds_waits_for_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """flock(2): a conversion releases the lock first, and another process may then be granted it."""
    real, other = fcntl.flock, os.open(tmp_path, os.O_RDONLY)

    def flock(fd: int, kind: int) -> None:
        if kind == fcntl.LOCK_SH | fcntl.LOCK_NB:
            real(fd, fcntl.LOCK_UN)
            real(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        real(fd, kind)

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(NotReachable, match="another process writes into"), writers.only_writer(tmp_path, 0.2):
        pytest.fail("two runs write at once")
    os.close(other)
    monkeypatch.setattr(fcntl, "flock", real)
    with writers.only_writer(tmp_path, 0.2):
        pass
