"""``flask phone purge``: calls that are over are removed, sound and words, by age or one by one."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, cast

import click
from flask import current_app
from flask.cli import with_appcontext
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from flaskapp.config import MOST_DAYS

if TYPE_CHECKING:
    from flaskapp.store.removal import Removal

TROUBLES = (OSError, RedisError, SQLAlchemyError)


@dataclass
class Tally:
    """What came of a purge.

    Attributes:
        bytes: of sound.
        kept: calls that were left alone, and why.
    """

    calls: int = 0
    rows: int = 0
    bytes: int = 0
    kept: list[dict[str, str]] = field(default_factory=list)


def _is_number(context: click.Context, parameter: click.Parameter, days: float | None) -> float | None:
    """Refuse what no range does: a ``nan`` is neither too small nor too large."""
    if days is not None and math.isnan(days):
        raise click.BadParameter("nan is no number of days.")
    return days


@click.command("purge", short_help="Remove calls for good: sound, words, rows.")
@click.option(
    "--older-than",
    type=click.FloatRange(0, MOST_DAYS),
    callback=_is_number,
    metavar="DAYS",
    help=f"Calls that ended before then, {MOST_DAYS} at most [default: RETENTION_DAYS].",
)
@click.option("--call", "call_sid", metavar="SID", help="This call and no other.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed; remove nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON and nothing else.")
@with_appcontext
def purge_command(
    older_than: float | None, call_sid: str | None, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Remove calls for good: sound, transcript, events, and what Redis still has of them.

    Calls that go on, or of which words are still to be understood, are left alone. What was interrupted is
    finished by asking again. Exit code 1: something could not be removed.
    """
    removal = cast("Removal", current_app.extensions["removal"])
    try:
        wanted = _wanted(removal, older_than, call_sid)
        if wanted and not (dry_run or yes):
            size = sum(removal.bytes_of(each) for each in wanted)
            click.confirm(f"Remove {_counted(len(wanted))}, {_size(size)} of sound?", abort=True, err=True)
        tally = _removed(removal, wanted, dry_run)
    except TROUBLES as error:
        raise click.ClickException(f"Not everything is removed: {_told(error)}. Ask again.") from error
    click.echo(json.dumps({**asdict(tally), "dry_run": dry_run}) if as_json else _sentence(tally, dry_run))
    if call_sid is not None and tally.kept:
        sys.exit(1)


@click.command("data-key")
def data_key_command() -> None:
    """Print a new key for DATA_KEY. To replace one, set the new one, a comma, and the old one."""
    from flaskapp.store.sealing import new_key

    click.echo(new_key())


def _wanted(removal: Removal, older_than: float | None, call_sid: str | None) -> list[str]:
    """Which calls are to go."""
    if call_sid is not None:
        if older_than is not None:
            raise click.UsageError("--call and --older-than exclude each other.")
        if not removal.is_known(call_sid):
            raise click.ClickException(f"Nothing is kept of a call {call_sid}.")
        return [call_sid]
    days = removal.retention_days if older_than is None else older_than
    if older_than is None and not days:
        raise click.UsageError("RETENTION_DAYS is not set: say --older-than DAYS, or --call SID.")
    return list(removal.old(removal.before(days)))


def _removed(removal: Removal, wanted: list[str], dry_run: bool) -> Tally:
    """Each call in its turn, behind a progress bar where somebody looks."""
    from rich.console import Console
    from rich.progress import track

    tally = Tally()
    console = Console(stderr=True)
    for call_sid in track(wanted, "Removing", console=console, disable=not console.is_terminal):
        if why := removal.why_not(call_sid):
            tally.kept.append({"call_sid": call_sid, "why": why})
            continue
        if dry_run:
            tally.bytes += removal.bytes_of(call_sid)
        else:
            removed = removal.remove(call_sid)
            tally.rows += removed.rows
            tally.bytes += removed.bytes
        tally.calls += 1
    return tally


def _sentence(tally: Tally, dry_run: bool) -> str:
    what = "Would remove" if dry_run else "Removed"
    rows = "" if dry_run else f", {tally.rows} rows"
    lines = [f"{what} {_counted(tally.calls)}{rows}, {_size(tally.bytes)} of sound."]
    lines += [f"{each['call_sid']} stays: {each['why']}." for each in tally.kept]
    return "\n".join(lines)


def _counted(calls: int) -> str:
    return "1 call" if calls == 1 else f"{calls} calls"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _told(error: Any) -> str:
    """Of a database's errors only the kind: its words may be a caller's."""
    from flaskapp.store.database import in_short

    return in_short(error)
