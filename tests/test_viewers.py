"""Readers of transcripts, each on a wire of his own: told everything, in bounds, by one subscription."""

from __future__ import annotations

import contextvars
import json
import threading
from contextlib import ExitStack, suppress

import pytest
from redis.exceptions import ConnectionError as NoConnection
from werkzeug.exceptions import ServiceUnavailable

from flaskapp.phone.errors import LegClosed
from flaskapp.phone.feed import QUEUE_BYTES, QUEUE_LINES, STUCK_S, Reader
from flaskapp.phone.viewers import KNOWN_WITHIN_S, Right, Viewer
from flaskapp.store import keys
from flaskapp.store.live import LiveStore
from tests.phone.wires import Clock, joined, small_buffers
from tests.readers import House, Line
from tests.servers import wait_until

ALL = Right(reads_all=True)


@pytest.fixture(autouse=True)
def nobody_stays():
    """Readers of one test are not there in the next."""
    yield
    for house in House.all:
        for reader in tuple(house.readers._readers):
            house.readers.remove(reader)
        wait_until(lambda: not house.readers._threads, "threads stay", 30)  # noqa: B023
    House.all.clear()


@pytest.fixture(params=["inside", "server"])
def house(request) -> House:
    return House(request.getfixturevalue("redis_server") if request.param == "server" else "")


def sequences(line: Line) -> list[int]:
    return [json.loads(each)["sequence"] for each in line.sent]


# ---------------------------------------------------------------------- what a reader is told


def test_a_reader_hears_what_he_missed_and_what_comes(house):
    house.say(1, 5)
    first, second = Line(), Line()
    house.readers.add(Reader(house.sid, 0, first))
    house.readers.add(Reader(house.sid, 3, second))
    wait_until(lambda: len(first.sent) == 5 and len(second.sent) == 2, "he is not told", 30)
    house.say(6, 7)
    wait_until(lambda: len(first.sent) == 7, "he is not told", 30)
    assert sequences(first) == [1, 2, 3, 4, 5, 6, 7]
    wait_until(lambda: sequences(second) == [4, 5, 6, 7], "he is not told", 30)
    assert json.loads(first.sent[0]) == {
        "call_sid": house.sid, "transcript": "line 1", "is_final": True, "speaker": "agent",
        "sequence": 1, "item": "i1",
    }  # fmt: skip


def test_whoever_is_gone_is_told_nothing_and_nobody_waits_for_redis_then(house):
    reader = Reader(house.sid, 0, line := Line())
    house.readers.add(reader)
    house.say(1, 1)
    wait_until(lambda: line.sent, "he is not told", 30)
    house.readers.remove(reader)
    wait_until(lambda: not house.readers._threads, "threads stay", 30)
    house.say(2, 2)
    assert len(line.sent) == 1


def test_all_readers_of_a_worker_share_one_subscription(redis_server):
    house = House(redis_server)
    for _ in range(150):
        house.readers.add(Reader(house.sid, 0, Line()))
    wait_until(lambda: house.redis.pubsub_numsub(keys.FEED)[0][1], "nobody listens", 30)
    assert house.redis.pubsub_numsub(keys.FEED)[0][1] == 1


def test_a_hint_that_is_lost_delays_a_line_and_loses_none(house):
    house.readers.add(Reader(house.sid, 0, line := Line()))
    house.say(1, 1)
    wait_until(lambda: line.sent, "he is not told", 30)
    raw = house.redis.lindex(keys.feed(house.sid), 0)
    house.redis.rpush(keys.feed(house.sid), raw)
    wait_until(lambda: len(line.sent) == 2, "the list is not looked at", 30)


def test_a_subscription_that_dies_is_made_again(redis_server):
    house = House(redis_server)
    house.readers.add(Reader(house.sid, 0, Line()))
    wait_until(lambda: house.redis.pubsub_numsub(keys.FEED)[0][1] == 1, "nobody listens", 30)
    house.redis.client_kill_filter(_type="pubsub")
    wait_until(lambda: house.redis.pubsub_numsub(keys.FEED)[0][1] == 1, "nobody listens again", 30)


def test_readers_stand_by_while_redis_is_away(monkeypatch):
    house = House()
    house.say(1, 1)

    def away(*arguments, **options):
        raise NoConnection("away")

    with monkeypatch.context() as patched:
        patched.setattr(house.redis, "pipeline", away)
        house.readers.add(Reader(house.sid, 0, line := Line()))
        wait_until(lambda: house.readers.is_away, "nobody noticed", 30)
        assert not line.sent
    wait_until(lambda: line.sent, "he is not told when it is back", 30)
    assert not house.readers.is_away


def end_of(house: House, sequence: int) -> dict:
    return {"call_sid": house.sid, "event": "call_ended", "transcript": "", "is_final": True,
            "sequence": sequence}  # fmt: skip


