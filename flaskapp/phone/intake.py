"""The caller's audio on its way in: no more than a phone call brings, and the latest of it kept.

What is kept is given to the engine when it listens at last, or again when
another session has to take over. A keeper may follow all that is accepted.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from flaskapp.phone import events as ev
from flaskapp.phone.audio import BYTES_PER_MS, MULAW_BYTES_PER_MS, PCMU, VOICE_RMS, from_telephone, loudness
from flaskapp.phone.payloads import BETWEEN

EARLY_MS = 10_000.0  # while nobody listens
RECENT_MS = 1000.0  # while the engine listens
PENDING_MS = 30_000.0  # while it has not put into words what it heard
FLOW_MS = 600_000.0  # for a keeper that takes nothing
FLOOD_BURST_MS = 10_000
FLOOD_RATE = 2.0
FLOOD_WITHIN_S = 5.0
SLICE_MS = 20


@dataclass(slots=True)
class Intake:
    """Pace and recent audio of one stream; times are seconds since the call began.

    Attributes:
        received_ms: all audio that was accepted: the stream's own clock.
        kept: the latest of it, oldest first; ``holds_ms`` at most while nobody listens.
        kept_from_ms: where on the stream's clock that begins.
        due_ms: at least so much may have come by now, without anybody asking ``takes``.
        flow: what no keeper has taken yet. None: there is no keeper.
        flow_from_ms: where on the stream's clock that begins.
        audio_format: the stream's.
    """

    began_at: float = 0.0
    last_at: float = 0.0
    received_ms: float = 0.0
    dropped_ms: float = 0.0
    excess_since: float | None = None
    kept: list[ev.CallerAudio] = field(default_factory=list)
    kept_from_ms: float = 0.0
    due_ms: float = FLOOD_BURST_MS
    holds_ms: float = EARLY_MS
    flow: list[ev.CallerAudio] | None = None
    flow_from_ms: float = 0.0
    audio_format: str = PCMU

    def starts(self, at: float, audio_format: str = PCMU) -> None:
        self.began_at = self.last_at = at
        if audio_format != PCMU:  # what came before this stream is mu-law
            self.audio_format = audio_format
            before = b"".join(base64.b64decode(audio.payload) for audio in self.slices())
            self._keep_slices(before)

    def takes(self, audio: ev.CallerAudio, at: float) -> bool:
        """Whether to take this slice, then kept: twice real time after a burst of ten seconds, no more."""
        self.last_at = at
        received_ms = self.received_ms + audio.duration_ms
        if received_ms > self.due_ms and not self._is_due(received_ms, at):
            self.dropped_ms += audio.duration_ms
            return False
        self.received_ms = received_ms
        self.kept.append(audio)
        if self.flow is not None:
            self.flow.append(audio)
        return True

    def took(self, payloads: bytes, until_ms: float, at: float) -> None:
        """Slices that ``due_ms`` allowed, in one piece, until then; the last of them came ``at``."""
        self.last_at = at
        audio = ev.CallerAudio(payloads, until_ms - self.received_ms)
        self.received_ms = until_ms
        self.kept.append(audio)
        if self.flow is not None:
            self.flow.append(audio)

    def slices(self) -> list[ev.CallerAudio]:
        """All that is kept, slice by slice, as it came."""
        self.kept = [each for audio in self.kept for each in _slices(audio)]
        return self.kept

    def _is_due(self, received_ms: float, at: float) -> bool:
        """Whether so much may have come, asked when that is more than what was found to be due before."""
        self.due_ms = FLOOD_BURST_MS + FLOOD_RATE * 1000 * (at - self.began_at)
        if self.excess_since is not None and received_ms < self.due_ms - 1000:
            self.excess_since = None
        return received_ms <= self.due_ms

    def excess_begins(self, at: float) -> bool:
        """Whether this is the first slice too many."""
        if self.excess_since is not None:
            return False
        self.excess_since = at
        return True

    def is_flood(self, at: float) -> bool:
        """Whether too much has come for too long."""
        return self.excess_since is not None and at - self.excess_since > FLOOD_WITHIN_S

    def hold(self) -> None:
        """Nobody has heard what is kept: what is too much of it is lost."""
        if self.kept_ms > self.holds_ms:
            if BETWEEN in self.kept[0].payload:  # pieces are what came first
                self.slices()
            before_ms = self.kept_from_ms
            self.trim(self.holds_ms)
            self.dropped_ms += self.kept_from_ms - before_ms

    def gap(self, from_ms: float) -> None:
        """Nobody listens from now on: keep what came since ``from_ms``, and ten seconds more."""
        begun = 0
        for audio in self.slices():
            if self.kept_from_ms + audio.duration_ms > from_ms:
                break
            self.kept_from_ms += audio.duration_ms
            begun += 1
        del self.kept[:begun]
        self.holds_ms = self.kept_ms + EARLY_MS

    def has_voice(self, within_ms: float) -> bool:
        """Whether somebody spoke in the latest audio, by its loudness: too dear for a live call."""
        for audio in (each for piece in reversed(self.kept) for each in reversed(list(_slices(piece)))):
            if within_ms <= 0:
                break
            if loudness(base64.b64decode(audio.payload), self.audio_format) >= VOICE_RMS:
                return True
            within_ms -= audio.duration_ms
        return False

    @property
    def kept_ms(self) -> float:
        """How long the kept audio is."""
        return self.received_ms - self.kept_from_ms

    def trim(self, to_ms: float) -> None:
        """The oldest that is kept goes; of slices in one piece all or none."""
        from_ms, until_ms = self.kept_from_ms, self.received_ms
        too_many = 0
        for audio in self.kept:
            last_ms = audio.duration_ms if BETWEEN in audio.payload else 0.0
            if until_ms - from_ms - last_ms <= to_ms:
                break
            from_ms += audio.duration_ms
            too_many += 1
        if too_many:
            del self.kept[:too_many]
        self.kept_from_ms = from_ms

    def tidy(self) -> None:
        """What no keeper took for ten minutes goes."""
        flow = self.flow
        with contextlib.suppress(IndexError):  # the keeper took it just now
            while flow and self.received_ms - self.flow_from_ms > FLOW_MS:
                self.flow_from_ms += flow.pop(0).duration_ms

    def before(self, mulaw: bytes) -> None:
        """What the caller said before this stream, not put into words yet: a session hears it first."""
        self._keep_slices(mulaw)
        self.kept_from_ms = -len(mulaw) / MULAW_BYTES_PER_MS
        self.holds_ms = self.kept_ms + EARLY_MS

    def _keep_slices(self, mulaw: bytes) -> None:
        """This, and nothing else, as the stream would have brought it."""
        self.kept.clear()
        sound, bytes_per_ms = from_telephone(mulaw, self.audio_format), BYTES_PER_MS[self.audio_format]
        for at in range(0, len(sound), SLICE_MS * bytes_per_ms):
            piece = sound[at : at + SLICE_MS * bytes_per_ms]
            self.kept.append(ev.CallerAudio(base64.b64encode(piece), len(piece) / bytes_per_ms))


def _slices(audio: ev.CallerAudio) -> Iterator[ev.CallerAudio]:
    """Each of those that came in one piece: what it lasts follows from its length."""
    if BETWEEN not in audio.payload:
        yield audio
        return
    payloads = audio.payload.split(BETWEEN)
    ms = audio.duration_ms / sum(map(_size, payloads))
    for payload in payloads:
        yield ev.CallerAudio(payload, _size(payload) * ms)


def _size(payload: bytes) -> int:
    """Of base64 that was checked: how many bytes it stands for."""
    return len(payload) // 4 * 3 - payload.count(b"=", -2)
