"""Recorded turns: one claim, one worker at a time, one outcome, and somebody else when a worker is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis
from redis.exceptions import RedisError

from flaskapp.store import keys, turns
from flaskapp.store.live import LiveStore, connect
from flaskapp.store.turns import Outcome, Turn, TurnBook
from tests import servers
from tests.conftest import PROJECT

ANSWERED = Outcome("answered", "hello", "hi", usage={"tokens": 3})


def turn(key: str = "RE1", call_sid: str = "CA1", **fields) -> Turn:
    return Turn(call_sid, key, "recording", **{"claimed_at": time.time()} | fields)


@pytest.fixture
def book(connections) -> TurnBook:
    return TurnBook(connections)


def at_once(count: int, work) -> list:
    """What each of so many threads got, started together."""
    start = threading.Barrier(count)

    def begin(number: int):
        start.wait(60)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


def test_a_turn_is_found_as_it_was_claimed(book):
    assert book.find("CA1", "RE1") is None
    claimed = turn(account_sid="AC1", position=4, wants_reply=False, called="+2")
    assert book.claim(claimed)
    assert book.find("CA1", "RE1") == claimed
    assert not book.claim(turn(position=9))
    assert book.find("CA1", "RE1") == claimed


def test_of_fifty_who_claim_at_once_one_wins(book):
    won = at_once(50, lambda number: book.claim(turn(position=number)))
    assert sum(won) == 1
    assert book.find("CA1", "RE1").position == won.index(True)
    assert book.due(time.time() + 60, 10) == [("CA1", "RE1")]


def test_of_two_outcomes_the_first_stays_and_only_its_finisher_is_told_so(book):
    book.claim(turn())
    told = at_once(20, lambda number: book.finish("CA1", "RE1", Outcome("answered", str(number // 2))))
    assert sum(told) == 1
    assert book.outcome("CA1", "RE1").transcript == str(told.index(True) // 2)


def test_an_outcome_is_waited_for(book):
    book.claim(turn())
    assert book.wait("CA1", "RE1", 0.1) is None
    threading.Timer(0.2, book.finish, ["CA1", "RE1", ANSWERED]).start()
    assert book.wait("CA1", "RE1", 60) == ANSWERED


def test_one_owner_at_a_time(book):
    book.claim(turn())
    assert book.take("CA1", "RE1", "one")
    assert book.take("CA1", "RE1", "one"), "asked again on a new connection"
    assert not book.take("CA1", "RE1", "two")
    assert not book.renew("CA1", "RE1", "two")
    assert not book.release("CA1", "RE1", "two")
    assert book.renew("CA1", "RE1", "one")
    assert book.release("CA1", "RE1", "one")
    assert book.take("CA1", "RE1", "two")


def test_fifty_workers_are_never_at_one_turn_together(book):
    book.claim(turn())
    inside, most = [], []

    def work(number: int) -> bool:
        with book.holding("CA1", "RE1") as is_ours:
            if is_ours:
                inside.append(number)
                most.append(len(inside))
                time.sleep(0.01)
                inside.remove(number)
        return is_ours

    assert any(at_once(50, work))
    assert set(most) == {1}


def test_a_lease_is_renewed_for_as_long_as_it_is_held(book, monkeypatch):
    monkeypatch.setattr(turns, "LEASE_MS", 1500)
    monkeypatch.setattr(turns, "RENEWED_EVERY_S", 0.1)
    book.claim(turn())
    with book.holding("CA1", "RE1") as is_ours:
        assert is_ours
        give_up_at = time.monotonic() + 2.5
        while time.monotonic() < give_up_at:
            assert book.redis.pttl(keys.lease("CA1", "RE1")) > 0
            time.sleep(0.05)
        assert book.unowned_for("CA1", "RE1") == 0
    assert book.take("CA1", "RE1", "next")


def test_a_lease_that_was_lost_is_not_taken_back(book, monkeypatch):
    monkeypatch.setattr(turns, "RENEWED_EVERY_S", 0.05)
    book.claim(turn())
    with book.holding("CA1", "RE1"):
        book.redis.set(keys.lease("CA1", "RE1"), "somebody else", px=60_000)
        servers.wait_until(lambda: not book._held, "it is still renewed")
        assert book.redis.pttl(keys.lease("CA1", "RE1")) > 30_000
    assert book.redis.get(keys.lease("CA1", "RE1")) == "somebody else"


def test_a_closed_turn_is_not_worked_on_again(book):
    book.claim(turn())
    book.finish("CA1", "RE1", ANSWERED)
    book.close("CA1", "RE1")
    assert book.due(time.time() + 999, 10) == []
    with book.holding("CA1", "RE1") as is_ours:
        assert not is_ours
    assert not book.claim(turn()), "a webhook that comes again"
    assert book.due(time.time() + 999, 10) == []
    assert book.outcome("CA1", "RE1") == ANSWERED


def test_a_key_without_a_turn_is_a_lock_and_leaves_nothing_behind(book):
    with book.holding("CA1", "upload") as is_ours, book.holding("CA1", "upload") as is_theirs:
        assert (is_ours, is_theirs) == (True, False)
        time.sleep(1.2)  # renewed meanwhile
    assert book.redis.keys() == []


def test_open_turns_are_due_in_order_unless_postponed_or_worked_on(book):
    for number in range(6):
        book.claim(turn(f"RE{number}"))
    soon = time.time() + 10
    assert book.due(time.time() - 1, 10) == [], "who claims has a job queued himself"
    book.postpone("CA1", "RE1", 60)
    book.take("CA1", "RE0", "one")
    assert [key for _, key in book.due(soon, 3)] == ["RE2", "RE3", "RE4"]
    assert [key for _, key in book.due(soon, 9)] == ["RE2", "RE3", "RE4", "RE5"]
    assert ("CA1", "RE1") in book.due(time.time() + 90, 9)


def test_a_turn_whose_keys_are_gone_is_no_longer_due(book):
    book.claim(turn("RE0"))
    book.claim(turn("RE1"))
    book.redis.delete(keys.turn("CA1", "RE0"))
    assert book.due(time.time() + 10, 1) == [("CA1", "RE1")]
    assert book.redis.zcard(keys.OPEN_TURNS) == 1


def test_how_long_nobody_has_worked_on_it(connections):
    clock = [1000.0]
    book = TurnBook(connections, lambda: clock[0])
    assert book.unowned_for("CA1", "RE1") == 0
    book.claim(turn(claimed_at=1000.0))
    clock[0] += 3
    assert book.unowned_for("CA1", "RE1") == 3
    book.take("CA1", "RE1", "one")
    assert book.unowned_for("CA1", "RE1") == 0
    connections.text.delete(keys.lease("CA1", "RE1"))  # its owner was killed
    clock[0] += turns.LEASE_MS / 1000 + 2
    assert book.unowned_for("CA1", "RE1") == 2
    book.take("CA1", "RE1", "two")
    book.release("CA1", "RE1", "two")
    clock[0] += 7
    assert book.unowned_for("CA1", "RE1") == 7
    book.finish("CA1", "RE1", ANSWERED)
    assert book.unowned_for("CA1", "RE1") == 0


def test_nobody_is_missed_while_a_turn_rests(connections):
    clock = [1000.0]
    book = TurnBook(connections, lambda: clock[0])
    book.claim(turn(claimed_at=1000.0))
    book.postpone("CA1", "RE1", 60, is_rest=True)
    clock[0] += 50
    assert book.unowned_for("CA1", "RE1") == 0
    clock[0] += 15
    assert book.unowned_for("CA1", "RE1") == 5
    book.postpone("CA1", "RE1", 60)  # the sweeper's way of asking for a worker
    assert book.unowned_for("CA1", "RE1") == 5


def test_a_trouble_lasts_until_another_one_comes(connections):
    clock = [1000.0]
    book = TurnBook(connections, lambda: clock[0])
    book.claim(turn())
    lasting = []
    for trouble in ("late", "late", "away", "late", "late"):
        lasting.append(book.trouble_lasts("CA1", "RE1", trouble))
        clock[0] += 7
    assert lasting == [0, 7, 0, 0, 7]


def test_speech_is_bytes(book):
    book.claim(turn())
    assert book.speech("CA1", "RE1") is None
    book.put_speech("CA1", "RE1", b"RIFF\xff\x00")
    assert book.speech("CA1", "RE1") == b"RIFF\xff\x00"


def test_attempts_are_counted(book):
    book.claim(turn())
    assert [book.attempt("CA1", "RE1") for _ in range(3)] == [1, 2, 3]


def test_after_a_call_nothing_stays(connections):
    book, live = TurnBook(connections), LiveStore(connections)
    live.begin("CA1")
    live.keep_lines("CA1", [{"item_id": "a", "position": 0}])
    for number in range(3):
        book.claim(turn(f"RE{number}"))
        book.put_speech("CA1", f"RE{number}", b"wav")
        book.finish("CA1", f"RE{number}", ANSWERED)
        book.close("CA1", f"RE{number}")
    live.forget_soon("CA1")
    left = {name: connections.text.ttl(name) for name in connections.text.scan_iter()}
    assert len(left) == 9
    assert all(0 < ttl <= keys.FORGOTTEN_S for ttl in left.values()), left


def test_a_turn_that_is_still_open_outlives_its_call(connections):
    book, live = TurnBook(connections), LiveStore(connections)
    live.begin("CA1")
    book.claim(turn())
    live.forget_soon("CA1")
    assert connections.text.ttl(keys.turn("CA1", "RE1")) > keys.DAY_S
    assert connections.text.ttl(keys.call("CA1")) > keys.FORGOTTEN_S
    live.keep_lines("CA1", [{"item_id": "a", "position": 0}])
    book.finish("CA1", "RE1", ANSWERED)
    book.close("CA1", "RE1")
    left = {name: connections.text.ttl(name) for name in connections.text.scan_iter()}
    assert left
    assert all(0 < ttl <= keys.FORGOTTEN_S for ttl in left.values()), left


def test_an_outcome_that_comes_before_any_claim_does_not_stay_for_ever(book):
    assert book.finish("CA1", "RE1", Outcome("absent"))
    assert book.redis.ttl(keys.turn("CA1", "RE1")) > 0
    assert book.claim(turn())
    assert not book.finish("CA1", "RE1", ANSWERED)
    assert book.outcome("CA1", "RE1").kind == "absent"


def test_a_redis_that_is_away_is_named(tmp_path):
    book = TurnBook(connect(f"redis://127.0.0.1:{servers.free_port()}/0"))
    for ask in (
        lambda: book.claim(turn()),
        lambda: book.find("CA1", "RE1"),
        lambda: book.take("CA1", "RE1", "one"),
        lambda: book.due(0, 1),
    ):
        with pytest.raises(RedisError):
            ask()


STEPS = st.lists(st.sampled_from(["claim", "take", "die", "finish", "close", "postpone"]), max_size=30)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS, st.data())
def test_whatever_happens_in_whatever_order_the_first_claim_and_outcome_stay(steps, data):
    clock = [1000.0]
    book = TurnBook(connect(""), lambda: clock[0])
    claims, outcomes, is_open = [], [], False
    for number, step in enumerate(steps):
        clock[0] += data.draw(st.floats(0, 5))
        owner = str(number)
        if step == "claim" and book.claim(turn(position=number)):
            claims.append(number)
            is_open = True
        elif step == "take" and claims:
            assert book.take("CA1", "RE1", owner) <= is_open
        elif step == "die":
            book.redis.delete(keys.lease("CA1", "RE1"))
        elif step == "finish" and claims and book.finish("CA1", "RE1", Outcome(owner)):
            outcomes.append(owner)
        elif step == "close" and outcomes:
            book.close("CA1", "RE1")
            is_open = False
        elif step == "postpone" and claims:
            book.postpone("CA1", "RE1", 1)
        is_due = book.due(clock[0] + 60, 9) == [("CA1", "RE1")]
        assert is_due == (is_open and not book.redis.exists(keys.lease("CA1", "RE1")))
    assert len(claims) <= 1
    assert len(outcomes) <= 1
    if outcomes:
        assert book.outcome("CA1", "RE1").kind == outcomes[0]


OWNER = """
import sys, time
from flaskapp.store.live import connect
from flaskapp.store.turns import TurnBook
with TurnBook(connect(sys.argv[1])).holding("CA1", "RE1") as is_ours:
    print("mine" if is_ours else "not mine", flush=True)
    time.sleep(600)
