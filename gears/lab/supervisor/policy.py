"""Plan what a shell loop does next. Pure."""

from __future__ import annotations

import random
from dataclasses import replace

from gears.lab.state import Plan, Turn
from gears.ssh.failures import NAME_DEPENDENT_KINDS, Failure

NETWORK_PAUSES_S = (0.0, 0.5, 1.0, 2.0, 4.0, 5.0)
"""From one dial to the next while only the network is down. The time that ssh takes to fail (ConnectTimeout) counts."""

CRASH_WINDOW_S = 600

MOST_CRASHES = 5
"""JupyterLab is restarted at most this often within the window; then the loop waits for the user."""


def plan_hop_turn(last: Turn, word: str, ended: Failure | None, was_up: bool, *, lasted_s: float = 0.0) -> Turn:
    """Plan the next turn of a hop. It redials automatically only after a network failure, and never with a prompt.

    `lasted_s`: how long the last one's ssh ran.
    """
    ever_up = was_up or (last.ever_up and word != "start")
    turn = Turn(number=last.number + 1, what="hop", ever_up=ever_up, ended=ended)
    if ended is None:
        return replace(turn, plan=Plan.DIAL, how="person" if word == "person" else "asked")
    if ended.kind == "stopped":
        return replace(turn, plan=Plan.STOP)
    if ended.kind == "network" or (ended.kind == "unknown-host" and ever_up):
        failures = 0 if was_up else last.failures + 1
        pause_s = NETWORK_PAUSES_S[min(failures, len(NETWORK_PAUSES_S) - 1)] * random.uniform(0.8, 1.2)
        how = "batch" if ever_up else "asked"
        return replace(turn, plan=Plan.DIAL, how=how, failures=failures, pause_s=round(max(0.0, pause_s - lasted_s), 2))
    return replace(turn, plan=Plan.ASK)


def plan_target(turn: Turn, last: Turn, by: str, *, gssapi: bool) -> Turn:
    """Choose how the last node is dialled: `by` address or name; after two failures the other way once.

    Where a dial by address is refused, the configuration of the name may succeed: tried once, without a prompt.
    """
    kinds = (*NAME_DEPENDENT_KINDS, "login") if gssapi and last.how != "person" else NAME_DEPENDENT_KINDS
    refused = turn.ended is not None and turn.ended.kind in kinds
    if turn.plan == Plan.ASK and last.by == "address" and refused:
        how = "batch" if turn.ever_up else "asked"
        return replace(turn, plan=Plan.DIAL, how=how, by="name", forced=True)
    other = "name" if by == "address" else "address"
    return replace(turn, by=other if turn.failures % 3 == 2 else by)


def plan_lab_turn(last: Turn, ended: Failure | None, was_up: bool, *, now: float) -> Turn:
    """Plan the next turn of a lab: stop after a shutdown; restart after a crash, within bounds.

    The bounds: MOST_CRASHES in CRASH_WINDOW_S, and three in a row that were never up. `now`: seconds since 1970.
    """
    turn = Turn(number=last.number + 1, what="lab", ended=ended)
    if ended is None:
        return replace(turn, plan=Plan.RUN)
    if ended.kind == "stopped":
        return replace(turn, plan=Plan.STOP)
    if ended.kind == "refused":
        return replace(turn, plan=Plan.ASK)
    crashes = (*(when for when in last.crashes if when > now - CRASH_WINDOW_S), now)
    never_up = 0 if was_up else last.never_up + 1
    turn = replace(turn, crashes=crashes, never_up=never_up)
    if len(crashes) > MOST_CRASHES or never_up >= 3:
        return replace(turn, plan=Plan.ASK)
    return replace(turn, plan=Plan.RUN, pause_s=float(2 ** (len(crashes) - 1) - 1))
