"""What of a workspace is only here: not committed, not pushed, not in the cache or soon not any more; what it needs.

Everything is asked of this host, but the state of jobs, of the scheduler: no remote, no network.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gears.errors import GearsError
from gears.sites.profile import Site
from gears.system.host import Host
from gears.workspace import settings
from gears.workspace.dvc import CACHE, Data, find_dvc, other_keeper, uses_dvc
from gears.workspace.git import branch, changed, common_directory, try_git, unmerged
from gears.workspace.holding import Holding, find_holding
from gears.workspace.running import running
from gears.workspace.settings import Settings
from gears.workspace.template import SHIPPED, answers_of, shipped_version

if TYPE_CHECKING:
    from gears.workspace.runs import FoundRun


@dataclass(frozen=True, slots=True)
class Code:
    """`unpushed`: commits that no remote is known to have; `behind`: of the upstream, as of the last fetch."""

    branch: str
    uncommitted: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    unpushed: int = 0
    behind: int = 0
    remote: str = ""


@dataclass(frozen=True, slots=True)
class DataState:
    """`keeper`: dvc, another program, or "". `problem`: why it could not be looked at.

    `gone`: directories that the clone is set up for, and that are gone; `holding`: where the data of the commit is.
    """

    keeper: str = ""
    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    cache: str = ""
    problem: str = ""
    gone: tuple[str, ...] = ()
    holding: Holding = field(default_factory=Holding)


@dataclass(frozen=True, slots=True)
class Status:
    """A workspace, seen from this host. `environment_state`: as in `gears env list`, or missing; "": none is named."""

    top: str
    name: str
    code: Code
    data: DataState
    environment: str
    environment_state: str
    template: str  # its version; "": made from none
    newer_template: str  # that of this gears, if it is newer
    running: tuple[str, ...] = ()  # stages, and by whom, as far as this host can tell
    jobs: tuple[FoundRun, ...] = ()  # submitted from this clone
    next: tuple[str, ...] = ()


def find_status(directory: Path, site: Site, host: Host) -> Status:
    """Look at the workspace around a directory. Changes nothing. Raises UsageError if there is none."""
    top, found = settings.find(directory)
    code, data = code_of(top), data_of(top, found, site, host)
    state = environment_state(found.environment)
    template, newer = template_of(top)
    jobs = jobs_of(top)
    to_do = [*next_steps(top, code, data, state, newer), *after_jobs(top, jobs)]
    held = running(top, data.cache) if data.keeper == "dvc" else ()
    return Status(str(top), found.name, code, data, found.environment, state, template, newer, held, jobs, tuple(to_do))


def code_of(top: Path) -> Code:
    """Ask git."""
    ahead = try_git(top, "rev-list", "--count", "HEAD", "--not", "--remotes")
    behind = try_git(top, "rev-list", "--count", "HEAD..@{upstream}")
    return Code(
        branch=branch(top),
        uncommitted=tuple(line[3:] for line in changed(top)),
        conflicts=tuple(unmerged(top)),
        unpushed=int(ahead or 0),
        behind=int(behind or 0),
        remote=try_git(top, "remote").partition("\n")[0],
    )


def data_of(top: Path, found: Settings, site: Site, host: Host) -> DataState:
    """Ask DVC, if it keeps the data here, and look at the places that have it."""
    if other := other_keeper(top):
        return DataState(other)
    if not uses_dvc(top):
        return DataState()
    try:
        dvc = find_dvc(top, found)
        cache = dvc.get_local(CACHE)
        gone = tuple(str(path) for path in dvc.local_directories() if not path.is_dir())
        data = Data() if gone else dvc.data()  # DVC fails without them
        directory = top / ".dvc" / (cache or "cache")
        holding = find_holding(top, found, site, host, directory) if has_commit(top) else Holding()
    except GearsError as exc:
        return DataState("dvc", problem=str(exc))
    return DataState("dvc", data.changed, data.missing, cache, gone=gone, holding=holding)


def has_commit(top: Path) -> bool:
    """Tell whether there is a commit."""
    return bool(try_git(top, "rev-parse", "--verify", "--quiet", "HEAD"))


def environment_state(name: str) -> str:
    """Return the condition of an environment of gears; "" without a name."""
    from gears.envs import registry
    from gears.envs.paths import place
    from gears.system.installation import gears_home

    if not name:
        return ""
    environment = registry.load(place(gears_home() / "run"), name)
    return registry.condition(environment).state if environment else "missing"


def template_of(top: Path) -> tuple[str, str]:
    """Return the template's version here, and that of gears if it is newer. An own template is not asked for."""
    try:
        answers = answers_of(top)
    except GearsError:
        return "", ""
    current = str(answers["_commit"]).removeprefix("v")
    return current, shipped_version(newer_than=current) if answers["_src_path"] == SHIPPED else ""


def next_steps(top: Path, code: Code, data: DataState, environment: str, newer: str) -> list[str]:
    """Return the commands that what was found asks for, the most urgent first. Pure."""
    lost = data.holding.lost
    steps = [
        (code.conflicts, f"git -C {top} status   (resolve the conflicts)"),
        (code.uncommitted and not code.conflicts, f"git -C {top} add -A; git -C {top} commit"),
        (not code.remote, f"git -C {top} remote add origin URL"),
        (code.behind, f"git -C {top} pull"),
        (data.gone, f"gears workspace join {top}   (sets the clone up again)"),
        (any(one.held for one in lost), f"gears workspace pull {top}"),
        (not all(one.held for one in lost) or (data.missing and not lost), f"cd {top} && dvc pull   (or: dvc repro)"),
        (code.remote and (code.unpushed or data.holding.unpushed), f"gears workspace push {top}"),
        (data.changed, f"cd {top} && dvc status"),
        (environment == "missing", f"gears workspace join {top}"),
        (environment == "broken", "gears env list"),
        (newer, f"gears workspace update {top}"),
    ]
    return [command for needed, command in steps if needed]


def jobs_of(top: Path) -> tuple[FoundRun, ...]:
    """Look at the jobs that were submitted here; the scheduler is asked about each."""
    if not (common_directory(top) / "gears-runs").is_dir():
        return ()
    from gears.workspace.runs import find_runs

    return find_runs(top)


def after_jobs(top: Path, jobs: tuple[FoundRun, ...]) -> list[str]:
    """Return the commands for jobs that have ended. Pure."""
    commands = []
    for job in jobs:
        if job.branch:
            commands.append(to_merge(top, job.branch))
        elif job.clone and not job.is_live:
            again = " ".join(["gears workspace run", *job.stages, "--job"])
            commands.append(f"tail {job.log}; cd {top} && {again}   (goes on; or: rm -r {job.clone})")
    return commands


def to_merge(top: Path, branch: str) -> str:
    """Return the commands that bring the results of a run into the files."""
    return f"git -C {top} merge {branch}; gears workspace join {top} --no-env"
