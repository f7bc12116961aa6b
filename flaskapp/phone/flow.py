"""What a keeper takes from a live call, from another thread: audio, lines, what else must not be lost."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

from flaskapp.phone.agent_track import AgentTrack
from flaskapp.phone.audio import to_telephone
from flaskapp.phone.call import Call
from flaskapp.phone.consent import heard_at_ms
from flaskapp.phone.payloads import decoded
from flaskapp.phone.transcript import Line


class Flow:
    """One leg's; ``keeps`` is called before its bridge runs, if anybody keeps anything.

    Attributes:
        consent: what the agent has to have said before any sound is kept.
        hides_digits: numbers are masked in all that is kept and told.
    """

    __slots__ = (
        *("_clock", "_consented_ms", "_has_news", "_lines", "_memo", "call", "consent", "hides_digits"),
    )

    def __init__(self, call: Call, clock: Callable[[], float]) -> None:
        self.call, self._clock = call, clock
        self._lines: list[Line] | None = None
        self._memo: dict[str, Any] = {}
        self._has_news = True
        self.consent, self.hides_digits = "", False
        self._consented_ms: int | None = None

    def is_still(self) -> bool:
        """Whether nothing that a keeper takes can have changed since this was last asked."""
        has_news, self._has_news = self._has_news, False
        track = self.call.talk.playout.track
        return not has_news and (track is None or track.is_empty)

    def settle(self) -> None:
        """Let the call know all that has happened by now."""

    def keeps(self, both_sides: bool = False) -> None:
        """From now on what a keeper wants to have is kept until it takes it; call this before ``run``.

        Args:
            both_sides: what the agent says, too (``take_heard``).
        """
        self._lines, self.call.intake.flow = [], []
        if both_sides:
            self.call.talk.playout.track = AgentTrack()

    def take_audio(self) -> tuple[int, bytes] | None:
        """The caller's audio since the last time: where it begins in the call (ms), and mu-law at 8 kHz."""
        self.settle()
        intake = self.call.intake
        if not (taken := _taken(intake.flow)):
            return None
        start_ms = intake.flow_from_ms
        intake.flow_from_ms += sum([audio.duration_ms for audio in taken])
        pieces = decoded([audio.payload for audio in taken])
        return self.call.talk.base_ms + round(start_ms), to_telephone(b"".join(pieces), intake.audio_format)

    def take_heard(self) -> list[tuple[int, bytes]]:
        """What the caller has heard since the last time, stretch by stretch, as ``take_audio`` has it."""
        talk, audio_format = self.call.talk, self.call.intake.audio_format
        if talk.playout.track is None:
            return []
        at = self._clock() - self.call.began
        taken = talk.playout.track.take(at, talk.playout.lag, audio_format)
        return [(talk.ms(begins_at), to_telephone(sound, audio_format)) for begins_at, sound in taken]

    @property
    def silence_ms(self) -> float:
        """How much less caller audio was taken than time had passed when the last of it came."""
        talk, intake = self.call.talk, self.call.intake
        return (intake.last_at - talk.began_at) * 1000 - intake.flow_from_ms

    @property
    def kept_from_ms(self) -> int | None:
        """Sound may be kept from there on (ms of the call): the caller knows of it. None: not yet."""
        if not self.consent:
            return 0
        if self._consented_ms is None:
            transcript = self.call.talk.transcript
            lines = (*transcript.past, *tuple(transcript.lines.values()))
            self._consented_ms = heard_at_ms(self.consent, lines)
        return self._consented_ms

    def take_lines(self) -> list[Line]:
        """The transcript's lines that are new or have changed since the last time, each as it is now."""
        return list({line.item_id: line for line in _taken(self._lines)}.values())

    def take_memo(self) -> dict[str, Any] | None:
        """What the call's next leg must know beside its lines, if that has changed since the last time."""
        memo = self.call.memo()
        if memo == self._memo:
            return None
        self._memo = memo
        return memo

    @property
    def cost_usd(self) -> float:
        """What this leg has cost so far."""
        return self.call.leg_cost_usd

    @property
    def usage(self) -> dict[str, Any]:
        """What this leg has used so far."""
        return dict(self.call.talk.usage)

    @property
    def base_ms(self) -> int:
        """Where in the call this leg begins."""
        return self.call.talk.base_ms

    @property
    def heard_until_ms(self) -> int:
        """All caller audio before this has reached a transcript, or was silence to the engine."""
        self.settle()
        return self.call.heard_until_ms(self._clock())


def _taken(flow: list[Any] | None) -> list[Any]:
    """All that is in it, while others may add to it, or take the oldest away."""
    taken: list[Any] = []
    if flow:
        with contextlib.suppress(IndexError):  # that was all
            taken.extend(iter(partial(flow.pop, 0), None))
    return taken
