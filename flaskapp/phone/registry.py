"""A call's books as the webhooks keep them: opened when it rings, looked into at each request, closed."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from flask import current_app, request
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from flaskapp.store.history import TERMINAL, CallChanged, CallOpened, History
from flaskapp.store.live import LiveStore
from flaskapp.store.scribe import Scribe

log = logging.getLogger(__name__)

TWILIO = "twilio"
WENT_LIVE = ("live", "both")
#: How a call ended is written by its stream's end, where there is or was one.
ENDED_BY_OTHERS = ("live", "moving", "ended")


def part(name: str) -> Any:
    """One of the app's parts."""
    return current_app.extensions[name]


def live_store() -> LiveStore:
    """Calls in progress."""
    return cast(LiveStore, part("live_store"))


def note(*entries: Any) -> None:
    """Have something written to the history soon."""
    cast(Scribe, part("scribe")).note(*entries)


def whole(text: str, most: int) -> int:
    """A number as a carrier or an address of ours spells it; 0 for anything else."""
    return min(int(text[:12]), most) if text.isascii() and text.isdecimal() else 0


def begin(
    call_sid: str,
    mode: str,
    carrier: str = TWILIO,
    caller: str | None = None,
    called: str | None = None,
    **more: str,
) -> dict[str, str]:
    """A carrier brings a call: its row, and what every worker must know of it.

    Args:
        caller, called: their numbers; by default what Twilio's webhook says.
        more: is known of it beside.
    """
    caller = request.values.get("From", "") if caller is None else caller
    called = request.values.get("To", "") if called is None else called
    note(CallOpened(call_sid, carrier, caller, called, mode, datetime.now(UTC)))
    known = {"called": called, "caller": caller, "path": mode, "carrier": carrier, **more}
    if mode == "recorded":
        known["was_recorded"] = "1"
    live_store().begin(call_sid, **known)
    return known


def known_call(call_sid: str) -> dict[str, str]:
    """What is known of a call; what Redis has lost in the middle of it is taken from the history.

    Empty for a call that nobody has heard of, or that is over.
    """
    known = live_store().recall(call_sid)
    if known:
        return known
    row = _row(call_sid)
    return {} if row is None or _has_ended(row) else taken_up_again(call_sid, row)


def is_over(call_sid: str, known: Mapping[str, str] | None = None) -> bool:
    """Whether this call ended long ago: a webhook that comes again changes nothing.

    Args:
        known: what is known of it, if that was asked already.
    """
    if live_store().recall(call_sid) if known is None else known:
        return False
    row = _row(call_sid)
    return row is not None and _has_ended(row)


def has_lines(call_sid: str) -> bool:
    """Whether anybody has said anything on this call; a line that was withdrawn is none."""
    return any(line["text"] for line in live_store().lines(call_sid))


def over(call_sid: str, why: str) -> None:
    """A call has come to its end: close its books, once."""
    from flaskapp.phone.admission import release  # which itself looks into these books

    live = live_store()
    known = live.recall(call_sid)
    if known.get("is_over") or not known or live.count(call_sid, "endings") > 1:
        return
    state, has_been_recorded = known.get("state"), known.get("path") == "recorded"
    if has_been_recorded or state not in ENDED_BY_OTHERS:
        ended = {"ended_reason": why, "ended_at": datetime.now(UTC), "duration_ms": live.elapsed_ms(call_sid)}
        began = datetime.fromtimestamp(float(known["began"]), UTC) if "began" in known else None
        note(CallChanged(call_sid, ended, began))
    if has_been_recorded or known.get("needs_fallback") == "1":
        carrier = known.get("carrier") or TWILIO
        part("metrics").calls.labels(carrier, "recorded", why or known.get("reason", "")).inc()
    live.remember(call_sid, is_over="1")
    release(call_sid)
    if state == "moving":
        part("leftovers").abandoned(call_sid, why)
    elif state != "live":
        live.forget_soon(call_sid)
        part("leftovers").over(call_sid)
    elif live.last_sign(call_sid) is None:  # its stream's end sees to it, unless its worker dies just now
        _let_the_sweeper_look(call_sid)


def _let_the_sweeper_look(call_sid: str) -> None:
    try:
        live_store().touch(call_sid, time.time())
    except RedisError as error:
        log.warning("Redis is away: %s", type(error).__name__, extra={"call_sid": call_sid})


def _row(call_sid: str) -> dict[str, Any] | None:
    """The call's row; None too while the database is away."""
    try:
        return cast(History, part("history")).call(call_sid)
    except SQLAlchemyError as error:
        log.warning("The history is away: %s", type(error).__name__, extra={"call_sid": call_sid})
        return None


def _has_ended(row: dict[str, Any]) -> bool:
    return row["ended_at"] is not None or row["status"] in TERMINAL


def taken_up_again(call_sid: str, row: dict[str, Any]) -> dict[str, str]:
    """Redis knows nothing of a call that goes on: tell it the call's place in time, and its lines."""
    log.warning("Redis has forgotten a call that goes on", extra={"call_sid": call_sid})
    live, began = live_store(), row["started_at"] or datetime.now(UTC)
    known = {
        "called": row["called"] or request.values.get("To", ""),
        "carrier": row["carrier"] or TWILIO,
        "path": "recorded",
        "was_recorded": "1",
        "began": repr(began.timestamp()),
        **({"wants_stream": "1"} if row["mode"] in WENT_LIVE else {}),
    }
    live.remember(call_sid, **known)
    try:
        turns = cast(History, part("history")).turns(call_sid)
    except SQLAlchemyError:
        turns = []
    live.keep_lines(call_sid, [{**turn, "item_id": turn["item"]} for turn in turns])
    live.at_least_position(call_sid, max((turn["position"] + 1 for turn in turns), default=0))
    return known
