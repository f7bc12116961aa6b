"""A call's page: what was said and heard, how quickly, what it cost, how it ended."""

from __future__ import annotations

import json
import time

import pytest

from flaskapp.store import keys
from tests.dashboard.histories import CALLER, HOSTILE, ended, opened, turn, write_whole_call


@pytest.fixture
def history(app):
    return app.extensions["history"]


@pytest.fixture
def page(client, history) -> str:
    write_whole_call(history)
    answer = client.get("/dashboard/calls/CAwhole")
    assert answer.status_code == 200
    return answer.text


def test_what_was_said_is_told_in_its_order_with_its_time(page):
    said = ["Good day.", "When do you open?", "We open at nine", "And on Mondays?", "closed on Mondays"]
    places = [page.index(each) for each in said]
    assert places == sorted(places)
    assert 'data-seek="3000">0:03<' in page


def test_nothing_that_anybody_said_is_taken_for_markup(page):
    assert HOSTILE not in page
    assert page.count("&lt;img src=x onerror=alert(1)&gt;") == 2


def test_an_interruption_shows_what_was_generated_and_what_was_heard(page):
    assert "We open at nine</p>" in page
    assert "<del>except on Mondays</del>" in page
    assert "heard for 1.5 s" in page
    assert "The caller interrupted after 1.5 s of the answer" in page


def test_tools_and_faults_stand_where_they_happened(page):
    places = [
        page.index(each)
        for each in ("And on Mondays?", "uses opening_hours", "answered after 0.3 s", "We are closed")
    ]
    assert places == sorted(places)
    assert "The AI engine&#39;s connection broke off" in page


def test_the_header_has_the_calls_figures(page):
    for each in (
        CALLER,
        "OpenAI: a-model",
        "900 ms",
        "782 ms",
        "1.42 s",
        "1545",
        "1200 in, 345 out",
        "$0.012",
        "0:21",
    ):
        assert each in page, each
    assert "1 by the caller, 0 by the agent" in page
    assert "Both said goodbye" in page


def test_recorded_turns_are_told_from_live_ones(page):
    assert "Caller (recorded)" in page


def test_everything_can_be_downloaded(page):
    for each in ("transcript.txt", "transcript.json", "transcript.vtt", "audio.wav"):
        assert f"/api/calls/CAwhole/{each}" in page
    assert "/api/calls.csv" in page


def test_each_turns_way_to_the_caller_is_drawn_and_stands_in_a_table(client, page):
    steps = client.get("/dashboard/calls/CAwhole/parts.json").json["steps"]
    first, second = steps
    assert (first["noticed_ms"], first["words_ms"], first["sent_ms"], first["heard_ms"]) == (
        510,
        620,
        782,
        922,
    )
    assert (second["words_ms"], second["sent_ms"], second["heard_ms"]) == (1900, 1423, None)
    assert ">922<" in page


def test_the_timeline_has_lines_and_what_happened(client, page):
    told = client.get("/dashboard/calls/CAwhole/parts.json").json
    assert told["is_over"]
    assert told["timeline"]["length_ms"] == 21500
    assert told["timeline"]["lines"][2] == ["agent", 5300, 6800, True, "line-i2"]
    assert [kind for _, kind, _ in told["timeline"]["marks"]] == ["interruption", "tool", "tool", "fault"]


def test_a_call_that_goes_on_says_so(client, history):
    history.write([opened("CA1"), turn("CA1", 0, "agent", "Good d", 900, is_final=False)])
    assert "On the line" in client.get("/dashboard/calls/CA1").text
    told = client.get("/dashboard/calls/CA1/parts.json").json
    assert not told["is_over"]
    assert "growing" in told["parts"]["talk"]


def test_a_call_that_rings_just_now_has_its_page_already(app, client):
    known = {"caller": CALLER, "began": repr(time.time()), "carrier": "twilio"}
    app.extensions["live_store"].redis.hset(keys.call("CA1"), mapping=known)
    assert CALLER in client.get("/dashboard/calls/CA1").text


@pytest.mark.parametrize("call_sid", ["CAnone", "%3Cscript%3E", "x" * 200])
def test_there_is_no_page_of_a_call_that_there_is_not(client, call_sid):
    answer = client.get(f"/dashboard/calls/{call_sid}")
    assert answer.status_code == 404
    assert "<script>" not in answer.text
    assert client.get(f"/dashboard/calls/{call_sid}/parts.json").status_code == 404


def test_what_the_legs_said_is_read_on_from_where_one_was(app, client, history):
    history.write([opened("CA1"), ended("CA1")])
    traces = app.extensions["traces"]
    for number in range(3):
        said = json.dumps({"type": f"kind{number}", "audio": "AAAA"}).encode()
        traces.note("CA1", number, "engine", False, said)
    assert traces.settle(20)
    traces.keep("CA1")
    told = client.get("/dashboard/calls/CA1/events.json").json
    assert [each["kind"] for each in told["events"]] == ["kind0", "kind1", "kind2"]
    assert "AAAA" not in json.dumps(told)
    rest = client.get("/dashboard/calls/CA1/events.json?after=2").json
    assert ([each["kind"] for each in rest["events"]], rest["next"], rest["more"]) == (["kind2"], 3, False)


def test_without_audio_there_is_none_to_draw(client, page):
    assert client.get("/dashboard/calls/CAwhole/sound.json").json == {"peaks": None, "duration_ms": None}


def test_a_clock_that_nowhere_shows_such_a_time_is_none(client, page):
    for west in ("99999999999999999999", "-99999999999999999999", "x"):
        assert client.get(f"/dashboard/calls/CAwhole?west={west}").status_code == 200


def test_a_disk_that_does_not_give_the_sound_is_told(app, client, page, tmp_path):
    app.extensions["call_audio"].folder = tmp_path
    (tmp_path / "CAwhole" / "a.part").mkdir(parents=True)
    told = client.get("/dashboard/calls/CAwhole/sound.json")
    assert told.status_code == 200
    assert "does not answer" in told.json["trouble"]
