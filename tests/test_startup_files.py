"""A person's start-up files, variables and tmux configuration cost time, and are otherwise in nobody's way."""

from collections.abc import Iterator

import pytest

from tests.centre import Centre, Host
from tests.helpers import Kernel, fixed_path, gears, home, lab_at, status, wait_until
from tests.opening import await_up, type_open

TMOUT = "TMOUT=2; readonly TMOUT; export TMOUT\n"
TMUX = """\
set-option -g destroy-unattached on
set-option -s exit-unattached on
set-option -g remain-on-exit on
set-option -g default-command "exec false"
set-option -g default-shell /usr/bin/false
"""
PYTHON = "export PYTHONPATH=~/shadow PYTHONUSERBASE=~/shadow PYTHONSTARTUP=~/shadow/start.py\n"


@pytest.fixture
def hub(centre: Centre) -> Iterator[Host]:
    hub = centre.hub
    hub.run("cp ~/.bashrc ~/bashrc.kept", check=True)
    yield hub
    hub.run("mv ~/bashrc.kept ~/.bashrc; rm -rf ~/.tmux.conf ~/.ssh/rc ~/shadow ~/.bash_profile", check=True)
    gears(hub, "stop andes")
    for host in (hub, centre.login1, centre.login2):
        host.run("tmux -L gears kill-server")


def begin_bashrc(hub: Host, text: str) -> None:
    """Put it before everything else: Debian's own returns early in a shell that is not interactive."""
    hub.run("cat - ~/bashrc.kept > ~/.bashrc", input=text, check=True)


def logins(host: Host) -> int:
    return host.path("/var/log/sshd.log").read_text().count("Accepted ")


def test_slow_start_up_files_only_cost_time(hub: Host) -> None:
    begin_bashrc(hub, "sleep 12; printf 'loading modules …'\n")
    done = gears(hub, "lab andes", timeout_s=120)
    assert done.returncode == 0, done.stderr
    assert "where your start-up files are still running" in done.stderr
    assert "forbids" not in done.stderr
    assert Kernel(lab_at(hub)).run("print(1)") == "1\n"
    ran = gears(hub, "run andes -- echo works", timeout_s=120)
    assert "works" in ran.stdout, ran.stderr


def test_a_readonly_time_out_ends_no_wait_of_ours(centre: Centre, hub: Host) -> None:
    begin_bashrc(hub, TMOUT)
    hosts = (centre.hub, centre.login1, centre.login2)
    for host in hosts:  # sh is bash there, as on most centres
        host.run("mount --bind /usr/bin/bash /usr/bin/dash", "root", check=True)
    try:
        gears(hub, "lab andes", check=True)
        hub.run("sleep 4", check=True)
        found = status(hub)
        assert (found["state"], found["hops"][0]["reconnects"]) == ("up", 0)
        opened = await_up(centre.laptop, type_open(centre.laptop, "andes --no-browser"))
        before = logins(hub)
        hub.run("sleep 4", check=True)
        assert logins(hub) == before, "each could cost a passcode"
        opened.close()
    finally:
        for host in hosts:
            host.run("umount -l /usr/bin/dash", "root", check=True)


def test_a_start_up_file_that_ends_the_session_is_named(hub: Host) -> None:
    begin_bashrc(hub, "exit\n")
    done = gears(hub, "lab andes", timeout_s=60)
    assert done.returncode == 1
    assert "a start-up file there runs exit" in done.stderr


