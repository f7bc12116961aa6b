"""A finished call, assessed: its journal, its line and its ear become one report."""

from __future__ import annotations

from dataclasses import replace

from flaskapp.simulator import ear
from flaskapp.simulator.report import CallReport, MarkReport, RecordingReport, TurnReport
from flaskapp.simulator.twilio.call import TwilioCall

HINT = "is the server running? `make run`"


def report(call: TwilioCall) -> CallReport:
    """Everything worth knowing about a call that is over."""
    t0, playout, end = call.journal.t0, call.line.playout, call.ended_at or call.journal.clock()
    playout.advance(end)
    pieces = list(playout.pieces())
    audible = ear.sounds(pieces)
    heard = [sound for sound in audible if sound.source != "beep"]
    spoken = call.line.person.spoken
    before = [sound for sound in heard if not spoken or sound.start < spoken[0].start]
    first = heard[0].start if heard else None
    started = call.streams[0].started_at if call.streams else end
    streamed = ear.first_speech(heard, started)
    silence = ear.longest_silence(spoken, audible, t0, end, call.listened)
    result = CallReport(
        call_sid=call.sid,
        status=call.status,
        ended_by=call.line.ended_by,
        stream_sids=[stream.stream_sid for stream in call.streams],
        duration_s=end - (call.answered_at or end),
        first_sound_ms=None if first is None else (first - t0) * 1000,
        first_sound_after_start_ms=None if streamed is None else (streamed.start - started) * 1000,
        greeting_ms=(before[-1].end - before[0].start) * 1000 if before else 0.0,
        longest_silence_ms=(silence[1] - silence[0]) * 1000,
        longest_silence_from_ms=(silence[0] - t0) * 1000,
        turns=_turns(call, heard),
        pacing=ear.pacing(call.line.frames),
        lateness_ms=ear.lateness_ms(call.line.frames),
        problems=call.journal.problems,
        webhooks=call.journal.webhooks,
        said=call.journal.said,
        dialled=call.journal.dialled,
        recordings=_recordings(call, heard),
        marks=[MarkReport(m.name, (m.at - t0) * 1000, m.cleared) for s in call.streams for m in s.returned],
        received_media=sum(stream.received_media for stream in call.streams),
        received_bytes=sum(a.size for a in playout.arrivals if a.source == "stream"),
        played_ms=sum(span.size for span in playout.spans) / 8,
        cleared_ms=sum(cleared.size for cleared in playout.cleared) / 8,
    )
    if call.spec.record_stereo:
        result.stereo = ear.stereo(bytes(call.line.said), call.line.began_at, pieces, t0)
    result.why_not = _why_not(call, heard)
    result.answered = not result.why_not
    return result


def _turns(call: TwilioCall, heard: list[ear.Sound]) -> list[TurnReport]:
    """The turns; one that the call's limit left without a reply is nobody's fault."""
    turns = ear.turns(call.line.person.spoken, heard, call.journal.t0)
    if turns and turns[-1].latency_ms is None and call.line.ended_by == "limit":
        turns[-1] = replace(turns[-1], cut_off=True)
    return turns


def _recordings(call: TwilioCall, heard: list[ear.Sound]) -> list[RecordingReport]:
    """The recordings, each with what was heard after it and before the next one's end."""
    t0, reports = call.journal.t0, []
    ends = [t0 + made.ended_ms / 1000 for made in call.made] + [float("inf")]
    for index, made in enumerate(call.made):
        reply = ear.first_speech(heard, ends[index], ends[index + 1])
        if reply is not None:
            words = [what for at, what in call.journal.uttered if at <= reply.start] or [""]
            answer = "" if reply.source == "stream" else words[-1]
            made = replace(made, answer_ms=(reply.start - ends[index]) * 1000, answer=answer)
        reports.append(made)
    return reports


def _why_not(call: TwilioCall, heard: list[ear.Sound]) -> str:
    """Why the call does not count as answered; empty if it does.

    Answered: the agent was heard after the caller spoke, or at all when the
    caller never did.
    """
    problems = [problem for problem in call.journal.problems if problem.level == "error"]
    if call.answered_at is None:
        if not problems:
            return "the call was rejected"
        hint = f" ({HINT})" if problems[0].code == 11205 else ""
        return f"error {problems[0].code}: {problems[0].text}{hint}"
    spoken = call.line.person.spoken
    because = f" (error {problems[0].code}: {problems[0].text})" if problems else ""
    if not heard:
        return f"the agent was never heard{because}"
    if spoken and not any(sound.end > spoken[0].end for sound in heard):
        return f"the agent was not heard after the caller spoke{because}"
    return ""
