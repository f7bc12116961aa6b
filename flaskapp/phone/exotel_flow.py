"""What an Exotel flow does next with a caller whose stream is over: each end is decided once.

A flow cannot be told what to do, but its Passthru applets ask, one question
after the other, and branch. So what follows is decided at the first question,
the call's books are closed where it leaves us, and all questions about the same
end of a stream are answered by that decision, for ten minutes. While a stream
lives nothing is decided: its flow has not come to an end that we know of.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

from redis.exceptions import RedisError, WatchError

from flaskapp.phone.admission import answered_before
from flaskapp.phone.carriers.exotel import ExotelStream
from flaskapp.phone.carriers.exotel_passthru import Passthru
from flaskapp.phone.going_on import broke_off
from flaskapp.phone.leaving import close, goes_on, leaves
from flaskapp.phone.leftovers import HANDED_OVER, TRANSFERRED
from flaskapp.phone.registry import begin, known_call, live_store, note
from flaskapp.store import keys
from flaskapp.store.history import EventHappened

log = logging.getLogger(__name__)

EXOTEL = ExotelStream.name
HANG_UP, RESUME, TRANSFER, RECORD = "hang_up", "resume", "transfer", "record"
#: The questions, and what the answer yes to each means.
QUESTIONS = {"over": HANG_UP, "resume": RESUME, "transfer": TRANSFER}
GONE = "caller_hung_up"
RECORDING = "recording"
HANDSHAKES_S = 20.0  # Exotel tries twice, ten seconds each: so much later may a stream come
ALONE_MS = 3000
LOOKS_AGAIN_S = 0.05
LIVES_S = 2.5  # a worker gives a sign of each of its calls every second
#: So long after a caller was sent to a stream, the first question tells that none came about.
SENT_S = 15.0


@dataclass(frozen=True)
class Decision:
    """What follows the end of one stream.

    Attributes:
        stream_sid, status: which one it was, and how it ended, in the flow's words; empty if it did not say.
        destination: to whom the agent hands the caller: a name in its configuration.
        leg, end: the call's last leg, and how it stood when this was decided.
        sent_at: when the caller was sent to another stream, in seconds since 1970; 0.0 if he was not.
        told: what the history knows already: the questions that were asked, and recordings.
    """

    next: str
    stream_sid: str = ""
    status: str = ""
    destination: str = ""
    leg: str = ""
    end: str = ""
    sent_at: float = 0.0
    told: tuple[str, ...] = ()


def answer(call_sid: str, ask: str, report: Passthru, to: str = "") -> tuple[bool, str]:
    """One question of a flow's: yes or no, and what is to follow.

    Args:
        ask: one of ``QUESTIONS``.
        to: asked with "transfer": only whether the caller is handed to this person.
    """
    known = live_store().recall(call_sid)
    if known.get("listens") == "1" and known.get("state") == "live":
        return False, RECORD  # its flow went on while we listen: there is nothing to be decided
    if _lives(call_sid, known, report):
        return ask == "resume", RESUME
    with _alone(call_sid) as is_alone:
        decision, known = _decided(call_sid), live_store().recall(call_sid)
        if decision is None or (is_alone and _is_outdated(decision, known, ask, report)):
            decision = _decide(call_sid, known, report)
        is_left = bool(report.recording_url) and not report.tells_of_stream  # a voicemail: it is over
        is_yes = QUESTIONS[ask] == (HANG_UP if is_left else decision.next)
        is_yes = is_yes and (not to or to == decision.destination)
        if is_yes and ask == "resume" and not decision.sent_at:
            decision = replace(decision, sent_at=time.time())
        _keep(call_sid, _noted(call_sid, decision, ask, is_yes, report))
    return is_yes, decision.next


def is_exotels(known: Mapping[str, str]) -> bool:
    """Whether a call, if there is one, is not another carrier's: its flow has no say in those."""
    return known.get("carrier", EXOTEL) == EXOTEL


def begins_anew(call_sid: str, stream_sid: str) -> None:
    """A stream of this call lives: its end will be another one.

    Args:
        stream_sid: as its end will be reported; empty if the carrier gave it no name.
    """
    try:
        live_store().redis.delete(_key(call_sid))
    except RedisError as error:
        _is_away(error, call_sid)
    live_store().remember(call_sid, decided="", stream=stream_sid)


# ---------------------------------------------------------------------- the decision


def _lives(call_sid: str, known: Mapping[str, str], report: Passthru) -> bool:
    """Whether a stream of this call goes on, as far as its worker's signs and the flow's report say."""
    if known.get("state") != "live" or known.get("is_over"):
        return False
    seen = live_store().last_sign(call_sid)
    if seen is None or time.time() - seen > LIVES_S:
        return False
    its = known.get("stream", "")
    is_about_another = bool(report.stream_sid and its and report.stream_sid != its)
    return is_about_another or not (report.status or report.disconnected_by)


def _decide(call_sid: str, known: Mapping[str, str], report: Passthru) -> Decision:
    follows, destination = _what_follows(call_sid, report)
    return Decision(
        follows,
        stream_sid=report.stream_sid,
        status=report.status,
        destination=destination,
        leg=known.get("leg", ""),
        end=_end_of(live_store().recall(call_sid)),
    )


