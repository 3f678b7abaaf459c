"""Run git in a workspace. All that is here is what git documents for programs (porcelain formats, plumbing)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from gears.errors import CommandFailed, UsageError
from gears.system import commands

TIMEOUT_S = 120.0
NETWORK_TIMEOUT_S = 1800.0


def git(directory: Path, *words: str, timeout_s: float = TIMEOUT_S, input: str | None = None) -> str:
    """Run git in a directory and return its output without the last newline. Raises CommandFailed, MissingProgram."""
    argv = ["git", "-C", str(directory), *words]
    return commands.run(argv, timeout_s=timeout_s, env=environment(), input=input).rstrip("\n")


def in_terminal(directory: Path, *words: str) -> int:
    """Run git in the user's terminal, where it can ask for a password, and return its exit status."""
    return commands.run_in_terminal(["git", "-C", str(directory), *words], timeout_s=None)


def environment() -> Mapping[str, str]:
    """Return the environment for git: it never prompts where nobody can answer, and a hook's GIT_DIR does not count."""
    kept = {
        name: value for name, value in os.environ.items() if name not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    }
    return kept | {"GIT_TERMINAL_PROMPT": kept.get("GIT_TERMINAL_PROMPT", "0"), "LC_ALL": "C.UTF-8"}


def try_git(directory: Path, *words: str) -> str:
    """Run git and return its output; empty if it fails."""
    try:
        return git(directory, *words)
    except CommandFailed:
        return ""


def top_of(directory: Path) -> Path:
    """Return the top of the repository around a directory. Raises UsageError if there is none."""
    try:
        return Path(git(directory, "rev-parse", "--show-toplevel"))
    except CommandFailed as exc:
        if "dubious ownership" in exc.stderr:
            raise of_another_user(directory) from exc
        raise UsageError(f"{directory} is not in a git repository", next="gears workspace new DIR") from exc


def common_directory(directory: Path) -> Path:
    """Return the directory of the repository itself, which all its worktrees share."""
    return Path(git(directory, "rev-parse", "--path-format=absolute", "--git-common-dir"))


def of_another_user(directory: Path | str) -> UsageError:
    """Return the error for a repository that git refuses since another user owns it."""
    return UsageError(
        f"{directory} is owned by another user, and git does not trust it",
        next=f"git config --global --add safe.directory {directory}",
    )


def changed(directory: Path) -> list[str]:
    """Return what is not committed, as `git status --porcelain` writes it: two letters and a path."""
    return git(directory, "status", "--porcelain").splitlines()


def unmerged(directory: Path) -> list[str]:
    """Return the paths with a conflict, from the index: copier and `git status` exit 0 with conflicts."""
    lines = git(directory, "ls-files", "--unmerged", "-z").split("\0")
    return sorted({line.partition("\t")[2] for line in lines if line})


def branch(directory: Path) -> str:
    """Return the name of the branch; empty if HEAD is detached."""
    return try_git(directory, "symbolic-ref", "--short", "-q", "HEAD")


def identity(directory: Path, user: str, host: str) -> list[str]:
    """Return the options for a commit as whom git's settings in a directory name, else as USER@HOST."""
    name, email = (try_git(directory, "config", f"user.{key}") for key in ("name", "email"))
    return ["-c", f"user.name={name or user}", "-c", f"user.email={email or f'{user}@{host}'}"]
