"""The front desk, used by a script of one's own: no Flask app anywhere."""

from __future__ import annotations

import math
import struct

import pytest

from flaskapp.config import load_settings
from flaskapp.phone import ai_integration
from flaskapp.phone.ai_integration import AIVoiceIntegration
from flaskapp.phone.audio import MULAW_SILENCE, pcm16_to_mulaw, write_wav
from flaskapp.phone.engines.turns import Answer
from flaskapp.phone.errors import EngineRejected

CALL = "CA1234567890abcdef"
KEYS = {"call_sid", "status", "transcript", "response", "duration_ms", "latency_ms", "error"}


def speech(ms: int) -> bytes:
    """Something audible, as mu-law."""
    return pcm16_to_mulaw(struct.pack(f"<{ms * 8}h", *(round(6000 * math.sin(n / 3)) for n in range(ms * 8))))


def silence(ms: int) -> bytes:
    return MULAW_SILENCE * (ms * 8)


class Ear:
    def __init__(self) -> None:
        self.asked: list[tuple[int, list[str], str]] = []
        self.fails = False
        self.tried = 0
        self.meanwhile = lambda: None

    def answer(self, sound, history, agent, *, wants_reply=True, within_s=14.0):
        self.tried += 1
        self.meanwhile()
        if self.fails:
            raise EngineRejected(401)
        self.asked.append((sound.duration_ms, [line.text for line in history], agent.name))
        return Answer(f"words {len(self.asked)}", f"answer {len(self.asked)}", {})


