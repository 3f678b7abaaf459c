"""Checks of the next host: dial it once without prompts, run its doctor, and try a forward to a socket there."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from gears import __version__
from gears.doctor.finding import Finding, failed, ok, warning
from gears.doctor.report import HostReport, read_report
from gears.doctor.space import MOST_SKEW_S, first_directory, write_mark
from gears.doctor.sshd import fix_for
from gears.lab.status.model import Status
from gears.sites.context import Context
from gears.sites.load import to_json
from gears.sites.paths import RunDir
from gears.sites.profile import Site
from gears.sites.route import Route
from gears.ssh.failures import FORBIDDING, Failure, explain_failure
from gears.ssh.hop import plan_hop
from gears.ssh.pin import Pin, load_pin, may_retry_by_name, redial_options
from gears.ssh.remote_gears import remote_gears
from gears.ssh.report import BEGIN, read
from gears.system.commands import Conversation
from gears.system.installation import this_gears
from gears.system.progress import wait_for
from gears.system.unix_http import connect_unix, http_over

ALIVE = b"alive\n"
"""What the remote end answers to each connection to its socket."""


@dataclass(frozen=True, slots=True)
class Call:
    """The result of a dial. `report`: of the remote end; None if there is none, and `ended` says why.

    `forwarded`: whether its socket answered through ssh; None if that was not tried. `skew_s`: its clock minus ours.
    """

    report: HostReport | None
    ended: Failure | None
    forwarded: bool | None = None
    skew_s: float = 0.0


def examine_next(context: Context, status: Status, *, until: float) -> list[Finding]:
    """Check the connection to the lab host, and that host. Raises GearsError before it dials.

    `until`: when to give up, on the clock of time.monotonic().
    """
    paths = context.paths
    pin = load_pin(paths)
    gears = remote_gears(context.site, paths.home, this_gears())
    with _private_directory(Path(context.site.local)) as directory, _mark(paths) as mark:
        forward = f"-L {directory}/near.sck:{directory}/far.sck" if directory else ""
        hop = plan_hop(context.site, paths, forward=forward, control=f"{directory}/control")
        host = pin.host or hop.host
        remote = remote_command(gears, context.site, directory=directory, mark=mark)
        options = [*(f"-o{option}" for option in hop.options), *hop.forward.split()]

        def call_by(pin: Pin) -> Call:
            """Dial the host of `pin`, or any host if it is empty, without prompts."""
            aim, guard = redial_options(hop, pin)
            argv = ["ssh", "-T", "-oBatchMode=yes", *options, *aim, hop.host, guard + remote]
            return dial(argv, context.site, host, directory, until=until)

        call = call_by(pin)
        if call.ended and pin.address and may_retry_by_name(hop.host, call.ended):
            call = call_by(replace(pin, by="name"))
    return [
        *judge(call, context.route, host, up=status.state == "up"),
        *_judge_unseen_clock(call, status, paths, host),
    ]


def remote_command(gears: str, site: Site, *, directory: Path | None = None, mark: Path | None = None) -> str:
    """Return the command `gears _examine` for the remote host; each word is safe in any login shell."""
    words = [gears, "_examine", site.name, "--profile", urlsafe_b64encode(to_json(site).encode()).decode()]
    words += ["--directory", str(directory)] if directory else []
    return " ".join(words + (["--mark", str(mark)] if mark else []))


def dial(argv: list[str], site: Site, host: str, directory: Path | None, *, until: float) -> Call:
    """Read the remote end's report, try the forward, and end the connection."""
    forwarded = None
    with Conversation(argv) as ssh:
        report = read_report(read(ssh.read_line(BEGIN, timeout_s=until - time.monotonic())))
        now = time.time()
        if report and directory:
            forwarded = _answers(directory / "near.sck")
        status, stderr = ssh.end(timeout_s=2.0 if report else max(0.5, until - time.monotonic()))
    if report:
        return Call(report, None, forwarded, (now if report.time is None else report.time) - now)
    if status in (None, 0):  # it exits with 0 once its input is closed
        return Call(None, Failure("network", f"no answer from {host} in time", f"time ssh {host} true"))
    return Call(None, explain_failure(status, stderr, site=site.name, host=host, interactive=False))


def judge(call: Call, route: Route, host: str, *, up: bool = False) -> list[Finding]:
    """Return the remote end's own findings, and those that need both ends.

    `up`: the hop is connected already.
    """
    report = call.report
    if report is None:
        return [replace(judge_end(call.ended, route, up=up), host=host)] if call.ended else []
    host = report.host or host
    both = [
        ok("login", "without a passcode"),
        _judge_version(report.version),
        _judge_clock(call.skew_s),
        *(_judge_home(report.shared, route.site) if route.kind == "relay" else []),
        *_judge_forward(report, call.forwarded),
    ]
    return [*(replace(found, host=host) for found in both), *report.findings]


