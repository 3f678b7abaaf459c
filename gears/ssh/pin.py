"""Which node behind a name the lab is on, and how that node is reached again."""

from __future__ import annotations

from dataclasses import dataclass

from gears.sites.paths import RunDir
from gears.ssh.failures import ANOTHER_NODE, ELSEWHERE, NOT_AT_AN_ADDRESS, Failure
from gears.ssh.hop import Hop
from gears.ssh.options import but_for_the_name, by_address, effective_lines, effective_options, has_ticket
from gears.system import records


def reached_by(host: str, pin: Pin) -> str:
    """Tell how the node of `pin` is reached again behind `host`: by "address", else by "name".

    By name, by which another node may answer, where the person's configuration would not apply to the address as it
    does to the name, or that is no way from here.
    """
    address, port = str(pin.address), pin.port or ""
    named = effective_options(host)
    if port not in ("", named.get("port", port)):
        return "name"
    if any(named.get(way, "none") != "none" for way in ("proxycommand", "proxyjump")):
        return "name"
    if named.get("gssapiauthentication") == "yes" and has_ticket():
        return "name"
    lines = but_for_the_name(effective_lines(host))
    same = lines == but_for_the_name(effective_lines(host, *by_address(address, host)))
    return "address" if same and not any("%h" in line for line in lines) else "name"


ON_NODE = f"""sh -c 'test "$(uname -n)" = "$0" || {{ echo "{ANOTHER_NODE}" >&2; exit {ELSEWHERE}; }}'"""
"""With a node's name, in any login shell: whether this is that node."""


def dial_again(hop: Hop, pin: Pin) -> tuple[tuple[str, ...], str]:
    """Return ssh's options, and what stands before the remote command, to reach the node of `pin`.

    Any node, where the pin is empty.
    """
    if not pin.address:
        return (), ""
    if (pin.by or reached_by(hop.host, pin)) == "address":
        return by_address(pin.address, hop.key_alias), ""
    return (), f"{ON_NODE} {pin.host} && "


def may_enter_by_name(host: str, ended: Failure) -> bool:
    """Tell whether a dial by address that ended so is worth another one by name. A ticket is good for names only."""
    if ended.kind == "login":
        return effective_options(host).get("gssapiauthentication") == "yes"
    return ended.kind in NOT_AT_AN_ADDRESS


@dataclass(frozen=True, slots=True)
class Pin:
    """Which node behind a name the lab is on, where ssh has found it, and how it is dialled again: by its address or by
    name; None while that was not found out."""

    host: str | None = None
    address: str | None = None
    port: str | None = None
    by: str | None = None


def load_pin(paths: RunDir) -> Pin:
    """Read which node the lab is on; of an empty one any may be dialled."""
    return records.load(Pin, paths.pin) or Pin()


def save_pin(paths: RunDir, pin: Pin) -> None:
    """Write down which node the lab is on. Raises OSError."""
    records.save(paths.pin, pin)
