"""One recorded turn's work: what is tried again, for how long, and what is kept; the clock is set by hand."""

from __future__ import annotations

import time

import pytest
from flask_migrate import upgrade
from sqlalchemy.exc import OperationalError

from flaskapp.phone import errors, recording, troubles
from flaskapp.phone.agent import Agent, Agents
from flaskapp.phone.audio import Wav, read_wav
from flaskapp.phone.cost import Prices
from flaskapp.phone.engines.turns import Answer
from flaskapp.phone.fetch import Fetched
from flaskapp.phone.recording import RecordedTurns
from flaskapp.store import keys
from flaskapp.store.audio import AudioBuffer
from flaskapp.store.history import CallChanged
from flaskapp.store.live import LiveStore, connect
from flaskapp.store.tables import db
from flaskapp.store.turns import Turn, TurnBook
from tests.fake_recordings import recording as wav
from tests.store.conftest import history_app

HOUR_S = 3600.0


class Host:
    """A recording host that fails as long as it has errors left."""

    account_sid = "ACours"

    def __init__(self) -> None:
        self.trouble: list[Exception] = []
        self.always: Exception | None = None
        self.undeletable: Exception | None = None
        self.asked: list[str] = []
        self.deleted: list[str] = []

    def fetch(self, which):
        self.asked.append(which.account_sid)
        if self.always or self.trouble:
            raise self.always or self.trouble.pop(0)
        return Fetched(b"", read_wav(wav(1.0)), False)

    def delete(self, which):
        if self.undeletable:
            raise self.undeletable
        self.deleted.append(which.recording_sid)


class Mind:
    """A batch AI that answers, or is away."""

    def __init__(self) -> None:
        self.fails, self.asked = False, 0

    def answer(self, sound: Wav, past, agent, *, wants_reply=True, within_s=14.0):
        self.asked += 1
        if self.fails:
            raise errors.EngineUnreachable("down")
        return Answer("Open on Monday?", "Yes." if wants_reply else "", {"input_tokens": 3})


class House:
    """All that a turn's work touches, and its clock."""

    def __init__(self, history) -> None:
        self.now = time.time()
        connections = connect("")
        self.history, self.host, self.mind = history, Host(), Mind()
        self.book = TurnBook(connections, lambda: self.now)
        self.live = LiveStore(connections, lambda: self.now)
        self.audio = AudioBuffer(connections)
        agents, parts = Agents(Agent()), (self.book, self.live, self.audio, history, self.host, self.mind)
        self.work = RecordedTurns(
            *parts,
            agents,
            deletes=True,
            prices=Prices({"input_tokens": 10_000}),
            sleep=lambda s: None,
            now=lambda: self.now,
        )

    def claim(self, key: str = "RE1", source: str = "recording", **about) -> Turn:
        turn = Turn("CA1", key, source, position=4, at_ms=2500, claimed_at=self.now, **about)
        assert self.book.claim(turn)
        return turn

    def after(self, seconds: float = 0.0, key: str = "RE1") -> str:
        """What the history says once it was tried so much later."""
        self.now += seconds
        self.work.perform("CA1", key)
        return self.history.recording(key)["status"]

    @property
    def outcome(self):
        return self.book.outcome("CA1", "RE1")

    @property
    def is_open(self) -> bool:
        return self.book.redis.zcard(keys.OPEN_TURNS) > 0


@pytest.fixture
def house(tmp_path):
    app = history_app(f"sqlite:///{tmp_path}/calls.sqlite3")
    with app.app_context():
        upgrade()
        yield House(app.extensions["history"])
        db.engine.dispose()


def test_a_recording_that_is_late_counts_from_when_it_was_first_missed(house):
    house.claim()
    house.host.always = errors.Unreachable("HTTP 503")
    assert house.after() == "waiting"
    assert house.after(20 * HOUR_S) == "waiting"
    house.host.always = errors.NotReady("HTTP 404")
    assert house.after(HOUR_S) == "waiting"
    assert house.after(600) == "waiting"
    house.host.always = errors.Unreachable("HTTP 503")
    assert house.after(600) == "waiting"
    house.host.always = errors.NotReady("HTTP 404")
    assert house.after(600) == "waiting", "it is missed anew"
    assert house.after(troubles.READY_WITHIN_S + 1) == "failed"
    assert (house.is_open, house.outcome.kind) == (False, "failed")


