"""The status of a site, concluded from the facts: what the waiting page, `gears status` and `gears lab` show.

What can't be seen from here is `unknown`, never `stopped`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gears.lab.report import HopReport
from gears.lab.state import Lab, Plan
from gears.lab.status.facts import Facts, count_kernels, gather, record_in
from gears.lab.status.probe import Answer
from gears.sites.locate import find_paths
from gears.sites.paths import RunDir
from gears.sites.route import Route
from gears.ssh.failures import FORBIDDING, Failure
from gears.system import files
from gears.system.files import Record
from gears.system.installation import gears_home, with_gears_path

if TYPE_CHECKING:  # read only where there is a job
    from gears.lab.job.records import JobRecord

FORBIDDEN_AFTER_S = 2.0
"""How long the far end must have been serving before a closed forward is put down to its sshd."""

STATES = ("stopped", "starting", "queued", "connecting", "needs-login", "up", "failed", "unknown")


@dataclass(frozen=True, slots=True)
class Step:
    """A line of the waiting page. state: up, trying, waiting or failed."""

    what: str
    state: str


@dataclass(frozen=True, slots=True)
class Status:
    """DESIGN's `gears status --json`, and the steps for the waiting page. `host`: where `next` is to be typed.

    `turn`: the loop's, of which this speaks.
    """

    site: str
    state: str
    url: str | None
    route: str
    front: Record
    hops: list[Record]
    lab: Record | None
    job: JobRecord | None
    reason: str | None
    next: str | None
    title: str
    host: str
    steps: list[Step]
    turn: int | None

    def as_record(self) -> Record:
        """Return it as JSON can have it, with the job as `shown_job` shows it."""
        return asdict(self) | {"job": shown_job(self.job)}


def observe(route: Route, paths: RunDir, *, answer: Answer | None = None) -> Status:
    """Look, and conclude. Takes up to 3 s where something hangs. `answer`: what the keeper found behind its socket."""
    facts = gather(route, paths, answer)
    return conclude(route, paths, facts)


def conclude(route: Route, paths: RunDir, facts: Facts) -> Status:
    """Conclude the status from the facts. Looks at nothing of the site itself."""
    state, reason, following = _conclusion(route, facts)
    up = state == "up"
    return Status(
        site=route.site.name,
        state=state,
        url=address(route, facts.lab) if up else None,
        route=route.kind,
        front={
            "host": route.here if route.role == "front" or route.front == route.lab else route.front,
            "socket": str(paths.fixed),
            "leads_to": facts.leads_to,
        },
        hops=_hops(route, facts),
        lab=_lab(facts),
        job=facts.job,
        reason=reason,
        next=with_gears_path(following) if following else None,
        title=route.site.title,
        host=route.here,
        steps=_steps(route, facts, state),
        turn=facts.turn.number or None,
    )


def address(route: Route, lab: Lab | None) -> str:
    """Return what to open, without a secret: the laptop's port, or for the site of this machine alone its own port."""
    own_port = lab.port if lab and route.kind == "local" else None
    return f"http://localhost:{own_port or route.site.laptop.port}/lab"


Verdict = tuple[str, str | None, str | None]


def _conclusion(route: Route, facts: Facts) -> Verdict:
    """Conclude the state, why it is not up or what should be known though it is, and what to type."""
    if not facts.job:
        return CONCLUSIONS[route.role](route, facts)
    from gears.lab.status.job_status import job_state, suspended, warning
    from gears.schedulers.base import JobState

    if facts.answer.kind == "silent" and facts.job.state == JobState.SUSPENDED:
        return "unknown", suspended(facts.job), None
    verdict = job_state(route, facts, facts.job) if route.role == "lab" else CONCLUSIONS[route.role](route, facts)
    return ("up", warning(facts.job), None) if verdict[0] == "up" else verdict


def shown_job(job: JobRecord | None) -> Record | None:
    """Return what is shown of a job's record, DESIGN's `job`; None without a job."""
    if not job:
        return None
    from gears.lab.status.job_status import shown

    return shown(job)


def _hops(route: Route, facts: Facts) -> list[Record]:
    if route.role == "front":
        return [_hop(route, facts)]
    if route.role == "lab" and facts.job and facts.job.node:
        from gears.lab.status.job_status import job_hop

        return [job_hop(route, facts, facts.job)]
    return []


