"""What a user of the centre finds at home: the checkout as it is now, keys, and the site profile.

A home shared over FUSE is like one on NFS in that sockets answer only where they are bound, and what another host
changes may show a second late; and like some of them in that a file lock holds on one host only.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from tests.centre.accounts import USERS, Account
from tests.centre.provision import Template, refresh_clone
from tests.centre.sshd import write_user_ssh

PROFILES = {
    "andes": """\
title = "The test centre"
[front]
host = "hub"
root = "~/gears"
[lab]
host = "andes"
match = ["login*"]
""",
}


def default_profiles(scheduler: str) -> dict[str, str]:
    """The site `andes`; `scheduler`: the kind of the centre's, or none."""
    extra = f'[scheduler]\nkind = "{scheduler}"\n' if scheduler else ""
    return {site: text + extra for site, text in PROFILES.items()}


def prepare_home(top: Path, template: Template, keys: Path, profiles: Mapping[str, str], mode: int) -> None:
    """Fill one tree of homes, for every user."""
    for user in USERS:
        home = top / user.name
        home.chmod(mode)
        refresh_clone(home, user, template.files)
        write_user_ssh(home, user, keys / f"{user.name}_key", keys / "host_key")
        for site, text in profiles.items():
            write_profile(home, user, site, text)


def write_profile(home: Path, user: Account, site: str, text: str) -> None:
    directory = home
    for part in (".config", "gears", "sites"):
        directory /= part
        directory.mkdir(exist_ok=True)
        os.chown(directory, user.uid, user.uid)
    (directory / f"{site}.toml").write_text(text)
    os.chown(directory / f"{site}.toml", user.uid, user.uid)
