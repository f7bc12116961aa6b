"""Exotel's rules for what it is sent, and its spellings: neither clock nor socket."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from flaskapp.simulator.exotel import address, messages
from flaskapp.simulator.exotel.messages import Received, Unreadable, Writing
from flaskapp.simulator.exotel.rules import Rules

CHUNK = bytes(3200)


def text(event: str = "media", **more: Any) -> str:
    body = {"chunk": 1, "timestamp": "0", "payload": base64.b64encode(CHUNK).decode()}
    return json.dumps({"event": event, "stream_sid": "s", "sequence_number": 1, "media": body, **more})


def media(number: int = 1, before: int = 0, **more: Any) -> Received:
    """The n-th message of a stream at 16 kHz, of which so many chunks went before."""
    right = {"audio": CHUNK, "sequence": number, "chunk": before + 1, "timestamp_ms": before * 100}
    return Received("media", **{**right, **more})


def kinds(rules: Rules, *received: Received) -> list[str]:
    return [flaw.kind for each in received for flaw in rules.check(each)]


def test_what_obeys_every_rule_is_not_complained_of():
    mark = Received("mark", name="a", sequence=3)
    assert kinds(Rules(16000), media(1), media(2, 1), mark, media(4, 2)) == []


@pytest.mark.parametrize("size", [0, 320, 3199, 3201, 3360 + 2, 100_320])
def test_a_chunk_of_a_wrong_size_is_found(size: int):
    assert kinds(Rules(16000), media(audio=bytes(size))) == ["size"]


@pytest.mark.parametrize("size", [3200, 3520, 99_840])
def test_multiples_of_320_between_the_limits_are_right(size: int):
    assert kinds(Rules(16000), media(audio=bytes(size))) == []


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        ({"sequence": 3}, "sequence"),
        ({"sequence": 1}, "sequence"),
        ({"sequence": None}, "sequence"),
        ({"flaws": ("sequence_number",)}, "sequence"),
        ({"chunk": 3}, "chunk"),
        ({"chunk": None}, "chunk"),
        ({"timestamp_ms": 0}, "timestamp"),
        ({"timestamp_ms": 98}, "timestamp"),
        ({"timestamp_ms": None}, "timestamp"),
    ],
)
def test_each_number_must_be_the_next_one(wrong: dict[str, Any], kind: str):
    assert kinds(Rules(16000), media(1), media(2, 1, **wrong)) == [kind]


def test_after_a_wrong_number_only_that_one_is_complained_of():
    rules = Rules(16000)
    assert kinds(rules, media(1), media(7, 1, chunk=5), media(8, 2, chunk=6)) == ["sequence", "chunk"]


def test_a_message_without_numbers_has_the_next_ones():
    nameless = media(2, 1, sequence=None, chunk=None)
    assert kinds(Rules(16000), media(1), nameless, media(3, 2)) == ["sequence", "chunk"]


def test_timestamps_of_a_third_of_a_millisecond_may_be_rounded_either_way():
    rules = Rules(24000)
    assert kinds(rules, media(1), media(2, 1, timestamp_ms=66), media(3, 2, timestamp_ms=134)) == []


def test_audio_that_comes_too_early_is_found_and_the_farthest_is_told():
    rules = Rules(16000)
    assert rules.came(3200, now=10.0, ends_at=10.30) == []
    assert rules.came(3200, now=10.0, ends_at=10.36) == []
    (flaw,) = rules.came(3200, now=10.0, ends_at=10.37)
    assert flaw.kind == "ahead"
    assert rules.ahead_s == pytest.approx(0.37)


def test_a_network_that_looked_late_itself_blames_nobody():
    rules = Rules(16000)
    assert rules.came(3200, now=10.0, ends_at=10.5, allowance_s=0.2) == []
    assert rules.ahead_s == pytest.approx(0.3)


def test_what_goes_on_sounding_after_a_clear_does_not_count_as_ahead():
    rules = Rules(8000)
    rules.came(3200, now=10.0, ends_at=10.2)
    rules.cleared(kept_until=10.2)
    assert rules.came(3200, now=10.0, ends_at=10.4) == []
    assert rules.came(3200, now=10.0, ends_at=10.8) != []


def test_a_gap_inside_a_reply_is_an_underrun_and_a_pause_is_none():
    rules = Rules(16000)
    rules.came(3200, now=10.0, ends_at=10.1)
    rules.came(3200, now=10.105, ends_at=10.205)  # nobody hears 5 ms
    assert rules.underruns == 0
    rules.came(3200, now=10.305, ends_at=10.405)
    assert (rules.underruns, round(rules.underrun_s, 3)) == (1, 0.1)
    rules.came(3200, now=12.0, ends_at=12.1)  # the next reply
    rules.cleared(kept_until=12.05)
    rules.came(3200, now=12.2, ends_at=12.3)
    assert rules.underruns == 1


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x00", "binary"),
        ("not json", "json"),
        ("[" * 100_000, "json"),
        ("[]", "event"),
        ('"media"', "event"),
        (text("speak"), "event"),
        (json.dumps({"event": ["media"]}), "event"),
        (text(stream_sid="other"), "stream"),
        (text(streamSid="other"), "stream"),
        (json.dumps({"event": "clear"}), "stream"),
        (text(media={"chunk": 1}), "payload"),
        (text(media={"payload": "a!"}), "payload"),
        (text(media=[]), "payload"),
        (text(media={"payload": base64.b64encode(b"RIFF" + CHUNK).decode()}), "payload"),
        (text("mark", mark={}), "name"),
    ],
)
def test_what_cannot_be_read_breaks_a_rule_of_its_own(data: str | bytes, kind: str):
    with pytest.raises(Unreadable) as caught:
        messages.read(data, "s")
    assert caught.value.kind == kind


def test_either_spelling_is_read_and_both_if_they_agree():
    camel = {"streamSid": "s", "sequenceNumber": "1"}
    assert messages.read(text(), "s") == messages.read(text(**camel), "s")
    only_camel = json.loads(text(**camel))
    del only_camel["stream_sid"], only_camel["sequence_number"]
    assert messages.read(json.dumps(only_camel), "s").sequence == 1
    assert messages.read(text(sequenceNumber=2), "s").flaws


@pytest.mark.parametrize("odd", [True, 1.0, "1.0", "-1", "", None, "²"])
def test_a_number_is_an_int_or_decimal_text(odd: Any):
    assert messages.read(text(sequence_number=odd), "s").sequence is None


def test_snake_case_is_written_as_the_pages_show_it():
    writing = Writing("snake")
    about = {"from": "1", "to": "2", "custom_parameters": {"my_key": "v"}}
    start = json.loads(writing.start("a", "c", "s", 16000, about))
    assert (start["sequence_number"], start["stream_sid"]) == (1, "s")
    layout = {"encoding": "base64", "sample_rate": "16000", "bit_rate": "256kbps"}
    ids = {"stream_sid": "s", "call_sid": "c", "account_sid": "a"}
    assert start["start"] == {**ids, **about, "media_format": layout}
    media = json.loads(writing.media("s", 3, 2, 100, b"\0\0"))
    assert media == {
        **{"event": "media", "sequence_number": 3, "stream_sid": "s"},
        "media": {"chunk": 2, "timestamp": "100", "payload": "AAA="},
    }
    stop = json.loads(writing.stop("a", "c", "s", 11, "callended"))
    assert stop["stop"] == {"call_sid": "c", "account_sid": "a", "reason": "callended"}


def test_camel_case_renames_our_fields_and_not_the_callers_own():
    writing = Writing("camel")
    start = json.loads(writing.start("a", "c", "s", 8000, {"custom_parameters": {"my_key": "v"}}))
    assert (start["sequenceNumber"], start["streamSid"]) == ("1", "s")
    assert start["start"]["customParameters"] == {"my_key": "v"}
    assert start["start"]["mediaFormat"]["sampleRate"] == "8000"
    assert "_" not in writing.media("s", 3, 2, 100, b"\0\0")


def test_all_numbers_may_be_text_or_ints():
    as_ints, as_text = Writing("camel", "int"), Writing("snake", "text")
    assert json.loads(as_ints.media("s", 3, 2, 100, b""))["media"]["timestamp"] == 100
    assert json.loads(as_ints.dtmf("s", 3, "5"))["dtmf"]["duration"] == 120
    assert json.loads(as_text.media("s", 3, 2, 100, b""))["media"]["chunk"] == "2"
    assert json.loads(as_text.start("a", "c", "s", 8000, {}))["sequence_number"] == "1"


def test_credentials_leave_the_url_and_become_a_header():
    to = address.read("wss://k%40y:t%3Aoken@bot.example/exotel?a=b&sample-rate=16000", "not", "these")
    assert to.url == "wss://bot.example/exotel?a=b&sample-rate=16000"
    assert base64.b64decode(to.authorization.removeprefix("Basic ")) == b"k@y:t:oken"
    assert (to.rate_hz, to.parameters) == (16000, {"a": "b"})
    assert address.read("ws://bot.example/", "", "").headers == {}


def test_an_origin_means_its_exotel_path_and_what_a_url_says_already_stays():
    assert address.applet("http://h:1", 16000, {"a": "b"}) == "ws://h:1/exotel?a=b&sample-rate=16000"
    assert address.applet("https://h", 8000, {}) == "wss://h/exotel"
    given = "wss://h/exotel?sample-rate=24000"
    assert address.applet(given, 16000, {}) == given
    assert address.applet("http://h/stream-url", 24000, {}) == "http://h/stream-url?sample-rate=24000"


@pytest.mark.parametrize("rate", ["44100", "8000.0", "", "x"])
def test_a_rate_that_exotel_does_not_know_is_none(rate: str):
    assert address.read(f"ws://h/?sample-rate={rate}").rate_hz is None


def test_more_than_three_parameters_or_256_characters_are_too_many():
    assert not address.read("ws://h/?a=1&b=2&c=3&sample-rate=8000").is_too_long
    assert address.read("ws://h/?a=1&b=2&c=3&d=4").is_too_long
    assert address.read("ws://h/?a=" + "x" * 256).is_too_long