def _what_follows(call_sid: str, report: Passthru) -> tuple[str, str]:
    """As a Twilio call's document after the stream does, and to whom: ``routes.stream_ended``."""
    known = known_call(call_sid)
    if not known:
        if answered_before(call_sid) is not None:
            return HANG_UP, ""
        known = _never_came(call_sid, report)
    if report.caller_is_gone:
        close(call_sid, known, GONE)
        return HANG_UP, ""
    state = known.get("state", "")
    if known.get("is_over") or (state == "ended" and known.get("needs_fallback") != "1"):
        close(call_sid, known, "")
        return HANG_UP, ""
    if state == "transferring":
        leaves(call_sid, known, TRANSFERRED, EXOTEL)
        return TRANSFER, known.get("destination", "")
    if state == "live":
        known = broke_off(call_sid, known)
    if goes_on(call_sid, known, HANDSHAKES_S):
        return RESUME, ""
    leaves(call_sid, known, HANDED_OVER, EXOTEL)
    return RECORD, ""


def _never_came(call_sid: str, report: Passthru) -> dict[str, str]:
    """A call of which only the flow knows: its handshake failed, before anybody said whose it was."""
    known = begin(call_sid, "live", EXOTEL, report.caller, report.called)
    live_store().remember(call_sid, wants_stream="1", state="ringing")
    live_store().count(call_sid, "streams")
    return {**known, "wants_stream": "1", "state": "ringing", "streams": "1"}


# ---------------------------------------------------------------------- kept, and told once


def _is_outdated(decision: Decision, known: Mapping[str, str], ask: str, report: Passthru) -> bool:
    """Whether the question is about another end than the one that was decided.

    After a stream that lived since, always. Who has left us has; of a caller who was sent to a stream that
    never lived, the next report tells by another name or status, or his flow by beginning to ask again.
    """
    if known.get("leg", decision.leg) != decision.leg:
        return True
    if decision.next != RESUME:
        return False
    has_ended = known.get("state") in ("ended", "transferring") and _end_of(known) != decision.end
    if known.get("is_over") or has_ended:  # its worker lived after all, and told how it ended
        return True
    pairs = ((report.stream_sid, decision.stream_sid), (report.status, decision.status))
    if any(said and decided and said != decided for said, decided in pairs):
        return True
    return ask == "over" and 0 < decision.sent_at < time.time() - SENT_S


def _end_of(known: Mapping[str, str]) -> str:
    return " ".join(known.get(name, "") for name in ("state", "reason", "falls"))


def _noted(call_sid: str, decision: Decision, ask: str, is_yes: bool, report: Passthru) -> Decision:
    """Tell the history what was asked and answered, and of recordings: each of them once."""
    told: list[str] = []
    at_ms = live_store().elapsed_ms(call_sid)
    if ask not in decision.told:
        told.append(ask)
        detail = {"asked": ask, "answered": is_yes, "next": decision.next}
        about = {"status": report.status, "by": report.disconnected_by, "error": report.error[:200]}
        detail |= {name: said for name, said in about.items() if said}
        note(EventHappened(call_sid, at_ms, "passthru", detail))
        log.info("The flow asks %s: %s", ask, decision.next, extra={"call_sid": call_sid})
    if report.recording_url and report.recording_url not in decision.told:
        told.append(report.recording_url)  # of its account's, and not ours to fetch
        note(EventHappened(call_sid, at_ms, RECORDING, {"url": report.recording_url[:500]}))
    return replace(
        decision,
        stream_sid=decision.stream_sid or report.stream_sid,
        status=decision.status or report.status,
        told=(*decision.told, *told),
    )


def _key(call_sid: str) -> str:
    """A string: the decision, as JSON."""
    return f"exotel-flow:{call_sid}"


def _keep(call_sid: str, decision: Decision) -> None:
    text = json.dumps(asdict(decision))
    try:
        live_store().redis.set(_key(call_sid), text, ex=keys.CLOSED_KEPT_S)
    except RedisError as error:  # then this worker remembers
        _is_away(error, call_sid)
        live_store().remember(call_sid, decided=text)


def _decided(call_sid: str) -> Decision | None:
    try:
        text = live_store().redis.get(_key(call_sid))
    except RedisError as error:
        _is_away(error, call_sid)
        text = live_store().recall(call_sid).get("decided")
    if not text:
        return None
    kept = json.loads(text)
    return Decision(**{**kept, "told": tuple(kept["told"])})


@contextmanager
def _alone(call_sid: str) -> Iterator[bool]:
    """One question of a call at a time, whichever workers they reach; nobody waits longer than three seconds.

    Yields:
        False for one that waited in vain: what is decided already counts for it, however old it is, and
        only where nothing is decided at all does it decide by itself. Without Redis all are alone.
    """
    redis, lock, mine = live_store().redis, f"{_key(call_sid)}:lock", secrets.token_hex(8)
    is_alone, until = False, time.monotonic() + ALONE_MS / 1000
    try:
        while not (is_alone := bool(redis.set(lock, mine, nx=True, px=ALONE_MS))):
            if time.monotonic() >= until:
                log.warning("A flow's questions wait for each other", extra={"call_sid": call_sid})
                break
            time.sleep(LOOKS_AGAIN_S)
    except RedisError as error:
        _is_away(error, call_sid)
        is_alone = True
    try:
        yield is_alone
    finally:
        if is_alone:
            _let_go(lock, mine, call_sid)


def _let_go(lock: str, mine: str, call_sid: str) -> None:
    """Only what is ours still: who took longer than a lock lasts must not end another's."""
    try:
        with live_store().redis.pipeline() as pipe:
            pipe.watch(lock)
            if pipe.get(lock) == mine:
                pipe.multi()
                pipe.delete(lock)
                pipe.execute()
    except WatchError:
        pass  # it went just now
    except RedisError as error:
        _is_away(error, call_sid)


def _is_away(error: RedisError, call_sid: str) -> None:
    log.warning("Redis is away: %s", type(error).__name__, extra={"call_sid": call_sid})
