"""Greetings as the engine spoke them: found by every worker, and no call waits for them."""

from __future__ import annotations

import base64

import pytest

from flaskapp.phone.playout import Clip
from flaskapp.store import keys
from flaskapp.store.greetings import LONGEST_MS, Greetings
from flaskapp.store.live import connect
from tests import servers

SOUND = b"\x8f\x0f" * 4000
CLIP = Clip(base64.b64encode(SOUND), 1000.0)
DEPENDS_ON = ("audio/pcmu", "Anna", "Good day.", "en", "marin", "gpt-realtime")


def test_what_one_worker_keeps_every_worker_finds(connections):
    Greetings(connections).keep(SOUND, *DEPENDS_ON)
    assert Greetings(connections).find(*DEPENDS_ON) == CLIP


def test_nobody_has_kept_it_yet(connections):
    assert Greetings(connections).find(*DEPENDS_ON) is None


@pytest.mark.parametrize("place", range(len(DEPENDS_ON)))
def test_a_greeting_in_another_voice_or_in_other_words_is_another(connections, place):
    greetings = Greetings(connections)
    greetings.keep(SOUND, *DEPENDS_ON)
    other = [each + "x" if number == place else each for number, each in enumerate(DEPENDS_ON)]
    assert greetings.find(*other) is None


def test_two_greetings_are_not_one_because_their_parts_run_together(connections):
    greetings = Greetings(connections)
    greetings.keep(SOUND, "audio/pcmu", "Anna", "Hello.")
    assert greetings.find("audio/pcmu", "AnnaH", "ello.") is None


def test_a_greeting_that_is_none_is_not_kept(connections):
    greetings = Greetings(connections)
    greetings.keep(bytes(LONGEST_MS * 8 + 1), *DEPENDS_ON)
    assert greetings.find(*DEPENDS_ON) is None


def test_greetings_are_not_kept_for_ever(connections):
    Greetings(connections).keep(SOUND, *DEPENDS_ON)
    (name,) = connections.text.keys("greeting:*")
    assert 0 < connections.text.ttl(name) <= keys.GREETING_KEPT_S


def test_the_words_of_a_greeting_are_in_no_key(connections):
    Greetings(connections).keep(SOUND, *DEPENDS_ON)
    (name,) = connections.text.keys("*")
    assert not any(each in name for each in DEPENDS_ON)


def test_a_worker_that_has_it_at_hand_asks_nobody(connections):
    greetings = Greetings(connections)
    greetings.keep(SOUND, *DEPENDS_ON)
    connections.text.flushall()
    assert greetings.find(*DEPENDS_ON) == CLIP


def test_without_redis_nobody_is_greeted_from_a_clip_and_nothing_breaks():
    with servers.redis_server() as url:
        connections = connect(url)
        known = Greetings(connections)
        known.keep(SOUND, *DEPENDS_ON)
    assert known.find(*DEPENDS_ON) == CLIP
    away = Greetings(connections)
    assert away.find(*DEPENDS_ON) is None
    away.keep(SOUND, *DEPENDS_ON)
    assert away.find(*DEPENDS_ON) == CLIP  # this worker's callers are greeted at once all the same
