"""Two networks, who is on them, and what each host calls the others. No way from laptop to inside but through ssh."""

from collections.abc import Iterable, Sequence

ADDRESSES = {
    "laptop": {"outside": "10.77.1.10"},
    "hub": {"outside": "10.77.1.1", "inside": "10.77.2.1"},
    "login1": {"inside": "10.77.2.11"},
    "login2": {"inside": "10.77.2.12"},
    "c1": {"inside": "10.77.2.21"},
    "c2": {"inside": "10.77.2.22"},
}
SUBNETS = {"outside": "10.77.1.0/24", "inside": "10.77.2.0/24"}
ALIASES = {"hub": ["hub.ccs.ornl.gov"], "login1": ["andes-login1"], "login2": ["andes-login2"]}
ROUND_ROBIN = "andes"
EVERY_NAME = [*ADDRESSES, *(alias for aliases in ALIASES.values() for alias in aliases), ROUND_ROBIN]


def plug_lines(host: str, pid: int) -> list[str]:
    """`ip` commands for the room: a link for each network of the host whose pid 1 is `pid`, not yet on the bridge."""
    lines = []
    for network, address in ADDRESSES[host].items():
        peer = f"peer name {network} address {hardware_address(address)} netns {pid}"
        lines += [f"link add {host}-{network} type veth {peer}", f"link set {host}-{network} up"]
    return lines


def link_lines(host: str, networks: Iterable[str], *, joined: bool) -> list[str]:
    """`ip` commands for the room that join a host to its bridges, or part it. Its own side keeps link and addresses."""
    return [f"link set {host}-{network} " + (f"master {network}" if joined else "nomaster") for network in networks]


def address_lines(host: str) -> list[str]:
    """`ip` commands for the host itself.

    The address is a /32 so that getaddrinfo keeps the order of the hosts file (RFC 3484, rule 9). Neighbours
    are permanent so that a silent peer is silence, not "No route to host" from our own ARP.
    """
    lines = ["link set lo up"]
    for network, own in ADDRESSES[host].items():
        lines += [f"addr add {own}/32 dev {network}", f"link set {network} up"]
        lines.append(f"route add {SUBNETS[network]} dev {network} src {own}")
        for peer in _addresses_on(network):
            if peer != own:
                lines.append(f"neigh add {peer} lladdr {hardware_address(peer)} dev {network} nud permanent")
    return lines


def hosts_file(host: str, order: Sequence[str]) -> str:
    """/etc/hosts of one host; `order` says where the round-robin alias leads, first address first."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost"]
    for network in ADDRESSES[host]:
        for peer, addresses in ADDRESSES.items():
            if network in addresses:
                lines.append(" ".join([addresses[network], peer, *ALIASES.get(peer, [])]))
        lines += [f"{ADDRESSES[peer][network]} {ROUND_ROBIN}" for peer in order if network in ADDRESSES[peer]]
    return "\n".join(lines) + "\n"


def hardware_address(address: str) -> str:
    return "02:00:" + ":".join(f"{int(part):02x}" for part in address.split("."))


def _addresses_on(network: str) -> list[str]:
    return [addresses[network] for addresses in ADDRESSES.values() if network in addresses]
