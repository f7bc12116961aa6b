"""Opens a session with the engine as a call would, and says why it does not open; nothing is said in it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from flaskapp import parts
from flaskapp.config import EngineSettings
from flaskapp.phone.audio import PCMU
from flaskapp.phone.checks.finding import PAGE, Case, Finding, Status, failure, ok, warning
from flaskapp.phone.engines.connection import Endpoint, Engine
from flaskapp.phone.engines.realtime import RealtimeSession, SessionSpec
from flaskapp.phone.errors import EngineRejected, EngineUnreachable, LegClosed
from flaskapp.phone.wire import Wire

SPEAKS_WITHIN_S = 5.0
REFUSED_PAGE = "docs/troubleshooting.md#the-engine-says-401-403-or-404"
SESSION_PAGE = "docs/troubleshooting.md#the-engine-refuses-the-session"
#: Per kind of engine: what its key, its model and its address are called in the environment.
NAMES: Mapping[str, tuple[str, str, str]] = {
    "azure": ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_REALTIME_DEPLOYMENT", "AZURE_OPENAI_ENDPOINT"),
    "openai": ("OPENAI_API_KEY", "OPENAI_REALTIME_MODEL", "OPENAI_BASE_URL"),
    "local": ("OPENAI_API_KEY", "OPENAI_REALTIME_MODEL", "LOCALAI_URL"),
}
STAND_IN = "a script that knows a few sentences, and no AI"
A_REAL_ONE = "OPENAI_API_KEY=... in .env, or AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_REALTIME_DEPLOYMENT"
KEYS: Mapping[str, str] = {
    "azure": "the key of this very resource, from the portal's page Keys and Endpoint",
    "openai": "a key of platform.openai.com/api-keys",
    "local": "none is needed",
}


def engine(case: Case) -> Finding:
    """The engine answers, knows us, has the model, and takes the session that calls ask for."""
    known = case.settings.engine
    if known is None:
        return _none(case)
    found = _tried(case, known)
    return found if found.status is not Status.OK else _who_answers(case, known, found)


def _who_answers(case: Case, known: EngineSettings, found: Finding) -> Finding:
    """What opens may be the stand-in; and the running server may have been started with that."""
    if known.kind == "local":
        heard = ": that is what your callers hear" if case.is_public else ""
        return warning(f"The local stand-in answers (LOCALAI_URL): {STAND_IN}{heard}", A_REAL_ONE)
    if case.visit.report.get("engine") == "local":
        cause = f"{found.cause}; but the running server was started without it: the local stand-in answers"
        return warning(cause, "Start it again")
    return found


def _tried(case: Case, known: EngineSettings) -> Finding:
    at = Endpoint(known.base_url, known.kind == "azure", known.token_scope or "")
    try:
        wire = Engine(at, known.model, parts.credentials(case.settings)).open()
    except EngineRejected as error:
        return _rejected(known, error)
    except EngineUnreachable as error:
        name = NAMES[known.kind][2]
        return failure(f"{known.base_url} cannot be reached: {error}", f"{name}=https://...", REFUSED_PAGE)
    try:
        return _agreed(known, wire)
    finally:
        wire.close()
        wire.dispose(close_socket=True)


def _none(case: Case) -> Finding:
    if case.visit.report.get("engine") == "local":
        return warning(f"The local stand-in answers: {STAND_IN}", A_REAL_ONE)
    return warning(
        "No AI engine is configured: callers hear an apology, and their messages are kept", A_REAL_ONE
    )


def _rejected(known: EngineSettings, error: EngineRejected) -> Finding:
    key, model, address = NAMES[known.kind]
    where = f"{known.base_url} ({known.model})"
    if error.status in (401, 403) and known.token_scope:
        return failure(
            f"{where} does not take our identity (HTTP {error.status}), which needs the role"
            " Cognitive Services OpenAI User",
            f"AZURE_OPENAI_SCOPE={known.token_scope}, or {key}=...",
            REFUSED_PAGE,
        )
    table: Mapping[int, tuple[str, str]] = {
        401: (f"{where} does not take the key (HTTP 401)", f"{key}=... : {KEYS[known.kind]}"),
        403: (f"{where} forbids this key the model (HTTP 403)", f"{key}=... : {KEYS[known.kind]}"),
        404: (f"{known.base_url} has no {known.model} (HTTP 404)", f"{model}=... : a name that exists there"),
        400: (
            f"{known.model} at {known.base_url} is no realtime model (HTTP 400)",
            f"{model}=... : one that is",
        ),
    }
    if error.status in table:
        return failure(*table[error.status], REFUSED_PAGE)
    if error.status == 429:
        return warning(f"{where}: its quota is used up (HTTP 429)", "Ask for more, or wait", REFUSED_PAGE)
    return failure(f"{where} is in trouble: {error}", f"{address}=...", REFUSED_PAGE)


def _agreed(known: EngineSettings, wire: Wire) -> Finding:
    """Ask for the session that a call would ask for, without its words and its tools."""
    spec = SessionSpec("You are being tested.", voice=known.voice, transcribe_model=known.transcribe_model)
    began, is_asked = time.monotonic(), False
    try:
        for event in _events(wire, began + SPEAKS_WITHIN_S):
            kind = event.get("type")
            if kind == "session.created" and not is_asked:
                wire.send([RealtimeSession().session_update(spec, PCMU)])
                is_asked = True
            elif kind == "session.updated":
                return _opened(known, event, (time.monotonic() - began) * 1000)
            elif kind == "error":
                return _refused(known, event.get("error") or {}, is_asked)
    except LegClosed as error:
        return failure(
            f"{known.base_url} closes the session: {error}",
            f"{NAMES[known.kind][1]}=...",
            SESSION_PAGE,
        )
    what = "the session's settings" if is_asked else "session.created"
    return failure(f"{known.base_url} takes the connection, and never says {what}", "", SESSION_PAGE)


def _opened(known: EngineSettings, event: Mapping[str, Any], took_ms: float) -> Finding:
    """It must speak as telephones do: what it says of the session's sound is what it will send."""
    for side in ("input", "output"):
        session = event.get("session") or {}
        spoken = (((session.get("audio") or {}).get(side) or {}).get("format") or {}).get("type", PCMU)
        if spoken != PCMU:
            cause = f"{known.base_url} was asked for telephones' sound ({PCMU}), and takes {spoken} as {side}"
            return failure(cause, f"{NAMES[known.kind][1]}=... : a realtime model", SESSION_PAGE)
    return ok(f"{known.kind}: {known.model} at {known.base_url} opens in {took_ms:.0f} ms, with {PCMU}")


