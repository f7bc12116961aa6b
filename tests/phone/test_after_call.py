"""What came of a call, and what its operator's system is told: when, how often, signed by whom."""

from __future__ import annotations

import itertools
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask_migrate import upgrade

from flaskapp.config import load_settings
from flaskapp.phone import after_call
from flaskapp.phone.after_call import AfterCall
from flaskapp.phone.agent import Agent, Agents
from flaskapp.store.history import CallChanged, CallOpened, RecordingChanged, TurnSaved
from flaskapp.store.tables import db
from tests.conftest import PROJECT
from tests.store.conftest import history_app

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
ENDED = {
    **{"status": "completed", "ended_reason": "goodbye", "ended_at": NOON + timedelta(seconds=61)},
    **{"duration_ms": 61_000, "cost_usd": 0.0421, "usage": {"input_tokens": 120, "output_tokens": 80}},
}
ACCOUNT, RECORDING = "AC" + "0" * 32, "RE" + "1" * 32


class Post:
    """Where letters go: the answers to the next ones, and what was sent."""

    def __init__(self) -> None:
        self.answers: list[int | Exception] = []
        self.sent: list[tuple[dict[str, Any], dict[str, str]]] = []
        self.bodies: list[bytes] = []

    def __call__(self, url: str, body: bytes, headers) -> int:
        self.bodies.append(body)
        self.sent.append((json.loads(body), dict(headers)))
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, Exception):
            raise answer
        return answer


class House:
    """A history with a clock that is set by hand, and what follows a call."""

    def __init__(self, history, **settings: str) -> None:
        self.history, self.now, self.post = history, NOON + timedelta(minutes=2), Post()
        given = {"SECRET_KEY": "tests", "CALL_WEBHOOK_URL": "http://receiver/calls", **settings}
        self.settings = load_settings(given, env_file=None)
        agents = Agents(Agent(name="Front desk"))
        self.after = AfterCall(
            history,
            lambda *entries: history.write(entries),
            agents,
            self.settings,
            post=self.post,
            now=lambda: self.now,
            jitter=lambda: 0.5,
        )

    def call(self, *entries: Any, **ended: Any) -> None:
        """A call that is over, with these entries."""
        opened = CallOpened("CA1", "twilio", "+15551230001", "+15559870001", "live", NOON)
        self.history.write([opened, *entries, CallChanged("CA1", {**ENDED, **ended})])
        self.after.over("CA1")

    def go_on(self, seconds: float) -> int:
        """Have done what is due by then, as the sweeper does: how many letters were sent."""
        known, until = len(self.post.sent), self.now + timedelta(seconds=seconds)
        while self.now < until:
            self.now = min(until, self.now + timedelta(seconds=1))
            for call_sid, _ in self.history.deliveries.due(self.now):
                self.after.deliver(call_sid)
        return len(self.post.sent) - known

    @property
    def row(self) -> dict[str, Any]:
        return self.history.deliveries.of("CA1")

    @property
    def outcome(self) -> str:
        return self.history.call("CA1")["outcome"]


@pytest.fixture
def history(tmp_path):
    app = history_app(f"sqlite:///{tmp_path}/calls.sqlite3")
    with app.app_context():
        upgrade()
        yield app.extensions["history"]
        db.engine.dispose()


@pytest.fixture
def house(history) -> House:
    return House(history)


def said(item: str, position: int, speaker: str, text: str, **fields: Any) -> TurnSaved:
    at = position * 1000
    known = {"start_ms": at, "end_ms": at + 900, "mode": "live", "interrupted": False, "is_final": True}
    return TurnSaved("CA1", item, position, speaker, text, **{**known, **fields})


HELLO = said("a", 0, "agent", "Hello, how can I help you?")
QUESTION = said("b", 1, "caller", "What are your opening hours?")
ANSWER = said("c", 2, "agent", "We are open from", interrupted=True)


def recorded(status: str, **fields: Any) -> RecordingChanged:
    about = {"source": "recording", "account_sid": ACCOUNT, "position": 4, "duration_ms": 2500}
    return RecordingChanged("CA1", RECORDING, {"status": status, **about, **fields})


# ---------------------------------------------------------------------- what came of it


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        ("goodbye", "answered"),
        ("caller_hung_up", "answered"),
        ("transferred", "transferred"),
        ("busy", "rejected"),
        ("max_duration", "limit"),
        ("max_cost", "limit"),
        ("worker_lost", "lost"),
    ],
)
def test_an_ending_has_its_outcome(house, reason, outcome):
    house.call(HELLO, QUESTION, ended_reason=reason)
    house.go_on(5)
    assert house.outcome == outcome == house.post.sent[0][0]["outcome"]


