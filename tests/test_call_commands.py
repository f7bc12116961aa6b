"""``flask phone calls`` and ``flask phone show``: the history on the terminal."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from flaskapp import create_app
from flaskapp.store.history import CallOpened
from tests.api_calls import conversation, line, open_calls


@pytest.fixture
def phone(app):
    def run(*arguments: str):
        return app.test_cli_runner().invoke(args=["phone", *arguments])

    return run


@pytest.fixture
def history(app):
    return app.extensions["history"]


def test_calls_are_listed_the_newest_first_with_whole_numbers(phone, history):
    open_calls(history, 3)
    done = phone("calls", "--limit", "2")
    assert done.exit_code == 0
    head, first, second = done.output.splitlines()
    assert head.split()[0] == "call"
    assert (first.split()[0], second.split()[0]) == ("CA002", "CA001")
    assert "+15551230001" in first


def test_calls_are_found_by_what_is_known_of_them(phone, history):
    open_calls(history, 4)

    def listed(*arguments):
        return [each["call_sid"] for each in json.loads(phone("calls", "--json", *arguments).output)]

    assert listed("--carrier", "exotel") == ["CA003", "CA001"]
    assert listed("--after", "CA002") == ["CA001", "CA000"]
    assert listed("--since", "2026-11-20T12:02:00+00:00") == ["CA003", "CA002"]
    assert listed("--outcome", "message") == []


def test_without_calls_that_is_what_is_said(phone):
    assert phone("calls").output == "There has been no call yet.\n"
    assert phone("calls", "--carrier", "exotel").output == "No such calls.\n"


@pytest.mark.parametrize(
    "arguments",
    [
        *(("--since", "yesterday"), ("--status", "asleep"), ("--after", "CA404"), ("--limit", "0")),
        *(("--carrier", "fax"), ("--outcome", "nonsense")),
    ],
)
def test_a_question_that_makes_no_sense_ends_with_2(phone, arguments):
    done = phone("calls", *arguments)
    assert done.exit_code == 2
    assert arguments[0] in done.stderr


def test_a_carrier_of_ones_own_is_known_by_its_calls(phone, history):
    history.write([CallOpened("CA1", "tincan", "+1", "+2", "live", datetime.now(UTC))])
    assert "CA1" in phone("calls", "--carrier", "tincan").output
    later = phone("calls", "--carrier", "tincan", "--since", "2999-01-01")
    assert (later.exit_code, later.output) == (0, "No such calls.\n")


def test_what_the_stand_in_answered_is_not_said_to_be_a_models(phone, history):
    open_calls(history, 1, engine="local", model="gpt-realtime", cost_usd=0.0)
    shown = phone("show", "CA000").output
    assert "engine    local stand-in\n" in shown
    assert "cost      nothing\n" in shown


def test_one_call_is_told_from_its_beginning_to_what_is_to_be_done(phone, history):
    conversation(history)
    done = phone("show", "CA1")
    assert done.exit_code == 0
    for part in (
        "Call CA1",
        "from      +15551230001",
        "0:00.0  agent: Hello, how can I help you?",
        "0:01.5  the agent asked opening_hours",
        "0:01.5  opening_hours answered after 40 ms",
        "0:02.6  fault: the AI engine's connection broke off",
        "0:05.0  was recorded, 2.5 s: waiting",
        "The caller left a message.",
        "median 304 ms, p90 906 ms",
        "engine_lost: The AI engine's connection broke off (2 times).",
        "recording_waiting: A recording waits for AI.",
        "-> see how the engine does: flask phone doctor",
    ):
        assert part in done.output, part


def test_the_same_as_json(phone, history):
    conversation(history)
    told = json.loads(phone("show", "CA1", "--json").output)
    assert (told["call_sid"], told["ended"]) == ("CA1", "The caller left a message.")
    assert {finding["kind"] for finding in told["findings"]} == {"engine_lost", "recording_waiting"}
    assert told["figures"]["median_ms"] == 304
    assert told["story"][0] == {"at_ms": 0, "what": "twilio brought the call (both)"}


def test_a_call_that_went_well_has_nothing_that_failed(phone, history):
    open_calls(history, 1, ended_reason="goodbye")
    assert "What failed\n  Nothing." in phone("show", "CA000").output


def test_a_callers_words_do_not_command_the_terminal(phone, history):
    open_calls(history, 1)
    history.write([line("CA000", 0, "caller", "\x1b[2J\x9b31mred [bold]text[/bold]")])
    shown = phone("show", "CA000").output
    assert "\x1b" not in shown
    assert "\x9b" not in shown
    assert "[bold]text[/bold]" in shown


def test_a_call_that_there_is_not_is_said_to_be_so(phone):
    done = phone("show", "CA404")
    assert (done.exit_code, "flask phone calls" in done.stderr) == (1, True)


@pytest.mark.parametrize("command", [("calls",), ("show", "CA1")])
def test_a_history_without_tables_is_a_line_with_a_remedy(config, tmp_path, command):
    app = create_app({**config, "DATABASE_URL": f"sqlite:///{tmp_path}/empty.sqlite3"})
    done = app.test_cli_runner().invoke(args=["phone", *command])
    assert done.exit_code == 1
    assert "flask db upgrade" in done.stderr
    assert len(done.stderr.splitlines()) == 1
