"""The forwards of this machine, the ssh of each, and the ports that servers had before: files under run/forward/.

Whether an ssh is alive is asked through its control socket. No process is searched for or signalled, so this works on
macOS as on Linux. These files contain no tokens.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from gears.errors import CommandFailed, CommandTimeout, NothingRunning
from gears.system import files, records
from gears.system.commands import run
from gears.system.installation import gears_home
from gears.system.ports import port_is_free

FIRST_PORT, PORTS = 20000, 10000
"""Below the ephemeral ports of the usual systems."""

ASK_S = 5.0


@dataclass(frozen=True, slots=True)
class Forward:
    """A port of 127.0.0.1 on this machine, forwarded to a server. `address`: without its token."""

    port: int
    target: str
    kind: str
    address: str

    @property
    def spec(self) -> str:
        """Return the argument of ssh(1) -L for this forward."""
        return f"127.0.0.1:{self.port}:{self.target}"


@dataclass(frozen=True, slots=True)
class TunnelRecord:
    """One ssh and its forwards, as on disk. `name`: host or site as given; `control`: path of ssh's control socket."""

    name: str
    control: str
    forwards: tuple[Forward, ...] = ()


def load(path: Path) -> TunnelRecord | None:
    """Read the record of one ssh. None if there is none."""
    return records.load(TunnelRecord, path)


def save(path: Path, record: TunnelRecord) -> None:
    """Replace the record of one ssh. Raises OSError."""
    records.save(path, record)


def directory() -> Path:
    """Return the directory, 0700; create it if needed. Raises UnsafePath."""
    run_directory = gears_home() / "run"
    files.ensure_private(run_directory, first_use=not (run_directory / "id").exists())
    files.ensure_private(run_directory / "forward")
    return run_directory / "forward"


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Hold the lock of these files."""
    with files.locked(directory() / "lock"):
        yield


# --- control commands ------------------------------------------------------------------------


def control_ssh(control: Path, command: str, *arguments: str) -> bool:
    """Send a control command to a running ssh (ssh(1), -O). Return False if it failed or that ssh is gone.

    An ssh that is stopped (Ctrl-Z) does not answer, but passes a check.
    """
    if not control.exists():
        return False
    try:
        run(["ssh", "-F", "none", "-S", str(control), "-O", command, *arguments, "gears"], timeout_s=ASK_S)
    except CommandTimeout:
        return command == "check"
    except CommandFailed:
        return False
    return True


# --- forwards --------------------------------------------------------------------------------


def live() -> dict[Path, TunnelRecord]:
    """Return the records of every ssh that is running, by path. Remove those of an ssh that is gone."""
    found = {}
    for path in sorted(directory().glob("*.json")):
        if path.name == "ports.json":
            continue
        record = load(path)
        if record and control_ssh(Path(record.control), "check"):
            found[path] = record
        else:
            path.unlink(missing_ok=True)
    return found


def targets(path: Path) -> set[str]:
    """Return the targets that the ssh of a record forwards to; empty if there is no record."""
    record = load(path)
    return {forward.target for forward in record.forwards} if record else set()


def cancel(port: int | None) -> list[tuple[str, Forward]]:
    """Cancel the forward of `port`, or all; end an ssh that has none left. Return each with the name of its host.

    Raises NothingRunning.
    """
    with locked():
        running = live()
        chosen = [
            (record.name, forward)
            for record in running.values()
            for forward in record.forwards
            if port in (None, forward.port)
        ]
        if not chosen:
            reason = f"port {port} is not forwarded by gears" if port else "nothing is forwarded"
            raise NothingRunning(reason, next="gears forward list")
        for path, record in running.items():
            kept = tuple(forward for forward in record.forwards if port not in (None, forward.port))
            if kept != record.forwards:
                _keep_only(path, record, kept)
    return chosen


def _keep_only(path: Path, record: TunnelRecord, kept: tuple[Forward, ...]) -> None:
    """Cancel all forwards of an ssh except `kept`."""
    control = Path(record.control)
    if not kept:  # the record first: its absence tells the command in the foreground that this was on purpose
        path.unlink(missing_ok=True)
        control_ssh(control, "exit")
        return
    for forward in record.forwards:
        if forward not in kept:
            control_ssh(control, "cancel", "-L", forward.spec)
    save(path, replace(record, forwards=kept))


# --- ports -----------------------------------------------------------------------------------


def ports_of(key: str, remembered: dict[str, int]) -> Iterator[int]:
    """Yield free ports for the server `key`, best first: the one it had, then one derived from `key` and the next.

    Skip ports of other servers.
    """
    own, others = remembered.get(key), {port for other, port in remembered.items() if other != key}
    if own is not None and port_is_free(own):
        yield own
    start = zlib.crc32(key.encode()) % PORTS
    for step in range(PORTS):
        port = FIRST_PORT + (start + step) % PORTS
        if port not in others and port != own and port_is_free(port):
            yield port


def remembered_ports() -> dict[str, int]:
    """Read the first port of each server, by its key."""
    found = files.read_record(directory() / "ports.json")
    return {key: port for key, port in found.items() if isinstance(port, int)}


def remember_port(key: str, port: int) -> None:
    """Remember a server's first port. It remains reserved for the server, even if another one is used once."""
    remembered = remembered_ports()
    if key not in remembered:
        files.write_record(directory() / "ports.json", remembered | {key: port})
