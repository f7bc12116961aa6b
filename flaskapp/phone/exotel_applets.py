"""Exotel's applets: their sockets in, the address that they dial, and what their flows ask afterwards."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import cast
from urllib.parse import quote, urlencode

from flask import Blueprint, Response, abort, current_app, jsonify, request

from flaskapp.access import (
    CALL_SID,
    checked_call_sid,
    origin,
    socket_origin,
)
from flaskapp.config import Settings
from flaskapp.exotel_access import check_exotel_callback, check_exotel_socket
from flaskapp.observability import bound_call
from flaskapp.phone import exotel_flow
from flaskapp.phone.admission import refusal
from flaskapp.phone.ai_integration import AIVoiceIntegration
from flaskapp.phone.carriers.exotel import ExotelStream
from flaskapp.phone.carriers.exotel_passthru import read
from flaskapp.phone.coming_back import come_back
from flaskapp.phone.consent import consent_due
from flaskapp.phone.doorstep import wait_for_start
from flaskapp.phone.events import StreamStarted
from flaskapp.phone.registry import begin, is_over, known_call, live_store, note, part
from flaskapp.phone.resumption import past_of, take_up
from flaskapp.phone.room import Streams, counts_streams, find_room, keep_room
from flaskapp.phone.rtmt_audio_handler import RTMTAudioHandler
from flaskapp.phone.server_socket import ServerSocket, need_gunicorn, sock
from flaskapp.phone.wire import Wire
from flaskapp.problems import register_problems
from flaskapp.redaction import mask_number

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 << 10
MAX_FIELDS = 1000
OURS = ("ask", "to")  # in a Passthru's address; Exotel's own names are others, or spelt otherwise
RATES_HZ = MappingProxyType({"8000": 8000, "16000": 16_000, "24000": 24_000})
WHY_NOT = MappingProxyType(
    {
        "no_engine": "No AI engine is configured.",
        "engine_down": "The AI engine does not answer.",
        "draining": "This worker is about to end.",
        "full": "This worker has no room for another call.",
    }
)
#: What Exotel says of a call when it asks for the stream's address; all other fields are the applet's own.
OF_THE_CALL = frozenset(
    (
        *("callsid", "callfrom", "callto", "from", "to", "direction", "created", "starttime", "endtime"),
        *("currenttime", "calltype", "callstatus", "digits", "dialcallduration", "dialcallstatus"),
        *("dialwhomnumber", "forwardedfrom", "recordingurl", "flowid", "tenantid", "accountsid", "streamsid"),
        *("eventtype", "processstatus", "outgoingphonenumber", "legs"),
    )
)

exotel_applets = Blueprint("exotel_applets", __name__)
counts_streams(exotel_applets)
register_problems(exotel_applets)


@exotel_applets.before_request
def _check() -> None:
    """Everything that can be refused before a socket's 101, or before anything is parsed, is."""
    request.max_content_length = MAX_BODY_BYTES
    _CHECKS.get(request.endpoint or "", check_exotel_callback)()


def _check_socket() -> None:
    need_gunicorn()
    check_exotel_socket()
    _rate_hz()
    why = _desk().why_no_stream()
    if why and why != "full":
        part("metrics").fallbacks.labels(why).inc()
        abort(503, WHY_NOT[why])
    find_room(request.args.get("call_sid", "")[:64])


_CHECKS: Mapping[str, Callable[[], None]] = {"exotel_applets.exotel": _check_socket}


def _desk() -> AIVoiceIntegration:
    return cast(AIVoiceIntegration, part("desk"))


def _rate_hz() -> int:
    rate = RATES_HZ.get(request.args.get("sample-rate", "8000"))
    if rate is None:
        abort(400, f"sample-rate must be one of {', '.join(RATES_HZ)}.")
    return rate


# ---------------------------------------------------------------------- the sockets


