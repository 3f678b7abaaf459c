"""Load profiles: read the files of a site, merge them key by key, and check the result."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gears.errors import ProfileError, UsageError
from gears.sites import validators
from gears.sites.profile import (
    CHECKS,
    OPEN_SECTIONS,
    PLACE_CHECKS,
    PLACES,
    SECTIONS,
    Carry,
    Envs,
    Front,
    Lab,
    Laptop,
    Place,
    Scheduler,
    Site,
    Transfer,
    items,
    split,
)

BUILT_IN = Path(__file__).parent / "profiles"

SYSTEM = Path("/etc/gears/sites")

Environ = Mapping[str, str]

Settings = dict[str, tuple[object, str]]  # "lab.host" → its value, and the file that sets it


def load_site(name: str, *, environ: Environ = os.environ) -> Site:
    """Load the profile `name`. Raises UsageError if there is none, ProfileError if one of its files is invalid."""
    check_name(name)
    settings: Settings = {}
    files = [file for directory in _directories(environ) if (file := directory / f"{name}.toml").is_file()]
    if not files:
        raise _unknown(name, environ)
    for file in files:
        settings |= _settings(_read_toml(file), str(file))
    return _site(name, settings)


def site_names(*, environ: Environ = os.environ) -> list[tuple[str, str]]:
    """List all site names in alphabetical order, each with the sources of its profile, last file first."""
    found: dict[str, list[str]] = {}
    for directory in _directories(environ):
        for file in directory.glob("*.toml"):
            if re.fullmatch(validators.SITE_NAME, file.stem):
                found.setdefault(file.stem, []).insert(0, "built in" if directory == BUILT_IN else str(file))
    return [(name, ", ".join(sources)) for name, sources in sorted(found.items())]


def default_site(environ: Environ = os.environ) -> str:
    """Return `$GEARS_SITE`, else `site` in ~/.config/gears/config.toml, else "local".

    Raises UsageError, ProfileError.
    """
    if name := environ.get("GEARS_SITE"):
        return check_name(name)
    file = own_directory(environ) / "config.toml"
    name = _read_toml(file).get("site", "local") if file.is_file() else "local"
    return str(_checked("site", name, str(file), validators.site_name))


def check_name(name: str) -> str:
    """Return the name if it is a valid site name (`validators.site_name`). Raises UsageError."""
    try:
        return str(validators.site_name(name))
    except ValueError as exc:
        raise UsageError(str(exc), next="gears sites list") from exc


def to_json(site: Site) -> str:
    """Serialize the effective profile in one line, for gears on another host (`from_json`)."""
    import json

    return json.dumps({"name": site.name} | _nested(site))


def from_json(line: str) -> Site:
    """Parse the site in `line`, with the same checks as for a file. Raises ProfileError."""
    import json

    origin = "profile from the front"
    try:
        tables = json.loads(line)
    except ValueError as exc:
        raise ProfileError(origin, "line 1", str(exc)) from exc
    if not isinstance(tables, dict):
        raise ProfileError(origin, "line 1", "must be a table")
    name = _checked("name", tables.pop("name", None), origin, validators.site_name)
    return _site(name, _settings(tables, origin))


def _nested(site: Site) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    for key, value in items(site):
        section, name = split(key)
        if value is not None:
            table = tables
            for part in section.split(".") if section else ():
                table = table.setdefault(part, {})
            table[name] = value
    return tables


def _directories(environ: Environ) -> tuple[Path, Path, Path]:
    return BUILT_IN, SYSTEM, own_directory(environ) / "sites"


def own_directory(environ: Environ) -> Path:
    """Return the user's configuration directory: ~/.config/gears."""
    return Path(environ.get("HOME") or Path.home()) / ".config" / "gears"


def _unknown(name: str, environ: Environ) -> UsageError:
    known = [site for site, _ in site_names(environ=environ)]
    hint = _did_you_mean(name, known)
    return UsageError(f"unknown site: {name}{hint}; known sites: {', '.join(known)}", next="gears sites list")


