"""What the bench makes of its counts: ratios of turns side by side, the highest number, verdicts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "bench"))

from curves import points
from publish import publish
from rows import fault, load_is_the_limit, rows
from search import highest
from targets import targets


def window(name, turns_us, *, calls=10, order=1, **other):
    """What the load generator counts of a subject that loses nothing."""
    waits = {f"wait_{each}_ms": 1.0 for each in ("p50", "p95", "p99", "max")}
    counts = dict.fromkeys(("lost", "doubled", "reordered", "foreign", "ended"), 0)
    clocks = {"wall_s": 4.0, "cpu_s": 1.0, "held_up_s": 0.0, "load_cpu_s": 1.0, "load_held_up_s": 0.0}
    facts = {"name": name, "floor": "floor", "calls": calls, "order": order, "is_paced": False}
    memory = {"rss_mb": 100.0, "idle_mb": 90.0, "unit_us": 80.0}
    found = {"sent": 200, "turns_us": turns_us, "lag_p99_ms": 0.1, "opened_p99_ms": 5.0}
    return waits | counts | clocks | facts | memory | found | other


def row_of(windows, name):
    return next(row for row in rows(windows) if row["name"] == name)


def test_a_ratio_is_the_median_over_turns_that_stood_side_by_side():
    windows = [window("product", [20.0, 60.0, 22.0]), window("floor", [10.0, 30.0, 20.0])]
    assert row_of(windows, "product")["of_floor"]["median"] == pytest.approx(2.0)


def test_turns_of_different_orders_are_never_compared():
    windows = [window("product", [20.0], order=1), window("floor", [10.0], order=2)]
    assert "of_floor" not in row_of(windows, "product")


def test_cost_is_told_per_call_minute():
    assert row_of([window("product", [20.0])], "product")["cpu_s_per_call_minute"] == pytest.approx(0.06)


def test_what_its_redis_takes_is_told_apart_and_in_no_ratio():
    beside = window("product", [20.0, 20.0], beside_s=0.5, pairs=100_000)
    row = row_of([beside, window("floor", [10.0, 10.0], beside_s=0.0, pairs=100_000)], "product")
    assert row["redis_s_per_call_minute"] == pytest.approx(0.5 / 100_000 * 3000)
    assert row["cpu_s_per_call_minute"] == pytest.approx(0.06)
    assert row["of_floor"]["median"] == pytest.approx(2.0)
    assert "redis_s_per_call_minute" not in row_of([window("floor", [10.0], beside_s=0.0)], "floor")


def test_what_the_load_itself_takes_is_not_added():
    windows = [window("product", [20.0], wait_p99_ms=5.0), window("load alone", [9.0], wait_p99_ms=2.0)]
    assert row_of(windows, "product")["added_p99_ms"] == pytest.approx(3.0)


def test_memory_of_a_call_leaves_out_what_the_first_one_loads():
    windows = [window("product", [20.0]), window("product", [20.0], calls=110, order=2, rss_mb=110.0)]
    assert rows(windows)[1]["kb_per_call"] == pytest.approx(10 * 1024 / 100)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"lost": 2}, "2 lost"),
        ({"doubled": 1, "reordered": 3}, "1 doubled, 3 reordered"),
        ({"cpu_s": 3.9}, "its core is full"),
        ({"error": "nobody answers"}, "failed: nobody answers"),
        ({"turns_us": [-3000.0]}, "failed: its process ended"),
        ({}, ""),
    ],
)
def test_a_subject_at_its_end_is_left_out_above(what, said):
    assert fault(row_of([window("product", **{"turns_us": [20.0]} | what)], "product")) == said


@pytest.mark.parametrize("what", [{"lag_p99_ms": 6.0}, {"load_cpu_s": 3.8}])
def test_the_load_generator_says_when_it_is_the_limit(what):
    assert load_is_the_limit(row_of([window("product", [20.0], **what)], "product"))
    assert not load_is_the_limit(row_of([window("product", [20.0])], "product"))


@pytest.mark.parametrize("limit", [1, 7, 63, 640, 999])
def test_the_highest_number_is_found_to_a_tenth(limit):
    found = highest(lambda number: number <= limit, 50, 1000, lambda: True)
    assert found.passed <= limit < found.failed
    assert found.failed - found.passed <= max(found.passed * 0.1, 1)


def test_nothing_is_tried_above_the_most():
    tried = []
    assert highest(lambda number: not tried.append(number), 300, 1000, lambda: True).passed == 1000
    assert max(tried) == 1000


def test_a_search_without_time_says_what_is_known():
    tried = []
    found = highest(lambda number: not tried.append(number), 50, 1000, lambda: len(tried) < 2)
    assert (found.passed, found.failed) == (100, 0)


def echo_of(*windows):
    return {"echo": {"rows": rows(windows)}}


def verdicts(results):
    return {each.what: each.is_met for each in targets(results, {})}


def test_a_target_is_met_or_missed_by_the_ratio_of_the_run():
    met = verdicts(echo_of(window("product", [11.0]), window("floor", [10.0])))
    missed = verdicts(echo_of(window("product", [13.0]), window("floor", [10.0])))
    what = "product, 10 calls: CPU of its floor's"
    assert (met[what], missed[what]) == (True, False)


def test_a_lost_frame_misses_its_target():
    found = verdicts(echo_of(window("product", [11.0], lost=1), window("floor", [10.0])))
    assert found["nothing lost, doubled, out of order"] is False


def test_what_failed_is_not_called_met():
    found = verdicts(echo_of(window("product", [], error="nobody answers"), window("floor", [10.0])))
    assert found["product, 10 calls: CPU of its floor's"] is None
    assert found["nothing lost, doubled, out of order"] is False


def test_fewer_calls_than_promised_are_excused_by_the_load_generator_alone():
    searched = {"calls": 480, "row": None, "is_loads_limit": False}
    what = "calls on one core, p99 below 20 ms added"
    assert verdicts({"highest": {"product": searched}})[what] is False
    assert verdicts({"highest": {"product": {**searched, "is_loads_limit": True}}})[what] is True


def test_curves_rise_with_the_calls_and_leave_out_the_load():
    found = echo_of(
        window("product", [9.0], calls=50), window("product", [9.0], calls=5), window("load alone", [1.0])
    )
    found["highest"] = {"product": {"row": {**found["echo"]["rows"][0], "calls": 640}}}
    assert [calls for calls, _ in points(found, "cpu_s_per_call_minute")["product"]] == [5, 50, 640]
    assert list(points(found, "cpu_s_per_call_minute")) == ["product"]


def delayed(alone_ms, beside_ms):
    turns = [{"wait_p50_ms": 0.5, "wait_p99_ms": 1.0, "wait_max_ms": each} for each in (alone_ms, beside_ms)]
    return {"viewer": {"what": "readers join", "calls": 50, "without": turns[0], "with": turns[1]}}


@pytest.mark.parametrize(
    ("alone_ms", "beside_ms", "is_met"),
    [(5.0, 20.0, True), (5.0, 21.0, False), (40.0, 50.0, None), (40.0, 9.0, True)],
)
def test_a_delay_is_blamed_on_what_happens_only_where_it_is_not_there_without(alone_ms, beside_ms, is_met):
    found = verdicts(delayed(alone_ms, beside_ms))
    assert found == {"longest delay of a frame while readers join": is_met}


def test_a_run_is_published_between_its_marks_again_and_again(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- bench: begin -->\nold\n<!-- bench: end -->\nafter\n")
    product = window("product", [20.0], beside_s=0.5, pairs=100_000)
    run = echo_of(product, window("floor", [10.0]), window("load alone", [5.0]))
    run |= {"settings": {"calls": [10]}, "date": "2026-01-02", "machine": "a machine", "python": "3.11"}
    run["highest"] = {"product": {"calls": 640, "is_capped": False, "is_loads_limit": True}}
    for _ in range(2):
        publish(run, page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("<!-- bench: end -->\nafter\n")
    (line,) = [line for line in text.splitlines() if line.startswith("| product ")]
    assert "0.060 (2.00)" in line
    assert "+ 0.015" in line
    assert "640 or more" in line
    assert "old" not in text


def test_a_page_without_a_place_is_left_as_it_is(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("nothing\n")
    with pytest.raises(ValueError, match="no place"):
        publish({}, page)
    assert page.read_text() == "nothing\n"
