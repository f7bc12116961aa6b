"""deploy/nginx.conf in front of two workers: calls come in by https and wss, and signatures are checked."""

from __future__ import annotations

import json
import os
import re
import shlex
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import requests
from redis import Redis
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.protocol import State
from websockets.sync.client import ClientConnection, connect

from flaskapp.phone.audio import mulaw_to_pcm16, write_wav
from flaskapp.simulator.twilio import signature
from flaskapp.store.live import LiveStore
from flaskapp.store.live import connect as store_of
from flaskapp.tickets import Tickets
from tests import servers
from tests.conftest import PROJECT, RunningApp
from tests.fakes import FakeRealtime, tone
from tests.system import ledger
from tests.system.conftest import TOKEN, WEBHOOK
from tests.system.proxy import command, nginx, redirecting_port

pytestmark = pytest.mark.system

PASSWORD = "not-a-secret-here"
OPERATOR = f"operator:{PASSWORD}"
SECRETS = {
    "DASHBOARD_PASSWORD": PASSWORD,
    "EXOTEL_API_KEY": "exotel-key",
    "EXOTEL_API_TOKEN": "exotel/token@",
}
CALL = {"CallSid": "CA1", "From": "+15550001111", "To": "+15552223333"}


@dataclass(frozen=True)
class Site:
    """The app as the world sees it: ``url`` is nginx's, with a certificate that only ``trust`` knows."""

    url: str
    folder: Path
    app: RunningApp
    engine: FakeRealtime

    @property
    def trust(self) -> str:
        return str(self.folder / "certificate.pem")

    @property
    def host(self) -> str:
        return self.url.removeprefix("https://")

    @property
    def environment(self) -> dict[str, str]:
        """Of commands that believe the certificate, and look into the app's database."""
        return self.app.environment | {"SSL_CERT_FILE": self.trust, "LOG_LEVEL": "ERROR"}

    def post(self, path: str, signed_for: str = "", **headers: str) -> requests.Response:
        """A carrier's webhook, signed for a URL of that origin."""
        if signed_for:
            headers[signature.HEADER] = signature.sign(TOKEN, signed_for + path, CALL)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.post(self.url + path, CALL, headers=named, verify=self.trust, timeout=30)

    def command(self, *arguments: str, timeout_s: float = 180) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flask", "phone", *arguments],
            cwd=PROJECT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "flask", "phone", *arguments],
            cwd=PROJECT,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def shown(self) -> str:
        """Both of nginx's logs."""
        return "".join(each.read_text() for each in self.folder.glob("answerline*.log"))


@pytest.fixture
def site(
    gunicorn_app, engine, signed, redis_of_our_own, postgres_database, tmp_path
) -> Iterator[Callable[..., Site]]:
    """Opens a site: ``site({"FLASK_BASE_URL": ...})``; two workers, a real Redis, a real PostgreSQL."""
    running = []

    def open_site(settings: dict[str, str] | None = None, **nginx_options) -> Site:
        served = {
            "LOCAL": "0",
            "WEB_CONCURRENCY": "2",
            "TRUSTED_PROXIES": "1",
            "REDIS_URL": redis_of_our_own,
            "DATABASE_URL": postgres_database,
            "OPENAI_BASE_URL": engine.base_url,
            "OPENAI_API_KEY": "sk-test",
            "AGENT_GREETING": "Hello.",
            "DASHBOARD_PASSWORD": PASSWORD,
            **signed,
        }
        app = gunicorn_app(served | (settings or {}))
        servers.wait_until(lambda: len(ledger.workers_of(app.process.pid)) == 2, "no workers")
        port, behind = servers.free_port(), int(app.url.rpartition(":")[2])
        context = nginx(tmp_path, port, [behind], tls=True, **nginx_options)
        running.append(context)
        return Site(context.__enter__(), tmp_path, app, engine)

    yield open_site
    for context in running:
        context.__exit__(None, None, None)


@pytest.fixture
def exotel_site(site) -> Callable[..., Site]:
    """A site that Exotel has key and token of."""
    return partial(site, SECRETS)


@pytest.fixture
def voice(tmp_path) -> str:
    """What the caller says."""
    path = tmp_path / "voice.wav"
    path.write_bytes(write_wav(mulaw_to_pcm16(tone(1200))))
    return str(path)


