#!/usr/bin/python3
"""A stand-in for micromamba 2, on the solver and installer of py-rattler, with which pixi is made.

The commands that environments need, for a prefix: create, install, update, list, env export, env update, env remove,
run. Words, exit statuses and files are those of mamba's own sources (libmamba/src/api, micromamba/src) and user guide:
a conda prefix that is there is overwritten, another directory is refused; errors go to standard error, each with its
level and `libmamba`; whatever fails, the exit status is 1. Packages are kept in $CONDA_PKGS_DIRS, else in
$MAMBA_ROOT_PREFIX/pkgs. Beside it there must be the packages `rattler` and `yaml`.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent))

import yaml
from rattler import Channel, MatchSpec, PrefixRecord, RepoDataRecord, VirtualPackage, install, solve
from rattler.exceptions import (
    CacheDirError,
    ExtractError,
    GatewayError,
    InstallerError,
    InvalidMatchSpecError,
    IoError,
    LinkError,
    SolverError,
    TransactionError,
)

VERSION = "2.3.3"
ROOT = Path(os.environ.get("MAMBA_ROOT_PREFIX", "~/.local/share/mamba")).expanduser()


def fail(*words: str) -> NoReturn:
    """The last of them is what it ends with."""
    for line in words[:-1]:
        print(f"error    libmamba {line}", file=sys.stderr)
    print(f"critical libmamba {words[-1]}", file=sys.stderr)
    sys.exit(1)


# --- what is asked for -----------------------------------------------------------------------


class Request:
    """Specifications and channels, of the command line and of its file: `--override-channels` leaves the file's out."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.specs: list[str] = list(options.specs)
        self.pip: list[str] = []
        self.directory = Path.cwd()
        self.channels: list[str] = list(options.channel)
        if options.file:
            self._read(Path(options.file).absolute(), override=options.override_channels)

    def _read(self, file: Path, *, override: bool) -> None:
        if not file.exists():
            fail(f"YAML spec file '{file}' not found", "File not found. Aborting.")
        if file.suffix not in (".yml", ".yaml"):
            lines = [line.strip() for line in file.read_text().splitlines()]
            self.specs += [line for line in lines if line and not line.startswith(("#", "@"))]
            return
        found = self._parse(file)
        self.directory = file.parent
        self.channels += [] if override else found.get("channels") or []
        for dependency in found["dependencies"]:
            if isinstance(dependency, dict):
                self.pip += dependency.get("pip", [])
            else:
                self.specs.append(dependency)
        if self.pip and "pip" not in self.specs:
            self.specs.append("pip")

    def _parse(self, file: Path) -> dict[str, Any]:
        try:
            found = yaml.safe_load(file.read_text())
        except yaml.YAMLError as error:
            fail(f"YAML error in spec file '{file}'", str(error))
        if not isinstance(found, dict) or not isinstance(found.get("dependencies"), list):
            fail(f"No 'dependencies' specified in YAML spec file '{file}'", "Invalid spec file. Aborting.")
        return found


def installed(prefix: Path) -> list[PrefixRecord]:
    return [PrefixRecord.from_path(path) for path in sorted(prefix.glob("conda-meta/*.json"))]


def history(prefix: Path) -> dict[str, str]:
    """Specifications that were asked for, by name: conda-meta/history."""
    file = prefix / "conda-meta/history"
    lines = file.read_text().splitlines() if file.exists() else []
    asked: dict[str, str] = {}
    for line in lines:
        if line.startswith("# update specs: "):
            asked |= {name_of(spec): spec for spec in json.loads(line.removeprefix("# update specs: "))}
    return asked


def name_of(spec: str) -> str:
    name = MatchSpec(spec).name
    assert name is not None
    return str(name.normalized)


# --- what is done ----------------------------------------------------------------------------


def create(options: argparse.Namespace) -> None:
    request, prefix = Request(options), options.prefix
    if (prefix / "conda-meta").is_dir():
        if not options.yes:
            fail("Aborting.")
        shutil.rmtree(prefix)
    elif prefix.exists():
        fail("Non-conda folder exists at prefix", "Aborting.")
    change(prefix, request, request.specs)


