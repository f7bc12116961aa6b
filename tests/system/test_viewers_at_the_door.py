"""Who may read a transcript along, and what everybody else is told: all the same."""

from __future__ import annotations

import hmac
import time
import urllib.request

import pytest
from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from itsdangerous import TimestampSigner
from websockets.exceptions import ConnectionClosed, InvalidStatus

from flaskapp.store.feed import Feed
from flaskapp.store.live import LiveStore, connect
from flaskapp.store.sessions import SignedOut
from flaskapp.tickets import TICKET_LASTS_S, Tickets
from tests.servers import wait_until
from tests.viewer import Viewer, basic, dial

pytestmark = pytest.mark.system

PASSWORD = "open sesame"
OURS = "https://voice.example.com"
UNKNOWN = (1008, "no such call, or not yours to read")


class House:
    """A public server, and the Redis that it shares with this test."""

    def __init__(self, app, redis_url: str) -> None:
        self.app, self.url, self.redis_url = app, app.url, redis_url
        self.connections = connect(redis_url)
        self.live = LiveStore(self.connections)
        self.tickets = Tickets("tests", self.live)
        self.feed = Feed(self.connections.text)
        self.begin("CA1")

    def begin(self, call_sid: str) -> None:
        self.live.begin(call_sid)
        self.feed.line(call_sid, "a", 0, "agent", "Hello.", True)
        assert self.feed.written(call_sid, 30)

    def refusal(self, **how) -> int:
        """The status of a handshake that is refused."""
        with pytest.raises(InvalidStatus) as refused:
            dial(self.url, **how)
        return refused.value.response.status_code


@pytest.fixture(scope="module")
def one_house(tmp_path_factory, one_redis, empty_calls):
    """The server is started once: its tests change nothing that others see."""
    from redis import Redis

    from tests.conftest import gunicorn_app

    with Redis.from_url(one_redis) as redis:
        redis.flushall()
    starter = gunicorn_app.__wrapped__(tmp_path_factory.mktemp("house"), empty_calls)
    start = next(starter)
    settings = {"LOCAL": "0", "DASHBOARD_PASSWORD": PASSWORD, "FLASK_BASE_URL": OURS, "REDIS_URL": one_redis}
    yield House(start(settings, arguments=("--access-logfile", "-")), one_redis)
    next(starter, None)


@pytest.fixture
def house(one_house) -> House:
    return one_house


def cookie(until: float, session_id: str = "one", key: str = "tests") -> dict[str, str]:
    """An operator's cookie as the app signs it."""
    app = Flask("any")
    app.secret_key = key
    serializer = SecureCookieSessionInterface().get_signing_serializer(app)
    of = hmac.digest(key.encode(), f"session:{PASSWORD}".encode(), "sha256").hex()[:24]
    return {
        "Cookie": "session=" + serializer.dumps({"operator": {"id": session_id, "until": until, "of": of}})
    }


def in_an_hour() -> float:
    return time.time() + 3600


def reads(viewer: Viewer) -> bool:
    """Whether this one is told what is said."""
    told = viewer.wait_for(1)
    viewer.leave()
    return told[0]["transcript"] == "Hello."


# ---------------------------------------------------------------------- before the 101


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://voice.example.com.evil.example"])
def test_pages_of_others_are_refused(house, origin):
    assert house.refusal(headers={"Origin": origin}, password=PASSWORD) == 403


def test_pages_of_ours_and_programs_are_not(house):
    for headers in ({}, {"Origin": OURS}, {"Origin": house.url}):
        assert reads(Viewer(house.url, "CA1", headers=headers, password=PASSWORD))


@pytest.mark.parametrize(
    "headers",
    [
        cookie(in_an_hour(), key="another"),
        cookie(time.time() - 1),
        {"Cookie": "session=garbage"},
        {"Cookie": "session="},
        {"Authorization": "Basic b3BlcmF0b3I6d3Jvbmc="},
    ],
)
def test_proofs_that_prove_nothing_are_refused(house, headers):
    assert house.refusal(headers=headers) == 401


def test_tickets_that_are_forged_expired_or_used_are_refused(house, monkeypatch):
    ticket = house.tickets.issue("CA1")
    assert house.refusal(tickets=["forged"]) == 401
    assert house.refusal(tickets=[ticket[:-5] + ("a" if ticket[-5] != "a" else "b") + ticket[-4:]]) == 401
    with monkeypatch.context() as patched:
        patched.setattr(
            TimestampSigner, "get_timestamp", lambda self: int(time.time()) - TICKET_LASTS_S - 120
        )
        old = house.tickets.issue("CA1")
    assert house.refusal(tickets=[old]) == 401
    assert reads(Viewer(house.url, "CA1", tickets=[ticket]))
    assert house.refusal(tickets=[ticket]) == 401, "once"


# ---------------------------------------------------------------------- the first message


def test_whoever_has_a_right_reads(house):
    ticket = house.tickets.issue("CA1")
    chosen = Viewer(house.url, "CA1", tickets=[ticket])
    assert chosen.socket.subprotocol == f"ticket.{ticket}"
    assert reads(chosen)
    assert reads(Viewer(house.url, {"call_sid": "CA1", "ticket": house.tickets.issue("CA1")}))
    assert reads(Viewer(house.url, "CA1", password=PASSWORD))
    assert reads(Viewer(house.url, "CA1", headers=cookie(in_an_hour())))


