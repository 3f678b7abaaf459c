"""`gears open` from start to end: checks first, cleanup last."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from gears.errors import CommandFailed, GearsError, Interrupted, UsageError
from gears.lab.start import bring_up
from gears.lab.status.model import State
from gears.lab.status.status import with_token
from gears.laptop.open import desktop
from gears.laptop.open.desktop import Desk
from gears.laptop.open.dial import choose_user, end_command
from gears.laptop.open.port import RETURN_S, LaptopPort
from gears.laptop.open.session import Session
from gears.laptop.open.waiting_page import plan_page
from gears.sites import directories
from gears.sites.paths import RunDir
from gears.sites.route import Route
from gears.system import files, records
from gears.system.commands import find_program, run
from gears.system.host import is_this_host, this_host
from gears.system.installation import gears_home


@dataclass(frozen=True, slots=True)
class Opened:
    """The port of the `gears open` that runs, as on disk (`RunDir.opened`)."""

    port: int


def open_site(route: Route, desk: Desk, *, port: int, user: str | None, words: Sequence[str]) -> None:
    """Open a site in the browser and keep the connection up, until interrupted. Raises GearsError.

    If another `gears open` of the site is running on this machine, open its address.
    """
    check_laptop(route)
    find_program("ssh")
    paths = directories.open_laptop(gears_home(), route.site.name, this_host().user)
    if (lock := files.try_lock(paths.open_lock)) is None:
        return _open_again(paths, desk)
    try:
        with _until_ended(route, desk):
            user = choose_user(route, user)
            stale = end_stale(paths)
            first = plan_page(route, State.CONNECTING, None, desk.again)
            laptop_port = LaptopPort(port, first, desk.again, patient_s=RETURN_S if stale else 0.0)
            try:
                records.save(paths.opened, Opened(port))
                Session(route, paths, laptop_port, desk, user=user, words=words).run()
            finally:
                laptop_port.close()
    finally:
        _clear(paths)
        os.close(lock)


def open_local(route: Route, desk: Desk) -> None:
    """Open the lab of this machine, without a connection. Raises the errors of `bring_up`."""
    found = bring_up(route, say=desk.say)
    address = with_token(route.site.name, found.url or "", password=bool(found.lab and found.lab.has_password))
    desk.show(f"JupyterLab is up on this machine.\n  open     {address}")
    if desk.browser:
        paths = directories.open_laptop(gears_home(), route.site.name, this_host().user)
        desktop.write_page(paths.open_page, address)
        desktop.open_browser(paths.open_page.as_uri())


def check_laptop(route: Route) -> None:
    """Raise UsageError if this is the site's front or lab host, which has no browser."""
    if route.role == "lab" or is_this_host(route.front, this_host()):
        site = route.site.name
        raise UsageError(f"this is a host of {site}; run `gears open` on your laptop", next=f"gears lab {site}")


def end_stale(paths: RunDir) -> bool:
    """End every ssh that a killed `gears open` left running. Return whether there was any.

    The caller holds the lock.
    """
    stale = sorted(paths.local.glob(f"{paths.site}.open.*.ctl"))
    for control in stale:
        with contextlib.suppress(CommandFailed):
            run(end_command(str(control)), timeout_s=5)
        control.unlink(missing_ok=True)
    return bool(stale)


def _open_again(paths: RunDir, desk: Desk) -> None:
    opened = records.load(Opened, paths.opened)
    if opened is None:
        raise GearsError(f"another `{desk.again}` is starting or ending", next=desk.again)
    address = f"http://localhost:{opened.port}/lab"
    desk.show(f"already open, by another `{desk.again}` on this machine: {address}")
    page = paths.open_page
    if desk.browser and not desktop.open_browser(page.as_uri() if page.exists() else address):
        desk.say("no browser found: open the address yourself")


@contextmanager
def _until_ended(route: Route, desk: Desk) -> Iterator[None]:
    """Raise Interrupted at SIGINT, SIGHUP and SIGTERM. Ignore further signals, so that the cleanup is complete."""

    endings = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)

    def interrupt(*_: object) -> None:
        """Raise KeyboardInterrupt for the first of these signals, and ignore those that follow."""
        for number in endings:
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the cleanup
        raise KeyboardInterrupt

    for number in endings:
        signal.signal(number, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        message = f"connection closed; a running lab of {route.site.name} keeps running"
        raise Interrupted(message, next=desk.again) from None


def _clear(paths: RunDir) -> None:
    for file in (paths.opened, paths.open_page, paths.open_config, paths.open_lock):
        file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        paths.local.rmdir()
