"""The calls that go on right now, at whatever worker: from Redis, where all of them leave their signs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from flaskapp.store import keys
from flaskapp.store.feed_book import unpacked
from flaskapp.store.feed_order import Update
from flaskapp.store.speaking import Speaking

#: A worker gives a sign of each live call every second.
SIGNS_WITHIN_S = 15.0
RINGS_FOR_S = 60.0
MOST = 200
#: A line begins without words: so many updates are looked at for the latest that has some.
LATEST = 8
OVER = {"ended"}
#: What a state of the live store is called; a recorded call has none.
STATES = {
    "live": "live",
    "moving": "moving to another worker",
    "transferring": "being handed over",
    "dialling": "being handed over",
    "ringing": "ringing",
}


@dataclass(frozen=True)
class ActiveCall:
    """One call that goes on.

    Attributes:
        began: seconds since 1970; 0.0 if nobody knows.
        mode: "live" or "recorded".
        state: what it does now, in words.
        speaks: "caller", "agent" or nobody.
        line, speaker: what was said last, and by whom.
    """

    call_sid: str
    began: float
    carrier: str
    caller: str
    called: str
    mode: str
    state: str
    speaks: str = ""
    line: str = ""
    speaker: str = ""


class ActiveCalls:
    """Reads only; ``lasts_s``: longer no call may last.

    Args:
        redis: a text client.
        now: seconds since 1970.
    """

    def __init__(self, redis: Any, now: Callable[[], float], lasts_s: float) -> None:
        self._redis, self._now, self._lasts_s = redis, now, lasts_s
        self._speaking = Speaking(redis)

    def list(self, others: Iterable[str] = ()) -> list[ActiveCall]:
        """The newest first. ``others``: calls that may go on beside those that are live.

        Raises:
            redis.exceptions.RedisError: Redis is away.
        """
        now = self._now()
        alive = self._redis.zrangebyscore(keys.LIVE_CALLS, now - SIGNS_WITHIN_S, "+inf", 0, MOST)
        asked = list(dict.fromkeys([*alive, *others]))[:MOST]
        with self._redis.pipeline(transaction=False) as pipe:
            for call_sid in asked:
                pipe.hgetall(keys.call(call_sid))
                pipe.lrange(keys.feed(call_sid), -LATEST, -1)
            answers = pipe.execute()
        known = {sid: (answers[2 * at], answers[2 * at + 1]) for at, sid in enumerate(asked)}
        on = {sid: told for sid, told in known.items() if self._goes_on(told[0], sid in alive, now)}
        who = self._speaking.of(on)
        calls = [_call(sid, fields, feed, who.get(sid, "")) for sid, (fields, feed) in on.items()]
        return sorted(calls, key=lambda call: call.began, reverse=True)

    def _goes_on(self, fields: dict[str, str], is_alive: bool, now: float) -> bool:
        state = fields.get("state", "")
        if not fields or "is_over" in fields or "forgotten" in fields:
            return False
        if state in OVER and fields.get("needs_fallback") != "1":
            return False
        if state == "live":
            return is_alive
        age_s = now - float(fields.get("began") or 0)
        has_begun = state not in ("", "ringing") or fields.get("path") == "recorded"
        return age_s < (self._lasts_s if has_begun else RINGS_FOR_S)


def _call(call_sid: str, fields: dict[str, str], feed: list[str], speaks: str) -> ActiveCall:
    state, is_recorded = fields.get("state", ""), fields.get("path") == "recorded"
    is_live = state == "live"
    update = _latest(feed)
    return ActiveCall(
        call_sid,
        float(fields.get("began") or 0),
        fields.get("carrier", ""),
        fields.get("caller", ""),
        fields.get("called", ""),
        "recorded" if is_recorded and not is_live else "live",
        STATES.get(state, "recording" if is_recorded else "ringing"),
        speaks if is_live else "",
        update.text if update else "",
        update.speaker if update else "",
    )


def _latest(feed: list[str]) -> Update | None:
    """What was said last: who has only begun to speak has said nothing yet."""
    updates = (unpacked(raw).update for raw in reversed(feed))
    return next((update for update in updates if update and update.text), None)
