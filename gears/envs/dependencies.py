"""Find missing packages that installed packages require. Only reads.

A purge that also removes empty directories can remove a package with all its metadata.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gears.envs.metadata import read_conda_depends, read_name, read_requirements
from gears.envs.report import Absent


def absent(prefix: Path, sites: list[Path]) -> list[Absent]:
    """Find missing packages that others require. `sites`: the environment's directories of packages.

    Finds none if the environment also sees the packages of its base Python.
    """
    if "include-system-site-packages = true" in _read(prefix / "pyvenv.cfg"):
        return []
    metadata = [_read(path) for site in sites for path in sorted(site.glob("[!~]*.dist-info/METADATA"))]
    records = {path.stem: _read(path) for path in sorted((prefix / "conda-meta").glob("*.json"))}
    conda = {name.rsplit("-", 2)[0] for name in records}
    installed = {normal(name) for name in conda}
    for site in (*sites, *_pth_directories(sites)):  # *.dist-info, *.egg-info
        installed |= {normal(path.stem.partition("-")[0]) for path in site.glob("[!~]*.*-info")}
    found = [*_of_pip(metadata, installed, _version(sites)), *_of_conda(records, conda)]
    return list({one.name: one for one in reversed(found)}.values())[::-1]


def _of_pip(metadata: list[str], installed: set[str], version: str) -> Iterator[Absent]:
    from packaging.requirements import InvalidRequirement, Requirement

    environment = {"python_version": version, "python_full_version": f"{version}.99", "extra": ""}
    for text in metadata:
        for line in read_requirements(text):
            try:
                wanted = Requirement(line)
            except InvalidRequirement:
                continue
            if normal(wanted.name) not in installed and (wanted.marker is None or wanted.marker.evaluate(environment)):
                wanted.marker = None
                yield Absent(wanted.name, str(wanted), "pip", read_name(text)[0])


def _of_conda(records: dict[str, str], installed: set[str]) -> Iterator[Absent]:
    for stem, text in records.items():
        for wanted in read_conda_depends(text):
            name = wanted.split()[0].partition("[")[0].rpartition("::")[2]
            if name not in installed:
                yield Absent(name, name, "conda", stem.rsplit("-", 2)[0])


def _pth_directories(sites: list[Path]) -> list[Path]:
    """Find the directories that .pth files add to the environment."""
    lines = (line.strip() for site in sites for path in site.glob("*.pth") for line in _read(path).splitlines())
    return [Path(line) for line in lines if line.startswith("/")]


def _version(sites: list[Path]) -> str:
    return sites[0].parent.name.removeprefix("python").rstrip("t") if sites else "3"


def normal(name: str) -> str:
    """Normalize a package name for comparison: `Foo_Bar` becomes `foo-bar`."""
    return name.lower().replace("_", "-").replace(".", "-")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
