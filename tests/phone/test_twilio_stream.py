"""Twilio's media stream on the wire: every message as its documentation has it, byte for byte."""

from __future__ import annotations

import base64
import json

import pytest
from twilio.request_validator import RequestValidator

from flaskapp.phone import events as ev
from flaskapp.phone.carriers.twilio import TwilioStream
from tests.contracts.carrier import CarrierContract, CarrierDoor

CONNECTED = b'{"event":"connected","protocol":"Call","version":"1.0.0"}'
START = (
    b'{"event":"start","sequenceNumber":"1","streamSid":"MZ1","start":{"accountSid":"AC1","streamSid":"MZ1",'
    b'"callSid":"CA1","tracks":["inbound"],"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,'
    b'"channels":1},"customParameters":{"t":"x"}}}'
)
MEDIA = (
    b'{"event":"media","sequenceNumber":"2","streamSid":"MZ1",'
    b'"media":{"track":"inbound","chunk":"1","timestamp":"5","payload":"/w=="}}'
)
DTMF = b'{"event":"dtmf","sequenceNumber":"9","streamSid":"MZ1","dtmf":{"track":"inbound_track","digit":"5"}}'
MARK = b'{"event":"mark","sequenceNumber":"10","streamSid":"MZ1","mark":{"name":"a1"}}'
STOP = b'{"event":"stop","sequenceNumber":"11","streamSid":"MZ1","stop":{"accountSid":"AC1","callSid":"CA1"}}'
STARTED = ev.StreamStarted("MZ1", "CA1", "audio/pcmu", account_id="AC1", parameters={"t": "x"})


class TestTwilioStream(CarrierContract):
    make = TwilioStream
    start = json.loads(START)
    stop = json.loads(STOP)
    in_the_way = [json.loads(CONNECTED)]  # noqa: RUF012 - nobody changes it

    def media(self, payload, number=1):
        media = {"track": "inbound", "chunk": str(number), "timestamp": "5", "payload": payload}
        return {"event": "media", "sequenceNumber": str(number + 1), "streamSid": "MZ1", "media": media}

    def may_be_sent(self, size):
        return 0 < size <= 8000  # it names no limit: a second stays far below any

    def mark_back(self, name):
        return {"event": "mark", "sequenceNumber": "10", "streamSid": "MZ1", "mark": {"name": name}}


@pytest.mark.system
class TestTwilioDoor(CarrierDoor):
    public = "wss://voice.example.com"
    token = "0123456789abcdef0123456789abcdef"
    ai = "http://127.0.0.1:9/v1"  # nobody there: no handshake gets that far

    @pytest.fixture
    def door(self, gunicorn_app):
        names = {"FLASK_BASE_URL": "https://voice.example.com", "LOCAL": "0"}
        account = {"TWILIO_ACCOUNT_SID": "AC1", "TWILIO_AUTH_TOKEN": self.token}
        return gunicorn_app({**names, **account, "OPENAI_BASE_URL": self.ai, "OPENAI_API_KEY": "k"}).url

    def address(self, call_sid):
        return f"/phone/stream-audio/{call_sid}"

    def signature(self, url, token):
        return {"X-Twilio-Signature": RequestValidator(token).compute_signature(url, {})}

    def headers_right(self, call_sid):
        return self.signature(self.public + self.address(call_sid), self.token)

    def headers_wrong(self, call_sid):
        return [
            {"X-Twilio-Signature": ""},
            {"X-Twilio-Signature": "wrong"},
            self.signature(self.public + self.address(call_sid), "another token"),
            self.signature(self.public + self.address("another"), self.token),
            self.signature("wss://elsewhere.example.com" + self.address(call_sid), self.token),
            self.headers_right("another") | {"X-Forwarded-Host": "voice.example.com"},
        ]


@pytest.fixture
def codec() -> TwilioStream:
    codec = TwilioStream()
    codec.decode(START)
    return codec


