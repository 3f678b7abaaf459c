"""Dask in environments: workers have that of the notebook which asked; other versions are told of before they bite."""

import time
from collections.abc import Iterator

import pytest

from tests.centre import Centre
from tests.clusters import CONFIG, SITES, clear, cluster, dask, up
from tests.helpers import Kernel, gears, home, lab_at, wait_until
from tests.jobs import queue
from tests.wheelhouse import make_wheel

CENTRE = SITES
PYTHON = {name: f"{home()}/made/{name}/bin/python" for name in ("climate", "old", "bare")}
SITE_PACKAGES = "lib/python3*/site-packages"
WHERE = """
from dask.distributed import Client
def where():
    import sand, sys, os
    return sand.__version__, sys.prefix, os.environ["GEARS_ENV"], os.environ["VIRTUAL_ENV"]
print(*Client().submit(where).result(timeout=60))
"""
CONNECT = "from dask.distributed import Client; Client(); print('connected')"

# Dask itself is that of gears' own environment, which a .pth file adds; `old` says of it that it is another version.
MAKE = f"""
set -e
cd {home()}
mkdir -p made
for name in climate old bare; do /usr/bin/python3 -m venv --without-pip made/$name; done
for name in climate old; do echo {home()}/.venv/{SITE_PACKAGES} > made/$name/{SITE_PACKAGES}/base.pth; done
.venv/bin/python -m zipfile -e sand-3.0-py3-none-any.whl made/climate/{SITE_PACKAGES}
cd made/old/{SITE_PACKAGES}
mkdir distributed-2025.1.0.dist-info
printf 'Metadata-Version: 2.1\\nName: distributed\\nVersion: 2025.1.0\\n' > distributed-2025.1.0.dist-info/METADATA
printf 'distributed-2025.1.0.dist-info/METADATA,,\\ndistributed-2025.1.0.dist-info/RECORD,,\\n' \\
    > distributed-2025.1.0.dist-info/RECORD
"""


@pytest.fixture(scope="module", autouse=True)
def environments(centre: Centre, tmp_path_factory: pytest.TempPathFactory) -> None:
    wheel = make_wheel(tmp_path_factory.mktemp("wheels"), "sand", "3.0")
    place = centre.login1.path(f"{home()}/{wheel.name}")
    place.write_bytes(wheel.read_bytes())
    place.chmod(0o644)
    version = centre.login1.run(
        [f"{home()}/.venv/bin/python", "-c", "import sys; print(*sys.version_info[:2], sep='.')"]
    )
    script = MAKE.replace("python3*", f"python{version.stdout.strip()}")
    centre.login1.run(["bash", "-c", script], check=True, timeout_s=120)
    for name in PYTHON:
        gears(centre.login1, f"env add {home()}/made/{name}")  # bare has no ipykernel either, and is known all the same


@pytest.fixture(autouse=True)
def fresh(centre: Centre) -> Iterator[None]:
    yield
    clear(centre, "quick")


def notebook(centre: Centre, name: str, code: str, **options: object) -> tuple[int, str]:
    """A script as in a notebook of that environment: its exit status, and all it said."""
    environment = {"DASK_CONFIG": CONFIG.format(site="quick"), "GEARS_SITE": "quick", "GEARS_ENV": name}
    python = PYTHON.get(name, f"{home()}/.venv/bin/python")
    done = centre.login1.run([python, "-c", code], env=environment, timeout_s=120)
    return done.returncode, done.stdout + done.stderr


def test_workers_have_the_environment_of_who_asked(centre: Centre) -> None:
    """Asked in a notebook, whose kernel knows what environment it has. Another one is told that it is another."""
    gears(centre.login1, "lab quick", check=True)
    kernel = Kernel(lab_at(centre.login1, "quick"), name="climate")

    kernel.run(f"!{home()}/.venv/bin/gears dask up --min 1")

    assert cluster(centre.login1, "quick")["environment"] == "climate"
    prefix = f"{home()}/made/climate"
    assert kernel.run(WHERE) == f"3.0 {prefix} climate {prefix}\n"
    gears(centre.login1, "stop quick", check=True)
    status, said = notebook(centre, "base", CONNECT)
    assert (status, "connected" in said) == (0, True)
    assert "uses the environment climate, but this is base" in said
    assert dask(centre.login1, "up quick --env climate").returncode == 0
    other = dask(centre.login1, "up quick --env old")
    assert other.returncode == 2
    assert "gears dask down quick; " in other.stderr


def test_other_versions_are_told_of_with_the_command_that_mends_it(centre: Centre) -> None:
    up(centre.login1, "quick")
    began = time.monotonic()

    status, said = notebook(centre, "old", CONNECT)

    assert status != 0
    assert "and 2025.1.0 here" in said
    assert time.monotonic() - began < 30, "long before Dask's own time is over"
    mend = said.split("next: ")[1].splitlines()[0]
    assert mend == "gears dask down quick; gears dask up quick --env old"
    for command in mend.split("; "):
        gears(centre.login1, command.removeprefix("gears "), check=True, timeout_s=120)
    assert notebook(centre, "old", CONNECT)[0] == 0
    assert "connected" not in notebook(centre, "climate", CONNECT)[1]


def test_without_dask_there_is_no_cluster(centre: Centre) -> None:
    done = dask(centre.login1, "up quick --env bare")

    assert done.returncode == 1
    assert "needs distributed and dask-jobqueue" in done.stderr
    assert dask(centre.login1, "up quick --env nowhere").returncode == 2


def test_packed_the_workers_use_their_nodes_own_copy(centre: Centre) -> None:
    """It is there while the job is, and on no other host."""
    gears(centre.login1, "env pack climate", check=True, timeout_s=120)
    identifier = centre.login1.path(f"{home()}/run/id").read_text().strip()
    local = f"/tmp/gears-alice-{identifier}"
    up(centre.login1, "quick", "--env climate --min 1")

    status, said = notebook(centre, "climate", WHERE)

    copy = f"{local}/.envs/climate"
    assert (status, said) == (0, f"3.0 {copy} climate {copy}\n")
    dask(centre.login1, "down quick", check=True)
    wait_until(lambda: not queue(centre), 60, "no job is left")
    for node in (centre.c1, centre.c2):
        wait_until(lambda node=node: not node.path(f"{local}/.envs").exists(), 20, "no copy is left")  # type: ignore[misc]
