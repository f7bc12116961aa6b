"""A letter's way to its receiver: signed by whom, and what may go wrong on it."""

from __future__ import annotations

import base64
import ssl
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from flaskapp.config import load_settings
from flaskapp.phone import after_call
from tests.conftest import PROJECT
from tests.phone.certificates import contexts
from tests.webhook_receiver import Receiver


def secret(**settings: str) -> str:
    """What signs, by these settings."""
    return after_call.secret(load_settings({"SECRET_KEY": "tests", **settings}, env_file=None))


# ---------------------------------------------------------------------- signed


@pytest.mark.parametrize(
    "given",
    ["", "sixteen  letters", "a long sentence " * 9, "whsec_" + base64.b64encode(b"k" * 24).decode()],
)
def test_whatever_the_secret_the_standards_own_package_reads_it(given):
    spelled = secret(CALL_WEBHOOK_SECRET=given)
    signed = after_call.headers(spelled, "evt_1", int(datetime.now(UTC).timestamp()), b'{"text": "\xc3\xa4"}')
    assert Webhook(spelled).verify(b'{"text": "\xc3\xa4"}', signed) == {"text": "ä"}
    with pytest.raises(WebhookVerificationError):
        Webhook(spelled).verify(b'{"text": "a"}', signed)


def test_a_secret_in_the_standards_spelling_stays_as_it_is_and_another_one_is_its_bytes():
    spelled = "whsec_" + base64.b64encode(b"k" * 24).decode()
    assert secret(CALL_WEBHOOK_SECRET=spelled) == spelled
    text = secret(CALL_WEBHOOK_SECRET="some secret words")
    assert base64.b64decode(text.removeprefix("whsec_")) == b"some secret words"


def test_without_a_secret_it_comes_of_the_secret_key():
    ours = secret()
    assert ours == secret()
    assert ours != secret(SECRET_KEY="another")
    assert b"tests" not in base64.b64decode(ours.removeprefix("whsec_"))


def test_the_command_prints_what_the_receiver_must_know(config, app, runner):
    printed = runner.invoke(args=["phone", "webhook-secret"])
    assert printed.exit_code == 0
    assert printed.stdout.strip() == after_call.secret(app.extensions["settings"])


# ---------------------------------------------------------------------- over the wire


def test_a_letter_over_a_socket_is_signed_and_whole():
    with Receiver() as receiver:
        ours = "whsec_" + base64.b64encode(b"k" * 24).decode()
        body = b'{"event": "call.ended"}'
        headers = after_call.headers(ours, "evt_1", int(datetime.now(UTC).timestamp()), body)
        assert after_call.send(receiver.url, body, headers) == 204
        [letter] = receiver.letters
    assert letter.verify(ours) == {"event": "call.ended"}
    assert letter.headers["path"] == "/calls?key=1"
    assert letter.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert letter.headers["content-type"] == "application/json"


def test_redirects_are_not_followed():
    with Receiver() as receiver:
        receiver.answers = [302]
        assert after_call.send(receiver.url, b"{}", {}) == 302
        assert len(receiver.letters) == 1


def test_nobody_there_is_an_error_of_the_wire():
    with Receiver() as receiver:
        receiver.shut()
        with pytest.raises(ConnectionRefusedError):
            after_call.send(receiver.url, b"{}", {})


@pytest.mark.parametrize("drips", [False, True])
def test_a_receiver_that_takes_its_time_is_not_waited_for(drips):
    with Receiver() as receiver:
        receiver.answers, receiver.drip_s = ([200], 0.2) if drips else ([0], 0.0)
        with pytest.raises(TimeoutError):
            after_call.send(receiver.url, b"{}", {}, within_s=1.0)


PATCHED = """
from gevent import monkey
monkey.patch_all()
import gevent, sys, time
from flaskapp.phone.after_call import send

ticks = []
ticking = gevent.spawn(lambda: [(ticks.append(1), gevent.sleep(0.01)) for _ in iter(int, 1)])
print(send(sys.argv[1], b"{}", {}))
try:
    send(sys.argv[1], b"{}", {}, within_s=1.0)
except TimeoutError:
    print("in time", len(ticks) > 10)
"""


def test_a_patched_worker_sends_while_others_go_on():
    with Receiver() as receiver:
        receiver.answers = [202, 0]
        command = [sys.executable, "-c", PATCHED, receiver.url]
        ran = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False)
    assert ran.stdout.splitlines() == ["202", "in time True"], ran.stderr


def test_over_tls_the_receiver_must_be_who_it_says():
    """A certificate that nobody vouches for: not a byte of the call is sent."""
    server, trusting = contexts()
    with Receiver(tls=server) as receiver:
        with pytest.raises(ssl.SSLCertVerificationError):
            after_call.send(receiver.url, b"{}", {})
        assert receiver.letters == []
        assert after_call.send(receiver.url, b"{}", {}, tls=trusting) == 204
