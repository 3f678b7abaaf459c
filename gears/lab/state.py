"""Records on disk of a lab and of the connection to it: the turn of the loop, JupyterLab's process, when it was up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from gears.sites.paths import RunDir
from gears.ssh.failures import Failure
from gears.system import processes, records, timestamps


class Plan(StrEnum):
    """What a loop does next: dial a host, run JupyterLab, wait for the job (queue) or for the end of its tunnel (meet),
    wait for the user (ask), or stop."""

    DIAL = "dial"
    RUN = "run"
    QUEUE = "queue"
    MEET = "meet"
    ASK = "ask"
    STOP = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A turn of a loop: what it does between two decisions. `number` is 0 where there has been none.

    what: hop, lab or job. ended: why the turn before ended. pause_s: seconds before it begins. ever_up: a turn of this
    loop has reached JupyterLab. failures: number of consecutive dials that did not.

    Of a hop and of a job that is dialled: how (batch, asked or person), by (address or name; forced: by name, as the
    address refused). Of a lab: crashes (when, seconds since 1970), never_up (how many in a row). Of a job: job and
    socket (its number, and that of the socket where it is not this turn's), lines (of what it wrote), polls, node, pid
    and start of its JupyterLab, lost (the pid of one that has ended), ended_meeting (the job whose tunnel has just
    ended; 0: none), why it stops.
    """

    number: int = 0
    what: str = ""
    plan: Plan | None = None
    ended: Failure | None = None
    pause_s: float = 0.0
    ever_up: bool = False
    failures: int = 0
    how: str | None = None
    by: str | None = None
    forced: bool = False
    crashes: tuple[float, ...] = ()
    never_up: int = 0
    job: int | None = None
    socket: int | None = None
    lines: int = 0
    polls: int = 0
    node: str | None = None
    pid: str | None = None
    start: str | None = None
    lost: str | None = None
    ended_meeting: int = 0
    why: str | None = None

    @property
    def reason(self) -> str | None:
        """Return why the turn before ended."""
        return self.ended.reason if self.ended else None

    @property
    def next(self) -> str | None:
        """Return the command to run then."""
        return self.ended.next if self.ended else None

    @property
    def is_interactive(self) -> bool:
        """Return whether it dials with the user at the prompt."""
        return self.plan == Plan.DIAL and self.how == "person"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A JupyterLab: where it runs and listens, and how its user logs in.

    `overridden`: notes on settings of the user that are not used. `unreachable`: notebooks with a lost kernel.
    """

    host: str
    pid: int
    port: int | None = None
    socket: str | None = None
    version: str | None = None
    started: str | None = None
    login: str | None = None
    overridden: tuple[str, ...] = ()
    unreachable: tuple[str, ...] = ()

    @property
    def has_password(self) -> bool:
        """Return whether the user logs in with a password, and not with the token."""
        return self.login == "password"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab(Server):
    """JupyterLab's record of itself.

    `start`: of its process (`processes.Process`). `job`: the number of its job. `ended`: when it was ended on purpose.
    `idle_since`: when it was last used, once it is warned of that; `ends`: when it ends for that.
    """

    start: str
    site: str | None = None
    job: int | None = None
    ended: str | None = None
    idle_since: str | None = None
    ends: str | None = None

    @property
    def process(self) -> processes.Process:
        """Return JupyterLab's process."""
        return processes.Process(self.host, self.pid, self.start)


@dataclass(frozen=True, slots=True)
class Up:
    """The newest turn that has reached JupyterLab, since when, and how often this has happened."""

    number: int | None = None
    since: str | None = None
    times: int = 0

    @property
    def reconnects(self) -> int:
        """Return how often the connection came up again after the first time."""
        return max(0, self.times - 1)

    def is_of(self, turn: Turn) -> bool:
        """Return whether this turn has reached JupyterLab."""
        return turn.number > 0 and self.number == turn.number


def loop_alive(paths: RunDir) -> bool:
    """Return whether the loop of this host lives, by its record: pid and start time."""
    loop = processes.read(paths.loop)
    return bool(loop and loop.alive())


def load_lab(path: Path) -> Lab | None:
    """Read the lab's record: `RunDir.lab_here`, or its copy in the home, `RunDir.lab_record`. None if there is none."""
    return records.load(Lab, path)


def save_lab(path: Path, lab: Lab) -> None:
    """Replace the lab's record. Raises OSError."""
    records.save(path, lab)


def mark_ended(paths: RunDir, host: str | None) -> None:
    """Record in the home that the lab was ended on purpose, unless the record is of another host's lab."""
    lab = load_lab(paths.lab_record)
    if lab and lab.host == host and not lab.ended:
        save_lab(paths.lab_record, replace(lab, ended=timestamps.utc_now()))


def load_up(paths: RunDir) -> Up:
    """Read how often the connection was up."""
    return records.load(Up, paths.up) or Up()


def note_up(paths: RunDir, number: int) -> None:
    """Record that turn `number` has reached JupyterLab. Raises OSError."""
    records.save(paths.up, Up(number, timestamps.utc_now(), load_up(paths).times + 1))


def load_turn(paths: RunDir) -> Turn:
    """Read the loop's turn; number 0 where there has been none."""
    return records.load(Turn, paths.turn) or Turn()


def save_turn(paths: RunDir, turn: Turn) -> None:
    """Write the next turn. Raises OSError."""
    records.save(paths.turn, turn)


def load_given_up(paths: RunDir) -> Failure | None:
    """Read why the keeper ended this turn's ssh, if it did."""
    return records.load(Failure, paths.given_up)


def save_given_up(paths: RunDir, ended: Failure) -> None:
    """Write why the keeper ends this turn's ssh. Raises OSError."""
    records.save(paths.given_up, ended)
