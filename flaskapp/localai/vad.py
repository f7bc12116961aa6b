"""Voice activity detection by energy over an adaptive noise floor: frames in, edges out."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from enum import Enum

from flaskapp.phone.audio import rms

FRAME_MS = 20
_FULL_SCALE = 32768
_QUIETEST_DB = -70.0  # digital silence has no logarithm
_FLOOR_WINDOW = 100  # frames: 2 s, longer than any run of speech without a pause
_SMOOTHING = 0.6  # share of the past in the smoothed energy that the floor looks at
_HYSTERESIS_DB = 3.0
_ONSET_WINDOW, _ONSET_FRAMES = 4, 3  # 60 ms of voice within 80 ms: clicks are shorter


class Edge(Enum):
    """What a frame told: speech began, or ended long enough ago."""

    STARTED = "started"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Sensitivity:
    """How loud is voice, how long is silence.

    ``threshold`` is the API's 0 to 1. It becomes decibels twice: how far a
    frame must stand out over the noise (4 to 16 dB, 10 at the default 0.5),
    and how loud it must be at all (-50 to -38 dB of full scale, -44 at 0.5).
    """

    threshold: float = 0.5
    silence_ms: int = 500

    @property
    def over_noise_db(self) -> float:
        return 4 + 12 * self.threshold

    @property
    def at_least_db(self) -> float:
        return -50 + 12 * self.threshold


class VoiceActivity:
    """The state of one listening: feed it frames of 20 ms in order.

    The noise floor is the least smoothed energy of the last two seconds: it
    follows a line's noise up as well as down, and a caller's own pauses keep
    it from following speech.
    """

    def __init__(self, sensitivity: Sensitivity | None = None) -> None:
        self.sensitivity = sensitivity or Sensitivity()
        self.speaking = False
        self._smoothed = _QUIETEST_DB
        self._energies: deque[float] = deque(maxlen=_FLOOR_WINDOW)
        self._onset: deque[bool] = deque(maxlen=_ONSET_WINDOW)
        self._quiet_ms = 0

    @property
    def quiet_ms(self) -> int:
        """How long it has been quiet, 0 within speech."""
        return self._quiet_ms

    def hear(self, frame: bytes) -> Edge | None:
        """One frame of 16-bit PCM, at any rate; returns the edge it made, if any."""
        energy = decibels(frame)
        voiced = self._is_voice(energy)
        self._quiet_ms = 0 if voiced else self._quiet_ms + FRAME_MS
        self._remember(energy)
        self._onset.append(voiced)
        if not self.speaking and sum(self._onset) >= _ONSET_FRAMES:
            self.speaking = True
            return Edge.STARTED
        if self.speaking and self._quiet_ms >= self.sensitivity.silence_ms:
            self.rest()
            return Edge.STOPPED
        return None

    def rest(self) -> None:
        """Forget the present speech, keep what is known of the noise."""
        self.speaking = False
        self._onset.clear()

    def _is_voice(self, energy: float) -> bool:
        floor = min(self._energies, default=_QUIETEST_DB)
        needed = max(floor + self.sensitivity.over_noise_db, self.sensitivity.at_least_db)
        return energy >= (needed - _HYSTERESIS_DB if self.speaking else needed)

    def _remember(self, energy: float) -> None:
        self._smoothed = _SMOOTHING * self._smoothed + (1 - _SMOOTHING) * energy
        self._energies.append(self._smoothed)


def decibels(frame: bytes) -> float:
    """The energy of 16-bit PCM in decibels of full scale: 0 is the loudest, -70 silence."""
    loudness = rms(frame)
    return max(_QUIETEST_DB, 20 * math.log10(loudness / _FULL_SCALE)) if loudness else _QUIETEST_DB