def test_whoever_has_none_is_told_the_same_whether_there_is_such_a_call_or_not(house):
    used = house.tickets.issue("CA1")
    assert reads(Viewer(house.url, {"call_sid": "CA1", "ticket": used}))
    for first in (
        "CA1",
        "CAunknown",
        "",
        "not a call's id",
        "{",
        "[]",
        "null",
        '{"call_sid": 5}',
        '{"call_sid": "CA1", "after": -1}',
        '{"call_sid": "CA1", "after": "x"}',
        "[" * 30_000,
        '{"a":' * 10_000,
        {"call_sid": "CA1"},
        {"call_sid": "CA1", "ticket": "forged"},
        {"call_sid": "CA1", "ticket": house.tickets.issue("CA2")},
        {"call_sid": "CA1", "ticket": used},
        {"call_sid": "CA1", "ticket": house.tickets.issue_speech("CA1")},
    ):
        assert Viewer(house.url, first).wait(20) == UNKNOWN, first


def test_a_ticket_opens_no_other_call(house):
    house.begin("CA2")
    viewer = Viewer(house.url, "CA2", tickets=[house.tickets.issue("CA1")])
    assert viewer.wait(20) == UNKNOWN
    assert viewer.told == []


def test_a_ticket_in_the_address_opens_nothing_and_is_not_logged(house):
    ticket = house.tickets.issue("CA1")
    assert Viewer(house.url, "CA1", query=f"?ticket={ticket}").wait(20) == UNKNOWN
    assert house.refusal(query=f"?ticket={ticket}", headers={"Origin": "https://evil.example"}) == 403
    wait_until(lambda: "GET /client?ticket=" in house.app.log.read_text(), "it is not logged", 30)
    assert reads(Viewer(house.url, {"call_sid": "CA1", "ticket": ticket})), "nor was it used up"
    assert ticket not in house.app.log.read_text()


def test_whoever_says_nothing_is_sent_away(house):
    with dial(house.url, password=PASSWORD) as silent, pytest.raises(ConnectionClosed):
        silent.recv(timeout=30)
    assert silent.close_code == 1008


# ---------------------------------------------------------------------- once he reads


def test_a_session_that_is_signed_out_closes_what_it_opened(house):
    viewers = [
        Viewer(house.url, "CA1", headers=cookie(in_an_hour(), name)) for name in ("leaves", "leaves", "stays")
    ]
    for viewer in viewers:
        viewer.wait_for(1)
    signed_out_at = time.monotonic()
    SignedOut(house.connections.text).add("leaves", in_an_hour())
    assert [viewer.wait(30)[0] for viewer in viewers[:2]] == [1008, 1008]
    assert time.monotonic() - signed_out_at < 10, "within five seconds, on a quiet machine"
    assert viewers[2].closed == (None, None)
    assert house.refusal(headers=cookie(in_an_hour(), "leaves")) == 401
    viewers[2].leave()


def test_a_session_that_expires_closes_what_it_opened(house):
    viewer = Viewer(house.url, "CA1", headers=cookie(time.time() + 4, "short"))
    viewer.wait_for(1)
    assert viewer.wait(30) == (1008, "signed out")


def test_a_reader_who_talks_too_much_is_sent_away(house):
    viewer = Viewer(house.url, "CA1", password=PASSWORD)
    viewer.wait_for(1)
    try:
        for number in range(150):
            viewer.socket.send(f"hello {number}")
    except ConnectionClosed:
        pass
    assert viewer.wait(30) == (1008, "too many messages")


def test_readers_are_counted(house):
    def figure() -> str:
        asked = urllib.request.Request(house.url + "/metrics", headers=basic(PASSWORD))
        with urllib.request.urlopen(asked, timeout=10) as answer:
            [line] = [each for each in answer.read().decode().splitlines() if 'leg="client"' in each]
        return line

    viewers = [Viewer(house.url, "CA1", password=PASSWORD) for _ in range(3)]
    wait_until(lambda: figure() == 'phone_websockets{leg="client"} 3.0', "they are not counted", 30)
    for viewer in viewers:
        viewer.leave()
    wait_until(lambda: figure() == 'phone_websockets{leg="client"} 0.0', "they are still counted", 30)


def test_a_reader_may_say_a_little(house):
    viewer = Viewer(house.url, "CA1", password=PASSWORD)
    for number in range(90):
        viewer.socket.send(f"hello {number}")
    house.feed.line("CA1", "b", 1, "caller", "Go on.", True)
    assert [each["transcript"] for each in viewer.wait_for(2)] == ["Hello.", "Go on."]
    viewer.leave()


@pytest.mark.parametrize(
    ("message", "code"), [(b"binary", 1003), ("x" * (65 << 10), 1009)], ids=["binary", "oversize"]
)
def test_messages_that_are_none_close_with_their_codes(house, message, code):
    viewer = Viewer(house.url, "CA1", password=PASSWORD)
    viewer.wait_for(1)
    viewer.socket.send(message)
    assert viewer.wait(30)[0] == code


@pytest.mark.parametrize(
    ("frame", "code"),
    [(b"\x81\x82\0\0\0\0\xff\xfe", 1007), (b"\x85\x80\0\0\0\0", 1002), (b"\x81\x02ab", 1002)],
    ids=["not UTF-8", "no such frame", "not masked"],
)
def test_frames_that_break_the_rules_close_with_their_codes(house, frame, code):
    viewer = Viewer(house.url, "CA1", password=PASSWORD)
    viewer.wait_for(1)
    viewer.socket.socket.sendall(frame)
    assert viewer.wait(30)[0] == code
