"""Site profiles: their defaults, their shape, their check, and where they are read from.

A profile is what `sites/NAME.toml`, `/etc/gears/sites/NAME.toml` and `~/.config/gears/sites/NAME.toml` say
together, later ones winning key by key. Only what has passed its check gets into a `Site`.
"""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gears import checks
from gears.errors import ProfileError, UsageError

BUILT_IN = Path(__file__).parent / "sites"
SYSTEM = Path("/etc/gears/sites")

Environ = Mapping[str, str]
Settings = dict[str, tuple[object, str]]  # "lab.host" → its value, and the file that says so


@dataclass(frozen=True, slots=True)
class Front:
    """The host the laptop's ssh lands on. Without a host of its own the lab host is the front."""

    host: str | None = None
    jump: tuple[str, ...] = ()
    proxy: Literal["-W", "jump", "nc"] = "-W"
    user: str = ""  # "": the same name as here
    root: str = ""  # where gears is on the front, for a stanza printed elsewhere; {user} stands for the user there


@dataclass(frozen=True, slots=True)
class Lab:
    """The host JupyterLab runs on, and how: the profile's [lab]."""

    host: str | None = None  # None: this machine
    match: tuple[str, ...] = ()
    listen: Literal["port", "socket"] = "port"
    directory: str = "~"
    home: Literal["shared", "separate"] = "shared"
    root: str | None = None  # None: at the same path as here
    port: int = 0  # of JupyterLab on the lab host; 0: any


@dataclass(frozen=True, slots=True)
class Laptop:
    """The laptop's end: `port` is the one of its own loopback at which the browser finds the lab."""

    port: int = 38888


@dataclass(frozen=True, slots=True)
class Scheduler:
    """How JupyterLab becomes a batch job. `walltime`: [D-]HH:MM:SS.

    `reach`: how the login node gets to the compute node, by ssh or by a reverse tunnel from there.
    """

    kind: Literal["slurm", "pbs", "lsf", "sge"]
    account: str = ""
    queue: str = ""
    walltime: str = "01:00:00"
    reach: Literal["ssh", "reverse"] = "ssh"
    directives: tuple[str, ...] = ()
    nodes: int | None = None  # None: as the scheduler has it, which is one
    prologue: tuple[str, ...] = ()  # lines of shell, run first in the job: `module load …`
    renew: int = 0  # how many times another job takes over when one ends


@dataclass(frozen=True, slots=True)
class Envs:
    """Environments as kernels."""

    directory: str = ""  # "": in run/envs, in the home
    default: str = ""  # the kernel that new notebooks get; "": gears' own
    prologue: tuple[str, ...] = ()  # lines of shell, run first in every kernel: `module load …`


@dataclass(frozen=True, slots=True)
class Site:
    """A checked profile. `sources` tells which file each key came from; keys not in it have their default."""

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
OPEN_SECTIONS = ("dask", "filesystem")  # any key: other programs define them
CHECKS: dict[str, checks.Check] = {
    "title": checks.text,
    "local": checks.host_local,
    "front.host": checks.optional(checks.host),
    "front.jump": checks.many(checks.jump),
    "front.proxy": checks.one_of("-W", "jump", "nc"),
    "front.user": checks.or_empty(checks.user),
    "front.root": checks.or_empty(checks.template_path),
    "lab.host": checks.optional(checks.host),
    "lab.match": checks.many(checks.pattern),
    "lab.listen": checks.one_of("port", "socket"),
    "lab.port": checks.port_or_any,
    "lab.directory": checks.path,
    "lab.home": checks.one_of("shared", "separate"),
    "lab.root": checks.optional(checks.path),
    "laptop.port": checks.port,
    "scheduler.kind": checks.one_of("slurm", "pbs", "lsf", "sge"),
    "scheduler.account": checks.or_empty(checks.job_word),
    "scheduler.queue": checks.or_empty(checks.job_word),
    "scheduler.nodes": checks.optional(checks.number(1, 100_000)),
    "scheduler.walltime": checks.walltime,
    "scheduler.reach": checks.one_of("ssh", "reverse"),
    "scheduler.directives": checks.many(checks.directive),
    "scheduler.prologue": checks.many(checks.text),
    "scheduler.renew": checks.number(0, 100),
    "envs.directory": checks.or_empty(checks.path),
    "envs.default": checks.or_empty(checks.setting_name),
    "envs.prologue": checks.many(checks.text),
}


def load_site(name: str, *, environ: Environ = os.environ) -> Site:
    """Read the profile called `name`. UsageError where there is none, ProfileError where one of its files is wrong."""
    check_name(name)
    settings: Settings = {}
    files = [file for directory in _directories(environ) if (file := directory / f"{name}.toml").is_file()]
    if not files:
        raise _unknown(name, environ)
    for file in files:
        settings |= _settings(_read_toml(file), str(file))
    return _site(name, settings)


def site_names(*, environ: Environ = os.environ) -> list[tuple[str, str]]:
    """List every known name in alphabetical order, each with where its profile is, last file first."""
    found: dict[str, list[str]] = {}
    for directory in _directories(environ):
        for file in directory.glob("*.toml"):
            if re.fullmatch(checks.SITE_NAME, file.stem):
                found.setdefault(file.stem, []).insert(0, "built in" if directory == BUILT_IN else str(file))
    return [(name, ", ".join(sources)) for name, sources in sorted(found.items())]


