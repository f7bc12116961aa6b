"""What the live store calls its keys in Redis, how long they stay, and which of them belong to one call."""

from __future__ import annotations

from typing import Any

DAY_S = 86_400
GREETING_KEPT_S = 30 * DAY_S
#: A call's own keys, after each write. A turn that waits for AI outlives its call, and so does its audio.
CALL_KEPT_S = DAY_S
AUDIO_KEPT_S = DAY_S
TURN_KEPT_S = 8 * DAY_S
#: Of a call that nobody has begun here: a callback that came late, a script's own.
STRAY_KEPT_S = 3600
#: What a webhook that comes again may still ask for.
CLOSED_KEPT_S = 600
FORGOTTEN_S = 60

LIVE_CALLS = "calls:live"
ENDED_CALLS = "calls:ended"
OPEN_TURNS = "open-turns"
SWEEPING = "sweeping"
#: A channel, not a key: on it, the ids of calls whose transcript has grown.
FEED = "feed"


def greeting(digest: str) -> str:
    """Bytes: how the engine speaks a greeting."""
    return f"greeting:{digest}"


def call(call_sid: str) -> str:
    """A hash: what is known of the call."""
    return f"call:{call_sid}"


def lines(call_sid: str) -> str:
    """A hash: a line's item -> the line as JSON."""
    return f"lines:{call_sid}"


def feed(call_sid: str) -> str:
    """A list: the call's transcript as its readers are told of it, update by update."""
    return f"feed:{call_sid}"


def trace(call_sid: str) -> str:
    """A list: what the call's legs said to each other, message by message, as JSON."""
    return f"trace:{call_sid}"


def speaks(call_sid: str) -> str:
    """A string: who speaks on a live call, "caller" or "agent"."""
    return f"speaks:{call_sid}"


def signed_out(session_id: str) -> str:
    """A string, as long as the operator's session would have lasted."""
    return f"signed-out:{session_id}"


def attempts(party: str) -> str:
    """A string: how many wrong passwords have come from an address, for some minutes."""
    return f"attempts:{party}"


def audio(call_sid: str) -> str:
    """A stream: the caller's audio."""
    return f"audio:{call_sid}"


def turns(call_sid: str) -> str:
    """A set: the keys of the call's recorded turns."""
    return f"turns:{call_sid}"


def turn(call_sid: str, key: str) -> str:
    """A hash: one recorded turn."""
    return f"turn:{call_sid}:{key}"


def lease(call_sid: str, key: str) -> str:
    """A string: who works on the turn now."""
    return f"lease:{call_sid}:{key}"


def speech(call_sid: str, key: str) -> str:
    """Bytes: the answer to the turn as a sound file."""
    return f"speech:{call_sid}:{key}"


def member(call_sid: str, key: str) -> str:
    """How the index of open turns names a turn; neither part may contain a blank."""
    return f"{call_sid} {key}"


def forget(redis: Any, call_sid: str, seconds: int) -> bool:
    """Have everything of a call expire, unless a turn of it is still open; whether that was done.

    Args:
        redis: a text client.

    Raises:
        redis.exceptions.RedisError: Redis is away.
    """
    known = sorted(redis.smembers(turns(call_sid)))
    if _any_is_open(redis, call_sid, known):
        return False
    with redis.pipeline() as pipe:
        for name in (call(call_sid), lines(call_sid), audio(call_sid), turns(call_sid)):
            pipe.expire(name, seconds)
        for key in known:
            pipe.expire(turn(call_sid, key), seconds)
            pipe.expire(speech(call_sid, key), seconds)
        pipe.expire(feed(call_sid), max(seconds, CLOSED_KEPT_S))  # who reads along may come late
        pipe.zrem(LIVE_CALLS, call_sid)
        pipe.execute()
    return True


def erase(redis: Any, call_sid: str) -> int:
    """Delete everything of a call now: how many keys there were.

    Args:
        redis: a text client.

    Raises:
        redis.exceptions.RedisError: Redis is away.
    """
    own = [name(call_sid) for name in (call, lines, audio, feed, trace, speaks, turns)]
    for key in redis.smembers(turns(call_sid)):
        own += [name(call_sid, key) for name in (turn, lease, speech)]
    with redis.pipeline() as pipe:
        pipe.delete(*own)
        pipe.zrem(LIVE_CALLS, call_sid)
        return int(pipe.execute()[0])


def has_open_turns(redis: Any, call_sid: str) -> bool:
    """Whether words of this call are still being understood.

    Args:
        redis: a text client.

    Raises:
        redis.exceptions.RedisError: Redis is away.
    """
    return _any_is_open(redis, call_sid, sorted(redis.smembers(turns(call_sid))))


def _any_is_open(redis: Any, call_sid: str, known: list[str]) -> bool:
    with redis.pipeline(transaction=False) as pipe:
        for key in known:
            pipe.zscore(OPEN_TURNS, member(call_sid, key))
        return any(due is not None for due in pipe.execute())
