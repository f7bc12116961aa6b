"""Requests to the application, signed and timed as Twilio's are.

5 s to connect with one retry, 15 s for everything, redirects followed; a retry
carries the same idempotency token (Twilio, "Webhooks connection overrides"). A
connection that is cut off before an answer is tried again like one that never stood.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urljoin, urlsplit, urlunsplit

import aiohttp
from yarl import URL

from flaskapp.simulator.journal import Journal
from flaskapp.simulator.route import Route, Unroutable
from flaskapp.simulator.twilio import signature

CONNECT_S, TOTAL_S, CONNECT_TRIES = 5.0, 15.0, 2
MOST_REDIRECTS, MOST_BYTES = 10, 64 * 1024
HTTP_FAILURE, NO_CONNECTION, TOO_LARGE = 11200, 11205, 11750


class NoAnswer(Exception):
    """The application gave no reply that Twilio could use."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass(frozen=True)
class Reply:
    """What came back with a 2xx; ``url`` is the public one that answered in the end."""

    url: str
    status: int
    content_type: str
    body: bytes


class Webhooks:
    """The network's HTTP client for one call."""

    def __init__(
        self, session: aiohttp.ClientSession, route: Route, auth_token: str | None, journal: Journal
    ) -> None:
        self._session = session
        self._route = route
        self._token = auth_token
        self._journal = journal

    async def request(self, url: str, parameters: Mapping[str, str], method: str = "POST") -> Reply:
        """Asks the application at a public URL, within 15 s.

        Raises:
            NoAnswer: 11205 no connection; 11200 timeout or not a 2xx; 11750 over 64 kB.
        """
        token = str(uuid.uuid4())
        try:
            async with asyncio.timeout(TOTAL_S):
                for _ in range(MOST_REDIRECTS + 1):
                    reply, status, location = await self._try(url, parameters, method.upper(), token)
                    if not location:
                        return reply
                    url = urljoin(url, location)
                    method = method if status in (307, 308) else "GET"
                    parameters = parameters if status in (307, 308) else {}
        except TimeoutError as error:
            late = f"{self._dialled(url)} did not answer within {TOTAL_S:.0f} s"
            raise NoAnswer(HTTP_FAILURE, late) from error
        raise NoAnswer(HTTP_FAILURE, f"{url}: more than {MOST_REDIRECTS} redirects")

    async def fetch(self, url: str) -> Reply:
        """A file for ``<Play>``: GET, no call parameters.

        Raises:
            NoAnswer: as for ``request``.
        """
        return await self.request(url, {}, "GET")

    async def _try(
        self, url: str, parameters: Mapping[str, str], method: str, token: str
    ) -> tuple[Reply, int, str]:
        """One hop: the reply, its status, and where it points to if it is a redirect."""
        for attempt in range(1, CONNECT_TRIES + 1):
            began = self._journal.clock()
            try:
                return await self._send(url, parameters, method, token)
            except (aiohttp.ClientConnectionError, ConnectionError) as error:
                self._journal.requested(url, 0, began, parameters)
                if attempt == CONNECT_TRIES:
                    what = "cannot connect to" if _never_stood(error) else "was cut off by"
                    raise NoAnswer(NO_CONNECTION, f"{what} {self._dialled(url)}: {_cause(error)}") from error
            except (aiohttp.ClientError, OSError) as error:
                self._journal.requested(url, 0, began, parameters)
                raise NoAnswer(HTTP_FAILURE, f"{self._dialled(url)} broke off: {_cause(error)}") from error
        raise AssertionError("unreachable")

    def _dialled(self, url: str) -> str:
        """Where a public URL led that was asked: what a connection's trouble is told of."""
        return self._route.dial(url)[0]

    async def _send(
        self, url: str, parameters: Mapping[str, str], method: str, token: str
    ) -> tuple[Reply, int, str]:
        began = self._journal.clock()
        url, form = _with_parameters(url, parameters, method)
        try:
            dialled, host = self._route.dial(url)
        except Unroutable as error:
            raise NoAnswer(HTTP_FAILURE, str(error)) from error
        headers = {"Host": host, "User-Agent": "TwilioProxy/1.1", "I-Twilio-Idempotency-Token": token}
        if self._token is not None:
            headers[signature.HEADER] = signature.sign(self._token, url, form)
        async with self._session.request(
            method,
            URL(dialled, encoded=True),
            data=urlencode(form) if method == "POST" else None,
            headers=headers | ({"Content-Type": _FORM} if method == "POST" else {}),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
        ) as response:
            body = await _limited(response, url)
            self._journal.requested(url, response.status, began, parameters)
        return _judged(url, response, body)


_FORM = "application/x-www-form-urlencoded; charset=UTF-8"


def _with_parameters(url: str, parameters: Mapping[str, str], method: str) -> tuple[str, dict[str, str]]:
    """(URL, form): a GET carries the parameters in its query, which is then part of the signed URL."""
    if method == "POST" or not parameters:
        return url, dict(parameters)
    parts = urlsplit(url)
    query = "&".join(filter(None, [parts.query, urlencode(parameters)]))
    return urlunsplit(parts._replace(query=query)), {}


async def _limited(response: aiohttp.ClientResponse, url: str) -> bytes:
    """The body, files apart no longer than TwiML may be."""
    body = await response.read()
    if len(body) > MOST_BYTES and not response.content_type.startswith("audio/"):
        raise NoAnswer(TOO_LARGE, f"{url} answered {len(body)} bytes, more than {MOST_BYTES}")
    return body


def _judged(url: str, response: aiohttp.ClientResponse, body: bytes) -> tuple[Reply, int, str]:
    location = response.headers.get("Location", "")
    if response.status in (301, 302, 303, 307, 308) and location:
        return Reply(url, response.status, "", b""), response.status, location
    if not 200 <= response.status < 300:
        raise NoAnswer(HTTP_FAILURE, f"{url} answered {response.status}")
    return (
        Reply(url, response.status, response.headers.get("Content-Type", ""), body),
        response.status,
        "",
    )


def _never_stood(error: BaseException) -> bool:
    return isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)


def _cause(error: BaseException) -> str:
    """The operating system's words where it has any: "Connection refused"."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else str(error) or type(error).__name__
