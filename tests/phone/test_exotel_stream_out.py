"""What is sent to Exotel: in both spellings, numbered, in chunks that it takes, whatever the engine says."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaskapp.phone.carriers.exotel import ExotelStream
from tests.contracts.carrier import cut


def started(rate_hz: int = 8000, chunk_bytes: int = 3200, stream_id: str = "s1") -> ExotelStream:
    codec = ExotelStream(rate_hz, chunk_bytes)
    start = {"event": "start", "start": {"stream_sid": stream_id, "call_sid": "c1"}}
    codec.decode(json.dumps(start).encode())
    return codec


def test_each_message_is_written_in_both_spellings_with_all_numbers():
    codec = started()
    payload = base64.b64encode(bytes(3200)).decode()
    names = {"stream_sid": "s1", "streamSid": "s1"}

    def numbers(count: int) -> dict[str, int]:
        return {"sequence_number": count, "sequenceNumber": count}

    sent = [*codec.media(base64.b64encode(b"\xff" * 3200)), codec.mark("a1"), codec.clear()]
    assert [json.loads(each) for each in sent] == [
        {
            "event": "media",
            **names,
            **numbers(1),
            "media": {"payload": payload, "chunk": 1, "timestamp": "0"},
        },
        {
            "event": "media",
            **names,
            **numbers(2),
            "media": {"payload": payload, "chunk": 2, "timestamp": "200"},
        },
        {"event": "mark", **names, **numbers(3), "mark": {"name": "a1"}},
        {"event": "clear", **names, **numbers(4)},
    ]
    (again,) = codec.media(base64.b64encode(b"\xff" * 1600))
    media = {"payload": payload, "chunk": 3, "timestamp": "400"}
    assert json.loads(again) == {"event": "media", **names, **numbers(5), "media": media}


def test_a_streams_id_cannot_break_out_of_the_message():
    codec = started(stream_id='s","event":"clear')
    for message in (*codec.media(base64.b64encode(b"\xff" * 1600)), codec.mark('a"1'), codec.clear()):
        read = json.loads(message)
        assert (read["stream_sid"], read["streamSid"]) == ('s","event":"clear',) * 2


@pytest.mark.parametrize("size", [0, 320, 3199, 3300, 100_160])
def test_chunks_that_exotel_does_not_take_are_refused_at_once(size):
    with pytest.raises(ValueError, match="chunks"):
        ExotelStream(8000, size)


@pytest.mark.parametrize(
    ("held", "padded"),
    [(2, 3200), (3198, 3200), (3202, 3520), (3520, 3520), (9598, 9600), (1, None), (0, None)],
)
def test_the_tail_is_padded_to_the_next_whole_chunk(held, padded):
    codec = started(24_000, 9600)
    assert codec.chunks(base64.b64encode(b"\1" * held)) == []
    assert [len(chunk) for chunk in codec.tail()] == ([padded] if padded else [])
    assert codec.tail() == []


@given(
    rate=st.sampled_from([8000, 16_000, 24_000]),
    chunk_bytes=st.integers(10, 312).map(lambda units: units * 320),
    ends=st.lists(st.sampled_from(["go on", "tail", "clear"]), min_size=1, max_size=12),
    sizes=st.lists(st.integers(1, 60_000), min_size=12, max_size=12),
)
def test_every_chunk_obeys_the_rule_and_every_number_rises_by_one(rate, chunk_bytes, ends, sizes):
    codec = started(rate, chunk_bytes)
    messages, wholes = [], []
    for end, size in zip(ends, sizes, strict=False):
        made = codec.chunks(base64.b64encode(b"\x11" * size))
        wholes += [len(chunk) for chunk in made]
        messages += [codec.frame(chunk) for chunk in made]
        if end == "tail":
            messages += [codec.frame(chunk) for chunk in codec.tail()]
        elif end == "clear":
            messages.append(codec.clear())
    assert set(wholes) <= {chunk_bytes}
    read = [json.loads(message) for message in messages]
    assert [each["sequence_number"] for each in read] == list(range(1, len(read) + 1))
    media = [each["media"] for each in read if each["event"] == "media"]
    assert [each["chunk"] for each in media] == list(range(1, len(media) + 1))
    sent = 0
    for each in media:
        size = len(base64.b64decode(each["payload"], validate=True))
        assert size % 320 == 0
        assert 3200 <= size <= 100_000
        assert int(each["timestamp"]) == sent * 1000 // (rate * 2)
        sent += size


@given(sizes=st.lists(st.integers(1, 2001), min_size=1, max_size=20))
def test_a_sample_that_the_engine_cut_in_two_is_put_together(sizes):
    codec = started(24_000)
    sound = bytes(range(1, 256)) * (sum(sizes) // 255 + 1)
    sound = sound[: sum(sizes) & ~1]
    parts = cut(sound, sizes)
    sent = b"".join(chunk for part in parts for chunk in codec.chunks(base64.b64encode(part)))
    assert (sent + b"".join(codec.tail())).rstrip(b"\0") == sound


def test_half_a_sample_at_a_replys_end_does_not_shift_the_next_reply():
    codec = started(24_000)
    for end in (codec.tail, codec.clear):
        codec.chunks(base64.b64encode(b"\1\2\3"))
        end()
        assert codec.chunks(base64.b64encode(b"\5\6" * 1600)) == [b"\5\6" * 1600]
