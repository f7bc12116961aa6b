"""The input audio buffer: appended bytes in, the caller's turns out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flaskapp.localai.refusal import Refused
from flaskapp.localai.sound import Format
from flaskapp.localai.vad import FRAME_MS, Edge, Sensitivity, VoiceActivity

LEAST_COMMIT_MS = 100  # the API refuses to commit less
PAUSE_MS = 240  # of silence: longer than within words, shorter than the usual end of a turn
LONGEST_TURN_MS = 60_000  # then a turn ends, even without a pause
MOST_HELD_MS = 300_000  # without turn detection a client must commit before this
_EAGERNESS_MS = {"low": 1500, "medium": 800, "auto": 800, "high": 500}  # semantic VAD, by silence alone


@dataclass(frozen=True)
class Utterance:
    """A stretch of the caller's sound, 16-bit PCM, with what a bench wants to know.

    The times are of the monotonic clock: when the last voiced frame arrived,
    and when the turn was decided to be over.
    """

    pcm: bytes
    rate_hz: int
    voice_ended_at: float
    decided_at: float

    @property
    def duration_ms(self) -> int:
        return len(self.pcm) // 2 * 1000 // self.rate_hz


@dataclass(frozen=True)
class SpeechStarted:
    """``start_ms`` counts from the first byte ever appended, and includes the padding."""

    start_ms: int


@dataclass(frozen=True)
class SpeechPaused:
    """A pause that may become the end: what was said so far, to be understood ahead of time."""

    utterance: Utterance


@dataclass(frozen=True)
class SpeechStopped:
    """``end_ms`` includes the silence by which the end was known."""

    end_ms: int
    utterance: Utterance


TurnEdge = SpeechStarted | SpeechPaused | SpeechStopped


class Intake:
    """One session's buffer. Everything is held as PCM at the format's own rate."""

    def __init__(self, audio_format: Format, detection: dict[str, Any] | None) -> None:
        self._pcm = bytearray()
        self._dropped = 0  # bytes cut off before the buffer's beginning
        self._listened = 0  # how far into the buffer the VAD has heard
        self._voice_ended_at = 0.0
        self._vad = VoiceActivity()
        self._format = audio_format
        self.configure(audio_format, detection)

    def configure(self, audio_format: Format, detection: dict[str, Any] | None) -> None:
        """Take another format or turn detection; a change of format empties the buffer."""
        if audio_format.rate_hz != self._format.rate_hz:
            self.clear()
            self._dropped = self._dropped // self._format.rate_hz * audio_format.rate_hz
        self._format = audio_format
        self._detection = detection
        if detection is not None:
            self._vad.sensitivity = _sensitivity(detection)
        self._frame = 2 * audio_format.rate_hz * FRAME_MS // 1000

    @property
    def speaking(self) -> bool:
        return self._detection is not None and self._vad.speaking

    def append(self, data: bytes, now: float) -> list[TurnEdge]:
        """More audio in the wire format; returns what the turn detection made of it.

        Raises:
            Refused: the buffer is full, which only a client without turn detection can reach.
        """
        self._pcm += self._format.to_pcm(data)
        if self._detection is None:
            self._listened = len(self._pcm) - len(self._pcm) % self._frame
            return self._refuse_overflow()
        edges: list[TurnEdge] = []
        while self._listened + self._frame <= len(self._pcm):
            edges += self._listen(now)
        if not self._vad.speaking:
            self._trim()
        return edges

    def commit(self, now: float) -> Utterance:
        """Everything in the buffer, at the client's request.

        Raises:
            Refused: there is less than 100 ms of it.
        """
        if self._milliseconds(len(self._pcm)) < LEAST_COMMIT_MS:
            raise Refused(
                "input_audio_buffer_commit_empty",
                "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, "
                f"but buffer only has {self._milliseconds(len(self._pcm))}ms of audio.",
            )
        utterance = self._utterance(now, self._voice_ended_at or now)
        self.clear()
        return utterance

    def clear(self) -> None:
        """Forget the buffer's audio; time goes on counting."""
        self._drop(len(self._pcm))
        self._vad.rest()

    def _listen(self, now: float) -> list[TurnEdge]:
        frame = bytes(self._pcm[self._listened : self._listened + self._frame])
        self._listened += self._frame
        edge = self._vad.hear(frame)
        if self._vad.speaking and self._vad.quiet_ms == 0:
            self._voice_ended_at = now
        if edge is Edge.STARTED:
            return [self._start()]
        if edge is Edge.STOPPED or self._is_too_long():
            return [self._stop(now)]
        if self._vad.speaking and self._vad.quiet_ms == PAUSE_MS:
            return [SpeechPaused(self._utterance(now, self._voice_ended_at))]
        return []

    def _start(self) -> SpeechStarted:
        """Speech began; it is cut to the padding before the frames that told so."""
        onset_ms = self._milliseconds(self._listened) - 4 * FRAME_MS
        start_ms = max(0, onset_ms - self._padding_ms())
        self._drop(self._bytes(start_ms))
        return SpeechStarted(self._milliseconds(self._dropped))

    def _stop(self, now: float) -> SpeechStopped:
        end_ms = self._milliseconds(self._dropped + self._listened)
        later = bytes(self._pcm[self._listened :])
        del self._pcm[self._listened :]
        utterance = self._utterance(now, self._voice_ended_at)
        self.clear()
        self._pcm += later
        return SpeechStopped(end_ms, utterance)

    def _utterance(self, now: float, voice_ended_at: float) -> Utterance:
        return Utterance(bytes(self._pcm[: self._listened]), self._format.rate_hz, voice_ended_at, now)

    def _is_too_long(self) -> bool:
        return self._vad.speaking and self._milliseconds(len(self._pcm)) > LONGEST_TURN_MS

    def _trim(self) -> None:
        """Between turns, keep no more than a turn's beginning may need."""
        keep = self._bytes(self._padding_ms() + 200)
        self._drop(max(0, self._listened - keep))

    def _refuse_overflow(self) -> list[TurnEdge]:
        if self._milliseconds(len(self._pcm)) > MOST_HELD_MS:
            self.clear()
            raise Refused(
                "input_audio_buffer_full",
                f"The input audio buffer held more than {MOST_HELD_MS // 1000} s and was cleared.",
            )
        return []

    def _padding_ms(self) -> int:
        return int((self._detection or {}).get("prefix_padding_ms", 300))

    def _drop(self, size: int) -> None:
        del self._pcm[:size]
        self._dropped += size
        self._listened = max(0, self._listened - size)

    def _milliseconds(self, size: int) -> int:
        return size // 2 * 1000 // self._format.rate_hz

    def _bytes(self, milliseconds: int) -> int:
        return milliseconds * self._format.rate_hz // 1000 * 2


def _sensitivity(detection: dict[str, Any]) -> Sensitivity:
    if detection["type"] == "semantic_vad":
        return Sensitivity(silence_ms=_EAGERNESS_MS[detection["eagerness"]])
    return Sensitivity(detection["threshold"], detection["silence_duration_ms"])
