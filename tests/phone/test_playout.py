"""What the caller has heard, by the clock and by marks: exact times without a clock."""

from __future__ import annotations

from flaskapp.phone.playout import MAX_LAG_S, Heard, Playout


def test_audio_on_an_idle_line_is_heard_from_the_moment_it_is_sent():
    playout = Playout()
    playout.sent("a1", 0, 1000, now=10.0)
    assert playout.heard("a1", 10.0) == Heard("a1", 0, 0, 1000)
    assert playout.heard("a1", 10.25).heard_ms == 250
    assert playout.heard("a1", 11.0).heard_ms == 1000


def test_audio_sent_faster_than_speech_is_heard_at_the_pace_of_speech():
    playout = Playout()
    for _ in range(10):
        playout.sent("a1", 0, 1000, now=10.0)
    assert playout.heard("a1", 13.5) == Heard("a1", 0, 3500, 10_000)


def test_never_more_is_heard_than_was_received():
    playout = Playout()
    playout.sent("a1", 0, 1000, now=10.0)
    assert playout.heard("a1", 99.0) == Heard("a1", 0, 1000, 1000)


def test_a_gap_in_the_audio_is_silence_not_speech():
    playout = Playout()
    playout.sent("a1", 0, 1000, now=10.0)
    playout.sent("a1", 0, 1000, now=15.0)
    assert playout.heard("a1", 14.0).heard_ms == 1000
    assert playout.heard("a1", 15.5).heard_ms == 1500


def test_a_second_item_is_heard_behind_the_first():
    playout = Playout()
    playout.sent("a1", 0, 1000, now=10.0)
    playout.sent("a2", 0, 1000, now=10.25)
    assert playout.heard("a2", 11.0).heard_ms == 0
    assert playout.heard("a2", 11.5).heard_ms == 500


def test_an_item_that_nobody_sent_was_not_heard():
    assert Playout().heard("a1", 10.0) == Heard("a1", 0, 0, 0)


def test_a_late_mark_tells_how_far_the_line_lags():
    playout = Playout()
    playout.sent("a1", 0, 1000, now=10.0)
    name = playout.mark()
    playout.sent("a1", 0, 4000, now=10.0)
    playout.mark_reached(name, now=11.25)
    assert playout.heard("a1", 11.25).heard_ms == 1000
    assert playout.heard("a1", 13.25).heard_ms == 3000


def test_an_early_mark_makes_nothing_heard_before_its_time():
    playout = Playout()
    playout.sent("a1", 0, 1000, now=10.0)
    playout.mark_reached(playout.mark(), now=10.25)
    assert playout.heard("a1", 10.25).heard_ms == 250


def test_a_line_catches_up_when_a_later_mark_says_so():
    playout = Playout()
    playout.sent("a1", 0, 1000, now=10.0)
    first = playout.mark()
    playout.sent("a1", 0, 1000, now=10.0)
    second = playout.mark()
    playout.mark_reached(first, now=11.5)
    playout.mark_reached(second, now=12.0)
    assert playout.lag == 0.0


def test_one_strange_mark_does_not_ruin_the_account():
    playout = Playout()
    playout.sent("a1", 0, 1000, now=10.0)
    playout.mark_reached(playout.mark(), now=300.0)
    assert playout.lag == MAX_LAG_S


def test_unknown_marks_and_marks_returned_twice_say_nothing():
    playout = Playout()
    playout.sent("a1", 0, 1000, now=10.0)
    name = playout.mark()
    playout.mark_reached(name, now=11.0)
    playout.mark_reached(name, now=15.0)
    playout.mark_reached("somebody-elses", now=15.0)
    assert playout.lag == 0.0


def test_clear_names_what_it_cut_in_playing_order():
    playout = Playout()
    for item in ("a1", "a2", "a3"):
        playout.sent(item, 0, 1000, now=10.0)
    assert playout.clear(11.5) == [Heard("a2", 0, 500, 1000), Heard("a3", 0, 0, 1000)]


def test_after_a_clear_the_line_is_silent_and_its_marks_mean_nothing():
    playout = Playout()
    playout.sent("a1", 0, 1000, now=10.0)
    name = playout.mark()
    playout.sent("a1", 0, 9000, now=10.0)
    playout.clear(10.5)
    playout.mark_reached(name, now=12.0)
    assert (playout.lag, playout.is_playing(12.0), playout.remaining_s(12.0)) == (0.0, False, 0.0)


def test_after_a_clear_a_lagging_line_is_silent_too():
    playout = Playout(lag=0.5)
    playout.sent("a1", 0, 9000, now=10.0)
    playout.clear(11.0)
    assert (playout.is_playing(11.0), playout.is_playing(11.25)) == (False, False)


def test_audio_after_a_clear_starts_at_once():
    playout = Playout()
    playout.sent("a1", 0, 9000, now=10.0)
    playout.clear(11.0)
    playout.sent("a2", 0, 1000, now=11.25)
    assert playout.heard("a2", 11.5).heard_ms == 250


def test_the_line_is_busy_until_the_last_mark_is_back():
    playout = Playout()
    playout.sent("a1", 0, 1000, now=10.0)
    name = playout.mark()
    assert playout.is_playing(11.5)
    playout.mark_reached(name, now=11.5)
    assert not playout.is_playing(11.5)


def test_an_item_of_many_short_spans_is_counted_whole():
    """An engine slower than speech leaves a gap after every slice; no beginning is lost."""
    playout = Playout()
    for number in range(40):
        playout.sent("a1", 0, 100, now=10.0 + number * 0.5)
    playout.sent("a1", 0, 1000, now=30.0)
    assert playout.heard("a1", 30.25) == Heard("a1", 0, 4250, 5000)


def test_an_item_with_long_silences_in_it_is_counted_whole():
    playout = Playout()
    for number in range(20):
        playout.sent("a1", 0, 100, now=10.0 + number * 5)
    assert playout.heard("a1", 200.0) == Heard("a1", 0, 2000, 2000)


def test_items_long_played_are_forgotten():
    playout = Playout()
    for number in range(1000):
        playout.sent(f"a{number}", 0, 100, now=10.0 + number)
    assert len(playout.spans) <= 20


def test_an_item_partly_played_is_not_forgotten_in_part():
    playout = Playout()
    for number in range(20):
        playout.sent("a1", 0, 100, now=10.0 + number * 0.5)
    playout.sent("a1", 0, 4000, now=21.0)
    playout.sent("a2", 0, 1000, now=26.0)
    assert playout.heard("a1", 26.0) == Heard("a1", 0, 6000, 6000)
