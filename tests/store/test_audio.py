"""The caller's audio in Redis: in order, once, and none of it lost, whoever writes it, and however often."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.exceptions import RedisError

from flaskapp.store import keys
from flaskapp.store.audio import CHUNKS_KEPT, AudioBuffer, Chunk, Held
from flaskapp.store.live import Connections, connect
from tests import servers


def second(number: int) -> bytes:
    """One second of something that can be told from the others."""
    return bytes([number % 251]) * 8000


def sound(chunks: list[Chunk]) -> bytes:
    return b"".join(chunk.mulaw for chunk in chunks)


@pytest.fixture
def buffer(connections) -> AudioBuffer:
    return AudioBuffer(connections)


@pytest.fixture
def five_seconds(buffer) -> AudioBuffer:
    for number in range(5):
        buffer.append("CA1", number * 1000, second(number))
    return buffer


def test_what_was_said_is_read_in_order(five_seconds):
    chunks = five_seconds.read("CA1")
    assert [chunk.start_ms for chunk in chunks] == [0, 1000, 2000, 3000, 4000]
    assert sound(chunks) == b"".join(map(second, range(5)))
    assert five_seconds.held("CA1") == Held(5, 40_000)
    assert five_seconds.held("CA1").duration_ms == 5000
    assert five_seconds.read("CA2") == []
    assert five_seconds.held("CA2") == Held(0, 0)


@pytest.mark.parametrize(
    ("from_ms", "to_ms", "expected"),
    [
        (1500, 3250, [(1500, 500), (2000, 1000), (3000, 250)]),
        (1000, 2000, [(1000, 1000)]),
        (1200, 1300, [(1200, 100)]),
        (4999, None, [(4999, 1)]),
        (5000, None, []),
        (0, 0, []),
        (-5, 400, [(0, 400)]),
        (3000, 2000, []),
    ],
)
def test_a_part_of_it_is_cut_to_the_millisecond(five_seconds, from_ms, to_ms, expected):
    chunks = five_seconds.read("CA1", from_ms, to_ms)
    assert [(chunk.start_ms, len(chunk.mulaw) // 8) for chunk in chunks] == expected
    whole = b"".join(map(second, range(5)))
    for chunk in chunks:
        assert chunk.mulaw == whole[chunk.start_ms * 8 : chunk.end_ms * 8]


def test_what_is_written_twice_is_there_once(five_seconds):
    for number in (0, 2, 4):
        five_seconds.append("CA1", number * 1000, second(number))
    assert five_seconds.held("CA1").chunks == 5


def test_a_clock_that_is_set_back_loses_nothing(five_seconds):
    late = [bytes([200 + number]) * 8000 for number in range(3)]
    for number, mulaw in enumerate(late):
        five_seconds.append("CA1", 2000 + number * 1000, mulaw)
        five_seconds.append("CA1", 2000 + number * 1000, mulaw)  # and is written again
    chunks = five_seconds.read("CA1")
    assert [chunk.start_ms for chunk in chunks] == [number * 1000 for number in range(8)]
    assert sound(chunks[5:]) == b"".join(late)


def test_the_same_silence_at_another_time_is_another_chunk(buffer):
    for number in range(3):
        buffer.append("CA1", number * 1000, b"\xff" * 8000)
    assert buffer.held("CA1").chunks == 3


def test_uploads_follow_on_each_other(buffer):
    assert buffer.append_next("CA1", b"fake_audio_data") == Held(1, 15)
    assert buffer.append_next("CA1", b"x") == Held(2, 16)
    assert buffer.append_next("CA1", b"y" * 160) == Held(3, 176)
    assert sound(buffer.read("CA1")) == b"fake_audio_datax" + b"y" * 160


def test_uploads_follow_on_live_audio(five_seconds):
    assert five_seconds.append_next("CA1", b"z" * 800) == Held(6, 40_800)
    assert five_seconds.read("CA1", 5000) == [Chunk(5000, b"z" * 800)]
    assert five_seconds.append_next("CA1", b"z" * 800) == Held(7, 41_600)


def test_of_uploads_that_come_at_once_every_one_is_kept_whole(buffer):
    def upload(number: int) -> None:
        for _ in range(10):
            buffer.append_next("CA1", bytes([number]) * (160 + number))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(upload, range(16)))
    total = sum(10 * (160 + number) for number in range(16))
    assert buffer.held("CA1") == Held(160, total)
    chunks = buffer.read("CA1")
    assert sorted((chunk.mulaw[0], len(chunk.mulaw)) for chunk in chunks) == sorted(
        (number, 160 + number) for number in range(16) for _ in range(10)
    )
    assert [chunk.start_ms for chunk in chunks] == sorted(chunk.start_ms for chunk in chunks)


def test_more_than_ten_minutes_of_a_live_call_are_not_held(buffer):
    for number in range(CHUNKS_KEPT + 5):
        buffer.append("CA1", number * 1000, bytes([number % 251]) * 8)
    assert buffer.held("CA1").chunks == CHUNKS_KEPT
    assert buffer.read("CA1")[0].start_ms == 5000


def test_uploads_in_small_frames_are_held_for_as_long(buffer):
    for _ in range(CHUNKS_KEPT + 200):
        buffer.append_next("CA1", b"\xff" * 160)
    assert buffer.held("CA1") == Held(CHUNKS_KEPT + 200, (CHUNKS_KEPT + 200) * 160)


def test_what_was_understood_is_dropped(five_seconds):
    five_seconds.cut("CA1", 2500)
    assert [chunk.start_ms for chunk in five_seconds.read("CA1")] == [2000, 3000, 4000]
    five_seconds.cut("CA1", 3000)
    assert [chunk.start_ms for chunk in five_seconds.read("CA1")] == [3000, 4000]
    five_seconds.append("CA1", 5000, second(5))
    five_seconds.cut("CA1", 6000)
    assert list(five_seconds.redis.scan_iter()) == []


@pytest.mark.parametrize("pieces", [[8000, 3], [3], [8000, 12], [8004, 4]])
def test_not_even_less_than_a_millisecond_stays(buffer, pieces):
    for size in pieces:
        buffer.append_next("CA1", b"\x55" * size)
    buffer.cut("CA1", buffer.read("CA1")[-1].end_ms)
    assert not buffer.redis.exists(keys.audio("CA1"))


def test_what_comes_while_the_rest_is_dropped_is_kept(buffer):
    stop = threading.Event()
    written = []

    def write() -> None:
        while not stop.is_set():
            buffer.append("CA1", len(written) * 1000, second(len(written)))
            written.append(second(len(written)))

    writer = threading.Thread(target=write)
    writer.start()
    read: list[bytes] = []
    try:
        while len(read) < 60:
            chunks = buffer.read("CA1")
            if chunks:
                read += [chunk.mulaw for chunk in chunks]
                buffer.cut("CA1", chunks[-1].end_ms)
    finally:
        stop.set()
        writer.join(60)
    read += [chunk.mulaw for chunk in buffer.read("CA1")]
    assert read == written


def test_what_comes_at_the_very_end_of_dropping_is_kept(five_seconds):
    other = AudioBuffer(Connections(None, five_seconds.redis))

    class Hurried(Unreliable):
        def pipeline(self, *args, **options):
            pipe = self._redis.pipeline(*args, **options)
            pipe.multi, multi = lambda: (other.append("CA1", 5000, second(5)), multi()), pipe.multi
            return pipe

    five_seconds.redis = Hurried(five_seconds.redis, lambda: False)
    five_seconds.cut("CA1", 5000)
    assert other.read("CA1") == [Chunk(5000, second(5))]


def test_audio_expires_a_day_after_its_last_chunk(five_seconds):
    five_seconds.redis.expire(keys.audio("CA1"), 5)
    five_seconds.append("CA1", 5000, second(5))
    assert five_seconds.redis.ttl(keys.audio("CA1")) > keys.AUDIO_KEPT_S - 60
    five_seconds.redis.expire(keys.audio("CA1"), 5)
    five_seconds.append_next("CA1", b"x")
    assert five_seconds.redis.ttl(keys.audio("CA1")) > keys.AUDIO_KEPT_S - 60
    five_seconds.delete("CA1")
    assert not five_seconds.redis.exists(keys.audio("CA1"))


def test_a_redis_that_is_away_is_named():
    buffer = AudioBuffer(connect(f"redis://127.0.0.1:{servers.free_port()}/0"))
    for ask in (
        lambda: buffer.append("CA1", 0, b"x"),
        lambda: buffer.append_next("CA1", b"x"),
        lambda: buffer.read("CA1"),
        lambda: buffer.held("CA1"),
    ):
        with pytest.raises(RedisError):
            ask()


def test_a_redis_that_is_full_is_named(redis_server):
    connections = connect(redis_server)
    connections.raw.flushall()
    buffer = AudioBuffer(connections)
    connections.raw.config_set("maxmemory", 1)
    try:
        with pytest.raises(RedisError, match="maxmemory"):
            buffer.append("CA1", 0, second(0))
        with pytest.raises(RedisError, match="maxmemory"):
            buffer.append_next("CA1", b"x")
    finally:
        connections.raw.config_set("maxmemory", 0)


class Unreliable:
    """A Redis that does as it is told, and whose answer is sometimes lost: then the client asks again."""

    def __init__(self, redis, loses) -> None:
        self._redis, self._loses = redis, loses

    def __getattr__(self, name):
        return getattr(self._redis, name)

    def pipeline(self, *args, **options):
        pipe = self._redis.pipeline(*args, **options)
        execute = pipe.execute

        def again(*args, **options):
            asked = list(pipe.command_stack)
            answers = execute(*args, **options)
            if self._loses():
                pipe.command_stack = asked
                answers = execute(*args, **options)
            return answers

        pipe.execute = again
        return pipe


STEPS = st.lists(
    st.tuples(st.sampled_from(["append", "next"]), st.integers(-3000, 3000), st.integers(1, 2000)),
    max_size=25,
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS, st.randoms(use_true_random=False))
def test_whatever_the_clock_and_the_network_do_every_chunk_is_there_once(steps, chance):
    buffer = AudioBuffer(connect(""))
    buffer.redis = Unreliable(buffer.redis, lambda: chance.random() < 0.3)
    clock, given_away = 0, []
    for number, (how, jump, size) in enumerate(steps):
        mulaw = number.to_bytes(2, "big") * size
        clock = max(0, clock + jump)
        if how == "append":
            buffer.append("CA1", clock, mulaw)
            clock += len(mulaw) // 8
        else:
            buffer.append_next("CA1", mulaw)
        given_away.append(mulaw)
    chunks = buffer.read("CA1")
    assert [chunk.mulaw for chunk in chunks] == given_away
    assert [chunk.start_ms for chunk in chunks] == sorted(chunk.start_ms for chunk in chunks)
    assert buffer.held("CA1") == Held(len(steps), sum(map(len, given_away)))
