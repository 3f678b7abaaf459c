"""Profiles: what may be in them, who wins, and what is said about a wrong one."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from gears.dask.settings import OURS
from gears.errors import ProfileError, UsageError
from gears.sites import export, profile, validators
from gears.sites import load as load_module
from gears.sites.load import check_name, default_site, from_json, load_site, site_names, to_json
from gears.sites.profile import Front, Lab, Laptop, Place, Scheduler, Site, Transfer

BUILT_IN = ["andes", "antakya", "cades", "frontier", "local", "matagorda", "pegasus", "summit"]

# From the issue, and what a shell, ssh, ssh_config, a path or a job script would take for more than a name.
BAD_NAMES = [
    "../x",
    "-oProxyCommand=x",
    "-v",
    "a b",
    "a'b",
    'a"b',
    "%h",
    "a\nb",
    "a\n",
    "",
    ".",
    "..",
    "a/b",
    "a;b",
    "$(x)",
    "`x`",
    "a\\",
    "a\0b",
    "~",
    "*",
    "ä",
    "a\u2028b",
]


@pytest.fixture
def own(tmp_path, monkeypatch):
    """~/.config/gears/sites of a person, on a machine whose /etc/gears/sites is not the real one's."""
    monkeypatch.setattr(load_module, "SYSTEM", tmp_path / "etc")
    (tmp_path / "etc").mkdir()
    directory = tmp_path / ".config/gears/sites"
    directory.mkdir(parents=True)
    return directory


def load(own: Path, text: str) -> Site:
    (own / "x.toml").write_text(text)
    return load_site("x", environ=home(own))


def home(own: Path) -> dict[str, str]:
    return {"HOME": str(own.parents[2])}


def refused(own: Path, text: str) -> ProfileError:
    with pytest.raises(ProfileError) as caught:
        load(own, text)
    assert caught.value.exit_code == 2
    assert caught.value.file == str(own / "x.toml")
    assert caught.value.message == f"{caught.value.file}: {caught.value.key}: {caught.value.reason}"
    return caught.value


def test_the_built_in_sites_are_all_there_and_pass_their_check(own):
    assert site_names(environ=home(own)) == [(name, "built in") for name in BUILT_IN]
    for name in BUILT_IN:
        assert load_site(name, environ=home(own)).name == name


def test_the_built_in_sites_can_be_used_side_by_side_on_one_laptop():
    ports = [load_site(name).laptop.port for name in BUILT_IN]
    assert len(set(ports)) == len(ports)


def test_andes_is_as_the_design_says():
    assert replace(load_site("andes"), filesystem={}) == Site(
        name="andes",
        title="OLCF Andes",
        local="/tmp",
        front=Front(host="hub.ccs.ornl.gov", jump=(), proxy="-W", user="", root="/ccs/home/{user}/gears"),
        lab=Lab("andes", ("andes-login*",), listen="port", directory="~", home="shared", root=None),
        laptop=Laptop(38888),
        scheduler=Scheduler("slurm", account="", queue="batch", walltime="01:00:00", reach="ssh", directives=()),
        dask={"cores": 32, "memory": "240GB"},
        transfer=Transfer("dtn.ccs.ornl.gov", nodes=4, walltime="24:00:00", jobs=1),
    )


def test_places_of_the_built_in_sites_are_as_the_centres_document_them():
    orion = {"purge_days": 90, "purge_by": "either"}
    kronos = {"quota": "mmlsquota -g {project} kronos", "hosts": ("dtn*",), "bundle_maximum": "45TB"}
    olcf = {
        "home": Place("/ccs/home/{user}", quota="quota -Qs"),
        "project": Place("/ccs/proj/{project}", shared="group", quota="quota -Qs"),
        "scratch": Place("/lustre/orion/{project}/scratch/{user}", **orion),
        "team": Place("/lustre/orion/{project}/proj-shared", shared="group", **orion),
        "world": Place("/lustre/orion/{project}/world-shared", shared="world", **orion),
        "archive": Place("/nl/kronos/olcf/{project}/users/{user}", **kronos),
        "archive-team": Place("/nl/kronos/olcf/{project}/proj-shared", shared="group", **kronos),
        "archive-world": Place("/nl/kronos/olcf/{project}/world-shared", shared="world", **kronos),
    }
    expected = {"andes": olcf, "frontier": olcf, "pegasus": {"scratch": Place("/scratch", purge_days=21)}}
    for name in BUILT_IN:
        assert load_site(name).filesystem == expected.get(name, {})


