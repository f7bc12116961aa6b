"""Answerline: a Flask application that answers phone calls with AI.

This is the only place where concrete parts are chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask

    from flaskapp.config import Settings
    from flaskapp.phone.rtmt_audio_handler import RTMTAudioHandler
    from flaskapp.store.keeper import Keeper

MAX_BODY_BYTES = 64 << 10
#: What the first call, or the first transfer, would import while others speak.
ASKED_FOR_IN_CALLS = ("openai.resources.realtime.realtime", "websockets.sync.client", "twilio.rest")
#: Of the engine's client: what it can say about everything that we never ask it for.
GATHERED = tuple(
    f"openai.types{each}" for each in ("", ".shared", ".audio", ".chat", ".responses", ".realtime")
)
PAUSE_S = 1e-3  # in which whatever waits is done


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
    from flaskapp.dashboard import register_home
    from flaskapp.observability import configure_logging

    settings = load_settings(config)
    configure_logging(settings.log_level, settings.log_format, settings.secrets().values())
    app = Flask(__name__)
    app.extensions["settings"] = settings
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    problems.register_problems(app)
    equip(app)
    register_home(app)
    return app


def equip(app: Flask) -> None:
    """Everything that answering calls takes, on any Flask app; its settings come from the environment."""
    from flaskapp import health, parts
    from flaskapp.api import register_api
    from flaskapp.config import load_settings
    from flaskapp.dashboard import register_dashboard
    from flaskapp.drain import Drain
    from flaskapp.metrics import Metrics
    from flaskapp.phone import phone_blueprint
    from flaskapp.phone.cli import phone_cli
    from flaskapp.phone.exotel_applets import exotel_applets
    from flaskapp.phone.feed import Readers
    from flaskapp.phone.self_report import self_report
    from flaskapp.phone.transfers import Transfers
    from flaskapp.phone.viewers import viewers
    from flaskapp.store.attempts import Attempts
    from flaskapp.store.audio import AudioBuffer
    from flaskapp.store.feed import Feed
    from flaskapp.store.greetings import Greetings
    from flaskapp.store.history import init_history
    from flaskapp.store.live import LiveStore, connect
    from flaskapp.store.sessions import SignedOut
    from flaskapp.store.turns import TurnBook
    from flaskapp.tickets import Tickets

    settings: Settings = app.extensions.setdefault("settings", None) or load_settings()
    app.extensions["settings"] = settings
    _configure(app, settings)
    init_history(app, settings)
    connections = connect(settings.redis_url)
    app.extensions["live_store"] = LiveStore(connections)
    app.extensions["audio"] = AudioBuffer(connections)
    app.extensions["metrics"] = Metrics()
    app.extensions["call_audio"] = parts.call_audio(settings, app.extensions["metrics"])
    app.extensions["turn_book"] = TurnBook(connections)
    app.extensions["tickets"] = Tickets(parts.secret(settings), app.extensions["live_store"])
    app.extensions["agents"] = agents = parts.agents(settings)
    app.extensions["toolbench"] = parts.toolbench(settings, agents)
    app.extensions["prices"] = settings.prices
    app.extensions["greetings"] = Greetings(connections)
    app.extensions["transfers"] = Transfers(settings, agents, app.extensions["live_store"])
    app.extensions["feed"] = Feed(connections.text)
    app.extensions["readers"] = Readers(connections.text)
    app.extensions["signed_out"] = SignedOut(connections.text)
    app.extensions["attempts"] = Attempts(connections.text)
    app.extensions["scribe"] = _scribe(app, settings)
    app.extensions["traces"] = _traces(app, settings, connections)
    app.extensions["keeper"] = _keeper(app)
    app.extensions["rtmt"] = _live_handler(app, settings)
    settlers = [app.extensions[each].settle for each in ("keeper", "scribe", "feed", "traces", "call_audio")]
    app.extensions["drain"] = Drain(app.extensions["rtmt"], settlers)
    _equip_recording_path(app, settings, connections)
    health.register_health(app)
    app.register_blueprint(phone_blueprint)
    app.register_blueprint(viewers)
    app.register_blueprint(exotel_applets)
    register_api(app)
    register_dashboard(app)
    app.register_blueprint(self_report)
    app.cli.add_command(phone_cli)


def _equip_recording_path(app: Flask, settings: Settings, connections: Any) -> None:
    """What understands recordings, who does the work, and the desk that hands it in."""
    from flaskapp import parts
    from flaskapp.phone.after_call import AfterCall
    from flaskapp.phone.ai_integration import AIVoiceIntegration
    from flaskapp.phone.leftovers import Leftovers
    from flaskapp.phone.recording import RecordedTurns
    from flaskapp.phone.turn_tools import TurnTools
    from flaskapp.store.jobs import Jobs
    from flaskapp.store.removal import Removal
    from flaskapp.store.sweeper import Sweeper

    own = app.extensions
    own["turn_engine"], own["recording_host"] = parts.turn_engine(settings), parts.recording_host(settings)
    book, live, audio, scribe = own["turn_book"], own["live_store"], own["audio"], own["scribe"]
    turns = RecordedTurns(
        book,
        live,
        audio,
        own["history"],
        own["recording_host"],
        own["turn_engine"],
        own["agents"],
        speaks=settings.reply_voice == "play",
        deletes=settings.delete_recordings,
        prices=own["prices"],
        tools=TurnTools(own["toolbench"], book, own["history"]),
        feed=own["feed"],
        hides_digits=settings.redact_digits,
        sounds=own["call_audio"] if settings.record_calls else None,
    )
    own["recorded_turns"] = turns
    own["after_call"] = after = AfterCall(own["history"], scribe.note, own["agents"], settings)
    after.told = own["feed"].over
    after.settled = own["traces"].keep
    own["removal"] = removal = Removal(own["history"], own["call_audio"], live, settings.retention_days)
    work: dict[str, Callable[..., None]] = {"turn": turns.perform, "deliver": after.deliver}
    own["jobs"] = Jobs(settings.redis_url, connections, {**work, "purge": removal.sweep})
    own["leftovers"] = leftovers = Leftovers(book, audio, live, own["jobs"], scribe.note)
    scribe.left_over = leftovers.live_ended
    scribe.over = leftovers.over = after.over
    is_limited = settings.retention_days > 0
    own["sweeper"] = Sweeper(
        book, own["jobs"], live, own["history"], leftovers.abandoned, after.over, removes_old=is_limited
    )
    own["desk"] = AIVoiceIntegration(
        settings=settings,
        live=live,
        audio=audio,
        book=book,
        ai=own["turn_engine"],
        agents=own["agents"],
        tickets=own["tickets"],
        rtmt=own["rtmt"],
        keep=scribe.recorded,
        is_draining=own["drain"].is_set,
    )


def begin_serving(app: Flask) -> None:
    """What a worker does before its first request; ``wsgi.py`` calls it, commands do not.

    What takes longer follows: ``warm_up``.
    """
    import logging
    import threading
    from functools import partial

    from flaskapp.metrics import watch_process

    parts = app.extensions
    if parts["settings"].local:
        logging.getLogger(__name__).warning(
            "LOCAL=1: requests from this machine need no signature, ticket or password. Never behind a proxy."
        )
    parts["warm_up"] = partial(warm_up, app)
    parts["sweeper"].start()
    threading.Thread(target=watch_process, args=(parts["metrics"],), name="watch", daemon=True).start()


def warm_up(app: Flask) -> None:
    """What a call needs and the first answer does not: a third of a second in which nothing else is done.

    Once for an app; whoever comes meanwhile waits. A stream does before it is let in (``phone/room.py``): its
    caller still hears it ringing then.
    """
    import threading

    own = app.extensions
    with own.setdefault("warming", threading.Lock()):
        if not own.get("is_warm"):
            _warm_up(app)
            own["is_warm"] = True


def _warm_up(app: Flask) -> None:
    """Whatever is here by then stays: the collector, which stops all calls while it looks, need not look."""
    import time
    from importlib import import_module

    from flaskapp.lean import by_the_piece, without
    from flaskapp.tidying import Tidying, settle

    own = app.extensions
    by_the_piece(*GATHERED)
    if own["settings"].record_calls:
        own["call_audio"].prepare()
    if own["rtmt"] is not None:
        with without("aiohttp"):  # for clients that wait in asyncio
            own["rtmt"].engine.prepare()
        for name in ASKED_FOR_IN_CALLS:
            import_module(name)
            time.sleep(PAUSE_S)
        time.sleep(PAUSE_S)
        own["turn_engine"].prepare()
        time.sleep(PAUSE_S)
    import_module("flaskapp.phone.doctor")  # the board asks it
    settle()
    Tidying(lambda: not (own["streams"].count or own["reading"].count)).start()


def _configure(app: Flask, settings: Settings) -> None:
    from flaskapp import parts

    app.config["SECRET_KEY"] = app.config["SECRET_KEY"] or parts.secret(settings)
    _bake_cookies(app)
    if settings.trusted_proxies:
        from werkzeug.middleware.proxy_fix import ProxyFix

        count = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=count, x_proto=count, x_host=count)  # type: ignore[method-assign]


def _bake_cookies(app: Flask) -> None:
    """The operator's cookie; an app that has a session of its own making keeps it."""
    from flask.sessions import SecureCookieSessionInterface

    from flaskapp.cookies import OperatorsCookie

    if type(app.session_interface) is SecureCookieSessionInterface:
        app.session_interface = OperatorsCookie()


