"""Environment in, one settings object out; whatever is wrong is named, all of it at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from flaskapp import addresses
from flaskapp.engine_settings import EngineSettings
from flaskapp.kinds import (
    AzureUrl,
    DatabaseUrl,
    DataKey,
    EngineUrl,
    FilePath,
    Lower,
    Modules,
    Networks,
    Origin,
    PriceList,
    RedisUrl,
    Upper,
    WebhookSecret,
    WebhookUrl,
)
from flaskapp.phone.cost import FREE, Prices, read_prices
from flaskapp.phone.errors import ConfigurationError
from flaskapp.signing import signing_key

PROJECT = Path(__file__).resolve().parent.parent
INSTANCE = PROJECT / "instance"
OPENAI = "OpenAI, or any server that speaks its Realtime API"
OPENAI_URL = "https://api.openai.com/v1"
CHAT_MODEL = "gpt-6-luna"  # OpenAI's own; of an Azure resource nobody knows what is deployed there
LOCAL_MODEL = "local-stand-in"
MOST_DAYS = 36_500  # no call is older
#: Others know these, too, or they are replaced while calls go on: nothing is derived from them.
SHARED = ("call_webhook_secret", "exotel_api_token", "data_key")


def setting(group: str, description: str, default: Any = None, **rules: Any) -> Any:
    """One line of the schema: the group and the description go to .env.example as they are."""
    return Field(default=default, description=description, json_schema_extra={"group": group}, **rules)


class Settings(BaseSettings):
    """Every setting there is. Field names are the environment's names in lower case."""

    model_config = SettingsConfigDict(
        env_file_encoding="utf-8", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    twilio_account_sid: str = setting("Twilio", "Account that carries the calls (AC...)", "")
    twilio_auth_token: SecretStr | None = setting(
        "Twilio", "Its auth token: checks every webhook's signature"
    )
    twilio_phone_number: str = setting("Twilio", "The number that callers dial, as +15551234567", "")
    twilio_api_base_url: Origin = setting(
        "Twilio", "Twilio's REST API, or a compatible one", "https://api.twilio.com"
    )

    exotel_account_sid: str = setting("Exotel", "Account that carries the calls", "")
    exotel_api_key: str = setting(
        "Exotel",
        "With EXOTEL_API_TOKEN: what the applets' address begins with, wss://KEY:TOKEN@",
        "",
        repr=False,
    )
    exotel_api_token: SecretStr | None = setting("Exotel", "Tells Exotel's requests from a stranger's")
    exotel_allowed_ips: Networks = setting(
        "Exotel", "Addresses or networks that alone may call, as 203.0.113.7, 198.51.100.0/24", ""
    )
    exotel_chunk_bytes: int = setting(
        "Exotel",
        "Size of the chunks of sound sent to it: a multiple of 320",
        3200,
        ge=3200,
        le=100_000,
        multiple_of=320,
    )

    azure_openai_endpoint: AzureUrl = setting(
        "Azure OpenAI", "The resource, https://NAME.openai.azure.com", ""
    )
    azure_openai_realtime_deployment: str = setting("Azure OpenAI", "Name of the realtime deployment", "")
    azure_openai_api_key: SecretStr | None = setting(
        "Azure OpenAI", "Its key; empty: Entra ID is asked for tokens"
    )
    azure_openai_scope: str = setting(
        "Azure OpenAI",
        "Scope of those tokens (older tenants: https://cognitiveservices.azure.com/.default)",
        "https://ai.azure.com/.default",
    )
    azure_openai_realtime_voice_choice: str = setting("Azure OpenAI", "Voice of the agent", "alloy")

    openai_api_key: SecretStr | None = setting(OPENAI, "API key")
    openai_base_url: EngineUrl = setting(OPENAI, "Another server's http(s)://HOST/v1", "")
    openai_realtime_model: str = setting(OPENAI, "Model that hears and speaks", "gpt-realtime-2.1")
    openai_realtime_voice: str = setting(OPENAI, "Voice of the agent", "marin")
    openai_transcribe_model: str = setting(
        OPENAI, "Model that writes down the caller's words (on Azure: a deployment)", "gpt-transcribe"
    )
    openai_chat_model: str = setting(
        OPENAI,
        f"Model that answers recordings; empty: {CHAT_MODEL}, on Azure (deployments) the realtime one",
        "",
    )
    openai_speech_model: str = setting(
        OPENAI, "Model that speaks those answers with REPLY_VOICE=play; empty: the realtime one", ""
    )
    localai_url: EngineUrl = setting(OPENAI, "Local speech server; set by `make run` and `make demo`", "")

    agent_file: FilePath = setting("The agent", "YAML file that describes who answers, per called number", "")
    agent_instructions: str = setting("The agent", "What the agent is told, where there is no file", "")
    agent_greeting: str = setting("The agent", "The agent's first words, where there is no file", "")
    tools: Modules = setting(
        "The agent", "Python modules whose tools the agent may use, as mytools.hours, mytools.orders", ""
    )

    consent_text: str = setting("Calls", "Spoken before anything of a call is kept", "")
    record_calls: bool = setting("Calls", "1: keep what both sides of a call sound like", False)
    audio_dir: str = setting(
        "Calls", "Folder of that sound, of all processes of one host; empty: instance/audio", ""
    )
    data_key: DataKey | None = setting(
        "Calls", "Encrypts that sound: Fernet keys, the newest first, with commas (`flask phone data-key`)"
    )
    retention_days: int = setting(
        "Calls",
        "So long calls are kept, sound and words; 0: until `flask phone purge`",
        0,
        ge=0,
        le=MOST_DAYS,
    )
    redact_digits: bool = setting(
        "Calls", "1: numbers that are spoken or typed are masked in transcripts", False
    )
    reply_voice: Annotated[Literal["say", "play"], Lower] = setting(
        "Calls", "Answers to recordings: say (the carrier reads them) or play (speech made here)", "say"
    )
    delete_recordings: bool = setting(
        "Calls", "1: the carrier's copy of a recording is deleted once its words are kept", False
    )
    jobs_at_once: int = setting(
        "Calls", "How many recordings one background worker understands at once", 16, ge=1, le=64
    )
    max_calls: int = setting(
        "Calls", "Live calls that one web worker takes; BUSY says what becomes of more", 200, ge=1
    )
    busy: Annotated[Literal["record", "reject"], Lower] = setting(
        "Calls",
        "Calls above MAX_CALLS: record (answered from recordings) or reject (the busy tone)",
        "record",
    )
    max_calls_per_caller: int = setting("Calls", "Calls at once from one caller; 0: no limit", 0, ge=0)
    max_call_seconds: int = setting(
        "Calls", "So long a call may last; it ends with a sentence", 1800, ge=1, le=86400
    )
    max_call_cost_usd: float = setting(
        "Calls",
        "So much a call may cost; it ends with a sentence; 0: anything",
        0.0,
        ge=0,
        allow_inf_nan=False,
    )
    prices_usd_per_million: PriceList = setting(
        "Calls",
        "Where OpenAI's list prices are not yours: input_audio_tokens=32, output_audio_tokens=64, ...",
        "",
    )
    engine_session_seconds: int = setting(
        "Calls", "So long the engine lets a session last; longer calls get another one", 3600, ge=5, le=86400
    )
    call_webhook_url: WebhookUrl = setting(
        "Calls", "Told of every call that is over: https://example.com/calls", "", repr=False
    )
    call_webhook_secret: WebhookSecret | None = setting(
        "Calls",
        "Signs it: whsec_... (base64 of 24 to 64 bytes), or 16 characters or more;"
        " empty: derived from SECRET_KEY",
    )

    flask_base_url: Origin = setting(
        "Server", "Public origin that carriers call, https://voice.example.com", ""
    )
    host: str = setting("Server", "Address to listen on", "127.0.0.1")
    port: int = setting("Server", "Port to listen on", 5001, ge=1, le=65535)
    web_concurrency: int = setting(
        "Server", "Worker processes; more than one needs REDIS_URL", 1, ge=1, le=256
    )
    trusted_proxies: int = setting("Server", "How many proxies in front set X-Forwarded-*", 0, ge=0, le=10)
    drain_seconds: int = setting(
        "Server",
        "After SIGTERM: so long until this worker's calls are handed over (most hosts kill after 30 s)",
        20,
        ge=0,
        le=600,
    )
    local: bool = setting(
        "Server", "1: loopback requests need no password (never behind a proxy; set by `make run`)", False
    )
    secret_key: SecretStr | None = setting(
        "Server", "Signs tickets and sessions; empty: derived from the secrets above"
    )
    dashboard_password: SecretStr | None = setting(
        "Server", "Operator's password; empty: dashboard, API and metrics are local only"
    )
    flaskapp_dashboard: bool = setting("Server", "0: no dashboard; whoever has pages of his own", True)
    redis_url: RedisUrl = setting(
        "Server", "redis://... shared by the workers; empty: kept inside the one worker", "", repr=False
    )
    database_url: DatabaseUrl = setting(
        "Server", "postgres://... or sqlite:///...; empty: SQLite in instance/", "", repr=False
    )

    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], Upper] = setting(
        "Logs", "DEBUG, INFO, WARNING, ERROR or CRITICAL", "INFO"
    )
    log_format: Annotated[Literal["", "console", "json", "plain"], Lower] = setting(
        "Logs", "console, json or plain; empty: console on a terminal, else json", ""
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_means_unset(cls, values: dict[str, Any]) -> dict[str, Any]:
        """`NAME=` in the environment takes back what .env says, instead of being a wrong value."""
        return {
            name: value.strip() if isinstance(value, str) else value
            for name, value in values.items()
            if value is not None and not (isinstance(value, str) and not value.strip())
        }

    @property
    def engine(self) -> EngineSettings | None:
        """The first engine that is configured: Azure, OpenAI or compatible, local; else None."""
        if self.azure_openai_endpoint:
            return self._azure()
        if self.openai_base_url or self.openai_api_key:
            return self._openai("openai", self.openai_base_url or OPENAI_URL, self.openai_api_key)
        if self.localai_url:
            return self._openai("local", self.localai_url, None)
        return None

    @property
    def prices(self) -> Prices:
        """What the engine charges: its list, with what PRICES_USD_PER_MILLION says; a local one is free."""
        is_free = self.engine is not None and self.engine.kind == "local"
        known = FREE.per_million if is_free else Prices().per_million
        return read_prices(self.prices_usd_per_million, known)

    def _azure(self) -> EngineSettings:
        return EngineSettings(
            kind="azure",
            base_url=self.azure_openai_endpoint,
            model=self.azure_openai_realtime_deployment,
            voice=self.azure_openai_realtime_voice_choice,
            api_key=self.azure_openai_api_key,
            token_scope=None if self.azure_openai_api_key else self.azure_openai_scope,
            transcribe_model=self.openai_transcribe_model,
            chat_model=self.openai_chat_model,
            speech_model=self.openai_speech_model,
        )

    def _openai(
        self, kind: Literal["openai", "local"], base_url: str, api_key: SecretStr | None
    ) -> EngineSettings:
        is_unnamed = kind == "local" and "openai_realtime_model" not in self.model_fields_set
        return EngineSettings(
            kind=kind,
            base_url=base_url,
            model=LOCAL_MODEL if is_unnamed else self.openai_realtime_model,
            voice=self.openai_realtime_voice,
            api_key=api_key,
            token_scope=None,
            transcribe_model=self.openai_transcribe_model,
            chat_model=self.openai_chat_model or CHAT_MODEL,
            speech_model=self.openai_speech_model or (LOCAL_MODEL if kind == "local" else ""),
        )

    @property
    def is_public_origin(self) -> bool:
        """Whether FLASK_BASE_URL is set and leads to more than this machine."""
        return bool(self.flask_base_url) and not addresses.is_loopback(self.flask_base_url)

    def secrets(self) -> dict[str, str]:
        """The secrets that are set, by field name; what logs must never show."""
        values = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: value.get_secret_value() for name, value in values if isinstance(value, SecretStr)}


