"""How a fake engine acts and what it hears: politely, unless a test wants it otherwise."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field

BYTES_PER_MS = 8
SILENT = {0xFF, 0x7F, 0xFE, 0x7E, 0xFD, 0x7D, 0xFC, 0x7C}


@dataclass(frozen=True)
class ToolUse:
    """A function that a reply calls; ``arguments`` is sent as it is, valid JSON or not."""

    name: str
    arguments: str = "{}"


@dataclass(frozen=True)
class Turn:
    """One reply as a test scripts it.

    Attributes:
        says: its words; None for the session's ordinary ones, "" for a reply without speech.
        calls: the functions it calls, in order, each an item of its own after the speech.
        ms: how long its speech is; None for the behaviour's ``reply_ms``.
        calls_first: the functions come before the speech.
    """

    says: str | None = None
    calls: tuple[ToolUse, ...] = ()
    ms: int | None = None
    calls_first: bool = False


@dataclass(frozen=True)
class Usage:
    """What each response is said to have used, in tokens; ``audio_out_per_s`` for each second of the
    session as well, told with the next response that is done."""

    text_in: int = 4
    audio_in: int = 6
    text_out: int = 5
    audio_out: int = 15
    audio_out_per_s: float = 0.0


def billing(usd_per_minute: float, usd_per_million: float) -> Usage:
    """A session that costs so much a minute, where a million tokens of spoken output cost so much."""
    return Usage(0, 0, 0, 0, audio_out_per_s=usd_per_minute / 60 / usd_per_million * 1e6)


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
    refuses_tools: bool = False  # every session.update that has some
    echoed_format: str = ""
    fails_replies: int = 0
    closes_after_s: float | None = None
    closes_with: int = 1011
    hangs: bool = False  # takes the connection and never answers the handshake
    stalls: bool = False  # hears, and never replies
    stalls_after: int | None = None  # so many replies
    dies_after_ms: int | None = None  # of its first reply's audio: the connection is reset
    expires_after_s: float | None = None  # tells so in session.created; then says so, and goes away
    says_first: tuple[str, ...] = ()  # messages of any kind, once its session is agreed
    turns: tuple[Turn, ...] = ()  # its replies to what a caller says, one each; then ordinary ones
    creates: tuple[Turn, ...] = ()  # its replies to response.create, one each; then ordinary ones
    pace: float = 0.0  # generates so many times faster than it sounds; 0: all at once
    numbers_replies: bool = False  # "reply 3 of session 0", so that each is another
    usage: Usage = field(default_factory=Usage)


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
