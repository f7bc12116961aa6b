"""What must not be let in, and what must not hurt: each gets its answer, and the next call is normal."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import pytest
from twilio.request_validator import RequestValidator
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection, connect
from websockets.utils import accept_key

from flaskapp.simulator.person import Script, Utterance
from flaskapp.simulator.sounds import tone
from tests import servers
from tests.system.conftest import TOKEN, WEBHOOK

pytestmark = pytest.mark.system

PUBLIC = "https://voice.example.com"
SID = "CAbad"


@pytest.fixture
def public(office):
    """An app on the open internet: nothing is local, everything is checked."""
    return office({"FLASK_BASE_URL": PUBLIC, "LOCAL": "0"})


def sign(url: str, form: dict[str, str] | None = None) -> dict[str, str]:
    return {"X-Twilio-Signature": RequestValidator(TOKEN).compute_signature(url, form or {})}


def post(
    place: Any, path: str, form: dict[str, str], headers: dict[str, str] | None = None
) -> tuple[int, str]:
    body = urllib.parse.urlencode(form).encode()
    request = urllib.request.Request(place.app.url + path, body, headers or {})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def ticket_for(place: Any, sid: str) -> str:
    """A ticket as the carrier gets it."""
    form = {"CallSid": sid, "From": "+15550001111", "To": "+15552223333"}
    status, twiml = post(place, WEBHOOK, form, sign(PUBLIC + WEBHOOK, form))
    assert status == 200
    return twiml.split('name="ticket" value="')[1].split('"')[0]


def stream(place: Any, sid: str = SID, ticket: str = "", signed_for: str = "") -> ClientConnection:
    path = f"/phone/stream-audio/{sid}" + (f"/{ticket}" if ticket else "")
    url = (signed_for or PUBLIC.replace("https", "wss")) + path
    return connect(place.app.url.replace("http", "ws") + path, additional_headers=sign(url))


def start(sid: str = SID, stream_sid: str = "MZ1", **changed: Any) -> str:
    body = {
        "callSid": sid,
        "streamSid": stream_sid,
        "accountSid": "AC1",
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {},
        **changed,
    }
    return json.dumps({"event": "start", "sequenceNumber": "1", "streamSid": stream_sid, "start": body})


def media(payload: str | None = None) -> str:
    audio = base64.b64encode(b"\xff" * 160).decode() if payload is None else payload
    body = {"track": "inbound", "chunk": "1", "timestamp": "5", "payload": audio}
    return json.dumps({"event": "media", "sequenceNumber": "2", "streamSid": "MZ1", "media": body})


def close_code(socket: ClientConnection, within_s: float = 30) -> int:
    """What the server closes with; whatever it sends before is let pass."""
    deadline = time.monotonic() + within_s
    try:
        while time.monotonic() < deadline:
            socket.recv(timeout=max(deadline - time.monotonic(), 0.01))
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 1006
    except TimeoutError:
        pass
    raise AssertionError(f"still open after {within_s} s")


def next_call_is_normal(place: Any) -> None:
    question = Script((Utterance(tone(0.8, 300), name="question"),), quiet_ms=300)
    report = place.place(script=question, public_url=place.app.environment.get("FLASK_BASE_URL", ""))
    assert not report.failed, report.reason
    assert "Traceback" not in place.app.log.read_text()


def test_webhooks_without_the_right_signature_are_forbidden(public):
    form = {"CallSid": SID, "From": "+15550001111"}
    assert post(public, WEBHOOK, form)[0] == 403
    assert post(public, WEBHOOK, form, {"X-Twilio-Signature": "wrong"})[0] == 403
    good = sign(PUBLIC + WEBHOOK, form)
    assert post(public, WEBHOOK, {**form, "From": "+15550009999"}, good)[0] == 403
    forged = {**sign(public.app.url + WEBHOOK, form), "X-Forwarded-Host": public.app.url.split("//")[1]}
    assert post(public, WEBHOOK, form, forged)[0] == 403
    assert public.rows("select * from calls") == []
    assert post(public, WEBHOOK, form, good)[0] == 200
    next_call_is_normal(public)


def test_a_handshake_without_the_right_signature_never_becomes_a_socket(public):
    url = public.app.url.replace("http", "ws") + f"/phone/stream-audio/{SID}"
    for headers in ({}, {"X-Twilio-Signature": "wrong"}):
        with pytest.raises(InvalidStatus) as refused:
            connect(url, additional_headers=headers)
        assert refused.value.response.status_code == 403
    assert public.engine.sessions == []
    next_call_is_normal(public)


def test_a_handshake_signed_with_a_slash_at_the_end_is_let_in(public):
    path = f"/phone/stream-audio/{SID}"
    signature = sign(PUBLIC.replace("https", "wss") + path + "/")
    with connect(public.app.url.replace("http", "ws") + path, additional_headers=signature) as socket:
        socket.send(start())
        assert close_code(socket) == 1008  # in by signature, out for want of a ticket


def test_streams_without_a_valid_ticket_are_closed_and_reach_no_engine(public):
    used = ticket_for(public, SID)
    with stream(public, ticket=used) as socket:
        socket.send(start())
        public.engine.wait_for(lambda fake: fake.sessions)
        socket.send(json.dumps({"event": "stop", "streamSid": "MZ1", "stop": {}}))
        close_code(socket)
    sessions = len(public.engine.sessions)
    others = ticket_for(public, "CAother")
    for ticket in ("", used, others, "nonsense"):
        with stream(public) as socket:
            socket.send(start(customParameters={"ticket": ticket} if ticket else {}))
            assert close_code(socket) == 1008
    assert len(public.engine.sessions) == sessions
    next_call_is_normal(public)


def test_a_ticket_opens_no_stream_that_names_another_call(public):
    with stream(public, ticket=ticket_for(public, SID)) as socket:
        socket.send(start(sid="CAother"))
        assert close_code(socket) == 1008
    assert public.engine.sessions == []


@pytest.mark.parametrize("sid", ["", "CA 1", "CA<script>", "CA/../x", "x" * 65, "CAé"])
def test_odd_call_sids_are_bad_requests(office, sid):
    assert post(office(), WEBHOOK, {"CallSid": sid})[0] == 400


def test_odd_numbers_are_no_reason_to_refuse_a_call(office):
    place = office()
    for number in ("", " 1234567890", "sip:bob@example.com", "Anonymous", "<b>&", "+" * 500):
        assert post(place, WEBHOOK, {"CallSid": SID, "From": number, "To": number})[0] == 200


def test_whatever_a_stream_brings_it_is_closed_with_the_right_code(office):
    """On this machine no ticket is needed, so every stream gets as far as its first message."""
    place = office()
    cases: list[tuple[str, list[Any], int]] = [
        ("binary", [start(), b"\0\1\2"], 1003),
        ("ten megabytes", [start(), "x" * 10_000_000], 1009),
        ("not JSON, again and again", [start(), *["nonsense"] * 10], 1007),
        ("deep nesting, again and again", [start(), *["[" * 50_000] * 10], 1007),
        ("wrong base64, again and again", [start(), *[media("!!!")] * 10], 1007),
        ("media before start", [media()] * 60, 1008),
        ("no start", [], 1008),
        ("another call's start", [start(sid="CAother")], 1008),
        ("a second stream", [start(), start(stream_sid="MZ2")], 1008),
    ]
    for number, (name, messages, code) in enumerate(cases):
        sid = f"CAbad{number}"
        with stream(place, sid, signed_for=place.app.url.replace("http", "ws")) as socket:
            for message in messages:
                try:
                    socket.send(message.replace(SID, sid) if isinstance(message, str) else message)
                except ConnectionClosed:
                    break
            assert close_code(socket) == code, name
    next_call_is_normal(place)


def test_a_few_bad_messages_do_not_hurt_a_call(office):
    place = office()
    with stream(place, signed_for=place.app.url.replace("http", "ws")) as socket:
        for message in (start(), "nonsense", media("!"), '{"event":"media"}', '{"event":7}', start()):
            socket.send(message)
        session = place.engine.wait_for(lambda fake: fake.sessions and fake.sessions[0])
        place.engine.wait_for(lambda _: session.session)
        socket.send(media())
        place.engine.wait_for(lambda _: len(session.audio) == 160)
        socket.send(json.dumps({"event": "stop", "streamSid": "MZ1", "stop": {}}))
        assert close_code(socket) == 1000
    next_call_is_normal(place)


def test_odd_call_sids_open_no_socket(office):
    place = office()
    for sid in ("a%20b", "x" * 65, "%2e%2e"):
        with pytest.raises(InvalidStatus) as refused:
            connect(place.app.url.replace("http", "ws") + f"/phone/stream-audio/{sid}")
        assert refused.value.response.status_code in (400, 404), sid


def test_two_starts_in_one_write_are_one(office):
    place = office()
    with stream(place, signed_for=place.app.url.replace("http", "ws")) as socket:
        frames = [Frame(Opcode.TEXT, start().encode()).serialize(mask=True)] * 2
        socket.socket.sendall(b"".join(frames))
        session = place.engine.wait_for(lambda fake: fake.sessions and fake.sessions[0])
        place.engine.wait_for(lambda _: session.session)
        socket.send(media())
        place.engine.wait_for(lambda _: len(session.audio) == 160)
        socket.send(json.dumps({"event": "stop", "streamSid": "MZ1", "stop": {}}))
        assert close_code(socket) == 1000
    assert 'phone_active_calls{carrier="twilio"} 0.0' in place.app.get("/metrics")[1]


def test_a_page_of_somebody_elses_opens_no_socket(office):
    place = office()
    with pytest.raises(InvalidStatus) as refused:
        connect(
            place.app.url.replace("http", "ws") + f"/phone/stream-audio/{SID}", origin="http://evil.example"
        )
    assert refused.value.response.status_code == 403


def late_and_deaf(listener: socket.socket, held: list[socket.socket]) -> None:
    """An engine by hand: grants the upgrade when it must find nobody any more, then takes no part."""
    connection, _ = listener.accept()
    asked = connection.recv(65_536).decode()
    key = next(
        line.split(": ")[1] for line in asked.split("\r\n") if line.lower().startswith("sec-websocket-key")
    )
    time.sleep(GRANTED_AFTER_S)
    head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    with contextlib.suppress(OSError):  # they have given up waiting
        connection.sendall(f"{head}Sec-WebSocket-Accept: {accept_key(key)}\r\n\r\n".encode())
    held.append(connection)


#: A call waits two seconds for an engine's leg to end, and three for one to open: in between nobody
#: but the leg itself is left to close what it opened.
GRANTED_AFTER_S = 2.6


def left_with(place: Any, listener: socket.socket) -> bytes:
    """What an engine that grants its session too late is told until it is hung up on."""
    held: list[socket.socket] = []
    engine = threading.Thread(target=late_and_deaf, args=(listener, held), daemon=True)
    engine.start()
    with stream(place, signed_for=place.app.url.replace("http", "ws")) as carrier:
        carrier.send(start())
        carrier.send(json.dumps({"event": "stop", "streamSid": "MZ1", "stop": {}}))
        close_code(carrier)
    engine.join(60)
    told = b""
    with held[0] as connection, contextlib.suppress(ConnectionResetError):
        connection.settimeout(20)
        while more := connection.recv(65_536):
            told += more
    return told


def test_an_engine_that_answers_when_the_caller_has_gone_leaves_nothing_behind(office):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = office({"OPENAI_BASE_URL": f"http://127.0.0.1:{listener.getsockname()[1]}/v1"})
        # On a machine that is slow just now the dialling may be over first, which shows nothing.
        tries = (left_with(place, listener) for _ in range(6))
        assert any(told[:1] == bytes([0x80 | Opcode.CLOSE]) for told in tries)
    servers.wait_until(
        lambda: "phone_engine_sessions 0.0" in place.app.get("/metrics")[1], "a session is still counted"
    )
