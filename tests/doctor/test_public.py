"""What the doctor says of the way from the world to a server: TLS, proxy, signatures, sockets, workers."""

from __future__ import annotations

import http.server
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import werkzeug.serving
from itsdangerous import URLSafeTimedSerializer

from flaskapp import parts
from flaskapp.local import trial_of
from flaskapp.phone import doctor
from flaskapp.phone.checks import carriers, public
from flaskapp.phone.checks.finding import Case
from flaskapp.phone.checks.visit import PROOF, Reply, Visit, opened_answer, pay_a_visit, sealed_answer
from flaskapp.phone.self_report import fingerprints
from tests.doctor.conftest import SECRET, of, only

pytestmark = pytest.mark.system

HTTP = ("proxy_http_version 1.1;", "")
HEADERS = (
    "proxy_set_header Upgrade $http_upgrade;\n    proxy_set_header Connection $connection_upgrade;",
    "",
)
UNSIGNED = ('proxy_set_header Forwarded "";', 'proxy_set_header X-Twilio-Signature "";')
SOCKETS = "location ~ ^/(phone/stream-audio/.|exotel$|client$) {\n            proxy_pass http://answerline;"
ALL_OF_IT = ("server", "worker", "proxy", "signature", "websocket", "exotel")


@pytest.fixture
def trusting(monkeypatch):
    """Believes a certificate."""
    return lambda certificate: monkeypatch.setenv("SSL_CERT_FILE", str(certificate))


