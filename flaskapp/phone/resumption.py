"""A call as its next stream finds it: what its earlier legs left in Redis, mended where a worker died."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

from redis.exceptions import RedisError

from flaskapp.phone.past import Past
from flaskapp.phone.transcript import CALLER, Line, heard_part
from flaskapp.store.audio import AudioBuffer
from flaskapp.store.history import OpenLinesWithdrawn, TurnSaved
from flaskapp.store.live import LiveStore, Seen

log = logging.getLogger(__name__)

#: A leg in one of these states broke off, and whoever was on it waits for the next one.
BROKEN_OFF = ("live", "moving")
UNHEARD_MS = 30_000
LINE_FIELDS = {each.name for each in fields(Line)}
SAVED_FIELDS = {each.name for each in fields(TurnSaved)} - {"call_sid", "item", "bridge_ms"}

Kept = dict[str, Any]


def past_of(call_sid: str, live: LiveStore, audio: AudioBuffer, now: float, seen: Seen | None = None) -> Past:
    """What a stream that comes now is told of its call; nothing is changed by asking.

    Args:
        now: seconds since 1970.
        seen: the call as it has just been looked at.
    """
    seen = seen or live.look(call_sid)
    known = seen.known
    if not known:
        return Past()
    lines = mended(seen.lines, _until_ms(seen, now))
    is_resumed = known.get("state") in BROKEN_OFF
    return Past(
        lines=tuple(_line(each) for each in lines if each["text"]),
        base_ms=max(0, round((now - float(known["began"])) * 1000)) if "began" in known else 0,
        unheard=_unheard(call_sid, known, audio) if is_resumed else b"",
        memo=_memo(call_sid, known),
        cost_usd=cost_usd(known),
        note=known.get("note", ""),
        broke_off=known.get("broke_off") == "1",
        position=int(known.get("positions") or 0),
    )


def take_up(call_sid: str, live: LiveStore, note: Callable[..., None]) -> None:
    """The stream was let in: what it was told is written down, and told to no other."""
    seen = live.look(call_sid)
    known = seen.known
    if any(map(_is_open, seen.lines)):
        _write_down(call_sid, seen, live, note)
    spent: dict[str, str] = {}
    if known.get("note"):
        spent["note"] = ""
    if known.get("broke_off") == "1":
        spent["broke_off"] = "0"
    if float(known.get("leg_cost") or 0):
        spent |= {"cost_usd": repr(cost_usd(known)), "leg_cost": "0"}
    if spent:
        live.remember(call_sid, **spent)


def write_down(call_sid: str, live: LiveStore, note: Callable[..., None]) -> None:
    """A leg broke off: mend its lines, and have all of the call's written, as its worker may not have."""
    _write_down(call_sid, live.look(call_sid), live, note)


def _write_down(call_sid: str, seen: Seen, live: LiveStore, note: Callable[..., None]) -> None:
    kept = seen.lines
    lines = mended(kept, _until_ms(seen, live.now()))
    live.keep_lines(call_sid, [new for old, new in zip(kept, lines, strict=True) if new is not old])
    note(
        OpenLinesWithdrawn(call_sid, tuple(each["item_id"] for each in lines)),
        *(_saved(call_sid, each) for each in lines if each.get("mode") == "live"),
    )


def mended(lines: Iterable[Kept], until_ms: int) -> list[Kept]:
    """The call's lines as they stand if the leg that left some of them open ended at ``until_ms``.

    An agent's line was heard until then. A caller's is withdrawn: its audio is heard again.
    """
    return [_closed(each, until_ms) if _is_open(each) else each for each in lines]


def cost_usd(known: Mapping[str, str]) -> float:
    """What a call has cost so far, its present leg or the one that broke off included."""
    return float(known.get("cost_usd") or 0) + float(known.get("leg_cost") or 0)


def _is_open(line: Kept) -> bool:
    """Whether a live leg left it unfinished; what was recorded always is as it will be."""
    return line.get("mode") == "live" and not line.get("is_final")


def _closed(line: Kept, until_ms: int) -> Kept:
    if line["speaker"] == CALLER:
        return {**line, "text": "", "is_final": True}
    start_ms, end_ms = line["start_ms"], max(line["end_ms"], line["start_ms"])
    heard_ms = min(max(until_ms - start_ms, 0), end_ms - start_ms)
    text = heard_part(line["text"], heard_ms, end_ms - start_ms) if heard_ms else ""
    was_cut = line["interrupted"] or text != line["text"]
    mended = {**line, "text": text, "end_ms": start_ms + heard_ms, "interrupted": was_cut, "is_final": True}
    return {**mended, "generated": line.get("generated") or line["text"]} if was_cut else mended


def _until_ms(seen: Seen, now: float) -> int:
    """When the call's leg was last heard of, in ms of the call; now, if nobody knows."""
    if "began" not in seen.known:
        return 0
    until = now if seen.last_sign is None else seen.last_sign
    return max(0, round((until - float(seen.known["began"])) * 1000))


def _unheard(call_sid: str, known: Mapping[str, str], audio: AudioBuffer) -> bytes:
    """What the caller said that no session has put into words: the latest of it."""
    try:
        chunks = audio.read(call_sid, int(known.get("heard_until_ms", "0")))
    except RedisError as error:
        log.warning("Redis is away: %s", error, extra={"call_sid": call_sid})
        return b""
    from_ms = chunks[-1].end_ms - UNHEARD_MS if chunks else 0
    return b"".join(chunk.mulaw for chunk in chunks if chunk.start_ms >= from_ms)


def _memo(call_sid: str, known: Mapping[str, str]) -> dict[str, Any]:
    try:
        memo = json.loads(known.get("memo") or "{}")
    except ValueError:
        log.warning("A call's memo cannot be read", extra={"call_sid": call_sid})
        return {}
    return memo if isinstance(memo, dict) else {}


def _line(kept: Kept) -> Line:
    """A line of the conversation's earlier part; what it was spoken through is of no interest now."""
    return Line(**{name: kept[name] for name in kept.keys() & LINE_FIELDS})


def _saved(call_sid: str, kept: Kept) -> TurnSaved:
    told = {name: kept[name] for name in kept.keys() & SAVED_FIELDS}
    return TurnSaved(**{"mode": "live", **told}, call_sid=call_sid, item=kept["item_id"])
