"""What the commands print for people: progress lines and tables, plain where nobody sits at a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table

from flaskapp.simulator.load import FIGURES
from flaskapp.simulator.transcript import Share

_PROGRESS = {
    "warning": "{text}",
    "ringing": "ringing ({call_sid})",
    "answered": "answered after {at_ms:.0f} ms",
    "streaming": "media stream open after {at_ms:.0f} ms",
    "spoke": "the caller speaks: {name}",
    "said": "the carrier says: {text}",
    "played": "the carrier plays: {url}",
    "recorded": "recorded {seconds} s of the caller ({recording_sid})",
    "dialled": "the carrier dials: {number}",
    "asked": "the flow asks: {question}? {answer}",
    "rejected": "rejected: {reason}",
    "ended": "ended after {at_ms:.0f} ms: {status}, by {by}",
}


def progress(event: dict[str, Any]) -> str:
    """One line for an event worth showing, empty for the others."""
    return _PROGRESS.get(event.get("event", ""), "").format(**event)


def latencies(report: dict[str, Any], shares: Sequence[Share], *, plain: bool) -> Table:
    """First sound and each turn at the caller's ear, and how much of it the application says was whose."""
    table = _table(plain, "ms")
    for name in ("at the ear", "engine", "this app", "heard"):
        table.add_column(name, justify="right")
    table.add_row("first sound", _ms(report["first_sound_ms"]), "", "", _ms(report["greeting_ms"] or None))
    for index, turn in enumerate(report["turns"]):
        share = shares[index] if index < len(shares) else Share()
        table.add_row(
            turn["utterance"] or f"turn {index + 1}",
            _ms(turn["latency_ms"]),
            _ms(share.engine_ms),
            _ms(share.bridge_ms),
            _ms(turn["heard_ms"] or None),
        )
    for index, made in enumerate(report["recordings"], 1):
        table.add_row(f"words after recording {index}", _ms(made["answer_ms"]), "", "", "")
        table.add_row(f"reply to recording {index}", _ms(made["reply_ms"]), "", "", "")
    table.add_row("longest silence", _ms(report["longest_silence_ms"]), "", "", "")
    return table


def figures(summary: dict[str, Any], *, plain: bool) -> Table:
    """Percentiles over all calls."""
    table = _table(plain, "ms")
    columns = ("n", "p50", "p95", "p99", "max")
    for name in columns:
        table.add_column(name, justify="right")
    for key, label in FIGURES:
        values = summary[key]
        if key in ("answer_ms", "reply_ms", "ahead_ms") and not values["n"]:
            continue  # nobody was recorded; a carrier that takes audio as it comes
        digits = 2 if key == "frame_lateness_ms" else 0
        table.add_row(label, str(values["n"]), *(_ms(values[name], digits) for name in columns[1:]))
    return table


def pacing(of: dict[str, Any]) -> str:
    """How well the caller's own frames kept time."""
    return (
        f"frames sent: {of['frames']}, lost {of['lost']}, over 10 ms late {of['late']}; lateness "
        f"p50 {of['p50_late_ms']:.1f}, p99 {of['p99_late_ms']:.1f}, max {of['max_late_ms']:.1f} ms"
    )


def rules(of: dict[str, Any]) -> str:
    """What a carrier with rules for its chunks has to say about those that it was sent."""
    broken = ", ".join(f"{kind} {count}" for kind, count in sorted(of["violations"].items())) or "none"
    ahead = of["ahead_ms"]  # of one call, or of many
    most = (ahead["max"] or 0) if isinstance(ahead, dict) else ahead
    return (
        f"chunks received: {of['received_media']} ({of['received_bytes']} bytes), at most {most:.0f} ms"
        f" ahead; rules broken: {broken}; underruns {of['underruns']} ({of['underrun_ms']:.0f} ms)"
    )


def problems(report: dict[str, Any]) -> list[str]:
    """One line for each complaint of the network, the first ten."""
    return [f"{p['level']} {p['code']}: {p['text']}" for p in report["problems"][:10]]


def _table(plain: bool, first: str) -> Table:
    table = Table(box=None if plain else box.SIMPLE_HEAD, pad_edge=not plain)
    table.add_column(first)
    return table


def _ms(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
