"""Who may come back to a call that is over and forgotten: whom a flow took on, and not for ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flaskapp.phone.coming_back import come_back
from flaskapp.store.history import CallChanged, CallOpened, TurnSaved

NOW = datetime.now(UTC)


def ends(app, reason: str, ago_s: float = 60.0, carrier: str = "exotel") -> None:
    at = NOW - timedelta(seconds=ago_s)
    app.extensions["history"].write(
        [
            CallOpened("C1", carrier, "+1", "+2", "live", at - timedelta(seconds=30)),
            TurnSaved("C1", "a1", 0, "agent", "I am connecting you.", 0, 900, "live", False, True),
            CallChanged("C1", {"ended_reason": reason, "ended_at": at, "status": "completed"}),
        ]
    )


@pytest.mark.parametrize("reason", ["transferred", "handed_over"])
def test_a_call_that_redis_has_forgotten_goes_on_with_its_lines(app, reason):
    ends(app, reason)
    with app.test_request_context():
        known = come_back("C1", {}, "exotel")
    live = app.extensions["live_store"]
    assert (known["called"], known["path"], known["is_over"]) == ("+2", "live", "")
    assert [line["text"] for line in live.lines("C1")] == ["I am connecting you."]
    assert "could not be reached" in live.recall("C1")["note"]


@pytest.mark.parametrize(
    ("reason", "ago_s", "carrier"),
    [
        ("caller_hung_up", 60.0, "exotel"),
        ("goodbye", 60.0, "exotel"),
        ("transferred", 7200.0, "exotel"),
        ("transferred", 60.0, "twilio"),
    ],
)
def test_all_other_calls_stay_over(app, reason, ago_s, carrier):
    ends(app, reason, ago_s, carrier)
    with app.test_request_context():
        assert come_back("C1", {}, "exotel") == {}
    assert app.extensions["live_store"].recall("C1") == {}


def test_a_call_of_which_nobody_has_heard_does_not_come_back(app):
    with app.test_request_context():
        assert come_back("C1", {}, "exotel") == {}
