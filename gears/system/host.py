"""This machine: its names, its user, and whether a host name resolves to it."""

from __future__ import annotations

import os
import pwd
import socket
from dataclasses import dataclass
from ipaddress import ip_address
from threading import Thread

LOOKUP_TIMEOUT_S = 3.0

# Addresses for documentation (RFC 5737, RFC 3849): if even these can be bound, binding proves nothing.
_UNASSIGNED = {socket.AF_INET: "203.0.113.251", socket.AF_INET6: "2001:db8:ffff:ffff::fb"}

Address = tuple[socket.AddressFamily, str]


@dataclass(frozen=True, slots=True)
class _Found:
    canonical: str = ""
    addresses: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class Host:
    """`hostname`: as the kernel has it. `names`: it, its short and its full form, in lower case."""

    hostname: str
    names: tuple[str, ...]
    user: str
    home: str

    @property
    def full_name(self) -> str:
        """Return the longest known name, the one most likely to be valid on other machines."""
        return max(self.names, key=len)


def this_host(*, full_name: bool = False) -> Host:
    """Query the kernel and the user database; with `full_name` also the resolver, for at most LOOKUP_TIMEOUT_S."""
    hostname = socket.gethostname()
    names = [hostname.lower(), hostname.lower().partition(".")[0]]
    if full_name and not (canonical := _look_up(hostname).canonical.lower()).startswith("localhost"):
        names.append(canonical)
    user, home = _account()
    return Host(hostname, tuple(dict.fromkeys(filter(None, names))), user, home)


def is_this_host(name: str, host: Host) -> bool:
    """Tell whether `name` resolves to an address of this machine, `host`. Takes up to LOOKUP_TIMEOUT_S.

    False if the name can't be resolved, unless it is one of the host's own names. An alias for several hosts stands for
    each of them. Loopback addresses are ignored: Debian resolves a machine's own name to 127.0.1.1.
    """
    addresses = [address for address in _look_up(name).addresses if not ip_address(address[1]).is_loopback]
    if not addresses:
        return name.lower() in (*host.names, "localhost")
    return any(_is_ours(address) for address in addresses)


@dataclass(frozen=True, slots=True)
class Source:
    """This machine's own address on the way to another host, `towards`, as its routes had it."""

    towards: Address
    address: str

    def now(self) -> str:
        """Return the address that it is by now; empty without a route. Sends nothing."""
        return _source_towards(self.towards)

    def is_gone(self) -> bool:
        """Return whether the machine no longer has the address, so that no answer to it arrives."""
        return not _can_bind(self.towards[0], self.address)


def find_source(host: str) -> Source | None:
    """Find this machine's source address towards `host`; None without a route. Takes up to LOOKUP_TIMEOUT_S."""
    addresses = _look_up(host).addresses
    address = _source_towards(addresses[0]) if addresses else ""
    return Source(addresses[0], address) if address else None


def source_towards(host: str) -> str:
    """Return this machine's source address towards `host`; empty without a route. Takes up to LOOKUP_TIMEOUT_S."""
    source = find_source(host)
    return source.address if source else ""


def _account() -> tuple[str, str]:
    try:
        account = pwd.getpwuid(os.getuid())
    except KeyError:  # a container that runs under an unknown uid
        return os.environ.get("USER") or str(os.getuid()), os.environ.get("HOME") or "/"
    return account.pw_name, os.environ.get("HOME") or account.pw_dir


def _look_up(host: str) -> _Found:
    """Query the resolver, for LOOKUP_TIMEOUT_S at most; empty on failure. A slow query's thread is abandoned."""
    found: list[_Found] = []
    thread = Thread(target=lambda: found.append(_resolve(host)), daemon=True)
    thread.start()
    thread.join(LOOKUP_TIMEOUT_S)
    return found[0] if found else _Found()


def _resolve(host: str) -> _Found:
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM, flags=socket.AI_CANONNAME)
    except (OSError, UnicodeError):
        return _Found()
    return _Found(answers[0][3], tuple((answer[0], str(answer[4][0])) for answer in answers))


def _is_ours(address: Address) -> bool:
    """Tell whether an address is this host's: only its own addresses can be bound.

    If the kernel allows others too (ip_nonlocal_bind), compare with the source address towards it.
    """
    family, name = address
    if _can_bind(family, _UNASSIGNED[family]):
        return _source_towards(address) == name
    return _can_bind(family, name)


def _source_towards(address: Address) -> str:
    family, name = address
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((name, 9))  # a datagram socket: looks up the route, sends nothing
            return str(probe.getsockname()[0])
    except OSError:
        return ""


def _can_bind(family: socket.AddressFamily, address: str) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True
