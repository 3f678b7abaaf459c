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
    idle_timeout: str = ""  # [D-]HH:MM:SS without use, after which it ends; "": never


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
class Carry:
    """Whether the variables of notebooks are saved, for the next lab; `every`: [D-]HH:MM:SS, "" only at the end."""

    on: bool = False
    every: str = ""
    days: int = 30  # a state that is older is removed


PlaceKind = Literal["posix", "hpss", "globus", "rclone"]
PurgeBy = Literal["", "atime", "mtime", "either", "ctime"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where data is kept: a directory, or an archive that only `kind`'s programs reach; [filesystem.NAME].

    `{user}` and `{project}` in `path` and `quota` stand for the account and the project. Sizes are such as "100GB".
    """

    path: str = ""  # "": the site has no such place
    kind: PlaceKind = "posix"
    shared: Literal["no", "group", "world"] = "no"
    purge_days: int = 0  # age at which files are removed; 0: no purge is known
    purge_by: PurgeBy = ""  # either: neither read nor changed for that long; "": not documented
    quota: str = ""  # a command that shows the quota; no shell
    hosts: tuple[str, ...] = ()  # which hosts mount it; (): any may
    bundle_size: str = ""  # of the archives in which many files are stored; "": not documented
    bundle_maximum: str = ""
    collection: str = ""  # of Globus, that is this directory; with :PATH if that has another path there

    def filled(self, text: str, *, user: str, project: str) -> str:
        """Return `path` or `quota` with the account and the project filled in; empty if it needs one that is empty."""
        for word, value in (("{user}", user.replace("\\", "/")), ("{project}", project)):
            if word in text and not value:
                return ""
            text = text.replace(word, value)
        return text


@dataclass(frozen=True, slots=True)
class Transfer:
    """Where data is moved: the host for transfers, its queue, and the limits of a job there."""

    host: str | None = None  # None: the lab host
    queue: str = ""
    nodes: int = 1  # at most, in a job
    walltime: str = ""  # at most; "": that of [scheduler]
    jobs: int = 1  # at most, at once
    globus_client: str = ""  # the id of the application registered with Globus


@dataclass(frozen=True, slots=True)
class Site:
    """A checked profile. `sources`: the file that set each key; keys not in it have their default."""

    name: str
    title: str = ""
    local: str = "/tmp"
    project: str = ""  # in the paths of places
    front: Front = Front()
    lab: Lab = Lab()
    laptop: Laptop = Laptop()
    scheduler: Scheduler | None = None
    envs: Envs = Envs()
    carry: Carry = Carry()
    dask: dict[str, Any] = field(default_factory=dict)
    transfer: Transfer = Transfer()
    filesystem: dict[str, Place] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict, compare=False, repr=False)


SECTIONS = {
    "front": Front,
    "lab": Lab,
    "laptop": Laptop,
    "scheduler": Scheduler,
    "envs": Envs,
    "carry": Carry,
    "transfer": Transfer,
}
OPEN_SECTIONS = ("dask",)  # any key: defined by other programs
PLACES = "filesystem"  # a table of tables, one for each place
CHECKS: dict[str, validators.Check] = {
    "title": validators.text,
    "local": validators.host_local,
    "project": validators.or_empty(validators.project),
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
    "lab.idle_timeout": validators.or_empty(validators.walltime),
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
    "carry.on": validators.switch,
    "carry.every": validators.or_empty(validators.walltime),
    "carry.days": validators.number(1, 3650),
    "transfer.host": validators.optional(validators.host),
    "transfer.queue": validators.or_empty(validators.job_word),
    "transfer.nodes": validators.number(1, 100_000),
    "transfer.walltime": validators.or_empty(validators.walltime),
    "transfer.jobs": validators.number(1, 1000),
    "transfer.globus_client": validators.or_empty(validators.uuid),
}
PLACE_CHECKS: dict[str, validators.Check] = {
    "path": validators.or_empty(validators.place_path),
    "kind": validators.one_of("posix", "hpss", "globus", "rclone"),
    "shared": validators.one_of("no", "group", "world"),
    "purge_days": validators.number(0, 36_500),
    "purge_by": validators.or_empty(validators.one_of("atime", "mtime", "either", "ctime")),
    "quota": validators.or_empty(validators.command),
    "hosts": validators.many(validators.pattern),
    "bundle_size": validators.or_empty(validators.size),
    "bundle_maximum": validators.or_empty(validators.size),
    "collection": validators.or_empty(validators.collection),
}


def items(site: Site) -> Iterator[tuple[str, Any]]:
    """Yield every key of the effective profile with its value, in the order of CHECKS; None: not set.

    The keys of [dask] and of the places come last.
    """
    for key in CHECKS:
        section, name = split(key)
        owner = getattr(site, section) if section else site
        if owner is not None:
            yield key, getattr(owner, name)
    for section in OPEN_SECTIONS:
        yield from ((f"{section}.{name}", value) for name, value in getattr(site, section).items())
    for place, keys in site.filesystem.items():
        yield from ((f"{PLACES}.{place}.{name}", getattr(keys, name)) for name in PLACE_CHECKS)


def split(key: str) -> tuple[str, str]:
    """Split "lab.host" into ("lab", "host"), "title" into ("", "title").

    "filesystem.scratch.path" becomes ("filesystem.scratch", "path").
    """
    section, dot, name = key.rpartition(".") if key.startswith(f"{PLACES}.") else key.partition(".")
    return (section, name) if dot else ("", section)
