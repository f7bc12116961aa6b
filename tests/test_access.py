"""Who is let in: local requests, signatures, tickets, the operator."""

from __future__ import annotations

import base64

import pytest
from twilio.request_validator import RequestValidator

from flaskapp import create_app
from flaskapp.phone.errors import TicketError
from flaskapp.store.live import LiveStore, connect
from flaskapp.tickets import Tickets

WEBHOOK = "/phone/incoming-call-streaming"
FORM = {"CallSid": "CA1", "From": "+15550001111", "To": "+15552223333"}
LOOPBACK = {"REMOTE_ADDR": "127.0.0.1"}


def post(client, headers=None, form=FORM, base="http://127.0.0.1:5001", peer="127.0.0.1", path=WEBHOOK):
    return client.post(
        path, data=form, headers=headers or {}, base_url=base, environ_overrides={"REMOTE_ADDR": peer}
    )


@pytest.mark.parametrize(
    ("settings", "request_is", "status"),
    [
        ({}, {}, 200),
        ({}, {"base": "http://localhost:5001"}, 200),
        ({}, {"base": "http://[::1]:5001", "peer": "::1"}, 200),
        ({"FLASK_BASE_URL": "http://localhost:5001"}, {}, 200),
        ({}, {"peer": "192.0.2.7"}, 403),
        ({}, {"base": "http://voice.example.com"}, 403),
        ({}, {"headers": {"X-Forwarded-For": "127.0.0.1"}}, 403),
        ({}, {"headers": {"Forwarded": "for=127.0.0.1"}}, 403),
        ({}, {"headers": {"X-Forwarded-Proto": "https"}}, 403),
        ({}, {"headers": {"X-Real-IP": "127.0.0.1"}}, 403),
        ({"FLASK_BASE_URL": "https://voice.example.com"}, {}, 403),
        ({}, {"headers": {"Origin": "http://evil.example"}}, 403),
        ({}, {"headers": {"Origin": "null"}}, 403),
        ({}, {"headers": {"Origin": "http://[x"}}, 403),
        ({}, {"headers": {"Origin": ""}}, 200),
        ({}, {"headers": {"Origin": "http://127.0.0.1:5001"}}, 200),
        ({"LOCAL": "0"}, {}, 403),
    ],
)
def test_only_what_certainly_comes_from_this_machine_needs_no_signature(config, settings, request_is, status):
    config.update(settings)
    client = create_app(config).test_client()
    assert post(client, **request_is).status_code == status


def test_a_signature_that_is_present_is_checked_on_this_machine_too(config):
    config["TWILIO_AUTH_TOKEN"] = "12345"
    client = create_app(config).test_client()
    assert post(client, headers={"X-Twilio-Signature": "wrong"}).status_code == 403
    right = RequestValidator("12345").compute_signature("http://127.0.0.1:5001" + WEBHOOK, FORM)
    assert post(client, headers={"X-Twilio-Signature": right}).status_code == 200


def test_a_refusal_names_its_remedy_and_is_counted(config):
    config["LOCAL"] = "0"
    app = create_app(config)
    answer = post(app.test_client(), headers={"X-Twilio-Signature": "x"})
    assert answer.status_code == 403
    assert answer.content_type == "application/problem+json"
    assert "TWILIO_AUTH_TOKEN" in answer.get_json()["detail"]
    metrics = app.extensions["metrics"].render()[0].decode()
    assert 'phone_webhook_rejected_total{reason="no_token"} 1.0' in metrics


@pytest.mark.parametrize(
    ("base", "asked"),
    [
        ("https://voice.example.com", "http://10.0.0.5:5001"),
        ("https://voice.example.com:8443", "http://10.0.0.5:5001"),
        ("", "https://other.example.com"),
    ],
)
def test_signatures_are_made_over_the_public_address(config, base, asked):
    config.update({"TWILIO_AUTH_TOKEN": "12345", "LOCAL": "0", "FLASK_BASE_URL": base})
    client = create_app(config).test_client()
    url = (base or asked) + WEBHOOK + "?a=%2F&b="
    signature = RequestValidator("12345").compute_signature(url, FORM)
    request_is = {"base": asked, "path": WEBHOOK + "?a=%2F&b=", "headers": {"X-Twilio-Signature": signature}}
    assert post(client, **request_is).status_code == 200
    assert post(client, **{**request_is, "form": {**FORM, "To": "+1"}}).status_code == 403


def test_blank_and_repeated_parameters_are_part_of_the_signature(config):
    config.update({"TWILIO_AUTH_TOKEN": "12345", "LOCAL": "0"})
    client = create_app(config).test_client()
    form = {"CallSid": "CA1", "From": " 15550001111", "Digits": "", "Tag": ["b", "a"]}
    signature = RequestValidator("12345").compute_signature(
        "https://v.example.com" + WEBHOOK, {**form, "Tag": "a"}
    )
    assert post(client, {"X-Twilio-Signature": signature}, form, "https://v.example.com").status_code == 403
    own = "https://v.example.com" + WEBHOOK
    joined = own + "CallSidCA1" + "Digits" + "From 15550001111" + "Taga" + "Tagb"
    assert (
        post(
            client, {"X-Twilio-Signature": hmac_of("12345", joined)}, form, "https://v.example.com"
        ).status_code
        == 200
    )