# What no single field can know: (fields it speaks of, when it is wrong, what to do about it).
RULES: tuple[tuple[tuple[str, ...], Callable[[Settings], bool], str], ...] = (
    (
        ("twilio_account_sid", "twilio_auth_token"),
        lambda s: bool(s.twilio_account_sid) and s.twilio_auth_token is None,
        "TWILIO_AUTH_TOKEN is missing while TWILIO_ACCOUNT_SID is set: without it no webhook can be told from"
        " a forged one; copy it from the Twilio console, or unset TWILIO_ACCOUNT_SID",
    ),
    (
        ("exotel_api_key", "exotel_api_token"),
        lambda s: bool(s.exotel_api_key) != (s.exotel_api_token is not None),
        "EXOTEL_API_KEY and EXOTEL_API_TOKEN go together, and one is missing: set both, or unset both",
    ),
    (
        ("azure_openai_endpoint", "azure_openai_realtime_deployment"),
        lambda s: bool(s.azure_openai_endpoint) and not s.azure_openai_realtime_deployment,
        "AZURE_OPENAI_REALTIME_DEPLOYMENT is missing while AZURE_OPENAI_ENDPOINT is set: give the name of the"
        " realtime deployment, or unset the endpoint",
    ),
    (
        ("redis_url", "web_concurrency"),
        lambda s: s.web_concurrency > 1 and not s.redis_url,
        "REDIS_URL is missing while WEB_CONCURRENCY is above 1: without it each worker keeps its own Redis in"
        " memory, so one worker's calls would be unknown to the others; set REDIS_URL, or WEB_CONCURRENCY=1",
    ),
)


