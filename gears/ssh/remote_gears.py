"""Where gears is on the next host, and how a profile is handed over to it."""

from __future__ import annotations

import base64
import os
import shlex
from pathlib import Path

from gears.errors import UsageError
from gears.sites.load import from_json, to_json
from gears.sites.locate import Place
from gears.sites.profile import Site
from gears.ssh.stanza import in_path
from gears.system.host import this_host
from gears.system.installation import gears_home, this_gears


def hand_over(site: Site) -> str:
    """Return the resolved profile in one word, as `_serve --profile` takes it."""
    return base64.urlsafe_b64encode(to_json(site).encode()).decode()


def remote_gears(site: Site, home: Path, executable: str) -> str:
    """Return the command for gears on the lab host.

    It is under the profile's `lab.root`, else at the same path as here (`executable`). A leading ~ is left to the
    remote shell.
    """
    if site.lab.root:
        return f"{site.lab.root}/.venv/bin/gears"
    given = f"env GEARS_HOME={shlex.quote(str(home))} " if os.environ.get("GEARS_HOME") else ""
    return f"{given}{shlex.quote(executable)}"


def next_gears(site: Site, place: Place) -> str:
    """Return the command for gears on the next host, as a word for its shell, which sees to a leading ~."""
    if place != "laptop":
        return remote_gears(site, gears_home(), this_gears())
    return f"{front_root(site, site.front.user or this_host().user)}/.venv/bin/gears"


def front_root(site: Site, user: str) -> str:
    """Return where gears is on the front; a leading ~ is left to the shell there. `user`: the person's name there."""
    own = site.lab.root if site.front.host in (None, site.lab.host) else None
    return (site.front.root or own or "~/gears").replace("{user}", in_path(user))


def assumed_root(site: Site, user: str) -> str:
    """Tell where gears is on the front, as far as can be told from elsewhere; `~` is taken for /home/USER."""
    root = front_root(site, user)
    return f"/home/{in_path(user)}{root[1:]}" if root.startswith("~") else root


def read_profile(word: str) -> Site:
    """Read the profile that the front handed over (`hop.remote_command`). UsageError where it can't be read."""
    try:
        return from_json(base64.urlsafe_b64decode(word).decode())
    except ValueError as exc:
        raise UsageError(f"_serve: the profile can't be read: {exc}") from exc
