"""``flask phone``: calls to a running server from a simulated telephone network."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click
from flask import current_app
from flask.cli import AppGroup
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from flaskapp.phone.audio import read_wav
from flaskapp.phone.call_commands import calls_command, show_command
from flaskapp.phone.doctor_commands import doctor_command
from flaskapp.phone.errors import AudioError
from flaskapp.phone.purge import data_key_command, purge_command
from flaskapp.phone.webhook_commands import configure_webhook_command

if TYPE_CHECKING:
    from flaskapp.simulator.orders import Order

phone_cli = AppGroup("phone", help="Calls, checks and settings of the telephone line.")
phone_cli.add_command(doctor_command)
phone_cli.add_command(configure_webhook_command)
phone_cli.add_command(calls_command)
phone_cli.add_command(show_command)
phone_cli.add_command(purge_command)
phone_cli.add_command(data_key_command)

CARRIERS = ("twilio", "exotel")
SAMPLE_RATES = ("8000", "16000", "24000")
SPELLINGS = ("snake", "camel")
_Command = TypeVar("_Command", bound=Callable[..., Any])


def _wavs(_: click.Context, __: click.Parameter, paths: Sequence[Path]) -> tuple[str, ...]:
    """Looks into each file before anybody is called."""
    for path in paths:
        try:
            read_wav(path.read_bytes())
        except (OSError, AudioError) as error:
            raise click.BadParameter(f"{path}: {error}") from error
    return tuple(str(path.resolve()) for path in paths)


_WAV = click.option(
    "--wav",
    "wavs",
    multiple=True,
    callback=_wavs,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What the caller says: any WAV file; repeat for more utterances.",
)
_PUBLIC_URL = click.option(
    "--public-url",
    help="Origin that is signed [default: FLASK_BASE_URL, else URL]. Sockets go to URL's host.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON and nothing else.")
_RECORD_PATH = click.option(
    "--record-path", is_flag=True, help="Ring the webhook that records instead of streaming."
)


_CARRIER = (
    click.option("--carrier", type=click.Choice(CARRIERS), default=CARRIERS[0], show_default=True),
    click.option(
        "--sample-rate",
        type=click.Choice(SAMPLE_RATES),
        default=SAMPLE_RATES[0],
        show_default=True,
        help="Exotel: Hz of the audio, put on the stream's URL.",
    ),
    click.option(
        "--spelling",
        type=click.Choice(SPELLINGS),
        default=SPELLINGS[0],
        show_default=True,
        help="Exotel: how its messages spell their fields (stream_sid or streamSid).",
    ),
    click.option("--key", help="Exotel: API key, sent as HTTP Basic [default: EXOTEL_API_KEY]."),
    click.option("--token", help="Exotel: API token [default: EXOTEL_API_TOKEN, seen in no process list]."),
)


@dataclass(frozen=True)
class _Asked:
    """Which carrier is to call, and what is its own."""

    carrier: str
    sample_rate: str
    spelling: Any
    key: str | None
    token: str | None


def _by_carrier(command: _Command) -> _Command:
    """The options that say which carrier calls; the command gets them together, as ``asked``."""

    @functools.wraps(command)
    def gathering(**options: Any) -> Any:
        names = ("carrier", "sample_rate", "spelling", "key", "token")
        return command(asked=_Asked(**{name: options.pop(name) for name in names}), **options)

    for option in reversed(_CARRIER):
        gathering = option(gathering)
    return cast(_Command, gathering)


@phone_cli.command("dial", short_help="Place one simulated call, and show what was heard.")
@click.argument("url")
@_by_carrier
@_WAV
@click.option(
    "--seconds", type=click.FloatRange(1, 14400), default=60, show_default=True, help="Longest call."
)
@_RECORD_PATH
@click.option("--from", "from_number", default="+15551230001", show_default=True)
@click.option("--to", "to_number", help="Number that is called [default: TWILIO_PHONE_NUMBER].")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for call.wav, transcript.json and report.json.",
)
@_PUBLIC_URL
@click.option("--require-transcript", is_flag=True, help="Both sides must be in the transcript, too.")
@_JSON
def dial_command(
    url: str,
    asked: _Asked,
    wavs: tuple[str, ...],
    seconds: float,
    record_path: bool,
    from_number: str,
    to_number: str | None,
    out: Path | None,
    public_url: str | None,
    require_transcript: bool,
    as_json: bool,
) -> None:
    """Call a running server at URL and show the transcript and the latencies.

    URL is the server's origin (http://127.0.0.1:5001) or one webhook's whole URL; for Exotel
    the origin, whose /exotel is streamed to, the stream's ws:// or wss:// URL, or an http URL that
    answers with one. The transcript is read from this machine's database.
    Ends with 0 if the caller was answered, 1 if not, 2 if it was asked wrongly.
    """
    from flaskapp.simulator.dial import dial

    order = replace(
        _ordered(url, public_url, asked, record_path=record_path),
        wavs=wavs,
        seconds=seconds,
        from_number=from_number,
    )
    if to_number:
        order = replace(order, to_number=to_number)
    sys.exit(dial(order, _turns, out=out, require_transcript=require_transcript, as_json=as_json))


@phone_cli.command("load", short_help="Place many simulated calls at once: percentiles.")
@click.argument("url")
@_by_carrier
@click.option("--calls", type=click.IntRange(1, 1000), default=10, show_default=True)
@click.option("--seconds", type=click.FloatRange(1, 14400), default=30, show_default=True)
@_WAV
@_RECORD_PATH
@_PUBLIC_URL
@_JSON
def load_command(
    url: str,
    asked: _Asked,
    calls: int,
    seconds: float,
    wavs: tuple[str, ...],
    record_path: bool,
    public_url: str | None,
    as_json: bool,
) -> None:
    """Place many simulated calls to URL at once; ends with 0 if none failed.

    Exotel's rules for the audio that it is sent are checked; a call in which one is broken failed.
    """
    from flaskapp.simulator.loading import load

    order = _ordered(url, public_url, asked, record_path=record_path)
    order = replace(order, calls=calls, seconds=seconds, wavs=wavs, repeat=True)
    sys.exit(load(order, as_json=as_json))


@phone_cli.command("curl", short_help="Print the curl line of a webhook, signed.")
@click.argument("path")
@click.argument("fields", metavar="[K=V]...", nargs=-1)
def curl_command(path: str, fields: tuple[str, ...]) -> None:
    """Print the curl line that POSTs these form fields to PATH, signed if a token is configured."""
    from flaskapp.simulator.curl import curl_line

    wrong = [field for field in fields if "=" not in field]
    if wrong:
        raise click.UsageError(f"{wrong[0]!r} is not of the form NAME=VALUE")
    origin = _setting("flask_base_url") or f"http://127.0.0.1:{_setting('port') or 5001}"
    url = path if "://" in path else f"{origin}/{path.lstrip('/')}"
    form = dict(field.split("=", 1) for field in fields)
    click.echo(curl_line(url, form, _auth_token()))


@phone_cli.command("webhook-secret", short_help="Print what signs messages to CALL_WEBHOOK_URL.")
def webhook_secret_command() -> None:
    """Print the secret by which a receiver of CALL_WEBHOOK_URL knows that it was us."""
    from flaskapp.phone.after_call import secret

    settings = current_app.extensions["settings"]
    if not settings.call_webhook_url:
        click.echo("CALL_WEBHOOK_URL is not set: nobody is told of calls.", err=True)
    click.echo(secret(settings))


def _ordered(url: str, public_url: str | None, asked: _Asked, *, record_path: bool) -> Order:
    """An order to this URL from the carrier that was asked for."""
    if asked.carrier == "twilio":
        return _order(url, public_url, record_path=record_path)
    if record_path:
        raise click.UsageError("--record-path is Twilio's: an Exotel flow records in its Voicemail applet")
    from flaskapp.simulator import orders
    from flaskapp.simulator.route import origin_of

    try:
        order = orders.Order.to_exotel(url)
        public = public_url or _setting("flask_base_url") or ""
        origin = origin_of(orders.Order.to(public).url) if public else ""
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    token = _setting("exotel_api_token")
    configured = token.get_secret_value() if token is not None else ""
    return replace(
        order,
        public_url=origin,
        sample_rate_hz=int(asked.sample_rate),
        spelling=asked.spelling,
        api_key=asked.key or _setting("exotel_api_key") or "",
        api_token=asked.token or configured,
    )


def _order(url: str, public_url: str | None, *, record_path: bool = False) -> Order:
    """An order to this URL, by this machine's settings."""
    from flaskapp.simulator import orders
    from flaskapp.simulator.route import origin_of

    try:
        order = orders.Order.to(url, record_path=record_path)
        public = public_url or _setting("flask_base_url") or url
        orders.Order.to(public)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    account_sid = _setting("twilio_account_sid") or ""
    api_url = orders.api_url(_setting("twilio_api_base_url") or "", account_sid, url)
    if record_path and not api_url:
        click.echo(
            "The server will look for the recordings at the real carrier's and not find them: set"
            f" TWILIO_API_BASE_URL={orders.TRIAL} for the server and for this command.",
            err=True,
        )
    return replace(
        order,
        public_url=origin_of(public),
        account_sid=account_sid,
        auth_token=_auth_token() or "",
        api_url=api_url,
        needs_api=record_path and bool(api_url),
        to_number=_setting("twilio_phone_number") or order.to_number,
    )


