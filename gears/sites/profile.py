"""Site profiles: sections, keys, defaults and checks.

A profile is what `sites/NAME.toml`, `/etc/gears/sites/NAME.toml` and `~/.config/gears/sites/NAME.toml` say
together; later files override earlier ones key by key. Only checked values get into a `Site`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from gears.sites import validators


@dataclass(frozen=True, slots=True)
class Front:
    """The host to which the laptop's ssh connects. Without a host of its own the lab host is the front."""

    host: str | None = None
    jump: tuple[str, ...] = ()
    proxy: Literal["-W", "jump", "nc"] = "-W"
    user: str = ""  # "": the local account name
    root: str = ""  # directory of gears on the front, for a stanza printed elsewhere; {user}: the account there


@dataclass(frozen=True, slots=True)
class Lab:
    """The lab host, and how JupyterLab runs there."""

    host: str | None = None  # None: this machine
    match: tuple[str, ...] = ()
    listen: Literal["port", "socket"] = "port"
    directory: str = "~"
    home: Literal["shared", "separate"] = "shared"
    root: str | None = None  # None: at the same path as here
    port: int = 0  # of JupyterLab on the lab host; 0: any


@dataclass(frozen=True, slots=True)
class Laptop:
    """The laptop: `port` is the loopback port at which the browser finds the lab."""

    port: int = 38888


@dataclass(frozen=True, slots=True)
class Scheduler:
    """How JupyterLab becomes a batch job. `walltime`: [D-]HH:MM:SS.

    `reach`: how the login node reaches the compute node, by ssh or by a reverse tunnel from there.
    """

    kind: Literal["slurm", "pbs", "lsf", "sge"]
    account: str = ""
    queue: str = ""
    walltime: str = "01:00:00"
    reach: Literal["ssh", "reverse"] = "ssh"
    directives: tuple[str, ...] = ()
    nodes: int | None = None  # None: the scheduler's default, one
    prologue: tuple[str, ...] = ()  # lines of shell, run first in the job: `module load …`
    renew: int = 0  # how many successor jobs take over


@dataclass(frozen=True, slots=True)
class Envs:
    """Environments as kernels."""

    directory: str = ""  # "": in run/envs, in the home
    default: str = ""  # the kernel of new notebooks; "": gears' own
    prologue: tuple[str, ...] = ()  # lines of shell, run first in every kernel: `module load …`


@dataclass(frozen=True, slots=True)
class Site:
    """A checked profile. `sources`: the file that set each key; keys not in it have their default."""

    name: str
    title: str = ""
    local: str = "/tmp"
    front: Front = Front()
    lab: Lab = Lab()
    laptop: Laptop = Laptop()
    scheduler: Scheduler | None = None
    envs: Envs = Envs()
    dask: dict[str, Any] = field(default_factory=dict)
    filesystem: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict, compare=False, repr=False)


SECTIONS = {"front": Front, "lab": Lab, "laptop": Laptop, "scheduler": Scheduler, "envs": Envs}
OPEN_SECTIONS = ("dask", "filesystem")  # any key: defined by other programs
CHECKS: dict[str, validators.Check] = {
    "title": validators.text,
    "local": validators.host_local,
    "front.host": validators.optional(validators.host),
    "front.jump": validators.many(validators.jump),
    "front.proxy": validators.one_of("-W", "jump", "nc"),
    "front.user": validators.or_empty(validators.user),
    "front.root": validators.or_empty(validators.template_path),
    "lab.host": validators.optional(validators.host),
    "lab.match": validators.many(validators.pattern),
    "lab.listen": validators.one_of("port", "socket"),
    "lab.port": validators.port_or_any,
    "lab.directory": validators.path,
    "lab.home": validators.one_of("shared", "separate"),
    "lab.root": validators.optional(validators.path),
    "laptop.port": validators.port,
    "scheduler.kind": validators.one_of("slurm", "pbs", "lsf", "sge"),
    "scheduler.account": validators.or_empty(validators.job_word),
    "scheduler.queue": validators.or_empty(validators.job_word),
    "scheduler.nodes": validators.optional(validators.number(1, 100_000)),
    "scheduler.walltime": validators.walltime,
    "scheduler.reach": validators.one_of("ssh", "reverse"),
    "scheduler.directives": validators.many(validators.directive),
    "scheduler.prologue": validators.many(validators.text),
    "scheduler.renew": validators.number(0, 100),
    "envs.directory": validators.or_empty(validators.path),
    "envs.default": validators.or_empty(validators.setting_name),
    "envs.prologue": validators.many(validators.text),
}


def items(site: Site) -> Iterator[tuple[str, Any]]:
    """Yield every key of the effective profile with its value, in the order of CHECKS; None: not set.

    The keys of [dask] and [filesystem] come last.
    """
    for key in CHECKS:
        section, name = split(key)
        owner = getattr(site, section) if section else site
        if owner is not None:
            yield key, getattr(owner, name)
    for section in OPEN_SECTIONS:
        yield from ((f"{section}.{name}", value) for name, value in getattr(site, section).items())


def split(key: str) -> tuple[str, str]:
    """Split "lab.host" into ("lab", "host"), "title" into ("", "title")."""
    section, dot, name = key.partition(".")
    return (section, name) if dot else ("", section)
