"""Signing in and out: by the password, not too often, and by nobody else's page."""

from __future__ import annotations

import re

import pytest
from redis.exceptions import ConnectionError as NoConnection

from flaskapp import create_app
from flaskapp.store.attempts import MOST, WITHIN_S, Attempts
from flaskapp.store.live import connect

PUBLIC = "https://voice.example.com"
PASSWORD = "open sesame"
OURS = {"Origin": PUBLIC}


@pytest.fixture
def config(config):
    return {**config, "LOCAL": "0", "DASHBOARD_PASSWORD": PASSWORD, "FLASK_BASE_URL": PUBLIC}


def sign_in(client, password=PASSWORD, headers=OURS, **form):
    return client.post(
        "/dashboard/login", data={"password": password, **form}, headers=headers, base_url=PUBLIC
    )


def board(client) -> int:
    return client.get("/dashboard/", base_url=PUBLIC).status_code


def token(client) -> str:
    page = client.get("/dashboard/", base_url=PUBLIC).text
    return re.search(r'name="csrf_token" value="([^"]+)"', page)[1]


def test_the_password_opens_the_dashboard_until_the_operator_signs_out(app, client):
    asked = client.get("/dashboard/", base_url=PUBLIC)
    assert (asked.status_code, asked.headers["Location"]) == (303, "/dashboard/login?next=/dashboard/")
    assert 'name="password"' in client.get("/dashboard/login", base_url=PUBLIC).text
    assert sign_in(client).status_code == 303
    assert board(client) == 200
    assert client.get("/dashboard/login", base_url=PUBLIC).status_code == 303, "he is in already"
    form = {"csrf_token": token(client)}
    assert client.post("/dashboard/logout", data=form, headers=OURS, base_url=PUBLIC).status_code == 303
    assert board(client) == 303


def test_another_password_opens_nothing_and_the_form_says_so(client):
    answer = sign_in(client, "open barley")
    assert (answer.status_code, "Set-Cookie" in answer.headers) == (401, False)
    assert "not the password" in answer.text
    assert "Basic" not in answer.headers["WWW-Authenticate"], "the browser would ask for one, too"
    assert board(client) == 303


def test_the_cookie_is_out_of_reach_of_scripts_other_pages_and_plain_http(client):
    cookie = sign_in(client).headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Lax", "Secure", "Path=/"} <= {each.strip() for each in cookie.split(";")}


def test_behind_a_tunnel_a_browser_may_keep_the_cookie_although_it_is_plain_http(client):
    tunnel = "http://127.0.0.1:5001"
    answer = client.post(
        "/dashboard/login", data={"password": PASSWORD}, headers={"Origin": tunnel}, base_url=tunnel
    )
    assert answer.status_code == 303
    assert "Secure" not in answer.headers["Set-Cookie"]


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}])
def test_a_foreign_page_signs_nobody_in(client, headers):
    assert sign_in(client, headers=headers).status_code == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({}, 403),  # a cookie and nothing else
        ({"Origin": PUBLIC}, 404),  # nothing is buffered for this call
        ({"Sec-Fetch-Site": "same-origin"}, 404),
    ],
)
def test_with_the_operators_cookie_only_our_own_pages_change_something(client, headers, status):
    sign_in(client)
    answer = client.post("/phone/stream-audio/CA1/complete", headers=headers, base_url=PUBLIC)
    assert answer.status_code == status


def test_a_foreign_page_cannot_use_a_password_that_the_browser_remembers(client):
    asked = {"auth": ("operator", PASSWORD), "base_url": PUBLIC}
    post = "/phone/stream-audio/CA1/complete"
    assert client.post(post, headers={"Origin": "https://evil.example"}, **asked).status_code == 403
    assert client.post(post, **asked).status_code == 404, "a script that sends it has no page"


def test_signing_out_takes_the_forms_token(client):
    sign_in(client)
    assert client.post("/dashboard/logout", headers=OURS, base_url=PUBLIC).status_code == 403
    wrong = client.post("/dashboard/logout", data={"csrf_token": "x"}, headers=OURS, base_url=PUBLIC)
    assert wrong.status_code == 403
    assert board(client) == 200
    form = {"csrf_token": token(client)}
    assert client.post("/dashboard/logout", data=form, base_url=PUBLIC).status_code == 303, "token is enough"
    assert board(client) == 303


def test_who_guesses_has_to_wait_and_the_right_password_does_not_help_him(client):
    for _ in range(MOST):
        assert sign_in(client, "guess").status_code == 401
    answer = sign_in(client)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= WITHIN_S
    assert "Too many" in answer.text
    basic = client.get("/metrics", auth=("operator", PASSWORD), base_url=PUBLIC)
    assert (basic.status_code, basic.content_type) == (429, "application/problem+json")