def _did_you_mean(word: str, known: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(word, known, 1)
    return f" (did you mean {close[0]}?)" if close else ""


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as exc:
        reason, _, place = str(exc).partition(" (at ")
        line = re.match(r"line (\d+)", place)
        raise ProfileError(str(file), f"line {line[1]}" if line else "end", reason) from exc
    except UnicodeDecodeError as exc:
        line_number = exc.object[: exc.start].count(b"\n") + 1
        raise ProfileError(str(file), f"line {line_number}", "is not UTF-8 text") from exc
    except OSError as exc:
        raise ProfileError(str(file), "file", exc.strerror or str(exc)) from exc


def _settings(tables: dict[str, Any], file: str) -> Settings:
    """Return the file's settings by dotted key. Flattens sections and places: tables within [dask] stay whole."""
    settings: Settings = {}
    for section, value in tables.items():
        if section not in (*SECTIONS, *OPEN_SECTIONS, PLACES):
            settings[section] = value, file
        elif not isinstance(value, dict):
            raise ProfileError(file, section, f"must be a table: [{section}]")
        elif section == PLACES:
            for name, place in value.items():
                settings |= _place_settings(name, place, file)
        else:
            settings |= {f"{section}.{key}": (item, file) for key, item in value.items()}
    return settings


def _place_settings(name: str, value: object, file: str) -> Settings:
    """Return the settings of a place; a path alone is short for a table with it."""
    key = f"{PLACES}.{name}"
    _checked(key, name, file, validators.place_name)
    table = {"path": value} if isinstance(value, str) else value
    if not isinstance(table, dict):
        raise ProfileError(file, key, f"must be a path in quotes, or a table: [{key}]")
    for word in table:
        if word not in PLACE_CHECKS:
            raise ProfileError(file, f"{key}.{word}", f"is not a key of a place{_did_you_mean(word, [*PLACE_CHECKS])}")
    return {f"{key}.{word}": (item, file) for word, item in table.items()}


def _site(name: str, settings: Settings) -> Site:
    values: dict[str, dict[str, Any]] = {section: {} for section in ("", *SECTIONS, *OPEN_SECTIONS)}
    for key, (value, file) in settings.items():
        section, word = split(key)
        values.setdefault(section, {})[word] = _checked(key, value, file, _check_for(key, file))
    _check_whole(values, {key: file for key, (_, file) in settings.items()})
    return Site(
        name=name,
        **values[""],
        front=Front(**values["front"]),
        lab=Lab(**values["lab"]),
        laptop=Laptop(**values["laptop"]),
        scheduler=Scheduler(**values["scheduler"]) if values["scheduler"] else None,
        envs=Envs(**values["envs"]),
        carry=Carry(**values["carry"]),
        dask=values["dask"],
        transfer=Transfer(**values["transfer"]),
        filesystem={split(section)[1]: Place(**values[section]) for section in _places(values)},
        sources={key: file for key, (_, file) in settings.items()},
    )


def _check_whole(values: dict[str, dict[str, Any]], sources: dict[str, str]) -> None:
    """Check dependencies between keys. Raises ProfileError."""
    if values["front"].get("host") and not values["lab"].get("host"):
        raise ProfileError(sources["front.host"], "lab.host", "is required when front.host is set")
    if values["scheduler"] and "kind" not in values["scheduler"]:
        key = f"scheduler.{next(iter(values['scheduler']))}"
        raise ProfileError(sources[key], "scheduler.kind", "is required in [scheduler]")
    for section in _places(values):
        _check_place(section, values[section], sources)


def _places(values: dict[str, dict[str, Any]]) -> list[str]:
    return [section for section in values if section.startswith(f"{PLACES}.")]


def _check_place(section: str, table: dict[str, Any], sources: dict[str, str]) -> None:
    """Check that a place has a path, of the form of its kind, and that a bundle fits into the largest."""
    if "path" not in table:
        key = f"{section}.{next(iter(table))}"
        raise ProfileError(sources[key], f"{section}.path", f"is required in [{section}]")
    place, file = Place(**table), sources[f"{section}.path"]
    remote = place.kind in ("globus", "rclone")
    if place.path and remote != (place.path[0] not in "/~"):
        form = f"must be NAME:PATH for {place.kind}" if remote else f"must be a path for {place.kind}, without NAME:"
        raise ProfileError(file, f"{section}.path", form)
    sizes = [validators.size_bytes(size) for size in (place.bundle_size, place.bundle_maximum) if size]
    if sizes != sorted(sizes):
        raise ProfileError(sources[f"{section}.bundle_size"], f"{section}.bundle_size", "is larger than bundle_maximum")


def _check_for(key: str, file: str) -> validators.Check:
    section, name = split(key)
    if section.startswith(f"{PLACES}."):
        return PLACE_CHECKS[name]
    if section in OPEN_SECTIONS:
        _checked(key, name, file, validators.setting_name)
        return validators.setting
    if key not in CHECKS:
        known = [*CHECKS, *SECTIONS, *OPEN_SECTIONS, PLACES]
        raise ProfileError(file, key, f"is not a key of a profile{_did_you_mean(key, known)}")
    return CHECKS[key]


def _checked(key: str, value: object, file: str, check: validators.Check) -> Any:
    try:
        return check(value)
    except ValueError as exc:
        raise ProfileError(file, key, str(exc)) from exc