@pytest.mark.parametrize("error", [errors.Unreachable("HTTP 503"), errors.FetchRefused("HTTP 401")])
def test_a_host_in_trouble_is_waited_for_from_friday_to_monday(house, error):
    house.claim()
    house.host.always = error
    assert house.after() == "waiting"
    assert house.after(66 * HOUR_S) == "waiting"
    house.host.always = None
    assert house.after(600) == "understood"
    assert not house.is_open


def test_whom_the_host_refuses_is_told_so_and_his_words_stay_open(house):
    house.claim()
    house.host.always = errors.FetchRefused("HTTP 401")
    assert house.after() == "waiting"
    assert (house.outcome.kind, house.outcome.is_open, house.is_open) == ("failed", True, True)
    pauses = []
    for _ in range(8):
        due = house.book.redis.zscore(keys.OPEN_TURNS, keys.member("CA1", "RE1"))
        pauses.append(round(due - house.now))
        house.after(due - house.now)
    assert pauses == sorted(pauses)
    assert pauses[-1] == 600
    assert house.after(8 * 24 * HOUR_S) == "failed"
    assert not house.is_open


def test_buffered_words_outlast_a_weekend_without_ai_and_then_nothing_stays(house):
    house.mind.fails = True
    house.audio.append("CA1", 0, b"\x10\xf0" * 8000)
    house.live.begin("CA1")
    house.claim(source="buffer", to_ms=2000)
    house.live.forget_soon("CA1")
    house.after()
    assert house.outcome.kind == "unavailable"
    ttls = {name: house.book.redis.ttl(name) for name in ("audio:CA1", "turn:CA1:RE1", "turns:CA1")}
    assert min(ttls.values()) > troubles.AI_BACK_WITHIN_S, ttls
    house.mind.fails = False
    assert house.after(66 * HOUR_S) == "understood"
    left = {name: house.book.redis.ttl(name) for name in house.book.redis.scan_iter()}
    assert all(0 < ttl <= keys.CLOSED_KEPT_S for ttl in left.values()), left


def test_what_is_noted_on_the_way_says_where_it_belongs(house):
    house.claim(account_sid="AC1")
    house.host.always = errors.Unreachable("HTTP 503")
    house.after()
    row = house.history.recording("RE1")
    assert (row["account_sid"], row["position"], row["at_ms"]) == ("AC1", 4, 2500)


def test_a_recording_of_which_nobody_noted_whose_it_is_is_asked_for_as_ours(house):
    house.claim()
    assert house.after() == "answered"
    assert house.host.asked == ["ACours"]


def test_a_copy_that_cannot_be_deleted_is_tried_again_for_a_day(house):
    house.claim()
    house.host.undeletable = errors.Unreachable("HTTP 503")
    assert house.after() == "answered"
    assert house.is_open
    house.host.undeletable = None
    house.after(600)
    assert (house.host.deleted, house.is_open, house.mind.asked) == (["RE1"], False, 1)


def test_a_copy_that_stays_undeletable_is_given_up_and_ai_is_asked_once(house):
    house.mind.fails = True
    house.claim()
    house.after()
    house.mind.fails = False
    house.host.undeletable = errors.FetchRefused("HTTP 403")
    assert house.after(60) == "understood"
    house.after(HOUR_S)
    assert (house.is_open, house.mind.asked) == (True, 2)
    house.after(24 * HOUR_S)
    assert (house.is_open, house.mind.asked) == (False, 2)


# ---------------------------------------------------------------------- who hears an answer, what it costs


def agents_lines(house) -> list[tuple[str, bool]]:
    turns = house.history.turns("CA1")
    return [(turn["text"], turn["interrupted"]) for turn in turns if turn["speaker"] == "agent"]


def spoken(house) -> list[str]:
    return [line["text"] for line in house.live.lines("CA1")]


