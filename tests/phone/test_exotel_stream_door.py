"""Who gets a socket at /exotel: whoever has the key and its token, before anything is said."""

from __future__ import annotations

import base64

import pytest

from tests.contracts.carrier import CarrierDoor

pytestmark = pytest.mark.system

KEY, TOKEN = "exotel-key", "exotel:token/with+signs"


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


class TestExotelDoor(CarrierDoor):
    refusals = (401,)

    @pytest.fixture
    def door(self, gunicorn_app):
        ai = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "OPENAI_API_KEY": "k"}  # nobody gets that far
        return gunicorn_app({"LOCAL": "0", "EXOTEL_API_KEY": KEY, "EXOTEL_API_TOKEN": TOKEN, **ai}).url

    def address(self, call_sid):
        return "/exotel?sample-rate=16000"

    def headers_right(self, call_sid):
        return basic(KEY, TOKEN)

    def headers_wrong(self, call_sid):
        return [
            {"Authorization": ""},
            {"Authorization": "Basic"},
            {"Authorization": "Basic ####"},
            {"Authorization": f"Bearer {TOKEN}"},
            *[basic(KEY, ""), basic("", TOKEN), basic("", ""), basic(TOKEN, KEY), basic("operator", TOKEN)],
            *[basic(KEY, TOKEN + "x"), basic(KEY, TOKEN[:-1]), basic(KEY.upper(), TOKEN)],
            basic(KEY, "exotel"),
        ]