"""


@pytest.mark.system
def test_the_turn_of_a_killed_worker_is_due_again_within_seconds(real_connections, redis_server):
    book = TurnBook(real_connections)
    book.claim(turn())
    command = [sys.executable, "-c", OWNER, redis_server]
    owner = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "mine\n"
        time.sleep(2 * turns.RENEWED_EVERY_S)
        assert book.due(time.time() + 60, 9) == []
        os.kill(owner.pid, signal.SIGKILL)
        # Redis' own clock ends the lease: nobody waits longer than this for the turn.
        assert real_connections.text.pttl(keys.lease("CA1", "RE1")) <= turns.LEASE_MS <= 5000
        servers.wait_until(lambda: book.due(time.time(), 9) == [("CA1", "RE1")], "nobody would take it up")
    finally:
        owner.kill()
        owner.wait(60)
        owner.stdout.close()


def test_a_claim_whose_answer_was_lost_is_still_ours(real_connections):
    """Redis did what it was told, and the connection broke before it could say so."""
    book = TurnBook(real_connections)
    broken = _BreaksAfterExec(real_connections.text)
    book.redis = broken
    assert book.claim(turn())
    assert broken.breaks == 1
    assert not book.claim(turn())


class _BreaksAfterExec:
    """A client whose first transaction arrives, and whose answer does not."""

    def __init__(self, redis: Redis) -> None:
        self._redis, self.breaks = redis, 0

    def __getattr__(self, name):
        return getattr(self._redis, name)

    def pipeline(self, *args, **options):
        from redis.exceptions import WatchError

        pipe = self._redis.pipeline(*args, **options)
        execute = pipe.execute

        def broken(*args, **options):
            answers = execute(*args, **options)
            if not self.breaks:
                self.breaks += 1
                raise WatchError("A ConnectionError occurred on while watching one or more keys")
            return answers

        pipe.execute = broken
        return pipe
