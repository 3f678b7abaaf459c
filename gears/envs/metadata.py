"""The packages and files of an environment, as its package managers recorded them. Pure: text in, packages out.

RECORD of each *.dist-info: https://packaging.python.org/en/latest/specifications/recording-installed-packages/
conda-meta/*.json: https://docs.conda.io/projects/conda-build/en/latest/resources/package-spec.html (`paths.json`, as
conda, mamba and pixi copy it, with `sha256_in_prefix` for what they changed at installation).
"""

from __future__ import annotations

import base64
import csv
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

LINKED = ("softlink", "directory")
"""Kinds of a conda path whose size and hash are those of the target, or missing."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file that should exist. `path` is absolute. None and "": not recorded."""

    path: str
    size: int | None = None
    algorithm: str = ""
    digest: str = ""  # hexadecimal


@dataclass(frozen=True, slots=True)
class Package:
    """A package, as its package manager recorded it."""

    name: str
    version: str
    tool: str  # "conda", or "pip" for any tool that writes a RECORD, such as pip and uv
    entries: tuple[Entry, ...]
    origin: str = ""  # where pip gets it again, if not from its index


def parse_dist_info(directory: str) -> tuple[str, str]:
    """Split the name of a *.dist-info directory into the package's name and version."""
    name, _, version = os.path.basename(directory).removesuffix(".dist-info").partition("-")
    return name, version


def read_name(metadata: str) -> tuple[str, str]:
    """Read name and version in a METADATA file (core metadata: mail headers); "" for a missing one."""
    head = dict(line.split(": ", 1) for line in metadata.partition("\n\n")[0].splitlines() if ": " in line)
    return head.get("Name", "").strip(), head.get("Version", "").strip()


def read_requirements(metadata: str) -> list[str]:
    """Read the requirements in a package's METADATA (Requires-Dist)."""
    head = metadata.partition("\n\n")[0].splitlines()
    return [line.removeprefix("Requires-Dist:").strip() for line in head if line.startswith("Requires-Dist:")]


def read_conda_depends(text: str) -> list[str]:
    """Read the requirements in a package's record in conda-meta/, except those of the machine (`__*`)."""
    try:
        depends = json.loads(text).get("depends", [])
    except (ValueError, AttributeError):
        return []
    return [str(wanted) for wanted in depends if not str(wanted).startswith("__")]


def read_record(text: str, site_packages: str) -> tuple[Entry, ...]:
    """Read the files of a RECORD, except bytecode, which Python can regenerate."""
    return tuple(_record_entries(text, site_packages))


def _record_entries(text: str, site_packages: str) -> Iterator[Entry]:
    for row in csv.reader(text.splitlines()):
        if not row or row[0].endswith(".pyc"):
            continue
        path, stated, size = [*row, "", ""][:3]
        algorithm, _, digest = stated.partition("=")
        absolute = os.path.normpath(os.path.join(site_packages, path))
        yield Entry(absolute, int(size) if size.isdecimal() else None, algorithm, _hexadecimal(digest))


def read_origin(text: str, name: str) -> str:
    """Return pip's argument for a package that came from no index; "" if `text` has none.

    `text`: the package's direct_url.json (PEP 610).
    """
    try:
        found = json.loads(text)
        url, archive = str(found["url"]), found.get("vcs_info") or {}
        if (found.get("dir_info") or {}).get("editable"):
            return f"--editable={url.removeprefix('file://')}"
        prefix, revision = (f"{archive['vcs']}+", f"@{archive['commit_id']}") if archive else ("", "")
        return f"{name} @ {prefix}{url}{revision}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


def _hexadecimal(digest: str) -> str:
    """Convert URL-safe base64 without padding to hexadecimal; "" if it is invalid."""
    try:
        return base64.urlsafe_b64decode(digest + "=" * (-len(digest) % 4)).hex()
    except ValueError:
        return ""


def read_conda_record(text: str, prefix: str) -> Package | None:
    """Read the package of a file in conda-meta/; None if the file is not a valid record."""
    try:
        record = json.loads(text)
        name, version = str(record["name"]), str(record["version"])
        paths = (record.get("paths_data") or {}).get("paths") or [{"_path": path} for path in record.get("files", [])]
        entries = tuple(_conda_entry(path, prefix) for path in paths if not str(path["_path"]).endswith(".pyc"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return Package(name, version, "conda", entries)


def _conda_entry(path: dict[str, Any], prefix: str) -> Entry:
    """Read one path of a conda record.

    If the prefix was written into the file, its size differs, and its hash is the one computed after installation.
    """
    absolute = os.path.join(prefix, str(path["_path"]))
    if path.get("path_type") in LINKED or path.get("no_link"):
        return Entry(absolute)
    changed = bool(path.get("prefix_placeholder"))
    size = None if changed or not isinstance(path.get("size_in_bytes"), int) else path["size_in_bytes"]
    digest = str(path.get("sha256_in_prefix") or ("" if changed else path.get("sha256")) or "")
    return Entry(absolute, size, "sha256" if digest else "", digest)


def script_interpreter(head: str) -> str | None:
    """Return the absolute path of a script's interpreter, from its first line, or for a long path from its second.

    None: it names none, or one that is searched for on PATH or relative to the script.
    """
    lines = head.split("\n", 2)
    words = lines[0].removeprefix("#!").split() if lines[0].startswith("#!") else []
    if words and os.path.basename(words[0]) == "sh" and len(lines) > 1 and lines[1].startswith("'''exec' "):
        words = [lines[1].removeprefix("'''exec' ").split(' "$0"')[0].strip("\"'")]
    found = words[0] if words and os.path.basename(words[0]) != "env" else ""
    return found if os.path.isabs(found) and "$" not in found else None
