"""Log lines that are bound to their call and fit to be read by anyone."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

from flaskapp.lean import without
from flaskapp.log_stream import LogStream
from flaskapp.metrics import Metrics, watch_process
from flaskapp.redaction import Redactor, mask_number

__all__ = [
    "Metrics",
    "bound_call",
    "configure_logging",
    "formatter",
    "mask_number",
    "watch_process",
]

PLAIN = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"
# Ours alone: a call's id may look like a number, and is what the line is looked up by.
UNTOUCHED = ("call_sid", "stream_sid", "timestamp", "level", "logger")
# Libraries that tell of every frame or request at INFO or DEBUG.
QUIET = (
    "alembic.runtime.plugins",
    "websockets",
    "httpx2",
    "httpcore2",
    "urllib3",
    "azure",
    "openai",
    "asyncio",
    "alembic",
)


# What ends a line, moves a terminal's cursor or turns the reading direction round: a caller's or an
# engine's words could make a record look like two, or like another.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# Where tracebacks stand, which have lines of their own.
TRACEBACKS = ("exception", "stack")


def escaped(text: str) -> str:
    r"""The same text on one line: control characters as ``\n``, ``\x1b``, ``\u2028``."""
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


class RedactingFormatter(logging.Formatter):
    """The standard formatter, of which nothing leaves unread."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__(PLAIN)
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback if there is one."""
        return self._redact(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line without its traceback."""
        return escaped(super().formatMessage(record))


def configure_logging(
    level: str = "INFO", format: str = "", secrets: Iterable[str] = (), stream: Any = None
) -> None:
    """Sends every logger of the process to stderr; calling it again replaces what was set up.

    Args:
        level: DEBUG, INFO, WARNING, ERROR or CRITICAL.
        format: console, json or plain; empty: console on a terminal, json otherwise.
        secrets: values that no line may contain, beside what the patterns find.
    """
    handler = logging.StreamHandler(LogStream(stream))
    handler.setFormatter(formatter(format, secrets, stream))
    handler.set_name("answerline")
    root = logging.getLogger()
    for old in [each for each in root.handlers if each.get_name() == handler.get_name()]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def formatter(format: str = "", secrets: Iterable[str] = (), stream: Any = None) -> logging.Formatter:
    """How one record becomes one line, whoever logged it; see configure_logging."""
    redact = Redactor(secrets)
    chosen = format or ("console" if (stream or sys.stderr).isatty() else "json")
    return RedactingFormatter(redact) if chosen == "plain" else _structured(chosen, redact)


def _structured(format: str, redact: Redactor) -> logging.Formatter:
    with without("rich"):  # for tracebacks in colour and with everybody's variables
        import structlog

    def redacted(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        clean = {name: each if name in UNTOUCHED else _clean(each, redact) for name, each in event.items()}
        return {name: each if name in TRACEBACKS else _on_one_line(each) for name, each in clean.items()}

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        redacted,
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        if format == "console"
        else structlog.processors.JSONRenderer(ensure_ascii=False),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    foreign = [structlog.stdlib.ExtraAdder(), *shared]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=foreign, processors=last)


def _clean(value: Any, redact: Redactor) -> Any:
    """Numbers stay numbers; whatever a library puts into `extra` is shown as its text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(name): _clean(each, redact) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(each, redact) for each in value]
    return redact(value if isinstance(value, str) else repr(value))


def _on_one_line(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {escaped(name): _on_one_line(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_on_one_line(each) for each in value]
    return escaped(value) if isinstance(value, str) else value


@contextmanager
def bound_call(call_sid: str) -> Iterator[None]:
    """Every line logged inside carries `call_sid`.

    Each greenlet has its own: one that is spawned inside must bind again.
    """
    import structlog

    with structlog.contextvars.bound_contextvars(call_sid=call_sid):
        yield
