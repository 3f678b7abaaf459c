"""The gears command on the next host, and the encoding of a profile for its command line."""

from __future__ import annotations

import base64
import os
import shlex
from pathlib import Path

from gears.errors import UsageError
from gears.sites.load import from_json, to_json
from gears.sites.locate import HostRole
from gears.sites.paths import RunDir
from gears.sites.profile import Site
from gears.ssh.stanza import in_path
from gears.system.host import this_host
from gears.system.installation import gears_home, this_gears


def encode_profile(site: Site) -> str:
    """Encode the resolved profile in one word, for `_serve --profile`."""
    return base64.urlsafe_b64encode(to_json(site).encode()).decode()


def remote_gears(site: Site, home: Path, executable: str) -> str:
    """Return the gears command on the lab host: under the profile's `lab.root`, else at `executable`, its path here.

    The remote shell expands a leading ~.
    """
    if site.lab.root:
        return f"{site.lab.root}/.venv/bin/gears"
    prefix = f"env GEARS_HOME={shlex.quote(str(home))} " if os.environ.get("GEARS_HOME") else ""
    return f"{prefix}{shlex.quote(executable)}"


def serve_command(site: Site, paths: RunDir, *, job: bool = False) -> str:
    """Return the command of a hop, which the lab host runs.

    It includes the resolved profile if the lab host does not share this home, and always with a job, since the command
    line can override the profile. Every word is safe in any login shell. None is secret: all users of a host can read
    the arguments of its processes.
    """
    gears = remote_gears(site, paths.home, this_gears())
    command = f"{gears} _serve {site.name} --local {paths.local} --dir {site.lab.directory}"
    if site.envs.default:
        command += f" --env {site.envs.default}"
    if job:
        return f"{command} --job --profile {encode_profile(site)}"
    return command if site.lab.home == "shared" else f"{command} --profile {encode_profile(site)}"


def next_gears(site: Site, role: HostRole) -> str:
    """Return the gears command on the next host, as a word for its shell, which expands a leading ~."""
    if role != "laptop":
        return remote_gears(site, gears_home(), this_gears())
    return f"{front_root(site, site.front.user or this_host().user)}/.venv/bin/gears"


def front_root(site: Site, user: str) -> str:
    """Return the directory of gears on the front; its shell expands a leading ~. `user`: the account there."""
    own = site.lab.root if site.front.host in (None, site.lab.host) else None
    return (site.front.root or own or "~/gears").replace("{user}", in_path(user))


def assumed_root(site: Site, user: str) -> str:
    """Return the likely directory of gears on the front, as seen from elsewhere. Assumes that `~` is /home/USER."""
    root = front_root(site, user)
    return f"/home/{in_path(user)}{root[1:]}" if root.startswith("~") else root


def decode_profile(word: str) -> Site:
    """Decode the profile that the front passed (`serve_command`). Raises UsageError if it is invalid."""
    try:
        return from_json(base64.urlsafe_b64decode(word).decode())
    except ValueError as exc:
        raise UsageError(f"_serve: invalid profile: {exc}") from exc
