"""The Passthru applet: tells the application how a stream ended, and takes branch A or B by what it answers.

Source: Exotel, "Passthru applet" and "Working with the Stream and Voicebot applets".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode, urlsplit, urlunsplit

import aiohttp
from yarl import URL

from flaskapp.simulator.exotel import address
from flaskapp.simulator.exotel.handshake import NOT_ESTABLISHED, HandshakeFailed
from flaskapp.simulator.exotel.stream import AS_ENDED, ExotelStream
from flaskapp.simulator.line import Line
from flaskapp.simulator.route import Unroutable

if TYPE_CHECKING:
    from flaskapp.simulator.exotel.call import ExotelCall

YES, NO = 200, 302
NO_ANSWER, ANSWERED_ODDLY = 9020, 9021  # Exotel has no numbers for these
FLOW_ID = "100200"


@dataclass(frozen=True)
class Told:
    """What ``Stream[...]`` says about the stream that went before."""

    stream_sid: str
    status: Literal["completed", "failed", "cancelled"]
    by: Literal["user", "bot", "NA"]
    duration_s: int = 0
    url: str = ""
    error: str = ""
    detail: str = ""

    def fields(self) -> dict[str, str]:
        return {
            "StreamSID": self.stream_sid,
            "Status": self.status,
            "Duration": str(self.duration_s),
            "StreamUrl": self.url,
            "DisconnectedBy": self.by,
            "Error": self.error,
            "DetailedStatus": self.detail,
        }


def about(stream: ExotelStream, line: Line) -> Told:
    """How a stream ended, in Exotel's words."""
    seconds = round(stream.ended_at - stream.started_at)
    if stream.closed_by != "server":
        by: Literal["user", "NA"] = "NA" if line.ended_by == "network" else "user"
        return Told(stream.stream_sid, "cancelled", by, seconds, stream.address.url)
    if stream.close_code in AS_ENDED:
        return Told(stream.stream_sid, "completed", "bot", seconds, stream.address.url)
    error = str(stream.close_code)
    return Told(stream.stream_sid, "failed", "NA", seconds, stream.address.url, error, "Streaming_failed")


def never_stood(failure: HandshakeFailed) -> Told:
    """A stream of which the handshake failed."""
    error = str(NOT_ESTABLISHED)
    return Told("", "failed", "NA", url=failure.url, error=error, detail="Streaming_not_established")


async def ask(call: ExotelCall, question: str, told: Told, **more: str) -> bool:
    """Asks one of the flow's questions; True for branch A.

    Without a proper answer the flow takes branch B, and a problem is written down.
    """
    configured = _address(call, {"ask": question, **more})
    fields = call.about()
    flat = {**fields, "flow_id": FLOW_ID, **{f"Stream[{k}]": v for k, v in told.fields().items()}}
    began, status = call.journal.clock(), 0
    try:
        status = await _asked(call, configured, fields, told)
    except (Unroutable, aiohttp.ClientError, TimeoutError, OSError) as error:
        call.journal.complain(NO_ANSWER, f"passthru {question}: {type(error).__name__} {error}")
    finally:
        call.journal.requested(configured.url, status, began, flat)
    if status not in (0, YES, NO):
        call.journal.complain(ANSWERED_ODDLY, f"passthru {question}: answered {status}")
    call.journal.event("asked", question=question, answer="yes" if status == YES else "no")
    return status == YES


async def _asked(call: ExotelCall, to: address.Address, fields: Mapping[str, str], told: Told) -> int:
    dialled, host = call.route.dial(to.url)
    request = _SHAPES[call.spec.flow.shape]({**fields, "flow_id": FLOW_ID}, told.fields())
    async with call.session.request(
        request.method,
        URL(_with_query(dialled, request.query), encoded=True),
        data=request.body or None,
        headers={"Host": host, **to.headers, **request.headers},
        allow_redirects=False,
        timeout=aiohttp.ClientTimeout(total=call.spec.flow.passthru_s),
    ) as response:
        await response.read()
        return response.status


@dataclass(frozen=True)
class Request:
    """The same news in one of the ways in which they may come."""

    method: str
    query: str = ""
    body: str = ""
    content_type: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Content-Type": self.content_type} if self.content_type else {}


def _keys(fields: Mapping[str, str], stream: Mapping[str, str]) -> str:
    return urlencode({**fields, **{f"Stream[{name}]": value for name, value in stream.items()}})


def _get(fields: Mapping[str, str], stream: Mapping[str, str]) -> Request:
    return Request("GET", _keys(fields, stream))


def _form(fields: Mapping[str, str], stream: Mapping[str, str]) -> Request:
    return Request("POST", "", _keys(fields, stream), "application/x-www-form-urlencoded")


def _text(fields: Mapping[str, str], stream: Mapping[str, str]) -> Request:
    return Request("GET", urlencode({**fields, "Stream": json.dumps(stream)}))


def _json(fields: Mapping[str, str], stream: Mapping[str, Any]) -> Request:
    return Request("POST", "", json.dumps({**fields, "Stream": dict(stream)}), "application/json")


_SHAPES = {"get": _get, "form": _form, "text": _text, "json": _json}


def _address(call: ExotelCall, question: Mapping[str, str]) -> address.Address:
    """Where the flow asks, with the question that this applet was given, by the Voicebot's credentials."""
    base = call.spec.flow.passthru_url or f"{call.route.public}/exotel/passthru"
    configured = address.read(_with_query(base, urlencode(question)))
    return replace(configured, authorization=configured.authorization or call.address.authorization)


def _with_query(url: str, more: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query="&".join(filter(None, [parts.query, more]))))