@pytest.mark.parametrize("public", ["https://voice.example.com", ""])
def test_a_signed_call_is_answered_over_https_and_wss(site, voice, public):
    front = site({"FLASK_BASE_URL": public})
    done = front.command(
        "dial", front.url, "--wav", voice, "--seconds", "40", "--json", "--require-transcript"
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    told = json.loads(done.stdout)
    assert {line["speaker"] for line in told["lines"]} == {"caller", "agent"}
    assert f'"GET /phone/stream-audio/{told["call_sid"]}" 101' in front.shown()
    assert "Traceback" not in front.app.log.read_text()


def test_signatures_are_checked_for_the_address_that_nginx_was_asked_for(site):
    front = site()
    evil = "https://evil.example"
    assert "<Connect " in front.post(WEBHOOK, front.url).text
    assert f"wss://{front.host}/phone/stream-audio/CA1" in front.post(WEBHOOK, front.url).text
    plain = front.url.replace("https", "http")
    assert front.post(WEBHOOK, front.url, X_Forwarded_Proto="http").status_code == 200, "nginx knows better"
    refused = [
        front.post(WEBHOOK),
        front.post(WEBHOOK, X_Forwarded_For="127.0.0.1"),
        front.post(WEBHOOK, front.url, Host="evil.example"),
        front.post(WEBHOOK, evil),
        front.post(WEBHOOK, evil, X_Forwarded_Host="evil.example"),
        front.post(WEBHOOK, plain, X_Forwarded_Proto="http"),
        front.post(WEBHOOK, evil, Forwarded="host=evil.example;proto=https"),
    ]
    assert [answer.status_code for answer in refused] == [403] * len(refused)
    assert not any("evil" in answer.text for answer in refused)
    moved = requests.post(
        f"http://127.0.0.1:{redirecting_port(front.folder)}{WEBHOOK}?a=1",
        CALL,
        allow_redirects=False,
        timeout=30,
    )
    assert (moved.status_code, moved.headers["Location"]) == (308, f"https://localhost{WEBHOOK}?a=1")


def test_with_a_public_origin_only_that_one_is_signed(site):
    front = site({"FLASK_BASE_URL": "https://voice.example.com"})
    assert front.post(WEBHOOK, "https://voice.example.com").status_code == 200
    assert "wss://voice.example.com/" in front.post(WEBHOOK, "https://voice.example.com").text
    assert front.post(WEBHOOK, front.url).status_code == 403


def test_an_exotel_call_is_answered_with_key_and_token_in_its_address(exotel_site, voice):
    front = exotel_site()
    call = (
        "dial",
        front.url,
        "--carrier",
        "exotel",
        "--sample-rate",
        "16000",
        "--wav",
        voice,
        "--seconds",
        "40",
    )
    done = front.command(*call, "--json", "--require-transcript")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert {line["speaker"] for line in json.loads(done.stdout)["lines"]} == {"caller", "agent"}
    assert '"GET /exotel" 101' in front.shown()
    assert '"GET /exotel/passthru" ' in front.shown()
    assert not [secret for secret in SECRETS.values() if secret in front.shown()]
    assert front.command(*call, "--token", "another").returncode == 1
    assert '"GET /exotel" 401' in front.shown()
    assert "Traceback" not in front.app.log.read_text()


def test_exotels_addresses_are_those_that_nginx_saw(site):
    front = site({"EXOTEL_ALLOWED_IPS": "203.0.113.7"})
    found = [
        requests.get(
            front.url + "/exotel/stream-url", headers=headers, verify=front.trust, timeout=30
        ).status_code
        for headers in ({}, {"X-Forwarded-For": "203.0.113.7"}, {"X-Real-IP": "203.0.113.7"})
    ]
    assert found == [403, 403, 403]


# ---------------------------------------------------------------------- who reads along


def read_along(front: Site, says: str, origin: str | None = None, **right: str) -> ClientConnection:
    """A reader's socket through nginx; ``user`` has the operator's password, or he offers a ``ticket``."""
    trust = ssl.create_default_context(cafile=front.trust)
    reader = connect(
        f"wss://{right['user']}@{front.host}/client" if "user" in right else f"wss://{front.host}/client",
        ssl=trust,
        origin=origin,
        subprotocols=[f"ticket.{right['ticket']}"] if "ticket" in right else None,
        open_timeout=30,
    )
    reader.send(says)
    return reader


def lines_of(reader: ClientConnection, count: int) -> list[dict]:
    return [json.loads(reader.recv(timeout=60)) for _ in range(count)]


@pytest.fixture
def chatty(site) -> Iterator[Callable[..., tuple[Site, str]]]:
    """A site with a caller who goes on talking for so long, and his call's id."""
    running = []

    def begin(seconds: int, **nginx_options) -> tuple[Site, str]:
        front = site(**nginx_options)
        arguments = ("load", front.url, "--calls", "1", "--seconds", str(seconds))
        running.append(front.begin(*arguments))
        with Redis.from_url(front.app.environment["REDIS_URL"], decode_responses=True) as redis:
            servers.wait_until(lambda: redis.keys("call:CA*"), "nobody calls")
            return front, redis.keys("call:CA*")[0].removeprefix("call:")

    yield begin
    for process in running:
        servers.stop(process)


def test_a_transcript_is_read_through_nginx_by_whoever_may(chatty):
    front, call_sid = chatty(20)
    with read_along(front, call_sid, user=OPERATOR) as reader:
        told = lines_of(reader, 5)
    assert [each["sequence"] for each in told] == [1, 2, 3, 4, 5]
    assert {each["call_sid"] for each in told} == {call_sid}
    with read_along(
        front, json.dumps({"call_sid": call_sid, "after": 3}), front.url, user=OPERATOR
    ) as reader:
        assert lines_of(reader, 2) == told[3:]
    live = LiveStore(store_of(front.app.environment["REDIS_URL"]))
    ticket = Tickets(front.app.environment["SECRET_KEY"], live).issue(call_sid)
    with read_along(front, call_sid, ticket=ticket) as reader:
        assert lines_of(reader, 5) == told
    for right, status in (({"ticket": ticket}, 401), ({"user": "operator:wrong"}, 401)):
        with pytest.raises(InvalidStatus) as refused:
            read_along(front, call_sid, **right)
        assert refused.value.response.status_code == status
    with pytest.raises(InvalidStatus) as refused:
        read_along(front, call_sid, "https://evil.example", user=OPERATOR)
    assert refused.value.response.status_code == 403
    with read_along(front, call_sid) as stranger, pytest.raises(ConnectionClosed):
        stranger.recv(timeout=60)
    assert stranger.close_code == 1008
    assert ticket not in front.shown()


def test_sockets_outlive_a_proxy_that_cuts_what_is_silent(chatty):
    """25 s stand for a proxy's 60: what is heard between the pings, each 20 s, is nothing."""
    front, call_sid = chatty(75, changes=[("proxy_read_timeout 1h;", "proxy_read_timeout 25s;")])
    silent = json.dumps({"call_sid": call_sid, "after": 100_000})
    with read_along(front, silent, user=OPERATOR) as reader:
        with pytest.raises(TimeoutError):
            reader.recv(timeout=45)
        reader.ping().wait(10)
        assert reader.protocol.state is State.OPEN


# ---------------------------------------------------------------------- what the pages tell to type


def commands() -> list[tuple[str, str]]:
    """The pages' shell blocks, each with what it says that a healthy server answers.

    Those on port 10000 are the README's, and its test's.
    """
    pages = [(PROJECT / "docs" / name).read_text() for name in ("troubleshooting.md", "exotel.md")]
    block = re.compile(r"^```sh\n(.*?)^```\n(?:```text\n(.*?)^```)?", re.DOTALL | re.MULTILINE)
    found = [each for page in pages for each in block.findall(page)]
    return [each for each in found if "exotel.py" not in each[0] and ":10000" not in each[0]]


def _with_our_python(command: re.Match[str]) -> str:
    return sys.executable if command[1] == "python" else f"{sys.executable} -m {command[1]}"


def test_every_command_of_the_pages_tells_what_they_say(site, tmp_path):
    front = site({**SECRETS, "FLASK_BASE_URL": "https://voice.example.com"})
    (tmp_path / "nginx").write_text(f'#!/bin/sh\nexec {shlex.join(command(tmp_path / "nginx.conf"))} "$@"\n')
    (tmp_path / "nginx").chmod(0o755)
    moved = (
        ("http://127.0.0.1:5001", front.app.url),
        ("://voice.example.com", f"://{front.host}"),
        ("--seconds 20", "--seconds 6"),
        ("| sh", f"| sed s,://voice.example.com,://{front.host}, | sh"),
    )
    environment = front.environment | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "CURL_CA_BUNDLE": front.trust,
        "AZURE_OPENAI_ENDPOINT": front.engine.origin,
        "AZURE_OPENAI_API_KEY": "key",
        "AZURE_OPENAI_REALTIME_DEPLOYMENT": "voice",
    }
    for typed, expected in commands():
        run = re.sub(r"\.venv/bin/(\w+)", _with_our_python, typed)
        for old, new in moved:
            run = run.replace(old, new)
        done = subprocess.run(
            ["sh", "-c", run],
            cwd=PROJECT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        told = f"{typed}\n{done.stdout[-2000:]}{done.stderr[-1000:]}"
        assert "Usage" not in done.stderr, told
        assert done.returncode == 0 or not expected, told
        assert [line for line in expected.splitlines() if line not in done.stdout] == [], told
