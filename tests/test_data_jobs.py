"""Transfers as batch jobs of a real Slurm: they renew themselves, and survive jobs, nodes and the scheduler.

Jobs have a minute, and are told that they have less.
"""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests import jobs
from tests.centre import Centre
from tests.helpers import gears, home, wait_until

PROFILE = (
    jobs.PROFILE
    + """\
prologue = [
    "export SLURM_JOB_END_TIME=$(($(date +%s)+$(cat ~/seconds)))",
    "export GEARS_TEST_PAUSE_S=$(cat ~/pause)",
    "PATH=$HOME/limit:$PATH",
]
[transfer]
queue = "transfer"
walltime = "00:01:00"
[filesystem]
scratch = "/home/{user}/scratch"
archive = "/home/{user}/archive"
[filesystem.tape]
path = "/home/{user}/tape"
bundle_size = "200kB"
"""
)
HEAD, PLACES = PROFILE.partition("[scheduler]")[0], PROFILE.partition("[filesystem]")[2]
FAR = f'{HEAD}[transfer]\nhost = "login2"\n[filesystem]{PLACES}'
WIDE = PROFILE.replace('queue = "transfer"', 'queue = "transfer"\nnodes = 2').replace(
    'archive = "/home/{user}/archive"', 'archive = { path = "/home/{user}/archive", bundle_size = "100kB" }'
)
CENTRE: dict[str, Any] = {"slurm": True, "profiles": {"lake": PROFILE, "far": FAR, "wide": WIDE}}


@pytest.fixture(scope="module", autouse=True)
def partition(centre: Centre) -> None:
    jobs.add_partition(centre)


@pytest.fixture
def desk(centre: Centre) -> Iterator[Centre]:
    """A directory of 1000 files in scratch; jobs have 50 s, and take their time."""
    told(centre, seconds=50, pause=0.3)
    make = "mkdir -p scratch/run7 archive tape; cd scratch/run7; for i in $(seq 1000); do echo $i > f$i; done"
    centre.login1.run(make, check=True)
    yield centre
    for node in (centre.c1, centre.c2):
        node.boot()
    centre.login2.run("scontrol update PartitionName=transfer State=UP; scancel -u alice", "root")
    wait_until(lambda: not queue(centre), 60, "the queue is empty")
    centre.login1.run("rm -rf scratch archive tape gears/run/lake/data gears/run/wide/data", check=True)


def told(centre: Centre, *, seconds: int, pause: float) -> None:
    centre.login1.run(f"echo {seconds} > seconds; echo {pause} > pause", check=True)


def queue(centre: Centre, user: str = "alice") -> list[list[str]]:
    """Id, name and state of each job."""
    listed = centre.login2.run(["squeue", "-h", "-u", user, "-o", "%i|%j|%T"], check=True).stdout
    return [line.split("|") for line in listed.splitlines()]


def put(centre: Centre, place: str = "archive") -> str:
    done = gears(centre.login1, f"data put scratch:run7 {place} --site lake")
    assert done.returncode == 0, done.stderr
    return done.stdout


def status(centre: Centre, host: str = "login1", site: str = "lake") -> dict[str, Any]:
    done = gears(centre.hosts[host], f"data status run7 --site {site} --json")
    found: dict[str, Any] = json.loads(done.stdout)["transfers"][0]
    assert done.returncode == found["exit_status"]
    return found


def await_state(centre: Centre, state: str, timeout_s: float = 60) -> dict[str, Any]:
    def now() -> dict[str, Any] | None:
        found = status(centre)
        return found if found["state"] == state else None

    return wait_until(now, timeout_s, f"it is {state}: {status(centre)}") or {}


def await_both_jobs(centre: Centre) -> dict[str, Any]:
    """A job runs, and the one that goes on has been submitted."""
    wait_until(lambda: len(queue(centre)) == 2, 60, "the job that goes on is there")
    return await_state(centre, "running")


def await_end(centre: Centre, timeout_s: float = 120, site: str = "lake") -> dict[str, Any]:
    last = ""

    def ended() -> dict[str, Any] | None:
        nonlocal last
        found = status(centre, site=site)
        last = json.dumps(found)
        return None if found["under_way"] else found

    try:
        return wait_until(ended, timeout_s, "it has ended") or {}
    except AssertionError as error:
        log = centre.login1.run(f"cat gears/run/{site}/data/run7/log").stdout
        raise AssertionError(f"{error}\n{last}\n{log}") from None


def check_arrived(centre: Centre) -> None:
    centre.login1.run("diff -r scratch/run7 archive/run7", check=True)
    assert not centre.login1.run("find archive -name '.gears-part*'").stdout


