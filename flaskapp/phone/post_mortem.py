"""What happened in a call, why it ended, what failed, and what to do: told from its history alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flaskapp.phone.ailments import AILMENTS, RECORDINGS, Ailment
from flaskapp.phone.reasons import FAILURES, reason
from flaskapp.phone.transcript import AGENT, CALLER
from flaskapp.store.figures import CallFigures, call_figures

Row = Mapping[str, Any]

SLOW_MS = 2000
UNDERSTOOD = ("answered", "understood", "silent")


@dataclass(frozen=True)
class Moment:
    """One line of the story, so many milliseconds after the call began."""

    at_ms: int
    what: str


@dataclass(frozen=True)
class Finding:
    """Something that was not as it should be: how often, why, and what to do about it.

    Attributes:
        kind: as events, metrics and the log name it.
        page: where more is said; empty: nowhere.
    """

    kind: str
    count: int
    what: str
    remedy: str
    page: str


@dataclass(frozen=True)
class PostMortem:
    """All that can be said of one call."""

    ended: str
    story: tuple[Moment, ...]
    findings: tuple[Finding, ...]
    figures: CallFigures


@dataclass(frozen=True)
class Remains:
    """What the history has of a call: rows of its tables, as ``History`` gives them."""

    call: Row
    turns: Sequence[Row]
    events: Sequence[Row]
    recordings: Sequence[Row]
    delivery: Row | None = None


def examine(remains: Remains) -> PostMortem:
    """The same remains give the same answer."""
    story = sorted(_story(remains), key=lambda moment: moment.at_ms)
    return PostMortem(
        ended(remains.call), tuple(story), tuple(_findings(remains)), call_figures(remains.turns)
    )


def ended(call: Row) -> str:
    """Why a call ended, in a sentence; of one that goes on, that it does."""
    why = call["ended_reason"]
    if not why:
        return "It is not over yet." if call["ended_at"] is None else "It is over; nobody said why."
    return f"{reason(why).words}."


# ---------------------------------------------------------------------- the story


def _story(remains: Remains) -> Iterator[Moment]:
    call = remains.call
    yield Moment(0, f"{call['carrier'] or 'a carrier'} brought the call ({call['mode'] or 'not taken'})")
    for turn in remains.turns:
        if turn["text"]:
            yield Moment(turn["start_ms"], _line(turn))
    for event in remains.events:
        yield Moment(event["at_ms"], _event(event))
    for each in remains.recordings:
        if each["at_ms"] is not None:
            seconds = f", {each['duration_ms'] / 1000:.1f} s" if each["duration_ms"] else ""
            yield Moment(each["at_ms"], f"was recorded{seconds}: {each['status']}")


def _line(turn: Row) -> str:
    marks = [turn["mode"]] if turn["mode"] != "live" else []
    marks += ["interrupted"] if turn["interrupted"] else []
    marks += ["unfinished"] if not turn["is_final"] else []
    return f"{turn['speaker']}: {turn['text']}" + (f" ({', '.join(marks)})" if marks else "")


def _event(event: Row) -> str:
    detail = event["detail"]
    if detail.get("fault"):
        what = AILMENTS.get(event["kind"], Ailment(event["kind"])).what
        return f"fault: {what[0].lower()}{what[1:]}" + (
            f" ({detail['detail']})" if detail.get("detail") else ""
        )
    told = EVENTS.get(event["kind"])
    return told(detail) if told else event["kind"].replace("_", " ")


#: What is said of an event that is no fault.
EVENTS: Mapping[str, Callable[[Row], str]] = {
    "barge_in": lambda detail: "the caller interrupted",
    "dtmf": lambda detail: f"the caller pressed {detail.get('keys', 'some')} keys",
    "silence": lambda detail: "the caller was asked whether he is there",
    "hold": lambda detail: "the caller heard that he should wait",
    "session_renewed": lambda detail: "the engine's session was renewed",
    "tool_called": lambda detail: f"the agent asked {detail.get('name', 'a function')}",
    "tool_answered": lambda detail: (
        f"{detail.get('name', 'it')} {'failed' if detail.get('failed') else 'answered'}"
        f" after {detail.get('took_ms', '?')} ms"
    ),
    "transfer": lambda detail: (
        f"was put through to {detail.get('destination', 'somebody')}: {detail.get('became', '?')}"
    ),
    "passthru": lambda detail: (
        f"the flow asked {detail.get('asked', '?')}: {'yes' if detail.get('answered') else 'no'}"
    ),
}


# ---------------------------------------------------------------------- what failed


def _findings(remains: Remains) -> Iterator[Finding]:
    faults = Counter(event["kind"] for event in remains.events if event["detail"].get("fault"))
    why = remains.call["ended_reason"]
    if why in FAILURES and why not in faults:
        faults[why] = 1
    for kind, count in faults.items():
        yield _finding(kind, count, AILMENTS.get(kind, Ailment(reason(kind).words, "look in the log")))
    statuses = Counter(each["status"] for each in remains.recordings if each["status"] not in UNDERSTOOD)
    for status, count in statuses.items():
        yield _finding(
            f"recording_{status}", count, RECORDINGS.get(status, Ailment(f"A recording is {status}"))
        )
    yield from _slow(remains)
    yield from _unheard(remains)
    yield from _untold(remains.delivery)


def _finding(kind: str, count: int, known: Ailment) -> Finding:
    return Finding(kind, count, known.what, known.remedy, known.page)


def _slow(remains: Remains) -> Iterator[Finding]:
    p90_ms = call_figures(remains.turns).p90_ms
    if p90_ms is not None and p90_ms > SLOW_MS:
        what = f"Answers were slow: one of ten took {p90_ms / 1000:.1f} s or more"
        yield Finding("slow_answers", 1, what, "", "docs/troubleshooting.md#choppy-sound")


def _unheard(remains: Remains) -> Iterator[Finding]:
    call = remains.call
    has_words = any(turn["speaker"] == CALLER and turn["text"].strip() for turn in remains.turns)
    if call["ended_at"] is None or has_words or call["mode"] in (None, "rejected"):
        return
    if any(turn["speaker"] == AGENT and turn["text"] for turn in remains.turns):
        what = "No word of the caller's is written down: he said none, or was not heard"
        yield Finding("nothing_said", 1, what, "", "docs/troubleshooting.md#the-transcript-is-empty")


def _untold(delivery: Row | None) -> Iterator[Finding]:
    if delivery is None or not delivery["last_error"] or not delivery["attempts"]:
        return
    what = f"CALL_WEBHOOK_URL did not accept the call: {delivery['last_error']}"
    remedy = "it is given up" if delivery["given_up_at"] else "it is tried again"
    yield Finding("webhook", delivery["attempts"], what, remedy, "docs/call-webhook.md")
