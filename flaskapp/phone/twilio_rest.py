"""Twilio's REST interface, asked with this installation's account, at TWILIO_API_BASE_URL."""

from __future__ import annotations

import logging
from typing import Any

from flaskapp.config import Settings

#: Told of every request, headers and all, at INFO; nobody wants to know.
_quiet = logging.getLogger(f"{__name__}.client")
_quiet.setLevel(logging.WARNING)


def twilio_client(settings: Settings, answers_within_s: float) -> Any:
    """The package's client; a connection of its own for each request, so that none is stale."""
    from twilio.http.http_client import TwilioHttpClient
    from twilio.rest import Client

    token = settings.twilio_auth_token
    http = TwilioHttpClient(pool_connections=False, timeout=answers_within_s, logger=_quiet)
    client = Client(settings.twilio_account_sid, token.get_secret_value() if token else "", http_client=http)
    client.api.base_url = settings.twilio_api_base_url
    return client
