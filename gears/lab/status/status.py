"""Conclude the status of a site from the facts, for the waiting page, `gears status` and `gears lab`.

What can't be seen from this host is `unknown`, never `stopped`.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gears.lab.state import Lab, Plan, Server
from gears.lab.status.facts import Answer, Facts, count_kernels, gather
from gears.lab.status.model import Front, Hop, ShownJob, ShownLab, State, Status, Step, StepState
from gears.lab.status.report import HopReport
from gears.sites.context import Context
from gears.sites.directories import find_paths
from gears.sites.paths import RunDir
from gears.sites.route import Route
from gears.ssh.failures import FORBIDDING, Failure
from gears.system import files
from gears.system.installation import gears_home, with_gears_path

if TYPE_CHECKING:  # read only where there is a job
    from gears.lab.job.records import JobRecord

OBSERVE_EVERY_S = 0.5
"""Interval of `observe` while this host shows no change: it reads the home, which may be on a slow file server."""

FORBIDDEN_AFTER_S = 2.0
"""How long the remote end must have been serving before a closed forward is blamed on its sshd."""


def observe(context: Context, *, answer: Answer | None = None) -> Status:
    """Gather the facts and conclude. Takes up to 3 s where a host hangs. `answer`: of the keeper's own probe."""
    facts = gather(context, answer)
    return conclude(context, facts)


def conclude(context: Context, facts: Facts) -> Status:
    """Conclude the status from the facts, without looking at the site again."""
    route = context.route
    state, reason, following = with_idle(facts.lab, _conclusion(route, facts))
    return Status(
        site=context.site.name,
        state=state,
        url=address(route, facts.lab) if state == State.UP else None,
        route=route.kind,
        front=Front(
            host=route.here if route.role == "front" or route.front == route.lab else route.front,
            socket=str(context.paths.fixed),
            leads_to=facts.leads_to,
        ),
        hops=_hops(route, facts),
        lab=_lab(facts),
        job=shown_job(facts.job),
        reason=reason,
        next=with_gears_path(following) if following else None,
        title=context.site.title,
        host=route.here,
        steps=_steps(route, facts, state),
        turn=facts.turn.number or None,
    )


def address(route: Route, lab: Lab | None) -> str:
    """Return the address to open, without a secret: the laptop's port, or the lab's own port for the local site."""
    own_port = lab.port if lab and route.kind == "local" else None
    return f"http://localhost:{own_port or route.site.laptop.port}/lab"


def with_token(site: str, url: str, *, password: bool) -> str:
    """Return the address with the token in it, for the user's own screen; without one where a password is set."""
    if password:
        return url
    token = files.read_text(gears_home() / "run" / site / "token").strip()
    return f"{url}?token={token}" if token else url


Verdict = tuple[State, str | None, str | None]


def with_idle(lab: Lab | None, verdict: Verdict) -> Verdict:
    """Add to a verdict without a reason that the lab is idle, and ends for that or has ended."""
    state, reason, following = verdict
    if reason or not (lab and lab.idle_since):
        return verdict
    if state == State.UP:
        return state, f"idle since {lab.idle_since}: it ends {lab.ends}, unless it is used", following
    ended = state == State.STOPPED and (lab.ended or "") >= (lab.ends or "")  # else stopped otherwise, once warned
    return (state, f"idle since {lab.idle_since}", following) if ended else verdict


def _conclusion(route: Route, facts: Facts) -> Verdict:
    """Conclude the state, the reason or a warning, and the next command."""
    if not facts.job:
        return CONCLUSIONS[route.role](route, facts)
    from gears.lab.status.job_status import job_state, suspended, warning
    from gears.schedulers.base import JobState

    if facts.answer.kind == "silent" and facts.job.state == JobState.SUSPENDED:
        return State.UNKNOWN, suspended(facts.job), None
    verdict = job_state(route, facts, facts.job) if route.role == "lab" else CONCLUSIONS[route.role](route, facts)
    return (State.UP, warning(facts.job), None) if verdict[0] == State.UP else verdict


def shown_job(job: JobRecord | None) -> ShownJob | None:
    """Return what is shown of a job's record; None without a job."""
    if not job:
        return None
    from gears.lab.status.job_status import shown

    return shown(job)


def _hops(route: Route, facts: Facts) -> tuple[Hop, ...]:
    if route.role == "front":
        return (_hop(route, facts),)
    if route.role == "lab" and facts.job and facts.job.node:
        from gears.lab.status.job_status import job_hop

        return (job_hop(route, facts, facts.job.node),)
    return ()


