"""Programs that copy or pack trees, as what they are run by: each puts a tree to a place, and gets it back."""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

Argv = Sequence[str | Path]


@dataclass(frozen=True)
class Peer:
    """`put` of (source, place), `get` of (place, target), which is None if the place itself is the copy. `check`: what
    the program has to say whether the place is right, of (source, place). `program`: what has to be installed.
    """

    name: str
    program: str
    put: Callable[[Path, Path], Argv]
    get: Callable[[Path, Path], Argv] | None = None
    check: Callable[[Path, Path], Argv] | None = None
    version: tuple[str, ...] = ("--version",)

    @property
    def path(self) -> str | None:
        return find(self.program)


def find(program: str) -> str | None:
    """Find a program: GEARS_BENCH_DSYNC names a dsync that is not in the PATH, and so on."""
    beside = Path(sys.executable).with_name(program)
    named = os.environ.get(f"GEARS_BENCH_{program.upper()}")
    return named or shutil.which(program) or (str(beside) if beside.exists() else None)


def _program(name: str) -> str:
    return find(name) or name


def _driver(*words: str | Path) -> Argv:
    return [sys.executable, "-m", "tests.data_driver", *words]


def records_of(place: Path) -> Path:
    return place.with_name(f"{place.name}-records")


def _rsync(options: str) -> Callable[[Path, Path], Argv]:
    return lambda source, place: ["rsync", options, f"{source}/", f"{place}/"]


def _rsync_check(options: str) -> Callable[[Path, Path], Argv]:
    """Compare by checksums: rsync itself exits with 0 whatever it lists."""
    script = 'found=$(rsync "$0" "$1" "$2") || exit; [ -z "$found" ] || { echo "$found" | head -n 5; exit 1; }'
    return lambda source, place: ["sh", "-c", script, f"{options}nci", f"{source}/", f"{place}/"]


def _rclone(verb: str, *options: str) -> Callable[[Path, Path], Argv]:
    return lambda source, place: [_program("rclone"), verb, *options, source, place]


def _fpsync(source: Path, place: Path) -> Argv:
    return ["fpsync", "-n", "2", "-t", place.with_name(f"{place.name}-fpsync"), f"{source}/", f"{place}/"]


def _dsync(source: Path, place: Path) -> Argv:
    run = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-np", "2"]
    return [*run, _program("dsync"), "--quiet", "--sparse", source, place]


def _tar(*options: str) -> Callable[[Path, Path], Argv]:
    script = 'mkdir -p "$0" && exec tar "$@"'
    return lambda source, place: ["sh", "-c", script, place, *options, "-C", source, "-cf", place / "a.tar", "."]


def _untar(*options: str) -> Callable[[Path, Path], Argv]:
    script = 'mkdir -p "$0" && exec tar "$@"'
    return lambda place, target: ["sh", "-c", script, target, *options, "-C", target, "-xpf", place / "a.tar"]


def _zstash(source: Path, place: Path) -> Argv:
    """Update an archive that is there, as its documentation says for what was interrupted; else create one."""
    script = 'cd "$0" && if [ -e "$1/index.db" ]; then exec "$2" update --hpss=none --cache="$1"; fi; '
    script += 'exec "$2" create --hpss=none --maxsize 0.05 --cache="$1" .'
    return ["sh", "-c", script, source, place, _program("zstash")]


def _zstash_in(verb: str) -> Callable[[Path, Path], Argv]:
    """Check or extract: it works in the current directory."""
    script = 'mkdir -p "$1" && cd "$1" && exec "$2" "$3" --hpss=none --cache="$0"'
    return lambda place, target: ["sh", "-c", script, place, target, _program("zstash"), verb]


PAX = ("--format=posix", "--sparse", "--xattrs", "--xattrs-include=user.*", "--acls")

PEERS = [
    Peer(
        "gears, a tree",
        "python3",
        lambda source, place: _driver("copy", source, place, records_of(place)),
        check=lambda _source, place: _driver("verify", place, records_of(place)),
    ),
    Peer(
        "gears, bundles",
        "python3",
        lambda source, place: _driver("put", source, place, records_of(place)),
        get=lambda place, target: _driver("get", place, records_of(place), target),
        check=lambda _source, place: _driver("check", place, records_of(place)),
    ),
    Peer("`cp -a`", "cp", lambda source, place: ["cp", "-aT", source, place]),
    Peer("`rsync -a`", "rsync", _rsync("-a"), check=_rsync_check("-a")),
    Peer("`rsync -aHAXS`", "rsync", _rsync("-aHAXS"), check=_rsync_check("-aHAXS")),
    Peer("`fpsync -n 2`", "fpsync", _fpsync),
    Peer("`dsync --sparse`", "dsync", _dsync),
    Peer("`rclone copy`", "rclone", _rclone("copy"), check=_rclone("check"), version=("version",)),
    Peer(
        "`rclone copy -lM`",
        "rclone",
        _rclone("copy", "--links", "--metadata", "--create-empty-src-dirs"),
        check=_rclone("check", "--links"),
        version=("version",),
    ),
    Peer("`tar`", "tar", _tar(), get=_untar(), check=lambda _source, place: ["tar", "-tf", place / "a.tar"]),
    Peer(
        "`tar --format=posix -S --xattrs --acls`",
        "tar",
        _tar(*PAX),
        get=_untar(*PAX[2:]),
        check=lambda source, place: ["tar", "-C", source, "-df", place / "a.tar"],
    ),
    Peer(
        "zstash",
        "zstash",
        _zstash,
        get=_zstash_in("extract"),
        check=lambda _source, place: _zstash_in("check")(place, place.with_name(f"{place.name}-check")),
        version=("version",),
    ),
]
