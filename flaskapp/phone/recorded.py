"""The recording path's webhooks: a turn is recorded, claimed, waited for and answered, then the next one.

Nothing slow happens here: a job does it (``recording.py``), these ask how far
it is. Whatever a carrier asks twice is answered twice and done once; counters
ride on the addresses, so that nothing is counted twice either.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import cast

from flask import Blueprint, Response, request
from redis.exceptions import RedisError

from flaskapp.access import carrier_signed, checked_call_sid, origin, socket_origin
from flaskapp.config import Settings
from flaskapp.phone import admission, allowance, documents
from flaskapp.phone.agent import Agent, Agents
from flaskapp.phone.claims import (
    claim,
    completed,
    is_an_echo,
    lost,
    note_for_later,
    recording_key,
    turn_book,
)
from flaskapp.phone.consent import consent_heard
from flaskapp.phone.directives import EndCall, TransferTo
from flaskapp.phone.going_on import may_be_live_again
from flaskapp.phone.next_step import HANG_UP, WAIT_S, Path, Step, Then
from flaskapp.phone.registry import begin, has_lines, known_call, live_store, note, over, part, whole
from flaskapp.phone.turn_tools import from_json
from flaskapp.redaction import mask_number
from flaskapp.store.history import CallChanged
from flaskapp.store.jobs import Jobs
from flaskapp.store.turns import Outcome
from flaskapp.tickets import Tickets

log = logging.getLogger(__name__)

ASK_AGAIN_S = 0.7  # a webhook waits so long for an answer that is nearly there
NOBODY_TOOK_IT_S = 3.0
QUESTION_S = 1.7  # from one question for an answer to the next, at least
UNUSABLE = {"blocked_url", "too_large", "not_audio", "failed", "absent"}
LOST = {"absent", "failed"}

recorded = Blueprint("recorded", __name__)


def path(known: dict[str, str]) -> Path:
    """The recording path of a call, in the voice of the agent that its number has."""
    return Path(_agent(known), cast(Settings, part("settings")).consent_text)


def _agent(known: dict[str, str]) -> Agent:
    called = known.get("called") or request.values.get("To", "")
    return cast(Agents, part("agents")).for_number(called)


def perform(call_sid: str, step: Step, ticket: str | None = None) -> Response:
    """A step as the answer to a webhook, and in the call's books.

    Args:
        ticket: what the carrier was given for a stream before; None: that is to be looked up.
    """
    live = live_store()
    if step.then is Then.HANG_UP:
        over(call_sid, step.why)
    elif step.then is Then.STREAM:
        ticket = _ticket(call_sid, ticket)
        step, told = _with_consent(call_sid, step)
        fresh = {"path": "live", "state": "ringing", "needs_fallback": "0", "pending_turn": ""}
        fresh["joined_at"] = repr(live.now())
        live.count(call_sid, "streams", beside={"origin": origin(), "ticket": ticket, **fresh, **told})
        return document(call_sid, step, ticket)
    elif step.then is Then.DIAL:
        live.remember(call_sid, state="dialling", dialled=step.destination)
        live.count(call_sid, "dials")
    elif step.then in (Then.RECORD, Then.MESSAGE):
        agent = _agent(live.recall(call_sid))
        step = replace(step, within_s=allowance.longest_recording_s(call_sid, agent))
        step = _told_first(call_sid, step)
    return document(call_sid, step)


def _with_consent(call_sid: str, step: Step) -> tuple[Step, dict[str, str]]:
    """A stream begins when the caller knows what is kept of it; who was told once is not told again.

    Returns:
        The step, and what is to be remembered of the call.
    """
    consent = cast(Settings, part("settings")).consent_text
    known = live_store().recall(call_sid) if consent else {}
    if not consent or known.get("consented"):
        return step, {}
    return replace(step, said=(*step.said, *path(known).consent())), {"consent_said": "1"}


def _told_first(call_sid: str, step: Step) -> Step:
    """Nothing is recorded before it was said; that it was heard is known when the carrier comes back."""
    if not cast(Settings, part("settings")).consent_text:
        return step
    known = live_store().recall(call_sid)
    consent = path(known).consent()
    if not (known.get("consent_said") or known.get("consented") or set(consent) <= set(step.said)):
        step = replace(step, said=(*step.said, *consent))
    live_store().remember(call_sid, consent_said="1")
    return step


def document(call_sid: str, step: Step, ticket: str = "") -> Response:
    """A step as the answer to a webhook that changes nothing; ``ticket``: for a stream."""
    where = documents.Addresses(call_sid, origin(), socket_origin(), request.full_path.rstrip("?"))
    return Response(documents.render(step, where, lambda: ticket), mimetype="text/xml")


def _ticket(call_sid: str, given: str | None) -> str:
    """What opens the call's stream: what the carrier was given before, as long as that does."""
    given = live_store().recall(call_sid).get("ticket", "") if given is None else given
    return cast(Tickets, part("tickets")).good(call_sid, given)


def record_instead(call_sid: str, known: dict[str, str], step: Step) -> Response:
    """Leave the live path for the recording path."""
    if known.get("path") != "recorded":
        live_store().remember(call_sid, path="recorded", was_recorded="1")
        note(CallChanged(call_sid, {"mode": "both" if has_lines(call_sid) else "recorded"}))
    return perform(call_sid, step)


