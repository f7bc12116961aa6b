"""The person who calls: waits politely, speaks, listens, interrupts or hangs up.

Pure: one ``tick`` per 20 ms frame, with the time and what can be heard as
arguments; the answer is the frame that leaves the telephone.
"""

from __future__ import annotations

import functools
import random
from collections import deque
from dataclasses import dataclass
from typing import Literal

from flaskapp.phone.audio import Wav
from flaskapp.simulator.ear import Spoken, is_voiced
from flaskapp.simulator.encoding import MULAW, Encoding

SILENT_FRAME = MULAW.silence * MULAW.frame_bytes
FRESH_S = 0.2  # of quiet before a sound counts as a new reply and not as the rest of the old one
_KEY_GAP_FRAMES = 10

HangUp = Literal["politely", "reset", "vanish", "never"]


@dataclass(frozen=True)
class Utterance:
    """One thing that the caller says (mu-law at 8000 Hz), then the keys pressed after it.

    ``original``: the same words in a better quality, for lines that are wider than mu-law's.
    ``interrupts_after_ms``: begins once the agent has sounded for so long,
    instead of waiting for the end. ``silent_s``: when it is his turn he first
    says nothing for so long, whatever he is asked meanwhile; without sound and
    keys that is all.
    """

    audio: bytes = b""
    name: str = ""
    digits: str = ""
    interrupts_after_ms: int | None = None
    silent_s: float = 0.0
    original: Wav | None = None

    @property
    def is_silence(self) -> bool:
        return not self.audio and not self.digits

    def sound(self, encoding: Encoding) -> bytes:
        """The words as a line of that kind carries them."""
        if encoding == MULAW:
            return self.audio
        return encoding.of_wav(self.original) if self.original else encoding.of_mulaw(self.audio)


@dataclass(frozen=True)
class Script:
    """How a caller behaves from answer to hang-up.

    ``hang_up``: politely (``stop``, then a close), reset (TCP RST), vanish
    (close without ``stop``), or never (stays silent until the call's limit).
    ``repeat``: begins again after the last utterance, for load.
    """

    utterances: tuple[Utterance, ...] = ()
    repeat: bool = False
    quiet_ms: int = 700
    greeting_wait_s: float = 6.0
    reply_wait_s: float = 30.0
    hang_up: HangUp = "politely"
    comfort_noise: bool = False


@dataclass(frozen=True)
class Tick:
    """What leaves the telephone in one 20 ms step."""

    frame: bytes = SILENT_FRAME
    voiced: bool = False
    digit: str = ""
    began: Utterance | None = None
    hang_up: bool = False


@functools.lru_cache(maxsize=64)
def _sound(utterance: Utterance, encoding: Encoding) -> bytes:
    """Converted once for all the callers of a load who say it, and before anybody speaks."""
    return utterance.sound(encoding)


