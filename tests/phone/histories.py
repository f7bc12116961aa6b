"""Arbitrary histories of a call: any event at any time, likely ones more often, for hypothesis to shrink."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass

from hypothesis import strategies as st

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from flaskapp.phone.call import Call
from flaskapp.phone.directives import EndCall, Message, TransferTo
from flaskapp.phone.endings import Limits
from flaskapp.phone.playout import Clip
from flaskapp.phone.recovery import ALREADY_REPLYING
from tests.phone.scene import AGENT, BEGAN_AT

REPLIES = st.sampled_from(["r1", "r2", "r3"])
ITEMS = st.sampled_from(["a1", "a2", "a3", "a4"])
SPOKEN = st.sampled_from(["u1", "u2", "u3"])
MS = st.integers(0, 30_000)
SLICE_MS = st.sampled_from([20.0, 100.0, 0.125, 2000.0])
WORDS = st.sampled_from(["", "yes", " we open at nine", "thank you very much "])
MARKS = st.sampled_from([f"m{number}" for number in range(1, 9)])
TOOL_CALLS = st.sampled_from(["c1", "c2", "c3"])
DIRECTIVES = st.sampled_from([None, None, EndCall(), Message("x"), TransferTo("sales", "+15551234567")])
USAGE = st.sampled_from([{}, {"total_tokens": 7}, {"seconds": 0.5}])

CARRIER = (
    st.builds(
        ev.StreamStarted, st.sampled_from(["MZ1", "MZ1", "MZ2"]), st.just("CA1"), st.just("audio/pcmu")
    ),
    st.builds(ev.CallerAudio, st.binary(max_size=2).map(b64encode), SLICE_MS),
    st.builds(ev.CallerAudio, st.just(b"AAAA"), st.just(20.0)),
    st.builds(ev.MarkReached, MARKS),
    st.sampled_from([ev.Digit("1"), ev.Digit("#")]),
    st.sampled_from([ev.StreamStopped(), ev.CarrierClosed(), ev.NotAdmitted(), ev.HangUp("operator")]),
    st.builds(ev.Malformed, st.sampled_from(["carrier", "engine"]), st.just("message")),
)
ENGINE = (
    st.just(ev.EngineOpened()),
    st.builds(ev.SessionReady, st.just("audio/pcmu"), st.just("audio/pcmu"), st.booleans(), MS),
    st.builds(ev.SpeechStarted, SPOKEN, MS),
    st.builds(ev.SpeechStopped, SPOKEN, MS),
    st.builds(ev.SpeechCommitted, SPOKEN),
    st.builds(ev.CallerWords, SPOKEN, WORDS, st.booleans(), USAGE),
    st.builds(ev.CallerWordsLost, SPOKEN),
    st.builds(ev.ReplyStarted, REPLIES),
    st.builds(ev.ReplyAudio, REPLIES, ITEMS, st.just(0), st.just(b"x"), SLICE_MS),
    st.builds(ev.ReplyAudioEnded, REPLIES, ITEMS),
    st.builds(ev.ReplyWords, REPLIES, ITEMS, WORDS, st.booleans()),
    st.builds(ev.ToolCalled, REPLIES, TOOL_CALLS, st.just("f"), WORDS),
    st.builds(ev.ToolAnswered, TOOL_CALLS, WORDS, DIRECTIVES, st.booleans()),
    st.builds(ev.ReplyEnded, REPLIES, st.sampled_from(["completed", "failed", "cancelled", ""]), usage=USAGE),
    st.sampled_from([ev.TransferFailed("x"), ev.MoveAway(2.0)]),
    st.builds(ev.EngineFault, st.sampled_from(["x", "response_cancel_not_active", ALREADY_REPLYING])),
    st.builds(ev.EngineClosed, st.just("engine_lost")),
)
TALK = st.one_of(*CARRIER[1:5], *ENGINE[2:14])  # what does not end a call
ANYTHING = st.one_of(*CARRIER, *ENGINE)
PAUSE = st.integers(0, 48).map(lambda sixteenths: sixteenths / 16)  # exact in binary
TO_LIVE = [
    ev.StreamStarted("MZ1", "CA1", "audio/pcmu"),
    ev.EngineOpened(),
    ev.SessionReady("audio/pcmu", "audio/pcmu"),
]


@dataclass(frozen=True)
class Step:
    """Time passes, then an event comes; None for nothing but time."""

    pause: float
    event: ev.Event | None


def steps(events: st.SearchStrategy[ev.Event], most: int = 60) -> st.SearchStrategy[list[Step]]:
    return st.lists(st.builds(Step, PAUSE, st.none() | events), max_size=most)


#: A conversation that has come about, then anything.
histories = st.builds(
    lambda start, talk, rest: [*(Step(0.0, event) for event in start), *talk, *rest],
    st.sampled_from([[], TO_LIVE[:1], TO_LIVE[:2], TO_LIVE, TO_LIVE, TO_LIVE]),
    steps(TALK),
    steps(ANYTHING, most=20),
)


#: What a call may take, whether its greeting is known, and what keeps the caller company.
scenes = st.tuples(
    st.builds(
        Limits,
        call_s=st.sampled_from([0.0, 20.0, 1800.0]),
        cost_usd=st.sampled_from([0.0, 0.5]),
        session_s=st.sampled_from([0.0, 15.0]),
        silence_s=st.sampled_from([0.0, 3.0]),
    ),
    st.none() | st.just(Clip(b"good day", 1500.0)),
    st.none() | st.just(Clip(b"one moment", 1000.0)),
)


@dataclass
class Run:
    """A call that lives through steps, and what it commanded after each."""

    call: Call
    now: float

    def take(self, step: Step) -> list[do.Command]:
        self.now += step.pause
        told = self.call.tick(self.now)
        return told + (self.call.receive(step.event, self.now) if step.event is not None else [])


def fresh(
    limits: Limits = Limits(),  # noqa: B008 - frozen
    greeting: Clip | None = None,
    company: Clip | None = None,
) -> Run:
    price = lambda usage: usage.get("total_tokens", 0) * 0.05  # noqa: E731
    call = Call("CA1", AGENT, BEGAN_AT, limits=limits, price=price, greeting=greeting)
    call.clip = company
    return Run(call, BEGAN_AT)