def jobs_until_done(centre: Centre) -> set[str]:
    """The ids of the jobs of a put until it is done and proven. One runs at a time."""
    ids = set[str]()

    def ended() -> dict[str, Any] | None:
        found = status(centre)
        ids.update([found["job"]["id"]] if found["job"] else [])
        assert len([job for job in queue(centre) if job[2] == "RUNNING"]) <= 1
        return None if found["under_way"] else found

    found = wait_until(ended, 150, "it has ended") or {}
    assert (found["state"], found["task"]["verified"]) == ("done", True), json.dumps(found)
    check_arrived(centre)
    wait_until(lambda: not queue(centre), 20, "no job is left")
    return ids


def test_it_finishes_by_itself_in_jobs_that_are_too_short(desk: Centre) -> None:
    told(desk, seconds=14, pause=3)
    put(desk)
    assert len(jobs_until_done(desk)) > 2


def test_who_watches_asks_the_scheduler_rarely(desk: Centre) -> None:
    told(desk, seconds=50, pause=1)
    put(desk)
    await_both_jobs(desk)
    before = desk.scheduler_calls()
    gears(desk.login1, "data status run7 --site lake")
    one = desk.scheduler_calls() - before
    desk.login1.run("timeout 5 gears/.venv/bin/gears data status run7 --site lake --watch")  # looks three times
    assert 0 < one <= desk.scheduler_calls() - before - one < 2 * one
    gears(desk.login1, "data stop run7 --site lake")


def test_what_is_shown_and_who_sees_it(desk: Centre) -> None:
    told(desk, seconds=50, pause=2)
    said = put(desk)
    assert "to follow it: " in said
    found = await_both_jobs(desk)
    names = [name for _, name, _ in queue(desk)]
    assert len(names) == 2
    assert all(name.startswith("gears-data-") for name in names)
    assert "run7" not in "".join(names)
    line = gears(desk.login1, "data status run7 --site lake").stdout
    assert f"job {found['job']['id']} runs on {found['task']['host']}, ends " in line
    assert ", one more follows" in line
    assert status(desk, "hub")["state"] == "running"
    refused = gears(desk.login1, "data forget run7 --site lake")
    assert (refused.returncode, "is running: its records are still needed" in refused.stderr) == (5, True)
    assert "(already)" in put(desk)
    others = desk.login1.run(f"ls {home()}/run/lake/data; cat {home()}/run/lake/data/run7/*", "bob")
    assert (others.returncode != 0, others.stdout) == (True, "")
    stopped = gears(desk.login1, "data stop run7 --site lake")
    assert "cancelled job" in stopped.stdout, stopped.stderr
    wait_until(lambda: not queue(desk), 30, "both jobs are gone")
    assert not await_end(desk)["under_way"]
    told(desk, seconds=50, pause=0)
    put(desk)
    assert await_end(desk)["state"] == "done"
    check_arrived(desk)


def test_the_end_of_its_node(desk: Centre) -> None:
    """While it makes bundles: the next job goes on elsewhere, past the locks of the dead one."""
    told(desk, seconds=50, pause=1)
    put(desk, "tape")
    running = await_state(desk, "running")["task"]["host"]
    wait_until(lambda: desk.login1.run("ls tape/run7/*.index").stdout, 20, "a bundle is sealed")
    told(desk, seconds=50, pause=0)
    desk.hosts[running].power_off()
    found = await_end(desk, 75)
    assert (found["state"], found["task"]["verified"]) == ("done", True), json.dumps(found)
    assert found["task"]["host"] != running
    restored = "mkdir scratch/all && for tar in tape/run7/*.tar; do tar -xf $tar -C scratch/all; done"
    desk.login1.run(f"{restored} && diff -r scratch/run7 scratch/all", check=True)


def test_two_nodes_write_the_bundles_and_one_of_them_is_killed(desk: Centre) -> None:
    told(desk, seconds=50, pause=0.3)
    done = gears(desk.login1, "data put scratch:run7 archive --site wide --jobs 1")
    assert done.returncode == 0, done.stderr
    records = f"{home()}/run/wide/data/run7"

    def claims() -> dict[str, int]:
        """The last process of each host that has claimed a bundle."""
        said = desk.login1.run(f"cd {records}/shares/*/claims && cat *.claim-* | tr -d '\\n' | sed 's/}}{{/}}\\n{{/g'")
        found = [json.loads(line) for line in said.stdout.splitlines()]
        return {one["host"]: one["pid"] for one in found}

    def helper() -> tuple[str, int] | None:
        task, found = status(desk, site="wide")["task"], claims()
        return next(((host, pid) for host, pid in found.items() if len(found) > 1 and host != task["host"]), None)

    host, pid = wait_until(helper, 60, "two nodes are at work") or ("", 0)
    desk.hosts[host].run(f"kill -9 {pid}", check=True)
    assert wait_until(lambda: (now := helper()) and now[1] != pid and now, 30, "it goes on there")
    found = await_end(desk, site="wide")
    log = desk.login1.run(f"cat {records}/log").stdout
    assert (found["state"], found["task"]["verified"]) == ("done", True), json.dumps(found) + log
    assert f"the helper on {host} has failed; starting it again" in log
    unpack = "mkdir archive/back && cat archive/run7/*.tar | tar -C archive/back --ignore-zeros -xf -"
    desk.login1.run(f"{unpack} && diff -r scratch/run7 archive/back", check=True)
    assert not desk.login1.run(f"find archive {records} -name '.gears-part*' -o -name shares").stdout


