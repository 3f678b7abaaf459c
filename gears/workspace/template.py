"""The template of workspaces, and copier, which makes a workspace from it and updates that.

The shipped template is `templates/analysis/VERSION/`. copier takes versions from the tags of a git repository: one is
made of these directories whenever copier runs, with the same commits everywhere. A workspace names it by `SHIPPED`,
which is no path: git is told where it is by `url.….insteadOf`, in the environment of copier alone.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gears.errors import CommandFailed, UsageError
from gears.system import commands
from gears.workspace.git import environment

SHIPPED = "gears::analysis.git"
"""Its name in `.copier-answers.yml`. To git without gears it is a transport that does not exist: nothing is fetched."""

VERSIONS = Path(__file__).parent / "templates" / "analysis"
ANSWERS = ".copier-answers.yml"
TIMEOUT_S = 600.0

AUTHOR = {
    "GIT_AUTHOR_NAME": "gears",
    "GIT_AUTHOR_EMAIL": "gears@localhost",
    "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
    "GIT_COMMITTER_NAME": "gears",
    "GIT_COMMITTER_EMAIL": "gears@localhost",
    "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


@dataclass(frozen=True, slots=True)
class Versions:
    """The template's version in a workspace, and the newest one; a workspace may be ahead of this gears."""

    current: str
    latest: str

    @property
    def is_newer(self) -> bool:
        """Tell whether there is a newer one."""
        return self.current != self.latest


class Copier:
    """Runs copier, as a program: no command of gears loads it, and it sees the shipped template."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._environment = dict(settings)

    def run(self, *words: str) -> str:
        """Run copier without a terminal and return its output. Raises CommandFailed."""
        return commands.run(self._argv(words), timeout_s=TIMEOUT_S, env=self._environment)

    def ask(self, *words: str) -> int:
        """Run copier in the user's terminal, where it asks its questions, and return its exit status."""
        return commands.run_in_terminal(self._argv(words), timeout_s=None, env=self._environment)

    def versions(self, workspace: Path) -> Versions:
        """Return the template's versions. Raises CommandFailed if the template can't be reached."""
        answer = json.loads(self.run("check-update", "--output-format", "json", str(workspace)))
        current = str(answer["current_version"])
        return Versions(current, str(answer["latest_version"]) if answer["update_available"] else current)

    @staticmethod
    def _argv(words: Sequence[str]) -> list[str]:
        return [sys.executable, "-EsP", "-m", "copier", *words]


@contextmanager
def open_copier() -> Iterator[Copier]:
    """Give copier, with the shipped template as a repository, which is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="gears-template-") as directory:
        repository = Path(directory) / "analysis.git"
        make_repository(VERSIONS, repository)
        number = int(os.environ.get("GIT_CONFIG_COUNT", "0") or "0")
        yield Copier(
            {
                **environment(),
                "COPIER_CACHE_DIR": str(Path(directory) / "cache"),
                "GIT_CONFIG_COUNT": str(number + 1),
                f"GIT_CONFIG_KEY_{number}": f"url.{repository}.insteadOf",
                f"GIT_CONFIG_VALUE_{number}": SHIPPED,
            }
        )


def make_repository(versions: Path, repository: Path) -> None:
    """Make a bare repository with one commit and tag for each version in `versions`, oldest first."""
    from packaging.version import Version

    def run(*words: str) -> None:
        commands.run(["git", *words], timeout_s=60, env={**environment(), **AUTHOR})

    run("init", "--quiet", "--bare", "--template=", "--initial-branch=main", str(repository))
    inside = (f"--git-dir={repository}", "-c", "core.bare=false", "-c", "core.autocrlf=false", "-c", "gc.auto=0")
    for directory in sorted(versions.iterdir(), key=lambda path: Version(path.name)):
        run(*inside, f"--work-tree={directory}", "add", "--all", "--force")
        run(*inside, f"--work-tree={directory}", "commit", "--quiet", "--no-verify", "--message", directory.name)
        run(*inside, "tag", f"v{directory.name}")


def shipped_version(*, newer_than: str) -> str:
    """Return the newest version that is shipped if it is newer than that one, else ""."""
    from packaging.version import InvalidVersion, Version

    newest = max(Version(path.name) for path in VERSIONS.iterdir())
    try:
        return str(newest) if newest > Version(newer_than) else ""
    except InvalidVersion:
        return ""


def answers_of(workspace: Path) -> dict[str, Any]:
    """Return a workspace's answers, with `_src_path` and `_commit`. Raises UsageError if it has no such template."""
    import yaml

    file = workspace / ANSWERS
    try:
        answers = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        answers = None
    except (ValueError, yaml.YAMLError) as exc:
        raise UsageError(f"{file}: {exc}", next=f"git -C {workspace} log -p {ANSWERS}") from exc
    if not isinstance(answers, dict) or not {"_src_path", "_commit"} <= answers.keys():
        raise UsageError(
            f"{workspace} was made from no template with versions: {ANSWERS}", next="gears workspace new DIR"
        )
    return answers


def failed(error: CommandFailed, doing: str, next: str) -> CommandFailed:
    """Return copier's failure with what it said: its own sentences, or the last line of a traceback."""
    lines = [line.strip() for line in (error.stderr or error.message).splitlines() if line.strip()]
    if "Traceback" in error.stderr:
        lines = lines[-1:]
    said = " ".join(line for line in lines if "--trust" not in line)  # an option that gears has not
    return CommandFailed(f"{doing}: {said or 'copier failed'}", stderr=error.stderr, next=next)
