"""One leg of a call as it goes to the call's kept audio: both sides, each at its place in the call."""

from __future__ import annotations

import secrets
from typing import Protocol

from flaskapp.phone.audio import MULAW_BYTES_PER_MS
from flaskapp.store.audio_parts import split
from flaskapp.store.call_audio import AGENT, CALLER, CallAudio, Piece

#: A stream that brings so much less than time passes, twice in a row, has left something out.
GAP_MS = 400.0


class Sounds(Protocol):
    """A live call's bridge, as a tape sees it (``flow.py``)."""

    def take_heard(self) -> list[tuple[int, bytes]]:
        """What the caller heard since the last time: stretches of mu-law, and where they begin (ms)."""

    @property
    def silence_ms(self) -> float:
        """How much less audio the caller's stream brought than time has passed."""

    @property
    def kept_from_ms(self) -> int | None:
        """From here on sound may be kept; None: not yet."""


class Tape:
    """Of a leg that is followed; asked once a second, beside the audio's path."""

    def __init__(self, audio: CallAudio, call_sid: str) -> None:
        self._audio, self._call_sid, self._part = audio, call_sid, secrets.token_hex(8)
        self._left_out_ms = self._before_ms = 0.0

    def take(self, source: Sounds, taken: tuple[int, bytes] | None) -> None:
        """Everything that is new.

        Args:
            taken: the caller's audio, as it was just taken from the source.
        """
        heard, from_ms = source.take_heard(), source.kept_from_ms
        pieces: list[Piece] = []
        if taken is not None:
            self._notice_gap(source.silence_ms)
            pieces += split(CALLER, taken[0] + round(self._left_out_ms), taken[1])
        for start_ms, mulaw in heard:
            pieces += split(AGENT, start_ms, mulaw)
        if from_ms is not None:
            self._audio.keep(self._call_sid, self._part, _since(from_ms, pieces))

    def _notice_gap(self, silence_ms: float) -> None:
        """A caller whose stream rests while he is silent is heard where he speaks again."""
        least_ms = min(silence_ms, self._before_ms)
        if least_ms > self._left_out_ms + GAP_MS:
            self._left_out_ms = least_ms
        self._before_ms = silence_ms


def _since(from_ms: int, pieces: list[Piece]) -> list[Piece]:
    """What lies behind a moment."""
    kept = []
    for piece in pieces:
        early_ms = max(from_ms - piece.start_ms, 0)
        if mulaw := piece.mulaw[early_ms * MULAW_BYTES_PER_MS :]:
            kept.append(Piece(piece.track, piece.start_ms + early_ms, mulaw))
    return kept