def test_a_silent_scheduler_loses_nothing(desk: Centre) -> None:
    told(desk, seconds=50, pause=0)
    desk.login2.run("scontrol update PartitionName=transfer State=DOWN", "root", check=True)
    put(desk)
    assert await_state(desk, "queued")["reason"].startswith("its queue is closed")
    desk.fail_scheduler()
    try:
        refused = gears(desk.login1, "data forget run7 --site lake")
        assert (refused.returncode, "run7 is unknown" in refused.stderr) == (5, True)
    finally:
        desk.mend_scheduler()
    desk.login2.run("scontrol update PartitionName=transfer State=UP", "root", check=True)
    assert await_end(desk)["state"] == "done"
    check_arrived(desk)


def test_a_submission_that_is_refused_starts_nothing(desk: Centre) -> None:
    desk.login2.run("scontrol update PartitionName=transfer State=DOWN AllowGroups=root", "root", check=True)
    try:
        done = gears(desk.login1, "data put scratch:run7 archive --site lake")
    finally:
        desk.login2.run("scontrol update PartitionName=transfer State=UP AllowGroups=ALL", "root", check=True)
    assert done.returncode == 1
    assert "next: " in done.stderr
    assert "no transfers yet" in gears(desk.login1, "data list --site lake").stdout
    assert not os.listdir(desk.login1.path(f"{home()}/run/lake/data"))[1:]


LIMITED = """\
#!/bin/sh
[ -e ~/limit/reached ] || exec /usr/bin/sbatch "$@"
echo "sbatch: error: QOSMaxSubmitJobPerUserLimit" >&2
echo "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, ...)" >&2
exit 1
"""
"""Stand-in for sbatch where the user has as many jobs as allowed; the words are those of Slurm's (slurm_errno.c)."""


def test_the_job_that_goes_on_is_submitted_once_the_limit_of_jobs_allows_it(desk: Centre) -> None:
    told(desk, seconds=50, pause=8)
    desk.login1.run(
        "mkdir limit; cat > limit/sbatch; chmod 755 limit/sbatch; > limit/reached", input=LIMITED, check=True
    )
    try:
        put(desk)
        note = wait_until(lambda: (status(desk)["task"] or {}).get("note"), 40, "no further job was accepted")
        assert "no further job was accepted: " in str(note)
        assert "QOSMaxSubmitJobPerUserLimit" in str(note)
        shown = "data status run7 --site lake"  # without it while the next attempt lasts
        wait_until(lambda: "no further job was accepted" in gears(desk.login1, shown).stdout, 10, "it is shown")
        desk.login1.run("rm limit/reached", check=True)
        wait_until(lambda: len(queue(desk)) == 2, 30, f"the job that goes on is there: {status(desk)}")
        assert not status(desk)["task"]["note"]
    finally:
        desk.login1.run("rm -r limit", check=True)
    told(desk, seconds=50, pause=0)
    gears(desk.login1, "data stop run7 --site lake", check=True)
    wait_until(lambda: not queue(desk), 30, "both jobs are gone")
    put(desk)
    assert await_end(desk)["state"] == "done"
    check_arrived(desk)


def test_without_a_queue_it_runs_in_tmux_on_the_host_for_transfers(desk: Centre) -> None:
    """From the laptop over the front; the records are in the home that the three others share."""
    there = desk.laptop
    done = gears(there, "data put scratch:run7 archive --site far --wait")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verified; done" in done.stdout.splitlines()[-1]
    check_arrived(desk)
    found = json.loads(gears(there, "data status run7 --site far --json").stdout)["transfers"][0]
    assert (found["task"]["host"], found["state"], found["job"]) == ("login2", "done", None)
    assert "run7" in gears(there, "data list --site far").stdout
    assert gears(there, "data verify run7 --site far --wait").returncode == 0
    assert "The data stays" in gears(there, "data forget run7 --site far").stdout
