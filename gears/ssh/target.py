"""The user's ssh from this host to a site, or to any host that ssh knows: for commands run in the foreground.

On a laptop it uses the stanza in ~/.ssh/config if there is one, including the user's changes to it; else the options
that the stanza would have. If that configuration shares connections (ControlMaster), so does this; nothing depends on
it.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gears.errors import CommandFailed, NotReachable, UsageError
from gears.sites import validators
from gears.sites.directories import find_paths
from gears.sites.load import load_site, site_names
from gears.sites.locate import host_role, route_of
from gears.sites.profile import Site
from gears.sites.route import Route
from gears.ssh.login_shell import for_login_shell
from gears.ssh.options import address_options, effective_options, host_key_alias, ssh_options
from gears.ssh.pin import Pin, load_pin, redial_method
from gears.ssh.remote_gears import next_gears
from gears.ssh.stanza import alias
from gears.system.commands import run, run_in_terminal

LEFT_TO_USER = ("ControlMaster", "ControlPath", "RequestTTY", "EscapeChar")
"""Options of a hop that are left to the user's configuration, or to the command, here."""


@dataclass(frozen=True, slots=True)
class Target:
    """The part of ssh's command line before the remote command.

    `host`: a host name, or the alias of a stanza. `common_options`: for every ssh on the route, jump hosts included.
    """

    host: str
    options: tuple[str, ...] = ()
    common_options: tuple[str, ...] = ()

    def command(self, *more: str) -> list[str]:
        """Return the command line of ssh, with `more` options, up to the host name."""
        ours = [f"-o{option}" for option in ssh_options() if not option.startswith(LEFT_TO_USER)]
        return ["ssh", *more, *self.common_options, *ours, *self.options, self.host]


def find_target(name: str, *, common_options: tuple[str, ...] = ()) -> Target | None:
    """Return the target for `name`, a site (its lab host) or a host that ssh knows, over the whole route.

    None: it is this host. `common_options`: for every ssh on the route. Raises UsageError for an invalid name.
    """
    if name not in [site for site, _ in site_names()]:
        return Target(_checked_host(name), common_options=common_options)
    route = route_of(load_site(name))
    role = host_role(route)
    if role == "lab":
        return None
    front = next_target(route, common_options=common_options)
    if role == "front" or route.kind == "proxy":
        return front
    command = f"{_inner_ssh(front)} -W %h:%p {front.host}"
    user = _user(front, route.site)
    return Target(route.lab, (*(("-l", user) if user else ()), *_proxy_options(command)), common_options)


def next_target(route: Route, *, common_options: tuple[str, ...] = ()) -> Target:
    """Return the target from a laptop to the front, or from the front to the lab host.

    If the lab host is an alias for several hosts, it is the one used last.
    """
    if host_role(route) == "front":
        paths = find_paths(route)
        return pinned_target(route, load_pin(paths) if paths else Pin(), common_options=common_options)
    target = _stanza_target(route.site, common_options) or _profile_target(route, common_options)
    return replace(target, common_options=common_options)


def pinned_target(route: Route, pin: Pin, *, common_options: tuple[str, ...] = ()) -> Target:
    """Return the target from the front to the node of `pin`; to any node if the pin is empty.

    By the node's address if the user's configuration says the same of it, else by the lab host's name.
    """
    if not pin.address or (pin.by or redial_method(route.lab, pin)) == "name":
        return Target(route.lab, common_options=common_options)
    key_alias = host_key_alias(effective_options(route.lab), route.lab)
    return Target(route.lab, address_options(pin.address, key_alias), common_options)


def run_remote(target: Target, remote: str, *, again: str) -> int:
    """Run a command on another host, in the user's terminal, and return its exit status.

    Without a terminal ssh prompts for nothing. Raises NotReachable, with `again` as the next command, if ssh exits with
    255; a remote command that exits with 255 looks the same.
    """
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    options = ["-t"] if terminal else ["-T", "-n", "-oBatchMode=yes"]
    status = run_in_terminal([*target.command(*options), remote], timeout_s=None)
    if status == 255:
        raise NotReachable(f"connection to {target.host} failed or was closed", next=again)
    return status


