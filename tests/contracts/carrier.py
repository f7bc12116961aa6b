"""What every carrier's codec must do, whichever carrier: its tests inherit these and give the messages.

class TestTwilioStream(CarrierContract):
    make = TwilioStream
    ...
"""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import pytest

from flaskapp.phone import events as ev
from flaskapp.phone.carriers.base import Carrier
from tests.contracts.mutation import mutants

#: Messages that no codec may stumble over, and none may take for audio.
HOSTILE = [
    b"",
    b"null",
    b"[]",
    b"5",
    b'"media"',
    b"{",
    b"{}",
    b"\xff\xfe{}",
    b"\x00" * 50,
    b"[" * 60_000,
    b'{"event":' * 10_000,
    b'{"event":"media","media":5,"x":' + b"[" * 60_000,
    b'{"event":"media","media":{"payload":' + b"9" * 10_000 + b"}}",
    b'{"event":"\\ud800"}',
    b'{"event":1e999}',
    b"<html></html>",
    b'{"event":"media","media":{"payload":"/w=="}} trailing',
]


class CarrierContract:
    """Inherited by each carrier's tests; ``make`` is the codec, the rest are its messages."""

    make: type[Carrier]
    start: dict[str, Any]
    stop: dict[str, Any]
    in_the_way: list[dict[str, Any]]  # known, but nobody needs them

    def media(self, payload: str) -> dict[str, Any]:
        raise NotImplementedError

    def mark_back(self, name: str) -> dict[str, Any]:
        raise NotImplementedError

    @pytest.fixture
    def codec(self) -> Carrier:
        return self.make()

    @pytest.fixture
    def started(self, codec: Carrier) -> Carrier:
        assert isinstance(self.read(codec, self.start), ev.StreamStarted)
        return codec

    def read(self, codec: Carrier, message: dict[str, Any]) -> ev.Event | None:
        return codec.decode(json.dumps(message).encode())

    def test_the_start_names_call_stream_and_format(self, codec):
        started = self.read(codec, self.start)
        assert isinstance(started, ev.StreamStarted)
        assert started.call_sid
        assert started.stream_id
        assert started.audio_format == "audio/pcmu"

    def test_audio_comes_as_it_was_sent_with_its_duration(self, started):
        payload = base64.b64encode(bytes(range(160)))
        assert self.read(started, self.media(payload.decode())) == ev.CallerAudio(payload, 20.0)

    @pytest.mark.parametrize("size", [1, 159, 160, 161, 8000])
    def test_no_size_of_audio_is_relied_on(self, started, size):
        payload = base64.b64encode(b"\x11" * size)
        assert self.read(started, self.media(payload.decode())) == ev.CallerAudio(payload, size / 8)

    @pytest.mark.parametrize("wrong", ["=", "a", "abc", "ab==cd", "a b=", "äöü", 'x"y=', "/w==/w=="])
    def test_audio_that_is_not_base64_is_malformed(self, started, wrong):
        assert self.read(started, self.media(wrong)) == ev.Malformed("carrier", "audio")

    def test_empty_audio_is_no_audio(self, started):
        assert self.read(started, self.media("")) is None

    def test_the_stop_is_told(self, started):
        assert isinstance(self.read(started, self.stop), ev.StreamStopped)

    def test_a_mark_that_we_set_comes_back(self, started):
        assert b"m17" in started.mark("m17")
        assert self.read(started, self.mark_back("m17")) == ev.MarkReached("m17")

    def test_what_nobody_needs_is_ignored(self, codec):
        assert [self.read(codec, message) for message in self.in_the_way] == [None] * len(self.in_the_way)

    def test_unknown_events_and_fields_are_ignored(self, started):
        assert self.read(started, {"event": "brand_new", "media": 5, "start": [], "mark": "x"}) is None
        more = {**self.media("/w=="), "brandNew": {"deep": [1, None]}}
        assert self.read(started, more) == ev.CallerAudio(b"/w==", 0.125)

    @pytest.mark.parametrize("message", HOSTILE, ids=range(len(HOSTILE)))
    def test_a_hostile_message_is_malformed_or_ignored(self, started, message):
        event = started.decode(message)
        assert event is None or (isinstance(event, ev.Malformed) and event.leg == "carrier")

    def test_what_is_sent_is_json_of_the_carriers_own_stream(self, started):
        payload = base64.b64encode(b"\x11" * 160)
        sent = [*started.media(payload), started.mark("m1"), started.clear()]
        for message in sent:
            assert self.stream_id in json.dumps(json.loads(message))

    def test_long_audio_is_split_at_a_second_and_nothing_is_lost(self, started):
        sound = random.Random(5).randbytes(8000 * 5 + 123)
        parts = [self.payload_of(json.loads(each)) for each in started.media(base64.b64encode(sound))]
        assert len(parts) >= 6
        assert all(len(base64.b64decode(part, validate=True)) <= 8000 for part in parts)
        assert b"".join(base64.b64decode(part) for part in parts) == sound

    def test_a_second_start_does_not_redirect_the_audio(self, started):
        before = started.media(b"/w==")
        self.read(started, json.loads(json.dumps(self.start).replace(self.stream_id, "another-stream")))
        assert started.media(b"/w==") == before

    @pytest.mark.parametrize("seed", range(5))
    def test_no_mutilated_message_raises(self, seed):
        chance, codec = random.Random(seed), self.make()
        seeds = [self.start, self.stop, self.media("/w=="), self.mark_back("m1"), *self.in_the_way]
        for message in mutants(seeds, chance, 400):
            event = codec.decode(message)
            assert event is None or isinstance(event, ev.Event)

    @property
    def stream_id(self) -> str:
        started = self.read(self.make(), self.start)
        assert isinstance(started, ev.StreamStarted)
        return started.stream_id

    def payload_of(self, message: dict[str, Any]) -> str:
        return message["media"]["payload"]
