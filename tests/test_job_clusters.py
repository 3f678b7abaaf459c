"""Two real Slurm clusters that share one slurmdbd. The one of the login nodes is `centre`, the jobs go to `other`.

A number says little there: a job of hers in `centre` has the number of the one in `other`, and is not touched.
"""

import json
from collections.abc import Iterator

import pytest

from tests.centre import Centre, Host
from tests.clusters import PROFILE as DASK_PROFILE
from tests.clusters import QUICK, await_workers, cluster, dask, python
from tests.helpers import Kernel, gears, home, lab_at, status, wait_until
from tests.jobs import PROFILE, node_of, state
from tests.test_job_variables import LATE

NAMED = PROFILE + 'directives = ["--clusters=other"]\n'
DASK_NAMED = QUICK + 'job_extra_directives = ["-M other"]\n'
PROFILES = {"andes": DASK_PROFILE, "named": NAMED, "quick": QUICK, "dasknamed": DASK_NAMED}
CENTRE = {"slurm_clusters": True, "profiles": PROFILES}
CLUSTERS = ("centre", "other")
VARIABLES = ("SLURM_CLUSTERS", "SBATCH_CLUSTERS")
SUM = """\
from dask.distributed import Client
client = Client()
print(sum(client.gather(client.map(lambda i: i, range(20)))))
"""


@pytest.fixture
def clusters(centre: Centre) -> Iterator[Centre]:
    yield centre
    centre.login1.boot()
    centre.login1.run("rm -f /usr/local/bin/sbatch", "root")
    for site in PROFILES:
        gears(centre.login1, f"stop {site}", timeout_s=120)
        dask(centre.login1, f"down {site}")
    for name in CLUSTERS:
        centre.login2.run(f"scancel --clusters={name} -u alice; scancel --clusters={name} -u bob", "root")
    wait_until(lambda: not jobs(centre, "centre", "other"), 60, "both queues are empty")


def jobs(centre: Centre, *names: str) -> list[str]:
    """Jobs of anybody in these clusters, as gears calls them."""
    command = ["squeue", "-h", f"--clusters={','.join(names)}", "-O", "jobid,cluster"]
    listed = centre.login2.run(command, check=True).stdout.splitlines()
    return [";".join(line.split()) for line in listed if line.strip()]


def sbatch(centre: Centre, name: str, words: str = "", user: str = "alice") -> int:
    command = f"sbatch --clusters={name} --parsable --output=/dev/null {words} --wrap 'sleep 600'"
    return int(centre.login1.run(command, user, cwd="/tmp", check=True).stdout.partition(";")[0])


def of_same_number(centre: Centre) -> str:
    """A job of hers in `centre` that has the number which the next one in `other` gets; its id."""
    mine, theirs = sbatch(centre, "centre"), sbatch(centre, "other", "--hold")
    while mine <= theirs:
        centre.login1.run(["scancel", str(mine)], check=True)
        mine = sbatch(centre, "centre")
    while theirs < mine - 1:
        theirs = sbatch(centre, "other", "--hold")
    centre.login1.run("scancel --clusters=other -u alice", check=True)
    wait_until(lambda: not jobs(centre, "other"), 30, "nothing is left in the other cluster")
    return f"{mine};centre"


def typed(host: Host, words: str, *variables: str) -> None:
    done = host.run(f"{' '.join(variables)} {home()}/.venv/bin/gears {words}", timeout_s=120)
    assert done.returncode == 0, done.stdout + done.stderr


def job_at(host: Host, site: str = "andes") -> tuple[str, str, str]:
    job = status(host, site)["job"]
    return job["id"], job["state"], job["node"]


