"""Recordings: the caller's voice taken down by ``<Record>``, kept until somebody fetches it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from flaskapp.phone import audio
from flaskapp.simulator.spec import RecordingFate
from flaskapp.simulator.twilio.account import new_sid
from flaskapp.simulator.twilio.schema import Record

FRAME_S = 0.020


@dataclass
class Recording:
    """16-bit PCM at 8000 Hz in a WAV file, served from ``ready_at`` (monotonic seconds) on."""

    call_sid: str
    pcm: bytes
    ready_at: float
    sid: str = field(default_factory=lambda: new_sid("RE"))
    served: int = 0
    fate: RecordingFate = "well"

    @property
    def seconds(self) -> float:
        return len(self.pcm) / 2 / audio.TELEPHONE_RATE_HZ

    @property
    def wav(self) -> bytes:
        """The file, as its fate has it."""
        if self.fate == "silent":
            return audio.write_wav(bytes(len(self.pcm)))
        whole = audio.write_wav(self.pcm)
        return whole[: len(whole) // 2] if self.fate == "truncated" else whole

    @property
    def exists(self) -> bool:
        """Whether there will ever be a file."""
        return self.fate not in ("never", "absent", "failed")


class Recordings:
    """All recordings of the network; a deleted one is gone."""

    def __init__(self, delay_s: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.delay_s = delay_s
        self.made: list[str] = []
        self._clock = clock
        self._kept: dict[str, Recording] = {}

    def keep(self, call_sid: str, mulaw: bytes, fate: RecordingFate = "well") -> Recording:
        """Takes mu-law in; it can be fetched after the network's delay, if its fate allows."""
        pcm = audio.mulaw_to_pcm16(mulaw)
        recording = Recording(call_sid, pcm, self._clock() + self.delay_s, fate=fate)
        self._kept[recording.sid] = recording
        self.made.append(recording.sid)
        return recording

    def get(self, sid: str) -> Recording | None:
        """The recording if it exists, ready or not."""
        return self._kept.get(sid)

    def ready(self, sid: str) -> Recording | None:
        """The recording if it can be served by now."""
        recording = self._kept.get(sid)
        is_there = recording is not None and recording.exists and recording.ready_at <= self._clock()
        return recording if is_there else None

    def delete(self, sid: str) -> bool:
        """Removes it; False if there was none."""
        return self._kept.pop(sid, None) is not None


class Recorder:
    """Listens to the line for one ``<Record>`` until silence, a key, its length or the hang-up."""

    def __init__(self, verb: Record) -> None:
        self.verb = verb
        self.digits = ""
        self.finished = asyncio.Event()
        self._frames: list[bytes] = []
        self._first_voiced: int | None = None
        self._last_voiced: int | None = None

    @property
    def empty(self) -> bool:
        return self._last_voiced is None

    @property
    def mulaw(self) -> bytes:
        """What was recorded, leading and trailing silence trimmed unless the verb says otherwise."""
        if self._first_voiced is None or self._last_voiced is None or self.verb.trim == "do-not-trim":
            return b"".join(self._frames)
        return b"".join(self._frames[max(0, self._first_voiced - 10) : self._last_voiced + 11])

    async def frame(self, sound: bytes, due: float, *, voiced: bool) -> bool:
        """Takes 20 ms of the caller."""
        if self.finished.is_set():
            return True
        self._frames.append(sound)
        count = len(self._frames)
        if voiced:
            self._first_voiced = count - 1 if self._first_voiced is None else self._first_voiced
            self._last_voiced = count - 1
        silent = count - (self._last_voiced + 1 if self._last_voiced is not None else 0)
        too_quiet = self.verb.timeout and silent * FRAME_S >= self.verb.timeout
        if too_quiet or count * FRAME_S >= self.verb.max_length:
            self.finished.set()
        return True

    async def digit(self, digit: str) -> None:
        """Ends the recording if the key is one that does."""
        if digit in self.verb.finish_on_key:
            self.digits = digit
            self.finished.set()
