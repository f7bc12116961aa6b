"""Opening a media stream's socket: a signed upgrade, and Twilio's error code where it fails."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from flaskapp.simulator.connection import Socket
from flaskapp.simulator.route import Route, Unroutable
from flaskapp.simulator.twilio import signature

TIMED_OUT, REFUSED, NOT_101, NOT_WSS, MALFORMED_URL = 31901, 31902, 31920, 31922, 31923
MOST_BYTES = 4 * 1024 * 1024


class HandshakeFailed(Exception):
    """The stream could not be opened."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


async def open_socket(
    session: aiohttp.ClientSession, route: Route, url: str, auth_token: str | None, timeout_s: float
) -> Socket:
    """Connects to a ``<Stream>``'s public URL.

    Raises:
        HandshakeFailed: 31901 timeout, 31902 no connection, 31920 not a 101 or
            a URL with a query, 31922 not wss, 31923 malformed.
    """
    _check(url, route)
    try:
        dialled, host = route.dial(url)
    except Unroutable as error:
        raise HandshakeFailed(MALFORMED_URL, str(error)) from error
    headers = {"Host": host, "User-Agent": "TwilioMediaStreams/1.0"}
    if auth_token is not None:
        headers[signature.HEADER.lower()] = signature.sign(auth_token, url)
    try:
        async with asyncio.timeout(timeout_s):
            socket = await session.ws_connect(
                URL(dialled, encoded=True), headers=headers, autoping=False, max_msg_size=MOST_BYTES
            )
    except TimeoutError as error:
        raise HandshakeFailed(TIMED_OUT, f"{dialled} did not open within {timeout_s:.0f} s") from error
    except aiohttp.WSServerHandshakeError as error:
        raise HandshakeFailed(NOT_101, f"{url} answered {error.status} instead of 101") from error
    except (aiohttp.ClientError, OSError) as error:
        raise HandshakeFailed(REFUSED, f"cannot connect to {dialled}: {error}") from error
    assert isinstance(socket, Socket)  # noqa: S101 - the session was made with this class
    return socket


def _check(url: str, route: Route) -> None:
    """Twilio's rules for the URL; ``ws://`` passes only where the public origin has no TLS itself."""
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise HandshakeFailed(NOT_WSS, f"{url!r} is not a wss:// URL")
    if parts.scheme == "ws" and urlsplit(route.public).scheme == "https":
        raise HandshakeFailed(NOT_WSS, f"{url!r} is not wss although the public origin is https")
    if parts.query:
        raise HandshakeFailed(NOT_101, f"{url!r} has a query string, which Twilio does not pass on")
