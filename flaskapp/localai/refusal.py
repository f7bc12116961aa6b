"""A client event that is refused, in the words of the API's ``error`` event."""

from __future__ import annotations

from typing import Any


class Refused(Exception):
    """Nothing was changed by the event; the session stays open.

    ``code`` and ``param`` are those of OpenAI's error object: ``param`` is the
    path of the offending field, such as ``session.audio.input.format.rate``.
    """

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param

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
