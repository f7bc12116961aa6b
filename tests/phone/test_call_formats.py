"""A stream of wideband PCM: the engine has it as it came, what is kept is mu-law, our own sounds fit."""

from __future__ import annotations

import math
import struct
from base64 import b64decode, b64encode

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from flaskapp.phone.audio import mulaw_to_pcm16, pcm16_to_mulaw, rms
from flaskapp.phone.call import Call
from flaskapp.phone.flow import Flow
from flaskapp.phone.past import Past
from flaskapp.phone.playout import Clip, Sounds
from flaskapp.phone.rtmt_audio_handler import hold_clip
from tests.phone.scene import AGENT, Scene, only

START = ev.StreamStarted("S1", "CA1", "audio/pcm", 24_000, carrier="exotel")
READY = ev.SessionReady("audio/pcm", "audio/pcm", interrupts_itself=True, silence_ms=500)
WIDE = struct.pack("<480h", *(round(8000 * math.sin(at / 24_000 * 2 * math.pi * 440)) for at in range(480)))
SLICE = ev.CallerAudio(b64encode(WIDE), 20.0)


def live(scene: Scene) -> Scene:
    scene.hears(START, ev.EngineOpened(), READY)
    return scene


def test_the_engine_is_asked_for_the_streams_own_format_and_gets_the_very_bytes():
    scene = live(Scene())
    assert only(do.ConfigureSession, scene.all(do.ConfigureSession)).audio_format == "audio/pcm"
    assert scene.hears(SLICE) == [do.Hear(SLICE.payload)]
    assert scene.state == "live"


def test_an_engine_that_speaks_another_format_cannot_serve():
    scene = Scene()
    scene.hears(START, ev.EngineOpened(), ev.SessionReady("audio/pcmu", "audio/pcmu"))
    assert scene.state == "ended"
    assert scene.all(do.CloseCarrier)[0].needs_fallback


def test_a_keeper_gets_mu_law_at_its_place_in_the_call():
    call = Call("CA1", AGENT, 0.0)
    flow = Flow(call, lambda: 1.0)
    flow.keeps()
    for event in (START, ev.EngineOpened(), READY, *[SLICE] * 50):
        call.receive(event, 1.0)
    start_ms, mulaw = flow.take_audio()
    assert (start_ms, len(mulaw)) == (0, 8000)
    assert 5000 < rms(mulaw_to_pcm16(mulaw)) < 6000
    call.receive(SLICE, 1.0)
    assert flow.take_audio()[0] == 1000


def test_what_was_said_before_this_stream_is_given_in_its_format_first():
    said = pcm16_to_mulaw(struct.pack("<h", 8000) * 4000)
    scene = Scene(past=Past(unheard=said))
    scene.hears(START, ev.EngineOpened())
    given = b"".join(b64decode(each.payload) for each in scene.hears(READY) if isinstance(each, do.Hear))
    assert len(given) == len(said) * 6
    assert rms(given) > 7000


def test_a_voice_is_heard_in_wideband_too():
    scene = live(Scene())
    scene.hears(*[SLICE] * 60)
    assert scene.call.intake.has_voice(800)
    quiet = ev.CallerAudio(b64encode(bytes(960)), 20.0)
    scene.hears(*[quiet] * 60)
    assert not scene.call.intake.has_voice(800)


def test_our_own_sounds_are_those_of_the_streams_format():
    scene = Scene(AGENT)
    asked = []

    def sounds(audio_format: str) -> Sounds:
        asked.append(audio_format)
        return Sounds(Clip(b"hold", 900.0), Clip(b"greeting", 1000.0))

    scene.call.sounds = sounds
    told = scene.hears(START)
    assert asked == ["audio/pcm"]
    assert only(do.Play, told).payload == b"greeting"
    assert scene.call.clip.payload == b"hold"


def test_who_was_greeted_before_is_not_greeted_again_in_another_format():
    scene = live(Scene(AGENT))
    scene.hears(ev.ReplyStarted("r1"), ev.ReplyAudio("r1", "a1", 0, b"x", 100.0))
    scene.call.talk.transcript.lines["a1"].text = "Good day."
    again = Scene(AGENT, past=Past(lines=(scene.call.talk.transcript.lines["a1"],), position=1))
    again.call.sounds = lambda audio_format: Sounds(None, Clip(b"greeting", 1000.0))
    assert do.Play not in map(type, again.hears(START))


def test_the_clip_that_keeps_a_caller_company_lasts_as_long_in_every_format():
    narrow, wide = hold_clip("en", "audio/pcmu"), hold_clip("en", "audio/pcm")
    assert abs(narrow.duration_ms - wide.duration_ms) < 1
    assert abs(rms(b64decode(wide.payload)) - rms(mulaw_to_pcm16(b64decode(narrow.payload)))) < 100


# ---------------------------------------------------------------------- a stream on which nobody hears us


def listening() -> Scene:
    scene = Scene(AGENT)
    scene.call.talk.listens = True
    return live(scene)


def test_on_a_one_way_stream_nothing_is_said_and_every_word_is_written_down():
    scene = listening()
    scene.hears(SLICE, ev.SpeechStarted("u1", 0), ev.SpeechStopped("u1", 20), ev.SpeechCommitted("u1"))
    told = scene.hears(ev.CallerWords("u1", "Anybody there?", True))
    assert only(do.TellLine, told).text == "Anybody there?"
    for _ in range(300):
        scene.hears(SLICE)
        scene.waits(0.2)
    assert not scene.all(do.Play)
    assert not scene.all(do.Reply)
    assert scene.state == "live"


def test_a_reply_that_an_engine_begins_all_the_same_is_called_off():
    scene = listening()
    assert do.CancelReply("r1") in scene.hears(ev.ReplyStarted("r1"))
    assert scene.hears(ev.ReplyAudio("r1", "a1", 0, b"x", 100.0)) == []


def test_a_key_on_a_one_way_stream_is_a_line_and_asks_for_nothing():
    scene = listening()
    scene.hears(ev.Digit("5"))
    for _ in range(40):
        scene.hears(SLICE)
        scene.waits(0.1)
    assert [line.text for line in scene.all(do.TellLine)]
    assert not scene.all(do.Reply)


def test_a_one_way_stream_that_lost_its_engine_goes_on_without_a_word():
    scene = listening()
    scene.hears(SLICE, ev.CallerWords("u1", "Hello?", True))
    scene.hears(ev.EngineClosed("engine_lost"), ev.EngineOpened(), READY, after=20.0)
    assert scene.state == "live"
    assert not scene.all(do.Reply)
