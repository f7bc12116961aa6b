"""What the engine said and understood, held against what the history keeps of it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes import FakeRealtime, Session

MAX_AGE_S = 1.0
UNDERSTOOD = "conversation.item.input_audio_transcription.completed"
CUT = "cut off"  # all words that are cut off are the same to the engine
SAID = "response.output_audio_transcript.done"


@dataclass(frozen=True)
class Word:
    """A line as the engine made it: when, and how long it takes to be heard."""

    text: str
    at: float
    lasts_s: float = 0.0


def words_of(engine: FakeRealtime) -> list[Word]:
    """All that was understood and said, in all sessions."""
    return [word for session in engine.sessions for word in _words(session)]


def _words(session: Session) -> list[Word]:
    found = []
    for at, event in session.sent:
        if event["type"] == UNDERSTOOD:
            found.append(Word(event["transcript"], at))
        elif event["type"] == SAID:
            found.append(Word(event["transcript"], at, session.behaviour.reply_ms / 1000))
    return found


def lost(engine: FakeRealtime, rows: list[Any], gone_at: float) -> list[str]:
    """Lines that were whole and old enough when a worker went at ``gone_at``, and are not in the history."""
    kept = {row["text"] for row in rows}
    old = [word for word in words_of(engine) if word.at + word.lasts_s + MAX_AGE_S < gone_at]
    return [word.text for word in old if word.text not in kept]


def doubled(rows: list[Any]) -> list[str]:
    """Lines that the history has more than once; those that were cut off may well be alike."""
    whole = [row["text"] for row in rows if not row["interrupted"] and row["text"] not in ("", CUT)]
    return [text for text, count in Counter(whole).items() if count > 1]


def workers_of(pid: int) -> list[int]:
    """The processes that serve, below gunicorn's own, the one with the most open sockets first."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sorted(map(int, children), key=_sockets, reverse=True)


def _sockets(pid: int) -> int:
    try:
        return sum(1 for each in Path(f"/proc/{pid}/fd").iterdir() if _is_socket(each))
    except OSError:
        return 0


def _is_socket(fd: Path) -> bool:
    try:
        return bool(re.match(r"socket:", str(fd.readlink())))
    except OSError:
        return False
