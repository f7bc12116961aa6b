"""Greetings as the engine spoke them: kept in Redis for all workers, so that callers hear them at once."""

from __future__ import annotations

import base64
import logging
from hashlib import blake2b
from typing import Any

from redis.exceptions import RedisError

from flaskapp.phone.audio import BYTES_PER_MS
from flaskapp.phone.playout import Clip
from flaskapp.store import keys
from flaskapp.store.live import Connections

log = logging.getLogger(__name__)

AT_HAND = 200
LONGEST_MS = 30_000


class Greetings:
    """One worker's way to them. What a greeting depends on is its key: format, agent, words, voice, model."""

    def __init__(self, connections: Connections) -> None:
        self._redis: Any = connections.raw
        self._at_hand: dict[str, Clip] = {}

    def find(self, audio_format: str, *depends_on: str) -> Clip | None:
        """How the engine spoke this greeting; None if nobody has kept that, or Redis is away."""
        name = keys.greeting(_digest((*depends_on, audio_format)))
        if name in self._at_hand:
            return self._at_hand[name]
        try:
            sound = self._redis.get(name)
        except RedisError as error:
            log.warning("Redis is away: %s", error)
            return None
        return self._at_hands(name, sound, audio_format) if sound else None

    def keep(self, sound: bytes, audio_format: str, *depends_on: str) -> None:
        """This is how the engine spoke it, in that format of its own."""
        if len(sound) > LONGEST_MS * BYTES_PER_MS[audio_format]:
            return
        name = keys.greeting(_digest((*depends_on, audio_format)))
        self._at_hands(name, sound, audio_format)
        try:
            self._redis.set(name, sound, ex=keys.GREETING_KEPT_S)
        except RedisError as error:
            log.warning("Redis is away: %s", error)

    def _at_hands(self, name: str, sound: bytes, audio_format: str) -> Clip:
        clip = Clip(base64.b64encode(sound), len(sound) / BYTES_PER_MS[audio_format])
        if len(self._at_hand) >= AT_HAND:
            self._at_hand.pop(next(iter(self._at_hand)), None)
        self._at_hand[name] = clip
        return clip


def _digest(parts: tuple[str, ...]) -> str:
    return blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
