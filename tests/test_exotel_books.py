"""An Exotel call whose flow never asks what follows: its books are closed all the same, for its reason."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from flaskapp.store.history import CallOpened

SID = "c1f0"
LATER_S = 60.0
LEG = {"carrier": "exotel", "path": "live", "wants_stream": "1", "leg": "1", "caller": "0987"}


@pytest.fixture
def config(config):
    return {**config, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "MAX_CALLS_PER_CALLER": "1"}


@pytest.fixture
def live(app):
    return app.extensions["live_store"]


@pytest.fixture
def left(app, live):
    """A call that was left in some state, looked after a minute later: its row, and whether it is over."""

    def leave(**known):
        scribe = app.extensions["scribe"]
        scribe.note(CallOpened(SID, "exotel", "0987", "0801", "live", datetime.now(UTC)))
        live.begin(SID)
        live.remember(SID, **{name: said for name, said in {**LEG, **known}.items() if said})
        live.touch(SID, time.time())
        assert scribe.settle(10)
        app.extensions["sweeper"].sweep(time.time() + LATER_S)
        assert scribe.settle(10)
        history = app.extensions["history"]
        return history.call(SID), bool(history.deliveries.due(datetime.now(UTC).replace(year=2100), 10))

    return leave


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        ({"state": "transferring", "reason": "transferring"}, "transferred"),
        ({"state": "moving", "reason": "moved"}, "worker_lost"),
        ({"state": "moving", "reason": "carrier_lost"}, "carrier_lost"),
        ({"state": "moving", "leg": ""}, "caller_hung_up"),
        ({"state": "live"}, "worker_lost"),
        ({"state": "transferring", "carrier": "twilio"}, "worker_lost"),
    ],
)
def test_what_nobody_took_up_is_over(left, live, known, reason):
    row, is_told = left(**known)
    assert (row["ended_reason"], is_told) == (reason, True)
    has_lived = known.get("leg", "1") != ""
    wanted = "ringing" if known.get("carrier") == "twilio" else "completed" if has_lived else "failed"
    assert row["status"] == wanted  # Twilio tells by itself
    assert live.last_sign(SID) is None


def test_a_call_that_live_ai_gave_up_is_over_once_its_flow_has_gone_on(left, live):
    row, is_told = left(state="ended", needs_fallback="1", reason="engine_slow")
    assert is_told
    assert row["status"] == "completed"
    assert row["ended_reason"] is None  # its stream's end has written that; here there was none
    assert live.is_forgotten(SID)


def test_a_twilio_call_that_live_ai_gave_up_is_recorded_and_not_over(left, live):
    _, is_told = left(state="ended", needs_fallback="1", carrier="twilio")
    assert not is_told
    assert not live.is_forgotten(SID)


@pytest.mark.parametrize(("carrier", "is_refused"), [("exotel", False), ("twilio", True)])
def test_who_left_us_for_his_flow_may_call_again(app, live, carrier, is_refused):
    from flaskapp.phone.admission import refusal

    with app.test_request_context("/"):
        assert refusal(SID, "+919876543210", carrier=carrier) is None
        live.begin(SID)
        live.remember(SID, **{**LEG, "carrier": carrier, "state": "ended", "needs_fallback": "1"})
        assert (refusal("c2", "+919876543210", carrier=carrier) is not None) is is_refused
