"""Whatever comes, however it is batched: the fast path and the slow one make the same call of it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flaskapp.phone.agent import Agent
from flaskapp.phone.carriers.exotel import ExotelStream
from flaskapp.phone.carriers.twilio import TwilioStream
from flaskapp.phone.endings import Limits
from tests.phone import lanes, sayings

thorough = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
SOUND = st.integers(0, 250).flatmap(
    lambda byte: st.sampled_from([160, 160, 160, 2, 800, 8000]).map(
        lambda size: bytes([byte, 255]) * (size // 2)
    )
)
REPLIES = st.sampled_from(["r1", "r1", "r2", "r3"])
ITEMS = st.sampled_from(["a1", "a1", "a1", "a2", "a3"])
SPOKEN = st.sampled_from(["u1", "u2"])
WORDS = st.sampled_from(["", "yes", " we open at nine"])
CARRIER = st.one_of(
    st.builds(sayings.media, SOUND),
    st.builds(sayings.media, SOUND),
    st.builds(sayings.media, SOUND),
    st.builds(sayings.mark_back, st.integers(1, 9).map("m{}".format)),
    st.sampled_from([sayings.key(), sayings.START, b"{", b'{"event":"new"}', b'{"event":"media"}']),
)
TALK = st.one_of(
    st.builds(sayings.delta, SOUND, ITEMS, REPLIES),
    st.builds(sayings.delta, SOUND, ITEMS, REPLIES),
    st.builds(sayings.delta, SOUND, ITEMS, REPLIES),
    st.builds(sayings.reply_begins, REPLIES),
    st.builds(sayings.reply_ends, REPLIES, st.sampled_from(["completed", "failed", "cancelled"])),
    st.builds(sayings.speech_begins, SPOKEN, st.integers(0, 9000)),
    st.builds(sayings.speech_ends, SPOKEN, st.integers(0, 9000)),
    st.builds(sayings.agents_words, WORDS, ITEMS, REPLIES, st.booleans()),
    st.builds(sayings.callers_words, WORDS, SPOKEN),
    st.builds(
        lambda item, reply: sayings.engine("response.output_audio.done", item_id=item, response_id=reply),
        ITEMS,
        REPLIES,
    ),
    st.sampled_from([sayings.agreed(), b'{"type":"rate_limits.updated"}', b'{"type":"response.done"}']),
    st.just(sayings.engine("error", error={"code": "x"})),
)
LOSSES = st.sampled_from([b"[", b"[", sayings.engine("error", error={"code": "session_expired"})])
PAUSE = st.integers(0, 40).map(lambda sixteenths: sixteenths / 16)  # exact in binary


@dataclass(frozen=True)
class Step:
    """One read of either leg, or none of them but time; ``busy_for``: so many steps somebody is at work."""

    pause: float
    of_carrier: bool
    messages: tuple[bytes, ...]
    session: int
    busy_for: int
    left: int  # so many steps what waits is left waiting


def steps(engine: st.SearchStrategy[bytes]) -> st.SearchStrategy[list[Step]]:
    def of(of_carrier: bool, messages: st.SearchStrategy[bytes], session: st.SearchStrategy[int]):
        reads = st.lists(messages, max_size=6).map(tuple)
        busy_for, left = st.sampled_from([0, 0, 0, 2]), st.integers(0, 2)
        return st.builds(Step, PAUSE, st.just(of_carrier), reads, session, busy_for, left)

    either = of(True, CARRIER, st.just(-1)), of(False, engine, st.sampled_from([-1, -1, -1, 0]))
    return st.lists(st.one_of(*either), max_size=40)


AGENTS = st.sampled_from([Agent(greeting=""), Agent(greeting="Good day.")])
LIMITS = st.sampled_from([lanes.PATIENT, Limits(session_s=15.0, silence_s=3.0)])


def unpaced(rate_hz: int) -> ExotelStream:
    """Exotel's, but that it takes everything at once: pacing has a clock and a thread of its own."""
    carrier = ExotelStream()
    carrier.lead_s = 0.0
    return carrier


