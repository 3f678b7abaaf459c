"""`gears open --job`: the laptop's options go on to the scheduler, and the tab shows the queue meanwhile."""

from tests.centre import Centre
from tests.helpers import Kernel, gears, status, wait_until
from tests.jobs import SLURM, node_of, queue
from tests.opening import await_nothing_left, await_up, type_open

CENTRE = SLURM


def test_a_job_from_the_laptop(centre: Centre) -> None:
    terminal = type_open(centre.laptop, "andes --no-browser --job -t 0:20:00 --directive=--comment=opened")
    opened = await_up(centre.laptop, terminal)
    assert node_of(Kernel(opened.lab)) == "c1"
    [job] = queue(centre)
    assert job["id"] == status(centre.hub)["job"]["id"]
    comment = centre.login1.run("squeue --me -h -o '%k|%l'", check=True).stdout
    assert comment == "opened|20:00\n"
    centre.laptop.kill(*[p.pid for p in centre.laptop.processes("alice") if p.comm == "ssh"], check=True)
    terminal.expect("andes is back")
    assert [found["id"] for found in queue(centre)] == [job["id"]], "a connection that comes back submits nothing"
    assert opened.close() == 130
    assert [found["id"] for found in queue(centre)] == [job["id"]]
    gears(centre.hub, "stop andes", check=True)
    wait_until(lambda: not queue(centre), 20, "the job is gone")
    await_nothing_left(centre.laptop)


def test_what_the_front_refuses_is_said_here(centre: Centre) -> None:
    done = gears(centre.laptop, "open andes --job -p nosuchqueue")
    assert done.returncode == 1
    assert "nosuchqueue" in done.stderr or "partition" in done.stderr
    await_nothing_left(centre.laptop)
