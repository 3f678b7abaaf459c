"""Which packages are wanted by those that are there, and are not there themselves. Only reads.

A purge that takes empty directories too leaves of a package that nobody looked at for long not even its records.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gears.envs.metadata import read_conda_depends, read_name, read_requirements
from gears.envs.report import Absent


def absent(prefix: Path, sites: list[Path]) -> list[Absent]:
    """Find the packages that others need and that are not there. `sites`: directories of the environment with packages.

    Find none if the environment sees the packages of its base Python, too.
    """
    if "include-system-site-packages = true" in _read(prefix / "pyvenv.cfg"):
        return []
    metadata = [_read(path) for site in sites for path in sorted(site.glob("[!~]*.dist-info/METADATA"))]
    records = {path.stem: _read(path) for path in sorted((prefix / "conda-meta").glob("*.json"))}
    conda = {name.rsplit("-", 2)[0] for name in records}
    there = {normal(name) for name in conda}
    for site in (*sites, *_more(sites)):  # *.dist-info, *.egg-info
        there |= {normal(path.stem.partition("-")[0]) for path in site.glob("[!~]*.*-info")}
    found = [*_of_pip(metadata, there, _version(sites)), *_of_conda(records, conda)]
    return list({one.name: one for one in reversed(found)}.values())[::-1]


def _of_pip(metadata: list[str], there: set[str], version: str) -> Iterator[Absent]:
    from packaging.requirements import InvalidRequirement, Requirement

    here = {"python_version": version, "python_full_version": f"{version}.99", "extra": ""}
    for text in metadata:
        for line in read_requirements(text):
            try:
                wanted = Requirement(line)
            except InvalidRequirement:
                continue
            if normal(wanted.name) not in there and (wanted.marker is None or wanted.marker.evaluate(here)):
                wanted.marker = None
                yield Absent(wanted.name, str(wanted), "pip", read_name(text)[0])


def _of_conda(records: dict[str, str], there: set[str]) -> Iterator[Absent]:
    for stem, text in records.items():
        for wanted in read_conda_depends(text):
            name = wanted.split()[0].partition("[")[0].rpartition("::")[2]
            if name not in there:
                yield Absent(name, name, "conda", stem.rsplit("-", 2)[0])


def _more(sites: list[Path]) -> list[Path]:
    """Find other directories whose packages the environment sees, by a path in a .pth file."""
    lines = (line.strip() for site in sites for path in site.glob("*.pth") for line in _read(path).splitlines())
    return [Path(line) for line in lines if line.startswith("/")]


def _version(sites: list[Path]) -> str:
    return sites[0].parent.name.removeprefix("python").rstrip("t") if sites else "3"


def normal(name: str) -> str:
    """Normalize a name as packages are compared: `Foo_Bar` is `foo-bar`."""
    return name.lower().replace("_", "-").replace(".", "-")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
