"""``flask phone dial``: one call, its transcript as it happens, then what the caller's ear measured."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from flaskapp.simulator import process, tables
from flaskapp.simulator.orders import Order
from flaskapp.simulator.transcript import UNKNOWN, Transcript, Turn, Turns

LATE_LINES_S = 5.0
LOOK_S = 0.3


class Dialling:
    """One call in front of a person: events and transcript lines are printed as they come."""

    def __init__(self, order: Order, turns: Turns, console: Console, *, quiet: bool = False) -> None:
        self.transcript = Transcript(turns)
        self.report: dict[str, Any] = {}
        self.call_sid = ""
        self._order = order
        self._console = console
        self._quiet = quiet
        self._looked_at = 0.0

    def run(self) -> dict[str, Any]:
        """Places the call; returns its report.

        Raises:
            SimulatorFailed: the simulator's own process broke down.
        """
        for event in process.events(self._order, LOOK_S):
            self._told(event)
            if self.call_sid and time.monotonic() - self._looked_at >= LOOK_S:
                self._look()
        self._wait_for_late_lines()
        return self.report

    def _told(self, event: dict[str, Any]) -> None:
        kind = event.get("event", "")
        if kind == "ringing":
            self.call_sid = event["call_sid"]
        if kind == "summary":
            self.report = event["reports"][0]
        line = tables.progress(event)
        if line and not self._quiet:
            self._console.print(line, style="dim", highlight=False, markup=False)

    def _look(self, *, final: bool = False) -> None:
        for turn in self.transcript.look(self.call_sid, final=final):
            self._show(turn)
        self._looked_at = time.monotonic()

    def _show(self, turn: Turn) -> None:
        if not self._quiet:
            style = "cyan" if turn["speaker"] == "caller" else "green"
            at = f"{turn['start_ms'] / 1000:6.1f} s  "
            mode = turn.get("mode") or "live"
            who = turn["speaker"] if mode == "live" else f"{turn['speaker']} ({mode})"
            text = f"{at}{who}: {turn['text']}"
            self._console.print(text, style=style, highlight=False, markup=False)

    def _wait_for_late_lines(self) -> None:
        """The caller's words are transcribed beside the call and may come after its end."""
        spoken = len(self.report.get("turns", []))
        until = time.monotonic() + (LATE_LINES_S if self.report.get("answered") else 0.0)
        while not self.transcript.complete(spoken) and time.monotonic() < until:
            if not self.transcript.readable:
                break
            self._look()
            time.sleep(LOOK_S)
        self._look(final=True)
        if not self.transcript.turns and not self._quiet:
            self._console.print(UNKNOWN, style="yellow", highlight=False)


def verdict(report: dict[str, Any], transcript: Transcript, *, require_transcript: bool) -> str:
    """Why the call was no success, in one line; empty if it was."""
    if report["failed"]:
        return str(report["reason"])
    if require_transcript and not transcript.turns:
        return f"no transcript: {UNKNOWN.partition(': ')[2]}"
    if require_transcript and not transcript.two_sided:
        return "the transcript has no line of the caller followed by one of the agent"
    return ""


def dial(
    order: Order,
    turns: Turns,
    *,
    out: Path | None = None,
    require_transcript: bool = False,
    as_json: bool = False,
) -> int:
    """Places one call and shows it; 0 answered, 1 not.

    ``out``: folder for ``call.wav``, ``transcript.json`` and ``report.json``.
    """
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        order = replace(order, stereo_to=str(out / "call.wav"))
    console, errors = Console(soft_wrap=True), Console(stderr=True, soft_wrap=True)
    dialling = Dialling(order, turns, console, quiet=as_json)
    try:
        report = dialling.run()
    except process.SimulatorFailed as error:
        errors.print(str(error), markup=False, highlight=False)
        return 1
    reason = verdict(report, dialling.transcript, require_transcript=require_transcript)
    lines = dialling.transcript.lines()
    if out is not None:
        _write(out / "report.json", report)
        _write(out / "transcript.json", {"call_sid": report["call_sid"], "lines": lines})
    if as_json:
        print(json.dumps({**report, "lines": lines, "reason": reason}, indent=2))
    else:
        _print_tables(console, report, dialling.transcript, out)
    if reason:
        what = "answered, but" if report["answered"] else "not answered:"
        errors.print(f"{what} {reason}", markup=False, highlight=False)
    return 1 if reason else 0


def _print_tables(console: Console, report: dict[str, Any], transcript: Transcript, out: Path | None) -> None:
    if report["duration_s"]:
        console.print(tables.latencies(report, transcript.shares(), plain=not console.is_terminal))
        console.print(tables.pacing(report["pacing"]), highlight=False)
        if report["ahead_ms"] or report["violations"]:
            console.print(tables.rules(report), highlight=False)
    for line in tables.problems(report):
        console.print(line, markup=False, highlight=False)
    if out is not None:
        names: Sequence[str] = ("call.wav", "transcript.json", "report.json")
        console.print("written: " + ", ".join(str(out / name) for name in names), highlight=False)


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