@contextmanager
def listening() -> Iterator[tuple[str, list[tuple[str, dict[str, str]]]]]:
    """A stranger, and what he is told: paths and headers."""
    heard: list[tuple[str, dict[str, str]]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append((self.path, dict(self.headers.items())))
            self.send_error(404)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", heard
        server.shutdown()


@contextmanager
def answering(status: int, body: bytes = b"", **headers: str) -> Iterator[str]:
    """Somebody else's server."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


# ------------------------------------------------------------------------ a site that is well


def test_a_site_behind_the_shipped_nginx_is_well(site, trusting):
    url, certificate = site.behind_nginx()
    trusting(certificate)
    found = doctor.checks(site.settings(), url=url, only=ALL_OF_IT)
    assert [each for each in found if each.status != "ok"] == []
    assert only("websocket", site.settings(), url=url).cause.endswith("/phone/stream-audio/doctor")
    assert "Traceback" not in site.app.log.read_text()


def test_nobody_else_is_told_anything(site):
    assert site.app.get("/phone/doctor")[0] == 403
    with answering(200) as url:
        assert "It is not this server" in only("server", site.settings(), url=url).cause


def test_what_the_server_said_to_somebody_else_proves_nothing(site):
    said = sealed_answer(SECRET, {"nonce": "another", "is_draining": False})
    with answering(200, said) as url:
        assert "It is not this server" in only("server", site.settings(), url=url).cause


def test_a_stranger_is_sent_nothing_that_is_of_use_to_him(site):
    """But one signed word; the real server answers that with what he cannot read."""
    with listening() as (url, heard):
        found = doctor.checks(site.settings(FLASK_BASE_URL=url), url=url, only=ALL_OF_IT)
    assert {each.name: each.status for each in found}.keys() == {*ALL_OF_IT}
    assert all(
        "not checked" in each.cause for each in found if each.name in ("signature", "websocket", "exotel")
    )
    assert [path for path, _ in heard] == ["/phone/doctor"]
    ((_, headers),) = heard
    assert not headers.keys() & {"X-Twilio-Signature", "Authorization", "Cookie"}
    asked = urllib.request.Request(f"{site.app.url}/phone/doctor", headers={PROOF: headers[PROOF]})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        said = answer.read()
    assert opened_answer("another secret", said) == {}
    assert URLSafeTimedSerializer("another secret").loads_unsafe(said)[1] is None, "it is not only signed"
    assert opened_answer(SECRET, said)["settings"]


def test_who_passes_the_question_on_to_our_server_is_not_shown_the_carriers_key(site):
    """He is a proxy, as far as anybody can tell, but nobody's address."""
    ours = site.settings(FLASK_BASE_URL="https://voice.example.com")
    passed_on = Visit("https://stranger.example", reply=Reply(200, {}, b""), report={"origin": site.app.url})
    case = Case(ours, "https://stranger.example", lambda: passed_on)
    assert "checks signatures for" in public.signature(case).cause
    assert "checks signatures for" in public.websocket(case).cause
    assert "is shown to FLASK_BASE_URL only" in carriers.exotel(case).cause


# ------------------------------------------------------------------------ the address


def test_a_plain_http_address_is_a_failure():
    found = only("address", of(FLASK_BASE_URL="http://voice.example.com"))
    assert (found.status, found.command) == ("failure", "FLASK_BASE_URL=https://voice.example.com")


def test_a_name_that_the_dns_does_not_have_is_told():
    found = only("address", of(FLASK_BASE_URL="https://voice.invalid"))
    assert (found.status, found.command) == ("failure", "getent hosts voice.invalid")


def test_a_certificate_that_nobody_believes_is_told(site):
    url, _ = site.behind_nginx()
    found = only("address", site.settings(), url=url)
    assert found.status == "failure"
    assert "do not believe the certificate" in found.cause
    assert found.command.startswith("openssl s_client")


def test_plain_http_where_tls_is_expected_is_told(site):
    found = only("address", site.settings(), url=site.app.url.replace("http", "https"))
    assert "speaks no TLS" in found.cause


def test_an_address_that_sends_callers_elsewhere_is_told_with_where(site):
    with answering(301, Location="https://www.example.com/phone/doctor") as url:
        found = only("address", site.settings(), url=url)
    assert (found.status, found.command) == ("failure", "FLASK_BASE_URL=https://www.example.com")


# ------------------------------------------------------------------------ the server


def test_a_server_of_other_secrets_is_told(site):
    found = only("server", site.settings(SECRET_KEY="another-one-than-theirs"), url=site.app.url)
    assert found.status == "failure"
    assert "other secrets" in found.cause


def test_a_server_that_was_not_started_again_is_told_what_has_changed(site):
    changed = site.settings(MAX_CALLS="7", AGENT_GREETING="Hi.")
    found = only("server", changed, url=site.app.url)
    assert found.cause.endswith("AGENT_GREETING, MAX_CALLS")


def test_what_make_run_chooses_by_itself_is_no_other_setting():
    ours, url = of(), "http://127.0.0.1:5001"
    theirs = fingerprints(of(LOCAL="1", **trial_of(ours)), parts.secret(ours))
    report = {"is_draining": False, "is_local": True, "settings": theirs}
    served = Visit(url, reply=Reply(200, {}, b""), report=report)
    assert public.server(Case(ours, url, lambda: served)).status == "ok"


def test_a_proxy_without_a_server_behind_it_is_told(site):
    with answering(502) as url:
        assert "answers 502: it does not reach it" in only("server", site.settings(), url=url).cause


def test_workers_of_another_class_are_told(ill_site):
    found = only("worker", ill_site.settings(), url=ill_site.app.url)
    assert found.status == "failure"
    assert "workers of another class" in found.cause


def test_several_workers_that_share_nothing_are_told(ill_site):
    settings = ill_site.settings()
    seen = pay_a_visit(settings, ill_site.app.url, time.time)
    assert seen.report["has_siblings"]
    right = Visit(seen.url, reply=seen.reply, report={**seen.report, "is_cooperative": True})
    found = public.worker(Case(settings, seen.url, lambda: right))
    assert found.status == "failure"
    assert "no Redis" in found.cause


def test_flask_run_is_told_to_be_gunicorn(app):
    server = werkzeug.serving.make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        found = only(
            "worker", of(SECRET_KEY="tests", LOCAL="1"), url=f"http://127.0.0.1:{server.server_port}"
        )
    finally:
        server.shutdown()
    assert "cannot serve WebSockets" in found.cause
    assert found.command.endswith("gunicorn -c gunicorn.conf.py wsgi:app")


# ------------------------------------------------------------------------ the proxy and signatures


def test_a_proxy_of_which_the_server_was_not_told_is_named_with_the_setting(ill_site, trusting):
    url, certificate = ill_site.behind_nginx()
    trusting(certificate)
    proxy_found, signature = doctor.checks(ill_site.settings(), url=url, only=("proxy", "signature"))
    assert (proxy_found.status, proxy_found.command) == ("failure", "TRUSTED_PROXIES=1")
    assert signature.status == "failure"
    assert "TRUSTED_PROXIES=1" in signature.command


def test_more_trust_than_there_are_proxies_is_told(site, trusting):
    url, certificate = site.behind_nginx()
    trusting(certificate)
    known = site.settings(TRUSTED_PROXIES="2", FLASK_BASE_URL="https://voice.example.com")
    found = only("proxy", known, url=url)
    assert (found.status, found.command) == ("failure", "TRUSTED_PROXIES=1")


def test_a_server_that_checks_for_another_origin_is_told_with_both(site, trusting):
    url, certificate = site.behind_nginx(
        ("proxy_set_header X-Forwarded-Host $http_host;", ""), ("Host $http_host", "Host old.example.com")
    )
    trusting(certificate)
    found = only("signature", site.settings(), url=url)
    assert f"checks signatures for https://old.example.com, and carriers sign for {url}" in found.cause


def test_another_token_than_the_servers_is_told(site, trusting):
    url, certificate = site.behind_nginx()
    trusting(certificate)
    settings = site.settings(TWILIO_AUTH_TOKEN="f" * 32)
    for name in ("signature", "websocket"):
        assert "another TWILIO_AUTH_TOKEN" in only(name, settings, url=url).cause
    wrong = site.settings(EXOTEL_API_TOKEN="another")
    assert "does not take the key and the token" in only("exotel", wrong, url=url).cause


# ------------------------------------------------------------------------ WebSockets


@pytest.mark.parametrize(
    ("changes", "cause", "command"),
    [
        ([HTTP, HEADERS], "took the upgrade away", "proxy_http_version 1.1; proxy_set_header Upgrade"),
        ([HEADERS], "took the upgrade away", "proxy_http_version 1.1; proxy_set_header Upgrade"),
        ([(SOCKETS, f"{SOCKETS}\n return 502;")], "gets no answer for WebSockets (502)", "nginx -T"),
        ([(SOCKETS, f"{SOCKETS}\n return 404;")], "knows no such path (404)", "location"),
        ([(SOCKETS, f"{SOCKETS}\n return 426;")], "wants another protocol", "proxy_http_version"),
        ([(SOCKETS, f"{SOCKETS}\n return 444;")], "breaks the handshake off", "proxy_http_version"),
        ([UNSIGNED], "took the header", "nginx -T"),
    ],
    ids=["http-1.0", "no-upgrade", "502", "404", "426", "cut", "unsigned"],
)  # fmt: skip
def test_a_proxy_that_lets_no_websocket_through_is_told_what_it_lacks(
    site, trusting, changes, cause, command
):
    url, certificate = site.behind_nginx(*changes)
    trusting(certificate)
    found = only("websocket", site.settings(), url=url)
    assert (found.status, found.page) == ("failure", "docs/troubleshooting.md#twilio-reports-31920-or-31921")
    assert cause in found.cause
    assert found.command.startswith(command)


def test_a_server_without_an_engine_is_no_fault_of_the_proxys(ill_site):
    found = only("websocket", ill_site.settings(), url=ill_site.app.url)
    assert found.status == "warning"
    assert "The upgrade gets through" in found.cause