def load_settings(
    overrides: Mapping[str, object] | None = None,
    env_file: str | Path | None = ".env",
    instance: Path = INSTANCE,
) -> Settings:
    """Defaults, then `env_file`, then the environment, then `overrides` (by the environment's names).

    Raises:
        ConfigurationError: one line per wrong setting, with its remedy and without its value.
    """
    settings, problems = examined(overrides, env_file, instance)
    if problems:
        raise ConfigurationError("\n".join(problems.values()))
    return settings


def examined(
    overrides: Mapping[str, object] | None = None,
    env_file: str | Path | None = ".env",
    instance: Path = INSTANCE,
) -> tuple[Settings, dict[str, str]]:
    """As `load_settings`, for whoever goes on all the same: what is wrong is left at its default.

    Returns:
        The settings, and by field name one line about each that is wrong: its remedy, never its value.
    """
    values: dict[str, Any] = {name.lower(): value for name, value in (overrides or {}).items()}
    settings, problems = _read(values, env_file)
    problems |= {
        names[0]: remedy
        for names, is_wrong, remedy in RULES
        if not problems.keys() & set(names) and is_wrong(settings)
    }
    return settings.model_copy(update=_derived(settings, instance)), problems


def _read(values: dict[str, Any], env_file: str | Path | None) -> tuple[Settings, dict[str, str]]:
    """The settings with wrong fields left at their defaults, and what is wrong about each."""
    try:
        return Settings(_env_file=env_file, **values), {}
    except ValidationError as error:
        problems = {str(each["loc"][0]): _sentence(each) for each in error.errors(include_url=False)}
    settings, _ = _read(values | dict.fromkeys(problems), env_file)
    return settings, problems


def _sentence(error: Any) -> str:
    name = str(error["loc"][0])
    if error["type"] == "value_error":
        return f"{name.upper()} {error['ctx']['error']}"
    description = Settings.model_fields[name].description
    problem = error["msg"][0].lower() + error["msg"][1:]
    return f"{name.upper()} is wrong: {problem} ({description}); correct it or unset it"


def _derived(settings: Settings, instance: Path) -> dict[str, Any]:
    """What is worked out where nothing was said."""
    derived: dict[str, Any] = {}
    if not settings.database_url:
        derived["database_url"] = f"sqlite:///{instance / 'answerline.sqlite3'}"
    if not settings.audio_dir:
        derived["audio_dir"] = str(instance / "audio")
    if settings.secret_key is None:
        own = {name: text for name, text in settings.secrets().items() if name not in SHARED}
        derived["secret_key"] = SecretStr(signing_key(own, instance))
    return derived
