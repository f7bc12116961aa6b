"""Nothing that a log shows lets a stranger call somebody, open a socket or sign a webhook."""

from __future__ import annotations

import pytest

from flaskapp.redaction import Redactor, mask_number

SECRET = "qZ3kT9canary"


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("+14155550123", "*******0123"),
        (" 1234567890", "******7890"),
        ("+1 (415) 555-0123", "*******0123"),
        ("911", "***"),
        ("anonymous", "anonymous"),
        ("", "unknown"),
        ("sip:+14155550123@host", "*******0123"),
    ],
)
def test_a_number_shows_its_last_four_digits(number, shown):
    assert mask_number(number) == shown


@pytest.mark.parametrize(
    "text",
    [
        "Received streaming call from +14155550123",
        "From=%2B14155550123&To=+14155550123",
        "caller 14155550123 is back",
        "dial (+1 415 555-0123)",
        "tel:+14155550123",
    ],
)
def test_numbers_in_any_text_are_masked(text):
    shown = Redactor()(text)
    assert "0123" in shown
    assert "555" not in shown


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21 06:21:46,123 - flaskapp - INFO - ready",
        "Listening at: http://127.0.0.1:5001 (1234567)",
        "call CA1234567890abcdef1234567890abcdef ended after 61234 ms",
        "Handling /phone/stream-audio/CA1/complete",
        "0.123456789012 seconds",
        "the api key is missing; set a password",
    ],
)
def test_innocent_text_is_left_alone(text):
    assert Redactor()(text) == text


@pytest.mark.parametrize(
    "text",
    [
        f"GET /phone/speech/CA123/RE123/{SECRET} HTTP/1.1",
        f"GET /phone/stream-audio/CA123/{SECRET} HTTP/1.1",
        f'"GET /phone/stream-audio/CA123/{SECRET}?x=1"',
        f"wss://host/phone/stream-audio/CA123/{SECRET}",
        f"Authorization: Basic {SECRET}",
        f"{{'Authorization': 'Bearer {SECRET}'}}",
        f"api-key: {SECRET}",
        f"sending Bearer {SECRET}",
        f"X-Twilio-Signature: {SECRET}=",
        f"Sec-WebSocket-Protocol: ticket.{SECRET}",
        f"/client?ticket={SECRET}&x=1",
        f'{{"password": "{SECRET}"}}',
        f"redis://:{SECRET}@host:6379/0",
        f"postgresql+psycopg://user:{SECRET}@host/db",
        f"Incorrect API key provided: sk-proj-{SECRET}",
        f"Cookie: session={SECRET}",
    ],
)
def test_tickets_keys_and_passwords_are_hidden(text):
    shown = Redactor()(text)
    assert SECRET not in shown
    assert Redactor()(shown) == shown


def test_configured_secrets_are_hidden_wherever_they_turn_up():
    assert Redactor([SECRET, "ab"])(f"odd {SECRET}: ab") == "odd <redacted>: ab"
