"""Greetings as the engine spoke them: kept in Redis for all workers, so that callers hear them at once."""

from __future__ import annotations

import base64
import logging
from hashlib import blake2b
from typing import Any

from redis.exceptions import RedisError

from flaskapp.phone.audio import MULAW_BYTES_PER_MS
from flaskapp.phone.playout import Clip
from flaskapp.store import keys
from flaskapp.store.live import Connections

log = logging.getLogger(__name__)

AT_HAND = 200
LONGEST_BYTES = 30_000 * MULAW_BYTES_PER_MS


class Greetings:
    """One worker's way to them. What a greeting depends on is its key: agent, words, voice, model, codec."""

    def __init__(self, connections: Connections) -> None:
        self._redis: Any = connections.raw
        self._at_hand: dict[str, Clip] = {}

    def find(self, *depends_on: str) -> Clip | None:
        """How the engine spoke this greeting; None if nobody has kept that, or Redis is away."""
        name = keys.greeting(_digest(depends_on))
        if name in self._at_hand:
            return self._at_hand[name]
        try:
            mulaw = self._redis.get(name)
        except RedisError as error:
            log.warning("Redis is away: %s", error)
            return None
        return self._at_hands(name, mulaw) if mulaw else None

    def keep(self, mulaw: bytes, *depends_on: str) -> None:
        """This is how the engine spoke it: mu-law at 8 kHz."""
        if len(mulaw) > LONGEST_BYTES:
            return
        name = keys.greeting(_digest(depends_on))
        self._at_hands(name, mulaw)
        try:
            self._redis.set(name, mulaw, ex=keys.GREETING_KEPT_S)
        except RedisError as error:
            log.warning("Redis is away: %s", error)

    def _at_hands(self, name: str, mulaw: bytes) -> Clip:
        clip = Clip(base64.b64encode(mulaw), len(mulaw) / MULAW_BYTES_PER_MS)
        if len(self._at_hand) >= AT_HAND:
            self._at_hand.pop(next(iter(self._at_hand)), None)
        self._at_hand[name] = clip
        return clip


def _digest(parts: tuple[str, ...]) -> str:
    return blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
