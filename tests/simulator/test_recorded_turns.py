"""Conversations in recorded turns, alone and mixed with streams, and what the ear makes of them."""

from __future__ import annotations

import itertools

import pytest

from flaskapp.phone.audio import mulaw_to_pcm16, read_wav, write_wav
from flaskapp.simulator import sounds
from flaskapp.simulator.person import Script, Utterance
from tests.simulator.stage import speaks, stage
from tests.simulator.stub_bridge import hanging_up, streaming

WORDS = tuple(Utterance(sounds.tone(seconds, 350), name=f"word {seconds}") for seconds in (0.3, 0.6, 0.9))
RECORD = '<Record action="/process" timeout="1"/><Redirect>/in</Redirect>'


def twiml(inside: str) -> str:
    return f"<Response>{inside}</Response>"


async def test_three_utterances_make_three_recorded_turns_each_answered():
    async with stage() as on:
        numbers, waited = itertools.count(1), itertools.count()
        on.bridge.answers["/in"] = lambda *_: twiml(f"<Say>Hello.</Say>{RECORD}")
        moment = twiml("<Say>One moment.</Say><Redirect>/poll</Redirect>")
        on.bridge.answers["/process"] = lambda *_: moment

        def poll(*_):
            if next(waited) % 2 == 0:
                return twiml('<Pause length="1"/><Redirect>/poll</Redirect>')
            return twiml(f"<Say>Answer {next(numbers)}.</Say>{RECORD}")

        on.bridge.answers["/poll"] = poll
        report = await on.call(speaks(*WORDS), seconds=50)
        assert not report.failed, report.reason
        assert [made.digits for made in report.recordings] == ["", "", ""]
        assert [made.reply for made in report.recordings] == ["Answer 1.", "Answer 2.", "Answer 3."]
        assert {made.answer for made in report.recordings} == {"One moment."}
        for made, word in zip(report.recordings, WORDS, strict=True):
            assert 0 < made.answer_ms < 1000 < made.reply_ms < 6000
            assert made.ended_ms - made.began_ms > 1000
            sound = read_wav(on.network.recordings.get(made.sid).wav)
            assert sound.duration_ms == pytest.approx(len(word.audio) / 8 + 400, abs=60)  # trimmed
        assert [turn.utterance for turn in report.turns] == [word.name for word in WORDS]
        for turn, made in zip(report.turns, report.recordings, strict=True):
            spoke_until_end = made.ended_ms - turn.spoke_until_ms
            assert turn.latency_ms == pytest.approx(made.answer_ms + spoke_until_end, abs=5)
        # The pause, and not the caller's own second of silence before each recording ended.
        assert 900 < report.longest_silence_ms < 4000
        since = report.longest_silence_from_ms
        assert any(made.ended_ms < since < made.ended_ms + made.reply_ms for made in report.recordings)


async def test_a_reply_that_follows_one_moment_without_a_gap_is_told_apart_from_it():
    async with stage() as on:
        on.bridge.answers["/in"] = lambda *_: twiml(f"<Say>Hello.</Say>{RECORD}")
        on.bridge.answers["/process"] = lambda *_: twiml("<Say>One moment.</Say><Redirect>/poll</Redirect>")
        on.bridge.answers["/poll"] = lambda *_: twiml("<Say>Goodbye.</Say><Hangup/>")
        report = await on.call(speaks(WORDS[0]))
        (made,) = report.recordings
        assert (made.answer, made.reply) == ("One moment.", "Goodbye.")
        assert made.reply_ms - made.answer_ms > 600  # as long as "One moment." takes


async def test_a_caller_who_thinks_while_he_is_recorded_hears_no_dead_line():
    async with stage() as on:
        slow = RECORD.replace('"1"', '"4"')
        on.bridge.answers["/in"] = lambda *_: twiml(f"<Say>Hello.</Say>{slow}")
        on.bridge.answers["/process"] = hanging_up
        report = await on.call(speaks(WORDS[0]))
        assert report.recordings[0].ended_ms - report.turns[0].spoke_until_ms > 3500
        assert report.longest_silence_ms < 2000


