"""A centre's batch system: its controller on login2, compute nodes c1 and c2, clients there and on both login nodes."""

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import ClassVar

from tests.centre.host import Host

CONTROLLER = "login2"
NODES = ("c1", "c2")
MEMBERS = ("login1", CONTROLLER, *NODES)


class BatchSystem(ABC):
    """Prepared before the first boot of its hosts; from then on it comes up with each of them."""

    kind: ClassVar[str]
    """As a site profile calls it."""
    programs: ClassVar[Mapping[str, str]]
    """What it needs on the machine, and the package that has it."""
    service: ClassVar[str]
    daemons: ClassVar[Collection[str]]
    end_signal: ClassVar[str]
    """The controller's: the service that starts it, the names of its processes, and what ends it with all it knows
    on disk."""

    def __init__(self, hosts: Mapping[str, Host]) -> None:
        self._hosts = {name: hosts[name] for name in MEMBERS}
        self._controller = hosts[CONTROLLER]
        self._secret = secrets.token_hex(32)

    @abstractmethod
    def prepare(self) -> None:
        """Write what its hosts read, and add their services. Only before the first boot."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether the controller answers and both nodes take jobs."""

    @abstractmethod
    def is_answering(self) -> bool:
        """Whether the controller answers, as root on its own host asks."""

    @abstractmethod
    def calls(self, user: str) -> int:
        """Requests by that user since the controller was last started, as it counts them itself."""

    def fail(self, *, silent: bool) -> None:
        """End the controller, which keeps what it knows; or, `silent`, stop it: it takes connections, never answers."""
        if silent:
            self._controller.kill(*self._pids(), signal="STOP", check=True)
        else:
            self._controller.kill(*self._pids(), signal=self.end_signal)  # one may end by another's end
            await_condition(lambda: not self._pids(), 90, "the controller has ended")

    def mend(self) -> None:
        """Start the controller again, or let it go on; returns once it answers."""
        if pids := self._pids():
            self._controller.kill(*pids, signal="CONT", check=True)
        else:
            self._controller.start_service(self.service)
        await_condition(self.is_answering, 90, "the controller answers again")

    def _pids(self) -> list[int]:
        return [process.pid for process in self._controller.processes() if process.comm in self.daemons]


def await_condition(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Raises TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.05)
