"""A finished call, assessed: its journal, its line and its ear become one report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from flaskapp.simulator import ear
from flaskapp.simulator.exotel.call import ExotelCall
from flaskapp.simulator.journal import Journal, Uttered
from flaskapp.simulator.line import Line
from flaskapp.simulator.media import MediaStream
from flaskapp.simulator.playout import Piece
from flaskapp.simulator.report import (
    CallReport,
    DialReport,
    MarkReport,
    Problem,
    RecordingReport,
    StreamReport,
    TurnReport,
)
from flaskapp.simulator.spec import CallSpec

LEAST_S = 0.2  # shorter stretches are the gaps between words
CUT_S = 2.0  # before a dial: what is thrown away then is thrown away for it
NO_CONNECTION = (11205, 3009)  # Twilio's and Exotel's
HINT = "is the server running? `make run`"


class LivedCall(Protocol):
    """What every carrier's call leaves behind."""

    sid: str
    spec: CallSpec
    status: str
    answered_at: float | None
    ended_at: float | None
    journal: Journal
    line: Line
    made: list[RecordingReport]
    listened: list[tuple[float, float]]
    elsewhere: list[tuple[float, float]]

    @property
    def streams(self) -> Sequence[MediaStream]: ...


def report(call: LivedCall) -> CallReport:
    """Everything worth knowing about a call that is over."""
    t0, playout, end = call.journal.t0, call.line.playout, call.ended_at or call.journal.clock()
    playout.advance(end)
    pieces, per_ms = list(playout.pieces()), playout.encoding.bytes_per_s / 1000
    audible = ear.sounds(pieces)
    heard = [sound for sound in audible if sound.source not in ear.CARRIERS_OWN]
    spoken = call.line.person.spoken
    before = [sound for sound in heard if not spoken or sound.start < spoken[0].start]
    first = heard[0].start if heard else None
    started = call.streams[0].started_at if call.streams else end
    streamed = ear.first_speech(heard, started)
    elsewhere = [*call.listened, *call.elsewhere]
    silence = ear.longest_silence(spoken, audible, t0, end, elsewhere)
    answered_at, gone_at = call.answered_at or end, call.line.ended_at
    quiet = ear.silences(spoken, audible, answered_at, gone_at, elsewhere) if call.answered_at else []
    result = CallReport(
        call_sid=call.sid,
        status=call.status,
        ended_by=call.line.ended_by,
        ended_ms=(gone_at - t0) * 1000,
        goodbye_to_hangup_ms=(gone_at - min(gone_at, heard[-1].end)) * 1000 if heard else None,
        rejected=call.journal.rejected,
        stream_sids=[stream.stream_sid for stream in call.streams],
        streams=[_stream(stream, heard, t0) for stream in call.streams],
        duration_s=end - answered_at,
        first_sound_ms=None if first is None else (first - t0) * 1000,
        first_sound_after_start_ms=None if streamed is None else (streamed.start - started) * 1000,
        greeting_ms=(before[-1].end - before[0].start) * 1000 if before else 0.0,
        longest_silence_ms=(silence[1] - silence[0]) * 1000,
        longest_silence_from_ms=(silence[0] - t0) * 1000,
        silences=[
            ((start - t0) * 1000, (stop - t0) * 1000) for start, stop in quiet if stop - start >= LEAST_S
        ],
        turns=_turns(call, heard),
        pacing=ear.pacing(call.line.frames),
        lateness_ms=ear.lateness_ms(call.line.frames),
        problems=call.journal.problems,
        webhooks=call.journal.webhooks,
        said=call.journal.said,
        dialled=call.journal.dialled,
        dials=[_dial(call, each, heard) for each in call.journal.dials],
        recordings=_recordings(call, pieces),
        marks=[MarkReport(m.name, (m.at - t0) * 1000, m.cleared) for s in call.streams for m in s.returned],
        received_media=sum(stream.received_media for stream in call.streams),
        received_bytes=sum(stream.received_bytes for stream in call.streams),
        played_ms=sum(span.size for span in playout.spans) / per_ms,
        cleared_ms=sum(cleared.size for cleared in playout.cleared) / per_ms,
        sample_rate_hz=playout.encoding.rate_hz,
    )
    if isinstance(call, ExotelCall):
        _add_rules(result, call)
    if call.spec.record_stereo:
        result.stereo = ear.stereo(bytes(call.line.said), call.line.began_at, pieces, t0, playout.encoding)
    result.why_not = _why_not(call, heard)
    result.answered = not result.why_not
    return result


