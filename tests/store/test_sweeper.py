"""What is left undone is found: turns without a worker, recordings without a turn, calls without a sign."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from flask_migrate import upgrade

from flaskapp.store import keys, sweeper
from flaskapp.store.ends import Ends
from flaskapp.store.history import CallChanged, CallOpened, CallOver, RecordingChanged, TurnSaved
from flaskapp.store.jobs import Jobs
from flaskapp.store.live import Connections, LiveStore, connect
from flaskapp.store.sweeper import Sweeper
from flaskapp.store.tables import db
from flaskapp.store.turns import Outcome, Turn, TurnBook
from tests import servers
from tests.store.conftest import history_app

CLAIMED = {"status": "claimed", "source": "recording", "account_sid": "AC1", "duration_ms": 1500}


class Submissions(Jobs):
    """What is submitted, and what is to be done here; nobody does it."""

    def __init__(self, connections: Connections) -> None:
        super().__init__("", connections, {})
        self.submitted: list[tuple[str, ...]] = []
        self.here: list[tuple[str, ...]] = []

    def submit(self, name: str, *args: str) -> None:
        self.submitted.append((name, *args))

    def run_here(self, name: str, *args: str) -> None:
        self.here.append((name, *args))


class House:
    """The sweeper's surroundings, with a clock that is set by hand."""

    def __init__(self, connections: Connections, history) -> None:
        self.now = time.time()
        self.book = TurnBook(connections, lambda: self.now)
        self.jobs = Submissions(connections)
        self.live = LiveStore(connections, lambda: self.now)
        self.history = history
        self.abandoned: list[str] = []
        self.over: list[str] = []
        self.sweeper = self.another()

    def another(self) -> Sweeper:
        return Sweeper(self.book, self.jobs, self.live, self.history, self.abandoned.append, self.over.append)

    def after(self, seconds: float) -> list[tuple[str, ...]]:
        """What a round submits so much later."""
        self.now += seconds
        self.jobs.submitted.clear()
        self.sweeper.take_turn(self.now)
        return self.jobs.submitted


@pytest.fixture
def history(tmp_path):
    app = history_app(f"sqlite:///{tmp_path}/calls.sqlite3")
    with app.app_context():
        upgrade()
        yield app.extensions["history"]
        db.engine.dispose()


@pytest.fixture
def house(history) -> House:
    return House(connect(""), history)


def turn(house: House, key: str = "RE1") -> Turn:
    return Turn("CA1", key, "recording", claimed_at=house.now)


def test_a_turn_that_nobody_works_on_is_submitted_again(house):
    house.book.claim(turn(house))
    assert house.after(0) == [], "who claimed it has submitted it"
    assert house.after(3) == [("turn", "CA1", "RE1")]
    assert house.after(1) == [], "give it a moment"
    assert house.after(3) == [("turn", "CA1", "RE1")]
    house.book.take("CA1", "RE1", "one")
    assert house.after(3) == []


def test_a_turn_is_left_alone_for_as_long_as_it_is_postponed(house):
    house.book.claim(turn(house))
    house.book.postpone("CA1", "RE1", 60)
    assert house.after(50) == []
    assert house.after(11) == [("turn", "CA1", "RE1")]


def test_a_turn_that_no_worker_takes_is_worked_on_here(house):
    house.book.claim(turn(house))
    rounds = [len(house.after(3)) for _ in range(4)]
    assert rounds == [1] * 4
    assert house.jobs.here == [("turn", "CA1", "RE1")] * 2


def test_a_turn_whose_worker_is_gone_is_in_somebodys_hands_within_ten_seconds(house):
    """A lease runs out after four; asked for in vain, it is then done here before the ten are over."""
    house.book.claim(turn(house))
    house.now += 4
    rounds = 0
    while not house.jobs.here:
        house.after(1)
        rounds += 1
    assert rounds <= 6


def test_a_turn_that_is_postponed_again_and_again_stays_with_the_workers(house):
    house.book.claim(turn(house))
    for _ in range(6):
        assert house.after(11) == [("turn", "CA1", "RE1")]
        house.book.postpone("CA1", "RE1", 10)
    assert house.jobs.here == []


def claimed_long_ago(house: House, key: str = "RE1", **fields) -> None:
    opened = CallOpened("CA1", "twilio", "+1", "+2", "recorded", datetime.now(UTC))
    old = {"created_at": datetime.fromtimestamp(house.now, UTC) - timedelta(hours=3)}
    house.history.write([opened, RecordingChanged("CA1", key, {**CLAIMED, **old, **fields})])