def default_site(environ: Environ = os.environ) -> str:
    """Return `$GEARS_SITE`, else `site` in ~/.config/gears/config.toml, else "local".

    Raises UsageError, ProfileError.
    """
    if name := environ.get("GEARS_SITE"):
        return check_name(name)
    file = own_directory(environ) / "config.toml"
    name = _read_toml(file).get("site", "local") if file.is_file() else "local"
    return str(_checked("site", name, str(file), checks.site_name))


def check_name(name: str) -> str:
    """Return the name if it may be a site's (`checks.site_name`). Raises UsageError."""
    try:
        return str(checks.site_name(name))
    except ValueError as exc:
        raise UsageError(str(exc), next="gears sites list") from exc


def to_json(site: Site) -> str:
    """Write what `from_json` reads: the effective profile in one line, for gears on another host."""
    import json

    return json.dumps({"name": site.name} | _nested(site))


def from_json(line: str) -> Site:
    """Read the site in `line`, checked as strictly as a file. ProfileError where it is wrong."""
    import json

    origin = "profile from the front"
    try:
        tables = json.loads(line)
    except ValueError as exc:
        raise ProfileError(origin, "line 1", str(exc)) from exc
    if not isinstance(tables, dict):
        raise ProfileError(origin, "line 1", "must be a table")
    name = _checked("name", tables.pop("name", None), origin, checks.site_name)
    return _site(name, _settings(tables, origin))


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


def _nested(site: Site) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    for key, value in items(site):
        section, name = split(key)
        if value is not None:
            (tables.setdefault(section, {}) if section else tables)[name] = value
    return tables


def _directories(environ: Environ) -> tuple[Path, Path, Path]:
    return BUILT_IN, SYSTEM, own_directory(environ) / "sites"


def own_directory(environ: Environ) -> Path:
    """Return the person's own directory for gears' settings: ~/.config/gears."""
    return Path(environ.get("HOME") or Path.home()) / ".config" / "gears"


def _unknown(name: str, environ: Environ) -> UsageError:
    known = [known for known, _ in site_names(environ=environ)]
    hint = _did_you_mean(name, known)
    return UsageError(f"no site is called {name}{hint}; known: {', '.join(known)}", next="gears sites list")


def _did_you_mean(word: str, known: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(word, known, 1)
    return f" (did you mean {close[0]}?)" if close else ""


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as exc:
        reason, _, place = str(exc).partition(" (at ")
        line = re.match(r"line (\d+)", place)
        raise ProfileError(str(file), f"line {line[1]}" if line else "end", reason) from exc
    except UnicodeDecodeError as exc:
        line_number = exc.object[: exc.start].count(b"\n") + 1
        raise ProfileError(str(file), f"line {line_number}", "is not UTF-8 text") from exc
    except OSError as exc:
        raise ProfileError(str(file), "file", exc.strerror or str(exc)) from exc


def _settings(tables: dict[str, Any], file: str) -> Settings:
    """Return the file's settings by dotted key. Only sections are opened: tables under [dask] stay whole."""
    settings: Settings = {}
    for section, value in tables.items():
        if section not in SECTIONS and section not in OPEN_SECTIONS:
            settings[section] = value, file
        elif not isinstance(value, dict):
            raise ProfileError(file, section, f"must be a table: [{section}]")
        else:
            settings |= {f"{section}.{key}": (item, file) for key, item in value.items()}
    return settings


def _site(name: str, settings: Settings) -> Site:
    values: dict[str, dict[str, Any]] = {section: {} for section in ("", *SECTIONS, *OPEN_SECTIONS)}
    for key, (value, file) in settings.items():
        section, word = split(key)
        values[section][word] = _checked(key, value, file, _check_for(key, file))
    _check_whole(values, {key: file for key, (_, file) in settings.items()})
    return Site(
        name=name,
        **values[""],
        front=Front(**values["front"]),
        lab=Lab(**values["lab"]),
        laptop=Laptop(**values["laptop"]),
        scheduler=Scheduler(**values["scheduler"]) if values["scheduler"] else None,
        envs=Envs(**values["envs"]),
        dask=values["dask"],
        filesystem=values["filesystem"],
        sources={key: file for key, (_, file) in settings.items()},
    )


def _check_whole(values: dict[str, dict[str, Any]], sources: dict[str, str]) -> None:
    """Check what no single key can tell. Raises ProfileError."""
    if values["front"].get("host") and not values["lab"].get("host"):
        raise ProfileError(sources["front.host"], "lab.host", "is missing, though front.host is set")
    if values["scheduler"] and "kind" not in values["scheduler"]:
        key = f"scheduler.{next(iter(values['scheduler']))}"
        raise ProfileError(sources[key], "scheduler.kind", "is missing, though [scheduler] is there")


def _check_for(key: str, file: str) -> checks.Check:
    section, name = split(key)
    if section in OPEN_SECTIONS:
        _checked(key, name, file, checks.setting_name)
        return checks.setting
    if key not in CHECKS:
        known = [*CHECKS, *SECTIONS, *OPEN_SECTIONS]
        raise ProfileError(file, key, f"is not a key of a profile{_did_you_mean(key, known)}")
    return CHECKS[key]


def _checked(key: str, value: object, file: str, check: checks.Check) -> Any:
    try:
        return check(value)
    except ValueError as exc:
        raise ProfileError(file, key, str(exc)) from exc


def split(key: str) -> tuple[str, str]:
    """Split "lab.host" into ("lab", "host"), "title" into ("", "title")."""
    section, dot, name = key.partition(".")
    return (section, name) if dot else ("", section)
