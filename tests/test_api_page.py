"""The API's page: everything that is described, made on this machine, for the operator."""

from __future__ import annotations

import json
import re

from flaskapp import create_app
from flaskapp.dashboard.docs_page import coded
from tests.conftest import PROJECT

PUBLIC = "https://voice.example.com"
DESCRIPTION = json.loads((PROJECT / "flaskapp/api/openapi.json").read_text())


def test_it_has_every_address_and_every_shape_that_is_described(client):
    page = client.get("/docs").text
    for path, methods in DESCRIPTION["paths"].items():
        for told in methods.values():
            assert f'id="{told["operationId"]}"' in page
            for status in told["responses"]:
                assert f">{status}<" in page
        assert path in page
    for name in DESCRIPTION["components"]["schemas"]:
        assert f'id="{name}"' in page
    targets = set(re.findall(r'href="#([^"]+)"', page)) - {"main"}
    assert targets <= set(re.findall(r'id="([^"]+)"', page)), "each link leads somewhere"


def test_it_is_a_list_of_which_each_part_opens(client):
    page = client.get("/docs").text
    parts = len(DESCRIPTION["components"]["schemas"]) + sum(map(len, DESCRIPTION["paths"].values()))
    assert page.count('<details class="card"') == page.count("<summary><h3>") == parts
    assert "<details open" not in page


def test_it_says_what_may_be_asked_and_how(client):
    page = client.get("/docs").text
    assert "integer from 1 to 200, 50 if it is not given" in page
    assert "date-time or date" in page
    assert "one of queued, initiated, ringing" in page
    assert "list of TranscriptLine" in page


def test_what_stands_between_backticks_is_code_and_nothing_else_becomes_markup():
    assert coded("a `b` <c>") == "a <code>b</code> &lt;c&gt;"
    assert coded("`<x>`") == "<code>&lt;x&gt;</code>"


def test_nothing_is_fetched_from_elsewhere_and_no_code_stands_in_it(client):
    answer = client.get("/docs")
    assert not re.search(r'(src|href)="(https?:)?//', answer.text)
    assert not re.search(r"<(script|style)[^>]*>[^<]|\son\w+=|\sstyle=", answer.text)
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]


def test_its_lines_can_be_typed_as_they_stand(client, config):
    here = client.get("/docs", base_url="http://127.0.0.1:5001").text
    assert "curl &#34;http://127.0.0.1:5001/api/calls&#34;" in here
    public = create_app({**config, "LOCAL": "0", "DASHBOARD_PASSWORD": "p", "FLASK_BASE_URL": PUBLIC})
    there = public.test_client().get("/docs", auth=("operator", "p"), base_url=PUBLIC).text
    assert f"curl -u &#34;operator:$DASHBOARD_PASSWORD&#34; &#34;{PUBLIC}/api/calls&#34;" in there
    assert "Authorization: Bearer $TICKET" in there
    assert f"curl &#34;{PUBLIC}/health&#34;" in there


def test_it_is_the_operators_and_leads_to_where_he_signs_in(config):
    client = create_app({**config, "LOCAL": "0", "DASHBOARD_PASSWORD": "p"}).test_client()
    answer = client.get("/docs", base_url=PUBLIC)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/dashboard/login?next=/docs")


def test_whoever_wants_no_dashboard_has_the_description_all_the_same(config):
    client = create_app({**config, "FLASKAPP_DASHBOARD": "0"}).test_client()
    assert client.get("/docs").status_code == 404
    assert client.get("/openapi.json").status_code == 200