def ask_again(call_sid: str, known: dict[str, str]) -> Response:
    """This worker is about to end: whoever gets the next request takes the call."""
    return perform(call_sid, path(known).asking_again(whole(request.args.get("wait", ""), 1000)))


@recorded.post("/incoming-call")
@carrier_signed
def incoming_call() -> Response:
    """A call comes in to be recorded and answered, turn by turn."""
    call_sid = checked_call_sid(request.values.get("CallSid"))
    caller = mask_number(request.values.get("From", ""))
    log.info("Received recorded call from %s", caller, extra={"call_sid": call_sid})
    if before := admission.answered_before(call_sid):
        return perform(call_sid, before)
    numbers = (request.values.get("From", ""), request.values.get("To", ""))
    if refused := admission.refusal(call_sid, *numbers, wants_stream=False):
        return document(call_sid, refused)
    known = begin(call_sid, "recorded")
    opening = path(known).no_assistant() if part("turn_engine") is None else path(known).opening()
    return perform(call_sid, opening)


@recorded.post("/process-voice/<call_sid>")
@carrier_signed
def process_voice(call_sid: str) -> Response:
    """A turn was recorded, or nothing was said, or the answer to one is asked for."""
    call_sid = checked_call_sid(call_sid)
    known = known_call(call_sid)
    admission.goes_on(call_sid, known)
    consent_heard(call_sid, known, live_store())
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
    if ending := _ending(call_sid, known):
        return perform(call_sid, ending)
    return perform(call_sid, path(known).silent(2 if _number("message") else _number("silences")))


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
            lost(call_sid, key, status)
        elif status == "completed":
            completed(call_sid, key)
    except RedisError as error:
        if status == "completed":
            note_for_later(call_sid, key, error)
    return "", 204


# ---------------------------------------------------------------------- one turn


def _taken(call_sid: str, known: dict[str, str]) -> Step:
    """A recording is brought: claim it, and answer at once if the answer comes at once."""
    has_gone = request.values.get("Digits") == "hangup" or request.values.get("CallStatus") == "completed"
    is_message = bool(_number("message"))
    if not known and is_an_echo(call_sid):
        return HANG_UP
    ending = _ending(call_sid, known)
    wants_reply = not (has_gone or is_message or ending)
    key = claim(call_sid, known, wants_reply=wants_reply, is_message=is_message)
    if has_gone:
        over(call_sid, "message_left" if is_message else "caller_hung_up")
        return HANG_UP
    if is_message:
        return path(known).message_left()
    return ending or _answer(call_sid, known, key)


def _ending(call_sid: str, known: dict[str, str]) -> Step | None:
    """How the call must end now, for it has lasted or cost enough; its last words are kept all the same."""
    return allowance.ending(call_sid, known, _agent(known), path(known))


def _kept_for_later(call_sid: str, known: dict[str, str], error: RedisError) -> Step:
    """The book of turns is away: the caller leaves it at that, or at a message."""
    note_for_later(call_sid, recording_key(), error)
    if request.values.get("Digits") == "hangup":
        return HANG_UP
    return path(known).message_left() if _number("message") else path(known).unavailable()


def _patience(known: dict[str, str], key: str) -> Step:
    """The book of turns is away, perhaps for a moment only: ask again, going by the number of questions."""
    poll = _number("poll")
    return path(known).waiting(key, poll, poll * QUESTION_S, _number("silences"), _number("troubles"))


def _answer(call_sid: str, known: dict[str, str], key: str) -> Step:
    """How far a turn is: its answer, or a little more patience."""
    book, poll = turn_book(), _number("poll")
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
        return _answered(call_sid, known, outcome)
    if ending := _ending(call_sid, known):
        return ending
    if outcome.kind == "silent":
        return ours.silent(_number("silences") + 1)
    if outcome.kind in UNUSABLE:
        return ours.unusable(_number("troubles") + 1)
    part("metrics").faults.labels(f"batch_{outcome.kind}").inc()
    return ours.unavailable()


def _answered(call_sid: str, known: dict[str, str], outcome: Outcome) -> Step:
    """The answer, then what the agent's tools want of the call; a person is more than any limit."""
    ours, asked = path(known), from_json(outcome.directives)
    play_url = _speech_url(call_sid, request.args.get("turn", "") or recording_key(), outcome)
    for each in asked:
        if isinstance(each, TransferTo) and (number := _agent(known).transfer_numbers.get(each.destination)):
            return ours.transferring(each.destination, number, outcome.response, play_url)
    endings = [each.reason for each in asked if isinstance(each, EndCall)]
    return ours.answered(
        outcome.response,
        play_url,
        outcome.is_goodbye or bool(endings),
        may_be_live_again(call_sid, known),
        why=endings[0] if endings else "goodbye",
        ending=_ending(call_sid, known),
    )


def _speech_url(call_sid: str, key: str, outcome: Outcome) -> str:
    if not outcome.has_speech_file:
        return ""
    ticket = cast(Tickets, part("tickets")).issue_speech(call_sid)
    return f"{origin()}/phone/speech/{call_sid}/{key}/{ticket}"


def _number(name: str) -> int:
    """A counter that rides on the address."""
    return whole(request.args.get(name, ""), 1000)
