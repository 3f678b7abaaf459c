"""A copy from a laptop into a place that a team shares: group, set-group-ID bit and modes are right for a colleague."""

from typing import Any

import pytest

from tests.centre import Centre
from tests.test_data_copying import PROFILE, command, copy, words

PLACES = """\
team = { path = "/tmp/team", shared = "group" }
open = { path = "/tmp/open", shared = "world" }
others = { path = "/tmp/others", shared = "group" }
"""
CENTRE: dict[str, Any] = {"profiles": {"matagorda": PROFILE + PLACES}}
SOURCE = """\
umask 077; mkdir -p run7/d/e; cd run7; echo file > file; echo private > d/private; ln -s file link
echo script > d/script; chmod 700 d/script; echo old > d/e/read-only; chmod 400 d/e/read-only; ln file d/same
"""
GROUPS = "team:x:30000:alice,bob\nothers:x:30001:bob\nhers:x:30002:alice\n"
READ = "find . -type d -exec touch {}/mine ';' -exec rm {}/mine ';' && find . -type f -exec cat {} + > /dev/null"


@pytest.fixture(scope="module", autouse=True)
def hosts(centre: Centre) -> None:
    there = centre.login1
    there.run("cat >> /etc/group", "root", input=GROUPS, check=True)
    for place, group, mode in (("team", "team", "2770"), ("open", "hers", "2775"), ("others", "others", "2770")):
        there.run(f"mkdir /tmp/{place}; chgrp {group} /tmp/{place}; chmod {mode} /tmp/{place}", "root", check=True)
    there.run("echo umask 077 >> .bashrc; echo umask 077 >> .profile", check=True)
    centre.laptop.run(SOURCE, check=True)


def modes(centre: Centre, root: str) -> dict[str, str]:
    said = centre.login1.run(f"cd {root} && find . -printf '%P %M %g\\n'", "root", check=True).stdout
    return {line.split(" ", 1)[0]: line.split(" ", 1)[1] for line in said.splitlines()}


def test_the_colleague_reads_and_writes(centre: Centre) -> None:
    to_team = words("/home/alice/run7", "team:2026/run7")
    for _ in range(2):
        assert copy(centre, to_team) == "copied 5 0 {}"
        found = modes(centre, "/tmp/team/2026")
        assert {name: found[name] for name in ("", "run7", "run7/d/e")} == dict.fromkeys(
            ("", "run7", "run7/d/e"), "drwxrws--- team"
        )
        assert found["run7/file"] == found["run7/d/same"] == found["run7/d/private"] == "-rw-rw---- team"
        assert (found["run7/d/script"], found["run7/d/e/read-only"]) == ("-rwxrwx--- team", "-r--r----- team")
    assert copy(centre, to_team, "verify") == "verified 9 {}"
    centre.login1.run("chmod g-r /tmp/team/2026/run7/file", check=True)
    assert copy(centre, to_team, "verify") == "verified 9 {'metadata': 2}"
    assert copy(centre, to_team) == "copied 5 0 {}"
    centre.login1.run(f"cd /tmp/team/2026/run7 && {READ}", "bob", check=True)
    back = words("team:2026/run7", "/home/alice/back")
    assert copy(centre, back).startswith("copied 5 0 ")  # the laptop has no such group
    centre.laptop.run("diff -r run7 back", check=True)


def test_others_read_what_is_shared_with_the_world(centre: Centre) -> None:
    assert copy(centre, words("/home/alice/run7", "open:run7")) == "copied 5 0 {}"
    found = modes(centre, "/tmp/open/run7")
    assert (found[""], found["file"], found["d/script"]) == ("drwxrwsr-x hers", "-rw-rw-r-- hers", "-rwxrwxr-x hers")
    centre.login1.run("cd /tmp/open/run7 && find . -type f -exec cat {} +", "bob", check=True)


def test_what_the_colleague_can_not_reach_is_said(centre: Centre) -> None:
    centre.login1.run("mkdir -p /tmp/team/closed; chmod 700 /tmp/team/closed", check=True)
    done = centre.laptop.run(command(words("/home/alice/run7", "team:closed/run7")), cwd="/home/alice/gears")
    assert done.stdout.splitlines()[-1] == "copied 5 1 {}", done.stdout + done.stderr
    refused = copy(centre, words("/home/alice/run7", "others:run7"))
    assert refused.startswith("failed 1 ")
    assert "the group of /tmp/others is others, and you are not in it" in refused
