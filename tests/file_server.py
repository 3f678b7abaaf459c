"""The home of a host as on a slow file server: what is asked of it is counted, and each answer takes a while.

bindfs, which serves the home, is traced: each of its system calls on a file is a request that the kernel's caches
couldn't answer, as one to a file server would be.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.centre import Host
from tests.helpers import wait_until

REQUESTS = "%file,getdents64,pread64,pwrite64"
CACHED_S = 1.0
"""How long a host knows a name and its attributes without asking (boot.sh)."""


class Requests:
    """What has been asked since it began, or since the last `take`."""

    def __init__(self, host: Host, log: str) -> None:
        self._log = host.path(log)
        self._read = 0

    def take(self) -> list[str]:
        """Every request, as strace shows it."""
        lines = self._log.read_text(errors="replace").splitlines()[self._read :]
        self._read += len(lines)
        return lines


@contextmanager
def watched_home(host: Host, *, delay_us: int = 0) -> Iterator[Requests]:
    server, log = bindfs(host), "/tmp/requests"
    slow = ["-e", f"inject={REQUESTS}:delay_exit={delay_us}"] if delay_us else []
    argv = ["strace", "-f", "-qq", "-o", log, "-e", f"trace={REQUESTS}", *slow, "-p", str(server)]
    tracer = host.popen(argv, "root")
    try:
        wait_until(lambda: is_traced(host, server) or tracer.poll() is not None, 20, "strace to trace bindfs")
        assert tracer.poll() is None, tracer.communicate()[1]
        yield Requests(host, log)
    finally:
        host.end_popen(tracer)
        wait_until(lambda: not is_traced(host, server), 20, "strace to leave bindfs")


def bindfs(host: Host) -> int:
    """Its pid on the host."""
    return next(process.pid for process in host.processes("root") if process.comm == "bindfs")


def is_traced(host: Host, pid: int) -> bool:
    text = host.path(f"/proc/{pid}/status").read_text()
    return "TracerPid:\t0\n" not in text