SETTINGS = {
    # of shells: of hardening guides, of "unofficial strict mode", of dotfiles that people share
    "strict": "set -eu\nset -o pipefail\nshopt -s nullglob failglob\n",
    "talks": "stty -ixon; tput clear; printf '\\033]0;work\\007'; echo module: not found >&2; false\n",
    "moves": "cd /; export CDPATH=/tmp:. GLOBIGNORE='*' IFS=:; umask 000\n",
    "replaces": "shopt -s expand_aliases; alias ssh=false cat=bat\npython3() { false; }; export -f python3\n",
    # of modules and conda
    "points elsewhere": "export PYTHONHOME=/nonexistent PYTHONNOUSERSITE= PYTHONWARNINGS=error PYTHONOPTIMIZE=2\n",
    "sources": "export BASH_ENV=~/.bashrc ENV=~/.bashrc\n",
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_settings_of_the_shell_change_nothing(hub: Host, kind: str) -> None:
    begin_bashrc(hub, SETTINGS[kind])
    typed = f"bash -c '. ~/.bashrc; {home()}/.venv/bin/gears lab andes'"
    done = hub.run(typed, timeout_s=60) if kind != "strict" else gears(hub, "lab andes", timeout_s=60)
    assert done.returncode == 0, done.stderr
    if "PYTHONHOME" in SETTINGS[kind]:  # which is hers to set, and of no use to a kernel of another Python
        assert "PYTHONHOME=/nonexistent: kernels of another Python do not start" in done.stdout
        assert lab_at(hub).answers()
    else:
        assert Kernel(lab_at(hub)).run("print(1)") == "1\n"
    ran = gears(hub, "run andes -- echo works", timeout_s=60)
    assert "works" in ran.stdout, ran.stderr
    if kind == "talks":
        assert "no answer from" not in gears(hub, "doctor andes", timeout_s=120).stdout


def test_a_file_of_sshd_that_prints_and_takes_time(hub: Host) -> None:
    """sshd(8), SSHRC: it has the session's standard input and output."""
    hub.run("cat > ~/.ssh/rc", input="echo welcome; printf 'no newline'; sleep 3\n", check=True)
    done = gears(hub, "lab andes", timeout_s=60)
    assert done.returncode == 0, done.stderr
    ran = gears(hub, "run andes -- echo works", timeout_s=60)
    assert "works" in ran.stdout, ran.stderr


@pytest.mark.parametrize("line", ["exec tcsh\n", "exec tmux\n", "exec sleep 1000\n"])
def test_a_shell_that_is_replaced_is_told_of(hub: Host, line: str) -> None:
    begin_bashrc(hub, line)
    process = hub.popen(["sh", "-c", f"exec {home()}/.venv/bin/gears lab andes 2>&1"])
    said = ""
    assert process.stdout
    while "start-up file" not in said and (text := process.stdout.readline()):
        said += text
    assert "start-up file" in said, said
    hub.end_popen(process)


def test_no_tmux_configuration_ends_a_lab_or_keeps_a_run(hub: Host, centre: Centre) -> None:
    hub.run("cat > ~/.tmux.conf", input=TMUX, check=True)
    gears(hub, "lab andes", check=True)
    gears(hub, "run andes -- true", check=True)

    def sessions() -> str:
        listing = "tmux -L gears list-sessions -F '#{session_name}'"
        return "".join(host.run(listing).stdout for host in (centre.login1, centre.login2))

    wait_until(lambda: "run" not in sessions(), 5, "the session of a run that has ended is gone")
    assert Kernel(lab_at(hub)).run("print(2)") == "2\n"
    assert hub.connect_unix(fixed_path(), "alice")


def test_a_lab_has_the_variables_of_the_command_that_starts_it(centre: Centre) -> None:
    """As of `module load` before it, though tmux runs since before."""
    host = centre.login1
    host.run(f"A=old {home()}/.venv/bin/gears lab local", check=True)
    host.run("tmux -L gears new-session -d -s other sleep 100", check=True)
    gears(host, "stop local", check=True)
    host.run(f"A=new {home()}/.venv/bin/gears lab local", check=True)
    assert Kernel(lab_at(host, "local")).run("import os; print(os.environ['A'])") == "new\n"
    gears(host, "stop local", check=True)
    host.run("tmux -L gears kill-server", check=True)


def test_variables_for_other_pythons_are_for_kernels_only(hub: Host) -> None:
    hub.run("mkdir ~/shadow && echo 'raise SystemExit(1)' | tee ~/shadow/jinja2.py ~/shadow/tornado.py", check=True)
    begin_bashrc(hub, PYTHON)
    hub.run(f"bash -c '. ~/.bashrc; {home()}/.venv/bin/gears lab andes'", check=True, timeout_s=60)
    assert lab_at(hub).answers()
    where = "import os; print(os.environ['PYTHONUSERBASE'])"
    hub.run("rm ~/shadow/*", check=True)
    assert Kernel(lab_at(hub)).run(where) == "/home/alice/shadow\n"
