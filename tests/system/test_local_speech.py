"""Ten real telephone recordings, two calls at a time, answered by the local speech server."""

from __future__ import annotations

from pathlib import Path

import pytest

from flaskapp.simulator.person import Script, Utterance
from flaskapp.simulator.sounds import bundled, from_wav
from tests.system.conftest import Office

pytestmark = pytest.mark.system

SOUNDS = Path("/usr/share/asterisk/sounds/en")
RECORDINGS = (
    "please-try-again",
    "pls-hold-while-try",
    "vm-goodbye",
    "all-circuits-busy-now",
    "auth-thankyou",
    "agent-loginok",
    "conf-onlyperson",
    "privacy-thankyou",
    "call-forwarding",
    "queue-thankyou",
)
AT_ONCE = 2
#: On a busy machine the words are found so late that the caller is asked to wait: he does, for the answer.
WAITS = Utterance(silent_s=6.0)


@pytest.fixture
def desk(gunicorn_app, exchange, speech_server, signed) -> Office:
    """The app with the local speech server, as `make run` has it."""
    return Office(gunicorn_app({"LOCALAI_URL": speech_server, **signed}), None, exchange)


@pytest.mark.skipif(not SOUNDS.is_dir(), reason="needs Debian's asterisk-core-sounds-en-wav")
def test_ten_recorded_voices_are_heard_and_answered(desk):
    missing = [name for name in RECORDINGS if not (SOUNDS / f"{name}.wav").is_file()]
    assert missing == []
    for first in range(0, len(RECORDINGS), AT_ONCE):
        names = RECORDINGS[first : first + AT_ONCE]
        scripts = [Script((Utterance(from_wav(SOUNDS / f"{name}.wav"), name=name), WAITS)) for name in names]
        reports = desk.exchange.place_calls([desk.spec(script=script) for script in scripts])
        for name, report in zip(names, reports, strict=True):
            assert not report.failed, f"{name}: {report.reason}"
            assert report.turns[0].heard_ms > 300, name
            turns = desk.turns(report.call_sid, at_least=3)
            assert [turn["speaker"] for turn in turns[:3]] == ["agent", "caller", "agent"], name
            assert all(turn["text"] for turn in turns), name


def test_the_phone_desk_understands_what_the_bundled_caller_says(desk):
    report = desk.place(script=Script(bundled()))
    said = [turn["text"] for turn in desk.turns(report.call_sid, at_least=5) if turn["speaker"] == "caller"]
    assert said == ["what are your opening hours", "goodbye"]
    answers = [turn["text"] for turn in desk.turns(report.call_sid) if turn["speaker"] == "agent"]
    assert "nine to five" in answers[1]
    assert not report.failed