def test_an_empty_profile_is_a_lab_on_this_machine(own):
    assert load(own, "") == Site(name="x")


def test_every_key_of_the_design_can_be_set(own):
    site = load(
        own,
        """
        title = "All – of it"
        local = "/dev/shm"
        project = "abc123"
        [front]
        host = "hub.example.org"
        jump = ["outer.example.org", "me@inner"]
        proxy = "nc"
        user = "alice"
        root = "/nfs/{user}/gears"
        [lab]
        host = "login"
        match = ["login*", "[a-c]-login?"]
        listen = "socket"
        directory = "/scratch/me"
        home = "separate"
        root = "~/gears"
        [laptop]
        port = 40000
        [scheduler]
        kind = "sge"
        account = "abc123"
        queue = "all.q@node1"
        walltime = "2-00:00:00"
        reach = "reverse"
        directives = ["#$ -l h_vmem=4G", '#$ -m "ae"']
        [dask]
        cores = 8
        job-extra-directives = ["--gres=gpu:1"]
        config = { "a.b" = 1.5 }
        [filesystem]
        scratch = "/scratch/{user}"
        [filesystem.archive]
        path = "/archive/{project}/{user}"
        kind = "hpss"
        shared = "group"
        purge_days = 3650
        purge_by = "ctime"
        quota = "showquota -J '{project}'"
        hosts = ["dtn*", "data.example.org"]
        bundle_size = "100GB"
        bundle_maximum = "2 TB"
        [transfer]
        host = "dtn.example.org"
        queue = "transfer"
        nodes = 2
        walltime = "1-00:00:00"
        jobs = 3
        """,
    )
    assert site == Site(
        name="x",
        title="All – of it",
        local="/dev/shm",
        project="abc123",
        front=Front("hub.example.org", ("outer.example.org", "me@inner"), "nc", "alice", "/nfs/{user}/gears"),
        lab=Lab("login", ("login*", "[a-c]-login?"), "socket", "/scratch/me", "separate", "~/gears"),
        laptop=Laptop(40000),
        scheduler=Scheduler("sge", "abc123", "all.q@node1", "2-00:00:00", "reverse", ("#$ -l h_vmem=4G", '#$ -m "ae"')),
        dask={"cores": 8, "job-extra-directives": ["--gres=gpu:1"], "config": {"a.b": 1.5}},
        transfer=Transfer("dtn.example.org", "transfer", 2, "1-00:00:00", 3),
        filesystem={
            "scratch": Place("/scratch/{user}"),
            "archive": Place(
                path="/archive/{project}/{user}",
                kind="hpss",
                shared="group",
                purge_days=3650,
                purge_by="ctime",
                quota="showquota -J '{project}'",
                hosts=("dtn*", "data.example.org"),
                bundle_size="100GB",
                bundle_maximum="2 TB",
            ),
        },
    )
    assert from_json(to_json(site)) == site
    assert load(own, export.render_toml(site)) == site


def test_a_later_file_wins_key_by_key(own):
    (load_module.SYSTEM / "andes.toml").write_text(
        'title = "centre"\n[laptop]\nport = 2000\n[scheduler]\nqueue = "gpu"'
    )
    (own / "andes.toml").write_text('[laptop]\nport = 3000\n[scheduler]\naccount = "mine"')
    site = load_site("andes", environ=home(own))
    assert (site.title, site.laptop.port, site.front.host) == ("centre", 3000, "hub.ccs.ornl.gov")
    assert site.scheduler == Scheduler("slurm", account="mine", queue="gpu")
    assert site.sources["laptop.port"] == str(own / "andes.toml")
    assert site.sources["scheduler.queue"] == str(load_module.SYSTEM / "andes.toml")
    listed = dict(site_names(environ=home(own)))
    assert listed["andes"] == f"{own / 'andes.toml'}, {load_module.SYSTEM / 'andes.toml'}, built in"


