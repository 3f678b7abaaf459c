"""What is forwarded from this laptop now, by which ssh, and which port each server had: files under run/forward/.

Whether an ssh lives is asked at its own control socket, so no process is looked for and none is signalled: this works
on macOS as on Linux. No token is in these files.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gears.errors import CommandFailed, NothingRunning
from gears.system import files
from gears.system.commands import run
from gears.system.installation import gears_home
from gears.system.ports import port_is_free

FIRST_PORT, PORTS = 20000, 10000
"""Below the ports that systems give to outgoing connections."""

ASK_S = 5.0


@dataclass(frozen=True, slots=True)
class Forward:
    """A port of 127.0.0.1 here that leads to a server. `address`: without its token."""

    name: str
    port: int
    target: str
    kind: str
    address: str
    control: Path
    record: Path


def directory() -> Path:
    """Return the directory, made if need be, 0700. Raises UnsafePath."""
    run_directory = gears_home() / "run"
    files.ensure_private(run_directory, first_use=not (run_directory / "id").exists())
    files.ensure_private(run_directory / "forward")
    return run_directory / "forward"


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Hold the lock of these files."""
    with files.locked(directory() / "lock"):
        yield


# --- ssh's own door --------------------------------------------------------------------------


def tell(control: Path, what: str, *more: str) -> bool:
    """Ask the ssh behind a control socket to do something (ssh(1): -O). False where it can't, or is gone."""
    if not control.exists():
        return False
    try:
        run(["ssh", "-F", "none", "-S", str(control), "-O", what, *more, "gears"], timeout_s=ASK_S)
    except CommandFailed:
        return False
    return True


def spec(port: int, target: str) -> str:
    """Return what ssh(1) takes after -L, for a port of 127.0.0.1 here."""
    return f"127.0.0.1:{port}:{target}"


# --- what is forwarded -----------------------------------------------------------------------


def live() -> list[Forward]:
    """Return everything that is forwarded now. Records of an ssh that is gone are removed."""
    found = []
    for record in sorted(directory().glob("*.json")):
        if record.name == "ports.json":
            continue
        content = files.read_record(record)
        control = Path(str(content.get("control")))
        if tell(control, "check"):
            found += [_forward(content, item, control, record) for item in content["forwards"]]
        else:
            record.unlink(missing_ok=True)
    return found


def _forward(content: dict[str, Any], item: dict[str, Any], control: Path, record: Path) -> Forward:
    return Forward(
        content["name"], item["port"], item["target"], item["kind"], item["address"], control=control, record=record
    )


def write(record: Path, name: str, control: Path, forwards: list[Forward]) -> None:
    """Write the record of one ssh and its forwards."""
    items = [{key: getattr(one, key) for key in ("port", "target", "kind", "address")} for one in forwards]
    files.write_record(record, {"name": name, "control": str(control), "forwards": items})


def targets(record: Path) -> set[str]:
    """Read the targets that one ssh forwards; none if there is no record."""
    return {item["target"] for item in files.read_record(record).get("forwards", [])}


def cancel(port: int | None) -> list[Forward]:
    """End the forward at `port`, or all; the ssh of the last one ends as well. Raises NothingRunning."""
    with locked():
        every = live()
        chosen = [forward for forward in every if port in (None, forward.port)]
        if not chosen:
            what = f"port {port} is no forward of ours" if port else "nothing is forwarded"
            raise NothingRunning(what, next="gears forward list")
        for record in {forward.record for forward in chosen}:
            mine = [forward for forward in every if forward.record == record]
            kept = [forward for forward in mine if forward not in chosen]
            _end(record, mine, kept)
    return chosen


def _end(record: Path, mine: list[Forward], kept: list[Forward]) -> None:
    control = mine[0].control
    if not kept:  # the record first: by its absence the command in the foreground knows that this was on purpose
        record.unlink(missing_ok=True)
        tell(control, "exit")
        return
    for forward in mine:
        if forward not in kept:
            tell(control, "cancel", "-L", spec(forward.port, forward.target))
    write(record, mine[0].name, control, kept)


# --- ports -----------------------------------------------------------------------------------


def ports_of(key: str, remembered: dict[str, Any]) -> Iterator[int]:
    """Yield ports for the server `key`, best first: the one it had; else one that follows from `key`, and the next.

    Taken ones, and those that other servers had, are left out.
    """
    own, others = remembered.get(key), {port for other, port in remembered.items() if other != key}
    if isinstance(own, int) and port_is_free(own):
        yield own
    start = zlib.crc32(key.encode()) % PORTS
    for step in range(PORTS):
        port = FIRST_PORT + (start + step) % PORTS
        if port not in others and port != own and port_is_free(port):
            yield port


def remembered_ports() -> dict[str, Any]:
    """Read the port that each server had first, by its key."""
    return files.read_record(directory() / "ports.json")


def remember_port(key: str, port: int) -> None:
    """Remember a server's first port. It stays the server's own, also if another is used for once."""
    remembered = remembered_ports()
    if key not in remembered:
        files.write_record(directory() / "ports.json", remembered | {key: port})