@pytest.mark.parametrize("asks_after", [0, 3])
def test_an_answer_that_is_asked_for_is_spoken(house, asks_after):
    house.live.begin("CA1")
    house.claim()
    house.now += asks_after
    house.book.wait("CA1", "RE1", 0)
    house.after(5)
    assert agents_lines(house) == [("Yes.", False)]
    assert spoken(house) == ["Open on Monday?", "Yes."]


@pytest.mark.parametrize("is_over", [False, True])
def test_an_answer_for_which_nobody_waits_any_more_was_never_spoken(house, is_over):
    house.live.begin("CA1")
    house.claim()
    house.book.wait("CA1", "RE1", 0)
    if is_over:
        house.live.first("CA1", "is_over")
    house.after(1 if is_over else recording.HEARD_WITHIN_S + 1)
    assert agents_lines(house) == [("Yes.", True)]
    assert spoken(house) == ["Open on Monday?"]


def test_an_answer_that_was_handed_out_stays_spoken_however_often_it_is_kept(house):
    house.live.begin("CA1")
    house.claim()
    house.host.undeletable = errors.Unreachable("HTTP 503")
    house.after()
    house.now += 1
    assert house.book.wait("CA1", "RE1", 0).response == "Yes."
    house.live.first("CA1", "is_over")
    house.after(600)
    assert agents_lines(house) == [("Yes.", False)]


def usage(house) -> dict[str, float]:
    return house.history.call("CA1")["usage"]


def cost_usd(house) -> float:
    return pytest.approx(house.history.call("CA1")["cost_usd"])


def test_recorded_turns_are_priced_once_on_top_of_what_live_legs_cost(house):
    house.live.begin("CA1")
    house.live.remember("CA1", cost_usd="0.5")
    house.claim()
    house.host.undeletable = errors.Unreachable("HTTP 503")
    house.after()
    house.after(600)
    assert cost_usd(house) == 0.53
    house.claim("RE2")
    house.after(0, "RE2")
    assert cost_usd(house) == 0.56
    assert float(house.live.recall("CA1")["cost_usd"]) == cost_usd(house)


def test_a_database_that_was_away_prices_no_turn_twice(house, monkeypatch):
    def away(entries):
        raise OperationalError("insert", {}, OSError("no route"))

    house.live.begin("CA1")
    house.claim()
    with monkeypatch.context() as patched:
        patched.setattr(house.history, "write", away)
        with pytest.raises(OperationalError):
            house.work.perform("CA1", "RE1")
    house.after(600)
    assert cost_usd(house) == 0.03
    assert usage(house) == {"input_tokens": 3}


def test_turns_of_a_call_that_is_over_are_priced_once(house):
    house.history.write([CallChanged("CA1", {"cost_usd": 0.5})])
    house.claim()
    house.host.undeletable = errors.Unreachable("HTTP 503")
    house.after()
    house.after(600)
    assert cost_usd(house) == 0.53


def test_a_message_after_the_tone_takes_no_tools_message_back(house):
    taken = {"text": "By a tool", "name": "", "callback": ""}
    house.history.write([CallChanged("CA1", {"message": taken})])
    house.claim(is_message=True)
    house.after()
    assert house.history.call("CA1")["message"] == taken
    house.book.claim(Turn("CA2", "RE2", "recording", is_message=True, claimed_at=house.now))
    house.work.perform("CA2", "RE2")
    assert house.history.call("CA2")["message"]["text"] == "Open on Monday?"


def test_what_recorded_turns_cost_is_in_the_calls_usage_once(house):
    house.live.begin("CA1")
    house.live.add_usage("CA1", {"input_tokens": 10}, "live")
    house.claim()
    house.host.undeletable = errors.Unreachable("HTTP 503")
    house.after()
    house.after(600)
    assert usage(house) == {"input_tokens": 13}
    house.claim("RE2")
    house.after(0, "RE2")
    assert usage(house) == {"input_tokens": 16}


def test_what_a_turn_of_a_call_that_is_over_cost_is_added_once(house):
    house.history.write([CallChanged("CA1", {"usage": {"input_tokens": 10, "output_tokens": 2}})])
    house.claim()
    house.host.undeletable = errors.Unreachable("HTTP 503")
    house.after()
    house.after(600)
    assert usage(house) == {"input_tokens": 13, "output_tokens": 2}
