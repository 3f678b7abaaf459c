"""DVC, which keeps the data of a workspace in versions. It is optional: the extra `gears[dvc]`, or in an environment.

Several people share one cache in the place of the team. What makes that work whatever their umask is `cache.shared
group`, committed with the template; where the cache is differs from site to site, so it is in each clone's own
`.dvc/config.local`, which git ignores.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from gears.errors import MissingProgram
from gears.system import commands
from gears.workspace.settings import Settings

TIMEOUT_S = 600.0
CACHE, INDEXES = "cache.dir", "core.site_cache_dir"
DIRECTORIES = (CACHE, INDEXES)
"""Keys of the clone's own configuration with directories. A path is relative to `.dvc`."""


@dataclass(frozen=True, slots=True)
class Data:
    """What DVC says of a workspace's data: paths that differ from what is committed, and that its cache has lost."""

    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Dvc:
    """DVC for one workspace. `argv`: how it is run."""

    argv: tuple[str, ...]
    top: Path

    def run(self, *words: str) -> str:
        """Run DVC and return its output. Raises CommandFailed."""
        environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
        return commands.run([*self.argv, "--cd", str(self.top), *words], timeout_s=TIMEOUT_S, env=environment)

    def set_local(self, key: str, value: str) -> None:
        """Set a key in the clone's own configuration."""
        self.run("config", "--local", key, value)

    def get_local(self, key: str) -> str:
        """Return a key of the clone's own configuration; empty if it is not set. Does not run DVC."""
        section, _, name = key.partition(".")
        try:
            text = (self.top / ".dvc/config.local").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return ""
        table = re.search(rf"^\[{section}\]$(.*?)(?=^\[|\Z)", text, re.MULTILINE | re.DOTALL)
        value = re.search(rf"^\s*{name}\s*=\s*(.*?)\s*$", table[1], re.MULTILINE) if table else None
        return value[1].strip("\"'") if value else ""

    def local_directories(self) -> tuple[Path, ...]:
        """Return the directories that the clone's own configuration names."""
        return tuple(self.top / ".dvc" / path for key in DIRECTORIES if (path := self.get_local(key)))

    def cache(self) -> Path:
        """Return the directory of the cache, which may not exist."""
        own = self.get_local(CACHE)
        return Path(os.path.normpath(self.top / ".dvc" / own) if own else self.run("cache", "dir").strip())

    def link(self) -> None:
        """Link the committed data, all of which is in the cache, into the clone. Raises CommandFailed."""
        self.run("checkout", "--quiet", "--allow-missing")  # of a stage that was never run there is nothing

    def check_out(self) -> tuple[str, ...]:
        """Link the committed data from the cache into the clone; return what the cache has not.

        `dvc checkout` links that too, exits 0, and then `dvc status` and `dvc repro` fail: such links are removed.
        """
        self.run("checkout", "--quiet", "--allow-missing")
        missing = self.data().missing
        for path in missing:
            link = self.top / path
            if link.is_symlink() and not link.exists():
                link.unlink()
        return missing

    def data(self) -> Data:
        """Compare the data with what is committed and with the cache. Reads no remote."""
        found = json.loads(self.run("data", "status", "--json"))
        changes = [
            path for kind in ("committed", "uncommitted") for paths in found.get(kind, {}).values() for path in paths
        ]
        missing = found.get("not_in_cache", [])
        return Data(tuple(sorted({*changes} - {*missing})), tuple(sorted(missing)))


def uses_dvc(top: Path) -> bool:
    """Tell whether the workspace has data in DVC."""
    return (top / ".dvc" / "config").is_file()


def find_dvc(top: Path, settings: Settings) -> Dvc:
    """Find DVC in the workspace's environment, else in that of gears, else on the PATH. Raises MissingProgram."""
    from importlib.util import find_spec

    own = _in_environment(settings.environment)
    if own and os.access(own, os.X_OK):
        return Dvc((str(own),), top)
    if find_spec("dvc"):
        return Dvc((sys.executable, "-EsP", "-m", "dvc"), top)
    if found := shutil.which("dvc"):
        return Dvc((found,), top)
    to_get = f"gears workspace join {top}" if settings.environment else "pip install 'gears[dvc]'"
    raise MissingProgram("DVC is not installed: data stays as it is, and is not shared", next=to_get)


def _in_environment(name: str) -> Path | None:
    from gears.envs import registry
    from gears.envs.paths import place
    from gears.system.installation import gears_home

    environment = registry.load(place(gears_home() / "run"), name) if name else None
    return environment.prefix / "bin" / "dvc" if environment else None


def other_keeper(top: Path) -> str:
    """Return what else keeps data here, datalad, git-annex or git-lfs; empty if nothing does. Runs nothing."""
    if (top / ".datalad").is_dir():
        return "datalad"
    if (top / ".git" / "annex").is_dir():
        return "git-annex"
    attributes = top / ".gitattributes"
    return "git-lfs" if attributes.is_file() and "filter=lfs" in attributes.read_text(errors="replace") else ""
