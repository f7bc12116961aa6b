"""The Realtime API on the wire: every event that the typed models know is read or let be."""

from __future__ import annotations

import base64
import json
import random

import pytest

from flaskapp.phone import events as ev
from flaskapp.phone.engines.realtime import RealtimeSession
from tests.contracts import engine_events
from tests.contracts.mutation import mutants
from tests.fakes import offences

MODELS = engine_events.models()
READ = {
    "session.updated": ev.SessionReady,
    "input_audio_buffer.speech_started": ev.SpeechStarted,
    "input_audio_buffer.speech_stopped": ev.SpeechStopped,
    "input_audio_buffer.committed": ev.SpeechCommitted,
    "conversation.item.input_audio_transcription.delta": ev.CallerWords,
    "conversation.item.input_audio_transcription.completed": ev.CallerWords,
    "conversation.item.input_audio_transcription.failed": ev.CallerWordsLost,
    "response.created": ev.ReplyStarted,
    "response.output_audio.delta": ev.ReplyAudio,
    "response.output_audio.done": ev.ReplyAudioEnded,
    "response.output_audio_transcript.delta": ev.ReplyWords,
    "response.output_audio_transcript.done": ev.ReplyWords,
    "response.output_text.delta": ev.ReplyWords,
    "response.output_text.done": ev.ReplyWords,
    "response.done": ev.ReplyEnded,
    "error": ev.EngineFault,
}


def read(event: dict) -> ev.Event | None:
    return RealtimeSession().decode(json.dumps(event).encode())


def by_name(model):
    return engine_events.least(model)["type"]


@pytest.mark.parametrize("model", MODELS, ids=by_name)
@pytest.mark.parametrize("make", ["full", "least", "with_nulls"])
def test_every_server_event_is_read_or_let_be(model, make):
    event = engine_events.full(model)
    if make == "least":
        event = engine_events.least(model)
    elif make == "with_nulls":
        event = engine_events.with_nulls(model, event)
    engine_events.server_event.validate_python(event)
    assert isinstance(read(event), READ.get(event["type"], type(None)))


def test_every_event_that_is_read_is_one_that_the_models_know():
    assert set(READ) < {by_name(model) for model in MODELS}


AT = {"response_id": "r1", "item_id": "a1", "output_index": 0, "content_index": 0}
HEARD = "conversation.item.input_audio_transcription"
BUFFER = "input_audio_buffer"
SPOKEN = "response.output_audio_transcript"
ERROR = {"type": "t", "code": "c", "message": "m", "param": "p", "event_id": "e"}
SECONDS = {"type": "duration", "seconds": 1.5}
SAYS = [
    ("response.output_audio.delta", {"delta": "/////w=="}, ev.ReplyAudio("r1", "a1", 0, b"/////w==", 0.5)),
    ("response.output_audio.done", {}, ev.ReplyAudioEnded("r1", "a1")),
    (f"{SPOKEN}.delta", {"delta": "Gu"}, ev.ReplyWords("r1", "a1", "Gu", False)),
    (f"{SPOKEN}.done", {"transcript": "Gut."}, ev.ReplyWords("r1", "a1", "Gut.", True)),
    ("response.output_text.delta", {"delta": "Gu"}, ev.ReplyWords("r1", "a1", "Gu", False)),
    ("response.output_text.done", {"text": "Gut."}, ev.ReplyWords("r1", "a1", "Gut.", True)),
    ("response.created", {"response": {"id": "r1"}}, ev.ReplyStarted("r1")),
    (f"{BUFFER}.speech_started", {"item_id": "u1", "audio_start_ms": 40}, ev.SpeechStarted("u1", 40)),
    (f"{BUFFER}.speech_started", {"item_id": "u1", "audio_start_ms": -40}, ev.SpeechStarted("u1", 0)),
    (f"{BUFFER}.speech_stopped", {"item_id": "u1", "audio_end_ms": 90}, ev.SpeechStopped("u1", 90)),
    (f"{BUFFER}.committed", {"item_id": "u1"}, ev.SpeechCommitted("u1")),
    (f"{HEARD}.delta", {"delta": "Hel"}, ev.CallerWords("a1", "Hel", False)),
    (f"{HEARD}.failed", {"error": {"code": "x"}}, ev.CallerWordsLost("a1", "x")),
    (
        f"{HEARD}.completed",
        {"transcript": "Hello.", "usage": SECONDS},
        ev.CallerWords("a1", "Hello.", True, {"seconds": 1.5}),
    ),
    ("error", {"error": ERROR}, ev.EngineFault("c", "t", "m", "p", "e")),
    ("error", {"error": {"type": "t", "code": None, "message": "m"}}, ev.EngineFault("", "t", "m")),
]


