"""Readers of transcripts while Redis is away, hangs or is full, and of calls that are recorded."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from redis import Redis

from flaskapp.simulator.person import Script, Utterance
from flaskapp.simulator.sounds import tone
from tests import servers
from tests.stalling import StallingLine
from tests.system.reading import begin, chat
from tests.viewer import Viewer

pytestmark = pytest.mark.system

TWO = Script(tuple(Utterance(tone(1.2, 300 + 50 * at), name=f"{at}") for at in range(2)), quiet_ms=300)


def said(place, sid: str, at_least: int) -> list[tuple[str, str]]:
    return [(turn["speaker"], turn["text"]) for turn in place.turns(sid, at_least=at_least)]


def read(viewer: Viewer) -> list[tuple[str, str]]:
    return [(each["speaker"], each["transcript"]) for each in viewer.lines]


def test_a_recorded_call_is_read_along_whoever_understands_it(rescue, batch, background, redis_of_our_own):
    place = rescue({"REDIS_URL": redis_of_our_own, "WEB_CONCURRENCY": "2"})
    background(place.app)
    batch.words, batch.answers = ["one", "two"], ["first", "second"]
    talking = place.exchange.start(place.spec(url=place.app.url + "/phone/incoming-call", script=TWO))
    servers.wait_until(lambda: place.exchange.network.calls, "no call", 30)
    viewer = Viewer(place.app.url, place.call().sid)
    report = talking.result(90)
    assert viewer.wait() == (1000, "")
    viewer.check()
    wanted = [("caller", "one"), ("agent", "first"), ("caller", "two"), ("agent", "second")]
    assert read(viewer) == said(place, report.call_sid, 4) == wanted
    assert viewer.told[-1]["event"] == "call_ended"


def test_the_last_words_of_a_caller_whom_nobody_understood_live_come_before_the_end(rescue, batch):
    place = rescue()
    place.engine.behaviour.hears = False
    talking, session = place.new_session(
        lambda: place.exchange.start(place.spec(script=Script((TWO.utterances[0],), quiet_ms=300), seconds=6))
    )
    batch.words = ["Is anybody there?"]
    viewer = Viewer(place.app.url, place.call().sid)
    servers.wait_until(lambda: session.heard_ms > 1000, "nothing is heard", 30)
    session.speech_started(at_ms=500)  # and nothing follows, not even when he hangs up
    report = talking.result(90)
    assert viewer.wait() == (1000, "")
    viewer.check()
    assert ("caller", "Is anybody there?") in read(viewer)
    assert read(viewer) == said(place, report.call_sid, len(read(viewer)))
    assert viewer.told[-1]["event"] == "call_ended"


def test_a_redis_that_hangs_for_a_while_delays_lines_and_costs_none(office, redis_of_our_own):
    port = urlsplit(redis_of_our_own).port
    with StallingLine(port).running() as line:
        place = office({"REDIS_URL": f"redis://127.0.0.1:{line.port}/0", "AGENT_GREETING": "Hello."})
        place.engine.behaviour.numbers_replies = True
        talking, sid = begin(place, chat(3), 40)
        viewer = Viewer(place.app.url, sid)
        viewer.wait_for(2)
        line.stall()
        session = place.engine.sessions[0]
        told, replies = len(viewer.told), session.replies
        servers.wait_until(lambda: session.replies > replies, "the call hangs with it", 30)
        assert len(viewer.told) <= told + 2
        line.resume()
        report = talking.result(90)
        assert not report.failed
        assert viewer.wait() == (1000, "")
    viewer.check()
    assert read(viewer) == said(place, sid, 7)


def test_a_redis_that_is_full_delays_lines_and_costs_none(office, redis_of_our_own):
    place = office({"REDIS_URL": redis_of_our_own, "AGENT_GREETING": "Hello."})
    redis = Redis.from_url(redis_of_our_own, decode_responses=True)
    place.engine.behaviour.numbers_replies = True
    talking, sid = begin(place, chat(3), 40)
    viewer = Viewer(place.app.url, sid)
    viewer.wait_for(2)
    redis.config_set("maxmemory", "1mb")
    session = place.engine.sessions[0]
    replies = session.replies
    servers.wait_until(lambda: session.replies > replies, "the call hangs with it", 30)
    redis.config_set("maxmemory", "0")
    report = talking.result(90)
    assert not report.failed
    assert viewer.wait() == (1000, "")
    viewer.check()
    assert read(viewer) == said(place, sid, 7)
    assert "Redis is away, the live transcript waits in memory" in place.app.log.read_text()


def test_a_server_that_starts_without_redis_lets_readers_wait_until_it_is_there(office):
    port = servers.free_port()
    place = office({"REDIS_URL": f"redis://127.0.0.1:{port}/0", "AGENT_GREETING": "Hello."})
    talking, sid = begin(place, chat(3, 1500), 40)
    viewer = Viewer(place.app.url, sid)
    servers.wait_until(
        lambda: "Redis is away, readers of transcripts wait" in place.app.log.read_text(), "it says nothing"
    )
    with servers.redis_server(port):
        report = talking.result(90)
        assert not report.failed
        assert viewer.wait() == (1000, "")
        viewer.check()
        assert read(viewer) == said(place, sid, 7)
