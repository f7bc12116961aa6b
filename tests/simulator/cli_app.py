"""A Flask app with nothing but the commands, a few settings and a history that a file stands in for."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

if os.environ.get("STUB_PATCHED"):  # before anything else, as servers do it
    from gevent import monkey

    monkey.patch_all()

from flask import Flask
from pydantic import SecretStr

from flaskapp.phone.cli import phone_cli


class FileHistory:
    """``turns`` of every call, read from the JSON file that ``STUB_TURNS`` names."""

    def turns(self, call_sid: str) -> list[dict[str, Any]]:
        turns: list[dict[str, Any]] = json.loads(Path(os.environ["STUB_TURNS"]).read_text())
        return turns


def create_app() -> Flask:
    app = Flask(__name__)
    token = os.environ.get("STUB_TOKEN")
    app.extensions["settings"] = SimpleNamespace(
        twilio_account_sid=os.environ.get("STUB_ACCOUNT", ""),
        twilio_auth_token=SecretStr(token) if token else None,
        twilio_api_base_url=os.environ.get("STUB_API", "https://api.twilio.com"),
        twilio_phone_number="",
        flask_base_url="",
        exotel_api_key=os.environ.get("STUB_KEY", ""),
        exotel_api_token=SecretStr(os.environ["STUB_SECRET"]) if "STUB_SECRET" in os.environ else None,
        port=5001,
    )
    if "STUB_TURNS" in os.environ:
        app.extensions["history"] = FileHistory()
    app.cli.add_command(phone_cli)
    return app
