"""README and docs say what is so: links lead somewhere, commands can be typed, tables are the code's.

The steps that a page shows are run by test_docs_steps.py.
"""

import argparse
import json
import os
import pkgutil
import re
import shlex
import subprocess
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import pytest

from gears import errors
from gears.cli.registry import build_parser
from gears.cli.status import STATUS_EXITS
from gears.lab.status.model import ShownJob, State, Status
from gears.schedulers.base import JobSpec, scheduler
from gears.sites import load, profile
from gears.sites.paths import RunDir
from gears.sites.route import plan_route
from gears.ssh.stanza import plan_stanza
from gears.system.host import Host
from tests.pages import (
    COMMANDS,
    DEVELOPING,
    HOW_IT_WORKS,
    PAGES,
    PROFILE,
    ROOT,
    SCHEDULERS,
    Block,
    anchors,
    blocks,
    code,
    documented_files,
    links,
    prose,
    sections,
    table,
    tables,
)

# --- links -----------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        file, _, anchor = target.partition("#")
        path = (page.parent / file) if file else page
        assert path.exists(), f"{target} is not there"
        assert not anchor or anchor in anchors(path), f"{target}: no such heading"


def test_every_page_can_be_reached_and_every_picture_is_used() -> None:
    reached = {ROOT / "README.md"}
    for page in PAGES * 3:
        if page in reached:
            reached |= {(page.parent / target.partition("#")[0]).resolve() for target in links(page)}
    assert {*PAGES, *(ROOT / "docs/images").iterdir()} <= reached


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_rows_of_a_table_are_as_long_as_its_head(page: Path) -> None:
    for found in tables(page):
        lengths = {len(row) for row in [found.head, *found.rows]}
        assert len(lengths) == 1, f"{found.heading}: {[row for row in found.rows if len(row) != len(found.head)]}"


def test_pictures_are_well_formed() -> None:
    for picture in (ROOT / "docs/images").glob("*.svg"):
        assert ElementTree.parse(picture).getroot().tag.endswith("svg")


def test_pictures_are_small() -> None:
    for picture in (ROOT / "docs/images").iterdir():
        assert picture.suffix in (".svg", ".png")
        assert picture.stat().st_size < 60_000


# --- commands --------------------------------------------------------------------------------


