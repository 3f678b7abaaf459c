"""Packed environments in a batch job: on the node's own disk while it runs, and gone with it."""

from collections.abc import Iterator

import pytest

from tests.centre import Centre, Host
from tests.helpers import Kernel, gears, home, lab_at, wait_until
from tests.jobs import SLURM, clear, queue, submit
from tests.wheelhouse import make_wheel

CENTRE = SLURM
PREFIX = f"{home()}/climate"
OWN = f"{home()}/.venv"

# Jupyter's kernel is that of gears' own environment, which a .pth file adds.
MAKE = f"""
/usr/bin/python3 -m venv {PREFIX}
{PREFIX}/bin/pip install -q --no-index {home()}/sand-1.0-py3-none-any.whl
cd {PREFIX}/lib/python3*/site-packages
echo {OWN}/lib/python3*/site-packages > base.pth
"""
PACK = """
import sys
from pathlib import Path
from gears.envs import archive
from gears.envs.pack import pack
from gears.system.installation import gears_home
pack(sys.argv[1], Path(sys.argv[2]), archive.directory(gears_home() / "run"), say=print)
"""
WHERE = "import sys, os, sand; print(sand.__version__, sys.prefix, os.environ['GEARS_ENV'])"


@pytest.fixture(scope="module", autouse=True)
def packed(centre: Centre, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name, version in (("sand", "1.0"), ("salt", "1.0")):
        wheel = make_wheel(tmp_path_factory.mktemp("wheels"), name, version)
        place = centre.login1.path(f"{home()}/{wheel.name}")
        place.write_bytes(wheel.read_bytes())
        place.chmod(0o644)
    centre.login1.run(["bash", "-euc", MAKE], check=True, timeout_s=120)
    gears(centre.login1, f"env add {PREFIX}", check=True)
    gears(centre.login1, "env pack climate", check=True, timeout_s=120)


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


def test_a_kernel_runs_from_the_nodes_disk(centre: Centre) -> None:
    """The copy is there while the job is, and on no other host. After a change of the environment it is not used."""
    submit(centre.hub)

    wait_until(lambda: has_copy(centre.c1), 30, "the copy works on c1")
    assert not centre.login1.path(f"{local(centre.login1)}/.envs").exists()
    refused = centre.c1.run(
        f"{local(centre.c1)}/.envs/climate/bin/pip install --no-index {home()}/salt-1.0-py3-none-any.whl"
    )
    assert refused.returncode != 0, "it would be gone with the job"
    lab = lab_at(centre.hub)
    assert Kernel(lab, name="climate").run(WHERE) == f"1.0 {local(centre.c1)}/.envs/climate climate\n"

    centre.login1.run(f"{PREFIX}/bin/pip install -q --no-index {home()}/salt-1.0-py3-none-any.whl", check=True)
    wait_until(lambda: Kernel(lab, name="climate").run(WHERE) == f"1.0 {PREFIX} climate\n", 20, "the change is seen")
    assert "pack stale" in gears(centre.login1, "env list").stdout
    centre.login1.run(f"{PREFIX}/bin/pip uninstall -q -y salt", check=True)
    gears(centre.login1, "env pack climate", check=True, timeout_s=120)
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
    stands_for_it = f"{home()}/stands-for-it"
    script = f"""
        python3 -m venv --without-pip {stands_for_it}
        cd {stands_for_it}/lib/python3*/site-packages
        echo "import site; site.addsitedir('$(echo {OWN}/lib/python3*/site-packages)')" > base.pth
        ln -s {OWN}/share {stands_for_it}/share
    """
    centre.login1.run(script, check=True)
    centre.login1.run([f"{OWN}/bin/python", "-c", PACK, "base", stands_for_it], check=True, timeout_s=120)
    submit(centre.hub)

    kernel = Kernel(lab_at(centre.hub))

    show = "import sys, os; print(sys.prefix, open(f'/proc/{os.getppid()}/cmdline').read().split(chr(0))[0])"
    copy = f"{local(centre.c1)}/.envs/base"
    assert kernel.run(show) == f"{copy} {copy}/bin/python\n"
    gears(centre.login1, "env pack base --remove", check=True)
