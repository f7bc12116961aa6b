"""The recording path's webhooks: a turn is recorded, claimed, waited for and answered, then the next one.

Nothing slow happens here: a job does it (``recording.py``), these ask how far
it is. Whatever a carrier asks twice is answered twice and done once; counters
ride on the addresses, so that nothing is counted twice either.
"""

from __future__ import annotations

import logging
import time
from hashlib import blake2b
from typing import cast

from flask import Blueprint, Response, request
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from flaskapp.access import carrier_signed, checked_call_sid, origin, socket_origin
from flaskapp.config import Settings
from flaskapp.phone import documents
from flaskapp.phone.agent import Agents
from flaskapp.phone.ai_integration import AIVoiceIntegration
from flaskapp.phone.errors import BlockedUrl
from flaskapp.phone.fetch import RecordingHost
from flaskapp.phone.next_step import HANG_UP, WAIT_S, Path, Step, Then
from flaskapp.phone.registry import begin, has_lines, is_over, known_call, live_store, note, over, part, whole
from flaskapp.redaction import mask_number
from flaskapp.store.history import CallChanged, History, RecordingChanged
from flaskapp.store.jobs import Jobs
from flaskapp.store.turns import Outcome, Turn, TurnBook
from flaskapp.tickets import Tickets

log = logging.getLogger(__name__)

ASK_AGAIN_S = 0.7  # a webhook waits so long for an answer that is nearly there
NOBODY_TOOK_IT_S = 3.0
QUESTION_S = 1.7  # from one question for an answer to the next, at least
REST_MS = 10_000  # after each time that live AI failed a call
UNUSABLE = {"blocked_url", "too_large", "not_audio", "failed", "absent"}
LOST = {"absent", "failed"}

recorded = Blueprint("recorded", __name__)


def _book() -> TurnBook:
    return cast(TurnBook, part("turn_book"))


def path(known: dict[str, str]) -> Path:
    """The recording path of a call, in the voice of the agent that its number has."""
    agents, settings = cast(Agents, part("agents")), cast(Settings, part("settings"))
    called = known.get("called") or request.values.get("To", "")
    return Path(agents.for_number(called), settings.consent_text)


def perform(call_sid: str, step: Step) -> Response:
    """A step as the answer to a webhook."""
    if step.then is Then.HANG_UP:
        over(call_sid, step.why)
    if step.then is Then.STREAM:
        fresh = {"path": "live", "state": "ringing", "needs_fallback": "0", "pending_turn": ""}
        live_store().remember(call_sid, **fresh)
        live_store().count(call_sid, "streams")
    where = documents.Addresses(call_sid, origin(), socket_origin())
    ticket = cast(Tickets, part("tickets"))
    return Response(documents.render(step, where, lambda: ticket.for_stream(call_sid)), mimetype="text/xml")


def record_instead(call_sid: str, known: dict[str, str], step: Step) -> Response:
    """Leave the live path for the recording path."""
    if known.get("path") != "recorded":
        live_store().remember(call_sid, path="recorded", was_recorded="1")
        note(CallChanged(call_sid, {"mode": "both" if has_lines(call_sid) else "recorded"}))
    return perform(call_sid, step)


@recorded.post("/incoming-call")
@carrier_signed
def incoming_call() -> Response:
    """A call comes in to be recorded and answered, turn by turn."""
    call_sid = checked_call_sid(request.values.get("CallSid"))
    caller = mask_number(request.values.get("From", ""))
    log.info("Received recorded call from %s", caller, extra={"call_sid": call_sid})
    if is_over(call_sid):
        return perform(call_sid, HANG_UP)
    known = begin(call_sid, "recorded")
    opening = path(known).no_assistant() if part("turn_engine") is None else path(known).opening()
    return perform(call_sid, opening)


