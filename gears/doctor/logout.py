"""Check whether tmux survives the last logout: systemd-logind's KillUserProcesses, lingering, and the loop's cgroup.

Lingering alone does not help: what was started in a login session ends with it. Only what the user's own manager runs
stays (logind.conf(5), KillUserProcesses).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from gears.doctor.finding import Finding, failed, ok
from gears.sites.context import Context
from gears.sites.paths import RunDir
from gears.system import processes
from gears.system.host import this_host

CONFIGURATION = ("/usr/lib/systemd", "/run/systemd", "/etc/systemd")
LINGER = Path("/var/lib/systemd/linger")
YES = ("yes", "true", "1", "on", "y", "t")


def check_logout(context: Context) -> Iterator[Finding]:
    """Check whether systemd-logind ends the user's processes at the last logout."""
    user = this_host().user
    if not is_killed(_settings(), user):
        yield ok("logout", "your processes survive logout (KillUserProcesses)")
    elif (LINGER / user).exists() and _in_user_manager(context.paths):
        yield ok("logout", "KillUserProcesses=yes, but gears runs under your lingering user manager")
    else:
        fix = f"loginctl enable-linger && systemd-run --user --scope gears lab {context.site.name}"
        yield failed(
            "logout", "systemd-logind ends all your processes at logout, including tmux: KillUserProcesses=yes", fix
        )


def is_killed(settings: dict[str, str], user: str) -> bool:
    """Return whether these settings of logind.conf(5) end a user's processes at logout."""
    if settings.get("KillUserProcesses", "no").lower() not in YES:
        return False
    only = settings.get("KillOnlyUsers", "").split()
    excluded = settings.get("KillExcludeUsers", "root").split()
    return user not in excluded and (not only or user in only)


def _settings() -> dict[str, str]:
    """Read logind's settings as systemd merges them.

    The main file comes first, then all drop-ins in the order of their names; later ones win. The comments in the main
    file as shipped show the built-in defaults.
    """
    drop_ins: dict[str, Path] = {}
    for directory in CONFIGURATION:
        drop_ins |= {file.name: file for file in Path(directory, "logind.conf.d").glob("*.conf")}
    main = [file for directory in CONFIGURATION if (file := Path(directory, "logind.conf")).is_file()][-1:]
    settings = {name: value for file in main for name, value in _read(file, comments=True).items()}
    for file in [*main, *(drop_ins[name] for name in sorted(drop_ins))]:
        settings |= _read(file)
    return settings


def _read(file: Path, *, comments: bool = False) -> dict[str, str]:
    """Read the settings of a file, or those in its comments; {} if it can't be read."""
    try:
        text = file.read_text(errors="replace")
    except OSError:
        return {}
    mark = "#" if comments else ""
    return dict(re.findall(rf"^{mark}[ \t]*(\w+)[ \t]*=[ \t]*(.*?)[ \t]*$", text, re.MULTILINE))


def _in_user_manager(paths: RunDir) -> bool:
    loop = processes.read(paths.loop)
    if not loop or not loop.alive():
        return False
    try:
        return "/user@" in Path(f"/proc/{loop.pid}/cgroup").read_text()
    except OSError:
        return False
