"""What all pages of the dashboard have in common."""

from __future__ import annotations

import re

import pytest

from flaskapp import create_app

PUBLIC = {"LOCAL": "", "FLASK_BASE_URL": "https://voice.example.com", "DASHBOARD_PASSWORD": "a long password"}
OPERATOR = ("operator", "a long password")


def _address_of(page: str, name: str) -> str:
    found = re.search(rf'"(/dashboard/static/[^"]*{re.escape(name)})"', page)
    assert found, f"{name} is not on the page"
    return found[1]


def test_pages_are_for_the_operator_only() -> None:
    client = create_app(PUBLIC).test_client()
    assert client.get("/dashboard/").status_code in (303, 401)
    assert client.get("/dashboard/", auth=OPERATOR).status_code == 200


def test_no_page_may_load_anything_foreign_nor_be_framed_nor_kept() -> None:
    answer = create_app(PUBLIC).test_client().get("/dashboard/", auth=OPERATOR)
    policy = dict(rule.split(" ", 1) for rule in answer.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["connect-src"].split()[1:] == ["ws://localhost", "wss://localhost"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert not re.search(r"<(script|style)[^>]*>[^<]|\son\w+=|\sstyle=", answer.text), (
        "inline code is not run"
    )


def test_a_host_with_odd_characters_gets_into_no_policy() -> None:
    answer = create_app(PUBLIC).test_client().get("/dashboard/", auth=OPERATOR, headers={"Host": "x;y"})
    assert "x;y" not in answer.headers.get("Content-Security-Policy", "")


def test_browsers_keep_files_until_there_are_others() -> None:
    client = create_app(PUBLIC).test_client()
    style = _address_of(client.get("/dashboard/", auth=OPERATOR).text, "style.css")
    assert "immutable" in client.get(style).headers["Cache-Control"]
    old = re.sub(r"static/\w+/", "static/older/", style)
    assert client.get(old).headers["Cache-Control"] == "no-cache"
    assert client.get(re.sub("style.css", "../base.html", style)).status_code == 404


def test_the_front_door_leads_to_the_board() -> None:
    assert create_app(PUBLIC).test_client().get("/").headers["Location"] == "/dashboard/"


@pytest.mark.parametrize("path", ["/", "/dashboard/", "/dashboard/phone"])
def test_whoever_wants_no_dashboard_has_none(path: str) -> None:
    client = create_app({**PUBLIC, "FLASKAPP_DASHBOARD": "0"}).test_client()
    assert client.get(path, auth=OPERATOR).status_code == 404
