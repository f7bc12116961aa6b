"""A worker that drains: what it says, what it refuses, whom it asks to ask again."""

from __future__ import annotations

import threading
import time
import xml.etree.ElementTree as ET

import pytest

from flaskapp.drain import Drain

FORM = {"CallSid": "CA1", "From": "+15550001111", "To": "+15552223333"}
ORIGIN = "http://localhost:5001"


class Calls:
    """A handler with calls, which lets them go when it is allowed to."""

    def __init__(self, count: int = 2) -> None:
        self.sessions = {f"CA{number}": None for number in range(count)}
        self.asked: list[float] = []
        self.may_go = threading.Event()

    def move_all(self, within_s: float) -> None:
        self.asked.append(within_s)
        self.may_go.wait(30)
        self.sessions.clear()


@pytest.fixture
def config(config):
    return {**config, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}


@pytest.fixture
def draining(app):
    app.extensions["drain"].begin()
    return app.test_client()


def post(client, path, **form):
    answer = client.post(path, data={**FORM, **form}, base_url=ORIGIN)
    assert answer.status_code == 200, answer.data
    return list(ET.fromstring(answer.data))


def are_gone(drain: Drain) -> bool:
    """Whether there are no more calls, soon."""
    give_up_at = time.monotonic() + 30
    while drain.calls and time.monotonic() < give_up_at:
        time.sleep(0.01)
    return not drain.calls


def test_calls_are_handed_over_while_whoever_asks_for_it_goes_on():
    calls = Calls()
    drain = Drain(calls)
    assert (drain.is_set(), drain.calls) == (False, 2)
    drain.begin()
    drain.move(12.5)
    drain.move(1.0)
    assert drain.is_set()
    assert drain.calls == 2
    calls.may_go.set()
    assert are_gone(drain)
    assert 12.0 < calls.asked[0] <= 12.5
    assert len(calls.asked) < 3, "whoever was told once is not told at once again"


def test_a_stream_that_becomes_a_call_only_now_is_handed_over_too():
    calls = Calls()
    calls.may_go.set()
    drain = Drain(calls)
    drain.begin()
    drain.move(60.0)
    assert are_gone(drain)
    calls.sessions["CAlate"] = None
    assert are_gone(drain)
    assert calls.asked[-1] < calls.asked[0], "all by the same moment"


def test_a_worker_without_live_calls_has_nothing_to_hand_over():
    drain = Drain(None)
    drain.begin()
    drain.move(10)
    assert drain.calls == 0


def test_a_handing_over_that_fails_is_told_and_ends_nothing_else(caplog):
    class Broken(Calls):
        def move_all(self, within_s: float) -> None:
            raise RuntimeError("odd")

    drain = Drain(Broken())
    drain.move(1)
    deadline = time.monotonic() + 20
    while "could not be handed over" not in caplog.text and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "could not be handed over" in caplog.text


def test_everybody_has_written_what_there_was_to_write(caplog):
    asked: list[float] = []

    def settled(within_s: float) -> bool:
        asked.append(within_s)
        return True

    assert Drain(None, (settled, settled)).settle(5.0)
    assert len(asked) == 2
    assert not Drain(None, (lambda within_s: False, settled)).settle(5.0)
    assert "not written" in caplog.text


def test_it_is_not_ready_and_says_why(draining):
    answer = draining.get("/ready")
    assert answer.status_code == 503
    assert "draining" in answer.get_json()["reasons"]
    assert draining.get("/health").status_code == 200


def test_new_calls_are_asked_to_ask_again_and_leave_no_row(app, draining):
    (redirect,) = post(draining, "/phone/incoming-call-streaming")
    assert (redirect.tag, redirect.text) == ("Redirect", f"{ORIGIN}/phone/incoming-call-streaming?wait=1")
    say, redirect = post(draining, "/phone/incoming-call-streaming?wait=3")
    assert [say.tag, redirect.text[-6:]] == ["Say", "wait=4"]
    pause, redirect = post(draining, "/phone/incoming-call-streaming?wait=4")
    assert [pause.tag, redirect.text[-6:]] == ["Pause", "wait=5"]
    assert app.extensions["live_store"].recall("CA1") == {}


@pytest.mark.parametrize("state", ["live", "moving"])
def test_a_call_that_was_handed_over_is_asked_to_ask_again(app, draining, state):
    live = app.extensions["live_store"]
    live.begin("CA1")
    live.remember("CA1", state=state, wants_stream="1", path="live")
    assert post(draining, "/phone/stream-ended/CA1")[-1].text.endswith("/phone/stream-ended/CA1?wait=1")
    assert live.recall("CA1")["state"] == "moving", "another worker takes it up"


def test_a_call_that_must_be_recorded_is_recorded_all_the_same(app, draining):
    live = app.extensions["live_store"]
    live.begin("CA1")
    live.remember("CA1", state="ended", needs_fallback="1", wants_stream="1", path="live")
    assert "Record" in [verb.tag for verb in post(draining, "/phone/stream-ended/CA1")]


def test_new_streams_are_refused(draining):
    headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
    environ = {"gunicorn.socket": object()}
    answer = draining.get(
        "/phone/stream-audio/CA1", headers=headers, base_url=ORIGIN, environ_overrides=environ
    )
    assert answer.status_code == 503
    assert "about to end" in answer.get_json()["detail"]