def test_a_place_too_is_merged_key_by_key_and_its_path_can_be_taken_back(own):
    (load_module.SYSTEM / "andes.toml").write_text("[filesystem.scratch]\npurge_days = 30")
    (own / "andes.toml").write_text('[filesystem]\nscratch = "/mine/{user}"\nworld = ""')
    site = load_site("andes", environ=home(own))
    assert site.filesystem["scratch"] == Place("/mine/{user}", purge_days=30, purge_by="either")
    assert export.origin(site, "filesystem.scratch.path") == str(own / "andes.toml")
    assert export.origin(site, "filesystem.scratch.purge_days") == str(load_module.SYSTEM / "andes.toml")
    assert export.origin(site, "filesystem.scratch.purge_by") == "built in"
    assert site.filesystem["world"].path == ""


@pytest.mark.parametrize(
    ("text", "user", "project", "filled"),
    [
        ("/a/{user}/{project}/{user}", "me", "abc", "/a/me/abc/me"),
        ("/a/{user}", "DOM\\me", "", "/a/DOM/me"),
        ("/a/{project}", "me", "", ""),
        ("/a", "", "", "/a"),
    ],
)
def test_account_and_project_are_filled_in_where_they_are_known(text, user, project, filled):
    assert Place().filled(text, user=user, project=project) == filled


@pytest.mark.parametrize(
    ("size", "number"), [("1B", 1), ("5kB", 5000), ("1.5KiB", 1536), ("45TB", 45 * 10**12), ("2 GiB", 2 * 2**30)]
)
def test_sizes_are_in_powers_of_ten_or_of_two(size, number):
    assert validators.size_bytes(validators.size(size)) == number


def test_empty_text_takes_a_host_back(own):
    (own / "andes.toml").write_text('[front]\nhost = ""\n[lab]\nhost = ""')
    site = load_site("andes", environ=home(own))
    assert (site.front.host, site.lab.host) == (None, None)


def test_an_error_names_the_file_that_holds_the_key(own):
    (load_module.SYSTEM / "andes.toml").write_text("[laptop]\nport = 80")
    (own / "andes.toml").write_text('title = "fine"')
    with pytest.raises(ProfileError) as caught:
        load_site("andes", environ=home(own))
    assert (
        caught.value.message
        == f"{load_module.SYSTEM / 'andes.toml'}: laptop.port: 80 is not a port between 1024 and 65535"
    )


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_site_names_are_refused_before_any_file_is_looked_at(name, monkeypatch):
    monkeypatch.setattr(load_module, "_directories", lambda _: pytest.fail("looked at files"))
    with pytest.raises(UsageError) as caught:
        load_site(name)
    assert caught.value.exit_code == 2
    assert caught.value.next == "gears sites list"
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("name", ["A", "-a", "_a", "a" * 33, "a.b"])
def test_site_names_are_short_and_lower_case(name):
    with pytest.raises(UsageError):
        check_name(name)


def test_an_unknown_site_names_the_known_ones(own):
    with pytest.raises(UsageError) as caught:
        load_site("ands", environ=home(own))
    assert caught.value.message == f"unknown site: ands (did you mean andes?); known sites: {', '.join(BUILT_IN)}"
    assert caught.value.next == "gears sites list"


NAME_KEYS = ["front.host", "lab.host", "front.user", "scheduler.queue", "scheduler.account", "lab.root", "front.root"]
GOOD_THERE = [("lab.root", "~"), ("front.root", "~"), *((key, "") for key in NAME_KEYS)]


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key in NAME_KEYS for value in BAD_NAMES if (key, value) not in GOOD_THERE],
)
def test_bad_names_are_refused_in_every_key_that_meets_ssh_a_path_or_a_script(own, key, value):
    section, name = key.split(".")
    error = refused(own, f"[{section}]\n{name} = {json.dumps(value)}\n")
    assert error.key == key
    assert error.message.isprintable()


