"""A client's event or request that is refused, in the words of the API."""

from __future__ import annotations

from typing import Any


class Refused(Exception):
    """Nothing was changed by it; a session stays open.

    ``code`` and ``param`` are those of OpenAI's error object: ``param`` is the
    path of the offending field, such as ``session.audio.input.format.rate``.
    ``status`` is that of an HTTP answer.
    """

    def __init__(self, code: str, message: str, param: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.status = status

    def as_answer(self) -> dict[str, Any]:
        """The body of an HTTP answer."""
        error = {"message": self.message, "type": "invalid_request_error"}
        return {"error": {**error, "param": self.param, "code": self.code}}

    def as_event(self, event_id: str | None) -> dict[str, Any]:
        """The ``error`` event; ``event_id`` is that of the refused client event."""
        error = {"type": "invalid_request_error", "code": self.code, "message": self.message}
        return {"type": "error", "error": {**error, "param": self.param, "event_id": event_id}}


def unknown(path: str) -> Refused:
    return Refused("unknown_parameter", f"Unknown parameter: '{path}'.", path)


def missing(path: str) -> Refused:
    return Refused("missing_required_parameter", f"Missing required parameter: '{path}'.", path)


def invalid(path: str, expected: str) -> Refused:
    return Refused("invalid_value", f"Invalid value for '{path}': expected {expected}.", path)
