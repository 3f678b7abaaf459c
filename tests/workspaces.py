"""People who work in workspaces on this machine: each has a home, a name for git, and gears."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
GEARS = Path(sys.executable).with_name("gears")

Said = subprocess.CompletedProcess[str]


AS_OTHER = """
while [ "$1" != -- ]; do mount --bind "$1" "$2" && shift 2 || exit; done
shift; umask 077; exec "$@"
"""
"""In a mount namespace of its own, so that somebody else sees this checkout and its environment, wherever they are."""


@dataclass
class Person:
    """`uid`: 0 for whoever runs the tests, else an account with a group of that number, and in the group `team`."""

    home: Path
    name: str = "ada"
    uid: int = 0
    team: int = 0

    @property
    def environ(self) -> dict[str, str]:
        """GEARS_HOME and tmux are theirs, so that records and processes of this checkout's user do not count."""
        ours = ("GIT_", "DVC_", "XDG_", "GEARS_")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        names = {"NAME": self.name, "EMAIL": f"{self.name}@example.org"}
        identity = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in names.items()}
        more = {"HOME": str(self.home), "GEARS_HOME": str(self.home / "gears"), "UV_OFFLINE": "1", "PIP_NO_INDEX": "1"}
        more["TMUX_TMPDIR"] = str(self.home)  # a tmux that runs already has the home of who runs the tests
        if self.uid:
            return kept | identity | more | {"PYTHONPATH": str(self.code / "checkout")}
        return kept | identity | more | {"PATH": f"{GEARS.parent}{os.pathsep}{os.environ['PATH']}"}

    @property
    def code(self) -> Path:
        return self.home.parent / "code"

    @property
    def python(self) -> Path:
        return self.code / "environment/bin/python" if self.uid else Path(sys.executable)

    def as_other(self) -> list[str | Path]:
        if not self.uid:
            return ["sh", "-c", 'umask 077 && exec "$@"', "sh"]
        for name in ("checkout", "environment"):
            (self.code / name).mkdir(parents=True, exist_ok=True)
        accounts = self.code / f"passwd-{self.name}"
        line = f"{self.name}:x:{self.uid}:{self.uid}::{self.home}:/bin/sh\n"
        accounts.write_text(Path("/etc/passwd").read_text() + line)
        accounts.chmod(0o644)
        binds = [ROOT, self.code / "checkout", sys.prefix, self.code / "environment", accounts, "/etc/passwd", "--"]
        ids = [f"--reuid={self.uid}", f"--regid={self.uid}", f"--groups={self.team}"]
        namespace: list[str | Path] = ["unshare", "--mount", "--propagation", "private"]
        return [*namespace, "sh", "-c", AS_OTHER, "sh", *binds, "setpriv", *ids, "--"]

    def run(self, *words: str | Path, cwd: Path | None = None, status: int | None = 0) -> Said:
        done = subprocess.run(
            [*self.as_other(), *words],
            env=self.environ,
            cwd=cwd or self.home,
            capture_output=True,
            text=True,
            timeout=240,
            stdin=subprocess.DEVNULL,
        )
        assert status is None or done.returncode == status, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def gears(self, *words: str | Path, cwd: Path | None = None, status: int | None = 0) -> Said:
        return self.run(self.python, "-m", "gears", "workspace", *words, cwd=cwd, status=status)

    def start(self, *words: str | Path, cwd: Path) -> subprocess.Popen[str]:
        """Start gears, in a process group of its own."""
        argv = [*self.as_other(), self.python, "-m", "gears", "workspace", *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            argv, env=self.environ, cwd=cwd, text=True, stdout=pipe, stderr=subprocess.STDOUT, start_new_session=True
        )

    def dvc(self, top: Path, *words: str | Path) -> str:
        return self.run(self.python, "-m", "dvc", "--cd", top, *words).stdout

    def git(self, top: Path, *words: str | Path, status: int | None = 0) -> str:
        return self.run("git", "-C", top, *words, status=status).stdout.strip()

    def commit(self, top: Path, message: str = "edit", status: int | None = 0) -> Said:
        self.git(top, "add", "--all")
        return self.run("git", "-C", top, "commit", "-qm", message, status=status)


def person(root: Path, name: str = "ada", uid: int = 0, team: int = 0) -> Person:
    """A person with a home below `root`."""
    home = root / name
    home.mkdir(mode=0o700)
    if uid:
        os.chown(home, uid, uid)
    return Person(home, name, uid, team)


def can_be_others() -> bool:
    """Whether this is root, with a Python that others can run; else one account stands for all people."""
    executable = Path(sys.executable).resolve()
    return os.getuid() == 0 and all(directory.stat().st_mode & 0o001 for directory in executable.parents)
