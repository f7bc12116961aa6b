"""The signature, against the published vectors and Twilio's own library."""

from __future__ import annotations

import random

import pytest
from twilio.request_validator import RequestValidator

from flaskapp.simulator.curl import curl_line
from flaskapp.simulator.twilio.signature import sign


def test_the_signature_of_a_form_is_twilios_published_one():
    form = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+14158675310",
        "Digits": "1234",
        "From": "+14158675310",
        "To": "+18005551212",
    }
    url = "https://example.com/myapp.php?foo=1&bar=2"
    assert sign("12345", url, form) == "L/OH5YylLD5NRKLltdqwSvS0BnU="


@pytest.mark.parametrize(
    ("url", "signature"),
    [
        ("wss://voice.example.com/media", "jFDHVhI8XO69C49uXR3xmdZPylY="),
        ("wss://voice.example.com/media/", "BXF4dPv/qKwfALEQ/o2fVPPvK/c="),
    ],
)
def test_the_signature_of_a_handshake_is_the_known_one(url, signature):
    assert sign("12345", url) == signature


def test_twilios_library_accepts_every_signature():
    chance = random.Random(7)
    letters = "abcXYZ 0+é&=%\n"
    for _ in range(200):
        form = {
            "".join(chance.choices(letters, k=3)): "".join(chance.choices(letters, k=chance.randrange(6)))
            for _ in range(chance.randrange(8))
        }
        host = chance.choice(["http://127.0.0.1:5001", "https://a.example", "https://a.example:8443"])
        url = f"{host}/phone/{chance.randrange(99)}?q={chance.randrange(9)}"
        assert RequestValidator("secret").validate(url, form, sign("secret", url, form))


def test_port_user_and_fragment_are_not_signed_over_tls():
    plain = sign("t", "https://a.example/x")
    assert sign("t", "https://user:word@a.example:8443/x#rc=2") == plain
    assert sign("t", "http://a.example:8080/x") != sign("t", "http://a.example/x")


def test_the_curl_line_survives_a_shell_and_carries_the_signature():
    line = curl_line("http://h/p", {"From": "+1 2'3"}, "12345")
    assert sign("12345", "http://h/p", {"From": "+1 2'3"}) in line
    assert "--data-urlencode" in line
    assert "Signature" not in curl_line("http://h/p", {}, None)