def _lab_state(route: Route, facts: Facts) -> Verdict:
    site = route.site.name
    again = f"gears lab {site}"
    ended = facts.turn.ended
    if facts.answer.kind == "jupyter":
        return State.UP, None, None
    if facts.loop_alive and facts.turn.plan == Plan.ASK:
        following = facts.turn.next if ended and ended.kind == "refused" else f"gears logs {site}; {again}"
        return State.FAILED, facts.turn.reason, following
    if facts.answer.kind == "silent":
        return State.UNKNOWN, "JupyterLab does not answer", f"gears logs {site}"
    if facts.loop_alive:
        return State.STARTING, facts.turn.reason, None
    if facts.lab_alive:
        return State.UNKNOWN, "JupyterLab runs, but does not answer at the fixed path", again
    if facts.lab and not facts.lab.ended and facts.lab_alive is None:
        reason = f"a lab was started on {facts.lab.host}; whether it still runs can't be seen from {route.here}"
        return State.UNKNOWN, reason, f"ssh {facts.lab.host}   (there: gears status {site})"
    return State.STOPPED, None, again


def _elsewhere_state(route: Route, facts: Facts) -> Verdict:
    alias = f"{route.site.name}-jupyter"
    if facts.answer.kind == "jupyter":
        return State.UP, None, None
    following = f"ssh {alias}   (there: gears status {route.site.name})"
    return State.UNKNOWN, f"the lab is on {route.lab}, which can't be seen from this host", following


def _front_state(route: Route, facts: Facts) -> Verdict:
    site = route.site.name
    again = f"gears lab {site}"
    ended = facts.turn.ended
    host = (facts.report and facts.report.host) or route.lab
    if facts.answer.kind == "jupyter":
        return State.UP, None, None
    if not facts.loop_alive:
        return _without_hop(route, facts)
    if facts.turn.plan == Plan.ASK:
        return _refusal(ended), facts.turn.reason, facts.turn.next
    if facts.report:
        return _behind_hop(route, facts, host, again)
    if ended and facts.turn.ever_up:
        return (
            State.UNKNOWN,
            facts.turn.reason,
            f"{again}   (gears reconnects automatically; this starts a lab on another host if needed)",
        )
    if facts.starting_up:
        reason = f"connected to {route.lab}, where your start-up files are still running (~/.bashrc, ~/.ssh/rc …)"
        return (
            State.CONNECTING,
            reason,
            f"ssh {route.lab} echo works   (takes as long; if it prints nothing, fix those files)",
        )
    return State.CONNECTING, facts.turn.reason, again if ended else None


def _refusal(ended: Failure | None) -> State:
    """Return the state of a hop that waits for the user."""
    return State.NEEDS_LOGIN if ended and ended.kind in ("login", "hostkey-unknown") else State.FAILED


CONCLUSIONS = {"lab": _lab_state, "front": _front_state, "elsewhere": _elsewhere_state}


def _without_hop(route: Route, facts: Facts) -> Verdict:
    again = f"gears lab {route.site.name}"
    if facts.job and not facts.job.live:
        from gears.lab.status.job_status import over

        return over(route.site.name, facts.job)
    if facts.job:
        return State.UNKNOWN, f"no hop runs on {route.here}; job {facts.job.id} may be queued or running", again
    if facts.lab and not facts.lab.ended:
        reason = f"no hop runs on {route.here}; the lab on {facts.lab.host} may be running"
        return State.UNKNOWN, reason, again
    return State.STOPPED, None, again


def _behind_hop(route: Route, facts: Facts, host: str, again: str) -> Verdict:
    """Conclude from a hop that is up, where JupyterLab does not answer through it.

    The page that answers is the lab host's or this host's own.
    """
    report = facts.report or HopReport()
    page, own = facts.answer.page, _own_page(route, facts)
    state, reason, following = (page.state, page.reason, page.next) if page else (report.state, None, None)
    if own and own.state == State.FAILED:
        return State.FAILED, own.reason, own.next
    if facts.answer.kind == "silent":
        return State.UNKNOWN, f"{host} does not answer; ssh detects a broken connection within 15 s", again
    if _forbidden(facts):
        reason = f"sshd on {host} forbids forwarding to sockets ({FORBIDDING})"
        return State.FAILED, reason, f"gears doctor {route.site.name}"
    if facts.answer.kind == "closed" and facts.was_up:
        return State.UNKNOWN, f"the connection to {host} was just closed", again
    if state == State.FAILED:
        return State.FAILED, f"{host}: {reason or report.reason}", following or again
    if state in (State.QUEUED, State.UNKNOWN):
        return state, reason or report.reason, following
    return State.STARTING, reason, None


