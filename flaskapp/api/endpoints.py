"""Which address gives what: the API's own, and those of other rooms that ``openapi.json`` describes, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flaskapp.api import calls, shapes

View = Callable[..., Any]


@dataclass(frozen=True)
class Media:
    """An answer that has no shape of ours: its type, and what it is to JSON Schema."""

    kind: str
    schema: Mapping[str, str] = field(default_factory=lambda: {"type": "string"})


BYTES, OBJECT = {"type": "string", "format": "binary"}, {"type": "object"}
Answer = type[shapes.Shape] | Media | None


@dataclass(frozen=True)
class Endpoint:
    """One address.

    Attributes:
        rule: as Flask has it.
        view: what gives the answer; its arguments `path` and `query` are what the address must be like.
        answers: what comes, by status; whatever else there may be is a problem document.
        problems: the statuses of those, beside what all operators' addresses may say.
        opens: who may ask: the operator, the call's ticket, anybody.
        body: what is sent, by its type.
    """

    rule: str
    view: View
    tag: str
    answers: Mapping[int, Answer]
    problems: tuple[int, ...] = ()
    method: str = "GET"
    opens: tuple[str, ...] = ("operator",)
    body: Mapping[str, Any] | None = None


_WORDS = "/api/calls/<call_sid>/transcript"
CALLS, STREAMS, SERVER = "Calls", "Audio by HTTP", "Server"

#: What all that is the operator's may say: not signed in, may not, asked too often; and the database is away.
OPERATORS = (401, 403, 429)
AWAY = 503

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("/api/calls", calls.calls, CALLS, {200: shapes.CallPage}, (404, 422, AWAY)),
    Endpoint("/api/calls.csv", calls.calls_csv, CALLS, {200: Media("text/csv")}, (422, AWAY)),
    Endpoint("/api/calls/<call_sid>", calls.call, CALLS, {200: shapes.WholeCall}, (404, AWAY)),
    Endpoint(f"{_WORDS}.json", calls.transcript_json, CALLS, {200: shapes.Transcript}, (404, AWAY)),
    Endpoint(f"{_WORDS}.txt", calls.transcript_txt, CALLS, {200: Media("text/plain")}, (404, AWAY)),
    Endpoint(f"{_WORDS}.vtt", calls.transcript_vtt, CALLS, {200: Media("text/vtt")}, (404, AWAY)),
    Endpoint(
        "/api/calls/<call_sid>/audio.wav",
        calls.audio_wav,
        CALLS,
        {200: Media("audio/wav", BYTES), 206: Media("audio/wav", BYTES), 304: None},
        (404, 416, AWAY),
    ),
)
