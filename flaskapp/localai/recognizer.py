"""pocketsphinx, listening first for the desk's own phrases and then for anything."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

from flaskapp.localai.bandwidth import MODEL_RATE_HZ, widened
from flaskapp.localai.grammar import GRAMMAR, PRONUNCIATIONS

# How much better or worse one hypothesis explains the sound than another, in
# thousandths of a nat for each voiced frame. Where the lines are drawn was
# measured on 240 synthetic desk phrases and 500 human prompts: see
# docs/decisions/local-speech-server.md.
_CERTAIN = -3.2  # against the phone loop: no other model need be asked
_HOPELESS = -5.6  # against the phone loop: not a desk phrase, whatever else it is
_PREFERRED = -4.8  # all three comparisons together
_FREE_SCALE = 1024  # pocketsphinx keeps an n-gram search's scores shifted by ten bits

_LEAST_BYTES = MODEL_RATE_HZ // 10 * 2  # 100 ms
_MOST_BYTES = MODEL_RATE_HZ * 30 * 2  # 30 s: longer speech would take too long to understand
_FRAMES_PER_SECOND = 100
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
    """A hypothesis: its words, the logarithm of its acoustic score, its length without silence."""

    text: str
    score: float
    voiced_frames: int

    @property
    def words_per_second(self) -> float:
        return len(self.text.split()) * _FRAMES_PER_SECOND / max(self.voiced_frames, 20)


class Recognizer:
    """The loaded models of one process. Not thread-safe."""

    def __init__(self) -> None:
        from pocketsphinx import Decoder, get_model_path

        wide = {"lw": 2.0, "beam": 1e-70, "wbeam": 1e-50, "pbeam": 1e-70, "bestpath": False}
        self._desk = Decoder(loglevel="FATAL", cmn="batch", lm=None, **wide)
        for word, phones in PRONUNCIATIONS:
            self._desk.add_word(word, phones, True)
        self._desk.add_jsgf_string("desk", GRAMMAR)
        self._desk.add_allphone_file("phones", get_model_path("en-us/en-us-phone.lm.bin"))
        self._free = Decoder(loglevel="FATAL", cmn="batch")

    def hear(self, pcm: bytes, rate_hz: int) -> Heard:
        """The words of 16-bit PCM at any rate from 8 kHz; "" when there are none."""
        began = time.monotonic()
        sound = widened(pcm, rate_hz)[:_MOST_BYTES]
        if len(sound) < _LEAST_BYTES:  # pocketsphinx raises on less than a frame
            return Heard("", "", 0.0)
        text, model = self._understand(sound)
        return Heard(text, model if text else "", time.monotonic() - began)

    def _understand(self, sound: bytes) -> tuple[str, str]:
        """(words, model): the desk's grammar, unless the sound speaks against it.

        The phone loop explains any speech as well as the acoustic model can;
        a phrase that was really said comes close to it. In between, the free
        language model is asked too. It explains people better than it explains
        a synthetic voice, for which it finds many short words: so a desk phrase
        that does not lag behind it, with not more words, is believed.
        """
        desk = _decode(self._desk, sound, "desk")
        margin = _margin(desk, _decode(self._desk, sound, "phones"))
        if desk.text and margin >= _CERTAIN:
            return desk.text, "desk"
        free = _decode(self._free, sound, scale=_FREE_SCALE)
        if not desk.text or margin < _HOPELESS:
            return free.text, "free"
        over_free = max(-5.0, min(3.0, 1000 * (desk.score - free.score) / max(free.voiced_frames, 1)))
        fewer_words = free.words_per_second - desk.words_per_second
        if margin + over_free + fewer_words >= _PREFERRED:
            return desk.text, "desk"
        return free.text, "free"


def _margin(desk: _Decoded, phones: _Decoded) -> float:
    return 1000 * (desk.score - phones.score) / max(desk.voiced_frames, 1)


def _decode(decoder: Any, sound: bytes, search: str | None = None, scale: int = 1) -> _Decoded:
    if search is not None:
        decoder.activate_search(search)
    decoder.start_utt()
    try:
        decoder.process_raw(sound, False, True)
    finally:  # otherwise it would refuse every later utterance
        decoder.end_utt()
    hypothesis = decoder.hyp()
    if hypothesis is None:
        return _Decoded("", _IMPOSSIBLE, 0)
    segments = list(decoder.seg())
    score = sum(math.log(each.ascore) if each.ascore > 0 else _IMPOSSIBLE for each in segments) / scale
    voiced = sum(each.end_frame - each.start_frame + 1 for each in segments if each.word not in _FILLERS)
    return _Decoded(hypothesis.hypstr, score, voiced)