def _setting(name: str) -> Any:
    """One of the app's settings, None if there is none."""
    return getattr(current_app.extensions.get("settings"), name, None)


def _auth_token() -> str | None:
    token = _setting("twilio_auth_token")
    return token.get_secret_value() if token is not None else None


def _turns(call_sid: str) -> Sequence[dict[str, Any]] | None:
    """What this machine's database has of a call; None without a database, nothing without its tables."""
    history = current_app.extensions.get("history")
    if history is None:
        return None
    try:
        turns: Sequence[dict[str, Any]] = history.turns(call_sid)
    except SQLAlchemyError:
        return []
    return turns


@phone_cli.command("token", short_help="Print a short-lived ticket for one call.")
@click.option("--call", "call_sid", help="Whose ticket [default: the newest call's].")
def token_command(call_sid: str | None) -> None:
    """Print a ticket for one call: it lasts five minutes, and opens one WebSocket, once.

    It reads a call's transcript at /client, and goes with the call's uploads as "Authorization: Bearer".
    """
    from flaskapp.access import CALL_SID

    if call_sid is None:
        try:
            newest = current_app.extensions["history"].calls(limit=1)
        except SQLAlchemyError as error:
            raise click.ClickException(f"The history cannot be read: {type(error).__name__}.") from error
        if not newest:
            raise click.ClickException("There has been no call yet: name one with --call.")
        call_sid = newest[0]["call_sid"]
        click.echo(f"for {call_sid}", err=True)
    elif not CALL_SID.fullmatch(call_sid):
        raise click.UsageError("--call must be 1 to 64 letters, digits, '-' or '_'.")
    elif not _is_known(call_sid):
        click.echo(f"Nobody knows a call {call_sid} yet: the ticket is good for one that comes.", err=True)
    click.echo(current_app.extensions["tickets"].issue(call_sid))


def _is_known(call_sid: str) -> bool:
    """Whether there is such a call, as far as can be told from here."""
    own = current_app.extensions
    try:
        return own["history"].call(call_sid) is not None or bool(own["live_store"].recall(call_sid))
    except (SQLAlchemyError, RedisError):
        return True  # nobody can say that there is none
