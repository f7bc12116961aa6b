"""The browser phone: its page, and the calls that it begins on the same path as a carrier's."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, cast

from flask import Blueprint, Response, abort, jsonify, render_template, request

from flaskapp.access import checked_call_sid, operators_page, require_operator, settings
from flaskapp.config import EngineSettings
from flaskapp.dashboard.dress import STATIC, static
from flaskapp.phone.ai_integration import AIVoiceIntegration
from flaskapp.phone.browser_calls import (
    GONE,
    WHY_NOT,
    Next,
    begin_call,
    callable_numbers,
    cost_so_far,
    is_browsers,
    what_next,
)
from flaskapp.phone.reasons import reason
from flaskapp.phone.registry import part
from flaskapp.tickets import Tickets

VOICES = "phone/voices"
CALLS = "/phone/calls"
THEN = {
    "stream": "The call goes on.",
    "transfer": "The agent hands you over: callers would be connected to {} now; nobody is from here.",
    "record": "Live AI cannot serve this call. A caller would be recorded now, and answered from that.",
}
ENGINES = {"local": "local stand-in", "azure": "Azure OpenAI {}", "openai": "OpenAI {}"}


def add_pages(dashboard: Blueprint) -> None:
    """``/dashboard/phone``, and what its page asks of us."""
    dashboard.add_url_rule("/phone", "phone", operators_page(phone))
    dashboard.add_url_rule(CALLS, "begin_call", require_operator(begin), methods=["POST"])
    dashboard.add_url_rule(f"{CALLS}/<call_sid>", "call_so_far", require_operator(so_far))
    what_follows = require_operator(follow)
    dashboard.add_url_rule(f"{CALLS}/<call_sid>/next", "call_next", what_follows, methods=["POST"])


def phone() -> str:
    """The phone, with nobody on the line."""
    engine = settings().engine
    return render_template(
        "dashboard/phone.html",
        engine=engine_name(engine),
        is_stand_in=engine is not None and engine.kind == "local",
        trouble=WHY_NOT["no_engine"] if engine is None else "",
        numbers=callable_numbers(),
        voices=[static(f"{VOICES}/{each.name}") for each in sorted((STATIC / VOICES).glob("*.wav"))],
    )


def begin() -> tuple[Response, int]:
    """A call rings: 201 ``{"call_sid", "stream_url", "call_url", "engine"}``; 503 says why it cannot.

    Asked with ``{"called": one of the numbers on the page}``, or ``{}``. ``stream_url`` is a path on this
    host, for a WebSocket that speaks Twilio's Media Streams messages; it opens once, within five minutes.
    """
    called = str(_asked().get("called") or "")
    numbers = [number for number, _ in callable_numbers()]
    if called and called not in numbers:
        abort(400, "Nobody answers this number.")
    if why := cast(AIVoiceIntegration, part("desk")).why_no_stream():
        part("metrics").fallbacks.labels(why).inc()
        abort(503, WHY_NOT[why])
    call_sid = begin_call(called or numbers[0])
    told = {
        "call_sid": call_sid,
        "stream_url": _stream_url(call_sid),
        "call_url": f"{request.script_root}/dashboard/calls/{call_sid}",
        "engine": engine_name(settings().engine),
    }
    return jsonify(told), 201


def so_far(call_sid: str) -> dict[str, Any]:
    """What the call has cost: ``{"cost_usd"}``, estimated from the engine's own counts and list prices."""
    _only_browsers(call_sid)
    return {"cost_usd": round(cost_so_far(call_sid), 6)}


def follow(call_sid: str) -> dict[str, Any]:
    """The stream is over: ``{"then", "destination", "reason", "words"}``.

    ``then`` as in ``Next``; where it is "stream", there is a ``stream_url``, too. Asked with
    ``{"gone": true}`` by a page whose user has left.
    """
    _only_browsers(call_sid)
    follows = what_next(call_sid, caller_is_gone=_asked().get("gone") is True)
    told = {**asdict(follows), "words": _in_words(follows)}
    return {**told, "stream_url": _stream_url(call_sid)} if follows.then == "stream" else told


def _in_words(follows: Next) -> str:
    """What became of the call, to whoever was on the phone."""
    if follows.then in THEN:
        return THEN[follows.then].format(follows.destination or "a person")
    return (
        f"{reason(follows.reason).words or 'The call is over'}." if follows.reason != GONE else "You hung up."
    )


def engine_name(engine: EngineSettings | None) -> str:
    """Who answers, as people know it."""
    if engine is None:
        return "no engine"
    return ENGINES[engine.kind].format(engine.model)


def _stream_url(call_sid: str) -> str:
    ticket = cast(Tickets, part("tickets")).for_stream(call_sid)
    return f"{request.script_root}/phone/stream-audio/{call_sid}/{ticket}"


def _asked() -> dict[str, Any]:
    try:
        asked = request.get_json(silent=True)
    except RecursionError:  # lists in lists in lists
        asked = None
    if not isinstance(asked, dict):
        abort(400, "A JSON object is expected.")
    return asked


def _only_browsers(call_sid: str) -> None:
    if not is_browsers(checked_call_sid(call_sid)):
        abort(404, "No call of that name was begun here.")