@pytest.mark.parametrize("value", [name for name in BAD_NAMES if name != "*"])
@pytest.mark.parametrize("key", ["front.jump", "lab.match"])
def test_bad_names_are_refused_in_lists(own, key, value):
    section, name = key.split(".")
    assert refused(own, f'[{section}]\n{name} = ["good", {json.dumps(value)}]\n').key == key


PATH = "an absolute path, or one from ~, of letters, digits and ._+@,=-"
TEMPLATE = "an absolute path, or one from ~, of letters, digits, ._+@,=- and {user}"
TIME = "a time such as 01:30:00 or 2-00:00:00"
PLACE = '[filesystem.x]\npath = "/a"\n'
PLACE_NAME = "a place's name: up to 32 letters, digits, _ and -"
PLACE_PATH = "an absolute path, one from ~, or NAME:PATH, of letters, digits, ._+@,=-, {user} and {project}"
BREAK = r"'a\nb' contains a line break or another control character"


@pytest.mark.parametrize(
    ("text", "key", "reason"),
    [
        ('[lab]\nhots = "a"', "lab.hots", "is not a key of a profile (did you mean lab.host?)"),
        ('[labs]\nhost = "a"', "labs", "is not a key of a profile (did you mean lab?)"),
        ('zzz = "a"', "zzz", "is not a key of a profile"),
        ('lab = "a"', "lab", "must be a table: [lab]"),
        ("dask = 3", "dask", "must be a table: [dask]"),
        ("title = 3", "title", "must be text in quotes, not a number"),
        ('title = "a\\nb"', "title", BREAK),
        ('title = "\\u001b[2J"', "title", r"'\x1b[2J' contains a line break or another control character"),
        ('local = "~/tmp"', "local", "must be on a local disk, not in the home directory"),
        ('local = "tmp"', "local", f"'tmp' is not {PATH}"),
        ('local = "/tmp/../etc"', "local", "'/tmp/../etc' contains .."),
        ('[lab]\nmatch = "login*"', "lab.match", "must be a list in brackets, not text"),
        ('[lab]\nlisten = "tcp"', "lab.listen", "'tcp' is not one of port, socket"),
        ("[lab]\nlisten = []", "lab.listen", "[] is not one of port, socket"),
        ('[lab]\nhost = "me@login"', "lab.host", "'me@login' is not a host name: letters, digits, ., - and _"),
        ('[lab]\ndirectory = "~bob"', "lab.directory", f"'~bob' is not {PATH}"),
        ('[lab]\nroot = "/x/{user}"', "lab.root", f"'/x/{{user}}' is not {PATH}"),
        ('[front]\nroot = "/x/{home}"', "front.root", f"'/x/{{home}}' is not {TEMPLATE}"),
        ('[front]\nhost = "hub"', "lab.host", "is required when front.host is set"),
        ('[front]\nproxy = "-w"', "front.proxy", "'-w' is not one of -W, jump, nc"),
        ("[laptop]\nport = 1023", "laptop.port", "1023 is not a port between 1024 and 65535"),
        ("[laptop]\nport = 65536", "laptop.port", "65536 is not a port between 1024 and 65535"),
        ("[laptop]\nport = true", "laptop.port", "must be an integer, not true or false"),
        ('[laptop]\nport = "38888"', "laptop.port", "must be an integer, not text"),
        ("[laptop]\nport = 38888.0", "laptop.port", "must be an integer, not a decimal number"),
        ('[scheduler]\nqueue = "a"', "scheduler.kind", "is required in [scheduler]"),
        ('[scheduler]\nkind = "condor"', "scheduler.kind", "'condor' is not one of slurm, pbs, lsf, sge"),
        ('[scheduler]\nkind = "pbs"\nwalltime = "1h"', "scheduler.walltime", f"'1h' is not {TIME}"),
        ('[scheduler]\nkind = "pbs"\nwalltime = "00:00:00"', "scheduler.walltime", "must be longer than zero"),
        ('[scheduler]\nkind = "pbs"\nwalltime = "00:60:00"', "scheduler.walltime", f"'00:60:00' is not {TIME}"),
        ('[scheduler]\nkind = "pbs"\ndirectives = ["a\\nb"]', "scheduler.directives", BREAK),
        (
            "[dask]\nuntil = 2026-01-01",
            "dask.until",
            "must be text, a number, true, false, a list or a table, not a date",
        ),
        ('[filesystem]\n"a b" = "/x"', "filesystem.a b", f"'a b' is not {PLACE_NAME}"),
        ('[filesystem]\n"a.b" = "/x"', "filesystem.a.b", f"'a.b' is not {PLACE_NAME}"),
        ("[filesystem]\nx = 3", "filesystem.x", "must be a path in quotes, or a table: [filesystem.x]"),
        ('filesystem = "/x"', "filesystem", "must be a table: [filesystem]"),
        ('[filesystem]\nx = "x"', "filesystem.x.path", f"'x' is not {PLACE_PATH}"),
        ('[filesystem]\nx = "/a/../b"', "filesystem.x.path", "'/a/../b' contains .."),
        ('[filesystem]\nx = "/a/{home}"', "filesystem.x.path", f"'/a/{{home}}' is not {PLACE_PATH}"),
        ('[filesystem]\nx = "-o:/a"', "filesystem.x.path", f"'-o:/a' is not {PLACE_PATH}"),
        ('[filesystem]\nx = "bucket:a"', "filesystem.x.path", "must be a path for posix, without NAME:"),
        ('[filesystem.x]\npath = "/a"\nkind = "rclone"', "filesystem.x.path", "must be NAME:PATH for rclone"),
        ("[filesystem.x]\npurge_days = 3", "filesystem.x.path", "is required in [filesystem.x]"),
        (
            '[filesystem.x]\npath = "/a"\npurge = 3',
            "filesystem.x.purge",
            "is not a key of a place (did you mean purge_by?)",
        ),
        (f'{PLACE}kind = "nfs"', "filesystem.x.kind", "'nfs' is not one of posix, hpss, globus, rclone"),
        (f"{PLACE}shared = true", "filesystem.x.shared", "True is not one of no, group, world"),
        (f"{PLACE}purge_days = -1", "filesystem.x.purge_days", "-1 is not a number between 0 and 36500"),
        (f'{PLACE}purge_by = "age"', "filesystem.x.purge_by", "'age' is not one of atime, mtime, either, ctime"),
        (f'{PLACE}quota = "a \'b"', "filesystem.x.quota", '"a \'b" is not a command: no closing quotation'),
        (f'{PLACE}quota = "-x"', "filesystem.x.quota", "'-x' is not a command: it must begin with a program"),
        (f'{PLACE}hosts = "dtn"', "filesystem.x.hosts", "must be a list in brackets, not text"),
        (f'{PLACE}bundle_size = "1"', "filesystem.x.bundle_size", """'1' is not a size such as "100GB" or "1.5TiB\""""),
        (f'{PLACE}bundle_size = "0GB"', "filesystem.x.bundle_size", "must be larger than zero"),
        (
            f'{PLACE}bundle_size = "2TB"\nbundle_maximum = "1TB"',
            "filesystem.x.bundle_size",
            "is larger than bundle_maximum",
        ),
        ('project = "a/b"', "project", "'a/b' is not a project's name: letters, digits, _, ., + and -"),
        ('project = ".."', "project", "'..' is not a project's name: letters, digits, _, ., + and -"),
        ("[transfer]\njobs = 0", "transfer.jobs", "0 is not a number between 1 and 1000"),
        ('[transfer]\nhots = "a"', "transfer.hots", "is not a key of a profile (did you mean transfer.host?)"),
    ],
)
def test_errors_are_file_key_reason(own, text, key, reason):
    error = refused(own, text)
    assert (error.key, error.reason) == (key, reason)


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (b'title = "a"\n[lab\n', "line 2"),
        (b'title = "a"\ntitle = "b"\n', "line 2"),
        (b'title = "a', "end"),
        (b'local = "/tmp"\ntitle = "\xff"\n', "line 2"),
    ],
)
def test_errors_of_toml_name_the_line(own, content, key):
    (own / "x.toml").write_bytes(content)
    with pytest.raises(ProfileError) as caught:
        load_site("x", environ=home(own))
    assert (caught.value.file, caught.value.key) == (str(own / "x.toml"), key)


