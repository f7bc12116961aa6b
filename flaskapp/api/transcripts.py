"""A transcript to keep: as text that is read, and as subtitles (WebVTT) for the call's sound."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from flaskapp.api.shapes import Transcript, TranscriptLine

SHORTEST_CUE_MS = 500


def as_text(told: Transcript) -> str:
    """One line each: when it began, who spoke, what was heard."""
    lines = [f"[{_clock(line.start_ms)}] {line.speaker}: {_one_line(line)}" for line in told.lines]
    return "".join(f"{line}\n" for line in lines)


def as_vtt(told: Transcript) -> str:
    """WebVTT (https://www.w3.org/TR/webvtt1/): a cue for each line, in the order in which they begin."""
    cues = [
        f"{number}\n{_timing(line)}\n<v {line.speaker.capitalize()}>{escape(_one_line(line), quote=False)}\n"
        for number, line in enumerate(_by_beginning(told.lines), 1)
    ]
    return "\n".join(["WEBVTT\n", *cues])


def _by_beginning(lines: Iterable[TranscriptLine]) -> Sequence[TranscriptLine]:
    return sorted(lines, key=lambda line: line.start_ms)


def _timing(line: TranscriptLine) -> str:
    """A cue that ends when it begins would never be shown."""
    end_ms = max(line.end_ms, line.start_ms + SHORTEST_CUE_MS)
    return f"{_clock(line.start_ms, 2)} --> {_clock(end_ms, 2)}"


def _one_line(line: TranscriptLine) -> str:
    """An empty line would end the cue."""
    text = " ".join(line.transcript.split())
    return f"{text} -" if line.interrupted else text


def _clock(ms: int, hour_digits: int = 1) -> str:
    """``0:01:02.345``; subtitles want two digits for the hours."""
    seconds, ms = divmod(max(ms, 0), 1000)
    return f"{seconds // 3600:0{hour_digits}d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{ms:03d}"
