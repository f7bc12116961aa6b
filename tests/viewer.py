"""Somebody who reads a call's transcript along, over a real WebSocket, in a thread of his own."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Sequence
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.servers import wait_until

SHAPE = {"call_sid", "transcript", "is_final", "speaker", "sequence", "item"}
END_SHAPE = {"call_sid", "event", "transcript", "is_final", "sequence"}
CARRIER_SHAPES = [SHAPE, END_SHAPE]


def basic(password: str) -> dict[str, str]:
    """The operator's password as HTTP Basic."""
    return {"Authorization": "Basic " + base64.b64encode(f"operator:{password}".encode()).decode()}


def dial(
    url: str,
    *,
    tickets: Sequence[str] = (),
    headers: dict[str, str] | None = None,
    password: str = "",
    query: str = "",
) -> ClientConnection:
    """A connection to ``/client`` of the app at this URL.

    Raises:
        websockets.exceptions.InvalidStatus: refused before the 101.
    """
    sent = {**(headers or {}), **(basic(password) if password else {})}
    protocols = [f"ticket.{ticket}" for ticket in tickets] or None
    return connect(
        url.replace("http", "ws", 1) + "/client" + query,
        subprotocols=protocols,
        additional_headers=sent,
        compression=None,
        open_timeout=30,
        proxy=None,
    )


class Viewer:
    """Reads until the server closes; ``first`` is what he says first."""

    def __init__(self, url: str, first: str | dict[str, Any], **how: Any) -> None:
        self.told: list[dict[str, Any]] = []
        self.socket = dial(url, **how)
        self.socket.send(first if isinstance(first, str) else json.dumps(first))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            while True:
                self.told.append(json.loads(self.socket.recv()))
        except ConnectionClosed:
            pass

    @property
    def closed(self) -> tuple[int | None, str | None]:
        """How the server closed; (None, None) while it has not."""
        return (None, None) if self._thread.is_alive() else (self.socket.close_code, self.socket.close_reason)

    def wait(self, within_s: float = 60.0) -> tuple[int | None, str | None]:
        """Read to the end: code and reason."""
        self._thread.join(within_s)
        assert not self._thread.is_alive(), f"still open, with {self.told[-3:]}"
        return self.closed

    def wait_for(self, count: int, within_s: float = 60.0) -> list[dict[str, Any]]:
        """So many messages."""
        wait_until(lambda: len(self.told) >= count, f"{count} messages: {self.told[-3:]}", within_s)
        return self.told

    def leave(self) -> None:
        self.socket.close()
        self._thread.join(30)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Final lines with words."""
        return [each for each in self.told if each["is_final"] and each["transcript"]]

    def check(self, after: int = 0) -> None:
        """Shape, numbers, items: whatever holds for every transcript."""
        assert [each["sequence"] for each in self.told] == list(range(after + 1, after + 1 + len(self.told)))
        assert all(set(each) in CARRIER_SHAPES for each in self.told)
        finals = [each["item"] for each in self.told if each["is_final"] and "item" in each]
        assert len(finals) == len(set(finals)), "a final line came twice"
        seen: set[str] = set()
        for each in self.told:
            assert each.get("item") not in seen, "a final line changed"
            seen |= {each["item"]} if each["is_final"] and "item" in each else set()
