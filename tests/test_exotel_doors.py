"""Exotel's sockets on the running app: who is let in, what must not hurt, what the flow is answered then."""

from __future__ import annotations

import base64
import contextlib
import json
import sqlite3
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from socket import SHUT_RDWR
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from flaskapp.phone.audio import mulaw_to_pcm16
from tests import servers
from tests.fakes import Behaviour, FakeRealtime, tone

pytestmark = pytest.mark.system

KEYS = {"EXOTEL_API_KEY": "key", "EXOTEL_API_TOKEN": "canary-token-7"}
RIGHT = {"Authorization": "Basic " + base64.b64encode(b"key:canary-token-7").decode()}
WRONG = {"Authorization": "Basic " + base64.b64encode(b"key:wrong").decode()}
PATIENCE_S = 30.0
QUIET_S = 0.5


@pytest.fixture
def engine() -> Iterator[FakeRealtime]:
    with FakeRealtime(Behaviour(hears=False)).running() as fake:
        yield fake


@pytest.fixture
def serving(gunicorn_app, engine) -> Callable[..., Any]:
    """The running app with the tests' engine: ``serving({"EXOTEL_API_KEY": ...})``."""
    own = {"OPENAI_BASE_URL": engine.base_url, "OPENAI_API_KEY": "sk-test", "AGENT_GREETING": "Hello."}
    return lambda settings=None, arguments=(): gunicorn_app({**own, **(settings or {})}, arguments=arguments)


def stream(app: Any, query: str = "", headers: dict[str, str] | None = None) -> ClientConnection:
    url = app.url.replace("http", "ws") + "/exotel" + query
    return connect(url, additional_headers=headers or {}, open_timeout=PATIENCE_S, max_size=None)


def refusal(app: Any, query: str = "", headers: dict[str, str] | None = None) -> Any:
    """What is answered in the place of a 101."""
    with pytest.raises(InvalidStatus) as refused:
        stream(app, query, headers)
    return refused.value.response


def start(call_sid: str = "c1", stream_sid: str = "s1", **more: Any) -> str:
    body = {"stream_sid": stream_sid, "call_sid": call_sid, "from": "09876543210", "to": "0801", **more}
    return json.dumps({"event": "start", "sequence_number": 1, "stream_sid": stream_sid, "start": body})


def media(pcm: bytes = bytes(1600), chunk: int | None = None, payload: str | None = None) -> str:
    body: dict[str, Any] = {"payload": base64.b64encode(pcm).decode() if payload is None else payload}
    if chunk is not None:
        body |= {"chunk": chunk, "timestamp": str(chunk * 100)}
    return json.dumps({"event": "media", "stream_sid": "s1", "media": body})


STOP = json.dumps({"event": "stop", "stop": {"call_sid": "c1", "reason": "callended"}})


def close_code(socket: ClientConnection, within_s: float = PATIENCE_S) -> int:
    """What the server closes with; whatever it sends before is let pass."""
    until = time.monotonic() + within_s
    try:
        while time.monotonic() < until:
            socket.recv(timeout=max(until - time.monotonic(), 0.01))
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 1006
    except TimeoutError:
        pass
    raise AssertionError(f"still open after {within_s} s")


def is_open(socket: ClientConnection) -> bool:
    with contextlib.suppress(TimeoutError):
        while True:
            socket.recv(timeout=QUIET_S)
    return True


def asks(app: Any, ask: str = "over", call_sid: str = "c1", headers: Any = None, **about: str) -> Any:
    """A Passthru applet's question: the status, and what is to follow."""
    query = {"ask": ask, "CallSid": call_sid, **{f"Stream[{name}]": said for name, said in about.items()}}
    url = f"{app.url}/exotel/passthru?{urllib.parse.urlencode(query)}"
    request = urllib.request.Request(url, None, headers or {})
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(request, timeout=PATIENCE_S) as answer:
            return answer.status, json.load(answer)["next"]
    except urllib.error.HTTPError as error:
        return error.code, json.load(error).get("next", "")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> None:
        return None


def chain(app: Any, call_sid: str = "c1", **about: str) -> list[bool]:
    return [asks(app, ask, call_sid, **about)[0] == 200 for ask in ("over", "resume", "transfer")]


def written(app: Any) -> list[str]:
    """All lines of the app's history."""
    with sqlite3.connect(app.environment["DATABASE_URL"].removeprefix("sqlite:///")) as database:
        return [text for (text,) in database.execute("select text from turns")]


def next_call_is_normal(app: Any, engine: FakeRealtime, headers: dict[str, str] | None = None) -> None:
    """Somebody else's call is heard and answered, and stopped in order."""
    known = len(engine.sessions)
    with stream(app, headers=headers) as socket:
        socket.send(start("next-call"))
        socket.send(media(mulaw_to_pcm16(tone(100))))
        session = session_of(engine, known)
        assert engine.wait_for(lambda _: bytes(session.audio) == tone(100))
        engine.say(session, tone(400, seed=3))
        heard = json.loads(socket.recv(timeout=PATIENCE_S))
        assert heard["event"] == "media"
        socket.send(STOP)
        assert close_code(socket) == 1000
    assert "Traceback" not in app.log.read_text()