@pytest.mark.parametrize(
    ("message", "event"),
    [
        (CONNECTED, None),
        (START, STARTED),
        (MEDIA, ev.CallerAudio(b"/w==", 0.125)),
        (DTMF, ev.Digit("5")),
        (MARK, ev.MarkReached("a1")),
        (STOP, ev.StreamStopped()),
    ],
)
def test_each_message_is_read(message, event):
    assert TwilioStream().decode(message) == event


def test_each_message_is_written_as_twilio_has_it(codec):
    assert codec.media(b"/w==") == [b'{"event":"media","streamSid":"MZ1","media":{"payload":"/w=="}}']
    assert codec.mark("a1") == b'{"event":"mark","streamSid":"MZ1","mark":{"name":"a1"}}'
    assert codec.clear() == b'{"event":"clear","streamSid":"MZ1"}'


def start_with(**changes) -> bytes:
    message = json.loads(START)
    message["start"].update(changes)
    return json.dumps(message).encode()


def sound(encoding="audio/x-mulaw", rate=8000) -> bytes:
    return start_with(mediaFormat={"encoding": encoding, "sampleRate": rate, "channels": 1})


@pytest.mark.parametrize("rate", [8000, "8000", 8000.0])
def test_numbers_may_come_as_strings(rate):
    assert TwilioStream().decode(sound(rate=rate)).audio_format == "audio/pcmu"


@pytest.mark.parametrize(
    ("encoding", "rate"), [("audio/x-mulaw", 16000), ("audio/x-L16", 8000), ("", 8000), ("audio/x-mulaw", "")]
)
def test_a_format_that_we_have_no_equal_of_is_none(encoding, rate):
    assert TwilioStream().decode(sound(encoding, rate)).audio_format == ""


def test_a_start_without_a_format_is_told_without_one():
    assert TwilioStream().decode(start_with(mediaFormat=None)).audio_format == ""


@pytest.mark.parametrize("parameters", [None, {}])
def test_a_start_without_parameters_has_none(parameters):
    assert TwilioStream().decode(start_with(customParameters=parameters)).parameters == {}


def test_parameters_are_text_whatever_they_were():
    given = {"a": 1, "b": None, "c": {"d": []}, "e": "ü"}
    assert TwilioStream().decode(start_with(customParameters=given)).parameters == {
        "a": "1",
        "b": "None",
        "c": "{'d': []}",
        "e": "ü",
    }


def test_the_streams_id_may_stand_in_either_place():
    outer = json.loads(start_with(streamSid=""))
    assert TwilioStream().decode(json.dumps(outer).encode()).stream_id == "MZ1"
    del outer["streamSid"]
    outer["start"]["streamSid"] = "MZ2"
    assert TwilioStream().decode(json.dumps(outer).encode()).stream_id == "MZ2"


@pytest.mark.parametrize(
    "message",
    [
        b'{"event":"start"}',
        b'{"event":"start","start":{"callSid":"CA1"}}',
        b'{"event":"media"}',
        b'{"event":"media","media":{}}',
        b'{"event":"media","media":{"payload":5}}',
        b'{"event":"media","media":"/w=="}',
        b'{"event":"mark"}',
        b'{"event":"dtmf"}',
        b'{"media":{"payload":"/w=="}}',
    ],
)
def test_a_known_message_without_what_matters_is_malformed(message):
    assert TwilioStream().decode(message) == ev.Malformed("carrier", "message")


@pytest.mark.parametrize("digit", ["0", "9", "*", "#", "A", 5])
def test_every_key_is_told(codec, digit):
    message = {"event": "dtmf", "dtmf": {"digit": digit}}
    assert codec.decode(json.dumps(message).encode()) == ev.Digit(str(digit))


def test_a_streams_id_cannot_break_out_of_the_message():
    codec = TwilioStream()
    codec.decode(start_with(streamSid='MZ","event":"clear'))
    for message in (*codec.media(b"/w=="), codec.mark("a1"), codec.clear()):
        assert json.loads(message)["streamSid"] == 'MZ","event":"clear'


def test_a_second_of_audio_is_one_message(codec):
    assert len(codec.media(base64.b64encode(b"\x11" * 7998))) == 1
