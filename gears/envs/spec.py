"""The specification of an environment: a file, or package names. Checked before anything is made."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gears.errors import UsageError

PACKAGE = r"[A-Za-z0-9][A-Za-z0-9._:/\[\],=<>!~^*@+ -]*"
"""A requirement of pip or conda: name, extras, version. No options, and nothing special to a shell."""

KINDS = "environment.yml, requirements.txt, pyproject.toml, uv.lock or pixi.toml"


@dataclass(frozen=True, slots=True)
class Spec:
    """What to install. `kind`: conda, pixi, requirements, project (pyproject.toml), locked (a uv.lock) or packages."""

    kind: str
    file: Path | None = None
    packages: tuple[str, ...] = ()

    def words(self) -> str:
        """Describe it: the path of the file, or the packages."""
        return str(self.file) if self.file else " ".join(self.packages)


def read_spec(file: str | None, packages: list[str]) -> Spec:
    """Read a file, or check package names. Raises UsageError with the reason."""
    if file and packages:
        raise UsageError("--from FILE can't be combined with package names", next="gears env create --help")
    for package in packages:
        if not re.fullmatch(PACKAGE, package):
            raise UsageError(
                f"invalid package specification: {package!a}", next="gears env create NAME numpy 'xarray>=2024.1'"
            )
    if not file:
        return Spec("packages", packages=tuple(packages))
    path = Path(file).expanduser().absolute()
    if not path.is_file():
        raise UsageError(f"{path}: no such file", next=f"ls {path.parent}")
    return Spec(_kind(path), path)


def _kind(path: Path) -> str:
    match path.name, path.suffix:
        case (("pixi.toml" | "pixi.lock"), _):
            return "pixi"
        case "uv.lock", _:
            return "locked"
        case _, ".yml" | ".yaml":
            read_conda(path)
            return "conda"
        case _, ".toml":
            return _kind_of_project(path)
        case _, ".txt" | ".in":
            return "requirements"
    raise UsageError(f"{path.name}: unsupported specification; supported: {KINDS}", next="gears env create --help")


def _kind_of_project(path: Path) -> str:
    project = _toml(path)
    if "pixi" in project.get("tool", {}):
        return "pixi"
    if "project" not in project:
        raise UsageError(f"{path}: no [project] table", next="gears env create --help")
    return "locked" if path.with_name("uv.lock").is_file() else "project"


def dependencies(path: Path) -> list[str]:
    """Read the dependencies of a pyproject.toml (packaging.python.org, "pyproject.toml specification").

    Raises UsageError if it can't be read.
    """
    found = _toml(path).get("project", {}).get("dependencies", [])
    return [str(dependency) for dependency in found]


def read_conda(path: Path) -> dict[str, Any]:
    """Read an environment.yml (docs.conda.io, "Creating an environment file manually"). Raises UsageError."""
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"{path}: {' '.join(str(exc).split())}", next="gears env create --help") from exc
    if not isinstance(found, dict) or not isinstance(found.get("dependencies"), list):
        raise UsageError(f"{path}: no list of `dependencies`", next="gears env create --help")
    return found


def with_packages(content: dict[str, Any], packages: tuple[str, ...]) -> dict[str, Any]:
    """Return an environment.yml that also requests these packages, without its name and prefix."""
    requested = [item for item in content["dependencies"] if isinstance(item, str)]
    names = {re.split(r"[ =<>!~\[]", item.rpartition("::")[2], maxsplit=1)[0].lower() for item in requested}
    more = [package for package in packages if re.split("[ =<>!~]", package, maxsplit=1)[0] not in names]
    rest = {key: value for key, value in content.items() if key not in ("name", "prefix")}
    return rest | {"dependencies": [*more, *content["dependencies"]]}


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"{path}: {exc}", next="gears env create --help") from exc
