"""Exotel's stream on the wire: every message as its pages have it, in each of their spellings."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy
import pytest
import soxr

from flaskapp.phone import events as ev
from flaskapp.phone.audio import mulaw_to_pcm16, pcm16_to_mulaw
from flaskapp.phone.carriers.exotel import ExotelStream
from flaskapp.phone.resampling import DELAY_MS, QUALITY
from tests.contracts.carrier import CarrierContract

CONNECTED = b'{"event":"connected"}'
START = (
    b'{"event":"start","sequence_number":1,"stream_sid":"s1","start":{"stream_sid":"s1","call_sid":"c1",'
    b'"account_sid":"a1","from":"09876543210","to":"08012345678","custom_parameters":{"k":"v"},'
    b'"media_format":{"encoding":"base64","sample_rate":"8000","bit_rate":"128kbps"}}}'
)
MEDIA = (
    b'{"event":"media","sequence_number":3,"stream_sid":"s1",'
    b'"media":{"chunk":2,"timestamp":"100","payload":"AAAAAA=="}}'
)
DTMF = b'{"event":"dtmf","sequence_number":9,"stream_sid":"s1","dtmf":{"digit":"5","duration":"120"}}'
MARK = b'{"event":"mark","sequence_number":10,"stream_sid":"s1","mark":{"name":"a1"}}'
STOP = (
    b'{"event":"stop","sequence_number":11,"stream_sid":"s1",'
    b'"stop":{"call_sid":"c1","account_sid":"a1","reason":"callended"}}'
)
STARTED = ev.StreamStarted(
    "s1", "c1", "audio/pcmu", 8000, "a1", "09876543210", "08012345678", {"k": "v"}, carrier="exotel"
)
#: As Exotel spells it in camelCase; the rest is spelt alike.
CAMEL = {
    "stream_sid": "streamSid",
    "call_sid": "callSid",
    "account_sid": "accountSid",
    "custom_parameters": "customParameters",
    "media_format": "mediaFormat",
    "sample_rate": "sampleRate",
    "bit_rate": "bitRate",
    "sequence_number": "sequenceNumber",
    "payload": "Payload",
}


def camel(value: Any) -> Any:
    """The same message in the other spelling."""
    if not isinstance(value, dict):
        return value
    return {CAMEL.get(name, name): camel(each) for name, each in value.items()}


def resampled(pcm: bytes, from_hz: int, to_hz: int) -> bytes:
    samples = numpy.frombuffer(pcm, "<i2")
    return soxr.resample(samples, from_hz, to_hz, quality=QUALITY).astype("<i2").tobytes()


class ExotelContract(CarrierContract):
    sample_bytes = 2
    silence = b"\0"
    spelling = staticmethod(lambda message: message)
    in_the_way = [json.loads(CONNECTED)]  # noqa: RUF012 - nobody changes it

    def make(self):
        return ExotelStream()

    @property
    def start(self):
        message = json.loads(START)
        message["start"]["media_format"]["sample_rate"] = str(self.rate_hz)
        return self.spelling(message)

    @property
    def stop(self):
        return self.spelling(json.loads(STOP))

    def media(self, payload, number=1):
        media = {"chunk": number, "timestamp": str(100 * number), "payload": payload}
        return self.spelling(
            {"event": "media", "sequence_number": number + 1, "stream_sid": "s1", "media": media}
        )

    def mark_back(self, name):
        return self.spelling({"event": "mark", "sequence_number": 10, "mark": {"name": name}})

    def may_be_sent(self, size):
        return size == 3200


class Companded:
    """8 kHz: companded to mu-law and back."""

    def heard(self, sound):
        return pcm16_to_mulaw(sound)

    def played(self, sound):
        return mulaw_to_pcm16(sound)


class Resampled:
    """16 kHz: to 24 kHz and back, through a filter that rounds in its own way."""

    audio_format = "audio/pcm"
    rate_hz = 16_000
    slack_ms = float(DELAY_MS)

    def heard(self, sound):
        return resampled(sound, 16_000, 24_000)

    def played(self, sound):
        return resampled(sound, 24_000, 16_000)

    def same(self, sound, wanted):
        got, meant = (numpy.frombuffer(each, "<i2").astype(int) for each in (sound, wanted))
        size = min(len(got), len(meant))
        is_near = numpy.abs(got[:size] - meant[:size]).max(initial=0) <= 3
        return bool(is_near) and 0 <= len(meant) - len(got) <= DELAY_MS * 24


class AsItIs:
    """24 kHz: the engine's own."""

    audio_format = "audio/pcm"
    rate_hz = 24_000


class Camel:
    spelling = staticmethod(camel)


class TestAt8kHz(Companded, ExotelContract): ...


class TestAt8kHzInCamelCase(Companded, Camel, ExotelContract): ...


class TestAt16kHz(Resampled, ExotelContract): ...


class TestAt16kHzInCamelCase(Resampled, Camel, ExotelContract): ...


class TestAt24kHz(AsItIs, ExotelContract): ...


