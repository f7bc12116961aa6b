"""Who is Exotel: by key and token, by address; this machine; and nobody where there is nothing to go by."""

from __future__ import annotations

import base64
from collections import ChainMap

import pytest

from flaskapp import create_app

ENGINE = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
PUBLIC = {"LOCAL": "0", "FLASK_BASE_URL": "https://v.example.com"}
KEYS = {"EXOTEL_API_KEY": "key", "EXOTEL_API_TOKEN": "t@ken/1"}
IPS = {"EXOTEL_ALLOWED_IPS": "203.0.113.7, 198.51.100.0/24, 2001:db8::/32"}
RIGHT, WRONG, BROKEN = ("key", "t@ken/1"), ("key", "t@ken/2"), "Basic !!!"
INSIDE, OUTSIDE = "198.51.100.9", "192.0.2.1"


def asks(app, given=None, peer=OUTSIDE, path="/exotel/passthru?CallSid=c1", base_url="https://v.example.com"):
    headers = {}
    if given is not None:
        basic = "Basic " + base64.b64encode(":".join(given).encode()).decode()
        headers["Authorization"] = given if isinstance(given, str) else basic
    return app.test_client().get(
        path, headers=headers, base_url=base_url, environ_overrides={"REMOTE_ADDR": peer}
    )


@pytest.fixture
def opened(app, config):
    """Makes an app with these settings on the one database."""

    def make(*settings):
        return create_app(dict(ChainMap(*reversed(settings), ENGINE, config)))

    return make


@pytest.mark.parametrize(
    ("settings", "given", "peer", "is_let_in"),
    [
        (({},), None, OUTSIDE, False),
        (({},), RIGHT, OUTSIDE, False),
        ((KEYS,), None, OUTSIDE, False),
        ((KEYS,), WRONG, OUTSIDE, False),
        ((KEYS,), BROKEN, OUTSIDE, False),
        ((KEYS,), RIGHT, OUTSIDE, True),
        ((IPS,), None, OUTSIDE, False),
        ((IPS,), RIGHT, OUTSIDE, False),
        ((IPS,), None, INSIDE, True),
        ((IPS,), None, "2001:db8::1", True),
        ((IPS,), None, "::ffff:203.0.113.7", True),
        ((IPS,), None, "no address", False),
        ((KEYS, IPS), None, INSIDE, True),
        ((KEYS, IPS), WRONG, INSIDE, False),
        ((KEYS, IPS), RIGHT, OUTSIDE, True),
    ],
)
def test_callbacks_come_from_exotel_alone(opened, settings, given, peer, is_let_in):
    app = opened(PUBLIC, *settings)
    answer = asks(app, given, peer)
    assert answer.status_code == (302 if is_let_in else 403)
    known = app.extensions["live_store"].recall("c1")
    assert bool(known) is is_let_in, "a rejected request changes nothing"
    rejected = [
        sample.value
        for metric in app.extensions["metrics"].webhook_rejected.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    ]
    assert sum(rejected) == (0 if is_let_in else 1)
    if not is_let_in:
        assert "t@ken" not in answer.text


def test_what_is_missing_is_named(opened):
    assert "EXOTEL_API_KEY and EXOTEL_API_TOKEN" in asks(opened(PUBLIC)).json["detail"]


@pytest.mark.parametrize(
    ("settings", "given", "status"),
    [((), None, 302), ((), RIGHT, 403), ((KEYS,), None, 302), ((KEYS,), WRONG, 403), ((KEYS,), BROKEN, 403),
     ((KEYS,), RIGHT, 302), ((IPS,), None, 302)],
)  # fmt: skip
def test_this_machine_needs_no_key_but_a_wrong_one_is_refused(opened, settings, given, status):
    app = opened({"LOCAL": "1"}, *settings)
    assert asks(app, given, "127.0.0.1", base_url="http://localhost:5001").status_code == status


def test_the_peer_is_whom_trusted_proxies_name_and_no_other(opened):
    forwarded = {"X-Forwarded-For": INSIDE}
    for trusted, status in (("0", 403), ("1", 302)):
        app = opened(PUBLIC, IPS, {"TRUSTED_PROXIES": trusted})
        answer = app.test_client().get(
            "/exotel/passthru?CallSid=c1",
            headers=forwarded,
            base_url="https://v.example.com",
            environ_overrides={"REMOTE_ADDR": OUTSIDE},
        )
        assert answer.status_code == status


# ---------------------------------------------------------------------- the address to be dialled


def test_the_address_has_key_and_token_and_what_the_applet_was_given(opened):
    app = opened(PUBLIC, KEYS)
    path = (
        "/exotel/stream-url?CallSid=c1&CallFrom=0987&CallTo=0801&Direction=incoming&flow_id=9&Created=now"
        "&sample-rate=16000&shop=two+words"
    )
    answer = asks(app, RIGHT, path=path)
    assert answer.json == {
        "url": "wss://key:t%40ken%2F1@v.example.com/exotel?sample-rate=16000&shop=two+words&call_sid=c1"
    }
    assert answer.headers["Cache-Control"] == "no-store"


def test_without_a_key_the_address_has_none_and_plain_http_leads_to_plain_ws(opened):
    answer = asks(opened(), None, "127.0.0.1", "/exotel/stream-url", "http://localhost:5001")
    assert answer.json == {"url": "ws://localhost:5001/exotel"}


def test_the_address_is_for_exotel_alone(opened):
    answer = asks(opened(PUBLIC, KEYS), None, path="/exotel/stream-url")
    assert answer.status_code == 403
    assert "t%40ken" not in answer.text


@pytest.mark.parametrize("why", ["engine_down", "full", "no_engine"])
def test_where_no_stream_can_be_served_there_is_no_address_and_the_flow_goes_on(opened, monkeypatch, why):
    app = opened()
    monkeypatch.setattr(app.extensions["desk"], "why_no_stream", lambda: why)
    answer = asks(app, None, "127.0.0.1", "/exotel/stream-url", "http://localhost:5001")
    assert answer.status_code == 503
    assert answer.mimetype == "application/problem+json"


def test_a_rate_that_exotel_does_not_have_is_refused(opened):
    path = "/exotel/stream-url?sample-rate=44100"
    assert asks(opened(), None, "127.0.0.1", path, "http://localhost:5001").status_code == 400


def test_sockets_are_gunicorn_s(opened):
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
    answer = opened().test_client().get("/exotel", headers=upgrade, base_url="http://localhost:5001")
    assert answer.status_code == 501
    assert "gunicorn" in answer.json["detail"]
