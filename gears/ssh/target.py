"""How a person's own ssh gets from this host to a site, or to any host that ssh knows: for what a person types.

On a laptop the stanza is taken where it is in ~/.ssh/config, with whatever the person has changed there; else what it
would say. Where that configuration shares connections (ControlMaster), these share them too; nothing depends on it.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gears.errors import CommandFailed, NotReachable, UsageError
from gears.sites import validators
from gears.sites.load import load_site, site_names
from gears.sites.locate import find_paths, place_of, route_of
from gears.sites.profile import Site
from gears.sites.route import Route
from gears.ssh.options import by_address, effective_options, known_as, ssh_options
from gears.ssh.pin import Pin, load_pin, reached_by
from gears.ssh.remote_gears import next_gears
from gears.ssh.stanza import alias
from gears.system.commands import run, run_in_terminal

SHARED = ("ControlMaster", "ControlPath", "RequestTTY", "EscapeChar")
"""Options of a hop that are left to the person's own configuration, or to the command, here."""


@dataclass(frozen=True, slots=True)
class Target:
    """What stands on ssh's command line before the remote command. `host` may be an alias of the stanza. `words`: for
    every ssh on the way."""

    host: str
    options: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    def command(self, *more: str) -> list[str]:
        """Return the command line of ssh, with `more` options, up to the host's name."""
        ours = [f"-o{option}" for option in ssh_options() if not option.startswith(SHARED)]
        return ["ssh", *more, *self.words, *ours, *self.options, self.host]


def find_target(name: str, *, words: tuple[str, ...] = ()) -> Target | None:
    """Find the whole way to `name`, a site's lab host or a host that ssh knows, in one ssh. None: it is this host.

    `words`: options for every ssh on the way. Raises UsageError for a name that can be neither.
    """
    if name not in [known for known, _ in site_names()]:
        return Target(_checked_host(name), words=words)
    route = route_of(load_site(name))
    place = place_of(route)
    if place == "lab":
        return None
    front = next_target(route, words=words)
    if place == "front" or route.kind == "proxy":
        return front
    through = f"{_inner(front)} -W %h:%p {front.host}"
    user = _user(front, route.site)
    return Target(route.lab, (*(("-l", user) if user else ()), *_through(through)), words)


def next_target(route: Route, *, words: tuple[str, ...] = ()) -> Target:
    """Find the way from a laptop to the front, or from the front to the lab host.

    Of several lab hosts behind one name it leads to the one that was used last.
    """
    if place_of(route) == "front":
        paths = find_paths(route)
        return target_of_pin(route, load_pin(paths) if paths else Pin(), words=words)
    return replace(_by_stanza(route.site, words) or _by_profile(route, words), words=words)


def target_of_pin(route: Route, pin: Pin, *, words: tuple[str, ...] = ()) -> Target:
    """Find the way from the front to the node of `pin`; to any, where it is empty.

    By the lab host's name, to which the person's configuration applies; by the node's address, where it says the same
    of that.
    """
    if not pin.address or (pin.by or reached_by(route.lab, pin)) == "name":
        return Target(route.lab, words=words)
    alias = known_as(effective_options(route.lab), route.lab)
    return Target(route.lab, by_address(pin.address, alias), words)


def run_remote(target: Target, remote: str, *, again: str) -> int:
    """Run a command on another host, in the person's terminal, and return its exit status.

    Without a terminal it asks nothing. Raises NotReachable where ssh ended; a command that exits with 255 looks the
    same.
    """
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    words = ["-t"] if terminal else ["-T", "-n", "-oBatchMode=yes"]
    status = run_in_terminal([*target.command(*words), remote], timeout_s=None)
    if status == 255:
        raise NotReachable(f"the connection to {target.host} ended, or none came about", next=again)
    return status


def pass_on(route: Route, command: str, words: Sequence[str], *, again: str, target: Target | None = None) -> int:
    """Let the next host carry out `gears COMMAND WORDS`, with a terminal if there is one here. Return its exit status.

    The lab host itself is told `_COMMAND`: to do it there, whatever names that host has. `target`: how the next host is
    reached, else `next_target`. `again`: what to type where ssh ended.
    """
    place = place_of(route)
    command = f"_{command}" if place == "front" or route.kind == "proxy" else command
    remote = f"{next_gears(route.site, place)} {shlex.join([command, *words])}"
    return run_remote(target or next_target(route), remote, again=again)


