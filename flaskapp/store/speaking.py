"""Who speaks on each live call, for whoever looks on at any worker."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from flaskapp.store import keys
from flaskapp.store.rounds import Rounds

EVERY_S = 0.2
KEPT_S = 3600  # a caller may be silent for long
WAITING = 5000  # changes, while Redis is away


class Speaking:
    """The changes are written a few times a second, all calls at once.

    Args:
        redis: a text client.
    """

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self._now: dict[str, str] = {}
        self._waiting: deque[tuple[str, str]] = deque(maxlen=WAITING)
        self._rounds = Rounds("who speaks", self._write, lambda: bool(self._waiting), EVERY_S)

    def begins(self, call_sid: str, speaker: str) -> None:
        """The "caller" or the "agent" speaks. Returns at once."""
        if self._now.get(call_sid) != speaker:
            self._now[call_sid] = speaker
            self._tell(call_sid, speaker)

    def ends(self, call_sid: str, speaker: str = "") -> None:
        """He has said his say, unless it is somebody else's turn already; empty: whoever it was."""
        if self._now.get(call_sid, "") and speaker in ("", self._now[call_sid]):
            del self._now[call_sid]
            self._tell(call_sid, "")

    def _tell(self, call_sid: str, speaker: str) -> None:
        self._waiting.append((call_sid, speaker))
        self._rounds.wake()

    def of(self, call_sids: Iterable[str]) -> dict[str, str]:
        """Who speaks on which of these calls; nobody on those that are left out.

        Raises:
            redis.exceptions.RedisError: Redis is away.
        """
        asked = list(call_sids)
        told = self._redis.mget([keys.speaks(each) for each in asked]) if asked else []
        return {call_sid: who for call_sid, who in zip(asked, told, strict=True) if who}

    def _write(self) -> None:
        batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                for call_sid, speaker in dict(batch).items():
                    if speaker:
                        pipe.set(keys.speaks(call_sid), speaker, ex=KEPT_S)
                    else:
                        pipe.delete(keys.speaks(call_sid))
                pipe.execute()
        except Exception:
            self._waiting.extendleft(reversed(batch))
            raise
