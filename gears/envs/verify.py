"""`gears env verify`: find what a purge of old files, or an interrupted installation, did to an environment.

Only reads. Compares files with what the package managers recorded (`metadata`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

from gears.envs import metadata
from gears.envs.dependencies import absent, normal
from gears.envs.metadata import Entry, Package
from gears.envs.report import Broken, Fault, Report
from gears.errors import CommandFailed, MissingProgram
from gears.system import commands
from gears.system.progress import Progress

THREADS = 8
"""On NFS each stat is a round trip; more threads would overload the server."""

START_S = 60.0
"""Python starts slowly from a busy file system."""

REPORT_S = 2.0

VERSION = "import sys, json; print('%d.%d' % sys.version_info[:2])"


def verify(prefix: Path, *, hashes: bool = False, say: Progress = lambda _: None) -> Report:
    """Compare an environment with what its package managers recorded. Can be repeated.

    Ten thousand files take some seconds; with `hashes` all of them are read.
    """
    packages = survey(prefix)
    orphaned = dict(_orphaned_scripts(prefix))
    broken = tuple(_broken_of(packages, orphaned, hashes=hashes, say=say))
    owned = {entry.path for package in packages for entry in package.entries}
    return Report(
        prefix=str(prefix),
        packages=len(packages),
        files=sum(len(package.entries) for package in packages),
        interpreter=probe_interpreter(prefix),
        broken=broken,
        absent=tuple(absent(prefix, site_packages(prefix))),
        scripts=tuple(Fault(script, what) for script, what in orphaned.items() if script not in owned),
        leftovers=tuple(_leftovers(prefix)),
    )


# --- expected files ----------------------------------------------------------------------------


def survey(prefix: Path) -> list[Package]:
    """Read all packages of the environment; those of conda only from conda's own records."""
    conda = list(_conda_packages(prefix))
    conda_paths = {entry.path for package in conda for entry in package.entries}
    dist_infos = (path for site in site_packages(prefix) for path in sorted(site.glob("[!~]*.dist-info")))
    pip = [_dist_package(path) for path in dist_infos if str(path / "METADATA") not in conda_paths]
    found = {normal(package.name) for package in (*conda, *pip)}
    return [*conda, *pip, *(package for package in _set_aside(prefix) if normal(package.name) not in found)]


def site_packages(prefix: Path) -> list[Path]:
    """Find the directories of packages. If lib64 is a link to lib, it is not listed again."""
    found = [*prefix.glob("lib/python3*/site-packages"), *prefix.glob("lib64/python3*/site-packages")]
    return list({path.resolve(): path for path in reversed(found)}.values())


def _conda_packages(prefix: Path) -> Iterator[Package]:
    for path in sorted((prefix / "conda-meta").glob("*.json")):
        found = metadata.read_conda_record(_read(path), str(prefix))
        name, version, *_ = [*path.stem.rsplit("-", 2), "", ""]
        yield found or Package(name, version, "conda", (Entry(str(path), -1),))  # a record that can't be read


def _dist_package(dist_info: Path, named: tuple[str, str] | None = None) -> Package:
    """Read the package of a *.dist-info directory. `named`: its name and version, if not those of the directory.

    Without RECORD or METADATA no tool can remove or update it.
    """
    name, version = named or metadata.parse_dist_info(str(dist_info))
    entries = metadata.read_record(_read(dist_info / "RECORD"), str(dist_info.parent))
    listed = {entry.path for entry in entries}
    required = (str(dist_info / file) for file in ("METADATA", "RECORD"))
    origin = metadata.read_origin(_read(dist_info / "direct_url.json"), name)
    return Package(name, version, "pip", (*entries, *(Entry(path) for path in required if path not in listed)), origin)


def _set_aside(prefix: Path) -> Iterator[Package]:
    """Yield packages that pip was replacing: it renames them to `~*`, and the new one may not be installed yet."""
    for site in site_packages(prefix):
        for found in sorted(site.glob("~*.dist-info")):
            if (named := metadata.read_name(_read(found / "METADATA")))[0]:
                yield _dist_package(found, named)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


# --- actual files -----------------------------------------------------------------------------------


def _broken_of(packages: list[Package], orphaned: dict[str, str], *, hashes: bool, say: Progress) -> Iterator[Broken]:
    """Yield the packages that are broken. `orphaned`: scripts with a missing interpreter, and its path."""
    reported = monotonic()

    def fault(entry: Entry) -> Fault | None:
        """Check one file: its interpreter, then what `find_fault` checks."""
        if entry.path in orphaned:
            return Fault(entry.path, orphaned[entry.path])
        return find_fault(entry, hashes=hashes)

    with ThreadPoolExecutor(THREADS) as pool:
        for at, package in enumerate(packages):
            if faults := tuple(filter(None, pool.map(fault, package.entries))):
                files = len(package.entries)
                yield Broken(package.name, package.version, package.tool, package.origin, files, faults)
            if monotonic() - reported > REPORT_S:
                reported = monotonic()
                say(f"{at + 1} of {len(packages)} packages checked")


def find_fault(entry: Entry, *, hashes: bool) -> Fault | None:
    """Check one file: that it exists, and unless it is a link its size and hash."""
    try:
        size = os.lstat(entry.path).st_size
        if os.path.islink(entry.path):
            return None
        if entry.size is not None and size != entry.size:
            return Fault(entry.path, "size")
        if hashes and entry.digest and entry.algorithm in hashlib.algorithms_guaranteed:
            with open(entry.path, "rb") as file:
                found = hashlib.file_digest(file, entry.algorithm).hexdigest()
            return None if found == entry.digest else Fault(entry.path, "hash")
    except (FileNotFoundError, NotADirectoryError):
        return Fault(entry.path, "missing")
    except OSError:
        return Fault(entry.path, "unreadable")
    return None


def probe_interpreter(prefix: Path) -> str | None:
    """Return why the environment's Python can't be used; None if it starts and its packages are for its version."""
    python = prefix / "bin" / "python"
    if not python.exists():
        return f"{os.path.realpath(python)} is gone"
    try:
        version = commands.run([str(python), "-I", "-c", VERSION], timeout_s=START_S).strip()
    except (CommandFailed, MissingProgram, OSError) as exc:
        return f"{python} does not start: {str(exc).strip().splitlines()[-1]}"
    made_for = {site.parent.name.removeprefix("python").rstrip("t") for site in site_packages(prefix)}
    if made_for and version not in made_for:
        return f"{python} is Python {version} now, but the packages are for {', '.join(sorted(made_for))}"
    return None


def _orphaned_scripts(prefix: Path) -> Iterator[tuple[str, str]]:
    """Yield each script whose interpreter is missing, and the interpreter's path."""
    for script in sorted((prefix / "bin").glob("*")):
        if script.is_symlink() or not script.is_file():
            continue
        try:
            with script.open("rb") as file:
                head = file.read(1024).decode(errors="replace")
        except OSError:
            continue
        if (interpreter := metadata.script_interpreter(head)) and not os.path.exists(interpreter):
            yield str(script), interpreter


def _leftovers(prefix: Path) -> Iterator[str]:
    """Yield what pip has renamed to `~*`, which it removes once the new version is installed."""
    for site in site_packages(prefix):
        yield from (str(path) for path in sorted(site.glob("~*")))
