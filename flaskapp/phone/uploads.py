"""Audio of a call handed in by HTTP, chunk by chunk, and speech handed out to the carrier."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from flask import Blueprint, Response, abort, current_app, jsonify, request
from redis.exceptions import RedisError
from werkzeug.datastructures import FileStorage, WWWAuthenticate
from werkzeug.exceptions import Forbidden, Unauthorized

from flaskapp.access import check_same_origin, checked_call_sid, is_local, is_operator, settings
from flaskapp.phone.ai_integration import (
    AIVoiceIntegration,
    AnsweredElsewhere,
    NothingHeld,
    StreamBringsAudio,
)
from flaskapp.phone.chunks import MAX_CHUNK_BYTES, WAV_HEADER_BYTES, ForeignBytes, TooMuchAudio
from flaskapp.phone.errors import AudioError, EngineError, TicketError
from flaskapp.store.turns import TurnBook
from flaskapp.tickets import Tickets

View = TypeVar("View", bound=Callable[..., Any])

FORM_AROUND_IT_BYTES = 64 << 10
AUDIO_TYPES = ("", "application/octet-stream")
REFUSED: dict[type[AudioError], int] = {
    NothingHeld: 404,
    AnsweredElsewhere: 409,
    StreamBringsAudio: 409,
    TooMuchAudio: 413,
    ForeignBytes: 415,
}

uploads = Blueprint("uploads", __name__)


def _desk() -> AIVoiceIntegration:
    return cast(AIVoiceIntegration, current_app.extensions["desk"])


def for_call(view: View) -> View:
    """For who speaks for the call: its ticket as ``Authorization: Bearer``, the operator, or this machine."""

    @wraps(view)
    def checked(call_sid: str, **kwargs: Any) -> Any:
        call_sid = checked_call_sid(call_sid)
        given = request.authorization
        if given is not None and given.type == "bearer":
            try:
                cast(Tickets, current_app.extensions["tickets"]).check(given.token or "", call_sid)
            except TicketError as error:
                raise Unauthorized(
                    "This ticket does not open this call.", www_authenticate=_challenge()
                ) from error
        elif not (is_local() or is_operator()):
            if settings().dashboard_password is None and given is None:
                raise Forbidden(
                    "Send the call's ticket as 'Authorization: Bearer ...'. DASHBOARD_PASSWORD is not set:"
                    " nobody but this machine can sign in as the operator."
                )
            raise Unauthorized(
                "Send the call's ticket, or sign in as the operator.", www_authenticate=_challenge()
            )
        else:
            check_same_origin()
        return view(call_sid, **kwargs)

    return checked  # type: ignore[return-value]


def _challenge() -> WWWAuthenticate:
    return WWWAuthenticate("basic", {"realm": "Answerline operator"})


@uploads.before_request
def _limit() -> None:
    request.max_content_length = MAX_CHUNK_BYTES + FORM_AROUND_IT_BYTES


@uploads.post("/stream-audio/<call_sid>")
@for_call
def store_chunk(call_sid: str) -> Response:
    """One chunk of what the caller says, as multipart field ``audio``."""
    part = request.files.get("audio")
    if part is None:
        abort(400, "The multipart field 'audio' is missing: send one chunk of audio in it.")
    _check_type(part)
    data = part.stream.read(MAX_CHUNK_BYTES + WAV_HEADER_BYTES + 1)
    try:
        stored = _desk().store(call_sid, data)
    except AudioError as error:
        abort(REFUSED.get(type(error), 422 if data else 400), f"{error}.")
    except RedisError:
        abort(503, "Audio cannot be kept right now: Redis does not answer. Send the chunk again later.")
    held = stored.held
    return jsonify(
        call_sid=call_sid,
        chunks=held.chunks,
        bytes=held.bytes,
        duration_ms=held.duration_ms,
        format=stored.format,
    )


def _check_type(part: FileStorage) -> None:
    kind = (part.mimetype or "").lower()
    if kind not in AUDIO_TYPES and not kind.startswith("audio/"):
        abort(415, f"'audio' came as {kind[:100]!r}: audio/* or application/octet-stream is expected.")


@uploads.post("/stream-audio/<call_sid>/complete")
@for_call
def complete(call_sid: str) -> Response:
    """Have everything that was handed in understood and answered."""
    try:
        told = _desk().complete(call_sid)
    except AudioError as error:
        abort(REFUSED.get(type(error), 422), f"{error}.")
    except EngineError as error:
        abort(503, f"AI cannot answer now ({type(error).__name__}); the audio is kept. Try again later.")
    except RedisError:
        abort(503, "The audio cannot be read right now: Redis does not answer. Try again later.")
    return jsonify(
        {name: told[name] for name in ("call_sid", "transcript", "response", "duration_ms", "latency_ms")}
    )


@uploads.get("/speech/<call_sid>/<key>/<ticket>")
def speech(call_sid: str, key: str, ticket: str) -> Response:
    """An answer's sound for ``<Play>``: fetched without a signature, so the address is the secret."""
    call_sid = checked_call_sid(call_sid)
    tickets = cast(Tickets, current_app.extensions["tickets"])
    try:
        tickets.check_speech(ticket, call_sid)
    except TicketError:
        abort(404)
    try:
        wav = cast(TurnBook, current_app.extensions["turn_book"]).speech(call_sid, key[:128])
    except RedisError:
        abort(503, "The speech cannot be read right now: Redis does not answer. Try again later.")
    if not wav:
        abort(404)
    return Response(wav, mimetype="audio/wav", headers={"Cache-Control": "private, max-age=600"})
