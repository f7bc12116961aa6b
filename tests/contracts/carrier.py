"""What every carrier must do, whichever it is: its tests inherit these cases and give the messages.

class TestTwilioStream(CarrierContract):  # the codec: text in, events out; commands in, text out
    make = TwilioStream
    ...

class TestTwilioDoor(CarrierDoor):  # the running app: who gets a socket, and who does not
    ...
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

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
#: Of an engine's audio, by its name for it.
ENGINE_BYTES_PER_MS = {"audio/pcmu": 8, "audio/pcm": 48}
# One function serves several carriers' classes.
shared = settings(suppress_health_check=[HealthCheck.differing_executors])


class CarrierContract:
    """Inherited by each carrier's tests.

    Attributes:
        make: makes a codec, as it is made for each new stream.
        start, stop: its messages; in_the_way: known ones that nobody needs.
        audio_format: what the start's audio is to an engine; rate_hz, sample_bytes: of the audio itself.
        silence: a byte of it.
        slack_ms: what may still be in a filter; 0.0 where nothing is resampled.
        knows_repeats: whether audio that comes twice is heard once.
    """

    make: Callable[[], Carrier]
    start: dict[str, Any]
    stop: dict[str, Any]
    in_the_way: list[dict[str, Any]]
    audio_format = "audio/pcmu"
    rate_hz = 8000
    sample_bytes = 1
    silence = b"\xff"
    slack_ms = 0.0
    knows_repeats = True

    def media(self, payload: str, number: int = 1) -> dict[str, Any]:
        """The carrier's message with this audio, the so manieth."""
        raise NotImplementedError

    def mark_back(self, name: str) -> dict[str, Any]:
        """The carrier's message that this mark is reached."""
        raise NotImplementedError

    def may_be_sent(self, size: int) -> bool:
        """Whether the carrier takes a message with so many bytes of audio."""
        raise NotImplementedError

    def payload_of(self, message: dict[str, Any]) -> str:
        """The audio in a message that we send."""
        return message["media"]["payload"]

    def heard(self, sound: bytes) -> bytes:
        """What an engine hears of the carrier's audio."""
        return sound

    def played(self, sound: bytes) -> bytes:
        """What the carrier plays of an engine's audio."""
        return sound

    def same(self, sound: bytes, wanted: bytes) -> bool:
        """Whether it is that sound."""
        return sound == wanted

    # ------------------------------------------------------------------ helpers

    @pytest.fixture
    def codec(self) -> Carrier:
        return self.make()

    @pytest.fixture
    def started(self, codec: Carrier) -> Carrier:
        assert isinstance(self.read(codec, self.start), ev.StreamStarted)
        return codec

    def opened(self) -> Carrier:
        """A codec whose stream has begun; for those who need several."""
        codec = self.make()
        assert isinstance(self.read(codec, self.start), ev.StreamStarted)
        return codec

    def read(self, codec: Carrier, message: dict[str, Any]) -> ev.Event | None:
        return codec.decode(json.dumps(message).encode())

    def bring(self, codec: Carrier, parts: Iterable[bytes], numbers: Iterable[int] = range(1, 10**6)):
        """The carrier brings audio: what an engine gets of it, and how many ms that is said to be."""
        told = [
            self.read(codec, self.media(base64.b64encode(part).decode(), number))
            for part, number in zip(parts, numbers, strict=False)
        ]
        audio = [event for event in told if event is not None]
        assert all(isinstance(event, ev.CallerAudio) and event.payload for event in audio)
        sound = b"".join(base64.b64decode(event.payload, validate=True) for event in audio)
        return sound, sum(event.duration_ms for event in audio)

    def send(self, codec: Carrier, parts: Iterable[bytes]) -> list[bytes]:
        """An engine's audio is played to its end: the audio of each message that the carrier gets."""
        messages = [message for part in parts for message in codec.media(base64.b64encode(part))]
        if hasattr(codec, "tail"):
            messages += [codec.frame(chunk) for chunk in codec.tail()]
        return [base64.b64decode(self.payload_of(json.loads(each)), validate=True) for each in messages]

    def noise(self, ms: float, bytes_per_ms: float, seed: int = 5) -> bytes:
        return random.Random(seed).randbytes(int(ms * bytes_per_ms))

    @property
    def bytes_per_ms(self) -> float:
        return self.rate_hz * self.sample_bytes / 1000

    @property
    def frame(self) -> str:
        """20 ms of the carrier's audio."""
        return base64.b64encode(b"\x11" * int(20 * self.bytes_per_ms)).decode()

    @property
    def stream_id(self) -> str:
        started = self.read(self.make(), self.start)
        assert isinstance(started, ev.StreamStarted)
        return started.stream_id

    # ------------------------------------------------------------------ words

    def test_the_start_names_call_stream_and_format(self, codec):
        started = self.read(codec, self.start)
        assert isinstance(started, ev.StreamStarted)
        assert started.call_sid
        assert started.stream_id
        assert (started.carrier, started.audio_format) == (codec.name, self.audio_format)
        assert started.audio_format in codec.formats
        assert started.sample_rate_hz == self.rate_hz

    def test_the_stop_is_told(self, started):
        assert isinstance(self.read(started, self.stop), ev.StreamStopped)

    def test_a_mark_that_we_set_comes_back(self, started):
        assert b"m17" in started.mark("m17")
        assert self.read(started, self.mark_back("m17")) == ev.MarkReached("m17")

    def test_what_nobody_needs_is_ignored(self, codec):
        assert [self.read(codec, message) for message in self.in_the_way] == [None] * len(self.in_the_way)

    def test_unknown_events_and_fields_are_ignored(self, started):
        assert self.read(started, {"event": "brand_new", "media": 5, "start": [], "mark": "x"}) is None
        more = {**self.media(self.frame), "brandNew": {"deep": [1, None]}}
        assert self.read(started, more) == self.read(self.opened(), self.media(self.frame))

    def test_what_is_sent_is_json_of_the_carriers_own_stream(self, started):
        sound = base64.b64encode(self.noise(1000, ENGINE_BYTES_PER_MS[self.audio_format]))
        sent = [*started.media(sound), started.mark("m1"), started.clear()]
        assert len(sent) >= 3
        for message in sent:
            assert self.stream_id in json.dumps(json.loads(message))

    def test_a_second_start_does_not_redirect_the_audio(self, started):
        self.read(started, json.loads(json.dumps(self.start).replace(self.stream_id, "another-stream")))
        sound = base64.b64encode(self.noise(1000, ENGINE_BYTES_PER_MS[self.audio_format]))
        for message in [*started.media(sound), started.mark("m1"), started.clear()]:
            assert self.stream_id in json.dumps(json.loads(message))
            assert b"another-stream" not in message

    # ------------------------------------------------------------------ odd input

    @pytest.mark.parametrize("wrong", ["=", "a", "abc", "ab==cd", "a b=", "äöü", 'x"y=', "/w==/w=="])
    def test_audio_that_is_not_base64_is_malformed(self, started, wrong):
        assert self.read(started, self.media(wrong)) == ev.Malformed("carrier", "audio")

    def test_half_a_sample_is_malformed(self, started):
        for size in range(1, self.sample_bytes * 4):
            told = self.read(started, self.media(base64.b64encode(b"\x11" * size).decode(), size))
            assert isinstance(told, ev.Malformed) == bool(size % self.sample_bytes)

    def test_empty_audio_is_no_audio(self, started):
        assert self.read(started, self.media("")) is None

    @pytest.mark.parametrize("message", HOSTILE, ids=range(len(HOSTILE)))
    def test_a_hostile_message_is_malformed_or_ignored(self, started, message):
        event = started.decode(message)
        assert event is None or (isinstance(event, ev.Malformed) and event.leg == "carrier")

    @pytest.mark.parametrize("seed", range(5))
    def test_no_mutilated_message_raises(self, seed):
        chance, codec = random.Random(seed), self.make()
        seeds = [self.start, self.stop, self.media(self.frame), self.mark_back("m1"), *self.in_the_way]
        for message in mutants(seeds, chance, 400):
            event = codec.decode(message)
            assert event is None or isinstance(event, ev.Event)

    # ------------------------------------------------------------------ order, loss, sizes

    @shared
    @given(samples=st.lists(st.integers(1, 2000), min_size=1, max_size=30))
    def test_the_caller_is_heard_in_order_whatever_the_sizes(self, samples):
        sound = self.noise(sum(samples) * 1000 / self.rate_hz, self.bytes_per_ms)
        heard, told_ms = self.bring(self.opened(), cut(sound, [each * self.sample_bytes for each in samples]))
        assert self.same(heard, self.heard(sound))
        assert told_ms == pytest.approx(len(sound) / self.bytes_per_ms, abs=max(self.slack_ms, 1e-6))
        assert told_ms <= len(sound) / self.bytes_per_ms + 1e-6

    @shared
    @given(sizes=st.lists(st.integers(1, 30_000), min_size=1, max_size=12))
    def test_the_agent_is_played_in_order_in_messages_that_the_carrier_takes(self, sizes):
        sound = self.noise(sum(sizes) & ~1, 1)
        parts = self.send(self.opened(), cut(sound, sizes))
        assert all(self.may_be_sent(len(part)) for part in parts)
        self.assert_played(b"".join(parts), self.played(sound))

    def assert_played(self, sent: bytes, wanted: bytes) -> None:
        """All of it, and after it nothing but silence."""
        assert self.same(sent[: len(wanted)], wanted)
        assert sent[len(wanted) :] == self.silence * (len(sent) - len(wanted))

    def test_a_gap_in_the_numbers_is_neither_silence_nor_the_end(self, started):
        frames = [self.noise(100, self.bytes_per_ms, seed) for seed in range(10)]
        heard, told_ms = self.bring(started, frames, [1, 2, 5, 6, 7, 1000, 1001, 1, 2, 3])
        assert self.same(heard, self.heard(b"".join(frames)))
        assert told_ms == pytest.approx(1000, abs=max(self.slack_ms, 1e-6))

    def test_what_comes_late_is_heard_when_it_comes(self, started):
        """One TCP connection cannot reorder: who sends 3 before 2 means it, and waiting would cost time."""
        frames = [self.noise(100, self.bytes_per_ms, seed) for seed in range(6)]
        heard, _ = self.bring(started, frames, [1, 3, 2, 4, 6, 5])
        assert self.same(heard, self.heard(b"".join(frames)))

    def test_what_comes_twice_is_heard_once(self, started):
        frames = [self.noise(100, self.bytes_per_ms, seed) for seed in range(6)]
        twice = [0, 1, 1, 2, 3, 2, 3, 4, 5, 5]
        once = range(6) if self.knows_repeats else twice
        heard, _ = self.bring(started, [frames[each] for each in twice], [each + 1 for each in twice])
        assert self.same(heard, self.heard(b"".join(frames[each] for each in once)))

    def test_what_comes_twice_late_in_a_call_is_heard_once(self, started):
        """Silence, too: whoever has counted for so long, counts."""
        frames = [self.silence * int(100 * self.bytes_per_ms)] * 70
        numbers = [*range(1, 66), 65, 64, 62, 66, 67]
        _, told_ms = self.bring(started, frames, numbers)
        once = 67 if self.knows_repeats else 70
        assert told_ms == pytest.approx(100 * once, abs=max(self.slack_ms, 1e-6))

    def test_what_comes_again_after_a_gap_is_known(self, started):
        frames = [self.noise(100, self.bytes_per_ms, seed) for seed in range(63)] + [self.silence * 8] * 3
        numbers = [*range(1, 61), 62, 63, 64, 60, 59, 62]
        if self.knows_repeats:
            frames[63:] = [frames[59], frames[58], frames[60]]
            heard, _ = self.bring(started, frames, numbers)
            assert self.same(heard, self.heard(b"".join(frames[:63])))

    def test_a_count_that_begins_again_late_in_a_call_loses_nothing(self, started):
        frames = [self.noise(100, self.bytes_per_ms, seed) for seed in range(120)]
        heard, _ = self.bring(
            started, frames, [*range(1, 61), *range(1, 51), 70, 72, 71, 73, 1, 2, 2000, 3, 4, 5]
        )
        assert self.same(heard, self.heard(b"".join(frames)))

    def test_who_does_not_count_is_heard_whole(self, started):
        frames = [self.silence * int(100 * self.bytes_per_ms)] * 10
        _, told_ms = self.bring(started, frames, [1] * 10)
        assert told_ms == pytest.approx(1000, abs=max(self.slack_ms, 1e-6))

    def test_who_counts_badly_is_heard_whole(self, started):
        frames = [self.noise(100, self.bytes_per_ms, seed) for seed in range(6)]
        heard, _ = self.bring(started, frames, [0, 1, 1, 1, 0, 1])
        assert self.same(heard, self.heard(b"".join(frames)))

    def test_a_clear_leaves_nothing_of_what_was_said_before(self, started):
        per_ms = ENGINE_BYTES_PER_MS[self.audio_format]
        started.media(base64.b64encode(self.noise(500.5, per_ms)))
        started.clear()
        after = self.noise(1000, per_ms, seed=6)
        self.assert_played(b"".join(self.send(started, [after])), self.played(after))


