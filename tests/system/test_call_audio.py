"""A kept call on the running app: both sides where they were heard, sealed, and gone when it is purged."""

from __future__ import annotations

import io
import wave
from typing import Any

import pytest

from flaskapp.phone.audio import rms
from flaskapp.phone.errors import SealError
from flaskapp.simulator.person import Script, Utterance
from flaskapp.simulator.sounds import tone
from flaskapp.store.call_audio import CallAudio
from flaskapp.store.sealing import Seal, new_key
from tests import servers
from tests.conftest import flask

pytestmark = pytest.mark.system

CONSENT = "This call is recorded."
QUESTION = Script((Utterance(tone(1.2, 300), name="question"),), quiet_ms=300)
STEP_MS = 50
#: What a machine that stands still now and then does to a line; the two sides are seconds apart.
LATE_MS = 3000


def tracks(audio: CallAudio, call_sid: str) -> tuple[bytes, bytes]:
    with wave.open(io.BytesIO(audio.open(call_sid).read())) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, 8000)
        pcm = file.readframes(file.getnframes())
    left, right = (b"".join(pcm[at : at + 2] for at in range(side, len(pcm), 4)) for side in (0, 2))
    return left, right


def voice(track: bytes) -> tuple[int, int, int]:
    """Where somebody is first and last heard, and for how long in all, in ms."""
    step = STEP_MS * 16
    loud = [at * STEP_MS for at in range(len(track) // step) if rms(track[at * step : (at + 1) * step]) > 500]
    return (loud[0], loud[-1] + STEP_MS, len(loud) * STEP_MS) if loud else (0, 0, 0)


@pytest.fixture
def key() -> str:
    return new_key()


@pytest.fixture
def audio(tmp_path, key) -> CallAudio:
    return CallAudio(tmp_path / "kept", Seal([key]))


def test_both_sides_are_kept_where_they_were_heard_and_only_with_the_key(office, audio, key):
    place = office(
        {
            "RECORD_CALLS": "1",
            "DATA_KEY": key,
            "AUDIO_DIR": str(audio.folder),
            "CONSENT_TEXT": CONSENT,
        }
    )
    place.engine.behaviour.reply_ms = 2000
    report = place.place(script=QUESTION)
    assert not report.failed, report.reason
    assert report.said[0] == CONSENT
    sid, turn = report.call_sid, report.turns[0]
    assert place.rows("select * from calls where call_sid = ? and ended_at is not null", sid, at_least=1)
    servers.wait_until(
        lambda: abs(answer_in(audio, sid)[2] - turn.heard_ms) <= 1000, "the answer is not kept"
    )
    caller, answer = voice(tracks(audio, sid)[0]), answer_in(audio, sid)
    # Where the call began is for each of them to say; from the first word on they must agree.
    assert abs((caller[1] - caller[0]) - (turn.spoke_until_ms - turn.spoke_from_ms)) < LATE_MS
    assert abs(answer[0] - turn.latency_ms) < LATE_MS
    assert abs(caller[2] - 1200) <= 200
    for part in audio.folder.glob(f"{sid}/*"):
        assert b"\xff" * 100 not in part.read_bytes()
    with pytest.raises(SealError):
        CallAudio(audio.folder, Seal([new_key()])).open(sid)
    servers.wait_until(lambda: removed(place, sid), "it could not be removed")
    assert audio.open(sid) is None
    assert not place.rows("select call_sid from calls union select text from turns")


def answer_in(audio: CallAudio, call_sid: str) -> tuple[int, int, int]:
    """What follows the caller's question on the agent's side, so far: it is written by and by."""
    if audio.duration_ms(call_sid) is None:
        return (0, 0, 0)
    left, right = tracks(audio, call_sid)
    return voice(right[voice(left)[1] * 16 :])


def removed(place: Any, call_sid: str) -> bool:
    """Whether ``flask phone purge`` did it; what is still to be settled about the call comes first."""
    app = place.app
    done = flask(
        "phone", "purge", "--call", call_sid, "--yes", environment=app.environment, cwd=app.log.parent
    )
    return done.returncode == 0


def test_nothing_is_kept_unless_it_is_wanted(office, audio):
    place = office({"AUDIO_DIR": str(audio.folder)})
    report = place.place(script=QUESTION)
    assert not report.failed, report.reason
    assert not audio.folder.exists()
