"""What a recorded turn comes to in the transcript, and in what is kept of the call's sound."""

from __future__ import annotations

import logging

from flaskapp.phone.audio import TELEPHONE_RATE_HZ, Wav, pcm16_to_mulaw
from flaskapp.phone.transcript import AGENT, CALLER, Line
from flaskapp.store import audio_parts
from flaskapp.store.call_audio import CallAudio
from flaskapp.store.turns import Outcome, Turn

log = logging.getLogger(__name__)


def lines_of(turn: Turn, outcome: Outcome, is_heard: bool) -> list[Line]:
    """The caller's and the agent's; an answer that nobody heard is marked as interrupted."""
    end_ms = turn.at_ms + turn.duration_ms
    lines = []
    if outcome.transcript:
        lines.append(Line(turn.key, turn.position, CALLER, outcome.transcript, turn.at_ms, end_ms, True))
    if outcome.response:
        item = f"{turn.key}-reply"
        answer = Line(item, turn.position + 1, AGENT, outcome.response, end_ms, end_ms, True, not is_heard)
        lines.append(answer)
    return lines


def keep_sound(audio: CallAudio, turn: Turn, sound: Wav) -> None:
    """What the caller said, at its place in the call; of a turn that is worked on again it is there once."""
    mulaw = pcm16_to_mulaw(sound.at(TELEPHONE_RATE_HZ))
    pieces = audio_parts.split(audio_parts.CALLER, turn.at_ms, mulaw)
    try:
        audio.place(turn.call_sid, f"turn-{turn.key}", pieces)
    except OSError as error:
        log.error("A turn's sound is not kept: %s", error, extra={"call_sid": turn.call_sid})
