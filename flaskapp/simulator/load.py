"""Many calls in a few figures: percentiles of what callers heard and how well frames kept time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from flaskapp.simulator.report import CallReport

FIGURES = (
    ("first_sound_ms", "first sound"),
    ("turn_latency_ms", "turn latency"),
    ("answer_ms", "words after a recording"),
    ("reply_ms", "reply to a recording"),
    ("longest_silence_ms", "longest silence"),
    ("frame_lateness_ms", "frame lateness"),
    ("ahead_ms", "ahead of being heard"),
)


def percentiles(values: Iterable[float]) -> dict[str, float | int | None]:
    """n, p50, p95, p99 and max by nearest rank; None where there is nothing to rank."""
    ranked = sorted(values)
    if not ranked:
        return {"n": 0, "p50": None, "p95": None, "p99": None, "max": None}
    at = {f"p{p}": round(_ranked(ranked, p), 2) for p in (50, 95, 99)}
    return {"n": len(ranked), **at, "max": round(ranked[-1], 2)}


def summarise(reports: Sequence[CallReport]) -> dict[str, Any]:
    """The figures of all calls together, what failed and why, and each call's own report."""
    latencies = [turn.latency_ms for report in reports for turn in report.turns if not turn.cut_off]
    made = [recording for report in reports for recording in report.recordings]
    return {
        "calls": len(reports),
        "failed": sum(report.failed for report in reports),
        "reasons": dict(Counter(report.reason for report in reports if report.failed)),
        "first_sound_ms": percentiles(r.first_sound_ms for r in reports if r.first_sound_ms is not None),
        "turn_latency_ms": percentiles(ms for ms in latencies if ms is not None),
        "unanswered_turns": sum(ms is None for ms in latencies),
        "answer_ms": percentiles(each.answer_ms for each in made if each.answer_ms is not None),
        "reply_ms": percentiles(each.reply_ms for each in made if each.reply_ms is not None),
        "longest_silence_ms": percentiles(r.longest_silence_ms for r in reports if r.answered),
        "frame_lateness_ms": percentiles(ms for report in reports for ms in report.lateness_ms),
        "ahead_ms": percentiles(report.ahead_ms for report in reports if report.ahead_ms),
        "violations": dict(sum((Counter(report.violations) for report in reports), Counter())),
        "underruns": sum(report.underruns for report in reports),
        "underrun_ms": round(sum(report.underrun_ms for report in reports), 1),
        "received_media": sum(report.received_media for report in reports),
        "received_bytes": sum(report.received_bytes for report in reports),
        "frames": sum(report.pacing.frames for report in reports),
        "late_frames": sum(report.pacing.late for report in reports),
        "lost_frames": sum(report.pacing.lost for report in reports),
        "reports": [report.to_json() for report in reports],
    }


def _ranked(ranked: Sequence[float], percent: int) -> float:
    return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)]