def _checked_host(name: str) -> str:
    try:
        return str(validators.jump(name))
    except ValueError as exc:
        raise UsageError(f"neither a site nor a host: {exc}", next="gears sites list") from exc


def _by_stanza(site: Site, words: tuple[str, ...]) -> Target | None:
    """Take the stanza in the person's configuration, without its forward; None where it is not there."""
    name = alias(site.name)
    if re.search(rf"^localforward .*/{re.escape(site.name)}\.sck$", _effective(name), re.MULTILINE):
        return Target(name, ("-oClearAllForwardings=yes", *own_proxy(name, words)))
    return None


def own_proxy(name: str, words: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return options in place of the ProxyCommand or ProxyJump of a stanza's block.

    With the ssh to its jump host, too, nothing of the person's rides along. Empty where it is another one, which she
    chose.
    """
    jump = rf"{re.escape(re.sub('-(jupyter|login[0-9]*)$', '', name))}-login[0-9]*"
    effective = _effective(name)
    if found := re.search(rf"^proxycommand ssh -q -W %h:%p ({jump})$", effective, re.MULTILINE):
        return _through(f"{_inner(Target(found[1], own_proxy(found[1], words), words))} -W %h:%p {found[1]}")
    if found := re.search(rf"^proxycommand ssh ({jump}) nc %h %p$", effective, re.MULTILINE):
        return _through(f"{_inner(Target(found[1], own_proxy(found[1], words), words))} {found[1]} nc %h %p")
    if found := re.search(rf"^proxyjump ({jump}(?:,{jump})*)$", effective, re.MULTILINE):
        return _through(_proxy_command([Target(host, words=words) for host in found[1].split(",")], nc=False))
    return ()


def _by_profile(route: Route, words: tuple[str, ...]) -> Target:
    site = route.site
    user = ("-l", site.front.user) if site.front.user else ()
    if not site.front.jump:
        return Target(route.front, user)
    jumps = [Target(jump, _login(jump, site.front.user), words) for jump in site.front.jump]
    proxy = _proxy_command(jumps, nc=site.front.proxy == "nc")
    return Target(route.front, (*user, *_through(proxy)))


def _through(command: str) -> tuple[str, ...]:
    """Return the options by which `command` passes bytes on; one of the person's own may pass a descriptor."""
    return f"-oProxyCommand={command}", "-oProxyUseFdpass=no"


def _login(jump: str, user: str) -> tuple[str, ...]:
    return ("-l", user) if user and "@" not in jump else ()


def _proxy_command(jumps: list[Target], *, nc: bool) -> str:
    """Write the ProxyCommand of ssh_config(5) through `jumps`, outermost first.

    What an inner ssh expands has its % doubled.
    """
    *before, last = jumps
    if before:
        last = replace(last, options=(*last.options, *_through(_proxy_command(before, nc=nc))))
    return f"{_inner(last)} {last.host} nc %h %p" if nc else f"{_inner(last)} -W %h:%p {last.host}"


def _inner(target: Target) -> str:
    """Write the ssh that another one runs, up to the host's name: it says what is wrong, but not that it was ended."""
    return shlex.join(target.command("-T", "-oLogLevel=ERROR")[:-1]).replace("%", "%%")


def _user(front: Target, site: Site) -> str:
    """Find the person's name on the centre's hosts, as the stanza or the profile has it."""
    if front.host == alias(site.name) and (found := re.search(r"^user (\S+)$", _effective(front.host), re.MULTILINE)):
        return found[1]
    return site.front.user


def _effective(name: str) -> str:
    try:
        return run(["ssh", "-G", name], timeout_s=10)
    except CommandFailed as exc:
        raise CommandFailed(f"ssh's configuration: {exc.stderr.strip() or exc}", next=f"ssh -G {name}") from exc
