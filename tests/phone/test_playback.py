"""What a call plays leaves as its carrier wants it: at once, or in whole chunks a little ahead of the ear."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterable
from typing import Any

import pytest

from flaskapp.phone.audio import mulaw_to_pcm16
from flaskapp.phone.carriers.exotel import ExotelStream
from flaskapp.phone.carriers.twilio import TwilioStream
from flaskapp.phone.playback import LONGEST_S, PacedPlayback, Playback, playback
from tests import servers

CHUNK_S = 0.2  # 3200 bytes at 8 kHz


class Sink:
    """Remembers what was written, and when."""

    def __init__(self) -> None:
        self.writes: list[tuple[float, list[dict[str, Any]], bool]] = []
        self.drops = 0

    def send(self, messages: Iterable[bytes], *, droppable: bool = False) -> None:
        self.writes.append((time.monotonic(), [json.loads(each) for each in messages], droppable))

    def drop_queued(self) -> None:
        self.drops += 1

    @property
    def sent(self) -> list[dict[str, Any]]:
        return [message for _, messages, _ in self.writes for message in messages]

    @property
    def events(self) -> str:
        return " ".join(message["event"] for message in self.sent)

    @property
    def sound(self) -> bytes:
        payloads = (each["media"]["payload"] for each in self.sent if each["event"] == "media")
        return b"".join(map(base64.b64decode, payloads))


def started(codec: Any) -> Any:
    start = {"streamSid": "S", "callSid": "C", "stream_sid": "S", "call_sid": "C"}
    sound = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
    codec.decode(json.dumps({"event": "start", "start": start | ({"mediaFormat": sound} if
                             codec.name == "twilio" else {})}).encode())  # fmt: skip
    return codec


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def paced(sink) -> Iterable[PacedPlayback]:
    made = playback(sink, started(ExotelStream()), time.monotonic)
    assert isinstance(made, PacedPlayback)
    yield made
    made.stop()


def voice(seconds: float, sample: int = 0x21) -> bytes:
    return base64.b64encode(bytes([sample]) * round(8000 * seconds))


def test_a_carrier_that_buffers_gets_one_batch_in_one_write(sink):
    plain = playback(sink, started(TwilioStream()), time.monotonic)
    assert type(plain) is Playback
    plain.play(voice(0.02))
    plain.play(voice(0.02))
    plain.mark("m1")
    assert not sink.writes
    plain.push()
    ((_, messages, droppable),) = sink.writes
    assert [each["event"] for each in messages] == ["media", "media", "mark"]
    assert droppable
    plain.push()
    assert len(sink.writes) == 1


def test_what_was_played_before_a_clear_in_the_same_batch_is_not_sent(sink):
    plain = playback(sink, started(TwilioStream()), time.monotonic)
    plain.play(voice(0.02, 0x11))
    plain.clear()
    plain.play(voice(0.02, 0x22))
    plain.push()
    assert sink.events == "clear media"
    assert sink.drops == 1
    assert base64.b64decode(sink.sent[1]["media"]["payload"])[:1] == b"\x22"


def test_the_first_chunks_leave_at_once_and_the_rest_no_more_than_its_lead_early(sink, paced):
    paced.play(voice(2.0))
    paced.push()
    assert sink.events == "media"
    servers.wait_until(lambda: len(sink.sound) == 32_000, "not all of it was sent")
    began, sent_s = sink.writes[0][0], 0.0
    for at, messages, _ in sink.writes:
        sent_s += len(messages) * CHUNK_S
        assert sent_s - (at - began) <= 0.3 + 0.001
    assert sink.sound == mulaw_to_pcm16(b"\x21" * 16_000)


def test_a_mark_leaves_after_all_audio_before_it_even_that_which_fills_no_chunk(sink, paced):
    paced.play(voice(0.3))
    paced.mark("m1")
    paced.push()
    servers.wait_until(lambda: "mark" in sink.events, "the mark stays")
    assert sink.events == "media media mark"
    assert len(sink.sound) == 6400
    assert sink.sound[4800:] == bytes(1600)


def test_audio_that_follows_soon_fills_the_chunk_and_the_mark_between_follows_it(sink, paced):
    paced.play(voice(0.1))
    paced.mark("m1")
    paced.push()
    assert not sink.writes
    paced.play(voice(0.1))
    paced.push()
    assert sink.events == "media mark"
    assert sink.sound == mulaw_to_pcm16(b"\x21" * 1600)


def test_a_mark_with_nothing_before_it_leaves_at_once(sink, paced):
    paced.mark("m1")
    paced.push()
    assert sink.events == "mark"


def test_nothing_of_what_was_cleared_is_sent_and_what_follows_is_not_kept_waiting(sink, paced):
    paced.play(voice(10.0, 0x11))
    paced.mark("m1")
    paced.push()
    paced.clear()
    paced.play(voice(0.2, 0x22))
    paced.push()
    assert sink.events == "media clear media"
    servers.wait_until(lambda: not paced._is_sending, "somebody goes on sending")
    assert sink.events == "media clear media"
    assert sink.sound[3200:] == mulaw_to_pcm16(b"\x22" * 1600)


def test_nothing_leaves_after_the_end_and_nobody_stays(sink, paced):
    paced.play(voice(30.0))
    paced.push()
    paced.stop()
    servers.wait_until(lambda: not paced._is_sending, "somebody goes on sending")
    before = len(sink.writes)
    paced.play(voice(1.0))
    paced.push()
    assert len(sink.writes) == before
    assert not paced._is_sending


def test_more_than_anybody_says_at_once_is_dropped_and_counted(sink, paced):
    for _ in range(round(LONGEST_S) // 10 + 2):
        paced.play(voice(10.0))
    assert paced.dropped == pytest.approx(100, abs=10)


def test_chunks_longer_than_the_lead_still_leave_one_after_the_other(sink):
    long = playback(sink, started(ExotelStream(chunk_bytes=9600)), time.monotonic)
    long.play(voice(1.8))
    long.push()
    assert sink.events == "media"
    servers.wait_until(lambda: len(sink.sound) == 28_800, "not all of it was sent")
    long.stop()


def test_many_replies_leave_no_thread_behind(sink, paced):
    for _ in range(3):
        paced.play(voice(0.25))
        paced.push()
        servers.wait_until(lambda: not paced._is_sending, "somebody goes on sending")
    assert sink.events == "media media " * 2 + "media media"


def test_the_end_of_a_short_reply_is_not_kept_waiting_for_more(sink, paced):
    paced.play(voice(0.25))
    paced.mark("m1", is_last=True)
    paced.push()
    servers.wait_until(lambda: "mark" in sink.events, "the mark stays")
    assert paced._ends_at - sink.writes[0][0] == pytest.approx(0.4, abs=0.005)  # no gap between its chunks


def test_audio_as_slow_as_speech_is_not_broken_up_by_silence(sink, paced):
    for _ in range(10):
        paced.play(voice(0.1))
        paced.push()
        time.sleep(0.1)
    assert sink.sound == mulaw_to_pcm16(b"\x21" * 8000)


def test_a_mark_after_a_clear_does_not_wait_for_audio_that_is_gone(sink, paced):
    paced.play(voice(0.1))  # too little for a chunk: it is held back
    paced.push()
    paced.clear()
    paced.mark("m1")
    paced.push()
    assert sink.events == "clear mark"
