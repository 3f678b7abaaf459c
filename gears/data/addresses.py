"""Addresses of data: `PLACE:PATH`, a place alone, or a path of this host.

A text is the path of a file if it contains a slash before its first colon, or no colon and is not the name of a place;
so `./archive` is a directory of this host, and `archive` the place.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from gears.data.places import declared
from gears.errors import UsageError
from gears.sites.profile import Place, Site
from gears.sites.route import matches_lab_host
from gears.system.host import Host


@dataclass(frozen=True, slots=True)
class Address:
    """Where data is. `place`: its name, "" for a path of this host. `path`: relative to the place, else absolute."""

    place: str
    path: str

    def __str__(self) -> str:
        return f"{self.place}:{self.path}" if self.place else self.path

    def join(self, name: str) -> Address:
        """Return the address of `name` in this directory."""
        return Address(self.place, os.path.join(self.path, name))


def parse(text: str, site: Site) -> Address:
    """Convert what a user types. Raises UsageError for a place that the site does not have, and a path out of it."""
    name, colon, path = text.partition(":")
    places = declared(site)
    if "/" in name or not (colon or name in places):
        return Address("", os.path.abspath(os.path.expanduser(text)))
    if name not in places:
        known = ", ".join(places)
        raise UsageError(f"{text}: no place {name!r}; places: {known}", next=f"gears data places {site.name}")
    clean = os.path.normpath(path) if path else ""
    if clean.startswith(("/", "..")):
        raise UsageError(f"{text}: the path leads out of the place", next=f"gears data places {site.name}")
    return Address(name, "" if clean == "." else clean)


def place_of(address: Address, site: Site) -> Place:
    """Return the place of an address; for a path of this host, a directory that nobody shares."""
    return declared(site)[address.place] if address.place else Place("/")


def full_path(address: Address, site: Site, host: Host) -> str:
    """Return the path of an address on the hosts that mount it, or in the program that reaches it.

    Raises UsageError if the place's path needs a project, and the profile has none.
    """
    if not address.place:
        return address.path
    place = place_of(address, site)
    user = host.user if matches_lab_host(site, host) else site.front.user or host.user
    root = place.filled(place.path, user=user, project=site.project)
    if not root:
        to_set = f'set project = "…" in ~/.config/gears/sites/{site.name}.toml'
        raise UsageError(f"the place {address.place} needs a project: `project` is not set", next=to_set)
    if place.kind == "posix" and root.startswith("~"):
        root = f"{host.home}{root[1:]}"
    return os.path.join(root, address.path) if address.path else root
