"""The live transcript's way into Redis: at once, numbered without gaps, whatever becomes of Redis."""

from __future__ import annotations

import threading
import time

from flaskapp.metrics import Metrics
from flaskapp.phone.transcript import Line
from flaskapp.store import keys
from flaskapp.store.feed import Feed
from flaskapp.store.history import OpenLinesWithdrawn, TurnSaved
from flaskapp.store.live import LiveStore
from flaskapp.store.scribe import Scribe
from tests.store.feeds import END, Names, finals, listed, say, until
from tests.store.shy import Shy


def test_lines_are_written_at_once_and_told_on_the_channel(feed, redis):
    with redis.pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe(keys.FEED)
        while channel.get_message(timeout=1.0):
            pass
        feed.placed(Names.sid, "a", 0, "caller")
        say(feed, "a", 0, "Hello.")
        assert feed.written(Names.sid, 30)
        assert listed(redis) == [("a", "", False), ("a", "Hello.", True)] or listed(redis) == [
            ("a", "Hello.", True)
        ]
        give_up_at = time.monotonic() + 30
        while (message := channel.get_message(timeout=1.0)) is None and time.monotonic() < give_up_at:
            pass
        assert message["data"] == Names.sid
    assert 0 < redis.ttl(keys.feed(Names.sid)) <= keys.CALL_KEPT_S


def test_the_end_comes_last_and_once_and_the_list_is_kept_for_those_who_come_late(feed, redis):
    say(feed, "a", 0, "half", is_final=False)
    feed.over(Names.sid)
    feed.over(Names.sid)
    until(lambda: END in listed(redis))
    assert feed.settle(30)
    say(feed, "b", 1, "too late")
    feed.over(Names.sid)
    Feed(redis).over(Names.sid)
    assert feed.settle(30)
    assert listed(redis)[-2:] == [("a", "half", True), END]
    assert listed(redis).count(END) == 1
    assert keys.FORGOTTEN_S < redis.ttl(keys.feed(Names.sid)) <= keys.CLOSED_KEPT_S


def test_a_call_that_nobody_knows_any_more_has_no_end(feed, redis):
    feed.over(Names.sid)
    assert feed.settle(30)
    until(lambda: feed._writer is None)
    assert not redis.exists(keys.feed(Names.sid))


def test_a_call_of_few_words_has_an_end_all_the_same(feed, redis, connections):
    LiveStore(connections).begin(Names.sid)
    feed.over(Names.sid)
    until(lambda: listed(redis) == [END])


def test_the_end_waits_for_words_that_are_still_being_understood(feed, redis):
    say(feed, "a", 0)
    assert feed.written(Names.sid, 30)
    redis.sadd(keys.turns(Names.sid), "RE1")
    redis.zadd(keys.OPEN_TURNS, {keys.member(Names.sid, "RE1"): 1.0})
    feed.over(Names.sid)
    elsewhere = Feed(redis)
    say(elsewhere, "RE1", 1, "late words")
    assert elsewhere.written(Names.sid, 30)
    assert END not in listed(redis)
    redis.zrem(keys.OPEN_TURNS, keys.member(Names.sid, "RE1"))
    until(lambda: END in listed(redis))
    assert finals(redis) == ["a", "RE1", ""]


