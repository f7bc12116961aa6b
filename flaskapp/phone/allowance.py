"""What a call may last and cost, by its agent and the settings, and how it ends when that is used up."""

from __future__ import annotations

from typing import cast

from flaskapp.config import Settings
from flaskapp.phone.agent import Agent
from flaskapp.phone.next_step import SHORTEST_RECORDING_S, Path, Step
from flaskapp.phone.registry import live_store, part
from flaskapp.phone.resumption import cost_usd


def ending(call_sid: str, known: dict[str, str], agent: Agent, ours: Path) -> Step | None:
    """How the call must end now; None while it may go on."""
    if not known:
        return None
    if left_s(call_sid, agent) <= 0:
        return ours.time_is_up()
    most_usd = most_cost_usd(agent)
    return ours.too_dear() if most_usd and cost_usd(known) >= most_usd else None


def longest_recording_s(call_sid: str, agent: Agent) -> int:
    """For how long may be recorded before the call's time is up; never so short that nobody could speak."""
    return max(round(left_s(call_sid, agent)), SHORTEST_RECORDING_S)


def left_s(call_sid: str, agent: Agent) -> float:
    """Seconds until the call's time is up; the agent's own limit comes before the settings'."""
    settings = cast(Settings, part("settings"))
    most_s = agent.limits.max_call_seconds or settings.max_call_seconds
    return most_s - live_store().elapsed_ms(call_sid) / 1000


def most_cost_usd(agent: Agent) -> float:
    """What the call may cost; 0: as much as it likes."""
    own = agent.limits.max_call_cost_usd
    return cast(Settings, part("settings")).max_call_cost_usd if own is None else own