class CarrierDoor:
    """Who gets a socket of the running app, before the 101; inherited by each carrier's tests.

    ``door`` is a fixture with the base URL (http://...) of an app to which nothing is local.
    """

    refusals: tuple[int, ...] = (401, 403)

    @pytest.fixture
    def door(self) -> str:
        raise NotImplementedError

    def address(self, call_sid: str) -> str:
        """The path of this call's stream."""
        raise NotImplementedError

    def headers_right(self, call_sid: str) -> dict[str, str]:
        """What the carrier's handshake carries."""
        raise NotImplementedError

    def headers_wrong(self, call_sid: str) -> list[dict[str, str]]:
        """What somebody else might try."""
        raise NotImplementedError

    def answer(self, door: str, call_sid: str, headers: dict[str, str]) -> tuple[int, str]:
        """What a handshake is answered."""
        try:
            url = door.replace("http", "ws", 1) + self.address(call_sid)
            with connect(url, additional_headers=headers, open_timeout=30, max_size=None):
                return 101, ""
        except InvalidStatus as refused:
            return refused.response.status_code, (refused.response.body or b"").decode()

    def test_the_right_secret_opens_and_no_other(self, door):
        wrong = [{}, *self.headers_wrong("CAdoor1")]
        for headers in wrong:
            status, said = self.answer(door, "CAdoor1", headers)
            assert status in self.refusals, f"{headers} was answered {status}"
            assert not any(value and value in said for value in headers.values()), "the secret is told back"
        assert self.answer(door, "CAdoor1", self.headers_right("CAdoor1"))[0] == 101

    def test_the_refused_do_not_use_up_what_the_right_one_needs(self, door):
        wrong = self.headers_wrong("CAdoor2")
        for number in range(20):
            assert self.answer(door, "CAdoor2", wrong[number % len(wrong)])[0] in self.refusals
        assert self.answer(door, "CAdoor2", self.headers_right("CAdoor2"))[0] == 101


def cut(sound: bytes, sizes: Iterable[int]) -> list[bytes]:
    """In pieces of these sizes, the last one as long as it gets; none is empty."""
    parts, at = [], 0
    for size in sizes:
        parts.append(sound[at : at + size])
        at += size
    return [part for part in [*parts, sound[at:]] if part]
