"""A new workspace, from a template: made beside its final path, committed, then moved there in one step."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from gears.errors import CommandFailed, UsageError
from gears.sites.profile import Site
from gears.system import timestamps
from gears.system.host import Host
from gears.workspace import settings, template
from gears.workspace.git import git, identity, try_git
from gears.workspace.setup import Say, set_up


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for. `template`: an own one by URL, or ""; `ask`: questions are asked in the terminal."""

    directory: Path
    template: str = ""
    ask: bool = False


def create(wish: Wish, site: Site, host: Host, say: Say) -> Path:
    """Create a workspace with one commit, and return its path. Until it is complete, that path does not exist.

    Raises UsageError if the directory is not empty, CommandFailed.
    """
    target = wish.directory.expanduser().absolute()
    _check_free(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.parent / f".{target.name}.new-{os.getpid()}"
    try:
        _render(wish, target, draft)
        _commit(draft, host, say)
        os.rename(draft, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    set_up(target, settings.load(target), site, host, say)
    return target


def _check_free(target: Path) -> None:
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise UsageError(
            f"{target} exists, and is not empty; a workspace is made in a new directory", next=f"ls {target}"
        )


def _render(wish: Wish, target: Path, draft: Path) -> None:
    known = {
        "name": settings.as_name(target.name),
        "year": timestamps.utc_now()[:4],
        "git_author": try_git(target.parent, "config", "user.name"),
    }
    data = [word for key, value in known.items() for word in ("--data", f"{key}={value}")]
    words = ["copy", "--quiet", *data, *["--defaults"] * (not wish.ask), wish.template or template.SHIPPED, str(draft)]
    with template.open_copier() as copier:
        if not wish.ask:
            _quietly(copier, words)
        elif status := copier.ask(*words):
            raise CommandFailed(f"copier ended with status {status}; nothing was made", status=status)


def _quietly(copier: template.Copier, words: list[str]) -> None:
    try:
        copier.run(*words)
    except CommandFailed as exc:
        raise template.failed(exc, "the workspace was not made", "gears workspace new DIR --template URL") from exc


def _commit(top: Path, host: Host, say: Say) -> None:
    git(top, "init", "--quiet", "--initial-branch=main")
    git(top, "add", "--all")
    unknown = not try_git(top, "-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT")
    if unknown:
        say("git does not know your name: git config --global user.name '…'; git config --global user.email '…'")
    git(
        top,
        *(identity(top, host.user, host.full_name) if unknown else []),
        "commit",
        "--quiet",
        "--message",
        "Start from the template of gears",
    )