def hmac_of(token: str, text: str) -> str:
    """By hand, from Twilio's description, so that the library does not vouch for itself."""
    import hashlib
    import hmac

    return base64.b64encode(hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()).decode()


@pytest.fixture
def tickets():
    return Tickets("secret", LiveStore(connect("")))


def test_a_ticket_opens_its_call_once(tickets):
    ticket = tickets.issue("CA1")
    tickets.spend(ticket, "CA1")
    with pytest.raises(TicketError, match="used before"):
        tickets.spend(ticket, "CA1")


@pytest.mark.parametrize(
    ("forge", "why"),
    [
        (lambda good: "", "missing"),
        (lambda good: "nonsense", "forged"),
        (lambda good: good[:-2] + ("aa" if good[-2:] != "aa" else "bb"), "forged"),
        (lambda good: Tickets("other", LiveStore(connect(""))).issue("CA1"), "forged"),
    ],
)
def test_forged_tickets_open_nothing(tickets, forge, why):
    with pytest.raises(TicketError, match=why):
        tickets.spend(forge(tickets.issue("CA1")), "CA1")


def test_another_calls_ticket_opens_nothing_and_stays_good(tickets):
    ticket = tickets.issue("CA1")
    with pytest.raises(TicketError, match="another"):
        tickets.spend(ticket, "CA2")
    tickets.spend(ticket, "CA1")


def test_old_tickets_open_nothing(tickets, monkeypatch):
    ticket = tickets.issue("CA1")
    now = __import__("time").time()
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: now + 300)
    tickets.check(ticket, "CA1")  # clocks may differ by a minute
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: now + 400)
    with pytest.raises(TicketError, match="expired"):
        tickets.check(ticket, "CA1")


def test_a_carrier_that_asks_twice_gets_the_same_ticket_until_it_is_used(tickets):
    first = tickets.for_stream("CA1")
    assert tickets.for_stream("CA1") == first
    tickets.spend(first, "CA1")
    assert tickets.for_stream("CA1") != first


def test_metrics_are_the_operators(config):
    config.update({"LOCAL": "0", "DASHBOARD_PASSWORD": "open sesame"})
    client = create_app(config).test_client()
    assert client.get("/metrics").status_code == 401
    assert "Basic" in client.get("/metrics").headers["WWW-Authenticate"]
    assert client.get("/metrics", auth=("operator", "wrong")).status_code == 401
    assert client.get("/metrics", auth=("someone", "open sesame")).status_code == 401
    assert client.get("/metrics", auth=("operator", "open sesame")).status_code == 200


def test_without_a_password_metrics_are_this_machines_only(config):
    assert create_app(config).test_client().get("/metrics").status_code == 200
    public = create_app({**config, "LOCAL": "0"}).test_client().get("/metrics")
    assert public.status_code == 403
    assert "DASHBOARD_PASSWORD" in public.get_json()["detail"]


def test_a_spent_ticket_stays_spent_while_redis_is_away(tickets):
    from redis.exceptions import ConnectionError as RedisIsAway

    class Away:
        def __getattr__(self, name):
            raise RedisIsAway("refused")

    ticket = tickets.issue("CA1")
    tickets.spend(ticket, "CA1")
    tickets._live.redis = Away()
    with pytest.raises(TicketError, match="used before"):
        tickets.spend(ticket, "CA1")
    tickets.spend(tickets.issue("CA1"), "CA1")


@pytest.mark.parametrize("mimetype", ["application/json", "text/plain", "multipart/form-data"])
def test_a_signature_over_another_kind_of_body_is_refused_and_not_stumbled_over(config, mimetype):
    config.update({"TWILIO_AUTH_TOKEN": "12345", "LOCAL": "0"})
    client = create_app(config).test_client()
    headers = {"X-Twilio-Signature": "abc", "Content-Type": mimetype}
    assert client.post("/phone/call-status", data=b"{}", headers=headers).status_code == 403


def test_json_is_signed_through_its_hash(config):
    import hashlib

    config.update({"TWILIO_AUTH_TOKEN": "12345", "LOCAL": "0"})
    client = create_app(config).test_client()
    body = b'{"CallSid": "CA1"}'
    path = f"/phone/stream-status/CA1?bodySHA256={hashlib.sha256(body).hexdigest()}"
    signature = RequestValidator("12345").compute_signature("https://v.example.com" + path, {})
    headers = {"X-Twilio-Signature": signature, "Content-Type": "application/json"}
    request_is = {"headers": headers, "base_url": "https://v.example.com"}
    assert client.post(path, data=body, **request_is).status_code == 204
    assert client.post(path, data=body + b" ", **request_is).status_code == 403


def test_a_spent_ticket_stays_spent_when_redis_forgot_everything(tickets):
    ticket = tickets.issue("CA1")
    tickets.spend(ticket, "CA1")
    tickets._live.redis.flushall()
    with pytest.raises(TicketError, match="used before"):
        tickets.spend(ticket, "CA1")
