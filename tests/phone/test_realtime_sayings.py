"""What we say to a Realtime server: nothing that the ``openai`` package's typed models do not know."""

from __future__ import annotations

import base64
import json

import pytest

from flaskapp.phone.engines.realtime import COMMIT, RealtimeSession, SessionSpec
from tests.fakes import offences

FULL = SessionSpec("Be brief. Grüß Gott.", "marin", "de-DE", "gpt-transcribe")


@pytest.mark.parametrize("spec", [FULL, SessionSpec("x"), SessionSpec("", transcribe_model="whisper-1")])
@pytest.mark.parametrize("audio_format", ["audio/pcmu", "audio/pcm"])
@pytest.mark.parametrize("minimal", [False, True])
def test_the_session_is_one_that_the_models_know(spec, audio_format, minimal):
    update = json.loads(RealtimeSession(audio_format).session_update(spec, audio_format, minimal))
    assert offences(update) == []
    assert update["session"]["instructions"] == spec.instructions


def test_the_session_asks_for_what_a_call_needs():
    session = json.loads(RealtimeSession().session_update(FULL, "audio/pcmu"))["session"]
    hears, speaks = session["audio"]["input"], session["audio"]["output"]
    assert hears["format"] == speaks["format"] == {"type": "audio/pcmu"}
    assert hears["turn_detection"] == {
        "type": "server_vad",
        "create_response": True,
        "interrupt_response": True,
    }
    assert hears["transcription"] == {"model": "gpt-transcribe", "language": "de"}
    assert (session["output_modalities"], speaks["voice"]) == (["audio"], "marin")


def test_the_least_session_asks_for_nothing_that_may_be_refused():
    session = json.loads(RealtimeSession().session_update(FULL, "audio/pcmu", minimal=True))["session"]
    sound = {"format": {"type": "audio/pcmu"}}
    assert session["audio"] == {"input": sound, "output": sound}


def test_everything_else_that_we_say_is_known_too():
    codec = RealtimeSession()
    said = [
        codec.append(base64.b64encode(b"\xff" * 160)),
        COMMIT,
        *(codec.response_create(), codec.response_create('Say "Grüß Gott"\n')),
        *(codec.response_cancel("r1"), codec.truncate("a1", 0, 1500)),
    ]
    assert [offences(json.loads(message)) for message in said] == [[]] * len(said)


def test_caller_audio_is_appended_as_it_came():
    assert RealtimeSession().append(b"/w==") == b'{"type":"input_audio_buffer.append","audio":"/w=="}'


def test_what_was_heard_is_said_in_milliseconds():
    assert json.loads(RealtimeSession().truncate("a1", 2, 1500)) == {
        "type": "conversation.item.truncate",
        "item_id": "a1",
        "content_index": 2,
        "audio_end_ms": 1500,
    }