def session_of(engine: FakeRealtime, number: int = 0) -> Any:
    engine.wait_for(lambda fake: len(fake.sessions) > number and fake.sessions[number].session)
    return engine.sessions[number]


# ---------------------------------------------------------------------- who is let in


def test_nobody_is_let_in_without_key_and_token(serving, engine):
    app = serving({"LOCAL": "0", **KEYS})
    for headers in ({}, WRONG, {"Authorization": "Basic !!!"}, {"Authorization": "Bearer canary-token-7"}):
        answer = refusal(app, headers=headers)
        assert answer.status_code == 401
        assert "basic" in answer.headers["WWW-Authenticate"].lower()
        assert b"canary" not in answer.body
    assert refusal(app, "?token=canary-token-7&ticket=x").status_code == 401
    assert asks(app)[0] == asks(app, headers=WRONG)[0] == 403
    assert asks(app, "resume", headers=RIGHT)[0] == 200
    assert engine.sessions == []
    next_call_is_normal(app, engine, RIGHT)


def test_a_token_in_the_query_is_in_no_log(serving, engine):
    app = serving({"LOCAL": "0", **KEYS}, ("--access-logfile", "-"))
    refusal(app, "?token=canary-token-7")
    with stream(app, "?sample-rate=8000", RIGHT) as socket:
        socket.send(start())
        socket.send(STOP)
        assert close_code(socket) == 1000
    servers.wait_until(lambda: "/exotel?token=" in app.log.read_text(), "no line for the refusal")
    log = app.log.read_text()
    assert "canary-token-7" not in log
    assert "09876543210" not in log
    assert "Received streaming call from *******3210" in log


def test_an_address_of_exotel_s_is_enough_where_no_key_is_set(serving, engine):
    app = serving({"LOCAL": "0", "EXOTEL_ALLOWED_IPS": "127.0.0.0/8"})
    next_call_is_normal(app, engine)


ELSEWHERE = {"EXOTEL_ALLOWED_IPS": "203.0.113.7"}


@pytest.mark.parametrize("settings", [{}, ELSEWHERE, {**KEYS, **ELSEWHERE}])
def test_any_other_address_is_forbidden(serving, engine, settings):
    app = serving({"LOCAL": "0", **settings})
    assert refusal(app, headers=RIGHT).status_code == 403
    assert refusal(app).status_code == 403
    assert engine.sessions == []


def test_this_machine_needs_no_key_but_no_wrong_one_is_taken_and_no_foreign_page(serving, engine):
    app = serving(KEYS)
    assert refusal(app, headers=WRONG).status_code == 401
    assert refusal(app, headers={"Origin": "https://evil.example.com"}).status_code == 401
    assert refusal(app, headers={"X-Forwarded-For": "203.0.113.7"}).status_code == 401
    next_call_is_normal(app, engine)


def test_what_cannot_be_served_is_refused_before_the_101(serving, engine):
    app = serving()
    assert refusal(app, "?sample-rate=44100").status_code == 400
    full = serving({"MAX_CALLS": "1"})
    with stream(full) as first:
        first.send(start())
        session_of(engine)
        assert refusal(full).status_code == 503
        first.send(STOP)
        assert close_code(first) == 1000
    none = serving({"OPENAI_BASE_URL": "", "OPENAI_API_KEY": ""})
    assert refusal(none).status_code == 503


def test_room_that_was_found_for_one_call_is_no_other_s(serving, engine):
    """A call that broke off is let into a full worker by its name in the address."""
    full = serving({"MAX_CALLS": "1"})
    with stream(full) as broken:
        broken.send(start("c1"))
        first = session_of(engine)
        broken.socket.shutdown(SHUT_RDWR)
    servers.wait_until(lambda: not first.is_open, "the session goes on")
    with stream(full) as present:
        present.send(start("c2"))
        session_of(engine, 1)
        with stream(full, "?call_sid=c1") as stranger:
            stranger.send(start("c3"))
            assert close_code(stranger) == 1013
        with stream(full, "?call_sid=c1") as again:
            again.send(start("c1", "s2"))
            session_of(engine, 2)
            assert is_open(again)
    assert len(engine.sessions) == 3


# ---------------------------------------------------------------------- what must not hurt


@pytest.fixture
def app(serving):
    return serving()


