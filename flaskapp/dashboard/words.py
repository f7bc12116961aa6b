"""Figures, moments and names as pages say them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Blueprint

from flaskapp.phone.reasons import OUTCOMES, reason

NOTHING = "–"
MODES = {"live": "live", "recorded": "recorded", "both": "live and recorded", "rejected": "refused"}
ENGINES = {"openai": "OpenAI", "azure": "Azure OpenAI", "local": "local stand-in"}
#: Who calls without a number.
OTHERS = {"": "unknown number", "browser": "Browser phone"}
#: How well a call ended, as a badge is dressed.
DRESS = {"fine": "good", "limit": "warn", "failed": "bad"}


def add_words(dashboard: Blueprint) -> None:
    """Templates have all of these as filters, ``as_clock`` and so on: other pages have names of their own."""
    told = (
        clock,
        wait,
        percent,
        money,
        cost,
        mode,
        outcome,
        standing,
        ended,
        dress,
        engine,
        moment,
        day_hour,
        number,
    )
    for each in told:
        dashboard.add_app_template_filter(each, f"as_{each.__name__}")


def clock(ms: float | None) -> str:
    """``75000`` -> ``1:15``; hours where there are any."""
    if ms is None:
        return NOTHING
    seconds = max(int(ms // 1000), 0)
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def wait(ms: float | None) -> str:
    """How long somebody waited: ``640 ms``, ``1.25 s``."""
    if ms is None:
        return NOTHING
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.2f} s"


def percent(share: float | None) -> str:
    """``0.034`` -> ``3.4 %``."""
    if share is None:
        return NOTHING
    return f"{share * 100:.1f} %" if 0 < share < 0.1 else f"{share * 100:.0f} %"


def money(usd: float | None) -> str:
    """``0.0123`` -> ``$0.012``."""
    if usd is None:
        return NOTHING
    return f"${usd:.3f}" if usd < 1 else f"${usd:.2f}"


def cost(usd: float | None, engine: str | None) -> str:
    """What a call has cost; the stand-in charges nothing."""
    return "nothing" if engine == "local" else money(usd)


def standing(status: str | None) -> str:
    """How a call stands with its carrier: ``in-progress`` -> ``in progress``."""
    return (status or NOTHING).replace("-", " ")


def mode(name: str | None) -> str:
    return MODES.get(name or "", name or NOTHING)


def outcome(name: str | None) -> str:
    return OUTCOMES.get(name or "", name or "")


def ended(name: str | None) -> str:
    """Why a call ended, in words; of one that goes on nothing."""
    return reason(name).words


def dress(name: str | None) -> str:
    """How the badge of an ending is dressed."""
    return DRESS[reason(name).ending.value]


def engine(name: str | None) -> str:
    return ENGINES.get(name or "", name or "")


def moment(at: datetime | None) -> str:
    """As machines read it."""
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z") if at else ""


def day_hour(at: datetime | None, minutes_west: int = 0) -> str:
    """As people read it, in their own time."""
    return (
        (at.astimezone(UTC) - timedelta(minutes=minutes_west)).strftime("%d %b %H:%M:%S") if at else NOTHING
    )


def number(told: Any) -> str:
    """Whose call it is; carriers may not say."""
    return OTHERS.get(told or "", str(told))
