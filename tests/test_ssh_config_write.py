"""The block in the laptop's ~/.ssh/config: where it goes, what it leaves alone, and what it refuses."""

import fcntl
import os
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gears.errors import CommandFailed, GearsError, MissingProgram
from gears.sites.load import load_site
from gears.ssh import user_config
from gears.ssh.stanza import plan_stanza
from gears.ssh.user_config import write_include, write_stanza

MINE = "Host *\n  User bob\n  ServerAliveInterval 60\n\nHost cluster\n  HostName cluster.example.org\n"


@pytest.fixture
def config(tmp_path) -> Path:
    return tmp_path / ".ssh" / "config"


@pytest.fixture
def mine(config) -> Path:
    config.parent.mkdir(mode=0o700)
    config.write_text(MINE)
    config.chmod(0o644)
    return config


def stanza(name: str = "andes", **changes) -> str:
    return plan_stanza(load_site(name), **{"front_root": "/home/alice/gears", "user": "alice"} | changes)


def block(name: str = "andes", **changes) -> str:
    return (
        f"# >>> gears {name} >>>\n"
        f"{stanza(name, **changes)}"
        "# The lines below apply to every host again, as before this block.\n"
        "Host *\n"
        f"# <<< gears {name} <<<\n"
    )


def says(config: Path, alias: str) -> list[str]:
    argv = ["ssh", "-G", "-F", config, alias]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout.splitlines()


def names(config: Path) -> set[str]:
    return {file.name for file in config.parent.iterdir()}


def refused(config: Path, text: str | None = None) -> GearsError:
    """The error of an attempt that must have left everything as it was."""
    before, files = config.read_bytes(), names(config)
    with pytest.raises(GearsError) as caught:
        write_stanza(text or stanza(), "andes", config)
    assert caught.value.next
    assert config.read_bytes() == before
    assert names(config) == files
    return caught.value


def test_without_a_file_one_is_made_that_only_its_owner_reads(config):
    written = write_stanza(stanza(), "andes", config)
    assert (written.config, written.changed, written.backup) == (config, True, None)
    assert config.read_text() == block()
    assert config.stat().st_mode & 0o777 == 0o600
    assert config.parent.stat().st_mode & 0o777 == 0o700
    assert names(config) == {"config"}


def test_the_block_goes_on_top_and_takes_effect(mine):
    write_stanza(stanza(), "andes", mine)
    assert mine.read_text() == f"{block()}\n{MINE}"
    said = says(mine, "andes-jupyter")
    assert {"user alice", "serveraliveinterval 5", "hostname hub.ccs.ornl.gov"} <= set(said)


def test_every_other_host_is_as_it_was(mine):
    mine.write_text(f"ForwardAgent yes\n{MINE}")
    before = {host: says(mine, host) for host in ("cluster", "else.example.org")}
    write_stanza(stanza(), "andes", mine)
    write_stanza(stanza("matagorda"), "matagorda", mine)
    assert {host: says(mine, host) for host in before} == before
    assert "forwardagent yes" in says(mine, "andes-jupyter")


def test_mode_and_backup(mine):
    written = write_stanza(stanza(), "andes", mine)
    assert mine.stat().st_mode & 0o777 == 0o644
    assert written.backup == mine.with_name("config.gears-backup")
    assert written.backup.read_text() == MINE
    assert written.backup.stat().st_mode & 0o777 == 0o600


def test_the_same_again_changes_nothing(mine):
    write_stanza(stanza(), "andes", mine)
    before, inode = names(mine), mine.stat().st_ino
    again = write_stanza(stanza(), "andes", mine)
    assert (again.changed, again.backup) == (False, None)
    assert (names(mine), mine.stat().st_ino) == (before, inode)


def test_a_changed_stanza_replaces_its_own_block_in_place(mine):
    mine.write_text(f"Host first\n  Port 23\n{block()}\n{block('matagorda')}{MINE}")
    write_stanza(stanza(port=40000), "andes", mine)
    assert mine.read_text() == f"Host first\n  Port 23\n{block(port=40000)}\n{block('matagorda')}{MINE}"


