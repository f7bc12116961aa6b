"""Serves the app as Exotel's users expect, `python exotel.py` on PORT (10000); or lends them AudioHandler.

from exotel import AudioHandler     # starts nothing
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flaskapp.config import Settings
    from flaskapp.phone.exotel import AudioHandler as AudioHandler

PROJECT = Path(__file__).resolve().parent
#: Where neither the environment nor .env says otherwise.
DEFAULTS = {"HOST": "0.0.0.0", "PORT": "10000", "LOCAL": "1"}  # noqa: S104 - a carrier calls from outside
USAGE = """Answers Exotel's Voicebot and Stream applets: gunicorn with this app, until it is stopped.

Needs AZURE_OPENAI_ENDPOINT, AZURE_OPENAI_REALTIME_DEPLOYMENT and AZURE_OPENAI_API_KEY, or another engine
(.env.example has every setting); listens on HOST (0.0.0.0) and PORT (10000)."""


def __getattr__(name: str) -> Any:
    """The handler when it is asked for: whoever serves needs gevent's patches before anything else."""
    if name != "AudioHandler":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from flaskapp.phone.exotel import AudioHandler

    return AudioHandler


def main(arguments: list[str]) -> int:
    """Migrates the database, says what belongs into the applets, and serves; only returns if it cannot."""
    parser = argparse.ArgumentParser(
        "exotel.py", description=USAGE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args(arguments)
    from flaskapp.config import load_settings
    from flaskapp.phone.errors import ConfigurationError

    try:
        known = load_settings().model_fields_set
        os.environ |= {name: value for name, value in DEFAULTS.items() if name.lower() not in known}
        settings = load_settings()
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 1
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    migrate = [sys.executable, "-m", "flaskapp.store.migrate"]
    if subprocess.run(migrate, env=environment, check=False).returncode:  # noqa: S603 - our own program
        return 1
    print(what_next(settings), flush=True)
    serve()
    return 0


def what_next(settings: Settings) -> str:
    """Where it answers, what belongs into the applets, and who may call."""
    base = settings.flask_base_url or "https://YOUR-HOST"
    key = "KEY:TOKEN@" if settings.exotel_api_key else ""
    scheme, _, host = base.partition("://")
    http, ws = f"{scheme}://{key}{host}/exotel", f"{scheme.replace('http', 'ws')}://{key}{host}/exotel"
    lines = [
        "",
        f"Answerline serves on {settings.host}, port {settings.port}",
        f"  Voicebot applet         {ws}   (?sample-rate=16000 or 24000)",
        f"  or, asked at each call  {http}/stream-url",
        f"  Stream applet, one way  {ws}?stream-type=unidirectional",
        f"  Passthru after them     {http}/passthru?ask=over   (then resume, transfer)",
    ]
    if settings.engine is None:
        lines.append("No AI engine is configured: no stream is taken. Set AZURE_OPENAI_ENDPOINT, or another.")
    if not (settings.exotel_api_key or settings.exotel_allowed_ips):
        lines.append(
            "Only this machine is let in: set EXOTEL_API_KEY and EXOTEL_API_TOKEN (then the addresses begin"
            " with KEY:TOKEN@), or EXOTEL_ALLOWED_IPS."
        )
    return "\n".join([*lines, "Stop with Ctrl-C.", ""])


def serve() -> None:
    """gunicorn in this process, set up as in production: each worker is patched by gevent after its fork."""
    from gunicorn.app.wsgiapp import WSGIApplication

    sys.argv = ["gunicorn", "-c", str(PROJECT / "gunicorn.conf.py"), "wsgi:app"]
    WSGIApplication("%(prog)s [OPTIONS] [APP_MODULE]", prog="gunicorn").run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