@sock.route("/exotel", bp=exotel_applets)
def exotel(ws: ServerSocket) -> None:
    """The Voicebot's stream, both ways, or (``?stream-type=unidirectional``) the Stream applet's, one way."""
    metrics = part("metrics").websockets.labels("carrier")
    metrics.inc()
    try:
        call_sid, serve = _taken_in(ws)
    except Exception:  # the call's edge: what escapes here would be written into the stream as HTTP
        log.exception("A call's socket failed")
        ws.wire.close(1011, "internal error")
        call_sid, serve = "", None
    if serve is None:
        metrics.dec()
    else:
        ws.leave_to(serve, call_sid, metrics.dec, keep_room())


def _taken_in(ws: ServerSocket) -> tuple[str, Callable[[Wire], None] | None]:
    """The call that the stream's start names, and what serves it; None where it is not to be served."""
    wire = ws.wire
    found = wait_for_start(wire, _codec(), on_fault=lambda kind: part("metrics").faults.labels(kind).inc())
    if found is None:
        return "", None
    started, messages = found
    call_sid = started.call_sid
    if not CALL_SID.fullmatch(call_sid):
        wire.close(1008, "no call of that name")
        return "", None
    with bound_call(call_sid):
        if not _has_room(call_sid):
            wire.close(1013, "no room")
            return call_sid, None
        known = _let_in(ws, started)
        if known is None:
            return call_sid, None
        wire.unread(messages)
        return call_sid, _service(call_sid, known)


def _service(call_sid: str, known: Mapping[str, str]) -> Callable[[Wire], None]:
    """Serves this call when its request is over."""
    app, live = current_app._get_current_object(), live_store()  # type: ignore[attr-defined]
    handler, past = cast(RTMTAudioHandler, part("rtmt")), past_of(call_sid, live, part("audio"), time.time())
    codec, listens = _codec(), _is_one_way()
    called, caller = known.get("called", ""), known.get("caller", "")
    consent = consent_due(known, cast(Settings, part("settings")).consent_text)

    def admit(started: StreamStarted) -> None:
        with app.app_context():
            take_up(call_sid, live, note)
            # one without a name is called by its call's, which no report does
            named = "" if started.stream_id == call_sid else started.stream_id
            exotel_flow.begins_anew(call_sid, named)

    def serve(wire: Wire) -> None:
        handler.serve(
            wire,
            call_sid,
            called=called,
            caller=caller,
            carrier=codec,
            admit=admit,
            past=past,
            listens=listens,
            consent=consent,
        )

    return serve


def _has_room(call_sid: str) -> bool:
    """Whether it is the call that its address named, and found room for; another one needs its own."""
    named = request.args.get("call_sid", "")
    if not named or named == call_sid:
        return True
    streams = cast(Streams, part("streams"))
    streams.leave()
    if streams.enter(cast(Settings, part("settings")).max_calls):
        return True
    streams.enter(None)  # until its socket is closed
    part("metrics").fallbacks.labels("full").inc()
    log.warning("A stream of another call than its address names is refused", extra={"call_sid": call_sid})
    return False


def _codec() -> ExotelStream:
    return ExotelStream(_rate_hz(), cast(Settings, part("settings")).exotel_chunk_bytes)


def _is_one_way() -> bool:
    return request.args.get("stream-type", "") == "unidirectional"


