"""The telephone network: an account, its REST API, and calls placed over loopback sockets.

    async with Network(account=Account(sid="AC...", auth_token="...")) as network:
        report = await network.place_call(CallSpec(url="http://127.0.0.1:5001/phone/incoming-call-streaming"))

or, without an event loop of one's own, ``place_calls([spec, ...])``.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterable
from types import TracebackType

import aiohttp

from flaskapp.simulator import assess
from flaskapp.simulator.connection import Socket
from flaskapp.simulator.exotel.call import ExotelCall
from flaskapp.simulator.report import CallReport
from flaskapp.simulator.spec import CallSpec
from flaskapp.simulator.twilio.account import Account
from flaskapp.simulator.twilio.call import TwilioCall
from flaskapp.simulator.twilio.recording import Recordings
from flaskapp.simulator.twilio.rest import RestServer

AFTERWARDS_S = 120.0  # for what may follow a hang-up: action, callbacks, a socket left hanging

AnyCall = TwilioCall | ExotelCall


class Network:
    """A carrier on loopback; ``api_url`` is what ``TWILIO_API_BASE_URL`` has to be set to.

    ``calls`` holds the running and finished calls by their sids, so that a
    test can hang one up or press keys in the middle of it.
    """

    def __init__(
        self,
        account: Account | None = None,
        *,
        api_port: int = 0,
        recording_delay_s: float = 0.0,
        api_url: str = "",
    ) -> None:
        self.account = account or Account()
        self.recordings = Recordings(recording_delay_s)
        self.calls: dict[str, AnyCall] = {}
        self._twilio_calls: dict[str, TwilioCall] = {}  # which alone the REST API knows
        self._api_port = api_port
        self._published_api_url = api_url
        self._rest = RestServer(self.account, self.recordings, self._twilio_calls)
        self._session: aiohttp.ClientSession | None = None

    @property
    def api_url(self) -> str:
        """Origin of the REST API, known once the network is up."""
        return self._published_api_url or self._rest.url

    @property
    def api_requests(self) -> list[tuple[str, str, int]]:
        """(method, path, status) of every request that the REST API has answered."""
        return self._rest.requests

    async def __aenter__(self) -> Network:
        await self._rest.start(self._api_port)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            ws_response_class=Socket,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
        await self._rest.stop()

    async def place_call(self, spec: CallSpec) -> CallReport:
        """Places one call and returns when it is over, callbacks included.

        Raises:
            ValueError: no URL given and none configured for the number.
            TimeoutError: the call did not end two minutes after it should have.
        """
        return assess.report(await self._lived(spec))

    async def place_calls(self, specs: Iterable[CallSpec], spread_s: float = 0.0) -> list[CallReport]:
        """Places calls side by side, their beginnings spread evenly; reports in the same order."""
        wanted = list(specs)

        async def later(index: int, spec: CallSpec) -> AnyCall:
            await asyncio.sleep(spread_s * index / max(1, len(wanted)))
            return await self._lived(spec)

        calls = await asyncio.gather(*(later(index, spec) for index, spec in enumerate(wanted)))
        # Assessed when all are over: it takes milliseconds, which would delay the others' frames.
        return [assess.report(call) for call in calls]

    async def _lived(self, spec: CallSpec) -> AnyCall:
        """A call from its beginning to its end."""
        if self._session is None:
            raise RuntimeError("the network is not up: use it as 'async with'")
        call = _CARRIERS[spec.carrier](self, self._session, self._configured(spec))
        self.calls[call.sid] = call
        async with asyncio.timeout(spec.seconds + AFTERWARDS_S):
            await call.run()
        return call

    def _on_twilio(self, session: aiohttp.ClientSession, spec: CallSpec) -> TwilioCall:
        call = TwilioCall(spec, self.account, self.recordings, session, self.api_url)
        self._twilio_calls[call.sid] = call
        return call

    def _on_exotel(self, session: aiohttp.ClientSession, spec: CallSpec) -> ExotelCall:
        return ExotelCall(spec, session)

    def _configured(self, spec: CallSpec) -> CallSpec:
        """The spec with what its number has configured, where it gives no URLs itself."""
        if spec.url:
            return spec
        number = self.account.number(spec.to_number)
        if number is None or not number.voice_url:
            raise ValueError(f"no URL to call: {spec.to_number} has none configured")
        return dataclasses.replace(
            spec,
            url=number.voice_url,
            fallback_url=spec.fallback_url or number.voice_fallback_url,
            status_callback=spec.status_callback or number.status_callback,
        )


_CARRIERS: dict[str, Callable[[Network, aiohttp.ClientSession, CallSpec], AnyCall]] = {
    "twilio": Network._on_twilio,
    "exotel": Network._on_exotel,
}


def place_calls(
    specs: Iterable[CallSpec], *, account: Account | None = None, api_port: int = 0, spread_s: float = 0.0
) -> list[CallReport]:
    """Places calls on a network that lives as long as they do."""

    async def all_of_them() -> list[CallReport]:
        async with Network(account, api_port=api_port) as network:
            return await network.place_calls(specs, spread_s)

    return asyncio.run(all_of_them())
