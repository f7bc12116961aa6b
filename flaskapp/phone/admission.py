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

from flaskapp.config import Settings
from flaskapp.phone.ai_integration import AIVoiceIntegration
from flaskapp.phone.next_step import REJECT, Step
from flaskapp.phone.registry import live_store, note, part
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
LASTS_LONGER_S = 120.0  # than a call may, at most


def refusal(call_sid: str, caller: str, *, wants_stream: bool = True) -> Step | None:
    """Why a call that comes in is refused, as the step that does it; None if it is taken.

    A call that is known already is no new one, however often it is told of.

    Args:
        caller: its number as given; of a withheld one nobody knows whose calls they are.
        wants_stream: it would take one of MAX_CALLS, which recorded calls do not.
    """
    settings = cast(Settings, part("settings"))
    if not settings.max_calls_per_caller and settings.busy != "reject":
        return None
    if "began" in live_store().recall(call_sid):
        return None
    if wants_stream and settings.busy == "reject" and _desk().why_no_stream() == "full":
        return _refused(call_sid, "full")
    who = _whose(caller)
    if not (settings.max_calls_per_caller and who):
        return None
    return None if _is_let_in(call_sid, who, settings) else _refused(call_sid, "caller_limit")


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


def _desk() -> AIVoiceIntegration:
    return cast(AIVoiceIntegration, part("desk"))


def _refused(call_sid: str, why: str) -> Step:
    """Nobody answers, but the history knows that somebody called."""
    log.warning("A call is refused: %s", why, extra={"call_sid": call_sid})
    part("metrics").webhook_rejected.labels(why).inc()
    now = datetime.now(UTC)
    caller, called = request.values.get("From", ""), request.values.get("To", "")
    ended = {
        "ended_reason": "busy",
        "outcome": "rejected",
        "status": "busy",
        "ended_at": now,
        "duration_ms": 0,
    }
    note(CallOpened(call_sid, "twilio", caller, called, "rejected", now), CallChanged(call_sid, ended, now))
    return REJECT


# ---------------------------------------------------------------------- one caller's calls


def _whose(caller: str) -> str:
    """What stands for a caller in Redis, and says his number to nobody; empty for a withheld one."""
    given = caller.strip().lower().partition(";")[0]
    if given.startswith(("sip:", "sips:", "client:")):
        identity = given
    else:
        identity = "" if re.search(r"[a-z]", given) else re.sub(r"\D", "", given)
    if not identity or identity in WITHHELD:
        return ""
    return blake2b(identity.encode(), digest_size=12).hexdigest()


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
    if age_s > lasts_s:
        return False
    began, is_over, forgotten = redis.hmget(keys.call(call_sid), "began", "is_over", "forgotten")
    return not (is_over or forgotten) and (bool(began) or age_s < BEGINS_WITHIN_S)


def _calls_of(who: str) -> str:
    """A sorted set: a caller's calls, each with the second at which it came."""
    return f"caller:{who}"


def _admitted(call_sid: str) -> str:
    """A string: whose call it is."""
    return f"admitted:{call_sid}"


def _is_away(error: RedisError, call_sid: str) -> None:
    log.warning("Redis is away: %s", type(error).__name__, extra={"call_sid": call_sid})
