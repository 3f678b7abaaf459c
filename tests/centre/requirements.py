"""What the machine must offer before a centre can boot."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

PROGRAMS = {
    "bindfs": "bindfs",
    "git": "git",
    "ip": "iproute2",
    "make": "make",
    "nsenter": "util-linux",
    "oathtool": "oathtool",
    "setpriv": "util-linux",
    "setsid": "util-linux",
    "ssh-keygen": "openssh-client",
    "/usr/sbin/sshd": "openssh-server",
    "tmux": "tmux",
    "unshare": "util-linux",
}


class CentreUnavailable(Exception):
    """This machine can't run the centre. The message names what is missing, and the cure."""


def check_requirements(more: Mapping[str, str] | None = None) -> None:
    """Raise CentreUnavailable naming everything that is missing. `more` programs and their packages are wanted where
    the centre has a scheduler. Changes nothing."""
    if os.geteuid() != 0:
        raise CentreUnavailable("the test centre needs root (namespaces, mounts)")
    wanted = PROGRAMS | dict(more or {})
    missing = sorted({package for program, package in wanted.items() if not shutil.which(program)})
    if missing:
        raise CentreUnavailable(f"the test centre needs: apt-get install {' '.join(missing)}")
    if not Path("/dev/fuse").exists():
        raise CentreUnavailable("the test centre needs /dev/fuse (shared home over bindfs)")
    trial = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "mount", "-t", "tmpfs", "trial", "/mnt"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if trial.returncode != 0:
        raise CentreUnavailable(f"the test centre may not make namespaces here: {trial.stderr.strip()}")