def _lab_state(route: Route, facts: Facts) -> Verdict:
    site = route.site.name
    again = f"gears lab {site}"
    ended = facts.turn.ended
    if facts.answer.kind == "jupyter":
        return "up", None, None
    if facts.loop_alive and facts.turn.plan == Plan.ASK:
        following = facts.turn.next if ended and ended.kind == "refused" else f"gears logs {site}; {again}"
        return "failed", facts.turn.reason, following
    if facts.answer.kind == "silent":
        return "unknown", "JupyterLab does not answer", f"gears logs {site}"
    if facts.loop_alive:
        return "starting", facts.turn.reason, None
    if facts.lab_alive:
        return "unknown", "JupyterLab runs, but does not answer at the fixed path", again
    if facts.lab and not facts.lab.ended and facts.lab_alive is None:
        reason = f"a lab was started on {facts.lab.host}; from {route.here} it can't be seen whether it still runs"
        return "unknown", reason, f"ssh {facts.lab.host}   (there: gears status {site})"
    return "stopped", None, again


def _elsewhere_state(route: Route, facts: Facts) -> Verdict:
    alias = f"{route.site.name}-jupyter"
    if facts.answer.kind == "jupyter":
        return "up", None, None
    following = f"ssh {alias}   (there: gears status {route.site.name})"
    return "unknown", f"the lab is on {route.lab}, and can't be seen from here", following


def _front_state(route: Route, facts: Facts) -> Verdict:
    site = route.site.name
    again = f"gears lab {site}"
    ended = facts.turn.ended
    host = (facts.report and facts.report.host) or route.lab
    if facts.answer.kind == "jupyter":
        return "up", None, None
    if not facts.loop_alive:
        return _without_hop(route, facts)
    if facts.turn.plan == Plan.ASK:
        return _refusal(ended), facts.turn.reason, facts.turn.next
    if facts.report:
        return _behind_hop(route, facts, host, again)
    if ended and facts.turn.ever_up:
        return (
            "unknown",
            facts.turn.reason,
            f"{again}   (it is tried again by itself; this starts a lab elsewhere if need be)",
        )
    if facts.starting_up:
        reason = f"{route.lab} has let us in, and still runs your start-up files there (~/.bashrc, ~/.ssh/rc …)"
        return "connecting", reason, f"ssh {route.lab} echo works   (it takes as long; if it prints nothing, mend them)"
    return "connecting", facts.turn.reason, again if ended else None


def _refusal(ended: Failure | None) -> str:
    """Tell the state where a person is wanted."""
    return "needs-login" if ended and ended.kind in ("login", "hostkey-unknown") else "failed"


CONCLUSIONS = {"lab": _lab_state, "front": _front_state, "elsewhere": _elsewhere_state}


def _without_hop(route: Route, facts: Facts) -> Verdict:
    again = f"gears lab {route.site.name}"
    if facts.job and not facts.job.live:
        from gears.lab.status.job_status import over

        return over(route.site.name, facts.job)
    if facts.job:
        return "unknown", f"no hop runs on {route.here}; job {facts.job.id} may wait or run", again
    if facts.lab and not facts.lab.ended:
        reason = f"no hop runs on {route.here}; the lab on {facts.lab.host} may be running"
        return "unknown", reason, again
    return "stopped", None, again


def _behind_hop(route: Route, facts: Facts, host: str, again: str) -> Verdict:
    """Conclude from a hop that is up, where JupyterLab does not answer through it.

    The page that answers is the lab host's or our own.
    """
    page, own, told = _page(facts), _own_page(route, facts), facts.report or HopReport()
    state = str(page.get("state") or told.state)
    if own.get("state") == "failed":
        return "failed", own.get("reason"), own.get("next")
    if facts.answer.kind == "silent":
        return "unknown", f"{host} does not answer; ssh finds out within 15 s whether the link is cut", again
    if _forbidden(facts):
        reason = f"sshd on {host} forbids forwarding to sockets ({FORBIDDING})"
        return "failed", reason, f"gears doctor {route.site.name}"
    if facts.answer.kind == "closed" and facts.was_up:
        return "unknown", f"the connection to {host} has just ended", again
    if state == "failed":
        return "failed", f"{host}: {page.get('reason') or told.reason}", page.get("next") or again
    if state in ("queued", "unknown"):
        return state, page.get("reason") or told.reason, page.get("next")
    return "starting", page.get("reason"), None