def test_whoever_comes_after_the_end_is_told_of_it_or_has_heard_it(house):
    house.say(1, 2)
    house.feed.over(house.sid)
    wait_until(lambda: house.redis.llen(keys.feed(house.sid)) == 3, "no end", 30)
    late, done, beyond = Line(), Line(), Line()
    for number, line in ((0, late), (3, done), (9, beyond)):
        house.readers.add(Reader(house.sid, number, line))
    wait_until(lambda: late.codes and done.codes and beyond.codes, "not closed", 30)
    assert (sequences(late), done.sent, sequences(beyond)) == ([1, 2, 3], [], [3])
    assert late.codes[0] == done.codes[0] == beyond.codes[0] == 1000
    assert json.loads(late.sent[-1]) == json.loads(beyond.sent[-1]) == end_of(house, 3)


def test_whoever_names_a_number_that_is_none_yet_is_told_what_follows_it_or_the_end(house):
    house.say(1, 2)
    near, far = Line(), Line()
    for number, line in ((3, near), (50, far)):
        house.readers.add(Reader(house.sid, number, line))
    house.say(3, 5)
    wait_until(lambda: sequences(near) == [4, 5], "he is not told", 30)
    assert not far.codes
    house.feed.over(house.sid)
    wait_until(lambda: near.codes and far.codes, "not closed", 30)
    assert (sequences(near), sequences(far)) == ([4, 5, 6], [6])
    assert json.loads(far.sent[-1]) == end_of(house, 6)


def test_an_end_that_is_written_between_two_questions_is_told_all_the_same():
    house = House()
    house.say(1, 2)
    reader = Reader(house.sid, 2, line := Line())
    house.readers._readers.add(reader)  # no thread: the test itself goes round
    pipeline = house.redis.pipeline

    def interrupted(**options):
        pipe = pipeline(**options)

        def execute():
            first, *others = pipe.command_stack
            pipe.command_stack = [first]
            answers = type(pipe).execute(pipe)
            house.redis.rpush(keys.feed(house.sid), '{"m": 5, "end": 1}')
            pipe.command_stack = others
            return answers + type(pipe).execute(pipe)

        pipe.execute = execute
        return pipe

    house.redis.pipeline = interrupted
    house.readers.round(0.0)
    assert not reader.is_over
    house.redis.pipeline = pipeline
    house.readers.round(10.0)
    assert json.loads(line.sent[-1]) == end_of(house, 3)


# ---------------------------------------------------------------------- who does not read


def lines(first: int, count: int, size: int = 1) -> list[bytes]:
    return [b"%d" % number * size for number in range(first, first + count)]


def test_a_queue_is_256_lines_and_whoever_takes_none_of_them_is_sent_away():
    reader = Reader("CA1", 0, line := Line())
    line.takes = False
    reader.give(lines(1, 300), False)
    assert (len(line.queued), reader.number, reader.is_behind) == (QUEUE_LINES, QUEUE_LINES, True)
    line.stalled_s = STUCK_S
    reader.give(lines(257, 44), False)
    assert not line.codes
    line.stalled_s = STUCK_S + 0.1
    reader.give(lines(257, 44), False)
    assert line.codes == [1013]
    assert reader.is_over
    assert not line.queued


def test_a_queue_is_256_kib_and_the_rest_comes_when_there_is_room_again():
    reader = Reader("CA1", 0, line := Line())
    line.takes = False
    every = [b"%06d" % number * 5000 for number in range(40)] + [b"huge" * QUEUE_BYTES]
    while reader.number < len(every):
        reader.give(every[reader.number :], False)
        assert line.waiting.size <= QUEUE_BYTES or len(line.queued) == 1
        assert reader.is_behind == (reader.number < len(every))
        del line.queued[0]
    assert (line.sent, line.codes) == (every, [])


def test_whoever_reads_slowly_is_told_everything():
    reader = Reader("CA1", 0, line := Line())
    line.takes, line.stalled_s = False, 0.9 * STUCK_S
    every = lines(1, 1000)
    while reader.number < 1000:
        reader.give(every[reader.number : reader.number + QUEUE_LINES], False)
        assert len(line.queued) <= QUEUE_LINES
        del line.queued[0]
    assert (line.sent, line.codes) == (every, [])


def test_over_a_real_socket_a_pause_costs_nothing_and_a_slow_reader_has_time(monkeypatch):
    """Long lines: their bytes are too many long before there are 256 of them."""
    house = House()
    monkeypatch.setattr("flaskapp.phone.feed.STUCK_S", 30.0)
    with ExitStack() as stack:
        wire, peer = stack.enter_context(joined(small_buffers))
        house.readers.add(lazy := Reader(house.sid, 0, wire))
        for number in range(200):
            house.feed.line(house.sid, f"i{number}", number, "agent", f"{number} " * 4000, True)
        assert house.feed.written(house.sid, 60)
        wait_until(lambda: lazy.is_behind, "all of it fits", 30)
        peer.reads(lambda peer: len(peer.texts) >= 20, 60)
        house.feed.over(house.sid)
        peer.reads(lambda peer: len(peer.texts) >= 201, 60)
        assert [json.loads(each)["sequence"] for each in peer.texts] == list(range(1, 202))
        assert wire.dropped == 0


