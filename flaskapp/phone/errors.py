"""What can go wrong, as a tree:

PhoneError
|-- ConfigurationError     a setting is missing or wrong (told at start, all at once)
|-- AudioError             bytes that are not the audio they claim to be
|-- SealError              kept sound that DATA_KEY does not open
|-- TicketError            a ticket that is missing, spent, expired or another call's
|-- FetchError             a recording that could not be had
|   |-- NotReady           not there yet, or too many asked: again later
|   |-- Unreachable        no connection, too slow, or the host is in trouble: again later
|   |-- FetchRefused       the host says no to our credentials
|   |-- BlockedUrl         not the carrier's address: no connection is made
|   |-- TooLarge           more bytes, or more time, than a recording takes
|   `-- NotAudio           bytes that are no recording
`-- LegError               one party's connection
    |-- LegClosed          it is over: who closed it, with which code
    |-- CarrierMessageError  a carrier's message that cannot be read
    `-- EngineError        the AI side
        |-- EngineUnreachable   refused, timed out, DNS, TLS
        |-- EngineRejected      answered, but no: 401, 403, 404, 429, 5xx
        `-- EngineMessageError  a message that cannot be read
"""

from __future__ import annotations


class PhoneError(Exception):
    """Anything the phone raises on purpose."""


class ConfigurationError(PhoneError):
    """Settings that are missing or wrong; the text names every one of them."""


class AudioError(PhoneError):
    """Bytes that are not the audio they claim to be."""


class SealError(PhoneError):
    """Kept sound that is encrypted with another key than we have; the text says what to do."""


class TicketError(PhoneError):
    """A ticket that does not open this call."""


class FetchError(PhoneError):
    """A recording could not be had."""


class NotReady(FetchError):
    """The recording is not there yet, or too many were asked for.

    Attributes:
        retry_after_s: what the host asked for, if it did.
    """

    def __init__(self, detail: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class Unreachable(FetchError):
    """No connection, too slow, or the host is in trouble."""


class FetchRefused(FetchError):
    """The host says no: credentials, account."""


class BlockedUrl(FetchError):
    """Not an address of the carrier's: no connection is made to it."""


class TooLarge(FetchError):
    """More bytes, or more time, than a recording takes."""


class NotAudio(FetchError):
    """Bytes that are no recording."""


class LegError(PhoneError):
    """One party's connection failed."""


class LegClosed(LegError):
    """The connection is over.

    Attributes:
        code: WebSocket close code, 1006 when there was none.
        reason: what the other side said, possibly empty.
    """

    def __init__(self, code: int = 1006, reason: str = "") -> None:
        super().__init__(f"closed with {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


class CarrierMessageError(LegError):
    """A carrier's message that cannot be read."""


class EngineError(LegError):
    """The AI side failed."""


class EngineUnreachable(EngineError):
    """No connection: refused, timed out, DNS or TLS."""


class EngineRejected(EngineError):
    """The server answered the handshake with something other than 101.

    Attributes:
        status: the HTTP status.
        retry_after_s: what a 429 asked for, if it did.
    """

    def __init__(self, status: int, detail: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(f"HTTP {status} {detail}".rstrip())
        self.status = status
        self.retry_after_s = retry_after_s


class EngineMessageError(EngineError):
    """An engine's message that cannot be read."""
