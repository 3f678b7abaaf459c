"""The places of a site as a file, for notebooks whose Python can't read a profile: `gears/places.py` reads it.

The profile of a lab can come from the front, so its places are not always those in the files of this home.
"""

from __future__ import annotations

from typing import Any

from gears.sites.profile import Place, Site
from gears.sites.route import matches_lab_host
from gears.system.host import Host


def plan_places(site: Site, host: Host) -> dict[str, Any]:
    """Return the values of the file: each place with `kind` and `path`, "" if the path needs a project. Pure."""
    user = host.user if matches_lab_host(site, host) else site.front.user or host.user
    places = {"home": Place("~"), **{name: place for name, place in site.filesystem.items() if place.path}}
    found = {}
    for name, place in places.items():
        path = place.filled(place.path, user=user, project=site.project)
        if place.kind == "posix" and path.startswith("~"):
            path = f"{host.home}{path[1:]}"
        found[name] = {"kind": place.kind, "path": path}
    return {"site": site.name, "places": found}
