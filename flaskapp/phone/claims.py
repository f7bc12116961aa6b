"""A recording that a carrier brings: whose it is, whether it is new, and its place among the turns."""

from __future__ import annotations

import logging
import time
from hashlib import blake2b
from typing import cast

from flask import request
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from flaskapp.config import Settings
from flaskapp.phone.errors import BlockedUrl
from flaskapp.phone.fetch import RecordingHost
from flaskapp.phone.registry import known_call, live_store, note, part, whole
from flaskapp.store.history import History, RecordingChanged
from flaskapp.store.jobs import Jobs
from flaskapp.store.turns import Outcome, Turn, TurnBook

log = logging.getLogger(__name__)


def turn_book() -> TurnBook:
    """Recorded turns in progress."""
    return cast(TurnBook, part("turn_book"))


def lost(call_sid: str, key: str, status: str) -> None:
    """There will be no recording."""
    why = request.values.get("ErrorCode", "")
    outcome = Outcome(status, detail=f"the carrier says {status} {why}".strip())
    note(RecordingChanged(call_sid, key, {"status": status, "error": outcome.detail}))
    turn_book().finish(call_sid, key, outcome)
    turn_book().close(call_sid, key)


def completed(call_sid: str, key: str) -> None:
    """A recording is there. While its call goes on, the caller's own request brings it, sooner or later."""
    known, book = known_call(call_sid), turn_book()
    if book.find(call_sid, key) is not None:
        if book.outcome(call_sid, key) is None:
            cast(Jobs, part("jobs")).submit("turn", call_sid, key)
    elif known and not known.get("is_over"):
        refused, account = _identified(call_sid)
        if not refused:  # should nobody bring it, the sweeper finds it in the history
            about = {"source": "recording", "account_sid": account, "duration_ms": _duration_ms()}
            note(RecordingChanged(call_sid, key, {"status": "claimed", **about}))
    elif _is_new(call_sid, known, key):
        claim(call_sid, known, wants_reply=False)


def is_an_echo(call_sid: str) -> bool:
    """Whether this recording was brought before, on a call that is long over: it changes nothing.

    The book is asked first: if that is away, the call may be unknown for that reason only.
    """
    key = request.values.get("RecordingSid", "")
    return key.isalnum() and turn_book().find(call_sid, key) is None and not _is_new(call_sid, {}, key)


def note_for_later(call_sid: str, key: str, error: RedisError) -> None:
    """The recording goes into the history, which has it understood when the book is back."""
    log.warning("Redis is away: %s", type(error).__name__, extra={"call_sid": call_sid})
    refused, account = _identified(call_sid)
    about = {"source": "recording", "account_sid": account, "duration_ms": _duration_ms()}
    if not refused:
        note(RecordingChanged(call_sid, key, {"status": "claimed", **about}))
    elif request.values.get("RecordingUrl"):
        note(RecordingChanged(call_sid, key, {"status": "blocked_url", "error": refused, **about}))


def _identified(call_sid: str) -> tuple[str, str]:
    """Why no connection may be made, or whose recording it is."""
    values = request.values
    key, account = values.get("RecordingSid", ""), values.get("AccountSid", "")
    base = cast(Settings, part("settings")).twilio_api_base_url
    url = values.get("RecordingUrl") or f"{base}/2010-04-01/Accounts/{account}/Recordings/{key}"
    try:
        identified = cast(RecordingHost, part("recording_host")).identify(url, key, account)
    except BlockedUrl as error:
        log.warning("A recording's address is blocked: %s", error, extra={"call_sid": call_sid})
        part("metrics").faults.labels("blocked_url").inc()
        return str(error)[:200], ""
    return "", identified.account_sid


def _is_new(call_sid: str, known: dict[str, str], key: str) -> bool:
    """Whether no word of this recording is in the books; a call in progress has its own book."""
    if known and not known.get("is_over"):
        return True
    try:
        return cast(History, part("history")).recording(key) is None
    except SQLAlchemyError as error:  # understood twice, it is still written once
        log.warning("The history is away: %s", type(error).__name__, extra={"call_sid": call_sid})
        return True


def recording_key() -> str:
    """What a recording is known by: its SID, or where there is none a fingerprint of what came instead."""
    sid = request.values.get("RecordingSid", "")
    if sid.isalnum() and len(sid) <= 64:
        return sid
    last = request.values.get("RecordingUrl", "").rstrip("/").rpartition("/")[2].partition(".")[0]
    if last.isalnum() and len(last) <= 64:
        return last
    return "odd" + blake2b(request.values.get("RecordingUrl", "").encode(), digest_size=12).hexdigest()


def claim(call_sid: str, known: dict[str, str], *, wants_reply: bool, is_message: bool = False) -> str:
    """Claim the recording and have it worked on; claimed twice it is worked on once."""
    live, book, key = live_store(), turn_book(), recording_key()
    if book.find(call_sid, key) is None:
        refused, account = _identified(call_sid)
        duration_ms = _duration_ms()
        turn = Turn(
            call_sid,
            key,
            "recording",
            account_sid=account,
            refused=refused,
            position=live.next_position(call_sid, 2),
            at_ms=max(live.elapsed_ms(call_sid) - duration_ms, 0),
            duration_ms=duration_ms,
            wants_reply=wants_reply,
            is_message=is_message,
            called=known.get("called", ""),
            claimed_at=time.time(),
        )
        if book.claim(turn):
            _keep_claim(turn)
    cast(Jobs, part("jobs")).submit("turn", call_sid, key)
    return key


def _keep_claim(turn: Turn) -> None:
    about = {
        "source": "recording",
        "account_sid": turn.account_sid,
        "duration_ms": turn.duration_ms,
        "position": turn.position,
        "at_ms": turn.at_ms,
    }
    status = {"status": "blocked_url", "error": turn.refused} if turn.refused else {"status": "claimed"}
    note(RecordingChanged(turn.call_sid, turn.key, {**about, **status}))
    if turn.refused:
        turn_book().finish(turn.call_sid, turn.key, Outcome("blocked_url", detail=turn.refused))


def _duration_ms() -> int:
    return whole(request.values.get("RecordingDuration", ""), 86_400) * 1000
