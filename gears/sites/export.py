"""Profiles as TOML: the effective one printed, a new one created."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from gears.errors import GearsError, UsageError
from gears.sites import load, profile
from gears.sites.profile import Site


def render_toml(site: Site) -> str:
    """Render the effective profile as TOML. A comment after each key names its source."""
    lines: list[str] = []
    open_section = ""
    for key, value in profile.items(site):
        section, name = profile.split(key)
        if section != open_section:
            open_section = section
            lines += ["", f"[{section}]"]
        setting = f"# {name} is absent" if value is None else f"{_toml_key(name)} = {_toml(value)}"
        lines.append(f"{setting:<40}  # {origin(site, key)}")
    return "\n".join(lines) + "\n"


def new_site(name: str, path: Path | None = None, *, environ: load.Environ = os.environ) -> Path:
    """Create a profile with every key explained, in ~/.config/gears/sites or at `path`. Never overwrites.

    Returns its path. Raises UsageError for a name that is invalid or taken, GearsError if the file can't be written.
    """
    load.check_name(name)
    path = path or load.own_directory(environ) / "sites" / f"{name}.toml"
    text = (load.BUILT_IN / "_new.toml").read_text(encoding="utf-8").replace("NAME", name)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as exc:
        raise UsageError(f"{path} already exists and was not changed", next=f"gears sites show {name}") from exc
    except OSError as exc:
        raise GearsError(f"{exc.filename or path}: {exc.strerror or exc}", next="gears sites list") from exc
    return path


def origin(site: Site, key: str) -> str:
    """Tell where the value of `key` comes from: a file, "built in", or "default"."""
    source = site.sources.get(key)
    if source is None:
        return "default"
    return "built in" if Path(source).parent == load.BUILT_IN else source


def _toml(value: Any) -> str:
    match value:
        case str():
            return json.dumps(value, ensure_ascii=False)  # TOML's basic strings have JSON's escapes
        case bool():
            return "true" if value else "false"
        case list() | tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case dict():
            return f"{{{', '.join(f'{_toml_key(key)} = {_toml(item)}' for key, item in value.items())}}}"
    return repr(value)


def _toml_key(key: str) -> str:
    return json.dumps(key) if "." in key else key
