"""A caller whom a flow had taken on is brought to the Voicebot again: nobody took him, his call goes on."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from flaskapp.phone.leftovers import HANDED_OVER, TRANSFERRED
from flaskapp.phone.registry import live_store, part, taken_up_again

log = logging.getLogger(__name__)

WITHIN = timedelta(minutes=30)
ENDS = (TRANSFERRED, HANDED_OVER)
NOTE = (
    "The caller is back on the line: whoever he was to be connected to could not be reached. Say so,"
    " apologise briefly, and offer to take a message or to help otherwise. Do not greet again."
)


def come_back(call_sid: str, known: dict[str, str], carrier: str) -> dict[str, str]:
    """Open the books of a call again that its flow had taken over; {} for one that is over for good.

    Args:
        known: what Redis knows of the call; it forgets soon, the history does not.
    """
    live, fresh = live_store(), known
    if not known:
        row = _row(call_sid)
        if row is None or row["carrier"] != carrier or row["ended_reason"] not in ENDS or not _is_recent(row):
            return {}
        fresh = taken_up_again(call_sid, row)
    elif known.get("reason") not in ENDS:
        return {}
    log.info("The flow brings the caller back", extra={"call_sid": call_sid})
    live.keep_on(call_sid)
    opened = {"is_over": "", "endings": "0", "state": "ringing", "needs_fallback": "0", "destination": ""}
    opened |= {"path": "live", "was_recorded": "", "wants_stream": "1", "reason": "", "note": NOTE}
    live.remember(call_sid, **opened)
    part("feed").begins_again(call_sid)
    return {**fresh, **opened}


def _row(call_sid: str) -> dict[str, Any] | None:
    try:
        row: dict[str, Any] | None = part("history").call(call_sid)
    except SQLAlchemyError as error:
        log.warning("The history is away: %s", type(error).__name__, extra={"call_sid": call_sid})
        return None
    return row


def _is_recent(row: dict[str, Any]) -> bool:
    ended = row["ended_at"]
    if ended is None:
        return False
    at = ended if ended.tzinfo else ended.replace(tzinfo=UTC)  # SQLite has no time zones
    return bool(datetime.now(UTC) - at < WITHIN)
