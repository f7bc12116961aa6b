"""What a page answers when it cannot be shown."""

from __future__ import annotations

import pytest

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
STRANGER = {"REMOTE_ADDR": "203.0.113.7"}


def test_a_browser_is_shown_what_is_wrong_and_the_way_back(client):
    answer = client.get("/dashboard/nothing/here", headers=BROWSER)
    assert answer.status_code == 404
    assert answer.mimetype == "text/html"
    assert "There is no such page." in answer.text
    assert 'href="/dashboard/"' in answer.text
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("accept", [{}, {"Accept": "*/*"}, {"Accept": "application/json"}])
def test_everybody_else_is_told_it_as_all_errors_are(client, accept):
    answer = client.get("/dashboard/nothing", headers=accept)
    assert answer.status_code == 404
    assert answer.mimetype == "application/problem+json"


def test_a_stranger_reads_what_is_to_be_set_before_anybody_may_look(client):
    answer = client.get("/dashboard/", headers=BROWSER, environ_base=STRANGER)
    assert answer.status_code == 403
    assert answer.mimetype == "text/html"
    assert "DASHBOARD_PASSWORD is not set" in answer.text


@pytest.mark.parametrize(
    ("origin", "is_sent"),
    [
        ("https://voice.example.com", True),
        ("http://localhost:5001", True),
        ("http://[::1]:5001", True),
        ("http://192.0.2.7:5001", False),
    ],
)
def test_a_browser_is_told_nothing_that_it_would_only_complain_about(client, origin, is_sent):
    answer = client.get("/dashboard/login", base_url=origin, environ_base=STRANGER)
    assert ("Cross-Origin-Opener-Policy" in answer.headers) == is_sent
