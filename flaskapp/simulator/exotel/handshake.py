"""Opening a stream's socket: where its URL comes from, who we say that we are, and one more try."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass

import aiohttp
from yarl import URL

from flaskapp.simulator.connection import Socket
from flaskapp.simulator.exotel import address
from flaskapp.simulator.exotel.address import Address
from flaskapp.simulator.journal import Journal
from flaskapp.simulator.route import Route, Unroutable

NOT_ESTABLISHED = 3009
TRIES, PAUSE_S = 2, 0.5
MOST_BYTES = 4 * 1024 * 1024


class HandshakeFailed(Exception):
    """The stream could not be opened; ``text`` says why."""

    def __init__(self, text: str, url: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.url = url


@dataclass(frozen=True)
class Opening:
    """The ways and means of one call's handshakes."""

    session: aiohttp.ClientSession
    route: Route
    journal: Journal
    timeout_s: float

    async def resolve(self, configured: Address, about: dict[str, str]) -> Address:
        """Asks an http(s) URL for the socket's; a socket's own URL is taken as it is.

        Raises:
            HandshakeFailed: no answer in time, or none with a ``url``.
        """
        if not configured.url.startswith("http"):
            return configured
        began, status = self.journal.clock(), 0
        try:
            dialled, host = self.route.dial(configured.url)
            headers = {"Host": host, **configured.headers}
            timeout = aiohttp.ClientTimeout(total=self.timeout_s)
            asked = URL(dialled, encoded=True).update_query(about)
            async with self.session.get(asked, headers=headers, timeout=timeout) as response:
                status, text = response.status, await response.text()
        except (Unroutable, aiohttp.ClientError, TimeoutError, OSError) as error:
            raise HandshakeFailed(f"cannot ask {configured.url}: {_cause(error)}", configured.url) from error
        finally:
            self.journal.requested(configured.url, status, began, about)
        if status != 200:
            raise HandshakeFailed(f"{configured.url} answered {status}", configured.url)
        try:
            url = json.loads(text)["url"]
            return address.read(url)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise HandshakeFailed(f"{configured.url} answered without a url", configured.url) from error

    async def connect(self, to: Address) -> Socket:
        """Connects; tries once more where that fails.

        Raises:
            HandshakeFailed: both tries failed.
        """
        for left in reversed(range(TRIES)):
            try:
                return await self._connected(to)
            except HandshakeFailed as error:
                if not left:
                    raise
                self.journal.complain(NOT_ESTABLISHED, f"{error.text}: trying again", "warning")
                await asyncio.sleep(PAUSE_S)
        raise AssertionError("unreachable")

    async def _connected(self, to: Address) -> Socket:
        try:
            dialled, host = self.route.dial(to.url)
        except Unroutable as error:
            raise HandshakeFailed(str(error), to.url) from error
        try:
            async with asyncio.timeout(self.timeout_s):
                socket = await self.session.ws_connect(
                    URL(dialled, encoded=True),
                    headers={"Host": host, **to.headers},
                    autoping=False,
                    max_msg_size=MOST_BYTES,
                )
        except TimeoutError as error:
            raise HandshakeFailed(f"{dialled} did not open within {self.timeout_s:.0f} s", to.url) from error
        except aiohttp.WSServerHandshakeError as error:
            raise HandshakeFailed(f"{to.url} answered {error.status} instead of 101", to.url) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise HandshakeFailed(f"cannot connect to {dialled}: {_cause(error)}", to.url) from error
        assert isinstance(socket, Socket)  # noqa: S101 - the session was made with this class
        return socket


def _cause(error: BaseException) -> str:
    """The operating system's words where it has any: "Connection refused"."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else str(error) or type(error).__name__
