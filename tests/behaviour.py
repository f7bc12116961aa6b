"""How a fake engine acts and what it hears: politely, unless a test wants it otherwise."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

BYTES_PER_MS = 8
SILENT = {0xFF, 0x7F, 0xFE, 0x7E, 0xFD, 0x7D, 0xFC, 0x7C}


@dataclass
class Behaviour:
    """How a fake engine acts; the defaults hold a polite conversation."""

    reply_ms: int = 600
    delta_ms: int = 100
    speech_after_ms: int = 40
    silence_ms: int = 300
    hears: bool = True  # has voice activity detection of its own
    echoes: bool = False  # every frame comes straight back
    handshake_status: int = 101
    retry_after: str = ""
    updates: bool = True
    refuses_updates: int = 0
    echoed_format: str = ""
    fails_replies: int = 0
    closes_after_s: float | None = None
    closes_with: int = 1011
    hangs: bool = False  # takes the connection and never answers the handshake
    stalls: bool = False  # hears, and never replies
    stalls_after: int | None = None  # so many replies
    dies_after_ms: int | None = None  # of its first reply's audio: the connection is reset
    expires_after_s: float | None = None  # says so, and goes away
    says_first: tuple[str, ...] = ()  # messages of any kind, once its session is agreed


def strange(count: int, seed: int) -> tuple[str, ...]:
    """Events that nobody knows, with fields that nobody expects."""
    dice = random.Random(seed)
    names = ("response.thought", "rate_limits.updated", "session.brand_new", "conversation.item.added", "x")
    values = (None, 7, [], {"delta": "x"}, "?" * 50, {"id": None}, -1.5)
    return tuple(
        json.dumps({"type": dice.choice(names), "item": dice.choice(values), "delta": dice.choice(values)})
        for _ in range(count)
    )


class Vad:
    """Voice activity by the plainest rule: whatever is not mu-law silence."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._loud_ms = self._quiet_ms = 0
        self.item = ""
        self.began_ms = self.ended_ms = 0

    def hear(self, audio: bytes, total_ms: int) -> tuple[bool, bool]:
        """Whether speech began, whether it ended, with this slice."""
        ms = len(audio) // BYTES_PER_MS
        is_loud = sum(sample not in SILENT for sample in audio) > len(audio) // 2
        self._loud_ms = self._loud_ms + ms if is_loud else 0
        self._quiet_ms = 0 if is_loud else self._quiet_ms + ms
        if not self.item and self._loud_ms >= self._behaviour.speech_after_ms:
            self.began_ms = total_ms - self._loud_ms
            return True, False
        if self.item and self._quiet_ms >= self._behaviour.silence_ms:
            self.ended_ms = total_ms  # as in the real API, it includes the silence waited for
            return False, True
        return False, False