def _own_page(route: Route, facts: Facts) -> Status | None:
    """Return the page of this host's keeper for the current turn; None where another answered, or none."""
    page = facts.answer.page
    own = page is not None and (page.host, page.turn) == (route.here, facts.turn.number or None)
    return page if own else None


def _forbidden(facts: Facts) -> bool:
    """Return whether sshd must have refused the forward: the remote end serves, and this turn was never up."""
    served = bool(facts.report and facts.report.serving) and facts.report_age_s > FORBIDDEN_AFTER_S
    return facts.answer.kind == "closed" and served and not facts.was_up


def _hop(route: Route, facts: Facts) -> Hop:
    state = _hop_state(route, facts)
    return Hop(
        source=route.here,
        target=(facts.report and facts.report.host) or _lab_host(facts) or route.lab,
        state=state,
        since=facts.up.since if state == State.UP else None,
        reconnects=facts.up.reconnects,
    )


def _lab_host(facts: Facts) -> str | None:
    """Return the lab's host: with a job the login node, not the compute node."""
    if facts.job:
        return facts.job.host
    return facts.lab.host if facts.lab and not facts.lab.job else None


def _hop_state(route: Route, facts: Facts) -> State:
    if not facts.loop_alive:
        return State.STOPPED
    if facts.turn.plan == Plan.ASK:
        return _refusal(facts.turn.ended)
    if facts.ssh_ended or not (facts.report or facts.was_up):
        return State.CONNECTING
    own = _own_page(route, facts)
    failed = own is not None and any(hop.state == State.FAILED for hop in own.hops)
    return State.FAILED if failed or _forbidden(facts) else State.UP


def _lab(facts: Facts) -> ShownLab | None:
    if not facts.lab or facts.lab.ended or facts.lab_alive is False:
        return None
    if facts.job and not (facts.job.on_node and facts.lab.host == facts.job.node):
        return None
    return ShownLab(**{field.name: getattr(facts.lab, field.name) for field in fields(Server)})


def _steps(route: Route, facts: Facts, state: State) -> tuple[Step, ...]:
    lab = Step(
        f"JupyterLab on {(facts.report and facts.report.host) or (facts.lab and facts.lab.host) or route.lab}",
        _lab_step(route, facts, state),
    )
    steps: tuple[Step, ...] = (lab,)
    if facts.job:
        from gears.lab.status.job_status import step

        node = facts.job.node or "a compute node"
        steps = step(facts.job), replace(lab, what=f"JupyterLab on {node}")
    if route.role != "front":
        return steps
    connection = Step(f"connection {route.here} → {route.lab}", _hop_step(_hop(route, facts).state))
    return (Step(f"{route.here}: reached", StepState.UP), connection, *steps)


def _hop_step(hop: State) -> StepState:
    if hop == State.UP:
        return StepState.UP
    return StepState.FAILED if hop in (State.NEEDS_LOGIN, State.FAILED) else StepState.TRYING


def _lab_step(route: Route, facts: Facts, state: State) -> StepState:
    if state == State.UP:
        return StepState.UP
    reached = route.role != "front" or bool(facts.report)
    if state == State.QUEUED or not reached:
        return StepState.WAITING
    return StepState.FAILED if state == State.FAILED else StepState.TRYING


def lab_notes(lab: ShownLab) -> list[str]:
    """List what a user should know of a lab that is up, a line each."""
    lost = [f"{name} can't be reached since its socket was removed: restart the kernel" for name in lab.unreachable]
    return [f"  setting  {note}" for note in lab.overridden] + [f"  kernel   {note}" for note in lost]


def look(route: Route) -> Status:
    """Read the status, with the number of kernels. Makes nothing, and takes 3 s at most where something hangs."""
    paths = find_paths(route) or RunDir(gears_home(), route.site.name, Path("/nonexistent"))
    status = observe(Context(route, paths))
    if status.state != State.UP or not status.lab:
        return status
    return replace(status, lab=replace(status.lab, kernels=count_kernels(paths)))
