"""The newer version of a workspace's template, merged by git on a branch, and never committed here.

copier renders the old and the new version with the workspace's answers, into directories of their own. What differs
is one commit, which `git cherry-pick --no-commit` applies. So conflicts are git's own: in the index, where `git
status`, an editor and the next update see them; files renamed, binary, or deleted on one side are its matter too.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gears.errors import CommandFailed, GearsError, UsageError
from gears.system import commands
from gears.workspace.git import branch, changed, environment, git, top_of, try_git, unmerged
from gears.workspace.template import AUTHOR, Copier, Versions, answers_of, failed, open_copier


@dataclass(frozen=True, slots=True)
class Updated:
    """An update on its branch. `base`: the branch or commit before it; `conflicts`: paths; `version`: "" if current.

    `deleted`: files that stay deleted, although the template has changed them.
    """

    top: Path
    current: str
    version: str = ""
    branch: str = ""
    base: str = ""
    conflicts: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()


def update(directory: Path) -> Updated:
    """Merge the newest version of the template into the files, on a branch of its own. Commits nothing.

    Raises UsageError, before anything is changed, if something is not committed or would be overwritten; CommandFailed,
    and then the workspace is as before.
    """
    top = top_of(directory)
    answers = answers_of(top)
    check_clean(top)
    with open_copier() as copier, tempfile.TemporaryDirectory(prefix="gears-update-") as scratch:
        try:
            versions = copier.versions(top)
            if not versions.is_newer:
                return Updated(top, versions.current)
            old, new = render(copier, answers, Path(scratch))
        except CommandFailed as exc:
            raise failed(exc, "the template could not be used; nothing was changed", "gears workspace update") from exc
        check_overwritten(top, new)
        change = commit_change(top, old, new, versions)
    return apply(top, change, versions)


def check_clean(top: Path) -> None:
    """Raise UsageError if there are conflicts, or changes that are not committed."""
    if conflicts := unmerged(top):
        raise UsageError(f"conflicts are not resolved: {', '.join(conflicts)}", next=to_resolve(top))
    if lines := changed(top):
        raise UsageError(
            f"{top}: {len(lines)} changes are not committed, such as {lines[0][3:]}", next=f"git -C {top} status"
        )
    if not try_git(top, "rev-parse", "--verify", "--quiet", "HEAD"):
        raise UsageError(f"{top} has no commit yet", next=f"git -C {top} commit")


def to_resolve(top: Path) -> str:
    """Return the commands with which conflicts are resolved, or the update is undone."""
    undo = f"git -C {top} reset --hard; git -C {top} switch -"
    return f"edit them, then: git -C {top} add FILE; git -C {top} commit   (to undo the update: {undo})"


def render(copier: Copier, answers: Mapping[str, Any], scratch: Path) -> tuple[Path, Path]:
    """Render both versions with the workspace's answers; return their directories. New questions get their defaults."""
    data = scratch / "answers.yml"  # JSON is YAML
    data.write_text(json.dumps({key: value for key, value in answers.items() if not key.startswith("_")}))
    words = ("copy", "--quiet", "--defaults", "--data-file", str(data))
    old, new = scratch / "old", scratch / "new"
    copier.run(*words, "--vcs-ref", answers["_commit"], answers["_src_path"], str(old))
    copier.run(*words, answers["_src_path"], str(new))
    return old, new


def check_overwritten(top: Path, new: Path) -> None:
    """Raise UsageError if the new version has a file where an ignored one is, which git would overwrite."""
    tracked = {*git(top, "ls-files", "-z").split("\0")}
    for file in sorted(path.relative_to(new) for path in new.rglob("*") if not path.is_dir()):
        for path in (file, *file.parents[:-1]):
            there = top / path
            in_the_way = os.path.lexists(there) and (path == file or there.is_symlink() or not there.is_dir())
            if in_the_way and str(path) not in tracked:
                said = f"{there} is ignored by git, and the new template has {file}"
                raise UsageError(said, next=f"mv {there} {there}.mine; gears workspace update {top}")


def commit_change(top: Path, old: Path, new: Path, versions: Versions) -> str:
    """Return a commit, on no branch, whose change is that from the old to the new version."""
    before = write_commit(top, old, versions.current, ())
    return write_commit(top, new, f"template {versions.latest}", ("-p", before))


def write_commit(top: Path, tree: Path, message: str, parents: tuple[str, ...]) -> str:
    """Store a directory as a commit, without touching the workspace's files or index."""
    with tempfile.TemporaryDirectory(prefix="gears-index-") as directory:
        settings = {**environment(), **AUTHOR, "GIT_INDEX_FILE": str(Path(directory) / "index")}
        for key in (
            "GIT_CONFIG_GLOBAL",
            "GIT_CONFIG_SYSTEM",
        ):  # the user's, such as core.autocrlf, holds for both sides
            settings.pop(key)
        common = git(top, "rev-parse", "--path-format=absolute", "--git-dir")

        def run(*words: str) -> str:
            argv = ["git", f"--git-dir={common}", f"--work-tree={tree}", *words]
            return commands.run(argv, timeout_s=60, env=settings).strip()

        run("add", "--all", "--force", "--", str(tree))
        return run("commit-tree", run("write-tree"), *parents, "-m", message)


def apply(top: Path, change: str, versions: Versions) -> Updated:
    """Apply the change on the branch `gears/update-VERSION`. On any failure but conflicts, return to where it began."""
    base = branch(top) or git(top, "rev-parse", "HEAD")
    name = f"gears/update-{versions.latest.removeprefix('v')}"
    if try_git(top, "rev-parse", "--verify", "--quiet", f"refs/heads/{name}"):
        raise UsageError(
            f"the branch {name} exists, from an earlier update",
            next=f"git -C {top} merge {name}; git -C {top} branch -d {name}",
        )
    git(top, "switch", "--quiet", "--create", name)
    deleted: list[str] = []
    try:
        git(top, "cherry-pick", "--no-commit", change)
    except CommandFailed as exc:
        if not unmerged(top):
            _return(top, name)
            raise GearsError(
                f"git could not apply the new template: {exc.message}", next=f"git -C {top} status"
            ) from exc
        deleted = keep_deleted(top)
    return Updated(top, versions.current, versions.latest, name, base, tuple(unmerged(top)), tuple(deleted))


def keep_deleted(top: Path) -> list[str]:
    """Let files stay deleted that were deleted in the workspace, and that the new template changed. Returns them."""
    stages: dict[str, set[str]] = {}
    for line in git(top, "ls-files", "--unmerged", "-z").split("\0"):
        if line:
            words, _, path = line.partition("\t")
            stages.setdefault(path, set()).add(words.split()[2])
    deleted = sorted(path for path, found in stages.items() if found == {"1", "3"})
    for path in deleted:
        git(top, "rm", "--quiet", "--force", "--", path)
    return deleted


def _return(top: Path, name: str) -> None:
    git(top, "reset", "--quiet", "--hard")
    git(top, "switch", "--quiet", "-")
    git(top, "branch", "--quiet", "-D", name)
