"""pocketsphinx, listening first for the desk's own phrases and then for anything."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

from flaskapp.localai.bandwidth import widened
from flaskapp.localai.grammar import GRAMMAR

_LEAST_MARGIN = -5.6
_LEAST_COVER = 0.8
_FILLERS = ("<s>", "</s>", "<sil>", "SIL", "(NULL)", "[NOISE]", "[SPEECH]", "+SPN+", "+NSN+")
_IMPOSSIBLE = -700.0  # the logarithm of a score that underflowed


@dataclass(frozen=True)
class Heard:
    """What was understood, by which model (``desk``, ``free`` or ``""``), and how long that took."""

    text: str
    model: str
    seconds: float


@dataclass(frozen=True)
class _Decoded:
    text: str
    score: float  # natural logarithm, acoustic only
    voiced_frames: int


class Recognizer:
    """The loaded models of one process (about 150 MB). Not thread-safe."""

    def __init__(self) -> None:
        from pocketsphinx import Decoder, get_model_path

        wide = {"lw": 2.0, "beam": 1e-70, "wbeam": 1e-50, "pbeam": 1e-70, "bestpath": False}
        self._desk = Decoder(loglevel="FATAL", cmn="batch", lm=None, **wide)
        self._desk.add_jsgf_string("desk", GRAMMAR)
        self._desk.add_allphone_file("phones", get_model_path("en-us/en-us-phone.lm.bin"))
        self._free = Decoder(loglevel="FATAL", cmn="batch")

    def hear(self, pcm: bytes, rate_hz: int) -> Heard:
        """The words of 16-bit PCM at any rate from 8 kHz; "" when there are none."""
        began = time.monotonic()
        sound = widened(pcm, rate_hz)
        desk = _decode(self._desk, sound, "desk")
        if desk.text and self._is_plausible(desk, _decode(self._desk, sound, "phones")):
            return Heard(desk.text, "desk", time.monotonic() - began)
        free = _decode(self._free, sound)
        return Heard(free.text, "free" if free.text else "", time.monotonic() - began)

    def _is_plausible(self, desk: _Decoded, phones: _Decoded) -> bool:
        margin = 1000 * (desk.score - phones.score) / max(desk.voiced_frames, 1)
        cover = desk.voiced_frames / max(phones.voiced_frames, 1)
        return margin >= _LEAST_MARGIN and cover >= _LEAST_COVER


def _decode(decoder: Any, sound: bytes, search: str | None = None) -> _Decoded:
    if search is not None:
        decoder.activate_search(search)
    decoder.start_utt()
    decoder.process_raw(sound, False, True)
    decoder.end_utt()
    hypothesis = decoder.hyp()
    if hypothesis is None:
        return _Decoded("", _IMPOSSIBLE, 0)
    segments = list(decoder.seg())
    score = sum(math.log(each.ascore) if each.ascore > 0 else _IMPOSSIBLE for each in segments)
    voiced = sum(each.end_frame - each.start_frame + 1 for each in segments if each.word not in _FILLERS)
    return _Decoded(hypothesis.hypstr, score, voiced)
