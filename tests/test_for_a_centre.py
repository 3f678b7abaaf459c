"""One installation for all users of a centre: what docs/how-to/for-a-centre.md shows, done and used in the test centre.

The packages come from a user's environment, shown as root's own: a centre has no index to take them from.
"""

import re
from collections.abc import Iterator

import pytest

import gears
from gears.doctor.sshd import NEEDED
from tests.centre import Centre, Host
from tests.helpers import Kernel, Lab, lab_at, listening_ports, record, wait_until
from tests.pages import ROOT, blocks, code, table

PAGE = ROOT / "docs/how-to/for-a-centre.md"
AT = f"/opt/gears/{gears.__version__}"
SITE = "/etc/gears/sites/mysite.toml"
CACHED = "kernel_cache,attr_timeout=600,entry_timeout=600,negative_timeout=600"  # nothing changes there
MOUNTS = f"""
mkdir -p /run/opt/environment /run/opt/lower /run/opt/upper /run/opt/work
mount --bind /home/alice/gears/.venv /run/opt/environment
bindfs -r --force-user=root --force-group=root --perms=go-w -o {CACHED} /run/opt/environment /run/opt/lower
mount -t tmpfs -o mode=755 opt /opt
mkdir -p {AT}/.venv
mount -t overlay -o lowerdir=/run/opt/lower,upperdir=/run/opt/upper,workdir=/run/opt/work opt {AT}/.venv
"""
NEW_HOMES = """
for user in alice bob; do
    new=/home/$user/.new
    [ -d $new ] || { install -d -m 700 -o $user -g $user $new; cp -a /home/$user/.ssh $new; }
    mount --bind $new /home/$user
done
"""
"""Users who never had gears, with the ssh keys they have."""

OTHER = "/run/opt/other"
"""What some other module has put into PYTHONPATH: nothing there is for gears itself."""

OFFLINE = {"PIP_NO_INDEX": "1", "PIP_NO_CACHE_DIR": "1"}


def shown(kind: str, part: str = "") -> str:
    """The block of that kind, with that part in it, on the page."""
    [text] = [block.text for block in blocks(PAGE) if block.kind == kind and part in block.text]
    return text


CENTRE = {"sshd_extra": {name: shown("text", "MaxSessions") for name in ("hub", "login1")}}


def install(host: Host) -> None:
    """The page's commands, as root. `mysite` is the page's profile, without its scheduler."""
    host.run(MOUNTS, "root", check=True)
    commands = shown("sh", "pip install").replace("git clone URL gears && cd gears", "cd /home/alice/gears")
    commands = commands.replace("python3 -m venv", "$(readlink -f .venv/bin/python) -m venv")
    host.run(f"set -e\n{commands}", "root", env=OFFLINE, timeout_s=120, check=True)
    host.run(NEW_HOMES, "root", check=True)
    host.run(f"mkdir {OTHER} && echo 'raise SystemExit(9)' >{OTHER}/argparse.py", "root", check=True)
    profile = shown("toml").partition("[scheduler]")[0].replace('host = "login"', 'host = "andes"')
    host.run(f"mkdir -p /etc/gears/sites && cat >{SITE} && chmod 644 {SITE}", "root", input=profile, check=True)


@pytest.fixture(scope="module")
def hosts(centre: Centre) -> tuple[Host, Host]:
    found = centre.hub, centre.login1
    for host in found:
        install(host)
    return found


@pytest.fixture(scope="module")
def untouched(hosts: tuple[Host, Host]) -> Iterator[tuple[Host, Host]]:
    """Whatever the tests of this module do: what was installed stays as it was."""
    before = [installed_files(host) for host in hosts]
    yield hosts
    assert [installed_files(host) for host in hosts] == before


def installed_files(host: Host) -> str:
    """All that is not in the read-only layer of packages: what is written over that is in the upper one."""
    listed = "find /opt/gears /run/opt/upper -xdev -printf '%p %y %m %u %s %T@\\n' | sort"
    return host.run(listed, "root", check=True).stdout


def typed(host: Host, words: str, user: str = "alice", env: dict[str, str] | None = None) -> str:
    """A command of somebody who has loaded the page's module, though for the site she names."""
    [directory] = re.findall(r'prepend_path\("PATH", "(.*)"\)', shown("lua"))
    command = f'PATH="{directory}:$PATH"; gears {words}'
    return host.run(command, user, timeout_s=120, check=True, env=env).stdout


