"""The recording path on the running system: the carrier records, jobs understand, the caller is answered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flaskapp.simulator.person import Script, Utterance
from flaskapp.simulator.sounds import tone
from flaskapp.simulator.spec import Faults
from tests import servers

pytestmark = pytest.mark.system

RECORDS = "/phone/incoming-call"
QUESTION = Utterance(tone(1.2, 300), name="question")
THREE = Script(
    tuple(Utterance(tone(1.2, 300 + 50 * at), name=f"question {at}") for at in range(3)), quiet_ms=300
)


def of(office, **wanted):
    return office.spec(url=office.app.url + RECORDS, **wanted)


def all_closed(office, call_sid, statuses):
    """Wait until a call's recordings have come to such ends; one of nothing may follow at the hang-up."""
    servers.wait_until(
        lambda: [status for _, status in office.recordings(call_sid)][: len(statuses)] == statuses,
        f"recordings are {office.recordings(call_sid)}, not {statuses}",
        60,
    )


def test_three_turns_are_recorded_and_answered(rescue, batch):
    office = rescue()
    batch.words = ["one", "two", "three"]
    batch.answers = ["first", "second", "third"]
    report = office.exchange.place_call(of(office, script=THREE))
    assert not report.failed, report.reason
    assert [each.reply for each in report.recordings] == ["first", "second", "third"]
    turns = office.turns(report.call_sid, at_least=6)
    assert [(turn["speaker"], turn["text"]) for turn in turns] == [
        ("caller", "one"),
        ("agent", "first"),
        ("caller", "two"),
        ("agent", "second"),
        ("caller", "three"),
        ("agent", "third"),
    ]
    assert {turn["mode"] for turn in turns} == {"recorded"}
    all_closed(office, report.call_sid, ["answered"] * 3)
    assert batch.offences == []
    assert all(hook.status in (200, 204) for hook in report.webhooks)
    assert set(batch.answers_per_recording().values()) == {1}


def test_the_background_worker_does_the_work_where_there_is_one(rescue, batch, background, redis_of_our_own):
    office = rescue({"REDIS_URL": redis_of_our_own, "WEB_CONCURRENCY": "2"})
    worker = background(office.app)
    report = office.exchange.place_call(of(office, script=THREE))
    assert not report.failed, report.reason
    all_closed(office, report.call_sid, ["answered"] * 3)
    log = office.app.log.with_name("worker.log").read_text()
    assert log.count(f"Real-time audio processing completed for call {report.call_sid}") == 3
    assert worker.stop() == 0


def test_without_a_background_worker_the_web_worker_does_the_work(rescue, batch, redis_of_our_own):
    office = rescue({"REDIS_URL": redis_of_our_own})
    report = office.exchange.place_call(of(office, script=Script((QUESTION,), quiet_ms=300)))
    assert report.recordings[0].reply == "We are open from nine to five."
    all_closed(office, report.call_sid, ["answered"])


def test_goodbye_ends_the_call(rescue, batch):
    office = rescue()
    batch.words, batch.answers = ["Thank you, goodbye."], ["Goodbye then."]
    report = office.exchange.place_call(of(office, script=THREE))
    assert report.said[-1] == "Goodbye then."
    assert report.ended_by == "network"
    assert len(report.recordings) == 1
    rows = office.rows("select * from calls where ended_reason = 'goodbye'", at_least=1)
    assert [row["call_sid"] for row in rows] == [report.call_sid]


def test_a_caller_who_says_nothing_is_asked_once_and_let_go(rescue, batch):
    office = rescue()
    report = office.exchange.place_call(of(office, script=Script(hang_up="never"), seconds=60))
    assert sum("did not hear" in said for said in report.said) == 1
    assert report.ended_by == "network"
    assert batch.requests == []


def test_a_caller_who_hangs_up_in_the_middle_is_understood_all_the_same(rescue, batch):
    office = rescue()
    script = Script((QUESTION,), quiet_ms=300, reply_wait_s=0.2)
    report = office.exchange.place_call(of(office, script=script))
    all_closed(office, report.call_sid, ["understood"])
    assert [turn["text"] for turn in office.turns(report.call_sid)] == ["what are your opening hours"]