def judge_end(ended: Failure, route: Route, *, up: bool) -> Finding:
    """Return the finding for a dial that ended without a report. `up`: the hop is connected already."""
    fix = ended.next or f"gears logs {route.site.name}"
    if ended.kind == "login" and up:
        return ok("login", "requires a passcode; the hop is connected already, so this was not checked further")
    if ended.kind == "login":
        return warning("login", f"{ended.reason} in addition to the key; not checked further", fix)
    if ended.kind == "network":
        fix = f"ssh {route.lab}   (if it is down: gears lab {route.site.name} tries other hosts behind that name)"
    if ended.kind == "unknown-host" and route.role == "front":
        site = route.site.name
        fix = f"check lab.host in the profile; on your laptop: ssh {site}-jupyter   (there: gears doctor {site})"
    return failed("gears" if ended.kind == "remote" else "login", ended.reason, fix)


def _judge_version(version: str) -> Finding:
    if version == __version__:
        return ok("gears", f"{version}, the same as here")
    return warning(
        "gears", f"{version} there, {__version__} here", "git pull && make init   (on the host with the older version)"
    )


def _judge_clock(skew_s: float) -> Finding:
    if abs(skew_s) < MOST_SKEW_S:
        return ok("clock", f"differs from this host's by less than {MOST_SKEW_S} s")
    ahead = "ahead of" if skew_s > 0 else "behind"
    cause = f"{abs(skew_s):.0f} s {ahead} this host's: passcodes fail if a clock is wrong"
    return failed("clock", cause, "compare both with your phone (date -u), and report the wrong one to the centre")


def _judge_home(shared: bool | None, site: Site) -> Iterator[Finding]:
    if shared is None:  # no file could be created here to look for there
        return
    actual = "shared" if shared else "separate"
    if site.lab.home == actual:
        yield ok("home", f"{actual}, as the profile says")
        return
    cause = f"lab.home is {site.lab.home} in the profile, but the home there is {actual}"
    fix = f'in ~/.config/gears/sites/{site.name}.toml, under [lab]: home = "{actual}"; then gears lab {site.name}'
    yield (warning if shared else failed)("home", cause, fix)


def _judge_forward(report: HostReport, forwarded: bool | None) -> Iterator[Finding]:
    if forwarded or (forwarded is None and report.forbidden == ()):
        yield ok("forwarding", "sshd allows it")
    elif report.forbidden:
        forbidden = list(report.forbidden)
        yield failed("forwarding", f"sshd forbids it: {', '.join(forbidden)}", fix_for(forbidden))
    elif forwarded is False:
        fix = (
            "ask the centre to set in sshd_config, for you: AllowTcpForwarding local, AllowStreamLocalForwarding local"
        )
        yield failed("forwarding", f"sshd forbids it, by one of {FORBIDDING}", fix)


def _judge_unseen_clock(call: Call, status: Status, paths: RunDir, host: str) -> Iterator[Finding]:
    """Check the clock by the lab's HTTP header if the login failed."""
    if call.ended is not None and status.state == "up":
        from http.client import HTTPException

        with contextlib.suppress(OSError, ValueError, HTTPException):
            yield replace(_judge_clock(_lab_time(paths.link) - time.time()), host=host)


def _lab_time(path: Path) -> float:
    """Read the lab's `Date` header (RFC 9110, 6.6.1), in whole seconds since 1970.

    Raises OSError, HTTPException, or ValueError if there is no such header.
    """
    from email.utils import parsedate_to_datetime

    with connect_unix(path, 2.0) as sock:
        connection = http_over(sock)
        connection.request("GET", "/api", headers={"Connection": "close"})
        return parsedate_to_datetime(connection.getresponse().getheader("Date", "")).timestamp()


def _answers(path: Path) -> bool:
    """Return whether the remote socket answers through ssh, once ssh listens. Takes at most 4 s."""
    wait_for(path.exists, timeout_s=2.0)
    with socket.socket(socket.AF_UNIX) as trial, contextlib.suppress(OSError):
        trial.settimeout(2.0)
        trial.connect(str(path))
        return trial.recv(len(ALIVE)) == ALIVE
    return False


@contextlib.contextmanager
def _private_directory(base: Path) -> Iterator[Path | None]:
    """Create a private directory for the probe's socket; None if that fails. The remote one has the same name."""
    directory: Path | None = base / f"gears-doctor-{secrets.token_hex(6)}"
    try:
        assert directory is not None
        directory.mkdir(mode=0o700)
    except OSError:
        directory = None
    try:
        yield directory
    finally:
        if directory:
            for name in ("near.sck", "control"):
                (directory / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                os.rmdir(directory)


@contextlib.contextmanager
def _mark(paths: RunDir) -> Iterator[Path | None]:
    """Create a file in this home for the remote end to look for; None if that fails."""
    try:
        mark, _ = write_mark(first_directory(paths.run, paths.home, Path.home()))
    except OSError:
        yield None
        return
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)
