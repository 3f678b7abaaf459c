"""The status of a site as a value: what the waiting page, `gears status` and the records of a hop carry.

Its JSON is read by other versions of gears, on the other hosts of a route. So keys are only ever added, and what can't
be read has its default: a state of a later version is UNKNOWN.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gears.lab.state import Server
from gears.schedulers.base import OVER, JobState
from gears.system.files import Record
from gears.system.records import as_values, parse


class State(StrEnum):
    """The state of a site, and of a hop. What can't be seen from this host is UNKNOWN, never STOPPED."""

    STOPPED = "stopped"
    STARTING = "starting"
    QUEUED = "queued"
    CONNECTING = "connecting"
    NEEDS_LOGIN = "needs-login"
    UP = "up"
    FAILED = "failed"
    UNKNOWN = "unknown"


class StepState(StrEnum):
    """The state of a line of the waiting page."""

    UP = "up"
    TRYING = "trying"
    WAITING = "waiting"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Step:
    """A line of the waiting page."""

    what: str
    state: StepState = StepState.WAITING


@dataclass(frozen=True, slots=True)
class Front:
    """The fixed path. `leads_to`: wait (the waiting page), hop, job or lab; None: nowhere."""

    host: str
    socket: str
    leads_to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """A connection between two hosts. `since`: when it came up; `reconnects`: how often it has come up again."""

    source: str = ""
    target: str = ""
    state: State = State.UNKNOWN
    since: str | None = None
    reconnects: int = 0


HOP_KEYS = {"source": "from", "target": "to"}
"""Keys of a hop in JSON that differ from the names here: `from` is a keyword of Python."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownLab(Server):
    """What is shown of a JupyterLab. `kernels`: None where they could not be counted."""

    kernels: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownJob:
    """What is shown of a job (`gears.lab.job.records.JobRecord`).

    `successor`: the id of the job that follows. `asked`: when the scheduler was last queried, seconds since 1970.
    """

    id: str
    state: JobState = JobState.UNKNOWN
    word: str = ""
    reason: str = ""
    host: str = ""
    node: str | None = None
    position: int | None = None
    starts: str | None = None
    ends: str | None = None
    submitted: str = ""
    queue: str = ""
    renew: int = 0
    variables: tuple[str, ...] = ()
    successor: str | None = None
    asked: float = 0.0

    @property
    def live(self) -> bool:
        """Tell whether it waits or runs, as far as is known."""
        return self.state not in OVER


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a waiting page shows. `host`: where `next` is to be run.

    `again`: the command that opens the connection from the laptop, if it is not the stanza's ssh.
    """

    site: str = ""
    state: State = State.UNKNOWN
    route: str = ""
    job: ShownJob | None = None
    reason: str | None = None
    next: str | None = None
    title: str = ""
    host: str = ""
    steps: tuple[Step, ...] = ()
    again: str | None = None

    def as_values(self) -> Record:
        """Return the page as JSON has it."""
        return as_values(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status(Page):
    """The status of a site as one of its hosts sees it. `turn`: the turn of the loop that it describes."""

    url: str | None = None
    front: Front | None = None
    hops: tuple[Hop, ...] = ()
    lab: ShownLab | None = None
    turn: int | None = None

    def as_values(self) -> Record:
        """Return the keys of PAGE_KEYS, as on the waiting page and in `state.json`."""
        values = as_values(self)
        values["hops"] = [{HOP_KEYS.get(key, key): value for key, value in hop.items()} for hop in values["hops"]]
        return {key: values[key] for key in PAGE_KEYS}

    def as_json(self) -> Record:
        """Return what `gears status --json` prints: as on the waiting page, without what only a page needs.

        Nor with the time of the last query to the scheduler, which is no change of the status.
        """
        values = {key: value for key, value in self.as_values().items() if key not in ("steps", "title", "turn")}
        if self.job:
            values["job"] = {key: value for key, value in values["job"].items() if key != "asked"}
        return values


PAGE_KEYS = (
    "site",
    "state",
    "url",
    "route",
    "front",
    "hops",
    "lab",
    "job",
    "reason",
    "next",
    "title",
    "host",
    "steps",
    "turn",
)
"""Keys of a status in JSON, in this order."""


def parse_status(values: object) -> Status | None:
    """Read a status, of whatever version of gears. None where there is none."""
    if not isinstance(values, dict) or not values:
        return None
    hops = values.get("hops")
    found = [_with_names(hop) for hop in hops if isinstance(hop, dict)] if isinstance(hops, list) else []
    return parse(Status, values | {"hops": found})


def _with_names(hop: Record) -> Record:
    return {name: hop[key] for name, key in HOP_KEYS.items() if key in hop} | hop