def test_a_caller_who_never_said_a_word_was_not_answered(house):
    house.call(HELLO, said("b", 1, "caller", " "))
    house.go_on(5)
    assert house.outcome == "nothing_said"


def test_a_message_that_the_agent_took_is_the_outcome(house):
    message = {"text": "Please call back", "name": "Ann", "callback": "+15550000000"}
    house.call(HELLO, QUESTION, ended_reason="max_duration", message=message)
    house.go_on(5)
    assert house.outcome == "message"
    assert house.post.sent[0][0]["message"] == message


def test_a_message_that_was_recorded_is_the_outcome_with_its_words(house):
    words = said(RECORDING, 4, "caller", "Please call me back.", mode="recorded")
    house.call(HELLO, recorded("understood"), words, ended_reason="message_left", mode="recorded")
    house.go_on(5)
    message = {"text": "Please call me back.", "name": "", "callback": ""}
    assert (house.outcome, house.history.call("CA1")["message"]) == ("message", message)


def test_a_message_that_nobody_has_understood_yet_is_one_whose_words_may_still_come(house):
    house.call(HELLO, recorded("waiting"), ended_reason="message_left", mode="recorded")
    assert house.go_on(320) == 1
    told = house.post.sent[0][0]
    assert (house.outcome, told["message"]["text"], told["is_complete"]) == ("message", "", False)
    assert house.history.call("CA1")["message"] is None


def test_a_silent_message_is_none(house):
    house.call(HELLO, recorded("silent"), ended_reason="message_left", mode="recorded")
    house.go_on(5)
    assert (house.outcome, house.post.sent[0][0]["message"]) == ("nothing_said", None)


def test_the_outcome_is_settled_where_nobody_is_told(history):
    house = House(history, CALL_WEBHOOK_URL="")
    house.call(HELLO, QUESTION)
    assert house.go_on(60) == 0
    assert house.outcome == "answered"
    assert (house.row["due_at"], house.row["last_error"]) == (None, after_call.NO_URL)


# ---------------------------------------------------------------------- when it is told


def test_an_end_that_is_said_twice_is_told_once(house):
    house.call(HELLO, QUESTION)
    house.after.over("CA1")
    assert house.go_on(60) == 1
    house.after.over("CA1")
    assert house.go_on(60) == 0
    assert (house.row["due_at"], house.row["attempts"], house.row["last_error"]) == (None, 1, None)
    assert house.row["accepted_at"] is not None


def test_words_that_are_still_being_understood_are_waited_for(house):
    house.call(HELLO, QUESTION, recorded("claimed"), mode="both")
    assert house.go_on(60) == 0
    words = said(RECORDING, 4, "caller", "And on Sundays?", mode="recorded")
    house.history.write([recorded("understood"), words])
    assert house.go_on(20) == 1
    told = house.post.sent[0][0]
    assert told["is_complete"] is True
    assert told["transcript"][-1]["text"] == "And on Sundays?"


def test_a_call_whose_words_never_come_is_told_after_five_minutes(house):
    house.call(HELLO, QUESTION, recorded("waiting"))
    assert house.go_on(295) == 0
    assert house.outcome == "answered", "known long before"
    assert house.go_on(25) == 1
    assert house.post.sent[0][0]["is_complete"] is False


@pytest.mark.parametrize("missing", ["the end", "a line's end"])
def test_what_the_other_worker_has_not_written_yet_is_waited_for(house, missing):
    lines = [HELLO, QUESTION if missing == "the end" else said("b", 1, "caller", "What", is_final=False)]
    house.call(*lines, ended_at=None if missing == "the end" else ENDED["ended_at"])
    assert house.go_on(20) == 0
    house.history.write([QUESTION, CallChanged("CA1", ENDED)])
    assert house.go_on(20) == 1
    assert house.post.sent[0][0]["transcript"][-1]["text"] == QUESTION.text


def test_of_two_who_are_asked_at_once_one_sends(house):
    house.call(HELLO, QUESTION)
    house.now += timedelta(seconds=5)
    again: list[int] = []

    def meanwhile(url, body, headers):
        again.append(1)
        house.after.deliver("CA1")
        return 200

    house.after._post = meanwhile
    house.after.deliver("CA1")
    assert again == [1]


def test_a_worker_that_is_killed_while_it_sends_leaves_it_to_another(house):
    house.call(HELLO, QUESTION)
    house.now += timedelta(seconds=5)
    assert house.history.deliveries.claim("CA1", house.now) is not None, "and never comes back"
    assert house.go_on(50) == 0
    assert house.go_on(15) == 1