def install_(options: argparse.Namespace) -> None:
    expect_environment(options.prefix)
    request = Request(options)
    if not request.specs:
        print("Nothing to do.")
    else:
        asked = history(options.prefix) | {name_of(spec): spec for spec in request.specs}
        change(options.prefix, request, list(asked.values()), keep=True)


def update(options: argparse.Namespace) -> None:
    """Of what is named the newest, or with --all of everything, as far as what was asked for before allows it. What is
    not installed is not installed now, either: mamba issues 2196 and 3354."""
    expect_environment(options.prefix)
    request = Request(options)
    there = {str(record.name.normalized) for record in installed(options.prefix)}
    named = {name_of(spec): spec for spec in request.specs if name_of(spec) in there}
    asked = history(options.prefix)
    kept = asked if options.all else {name: spec for name, spec in asked.items() if name not in named}
    if not named and not options.all:
        print("\n  All requested packages already installed\n")
        return
    change(options.prefix, request, [*kept.values(), *named.values()], keep=not options.all, newest=[*named])


def env_update(options: argparse.Namespace) -> None:
    """What a file asks for is installed; what satisfies it stays in its version (mamba issue 854)."""
    expect_environment(options.prefix)
    request = Request(options)
    asked = {} if options.prune else history(options.prefix)
    change(options.prefix, request, list((asked | {name_of(spec): spec for spec in request.specs}).values()), keep=True)


def change(prefix: Path, request: Request, specs: list[str], *, keep: bool = False, newest: Sequence[str] = ()) -> None:
    """`keep`: what is there stays in its version, but for `newest`, unless it must give way."""
    there = installed(prefix)
    freed = {name_of(spec) for spec in newest}
    locked = [record for record in there if keep and str(record.name.normalized) not in freed]
    records = solve_for(request, specs, locked)
    print(f"\nTransaction\n\n  Prefix: {prefix}\n\n  Updating specs:\n", flush=True)
    print("".join(f"   - {spec}\n" for spec in specs), flush=True)
    link(prefix, records)
    with (prefix / "conda-meta/history").open("a") as file:
        file.write(f"==> {time.strftime('%Y-%m-%d %H:%M:%S')} <==\n# cmd: {' '.join(sys.argv)}\n")
        file.write(f"# update specs: {json.dumps(specs)}\n")
    if request.pip:
        install_by_pip(prefix, request)
    print("\nTransaction finished\n")


def solve_for(request: Request, specs: list[str], locked: list[PrefixRecord]) -> list[RepoDataRecord]:
    if not request.channels:
        print("warning  libmamba No 'channels' specified", file=sys.stderr)
    sources = [Channel(channel) for channel in request.channels]
    detected = VirtualPackage.detect()
    try:
        wanted = [MatchSpec(spec) for spec in specs]
        return asyncio.run(solve(sources, wanted, locked_packages=locked, virtual_packages=detected))
    except InvalidMatchSpecError as error:
        fail(str(error))
    except SolverError as error:
        fail(f"Could not solve for environment specs\n{indent(error)}", "Could not solve for environment specs")
    except GatewayError as error:
        fail(f"Could not load repodata.json\n{indent(error)}", f"Subdir {request.channels} not loaded!")


def indent(error: Exception) -> str:
    return "\n".join(f"    {line}" for line in str(error).splitlines())


def link(prefix: Path, records: list[RepoDataRecord]) -> None:
    cache = Path(os.environ.get("CONDA_PKGS_DIRS", f"{ROOT}/pkgs").split(",")[0])
    for record in records:
        print(f"Linking {record.name.normalized}-{record.version}-{record.build}", flush=True)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        asyncio.run(install(records, prefix, cache_dir=cache, show_progress=False))
    except (CacheDirError, ExtractError, InstallerError, IoError, LinkError, TransactionError, OSError) as error:
        fail(" ".join(str(error).split()))


