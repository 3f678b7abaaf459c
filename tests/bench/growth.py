"""What a lab costs each host: measured with one lab and with five, each settled; computed for many users.

The labs are sites of one user: each has its own JupyterLab, hop and ssh of the laptop, but they share a tmux server and
the pages of one installation. Users share no tmux server, and pages only with an installation for all. So the figures
for users are multiples of the first lab's, and for memory `each further lab` shows what sharing saves.

Pss counts a page once among all processes that map it, Rss once for each (proc_pid_smaps_rollup(5)). Processes outside
the centre that map the same files lower Pss, so the real figure is between the two.
"""

import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from subprocess import Popen

from tests.bench.rows import Row
from tests.centre import Centre, Host
from tests.centre.processes import Process
from tests.helpers import gears, home, wait_until
from tests.jobs import PROFILE, queue

LABS = 5
USERS = (1, 10, 100, 1000)
WINDOW_S = 60.0
SITES = [f"andes{number}" for number in range(1, LABS + 1)]
CENTRE = {
    "slurm": True,
    "profiles": {site: f"{PROFILE}[laptop]\nport = {38900 + number}\n" for number, site in enumerate(SITES)},
}
HEAD = f"""
| host | what | 1 lab | {LABS} labs | each further lab | {" | ".join(f"{users:,} users" for users in USERS[1:])} |
| --- | --- | --- | --- | --- | {"--- | " * len(USERS[1:])}"""


@dataclass(frozen=True)
class Cost:
    """What a user's processes hold on one host; sshd's processes for the user included, those of root too."""

    processes: int
    pss_mb: float
    rss_mb: float
    descriptors: int
    tmux_servers: int
    sshd_sessions: int


NAMES = ("processes", "memory, MB (Pss)", "memory, MB (Rss)", "file descriptors", "tmux servers", "sshd sessions")


def measure(centre: Centre, rounds: int) -> Iterator[Row | str]:
    """One round whatever `rounds` says: these are counts. The job comes last, alone."""
    hosts = {"hub": centre.hub, "login node": centre.login1}
    sessions = [start_lab(centre, SITES[0])]
    written = {1: files_written(centre.hub)}
    one = {role: cost(host) for role, host in hosts.items()}
    sessions += [start_lab(centre, site) for site in SITES[1:]]
    written[LABS] = files_written(centre.hub)
    several = {role: cost(host) for role, host in hosts.items()}
    yield HEAD
    for role in hosts:
        yield from map(str, lines(role, one[role], several[role]))
    yield f"\nFiles below `run` new or changed in {WINDOW_S:.0f} s, by the number of labs: {written}."
    stop(centre, sessions)
    yield from measure_job(centre)


def start_lab(centre: Centre, site: str, options: str = "") -> Popen[str]:
    """Start a lab, and the laptop's ssh with the session that the docs ask for. Returns once both are up."""
    gears(centre.hub, f"lab {site} {options}", check=True, timeout_s=180)
    stanza = gears(centre.hub, f"ssh-config {site}", check=True).stdout
    centre.laptop.run("cat >> .ssh/config", input=stanza, check=True)
    before = len(sleepers(centre.hub))
    ssh = centre.laptop.popen(["ssh", f"{site}-jupyter", "exec sleep 100000"])
    wait_until(lambda: len(sleepers(centre.hub)) > before, 20, "the laptop's session")
    return ssh


def stop(centre: Centre, sessions: list[Popen[str]]) -> None:
    """Stop the labs, and end the commands of the laptop's sessions, which outlive their ssh."""
    for site, ssh in zip(SITES, sessions, strict=False):
        centre.laptop.end_popen(ssh)
        gears(centre.hub, f"stop {site}", check=True, timeout_s=120)
    centre.hub.kill(*(process.pid for process in sleepers(centre.hub)))


def sleepers(host: Host) -> list[Process]:
    return [process for process in host.processes("alice") if process.argv == ("sleep", "100000")]


def cost(host: Host, user: str = "alice") -> Cost:
    """Count what the user has on a host now."""
    title = f"sshd: {user}"
    found = [process for process in host.processes() if process.user == user or process.argv[0].startswith(title)]
    return Cost(
        len(found),
        memory_mb(host, found, "Pss"),
        memory_mb(host, found, "Rss"),
        sum(descriptors(host, process.pid) for process in found),
        sum(process.comm.startswith("tmux: server") for process in found),
        sum(process.argv[0].startswith(f"{title}@") for process in found),
    )


def memory_mb(host: Host, processes: list[Process], field: str) -> float:
    return round(sum(memory_kb(host, process.pid, field) for process in processes) / 1000, 1)


def memory_kb(host: Host, pid: int, field: str) -> int:
    """Return a field of smaps_rollup; 0 if the process has just ended."""
    try:
        text = host.path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return int(text.partition(f"\n{field}:")[2].split()[0])


def descriptors(host: Host, pid: int) -> int:
    try:
        return sum(1 for _ in host.path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return 0


def files_written(host: Host) -> int:
    """Return how many files below the user's `run` are new or changed after WINDOW_S. It also lets labs settle."""
    before = modified(host)
    time.sleep(WINDOW_S)
    return len(modified(host) - before)


def modified(host: Host) -> set[str]:
    found = host.run(
        ["find", f"{home()}/run", "-ignore_readdir_race", "-type", "f", "-printf", "%p %T@ %s\\n"], check=True
    )
    return set(found.stdout.splitlines())


def measure_job(centre: Centre) -> Iterator[str]:
    """One lab as a batch job, up: what is on each host, and requests to the scheduler in WINDOW_S."""
    ssh = start_lab(centre, SITES[0], "--job")
    node = next(job["node"] for job in queue(centre))
    asked = centre.scheduler_calls()
    time.sleep(WINDOW_S)
    asked = centre.scheduler_calls() - asked
    yield f"\n| a batch job, up | {' | '.join(NAMES)} |\n| --- | {'--- | ' * len(NAMES)}"
    for role, host in (("hub", centre.hub), ("login node", centre.login1), ("compute node", getattr(centre, node))):
        yield f"| {role} | {' | '.join(map(str, astuple(cost(host))))} |"
    yield f"\nRequests to the scheduler in {WINDOW_S:.0f} s while the job is up: {asked}."
    stop(centre, [ssh])


def lines(role: str, one: Cost, several: Cost) -> Iterator[str]:
    for name, first, last in zip(NAMES, astuple(one), astuple(several), strict=True):
        yield line(role, name, first, last)


def line(role: str, name: str, one: float, several: float) -> str:
    """Format a row; the figures for users are computed, not measured."""
    each = (several - one) / (LABS - 1)
    computed = [f"{one * users:,.0f}" for users in USERS[1:]]
    return f"| {role} | {name} | {one:g} | {several:g} | {each:.3g} | {' | '.join(computed)} |"
