"""Whether a call whose stream is over goes live again: the same for every carrier, however it asks."""

from __future__ import annotations

import logging
import time
from typing import cast

from redis.exceptions import RedisError

from flaskapp.phone.ai_integration import AIVoiceIntegration
from flaskapp.phone.registry import live_store, note, part
from flaskapp.phone.resumption import write_down

log = logging.getLogger(__name__)

#: A worker that died may have given places to so many lines of which only the history knows.
LINES_OF_A_SECOND = 10
STREAMS_PER_CALL = 2  # that never lived
BREAKS_PER_MINUTE = 5
BREAKS_WITHIN_MS = 60_000
REST_MS = 10_000  # after each time that live AI failed a call


def may_be_live(known: dict[str, str]) -> bool:
    """Whether the call shall have a stream (again): one that never lived is tried twice."""
    if known.get("wants_stream") != "1" or known.get("path") == "recorded" or known.get("state") == "ended":
        return False
    return int(known.get("streams", "0")) < STREAMS_PER_CALL and len(_breaks(known)) < BREAKS_PER_MINUTE


def may_be_live_again(call_sid: str, known: dict[str, str]) -> bool:
    """Whether a call that fell goes live again: the engine is well, and had time, more after each fall."""
    if known.get("wants_stream") != "1":
        return False
    rest_ms = REST_MS * int(known.get("falls", "0"))
    is_rested = live_store().elapsed_ms(call_sid) - int(known.get("fell_at_ms", "0")) >= rest_ms
    return is_rested and cast(AIVoiceIntegration, part("desk")).is_live_well()


def broke_off(call_sid: str, known: dict[str, str]) -> dict[str, str]:
    """The stream is gone and nobody said why: its worker died, or does not know yet."""
    live = live_store()
    log.warning("A live stream broke off", extra={"call_sid": call_sid})
    part("metrics").faults.labels("stream_broken").inc()
    write_down(call_sid, live, note)
    breaks = " ".join(str(at_ms) for at_ms in [*_breaks(known), live.elapsed_ms(call_sid)])
    live.next_position(call_sid, LINES_OF_A_SECOND)
    live.remember(call_sid, state="moving", breaks=breaks, broke_off="1")
    return {**known, "state": "moving", "breaks": breaks}


def expect(call_sid: str, *, somebody: bool, within_s: float = 0.0) -> None:
    """Whether the sweeper shall look after the call if no stream of it lives within its patience.

    Args:
        within_s: so much more patience.
    """
    try:
        if somebody:
            live_store().touch(call_sid, time.time() + within_s)
        else:
            live_store().let_go(call_sid)
    except RedisError as error:
        log.warning("Redis is away: %s", type(error).__name__, extra={"call_sid": call_sid})


def _breaks(known: dict[str, str]) -> list[int]:
    """When streams of this call broke off within the last minute, in ms of the call."""
    began = float(known.get("began", "0"))
    since_ms = (time.time() - began) * 1000 - BREAKS_WITHIN_MS
    return [at_ms for at_ms in map(int, known.get("breaks", "").split()) if at_ms >= since_ms]