def typed_commands(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Every gears and make command of a page, in shell blocks and between backticks, with where it stands."""
    for block in blocks(page):
        if block.kind == "sh":
            for line in block.text.splitlines():
                yield from ((f"{block}: {line.strip()}", words) for words in simple_commands(line))
    for text in re.findall(r"`((?:gears|make) [^`]+)`", prose(page)):
        if "…" not in text and not text.startswith("gears _"):
            yield from ((f"{page.name}: {text}", words) for words in simple_commands(text))


def simple_commands(line: str) -> Iterator[list[str]]:
    """The gears and make commands in a line of shell, those given to ssh included."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("&|;"):
            yield from one_command(words)
            words = []
        else:
            words.append(word)


def one_command(words: list[str]) -> Iterator[list[str]]:
    while words and re.match(r"\w+=", words[0]):
        words = words[1:]
    if words and words[0] == "ssh" and " " in words[-1]:
        yield from simple_commands(words[-1])
    elif words and Path(words[0]).name in ("gears", "make"):
        yield [Path(words[0]).name, *("40000" if word == "N" else word for word in words[1:])]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_can_be_typed(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for where, words in typed_commands(page):
        try:
            (check_make if words[0] == "make" else parse)(words[1:])
        except SystemExit as exc:
            pytest.fail(f"{where}\n{exc if exc.code != 2 else capsys.readouterr().err}")


def parse(words: list[str]) -> None:
    if words not in (["--version"], ["--help"]):
        build_parser().parse_args(words)


def check_make(words: list[str]) -> None:
    """What make would run, it only prints; of that, gears' own commands are checked."""
    of_make = ("MAKE", "MFLAGS", "ARGS")  # a `make test ARGS=…` around us hands its own on
    environment = {name: value for name, value in os.environ.items() if not name.startswith(of_make)}
    done = subprocess.run(
        ["make", "-n", *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    if done.returncode != 0:
        raise SystemExit(f"make {shlex.join(words)}: {done.stderr}")
    for line in done.stdout.splitlines():
        for command in simple_commands(line):
            parse(command[1:])


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(found[0].choices) if found else {}


def public_commands() -> dict[str, argparse.ArgumentParser]:
    return {name: parser for name, parser in subparsers(build_parser()).items() if not name.startswith("_")}


def test_every_command_has_its_section() -> None:
    described = [heading.removeprefix("gears ") for heading in sections(COMMANDS) if heading.startswith("gears ")]
    assert described == list(public_commands())


@pytest.mark.parametrize("name", public_commands())
def test_options_and_words_of_a_command_are_those_of_the_parser(name: str) -> None:
    parser = public_commands()[name]
    usage = " ".join(re.findall(r"^    (gears .+)$", sections(COMMANDS)[f"gears {name}"], re.MULTILINE))
    explained = [row[0] for found in tables(COMMANDS) for row in found.rows if found.heading == f"gears {name}"]
    words = [parser, *subparsers(parser).values()]
    options = {option for word in words for action in word._actions for option in action.option_strings}
    options -= {"-h", "--help"}
    in_usage, in_table = (
        set(re.findall(r"(?<![\w-])--?[A-Za-z][a-z-]*", text)) for text in (usage, " ".join(explained))
    )
    assert in_usage <= in_table == options
    positional = {action.dest for word in words for action in word._actions if not action.option_strings}
    assert ("[SITE]" in usage) == ("site" in positional)
    assert all(verb in usage for verb in subparsers(parser))


def test_targets_of_make_are_all_there() -> None:
    documented = {code(row[0])[0].removeprefix("make ") for row in table(COMMANDS, "Targets of make", "target")}
    targets = re.findall(r"^([a-z%-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert documented == {target.replace("%", "NAME") for target in targets}


# --- exit statuses, states -------------------------------------------------------------------


def test_exit_statuses_are_those_of_the_errors() -> None:
    """Those of `gears.errors`: what a module raises for itself, another one of the same package catches."""
    documented = {int(row[0]): set(code(row[2])) for row in table(COMMANDS, "Exit statuses", "status")}
    raised: dict[int, set[str]] = {0: set()}
    tree = [errors.GearsError]
    for error in tree:
        raised.setdefault(error.exit_code, set()).add(error.__name__)
        tree += [one for one in error.__subclasses__() if one.__module__ == errors.__name__]
    assert documented == raised


def test_states_and_their_exit_statuses() -> None:
    documented = {code(row[0])[0]: int(row[2]) for row in table(COMMANDS, "gears status", "state")}
    assert documented == {state: STATUS_EXITS.get(state, 0) for state in State}


# --- profiles --------------------------------------------------------------------------------


def default(key: str) -> Any:
    section, name = profile.split(key)
    owner = profile.SECTIONS[section] if section else profile.Site
    value = next(field.default for field in fields(owner) if field.name == name)
    return None if value is MISSING else value


def documented_default(cell: str) -> Any:
    if cell == "absent":
        return None
    value = tomllib.loads(f"value = {code(cell)[0]}")["value"]
    return tuple(value) if isinstance(value, list) else value


def test_keys_of_a_profile_and_their_defaults() -> None:
    documented = {code(row[0])[0]: documented_default(row[1]) for row in table(PROFILE, "Keys", "key")}
    opened = {f"{section}.*": None for section in profile.OPEN_SECTIONS}
    assert documented == {key: default(key) for key in profile.CHECKS} | opened


PLACES = "Places: [filesystem.NAME]"


def test_keys_of_a_place_and_their_defaults() -> None:
    documented = {code(row[0])[0]: row[1] for row in table(PROFILE, PLACES, "in `[filesystem.NAME]`")}
    assert documented.pop("path") == "none; required"
    expected = {field.name: field.default for field in fields(profile.Place) if field.name != "path"}
    assert {key: documented_default(cell) for key, cell in documented.items()} == expected
    assert ["path", *documented] == list(profile.PLACE_CHECKS)


def test_choices_of_a_key_are_those_of_its_check() -> None:
    checks = profile.CHECKS | profile.PLACE_CHECKS
    for row in table(PROFILE, "Keys", "key") + table(PROFILE, PLACES, "in `[filesystem.NAME]`"):
        key, choices = code(row[0])[0], re.fullmatch(r'`"([^"`]+)"`(, `"[^"`]+"`)+', row[2])
        if choices:
            for choice in code(row[2]):
                checks[key](json.loads(choice))
            others = ", ".join(json.loads(choice) for choice in code(row[2]))
            with pytest.raises(ValueError, match=f"is not one of {others}$"):
                checks[key]("no-such-choice")


def test_built_in_sites() -> None:
    here = Host("somewhere", ("somewhere",), "alice", "/home/alice")
    expected = {}
    for name in sorted(path.stem for path in load.BUILT_IN.glob("[!_]*.toml")):
        site = load.load_site(name, environ={"HOME": "/nonexistent"})
        expected[name] = plan_route(site, here, on_lab_host=False).kind, site.laptop.port
    rows = table(PROFILE, "Built-in sites", "name")
    assert {code(row[0])[0]: (row[1].partition(",")[0], int(row[2])) for row in rows} == expected


def test_profiles_shown_as_examples_pass_their_check(tmp_path: Path) -> None:
    shown = [block for page in PAGES for block in blocks(page) if block.kind == "toml"]
    directory = tmp_path / ".config/gears/sites"
    directory.mkdir(parents=True)
    for number, block in enumerate(shown):
        if block.text.startswith("site ="):
            (directory.parent / "config.toml").write_text(block.text)
            assert load.default_site({"HOME": str(tmp_path)}) == "mysite"
        else:
            adds = "[scheduler]" in block.text and "kind" not in block.text
            name = "andes" if adds else f"x{number}"  # what a page adds to a built-in site is no profile of its own
            (directory / f"{name}.toml").write_text(block.text)
            load.load_site(name, environ={"HOME": str(tmp_path)})
    assert len(shown) > 5


STANZAS = [("relay", "andes", "/ccs/home"), ("proxy", "matagorda", "/home"), ("schedulers", "cades", "/home")]


@pytest.mark.parametrize(("page", "name", "root"), STANZAS)
def test_stanzas_shown_are_those_that_are_printed(page: str, name: str, root: str) -> None:
    site = load.load_site(name, environ={"HOME": "/nonexistent"})
    printed = plan_stanza(site, front_root=f"{root}/alice/gears", user="alice")
    [shown] = [block.text for block in blocks(ROOT / f"docs/how-to/{page}.md") if block.kind == "sshconfig"]
    assert printed.endswith(shown)


CONFIGURATIONS = [block for page in PAGES for block in blocks(page) if block.kind == "sshconfig"]


@pytest.mark.parametrize("block", CONFIGURATIONS, ids=str)
def test_ssh_reads_what_is_shown_for_its_configuration(block: Block, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(block.text)
    hosts = re.findall(r"^Host (\S+)", block.text, re.MULTILINE)
    assert hosts
    for host in hosts:
        words = ["ssh", "-T", "-G", "-F", tmp_path / "config", host.replace("*", "")]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, "")


# --- schedulers ------------------------------------------------------------------------------

ASKED: dict[str, dict[str, Any]] = {
    "-A": {"account": "ACCOUNT"},
    "-p": {"queue": "QUEUE"},
    "-N": {"nodes": 2},
    "-t": {"walltime_s": 60},
    "--renew": {"after": "JOB"},
}
RUNS = re.compile(r"""(?:run|run_submission|_ask)\(\[?"(\w+)\"""")


def column(kind: str) -> dict[str, list[str]]:
    """What is said of a scheduler: each row's name, the part between backticks where there is one, and its words."""
    kinds, *rows = table(SCHEDULERS, "The four schedulers", "")
    number = [code(cell) for cell in kinds].index([json.dumps(kind)])
    return {(code(row[0]) or row)[0]: code(row[number]) for row in rows}


@pytest.mark.parametrize("kind", ["slurm", "lsf", "pbs", "sge"])
def test_options_of_a_scheduler_are_those_of_its_job_script(kind: str) -> None:
    plain = JobSpec("x", Path("/x.log"))
    header = scheduler(kind).header
    for option, asked in ASKED.items():
        for words in column(kind)[option]:
            lines = [line for line in header(replace(plain, **asked)) if line not in header(plain)]
            assert lines[0].split(" ", 1)[1].startswith(words), f"{option}: {lines}"


@pytest.mark.parametrize("kind", ["slurm", "lsf", "pbs", "sge"])
def test_programs_of_a_scheduler_are_those_that_are_run(kind: str) -> None:
    told = [
        programs for row, programs in column(kind).items() if row in ("submits with", "queries with", "cancels with")
    ]
    assert len(told) == 3
    assert {program for programs in told for program in programs} == set(
        RUNS.findall((ROOT / f"gears/schedulers/{kind}.py").read_text())
    )


def test_fields_of_a_job_are_all_there() -> None:
    documented = {code(row[0])[0] for row in table(COMMANDS, "Fields of `--json`", "field")}
    printed: Any = Status(job=ShownJob(id="7")).as_json()["job"]
    assert {field for field in documented if field.startswith("job.")} == {f"job.{field}" for field in printed}


# --- files -----------------------------------------------------------------------------------


def test_every_path_of_a_site_is_described() -> None:
    paths = RunDir(Path("/H"), "SITE", Path("LOCAL"))
    properties = [name for name, value in vars(RunDir).items() if isinstance(value, property)]
    known = [getattr(paths, name) for name in properties]
    known += [paths.log(what) for what in ("lab", "hop", "job", "keeper")]
    known += [paths.script(what) for what in ("lab", "hop", "job")]
    known += [path("N") for path in (paths.job_log, paths.job_life, paths.job_meet)]
    known += [paths.run_file("N", what) for what in ("json", "sh", "pid", "out", "end")]
    known += [paths.socket(what, "N") for what in ("wait", "hop", "job", "lab")]
    assert {str(path).removeprefix("/H/") for path in known} <= set(documented_files())


# --- the house -------------------------------------------------------------------------------


def test_every_package_is_named_with_a_file_to_read_first() -> None:
    rows = {code(row[0])[0]: code(row[2])[0] for row in table(DEVELOPING, "The packages", "package")}
    for package, first in rows.items():
        assert (ROOT / package / first).is_file(), f"{package}{first}"
    modules = {f"{file.parent.relative_to(ROOT)}/" for file in (ROOT / "gears").rglob("*.py")}
    assert modules - set(rows) == {
        "gears/",
        "gears/cli/data/",
        "gears/cli/workspace/",
        "gears/laptop/",
        "gears/dask/anywhere/",
        "gears/jobs/",
    }
    assert len([package for package in rows if package.count("/") == 2]) <= 13


def test_it_fits_two_screens() -> None:
    assert len(DEVELOPING.read_text().splitlines()) <= 80


def test_functions_named_in_how_it_works_are_there() -> None:
    names = re.findall(r"`([a-z_]+(?:\.[A-Za-z_]+)+)`", HOW_IT_WORKS.read_text())
    found = [name for name in names if not name.endswith((".py", ".sh", ".sck", ".json", ".md"))]
    for name in found:
        pkgutil.resolve_name(name if name.startswith("gears.") else f"gears.{name}")
    assert len(found) > 8


# --- messages --------------------------------------------------------------------------------


def test_messages_in_troubleshooting_are_those_of_the_source() -> None:
    """`…` stands for what differs; blocks of other programs' messages are `console`."""
    files = [*(ROOT / "gears").rglob("*.py"), *(ROOT / "gears").rglob("*.j2"), ROOT / "envs/init.sh"]
    source = re.sub(r'"\s*\n\s*f?"', "", "\n".join(file.read_text() for file in files))
    quoted = [
        line
        for block in blocks(ROOT / "docs/troubleshooting.md")
        if block.kind == "text"
        for line in block.text.splitlines()
    ]
    assert quoted
    for line in quoted:
        pattern = ".{0,80}?".join(re.escape(part) for part in line.split("…"))
        assert re.search(pattern, source), f"no message of ours: {line}"
