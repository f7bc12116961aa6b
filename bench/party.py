"""The calls of one subject: opened, speaking in turns with others' calls, counted, ended."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from time import monotonic, process_time
from typing import Any

from caller import Caller
from callers_counted import CountedCaller
from callers_exotel import ExotelCaller
from callers_twilio import TwilioCaller
from echo_engine import EchoEngine
from measure import cpu_seconds, held_up_seconds
from picows import WSError, ws_connect
from speaking import Choir
from tally import Histogram

Stream = dict[str, Any]
CARRIERS: dict[str, type[Caller]] = {
    "twilio": TwilioCaller,
    "twilio, counted": CountedCaller,
    "exotel": ExotelCaller,
}
CLOCKS = ("wall_s", "cpu_s", "beside_s", "held_up_s", "load_cpu_s", "load_held_up_s")
HANDSHAKE_S = 20.0
ENGINE_WITHIN_S = 5.0  # of the session before
OPENED_AT_ONCE = 8
STRAGGLERS_S = 3.0
CLOSE_WITHIN_S = 8.0
IDLE_STIRS_EVERY_S = 12.0  # the product hangs up on a line that brings nothing for 15 s
TROUBLES = (OSError, WSError, TimeoutError)


async def connect(port: int, stream: Stream) -> Caller:
    """The call is answered and its stream has started.

    Raises:
        OSError, WSError, TimeoutError: it was not.
    """
    kind = CARRIERS[stream.get("carrier", "twilio")]
    caller = kind(stream)
    await ws_connect(
        lambda: caller,
        f"ws://127.0.0.1:{port}{stream['path']}",
        websocket_handshake_timeout=HANDSHAKE_S,
        max_redirects=0,
        extra_headers=stream.get("headers"),
    )
    return caller


class Party:
    """One subject's.

    ``order``: ``port``, ``pids`` whose CPU is counted (None: our own), those ``beside`` it, whose CPU is
    counted apart, ``streams``, and ``idle`` ones, that are silent; ``ramp``: streams that are opened
    ``per_s`` while the others speak, in the measured turn ``in_turn``. ``failed`` says in words why there is
    nothing to measure.
    """

    def __init__(self, order: dict[str, Any], engine: EchoEngine, ramp: dict[str, Any] | None = None) -> None:
        self._port, self._engine = order["port"], engine
        self._pids, self._beside = order["pids"] or [os.getpid()], order.get("beside") or []
        self._streams, self._idle = order["streams"], order.get("idle") or []
        self._ramp = ramp or {"streams": [], "per_s": 1.0}
        self._opening: asyncio.Task[None] | None = None
        self._choir, self._silent = Choir(len(self._streams)), Choir(len(self._idle))
        self._late = Choir(len(self._ramp["streams"]))
        self._choirs = self._choir, self._silent, self._late
        self._clocked = dict.fromkeys(CLOCKS, 0.0)
        self._pairs = self._given_up = self._foreign = 0
        self._costs: list[float] = []
        self._waited_for_core: list[float] = []
        self._opened, self._opened_late = Histogram(), Histogram()
        self.failed = ""

    async def open(self) -> None:
        """Every call is answered, and its engine hears it."""
        strange = self._engine.foreign
        self._silent.rest(IDLE_STIRS_EVERY_S)
        self._choir.rest()
        try:
            await self._open(self._idle, self._silent.join)
            await self._open(self._streams, self._choir.join)
            if gone := sum(caller.closed.is_set() for caller in self._everyone()):
                raise ConnectionError(f"{gone} were ended at once")
        except TROUBLES as error:
            wanted, opened = len(self._streams) + len(self._idle), len(self._everyone())
            self.failed = f"port {self._port}: {opened} of {wanted} calls were answered: {error!r}"
            await self._hang_up()
        self._foreign += self._engine.foreign - strange

    async def speak(self, seconds: float, is_measured: bool) -> None:
        """All speak, and wait for what is still on its way; CPU counts until it is there."""
        strange = self._engine.foreign
        began, before = self._clocks(), self._heard()
        self._choir.begin(is_measured)
        self._late.begin(is_measured)
        is_its_turn = is_measured and len(self._costs) == self._ramp.get("in_turn", 0)
        if is_its_turn and self._ramp["streams"]:
            self._opening = asyncio.create_task(self._ramp_up())
        await asyncio.sleep(seconds)
        self._choir.stop()
        self._late.stop()
        await self._stragglers()
        self._foreign += self._engine.foreign - strange
        if is_measured:
            self._count(began, self._heard() - before)

    async def close(self) -> dict[str, Any]:
        """Hang up; what was counted. Calls that are over already were ended by the app."""
        if self.failed:
            return {"error": self.failed}
        troubles = await self._ramped()
        ended = sum(caller.closed.is_set() for caller in self._everyone())
        counted = self._choir.figures()
        counted["foreign"] += self._foreign
        counted |= {"ended": ended, "pairs": self._pairs, "turns_us": self._costs} | self._clocked
        counted |= self._opened.figures("opened", (50, 99))
        for turn, held_up_s in zip(counted["turns"], self._waited_for_core, strict=True):
            turn["held_up_s"] = held_up_s
        if self._ramp["streams"]:
            late = self._late.figures() | self._opened_late.figures("opened", (50, 99))
            counted["ramp"] = late | {"error": troubles}
        await self._hang_up()
        return counted

    # ------------------------------------------------------------------ within

    async def _open(self, streams: Sequence[Stream], join: Callable[[int, Caller], None]) -> None:
        """Several at a time; sessions belong to the calls in their order."""
        sessions, began, troubles = self._engine.ready_at, [], []
        first, waiting = len(sessions), iter(enumerate(streams))

        async def some() -> None:
            for place, stream in waiting:
                began.append(monotonic())
                try:
                    join(place, await connect(self._port, stream))
                except TROUBLES as error:
                    troubles.append(error)
                if troubles:
                    return

        await asyncio.gather(*[some() for _ in range(OPENED_AT_ONCE)])
        if troubles:
            raise troubles[0]
        await self._sessions(first + len(streams))
        for started, ready in zip(began, sessions[first:], strict=False):
            self._opened.add(ready - started)

    async def _sessions(self, wanted: int) -> None:
        """As many engine sessions hear as there should; an app that has fewer goes without."""
        sessions = self._engine.ready_at
        give_up_at, seen = monotonic() + ENGINE_WITHIN_S, len(sessions)
        while len(sessions) < wanted and monotonic() < give_up_at:
            if len(sessions) > seen:
                give_up_at, seen = monotonic() + ENGINE_WITHIN_S, len(sessions)
            await asyncio.sleep(0.01)

    async def _ramp_up(self) -> None:
        """One call after the other, at even distances; each speaks as soon as its engine hears."""
        began, calls = monotonic(), []
        for place, stream in enumerate(self._ramp["streams"]):
            await asyncio.sleep(max(began + place / self._ramp["per_s"] - monotonic(), 0))
            calls.append(asyncio.create_task(self._join_late(place, stream)))
        for call in calls:
            await call

    async def _join_late(self, place: int, stream: Stream) -> None:
        started, wanted = monotonic(), len(self._engine.ready_at) + 1
        caller = await connect(self._port, stream)
        await self._sessions(wanted)
        self._opened_late.add(monotonic() - started)
        self._late.join(place, caller)

    async def _ramped(self) -> str:
        """Waits for the ramp's last call; what went wrong with them, in words."""
        if self._opening is None:
            return ""
        try:
            await self._opening
        except TROUBLES as error:
            return repr(error)
        return ""

    async def _stragglers(self) -> None:
        give_up_at = monotonic() + STRAGGLERS_S
        while (awaited := self._choir.awaited + self._late.awaited) > self._given_up:
            if monotonic() > give_up_at:
                self._given_up = awaited
            await asyncio.sleep(0.005)

    def _count(self, began: tuple[float, ...], pairs: int) -> None:
        took = [end - start for start, end in zip(began, self._clocks(), strict=True)]
        for name, seconds in zip(CLOCKS, took, strict=True):
            self._clocked[name] += seconds
        self._pairs += pairs
        self._costs.append(took[CLOCKS.index("cpu_s")] / max(pairs, 1) * 1e6)
        self._waited_for_core.append(took[CLOCKS.index("held_up_s")])

    def _heard(self) -> int:
        """Of idle calls, too: what their few frames cost is no other calls' burden."""
        return self._choir.heard + self._late.heard + self._silent.heard

    def _everyone(self) -> list[Caller]:
        return [caller for choir in self._choirs for caller in choir.callers]

    async def _hang_up(self) -> None:
        for choir in self._choirs:
            choir.end()
        everyone = self._everyone()
        for caller in everyone:
            caller.hang_up()
        closing = [asyncio.create_task(_closed(caller)) for caller in everyone]
        if closing:
            await asyncio.wait(closing, timeout=CLOSE_WITHIN_S)
        for caller in everyone:
            caller.drop()
        for task in closing:
            await task

    def _clocks(self) -> tuple[float, ...]:
        """In the order of CLOCKS."""
        used, beside = (sum(map(cpu_seconds, pids)) for pids in (self._pids, self._beside))
        held_up = sum(map(held_up_seconds, self._pids))
        return monotonic(), used, beside, held_up, process_time(), held_up_seconds(os.getpid())


async def _closed(caller: Caller) -> None:
    await caller.closed.wait()
