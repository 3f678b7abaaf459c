"""The directories and files of a site's Dask configuration.

Dask reads, each overriding the one before: /etc/dask, the environment's etc/dask, ~/.config/dask, $DASK_CONFIG. The
last is ours, but the user's settings should override it. So the user's files are linked into our directory, sorted
after ours: a change there takes effect at once. gears never writes to the user's files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from gears.dask.certificate import ensure_certificate
from gears.dask.config import plan_config, render_yaml
from gears.sites.known_places import plan_places
from gears.sites.paths import RunDir
from gears.sites.profile import Site
from gears.system import commands, files
from gears.system.host import this_host

OURS = "00-gears.yaml"
DEFAULTS = ("jobqueue.yaml", "labextension.yaml")
"""The files that Dask's packages copy their defaults into, commented out and with the user's umask, unless they are
there (dask.config.ensure_file)."""
KINDS = (".yaml", ".yml", ".json")
"""The files that Dask reads in a directory, in the order of their names (dask.config.collect_yaml)."""

ANSWERS_S = 3.0
"""A file system whose server is down must not hold up a start."""

COMMENT = """\
gears: Dask's settings for the site {site}, from its profile. Rewritten at each start of a lab or a cluster.
Settings in ~/.config/dask override it."""


def ensure_config(site: Site, paths: RunDir, environ: Mapping[str, str] = os.environ) -> None:
    """Create or update the directory of DASK_CONFIG, and the file with the places. Safe to repeat.

    Raises ProfileError, UnsafePath.
    """
    _ensure_directories(paths)
    host = this_host()
    config = plan_config(site, paths, user=host.user)
    wanted = dict(user_files(paths, environ))
    if "temporary-directory" in config and not _is_writable(config["temporary-directory"]):
        del config["temporary-directory"]  # a worker would end with an error; without it, it spills to the node's disk
    text = render_yaml(config, COMMENT.format(site=site.name))
    ensure_certificate(paths)
    places = plan_places(site, host)
    if files.read_record(paths.places) != places:
        files.write_record(paths.places, places)
    if files.read_text(paths.dask_config / OURS) != text:
        files.write_private(paths.dask_config / OURS, text)
    for link in paths.dask_config.glob("[56]0-*"):
        if link not in wanted:
            link.unlink(missing_ok=True)
    for link, target in wanted.items():
        files.ensure_link(link, target)


def _ensure_directories(paths: RunDir) -> None:
    for directory in (paths.dask, paths.dask_config, paths.dask / "logs"):
        files.ensure_private(directory)
    for path in (paths.dask_config / name for name in DEFAULTS):
        if not path.exists():
            files.write_private(path, f"# gears: keeps the defaults of Dask's {path.name} out of here\n")


def _is_writable(directory: str) -> bool:
    """Tell whether it is a directory that can be written from this host, within ANSWERS_S."""
    [ran] = commands.run_each([("test", "-d", directory, "-a", "-w", directory)], timeout_s=ANSWERS_S)
    return ran.status == 0


def user_files(paths: RunDir, environ: Mapping[str, str]) -> Iterator[tuple[Path, Path]]:
    """Yield the links to make, each with its target, a file of the user."""
    home = Path(environ.get("HOME") or Path.home())
    for file in settings_files(home / ".config" / "dask"):
        yield paths.dask_config / f"50-{file.name}", file
    named = environ.get("DASK_CONFIG")
    if named is None:
        return
    if is_ours(Path(named), paths):  # in a terminal of a lab: the links there lead to the user's former DASK_CONFIG
        for link in Path(named).glob("60-*"):
            yield paths.dask_config / link.name, Path(os.readlink(link))
        return
    for file in settings_files(Path(named).expanduser()):
        yield paths.dask_config / f"60-{file.name}", file


def settings_files(place: Path) -> list[Path]:
    """List the files of a directory that Dask would read, or the file itself."""
    if place.is_file():
        return [place.absolute()] if place.suffix.lower() in KINDS else []
    try:
        return sorted(file.absolute() for file in place.iterdir() if file.suffix.lower() in KINDS)
    except OSError:
        return []


def is_ours(named: Path, paths: RunDir) -> bool:
    """Tell whether `named` is the directory of a site of this gears."""
    return named.parts[-2:] == ("dask", "config") and paths.run in named.parents