def _scribe(app: Flask, settings: Settings) -> Any:
    from flaskapp.store.scribe import Scribe

    parts, engine = app.extensions, settings.engine
    kind, model = (engine.kind, engine.model) if engine else ("", "")
    return Scribe(parts["history"], parts["metrics"], parts["live_store"], kind, model, parts["feed"])


def _traces(app: Flask, settings: Settings, connections: Any) -> Any:
    """What keeps the protocols' messages of every call, without audio and secrets."""
    from flaskapp.phone.digits import masked_field
    from flaskapp.redaction import Redactor
    from flaskapp.store.traces import Traces

    redact, hides = Redactor(settings.secrets().values()), settings.redact_digits
    redact_all = (lambda text: masked_field(redact(text))) if hides else redact
    traces = Traces(connections.text, app.extensions["history"], redact_all, hides)
    app.extensions["scribe"].keeps_trace = traces.note
    return traces


def _keeper(app: Flask) -> Keeper:
    """What keeps callers' audio; its losses are counted, and what comes late is looked at again."""
    from functools import partial

    from flaskapp.store.keeper import Keeper
    from flaskapp.store.tape import Tape

    parts = app.extensions
    metrics = parts["metrics"]
    return Keeper(
        parts["audio"],
        parts["live_store"],
        metrics.buffer.set,
        metrics.dropped_frames.labels("buffer").inc,
        lambda call_sid: parts["leftovers"].came_late(call_sid),
        partial(Tape, parts["call_audio"]) if parts["settings"].record_calls else None,
    )


def _live_handler(app: Flask, settings: Settings) -> RTMTAudioHandler | None:
    """The middle tier for the configured engine; None when there is none."""
    from flaskapp import parts
    from flaskapp.phone.engines.connection import Endpoint
    from flaskapp.phone.rtmt_audio_handler import RTMTAudioHandler

    engine, own = settings.engine, app.extensions
    if engine is None:
        return None
    return RTMTAudioHandler(
        Endpoint(engine.base_url, engine.kind == "azure", engine.token_scope or ""),
        engine.model,
        parts.credentials(settings),
        engine.voice,
        agents=own["agents"],
        transcribe_model=engine.transcribe_model,
        listener=own["scribe"],
        keeper=own["keeper"],
        tools=own["toolbench"],
        transfer=own["transfers"].transfer,
        greetings=own["greetings"],
        limits=parts.limits(settings),
        prices=own["prices"],
        hides_digits=settings.redact_digits,
    )