def test_a_recording_that_only_the_history_knows_is_claimed_anew(house):
    claimed_long_ago(house)
    house.history.write(
        [TurnSaved("CA1", "a", 6, "agent", "Hello", 0, 900, "recorded", False, True)],
    )
    assert house.after(0) == [("turn", "CA1", "RE1")]
    found = house.book.find("CA1", "RE1")
    assert (found.account_sid, found.duration_ms, found.position) == ("AC1", 1500, 7)
    assert (found.wants_reply, found.called) == (False, "+2")
    assert house.now - found.claimed_at == pytest.approx(3 * 3600, abs=1)


def test_a_recordings_own_place_is_kept(house):
    claimed_long_ago(house, position=4, at_ms=2500)
    house.after(0)
    found = house.book.find("CA1", "RE1")
    assert (found.position, found.at_ms) == (4, 2500)


@pytest.mark.parametrize(
    "fields",
    [
        {"created_at": timedelta(seconds=-1)},  # its turn will be there in a moment
        {"status": "waiting", "next_try_at": timedelta(hours=1)},
        {"status": "answered"},
    ],
)
def test_other_recordings_are_left_alone(house, fields):
    now = datetime.fromtimestamp(house.now, UTC)
    given = {name: now + it if isinstance(it, timedelta) else it for name, it in fields.items()}
    claimed_long_ago(house, **given)
    assert house.after(0) == []


def test_a_recording_whose_turn_is_known_is_the_turns_affair(house):
    claimed_long_ago(house)
    house.book.claim(turn(house))
    house.book.finish("CA1", "RE1", Outcome("answered"))
    house.book.close("CA1", "RE1")
    assert house.after(0) == []


def test_words_that_still_wait_for_ai_are_not_given_up(house):
    claimed_long_ago(house, "unheard-1", source="buffer")
    house.book.claim(Turn("CA1", "unheard-1", "buffer", claimed_at=house.now))
    house.after(0)
    assert house.history.recording("unheard-1")["status"] == "claimed"


def test_words_whose_audio_is_gone_are_given_up_and_it_is_said(house):
    claimed_long_ago(house, "unheard-1", source="buffer")
    assert house.after(0) == []
    row = house.history.recording("unheard-1")
    assert (row["status"], row["error"]) == ("failed", "Redis has forgotten it")


def test_the_history_is_not_asked_every_second(house):
    house.after(0)
    claimed_long_ago(house)
    assert house.after(5) == []
    assert house.after(sweeper.HISTORY_EVERY_S) == [("turn", "CA1", "RE1")]


@pytest.mark.parametrize("state", ["live", "moving", "transferring"])
def test_a_call_without_a_sign_of_life_is_abandoned_once(house, state):
    house.live.remember("CA1", state=state)
    house.live.touch("CA1", house.now)
    house.after(10)
    assert house.abandoned == []
    house.after(6)
    assert house.abandoned == ["CA1"]
    house.after(60)
    assert house.abandoned == ["CA1"]


def test_a_call_that_ended_is_not_abandoned(house):
    house.live.remember("CA1", state="ended")
    house.live.touch("CA1", house.now)
    house.after(20)
    assert house.abandoned == []
    assert house.live.untouched_since(house.now) == []


def test_trouble_with_one_abandoned_call_is_not_the_others(house):
    def fail(call_sid: str) -> None:
        house.abandoned.append(call_sid)
        if call_sid == "CA0":
            raise ValueError("odd")

    house.sweeper = Sweeper(house.book, house.jobs, house.live, house.history, fail)
    for number in range(3):
        house.live.remember(f"CA{number}", state="live")
        house.live.touch(f"CA{number}", house.now + number)
    house.after(20)
    assert house.abandoned == ["CA0", "CA1", "CA2"]
    house.after(20)
    assert house.abandoned[3:] == ["CA0"]


def is_over(house: House, due_s: float = 2.0) -> None:
    now = datetime.fromtimestamp(house.now, UTC)
    house.history.write([CallOver("CA1", "evt_1", now, now + timedelta(seconds=due_s))])


def test_what_is_due_about_a_call_that_is_over_is_submitted(house):
    is_over(house)
    assert house.after(1) == []
    assert house.after(1.5) == [("deliver", "CA1")]
    assert house.after(1) == [], "give it a moment"
    assert house.after(1.5) == [("deliver", "CA1")]
    claimed = house.history.deliveries.claim("CA1", datetime.fromtimestamp(house.now, UTC))
    assert house.after(5) == []
    house.history.deliveries.accepted(claimed, datetime.fromtimestamp(house.now, UTC))
    assert house.after(3600) == []