# 16 kHz is resampled with a dither of its own each time: that its slices pass is in test_fast_path_odd.py.
STREAMS = {
    "twilio": (TwilioStream, sayings.START),
    **{f"exotel {hz}": (lambda hz=hz: unpaced(hz), sayings.exotel_start(hz)) for hz in (8000, 24_000)},
}


def told(stream: str, script: list[Step], agent: Agent, limits: Limits, is_late: bool) -> dict:
    """What an event loop's call comes to, worked off now and then by an owner who may be away.

    Args:
        is_late: time passes while something waits.
    """
    make, start = STREAMS[stream]
    lane = lanes.Lane(True, make(), agent, limits)
    lane.goes_live(start)
    owner = Owner(lane)
    for number, step in enumerate(script):
        if step.pause and not is_late:
            owner.catches_up()
        lane.now += step.pause
        owner.may_leave(number, step)
        play(lane, step)
        owner.may_come(number, step)
    owner.catches_up()
    account = lane.account()
    lane.ends()
    return account


class Owner:
    """Works a lane's inbox off, late."""

    def __init__(self, lane: lanes.Lane) -> None:
        self._lane, self._back_at, self._comes_at = lane, 0, 0

    def may_leave(self, number: int, step: Step) -> None:
        """Somebody is at work for a while, and does not get on with it."""
        if step.busy_for and not self._back_at and self._lane.is_kept_busy():
            self._back_at = number + step.busy_for

    def may_come(self, number: int, step: Step) -> None:
        self._comes_at = max(self._comes_at, number + step.left) if self._lane.bridge._inbox else 0
        if self._back_at and number >= self._back_at:
            self.catches_up()
        elif not self._back_at and number >= self._comes_at:
            self._lane.works_off()

    def catches_up(self) -> None:
        if self._back_at:
            self._back_at = 0
            self._lane.is_free_again()
        self._lane.works_off()


def read(stream: str, script: list[Step], agent: Agent, limits: Limits) -> dict:
    """What it comes to when a thread reads each leg."""
    make, start = STREAMS[stream]
    lane = lanes.Lane(False, make(), agent, limits)
    lane.goes_live(start)
    for step in script:
        lane.now += step.pause
        play(lane, step)
    account = lane.account()
    lane.ends()
    return account


def play(lane: lanes.Lane, step: Step) -> None:
    if step.of_carrier and step.messages:
        lane.carrier_says(*step.messages)
    elif step.messages and lane.sessions.opened:
        lane.engine_says(*step.messages, session=step.session)
    else:
        lane.ticks()


def compare(stream: str, script: list[Step], agent: Agent, limits: Limits, is_late: bool) -> None:
    slow, fast = read(stream, script, agent, limits), told(stream, script, agent, limits, is_late)
    slow["played"], fast["played"] = unclear(slow["played"]), unclear(fast["played"])
    for what, wanted in slow.items():
        assert fast[what] == wanted, what


def unclear(sent: list[bytes]) -> list[bytes]:
    """What a carrier was sent, without the audio right before a clear.

    Of one read that brings audio and an interruption, the fast path sends the audio and has it cleared; the
    slow one keeps it back.
    """
    kept: list[bytes] = []
    for message in sent:
        while b'"event":"clear"' in message and kept and b'"event":"media"' in kept[-1]:
            kept.pop()
        kept.append(message)
    return kept


@pytest.mark.parametrize("stream", STREAMS)
def test_both_ways_are_the_same_call(stream):
    @thorough
    @given(steps(st.one_of(TALK, TALK, TALK, LOSSES)), AGENTS, LIMITS)
    def same(script, agent, limits):
        compare(stream, script, agent, limits, is_late=False)

    same()


@thorough
@given(steps(TALK), AGENTS)
def test_an_owner_who_comes_late_makes_the_same_of_it(script, agent):
    """But for new sessions: those are dialled when he comes. Nothing here ends one, and no time is told."""
    script = [step for step in script if step.messages]
    compare("twilio", script, agent, lanes.PATIENT, is_late=True)
