"""What the legs of a call say to each other is told, but for the audio."""

from __future__ import annotations

import json

import pytest

from flaskapp.phone import events as ev
from flaskapp.phone.listener import Listener
from flaskapp.phone.tap import MOST
from tests.phone import lanes, sayings

SOUND = b"\x7f" * 160


class Told(Listener):
    """Keeps who said what."""

    def __init__(self) -> None:
        self.told: list[tuple[str, bool, str]] = []

    def traced(self, call_sid: str, at_ms: int, leg: str, is_out: bool, message: bytes) -> None:
        said = json.loads(message)
        self.told.append((leg, is_out, said.get("type") or said.get("event")))


class Asked:
    """In a tap's place: what it was asked about."""

    def __init__(self, asked: list[bytes]) -> None:
        self._asked = asked

    def took(self, leg: str, message: bytes, now: float) -> None:
        self._asked.append(message)

    gave = took


@pytest.fixture
def lane():
    lane = lanes.Lane(is_told=True)
    told = Told()
    lane.bridge._tap._told = told.traced
    lane.told = told.told  # type: ignore[attr-defined]
    yield lane
    lane.ends()


def test_what_both_legs_say_is_told_in_order(lane):
    lane.goes_live(sayings.START)
    assert lane.told == [
        ("carrier", False, "start"),
        ("engine", False, "(opened)"),
        ("engine", True, "session.update"),
        ("engine", False, "session.updated"),
    ]


def test_no_frame_and_no_slice_of_a_reply_is_told(lane):
    lane.goes_live(sayings.START)
    lane.engine_says(sayings.reply_begins("r1"))
    lane.works_off()
    before = len(lane.told)
    lane.carrier_says(sayings.media(SOUND))
    lane.engine_says(sayings.delta(SOUND, "a1", "r1"))
    lane.works_off()
    assert lane.told[before:] == [("carrier", True, "mark")]
    lane.carrier_says(sayings.media(SOUND), sayings.media(SOUND))
    lane.engine_says(sayings.delta(SOUND, "a1", "r1"), sayings.delta(SOUND, "a1", "r1"))
    lane.bridge._fast.close()  # somebody is at work: audio takes the long way
    lane.carrier_says(sayings.media(SOUND))
    lane.engine_says(sayings.delta(SOUND, "a1", "r1"))
    lane.works_off()
    assert len(lane.told) == before + 1


def test_a_tap_is_not_even_asked_about_audio(lane):
    lane.goes_live(sayings.START)
    lane.engine_says(sayings.reply_begins("r1"), sayings.delta(SOUND, "a1", "r1"))
    lane.works_off()
    asked: list[bytes] = []
    lane.bridge._fast._tap = lane.bridge._tap = Asked(asked)
    for _ in range(2):
        lane.carrier_says(sayings.media(SOUND))
        lane.engine_says(sayings.delta(SOUND, "a1", "r1"))
        lane.bridge._fast.close()  # somebody is at work: audio takes the long way
    lane.works_off()
    assert asked == []


@pytest.mark.parametrize(("is_given_up", "why"), [(True, "closed_by_us"), (False, "engine_lost")])
def test_a_connection_that_we_closed_bears_no_faults_name(lane, is_given_up, why):
    lane.goes_live(sayings.START)
    (leg,) = lane.bridge._legs
    if is_given_up:
        leg.close()
    lane.bridge._tap = Asked(asked := [])
    lane.bridge._from_engine([ev.EngineClosed("engine_lost", 1000)], lane.now, leg)
    told = [json.loads(message) for message in asked if b"(closed)" in message]
    assert [(each["code"], each["reason"]) for each in told] == [(1000, why)]


def test_what_is_no_event_of_ours_is_told_too(lane):
    lane.goes_live(sayings.START)
    lane.engine_says(b'{"type":"rate_limits.updated"}')
    assert lane.told[-1] == ("engine", False, "rate_limits.updated")


def test_a_barge_in_tells_what_we_said_to_both(lane):
    lane.goes_live(sayings.START)
    lane.engine_says(sayings.reply_begins("r1"), sayings.delta(SOUND * 50, "a1", "r1"))
    lane.works_off()
    lane.engine_says(sayings.speech_begins("u1", 0))
    lane.works_off()
    assert ("carrier", True, "clear") in lane.told
    assert ("engine", True, "conversation.item.truncate") in lane.told


def test_so_many_are_told_and_no_more(lane):
    lane.goes_live(sayings.START)
    for _ in range(MOST + 10):
        lane.engine_says(b'{"type":"rate_limits.updated"}')
    assert len(lane.told) == MOST


def test_a_listener_that_fails_ends_no_leg():
    def fails(*told: object) -> None:
        raise RuntimeError("no")

    lane = lanes.Lane(is_told=True)
    lane.bridge._tap._told = fails
    lane.goes_live(sayings.START)
    assert str(lane.call.memory.state) == "live"
    lane.ends()
