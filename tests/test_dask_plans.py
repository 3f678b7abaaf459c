"""Dask's configuration from a profile: its keys, what wins over it, the job scripts that dask-jobqueue makes of it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dask.config
import pytest
import yaml

from gears.dask.config import life_s, plan_config, processes_of, render_yaml
from gears.dask.config_files import DEFAULTS, ensure_config
from gears.dask.settings import bytes_of, read_settings
from gears.errors import ProfileError
from gears.sites.load import load_site
from gears.sites.paths import RunDir
from gears.sites.profile import Site
from gears.system import files

SCHEDULER = """\
title = "A centre"
[scheduler]
kind = "{kind}"
account = "phy123"
queue = "batch"
walltime = "02:30:00"
prologue = ["module load cuda"]
directives = ["--gres=gpu:1"]
[dask]
cores = 8
memory = "20GB"
"""


@pytest.fixture
def paths(tmp_path: Path) -> RunDir:
    found = RunDir(tmp_path / "gears", "x", tmp_path / "local")
    files.ensure_private(found.records)
    return found


def profile(tmp_path: Path, text: str, name: str = "x") -> Site:
    directory = tmp_path / ".config/gears/sites"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.toml").write_text(text)
    return load_site(name, environ={"HOME": str(tmp_path)})


def ask_dask(code: str, home: Path, **environ: str) -> Any:
    """What a script with Dask prints as JSON, in a home of its own."""
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], **environ}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# --- the profile -----------------------------------------------------------------------------


def test_what_is_gears_own_and_what_is_dask_jobqueues(tmp_path: Path) -> None:
    text = SCHEDULER.format(kind="slurm") + 'maximum_jobs = 3\nidle_timeout = ""\nidle_worker = "00:05:00"\n'
    settings = read_settings(profile(tmp_path, text + 'job-cpu = 4\nextra = ["--no-nanny"]\ninterface = "ib0"\n'))
    assert (settings.cores, settings.memory, settings.maximum_jobs) == (8, "20GB", 3)
    assert (settings.idle_timeout_s, settings.idle_worker_s) == (None, 300)
    assert settings.jobqueue == {
        "cores": 8,
        "memory": "20GB",
        "job-cpu": 4,
        "worker-extra-args": ["--no-nanny"],
        "interface": "ib0",
    }


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('memory = "much"', "'much' is not an amount of memory such as 20GB"),
        ("maximum_jobs = 0", "0 is not a number between 1 and 100000"),
        ('interface = "ib0;reboot"', "'ib0;reboot' is not a network interface such as ib0"),
        ('idle_timeout = "2 hours"', "is not a time such as 01:30:00 or 2-00:00:00"),
        ("share = 1.5", "1.5 is not a number above 0 and not above 1"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, line: str, reason: str) -> None:
    with pytest.raises(ProfileError, match=r"x\.toml: dask\.\w+: ") as refused:
        read_settings(profile(tmp_path, f"[dask]\n{line}\n"))
    assert reason in str(refused.value)


def test_amounts_and_processes() -> None:
    amounts = {"4096": 4096, "20GB": 20 * 10**9, "1.5 GiB": 3 * 2**29, "500 mb": 5 * 10**8, "2T": 2 * 10**12}
    assert {text: bytes_of(text) for text in amounts} == amounts
    asked = ask_dask(
        "import json; from distributed.deploy.local import nprocesses_nthreads as n;"
        "print(json.dumps([n(cores)[0] for cores in range(1, 130)]))",
        Path("/tmp"),
    )
    assert [processes_of(cores) for cores in range(1, 130)] == asked


def test_when_a_worker_may_leave() -> None:
    assert life_s(["--lifetime", "3000s", "--lifetime-stagger", "120s"]) == 2880
    assert life_s(["--lifetime", "3000s", "--nthreads", "2", "--lifetime", "60"]) == 60
    assert life_s(["--no-nanny"]) is None


# --- what Dask makes of it -------------------------------------------------------------------

SCRIPTS = """\
import asyncio, json, dask_jobqueue
async def main():
    classes = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "lsf": "LSFCluster", "sge": "SGECluster"}
    found = {}
    for kind, name in classes.items():
        cluster = getattr(dask_jobqueue, name)(asynchronous=True)
        found[kind] = cluster.job_script()
        cluster.status = type(cluster.status).closed
    print(json.dumps(found))
