"""The simulator in a process of its own: ``python -m flaskapp.simulator.worker`` behind the commands.

asyncio and its 20 ms deadlines stay apart from whatever the calling process
is: patched by gevent, or busy polling a database. An ``Order`` comes in on
stdin, events leave on stdout as JSON lines; the last one is ``summary``.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from flaskapp.phone import audio
from flaskapp.simulator import load
from flaskapp.simulator.network import Network
from flaskapp.simulator.orders import Order, port_of
from flaskapp.simulator.report import CallReport
from flaskapp.simulator.twilio.account import Account

SPREAD_S = 1.0
TAKEN = (
    "port {port} is taken ({why}), where the server looks for recordings: end what listens there,"
    " or set TWILIO_API_BASE_URL=http://127.0.0.1:{other} for the server and for this command"
)


def emit(event: dict[str, Any]) -> None:
    """One event to the process that gave the order."""
    print(json.dumps(event), flush=True)


async def carry_out(order: Order) -> int:
    """Places the calls and tells what becomes of them; 1 if they could not be placed."""
    account = Account()
    account.sid = order.account_sid or account.sid
    account.auth_token = order.auth_token
    port = port_of(order.api_url)
    try:
        reports = await _placed(Network(account, api_port=port, api_url=order.api_url), order)
    except OSError as error:
        if order.needs_api:
            emit({"event": "refused", "text": TAKEN.format(port=port, why=_why(error), other=port + 1)})
            return 1
        # All but recordings works without it.
        reports = await _placed(Network(account), order)
    if order.stereo_to and reports:
        Path(order.stereo_to).write_bytes(
            audio.write_wav(reports[0].stereo, reports[0].sample_rate_hz, channels=2)
        )
    emit({"event": "summary", **load.summarise(reports)})
    return 0


def _why(error: OSError) -> str:
    """The operating system's words: asyncio wraps them in its own."""
    return os.strerror(error.errno) if error.errno else str(error)


async def _placed(network: Network, order: Order) -> list[CallReport]:
    specs = [replace(spec, on_event=emit) for spec in order.specs()]
    async with network:
        emit({"event": "network", "api_url": network.api_url})
        return await network.place_calls(specs, SPREAD_S if order.calls > 1 else 0.0)


def main() -> int:
    """Reads the order, carries it out; 130 when interrupted from the keyboard."""
    gc.disable()  # a short life, and a full collection would hold up every call's frames
    try:
        return asyncio.run(carry_out(Order.from_json(sys.stdin.read())))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
