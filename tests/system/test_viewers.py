"""Whoever reads along reads the conversation as it is spoken, from any worker, with no line missing."""

from __future__ import annotations

import subprocess
import sys

import pytest
from redis import Redis

from flaskapp.store import keys
from tests import servers
from tests.conftest import PROJECT
from tests.system.reading import begin, chat, town
from tests.viewer import Viewer

__all__ = ["town"]

pytestmark = pytest.mark.system


def test_viewers_of_another_worker_read_every_line_in_order(town, redis_server):
    place, elsewhere = town(redis_server)
    place.engine.behaviour.numbers_replies = True
    talking, sid = begin(place, chat(3))
    early = [Viewer(elsewhere, sid), Viewer(place.app.url, {"call_sid": sid})]
    report = talking.result(90)
    late = Viewer(elsewhere, sid)
    missed = Viewer(elsewhere, {"call_sid": sid, "after": 4})
    done = Viewer(elsewhere, {"call_sid": sid, "after": 10_000})
    turns = [(turn["speaker"], turn["text"]) for turn in place.turns(report.call_sid, at_least=7)]
    for viewer in (*early, late, missed, done):
        assert viewer.wait() == (1000, "")
    for viewer in (*early, late):
        viewer.check()
        assert [(each["speaker"], each["transcript"]) for each in viewer.lines] == turns
        assert viewer.told == early[0].told
        assert {each["call_sid"] for each in viewer.told} == {sid}
    missed.check(after=4)
    assert missed.told == early[0].told[4:]
    assert done.told == early[0].told[-1:], "the end, and its number"
    assert early[0].told[-1] == {
        "call_sid": sid, "event": "call_ended", "transcript": "", "is_final": True,
        "sequence": len(early[0].told),
    }  # fmt: skip
    grown = [each for each in early[0].told if not each["is_final"]]
    assert grown, "no line grew before everybody's eyes"


def test_a_redis_that_restarts_and_has_forgotten_all_costs_no_line_and_doubles_none(town):
    port = servers.free_port()
    with servers.redis_server(port) as url:
        place, elsewhere = town(url)
        place.engine.behaviour.numbers_replies = True
        talking, sid = begin(place, chat(6, 600), 60)
        steady, leaving = Viewer(elsewhere, sid), Viewer(elsewhere, sid)
        leaving.wait_for(4)
        leaving.leave()
    with servers.redis_server(port):
        servers.wait_until(lambda: Redis.from_url(url).exists(keys.feed(sid)), "the list is not restored")
        back = Viewer(elsewhere, {"call_sid": sid, "after": leaving.told[-1]["sequence"]})
        report = talking.result(120)
        assert steady.wait() == back.wait() == (1000, "")
        turns = [(turn["speaker"], turn["text"]) for turn in place.turns(report.call_sid, at_least=9)]
    steady.check()
    back.check(after=len(leaving.told))
    assert [(each["speaker"], each["transcript"]) for each in steady.lines] == turns
    whole = [(each["sequence"], each["item"]) for each in leaving.told] + [
        (each["sequence"], each.get("item")) for each in back.told
    ]
    assert whole == [(each["sequence"], each.get("item")) for each in steady.told]


def test_a_command_line_client_and_plain_text_are_all_it_takes(office):
    place = office({"AGENT_GREETING": "Hello."})
    talking, sid = begin(place, chat(2))
    url = place.app.url.replace("http", "ws", 1) + "/client"
    client = subprocess.Popen(
        [sys.executable, "-m", "websockets", url],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT,
    )  # fmt: skip
    try:
        client.stdin.write(f"{sid}\n")
        client.stdin.flush()
        talking.result(60)
        said = client.stdout.read()  # it ends with the connection
    finally:
        client.kill()
        client.wait()
    assert f'"call_sid": "{sid}", "transcript": "reply of session 0", "is_final": true' in said
    assert '"event": "call_ended"' in said
    assert "Connection closed: 1000" in said
