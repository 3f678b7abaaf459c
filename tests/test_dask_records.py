"""Records of a cluster: those on disk are read and written on, and its owner has the same keys as gears."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gears.dask.cluster import look
from gears.dask.config_files import ensure_config
from gears.dask.launch import OWNER, Request, make_plan
from gears.dask.records import (
    ClusterRecord,
    ClusterState,
    End,
    Jobs,
    Plan,
    Wanted,
    load_cluster,
    load_plan,
    save_cluster,
    save_plan,
    save_wanted,
)
from gears.sites.context import Context
from gears.sites.load import load_site
from gears.sites.locate import lab_route
from gears.sites.paths import RunDir
from gears.system import processes
from tests.helpers import wait_until

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def paths(tmp_path: Path) -> RunDir:
    found = RunDir(tmp_path / "gears", "local", tmp_path / "local")
    for directory in (found.run, found.records, found.dask):
        directory.mkdir(mode=0o700, parents=True)
    (found.run / "id").write_text("01234567\n")
    return found


def put(paths: RunDir, name: str, values: dict[str, Any]) -> None:
    paths.dask_file(name).write_text(json.dumps(values))


def on_disk(paths: RunDir, name: str) -> Any:
    return json.loads(paths.dask_file(name).read_text())


def status(paths: RunDir, *words: str) -> "subprocess.CompletedProcess[str]":
    """`gears dask status local`, of this home."""
    environment = {"GEARS_HOME": str(paths.home), "HOME": str(paths.home), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-m", "gears", "dask", "status", "local", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)


# --- what is on disk already -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("golden", "name", "load", "save"),
    [
        *((f"cluster{kind}.json", "cluster.json", load_cluster, save_cluster) for kind in ("", "-local", "-trouble")),
        *((f"plan{kind}.json", "plan.json", load_plan, save_plan) for kind in ("", "-local")),
    ],
)
def test_what_was_written_before_is_loaded_and_saved_the_same(
    golden: str, name: str, load: Callable[[RunDir], Any], save: Callable[[RunDir, Any], None], paths: RunDir
) -> None:
    shutil.copy(GOLDEN / golden, paths.dask_file(name))
    record = load(paths)
    paths.dask_file(name).unlink()
    save(paths, record)
    assert on_disk(paths, name) == json.loads((GOLDEN / golden).read_text())
    assert load(paths) == record


def test_a_cluster_that_ended_before_its_job_began_has_ended(paths: RunDir) -> None:
    """Its record had all keys of its plan."""
    shutil.copy(GOLDEN / "cluster-never-begun.json", paths.dask_file("cluster.json"))
    found = look(paths)
    assert found.state == ClusterState.ENDED
    assert found.record.reason == "it was asked to end before its job had begun"
    assert found.record.requested == (0, 10)


def test_what_its_owner_is_asked_for(paths: RunDir) -> None:
    save_wanted(paths, Wanted("dask-1", "d2e8e180", 1, 10))
    assert on_disk(paths, "wanted.json") == {"id": "dask-1", "number": "d2e8e180", "minimum": 1, "maximum": 10}
    save_wanted(paths, End("dask-1", down=True))
    assert on_disk(paths, "wanted.json") == {"id": "dask-1", "down": True}


# --- of other versions -----------------------------------------------------------------------


def test_keys_that_are_unknown_or_missing(paths: RunDir) -> None:
    put(
        paths,
        "cluster.json",
        {
            "id": "dask-1",
            "later": {"a": 1},
            "state": "up",
            "jobs": {"all": 2, "later": 3},
            "wanted": {"id": "dask-1", "shares": 5},
            "dashboard": {"port": 8787},
            "waiting": [{"id": "7"}],
        },
    )
    assert load_cluster(paths) == ClusterRecord(id="dask-1", state=ClusterState.UP, jobs=Jobs(2))
    put(paths, "plan.json", {"id": "dask-1", "later": 1, "files": {"record": "/x"}, "life_s": "long"})
    assert load_plan(paths) == Plan(id="dask-1")
    for text in ("", "{", "{}", '{"site": "local"}'):
        paths.dask_file("cluster.json").write_text(text)
        assert load_cluster(paths) is None
    paths.dask_file("plan.json").unlink()
    assert look(paths).state == ClusterState.STOPPED


def test_of_a_cluster_in_a_state_of_a_later_version_nothing_is_said(paths: RunDir) -> None:
    me = processes.this_process()
    put(paths, "cluster.json", {"id": "dask-1", "state": "paused", "host": me.host, "pid": me.pid, "start": me.start})
    assert look(paths).state == ClusterState.UNKNOWN
    assert status(paths).returncode == 5


# --- what is told of it ----------------------------------------------------------------------


def test_status_of_one_that_waits_has_what_its_plan_says(paths: RunDir) -> None:
    shutil.copy(GOLDEN / "plan.json", paths.dask_file("plan.json"))
    expected = json.loads((GOLDEN / "status-queued.json").read_text())
    done = status(paths, "--json")
    assert list(json.loads(done.stdout).items()) == list((expected | {"reason": None}).items())
    assert done.returncode == 0


def test_status_of_none_has_the_same_keys(paths: RunDir) -> None:
    expected = json.loads((GOLDEN / "status-queued.json").read_text())
    done = status(paths, "--json")
    assert json.loads(done.stdout) == dict.fromkeys(expected) | {"state": "stopped"}
    assert done.returncode == 4


def test_status_of_one_that_is_just_ending(paths: RunDir) -> None:
    me = processes.this_process()
    ending = json.loads((GOLDEN / "cluster-local.json").read_text())
    put(paths, "cluster.json", ending | {"host": me.host, "pid": me.pid, "start": me.start})
    done = status(paths)
    assert done.returncode == 0, done.stderr
    assert f"local: the Dask cluster is ending on {me.host}, since {ending['started']}" in done.stdout
    assert "shutting down, 1 workers connected; at most 1 cores" in done.stdout


def write_plan(paths: RunDir) -> tuple[Plan, dict[str, str]]:
    """A plan on disk, and the environment of its owner."""
    route = lab_route(load_site("local", environ={"HOME": str(paths.home)}))
    ensure_config(route.site, paths, {"HOME": str(paths.home)})
    plan = make_plan(Context(route, paths), Request(minimum=1, maximum=1, cores=1, memory="500MB"))
    save_plan(paths, plan)
    return plan, {"HOME": str(paths.home), "PATH": os.environ["PATH"], "DASK_CONFIG": str(paths.dask_config)}


def test_an_owner_runs_no_other_plan_than_its_own(paths: RunDir) -> None:
    _, environment = write_plan(paths)
    command = [sys.executable, OWNER, "dask-another", paths.dask_file("plan.json")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "another cluster was planned" in done.stderr) == (1, True)
    assert load_cluster(paths) is None


def test_its_owner_reads_such_a_plan_and_writes_such_a_record(paths: RunDir) -> None:
    plan, environment = write_plan(paths)
    with subprocess.Popen([sys.executable, OWNER, plan.id, paths.dask_file("plan.json")], env=environment) as owner:
        try:
            wait_until(lambda: look(paths).record.workers == 1, 60, "it has a worker")
            found = load_cluster(paths)
            assert found is not None
            assert found.owner == processes.Process(processes.this_process().host, owner.pid, found.start or "")
            assert (found.state, found.wanted, found.bounds) == (ClusterState.UP, plan.wanted, plan.bounds)
            save_wanted(paths, End(plan.id, down=True))
            assert owner.wait(timeout=60) == 0
        finally:
            owner.kill()
    found = load_cluster(paths)
    assert found is not None
    assert (found.state, found.wanted) == (ClusterState.ENDED, End(plan.id, down=True))
    told = on_disk(paths, "cluster.json")
    save_cluster(paths, found)
    assert on_disk(paths, "cluster.json") == told
