"""Answerline: a Flask application that answers phone calls with AI.

This is the only place where concrete parts are chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask

    from flaskapp.config import Settings
    from flaskapp.phone.agent import Agents
    from flaskapp.phone.rtmt_audio_handler import RTMTAudioHandler

MAX_BODY_BYTES = 64 << 10


def create_app(config: Mapping[str, object] | None = None) -> Flask:
    """The whole application.

    Args:
        config: settings by their environment names; they come before the environment's.

    Raises:
        ConfigurationError: settings are missing or wrong; the text names all of them.
    """
    from flask import Flask

    from flaskapp import problems
    from flaskapp.config import load_settings
    from flaskapp.observability import configure_logging

    settings = load_settings(config)
    configure_logging(settings.log_level, settings.log_format, settings.secrets().values())
    app = Flask(__name__)
    app.extensions["settings"] = settings
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    problems.register_problems(app)
    equip(app)
    return app


def equip(app: Flask) -> None:
    """Everything that answering calls takes, on any Flask app; its settings come from the environment."""
    from flaskapp import health
    from flaskapp.config import load_settings
    from flaskapp.metrics import Metrics
    from flaskapp.phone import phone_blueprint
    from flaskapp.phone.cli import phone_cli
    from flaskapp.store.history import init_history
    from flaskapp.store.live import LiveStore, connect
    from flaskapp.tickets import Tickets

    settings: Settings = app.extensions.setdefault("settings", None) or load_settings()
    app.extensions["settings"] = settings
    _configure(app, settings)
    init_history(app, settings)
    live = LiveStore(connect(settings.redis_url))
    app.extensions["live_store"] = live
    app.extensions["metrics"] = Metrics()
    app.extensions["tickets"] = Tickets(_secret(settings), live)
    app.extensions["scribe"] = _scribe(app, settings)
    app.extensions["rtmt"] = _live_handler(app, settings)
    health.register_health(app)
    app.register_blueprint(phone_blueprint)
    app.cli.add_command(phone_cli)


def begin_serving(app: Flask) -> None:
    """What a worker does before its first request; ``wsgi.py`` calls it, commands do not."""
    import logging
    import threading

    from flaskapp.metrics import watch_process

    parts = app.extensions
    if parts["settings"].local:
        logging.getLogger(__name__).warning(
            "LOCAL=1: requests from this machine need no signature, ticket or password. Never behind a proxy."
        )
    if parts["rtmt"] is not None:
        parts["rtmt"].engine.prepare()
    threading.Thread(target=watch_process, args=(parts["metrics"],), name="watch", daemon=True).start()


def _configure(app: Flask, settings: Settings) -> None:
    app.config["SECRET_KEY"] = app.config["SECRET_KEY"] or _secret(settings)
    if settings.trusted_proxies:
        from werkzeug.middleware.proxy_fix import ProxyFix

        count = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=count, x_proto=count, x_host=count)  # type: ignore[method-assign]


def _secret(settings: Settings) -> str:
    return settings.secret_key.get_secret_value() if settings.secret_key else ""


def _scribe(app: Flask, settings: Settings) -> Any:
    from flaskapp.store.scribe import Scribe

    parts, engine = app.extensions, settings.engine
    kind, model = (engine.kind, engine.model) if engine else ("", "")
    return Scribe(parts["history"], parts["metrics"], parts["live_store"], "twilio", kind, model)


def _live_handler(app: Flask, settings: Settings) -> RTMTAudioHandler | None:
    """The middle tier for the configured engine; None when there is none."""
    from flaskapp.phone.engines.connection import Endpoint
    from flaskapp.phone.rtmt_audio_handler import RTMTAudioHandler

    engine = settings.engine
    if engine is None:
        return None
    return RTMTAudioHandler(
        Endpoint(engine.base_url, engine.kind == "azure", engine.token_scope or ""),
        engine.model,
        _credentials(settings),
        engine.voice,
        agents=_agents(settings),
        transcribe_model=engine.transcribe_model,
        listener=app.extensions["scribe"],
    )


def _credentials(settings: Settings) -> Any:
    """The engine's key; on Azure without one, whatever identity this machine has in Entra ID."""
    engine = settings.engine
    if engine is None or engine.api_key is not None:
        return engine and engine.api_key and engine.api_key.get_secret_value()
    if engine.token_scope is None:
        return ""
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential()


def _agents(settings: Settings) -> Agents:
    from flaskapp.phone.agent import Agent, Agents, read_agents

    if settings.agent_file:
        return read_agents(settings.agent_file)
    own = {"instructions": settings.agent_instructions, "greeting": settings.agent_greeting}
    return Agents(Agent(**{name: text for name, text in own.items() if text}))