def test_guesses_by_http_basic_count_as_well_and_only_for_their_address(client):
    for _ in range(MOST):
        assert client.get("/metrics", auth=("operator", "guess"), base_url=PUBLIC).status_code == 401
    assert sign_in(client).status_code == 429
    elsewhere = {"REMOTE_ADDR": "192.0.2.9"}
    assert (
        client.get(
            "/metrics", auth=("operator", PASSWORD), base_url=PUBLIC, environ_overrides=elsewhere
        ).status_code
        == 200
    )


def test_who_is_signed_in_stays_so_while_somebody_guesses(client):
    sign_in(client)
    for _ in range(MOST + 1):
        client.get("/metrics", auth=("operator", "guess"), base_url=PUBLIC)
    assert board(client) == 200


def test_another_password_ends_the_sessions_of_the_one_before(app, client, config):
    sign_in(client)
    cookie = client.get_cookie("session", domain="voice.example.com").value
    other = create_app({**config, "DASHBOARD_PASSWORD": "another one"}).test_client()
    other.set_cookie("session", cookie, domain="voice.example.com")
    assert board(other) == 303


@pytest.mark.parametrize(
    ("wanted", "leads_to"),
    [
        ("/dashboard/calls/CA1?x=1", "/dashboard/calls/CA1?x=1"),
        ("/docs", "/docs"),
        ("", "/dashboard/"),
        ("https://evil.example/", "/dashboard/"),
        ("//evil.example", "/dashboard/"),
        ("///evil.example", "/dashboard/"),
        ("/\\evil.example", "/dashboard/"),
        ("/\t/evil.example", "/dashboard/"),
        ("javascript:alert(1)", "/dashboard/"),
        ("//[x", "/dashboard/"),
        ("dashboard", "/dashboard/"),
    ],
)
def test_after_signing_in_he_is_where_he_wanted_to_be_but_never_elsewhere(client, wanted, leads_to):
    assert sign_in(client, next=wanted).headers["Location"] == leads_to


def test_without_a_password_nobody_signs_in_and_the_page_says_why(config):
    client = create_app({**config, "DASHBOARD_PASSWORD": ""}).test_client()
    for answer in (client.get("/dashboard/login", base_url=PUBLIC), sign_in(client, "")):
        assert answer.status_code == 403
        assert "DASHBOARD_PASSWORD is not set" in answer.text
    assert board(client) == 403


def test_a_script_of_ours_whose_session_is_over_does_not_make_the_browser_ask_for_a_password(client):
    answer = client.get("/metrics", headers={"Sec-Fetch-Dest": "empty"}, base_url=PUBLIC)
    assert (answer.status_code, answer.www_authenticate.type) == (401, "session")
    assert client.get("/metrics", base_url=PUBLIC).www_authenticate.type == "basic"


# ---------------------------------------------------------------------- counting


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Away:
    """A Redis that is."""

    def __getattr__(self, name):
        raise NoConnection("away")


def guess(attempts, address, times=MOST):
    for _ in range(times):
        attempts.failed(address)


def test_guesses_are_counted_over_all_workers():
    redis = connect("").text
    here, there = Attempts(redis), Attempts(redis)
    guess(here, "192.0.2.1", MOST - 1)
    assert there.wait_s("192.0.2.1") == 0
    there.failed("192.0.2.1")
    assert 0 < here.wait_s("192.0.2.1") <= WITHIN_S
    assert here.wait_s("192.0.2.2") == 0


def test_without_redis_each_worker_counts_for_itself_and_forgets_in_time():
    clock = Clock()
    attempts = Attempts(Away(), clock)
    guess(attempts, "192.0.2.1")
    assert attempts.wait_s("192.0.2.1") == WITHIN_S
    clock.now += WITHIN_S
    assert attempts.wait_s("192.0.2.1") == 0
    attempts.failed("192.0.2.1")
    assert attempts.wait_s("192.0.2.1") == 0


def test_a_network_of_ipv6_is_one_party_and_an_ipv4_address_is_the_same_in_either_spelling():
    attempts = Attempts(connect("").text)
    guess(attempts, "2001:db8:0:1::1")
    assert attempts.wait_s("2001:db8:0:1:ffff::2") > 0
    assert attempts.wait_s("2001:db8:0:2::1") == 0
    guess(attempts, "::ffff:192.0.2.7")
    assert attempts.wait_s("192.0.2.7") > 0


def test_the_right_password_forgives_the_wrong_ones_before():
    attempts = Attempts(connect("").text)
    guess(attempts, "192.0.2.1", MOST - 1)
    attempts.forgive("192.0.2.1")
    guess(attempts, "192.0.2.1", MOST - 1)
    assert attempts.wait_s("192.0.2.1") == 0