def pass_on(route: Route, command: str, words: Sequence[str], *, again: str, target: Target | None = None) -> int:
    """Run `gears COMMAND WORDS` on the next host, with a terminal if there is one here. Return its exit status.

    On the lab host itself it is `gears _COMMAND`, which runs there whatever names that host has. `target`: the next
    host, by default `next_target`. `again`: the command to run after a lost connection.
    """
    role = host_role(route)
    command = f"_{command}" if role == "front" or route.kind == "proxy" else command
    remote = for_login_shell(f"{next_gears(route.site, role)} {shlex.join([command, *words])}")
    return run_remote(target or next_target(route), remote, again=again)


def _checked_host(name: str) -> str:
    try:
        return str(validators.jump(name))
    except ValueError as exc:
        raise UsageError(f"neither a site nor a valid host name: {exc}", next="gears sites list") from exc


def _stanza_target(site: Site, common_options: tuple[str, ...]) -> Target | None:
    """Return the stanza's alias as a target, without its forward; None if the configuration has no stanza."""
    name = alias(site.name)
    if re.search(rf"^localforward .*/{re.escape(site.name)}\.sck$", _effective(name), re.MULTILINE):
        return Target(name, ("-oClearAllForwardings=yes", *stanza_proxy(name, common_options)))
    return None


def stanza_proxy(name: str, common_options: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return options that replace the ProxyCommand or ProxyJump of a stanza.

    They run the ssh to the jump host with the options of gears as well. Empty if the user has chosen another proxy.
    """
    jump = rf"{re.escape(re.sub('-(jupyter|login[0-9]*)$', '', name))}-login[0-9]*"
    effective = _effective(name)
    if found := re.search(rf"^proxycommand ssh -q -W %h:%p ({jump})$", effective, re.MULTILINE):
        inner = Target(found[1], stanza_proxy(found[1], common_options), common_options)
        return _proxy_options(f"{_inner_ssh(inner)} -W %h:%p {found[1]}")
    if found := re.search(rf"^proxycommand ssh ({jump}) nc %h %p$", effective, re.MULTILINE):
        inner = Target(found[1], stanza_proxy(found[1], common_options), common_options)
        return _proxy_options(f"{_inner_ssh(inner)} {found[1]} nc %h %p")
    if found := re.search(rf"^proxyjump ({jump}(?:,{jump})*)$", effective, re.MULTILINE):
        jumps = [Target(host, common_options=common_options) for host in found[1].split(",")]
        return _proxy_options(_proxy_command(jumps, nc=False))
    return ()


def _profile_target(route: Route, common_options: tuple[str, ...]) -> Target:
    site = route.site
    user = ("-l", site.front.user) if site.front.user else ()
    if not site.front.jump:
        return Target(route.front, user)
    jumps = [Target(jump, _login(jump, site.front.user), common_options) for jump in site.front.jump]
    proxy = _proxy_command(jumps, nc=site.front.proxy == "nc")
    return Target(route.front, (*user, *_proxy_options(proxy)))


def _proxy_options(command: str) -> tuple[str, ...]:
    """Return the options for a ProxyCommand that passes bytes; the user's own one could pass a descriptor."""
    return f"-oProxyCommand={command}", "-oProxyUseFdpass=no"


def _login(jump: str, user: str) -> tuple[str, ...]:
    return ("-l", user) if user and "@" not in jump else ()


def _proxy_command(jumps: list[Target], *, nc: bool) -> str:
    """Return the ProxyCommand (ssh_config(5)) through `jumps`, outermost first.

    The % of tokens that an inner ssh expands is doubled.
    """
    *before, last = jumps
    if before:
        last = replace(last, options=(*last.options, *_proxy_options(_proxy_command(before, nc=nc))))
    return f"{_inner_ssh(last)} {last.host} nc %h %p" if nc else f"{_inner_ssh(last)} -W %h:%p {last.host}"


def _inner_ssh(target: Target) -> str:
    """Return the command of an ssh run by another one, up to the host name.

    It prints errors, but not that it was terminated.
    """
    return shlex.join(target.command("-T", "-oLogLevel=ERROR")[:-1]).replace("%", "%%")


def _user(front: Target, site: Site) -> str:
    """Return the user's account on the centre's hosts, from the stanza or the profile; "": the same as here."""
    if front.host == alias(site.name) and (found := re.search(r"^user (\S+)$", _effective(front.host), re.MULTILINE)):
        return found[1]
    return site.front.user


def _effective(name: str) -> str:
    try:
        return run(["ssh", "-G", name], timeout_s=10)
    except CommandFailed as exc:
        raise CommandFailed(f"ssh's configuration: {exc.stderr.strip() or exc}", next=f"ssh -G {name}") from exc