def test_the_default_site_is_that_of_the_environment_then_of_the_configuration_then_local(own):
    assert default_site(home(own)) == "local"
    (own.parent / "config.toml").write_text('site = "andes"')
    assert default_site(home(own)) == "andes"
    assert default_site(home(own) | {"GEARS_SITE": "cades"}) == "cades"
    assert default_site(home(own) | {"GEARS_SITE": ""}) == "andes"


@pytest.mark.parametrize("text", ["site = 3", 'site = "../x"', "site = "])
def test_a_wrong_default_site_is_an_error_of_its_file(own, text):
    (own.parent / "config.toml").write_text(text)
    with pytest.raises(ProfileError) as caught:
        default_site(home(own))
    assert caught.value.file == str(own.parent / "config.toml")


def test_a_wrong_default_site_in_the_environment_is_a_usage_error():
    with pytest.raises(UsageError):
        default_site({"GEARS_SITE": "-oProxyCommand=x"})


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_profile_goes_to_another_host_and_comes_back_the_same(name):
    site = load_site(name)
    line = to_json(site)
    assert "\n" not in line
    assert from_json(line) == site


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('{"name": "x", "lab": {"host": "-oProxyCommand=x"}}', "lab.host"),
        ('{"name": "../x"}', "name"),
        ('{"lab": {}}', "name"),
        ('{"name": "x", "nmae": "y"}', "nmae"),
        ('{"name": "x", "lab": null}', "lab"),
        ("[]", "line 1"),
        ("{", "line 1"),
    ],
)
def test_a_profile_from_another_host_is_checked_like_a_file(line, key):
    with pytest.raises(ProfileError) as caught:
        from_json(line)
    assert caught.value.key == key


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_shown_profile_is_toml_that_says_the_same(own, name):
    site = load_site(name, environ=home(own))
    (own / "x.toml").write_text(export.render_toml(site))
    again = load_site("x", environ=home(own))
    assert to_json(again).replace('"x"', f'"{name}"', 1) == to_json(site)


