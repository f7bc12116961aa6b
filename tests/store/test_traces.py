"""What legs said is kept without sound and secrets, in Redis and then in the history."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flaskapp.phone.digits import masked_field
from flaskapp.redaction import Redactor
from flaskapp.store import keys
from flaskapp.store import traces as traces_module
from flaskapp.store.speaking import Speaking
from flaskapp.store.traces import LONGEST, ROWS_KEPT, Traces

WITHIN_S = 20.0


@pytest.fixture
def history(bare_app):
    from flaskapp.store.tables import db

    db.create_all()
    return bare_app.extensions["history"]


@pytest.fixture
def traces(real_connections, history) -> Traces:
    return Traces(real_connections.text, history, Redactor(["a very secret value"]))


def says(traces: Traces, message: Any, leg: str = "engine", at_ms: int = 0, is_out: bool = False) -> None:
    text = message if isinstance(message, bytes) else json.dumps(message).encode()
    traces.note("CA1", at_ms, leg, is_out, text)


def kept(traces: Traces) -> list[Any]:
    assert traces.settle(WITHIN_S)
    return traces.read("CA1")


def test_messages_are_kept_with_their_time_leg_and_direction(traces):
    says(traces, {"type": "response.done", "response": {"id": "r1"}}, at_ms=1500)
    says(traces, {"event": "mark", "mark": {"name": "m1"}}, "carrier", 1600, is_out=True)
    assert kept(traces) == [
        {"at_ms": 1500, "leg": "engine", "out": False, "kind": "response.done",
         "detail": {"response": {"id": "r1"}}},
        {"at_ms": 1600, "leg": "carrier", "out": True, "kind": "mark", "detail": {"mark": {"name": "m1"}}},
    ]  # fmt: skip


def test_sound_secrets_and_long_texts_are_not(traces):
    says(
        traces,
        {"event": "start", "start": {"customParameters": {"ticket": "abc"}, "note": "a very secret value"}},
    )
    says(traces, {"type": "item", "audio": "AAAA", "media": {"payload": "BBBB"}, "text": "x" * 5000})
    text = json.dumps(kept(traces))
    assert not any(
        each in text for each in ("abc", "a very secret value", "AAAA", "BBBB", "x" * (LONGEST + 1))
    )


def test_words_that_grow_are_counted_and_their_end_is_kept(traces):
    for _ in range(3):
        says(traces, {"type": "response.output_audio_transcript.delta", "delta": "he"})
    says(traces, {"type": "response.output_audio_transcript.done", "transcript": "hehehe"})
    (only,) = kept(traces)
    assert only["detail"] == {"transcript": "hehehe", "deltas": 3}


def test_keys_are_hidden_where_digits_are(real_connections, history):
    traces = Traces(real_connections.text, history, hides_digits=True)
    says(traces, {"event": "dtmf", "dtmf": {"digit": "7"}}, "carrier")
    assert "7" not in json.dumps(kept(traces)[0]["detail"])


@pytest.mark.parametrize("message", [b"{", b"\xff", b"[1]", b'"x"', b"{}", b"[" * 50_000])
def test_what_cannot_be_read_is_kept_as_such(traces, message):
    says(traces, message)
    assert kept(traces)[0]["kind"] == "(unreadable)"


def test_a_call_keeps_its_latest_messages(traces):
    for number in range(ROWS_KEPT + 5):
        says(traces, {"type": "n", "n": number})
    rows = kept(traces)
    assert (len(rows), rows[0]["detail"]["n"]) == (ROWS_KEPT, 5)


def test_when_the_call_is_over_they_move_to_the_history_once(traces, real_connections):
    says(traces, {"type": "first"})
    assert len(kept(traces)) == 1
    traces.keep("CA1")
    traces.keep("CA1")
    assert not real_connections.text.exists(keys.trace("CA1"))
    says(traces, {"type": "second"})
    assert [each["kind"] for each in kept(traces)] == ["first", "second"]
    traces.keep("CA1")
    assert [each["kind"] for each in traces.read("CA1")] == ["first", "second"]


def test_who_speaks_is_known_until_somebody_else_does(real_connections):
    speaking = Speaking(real_connections.text)

    def now() -> dict[str, str]:
        assert speaking._rounds.settle(WITHIN_S)
        return Speaking(real_connections.text).of(["CA1", "CA2"])

    speaking.begins("CA1", "caller")
    assert now() == {"CA1": "caller"}
    speaking.begins("CA1", "agent")
    speaking.ends("CA1", "caller")  # his words come after the answer
    assert now() == {"CA1": "agent"}
    speaking.ends("CA1")
    assert now() == {}
    assert not real_connections.text.exists(keys.speaks("CA1")), "nothing is left of a call that is over"


def test_some_of_it_may_be_read(traces):
    for number in range(5):
        says(traces, {"type": f"kind{number}"})
    assert traces.settle(WITHIN_S)
    assert [each["kind"] for each in traces.read("CA1", 1, 2)] == ["kind1", "kind2"]


def test_numbers_are_hidden_in_words_that_look_like_a_name(real_connections, history):
    traces = Traces(real_connections.text, history, masked_field, hides_digits=True)
    says(
        traces,
        {"type": "done", "item_id": "item_4711", "transcript": "Four-one-one-one.", "text": "PIN:4711"},
    )
    assert kept(traces)[0]["detail"] == {"item_id": "item_4711", "transcript": "•-•-•-•.", "text": "PIN:••••"}


def test_what_was_too_much_to_be_kept_is_counted_in_the_log(real_connections, history, monkeypatch, caplog):
    monkeypatch.setattr(traces_module, "WAITING", 3)
    traces = Traces(real_connections.text, history)
    for number in range(5):
        says(traces, {"type": "session.updated", "number": number})
    assert traces.settle(60)
    assert "2 messages were not kept" in caplog.text