def _let_in(ws: ServerSocket, started: StreamStarted) -> dict[str, str] | None:
    """A new call, or one that goes on; None where the stream is closed, so that its flow goes on."""
    call_sid, known = started.call_sid, known_call(started.call_sid)
    if not exotel_flow.is_exotels(known):
        log.warning("Exotel brings a stream of another carrier's call", extra={"call_sid": call_sid})
        ws.wire.close(1008, "no call of that name")
        return None
    has_ended = known.get("state") == "ended" and known.get("needs_fallback") != "1"
    is_ended = known.get("is_over") or has_ended or (not known and is_over(call_sid))
    if is_ended and not (known := come_back(call_sid, known, exotel_flow.EXOTEL)):
        log.warning("A stream of a call that is over is refused", extra={"call_sid": call_sid})
        ws.wire.close(1008, "this call is over")
        return None
    caller = mask_number(started.caller)
    log.info("Received streaming call from %s", caller, extra={"call_sid": call_sid})
    if not known:
        numbers = (started.caller, started.called)
        if refusal(call_sid, *numbers, carrier=exotel_flow.EXOTEL) is not None:
            ws.wire.close(1000, "busy")
            return None
        known = begin(call_sid, "live", exotel_flow.EXOTEL, *numbers, wants_stream="1")
        fresh = {"state": "ringing", "needs_fallback": "0", "pending_turn": ""}
        live_store().count(call_sid, "streams", beside={"origin": origin(), **fresh})
    live_store().remember(call_sid, path="live", listens=str(int(_is_one_way())))
    return known


# ---------------------------------------------------------------------- what its flows ask over HTTP


@exotel_applets.get("/exotel/stream-url")
def stream_url() -> Response:
    """Where an applet shall dial its socket to, with our key and token; what it was given goes along."""
    _rate_hz()
    why = _desk().why_no_stream()
    if why and why != "draining":  # the socket is dialled in a moment, and another worker answers
        part("metrics").fallbacks.labels(why).inc()
        abort(503, WHY_NOT[why])
    settings = cast(Settings, part("settings"))
    scheme, _, host = socket_origin().partition("://")
    token = settings.exotel_api_token
    if token is not None:
        user = quote(settings.exotel_api_key, safe="")
        host = f"{user}:{quote(token.get_secret_value(), safe='')}@{host}"
    kept = [(name, value) for name, value in request.args.items(multi=True) if not _is_of_the_call(name)]
    call_sid = request.args.get("CallSid", "")
    if CALL_SID.fullmatch(call_sid):  # so that a call that broke off finds room at a full worker, too
        kept.append(("call_sid", call_sid))
    answer = jsonify({"url": f"{scheme}://{host}/exotel" + (f"?{urlencode(kept)}" if kept else "")})
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _is_of_the_call(name: str) -> bool:
    plain = name.lower().replace("_", "").replace("-", "")
    return plain in OF_THE_CALL or plain.startswith("stream[")


@exotel_applets.route("/exotel/passthru", methods=["GET", "POST"])
def passthru() -> Response:
    """A Passthru applet's question, ``?ask=over|resume|transfer``: 200 is yes, 302 is no.

    The applet knows nothing else; the body is for people. Source: Exotel's "Passthru applet".
    """
    body = request.get_data(as_text=True)
    if len(request.form) > MAX_FIELDS:
        abort(413, f"More than {MAX_FIELDS} fields.")
    ask = request.args.get("ask") or "over"
    if ask not in exotel_flow.QUESTIONS:
        abort(400, f"ask must be one of {', '.join(exotel_flow.QUESTIONS)}.")
    asked = [pair for pair in request.args.items(multi=True) if pair[0] not in OURS]
    pairs = [*asked, *request.form.items(multi=True)]
    report = read(pairs, "" if request.form else body)
    call_sid = checked_call_sid(report.call_sid)
    if report.event_type.lower().replace("_", "-") == "stream-start":
        return _said(call_sid, ask, True, "")  # asked before the stream: it may come
    if not exotel_flow.is_exotels(known_call(call_sid)):
        abort(404, "No call of that name.")
    is_yes, follows = exotel_flow.answer(call_sid, ask, report, request.args.get("to", ""))
    return _said(call_sid, ask, is_yes, follows)


def _said(call_sid: str, ask: str, is_yes: bool, follows: str) -> Response:
    answer = jsonify({"call_sid": call_sid, "ask": ask, "answer": is_yes, "next": follows})
    answer.status_code = 200 if is_yes else 302
    return answer
