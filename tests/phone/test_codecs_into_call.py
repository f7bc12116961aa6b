"""From the wire's bytes into the call: whatever two legs say, the call goes on or ends, and never raises."""

from __future__ import annotations

import json
import random

import pytest

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from flaskapp.phone.carriers.twilio import TwilioStream
from flaskapp.phone.engines.realtime import RealtimeSession
from tests.contracts import engine_events
from tests.contracts.mutation import mutants
from tests.phone.scene import live
from tests.phone.test_twilio_stream import DTMF, MARK, MEDIA, START

CARRIER = [json.loads(each) for each in (START, MEDIA, MEDIA, MARK, DTMF)]
ENGINE = [engine_events.full(model) for model in engine_events.models()]


@pytest.mark.parametrize("seed", range(8))
def test_a_call_survives_whatever_its_legs_say(seed):
    chance = random.Random(seed)
    both = [
        (TwilioStream(), mutants(CARRIER, chance, 600)),
        (RealtimeSession(), mutants(ENGINE, chance, 600)),
    ]
    scene, ended = live(), 0
    for _ in range(600):
        for codec, messages in both:
            event = codec.decode(next(messages))
            told = scene.hears(event, after=0.01) if event is not None else scene.waits(0.01)
            assert all(isinstance(command, do.Command) for command in told)
        if scene.call.is_over:
            scene, ended = live(), ended + 1
    assert ended > 0


def test_right_messages_alone_never_end_a_call():
    scene, engine, chance = live(), RealtimeSession(), random.Random(1)
    closing = {"session.updated"}
    for event in chance.choices([each for each in ENGINE if each["type"] not in closing], k=2000):
        ours = engine.decode(json.dumps(event).encode())
        told = scene.hears(ours, ev.CallerAudio(b"/w==", 10.0), after=0.01) if ours else []
        assert not any(isinstance(command, do.CloseCarrier) for command in told), event