def _page(facts: Facts) -> Record:
    return record_in(facts.answer.content.get("gears")) if facts.answer.kind == "waiting" else {}


def _own_page(route: Route, facts: Facts) -> Record:
    """Return what this host's keeper says of this very turn; empty where nothing."""
    page = _page(facts)
    return page if (page.get("host"), page.get("turn")) == (route.here, facts.turn.number or None) else {}


def _forbidden(facts: Facts) -> bool:
    """Tell whether a forward that is closed can be put down to sshd: the far end serves, and this turn never was up."""
    served = bool(facts.report and facts.report.serving) and facts.report_age_s > FORBIDDEN_AFTER_S
    return facts.answer.kind == "closed" and served and not facts.was_up


def _hop(route: Route, facts: Facts) -> Record:
    state = _hop_state(route, facts)
    return {
        "from": route.here,
        "to": (facts.report and facts.report.host) or _lab_host(facts) or route.lab,
        "state": state,
        "since": facts.up.since if state == "up" else None,
        "reconnects": facts.up.reconnects,
    }


def _lab_host(facts: Facts) -> object:
    """Return the lab's host: of a job that is the login node, not the node the job is on."""
    if facts.job:
        return facts.job.host
    return facts.lab.host if facts.lab and not facts.lab.job else None


def _hop_state(route: Route, facts: Facts) -> str:
    if not facts.loop_alive:
        return "stopped"
    if facts.turn.plan == Plan.ASK:
        return _refusal(facts.turn.ended)
    if not facts.report and not facts.was_up:
        return "connecting"
    shown = [hop.get("state") for hop in _own_page(route, facts).get("hops", [])]
    return "failed" if _forbidden(facts) or "failed" in shown else "up"


LAB_KEYS = ("host", "pid", "port", "socket", "version", "started", "login", "overridden", "unreachable")


def _lab(facts: Facts) -> Record | None:
    if not facts.lab or facts.lab.ended or facts.lab_alive is False:
        return None
    if facts.job and not (facts.job.on_node and facts.lab.host == facts.job.node):
        return None
    shown = {key: getattr(facts.lab, key) for key in LAB_KEYS}
    return shown | {"kernels": None}


def _steps(route: Route, facts: Facts, state: str) -> list[Step]:
    lab = Step(
        f"JupyterLab on {(facts.report and facts.report.host) or (facts.lab and facts.lab.host) or route.lab}",
        _lab_step(route, facts, state),
    )
    steps = [lab]
    if facts.job:
        from gears.lab.status.job_status import step

        node = facts.job.node or "a compute node"
        steps = [Step(*step(facts.job)), replace(lab, what=f"JupyterLab on {node}")]
    if route.role != "front":
        return steps
    hop = _hop(route, facts)["state"]
    connection = "up" if hop == "up" else "failed" if hop in ("needs-login", "failed") else "trying"
    return [Step(f"{route.here}: reached", "up"), Step(f"connection {route.here} → {route.lab}", connection), *steps]


def _lab_step(route: Route, facts: Facts, state: str) -> str:
    if state == "up":
        return "up"
    if state == "queued":
        return "waiting"
    reached = route.role != "front" or bool(facts.report)
    if not reached:
        return "waiting"
    return "failed" if state == "failed" else "trying"


def lab_notes(lab: Record) -> list[str]:
    """List what a person should know of a lab that is up, a line each."""
    lost = [
        f"{name} can't be reached since its socket was swept away: Restart Kernel"
        for name in lab.get("unreachable") or []
    ]
    return [f"  setting  {note}" for note in lab.get("overridden") or []] + [f"  kernel   {note}" for note in lost]


def look(route: Route) -> files.Record:
    """Read the status as `--json` shows it. Makes nothing, and takes 3 s at most where something hangs."""
    paths = find_paths(route) or RunDir(gears_home(), route.site.name, Path("/nonexistent"))
    record = observe(route, paths).as_record()
    if record["state"] == "up" and record["lab"]:
        record["lab"]["kernels"] = count_kernels(paths)
    for inner in ("steps", "title", "turn"):
        del record[inner]
    return record
