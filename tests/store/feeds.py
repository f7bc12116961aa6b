"""One call's feed, as tests fill it and look at it."""

from __future__ import annotations

from collections.abc import Callable

from flaskapp.store import keys
from flaskapp.store.feed import Feed
from flaskapp.store.feed_book import unpacked
from tests.servers import wait_until


class Names:
    """What the test's call is called: what other tests have left behind speaks of other calls."""

    sid = ""


def listed(redis) -> list[tuple[str, str, bool]]:
    """What stands in the list; the end is ("", "", True)."""
    updates = [unpacked(raw).update for raw in redis.lrange(keys.feed(Names.sid), 0, -1)]
    return [(each.item, each.text, each.is_final) if each else ("", "", True) for each in updates]


def finals(redis) -> list[str]:
    return [item for item, _, is_final in listed(redis) if is_final]


def say(feed: Feed, item: str, position: int, text: str = "words", is_final: bool = True) -> None:
    feed.line(Names.sid, item, position, "caller", text, is_final)


def until(condition: Callable[[], object], what: str = "it never came to that") -> None:
    wait_until(lambda: bool(condition()), what, 30)


END = ("", "", True)