asyncio.run(main())
"""
DIRECTIVES = {
    "slurm": ["-J dask-worker", "-p batch", "-A phy123", "-n 1", "--cpus-per-task=8", "--mem=19G", "-t 02:30:00"],
    "pbs": [
        "-N dask-worker",
        "-q batch",
        "-A phy123",
        "-l select=1:ncpus=8:mem=19GB",
        "-l walltime=02:30:00",
        "-S /bin/bash",
    ],
    "lsf": ["-J dask-worker", "-q batch", '-P "phy123"', "-n 8", '-R "span[hosts=1]"', "-M 20000000", "-W 02:30"],
    "sge": ["-N dask-worker", "-q batch", "-P phy123", "-l h_rt=02:30:00", "-cwd", "-j y", "-S /bin/bash"],
}
PREFIXES = {"slurm": "#SBATCH", "pbs": "#PBS", "lsf": "#BSUB", "sge": "#$"}


def test_job_scripts_of_all_four_schedulers_are_as_the_profile_says(tmp_path: Path, paths: RunDir) -> None:
    config: dict[str, Any] = {"jobqueue": {}}
    for kind in DIRECTIVES:
        site = profile(tmp_path, SCHEDULER.format(kind=kind))
        config["jobqueue"] |= plan_config(site, paths, user="alice")["jobqueue"]
    (tmp_path / "dask.yaml").write_text(render_yaml(config, "all four"))
    scripts = ask_dask(SCRIPTS, tmp_path, DASK_CONFIG=str(tmp_path / "dask.yaml"), LSF_ENVDIR=str(tmp_path))
    for kind, script in scripts.items():
        lines = script.splitlines()
        told = [line.removeprefix(PREFIXES[kind]).strip() for line in lines if line.startswith(PREFIXES[kind])]
        logs = [word for word in told if word.startswith(("-e ", "-o "))]
        assert sorted(set(told) - set(logs)) == sorted(DIRECTIVES[kind]), kind
        assert len(logs) == 2
        assert all(str(paths.dask / "logs") in word for word in logs), kind
        worker = lines[-1]
        assert "--nworkers 4" in worker, kind
        assert "--nthreads 2" in worker, kind
        assert "--lifetime 8580s --lifetime-stagger 120s --no-dashboard --dashboard-address 127.0.0.1:0" in worker
        assert "module load cuda" in lines, kind
        assert f"export DASK_CONFIG={paths.dask_config}" in lines, kind
        assert not [line for line in lines if "gres" in line], "what is for JupyterLab's job is not for workers"


def test_what_the_person_has_set_wins_and_the_rest_stands(tmp_path: Path, paths: RunDir) -> None:
    home, etc = tmp_path / "home", tmp_path / "etc"
    for directory in (home / ".config/dask", etc):
        directory.mkdir(parents=True)
    (etc / "centre.yaml").write_text("distributed: {comm: {retry: {count: 7}}, dashboard: {link: theirs}}\n")
    (home / ".config/dask/mine.yaml").write_text(
        "jobqueue: {slurm: {queue: mine}}\ndistributed: {adaptive: {minimum: 3}}\n"
    )
    before = sorted((home / ".config/dask").iterdir())
    ensure_config(profile(tmp_path, SCHEDULER.format(kind="slurm")), paths, {"HOME": str(home)})
    keys = ["jobqueue.slurm.queue", "jobqueue.slurm.account", "jobqueue.slurm.cores", "distributed.adaptive.minimum"]
    keys += ["distributed.comm.retry.count", "distributed.dashboard.link", "distributed.comm.require-encryption"]
    code = f"import json, dask.config, dask_jobqueue; print(json.dumps([dask.config.get(key) for key in {keys}]))"
    environ = {"DASK_CONFIG": str(paths.dask_config), "DASK_ROOT_CONFIG": str(etc)}
    assert ask_dask(code, home, **environ) == ["mine", "phy123", 8, 3, 7, "/proxy/{port}/status", True]
    (home / ".config/dask/mine.yaml").write_text("jobqueue: {slurm: {queue: other}}\n")
    assert ask_dask(code, home, **environ)[0] == "other", "a change holds at once"
    assert ask_dask(code, home, DASK_JOBQUEUE__SLURM__QUEUE="said", **environ)[0] == "said"
    assert sorted((home / ".config/dask").iterdir()) == before, "nothing is written to hers"


def test_a_dask_config_of_her_own_is_kept(tmp_path: Path, paths: RunDir) -> None:
    """Where she has set DASK_CONFIG herself; and in a terminal of the lab, where it is ours."""
    site, hers = load_site("local"), tmp_path / "hers"
    hers.mkdir()
    (hers / "a.yaml").write_text("distributed: {worker: {memory: {target: 0.5}}}\n")
    for named in (hers, paths.dask_config, paths.dask_config):
        ensure_config(site, paths, {"HOME": str(tmp_path), "DASK_CONFIG": str(named)})
        links = {link.name: os.readlink(link) for link in paths.dask_config.iterdir() if link.is_symlink()}
        assert links == {"60-a.yaml": str(hers / "a.yaml")}
    ensure_config(site, paths, {"HOME": str(tmp_path)})
    assert not [link for link in paths.dask_config.iterdir() if link.is_symlink()]


def test_yaml_says_what_was_planned(tmp_path: Path, paths: RunDir) -> None:
    site = profile(tmp_path, SCHEDULER.format(kind="slurm") + '[filesystem]\nscratch = "/scratch/alice"\n')
    config = plan_config(site, paths, user="alice")
    assert config["temporary-directory"] == "/scratch/alice"
    assert yaml.safe_load(render_yaml(config, "two\nlines")) == config


PURGED = """
[scheduler]
kind = "slurm"
walltime = "{walltime}"
[filesystem.scratch]
path = "/s"
purge_days = {days}
"""


@pytest.mark.parametrize(
    ("text", "directory"),
    [
        ('[filesystem]\nscratch = "/scratch/{user}"\n', "/scratch/alice"),
        ('project = "abc"\n[filesystem.scratch]\npath = "/lustre/{project}/{user}"\n', "/lustre/abc/alice"),
        ('[filesystem.scratch]\npath = "/lustre/{project}/{user}"\n', None),
        ('[filesystem.scratch]\nkind = "rclone"\npath = "bucket:x"\n', None),
        ('[filesystem]\nscratch = "/s"\n[dask]\n"local-directory" = "/local"\n', None),
        (PURGED.format(days=2, walltime="1-00:00:00"), "/s"),
        (PURGED.format(days=1, walltime="1-00:00:00"), None),
        (PURGED.format(days=2, walltime="1:00:00") + '[dask]\nwalltime = "2-00:00:00"\n', None),
    ],
)
def test_temporary_files_are_in_scratch_where_its_path_is_known(
    tmp_path: Path, paths: RunDir, text: str, directory: str | None
) -> None:
    assert plan_config(profile(tmp_path, text), paths, user="alice").get("temporary-directory") == directory


@pytest.mark.parametrize(("there", "own"), [(True, ""), (True, "/mine"), (False, "/mine"), (False, "")])
def test_workers_spill_to_a_scratch_that_can_be_written(tmp_path: Path, paths: RunDir, there: bool, own: str) -> None:
    """As Dask reads it: the user's own setting wins."""
    scratch = tmp_path / "scratch"
    if there:
        scratch.mkdir()
    if own:
        (tmp_path / ".config/dask").mkdir(parents=True)
        (tmp_path / ".config/dask/mine.yaml").write_text(f"temporary-directory: {own}\n")
    site = profile(tmp_path, f'[filesystem]\nscratch = "{scratch}"\n')
    ensure_config(site, paths, {"HOME": str(tmp_path)})
    found = dask.config.collect(paths=[str(paths.dask_config)], env={}).get("temporary-directory")
    assert found == (own or (str(scratch) if there else None))


def test_all_of_it_is_closed_to_others(paths: RunDir) -> None:
    ensure_config(load_site("local"), paths, {"HOME": "/nonexistent"})
    for name in DEFAULTS:
        [source] = Path(dask.__file__).parents[1].glob(f"dask_*/{name}")
        dask.config.ensure_file(str(source), destination=str(paths.dask_config))  # as its package does when imported
    every = [paths.dask, *paths.dask.rglob("*")]
    assert {path.name for path in every} >= {"tls.pem", "config", "00-gears.yaml", "logs", *DEFAULTS}
    assert not [path for path in every if path.stat().st_mode & 0o077]