async def test_the_beep_alone_is_no_answer():
    async with stage() as on:
        on.bridge.answers["/in"] = lambda *_: twiml(RECORD)
        on.bridge.answers["/process"] = lambda *_: twiml('<Record timeout="1"/><Hangup/>')
        report = await on.call(speaks(WORDS[0], hang_up="never"))
        assert [made.answer_ms for made in report.recordings] == [None]
        assert report.why_not == "the agent was never heard"


async def test_a_call_goes_from_recorded_to_live_and_back_in_one_report():
    async with stage() as on:
        turns = itertools.count()
        on.bridge.answers["/in"] = lambda *_: twiml(f"<Say>Hello.</Say>{RECORD}")

        def process(bridge, request, form):
            if next(turns) == 0:
                return streaming(bridge, request, form)
            return twiml("<Say>Goodbye.</Say>")

        async def talk(leg) -> None:
            """One live turn, then the server gives the stream up."""
            await leg.until("start")
            await leg.play(sounds.tone(0.4, 300))
            silent, heard = 0, False
            while silent < 20:
                message = await leg.until("media")
                voiced = len(set(message["media"]["payload"])) > 4
                heard, silent = heard or voiced, 0 if voiced or not heard else silent + 1
            await leg.play(sounds.tone(0.4, 400))
            await leg.mark("said")
            await leg.until("mark")

        on.bridge.talk = talk
        on.bridge.answers["/process"] = process
        on.bridge.answers["/after"] = lambda *_: twiml(RECORD)
        report = await on.call(speaks(*WORDS), seconds=50)
        assert not report.failed, report.reason
        assert (len(report.stream_sids), len(report.recordings)) == (1, 2)
        assert report.said == ["Hello.", "Goodbye."]
        first, second = report.recordings
        assert (first.answer, second.answer) == ("", "Goodbye.")
        assert first.answer_ms == first.reply_ms is not None
        assert report.first_sound_after_start_ms is not None
        assert 0 <= report.first_sound_after_start_ms < 3000
        assert [turn.utterance for turn in report.turns] == [word.name for word in WORDS]
        assert all(turn.latency_ms is not None for turn in report.turns)
        assert report.longest_silence_ms < 5000


async def test_a_call_goes_from_live_to_recorded():
    async with stage() as on:

        async def talk(leg) -> None:
            await leg.until("start")
            await leg.play(sounds.tone(0.3, 300))
            await leg.until("media")

        on.bridge.talk = talk  # live AI dies at once
        on.bridge.answers["/after"] = lambda *_: twiml(f"<Say>Please speak.</Say>{RECORD}")
        on.bridge.answers["/process"] = lambda *_: twiml("<Say>Goodbye.</Say><Hangup/>")
        report = await on.call(speaks(WORDS[0]))
        assert not report.failed, report.reason
        assert [made.answer for made in report.recordings] == ["Goodbye."]
        assert len(report.stream_sids) == 1


async def test_what_was_played_to_a_recorded_caller_is_named():
    async with stage() as on:
        on.bridge.files["a.wav"] = write_wav(mulaw_to_pcm16(sounds.tone(0.5, 400)))
        on.bridge.answers["/in"] = lambda *_: twiml(f"<Say>Hello.</Say>{RECORD}")
        on.bridge.answers["/process"] = lambda *_: twiml("<Play>/files/a.wav</Play>")
        report = await on.call(speaks(WORDS[0]))
        assert report.recordings[0].answer.endswith("/files/a.wav")


async def test_a_message_left_by_somebody_who_hung_up_needs_no_answer():
    async with stage() as on:
        on.bridge.answers["/in"] = lambda *_: twiml("<Say>Hello.</Say>" + RECORD.replace('"1"', '"0"'))
        on.bridge.answers["/process"] = lambda *_: twiml("<Say>Nobody hears this.</Say>")
        script = Script((WORDS[0],), greeting_wait_s=0.2, quiet_ms=300, reply_wait_s=0.3)
        report = await on.call(script)
        (made,) = report.recordings
        assert (made.digits, made.answer_ms, made.answer) == ("hangup", None, "")