class TestAt24kHzInCamelCase(AsItIs, Camel, ExotelContract): ...


class TestLongChunks(AsItIs, ExotelContract):
    def make(self):
        return ExotelStream(8000, 6400)  # the start says 24 kHz, and it knows

    def may_be_sent(self, size):
        return size == 6400 or (size % 320 == 0 and 3200 <= size < 6400)


class TestMulaw(ExotelContract):
    """A page of theirs has it so: then it passes as it is."""

    sample_bytes = 1
    silence = b"\xff"

    @property
    def start(self):
        message = json.loads(START)
        message["start"]["media_format"] = {"encoding": "audio/x-mulaw", "sample_rate": 8000}
        return message


# ------------------------------------------------------------------------ in


def started(start: bytes = START) -> ExotelStream:
    codec = ExotelStream()
    codec.decode(start)
    return codec


def start_with(**changes: Any) -> bytes:
    message = json.loads(START)
    message["start"].update(changes)
    return json.dumps(message).encode()


def format_told(encoding: Any = "base64", rate: Any = "8000") -> tuple[str, int]:
    event = ExotelStream().decode(start_with(media_format={"encoding": encoding, "sample_rate": rate}))
    return event.audio_format, event.sample_rate_hz


@pytest.mark.parametrize("spelling", [lambda message: message, camel], ids=["snake", "camel"])
@pytest.mark.parametrize(
    ("message", "event"),
    [
        (CONNECTED, None),
        (START, STARTED),
        (MEDIA, ev.CallerAudio(b"//8=", 0.25)),
        (DTMF, ev.Digit("5")),
        (MARK, ev.MarkReached("a1")),
        (STOP, ev.StreamStopped("callended")),
    ],
)
def test_each_message_is_read(message, event, spelling):
    assert ExotelStream().decode(json.dumps(spelling(json.loads(message))).encode()) == event


def test_the_guides_messages_are_read_as_they_stand():
    codec = ExotelStream()
    start = codec.decode(b'{"event":"start","start":{"stream_sid":"stream_id","call_sid":"call_id"}}')
    assert start == ev.StreamStarted("stream_id", "call_id", "audio/pcmu", carrier="exotel")
    media = b'{"event":"media","media":{"payload":"base64_encoded_audio","timestamp":"timestamp"}}'
    assert codec.decode(media) == ev.Malformed("carrier", "audio")
    assert codec.decode(b'{"event":"stop"}') == ev.StreamStopped()


@pytest.mark.parametrize("rate", [16000, "16000", 16000.0])
def test_numbers_may_be_text(rate):
    assert format_told(rate=rate) == ("audio/pcm", 16_000)


@pytest.mark.parametrize(
    "encoding", ["base64", "raw", "audio/x-raw", "audio/l16", "audio/L16;rate=8000", "", None]
)
def test_pcm_has_many_names(encoding):
    assert format_told(encoding) == ("audio/pcmu", 8000)


@pytest.mark.parametrize(
    ("encoding", "rate"),
    [
        *[("opus", 8000), ("audio/x-mulaw", 16_000), ("raw", 44_100), ("raw", "fast"), ("raw", -8000)],
        *[("raw", 1e30), ("raw", 10**400), ("raw", "9" * 9000)],
    ],
)
def test_a_format_that_we_have_no_equal_of_is_none(encoding, rate):
    assert format_told(encoding, rate)[0] == ""


@pytest.mark.parametrize(
    ("rate", "told"), [(8000, "audio/pcmu"), (16_000, "audio/pcm"), (24_000, "audio/pcm")]
)
@pytest.mark.parametrize("silent", [{"media_format": None}, {"media_format": {"encoding": "raw"}}])
def test_a_start_without_a_rate_has_the_one_of_the_address(rate, told, silent):
    event = ExotelStream(rate).decode(start_with(**silent))
    assert (event.audio_format, event.sample_rate_hz) == (told, rate)


def test_the_start_s_own_rate_counts_more():
    assert ExotelStream(24_000).decode(START).sample_rate_hz == 8000


def test_a_second_start_does_not_bend_the_sound():
    codec = started()
    before = len(codec.chunks(base64.b64encode(b"\xff" * 8000)))
    codec.decode(start_with(media_format={"encoding": "raw", "sample_rate": 24_000}))
    assert (codec.bytes_per_s, before) == (16_000, 5)
    assert codec.decode(MEDIA) == ev.CallerAudio(b"//8=", 0.25)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (None, {}),
        ({}, {}),
        ([1], {}),
        ("x", {}),
        ({"a": 1, "b": None, "c": {"d": []}, "e": "ü"}, {"a": "1", "b": "None", "c": "{'d': []}", "e": "ü"}),
    ],
)
def test_parameters_are_text_whatever_they_were(given, read):
    assert ExotelStream().decode(start_with(custom_parameters=given)).parameters == read