def test_a_shown_profile_tells_where_each_key_comes_from(own):
    (own / "local.toml").write_text("[laptop]\nport = 3000\n")
    shown = export.render_toml(load_site("local", environ=home(own))).splitlines()
    assert f"port = 3000                               # {own / 'local.toml'}" in shown
    assert 'title = "this machine alone"              # built in' in shown
    assert "# host is absent                          # default" in shown


def test_a_new_profile_works_as_it_is_and_names_every_key(own):
    file = export.new_site("mine", environ=home(own))
    assert file == own / "mine.toml"
    assert load_site("mine", environ=home(own)) == Site(name="mine", title="mine")
    words = {line.removeprefix("# ").split(" = ")[0] for line in file.read_text().splitlines() if " = " in line}
    assert words == {key.rpartition(".")[2] for key in profile.CHECKS} | set(OURS) | set(profile.PLACE_CHECKS)


def test_a_new_profile_uncommented_shows_the_true_defaults(own):
    lines = export.new_site("mine", environ=home(own)).read_text().splitlines()[1:]
    said = tomllib.loads("\n".join(line.removeprefix("# ") for line in lines))
    defaults = dict(profile.items(Site(name="mine", scheduler=Scheduler("slurm"))))
    for name, value in said["filesystem"]["scratch"].items():
        if name != "path":
            assert getattr(Place(), name) in (value, tuple(value) if isinstance(value, list) else value)
    for section in ("lab", "laptop", "scheduler", "front", "transfer"):
        for name, value in said[section].items():
            if name not in ("host", "root", "nodes"):  # absent by default: an example is shown
                assert defaults[f"{section}.{name}"] in (value, tuple(value) if isinstance(value, list) else value)


def test_a_new_profile_never_overwrites(own):
    (own / "mine.toml").write_text("title = 'kept'")
    with pytest.raises(UsageError) as caught:
        export.new_site("mine", environ=home(own))
    assert caught.value.next == "gears sites show mine"
    assert (own / "mine.toml").read_text() == "title = 'kept'"
    with pytest.raises(UsageError):
        export.new_site("../mine", environ=home(own))
