"""The board: what goes on, what became of today's calls, what is still to be done."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.exceptions import ConnectionError as NoConnection

from flaskapp.dashboard.setup_steps import steps
from flaskapp.dashboard.snapshot import Board
from flaskapp.store import keys
from flaskapp.store.feed_book import Entry
from flaskapp.store.feed_order import Update
from flaskapp.store.figures import Figures
from flaskapp.store.history import CallChanged
from tests.dashboard.histories import CALLED, CALLER, HOSTILE, ended, opened, turn


@pytest.fixture
def history(app):
    return app.extensions["history"]


@pytest.fixture
def redis(app):
    return app.extensions["live_store"].redis


def on_the_line(redis: Any, call_sid: str, said: str = "hello", speaks: str = "agent", **fields: str) -> None:
    known = {
        "state": "live",
        "began": repr(time.time() - 75),
        "carrier": "twilio",
        "caller": CALLER,
        "path": "live",
    }
    redis.hset(keys.call(call_sid), mapping={**known, "called": CALLED, **fields})
    redis.zadd(keys.LIVE_CALLS, {call_sid: time.time()})
    redis.rpush(keys.feed(call_sid), Entry(1, Update("i1", 1, "caller", said, True)).packed())
    redis.set(keys.speaks(call_sid), speaks)


def part(client: Any, name: str, question: str = "") -> str:
    answer = client.get(f"/dashboard/board.json{question}")
    assert answer.status_code == 200, answer.text
    return str(answer.json["parts"][name])


def test_an_empty_board_invites_to_call(client):
    page = client.get("/dashboard/").text
    assert "No call is on the line." in page
    assert 'href="/dashboard/phone"' in page
    assert "There was no call yet." in page


def test_a_live_call_is_shown_with_its_whole_number_its_last_line_and_who_speaks(client, redis):
    on_the_line(redis, "CA1", said=HOSTILE)
    live = part(client, "live")
    assert CALLER in live
    assert "Agent speaks" in live
    assert "1:15" in live
    assert '/dashboard/calls/CA1"' in live
    assert "&lt;img" in live
    assert "<img" not in live


def test_who_begins_to_speak_does_not_take_the_last_words_away(client, redis):
    on_the_line(redis, "CA1", said="where are you")
    redis.rpush(keys.feed("CA1"), Entry(2, Update("i2", 2, "caller", "", False)).packed())
    live = part(client, "live")
    assert "where are you" in live
    assert "Nothing was said yet" not in live


@pytest.mark.parametrize(
    "fields",
    [{"state": "ended"}, {"is_over": "1"}, {"forgotten": "1"}],
    ids=["ended", "over", "forgotten"],
)
def test_a_call_that_is_over_is_not_on_the_line(client, redis, fields):
    on_the_line(redis, "CA1", **fields)
    assert "CA1" not in part(client, "live")


def test_a_call_whose_worker_gives_no_sign_is_not_on_the_line(client, redis, history):
    history.write([opened("CA1")])
    on_the_line(redis, "CA1")
    redis.zadd(keys.LIVE_CALLS, {"CA1": time.time() - 60})
    assert "CA1" not in part(client, "live")


def test_a_recorded_call_is_on_the_line_until_it_is_over(client, redis, history):
    history.write([opened("CA2", mode="recorded")])
    known = {"began": repr(time.time()), "path": "recorded", "caller": CALLER, "carrier": "exotel"}
    redis.hset(keys.call("CA2"), mapping=known)
    assert "recording" in part(client, "live")


def test_todays_figures(client, history):
    yesterday = datetime.now(UTC) - timedelta(days=2)
    history.write([opened("CAold", yesterday), ended("CAold", "engine_lost"), opened("CA1"), ended("CA1")])
    history.write([opened("CA2"), ended("CA2", "engine_lost", mode="both"), opened("CA3")])
    for number, ms in enumerate((100, 300, 900)):
        history.write([turn("CA1", number, "agent", "hi", 0, engine_ms=ms, bridge_ms=5)])
    history.write([turn("CAold", 0, "agent", "hi", 0, engine_ms=5000)])
    today = part(client, "today")
    assert "<b>3</b><span>calls, 1 by recording" in today
    assert "<b>305 ms</b>" in today
    assert "<b>905 ms</b>" in today
    assert "<b>50 %</b><span>errors: 1 of 2" in today
    assert "<svg" in today


def test_one_of_something_is_not_told_as_many(client, history):
    history.write([opened("CA1"), ended("CA1"), turn("CA1", 0, "agent", "hi", 0, engine_ms=100, bridge_ms=5)])
    today = part(client, "today")
    assert "of 1 turn<" in today
    assert "0 of 1 call that is over" in today


def test_how_a_call_stands_is_told_in_words(client, history):
    history.write([opened("CA1"), CallChanged("CA1", {"status": "in-progress"})])
    calls = part(client, "calls")
    assert ">in progress<" in calls
    assert "in-progress" not in calls


def test_the_stand_in_charges_nothing(client, history):
    history.write([opened("CA1"), ended("CA1", engine="local", model="gpt-realtime", cost_usd=0.0)])
    assert '<td class="number cost">nothing</td>' in part(client, "calls")
    page = client.get("/dashboard/calls/CA1").text
    assert "the stand-in charges nothing" in page
    assert "gpt-realtime" not in page


def test_the_day_begins_where_the_operator_is(client, history):
    now = datetime.now(UTC)
    history.write([opened("CA1", now - timedelta(hours=now.hour, minutes=now.minute + 1))])
    west_of_all = -((24 - now.hour) * 60 - now.minute - 1) % 1440
    assert "<b>0</b>" in part(client, "today")
    here = part(client, "today", f"?west={min(west_of_all, 840)}")
    assert "calls" in here


def test_calls_are_listed_with_why_they_ended_and_filtered_and_paged(client, history):
    for number in range(30):
        sid = f"CA{number}"
        history.write([opened(sid, carrier="exotel" if number % 2 else "twilio"), ended(sid)])
    page = part(client, "calls")
    assert page.count("<tr data-key") == 25
    assert "Both said goodbye" in page
    assert "CA29" in page
    assert "?after=CA5" in page
    older = part(client, "calls", "?after=CA5")
    assert older.count("<tr data-key") == 5
    assert "Newest" in older
    twilio = part(client, "calls", "?carrier=twilio")
    assert twilio.count("<tr data-key") == 15
    assert "/api/calls.csv?carrier=twilio" in twilio
    assert "No call is like that." in part(client, "calls", "?mode=recorded")


def test_calls_of_one_day(client, history):
    history.write([opened("CA1", datetime(2026, 3, 4, 23, 30, tzinfo=UTC))])
    assert "CA1" in part(client, "calls", "?day=2026-03-04")
    assert "CA1" in part(client, "calls", "?day=2026-03-05&west=-60")
    assert "CA1" not in part(client, "calls", "?day=2026-03-05")


@pytest.mark.parametrize(
    "question", ["?west=x", "?day=now", "?after=%00", "?carrier=<b>", "?day=0001-01-01", "?west=9999999"]
)
def test_questions_that_make_no_sense_are_not_asked(client, question):
    assert client.get(f"/dashboard/{question}").status_code == 200
    assert client.get(f"/dashboard/board.json{question}").status_code == 200


def test_what_is_still_to_be_set_up_is_told_until_all_is(app, client):
    told = part(client, "setup")
    assert "OPENAI_API_KEY" in told
    assert "flask phone doctor" in told


def test_an_address_of_this_machine_s_is_still_to_be_set_up(app):
    here = app.extensions["settings"].model_copy(update={"flask_base_url": "https://localhost:8443"})
    (address,) = (step for step in steps(here) if step.name == "The carrier finds this server")
    assert not address.is_done


DATA = ("parts", "events", "sound")


class TestAllSetUp:
    @pytest.fixture
    def config(self, config):
        carrier = {"TWILIO_ACCOUNT_SID": "AC" + "0" * 32, "TWILIO_AUTH_TOKEN": "0123456789abcdef" * 2}
        served = {
            "FLASK_BASE_URL": "https://voice.example.com",
            "DASHBOARD_PASSWORD": "a long password of the operator",
        }
        own = {"SECRET_KEY": "0123456789abcdef" * 4, "OPENAI_API_KEY": "sk-not-a-real-key"}
        return {**config, **carrier, **served, **own}

    def test_it_is_ticked_and_goes_away_once_nothing_else_is_found(self, app, client):
        known = steps(app.extensions["settings"])
        assert [step for step in known if not step.is_done] == []
        app.extensions["board"] = Board(app.extensions, Figures(app))  # whose doctor finds nothing
        answer = client.get("/dashboard/board.json", auth=("operator", "a long password of the operator"))
        assert answer.json["parts"]["setup"].strip() == ""

    @pytest.mark.parametrize(
        "path", ["board.json", "calls/CA1/parts.json", "calls/CA1/events.json", "calls/CA1/sound.json"]
    )
    def test_nobody_else_is_told_anything(self, client, path):
        assert client.get(f"/dashboard/{path}").status_code in (302, 303, 401)


def test_a_store_that_is_away_is_named_and_the_rest_is_shown(app, client, history, monkeypatch):
    history.write([opened("CA1")])

    class Away:
        def __getattr__(self, name: str) -> Any:
            raise NoConnection("refused")

    app.extensions["board"]._active._redis = Away()
    assert "Redis does not answer." in part(client, "state")
    assert "Nobody knows right now" in part(client, "live")
    assert "CA1" in part(client, "calls")


def test_a_worker_that_drains_says_so(app, client):
    app.extensions["drain"].begin()
    assert "about to end" in part(client, "state")
    assert "Draining" in part(client, "today")
