"""What a commit of a workspace has in DVC: the objects, and the paths that they are in the workspace.

Read from the files of DVC themselves (`dvc.lock`, `*.dvc`), whose format DVC documents, as they are in git's commit: it
takes no time with many files, and needs no DVC.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gears.data.objects import LIST
from gears.errors import UsageError
from gears.workspace.git import git

LOCK, STAGES, SINGLE = "dvc.lock", "dvc.yaml", ".dvc"
NAME = re.compile(r"[0-9a-f]{32}(?:\.dir)?")
MD5, RELATIVE = "md5", "relpath"

ReadList = Callable[[str], bytes | None]
"""Reads the list of a directory's files; None if it is not to be had."""


@dataclass(slots=True)
class Tracked:
    """Objects and their paths. `outs`: the paths that DVC tracks, each a file or a directory.

    `unlisted`: directories of which not even the list is known, with their objects.
    """

    paths: dict[str, str] = field(default_factory=dict)
    outs: dict[str, str] = field(default_factory=dict)
    unlisted: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Out:
    """An output of a stage, or a file that was added: its path in the workspace, and its object."""

    path: str
    name: str


def find_tracked(top: Path, read_list: ReadList, commit: str = "HEAD") -> Tracked:
    """Find what a commit has in DVC. Raises UsageError for data of DVC 2, and for files that are not DVC's."""
    in_git = git(top, "ls-tree", "-r", "-z", "--name-only", commit).split("\0")
    wanted = [name for name in in_git if posixpath.basename(name) in (LOCK, STAGES) or name.endswith(SINGLE)]
    texts = read_files(top, commit, [name for name in wanted if posixpath.basename(name) != SINGLE])
    uncached = {*in_git, *_uncached(texts)}
    tracked = Tracked()
    for out in outs(texts):
        if out.path not in uncached:
            _add(tracked, out, read_list)
    return tracked


def _add(tracked: Tracked, out: Out, read_list: ReadList) -> None:
    tracked.paths[out.name] = tracked.outs[out.name] = out.path
    if not out.name.endswith(LIST):
        return
    content = read_list(out.name)
    if content is None:
        tracked.unlisted[out.name] = out.path
        return
    for entry in json.loads(content):
        if NAME.fullmatch(name := str(entry[MD5])):
            tracked.paths.setdefault(name, posixpath.join(out.path, str(entry[RELATIVE])))
            tracked.outs.setdefault(name, out.path)


def read_files(top: Path, commit: str, names: list[str]) -> dict[str, Any]:
    """Return what YAML files of a commit say, by name. Raises UsageError for what is no YAML."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # that in Python takes seconds for a thousand files
    found = {}
    for name in names:
        text = git(top, "show", f"{commit}:{name}")
        try:
            found[name] = yaml.load(text, loader)
        except yaml.YAMLError as exc:
            raise UsageError(f"{name}: {exc}", next=f"git -C {top} log -p -- {name}") from exc
    return found


def outs(files: Mapping[str, Any]) -> Iterator[Out]:
    """Yield what the files of DVC name. Pure. Raises UsageError for data of DVC 2, whose objects have other names."""
    for file, content in files.items():
        if not isinstance(content, dict) or posixpath.basename(file) == STAGES:
            continue
        stages = content.get("stages", {}).values() if posixpath.basename(file) == LOCK else [content]
        for stage in stages:
            directory = posixpath.join(posixpath.dirname(file), str(stage.get("wdir") or ""))
            for out in stage.get("outs") or ():
                if (found := _out(out, directory, file)) is not None:
                    yield found


def _out(out: Mapping[str, Any], directory: str, file: str) -> Out | None:
    name = str(out.get(MD5) or "")
    if not NAME.fullmatch(name) or out.get("cache") is False or out.get("push") is False:
        return None
    path = posixpath.normpath(posixpath.join(directory, str(out.get("path") or "")))
    if out.get("hash") != MD5:
        raise UsageError(f"{file}: {path} was written by DVC 2", next="dvc cache migrate --dvc-files")
    return Out(path, name)


def _uncached(files: Mapping[str, Any]) -> set[str]:
    """Return the outputs of stages that stay out of the cache, by `cache: false`."""
    found = set()
    for file, content in files.items():
        if posixpath.basename(file) != STAGES or not isinstance(content, dict):
            continue
        for stage in (content.get("stages") or {}).values():
            directory = posixpath.join(posixpath.dirname(file), str(stage.get("wdir") or ""))
            for out in [one for key in ("outs", "metrics", "plots") for one in stage.get(key) or ()]:
                for path, flags in out.items() if isinstance(out, dict) else ():
                    if isinstance(flags, dict) and flags.get("cache") is False:
                        found.add(posixpath.normpath(posixpath.join(directory, path)))
    return found
