"""Readers of transcripts outlive workers, proxies and each other."""

from __future__ import annotations

import os
import signal
import socket
from urllib.parse import urlsplit

import pytest

from tests import servers
from tests.hand_carrier import HandCarrier
from tests.system import ledger
from tests.system.conftest import ACCOUNT, TOKEN
from tests.system.reading import begin, chat, town
from tests.viewer import Viewer, dial

__all__ = ["town"]

pytestmark = pytest.mark.system


def test_a_call_whose_worker_is_killed_is_read_on(town, redis_of_our_own):
    place, elsewhere = town(redis_of_our_own)
    place.engine.behaviour.numbers_replies = True
    spec = place.spec(script=chat(6), seconds=60, fallback_url=place.app.url + "/phone/fallback")
    talking, session = place.new_session(lambda: place.exchange.start(spec))
    sid = place.call().sid
    viewer = Viewer(elsewhere, sid)
    servers.wait_until(lambda: session.replies >= 2, "they do not talk", 60)
    [worker] = ledger.workers_of(place.app.process.pid)
    os.kill(worker, signal.SIGKILL)
    report = talking.result(120)
    assert len(report.stream_sids) > 1, "the call did not go on"
    assert viewer.wait() == (1000, "")
    viewer.check()
    open_lines = {each["item"] for each in viewer.told if "item" in each}
    assert open_lines == {each["item"] for each in viewer.told if "item" in each and each["is_final"]}
    turns = [(turn["speaker"], turn["text"]) for turn in place.turns(sid, at_least=6)]
    read = [(each["speaker"], each["transcript"]) for each in viewer.lines]
    assert [line for line in turns if line not in read] == []
    # What was said in the second before is said twice: it is heard again, for nothing was kept of it yet.
    assert len(read) <= len(turns) + 2


def test_a_reader_who_does_not_read_harms_nobody(office):
    """He is sent away; what he has not taken is bounded, and others read on."""
    place = office(
        {
            "AGENT_GREETING": "Hello.",
        }
    )
    talking, sid = begin(place, chat(2), 40)
    reader = Viewer(place.app.url, sid)
    with dial(place.app.url) as lazy:
        lazy.send(sid)
        report = talking.result(90)
        assert reader.wait() == (1000, "")
        assert not report.failed
        reader.check()


def test_pings_keep_a_reader_whose_call_is_silent_and_unknown_calls_are_waited_for(office):
    place = office()
    address = urlsplit(place.app.url)
    with socket.create_connection((address.hostname, address.port), 60) as raw:
        raw.sendall(
            b"GET /client HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            % address.netloc.encode()
        )
        assert raw.recv(4096).startswith(b"HTTP/1.1 101")
        raw.sendall(b"\x81\x85\0\0\0\0CAabc")
        raw.settimeout(30)
        assert raw.recv(2) == b"\x89\x00", "a ping comes first, before any proxy loses patience"
        raw.sendall(b"\x8a\x80\0\0\0\0")
        closed = raw.recv(200)
        assert closed[0] == 0x88
        assert closed[2:4] == (1008).to_bytes(2, "big")
        assert closed[4:] == b"no such call, or not yours to read"


def test_a_call_that_comes_later_is_read_from_its_first_word(office):
    place = office({"AGENT_GREETING": "Hello."})
    sid = "CA" + "5" * 32
    viewer = Viewer(place.app.url, sid)
    carrier = HandCarrier(place.app.url, "", ACCOUNT.sid, TOKEN)
    assert carrier.post("/phone/incoming-call-streaming", sid).streams
    carrier.over(sid)
    assert viewer.wait() == (1000, "")
    assert viewer.told == [
        {"call_sid": sid, "event": "call_ended", "transcript": "", "is_final": True, "sequence": 1}
    ]


def test_readers_of_a_worker_that_ends_are_sent_to_another(office):
    place = office()
    viewers = [Viewer(place.app.url, f"CA{number}") for number in range(3)]
    place.app.process.send_signal(signal.SIGTERM)
    assert [viewer.wait()[0] for viewer in viewers] == [1001] * 3
