"""Whose stream it is, is said by its first messages: what comes before, and what never comes."""

from __future__ import annotations

import base64
import json

import pytest

from flaskapp.phone.carriers.exotel import ExotelStream
from flaskapp.phone.doorstep import wait_for_start
from flaskapp.phone.errors import LegClosed

CONNECTED = b'{"event":"connected"}'
START = b'{"event":"start","start":{"stream_sid":"s1","call_sid":"c1","from":"0987","to":"0801"}}'
STOP = b'{"event":"stop"}'
BAD = b"no JSON"
MEDIA = json.dumps(
    {"event": "media", "media": {"payload": base64.b64encode(bytes(1600)).decode(), "timestamp": "5"}}
).encode()


class Wire:
    """What comes, batch by batch; each waits a second by the clock. Then it is silent, or gone."""

    def __init__(self, *batches: list[bytes], is_gone: bool = False) -> None:
        self.batches, self.is_gone, self.now = list(batches), is_gone, 0.0
        self.closed: tuple[int, str] | None = None

    def receive(self, timeout_s: float | None = None) -> list[bytes]:
        if self.batches:
            self.now += 1
            return self.batches.pop(0)
        if self.is_gone:
            raise LegClosed(1006)
        self.now += timeout_s or 0
        return []

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.closed = (code, reason)


def waited(wire: Wire):
    faults: list[str] = []
    found = wait_for_start(wire, ExotelStream(), lambda: wire.now, faults.append)
    return found, faults


def test_the_start_says_whose_stream_it_is_and_is_given_back_with_what_followed():
    found, faults = waited(wire := Wire([CONNECTED], [BAD, START, MEDIA]))
    started, messages = found
    assert (started.call_sid, started.caller, started.called) == ("c1", "0987", "0801")
    assert messages == [BAD, START, MEDIA]
    assert wire.closed is None
    assert faults == ["carrier_message"]


@pytest.mark.parametrize(
    ("batches", "code", "fault"),
    [
        ([], 1008, "no_start"),
        ([[CONNECTED]] * 4, 1008, "no_start"),
        ([[MEDIA] * 51], 1008, "media_before_start"),
        ([[MEDIA] * 26, [MEDIA] * 25], 1008, "media_before_start"),
        ([[BAD] * 10], 1007, "carrier_malformed"),
    ],
)
def test_who_misbehaves_at_the_door_is_turned_away(batches, code, fault):
    found, faults = waited(wire := Wire(*batches))
    assert found is None
    assert wire.closed[0] == code
    assert faults[-1] == fault
    assert wire.now <= 5


def test_so_much_is_borne():
    found, _ = waited(Wire([MEDIA] * 50, [BAD] * 9, [START]))
    assert found[0].call_sid == "c1"
    assert found[1] == [*[BAD] * 9, START]


def test_a_call_that_is_over_before_it_begins_is_closed_in_order():
    found, faults = waited(wire := Wire([CONNECTED, STOP]))
    assert (found, wire.closed, faults) == (None, (1000, "call ended"), [])


def test_whoever_is_gone_is_told_nothing():
    found, faults = waited(wire := Wire([CONNECTED], is_gone=True))
    assert (found, wire.closed, faults) == (None, None, [])
