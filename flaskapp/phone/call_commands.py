"""``flask phone calls`` and ``flask phone show``: the history on the terminal, and one call's post-mortem."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, cast

import click
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy.exc import SQLAlchemyError

from flaskapp.phone.carriers import BUILT_IN
from flaskapp.phone.post_mortem import PostMortem, Remains, examine
from flaskapp.phone.reasons import OUTCOMES
from flaskapp.store.statements import RANKS

if TYPE_CHECKING:
    from rich.console import Console

    from flaskapp.store.history import History

_JSON = click.option("--json", "as_json", is_flag=True, help="Print it as JSON and nothing else.")
STAND_IN = "local"  # as the history names it
#: Letters that do not print: a caller's words shall not command the terminal.
_CONTROLS = dict.fromkeys([*range(32), *range(127, 160)])


def _day_or_time(_: click.Context, __: click.Parameter, text: str | None) -> datetime | None:
    """A moment; without a zone it is this machine's."""
    if text is None:
        return None
    try:
        if len(text) == len("2026-11-22"):
            return datetime.combine(date.fromisoformat(text), datetime.min.time()).astimezone(UTC)
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter("is a day, as 2026-11-22, or a time, as 2026-11-22T09:00") from error


def _reading(command: Callable[..., None]) -> Callable[..., None]:
    """A history that cannot be read is said in a line."""

    @wraps(command)
    def told(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except SQLAlchemyError as error:
            hint = "flask phone doctor says what ails it; flask db upgrade makes its tables"
            raise click.ClickException(
                f"The history cannot be read ({type(error).__name__}): {hint}."
            ) from error

    return told


@click.command("calls")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="So many at most.")
@click.option("--after", help="Those before this call: CALL_SID of the last one that was shown.")
@click.option("--carrier", help=f"Only this carrier's: {', '.join(BUILT_IN)}, or one of your own.")
@click.option("--status", type=click.Choice(list(RANKS)), help="Only those that stand so.")
@click.option("--outcome", type=click.Choice(list(OUTCOMES)), help="Only those that came to this.")
@click.option("--since", callback=_day_or_time, help="Only those that began then or later: a day, or a time.")
@_JSON
@with_appcontext
@_reading
def calls_command(
    limit: int,
    after: str | None,
    carrier: str | None,
    status: str | None,
    outcome: str | None,
    since: datetime | None,
    as_json: bool,
) -> None:
    """List calls, the newest first."""
    from flaskapp.store.wanted import Wanted

    if after is not None and _history().call(after) is None:
        raise click.UsageError("--after names no call.")
    wanted = Wanted(carrier=carrier, status=status, outcome=outcome, since=since)
    rows = _history().calls(after, limit, wanted)
    if (
        not rows
        and carrier not in (None, *BUILT_IN)
        and not _history().calls(None, 1, Wanted(carrier=carrier))
    ):
        raise click.UsageError(f"--carrier {carrier} has brought no call; there are {', '.join(BUILT_IN)}.")
    if as_json:
        from flaskapp.api.shapes import Call

        click.echo(_as_json([Call.model_validate(row).model_dump(mode="json") for row in rows]))
        return
    if not rows:
        click.echo("No such calls." if after or wanted != Wanted() else "There has been no call yet.")
        return
    _print_calls(rows)


@click.command("show", short_help="Tell what happened in a call, and why it ended.")
@click.argument("call_sid")
@_JSON
@with_appcontext
@_reading
def show_command(call_sid: str, as_json: bool) -> None:
    """Tell what happened in a call, why it ended, what failed, and what to do."""
    told = _history()
    call = told.call(call_sid)
    if call is None:
        raise click.ClickException("No such call: flask phone calls lists those that there are.")
    remains = Remains(
        call,
        told.turns(call_sid),
        told.events(call_sid),
        told.recordings(call_sid),
        told.deliveries.of(call_sid),
    )
    found = examine(remains)
    if as_json:
        from flaskapp.api.shapes import Call

        head = Call.model_validate(call).model_dump(mode="json")
        click.echo(_as_json({**head, "usage": call["usage"], "message": call["message"], **asdict(found)}))
    else:
        _print_post_mortem(call, found)


def _history() -> History:
    return cast("History", current_app.extensions["history"])


def _as_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


# ---------------------------------------------------------------------- for people


def _console() -> Console:
    """As wide as the terminal; a file, or a pipe, takes whole lines."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, emoji=False, width=200)
    return console


def _print_calls(rows: Sequence[Mapping[str, Any]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("call", "began", "carrier", "from", "to", "mode", "lasted", "ended", "outcome", "USD"):
        table.add_column(name, justify="right" if name in ("lasted", "USD") else "left", overflow="fold")
    for row in rows:
        cells = (
            *(row["call_sid"], _local(row["started_at"]), row["carrier"], row["caller"], row["called"]),
            *(row["mode"], _length(row["duration_ms"]), row["ended_reason"] or row["status"], row["outcome"]),
            "" if row["cost_usd"] is None else f"{row['cost_usd']:.4f}",
        )
        table.add_row(*(_plain(cell) for cell in cells))
    _console().print(table)


def _print_post_mortem(call: Mapping[str, Any], found: PostMortem) -> None:
    from rich.text import Text

    say = _console().print
    say(Text(f"Call {call['call_sid']}", style="bold"))
    for name, value in _head(call):
        say(f"  {name:<9} {_plain(value)}")
    say()
    say(Text("What happened", style="bold"))
    for moment in found.story:
        say(f"  {_clock(moment.at_ms):>9}  {_plain(moment.what)}", soft_wrap=True)
    say()
    say(Text("Why it ended", style="bold"))
    say(f"  {_plain(found.ended)}", soft_wrap=True)
    if found.figures.steps:
        known = found.figures
        say(
            f"  {len(known.steps)} answers, from the caller's last word to the first sound that left: median"
            f" {known.median_ms} ms, p90 {known.p90_ms} ms.",
            soft_wrap=True,
        )
    say()
    say(Text("What failed", style="bold"))
    if not found.findings:
        say("  Nothing.")
    for each in found.findings:
        times = f" ({each.count} times)" if each.count > 1 else ""
        say(f"  {each.kind}: {_plain(each.what)}{times}.", soft_wrap=True)
        for text in (each.remedy, each.page):
            if text:
                say(f"    -> {_plain(text)}", soft_wrap=True)


def _head(call: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What is known, line by line."""
    message, cost = call["message"] or {}, call["cost_usd"]
    is_stand_in = call["engine"] == STAND_IN
    engine = "local stand-in" if is_stand_in else " ".join(filter(None, (call["engine"], call["model"])))
    lines = [
        ("from", call["caller"]),
        ("to", call["called"]),
        ("carrier", call["carrier"]),
        ("began", _local(call["started_at"])),
        ("lasted", _length(call["duration_ms"])),
        ("status", call["status"]),
        ("mode", call["mode"]),
        ("engine", engine),
        ("outcome", call["outcome"]),
        ("message", message.get("text")),
        ("cost", "nothing" if is_stand_in else "" if cost is None else f"{cost:.4f} USD"),
    ]
    return [(name, value) for name, value in lines if value]


def _plain(value: Any) -> str:
    return "" if value is None else str(value).translate(_CONTROLS)


def _local(moment: datetime | None) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment is not None else ""


def _length(ms: int | None) -> str:
    return "" if ms is None else f"{ms // 60_000}:{ms // 1000 % 60:02d}"


def _clock(ms: int) -> str:
    return f"{ms // 60_000}:{ms // 1000 % 60:02d}.{ms % 1000 // 100}"