def test_a_call_that_redis_forgot_is_over_when_its_carrier_says_so(house):
    opened = CallOpened("CA1", "twilio", "+1", "+2", "live", datetime.fromtimestamp(house.now, UTC))
    house.history.write([opened, CallChanged("CA1", {"status": "in-progress"})])
    house.after(3600)
    assert house.over == []
    house.history.write([CallChanged("CA1", {"status": "completed"})])
    house.after(60)
    assert house.over == ["CA1"]
    is_over(house)
    house.after(60)
    assert house.over == ["CA1"]


@pytest.mark.parametrize(("state", "is_told"), [("ringing", True), ("live", False), ("", False)])
def test_a_call_that_rings_on_is_asked_about_though_no_worker_ever_followed_it(house, state, is_told):
    opened = CallOpened("CA1", "twilio", "+1", "+2", "live", datetime.fromtimestamp(house.now, UTC))
    house.history.write([opened])
    house.live.remember("CA1", state=state)
    house.after(150)
    assert house.abandoned == ["CA1"] * is_told
    house.history.write([CallChanged("CA1", {"ended_at": datetime.fromtimestamp(house.now, UTC)})])
    house.after(60)
    assert house.abandoned == ["CA1"] * is_told


@pytest.mark.parametrize("ago_s", [10, 3 * 3600])
def test_a_call_that_has_just_ended_or_did_long_ago_is_no_forgotten_one(house, ago_s):
    began = datetime.fromtimestamp(house.now - ago_s, UTC)
    opened = CallOpened("CA1", "twilio", "+1", "+2", "live", began)
    house.history.write([opened, CallChanged("CA1", {"status": "completed"})])
    house.after(0)
    assert house.over == []


def test_what_is_due_and_taken_by_no_worker_is_done_here(house):
    is_over(house)
    rounds = [len(house.after(3)) for _ in range(4)]
    assert rounds == [1] * 4
    assert house.jobs.here == [("deliver", "CA1")] * 2


def test_what_is_tried_in_vain_again_and_again_stays_with_the_workers(house):
    is_over(house)
    for _ in range(6):
        assert house.after(3) == [("deliver", "CA1")]
        now = datetime.fromtimestamp(house.now, UTC)
        due = house.history.deliveries.claim("CA1", now)
        house.history.deliveries.failed(due, "HTTP 500", now + timedelta(seconds=2))
    assert house.jobs.here == []


def test_of_several_processes_one_sweeps_and_another_follows_it(real_connections, history, monkeypatch):
    monkeypatch.setattr(sweeper, "EVERY_S", 0.05)
    monkeypatch.setattr(sweeper, "OURS_FOR_MS", 500)
    house = House(real_connections, history)
    rounds: list[int] = []
    every = [house.another() for _ in range(3)]
    for number, each in enumerate(every):
        monkeypatch.setattr(each, "sweep", lambda now, waiting, number=number: rounds.append(number))
        each.start()
    servers.wait_until(lambda: len(rounds) > 5, "nobody sweeps")
    first = rounds[0]
    assert set(rounds) == {first}
    every[first].stop()
    servers.wait_until(lambda: rounds[-1] != first, "nobody follows")
    for each in every:
        each.stop()


def test_trouble_is_told_once_and_sweeping_goes_on(real_connections, history, monkeypatch, caplog):
    monkeypatch.setattr(sweeper, "EVERY_S", 0.02)
    house = House(real_connections, history)
    rounds: list[float] = []

    def stumble(now: float, waiting: sweeper.Waiting) -> None:
        rounds.append(now)
        raise RuntimeError("odd")

    monkeypatch.setattr(house.sweeper, "sweep", stumble)
    house.sweeper.start()
    servers.wait_until(lambda: len(rounds) > 3, "it gave up")
    house.sweeper.stop()
    assert caplog.text.count("RuntimeError: odd") == 1
    assert real_connections.text.exists(keys.SWEEPING)


def test_how_a_call_ended_is_written_where_its_worker_is_gone(house):
    over = CallOver("CA1", "evt_1", datetime.now(UTC), datetime.now(UTC) + timedelta(hours=1))
    Ends(house.live.redis, lambda: house.now).keep([CallChanged("CA1", {"ended_at": over.at}), over])
    house.after(3)
    assert house.history.call("CA1") is None, "its worker may write it yet"
    house.after(3)
    assert house.history.call("CA1")["ended_at"] == over.at
    assert house.history.deliveries.of("CA1")["event_id"] == "evt_1"


def test_calls_that_are_too_old_are_looked_for_every_hour_where_there_is_a_limit(house):
    house.after(4000)
    assert house.jobs.here == []
    house.sweeper = Sweeper(house.book, house.jobs, house.live, house.history, removes_old=True)
    for seconds in (0, 1800, 3601, 3700):
        house.sweeper.sweep(house.now + seconds)
    assert house.jobs.here == [("purge",), ("purge",)]
