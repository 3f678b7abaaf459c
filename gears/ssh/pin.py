"""The pin: the node behind a host name on which the lab runs, and how that node is dialled again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from gears.sites.paths import RunDir
from gears.ssh.failures import ANOTHER_NODE, NAME_DEPENDENT_KINDS, WRONG_NODE, Failure
from gears.ssh.options import (
    address_options,
    effective_lines,
    effective_options,
    has_kerberos_ticket,
    without_host_names,
)
from gears.system import records

if TYPE_CHECKING:  # the value only: a turn needs no plan of a hop
    from gears.ssh.hop import Hop

Method = Literal["address", "name"]


def redial_method(host: str, pin: Pin) -> Method:
    """Return how to dial the node of `pin` behind `host` again: by its address if possible, else by name.

    By name another node can answer. It is necessary if the user's configuration would not apply to the address as it
    does to the name, or if the address is not reachable from here (a proxy, another port).
    """
    address, port = str(pin.address), pin.port or ""
    named = effective_options(host)
    if port not in ("", named.get("port", port)):
        return "name"
    if any(named.get(proxy, "none") != "none" for proxy in ("proxycommand", "proxyjump")):
        return "name"
    if named.get("gssapiauthentication") == "yes" and has_kerberos_ticket():
        return "name"
    lines = without_host_names(effective_lines(host))
    same = lines == without_host_names(effective_lines(host, *address_options(address, host)))
    return "address" if same and not any("%h" in line for line in lines) else "name"


NODE_GUARD = f"""sh -c 'test "$(uname -n)" = "$0" || {{ echo "{ANOTHER_NODE}" >&2; exit {WRONG_NODE}; }}'"""
"""Followed by a node's name: fails on any other node. Works in every login shell."""


class Redial(NamedTuple):
    """How to dial a node again. `options`: of ssh. `guard`: a prefix of the remote command."""

    options: tuple[str, ...] = ()
    guard: str = ""


def redial_options(hop: Hop, pin: Pin) -> Redial:
    """Return how to reach the node of `pin`; any node if the pin is empty."""
    if not pin.address:
        return Redial()
    if (pin.by or redial_method(hop.host, pin)) == "address":
        return Redial(options=address_options(pin.address, hop.key_alias))
    return Redial(guard=f"{NODE_GUARD} {pin.host} && ")


def may_retry_by_name(host: str, ended: Failure) -> bool:
    """Tell whether a dial by address that failed so can succeed by name. Kerberos authenticates to names only."""
    if ended.kind == "login":
        return effective_options(host).get("gssapiauthentication") == "yes"
    return ended.kind in NAME_DEPENDENT_KINDS


@dataclass(frozen=True, slots=True)
class Pin:
    """The node behind a host name on which the lab runs.

    `host`: its name. `address`, `port`: where ssh reached it. `by`: how it is dialled again, by "address" or "name";
    None until that is determined.
    """

    host: str | None = None
    address: str | None = None
    port: str | None = None
    by: str | None = None


def load_pin(paths: RunDir) -> Pin:
    """Read the pin. An empty one allows any node."""
    return records.load(Pin, paths.pin) or Pin()


def save_pin(paths: RunDir, pin: Pin) -> None:
    """Replace the pin. Raises OSError."""
    records.save(paths.pin, pin)
