"""Packed environments in a batch job: on the node's own disk while it runs, and gone with it."""

from collections.abc import Iterator

import pytest

from tests.centre import Centre, Host
from tests.helpers import Kernel, gears, home, lab_at, wait_until
from tests.jobs import SLURM, clear, queue, submit
from tests.wheelhouse import make_wheel

CENTRE = SLURM
PREFIX = f"{home()}/climate"
PACKS = f"{home()}/run/envs/packs"
PACK = f"""
import sys
from pathlib import Path
from gears.envs.pack import pack
pack(sys.argv[1], Path(sys.argv[2]), Path("{PACKS}"), say=print)
"""


@pytest.fixture(scope="module", autouse=True)
def packed(centre: Centre, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in ("sand", "salt"):
        wheel = make_wheel(tmp_path_factory.mktemp("wheels"), name, "1.0")
        place = centre.login1.path(f"{home()}/{wheel.name}")
        place.write_bytes(wheel.read_bytes())
        place.chmod(0o644)
    install = f"/usr/bin/python3 -m venv {PREFIX} && {PREFIX}/bin/pip install -q --no-index {home()}/sand-*.whl"
    centre.login1.run(install, check=True, timeout_s=120)
    pack(centre, "climate", PREFIX)


def pack(centre: Centre, name: str, prefix: str) -> None:
    centre.login1.run([f"{home()}/.venv/bin/python", "-c", PACK, name, prefix], check=True, timeout_s=120)


@pytest.fixture(autouse=True)
def no_job(centre: Centre) -> Iterator[None]:
    yield
    clear(centre)


def local(host: Host) -> str:
    """The host-local directory, the same name on each."""
    identifier = host.path(f"{home()}/run/id").read_text().strip()
    return f"/tmp/gears-alice-{identifier}"


def has_copy(host: Host) -> bool:
    return host.run(f"{local(host)}/.envs/climate/bin/sand").stdout == "sand 1.0\n"


def test_unpacked_in_the_job_and_gone_after_it(centre: Centre) -> None:
    submit(centre.hub)

    wait_until(lambda: has_copy(centre.c1), 30, "the copy works on c1")
    assert not centre.login1.path(f"{local(centre.login1)}/.envs").exists()
    refused = centre.c1.run(
        f"{local(centre.c1)}/.envs/climate/bin/pip install --no-index {home()}/salt-1.0-py3-none-any.whl"
    )
    assert refused.returncode != 0, "it would be gone with the job"
    gears(centre.hub, "stop andes", check=True, timeout_s=120)
    wait_until(lambda: not centre.c1.path(local(centre.c1)).exists(), 20, "nothing is left on c1")


def test_a_job_that_was_killed_leaves_a_copy_to_the_next(centre: Centre) -> None:
    """Nobody could take it away; the next job on that node uses it, and takes it away."""
    submit(centre.hub)
    wait_until(lambda: has_copy(centre.c1), 30, "the copy works on c1")
    centre.c1.run("kill -9 -1")
    wait_until(lambda: not queue(centre), 60, "the queue is empty")
    assert has_copy(centre.c1)

    submit(centre.hub)
    assert has_copy(centre.c1)
    gears(centre.hub, "stop andes", check=True, timeout_s=120)
    wait_until(lambda: not centre.c1.path(local(centre.c1)).exists(), 20, "nothing is left on c1")


def test_jupyterlab_itself_from_the_nodes_disk(centre: Centre) -> None:
    """Where gears' own environment is packed. Here one that stands for it, since that takes long to pack."""
    own, stands_for_it = f"{home()}/.venv", f"{home()}/stands-for-it"
    script = f"""
        python3 -m venv --without-pip {stands_for_it}
        cd {stands_for_it}/lib/python3*/site-packages
        echo "import site; site.addsitedir('$(echo {own}/lib/python3*/site-packages)')" > base.pth
        ln -s {own}/share {stands_for_it}/share
    """
    centre.login1.run(script, check=True)
    pack(centre, "base", stands_for_it)
    submit(centre.hub)

    kernel = Kernel(lab_at(centre.hub))

    show = "import sys, os; print(sys.prefix, open(f'/proc/{os.getppid()}/cmdline').read().split(chr(0))[0])"
    copy = f"{local(centre.c1)}/.envs/base"
    assert kernel.run(show) == f"{copy} {copy}/bin/python\n"
    gears(centre.login1, "env pack base --remove", check=True)
