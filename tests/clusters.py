"""What the tests of Dask clusters share: profiles, `gears dask` as typed, computations, what stands in the queue."""

import json
from subprocess import CompletedProcess
from typing import Any

from tests.centre import Centre, Host
from tests.helpers import Kernel, gears, home, lab_at, wait_until
from tests.jobs import PROFILE as JOB_PROFILE
from tests.jobs import queue

PROFILE = f"""{JOB_PROFILE}
[dask]
cores = 2
memory = "1000MB"
idle_worker = "00:00:03"
"""
"""Two workers in a job, a job on a node: the queue `batch` shares none."""

QUICK = f"""{JOB_PROFILE.replace('queue = "batch"', 'queue = "debug"').replace("00:30:00", "00:05:00")}
[dask]
cores = 1
memory = "400MB"
idle_worker = "00:00:03"
"""
"""One worker in a job, in a queue whose jobs share nodes."""

SITES: dict[str, Any] = {"slurm": True, "profiles": {"andes": PROFILE, "quick": QUICK}}
PYTHON = f"{home()}/.venv/bin/python"
CONFIG = f"{home()}/run/{{site}}/dask/config"

SESSION = """\
from dask.distributed import Client
client = Client()
"""


def dask(host: Host, words: str, user: str = "alice", **options: Any) -> CompletedProcess[str]:
    return gears(host, f"dask {words}", user, **{"timeout_s": 120, **options})


def cluster(host: Host, site: str = "andes", user: str = "alice") -> dict[str, Any]:
    """`gears dask status SITE --json`."""
    found: dict[str, Any] = json.loads(dask(host, f"status {site} --json", user).stdout)
    return found


def up(host: Host, site: str = "andes", words: str = "") -> dict[str, Any]:
    done = dask(host, f"up {site} {words} --json")
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def await_workers(host: Host, number: int, site: str = "andes", timeout_s: float = 60) -> None:
    wait_until(
        lambda: (found := cluster(host, site))["workers"] == number and found, timeout_s, f"{number} workers of {site}"
    )


def python(host: Host, code: str, site: str = "andes", **options: Any) -> CompletedProcess[str]:
    """A script in gears' environment, with the configuration that a lab or a shell of the site has."""
    environment = {"DASK_CONFIG": CONFIG.format(site=site), "GEARS_SITE": site}
    command = [PYTHON, "-c", code]
    return host.run(command, env=environment | options.pop("env", {}), **options)


def notebook(host: Host) -> Kernel:
    """A kernel of the lab, in which `client` is a bare Client()."""
    kernel = Kernel(lab_at(host))
    kernel.run(SESSION)
    return kernel


def clear(centre: Centre, *sites: str) -> None:
    """The end of a test: no cluster, no job, all nodes free."""
    for site in sites or ("andes", "quick"):
        dask(centre.login1, f"down {site}")
    centre.login2.run("scancel -u alice; scancel -u bob", "root")
    wait_until(lambda: not queue(centre) and not queue(centre, "bob"), 60, "the queue is empty")