def install_by_pip(prefix: Path, request: Request) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as specs:
        specs.write("\n".join(request.pip) + "\n")
        specs.flush()
        print(f"\nInstalling pip packages: {', '.join(request.pip)}", flush=True)
        command = [prefix / "bin/python", "-m", "pip", "install", "-r", specs.name, "--no-input"]
        if subprocess.run(command, cwd=request.directory).returncode:
            fail("pip failed to install packages")


def expect_environment(prefix: Path) -> None:
    if not prefix.exists():
        fail(f"Prefix does not exist at: {prefix}")
    if not (prefix / "conda-meta").is_dir():
        fail(f"Expected environment not found at prefix: {prefix}")


# --- what is told ----------------------------------------------------------------------------


def list_(options: argparse.Namespace) -> None:
    expect_environment(options.prefix)
    known = [
        {"name": record.name.normalized, "version": str(record.version), "build_string": str(record.build)}
        | {"channel": str(record.channel), "url": str(record.url), "platform": str(record.subdir)}
        for record in installed(options.prefix)
    ]
    if options.json:
        print(json.dumps(known, indent=4))
        return
    print(f"List of packages in environment: {options.prefix}\n")
    for one in known:
        print("  " + "  ".join(str(one[key]) for key in ("name", "version", "build_string", "channel")))


def export(options: argparse.Namespace) -> None:
    expect_environment(options.prefix)
    records, asked = installed(options.prefix), history(options.prefix)
    if options.from_history:
        dependencies = sorted(asked.values())
    else:
        build = "" if options.no_build else "={build}"
        line = "{name}={version}" + build
        dependencies = [
            line.format(name=record.name.normalized, version=record.version, build=record.build) for record in records
        ]
    channels = sorted({str(record.channel).rstrip("/") for record in records})
    print("name: \nchannels:")
    print("".join(f"- {channel}\n" for channel in channels), end="")
    print("dependencies:")
    print("".join(f"- {dependency}\n" for dependency in dependencies))


def remove(options: argparse.Namespace) -> None:
    expect_environment(options.prefix)
    shutil.rmtree(options.prefix)
    print(f"Environment removed at prefix: {options.prefix}")


def run(options: argparse.Namespace) -> None:
    expect_environment(options.prefix)
    active = {"CONDA_PREFIX": str(options.prefix), "PATH": f"{options.prefix}/bin:{os.environ['PATH']}"}
    os.execvpe(options.specs[0], options.specs, os.environ | active)


# --- the command line ------------------------------------------------------------------------

COMMANDS = {
    ("create",): create,
    ("install",): install_,
    ("update",): update,
    ("list",): list_,
    ("run",): run,
    ("env", "create"): create,
    ("env", "update"): env_update,
    ("env", "export"): export,
    ("env", "remove"): remove,
}


def parse(words: list[str]) -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="micromamba")
    options.add_argument("-p", "--prefix", type=lambda text: Path(text).absolute(), required=True)
    options.add_argument("-f", "--file")
    options.add_argument("-c", "--channel", action="append", default=[])
    for flag in ("--override-channels", "--json", "--all", "--prune", "--from-history", "--no-build"):
        options.add_argument(flag, action="store_true")
    options.add_argument("-y", "--yes", action="store_true")
    for ignored in ("-q", "--quiet", "--no-rc", "--no-env", "--offline"):
        options.add_argument(ignored, action="store_true")
    options.add_argument("specs", nargs=argparse.REMAINDER if "run" in words[:1] else "*", default=[])
    return options.parse_intermixed_args(words) if "run" not in words[:1] else options.parse_args(words)


def main(words: list[str]) -> None:
    if words == ["--version"]:
        print(VERSION)
        return
    at = 2 if words[:1] == ["env"] else 1
    command = COMMANDS.get(tuple(words[:at]))
    if not command:
        fail(f"The following argument was not expected: {' '.join(words[:at])}")
    command(parse(words[at:]))


def main_then_leave(words: list[str]) -> NoReturn:
    """Without the interpreter's own end, in which rattler's threads may still be at work, and crash."""
    status = 1
    try:
        main(words)
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:  # noqa: BLE001 told, and then it ends
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(status)


if __name__ == "__main__":
    main_then_leave(sys.argv[1:])