@pytest.mark.parametrize(("name", "brings", "ours"), SAYS, ids=[name for name, _, _ in SAYS])
def test_each_event_says_in_our_words_what_it_said(name, brings, ours):
    assert read({"type": name, **AT, **brings}) == ours


def test_a_finished_response_tells_its_cost_flat():
    usage = {
        "total_tokens": 30,
        "input_tokens": 10,
        "output_tokens": 20,
        "input_token_details": {
            "text_tokens": 4,
            "audio_tokens": 6,
            "cached_tokens_details": {"text_tokens": 1},
        },
        "output_token_details": {"text_tokens": 5, "audio_tokens": 15},
    }
    ended = read({"type": "response.done", "response": {"id": "r1", "status": "completed", "usage": usage}})
    assert ended == ev.ReplyEnded(
        "r1",
        "completed",
        usage={
            **{"total_tokens": 30, "input_tokens": 10, "output_tokens": 20},
            **{"input_text_tokens": 4, "input_audio_tokens": 6, "input_cached_text_tokens": 1},
            **{"output_text_tokens": 5, "output_audio_tokens": 15},
        },
    )


@pytest.mark.parametrize(
    ("details", "reason", "code"),
    [
        ({"type": "failed", "error": {"type": "server_error", "code": "rate_limit"}}, "", "rate_limit"),
        ({"type": "failed", "error": {"type": "server_error"}}, "", "server_error"),
        ({"type": "cancelled", "reason": "turn_detected"}, "turn_detected", ""),
        (None, "", ""),
    ],
)
def test_a_response_that_went_wrong_says_why(details, reason, code):
    done = {"type": "response.done", "response": {"id": "r1", "status": "failed", "status_details": details}}
    assert read(done) == ev.ReplyEnded("r1", "failed", reason, code)


def echoed(turns: dict | None, hears: str = "audio/pcmu", speaks: str = "audio/pcmu") -> ev.Event | None:
    audio = {
        "input": {"format": {"type": hears}, "turn_detection": turns},
        "output": {"format": {"type": speaks}},
    }
    return read({"type": "session.updated", "session": {"type": "realtime", "audio": audio}})


def test_the_session_says_what_it_agreed_to():
    turns = {"type": "server_vad", "interrupt_response": True, "silence_duration_ms": 500}
    assert echoed(turns) == ev.SessionReady("audio/pcmu", "audio/pcmu", True, 500, False)
    assert echoed({}, "audio/pcm", "audio/pcma") == ev.SessionReady(
        "audio/pcm", "audio/pcma", False, 0, False
    )


@pytest.mark.parametrize(
    ("turns", "itself"),
    [
        (None, False),
        ({"type": "semantic_vad"}, True),
        ({"type": "server_vad", "interrupt_response": False}, False),
    ],
)
def test_whether_the_engine_interrupts_itself_is_known(turns, itself):
    assert echoed(turns).interrupts_itself is itself


NOTHING = [None, {}, {"audio": None}, {"audio": {"input": None, "output": {"format": None}}}]


@pytest.mark.parametrize("session", NOTHING)
def test_a_session_that_echoes_nothing_agreed_to_nothing(session):
    assert read({"type": "session.updated", "session": session}) == ev.SessionReady("", "", False, 0, False)


