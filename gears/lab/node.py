"""JupyterLab on a compute node: make and check the directories of that host, then become JupyterLab.

python -m gears.lab.node HOME SITE BASE OPTION…    HOME: of gears; BASE: where the host-local directory is made
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from gears.errors import UnsafePath
from gears.lab.__main__ import main
from gears.sites import directories
from gears.sites.paths import RunDir
from gears.system import files
from gears.system.host import this_host


def open_node(home: Path, site: str, base: str) -> None:
    """Make and check the directories of this host, and remove the sockets of an earlier JupyterLab.

    Raises UnsafePath where the host-local directory belongs to another user, or its disk is full. The fixed path leads
    to JupyterLab on this host too, unless a loop here manages it.
    """
    paths = directories.open_rundir(home, site, base, this_host().user)
    socket = Path(os.environ["GEARS_LAB_SOCKET"])
    for stale in set(paths.local.glob(f"{site}.lab.*.sck")) | {socket}:
        stale.unlink(missing_ok=True)
    if not keeps_a_path(paths):
        files.switch(paths.link, socket)  # the fixed path leads to JupyterLab on this host too


def keeps_a_path(paths: RunDir) -> bool:
    """Return whether this host is the login node as well, whose loop manages the fixed path."""
    return paths.script("job").exists()


if __name__ == "__main__":
    home, site, base = sys.argv[1:4]
    del sys.argv[1:4]
    try:
        open_node(Path(home), site, base)
    except UnsafePath as exc:
        sys.exit(f"gears: {exc}")
    main()