def test_the_streams_id_may_stand_in_either_place_and_be_a_number():
    assert ExotelStream().decode(b'{"event":"start","stream_sid":7,"start":{"call_sid":8}}').stream_id == "7"
    assert ExotelStream().decode(b'{"event":"start","streamSid":"s2"}').stream_id == "s2"


def test_a_stream_without_a_name_is_called_by_its_call_s():
    codec = ExotelStream()
    started = codec.decode(b'{"event":"start","start":{"call_sid":"c1"}}')
    assert (started.stream_id, started.call_sid) == ("c1", "c1")
    assert json.loads(codec.mark("m"))["stream_sid"] == "c1"


@pytest.mark.parametrize(
    ("odd", "audio_format"),
    [
        ({"media_format": "raw"}, "audio/pcmu"),
        ({"media_format": "whatever"}, "audio/pcmu"),
        ({"media_format": ["raw"]}, "audio/pcmu"),
        ({"media_format": {"encoding": 5, "sample_rate": 24000}}, "audio/pcm"),
        ({"media_format": {"encoding": {"a": []}, "sample_rate": [8000]}}, "audio/pcmu"),
        ({"from": {}, "to": [], "account_sid": True}, "audio/pcmu"),
        ({"stream_sid": {"a": 1}}, "audio/pcmu"),
        ({"from": {}, "media_format": {"encoding": "raw", "sample_rate": "44100"}}, ""),
    ],
)
def test_no_call_is_lost_for_a_field_of_another_type(odd, audio_format):
    body = {"stream_sid": "s1", "call_sid": "c1", "from": "0987", "to": "0801", **odd}
    body["custom_parameters"] = {"k": 1}
    message = json.dumps({"event": "start", "sequence_number": [], "stream_sid": "s1", "start": body})
    started = ExotelStream().decode(message.encode())
    assert isinstance(started, ev.StreamStarted)
    assert (started.stream_id, started.call_sid, started.audio_format) == ("s1", "c1", audio_format)
    assert started.caller == ("" if "from" in odd else "0987")
    assert started.parameters == {"k": "1"}


@pytest.mark.parametrize(
    "message",
    [
        b'{"event":"start"}',
        b'{"event":"start","start":{}}',
        b'{"event":"start","start":[]}',
        b'{"event":"start","stream_sid":{},"start":{"call_sid":null}}',
        b'{"event":"start","start":{"call_sid":1e999}}',
        b'{"event":"media"}',
        b'{"event":"media","media":{}}',
        b'{"event":"media","media":{"payload":5}}',
        b'{"event":"media","media":"AAAA"}',
        b'{"event":"mark"}',
        b'{"event":"dtmf"}',
        b'{"media":{"payload":"AAAA"}}',
    ],
)
def test_a_known_message_without_what_matters_is_malformed(message):
    assert ExotelStream().decode(message) == ev.Malformed("carrier", "message")


@pytest.mark.parametrize("digit", ["0", "9", "*", "#", "A", 5, 5.0])
def test_every_key_is_told(digit):
    message = {"event": "dtmf", "dtmf": {"digit": digit, "duration": 120}}
    assert ExotelStream().decode(json.dumps(message).encode()) == ev.Digit(str(digit).removesuffix(".0"))


@pytest.mark.parametrize("stop", [None, {}, "callended", ["callended"], {"reason": 5}])
def test_a_stop_is_one_whatever_it_says(stop):
    assert ExotelStream().decode(json.dumps({"event": "stop", "stop": stop}).encode()) == ev.StreamStopped()


def test_24_khz_reaches_the_engine_as_the_very_text_that_came():
    codec = started(start_with(media_format={"sample_rate": 24_000}))
    payload = base64.b64encode(bytes(range(256)) * 3)
    message = {"event": "media", "media": {"payload": payload.decode()}}
    assert codec.decode(json.dumps(message).encode()) == ev.CallerAudio(payload, 16.0)


def test_the_same_sound_without_a_number_is_no_repetition():
    codec, silence = started(), {"payload": "AAAAAA=="}
    medias = [{"chunk": 1, "payload": "AQEBAQ=="}, *[silence] * 5, {"chunk": 2, "payload": "AQEBAQ=="}]
    messages = [json.dumps({"event": "media", "media": media}).encode() for media in medias]
    assert all(isinstance(codec.decode(message), ev.CallerAudio) for message in messages)


def test_time_that_is_still_in_the_filter_is_told_with_what_comes_out_next():
    codec = started(start_with(media_format={"sample_rate": 16_000}))
    message = {"event": "media", "media": {"payload": base64.b64encode(b"\1\0" * 160).decode()}}
    told = [codec.decode(json.dumps(message).encode()) for _ in range(200)]
    heard = [event for event in told if event is not None]
    assert told[0] is None
    assert all(event.duration_ms > 0 and event.payload for event in heard)
    assert 2000 - DELAY_MS - 10 <= sum(event.duration_ms for event in heard) <= 2000
    assert 2000 - DELAY_MS - 1 <= sum(len(base64.b64decode(event.payload)) for event in heard) / 48 <= 2000