def _add_rules(result: CallReport, call: ExotelCall) -> None:
    """What became of the carrier's own rules for what it is sent."""
    rules = [stream.rules for stream in call.streams]
    result.violations = dict(call.violations)
    result.ahead_ms = max((each.ahead_s * 1000 for each in rules), default=0.0)
    result.underruns = sum(each.underruns for each in rules)
    result.underrun_ms = sum(each.underrun_s * 1000 for each in rules)


def _stream(stream: MediaStream, heard: list[ear.Sound], t0: float) -> StreamReport:
    first = next((s for s in heard if stream.started_at <= s.start < stream.ended_at), None)
    return StreamReport(
        sid=stream.stream_sid,
        started_ms=(stream.started_at - t0) * 1000,
        ended_ms=(stream.ended_at - t0) * 1000,
        closed_by=stream.closed_by,
        close_code=stream.close_code,
        first_sound_ms=None if first is None else (first.start - t0) * 1000,
    )


def _dial(call: LivedCall, dial: DialReport, heard: list[ear.Sound]) -> DialReport:
    """A dial with what the caller had heard before it."""
    at, t0 = call.journal.t0 + dial.at_ms / 1000, call.journal.t0
    before = [min(sound.end, at) for sound in heard if sound.start < at]
    cut = sum(each.size for each in call.line.playout.cleared if at - CUT_S <= each.at <= at)
    cut_ms = cut * 1000 / call.line.playout.encoding.bytes_per_s
    return replace(dial, heard_until_ms=(before[-1] - t0) * 1000 if before else None, cut_ms=cut_ms)


def _turns(call: LivedCall, heard: list[ear.Sound]) -> list[TurnReport]:
    """The turns; one that the call's limit left without a reply is nobody's fault."""
    turns = ear.turns(call.line.person.spoken, heard, call.journal.t0)
    if turns and turns[-1].latency_ms is None and call.line.ended_by == "limit":
        turns[-1] = replace(turns[-1], cut_off=True)
    return turns


def _recordings(call: LivedCall, pieces: list[Piece]) -> list[RecordingReport]:
    """The recordings, each with what was heard after it and before the next one's end."""
    heard = ear.parted(ear.sounds(pieces, join_s=0.0), [each.at for each in call.journal.uttered])
    ends = [call.journal.t0 + made.ended_ms / 1000 for made in call.made] + [float("inf")]
    real = [sound for sound in heard if not _is_stopgap(call, sound)]
    reports = []
    for index, made in enumerate(call.made):
        answer_ms, answer = _first_words(call, heard, *ends[index : index + 2])
        reply_ms, reply = _first_words(call, real, *ends[index : index + 2])
        reports.append(replace(made, answer_ms=answer_ms, answer=answer, reply_ms=reply_ms, reply=reply))
    return reports


def _first_words(
    call: LivedCall, heard: list[ear.Sound], since: float, until: float
) -> tuple[float | None, str]:
    """How long after ``since`` somebody spoke, in ms, and what."""
    sound = ear.first_speech(heard, since, until)
    if sound is None:
        return None, ""
    uttered = _uttered(call, sound)
    return (sound.start - since) * 1000, uttered.what if uttered else ""


def _is_stopgap(call: LivedCall, sound: ear.Sound) -> bool:
    uttered = _uttered(call, sound)
    return uttered is not None and uttered.is_stopgap


def _uttered(call: LivedCall, sound: ear.Sound) -> Uttered | None:
    """What a sound was that the carrier made; None for a stream's."""
    before = [each for each in call.journal.uttered if each.at <= sound.start]
    return before[-1] if before and sound.source != "stream" else None


def _why_not(call: LivedCall, heard: list[ear.Sound]) -> str:
    """Why the call does not count as answered; empty if it does.

    Answered: the agent was heard after the caller spoke, or at all when the
    caller never did.
    """
    problems = [problem for problem in call.journal.problems if problem.level == "error"]
    if call.answered_at is None:
        if not problems:
            return "the call was rejected"
        return f"error {problems[0].code}: {problems[0].text}{_hint(problems[0])}"
    spoken = call.line.person.spoken
    because = f" (error {problems[0].code}: {problems[0].text}{_hint(problems[0])})" if problems else ""
    if call.spec.flow.is_one_way and call.streams:
        return ""  # to a stream that only listens, nobody speaks
    if not heard:
        return f"the agent was never heard{because}"
    if spoken and not any(sound.end > spoken[0].end for sound in heard):
        return f"the agent was not heard after the caller spoke{because}"
    return ""


def _hint(problem: Problem) -> str:
    """What to look at first, where nobody answered the door."""
    unheard = problem.code in NO_CONNECTION and ("connect" in problem.text or "was cut off" in problem.text)
    return f" ({HINT})" if unheard else ""
