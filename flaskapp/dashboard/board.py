"""The live board: what goes on right now, what became of today's calls, what is still to be set up.

It is kept fresh by asking every two seconds. That is simpler than a stream of
events and survives everything: a proxy that buffers, a worker that ends, a
laptop that slept; and all that look at once cost the stores what one does.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any, cast
from urllib.parse import urlencode

from flask import Blueprint, Flask, Response, current_app, jsonify, request
from flask.sansio.blueprints import BlueprintSetupState

from flaskapp.access import CALL_SID, operators_page, require_operator
from flaskapp.config import Settings
from flaskapp.dashboard.dress import in_turns, minutes_west
from flaskapp.dashboard.setup_steps import Step
from flaskapp.dashboard.snapshot import Board
from flaskapp.dashboard.words import MODES
from flaskapp.phone.carriers import BUILT_IN
from flaskapp.phone.reasons import OUTCOMES
from flaskapp.store.figures import Figures
from flaskapp.store.wanted import Wanted

PARTS = ("state", "live", "today", "setup", "calls")
CHOICES = {"carrier": BUILT_IN, "mode": tuple(MODES), "outcome": tuple(OUTCOMES)}
DOCTOR_WITHIN_S = 3.0


def add_pages(dashboard: Blueprint) -> None:
    """``/dashboard/``, and what keeps it fresh."""
    dashboard.add_url_rule("/", "board", operators_page(board))
    dashboard.add_url_rule("/board.json", "board_parts", require_operator(board_parts))
    dashboard.record_once(_have_board)


def _have_board(state: BlueprintSetupState) -> None:
    own = state.app.extensions
    own["board"] = Board(own, Figures(cast(Flask, state.app)), _not_well)


def _not_well(settings: Settings) -> list[Step]:
    """What the doctor finds without asking anybody but this machine and the stores."""
    from flaskapp.phone.doctor import CHEAP, checks

    found = checks(settings, only=CHEAP, within_s=DOCTOR_WITHIN_S)
    ill = [each for each in found if each.status != "ok"]
    return [Step(each.name.capitalize(), False, each.cause, each.command) for each in ill]


def board() -> str:
    """Active calls, and what became of today's."""
    return in_turns("dashboard/board.html", **_shown())


def board_parts() -> Response:
    """``{"parts": {name: HTML}}``: each part of the page as it is now."""
    shown = _shown()
    parts = {name: in_turns(f"dashboard/board/{name}.html", **shown) for name in PARTS}
    return jsonify({"parts": parts})


def _shown() -> dict[str, Any]:
    chosen, after, west = _chosen(), _after(), minutes_west()
    since, until = _day(chosen.get("day", ""), west)
    wanted = Wanted(
        carrier=chosen.get("carrier"),
        mode=chosen.get("mode"),
        outcome=chosen.get("outcome"),
        since=since,
        until=until,
    )
    kept = {name: value for name, value in chosen.items() if value}
    found = cast(Board, current_app.extensions["board"]).take(wanted, after, west)
    return {
        "now": found,
        "chosen": chosen,
        "choices": CHOICES,
        "west": west,
        "is_first_page": not after,
        "first_page": f"?{urlencode(kept)}" if kept else "?",
        "next_page": f"?{urlencode({**kept, 'after': found.after})}" if found.after else "",
        "csv": f"/api/calls.csv{_csv_question(wanted)}",
    }


def _chosen() -> dict[str, str]:
    """What the table is to show; a choice that there is not is none."""
    given = {name: request.args.get(name, "") for name in CHOICES}
    known = {name: value for name, value in given.items() if value in CHOICES[name]}
    day = request.args.get("day", "")
    return {**known, "day": day} if _parsed(day) else known


def _after() -> str:
    after = request.args.get("after", "")
    return after if CALL_SID.fullmatch(after) else ""


def _parsed(day: str) -> date | None:
    try:
        return date.fromisoformat(day)
    except ValueError:
        return None


def _day(text: str, minutes_west: int) -> tuple[datetime | None, datetime | None]:
    """When it begins, and when it is over."""
    day = _parsed(text)
    if day is None or not 1970 < day.year < 9999:
        return None, None
    begins = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(minutes=minutes_west)
    return begins, begins + timedelta(days=1)


def _csv_question(wanted: Wanted) -> str:
    named = {name: getattr(wanted, name) for name in CHOICES if getattr(wanted, name)}
    times = {"since": wanted.since, "until": wanted.until}
    told = {name: at.isoformat().replace("+00:00", "Z") for name, at in times.items() if at is not None}
    return f"?{urlencode({**named, **told})}" if named or told else ""