class Person:
    """A script being acted, one frame at a time."""

    def __init__(self, script: Script, seed: int = 1, encoding: Encoding = MULAW) -> None:
        self.script = script
        self.encoding = encoding
        self.spoken: list[Spoken] = []
        self._noise = random.Random(seed)  # noqa: S311 - noise on a line, not a secret
        self._left: deque[Utterance] = deque(script.utterances)
        self._current: Utterance | None = None
        self._voice = b""
        self._sounds = {each: _sound(each, encoding) for each in script.utterances}
        self._silent_frame = encoding.silence * (encoding.frame_bytes // encoding.sample_bytes)
        self._at = 0
        self._voice_from: float | None = None
        self._keys: deque[str] = deque()
        self._key_pause = 0
        self._waiting_since: float | None = None
        self._heard_ms = 0
        self._last_sound: float | None = None
        self._stale = False
        self._silent_until: float | None = None

    def tick(self, now: float, agent_sounds: bool, listened_to: bool) -> Tick:
        """The next frame, given whether the agent sounds and whether anyone takes our audio."""
        if self._current is not None:
            return self._speak(now, agent_sounds)
        if self._keys:
            return self._press(now, agent_sounds)
        self._listen(now, agent_sounds)
        if self._keeps_silent(now) or not (listened_to and self._my_turn(now)):
            return Tick(self._quiet())
        if not self._left and self.script.repeat:
            self._left.extend(self.script.utterances)
        if not self._left:
            return Tick(self._quiet(), hang_up=self.script.hang_up != "never")
        if self._left[0].silent_s and self._silent_until is None:
            self._silent_until = now + self._left[0].silent_s
            return Tick(self._quiet())
        self._silent_until = None
        if self._left[0].is_silence:
            self._left.popleft()
            return Tick(self._quiet())
        self._current, self._at, self._voice_from = self._left.popleft(), 0, None
        self._voice = self._sounds[self._current]
        self.spoken.append(Spoken(self._current.name, now, now))
        return self._speak(now, agent_sounds, began=self._current)

    def press(self, digits: str) -> None:
        """Presses keys as soon as nothing is being said (``w`` pauses half a second)."""
        self._keys.extend(digits)

    def _listen(self, now: float, agent_sounds: bool) -> None:
        if self._waiting_since is None:
            self._waiting_since = now
        if not agent_sounds:
            if self._stale and now - (self._last_sound or now) >= FRESH_S:
                self._stale, self._last_sound = False, None
            return
        self._last_sound = now
        if not self._stale:
            self._heard_ms += 20

    def _keeps_silent(self, now: float) -> bool:
        return self._silent_until is not None and now < self._silent_until

    def _my_turn(self, now: float) -> bool:
        if self._silent_until is not None:
            return True
        offset = self._left[0].interrupts_after_ms if self._left else None
        if offset is not None and self._heard_ms > offset:
            return True
        if self._heard_ms and not self._stale:
            return now - (self._last_sound or now) >= self.script.quiet_ms / 1000
        first = not self.spoken
        patience = self.script.greeting_wait_s if first else self.script.reply_wait_s
        return not self._heard_ms and now - (self._waiting_since or now) >= patience

    def _speak(self, now: float, agent_sounds: bool, began: Utterance | None = None) -> Tick:
        assert self._current is not None  # noqa: S101 - the caller has looked
        size = self.encoding.frame_bytes
        frame = self._voice[self._at : self._at + size]
        self._at += size
        frame += self.encoding.silence * ((size - len(frame)) // self.encoding.sample_bytes)
        voiced = is_voiced(frame, self.encoding)
        if voiced:
            self._voiced_at(now)
        if self._at >= len(self._voice):
            self._keys.extend(self._current.digits)
            self._current = None
            self._start_waiting(now, agent_sounds)
        return Tick(frame, voiced, began=began)

    def _voiced_at(self, now: float) -> None:
        """Notes the first and the last voiced frame; a frame leaves when its 20 ms are over."""
        if self._voice_from is None:
            self._voice_from = now - 0.02
        self.spoken[-1] = Spoken(self.spoken[-1].name, self._voice_from, now)

    def _press(self, now: float, agent_sounds: bool) -> Tick:
        if self._key_pause:
            self._key_pause -= 1
            return Tick(self._quiet())
        digit = self._keys.popleft()
        self._key_pause = _KEY_GAP_FRAMES if digit != "w" else 25
        if self.spoken and self._voice_from is None:  # an utterance of keys only ends with its keys
            self.spoken[-1] = Spoken(self.spoken[-1].name, self.spoken[-1].start, now)
        if not self._keys:
            self._start_waiting(now, agent_sounds)
        return Tick(self._quiet(), digit="" if digit == "w" else digit)

    def _start_waiting(self, now: float, agent_sounds: bool) -> None:
        """What still sounds now is the old reply: the answer comes after a little quiet."""
        self._waiting_since, self._heard_ms, self._stale = now, 0, agent_sounds
        self._last_sound = now if agent_sounds else None

    def _quiet(self) -> bytes:
        if not self.script.comfort_noise:
            return self._silent_frame
        count = self.encoding.frame_bytes // self.encoding.sample_bytes
        return b"".join(self._noise.choice(self.encoding.noise) for _ in range(count))
