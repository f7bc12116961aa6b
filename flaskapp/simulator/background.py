"""A network on a thread of its own, for tests and scripts that have no event loop.

    with BackgroundNetwork(Account(sid="AC...", auth_token="...")) as network:
        start_the_application(TWILIO_API_BASE_URL=network.api_url)
        report, = network.place_calls([CallSpec(url=...)])

Not for processes that gevent has patched: there a thread is a greenlet, and
the commands use a process of their own (``process``).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, TypeVar

from flaskapp.simulator.network import Network
from flaskapp.simulator.report import CallReport
from flaskapp.simulator.spec import CallSpec
from flaskapp.simulator.twilio.account import Account

T = TypeVar("T")


class BackgroundNetwork:
    """``network`` lives on the thread's loop; ``run`` brings coroutines there and waits for them."""

    def __init__(
        self, account: Account | None = None, *, api_port: int = 0, recording_delay_s: float = 0.0
    ) -> None:
        self.network = Network(account, api_port=api_port, recording_delay_s=recording_delay_s)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="simulator", daemon=True)

    @property
    def api_url(self) -> str:
        return self.network.api_url

    def __enter__(self) -> BackgroundNetwork:
        self._thread.start()
        self.run(self.network.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.run(self.network.__aexit__(kind, error, trace))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the network's loop to its end."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def start(self, spec: CallSpec) -> Future[CallReport]:
        """Begins a call and returns at once; its report comes when it is over."""
        return asyncio.run_coroutine_threadsafe(self.network.place_call(spec), self._loop)

    def soon(self, act: Callable[[], None]) -> None:
        """Does something on the network's loop, as hanging up a running call."""
        self._loop.call_soon_threadsafe(act)

    def place_call(self, spec: CallSpec) -> CallReport:
        """Places one call and waits until it is over."""
        return self.run(self.network.place_call(spec))

    def place_calls(self, specs: Iterable[CallSpec], spread_s: float = 0.0) -> list[CallReport]:
        """Places calls side by side and waits until all are over."""
        return self.run(self.network.place_calls(specs, spread_s))
