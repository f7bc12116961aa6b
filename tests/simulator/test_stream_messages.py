"""What the network sends on a media socket, and how strictly it reads what it gets."""

from __future__ import annotations

import base64
import json

import pytest

from flaskapp.simulator.twilio import messages

SOUND = base64.b64encode(b"\x11" * 160).decode()


def test_numbers_are_strings_and_the_sid_is_everywhere():
    media = json.loads(messages.media("MZ1", 7, 5, 80, b"\xff" * 160))
    assert media == {
        "event": "media",
        "sequenceNumber": "7",
        "streamSid": "MZ1",
        "media": {
            "track": "inbound",
            "chunk": "5",
            "timestamp": "80",
            "payload": base64.b64encode(b"\xff" * 160).decode(),
        },
    }
    start = json.loads(messages.start("AC1", "CA1", "MZ1", {"t": "x"}))
    assert start["start"]["mediaFormat"] == {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
    assert (start["streamSid"], start["start"]["customParameters"]) == ("MZ1", {"t": "x"})
    stop = json.loads(messages.stop("AC1", "CA1", "MZ1", 9))
    assert stop["stop"] == {"accountSid": "AC1", "callSid": "CA1"}


def test_media_marks_and_clears_are_understood():
    media = {"event": "media", "streamSid": "MZ1", "media": {"payload": SOUND, "track": "outbound"}}
    assert messages.read(json.dumps(media), "MZ1") == messages.Media(b"\x11" * 160)
    mark = {"event": "mark", "streamSid": "MZ1", "mark": {"name": "a"}}
    assert messages.read(json.dumps(mark), "MZ1") == messages.Mark("a")
    assert messages.read('{"event":"clear","streamSid":"MZ1","more":1}', "MZ1") == messages.Clear()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x00\x01", 31950),
        ("", 31951),
        ("hello", 31951),
        ("[" * 100_000, 31951),
        ("[1]", 31951),
        ('{"event":["media"],"streamSid":"MZ1"}', 31951),
        ('{"event":"playAudio","streamSid":"MZ1"}', 31951),
        ('{"event":"clear"}', 31951),
        ('{"event":"clear","streamSid":"MZ2"}', 31951),
        ('{"event":"clear","stream_sid":"MZ1"}', 31951),
        ('{"event":"media","streamSid":"MZ1"}', 31951),
        ('{"event":"media","streamSid":"MZ1","media":{"payload":""}}', 31951),
        ('{"event":"media","streamSid":"MZ1","media":{"payload":"%%%"}}', 31951),
        ('{"event":"media","streamSid":"MZ1","media":{"payload":"UklGRgAA"}}', 31951),
        ('{"event":"media","streamSid":"MZ1","media":{"payload":5}}', 31951),
        ('{"event":"mark","streamSid":"MZ1","mark":{}}', 31951),
    ],
)
def test_anything_else_has_twilios_error_code(data, code):
    with pytest.raises(messages.BadMessage) as bad:
        messages.read(data, "MZ1")
    assert bad.value.code == code