def test_no_backup_is_ever_overwritten(mine):
    for port in (40000, 40001, 40002):
        write_stanza(stanza(port=port), "andes", mine)
    assert mine.with_name("config.gears-backup").read_text() == MINE
    assert mine.with_name("config.gears-backup.2").read_text() == f"{block(port=40000)}\n{MINE}"
    assert mine.with_name("config.gears-backup.3").read_text() == f"{block(port=40001)}\n{MINE}"


@pytest.mark.parametrize("content", ["Host a\n  Port 23", "", "# \xe4 of latin-1\nHost a\n"])
def test_whatever_else_is_in_the_file_stays_byte_by_byte(mine, content):
    mine.write_bytes(content.encode("latin-1"))
    write_stanza(stanza(), "andes", mine)
    assert mine.read_bytes().endswith(content.encode("latin-1"))
    write_stanza(stanza(port=40000), "andes", mine)
    assert mine.read_bytes().endswith(content.encode("latin-1"))


def test_a_block_at_the_end_without_a_line_end_is_replaced(mine):
    mine.write_text(f"Host a\n  Port 23\n{block()}".rstrip("\n"))
    write_stanza(stanza(port=40000), "andes", mine)
    assert mine.read_text() == f"Host a\n  Port 23\n{block(port=40000)}"


def test_line_ends_of_windows_are_kept(mine):
    mine.write_bytes(MINE.replace("\n", "\r\n").encode())
    write_stanza(stanza(), "andes", mine)
    assert mine.read_bytes() == f"{block()}\n{MINE}".replace("\n", "\r\n").encode()
    assert not write_stanza(stanza(), "andes", mine).changed


def test_of_a_link_the_file_it_leads_to_is_changed(config, tmp_path):
    real = tmp_path / "dotfiles" / "ssh_config"
    real.parent.mkdir()
    real.write_text(MINE)
    config.parent.mkdir()
    config.symlink_to(real)
    write_stanza(stanza(), "andes", config)
    assert config.is_symlink()
    assert real.read_text() == f"{block()}\n{MINE}"
    assert names(config) == {"config", "config.gears-backup"}
    assert {file.name for file in real.parent.iterdir()} == {"ssh_config"}


START, END = "# >>> gears andes >>>\n", "# <<< gears andes <<<\n"


@pytest.mark.parametrize(
    "content",
    [START, END, END + START, START + START + END, START + END + END, START + "# >>> gears cades >>>\n" + END],
)
def test_marks_that_are_no_pair_are_refused(mine, content):
    mine.write_text(f"Host a\n{content}  Port 23\n")
    error = refused(mine)
    assert error.message.startswith(f"{mine}: line 2: ")
    assert error.exit_code == 1


def test_broken_marks_of_another_site_are_left_alone(mine):
    mine.write_text(f"# >>> gears cades >>>\n{MINE}")
    write_stanza(stanza(), "andes", mine)
    assert mine.read_text() == f"{block()}\n# >>> gears cades >>>\n{MINE}"


def test_a_file_ssh_does_not_read_is_refused_with_the_words_of_ssh(mine):
    mine.write_text("Host a\n  Prot 23\n")
    assert f"{mine}: line 2: Bad configuration option: prot" in refused(mine).message


def test_a_stanza_ssh_does_not_read_is_refused(mine):
    assert "Bad forwarding specification" in refused(mine, stanza().replace("/run/", f"/{'a' * 90}/")).message


def test_a_line_above_an_old_block_that_overrides_it_is_named(mine):
    mine.write_text(f"{MINE}{block()}")
    error = refused(mine, stanza(port=40000))
    assert error.message == f"{mine}: another line sets user bob for andes-jupyter, but gears needs alice"


def test_an_earlier_hand_made_entry_for_the_same_port_is_named(mine):
    mine.write_text("Host andes-jupyter\n  LocalForward 38888 /somewhere/else.sck\n")
    assert "localforward 38888 /somewhere/else.sck for andes-jupyter" in refused(mine).message


