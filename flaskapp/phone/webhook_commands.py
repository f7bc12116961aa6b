"""``flask phone configure-webhook``: points a Twilio number at this server, and back."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

import click
from flask import current_app
from flask.cli import with_appcontext

from flaskapp.phone.errors import ConfigurationError
from flaskapp.phone.webhook_setup import (
    Memory,
    Number,
    Numbers,
    SetupError,
    console_steps,
    public_origin,
    wanted,
)

NOTHING = "(empty)"


def _fallback(_: click.Context, __: click.Parameter, url: str | None) -> str:
    if url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
        raise click.BadParameter("must be an address such as https://handler.twilio.com/twiml/EH...")
    return url or ""


@click.command("configure-webhook", short_help="Point the Twilio number at this server, or back.")
@click.option(
    "--number", help="Which number, as +15551234567 [default: TWILIO_PHONE_NUMBER, or the only one]."
)
@click.option(
    "--fallback-url",
    callback=_fallback,
    help="Asked by Twilio when this server does not answer [default: /phone/fallback of this server].",
)
@click.option("--dry-run", is_flag=True, help="Show what would be changed, and change nothing.")
@click.option("--undo", is_flag=True, help="Take the latest change back.")
@click.option("--force", is_flag=True, help="With --undo: overwrite what somebody else has set since, too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_appcontext
def configure_webhook_command(
    number: str | None, fallback_url: str, dry_run: bool, undo: bool, force: bool, yes: bool
) -> None:
    """Point the Twilio number at this server: shows old and new, asks, and remembers the old.

    Sets the voice URL, its fallback and the status callback to FLASK_BASE_URL, and prints how that is done by
    hand in Twilio's console. Nothing is bought and no call is placed.
    """
    settings = current_app.extensions["settings"]
    memory = current_app.extensions.get("webhook_memory") or Memory()
    try:
        origin = "" if undo else public_origin(settings)
        numbers = Numbers(settings)
        meant = numbers.find(number or settings.twilio_phone_number)
        fields = memory.before(meant) if undo else wanted(origin, fallback_url)
        if fields is None:
            raise SetupError(f"Nothing is remembered of {meant.phone_number}: there is nothing to undo")
        if undo and not force:
            _refuse_strange(meant, memory.strange(meant))
        if _is_changed(numbers, meant, fields, memory, dry_run=dry_run, undo=undo, yes=yes) and not undo:
            click.echo("Back: flask phone configure-webhook --undo")
    except (SetupError, ConfigurationError) as error:
        raise click.ClickException(str(error)) from error


def _refuse_strange(meant: Number, strange: Mapping[str, str]) -> None:
    """What somebody has set by hand since is not ours to take back.

    Raises:
        SetupError: there is such a thing; names it.
    """
    if strange:
        listed = "".join(f"\n  {name}: {now or NOTHING}" for name, now in strange.items())
        raise SetupError(
            f"{meant.phone_number} was changed by somebody else since; it has now:{listed}\n"
            "Nothing was changed. --undo --force overwrites that, too; --dry-run with them shows by what."
        )


def _is_changed(
    numbers: Numbers,
    meant: Number,
    fields: Mapping[str, str],
    memory: Memory,
    *,
    dry_run: bool,
    undo: bool,
    yes: bool,
) -> bool:
    """Show, ask, remember, change; in this order."""
    changes = meant.changes(fields)
    for line in _shown(meant, changes):
        click.echo(line)
    if meant.trunk_sid:
        click.echo("A SIP trunk takes this number's calls: take it off the trunk, or nothing here is asked.")
    click.echo("\nThe same by hand:")
    for line in console_steps(meant, fields):
        click.echo(line)
    if dry_run:
        click.echo("\nNothing was changed (--dry-run).")
    if undo and not changes and not dry_run:
        memory.forget(meant)  # it is so already: what was remembered before that comes next
    if dry_run or not changes:
        return False
    if not yes and not click.confirm(f"\nChange {meant.phone_number}?"):
        click.echo("Nothing was changed.")
        return False
    if not undo:
        memory.remember(meant, fields)
    try:
        numbers.update(meant, {name: then for name, (_, then) in changes.items()})
    except SetupError as error:
        if 400 <= error.status < 500 and not undo:  # of any other answer nobody knows whether it was done
            memory.forget(meant)
        raise
    if undo:
        memory.forget(meant)
    click.echo(f"{meant.phone_number} is changed.")
    return True


def _shown(meant: Number, changes: Mapping[str, tuple[str, str]]) -> list[str]:
    """Old and new, field by field."""
    if not changes:
        return [f"{meant.phone_number} is set as it should be."]
    lines = [f"{meant.phone_number}:"]
    for name, (now, then) in changes.items():
        lines += [f"  {name}", f"    - {now or NOTHING}", f"    + {then or NOTHING}"]
    return lines