#: What may become of a first recording, and what the history says of each.
FATES = {
    "truncated": ["answered", "answered"],
    "page": ["not_audio", "answered"],
    "silent": ["silent", "answered"],
    "absent": ["absent", "answered"],
    "failed": ["failed", "answered"],
}


def test_a_faulty_recording_does_not_cost_the_call(rescue, batch):
    office = rescue()
    script = replace(THREE, utterances=THREE.utterances[:2], reply_wait_s=40)
    specs = [
        of(office, script=script, faults=Faults(recordings=(fate, "well")), seconds=90) for fate in FATES
    ]
    reports = office.exchange.place_calls(specs)
    for (fate, statuses), report in zip(FATES.items(), reports, strict=True):
        assert report.answered, (fate, report.reason)
        all_closed(office, report.call_sid, statuses)
        assert report.recordings[-1].reply == "We are open from nine to five.", fate


def test_every_webhook_may_come_three_times(rescue, batch):
    office = rescue()
    script = Script((QUESTION,), quiet_ms=300)
    report = office.exchange.place_call(of(office, script=script, faults=Faults(webhook_copies=3)))
    assert not report.failed, report.reason
    all_closed(office, report.call_sid, ["answered"])
    assert len(office.turns(report.call_sid, at_least=2)) == 2
    assert len(office.rows("select * from calls")) == 1


def test_answers_are_played_in_the_engines_voice(rescue, batch):
    office = rescue({"REPLY_VOICE": "play", "OPENAI_SPEECH_MODEL": "voice-1"})
    report = office.exchange.place_call(of(office, script=Script((QUESTION,), quiet_ms=300)))
    assert not report.failed, report.reason
    assert "We are open from nine to five." not in report.said
    assert [each.path for each in batch.of_kind("speech")] == ["/v1/audio/speech"]
    assert report.recordings[0].reply_ms is not None


def test_the_carriers_copy_is_deleted_once_the_words_are_kept(rescue, batch):
    office = rescue({"DELETE_RECORDINGS": "1"})
    report = office.exchange.place_call(of(office, script=Script((QUESTION,), quiet_ms=300)))
    all_closed(office, report.call_sid, ["answered"])
    deleted = f"/2010-04-01/Accounts/{report.recordings[0].url.split('/')[-3]}/Recordings/"
    servers.wait_until(
        lambda: any(
            method == "DELETE" and path.startswith(deleted) and status == 204
            for method, path, status in office.exchange.network.api_requests
        ),
        "nothing was deleted",
        30,
    )


def test_nobody_waits_in_silence_for_a_slow_answer(rescue, batch):
    from tests.fake_turns import Fault

    office = rescue()
    batch.faults = {"chat": [Fault(pause_s=6)]}
    script = Script((QUESTION,), hang_up="never")
    report = office.exchange.place_call(of(office, script=script, seconds=24))
    assert report.recordings[0].reply == "We are open from nine to five."
    fillers = [said for said in report.said if "moment" in said or "still" in said]
    assert len(fillers) >= 2


def test_with_all_ai_down_the_message_is_kept_and_understood_when_it_is_back(
    rescue, batch, door, redis_of_our_own, background
):
    office = rescue({"REDIS_URL": redis_of_our_own})
    background(office.app)
    door.shut()
    two = replace(THREE, utterances=THREE.utterances[:2])
    batch.words = ["my question", "my message"]
    report = office.exchange.place_call(of(office, script=two, seconds=90))
    assert any("cannot answer right now" in said for said in report.said)
    assert "kept" in report.said[-1]
    assert {status for _, status in office.recordings(report.call_sid)} <= {"claimed", "waiting"}
    door.reopen()
    all_closed(office, report.call_sid, ["understood", "understood"])
    turns = office.turns(report.call_sid, at_least=2)
    assert sorted(turn["text"] for turn in turns) == ["my message", "my question"]
    assert [turn["speaker"] for turn in turns] == ["caller", "caller"]
