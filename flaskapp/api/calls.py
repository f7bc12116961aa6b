"""Calls out of the history: a page of them, one whole, its words, its sound, all as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO, Any, cast

from flask import Response, abort, current_app, request
from werkzeug.wsgi import FileWrapper

from flaskapp.api import shapes, transcripts
from flaskapp.api.spreadsheet import as_csv
from flaskapp.phone.after_call import was_heard
from flaskapp.phone.errors import SealError
from flaskapp.phone.giving_way import pause
from flaskapp.phone.post_mortem import ended
from flaskapp.store.call_audio import CallAudio
from flaskapp.store.figures import call_figures
from flaskapp.store.history import History
from flaskapp.store.wanted import Wanted

ROWS_AT_ONCE = 50
CHUNK_BYTES = 64 << 10
TOOL_CALLED, TOOL_ANSWERED = "tool_called", "tool_answered"
NO_SUCH_CALL = "No such call."
NO_AUDIO = (
    "No sound of this call is here: RECORD_CALLS was not on, AUDIO_DIR took nothing (`flask phone doctor`"
    " says why), or it has been deleted since."
)


def history() -> History:
    """The app's."""
    return cast(History, current_app.extensions["history"])


def calls(query: shapes.PageWanted) -> shapes.CallPage:
    """Calls, the newest first."""
    if query.after is not None and history().call(query.after) is None:
        abort(404, "'after' names no call: begin again without it.")
    rows = history().calls(query.after, query.limit + 1, _wanted(query))
    shown = rows[: query.limit]
    following = shown[-1]["call_sid"] if len(rows) > query.limit else None
    return shapes.CallPage(calls=[shapes.Call.model_validate(row) for row in shown], next=following)


def calls_csv(query: shapes.Filters) -> Response:
    """All calls, the newest first, for a spreadsheet. No cell is a formula."""
    told, wanted = history(), _wanted(query)
    first = told.calls(None, ROWS_AT_ONCE, wanted)  # a database that is away says so before anything is sent
    answer = Response(as_csv(_rows(told, wanted, first)), mimetype="text/csv")
    return _named(answer, "calls.csv")


def call(path: shapes.CallNamed) -> shapes.WholeCall:
    """One call with all that is kept of it."""
    row, told = _row(path.call_sid), history()
    turns, events = told.turns(path.call_sid), told.events(path.call_sid)
    return shapes.WholeCall.model_validate(
        {
            **row,
            "ended": ended(row) if row["ended_at"] is not None else None,
            "figures": call_figures(turns),
            "turns": turns,
            "events": events,
            "tool_calls": list(_tool_uses(events)),
            "recordings": told.recordings(path.call_sid),
            "has_audio": _has_audio(path.call_sid),
        }
    )


def transcript_json(path: shapes.CallNamed) -> shapes.Transcript:
    """What was said, as it was heard."""
    return _transcript(path.call_sid)


def transcript_txt(path: shapes.CallNamed) -> Response:
    """The same to be read: a line each, with its time."""
    text = transcripts.as_text(_transcript(path.call_sid))
    return _named(Response(text, mimetype="text/plain"), f"{path.call_sid}.txt")


def transcript_vtt(path: shapes.CallNamed) -> Response:
    """The same as subtitles (WebVTT) for the sound."""
    text = transcripts.as_vtt(_transcript(path.call_sid))
    return _named(Response(text, mimetype="text/vtt"), f"{path.call_sid}.vtt", "inline")


def audio_wav(path: shapes.CallNamed) -> Response:
    """What the call sounded like: stereo, the caller left, the agent right. Ranges of it may be asked for."""
    _row(path.call_sid)
    try:
        sound = _kept().open(path.call_sid)
    except SealError as error:
        abort(503, f"The sound cannot be read: {error}.")
    except OSError:
        abort(503, "The disk that sound is kept on does not answer. Try again later.")
    if sound is None:
        abort(404, NO_AUDIO)
    answer = Response(
        FileWrapper(cast(IO[bytes], sound), CHUNK_BYTES), mimetype="audio/wav", direct_passthrough=True
    )
    answer.content_length = sound.size
    answer.set_etag(f"{path.call_sid}-{sound.size}")
    answer.accept_ranges = "bytes"
    answer.make_conditional(request.environ, _wants_part(sound.size), sound.size)
    return _named(answer, f"{path.call_sid}.wav", "inline")


# ---------------------------------------------------------------------- what they have in common


def _wants_part(size: int) -> bool:
    """Whether one part of so many bytes is asked for, be it one that there is not.

    Whatever else a ``Range`` may say is ignored (RFC 9110, 14.2): another unit, nonsense, several parts, and
    an end of it that is longer than it is.
    """
    asked = request.range
    return (
        asked is not None
        and asked.units == "bytes"
        and len(asked.ranges) == 1
        and asked.ranges[0][0] >= -size
    )


def _row(call_sid: str) -> dict[str, Any]:
    row = history().call(call_sid)
    if row is None:
        abort(404, NO_SUCH_CALL)
    return row


def _wanted(query: shapes.Filters) -> Wanted:
    return Wanted(**{name: getattr(query, name) for name in shapes.Filters.model_fields})


def _rows(told: History, wanted: Wanted, rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """All of them, page by page; in between others have their turn."""
    while rows:
        yield from rows
        pause()
        rows = told.calls(rows[-1]["id"], ROWS_AT_ONCE, wanted) if len(rows) == ROWS_AT_ONCE else ()


def _tool_uses(events: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each function that was asked, with the first answer of its name that comes after it."""
    answers = [event for event in events if event["kind"] == TOOL_ANSWERED]
    for event in events:
        if event["kind"] != TOOL_CALLED:
            continue
        name = event["detail"].get("name", "")
        later = (each for each in answers if each["detail"].get("name") == name)
        answer = next((each for each in later if each["at_ms"] >= event["at_ms"]), None)
        if answer is not None:
            answers.remove(answer)
        told = answer["detail"] if answer is not None else {}
        yield {
            "at_ms": event["at_ms"],
            "name": name,
            "took_ms": told.get("took_ms"),
            "failed": bool(told.get("failed")),
        }


def _kept() -> CallAudio:
    return cast(CallAudio, current_app.extensions["call_audio"])


def _has_audio(call_sid: str) -> bool:
    try:
        return _kept().duration_ms(call_sid) is not None
    except OSError:
        return False


def _transcript(call_sid: str) -> shapes.Transcript:
    _row(call_sid)
    lines = [
        shapes.TranscriptLine.model_validate({**turn, "transcript": turn["text"]})
        for turn in history().turns(call_sid)
        if was_heard(turn)
    ]
    return shapes.Transcript(call_sid=call_sid, lines=lines)


def _named(answer: Response, name: str, how: str = "attachment") -> Response:
    """The name is letters, digits, '-', '_' and a dot: nothing in it needs quoting."""
    answer.headers["Content-Disposition"] = f"{how}; filename={name}"
    return answer