def test_two_processes_write_one_list(feed, redis):
    other = Feed(redis)

    def speak(who: Feed, name: str) -> None:
        for number in range(30):
            say(who, f"{name}{number}", number)

    threads = [threading.Thread(target=speak, args=each) for each in ((feed, "a"), (other, "b"))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert feed.written(Names.sid, 30)
    assert other.written(Names.sid, 30)
    assert sorted(finals(redis)) == sorted(f"{name}{number}" for name in "ab" for number in range(30))
    for name in "ab":
        assert [item for item in finals(redis) if item[0] == name] == [
            f"{name}{number}" for number in range(30)
        ]


def test_what_another_process_has_told_is_not_told_again(feed, redis):
    say(feed, "a", 0, "Hello.")
    feed.placed(Names.sid, "b", 1, "caller")
    assert feed.written(Names.sid, 30)
    other = Feed(redis)
    other.withdrawn(Names.sid, ("a",))
    say(other, "a", 0, "Hello.")
    say(other, "c", 2, "Go on.")
    assert other.written(Names.sid, 30)
    assert finals(redis) == ["a", "b", "c"]


def test_lines_that_grow_quickly_are_joined_and_final_ones_never(feed, redis):
    for number in range(200):
        say(feed, "a", 0, "x" * (number + 1), is_final=False)
    say(feed, "a", 0, "done")
    say(feed, "b", 1, "done")
    assert feed.written(Names.sid, 30)
    assert finals(redis) == ["a", "b"]
    assert len(listed(redis)) < 60


def test_what_redis_took_and_did_not_confirm_is_not_written_twice(redis):
    shy = Shy(redis)
    feed = Feed(shy)
    say(feed, "a", 0)
    assert feed.written(Names.sid, 30)
    shy.mute = 2
    say(feed, "b", 1)
    assert feed.written(Names.sid, 30)
    assert shy.mute < 2, "nothing was taken in silence: this test shows nothing"
    say(feed, "c", 2)
    assert feed.written(Names.sid, 30)
    assert finals(redis) == ["a", "b", "c"]


def test_while_redis_is_away_lines_wait(redis):
    shy = Shy(redis)
    feed = Feed(shy)
    shy.is_away = True
    say(feed, "a", 0)
    assert not feed.written(Names.sid, 0.1)
    shy.is_away = False
    assert feed.written(Names.sid, 30)
    assert finals(redis) == ["a"]


def test_a_list_that_redis_loses_is_restored_with_the_same_numbers(feed, redis):
    for number in range(3):
        say(feed, f"i{number}", number, "grows", is_final=False)
        say(feed, f"i{number}", number, f"line {number}")
    assert feed.written(Names.sid, 30)
    before = listed(redis)
    redis.flushall()
    until(lambda: redis.exists(keys.feed(Names.sid)), "nobody noticed")
    assert [(item, is_final) for item, _, is_final in listed(redis)] == [(i, f) for i, _, f in before]
    assert [each for each in listed(redis) if each[2]] == [each for each in before if each[2]]


def test_a_line_that_is_told_just_then_comes_behind_the_restored_ones(feed, redis):
    before = [f"i{number}" for number in range(5)]
    for number, item in enumerate(before):
        say(feed, item, number)
    assert feed.written(Names.sid, 30)
    redis.flushall()
    say(feed, "b", 6)
    say(Feed(redis), "stranger", 7)
    until(lambda: sorted(finals(redis)) == sorted([*before, "b", "stranger"]), "not restored")
    assert finals(redis)[:5] == before


def test_nobody_reads_along_where_there_is_no_redis():
    feed = Feed()
    say(feed, "a", 0)
    feed.over(Names.sid)
    assert feed.settle(1)
    assert feed.written(Names.sid, 1)


def test_the_writer_ends_with_the_last_call(feed, redis):
    say(feed, "a", 0)
    assert feed.written(Names.sid, 30)
    feed.over(Names.sid)
    until(lambda: feed._writer is None)
    assert END in listed(redis)


def test_a_call_that_is_forgotten_leaves_its_transcript_for_ten_minutes(feed, redis, connections):
    live = LiveStore(connections)
    live.begin(Names.sid)
    say(feed, "a", 0)
    assert feed.written(Names.sid, 30)
    live.forget_soon(Names.sid)
    assert keys.FORGOTTEN_S < redis.ttl(keys.feed(Names.sid)) <= keys.CLOSED_KEPT_S


def test_the_scribe_passes_lines_on_and_withdraws_what_a_dead_worker_left_open(feed, redis, connections):
    class Shelf:
        def write(self, entries) -> None:
            pass

    left = Feed(redis)
    left.placed(Names.sid, "lost", 0, "caller")
    say(left, "half", 1, "Good mor", is_final=False)
    assert left.written(Names.sid, 30)
    scribe = Scribe(Shelf(), Metrics(), LiveStore(connections), "openai", "m", feed)
    scribe.note(
        OpenLinesWithdrawn(Names.sid, ("half",)),
        TurnSaved(Names.sid, "half", 1, "agent", "Good", 0, 1, "live", True, True),
    )
    scribe.recorded(Names.sid, [Line("next", 2, "caller", "Hello?", 0, 900, True)])
    assert feed.written(Names.sid, 30)
    assert [each for each in listed(redis) if each[2]] == [
        ("lost", "", True),
        ("half", "Good", True),
        ("next", "Hello?", True),
    ]


class Asked:
    """A Redis of which is known how many things it was asked at once."""

    def __init__(self, redis) -> None:
        self._redis = redis
        self.most = 0

    def pipeline(self, **options):
        pipe = self._redis.pipeline(**options)
        execute = pipe.execute

        def counted(**manners):
            self.most = max(self.most, len(pipe))
            return execute(**manners)

        pipe.execute = counted
        return pipe

    def __getattr__(self, name):
        return getattr(self._redis, name)


def test_many_calls_are_not_one_long_piece_of_work(redis):
    asked = Asked(redis)
    feed, calls = Feed(asked), [f"{Names.sid}{number}" for number in range(100)]
    for call_sid in calls:
        feed.line(call_sid, "item", 0, "caller", "words", True)
    until(lambda: all(redis.exists(keys.feed(call_sid)) for call_sid in calls))
    assert feed.settle(30)
    assert 0 < asked.most <= 3 * 16, "frames wait until a question for all calls is put together"