def test_it_is_the_installed_one_and_nobody_else_may_write_there(untouched: tuple[Host, Host]) -> None:
    for host in untouched:
        assert typed(host, "--version", env={"PYTHONPATH": OTHER}).split()[-1] == gears.__version__
        assert host.run("ls -A /home/alice").stdout.split() == [".ssh"]
    _, login1 = untouched
    for user in ("alice", "bob"):
        assert login1.run("find /opt/gears ! -type l -writable", user, check=True).stdout == ""
        assert login1.run(f"touch {AT}/.venv/mine", user).returncode != 0


def test_two_users_have_a_lab_each_and_neither_sees_the_other_s(untouched: tuple[Host, Host]) -> None:
    _, login1 = untouched
    labs = {}
    for user in ("alice", "bob"):
        assert "is up on login1" in typed(login1, "lab local", user)
        labs[user] = lab_at(login1, "local", user)
        seen = Kernel(labs[user]).run("import getpass, sys; print(getpass.getuser(), sys.prefix)")
        assert seen.split() == [user, f"{AT}/.venv"]
    assert labs["alice"].token != labs["bob"].token
    for user, other in (("alice", "bob"), ("bob", "alice")):
        mine, theirs = labs[user], labs[other]
        assert not login1.connect_unix(str(theirs.where), user)
        assert login1.connect_unix(str(mine.where), user)
        assert login1.run(f"ls /home/{other}/gears /tmp/gears-{other}-*", user).returncode != 0
        assert f"/home/{other}" not in typed(login1, "status local", user)
        port = record(login1, "local/lab.json", other)["port"]
        assert Lab(login1, port, mine.token).request("GET", "/api/kernels").status == 403
    for user in labs:
        typed(login1, "stop local", user)


def test_a_relay_of_the_centre_s_own_profile_under_the_page_s_sshd(
    centre: Centre, untouched: tuple[Host, Host]
) -> None:
    hub, login1 = untouched
    centre.order("andes", ["login1"])
    assert SITE in typed(hub, "sites show mysite")
    for user in ("alice", "bob"):
        assert "is up on login1" in typed(hub, "lab mysite", user)
        lab = lab_at(hub, "mysite", user)
        assert Kernel(lab).run("import sys; print(sys.prefix)").strip() == f"{AT}/.venv"
        assert not listening_ports(login1, user)
    assert "/home/alice/gears/run/mysite.sck" in typed(hub, "ssh-config mysite")
    examined = hub.run(f"{AT}/bin/gears doctor mysite", timeout_s=60)
    assert "sshd allows it" in examined.stdout, examined
    assert not [line for line in examined.stdout.splitlines() if line.startswith("✗")], examined.stdout


def test_commands_of_a_laptop_find_it_by_front_root(centre: Centre, untouched: tuple[Host, Host]) -> None:
    profile = shown("toml").partition("[scheduler]")[0]
    centre.laptop.run("cat >.config/gears/sites/mysite.toml", input=profile, check=True)
    ran = centre.laptop.run("gears/.venv/bin/gears run mysite -- echo works", timeout_s=60)
    assert "works" in ran.stdout, ran
    assert "is up on login1" in centre.hub.run(f"{AT}/bin/gears lab mysite", timeout_s=60).stdout
    for user in ("alice", "bob"):
        typed(centre.hub, "stop mysite", user)


def test_a_centre_s_settings_of_jupyter_count(untouched: tuple[Host, Host]) -> None:
    _, login1 = untouched
    settings = shown("json").replace("86400", "1").replace("300", "1")
    login1.run("mkdir -p /etc/jupyter", "root", check=True)
    login1.run("cat >/etc/jupyter/jupyter_server_config.json", "root", input=settings, check=True)
    typed(login1, "lab local")
    lab = lab_at(login1, "local")
    Kernel(lab)  # ends a second after it was idle, which a cell of a slow machine might not be in time for
    wait_until(lambda: not lab.kernels(), 20, "the idle kernel is ended")
    typed(login1, "stop local")


def test_both_module_files_say_the_same() -> None:
    lua = re.findall(r'^(?:prepend_path|setenv)\("(\w+)", "(.*)"\)$', shown("lua"), re.MULTILINE)
    tcl = re.findall(r"^(?:prepend-path|setenv) (\w+) (\S+)$", shown("tcl"), re.MULTILINE)
    assert lua == tcl == [("PATH", f"{AT}/bin"), ("GEARS_SITE", "mysite")]


def test_the_page_names_this_version() -> None:
    assert set(re.findall(r"\b\d+\.\d+\.\d+\b", PAGE.read_text())) == {gears.__version__}


def test_options_of_sshd_are_those_that_the_doctor_asks_for() -> None:
    rows = table(PAGE, "What to allow in sshd", "option")
    assert {code(row[0])[0]: tuple(code(row[1])) for row in rows} == NEEDED
