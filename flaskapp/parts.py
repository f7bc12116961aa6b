"""Parts that are made from settings alone: who answers, with which engine, by which right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flaskapp.config import Settings
    from flaskapp.metrics import Metrics
    from flaskapp.phone.agent import Agents
    from flaskapp.phone.endings import Limits
    from flaskapp.phone.engines.turns import TurnEngine
    from flaskapp.phone.fetch import RecordingHost
    from flaskapp.phone.toolbench import Toolbench
    from flaskapp.store.call_audio import CallAudio


def credentials(settings: Settings) -> Any:
    """The engine's key; on Azure without one, whatever identity this machine has in Entra ID."""
    engine = settings.engine
    if engine is None or engine.api_key is not None:
        return engine and engine.api_key and engine.api_key.get_secret_value()
    if engine.token_scope is None:
        return ""
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential()


def agents(settings: Settings) -> Agents:
    """Who answers which number."""
    from flaskapp.phone.agent import Agent, Agents, read_agents

    if settings.agent_file:
        return read_agents(settings.agent_file)
    own: dict[str, Any] = {"instructions": settings.agent_instructions, "greeting": settings.agent_greeting}
    return Agents(Agent(**{name: text for name, text in own.items() if text}))


def toolbench(settings: Settings, agents: Agents) -> Toolbench:
    """What agents may use: the built-in tools, and those of the modules in TOOLS."""
    from flaskapp.phone.toolbench import Toolbench
    from flaskapp.phone.tools import load_tools

    return Toolbench(load_tools(settings.tools), agents)


def limits(settings: Settings) -> Limits:
    """What a call may take, where its agent has no limits of its own."""
    from flaskapp.phone.endings import Limits

    return Limits(settings.max_call_seconds, settings.max_call_cost_usd, settings.engine_session_seconds)


def turn_engine(settings: Settings) -> TurnEngine | None:
    """What understands and answers recordings; None where no engine is configured."""
    from flaskapp.phone.engines import turns

    return turns.turn_engine(settings.engine, credentials(settings)) if settings.engine else None


def recording_host(settings: Settings) -> RecordingHost:
    """Where the carrier keeps its recordings."""
    from flaskapp.phone.fetch import RecordingHost

    token = settings.twilio_auth_token
    return RecordingHost(
        settings.twilio_api_base_url,
        settings.twilio_account_sid,
        token.get_secret_value() if token else "",
    )


def call_audio(settings: Settings, metrics: Metrics) -> CallAudio:
    """Where kept calls lie, sealed with DATA_KEY."""
    from pathlib import Path

    from flaskapp.store.call_audio import CallAudio
    from flaskapp.store.sealing import seal_of

    key = settings.data_key.get_secret_value() if settings.data_key else ""
    lost = metrics.dropped_frames.labels("call_audio").inc
    return CallAudio(Path(settings.audio_dir), seal_of(key), lost)


def origin(settings: Settings) -> str | None:
    """``https://host`` as carriers know this server: FLASK_BASE_URL, else what the present request asked for.

    None outside a request where FLASK_BASE_URL is not set.
    """
    from flask import has_request_context, request

    if settings.flask_base_url:
        return settings.flask_base_url
    return f"{request.scheme}://{request.host}" if has_request_context() else None


def secret(settings: Settings) -> str:
    """What tickets and sessions are signed with."""
    return settings.secret_key.get_secret_value() if settings.secret_key else ""