@recorded.post("/process-voice/<call_sid>")
@carrier_signed
def process_voice(call_sid: str) -> Response:
    """A turn was recorded, or nothing was said, or the answer to one is asked for."""
    call_sid = checked_call_sid(call_sid)
    known = known_call(call_sid)
    if key := request.args.get("turn", ""):
        try:
            return perform(call_sid, _answer(call_sid, known, key))
        except RedisError:
            return perform(call_sid, _patience(known, key))
    if request.values.get("RecordingSid") or request.values.get("RecordingUrl"):
        try:
            return perform(call_sid, _taken(call_sid, known))
        except RedisError as error:
            return perform(call_sid, _kept_for_later(call_sid, known, error))
    if _number("message"):
        return perform(call_sid, path(known).silent(2))
    return perform(call_sid, path(known).silent(_number("silences")))


@recorded.post("/recording-status/<call_sid>")
@carrier_signed
def recording_status(call_sid: str) -> tuple[str, int]:
    """What became of a recording, in any order: one that nobody brought is taken all the same."""
    call_sid = checked_call_sid(call_sid)
    key, status = request.values.get("RecordingSid", ""), request.values.get("RecordingStatus", "")
    if not key or not key.isalnum() or len(key) > 64:
        return "", 204
    try:
        if status in LOST:
            _lost(call_sid, key, status)
        elif status == "completed":
            _completed(call_sid, key)
    except RedisError as error:
        if status == "completed":
            _noted_for_later(call_sid, key, error)
    return "", 204


def _lost(call_sid: str, key: str, status: str) -> None:
    """There will be no recording."""
    why = request.values.get("ErrorCode", "")
    outcome = Outcome(status, detail=f"the carrier says {status} {why}".strip())
    note(RecordingChanged(call_sid, key, {"status": status, "error": outcome.detail}))
    _book().finish(call_sid, key, outcome)
    _book().close(call_sid, key)


def _completed(call_sid: str, key: str) -> None:
    """A recording is there. While its call goes on, the caller's own request brings it, sooner or later."""
    known, book = known_call(call_sid), _book()
    if book.find(call_sid, key) is not None:
        if book.outcome(call_sid, key) is None:
            cast(Jobs, part("jobs")).submit("turn", call_sid, key)
    elif known and not known.get("is_over"):
        refused, account = _identified(call_sid)
        if not refused:  # should nobody bring it, the sweeper finds it in the history
            about = {"source": "recording", "account_sid": account, "duration_ms": _duration_ms()}
            note(RecordingChanged(call_sid, key, {"status": "claimed", **about}))
    elif _is_new(call_sid, known, key):
        _claim(call_sid, known, wants_reply=False)


# ---------------------------------------------------------------------- one turn


def _taken(call_sid: str, known: dict[str, str]) -> Step:
    """A recording is brought: claim it, and answer at once if the answer comes at once."""
    has_gone = request.values.get("Digits") == "hangup" or request.values.get("CallStatus") == "completed"
    is_message = bool(_number("message"))
    if not known and _is_an_echo(call_sid):
        return HANG_UP
    key = _claim(call_sid, known, wants_reply=not (has_gone or is_message))
    if has_gone:
        over(call_sid, "caller_hung_up")
        return HANG_UP
    return path(known).message_left() if is_message else _answer(call_sid, known, key)


def _is_an_echo(call_sid: str) -> bool:
    """Whether this recording was brought before, on a call that is long over: it changes nothing.

    The book is asked first: if that is away, the call may be unknown for that reason only.
    """
    key = request.values.get("RecordingSid", "")
    return key.isalnum() and _book().find(call_sid, key) is None and not _is_new(call_sid, {}, key)


def _kept_for_later(call_sid: str, known: dict[str, str], error: RedisError) -> Step:
    """The book of turns is away: the caller leaves it at that, or at a message."""
    _noted_for_later(call_sid, _key(), error)
    if request.values.get("Digits") == "hangup":
        return HANG_UP
    return path(known).message_left() if _number("message") else path(known).unavailable()


def _noted_for_later(call_sid: str, key: str, error: RedisError) -> None:
    """The recording goes into the history, which has it understood when the book is back."""
    log.warning("Redis is away: %s", type(error).__name__, extra={"call_sid": call_sid})
    refused, account = _identified(call_sid)
    about = {"source": "recording", "account_sid": account, "duration_ms": _duration_ms()}
    if not refused:
        note(RecordingChanged(call_sid, key, {"status": "claimed", **about}))
    elif request.values.get("RecordingUrl"):
        note(RecordingChanged(call_sid, key, {"status": "blocked_url", "error": refused, **about}))


