"""A call's post-mortem: what happened, why it ended, what failed, what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flaskapp.phone.ailments import AILMENTS, RECORDINGS
from flaskapp.phone.post_mortem import Remains, ended, examine
from flaskapp.phone.reasons import FAILURES

PROJECT = Path(__file__).resolve().parents[2]

CALL: dict[str, Any] = {
    "call_sid": "CA1",
    "carrier": "twilio",
    "mode": "live",
    "ended_reason": "goodbye",
    "ended_at": object(),
}
GOES_ON = {**CALL, "ended_reason": None, "ended_at": None}


def turn(at_ms: int, speaker: str, text: str, **of_it: Any) -> dict[str, Any]:
    told = {"mode": "live", "interrupted": False, "is_final": True}
    measured = dict.fromkeys(("engine_ms", "bridge_ms", "heard_ms", "noticed_ms", "words_ms"))
    place = {"item": f"item_{at_ms}", "position": at_ms, "start_ms": at_ms, "end_ms": at_ms + 400}
    return {**place, "speaker": speaker, "text": text, **told, **measured, **of_it}


def event(at_ms: int, kind: str, **detail: Any) -> dict[str, Any]:
    return {"at_ms": at_ms, "kind": kind, "detail": detail}


def recording(status: str, at_ms: int | None = 9000) -> dict[str, Any]:
    return {"status": status, "at_ms": at_ms, "duration_ms": 2500}


REMAINS = Remains(
    CALL,
    [turn(0, "agent", "Hello."), turn(1000, "caller", "Good day.")],
    [event(500, "barge_in", heard_ms=[300])],
    [],
)


def test_a_call_in_which_all_went_well_has_no_findings():
    found = examine(REMAINS)
    assert found.findings == ()
    assert found.ended == "Both said goodbye."
    assert [moment.what for moment in found.story] == [
        "twilio brought the call (live)",
        "agent: Hello.",
        "the caller interrupted",
        "caller: Good day.",
    ]


def test_the_same_remains_give_the_same_answer():
    assert examine(REMAINS) == examine(replace(REMAINS, events=list(REMAINS.events)))


def test_a_fault_is_told_in_its_place_counted_and_has_its_remedy():
    faults = [event(at_ms, "engine_rejected", fault=True, detail="401") for at_ms in (200, 700)]
    found = examine(replace(REMAINS, events=faults))
    assert found.story[2].what == "fault: the AI engine refused the connection (401)"
    (finding,) = found.findings
    assert (finding.kind, finding.count) == ("engine_rejected", 2)
    assert "key" in finding.remedy
    assert finding.page == "docs/troubleshooting.md#the-engine-says-401-403-or-404"


def test_a_fault_that_nobody_has_described_is_told_all_the_same():
    (finding,) = examine(replace(REMAINS, events=[event(1, "sun_spots", fault=True)])).findings
    assert (finding.kind, finding.what, bool(finding.remedy)) == ("sun_spots", "Sun spots", True)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (GOES_ON, "It is not over yet."),
        ({**CALL, "ended_reason": None}, "It is over; nobody said why."),
        ({**CALL, "ended_reason": "worker_lost"}, "The worker that served the call was lost."),
        ({**CALL, "ended_reason": "engine_lost"}, "The AI engine's connection broke off."),
        ({**CALL, "ended_reason": "kaput"}, "Kaput."),
    ],
)
def test_why_it_ended_is_a_sentence(call, sentence):
    assert ended(call) == sentence


def test_a_dead_worker_is_a_finding():
    (finding,) = examine(replace(REMAINS, call={**CALL, "ended_reason": "worker_lost"})).findings
    assert (finding.kind, "killed" in finding.remedy) == ("worker_lost", True)


def test_what_live_ai_was_given_up_for_is_a_finding_even_without_its_event():
    found = examine(replace(REMAINS, call={**CALL, "ended_reason": "engine_unreachable"}))
    assert [finding.kind for finding in found.findings] == ["engine_unreachable"]


def test_recordings_are_told_and_those_that_are_not_understood_are_findings():
    found = examine(replace(REMAINS, recordings=[recording("understood"), recording("blocked_url", None)]))
    assert found.story[-1].what == "was recorded, 2.5 s: understood"
    assert [finding.kind for finding in found.findings] == ["recording_blocked_url"]


def test_slow_answers_are_a_finding():
    slow = [turn(0, "agent", "Well.", engine_ms=2500, bridge_ms=5), *REMAINS.turns]
    (finding,) = examine(replace(REMAINS, turns=slow)).findings
    assert (finding.kind, "2.5 s" in finding.what) == ("slow_answers", True)


def test_a_caller_of_whom_no_word_is_written_down_is_a_finding_once_the_call_is_over():
    unheard = replace(REMAINS, turns=[turn(0, "agent", "Hello.")])
    assert [finding.kind for finding in examine(unheard).findings] == ["nothing_said"]
    assert examine(replace(unheard, call=GOES_ON)).findings == ()


@pytest.mark.parametrize(("given_up_at", "remedy"), [(None, "it is tried again"), (1, "it is given up")])
def test_a_webhook_that_is_not_accepted_is_a_finding(given_up_at, remedy):
    delivery = {"last_error": "HTTP 500", "attempts": 3, "given_up_at": given_up_at}
    (finding,) = examine(replace(REMAINS, delivery=delivery)).findings
    assert (finding.count, finding.remedy) == (3, remedy)


def test_a_webhook_that_nobody_asked_for_is_none():
    delivery = {"last_error": "CALL_WEBHOOK_URL is empty", "attempts": 0, "given_up_at": 1}
    assert examine(replace(REMAINS, delivery=delivery)).findings == ()


def test_every_failure_that_ends_calls_is_described():
    assert set(AILMENTS) >= FAILURES


def anchors(page: str) -> set[str]:
    """What may stand behind the # of a page's address."""
    heads = [each.lstrip("# ") for each in (PROJECT / page).read_text().splitlines() if each.startswith("#")]
    kept = (
        "".join(letter for letter in head.lower() if letter.isalnum() or letter in " -") for head in heads
    )
    return {each.replace(" ", "-") for each in kept}


def test_every_page_that_a_finding_leads_to_is_there():
    for known in (*AILMENTS.values(), *RECORDINGS.values()):
        page, _, anchor = known.page.partition("#")
        if page:
            assert (PROJECT / page).is_file(), page
            assert not anchor or anchor in anchors(page), known.page
        assert not known.what.endswith("."), known.what
