"""What a directory has lost comes back from the right copy, and nothing else changes."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from gears.cli import main
from gears.data import bundles, engine, records
from gears.data.records import Method, Task, TaskState, Transfer, Verb
from gears.data.restoring import Here, Restored, restore
from gears.data.stores import open_store
from gears.errors import BrokenSeal, NotReachable, UsageError
from gears.sites import load
from gears.sites.paths import RunDir
from gears.sites.profile import Place, Site
from gears.system.host import Host


class Centre:
    """A scratch, an archive, and the records of transfers between them."""

    def __init__(self, root: Path) -> None:
        self.root, self.scratch, self.archive = root, root / "scratch", root / "archive"
        self.paths = RunDir(root / "gears", "x", root / "local")
        self.host = Host("login1", ("login1",), "alice", str(root))
        self.site = Site("x", filesystem={name: Place(str(root / name)) for name in ("scratch", "archive")})
        for number, name in enumerate(("run7/a", "run7/in/b", "run7/in/deep/c", "run8/d")):
            self.write(name, f"{name} {number}")
        os.link(self.scratch / "run7/in/b", self.scratch / "run7/in/linked")
        os.link(self.scratch / "run7/a", self.scratch / "run7/in/to-a")
        os.symlink("a", self.scratch / "run7/symlink")
        os.mkfifo(self.scratch / "run7/fifo")
        (self.scratch / "run7/in").chmod(0o2750)

    def write(self, name: str, text: str) -> None:
        path = self.scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def put(self, directory: str, name: str, *, verified: bool = True) -> Transfer:
        source, target = self.scratch / directory, self.archive / name
        ends = {"source": f"scratch:{directory}", "target": f"archive:{name}"}
        paths = {"source_path": str(source), "target_path": str(target)}
        about = {"host": "login1", "user": "alice", "created": "2026-11-27T09:00:00Z"}
        transfer = Transfer(name=name, verb=Verb.PUT, method=Method.TREE, **ends, **paths, **about)
        self.paths.transfer(name).mkdir(parents=True)
        engine.copy_tree(source, target, records.manifest_path(self.paths, name))
        records.save_transfer(self.paths, transfer)
        records.save_task(self.paths, name, Task(verb=Verb.PUT, state=TaskState.DONE, verified=verified))
        return transfer

    def restore(self, directory: str, name: str = "") -> list[Restored]:
        return restore(self.scratch / directory, Here(self.site, self.paths, self.host), name=name)

    def picture(self, directory: str = "run7") -> dict[str, object]:
        found: dict[str, object] = {}
        for path in [self.scratch / directory, *sorted((self.scratch / directory).rglob("*"))]:
            info = path.lstat()
            content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            mtime = 0 if path.is_symlink() else info.st_mtime_ns
            found[str(path.relative_to(self.scratch))] = (info.st_mode, content, mtime)
        return found


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    return Centre(tmp_path)


@pytest.mark.parametrize("lost", ["run7/in", "run7/in/deep", "run7"])
def test_a_lost_directory_comes_back_as_it_was(centre: Centre, lost: str) -> None:
    centre.put("run7", "run7")
    before = centre.picture()
    shutil.rmtree(centre.scratch / lost)
    [one] = centre.restore("run7")
    after = centre.picture()
    fifo = {"run7/fifo"} if lost == "run7" else set()  # it has no data: it is listed, not made
    assert before.keys() - after.keys() == fifo
    assert all(after[name] == before[name] for name in after if (centre.scratch / name).is_file())
    assert (one.complete, one.different) == (True, 0)
    assert centre.scratch.joinpath("run7/in/linked").stat().st_nlink == 2
    assert not centre.paths.transfer("run7").joinpath("restore").exists()


def test_only_the_part_that_is_asked_for(centre: Centre) -> None:
    centre.put("run7", "run7")
    shutil.rmtree(centre.scratch / "run7")
    [one] = centre.restore("run7/in/deep")
    assert sorted(map(str, centre.picture())) == ["run7", "run7/in", "run7/in/deep", "run7/in/deep/c"]
    assert oct(centre.scratch.joinpath("run7/in").stat().st_mode & 0o7777) == "0o2750"
    [one] = centre.restore("run7/in")
    assert (one.lost, one.tally.files) == (3, 3)
    assert centre.scratch.joinpath("run7/in/to-a").read_text() == "run7/a 0"  # its first name is in another part
    assert not centre.scratch.joinpath("run7/a").exists()


def test_what_is_above_brings_back_each_of_its_transfers(centre: Centre) -> None:
    for name in ("run7", "run8"):
        centre.put(name, name)
        shutil.rmtree(centre.scratch / name)
    assert {one.source.transfer.name for one in centre.restore("")} == {"run7", "run8"}
    assert centre.scratch.joinpath("run8/d").exists()
    assert [one.lost for one in centre.restore("")] == [0, 0]


def test_what_is_there_stays_and_is_said(centre: Centre) -> None:
    centre.put("run7", "run7")
    centre.write("run7/a", "newer")
    centre.write("run7/mine", "mine")
    (centre.scratch / "run7/in/b").unlink()
    [one] = centre.restore("run7")
    assert centre.scratch.joinpath("run7/a").read_text() == "newer"
    assert (one.lost, one.tally.files) == (1, 1)
    assert b"a" in one.named_different
    assert centre.scratch.joinpath("run7/mine").exists()


def test_the_newest_verified_copy_is_used_and_others_only_for_what_it_cant_give(centre: Centre) -> None:
    centre.put("run7", "old")
    (centre.scratch / "run7/a").unlink()  # on purpose: it must not come back
    centre.put("run7", "new")
    centre.put("run7", "newest", verified=False)
    for name, age in (("old", 30), ("new", 20), ("newest", 10)):
        os.utime(records.manifest_path(centre.paths, name), (1e9 - age, 1e9 - age))
    shutil.rmtree(centre.scratch / "run7/in")
    (centre.archive / "new/in/deep/c").write_text("damaged")
    found = centre.restore("run7")
    assert [one.source.transfer.name for one in found] == ["new", "old"]
    assert all(one.complete for one in found)
    assert centre.scratch.joinpath("run7/in/deep/c").read_text() == "run7/in/deep/c 2"
    assert not centre.scratch.joinpath("run7/a").exists()
    [one] = centre.restore("run7", "old")
    assert (one.source.transfer.name, one.tally.files) == ("old", 1)
    assert centre.scratch.joinpath("run7/a").exists()


def test_what_no_copy_can_give_is_named(centre: Centre) -> None:
    centre.put("run7", "run7")
    shutil.rmtree(centre.scratch / "run7/in")
    (centre.archive / "run7/in/b").write_text("damaged")
    [one] = centre.restore("run7")
    assert not one.complete
    assert {name for name, _ in one.tally.named} <= {b"in/b", b"in/linked"}
    assert centre.scratch.joinpath("run7/in/deep/c").exists()


def test_what_an_older_copy_never_had_is_not_forgotten(centre: Centre) -> None:
    centre.put("run7/in/deep", "old")
    centre.write("run7/in/deep/later", "later")
    centre.put("run7", "new")
    os.utime(records.manifest_path(centre.paths, "old"), (1e9, 1e9))
    shutil.rmtree(centre.scratch / "run7/in/deep")
    for name in ("later", "c"):
        (centre.archive / "new/in/deep" / name).write_text("damaged")
    found = centre.restore("run7")
    assert [name for one in found for name, _ in one.tally.named] == [b"in/deep/later"]
    assert sum(one.tally.problems for one in found) == 1
    assert centre.scratch.joinpath("run7/in/deep/c").exists()


def test_the_source_of_a_get_brings_back_its_target(centre: Centre) -> None:
    put = centre.put("run7", "run7")
    back = replace(put, verb=Verb.GET, source=put.target, target=put.source)
    records.save_transfer(centre.paths, replace(back, source_path=put.target_path, target_path=put.source_path))
    (centre.scratch / "run7/a").unlink()
    assert centre.restore("run7")[0].tally.files == 1


def test_of_a_get_only_what_was_asked_for_comes_back(centre: Centre) -> None:
    put = centre.put("run7", "run7")
    back = replace(put, verb=Verb.GET, source=put.target, target=put.source, patterns=("in/deep/*",))
    records.save_transfer(centre.paths, replace(back, source_path=put.target_path, target_path=put.source_path))
    shutil.rmtree(centre.scratch / "run7")
    [one] = centre.restore("run7")
    assert (one.lost, one.tally.files) == (1, 1)
    assert list(centre.picture()) == ["run7", "run7/in", "run7/in/deep", "run7/in/deep/c"]


def test_a_copy_that_cant_be_seen_is_not_replaced_by_an_older_one(centre: Centre) -> None:
    centre.put("run7", "old", verified=False)
    centre.put("run7", "new")
    shutil.rmtree(centre.archive / "new")
    with pytest.raises(NotReachable, match="archive:new, the newest copy of it"):
        centre.restore("run7")
    assert centre.restore("run7", "old")[0].lost == 0


def test_from_bundles_a_part_comes_back_and_what_is_damaged_from_an_older_copy(centre: Centre) -> None:
    centre.put("run7", "old")
    os.utime(records.manifest_path(centre.paths, "old"), (1e9, 1e9))
    transfer = centre.put("run7", "new")
    shutil.rmtree(centre.archive / "new")
    state = centre.paths.transfer("new")
    store = open_store("posix", str(centre.archive / "new"))
    for path in state.iterdir():
        path.unlink()
    assert bundles.put(centre.scratch / "run7", store, state, bundle_size=10**6, jobs=1).complete
    records.save_transfer(centre.paths, replace(transfer, method=Method.BUNDLES))
    records.save_task(centre.paths, "new", Task(verb=Verb.PUT, state=TaskState.DONE, verified=True))
    before = centre.picture()
    shutil.rmtree(centre.scratch / "run7/in")
    (centre.scratch / "run7/a").unlink()
    [one] = centre.restore("run7/in")
    assert (one.source.transfer.name, one.complete, one.tally.files) == ("new", True, 4)
    after = centre.picture()
    assert before.keys() - after.keys() == {"run7/a"}
    assert all(after[name] == before[name] for name in after if (centre.scratch / name).is_file())

    (centre.scratch / "run7/in/deep/c").unlink()
    tar = centre.archive / "new/000001.tar"
    tar.write_bytes(tar.read_bytes().replace(b"run7/in/deep/c 2", b"run7/in/deep/c X"))
    found = centre.restore("run7/in")
    assert [one.source.transfer.name for one in found] == ["new", "old"]
    assert all(one.complete for one in found)
    assert centre.scratch.joinpath("run7/in/deep/c").read_text() == "run7/in/deep/c 2"


def test_a_damaged_manifest_proves_nothing(centre: Centre) -> None:
    centre.put("run7", "run7")
    record = records.manifest_path(centre.paths, "run7")
    record.write_bytes(record.read_bytes().replace(b'"size":8', b'"size":9'))
    with pytest.raises(BrokenSeal):
        centre.restore("run7")


def test_no_transfer_holds_it(centre: Centre) -> None:
    centre.put("run7", "run7")
    with pytest.raises(UsageError, match="no transfer holds"):
        centre.restore("run8")
    with pytest.raises(UsageError, match=r"the transfer x does not hold .* those that hold it: run7"):
        centre.restore("run7", "x")


def test_the_command(centre: Centre, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    centre.put("run7", "run7")
    own = centre.root / ".config/gears/sites"
    own.mkdir(parents=True)
    places = "".join(f'{name} = "{centre.root / name}"\n' for name in ("scratch", "archive"))
    (own / "x.toml").write_text(f"[filesystem]\n{places}")
    monkeypatch.setenv("HOME", str(centre.root))
    monkeypatch.setenv("GEARS_HOME", str(centre.root / "gears"))
    monkeypatch.setattr(load, "SYSTEM", centre.root / "etc")
    for directory in (centre.paths.run, centre.paths.records, centre.paths.transfers):
        directory.chmod(0o700)
    shutil.rmtree(centre.scratch / "run7/in/deep")
    assert main(["data", "restore", "scratch:run7", "--site", "x"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"{centre.scratch}/run7, from archive:run7 (run7, verified):",
        "  1 file, 16 B brought back",
    ]
    assert main(["data", "restore", str(centre.scratch / "run7"), "--site", "x", "--from", "none"]) == 2
    passed: list[list[str]] = []  # replaced: the connection to the host for transfers
    monkeypatch.setattr("gears.cli.data.restore.pass_to_transfer_host", lambda *words: passed.append(words[2]) or 7)
    (own / "x.toml").write_text(f'[filesystem]\n{places}[transfer]\nhost = "dtn.invalid"\n')
    shutil.rmtree(centre.archive / "run7")
    assert main(["data", "restore", "scratch:run7", "--site", "x"]) == 7
    assert main(["_data", "restore", "scratch:run7", "--site", "x"]) == 5
    assert passed == [["restore", "scratch:run7"]]