def test_no_start_within_five_seconds(app, engine):
    with stream(app) as socket:
        socket.send('{"event":"connected"}')
        assert close_code(socket) == 1008
    assert engine.sessions == []
    next_call_is_normal(app, engine)


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([media()] * 51, 1008),
        (["no JSON"] * 10, 1007),
        (["[" * 60_000] * 10, 1007),
        (['{"event":"start"}'] * 10, 1007),
        (['{"event":5}'] * 10, 1007),
        ([b"\x00\x01"], 1003),
        (["x" * (10 << 20)], 1009),
        ([start("no such call!")], 1008),
        ([start("x" * 65)], 1008),
        ([start("")], 1008),
        ([STOP], 1000),
    ],
)
def test_what_is_no_stream_is_closed_by_its_code(app, engine, messages, code):
    with stream(app) as socket:
        with contextlib.suppress(ConnectionClosed):
            for message in messages:
                socket.send(message)
        assert close_code(socket) == code
    assert engine.sessions == []
    next_call_is_normal(app, engine)


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([start("c1", "s2")], 1008),
        ([start("c2", "s1")], 1008),
        ([media(payload="!!!")] * 10, 1007),
        ([media(bytes(321))] * 10, 1007),
        (["no JSON"] * 10, 1007),
        ([b"\x00"], 1003),
        (["x" * (1 << 20)], 1009),
    ],
)
def test_a_stream_that_goes_wrong_is_closed_by_its_code_and_its_flow_goes_on(app, engine, messages, code):
    with stream(app) as socket:
        socket.send(start())
        session_of(engine)
        with contextlib.suppress(ConnectionClosed):
            for message in messages:
                socket.send(message)
        assert close_code(socket) == code
    answers = chain(app, StreamSID="s1", Status="completed", DisconnectedBy="bot")
    assert answers in ([False, False, False], [False, True, False])
    next_call_is_normal(app, engine)


def test_another_carrier_s_call_is_not_taken_over(app, engine):
    form = urllib.parse.urlencode({"CallSid": "CA1", "From": "+15550001111", "To": "+15552223333"}).encode()
    urllib.request.urlopen(app.url + "/phone/incoming-call-streaming", form, timeout=PATIENCE_S).close()
    with stream(app) as socket:
        socket.send(start("CA1"))
        assert close_code(socket) == 1008
    assert engine.sessions == []


def test_strikes_before_the_start_count_after_it(app, engine):
    with stream(app) as socket:
        for _ in range(9):
            socket.send("no JSON")
        socket.send(start())
        session_of(engine)
        assert is_open(socket)
        socket.send("no JSON")
        assert close_code(socket) == 1007


def test_a_start_that_comes_twice_and_chunks_that_come_twice_are_one(app, engine):
    said = mulaw_to_pcm16(tone(300))
    with stream(app) as socket:
        socket.send(start())
        socket.send(start())
        for chunk in (1, 2, 2, 3, 3):
            socket.send(media(said[(chunk - 1) * 1600 : chunk * 1600], chunk))
        session = session_of(engine)
        assert engine.wait_for(lambda _: bytes(session.audio) == tone(300))
        assert is_open(socket)
        socket.send(STOP)
        assert close_code(socket) == 1000
    assert bytes(session.audio) == tone(300)
    assert len(engine.sessions) == 1


def test_a_rate_that_nobody_knows_is_given_back_to_the_flow(app, engine):
    with stream(app) as socket:
        socket.send(start(media_format={"encoding": "base64", "sample_rate": "44100"}))
        assert close_code(socket) == 1000
    assert engine.sessions == []
    assert chain(app) == [False, False, False]
    next_call_is_normal(app, engine)


# ---------------------------------------------------------------------- what its flow is answered


def test_a_caller_who_hung_up_needs_nothing_more_and_no_stream_of_his_is_taken(app, engine):
    with stream(app) as socket:
        socket.send(start())
        session_of(engine)
        socket.send(STOP)
        assert close_code(socket) == 1000
    assert chain(app, StreamSID="s1", Status="cancelled", DisconnectedBy="user") == [True, False, False]
    with stream(app) as again:
        again.send(start("c1", "s2"))
        assert close_code(again) == 1008
    assert len(engine.sessions) == 1


def test_a_stream_that_broke_off_is_taken_up_again_where_it_was(app, engine):
    with stream(app) as socket:
        socket.send(start())
        first = session_of(engine)
        first.transcribed("u1", "My order is late.")
        servers.wait_until(lambda: "My order is late." in written(app), "his words are not written")
        socket.socket.shutdown(SHUT_RDWR)  # without a word
    about = {"StreamSID": "s1", "Status": "failed", "DisconnectedBy": "NA"}
    servers.wait_until(lambda: not first.is_open, "the session goes on")
    assert chain(app, **about) == [False, True, False]
    with stream(app) as again:
        again.send(start("c1", "s2"))
        second = session_of(engine, 1)
        said = "My order is late."
        engine.wait_for(lambda _: said in json.dumps(second.of_type("conversation.item.create")))
        again.send(STOP)
        assert close_code(again) == 1000
    assert asks(app, "resume")[0] == 302, "that was about the first stream"
    assert chain(app, StreamSID="s2", Status="cancelled", DisconnectedBy="user") == [True, False, False]


def test_of_a_handshake_that_failed_only_the_flow_knows(app, engine):
    about = {"Status": "failed", "DisconnectedBy": "NA", "Error": "3009 failed to establish"}
    assert chain(app, "c9", **about) == [False, True, False]
    with stream(app) as socket:
        socket.send(start("c9"))
        session_of(engine)
        socket.send(STOP)
        assert close_code(socket) == 1000
