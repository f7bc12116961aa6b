"""What calls cost: nothing is paid twice, nothing is forgotten, and wrong prices are named."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaskapp.phone.cost import FREE, KINDS, LIST_PRICES, NAMES, Prices, read_prices

M = 1_000_000
LIST = Prices()


def cost(**usage: float) -> float:
    return LIST.cost_usd(usage)


def test_each_kind_of_token_has_its_price():
    assert cost(input_text_tokens=M) == 4
    assert cost(input_audio_tokens=M) == 32
    assert cost(output_text_tokens=M) == 24
    assert cost(output_audio_tokens=M) == 64
    assert cost(chat_input_tokens=M) == 0.1
    assert cost(chat_output_tokens=M) == 0.5


def test_a_response_as_the_engine_counts_it_is_paid_once():
    usage = {
        "total_tokens": 253,
        "input_tokens": 132,
        "input_text_tokens": 119,
        "input_audio_tokens": 13,
        "input_image_tokens": 0,
        "input_cached_tokens": 64,
        "input_cached_text_tokens": 64,
        "input_cached_audio_tokens": 0,
        "output_tokens": 121,
        "output_text_tokens": 30,
        "output_audio_tokens": 91,
    }
    expected = (119 - 64) * 4 + 64 * 0.4 + 13 * 32 + 30 * 24 + 91 * 64
    assert LIST.cost_usd(usage) == pytest.approx(expected / M)


def test_what_was_known_already_is_part_of_what_went_in():
    assert cost(input_audio_tokens=M, input_cached_audio_tokens=M) == pytest.approx(0.4)
    assert cost(chat_input_tokens=M, chat_input_cached_tokens=M // 2) == pytest.approx(0.05 + 0.005)


def test_where_only_the_sum_of_it_is_told_it_is_taken_for_text_first():
    """The dearer guess: a limit must not come too late."""
    usage = {"input_text_tokens": 100, "input_audio_tokens": 100, "input_cached_tokens": 150}
    assert LIST.cost_usd(usage) == pytest.approx((100 * 0.4 + 50 * 0.4 + 50 * 32) / M)


def test_a_sum_without_parts_is_taken_for_sound():
    assert cost(input_tokens=M, output_tokens=M, total_tokens=2 * M) == 96


def test_what_a_sum_has_beyond_its_parts_is_text():
    assert cost(output_tokens=M, output_audio_tokens=M // 2) == pytest.approx(32 + 12)


def test_a_transcription_is_paid_by_the_second_or_by_the_token():
    assert cost(transcription_seconds=60) == pytest.approx(0.0045)
    by_token = {
        "transcription_input_tokens": M,
        "transcription_input_audio_tokens": M,
        "transcription_output_tokens": M,
        "transcription_total_tokens": 2 * M,
    }
    assert LIST.cost_usd(by_token) == 16


def test_a_count_without_a_price_costs_what_its_sum_does():
    assert cost(chat_input_tokens=M, chat_input_audio_tokens=M) == pytest.approx(0.1)


def test_unknown_names_and_impossible_counts_cost_nothing():
    assert cost(pages=M, total_tokens=M, input_frames=M) == 0
    assert LIST.cost_usd({}) == 0
    for wrong in (-5, math.nan, math.inf, True, "many", None):
        assert LIST.cost_usd({"input_audio_tokens": wrong}) == 0  # type: ignore[dict-item]


def test_where_nothing_is_charged_nothing_costs_anything():
    assert FREE.cost_usd(dict.fromkeys(NAMES, 1e9)) == 0


def is_split(usage, source, way):
    """Whether it is known of what a sum consists; until then all of it is priced as sound, the dearest."""
    return any(usage.get(f"{source}{way}_{kind}_tokens") for kind in KINDS)


@given(st.dictionaries(st.sampled_from(sorted(NAMES)), st.integers(0, 10**9)))
def test_more_of_anything_but_of_what_was_known_never_costs_less(usage):
    before = LIST.cost_usd(usage)
    assert before >= 0
    for name in usage:
        source = next((each for each in ("transcription_", "chat_") if name.startswith(each)), "")
        way = name.removeprefix(source).partition("_")[0]
        tells_what_it_is = usage.get(f"{source}{way}_tokens") and not is_split(usage, source, way)
        if "cached" not in name and name not in ("input_tokens", "output_tokens") and not tells_what_it_is:
            more = {**usage, name: usage[name] + 1000}
            sums = {
                f"{source}{way}_tokens": more.get(f"{source}{way}_tokens", 0) + 1000
                for source in ("", "transcription_", "chat_")
                for way in ("input", "output")
                if name.startswith(f"{source}{way}_")
            }
            assert LIST.cost_usd({**more, **sums}) >= before - 1e-9


@given(st.dictionaries(st.sampled_from(sorted(NAMES)), st.integers(0, 10**6)))
def test_a_usage_costs_at_most_its_tokens_at_the_dearest_price(usage):
    seconds = sum(count for name, count in usage.items() if name.endswith("seconds"))
    tokens = sum(count for name, count in usage.items() if not name.endswith("seconds"))
    assert LIST.cost_usd(usage) <= (tokens * max(LIST_PRICES.values()) + seconds * 75) / M + 1e-9


# ---------------------------------------------------------------------- the setting


def test_own_prices_come_over_the_list():
    own = read_prices("input_audio_tokens=10, output_audio_tokens = 20.5 ,")
    assert own.cost_usd({"input_audio_tokens": M, "output_audio_tokens": M}) == 30.5
    assert own.cost_usd({"input_text_tokens": M}) == 4
    assert read_prices("") == LIST


def test_own_prices_over_nothing_are_the_only_ones():
    own = read_prices("output_audio_tokens=1", FREE.per_million)
    assert own.cost_usd(dict.fromkeys(NAMES, M)) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("audio=3", ["no count is called audio"]),
        ("audio=3, speech=4", ["called audio", "called speech"]),
        ("input_audio_tokens", ["input_audio_tokens needs a number"]),
        ("input_audio_tokens=cheap", ["input_audio_tokens needs a number"]),
        ("input_audio_tokens=-1", ["input_audio_tokens needs a number from 0 to 1,000,000"]),
        ("input_audio_tokens=1000000.1", ["input_audio_tokens needs a number from 0 to 1,000,000"]),
        ("input_audio_tokens=nan, seconds=inf", ["input_audio_tokens needs", "seconds needs"]),
        ("input_audio_tokens=1, input_audio_tokens=2", ["input_audio_tokens is there twice"]),
        ("3", ["there is no name=price"]),
    ],
)
def test_wrong_prices_are_all_named(text, says):
    with pytest.raises(ValueError, match="US dollars per million") as raised:
        read_prices(text)
    for each in says:
        assert each in str(raised.value)