def _refused(known: EngineSettings, error: Mapping[str, Any], is_asked: bool) -> Finding:
    """What it does not take: its code and the field's name, and its words, which say more than ours could."""
    code, field = str(error.get("code") or error.get("type") or "error"), str(error.get("param") or "")
    about, words = f" ({field})" if field else "", str(error.get("message", ""))[:200]
    said = f"{known.base_url} refuses the session: {code}{about}: {words}"
    _, model, _ = NAMES[known.kind]
    if "model" in code and not is_asked:
        return failure(said, f"{model}=... : a name that exists there", REFUSED_PAGE)
    command = next((name for part, name in _FIELDS.items() if part in field), "")
    return warning(said, command, SESSION_PAGE if command or is_asked else f"{PAGE}#engine")


_FIELDS = {
    "voice": "AZURE_OPENAI_REALTIME_VOICE_CHOICE=... or OPENAI_REALTIME_VOICE=...",
    "transcription": "OPENAI_TRANSCRIBE_MODEL=...",
}


def _events(wire: Wire, until: float) -> Iterator[dict[str, Any]]:
    """What the engine says until then."""
    while (left := until - time.monotonic()) > 0:
        for message in wire.receive(left):
            try:
                event = json.loads(message)
            except ValueError:
                continue
            if isinstance(event, dict):
                yield event
