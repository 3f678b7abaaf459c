"""The block for the laptop's ~/.ssh/config. Pure; `ssh.user_config` writes it there.

OpenSSH 6.7, the first version to forward to a socket, reads every keyword and cipher; a site with `proxy = "jump"`
needs 7.3 (ssh_config(5): ProxyJump). So no `Ciphers ^…` (7.8), no `Include` (7.3). It contains no secret.
"""

from dataclasses import dataclass
from typing import Any

from gears.errors import UnsafePath, UsageError
from gears.sites import validators
from gears.sites.paths import MAX_FORWARD_PATH
from gears.sites.profile import Site

# AES-GCM first: 1.25 to 1.6 times the throughput of the default on a processor with AES instructions. ChaCha20 is left
# out: an ssh in FIPS mode does not know it and would reject the whole file.
CIPHERS = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr"


@dataclass(frozen=True, slots=True)
class Block:
    """One `Host` section."""

    alias: str
    options: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return "\n".join([f"Host {self.alias}", *(f"  {keyword} {value}" for keyword, value in self.options)])


def plan_stanza(
    site: Site, *, front_root: str, user: str, port: int | None = None, local_host: str = "", assumed: bool = False
) -> str:
    """Write the text for ~/.ssh/config: comments, the site's block, and one for each jump host.

    `front_root`: the directory of gears on the front; `assumed`: nobody has verified it. `local_host`: the host to dial
    for a site without hosts, whose lab is on this machine. Raises UnsafePath for a path to which ssh does not forward,
    UsageError for an invalid name or port.
    """
    _checked(validators.user, user, "--user NAME")
    port = _checked(validators.port, site.laptop.port if port is None else port, "--port N")
    host = site.front.host or site.lab.host or _checked(validators.host, local_host, "SITE")
    socket = _forwardable(f"{front_root}/run/{site.name}.sck")
    main, *jumps = plan_blocks(site, host=host, user=user, forward=(("LocalForward", f"{port} {socket}"),))
    parts = [_comments(site, port), *([_assumption(front_root, host)] if assumed else []), str(main)]
    return "\n".join(parts) + "".join(f"\n\n{jump}" for jump in jumps) + "\n"


def plan_blocks(
    site: Site, *, host: str, user: str, forward: tuple[tuple[str, str], ...] = (), ssh: str = ""
) -> list[Block]:
    """Plan the site's block, then one for each jump host.

    `ssh`: replaces the ssh within a ProxyCommand.
    """
    jumps = _jumps(site, user, ssh)
    options = (
        ("HostName", host),
        ("User", user),
        *_through(site, jumps, ssh),
        *forward,
        *_FORWARD_OPTIONS,
        *_CONNECTION_OPTIONS,
    )
    return [Block(alias(site.name), options), *jumps]


def alias(site_name: str) -> str:
    """Return the `Host` alias of a site's stanza."""
    return f"{site_name}-jupyter"


def in_path(user: str) -> str:
    """Return a user name as part of a path: DOMAIN\\name is below its domain (smb.conf(5): template homedir)."""
    return user.replace("\\", "/")


# With both address families ssh accepts half a forward: if 127.0.0.1:PORT is taken, it continues with [::1]:PORT alone.
# With one, ExitOnForwardFailure ends it.
_FORWARD_OPTIONS = (("AddressFamily", "inet"), ("GatewayPorts", "no"), ("ExitOnForwardFailure", "yes"))
_CONNECTION_OPTIONS = (("ServerAliveInterval", "5"), ("ServerAliveCountMax", "2"), ("Ciphers", CIPHERS))


def _jumps(site: Site, user: str, ssh: str) -> list[Block]:
    """Plan a block for each jump host, outermost first; each but the first goes through the one before it."""
    blocks: list[Block] = []
    several = len(site.front.jump) > 1
    for number, jump in enumerate(site.front.jump, start=1):
        jump_user, _, host = jump.rpartition("@")
        # ProxyJump lists all jump hosts, in the site's own block.
        through = () if site.front.proxy == "jump" else _through(site, blocks, ssh)
        options = (("HostName", host), ("User", jump_user or user), *through, ("Ciphers", CIPHERS))
        blocks.append(Block(f"{site.name}-login{number if several else ''}", options))
    return blocks


def _through(site: Site, jumps: list[Block], ssh: str) -> tuple[tuple[str, str], ...]:
    """Return the proxy options through `jumps`, the last of which reaches the host itself."""
    if not jumps:
        return ()
    if site.front.proxy == "jump":
        return (("ProxyJump", ",".join(jump.alias for jump in jumps)),)
    last = jumps[-1].alias
    command = f"{ssh or 'ssh'} {last} nc %h %p" if site.front.proxy == "nc" else f"{ssh or 'ssh -q'} -W %h:%p {last}"
    return ("ProxyCommand", command), ("ProxyUseFdpass", "no")


def _comments(site: Site, port: int) -> str:
    oldest = "7.3" if site.front.jump and site.front.proxy == "jump" else "6.7"
    title = site.title or site.name
    return "\n".join(
        [
            f"# JupyterLab on {title}. Made by `gears ssh-config {site.name}` for OpenSSH {oldest} or later.",
            f"# Run `ssh {alias(site.name)}`, leave it open, and go to http://localhost:{port}/lab",
            "# Not `ssh -N`: without a session each new connection of the browser takes 44 ms longer.",
        ]
    )


def _assumption(front_root: str, host: str) -> str:
    return f"# Assumed: gears is in {front_root} on {host}. If it is not, print this block there."


def _forwardable(path: str) -> str:
    if len(path) > MAX_FORWARD_PATH:
        raise UnsafePath(
            f"{path} is {len(path)} characters long; ssh forwards to at most {MAX_FORWARD_PATH}",
            next="export GEARS_HOME=…   (a shorter path to gears on the front)",
        )
    try:
        return str(validators.path(path))
    except ValueError as exc:
        fix = "export GEARS_HOME=…   (a path to gears on the front without such characters)"
        raise UnsafePath(f"the socket path is invalid in ssh's configuration: {exc}", next=fix) from exc


def _checked(check: validators.Check, value: object, option: str) -> Any:
    try:
        return check(value)
    except ValueError as exc:
        raise UsageError(str(exc), next=f"gears ssh-config … {option}") from exc