def _patience(known: dict[str, str], key: str) -> Step:
    """The book of turns is away, perhaps for a moment only: ask again, going by the number of questions."""
    poll = _number("poll")
    return path(known).waiting(key, poll, poll * QUESTION_S, _number("silences"), _number("troubles"))


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


def _key() -> str:
    """What a recording is known by: its SID, or where there is none a fingerprint of what came instead."""
    sid = request.values.get("RecordingSid", "")
    if sid.isalnum() and len(sid) <= 64:
        return sid
    last = request.values.get("RecordingUrl", "").rstrip("/").rpartition("/")[2].partition(".")[0]
    if last.isalnum() and len(last) <= 64:
        return last
    return "odd" + blake2b(request.values.get("RecordingUrl", "").encode(), digest_size=12).hexdigest()


def _claim(call_sid: str, known: dict[str, str], *, wants_reply: bool) -> str:
    """Claim the recording and have it worked on; claimed twice it is worked on once."""
    live, book, key = live_store(), _book(), _key()
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
        _book().finish(turn.call_sid, turn.key, Outcome("blocked_url", detail=turn.refused))


def _answer(call_sid: str, known: dict[str, str], key: str) -> Step:
    """How far a turn is: its answer, or a little more patience."""
    book, poll = _book(), _number("poll")
    outcome = book.wait(call_sid, key, ASK_AGAIN_S)
    turn = book.find(call_sid, key)
    ours = path(known)
    if outcome is not None:
        return _told(call_sid, known, outcome)
    if turn is None:
        return ours.unusable(_number("troubles") + 1)
    if book.unowned_for(call_sid, key) > NOBODY_TOOK_IT_S:
        log.warning("No background worker takes jobs: it is done here", extra={"call_sid": call_sid})
        cast(Jobs, part("jobs")).run_here("turn", call_sid, key)
    waited_s = time.time() - turn.claimed_at
    if waited_s >= WAIT_S:
        part("metrics").faults.labels("answer_slow").inc()
    return ours.waiting(key, poll, waited_s, _number("silences"), _number("troubles"))


def _told(call_sid: str, known: dict[str, str], outcome: Outcome) -> Step:
    """What became of a turn, as the caller is told."""
    ours = path(known)
    if outcome.kind in ("answered", "understood"):
        to_live = _may_go_live(call_sid, known)
        play_url = _speech_url(call_sid, request.args.get("turn", "") or _key(), outcome)
        return ours.answered(outcome.response, play_url, outcome.is_goodbye, to_live)
    if outcome.kind == "silent":
        return ours.silent(_number("silences") + 1)
    if outcome.kind in UNUSABLE:
        return ours.unusable(_number("troubles") + 1)
    part("metrics").faults.labels(f"batch_{outcome.kind}").inc()
    return ours.unavailable()


def _may_go_live(call_sid: str, known: dict[str, str]) -> bool:
    """Whether the next turn is live: the engine is well, and has had time, more each time that it fell."""
    if known.get("wants_stream") != "1":
        return False
    rest_ms = REST_MS * int(known.get("falls", "0"))
    is_rested = live_store().elapsed_ms(call_sid) - int(known.get("fell_at_ms", "0")) >= rest_ms
    return is_rested and cast(AIVoiceIntegration, part("desk")).is_live_well()


def _speech_url(call_sid: str, key: str, outcome: Outcome) -> str:
    if not outcome.has_speech_file:
        return ""
    ticket = cast(Tickets, part("tickets")).issue_speech(call_sid)
    return f"{origin()}/phone/speech/{call_sid}/{key}/{ticket}"


def _number(name: str) -> int:
    """A counter that rides on the address."""
    return whole(request.args.get(name, ""), 1000)


def _duration_ms() -> int:
    return whole(request.values.get("RecordingDuration", ""), 86_400) * 1000
