"""One call's page: what was said and heard, how quickly, what it cost, how it ended, live or later."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, cast

from flask import Blueprint, Response, current_app, jsonify, make_response, render_template, request
from redis.exceptions import RedisError

from flaskapp.access import CALL_SID, operators_page, require_operator
from flaskapp.dashboard.call_story import Noted, Said, story
from flaskapp.dashboard.dress import in_turns, minutes_west
from flaskapp.phone.errors import SealError
from flaskapp.store.figures import call_figures
from flaskapp.store.history import TERMINAL, History
from flaskapp.store.live import LiveStore
from flaskapp.store.tables import Call
from flaskapp.store.traces import Traces

PARTS = ("head", "talk", "turns")
EVENTS_AT_ONCE = 1000
NO_DISK = "The disk that sound is kept on does not answer. Load the page again later."
#: A good answer begins within so long of the caller's last word.
TARGET_MS = 800


def add_pages(dashboard: Blueprint) -> None:
    """``/dashboard/calls/{call_sid}``, and what it asks for."""
    at = "/calls/<call_sid>"
    dashboard.add_url_rule(at, "call", operators_page(call))
    dashboard.add_url_rule(f"{at}/parts.json", "call_parts", require_operator(call_parts))
    dashboard.add_url_rule(f"{at}/events.json", "call_events", require_operator(call_events))
    dashboard.add_url_rule(f"{at}/sound.json", "call_sound", require_operator(call_sound))


def call(call_sid: str) -> Response:
    """The page."""
    told = _told(call_sid)
    if told is None:
        return make_response(render_template("dashboard/call/unknown.html", call_sid=call_sid), 404)
    return make_response(in_turns("dashboard/call.html", **told))


def call_parts(call_sid: str) -> Response:
    """What changes while the call goes on: ``{"parts": {name: HTML}, "timeline", "steps", "is_over"}``."""
    told = _told(call_sid)
    if told is None:
        return _missing()
    lines, notes = _split(told["story"])
    timeline = {
        "length_ms": told["length_ms"],
        "lines": [[each.speaker, each.start_ms, each.end_ms, each.was_cut, each.key] for each in lines],
        "marks": [[each.at_ms, each.kind, each.words] for each in notes],
    }
    return jsonify(
        {
            "parts": {name: in_turns(f"dashboard/call/{name}.html", **told) for name in PARTS},
            "timeline": timeline,
            "steps": [asdict(step) for step in told["figures"].steps],
            "is_over": told["is_over"],
        }
    )


def call_events(call_sid: str) -> Response:
    """What the legs said, from the ``after``-th on: ``{"events": [...], "next": n, "more": bool}``."""
    traces = cast(Traces, current_app.extensions["traces"])
    after = max(request.args.get("after", 0, type=int), 0)
    if not CALL_SID.fullmatch(call_sid):
        return _missing()
    try:
        found = traces.read(call_sid, after, EVENTS_AT_ONCE + 1)
    except RedisError:
        found = traces.read_kept(call_sid, after, EVENTS_AT_ONCE + 1)
    page = found[:EVENTS_AT_ONCE]
    return jsonify({"events": page, "next": after + len(page), "more": len(found) > len(page)})


def call_sound(call_sid: str) -> Response:
    """How loud both were: ``{"peaks": [[caller, agent], ...], "duration_ms"}``; null: it is not kept."""
    audio = current_app.extensions.get("call_audio")
    try:
        duration_ms = audio.duration_ms(call_sid) if audio and CALL_SID.fullmatch(call_sid) else None
        peaks = audio.peaks(call_sid) if audio and duration_ms else None
    except SealError as error:
        return jsonify({"peaks": None, "duration_ms": None, "trouble": str(error)})
    except OSError:  # or it was deleted just now
        return jsonify({"peaks": None, "duration_ms": None, "trouble": NO_DISK})
    told = [[round(caller, 3), round(agent, 3)] for caller, agent in peaks] if peaks else None
    return jsonify({"peaks": told, "duration_ms": duration_ms if told else None})


def _missing() -> Response:
    return make_response(
        jsonify({"title": "Not Found", "status": 404, "detail": "There is no such call."}), 404
    )


def _told(call_sid: str) -> dict[str, Any] | None:
    """Everything that the page shows; None: there is no such call."""
    history = cast(History, current_app.extensions["history"])
    row = (history.call(call_sid) or _unwritten(call_sid)) if CALL_SID.fullmatch(call_sid) else None
    if row is None:
        return None
    turns, events = history.turns(call_sid), history.events(call_sid)
    is_over = row["ended_at"] is not None or row["status"] in TERMINAL
    length_ms = max(
        [row["duration_ms"] or 0, *(turn["end_ms"] for turn in turns), *(each["at_ms"] for each in events)]
    )
    if not is_over and row["started_at"] is not None:
        length_ms = max(length_ms, round((time.time() - row["started_at"].timestamp()) * 1000))
    return {
        "row": row,
        "story": story(turns, events),
        "figures": call_figures(turns),
        "is_over": is_over,
        "length_ms": length_ms,
        "target_ms": TARGET_MS,
        "usage": row["usage"] or {},
        "west": minutes_west(),
    }


def _unwritten(call_sid: str) -> dict[str, Any] | None:
    """A call that rang just now, and is only known to Redis."""
    known = cast(LiveStore, current_app.extensions["live_store"]).recall(call_sid)
    if not known:
        return None
    began = float(known.get("began") or time.time())
    nothing = dict.fromkeys(Call.__table__.columns.keys())
    said = {name: known.get(name) for name in ("carrier", "caller", "called")}
    at = datetime.fromtimestamp(began, UTC)
    return {**nothing, **said, "call_sid": call_sid, "status": "ringing", "started_at": at}


def _split(told: list[Said | Noted]) -> tuple[list[Said], list[Noted]]:
    lines = [each for each in told if isinstance(each, Said)]
    return lines, [each for each in told if isinstance(each, Noted)]
