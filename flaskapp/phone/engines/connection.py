"""Opens Realtime sessions: the ``openai`` package dials and proves who we are, our wire carries the frames.

``client.realtime.connect`` builds URL, headers and TLS as for any of its
users; its connection class is swapped for one that hands the socket to
``Wire``, because the package's own per-frame calls cost more than the rest of
a call put together.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from flaskapp.addresses import AZURE_PATHS, azure_url, engine_url
from flaskapp.phone.errors import EngineError, EngineRejected, EngineUnreachable
from flaskapp.phone.giving_way import give_way
from flaskapp.phone.tls import InMemory
from flaskapp.phone.wire import Wire

OPEN_WITHIN_S = 3.0
MAX_MESSAGE_BYTES = 1 << 20
QUEUE_BYTES = 512 << 10  # a session that takes over is given up to forty seconds of caller audio at once
TOKEN_SPARE_S = 300
AZURE_SCOPE = "https://ai.azure.com/.default"


class TokenCredential(Protocol):
    """What azure-identity's credentials offer."""

    def get_token(self, *scopes: str) -> Any:
        """An access token with ``token`` and ``expires_on`` (Unix seconds)."""


@dataclass(frozen=True)
class Endpoint:
    """Where sessions are opened.

    Attributes:
        base_url: ``https://host/v1`` or ``http://...`` (dialled as ``ws://``).
        is_azure: an API key then goes as ``api-key`` header.
        scope: of Entra tokens.
    """

    base_url: str
    is_azure: bool
    scope: str = AZURE_SCOPE


def endpoint(address: str, scope: str = AZURE_SCOPE) -> Endpoint:
    """An address as people write it: an Azure resource in any spelling, or another server's ``.../v1``.

    Raises:
        ValueError: no address of either kind.
    """
    path = urlsplit(address if "://" in address else f"https://{address}").path.rstrip("/")
    is_azure = not path or path.startswith(AZURE_PATHS)
    return Endpoint(azure_url(address) if is_azure else engine_url(address), is_azure, scope)


class Tokens:
    """Entra tokens, asked for again five minutes before they end."""

    def __init__(self, credential: TokenCredential, scope: str, now: Callable[[], float] = time.time) -> None:
        self._credential, self._scope, self._now = credential, scope, now
        self._token, self._expires_on = "", 0.0

    def __call__(self) -> str:
        if self._now() > self._expires_on - TOKEN_SPARE_S:
            answer = self._credential.get_token(self._scope)
            self._token, self._expires_on = answer.token, float(answer.expires_on)
        return self._token


class Engine:
    """A Realtime server, a model there, and the right to use it.

    Args:
        at: where.
        model: the model's name; on Azure the deployment's.
        credentials: an API key, an object with ``.key`` (``AzureKeyCredential``),
            or a token credential with ``get_token``.
    """

    def __init__(self, at: Endpoint, model: str, credentials: Any) -> None:
        self.at, self.model = at, model
        self._credentials = credentials
        self._client: Any = None
        self._in_memory: InMemory | None = None
        self._making = threading.Lock()

    def open(self) -> Wire:
        """A session's connection, its handshake done; nothing was sent on it yet.

        Raises:
            EngineRejected: the server said no (401, 403, 404, 429, 5xx ...).
            EngineUnreachable: there is no connection: refused, DNS, TLS, too slow.
        """
        from websockets.exceptions import InvalidHandshake, InvalidStatus

        opened: list[_Connection] = []

        def make(sock: Any, protocol: Any, **_: Any) -> _Connection:
            opened.append(_Connection(sock, protocol))
            return opened[-1]

        options: dict[str, Any] = {
            "create_connection": make,
            "open_timeout": OPEN_WITHIN_S,
            "max_size": MAX_MESSAGE_BYTES,
        }
        try:
            client = self.prepare()
            if self._in_memory is not None:
                options["ssl"] = self._in_memory
            client.realtime.connect(
                model=self.model,
                extra_headers=self._headers(),
                websocket_connection_options={**options, "compression": None},
            ).enter()
        except InvalidStatus as error:
            raise _rejected(error) from error
        except (OSError, TimeoutError, InvalidHandshake) as error:
            raise EngineUnreachable(f"{type(error).__name__}: {error}") from error
        except EngineError:
            raise
        except Exception as error:  # the SDK's and azure-identity's own: no token, no key
            raise EngineRejected(401, type(error).__name__) from error
        return opened[-1].wire

    def _headers(self) -> Mapping[str, Any]:
        """On Azure a key goes as ``api-key``, and only so; a token goes as bearer everywhere."""
        from openai import omit

        if self.at.is_azure and not hasattr(self._credentials, "get_token"):
            return {"api-key": self._key(), "Authorization": omit}
        return {}

    def _key(self) -> str:
        return str(getattr(self._credentials, "key", self._credentials) or "none")

    def prepare(self) -> Any:
        """The client, made once in the process that uses it: half a second that no caller should wait.

        With it all the authorities' certificates, whose reading takes as long as many frames.
        """
        with self._making:
            if self._client is None:
                from openai import OpenAI

                token = hasattr(self._credentials, "get_token")
                if not self.at.base_url.startswith("http:"):
                    self._in_memory = InMemory()
                key = Tokens(self._credentials, self.at.scope) if token else self._key()
                http = self._http_client()
                self._client = OpenAI(base_url=self.at.base_url, api_key=key, max_retries=0, http_client=http)
                _ = self._client.default_headers  # what system this is: some programs are run to find out
            return self._client

    def _http_client(self) -> Any:
        """What plain requests go through; None: the package's own."""
        return None


def _rejected(error: Any) -> EngineRejected:
    """Never the body: it may echo what we sent."""
    after = error.response.headers.get("Retry-After", "")
    return EngineRejected(
        error.response.status_code,
        error.response.reason_phrase,
        float(after) if after.replace(".", "", 1).isdigit() else None,
    )


class _Connection:
    """In the place of ``websockets.sync``'s own: what ``connect`` asks of it, and no reading thread."""

    def __init__(self, sock: Any, protocol: Any) -> None:
        self.wire = Wire(sock, protocol, queue_bytes=QUEUE_BYTES, takes_binary=True)
        self.recv_events_thread = threading.Thread(target=int)  # joined by ``connect`` when a handshake fails
        self._protocol = protocol

    def handshake(
        self, headers: Any = None, user_agent: str | None = None, timeout: float | None = None
    ) -> None:
        """Ask for the upgrade; raises what ``websockets`` raises if it is not granted in time."""
        self.recv_events_thread.start()
        give_way()
        request = self._protocol.connect()
        request.headers.update(headers or {})
        if user_agent is not None:
            request.headers.setdefault("User-Agent", user_agent)
        self.wire.open(request, OPEN_WITHIN_S if timeout is None else timeout)

    def start_keepalive(self) -> None:
        """The wire pings when it is ticked."""

    def close_socket(self) -> None:
        self.wire.dispose(close_socket=True)

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.wire.close(code, reason)
