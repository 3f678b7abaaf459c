"""The places of the site as paths, for any notebook, script, job or Dask worker.

    from gears import places
    places.scratch / "run7"         # a pathlib.Path
    places["archive-team"]          # also places.archive_team

The names are those of `gears data places`. They are read from `run/SITE/places.json`, which each start of a lab, a
shell, a run or a cluster writes; the site is $GEARS_SITE, else that of $DASK_CONFIG, which workers have. Without
such a file the profile is read, by a Python that can (3.11). This module imports only the standard library, so
that any environment can import it, from Python 3.9 on, and it changes nothing.
"""

from __future__ import annotations

import json as _json  # no name here that a place could have
import os as _os
import sys as _sys
from pathlib import Path
from types import ModuleType
from typing import Any


class Places(ModuleType):
    """The class of this module: its attributes are the places. A hyphen in a name becomes `_`."""

    def __getattr__(self, name: str) -> Path:
        """Return a place. Raises AttributeError with the places that there are, or with the command to run."""
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError as exc:
            raise AttributeError(exc.args[0]) from None

    def __getitem__(self, name: str) -> Path:
        """Return a place by its name. Raises KeyError."""
        site, found = _read()
        known = {key.replace("-", "_"): key for key in found}
        key = known.get(name.replace("-", "_"))
        if key is None:
            names = ", ".join(found) or "none: no lab, shell or run of gears was started here"
            raise KeyError(f"no place {name!r}{f' at {site}' if site else ''}; places: {names}\n  next: {_list(site)}")
        return _path(site, key, found[key])

    def __dir__(self) -> list[str]:
        """Return the names of the places that are directories."""
        return [name.replace("-", "_") for name, place in _read()[1].items() if place.get("kind") == "posix"]

    def __repr__(self) -> str:
        """Return the places with their paths."""
        site, found = _read()
        lines = (f"{name}: {place.get('path') or '(project is not set)'}" for name, place in found.items())
        return "\n".join([f"places of {site or 'no site'}", *lines])


def _path(site: str, name: str, place: dict[str, Any]) -> Path:
    kind, path = place.get("kind"), place.get("path")
    if kind != "posix":
        to_read = f"gears data get {name}:NAME --to scratch --site {site}"
        raise KeyError(f"the place {name} is no directory, but {kind}\n  next: {to_read}")
    if not path:
        to_set = f'set project = "…" in ~/.config/gears/sites/{site}.toml, then: gears shell {site}'
        raise KeyError(f"the place {name} needs a project: `project` is not set\n  next: {to_set}")
    return Path(path)


def _list(site: str) -> str:
    return f"gears data places {site}" if site else "gears data places"


def _read() -> tuple[str, dict[str, dict[str, Any]]]:
    """Return the site and its places; ("", {}) where nothing is known."""
    for file in _files():
        try:
            with open(file, encoding="utf-8") as opened:
                values = _json.load(opened)
            return str(values["site"]), dict(values["places"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return _of_profile()


def _files() -> list[Path]:
    """Return where the file can be, the most likely one first."""
    site, configured = _os.environ.get("GEARS_SITE"), _os.environ.get("DASK_CONFIG", "")
    found = []
    if configured.endswith("/dask/config"):
        records = Path(configured).parent.parent
        found += [records.parent / site / "places.json"] if site else []
        found.append(records / "places.json")
    if site:
        homes = [_os.environ.get("GEARS_HOME"), str(Path(__file__).resolve().parents[1]), "~/gears"]
        found += [Path(home).expanduser() / "run" / site / "places.json" for home in homes if home]
    return found


def _of_profile() -> tuple[str, dict[str, dict[str, Any]]]:
    """Return the places of the profile; ("", {}) if it can't be read, as by a Python that is too old."""
    try:
        from gears.sites.known_places import plan_places
        from gears.sites.load import default_site, load_site
        from gears.system.host import this_host

        values = plan_places(load_site(default_site()), this_host())
    except Exception:  # noqa: BLE001  whatever the reason, the notebook is told that nothing is known
        return "", {}
    return str(values["site"]), dict(values["places"])


_sys.modules[__name__].__class__ = Places
