"""``flask phone doctor``: what is wrong with this installation, and what mends it."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from typing import TYPE_CHECKING

import click
from flask import current_app
from flask.cli import with_appcontext

if TYPE_CHECKING:
    from rich.table import Table

    from flaskapp.config import Settings
    from flaskapp.phone.checks.finding import Finding

EXIT = {"ok": 0, "warning": 1, "failure": 2}
MEND, READ = "mend", "read"
COLOURS = {"ok": "green", "warning": "yellow", "failure": "bold red"}


def _origin(_: click.Context, __: click.Parameter, url: str | None) -> str:
    """An origin, as FLASK_BASE_URL is one."""
    from flaskapp import addresses

    try:
        return addresses.origin(url or "")
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command("doctor", short_help="Check everything: each trouble, and what mends it.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON and nothing else.")
@click.option(
    "--url", callback=_origin, help="Where the server is asked [default: FLASK_BASE_URL, else HOST:PORT]."
)
@click.option("--only", multiple=True, metavar="CHECK", help="This check only; repeat for more.")
@with_appcontext
def doctor_command(as_json: bool, url: str, only: tuple[str, ...]) -> None:
    """Check the configuration end to end: each trouble with its cause and what mends it.

    It asks the running server, the engine, the carriers, Redis and the database; nothing is changed, no call
    is placed, nothing is paid for. Ends with 0 if all is well, 1 with warnings, 2 with failures.
    """
    from rich.console import Console

    from flaskapp.phone import doctor

    if unknown := [each for each in only if each not in doctor.NAMES]:
        raise click.UsageError(f"{unknown[0]!r} is no check; there are {', '.join(doctor.NAMES)}")
    settings, wrong = _settings()
    errors = Console(stderr=True)
    with errors.status("Asking the server, the engine, the carriers ..."):
        findings = doctor.checks(settings, url=url, wrong=wrong, only=only or doctor.NAMES)
    verdict = doctor.verdict(findings)
    if as_json:
        told = {"status": str(verdict), "checks": [each.to_json() for each in findings]}
        click.echo(json.dumps(told, indent=2))
    else:
        _show(findings)
    sys.exit(EXIT[verdict])


def _settings() -> tuple[Settings, dict[str, str]]:
    """The app's; where there is none, those that are right, and what is wrong about the others."""
    from flaskapp.config import examined

    known = current_app.extensions.get("settings")
    return (known, {}) if known is not None else examined()


def _show(findings: Collection[Finding]) -> None:
    """A table for people who sit at a terminal, lines that can be searched for all others."""
    from rich.console import Console

    console = Console(highlight=False)
    if console.is_terminal:
        console.print(_table(findings))
    else:
        for each in findings:
            click.echo(f"{each.status:<8} {each.name:<11} {each.cause}")
            for label, text in _remedies(each):
                click.echo(f"{'':<8} {label:<11} {text}")
    counts = [f"{sum(each.status == word for each in findings)} {word}" for word in EXIT]
    click.echo(f"\n{', '.join(counts)}")


def _table(findings: Collection[Finding]) -> Table:
    """One row for each; what mends a trouble is below its cause, on a line of its own, to be copied."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for _ in ("status", "check"):
        table.add_column(no_wrap=True, min_width=11)
    table.add_column(overflow="fold", ratio=1)
    for each in findings:
        table.add_row(Text(each.status, COLOURS[each.status]), Text(each.name, "bold"), Text(each.cause))
        for label, text in _remedies(each):
            table.add_row("", Text(label, "dim"), Text(text, "cyan" if label == MEND else "dim"))
    return table


def _remedies(finding: Finding) -> list[tuple[str, str]]:
    return [(label, text) for label, text in ((MEND, finding.command), (READ, finding.page)) if text]