def test_function_calls_are_read_in_one_place_only():
    item = {"type": "function_call", "call_id": "c1", "name": "transfer", "arguments": '{"to":1}'}
    done = {"type": "response.output_item.done", "response_id": "r1", "item": item}
    assert read(done) == ev.ToolCalled("r1", "c1", "transfer", '{"to":1}')
    assert read({**done, "item": {"type": "message"}}) is None
    also = {"type": "response.function_call_arguments.done", **AT, "call_id": "c1", "arguments": "{}"}
    assert read(also) is None


@pytest.mark.parametrize(
    "event",
    [
        {"type": "brand.new"},
        {"type": "brand.new", "delta": {"a": 1}, "item": 5, "response": [], "error": "x"},
        {"type": "rate_limits.updated", "usage": "none"},
    ],
)
def test_an_unknown_event_may_look_as_it_likes(event):
    assert read(event) is None


DELTA = b'{"type":"response.output_audio.delta","delta":%s}'


def test_an_empty_delta_is_no_audio():
    assert read({"type": "response.output_audio.delta", **AT, "delta": ""}) is None


@pytest.mark.parametrize(
    "message",
    [
        *(b"", b"null", b"[]", b"{", b"{}", b"\xff", b"[" * 100_000, b'{"type":5}', b'{"no":"type"}'),
        b'{"type":"error","error":5,"x":' + b"[" * 100_000,
        *(DELTA % bad for bad in (b"5", b'"a"', b'"ab=c"', b'"\xc3\xa4"')),
        b'{"type":"response.done","response":"done"}',
        b'{"type":"response.done","response":{"status_details":"none"}}',
        b'{"type":"session.updated","session":{"audio":[1]}}',
        b'{"type":"input_audio_buffer.speech_started","audio_start_ms":1e999}',
        b'{"type":"input_audio_buffer.speech_started","audio_start_ms":1e300}',
        b'{"type":"input_audio_buffer.speech_stopped","audio_end_ms":' + b"9" * 400 + b"}",
        b'{"type":"session.updated","session":{"audio":{"input":{"turn_detection":'
        b'{"silence_duration_ms":1e300}}}}}',
    ],
    ids=lambda message: message[:50].decode(errors="replace") or "empty",
)
def test_what_cannot_be_read_is_malformed(message):
    assert RealtimeSession().decode(message) == ev.Malformed("engine", "message")


def test_counts_beyond_counting_are_left_out():
    usage = {"total_tokens": 10**30, "input_tokens": 3, "output_tokens": True}
    done = {"type": "response.done", "response": {"id": "r1", "status": "completed", "usage": usage}}
    assert read(done).usage == {"input_tokens": 3}


@pytest.mark.parametrize("seed", range(10))
def test_no_mutilated_event_raises(seed):
    seeds = [engine_events.full(model) for model in MODELS]
    codec = RealtimeSession()
    for message in mutants(seeds, random.Random(seed), 400):
        event = codec.decode(message)
        assert event is None or isinstance(event, ev.Event)


def test_pcm_lasts_forty_eight_bytes_a_millisecond():
    delta = {"type": "response.output_audio.delta", **AT, "delta": base64.b64encode(bytes(480)).decode()}
    event = RealtimeSession("audio/pcm").decode(json.dumps(delta).encode())
    assert event.duration_ms == 10


def test_whether_the_callers_words_will_be_written_down_is_known():
    hears = {"format": {"type": "audio/pcmu"}, "transcription": {"model": "gpt-transcribe"}}
    session = {"audio": {"input": hears, "output": {"format": {"type": "audio/pcmu"}}}}
    assert read({"type": "session.updated", "session": session}).transcribes
    hears["transcription"] = None
    assert not read({"type": "session.updated", "session": session}).transcribes


@pytest.mark.parametrize(
    ("speaker", "role", "kind"), [("caller", "user", "input_text"), ("agent", "assistant", "output_text")]
)
def test_what_was_said_before_is_told_as_items_that_the_api_knows(speaker, role, kind):
    event = json.loads(RealtimeSession().recite(speaker, 'Say "yes", \u00fc.'))
    assert offences(event) == []
    assert event["item"]["role"] == role
    assert event["item"]["content"] == [{"type": kind, "text": 'Say "yes", \u00fc.'}]
