"""What the rest of the house is told of the engine that is configured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import SecretStr


@dataclass(frozen=True)
class EngineSettings:
    """Where speech is understood and answered.

    Attributes:
        kind: whose rules apply ("azure" takes deployments for models, and `api-key` headers).
        base_url: `http(s)://.../v1`, without a trailing slash.
        api_key: None where the server wants none, or where `token_scope` says to fetch tokens.
        token_scope: Entra ID scope to ask tokens for; None when a key is used.
        chat_model: replies to recordings; empty: the realtime model does that too.
        speech_model: speaks those replies; empty: the realtime model does that too.
    """

    kind: Literal["azure", "openai", "local"]
    base_url: str
    model: str
    voice: str
    api_key: SecretStr | None
    token_scope: str | None
    transcribe_model: str
    chat_model: str = ""
    speech_model: str = ""
