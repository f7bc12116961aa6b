"""What a carrier by hand reads in a document."""

from __future__ import annotations

from tests.hand_carrier import Told


def told(verbs: str) -> Told:
    return Told(200, f"<Response>{verbs}</Response>", 0.1)


def test_numbers_are_read_nested_or_not():
    nested = told('<Say>Wait.</Say><Dial action="/then"><Number>+1555</Number> <Number>+1666</Number></Dial>')
    assert (nested.dialled, nested.action, nested.said) == (["+1555", "+1666"], "/then", "Wait.")
    assert told("<Dial>+1555</Dial>").dialled == ["+1555"]
    assert told("<Say>+1555</Say>").dialled == []


def test_a_stream_is_seen_with_the_address_that_follows_it():
    live = told('<Connect action="/ended"><Stream url="wss://h/s"/></Connect><Redirect>/fallback</Redirect>')
    assert (live.streams, live.action) == (True, "/ended")
    assert not told('<Record action="/process"/>').streams
