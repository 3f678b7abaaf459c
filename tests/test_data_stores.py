"""Stores of every kind do the same: whole files or none, parts, sizes, replacement, several at once."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gears.data.stores.base import CHUNK_BYTES, Near, is_part, part_name
from gears.errors import CommandFailed
from tests.places import ROOT, until
from tests.store_places import (  # noqa: F401  fixtures
    LARGE,
    Place,
    make_fixture,
    own_settings,
    pieces,
    programs,
    read,
    served,
)

KINDS = ("posix", "directory", "s3", "hpss", "globus")


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, make: Callable[[str], Place]) -> Place:
    return make(request.param)


# --- what all kinds do -----------------------------------------------------------------------


def test_files_come_back_whole_and_in_parts(place: Place) -> None:
    store = place.open()
    assert store.sizes() == {}
    files = {"empty": b"", "small": b"small", "000001.tar": LARGE}
    for name, data in files.items():
        store.write(name, pieces(data))
    assert store.sizes() == {name: len(data) for name, data in files.items()}
    assert {name: read(store, name) for name in files} == files
    parts = [(4_999_990, 100), (CHUNK_BYTES - 1, 2), (len(LARGE) + 7, 5), (3, 0)]
    assert [read(store, "000001.tar", *part) for part in parts] == [LARGE[begin:][:long] for begin, long in parts]
    assert read(store, "000001.tar", 4_900_000) == LARGE[4_900_000:]
    assert place.found() == sorted(files)


def test_a_later_write_replaces_even_of_the_same_size(place: Place) -> None:
    store = place.open()
    for data in (b"one", b"two", b""):
        store.write("file", iter([data]))
        assert (read(store, "file"), store.sizes()) == (data, {"file": len(data)})


def test_what_is_not_there(place: Place) -> None:
    store = place.open()
    for prepare in (lambda: None, lambda: store.write("beside", [b"x"])):
        prepare()
        with pytest.raises(FileNotFoundError):
            read(store, "gone")
        with pytest.raises(FileNotFoundError):
            read(store, "gone", 2, 3)
        store.remove("gone")
    store.remove("beside")
    store.remove("beside")
    assert store.sizes() == {}


class Broken(Exception):
    pass


def test_nothing_is_stored_if_the_source_fails(place: Place) -> None:
    store = place.open()
    store.write("file", [b"before"])

    def fails(error: Exception) -> Iterator[bytes]:
        yield LARGE
        raise error

    for error, name in ((Broken("x"), "new"), (CommandFailed("of the source"), "file")):
        with pytest.raises(type(error)) as raised:
            store.write(name, fails(error))
        assert raised.value is error
    assert (store.sizes(), read(store, "file")) == ({"file": 6}, b"before")
    assert place.found() == ["file"]


WRITER = """
import sys
from pathlib import Path
from gears.data.stores import open_store
from gears.data.stores.base import Near
def chunks():
    for number in range(5):
        yield bytes(1 << 20)
    print("sent", flush=True)
    sys.stdin.read()
kind, path, *near = sys.argv[1:]
near = Near(near[0], near[1], Path(near[2]), near[3], Path(near[4])) if near else None
open_store(kind, path, near=near).write("file", chunks())
"""


def near_words(near: Near) -> list[str]:
    return [near.collection, near.path, str(near.directory), near.client, str(near.tokens)]


def test_a_killed_writer_leaves_nothing_under_the_name(place: Place) -> None:
    """kill -9 of the process: the program that it feeds sees the end of its input, and takes that for the whole."""
    store = place.open()
    store.write("file", [b"before"])
    if place.near:
        argv = [sys.executable, "-c", WRITER, place.kind, f"{place.path}/run7", *near_words(place.near)]
    else:
        argv = [sys.executable, "-c", WRITER, place.kind, f"{place.path}/run7"]
    writer = subprocess.Popen(argv, stdin=-1, stdout=-1, cwd=ROOT)
    with writer:
        assert writer.stdout
        assert writer.stdout.readline() == b"sent\n"
        writer.kill()
    until(lambda: not programs(), "a program is left behind")
    assert (store.sizes(), read(store, "file")) == ({"file": 6}, b"before")
    store.write("file", [b"after"])
    assert (store.sizes(), read(store, "file")) == ({"file": 5}, b"after")
    if place.kind != "posix":
        assert place.found() == ["file"]


def test_several_at_once(place: Place) -> None:
    store = place.open()
    files = {f"{number:06}.tar": LARGE[number:] for number in range(4)}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: store.write(name, pieces(files[name])), files))
        assert list(pool.map(lambda name: read(store, name), files)) == list(files.values())
    assert store.sizes() == {name: len(data) for name, data in files.items()}


def test_a_reader_that_stops_leaves_no_program(place: Place) -> None:
    store = place.open()
    store.write("file", pieces(LARGE))
    reading = store.read("file")
    assert next(reading)
    reading.close()  # type: ignore[attr-defined]
    assert not programs()


def test_names_of_parts_are_no_files(place: Place) -> None:
    store = place.open()
    store.write("file", [b"x"])
    store.write(part := part_name("file"), [b"y"])
    assert is_part(part)
    assert store.sizes() == {"file": 1}
