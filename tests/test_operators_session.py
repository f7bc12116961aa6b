"""An operator's session: signed in, signed out, everywhere at once."""

from __future__ import annotations

import pytest
from redis.exceptions import ConnectionError as NoConnection

from flaskapp import access
from flaskapp.store.live import LiveStore, connect
from flaskapp.store.sessions import ANSWERS_LAST_S, TRUSTED_S, SignedOut
from flaskapp.tickets import TicketError, Tickets

PUBLIC = "https://voice.example.com"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def config(config):
    return {**config, "LOCAL": "0", "DASHBOARD_PASSWORD": "open sesame"}


@pytest.fixture
def client(app):
    """A browser; two pages of the test's own stand in for those that sign in and out."""

    @app.post("/in")
    def sign_in() -> str:
        access.sign_in()
        return ""

    @app.post("/out")
    def sign_out() -> str:
        access.sign_out()
        return ""

    return app.test_client()


def figures(client) -> int:
    return client.get("/metrics", base_url=PUBLIC).status_code


def test_a_session_opens_what_is_the_operators_until_it_is_signed_out(app, client):
    assert figures(client) == 401
    client.post("/in", base_url=PUBLIC)
    assert figures(client) == 200
    copy = app.test_client()
    copy.set_cookie(
        "session", client.get_cookie("session", domain="voice.example.com").value, domain="voice.example.com"
    )
    assert figures(copy) == 200
    client.post("/out", base_url=PUBLIC)
    assert figures(client) == 401
    assert figures(copy) == 401, "a copy of the cookie opens nothing either"


def test_a_session_ends_by_itself(client, monkeypatch):
    client.post("/in", base_url=PUBLIC)
    later = access.time.time() + access.SESSION_LASTS_S + 1
    monkeypatch.setattr(access.time, "time", lambda: later)
    assert figures(client) == 401


@pytest.mark.parametrize(
    "odd", [True, "x", {}, {"id": 5, "until": 9e9}, {"id": "x", "until": "y"}, {"id": "x"}]
)
def test_a_cookie_that_says_something_else_is_no_session(client, odd):
    with client.session_transaction(base_url=PUBLIC) as session:
        session["operator"] = odd
    assert figures(client) == 401


def test_signing_out_reaches_other_workers_and_is_forgotten_in_time(connections_of_two):
    ours, theirs, clock = connections_of_two
    assert not theirs.has("s", clock.now + 100)
    ours.add("s", clock.now + 100)
    assert ours.has("s", clock.now + 100)
    assert theirs.has("s", clock.now + 100)


def test_open_sockets_ask_now_and_then_only(connections_of_two):
    ours, theirs, clock = connections_of_two
    assert not theirs.has("s", clock.now + 100, fresh=False)
    ours.add("s", clock.now + 100)
    assert not theirs.has("s", clock.now + 100, fresh=False)
    clock.now += ANSWERS_LAST_S
    assert theirs.has("s", clock.now + 100, fresh=False)


class Shaky:
    """A Redis that can be away."""

    def __init__(self) -> None:
        self.redis, self.is_away, self.asked = connect("").text, False, 0

    def __getattr__(self, name):
        self.asked += 1
        if self.is_away:
            raise NoConnection("away")
        return getattr(self.redis, name)


def test_without_redis_a_worker_goes_by_what_it_has_seen_for_a_while():
    shaky, clock = Shaky(), Clock()
    known = SignedOut(shaky, clock)
    assert not known.has("seen", 9000)
    shaky.is_away = True
    assert not known.has("seen", 9000)
    assert known.has("never seen", 9000), "it may have been signed out elsewhere"
    known.add("leaves", 9000)
    assert known.has("leaves", 9000)
    clock.now += TRUSTED_S
    assert known.has("seen", 9000)
    shaky.is_away = False
    assert not known.has("seen", 9000)


def test_a_redis_that_is_away_is_not_asked_for_every_open_socket():
    shaky, clock = Shaky(), Clock()
    known = SignedOut(shaky, clock)
    shaky.is_away = True
    for number in range(50):
        assert known.has(f"s{number}", 9000, fresh=False)
    assert shaky.asked == 1
    shaky.is_away = False
    clock.now += ANSWERS_LAST_S
    assert not known.has("s1", 9000, fresh=False)


@pytest.fixture
def connections_of_two():
    """What two workers know, and their clock."""
    redis, clock = connect("").text, Clock()
    return SignedOut(redis, clock), SignedOut(redis, clock), clock


# ---------------------------------------------------------------------- tickets among the subprotocols


def test_a_ticket_says_which_call_it_is_for_and_is_used_up_by_that():
    tickets = Tickets("secret", LiveStore(connect("")))
    ticket = tickets.issue("CA1")
    assert tickets.redeem(ticket) == "CA1"
    with pytest.raises(TicketError, match="used before"):
        tickets.redeem(ticket)
    for bad in ("", "forged", tickets.issue_speech("CA1")):
        with pytest.raises(TicketError):
            tickets.redeem(bad)


def test_a_readers_ticket_takes_nothing_from_the_carriers():
    live = LiveStore(connect(""))
    tickets = Tickets("secret", live)
    streams = tickets.for_stream("CA1")
    tickets.spend(tickets.issue("CA1"), "CA1")
    assert tickets.for_stream("CA1") == streams
    tickets.spend(streams, "CA1")
    assert tickets.for_stream("CA1") != streams


def test_a_ticket_makes_no_call_known():
    live = LiveStore(connect(""))
    Tickets("secret", live).redeem(Tickets("secret", live).issue("CA1"))
    assert live.recall("CA1") == {}
