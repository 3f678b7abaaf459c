"""Limits for a user's Dask on this machine: the minimum of the profile, all enclosing cgroups, and a fair share.

Dask checks only its own cgroup, and misses the slice that a centre gives each user on a login node. Formats:
cgroups(7), kernel's cgroup-v2.rst and cgroup-v1/memory.rst, proc(5). `bound` is pure, `read_machine` only reads.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

UNLIMITED = 1 << 60
"""Version 1 represents "no limit" by a number near 2**63."""


@dataclass(frozen=True)
class Machine:
    """Resources and limits. `cpus`: on which this process can run. `cgroup_cpus`: the smallest quota of all enclosing
    cgroups, `cgroup_bytes` the smallest memory limit, each with its directory; None: no limit. `free`: bytes."""

    cpus: int
    memory: int
    free: int
    cgroup_cpus: tuple[float, str] | None = None
    cgroup_bytes: tuple[int, str] | None = None


@dataclass(frozen=True)
class Bounds:
    """What a cluster can use, and which limit that is. `memory` in bytes."""

    cores: int
    memory: int
    why_cores: str
    why_memory: str


def bound(machine: Machine, *, share: float, cores: int | None = None, memory: int | None = None) -> Bounds:
    """Return the minimum of all limits, and at least one core. `cores`, `memory` (bytes): of the profile."""
    can = [(float(machine.cpus), "processors"), (share * machine.cpus, f"a share of {share:g} of {machine.cpus}")]
    has = [(machine.memory, "memory"), (int(share * machine.memory), f"a share of {share:g} of {_gb(machine.memory)}")]
    if machine.cgroup_cpus:
        can.append(machine.cgroup_cpus)
    if machine.cgroup_bytes:
        has.append(machine.cgroup_bytes)
    if cores:
        can.append((float(cores), "profile"))
    if memory:
        has.append((memory, "profile"))
    least_cores, least_memory = min(can), min(has)
    return Bounds(max(1, int(least_cores[0])), least_memory[0], least_cores[1], least_memory[1])


def workers(bounds: Bounds, processes: int | None = None) -> dict[str, int]:
    """Return arguments for LocalCluster: processes, threads and memory, as Dask itself divides a machine.

    The default for `processes`: the number of cores up to four, else its smallest divisor not below its square root.
    """
    count = min(processes or _processes(bounds.cores), bounds.cores)
    return {
        "n_workers": count,
        "threads_per_worker": max(1, bounds.cores // count),
        "memory_limit": bounds.memory // count,
    }


def _processes(cores: int) -> int:
    return cores if cores <= 4 else min(n for n in range(1, cores + 1) if cores % n == 0 and n * n >= cores)


def _gb(number: int) -> str:
    return f"{number / 1e9:.1f} GB"


# --- this machine ------------------------------------------------------------------


def read_machine(root: str = "/", cpus: int | None = None) -> Machine:
    """Read the current limits of this process. What can't be read is no limit. `root`: where /proc and /sys are."""
    found = dict(re.findall(r"^(\w+): +(\d+) kB", _read(root, "proc/meminfo"), re.MULTILINE))
    memory = int(found.get("MemTotal", 0)) * 1024 or UNLIMITED
    quotas: list[tuple[float, str]] = []
    limits: list[tuple[int, str]] = []
    for directory in cgroups(_read(root, "proc/self/cgroup"), _read(root, "proc/self/mountinfo")):
        quotas += _quotas(root, directory)
        limits += _limits(root, directory)
    return Machine(
        cpus=cpus or len(os.sched_getaffinity(0)),
        memory=memory,
        free=int(found.get("MemAvailable", 0)) * 1024,
        cgroup_cpus=min(quotas, default=None),
        cgroup_bytes=min(limits, default=None),
    )


def cgroups(own: str, mounts: str) -> list[str]:
    """List the cgroup directories from this process's own up to the mount, in both versions.

    `own`, `mounts`: the texts of /proc/self/cgroup and /proc/self/mountinfo.
    """
    found: list[str] = []
    for _, controllers, path in (line.split(":", 2) for line in own.splitlines() if line.count(":") >= 2):
        for point, top in _mounts(mounts, controllers):
            inside = path[len(top) :] if top != "/" and (path + "/").startswith(top + "/") else path
            parts = [part for part in inside.split("/") if part and part != ".."]
            found += ["/".join([point, *parts[:depth]]) for depth in range(len(parts), -1, -1)]
    return list(dict.fromkeys(found))


def _mounts(mounts: str, controllers: str) -> list[tuple[str, str]]:
    """Find the mount points of the hierarchy with these controllers, and the directory that is mounted there."""
    found = []
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind, options = before.split(), after.split(" ")[0], after.split(" ")[-1].split(",")
        second = kind == "cgroup2" and controllers == ""
        first = kind == "cgroup" and set(controllers.split(",")) & {"cpu", "memory"} & set(options)
        if len(fields) > 4 and (second or first):
            found.append((fields[4], fields[3]))
    return found


def _quotas(root: str, directory: str) -> list[tuple[float, str]]:
    """Read the CPU quota, as a number of processors, in either version."""
    words = _read(root, f"{directory}/cpu.max").split()
    if len(words) != 2:
        words = [_read(root, f"{directory}/cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    try:
        quota, period = int(words[0]), int(words[1])
    except ValueError:  # "max", or none
        return []
    return [(quota / period, directory)] if quota > 0 and period > 0 else []


def _limits(root: str, directory: str) -> list[tuple[int, str]]:
    names = ("memory.max", "memory.high", "memory.limit_in_bytes", "memory.soft_limit_in_bytes")
    texts = [_read(root, f"{directory}/{name}").strip() for name in names]
    return [(int(text), directory) for text in texts if text.isdigit() and 0 < int(text) < UNLIMITED]


def _read(root: str, path: str) -> str:
    try:
        with open(os.path.join(root, path.lstrip("/")), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