# ---------------------------------------------------------------------- until it is accepted


def test_it_is_sent_again_until_it_is_accepted_always_by_the_same_name(house):
    house.call(HELLO, QUESTION)
    house.post.answers = [500, ConnectionRefusedError(), 302, TimeoutError(), 429, 204]
    assert house.go_on(120) == 6
    names = {(told["id"], headers["webhook-id"]) for told, headers in house.post.sent}
    assert names == {(house.row["event_id"], house.row["event_id"])}
    stamps = [int(headers["webhook-timestamp"]) for _, headers in house.post.sent]
    gaps = [later - sooner for sooner, later in itertools.pairwise(stamps)]
    assert gaps == [1, 2, 5, 10, 30]
    assert house.row["attempts"] == 6


def test_what_is_accepted_by_nobody_is_tried_for_three_days(house, caplog):
    house.call(HELLO, QUESTION)
    house.post.answers = [503] * 1000
    house.now += timedelta(seconds=3)
    while house.row["due_at"]:
        house.now = house.row["due_at"]
        house.after.deliver("CA1")
    assert house.now - house.row["created_at"] > timedelta(days=3)
    assert 3 * 24 * 6 < len(house.post.sent) < 3 * 24 * 6 + 20, "every ten minutes in the end"
    assert house.row["given_up_at"] == house.now
    assert caplog.text.count("is not accepted: HTTP 503") == 1, "told once, however often"
    assert "given up" in caplog.text


def test_who_says_gone_is_left_alone(house, caplog):
    house.call(HELLO, QUESTION)
    house.post.answers = [410]
    assert house.go_on(3600) == 1
    assert (house.row["last_error"], house.row["accepted_at"]) == ("HTTP 410", None)
    assert "given up" in caplog.text


def test_neither_number_nor_address_nor_words_are_in_the_log(house, caplog):
    caplog.set_level("DEBUG")
    house.call(HELLO, QUESTION)
    house.post.answers = [500, ConnectionRefusedError("http://receiver/calls"), 410]
    house.go_on(60)
    for hidden in ("5551230001", "5559870001", "receiver", "opening hours"):
        assert hidden not in caplog.text


# ---------------------------------------------------------------------- what is told


def test_what_was_heard_is_told_and_nothing_else(house):
    withdrawn = said("d", 3, "caller", "")
    unheard = said(f"{RECORDING}-reply", 5, "agent", "Nobody heard this.", mode="recorded", interrupted=True)
    answered = said(RECORDING, 4, "caller", "And on Sundays?", mode="recorded")
    house.call(HELLO, QUESTION, ANSWER, withdrawn, recorded("answered"), answered, unheard, mode="both")
    house.go_on(5)
    lines = house.post.sent[0][0]["transcript"]
    assert [line["text"] for line in lines] == [HELLO.text, QUESTION.text, ANSWER.text, "And on Sundays?"]
    assert lines[2] == {
        **{"speaker": "agent", "text": "We are open from", "start_ms": 2000, "end_ms": 2900},
        **{"interrupted": True, "mode": "live"},
    }


def test_our_own_buffer_is_no_recording_and_a_deleted_one_has_no_address(history):
    house = House(history, DELETE_RECORDINGS="1")
    ours = RecordingChanged("CA1", "unheard-1", {"status": "understood", "source": "buffer"})
    house.call(HELLO, QUESTION, recorded("understood"), ours)
    house.go_on(5)
    [told] = house.post.sent[0][0]["recordings"]
    assert (told["recording_sid"], told["url"], told["status"]) == (RECORDING, None, "understood")


def test_the_page_shows_what_is_sent(house):
    """docs/call-webhook.md has an example; it is what this call sends."""
    page = (PROJECT / "docs" / "call-webhook.md").read_text()
    example = json.loads(re.search(r"```json\n(.*?)```", page, re.DOTALL)[1])
    words = said(RECORDING, 3, "caller", "Please call me back.", mode="recorded")
    house.call(
        *(HELLO, QUESTION, ANSWER, recorded("understood"), words), ended_reason="message_left", mode="both"
    )
    house.go_on(5)
    told = house.post.sent[0][0]
    assert told | {"id": ""} == example | {"id": ""}
    assert list(told) == list(example)
    assert re.fullmatch(r"evt_[0-9a-f]{32}", told["id"])
    assert re.fullmatch(r"evt_[0-9a-f]{32}", example["id"])