def test_the_same_entry_pasted_earlier_is_no_rival(mine):
    mine.write_text(stanza())
    assert write_stanza(stanza(), "andes", mine).changed


@pytest.mark.parametrize(
    "failure", [MissingProgram("no ssh"), CommandFailed("ssh", stderr="unknown option -- G\nusage: ssh …")]
)
def test_without_an_ssh_that_can_tell_nothing_is_checked(mine, monkeypatch, failure):
    def fail(*_, **__):
        raise failure

    monkeypatch.setattr(user_config, "run", fail)  # the ssh of the test can do it
    assert write_stanza(stanza(), "andes", mine).changed


def test_a_change_by_somebody_else_meanwhile_is_not_lost(mine, monkeypatch):
    def edit(*_):
        mine.write_text("Host new\n")

    monkeypatch.setattr(user_config, "_check_effect", edit)
    with pytest.raises(GearsError, match="another program"):
        write_stanza(stanza(), "andes", mine)
    assert mine.read_text() == "Host new\n"
    assert names(mine) == {"config"}


def test_writers_at_once_each_get_their_block(mine):
    sites = ["andes", "cades", "summit", "frontier", "matagorda"]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: write_stanza(stanza(name), name, mine), sites))
    for name in sites:
        assert block(name) in mine.read_text()
    assert mine.read_text().endswith(MINE)


def test_a_writer_that_never_ends_is_not_waited_for(mine, monkeypatch):
    monkeypatch.setattr(user_config, "LOCK_TIMEOUT_S", 0.1)
    holder = os.open(mine.parent, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    try:
        assert "locked" in refused(mine).message
    finally:
        os.close(holder)


def test_what_cannot_be_written_says_so(config):
    config.mkdir(parents=True)
    with pytest.raises(GearsError) as caught:
        write_stanza(stanza(), "andes", config)
    assert str(config) in caught.value.message
    assert "gears ssh-config andes" in caught.value.next


# --- all sites, in a file of its own ---------------------------------------------------------

SITES = ["andes", "matagorda"]


def included(config: Path) -> Path:
    return config.with_name("gears.config")


def all_stanzas() -> str:
    return "\n".join(stanza(name) for name in SITES)


def test_one_line_includes_every_site(mine):
    write_stanza(stanza(), "andes", mine)
    written = write_include(all_stanzas(), SITES, mine)
    assert written.changed
    assert mine.read_text() == f'# >>> gears Include >>>\nInclude "{included(mine)}"\n# <<< gears Include <<<\n\n{MINE}'
    assert stat.S_IMODE(included(mine).stat().st_mode) == 0o600
    for name in SITES:
        (port,) = [line.split()[1] for line in stanza(name).splitlines() if line.startswith("  LocalForward")]
        assert [line for line in says(mine, f"{name}-jupyter") if line.startswith("localforward ") and port in line]
    assert "hostname cluster.example.org" in says(mine, "cluster")
    assert "user bob" in says(mine, "cluster")


def test_the_same_sites_again_change_nothing(mine):
    write_include(all_stanzas(), SITES, mine)
    before, files = mine.read_bytes(), names(mine)
    assert not write_include(all_stanzas(), SITES, mine).changed
    assert write_include(stanza(port=40001), ["andes"], mine).changed
    assert "40001" in "".join(says(mine, "andes-jupyter"))
    assert (mine.read_bytes(), names(mine)) == (before, files)


def test_an_entry_that_overrides_an_included_one_is_named_and_nothing_is_written(mine):
    mine.write_text(f"Host andes-jupyter\n  LocalForward 38888 /elsewhere.sck\n\n{MINE}")
    before = mine.read_bytes()
    with pytest.raises(GearsError, match=r"localforward .*elsewhere"):
        write_include(all_stanzas(), SITES, mine)
    assert mine.read_bytes() == before
    assert not included(mine).exists()


def test_a_file_of_the_same_name_that_is_not_ours_is_left(mine):
    included(mine).write_text("Host mine\n")
    with pytest.raises(GearsError, match="was not written by gears"):
        write_include(all_stanzas(), SITES, mine)
    assert included(mine).read_text() == "Host mine\n"
