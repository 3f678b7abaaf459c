"""The users' home directories with a clone of this checkout and its environment, made once and kept.

Making an environment takes a minute and needs the network, which a centre does not have. So the first user runs
`make init` outside, at the path it will have inside; the others get a copy, which their `make init` finds current. The
result is kept (`room.cache_directory`) under a hash of what it was made from. A centre never writes there: it lays its
own layer over it.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.centre.accounts import USERS, Account, write_account_files
from tests.centre.room import cache_directory

CHECKOUT = Path(__file__).parents[2]
LOCK = "envs/base.lock.txt"
MADE_FROM = (
    LOCK,
    "pyproject.toml",
    "envs/init.sh",
)  # what `make init` looks at to tell whether an environment is current
KEPT = 2  # templates; older ones that no centre uses are removed
INIT_LIMIT_S = 1200
# What a person at a site behind a proxy or with a mirror would have set.
PASSED_ON = re.compile(r"(PIP|UV)_\w+|SSL_CERT_\w+|REQUESTS_CA_BUNDLE|(https?|no|all)_proxy", re.IGNORECASE)
INIT = """
mount --bind "$1/home" /home
mount --bind "$1/etc/passwd" /etc/passwd
mount --bind "$1/etc/group" /etc/group
mount --bind "$2" "$HOME/.cache"
cd "$HOME/gears"
exec setpriv --reuid="$USER" --regid="$USER" --init-groups make init
"""
MOVE = 'grep -rlIZF "$1" "$3" | xargs -0r sed -i "s|$1|$2|g"'
"""Scripts and records of an environment name the directory it is in."""


class Template:
    """A finished tree of homes, in use (and so not removed) until `release()`."""

    def __init__(self, directory: Path) -> None:
        self.home = directory / "home"
        self.files = (directory / "files").read_text().splitlines()
        self._lock = _open_lock(directory / "lock", fcntl.LOCK_SH)

    def release(self) -> None:
        self._lock.close()


def ensure_template() -> Template:
    """The template for the checkout as it is; makes it if need be (a minute or two), one maker at a time."""
    cache = cache_directory()
    directory = cache / f"homes-{_checksum(LOCK)}-{_checksum(*MADE_FROM)}"
    with _open_lock(cache / "lock", fcntl.LOCK_EX):
        if not directory.exists():
            with _partial(directory) as partial:
                _make_template(partial, cache / "downloads", _find_similar(cache))
            _remove_unused(cache)
        directory.touch()
        return Template(directory)


def checkout_files() -> list[str]:
    """What is tracked or would be, relative to the checkout, uncommitted edits included."""
    command = ["git", "-c", f"safe.directory={CHECKOUT}", "ls-files", "-coz", "--exclude-standard"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True, timeout=30)
    return sorted(name for name in done.stdout.split("\0") if name and (CHECKOUT / name).is_file())


def refresh_clone(home: Path, user: Account, old_files: list[str]) -> None:
    """Bring `home`/gears to the checkout as it is now. What is the same keeps its time: nothing is made anew."""
    clone, files = home / "gears", checkout_files()
    for name in set(old_files) - set(files):
        (clone / name).unlink(missing_ok=True)
    for name in files:
        source, target = CHECKOUT / name, clone / name
        if not target.is_file() or target.read_bytes() != source.read_bytes():
            _make_parents(target, user)
            shutil.copy2(source, target)
            os.chown(target, user.uid, user.uid)


def _make_template(directory: Path, downloads: Path, similar: Path | None) -> None:
    (directory / "etc").mkdir(parents=True)
    write_account_files(directory / "etc")
    (directory / "files").write_text("\n".join(checkout_files()))
    (directory / "lock").touch()
    downloads.mkdir(exist_ok=True)
    for user in USERS:
        home = directory / "home" / user.name
        shutil.copytree("/etc/skel", home)
        for name in ("gears", ".cache"):
            (home / name).mkdir()
        refresh_clone(home, user, [])
        _copy_environment(directory / "home", user, similar)
        for tree in (home, downloads):
            _run("chown", "-Rh", f"{user.uid}:{user.uid}", tree)
        home.chmod(0o700)
        _make_init(directory, user, downloads)


def _copy_environment(homes: Path, user: Account, similar: Path | None) -> None:
    """Give a user something to start from: the environment of the first user, who has that of a similar template."""
    first, target = USERS[0], homes / user.name / "gears"
    if user is not first:
        _run("cp", "-a", homes / first.name / "gears/.venv", homes / first.name / "gears/gears", target)  # compiled
        _run("sh", "-euc", MOVE, "move", f"{first.home}/gears", f"{user.home}/gears", target / ".venv")
    elif similar:
        _run("cp", "-a", similar / "home" / user.name / "gears/.venv", target)


def _find_similar(cache: Path) -> Path | None:
    """A template made from the same lock file: `make init` brings its environments up to date in seconds."""
    return next(iter(cache.glob(f"homes-{_checksum(LOCK)}-*")), None)


def _make_init(directory: Path, user: Account, downloads: Path) -> None:
    """By uv, which takes half the time; by pip where uv can't reach the packages, as it does not read pip.conf."""
    (downloads / "bin").mkdir(exist_ok=True)
    shutil.copy(Path(sys.executable).with_name("uv"), downloads / "bin")
    path = "/usr/local/bin:/usr/bin:/bin"
    for programs in (f"{user.home}/.cache/bin:{path}", path):
        environment = {name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name)}
        environment |= {"HOME": user.home, "USER": user.name, "LANG": "C.UTF-8", "PATH": programs}
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-euc", INIT, "init", directory, downloads],
            env=environment,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=INIT_LIMIT_S,
        )
        if done.returncode == 0:
            return
    raise RuntimeError(f"make init failed for {user.name}:\n{done.stdout}\n{done.stderr}")


@contextmanager
def _partial(directory: Path) -> Iterator[Path]:
    """A directory to fill, renamed to `directory` once all went well. What killed makers have left is removed."""
    for left in directory.parent.glob("partial-*"):
        shutil.rmtree(left, ignore_errors=True)  # their programs may still be writing there
    partial = Path(tempfile.mkdtemp(prefix=f"partial-{directory.name}-", dir=directory.parent))
    partial.chmod(0o755)
    yield partial
    partial.rename(directory)


def _remove_unused(cache: Path) -> None:
    templates = sorted(cache.glob("homes-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for directory in templates[KEPT:]:
        try:
            lock = _open_lock(directory / "lock", fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # a running centre stands on it
        with lock:
            shutil.rmtree(directory)


def _checksum(*names: str) -> str:
    total = hashlib.sha256(os.path.realpath("/usr/bin/python3").encode())
    for name in names:
        total.update((CHECKOUT / name).read_bytes())
    return total.hexdigest()[:12]


def _open_lock(path: Path, how: int) -> IO[str]:
    file = path.open("a")
    try:
        fcntl.flock(file, how)
    except BaseException:
        file.close()
        raise
    return file


def _make_parents(path: Path, user: Account) -> None:
    if not path.parent.is_dir():
        _make_parents(path.parent, user)
        path.parent.mkdir()
        os.chown(path.parent, user.uid, user.uid)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, timeout=INIT_LIMIT_S)
