"""How much of a machine a cluster may take: real formats of both cgroup versions, in trees made up here."""

from pathlib import Path

import pytest

from gears.dask.anywhere.gears_dask_limits import Machine, bound, read_machine, workers

GB = 10**9
BIG = Machine(cpus=64, memory=256 * GB, free=200 * GB)
MEMINFO = "MemTotal:       263849996 kB\nMemFree:        1 kB\nMemAvailable:   131072000 kB\n"
V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNTS = (
    "33 32 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "36 32 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "37 32 0:33 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n"
)
SLICE = "/user.slice/user-1000.slice/session-3.scope"


def machine(root: Path, own: str, mounts: str, files: dict[str, str]) -> Machine:
    for name, text in {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": own,
        "proc/self/mountinfo": mounts,
        **files,
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return read_machine(str(root), cpus=64)


def test_the_slice_of_a_user_counts_though_the_own_cgroup_has_no_limit(tmp_path: Path) -> None:
    """Version 2, as systemd makes it: the limit is two directories up, where Dask does not look."""
    top = "sys/fs/cgroup/user.slice/user-1000.slice"
    files = {
        f"{top}/cpu.max": "800000 100000\n",
        f"{top}/memory.max": "max\n",
        f"{top}/memory.high": "34359738368\n",
        f"{top}/session-3.scope/cpu.max": "max 100000\n",
        f"{top}/session-3.scope/memory.max": "max\n",
    }
    found = machine(tmp_path, f"0::{SLICE}\n", V2_MOUNT, files)
    assert found.cgroup_cpus == (8.0, "/sys/fs/cgroup/user.slice/user-1000.slice")
    assert found.cgroup_bytes == (32 * 2**30, "/sys/fs/cgroup/user.slice/user-1000.slice")
    assert found.memory == 263849996 * 1024
    assert found.free == 131072000 * 1024


def test_the_least_of_several_ancestors_counts(tmp_path: Path) -> None:
    files = {
        "sys/fs/cgroup/user.slice/memory.max": f"{8 * GB}\n",
        "sys/fs/cgroup/user.slice/user-1000.slice/memory.max": f"{4 * GB}\n",
        f"sys/fs/cgroup{SLICE}/memory.max": f"{16 * GB}\n",
        f"sys/fs/cgroup{SLICE}/cpu.max": "50000 100000\n",
    }
    found = machine(tmp_path, f"0::{SLICE}\n", V2_MOUNT, files)
    assert found.cgroup_bytes == (4 * GB, "/sys/fs/cgroup/user.slice/user-1000.slice")
    assert found.cgroup_cpus == (0.5, f"/sys/fs/cgroup{SLICE}")
    assert bound(found, share=1).cores == 1, "never less than one"


def test_version_1_with_its_own_names_and_its_own_no_limit(tmp_path: Path) -> None:
    own = f"11:memory:{SLICE}\n5:cpu,cpuacct:{SLICE}\n3:freezer:/\n1:name=systemd:/\n0::/\n"
    files = {
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/memory/user.slice/memory.limit_in_bytes": f"{20 * GB}\n",
        f"sys/fs/cgroup/memory{SLICE}/memory.soft_limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/cpu,cpuacct/user.slice/cpu.cfs_quota_us": "400000\n",
        "sys/fs/cgroup/cpu,cpuacct/user.slice/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    }
    found = machine(tmp_path, own, V1_MOUNTS, files)
    assert found.cgroup_bytes == (20 * GB, "/sys/fs/cgroup/memory/user.slice")
    assert found.cgroup_cpus == (4.0, "/sys/fs/cgroup/cpu,cpuacct/user.slice")


def test_in_a_container_the_mount_s_own_top_is_taken_off(tmp_path: Path) -> None:
    mounts = "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n"
    found = machine(tmp_path, "0::/docker/abc\n", mounts, {"sys/fs/cgroup/memory.max": f"{2 * GB}\n"})
    assert found.cgroup_bytes == (2 * GB, "/sys/fs/cgroup")


def test_what_can_t_be_read_limits_nothing(tmp_path: Path) -> None:
    found = machine(tmp_path, "0::/gone\nnonsense\n", "short line\n", {})
    assert (found.cgroup_cpus, found.cgroup_bytes) == (None, None)


@pytest.mark.parametrize(
    ("limits", "cores", "memory", "why"),
    [
        ({}, 16, 64 * GB, "a share of 0.25 of 64"),
        ({"cores": 4, "memory": 8 * GB}, 4, 8 * GB, "profile"),
        ({"cores": 40, "memory": 200 * GB}, 16, 64 * GB, "a share of 0.25 of 64"),
    ],
)
def test_the_least_of_profile_cgroup_and_share(limits: dict[str, int], cores: int, memory: int, why: str) -> None:
    found = bound(BIG, share=0.25, **limits)
    assert (found.cores, found.memory, found.why_cores) == (cores, memory, why)


def test_this_machine_can_be_read() -> None:
    found = read_machine()
    assert found.cpus >= 1
    assert 10**8 < found.free < found.memory


def test_a_cluster_s_workers_share_what_it_has() -> None:
    assert workers(bound(BIG, share=0.25)) == {"n_workers": 4, "threads_per_worker": 4, "memory_limit": 16 * GB}
    assert workers(bound(BIG, share=0.25), processes=16)["threads_per_worker"] == 1
