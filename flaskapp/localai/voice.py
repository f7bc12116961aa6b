"""The voice: text in, speech out, by espeak-ng in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from flaskapp.localai.espeak import Espeak
from flaskapp.localai.workers import Workers

_WORDS_PER_MINUTE = 165


@dataclass(frozen=True)
class Timbre:
    """espeak-ng's voice and pitch (0 to 99) that stand in for one of OpenAI's voices."""

    name: str
    pitch: int = 50


DEFAULT = Timbre("en-us")
_TIMBRES = {
    "alloy": DEFAULT,
    "ash": Timbre("en-us+m3", 40),
    "ballad": Timbre("en-us+m7", 45),
    "cedar": Timbre("en-us+m2", 40),
    "coral": Timbre("en-us+f2", 55),
    "echo": Timbre("en-us+m1", 45),
    "fable": Timbre("en-us+m4", 55),
    "marin": Timbre("en-us+f3", 50),
    "nova": Timbre("en-us+f4", 60),
    "onyx": Timbre("en-us+m5", 30),
    "sage": Timbre("en-us+f1", 50),
    "shimmer": Timbre("en-us+f5", 60),
    "verse": Timbre("en-us+m6", 50),
}


@dataclass(frozen=True)
class Speech:
    """16-bit PCM and its rate."""

    pcm: bytes
    rate_hz: int


class Voice:
    """Speaks for every session; at most one text at a time, each in a few milliseconds."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    async def speak(self, text: str, voice: str = "alloy", speed: float = 1.0) -> Speech:
        """The text in the stand-in for an OpenAI voice; ``speed`` 1.0 is ordinary.

        Raises:
            WorkerLost: the process died; another takes its place.
        """
        return await self._workers.run(speak, text, voice, speed)


def speak(text: str, voice: str = "alloy", speed: float = 1.0) -> Speech:
    """The same, in this process: for the worker, and for who needs no server."""
    timbre = _TIMBRES.get(voice, DEFAULT)
    pcm = _espeak().speak(text, timbre.name, round(_WORDS_PER_MINUTE * speed), timbre.pitch)
    return Speech(pcm, _espeak().rate_hz)


def warm_up() -> None:
    """Load the library and speak once, so that the first caller does not wait for it."""
    speak("ready")


@cache
def _espeak() -> Espeak:
    return Espeak()
