"""The fast path where things are not as usual: odd frames, odd messages, other carriers' codecs."""

from __future__ import annotations

import base64
import json

import pytest

from flaskapp.phone.carriers.exotel import ExotelStream
from flaskapp.phone.carriers.twilio import TwilioStream
from tests.phone.lanes import SLICES, Lane, heard, kinds
from tests.phone.sayings import START, delta, exotel_start, media, reply_begins
from tests.phone.wires import raw_frame

SOUND = media(bytes([65]) * 160)


# --------------------------------------------------------------------- frames that are not quite so


def test_frames_that_come_in_pieces_are_put_together_and_nothing_overtakes(lane):
    """Of each but the first the beginning, or the end of the one before, is in the same read."""
    stream = b"".join(raw_frame(1, media(each)) for each in SLICES)
    for at in range(0, len(stream), 301):
        lane.socket.brings_bytes(stream[at : at + 301])
    assert heard(lane) == SLICES


def test_a_lone_frame_between_fragments_breaks_the_rules_and_is_not_passed_on(lane):
    text = media(SLICES[0])
    lane.socket.brings_bytes(raw_frame(1, text[:9], fin=False))
    lane.socket.brings_bytes(raw_frame(1, media(SLICES[1])))
    assert heard(lane) == []


def test_fragments_of_audio_are_audio_and_what_follows_comes_after_it(lane):
    text = media(SLICES[0])
    lane.socket.brings_bytes(raw_frame(1, text[:9], fin=False))
    lane.socket.brings_bytes(raw_frame(0, text[9:]))
    lane.carrier_says(media(SLICES[1]))
    assert heard(lane) == SLICES[:2]


@pytest.mark.parametrize(
    "frame",
    [
        raw_frame(2, media(SLICES[0])),
        raw_frame(1, media(SLICES[0]), rsv=4),
        raw_frame(1, media(SLICES[0]), mask=False),
    ],
    ids=["binary", "reserved", "unmasked"],
)
def test_audio_in_a_frame_that_is_no_plain_text_is_none(lane, frame):
    lane.socket.brings_bytes(frame)
    assert heard(lane) == []


def test_text_that_is_no_utf_8_is_no_audio_even_beside_it(lane):
    text = media(SLICES[0])[:-1] + b',"x":"\xff"}'
    lane.carrier_says(text)
    assert heard(lane) == []


def test_an_engines_messages_may_look_as_they_like(speaking):
    """Whatever else they say, and in whatever order: the sound is passed on; another item's is not."""
    like = json.loads(delta(SLICES[1]))
    odd = [
        like,
        {**like, "event_id": "event_" + "z" * 30},
        {**like, "event_id": "umlaut_\u00e4"},
        {name: like[name] for name in reversed(like)},
        {**like, "obfuscation": "abc"},
        {name: value for name, value in like.items() if name != "event_id"},
    ]
    for number, each in enumerate(odd, start=1):
        for repeated in range(3):
            sound = bytes([65 + number]) * (160 + repeated)
            speaking.engine_says(json.dumps(each | {"delta": base64.b64encode(sound).decode()}).encode())
    assert kinds(speaking) == [letter for letter in "BCDEFG" for _ in range(3)]
    speaking.engine_says(json.dumps({**like, "item_id": "a2"}).encode())
    assert len(kinds(speaking)) == 18
    speaking.engine_says(json.dumps({**like, "delta": "no base64"}).encode())
    speaking.works_off()
    assert kinds(speaking)[18:] == ["B", "mark"]


# --------------------------------------------------------------------- other carriers


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 24_000])
def test_exotels_callers_are_heard_as_on_the_slow_path(rate_hz):
    sound = [bytes([number, number % 3]) * (rate_hz // 10) for number in range(30)]
    accounts = []
    for is_told in (True, False):
        lane = Lane(is_told, carrier=ExotelStream())
        lane.goes_live(exotel_start(rate_hz))
        for at in range(0, len(sound), 3):
            lane.carrier_says(*map(media, sound[at : at + 3]))
        assert not lane.bridge._inbox
        assert len(heard(lane)) > 20
        lane.bridge.settle()
        sound_heard = heard(lane) if rate_hz != 16_000 else [len(each) for each in heard(lane)]  # dithered
        accounts.append((sound_heard, lane.call.intake.received_ms, lane.account()["talk"]))
        lane.ends()
    assert accounts[0] == accounts[1]


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 24_000])
def test_exotels_callers_hear_whole_chunks_at_their_pace(rate_hz):
    lane = Lane(is_told=True, carrier=ExotelStream())
    lane.goes_live(exotel_start(rate_hz))
    second = b"\x11" * (8000 if rate_hz == 8000 else 48_000)
    lane.engine_says(reply_begins(), delta(second))
    lane.works_off()
    for _ in range(4):
        lane.engine_says(delta(second))
    assert not lane.bridge._inbox
    lane.bridge.settle()
    lead_s, chunk_s = ExotelStream.lead_s, 3200 / (2 * rate_hz)
    assert lane.call.talk.playout.ends_at == pytest.approx(5.0)
    assert 0 < len(kinds(lane)) <= lead_s / chunk_s + 2
    lane.bridge._playback.stop()
    lane.ends()


class Plain:
    """A codec that offers what every carrier must, and nothing for the fast path."""

    name, formats, takes_orders = "plain", TwilioStream.formats, True

    def __init__(self) -> None:
        stream = TwilioStream()
        self.decode, self.media, self.mark, self.clear = (
            stream.decode,
            stream.media,
            stream.mark,
            stream.clear,
        )


def test_a_carrier_that_does_nothing_for_the_fast_path_is_served_all_the_same():
    lane = Lane(is_told=True, carrier=Plain())
    lane.goes_live(START)
    lane.engine_says(reply_begins(), delta(SLICES[0]))
    lane.works_off()
    for number in (1, 2, 3):
        lane.carrier_says(media(SLICES[number]))
        lane.works_off()
        lane.engine_says(delta(SLICES[number]))
    assert (kinds(lane), heard(lane)) == (["A", "mark", "B", "C", "D"], SLICES[1:4])
    lane.ends()
