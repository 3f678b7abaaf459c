"""`gears shell`: a named tmux session on a site's lab host, with gears' environment active, to return to later.

From a laptop it is an ssh with a terminal to the front, which connects to the lab host in the same way. If the lab host
is an alias for several login nodes, the shared home records which of them has the session.
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
from gears.ssh.login_shell import for_login_shell
from gears.ssh.options import effective_options, same_configuration
from gears.ssh.pin import load_pin
from gears.ssh.remote_gears import remote_gears
from gears.ssh.target import Target, next_target, pass_on, run_remote
from gears.system import files, tmux
from gears.system.installation import gears_home, this_gears
from gears.system.progress import Progress
from gears.system.tmux import session_name

CONNECT_TIMEOUT_S = 3.0

# Like a login shell, for the centre's modules; the environment comes last, so that no other one hides it.
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
    """What runs in the session. `env`: an environment of the user; None: the one of gears."""

    ipython: bool = False
    env: str | None = None

    def words(self) -> list[str]:
        """Return the options of the command line."""
        return ["--ipython"] * self.ipython + ([f"--env={self.env}"] if self.env else [])

    def kind(self) -> str:
        """Return the first part of the session's name, without dots, which tmux does not allow."""
        kind = "ipython" if self.ipython else "shell"
        return f"{kind}-{self.env.replace('.', '_')}" if self.env else kind


def enter(name: str, options: ShellOptions, *, say: Progress) -> int:
    """Attach the user's terminal to the session, and return the exit status.

    Raises UsageError without a terminal, NotReachable if ssh fails.
    """
    route = locate(name)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("gears shell requires a terminal", next=f"gears run {name} -- COMMAND   (needs no terminal)")
    role = host_role(route)
    if role == "lab":
        return enter_on_this_host(route, options, say=say)
    target = session_target(route) if role == "front" else None
    return pass_on(route, "shell", [name, *options.words()], again=f"gears shell {name}", target=target)


def enter_on_lab_host(name: str, options: ShellOptions, *, stay: bool, say: Progress) -> int:
    """Enter the session on this host, the lab host, whatever its names are.

    `stay`: on this one of several login nodes.
    """
    return enter_on_this_host(lab_route(locate(name).site), options, say=say, stay=stay)


def enter_on_this_host(route: Route, options: ShellOptions, *, say: Progress, stay: bool = False) -> int:
    """Replace this process by tmux. Returns only if the session is on another login node: the exit status there.

    If that node is unreachable, reports so and creates a new session here. `stay`: always use this host.
    """
    paths, name = open_records(route), route.site.name
    tmux.check_tmux()
    other = load_shell_host(paths) or route.here
    if other != route.here and not stay:
        if _is_reachable(other):
            gears = remote_gears(route.site, gears_home(), this_gears())
            remote = for_login_shell(f"{gears} {shlex.join(['_shell', name, '--stay', *options.words()])}")
            return run_remote(Target(other), remote, again=f"gears shell {name}")
        say(f"your shell is on {other}, which is unreachable; starting a new one on {route.here}")
    save_shell_host(paths, route.here)
    kind = options.kind()
    directory = Path(route.site.lab.directory).expanduser()
    return tmux.enter_session(session_name(kind, name), kind, directory, _command(route.site, paths, options))


def open_records(route: Route) -> RunDir:
    """Create and check the site's directory for records; nothing on local disk. Raises UnsafePath."""
    paths = RunDir(gears_home(), route.site.name, Path("/nonexistent"))
    files.ensure_private(paths.run, first_use=not (paths.run / "id").exists())
    files.ensure_private(paths.records)
    return paths


def session_target(route: Route) -> Target:
    """Return the target from the front to the login node that has the session.

    If that is unknown, unreachable or configured differently from the lab host's name, it is `next_target`: gears there
    connects to the right node.
    """
    paths = open_records(route)
    host = load_shell_host(paths)
    if not host or route.site.lab.home != "shared" or host == load_pin(paths).host:
        return next_target(route)
    return Target(host) if same_configuration(route.lab, host) and _is_reachable(host) else next_target(route)


def active_environment(site: Site, paths: RunDir) -> dict[str, str]:
    """Return the variables that activate gears' environment, and Dask's configuration for the site.

    Creates that configuration if necessary.
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
    """Return the command prefix that activates an environment. Raises UsageError, GearsError."""
    if not env:
        return []
    from gears.envs.activate import usable

    return ["/bin/sh", usable(env)]


def _command(site: Site, paths: RunDir, options: ShellOptions) -> list[str]:
    active = ["env", *(f"{name}={value}" for name, value in active_environment(site, paths).items())]
    active += run_in(options.env)
    if options.ipython:
        return [*active, "python" if options.env else sys.executable, "-m", "IPython"]
    shell, activate = os.environ.get("SHELL") or "/bin/sh", _activate(options.env)
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
