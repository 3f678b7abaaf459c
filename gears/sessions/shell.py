"""`gears shell`: a named tmux session on a site's lab host, with gears' environment active; later, back in it.

From a laptop it is an ssh with a terminal, to the front, which goes on to the lab host in the same way. Of several
login nodes behind one name the session is on one; that is written down in the home they share.
"""

from __future__ import annotations

import os
import shlex
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from gears.dask.config_files import ensure_config
from gears.dask.settings import fixed_ports
from gears.envs.paths import place
from gears.errors import CommandFailed, UsageError
from gears.sessions.records import load_shell_host, save_shell_host
from gears.sites.locate import host_role, lab_route, locate
from gears.sites.paths import RunDir
from gears.sites.profile import Site
from gears.sites.route import Route
from gears.ssh.options import effective_options, same_configuration
from gears.ssh.pin import load_pin
from gears.ssh.target import Target, next_target, pass_on, run_remote
from gears.system import files, tmux
from gears.system.installation import gears_home, this_gears
from gears.system.progress import Progress
from gears.system.tmux import session_name

CONNECT_TIMEOUT_S = 3.0

# As a login shell starts, so that a centre's modules are there; the environment last, or another one would hide it.
BASH_RC = """\
[ -r /etc/profile ] && . /etc/profile
for gears_file in ~/.bash_profile ~/.bash_login ~/.profile ~/.bashrc; do
    [ -r "$gears_file" ] && {{ . "$gears_file"; break; }}
done
unset gears_file
. {activate}
export DASK_CONFIG={dask}
"""


@dataclass(frozen=True, slots=True)
class ShellOptions:
    """What a person wants in the session. `env`: an environment of hers, None: the one gears runs in."""

    ipython: bool = False
    env: str | None = None

    def words(self) -> list[str]:
        """Return the options as they are typed."""
        return ["--ipython"] * self.ipython + ([f"--env={self.env}"] if self.env else [])

    def kind(self) -> str:
        """Return the first part of the session's name; to tmux a point would be the end of one."""
        kind = "ipython" if self.ipython else "shell"
        return f"{kind}-{self.env.replace('.', '_')}" if self.env else kind


def enter(name: str, inside: ShellOptions, *, say: Progress) -> int:
    """Show the session in the person's terminal until she leaves it.

    Raises UsageError without a terminal, NotReachable where ssh ended.
    """
    route = locate(name)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("gears shell requires a terminal", next=f"gears run {name} -- COMMAND   (needs no terminal)")
    role = host_role(route)
    if role == "lab":
        return enter_here(route, inside, say=say)
    target = session_target(route) if role == "front" else None
    return pass_on(route, "shell", [name, *inside.words()], again=f"gears shell {name}", target=target)


def enter_on_lab_host(name: str, inside: ShellOptions, *, stay: bool, say: Progress) -> int:
    """Enter the session on the lab host, whatever names that has.

    `stay`: on this one of several, where she was sent to.
    """
    return enter_here(lab_route(locate(name).site), inside, say=say, stay=stay)


def enter_here(route: Route, inside: ShellOptions, *, say: Progress, stay: bool = False) -> int:
    """Become tmux. Returns only where the session is on another login node: the exit status there.

    Where that node can't be reached, a new session is made here, and said to be. `stay`: always here.
    """
    paths, name = open_records(route), route.site.name
    tmux.check_tmux()
    other = load_shell_host(paths) or route.here
    if other != route.here and not stay:
        if _is_reachable(other):
            remote = f"{this_gears()} {shlex.join(['_shell', name, '--stay', *inside.words()])}"
            return run_remote(Target(other), remote, again=f"gears shell {name}")
        say(f"your shell is on {other}, which is unreachable; starting a new one on {route.here}")
    save_shell_host(paths, route.here)
    kind = inside.kind()
    directory = Path(route.site.lab.directory).expanduser()
    return tmux.enter_session(session_name(kind, name), kind, directory, _command(route.site, paths, inside))


def open_records(route: Route) -> RunDir:
    """Open the site's directory for records, made if need be; nothing on local disk. Raises UnsafePath."""
    paths = RunDir(gears_home(), route.site.name, Path("/nonexistent"))
    files.ensure_private(paths.run, first_use=not (paths.run / "id").exists())
    files.ensure_private(paths.records)
    return paths


def session_target(route: Route) -> Target:
    """Find the way from the front to the login node on which the person's shell is, as far as the home tells.

    To that node where her configuration says of its name what it says of the lab host's; else as `next_target`, which
    leads to a node that goes on by itself.
    """
    paths = open_records(route)
    host = load_shell_host(paths)
    if not host or route.site.lab.home != "shared" or host == load_pin(paths).host:
        return next_target(route)
    return Target(host) if same_configuration(route.lab, host) and _is_reachable(host) else next_target(route)


def active_environment(site: Site, paths: RunDir) -> dict[str, str]:
    """Return what activates gears' environment, and lets Dask find its configuration for the site.

    That configuration is made here if need be.
    """
    ensure_config(site, paths)
    path = f"{sys.prefix}/bin:{os.environ.get('PATH', '/usr/bin:/bin')}"
    return {
        "VIRTUAL_ENV": sys.prefix,
        "PATH": path,
        "GEARS_SITE": site.name,
        "DASK_CONFIG": str(paths.dask_config),
        "GEARS_PROLOGUE": "\n".join(site.envs.prologue),
        **fixed_ports(site),
    }


def run_in(env: str | None) -> list[str]:
    """Return what stands before a command that is to run in an environment. Raises UsageError, GearsError."""
    if not env:
        return []
    from gears.envs.activate import usable

    return ["/bin/sh", usable(env)]


def _command(site: Site, paths: RunDir, inside: ShellOptions) -> list[str]:
    active = ["env", *(f"{name}={value}" for name, value in active_environment(site, paths).items())]
    active += run_in(inside.env)
    if inside.ipython:
        return [*active, "python" if inside.env else sys.executable, "-m", "IPython"]
    shell, activate = os.environ.get("SHELL") or "/bin/sh", _activate(inside.env)
    if os.path.basename(shell) != "bash" or not activate.exists():
        return [*active, shell, "-i"]
    values = {"activate": shlex.quote(str(activate)), "dask": shlex.quote(str(paths.dask_config))}
    files.write_private(paths.shell_start, BASH_RC.format(**values))
    return [*active, shell, "--rcfile", str(paths.shell_start), "-i"]


def _activate(env: str | None) -> Path:
    return place(gears_home() / "run").activate(env) if env else Path(sys.prefix, "bin/activate")


def _is_reachable(host: str) -> bool:
    try:
        port = int(effective_options(host).get("port", "22"))
        socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, CommandFailed):
        return False
    return True