@pytest.fixture
def ear():
    return Ear()


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return load_settings({"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "SECRET_KEY": "k"}, instance=tmp_path)


@pytest.fixture
def desk(settings, ear):
    return AIVoiceIntegration(settings=settings, ai=ear)


def test_a_caller_is_answered_when_he_stops(desk, ear):
    assert desk.process_realtime_audio(speech(600), CALL)["status"] == "buffered"
    assert desk.process_realtime_audio(silence(400), CALL)["status"] == "buffered"
    told = desk.process_realtime_audio(silence(420), CALL)
    assert set(told) == KEYS
    assert (told["status"], told["transcript"], told["response"], told["error"]) == (
        "processed",
        "words 1",
        "answer 1",
        None,
    )
    assert told["duration_ms"] == 1420
    assert desk.process_realtime_audio(silence(20), CALL)["duration_ms"] == 20  # a new turn began


def test_a_cough_is_no_turn(desk, ear):
    assert desk.process_realtime_audio(speech(300) + silence(2000), CALL)["status"] == "buffered"
    assert ear.asked == []


def test_who_speaks_on_and_on_is_answered_after_fifteen_seconds(desk):
    states = [desk.process_realtime_audio(speech(1000), CALL)["status"] for _ in range(15)]
    assert states == ["buffered"] * 14 + ["processed"]


def test_final_decides(desk, ear):
    assert desk.process_realtime_audio(speech(600) + silence(900), CALL, final=False)["status"] == "buffered"
    told = desk.process_realtime_audio(speech(100), CALL, final=True)
    assert (told["status"], told["duration_ms"]) == ("processed", 1600)
    assert desk.process_realtime_audio(speech(300), CALL, final=True)["response"] == "answer 2"


def test_the_conversation_is_remembered(desk, ear):
    desk.process_realtime_audio(speech(600), CALL, final=True)
    desk.process_realtime_audio(speech(600), CALL, final=True)
    desk.process_realtime_audio(speech(600), "CAother", final=True)
    assert [said for _, said, _ in ear.asked] == [[], ["words 1", "answer 1"], []]


def test_wav_files_are_read(desk):
    told = desk.process_realtime_audio(write_wav(b"\x00\x40\x00\xc0" * 12_000, 16_000), CALL, final=True)
    assert (told["status"], told["duration_ms"]) == ("processed", 1500)


@pytest.mark.parametrize(
    ("data", "sid", "word"),
    [
        (b"", CALL, "no audio"),
        (b"<html>", CALL, "HTML"),
        (b'{"a": 1}', CALL, "JSON"),
        (b"RIFF1234", CALL, "WAV"),
        (b"\x55" * ((1 << 20) + 1), CALL, "1048576"),
        ("text", CALL, "bytes"),
        (None, CALL, "bytes"),
        (7, CALL, "bytes"),
        (b"\x55" * 160, "", "call_sid"),
        (b"\x55" * 160, "a b", "call_sid"),
        (b"\x55" * 160, "x" * 65, "call_sid"),
        (b"\x55" * 160, None, "call_sid"),
    ],
)
def test_bad_input_is_rejected_and_never_raises(desk, data, sid, word):
    told = desk.process_realtime_audio(data, sid)
    assert set(told) == KEYS
    assert told["status"] == "rejected"
    assert word in told["error"]


def test_without_an_engine_it_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    desk = AIVoiceIntegration(settings=load_settings({"SECRET_KEY": "k"}, instance=tmp_path))
    told = desk.process_realtime_audio(speech(600), CALL)
    assert (told["status"], "engine" in told["error"]) == ("rejected", True)


def test_an_engine_that_is_away_loses_nothing(desk, ear):
    ear.fails = True
    told = desk.process_realtime_audio(speech(600), CALL, final=True)
    assert (told["status"], told["duration_ms"], "401" in told["error"]) == ("buffered", 600, True)
    told = desk.process_realtime_audio(b"", CALL, final=True)
    assert (told["status"], told["duration_ms"], "401" in told["error"]) == ("buffered", 600, True)
    ear.fails = False
    told = desk.process_realtime_audio(b"", CALL, final=True)
    assert (told["status"], told["duration_ms"]) == ("processed", 600)


def test_an_engine_that_is_away_is_not_asked_with_every_chunk(desk, ear, monkeypatch):
    ear.fails = True
    told = desk.process_realtime_audio(speech(600) + silence(900), CALL)
    assert (told["status"], told["duration_ms"], bool(told["error"])) == ("buffered", 1500, True)
    for count in range(1, 4):
        told = desk.process_realtime_audio(silence(20), CALL)
        assert (told["status"], told["duration_ms"], told["error"]) == ("buffered", 1500 + 20 * count, None)
    assert ear.tried == 1
    assert desk.process_realtime_audio(speech(600) + silence(900), "CAother")["status"] == "buffered"
    assert ear.tried == 2  # another call may be luckier

    ear.fails = False
    monkeypatch.setattr(ai_integration, "LEFT_ALONE_S", 0.0)
    desk._leave_alone(CALL)
    told = desk.process_realtime_audio(silence(20), CALL)
    assert (told["status"], told["duration_ms"], told["transcript"]) == ("processed", 1580, "words 1")


def test_who_is_final_asks_an_engine_that_was_away_at_once(desk, ear):
    ear.fails = True
    desk.process_realtime_audio(speech(600) + silence(900), CALL)
    ear.fails = False
    assert desk.process_realtime_audio(b"", CALL, final=True)["status"] == "processed"
    assert desk.process_realtime_audio(speech(600) + silence(900), CALL)["status"] == "processed"


def test_what_comes_while_somebody_else_has_it_answered_is_held(desk, ear):
    told = {}

    def meanwhile() -> None:
        ear.meanwhile = lambda: None
        told.update(desk.process_realtime_audio(speech(100), CALL, final=True))

    ear.meanwhile = meanwhile
    first = desk.process_realtime_audio(speech(600), CALL, final=True)

    assert (first["status"], first["duration_ms"]) == ("processed", 600)
    assert (told["status"], told["duration_ms"], "already" in told["error"]) == ("buffered", 700, True)
    assert ear.tried == 1
    assert desk.process_realtime_audio(speech(400), CALL, final=True)["duration_ms"] == 500


def test_a_live_call_has_its_stream(desk, ear):
    desk._live.remember(CALL, state="live")
    for data, final in ((speech(600), None), (speech(600), False), (speech(600), True), (b"", True)):
        told = desk.process_realtime_audio(data, CALL, final=final)
        assert (told["status"], "stream" in told["error"]) == ("rejected", True)
    assert ear.tried == 0
    desk._live.remember(CALL, state="ended")
    assert desk.process_realtime_audio(speech(600), CALL, final=True)["duration_ms"] == 600


@pytest.mark.parametrize("sid", ["", "a b", None, 7])
def test_odd_calls_are_rejected_without_audio_too(desk, sid):
    assert desk.process_realtime_audio(b"", sid, final=True)["status"] == "rejected"


def test_the_guides_own_snippet_needs_nothing_but_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    integration = AIVoiceIntegration(
        twilio_account_sid="your_account_sid", twilio_auth_token="your_auth_token"
    )
    told = integration.process_realtime_audio(b"...", "CA1234567890abcdef")
    assert (told["status"], told["call_sid"]) == ("buffered", "CA1234567890abcdef")


# ---------------------------------------------------------------------- streams


def test_a_streams_address_can_be_dialled_as_it_is(tmp_path, ear):
    known = load_settings(
        {
            "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
            "FLASK_BASE_URL": "https://v.example.com",
            "SECRET_KEY": "k",
        },
        instance=tmp_path,
    )
    url = AIVoiceIntegration(settings=known, ai=ear).get_streaming_audio_url(CALL)
    start, _, ticket = url.rpartition("/")
    assert start == f"wss://v.example.com/phone/stream-audio/{CALL}"
    assert len(ticket) > 20


def test_where_nobody_knows_the_address_there_is_none(desk):
    assert desk.get_streaming_audio_url(CALL) is None
    assert desk.get_streaming_audio_url("a b") is None


def test_inside_a_request_the_address_is_the_requests(desk):
    from flask import Flask

    with Flask("theirs").test_request_context("/", base_url="https://voice.example.com"):
        url = desk.get_streaming_audio_url(CALL)
    assert url.startswith(f"wss://voice.example.com/phone/stream-audio/{CALL}/")
    assert desk.get_streaming_audio_url(CALL) is None


def test_without_an_engine_there_is_no_stream(tmp_path, ear):
    known = load_settings({"FLASK_BASE_URL": "https://v.example.com", "SECRET_KEY": "k"}, instance=tmp_path)
    assert AIVoiceIntegration(settings=known, ai=ear).get_streaming_audio_url(CALL) is None
