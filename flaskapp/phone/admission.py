"""Whether a new call is taken: so many of one caller at once, and so many of this worker.

A caller's calls in progress are a sorted set in Redis, shared by all workers:
each call with the second at which it came. A call that ended takes itself out;
one that nobody saw ending goes with its hash, or when no call may last so long.
"""

from __future__ import annotations

import logging
import re
import time
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, cast

from flask import request
from redis.exceptions import RedisError, WatchError
from sqlalchemy.exc import SQLAlchemyError

from flaskapp.config import Settings
from flaskapp.phone.ai_integration import AIVoiceIntegration
from flaskapp.phone.documents import LONGEST_RECORDING_S
from flaskapp.phone.next_step import HANG_UP, QUICK_WAITS, REJECT, Step
from flaskapp.phone.registry import TWILIO, is_over, live_store, note, part, whole
from flaskapp.store import keys
from flaskapp.store.history import CallChanged, CallOpened

log = logging.getLogger(__name__)

#: How carriers spell a number that is withheld, where they use no words: the words on a telephone's keys
#: (+266696687 is "anonymous"). Source: Twilio's help pages on calls from strange numbers.
_KEYS = str.maketrans("abcdefghijklmnopqrstuvwxyz", "22233344455566677778889999")
WITHHELD = {
    word.translate(_KEYS)
    for word in ("anonymous", "restricted", "blocked", "unknown", "unavailable", "private")
}
RACES = 20  # others may be quicker so often before we give up
BEGINS_WITHIN_S = 30.0  # a call that was let in has a hash so soon
RINGS_FOR_S = 120.0  # a call of which nothing else was heard for so long is none any more
LASTS_LONGER_S = 120.0  # than a call may, at most
REFUSED_KEPT_S = 3600  # no carrier tells of a call again after so long


def looked_up(call_sid: str) -> tuple[dict[str, str], Step | None]:
    """A call comes in: what is known of it, and ``answered_before``; one question to Redis."""
    live = live_store()
    try:
        with live.redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(keys.call(call_sid))
            pipe.exists(_refusal(call_sid))
            known, was_refused = pipe.execute()
    except RedisError as error:
        _is_away(error, call_sid)
        known, was_refused = live.recall(call_sid), 0
    return dict(known), REJECT if was_refused else _answer_at_its_end(call_sid, known)


def answered_before(call_sid: str) -> Step | None:
    """What a call that is over is answered with when it is told of again; None for one that is not.

    One that was refused is refused again, whatever room there is by now.
    """
    return looked_up(call_sid)[1]


def _answer_at_its_end(call_sid: str, known: dict[str, str]) -> Step | None:
    if not is_over(call_sid, known):
        return None
    try:
        row = part("history").call(call_sid)
    except SQLAlchemyError:
        row = None
    return REJECT if row and row["ended_reason"] == "busy" else HANG_UP


def refusal(
    call_sid: str, caller: str, called: str = "", *, wants_stream: bool = True, carrier: str = TWILIO
) -> Step | None:
    """Why a call that comes in is refused, as the step that does it; None if it is taken.

    A call that is known already is no new one, however often it is told of.

    Args:
        caller: its number as given; of a withheld one nobody knows whose calls they are.
        called: the number that was dialled, for the books.
        wants_stream: it would take one of MAX_CALLS, which recorded calls do not.
    """
    settings = cast(Settings, part("settings"))
    if not settings.max_calls_per_caller and settings.busy != "reject":
        return None
    if "began" in live_store().recall(call_sid):
        return None
    if (
        wants_stream
        and settings.busy == "reject"
        and not _is_answered()
        and _desk().why_no_stream() == "full"
    ):
        return _refused(call_sid, "full", carrier, caller, called)
    who = _whose(caller)
    if not (settings.max_calls_per_caller and who):
        return None
    if _is_let_in(call_sid, who, settings):
        return None
    return _refused(call_sid, "caller_limit", carrier, caller, called)


def goes_on(call_sid: str, known: dict[str, str]) -> None:
    """Something was heard of a recorded call: from now on it counts until it is over."""
    if known and "was_heard_of" not in known and cast(Settings, part("settings")).max_calls_per_caller:
        live_store().remember(call_sid, was_heard_of="1")


def release(call_sid: str) -> None:
    """A call is over: its caller may call again. Harmless for calls that were never counted."""
    if not cast(Settings, part("settings")).max_calls_per_caller:
        return
    redis = live_store().redis
    try:
        who = redis.get(_admitted(call_sid))
        if who:
            with redis.pipeline() as pipe:
                pipe.zrem(_calls_of(who), call_sid)
                pipe.delete(_admitted(call_sid))
                pipe.execute()
    except RedisError as error:  # then it goes with its hash
        _is_away(error, call_sid)


def _is_answered() -> bool:
    """Whether the caller was told to wait before he came to us: who was answered cannot be rejected."""
    return whole(request.args.get("wait", ""), 1000) > QUICK_WAITS


def _desk() -> AIVoiceIntegration:
    return cast(AIVoiceIntegration, part("desk"))


