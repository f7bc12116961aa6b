"""A call that was said to be over and begins again: its feed goes on, and has one end."""

from __future__ import annotations

from flaskapp.metrics import Metrics
from flaskapp.phone.events import StreamStarted
from flaskapp.phone.transcript import Line
from flaskapp.store import keys
from flaskapp.store.feed import Feed
from flaskapp.store.live import LiveStore
from flaskapp.store.scribe import Scribe
from tests.store.feeds import END, Names, finals, listed, say, until
from tests.store.shy import Shy


def ended(redis, connections, feed: Feed) -> LiveStore:
    """A call of one line that is over, and said to be."""
    live = LiveStore(connections)
    live.begin(Names.sid)
    say(feed, "a", 0)
    assert feed.written(Names.sid, 30)
    live.forget_soon(Names.sid)
    feed.over(Names.sid)
    until(lambda: listed(redis)[-1] == END)
    return live


def test_a_call_that_begins_again_has_one_end_and_it_is_the_last(feed, redis, connections):
    live = ended(redis, connections, feed)
    elsewhere = Feed(redis)
    live.keep_on(Names.sid)
    elsewhere.begins_again(Names.sid)
    say(elsewhere, "b", 1)
    say(feed, "c", 2)
    assert elsewhere.written(Names.sid, 30)
    until(lambda: "b" in finals(redis))
    say(feed, "d", 3)  # who wrote the end writes on
    assert feed.written(Names.sid, 30)
    assert END not in listed(redis)
    assert redis.ttl(keys.feed(Names.sid)) > keys.CLOSED_KEPT_S
    live.forget_soon(Names.sid)
    feed.over(Names.sid)
    until(lambda: listed(redis)[-1] == END)
    assert listed(redis).count(END) == 1
    told = [each for each in listed(redis) if each[1] and each[2]]
    assert [item for item, _, _ in told if item != "c"] == ["a", "b", "d"]
    assert redis.ttl(keys.feed(Names.sid)) <= keys.CLOSED_KEPT_S


def test_the_number_of_an_end_that_was_none_is_not_given_again(feed, redis, connections):
    live = ended(redis, connections, feed)
    at = len(listed(redis))
    live.keep_on(Names.sid)
    feed.begins_again(Names.sid)
    say(feed, "b", 1)
    assert feed.written(Names.sid, 30)
    assert listed(redis)[at:] == [("b", "words", True)]
    item, text, is_final = listed(redis)[at - 1]
    assert item.startswith("end-")
    assert (text, is_final) == ("", True)


def test_an_end_that_is_said_late_is_not_written_into_a_call_that_goes_on(feed, redis, connections):
    live = ended(redis, connections, feed)
    live.keep_on(Names.sid)
    live.remember(Names.sid, state="live")
    feed.begins_again(Names.sid)
    say(feed, "b", 1)
    assert feed.written(Names.sid, 30)
    late = Feed(redis)
    late.over(Names.sid)
    until(lambda: late._books and all(book.over_due is None for book in late._books.values()))
    assert END not in listed(redis)


def test_an_end_that_waits_to_be_written_is_none_when_the_call_begins_again(feed, redis, connections):
    live = LiveStore(connections)
    live.begin(Names.sid)
    say(feed, "a", 0)
    redis.sadd(keys.turns(Names.sid), "RE1")
    redis.zadd(keys.OPEN_TURNS, {keys.member(Names.sid, "RE1"): 1.0})
    feed.over(Names.sid)
    feed.begins_again(Names.sid)
    say(feed, "b", 1)
    assert feed.written(Names.sid, 30)
    assert feed._books[Names.sid].over_due is None
    assert listed(redis)[-1] == ("b", "words", True)


def test_a_line_of_before_is_not_told_again_when_its_call_begins_again(feed, redis, connections):
    live = ended(redis, connections, feed)
    until(lambda: feed._writer is None)
    live.keep_on(Names.sid)
    feed.begins_again(Names.sid)
    say(feed, "a", 0)
    say(feed, "b", 1)
    assert feed.written(Names.sid, 30)
    assert finals(redis).count("a") == 1


def test_a_list_that_redis_loses_then_is_restored_without_the_end(feed, redis, connections):
    live = ended(redis, connections, feed)
    live.keep_on(Names.sid)
    feed.begins_again(Names.sid)
    say(feed, "b", 1)
    assert feed.written(Names.sid, 30)
    before = listed(redis)
    redis.flushall()
    until(lambda: len(listed(redis)) == len(before), "nobody noticed")
    assert listed(redis) == before


def test_while_redis_is_away_an_end_waits_to_be_taken_back(redis, connections):
    shy = Shy(redis)
    feed = Feed(shy)
    live = ended(redis, connections, feed)
    live.keep_on(Names.sid)
    shy.is_away = True
    feed.begins_again(Names.sid)
    say(feed, "b", 1)
    assert not feed.written(Names.sid, 0.1)
    shy.is_away = False
    assert feed.written(Names.sid, 30)
    assert END not in listed(redis)
    assert finals(redis)[-1] == "b"


def test_the_scribe_says_that_a_call_goes_on_which_was_said_to_be_over(feed, redis, connections):
    class Shelf:
        def write(self, entries) -> None:
            pass

    live = ended(redis, connections, feed)
    scribe = Scribe(Shelf(), Metrics(), live, "openai", "m", Feed(redis))
    scribe.call_started(Names.sid, StreamStarted("s", Names.sid, "audio/pcmu"))
    scribe.recorded(Names.sid, [Line("b", 2, "caller", "Hello?", 0, 900, True)])
    until(lambda: "b" in finals(redis))
    assert END not in listed(redis)