def test_the_centre_has_two_clusters_which_come_back_with_their_host(clusters: Centre) -> None:
    ids = {name: f"{sbatch(clusters, name)};{name}" for name in CLUSTERS}

    def both_run() -> None:
        command = ["squeue", "-h", "--clusters=all", "-O", "state,nodelist"]
        runs = ["RUNNING", "c1", "RUNNING", "c2"]
        wait_until(lambda: clusters.login1.run(command).stdout.split() == runs, 60, "both run")

    both_run()
    clusters.fail_scheduler()
    clusters.login2.power_off()
    clusters.login2.boot()
    both_run()
    assert jobs(clusters, *CLUSTERS) == [*ids.values()]


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_lab_in_the_cluster_that_a_variable_names(clusters: Centre, variable: str) -> None:
    hers = of_same_number(clusters)
    in_files = f"export {variable}=other\n"
    clusters.hub.run("cp ~/.bashrc ~/kept; cat - ~/kept > ~/.bashrc", input=in_files, check=True)
    done = gears(clusters.hub, "lab andes --job", timeout_s=90)
    clusters.hub.run("mv ~/kept ~/.bashrc", check=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert node_of(Kernel(lab_at(clusters.hub))) == "c2"
    (job,) = jobs(clusters, "other")
    assert job.split(";")[0] == hers.split(";")[0]
    for host in (clusters.hub, clusters.login1):
        assert job_at(host) == (job, "RUNNING", "c2")
    typed(clusters.login1, "stop andes")
    assert jobs(clusters, *CLUSTERS) == [hers]


def test_of_two_variables_gears_means_the_one_that_slurm_does(clusters: Centre) -> None:
    typed(clusters.login1, "lab andes --job", "SBATCH_CLUSTERS=centre", "SLURM_CLUSTERS=other")
    (job,) = jobs(clusters, *CLUSTERS)
    assert job.endswith(";other")
    typed(clusters.login1, "stop andes", "SLURM_CLUSTERS=centre")
    assert jobs(clusters, *CLUSTERS) == []


def test_a_job_of_the_own_cluster_stays_its_own_whatever_a_variable_says_later(clusters: Centre) -> None:
    typed(clusters.login1, "lab andes --job")
    (job,) = jobs(clusters, *CLUSTERS)
    for variable in VARIABLES:
        found = clusters.login1.run(f"{variable}=other {home()}/.venv/bin/gears status andes --json", check=True).stdout
        assert (json.loads(found)["job"]["id"], json.loads(found)["job"]["state"]) == (job.split(";")[0], "RUNNING")
    typed(clusters.login1, "stop andes", "SLURM_CLUSTERS=other")
    assert jobs(clusters, *CLUSTERS) == []


def test_a_lab_in_the_cluster_that_its_profile_names(clusters: Centre) -> None:
    """Which a person's variable would win over."""
    hers = of_same_number(clusters)
    typed(clusters.login1, "lab named --job", "SLURM_CLUSTERS=centre")
    (job,) = jobs(clusters, "other")
    assert job_at(clusters.login1, "named") == (job, "RUNNING", "c2")
    typed(clusters.login1, "stop named")
    assert jobs(clusters, *CLUSTERS) == [hers]


def test_nothing_is_said_to_be_stopped_while_its_cluster_does_not_answer(clusters: Centre) -> None:
    typed(clusters.login1, "lab andes --job", "SLURM_CLUSTERS=other")
    (job,) = jobs(clusters, "other")
    controllers = [process for process in clusters.login2.processes("root") if process.comm == "slurmctld"]
    (others,) = [process.pid for process in controllers if "/etc/slurm-other/slurm.conf" in process.argv]
    clusters.login2.kill(others, signal="STOP")
    done = gears(clusters.login1, "stop andes", timeout_s=120)
    clusters.login2.kill(others, signal="CONT")
    assert done.returncode != 0
    assert f"job {job} may still be in the queue" in done.stderr
    assert jobs(clusters, "other") == [job]
    typed(clusters.login1, "stop andes")
    assert jobs(clusters, "other") == []


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_submission_that_timed_out_and_was_taken_there(clusters: Centre, variable: str) -> None:
    clusters.login1.install("sbatch", LATE)
    typed(clusters.login1, "lab andes --job", f"{variable}=other")
    (job,) = jobs(clusters, *CLUSTERS)
    assert job_at(clusters.login1) == (job, "RUNNING", "c2")
    typed(clusters.login1, "stop andes")
    assert jobs(clusters, *CLUSTERS) == []


def test_the_job_that_takes_over_is_in_the_same_cluster(clusters: Centre) -> None:
    """Though it is submitted where no variable says so: a dependency holds within a cluster."""
    typed(clusters.login1, "lab andes --job --renew 2", "SLURM_CLUSTERS=other")
    first = job_at(clusters.login1)[0]
    second = wait_until(lambda: status(clusters.login1)["job"]["successor"], 60, "one waits")
    assert sorted(jobs(clusters, *CLUSTERS)) == sorted([first, second])
    clusters.login1.power_off()
    here = clusters.login2
    typed(here, "lab andes")
    here.run(["scancel", "--clusters=other", first.split(";")[0]], check=True)
    wait_until(lambda: state(here) == "up" and job_at(here)[:2] == (second, "RUNNING"), 90, "it took over")
    third = wait_until(lambda: status(here)["job"]["successor"], 60, "another one waits")
    assert third.endswith(";other")
    assert sorted(jobs(clusters, *CLUSTERS)) == sorted([second, third])
    typed(here, "stop andes")
    assert jobs(clusters, *CLUSTERS) == []


# --- Dask --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("site", "variable"), [("andes", "SLURM_CLUSTERS=other"), ("andes", "SBATCH_CLUSTERS=other"), ("dasknamed", "")]
)
def test_workers_in_the_other_cluster(clusters: Centre, site: str, variable: str) -> None:
    hers = of_same_number(clusters)
    typed(clusters.login1, f"dask up {site} --min=1", variable)
    wait_until(lambda: cluster(clusters.login1, site)["workers"], 60, "workers have come")
    done = python(clusters.login1, SUM, site, timeout_s=120)
    assert done.stdout == "190\n", done.stderr
    assert jobs(clusters, "other") != []
    assert jobs(clusters, "centre") == [hers]
    assert dask(clusters.login1, f"down {site}").returncode == 0
    assert jobs(clusters, *CLUSTERS) == [hers]


