"""A recording cut into stretches of speech at its pauses, as live turn detection would have cut it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flaskapp.localai.vad import FRAME_MS, Edge, VoiceActivity, decibels

LONGEST_MS = 20_000  # the ears take thirty seconds, and are slow with more than ten
SHORTEST_MS = 10_000  # a stretch without pauses is cut where it is quietest after so long
BEFORE_MS, AFTER_MS = 300, 300  # kept around speech: beginnings and ends are quiet


@dataclass(frozen=True)
class Stretch:
    """Where in a recording speech is, in ms, and its 16-bit PCM."""

    start_ms: int
    end_ms: int
    pcm: bytes


def stretches(pcm: bytes, rate_hz: int) -> list[Stretch]:
    """The speech of 16-bit PCM, in order; pauses of half a second and more are left out."""
    frame = rate_hz * FRAME_MS // 1000 * 2
    frames = [pcm[at : at + frame] for at in range(0, len(pcm) - frame + 1, frame)]
    found: list[Stretch] = []
    for first, last in _spoken(frames):
        for start, end in _short_enough(frames, first, last):
            found.append(Stretch(start * FRAME_MS, end * FRAME_MS, b"".join(frames[start:end])))
    return found


def _spoken(frames: list[bytes]) -> Iterator[tuple[int, int]]:
    """Runs of frames that hold speech, with the margins around it; they never overlap."""
    activity, began, done = VoiceActivity(), 0, 0
    for at, each in enumerate(frames):
        edge = activity.hear(each)
        if edge is Edge.STARTED:
            began = max(done, at - BEFORE_MS // FRAME_MS)
        elif edge is Edge.STOPPED:
            quiet = activity.sensitivity.silence_ms - AFTER_MS
            done = at + 1 - quiet // FRAME_MS
            yield began, done
    if activity.speaking:
        yield began, len(frames)


def _short_enough(frames: list[bytes], first: int, last: int) -> Iterator[tuple[int, int]]:
    least, most = SHORTEST_MS // FRAME_MS, LONGEST_MS // FRAME_MS
    while last - first > most:
        cut = min(range(first + least, first + most), key=lambda at: decibels(frames[at]))
        yield first, cut
        first = cut
    yield first, last
