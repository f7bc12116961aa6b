"""The caller's ear: what a call sounded like, measured from what was really played and said.

Pure: works on times (monotonic seconds) and sound after the call is over.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from flaskapp.phone import audio
from flaskapp.simulator.encoding import MULAW, Encoding
from flaskapp.simulator.playout import Piece
from flaskapp.simulator.report import Pacing, TurnReport

VOICE_RMS = 100  # of 32767: comfort noise stays under 20, quiet speech is above 300
BLOCKS_PER_S = 100  # samples are looked at together for 10 ms
JOIN_S = 0.2  # gaps between words: shorter ones do not end a sound
LATE_S = 0.010
CARRIERS_OWN = frozenset({"beep", "carrier"})  # sources that speak for nobody


def is_voiced(sound: bytes, encoding: Encoding = MULAW) -> bool:
    """Whether these few milliseconds hold sound that a person would notice."""
    return bool(sound) and audio.rms(encoding.pcm(sound)) >= VOICE_RMS


@dataclass(frozen=True)
class Sound:
    """Something audible from ``start`` to ``end``, pauses under 200 ms included."""

    start: float
    end: float
    source: str


@dataclass(frozen=True)
class Spoken:
    """One utterance of the caller: first and last voiced frame, as they were sent."""

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class Frame:
    """One of the caller's frames: when it was due, when it left, whether anyone took it."""

    due: float
    left: float
    taken: bool
    lost: bool = False


def sounds(pieces: Iterable[Piece], join_s: float = JOIN_S) -> list[Sound]:
    """The audible stretches of what was played, in order; those with less between them are one."""
    found: list[Sound] = []
    for piece in pieces:
        rate = piece.encoding.rate_hz
        for start, end in _voiced_stretches(piece.encoding.pcm(piece.audio), rate // BLOCKS_PER_S):
            sound = Sound(piece.at + start / rate, piece.at + end / rate, piece.source)
            if found and sound.start - found[-1].end < join_s and sound.source == found[-1].source:
                sound = Sound(found.pop().start, sound.end, sound.source)
            found.append(sound)
    return found


def parted(heard: Iterable[Sound], at: Iterable[float]) -> list[Sound]:
    """The same sounds, cut in two wherever something new began: two sentences may follow without a gap."""
    found = list(heard)
    for moment in at:
        found = [
            part
            for sound in found
            for part in (
                (replace(sound, end=moment), replace(sound, start=moment))
                if sound.start < moment < sound.end
                else (sound,)
            )
        ]
    return found


def turns(spoken: Sequence[Spoken], heard: Sequence[Sound], t0: float) -> list[TurnReport]:
    """Each utterance with the reply that followed it."""
    reports = []
    for index, said in enumerate(spoken):
        until = spoken[index + 1].start if index + 1 < len(spoken) else float("inf")
        reply = _reply(said, [sound for sound in heard if said.start <= sound.start < until])
        start, end = (reply[0].start, reply[-1].end) if reply else (None, None)
        reports.append(
            TurnReport(
                utterance=said.name,
                spoke_from_ms=(said.start - t0) * 1000,
                spoke_until_ms=(said.end - t0) * 1000,
                latency_ms=None if start is None else (start - said.end) * 1000,
                heard_from_ms=None if start is None else (start - t0) * 1000,
                heard_ms=0.0 if start is None or end is None else (min(end, until) - start) * 1000,
            )
        )
    return reports


Window = tuple[float, float]  # from, until


def silences(
    spoken: Sequence[Spoken],
    heard: Sequence[Sound],
    t0: float,
    end: float,
    elsewhere: Sequence[Window] = (),
) -> list[Window]:
    """The stretches in which the caller heard nothing and did not speak himself, in order.

    ``elsewhere``: while the carrier recorded, after a beep, the floor was the
    caller's, and while it dialled, he heard it ring: who hears nothing then
    does not hear a dead line.
    """
    windows = [(s.start, s.end) for s in spoken] + [(s.start, s.end) for s in heard] + list(elsewhere)
    found, quiet_since = [], t0
    for start, stop in [*sorted(windows), (end, end)]:
        if start > quiet_since:
            found.append((quiet_since, start))
        quiet_since = max(quiet_since, stop)
    return found


def longest_silence(
    spoken: Sequence[Spoken],
    heard: Sequence[Sound],
    t0: float,
    end: float,
    elsewhere: Sequence[Window] = (),
) -> Window:
    """The longest of the ``silences``."""
    return max(silences(spoken, heard, t0, end, elsewhere), key=lambda w: w[1] - w[0], default=(t0, t0))


def first_speech(heard: Sequence[Sound], after: float, until: float = float("inf")) -> Sound | None:
    """The first sound that begins in this stretch and is not the carrier's own, as a beep is."""
    return next((s for s in heard if after <= s.start < until and s.source not in CARRIERS_OWN), None)


def lateness_ms(frames: Sequence[Frame]) -> list[float]:
    """How late each frame left that somebody took, against its absolute deadline; sorted."""
    return sorted((frame.left - frame.due) * 1000 for frame in frames if frame.taken)


def pacing(frames: Sequence[Frame]) -> Pacing:
    """The lateness of a call's frames in a few figures."""
    late = lateness_ms(frames)
    lost = sum(frame.lost for frame in frames)
    if not late:
        return Pacing(lost=lost)
    return Pacing(
        frames=len(late),
        late=sum(ms > LATE_S * 1000 for ms in late),
        lost=lost,
        p50_late_ms=late[len(late) // 2],
        p99_late_ms=late[min(len(late) - 1, len(late) * 99 // 100)],
        max_late_ms=late[-1],
    )


def stereo(
    caller: bytes, caller_at: float, pieces: Iterable[Piece], t0: float, encoding: Encoding = MULAW
) -> bytes:
    """Interleaved 16-bit PCM at the line's rate from ``t0``: left the caller, right the agent."""
    agent = bytearray()
    for piece in pieces:
        at = max(_samples(piece.at - t0, encoding), len(agent) // 2)
        agent += bytes(at * 2 - len(agent)) + encoding.pcm(piece.audio)
    before = bytes(2 * max(0, _samples(caller_at - t0, encoding)))
    return audio.interleave(before + encoding.pcm(caller), bytes(agent))


def _samples(seconds: float, encoding: Encoding) -> int:
    return round(seconds * encoding.rate_hz)


def _reply(said: Spoken, candidates: Sequence[Sound]) -> Sequence[Sound]:
    """The sounds from the first onset after the utterance on.

    Where none begins after it, one that began while the caller was still
    speaking and went on past the end counts: the agent talked over the caller.
    """
    after = [sound for sound in candidates if sound.start >= said.end]
    return after or [sound for sound in candidates if sound.end > said.end]


def _voiced_stretches(pcm: bytes, block: int) -> list[tuple[int, int]]:
    """(first, last + 1) samples of the voiced stretches; the onset is exact to the sample."""
    stretches: list[tuple[int, int]] = []
    for at in range(0, len(pcm) // 2, block):
        piece = pcm[at * 2 : (at + block) * 2]
        if audio.rms(piece) < VOICE_RMS:
            continue
        end = at + len(piece) // 2
        if stretches and stretches[-1][1] == at:
            stretches[-1] = (stretches[-1][0], end)
        else:
            stretches.append((at + _onset(piece), end))
    return stretches


def _onset(block: bytes) -> int:
    """The first sample of a voiced block that is loud enough to be the voice."""
    return next((index for index, sample in enumerate(array("h", block)) if abs(sample) >= VOICE_RMS), 0)
