"""A workspace on two hosts: Alice pushes from a login node, by jobs to a tape; Bob pulls and pushes on a compute node.

Each has a group of their own, umask 077, and the group of the project; its directories are in the shared file system.
"""

import json
from typing import Any

import pytest

from tests import jobs
from tests.centre import Centre, Host
from tests.helpers import home, wait_until
from tests.test_data_jobs import PARTITION

PROFILE = (
    jobs.PROFILE
    + """\
[transfer]
host = "login2"
queue = "transfer"
walltime = "00:10:00"
[filesystem.team]
path = "/home/project"
shared = "group"
purge_days = 90
[filesystem.archive]
path = "/home/archive"
shared = "group"
[filesystem.tape]
path = "/home/tape"
shared = "group"
bundle_size = "1GB"
hosts = ["login2", "c*"]
"""
)
CENTRE: dict[str, Any] = {"slurm": True, "profiles": {"lake": PROFILE}}
GROUP = 20100
ORIGIN = "/home/project/climate.git"
OBJECTS = "/home/project/workspaces/climate/dvc-cache/files/md5"


@pytest.fixture(scope="module", autouse=True)
def project(centre: Centre) -> None:
    """The group of the project, its directories, and the queue for transfers."""
    for host in (centre.login1, centre.login2, centre.c1, centre.c2):
        host.run(f"echo project:x:{GROUP}:alice,bob >>/etc/group", "root", check=True)
        host.run(f"echo {PARTITION} >>/etc/slurm/slurm.conf", "root", check=True)
    places = "/home/project /home/archive /home/tape"
    centre.login1.run(f"mkdir {places}; chgrp {GROUP} {places}; chmod 2770 {places}", "root", check=True)
    centre.login2.run("scontrol reconfigure", "root", check=True)
    wait_until(lambda: "transfer" in centre.login1.run("sinfo -h -p transfer").stdout, 60, "the partition is there")


def typed(host: Host, user: str, words: str) -> str:
    """What a person types who has activated gears, in their home."""
    name = f"export GIT_AUTHOR_NAME={user} GIT_COMMITTER_NAME={user} EMAIL={user}@example.org GEARS_SITE=lake"
    script = f"umask 077; {name} PATH={home(user)}/.venv/bin:$PATH; {words}"
    return host.run(script, user, check=True, timeout_s=240).stdout


def outcome(host: Host, user: str, verb: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(typed(host, user, f"gears workspace {verb} climate --json"))
    assert (found["problem"], found["status"]) == ("", 0)
    return found


def purge(centre: Centre) -> None:
    centre.login1.run(f"find {OBJECTS} -type f -delete", "root", check=True)


def test_two_people_on_two_hosts(centre: Centre) -> None:
    alice, bob = (centre.login1, "alice"), (centre.c1, "bob")
    to_tape = 'sed -i \'s/remote = "archive"/remote = "tape"/\' gears.toml'
    typed(*alice, f"gears workspace new climate --defaults && cd climate && {to_tape} && dvc repro -q && git add -A")
    typed(*alice, f"cd climate && git commit -qm Run && git init -q --bare --shared=group {ORIGIN}")
    typed(*alice, f"cd climate && git remote add origin {ORIGIN}")
    pushed = outcome(*alice, "push")
    assert (pushed["data"]["place"], pushed["data"]["copied"]) == ("tape", 2)
    assert "put" in typed(*alice, "gears data list --site lake")
    typed(*bob, f"git config --global --add safe.directory {ORIGIN}")
    typed(*bob, f"gears workspace join {ORIGIN} --no-env")
    purge(centre)
    assert "tape has data/measurements.csv" in typed(*bob, "gears workspace status climate")
    assert outcome(centre.login2, "bob", "pull")["data"]["copied"] == 2
    assert "up to date" in typed(*bob, "cd climate && dvc status")
    he_changes(centre, *bob)
    purge(centre)
    assert outcome(*alice, "pull")["data"]["copied"] == 2
    assert len(typed(*alice, "cat climate/data/measurements.csv").splitlines()) == 31
    groups = centre.login1.run("find /home/archive /home/tape /home/project -printf '%G\\n'", "root", check=True).stdout
    assert {*groups.split()} == {str(GROUP)}


def he_changes(centre: Centre, host: Host, user: str) -> None:
    """From his node, to a directory that it sees."""
    edit = "sed -i 's/days=365/days=30/' src/climate/measure.py && sed -i 's/\"tape\"/\"archive\"/' gears.toml"
    typed(host, user, f"cd climate && {edit} && dvc repro -q && git add -A && git commit -qm 'One month'")
    pushed = outcome(host, user, "push")
    assert (pushed["data"]["place"], pushed["data"]["copied"]) == ("archive", 2)
    assert centre.login1.run(f"git -C {ORIGIN} fsck", "root").returncode == 0