def test_a_batch_that_goes_out_bit_by_bit_is_not_stuck_until_nothing_goes_out():
    clock, every = Clock(), lines(1, 400, 300)
    with ExitStack() as stack:
        wire, peer = stack.enter_context(joined(small_buffers, clock=clock))
        reader = Reader("CA1", 0, wire)
        reader.give(every, False)
        first = wire.waiting
        for _ in range(10):  # long before the first of it counts as taken
            before, so_far = wire.waiting.size, len(peer.texts)
            peer.reads(lambda peer: len(peer.texts) > so_far, 30)  # noqa: B023
            wait_until(lambda: wire.waiting.size < before, "nothing goes out", 30)  # noqa: B023
            clock.now += 0.9 * STUCK_S
            reader.give(every[reader.number :], False)
            assert not reader.is_over
        assert wire.waiting.messages == first.messages
        clock.now += STUCK_S
        reader.give(every[reader.number :], False)
        assert reader.is_over


def test_over_a_real_socket_he_finds_why_and_his_neighbour_misses_nothing():
    house = House()
    with ExitStack() as stack:
        wire, peer = stack.enter_context(joined(small_buffers))
        lazy, other = Reader(house.sid, 0, wire), Reader(house.sid, 0, line := Line())
        house.readers.add(lazy)
        house.readers.add(other)
        house.say(1, 1500)
        house.say(1501, 3000)
        wait_until(lambda: lazy.is_over, "he stays", 60)
        with suppress(LegClosed, TimeoutError):
            peer.reads(lambda peer: peer.close_code, 30)
        assert peer.close_code == 1013
        told = [json.loads(each)["sequence"] for each in peer.texts]
        assert told == list(range(1, len(told) + 1)), "what he has is whole and in order"
        wait_until(lambda: len(line.sent) == 3000, "his neighbour waits", 60)


# ---------------------------------------------------------------------- his connection


def test_sockets_are_counted_from_their_handshake_to_their_end(app, monkeypatch):
    monkeypatch.setattr("flaskapp.phone.viewers.MOST_READERS", 2)

    def knocks(stack: ExitStack) -> None:
        """A handshake's checks, each with a context of its own; the socket ends with the stack."""
        own, headers = contextvars.Context(), {"Connection": "Upgrade", "Upgrade": "websocket"}
        asked = app.test_request_context(
            "/client", headers=headers, environ_overrides={"gunicorn.socket": None}
        )
        own.run(asked.push)
        stack.callback(own.run, asked.pop)
        own.run(app.preprocess_request)

    with ExitStack() as one:
        knocks(one)
        for _ in range(3):
            with ExitStack() as another:
                knocks(another)
                for _ in range(3):
                    with pytest.raises(ServiceUnavailable), ExitStack() as third:
                        knocks(third)


def serve(stack: ExitStack, house: House, right: Right = ALL, clock: Clock | None = None, **how):
    clock = clock or Clock()
    wire, peer = stack.enter_context(joined(clock=clock))  # one time for both, however long the machine is up
    viewer = Viewer(wire, right, house.tickets, house.readers, clock=clock, **how)

    def run() -> None:
        with suppress(LegClosed):
            viewer.run()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    stack.callback(lambda: (wire.abort(), thread.join(10)))
    return peer, viewer


@pytest.mark.parametrize(("is_away", "code"), [(False, 1008), (True, 1013)])
def test_a_call_that_stays_unknown_is_waited_for_half_a_minute(monkeypatch, is_away, code):
    house, clock = House(), Clock()
    if is_away:
        monkeypatch.setattr(house.readers, "is_away", True)
        monkeypatch.setattr(house.readers, "round", lambda now: (_ for _ in ()).throw(NoConnection("away")))
    with ExitStack() as stack:
        peer, _ = serve(stack, house, clock=clock)
        peer.says(0x1, house.sid.encode())
        wait_until(lambda: len(house.readers), "he is not let in", 30)
        clock.now += KNOWN_WITHIN_S
        peer.reads(lambda peer: peer.close_code, 30)
        assert peer.close_code == code


def test_a_call_that_is_known_and_silent_is_waited_for_as_long_as_it_takes():
    house, clock = House(), Clock()
    LiveStore(house.connections).begin(house.sid)
    with ExitStack() as stack:
        peer, _ = serve(stack, house, clock=clock)
        peer.says(0x1, house.sid.encode())
        wait_until(lambda: any(reader.is_known for reader in house.readers._readers), "not known", 30)
        clock.now += 10 * KNOWN_WITHIN_S
        peer.says(0xA)  # the pong that a clock like this makes due
        house.say(1, 1)
        assert peer.reads(lambda peer: peer.texts, 30)


def test_a_minute_has_room_for_a_hundred_messages_each():
    house, clock = House(), Clock()
    LiveStore(house.connections).begin(house.sid)
    with ExitStack() as stack:
        peer, viewer = serve(stack, house, clock=clock)
        peer.says(0x1, house.sid.encode())
        for minute in range(3):
            for _ in range(99 - minute // 2):
                peer.says(0x1, b"x")
            expected = min(101, 1 + 99 * (minute + 1))
            wait_until(lambda: len(viewer._heard) >= expected, "not heard", 30)  # noqa: B023
            clock.now += 61.0
            assert peer.close_code is None
            peer.says(0xA)
