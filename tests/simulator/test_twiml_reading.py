"""TwiML is read as strictly as Twilio reads it, and what Twilio's own classes write is understood."""

from __future__ import annotations

import pytest
from twilio.twiml.voice_response import Connect, Dial, Gather, Stream, VoiceResponse

from flaskapp.simulator.twilio import schema, twiml

HERE = "https://phone.example/calls/in?x=1"


def codes(document: twiml.Document) -> list[int]:
    return [problem.code for problem in document.problems]


def test_a_stream_with_parameters_is_understood():
    response, connect = VoiceResponse(), Connect(action="/after")
    stream = Stream(url="wss://phone.example/media", name="one", status_callback="https://phone.example/s")
    stream.parameter(name="ticket", value="t&1")
    connect.append(stream)
    response.append(connect)
    document = twiml.read(HERE, str(response))
    assert document.problems == ()
    assert document.verbs == (
        schema.Connect(
            action="https://phone.example/after",
            children=(
                schema.Stream(
                    url="wss://phone.example/media",
                    name="one",
                    status_callback="https://phone.example/s",
                    children=(schema.Parameter("ticket", "t&1"),),
                ),
            ),
        ),
    )


def test_every_other_verb_of_twilios_classes_is_understood():
    response = VoiceResponse()
    response.say("Hello <you> & me", voice="Polly.Joanna", language="en-US")
    response.play("beep.wav", loop=2)
    response.play(digits="1w2")
    response.pause(length=3)
    gather = Gather(num_digits=1, action="menu", timeout=4)
    gather.say("Press one")
    response.append(gather)
    response.record(action="done", max_length=30, finish_on_key="#", play_beep=False, trim="do-not-trim")
    dial = Dial(action="dialled", caller_id="+15550001")
    dial.number("+15550002")
    response.append(dial)
    response.redirect("next")
    response.hangup()
    document = twiml.read(HERE, str(response))
    assert document.problems == ()
    say, play, keys, pause, menu, record, transfer, redirect, hangup = document.verbs
    assert say == schema.Say("Hello <you> & me", voice="Polly.Joanna", language="en-US")
    assert play == schema.Play("https://phone.example/calls/beep.wav", loop=2)
    assert (keys.digits, pause.length) == ("1w2", 3)
    assert (menu.action, menu.num_digits, menu.children[0].text) == (
        "https://phone.example/calls/menu",
        1,
        "Press one",
    )
    assert (record.max_length, record.finish_on_key, record.play_beep) == (30, "#", False)
    assert (transfer.text, transfer.caller_id) == ("+15550002", "+15550001")
    assert redirect.url == "https://phone.example/calls/next"
    assert hangup == schema.Hangup()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("<Response>", 12100),
        ("<response/>", 12100),
        ("hello", 12100),
        ("", 12100),
        ('<!DOCTYPE r [<!ENTITY a "b">]><Response/>', 12100),
    ],
)
def test_a_document_that_is_not_twiml_is_refused(body, code):
    with pytest.raises(twiml.BadDocument) as refused:
        twiml.read_reply(HERE, "text/xml; charset=utf-8", body.encode())
    assert refused.value.code == code


def test_a_document_of_another_content_type_is_refused():
    with pytest.raises(twiml.BadDocument) as refused:
        twiml.read_reply(HERE, "text/html", b"<Response/>")
    assert refused.value.code == 12300


@pytest.mark.parametrize(
    "inside",
    [
        "<Sing>la</Sing>",
        "<say>hello</say>",
        '<Say colour="red">hello</Say>',
        '<Pause length="soon"/>',
        '<Record maxLength="0"/>',
        '<Record finishOnKey="enter"/>',
        '<Gather input="dance"/>',
        "<Connect/>",
        "<Connect><Stream/></Connect>",
        '<Connect><Stream url="wss://a/b" track="both_tracks"/></Connect>',
        '<Connect><Stream url="wss://a/b"><Parameter name="a"/></Stream></Connect>',
        f'<Connect><Stream url="wss://a/b"><Parameter name="a" value="{"x" * 500}"/></Stream></Connect>',
        "loose words",
        "<Start/>",
    ],
)
def test_what_twilio_does_not_know_is_complained_about(inside):
    assert set(codes(twiml.read(HERE, f"<Response>{inside}</Response>"))) == {12200}


def test_inline_twiml_needs_absolute_urls():
    assert codes(twiml.read("", '<Response><Record action="/x"/></Response>')) == [11100]
    assert codes(twiml.read("", '<Response><Record action="https://a/x"/></Response>')) == []
