"""Checks on the laptop: stanza, port, jump hosts; for a relay also the findings of its front."""

from __future__ import annotations

import http.client
import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

from gears.doctor.finding import Finding, failed, ok, read_findings, warning
from gears.doctor.remote_host import dial, judge, judge_end, remote_command
from gears.sites.route import Route
from gears.ssh.failures import Failure, explain_failure
from gears.ssh.options import ssh_options
from gears.ssh.remote_gears import assumed_root, next_gears
from gears.ssh.stanza import alias
from gears.ssh.target import stanza_proxy
from gears.system.commands import Conversation, run
from gears.system.host import this_host
from gears.system.ports import port_is_free

FRONT_S = 16.0
"""For the front's doctor, which takes 14 s if something hangs."""


def examine_laptop(route: Route, *, until: float) -> Iterator[Finding]:
    """Check the connection from the laptop, with the stanza's jump hosts and options. Raises GearsError."""
    name = alias(route.site.name)
    effective = run(["ssh", "-G", name], timeout_s=3)
    forward = re.search(r"^localforward (?:\S*:)?\[?(\d+)\]? (\S+)$", effective, re.MULTILINE)
    if not forward:
        fix = f"gears ssh-config {route.site.name} --write"
        yield failed("stanza", f"~/.ssh/config has no `Host {name}` with a LocalForward", fix)
        return
    yield ok("stanza", f"`ssh {name}` forwards port {forward[1]} to {forward[2]}")
    yield _check_port(int(forward[1]), route)
    if route.kind == "relay":
        yield from _ask_front(name, route)
    else:
        yield from _examine_through(name, route, effective, until=until)


def _check_port(port: int, route: Route) -> Finding:
    """Check what answers at the laptop's port: the lab or the waiting page through ssh, nothing, or another program."""
    site = route.site.name
    if port_is_free(port):
        return ok("port", f"{port} is free for `ssh {alias(site)}`")
    status = _ask(port)
    if status in (200, 503):
        return ok("port", f"{port} leads to {'a lab' if status == 200 else 'the waiting page'}")
    cause = f"port {port} is in use by something other than `ssh {alias(site)}`"
    show = f"lsof -nP -iTCP:{port} -sTCP:LISTEN" if sys.platform == "darwin" else f"ss -ltnp 'sport = :{port}'"
    return warning("port", cause, f"{show}   (or: gears ssh-config {site} --port N --write)")


def _ask(port: int) -> int | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2.0)
    try:
        connection.request("GET", "/api", headers={"Accept": "application/json", "Connection": "close"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _examine_through(name: str, route: Route, effective: str, *, until: float) -> Iterator[Finding]:
    """Check over one session without forwards: the stanza's port may be in use."""
    user = route.site.front.user or this_host().user
    remote = remote_command(f"{assumed_root(route.site, user)}/.venv/bin/gears", route.site)
    words = [*_ours(), *stanza_proxy(name)]
    call = dial(["ssh", "-T", "-oBatchMode=yes", *words, name, remote], route.site, route.front, None, until=until)
    if call.ended and call.ended.kind == "network":
        yield from _check_jump(route, effective, timeout_s=until - time.monotonic())
    yield from judge(call, route, route.front)


def _ask_front(name: str, route: Route) -> Iterator[Finding]:
    """Ask the front's own doctor, which checks the front and the hop behind it."""
    site = route.site.name
    gears = next_gears(route.site, "laptop")
    argv = ["ssh", "-T", "-oBatchMode=yes", *_ours(), *stanza_proxy(name), name]
    with Conversation([*argv, f"{gears} doctor {site} --json"]) as ssh:
        line = ssh.read_line("[", timeout_s=FRONT_S)
        status, stderr = ssh.end(timeout_s=2.0 if line else 0.5)
    if line:
        yield replace(ok("login", f"`ssh {name}` logs in without a passcode"), host=route.front)
        yield from read_findings(json.loads(line))
        return
    ended = Failure("network", f"no answer from {route.front} in time", f"ssh -v {name}")
    if status is not None:
        ended = explain_failure(status, stderr, site=site, host=route.front, interactive=False)
    yield replace(judge_end(ended, replace(route, role="elsewhere"), up=False), host=route.front)


def _ours() -> list[str]:
    return [f"-o{option}" for option in ssh_options()]


def _check_jump(route: Route, effective: str, *, timeout_s: float) -> Iterator[Finding]:
    """Ask the last jump host again why it refused: the stanza suppresses its messages (`ssh -q`)."""
    settings = dict(line.split(" ", 1) for line in effective.splitlines() if " " in line)
    through = settings.get("proxycommand") or settings.get("proxyjump", "")
    jump = re.search(r"(?:^ssh -q -W \S+ |^|,)([^\s,]+)$", through)
    if not jump or timeout_s <= 0:
        return
    target = f"{settings['hostname']}:{settings['port']}"
    with Conversation(["ssh", "-oBatchMode=yes", *_ours(), "-W", target, jump[1]]) as ssh:
        _, stderr = ssh.end(timeout_s=timeout_s)
    if "administratively prohibited" in stderr:
        cause = f"it forbids forwarding to {target} (AllowTcpForwarding, PermitOpen or DisableForwarding)"
        fix = f'in ~/.config/gears/sites/{route.site.name}.toml, under [front]: proxy = "nc"; gears ssh-config --write'
        yield replace(failed("jump host", cause, fix), host=jump[1])