@pytest.mark.parametrize("variable", VARIABLES)
def test_workers_that_wait_there_are_asked_about_and_cancelled_there(clusters: Centre, variable: str) -> None:
    theirs = f"{sbatch(clusters, 'other', user='bob')};other"
    typed(clusters.login1, "dask up andes --min=2", f"{variable}=other")
    found = wait_until(lambda: (now := cluster(clusters.login1))["waiting"] and now, 60, "it is told why they wait")
    assert (found["waiting"][0]["state"], found["trouble"]) == ("PENDING", None)
    (waits,) = [job for job in jobs(clusters, *CLUSTERS) if job != theirs]
    assert found["waiting"][0]["id"] == waits
    assert found["counts"] == {"submitted": 1, "refused": 0, "lost": 0}
    assert dask(clusters.login1, "down andes").returncode == 0
    assert jobs(clusters, *CLUSTERS) == [theirs]


def workers_on(host: Host) -> list[int]:
    return [process.pid for process in host.processes("alice") if "dask_worker" in " ".join(process.argv)]


def test_workers_that_a_killed_owner_left_there_are_cancelled(clusters: Centre) -> None:
    typed(clusters.login1, "dask up quick --min=2", "SBATCH_CLUSTERS=other")
    await_workers(clusters.login1, 2, "quick")
    hers = f"{sbatch(clusters, 'centre')};centre"
    directory = f"{home()}/run/quick/dask"
    owner = json.loads(clusters.login1.path(f"{directory}/cluster.json").read_text())["pid"]
    loop = clusters.login1.path(f"{directory}/loop").read_text().split()[1]
    # A worker ends by itself soon after its scheduler is gone: hold them, so that both are left to cancel.
    workers = wait_until(lambda: len(found := workers_on(clusters.c2)) == 2 and found, 20, "each job has a worker")
    clusters.c2.kill(*workers, signal="STOP", check=True)
    clusters.login1.run(["kill", "-KILL", loop, str(owner)], check=True)
    assert len(jobs(clusters, "other")) == 2
    assert "cancelling 2 jobs" in dask(clusters.login1, "down quick").stderr
    wait_until(lambda: jobs(clusters, *CLUSTERS) == [hers], 30, "her own job alone is left")


def test_an_owner_that_is_a_job_there(clusters: Centre) -> None:
    hers = of_same_number(clusters)
    typed(clusters.login1, "dask up quick --in-job --min=1", "SLURM_CLUSTERS=other")
    await_workers(clusters.login1, 1, "quick")
    found = cluster(clusters.login1, "quick")
    assert (found["state"], found["host"]) == ("up", "c2")
    assert found["job"] in jobs(clusters, "other")
    assert len(jobs(clusters, "other")) == 2
    assert dask(clusters.login1, "down quick").returncode == 0
    wait_until(lambda: jobs(clusters, *CLUSTERS) == [hers], 30, "nothing is left there")