def _refused(call_sid: str, why: str, carrier: str, caller: str, called: str) -> Step:
    """Nobody answers, but the history knows that somebody called."""
    log.warning("A call is refused: %s", why, extra={"call_sid": call_sid})
    part("metrics").webhook_rejected.labels(why).inc()
    try:
        live_store().redis.set(_refusal(call_sid), why, ex=REFUSED_KEPT_S)
    except RedisError as error:  # then its row says so, soon
        _is_away(error, call_sid)
    now = datetime.now(UTC)
    ended = {
        "ended_reason": "busy",
        "outcome": "rejected",
        "status": "busy",
        "ended_at": now,
        "duration_ms": 0,
    }
    note(CallOpened(call_sid, carrier, caller, called, "rejected", now), CallChanged(call_sid, ended, now))
    return REJECT


# ---------------------------------------------------------------------- one caller's calls


def _whose(caller: str) -> str:
    """What stands for a caller in Redis, and says his number to nobody; empty for a withheld one."""
    identity = _identity(caller.strip().lower().partition(";")[0])
    return blake2b(identity.encode(), digest_size=12).hexdigest() if identity else ""


def _identity(given: str) -> str:
    """One spelling of a caller: an international number's digits, else an address as it is."""
    scheme, _, rest = given.partition(":")
    if scheme == "client":
        return given
    if scheme in ("sip", "sips"):
        user, _, host = rest.partition("@")
        user = user.partition(":")[0]
        is_withheld = user.translate(_KEYS) in WITHHELD or host.endswith(".invalid")
        is_number = re.fullmatch(r"\+[\d.() -]{7,}", user)
        return "" if is_withheld else re.sub(r"\D", "", user) if is_number else given
    number = rest if scheme == "tel" else given
    digits = "" if re.search(r"[a-z]", number) else re.sub(r"\D", "", number)
    if digits.startswith("00") and len(digits) >= len("001234567"):  # no country's code begins with a zero
        digits = digits[2:]
    return "" if digits in WITHHELD else digits


def _is_let_in(call_sid: str, who: str, settings: Settings) -> bool:
    """Whether the caller has a call to spare; a Redis that is away refuses nobody."""
    lasts_s = settings.max_call_seconds + LASTS_LONGER_S
    try:
        for _ in range(RACES):
            told = _try_to_let_in(call_sid, who, settings.max_calls_per_caller, lasts_s)
            if told is not None:
                return told
    except RedisError as error:
        _is_away(error, call_sid)
    return True


def _try_to_let_in(call_sid: str, who: str, most: int, lasts_s: float) -> bool | None:
    """Whether it is let in; None if another call of the same caller came or went just now."""
    redis, now = live_store().redis, time.time()
    with redis.pipeline() as pipe:
        pipe.watch(_calls_of(who))
        known = dict(pipe.zrange(_calls_of(who), 0, -1, withscores=True))
        known.pop(call_sid, None)
        gone = [sid for sid, since in known.items() if not _goes_on(redis, sid, now - since, lasts_s)]
        if len(known) - len(gone) >= most:
            return False
        pipe.multi()
        if gone:
            pipe.zrem(_calls_of(who), *gone)
        pipe.zadd(_calls_of(who), {call_sid: now}, nx=True)
        pipe.expire(_calls_of(who), keys.CALL_KEPT_S)
        pipe.set(_admitted(call_sid), who, ex=keys.CALL_KEPT_S)
        try:
            pipe.execute()
        except WatchError:
            return None
    return True


def _goes_on(redis: Any, call_sid: str, age_s: float, lasts_s: float) -> bool:
    """Whether a caller's call is still in progress, as far as anybody knows."""
    fields = ("began", "is_over", "forgotten", "path", "state", "needs_fallback", "was_heard_of", "carrier")
    known = dict(zip(fields, redis.hmget(keys.call(call_sid), *fields), strict=True))
    is_ours = known["needs_fallback"] == "1" and (known["carrier"] or TWILIO) == TWILIO  # others have flows
    has_ended = known["path"] == "live" and known["state"] == "ended" and not is_ours
    if age_s > lasts_s or known["is_over"] or known["forgotten"] or has_ended:
        return False
    if not known["began"]:
        return age_s < BEGINS_WITHIN_S
    if known["was_heard_of"] or (known["state"] or "ringing") != "ringing":
        return True
    is_recorded = known["path"] == "recorded"  # nothing is heard of it until the first recording ends
    return age_s < RINGS_FOR_S + (LONGEST_RECORDING_S if is_recorded else 0)


def _calls_of(who: str) -> str:
    """A sorted set: a caller's calls, each with the second at which it came."""
    return f"caller:{who}"


def _admitted(call_sid: str) -> str:
    """A string: whose call it is."""
    return f"admitted:{call_sid}"


def _refusal(call_sid: str) -> str:
    """A string: why a call was refused."""
    return f"refused:{call_sid}"


def _is_away(error: RedisError, call_sid: str) -> None:
    log.warning("Redis is away: %s", type(error).__name__, extra={"call_sid": call_sid})
