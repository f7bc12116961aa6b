"""The simulator in a process of its own: ``python -m flaskapp.simulator.worker`` behind the commands.

asyncio and its 20 ms deadlines stay apart from whatever the calling process
is: patched by gevent, or busy polling a database. An ``Order`` comes in on
stdin, events leave on stdout as JSON lines; the last one is ``summary``.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from flaskapp.phone import audio
from flaskapp.simulator import load
from flaskapp.simulator.network import Network
from flaskapp.simulator.orders import Order
from flaskapp.simulator.report import CallReport
from flaskapp.simulator.twilio.account import Account

SPREAD_S = 1.0


def emit(event: dict[str, Any]) -> None:
    """One event to the process that gave the order."""
    print(json.dumps(event), flush=True)


async def carry_out(order: Order) -> None:
    """Places the calls and tells what becomes of them."""
    account = Account()
    account.sid = order.account_sid or account.sid
    account.auth_token = order.auth_token or account.auth_token
    try:
        reports = await _placed(Network(account, api_port=order.api_port), order)
    except OSError as error:  # another simulator has the port: all but recordings works without it
        emit({"event": "warning", "text": f"REST port {order.api_port} is taken: {error.strerror}"})
        reports = await _placed(Network(account), order)
    if order.stereo_to and reports:
        Path(order.stereo_to).write_bytes(audio.write_wav(reports[0].stereo, channels=2))
    emit({"event": "summary", **load.summarise(reports)})


async def _placed(network: Network, order: Order) -> list[CallReport]:
    specs = [replace(spec, on_event=emit) for spec in order.specs()]
    async with network:
        emit({"event": "network", "api_url": network.api_url})
        return await network.place_calls(specs, SPREAD_S if order.calls > 1 else 0.0)


def main() -> int:
    """Reads the order, carries it out; 130 when interrupted from the keyboard."""
    gc.disable()  # a short life, and a full collection would hold up every call's frames
    try:
        asyncio.run(carry_out(Order.from_json(sys.stdin.read())))
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
