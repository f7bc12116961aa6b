"""The engine of recorded turns, as tests of it have it."""

from __future__ import annotations

import time
from typing import Any

from flaskapp.engine_settings import EngineSettings
from flaskapp.phone.engines.turns import TurnEngine, turn_engine
from flaskapp.phone.errors import EngineError
from tests.fake_turns import FakeTurns

KEY = "key-canary-1"


def engine(fake: FakeTurns, credentials: Any = KEY, **changed: Any) -> TurnEngine:
    settings: dict[str, Any] = {
        "kind": "openai",
        "base_url": fake.base_url,
        "model": "realtime-model",
        "voice": "marin",
        "api_key": None,
        "token_scope": None,
        "transcribe_model": "ears",
        "chat_model": "mind",
        "speech_model": "voice",
        **changed,
    }
    return turn_engine(EngineSettings(**settings), credentials)


def seconds_of(work: Any) -> tuple[Any, float]:
    began = time.monotonic()
    try:
        result = work()
    except EngineError as error:
        result = error
    return result, time.monotonic() - began
